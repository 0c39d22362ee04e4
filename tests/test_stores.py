"""Stores are whole or absent, and every fault is told by one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st

from abspos import arrays, stores
from abspos.arrays import (
    create_array,
    from_bits,
    open_dataset,
    open_groups,
    save_dataset,
    save_groups,
    to_bits,
    write_chunk,
)
from abspos.stores import (
    StoreError,
    check,
    differences,
    digest_files,
    read_manifest,
    root_digest,
    whole_folder,
    write_atomically,
    write_manifest,
)


def dataset():
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "x": (("layer", "head"), rng.normal(size=(3, 4)).astype(np.float32)),
            "n": ("layer", np.arange(3, dtype=np.int32)),
        },
        coords={"head": ["a", "b", "c", "d"]},
        attrs={"note": "kept", "numbers": [1, 2]},
    )


@pytest.fixture
def made(tmp_path):
    """A store and its manifest."""
    pair = tmp_path / "x.zarr", tmp_path / "x.manifest.json"
    save_dataset(dataset(), *pair)
    return pair


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The same, for tests that put back what they change."""
    folder = tmp_path_factory.mktemp("store")
    pair = folder / "x.zarr", folder / "x.manifest.json"
    save_dataset(dataset(), *pair)
    return pair


def payload(store: Path) -> Path:
    return next(p for p in stores.files(store) if p.parent.name == "c" or "/c/" in p.as_posix())


def one_line(error) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# round trip


def test_dataset_comes_back_as_it_went(made):
    back = open_dataset(*made)
    xr.testing.assert_identical(back.load(), dataset())


def test_a_plain_open_reads_every_label_and_warns_of_nothing(made, tmp_path):
    """What Snakemake leaves in the folder included."""
    (made[0] / ".snakemake_timestamp").touch()
    labelled = dataset().assign_coords(kind=("layer", ["full", "sliding", "é"]), layer=[1, 5, 9])
    pair = tmp_path / "groups.zarr", tmp_path / "groups.json"
    save_groups({"/": xr.Dataset(), "/a/b": labelled}, *pair)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xr.testing.assert_equal(xr.open_zarr(made[0]).load(), dataset())
        tree = xr.open_datatree(pair[0], engine="zarr").load()
    xr.testing.assert_equal(tree["a/b"].to_dataset(), labelled)
    xr.testing.assert_identical(open_groups(*pair)["/a/b"].load(), labelled)
    for label in ("head", "layer", "kind"):
        assert open_groups(*pair)["/a/b"][label].dtype == labelled[label].dtype


def test_manifest_states_every_file(made):
    store, manifest = made
    content = read_manifest(manifest)
    assert content["files"] == digest_files(store)
    assert list(content["files"]) == sorted(content["files"])
    assert content["bytes"] == sum(p.stat().st_size for p in store.rglob("*") if p.is_file())
    assert content["root"] == root_digest(content["files"])
    assert differences(store, manifest) == []


def test_a_rebuild_gives_the_same_manifest(made, tmp_path):
    again = tmp_path / "again.zarr", tmp_path / "again.manifest.json"
    save_dataset(dataset(), *again)
    assert again[1].read_bytes() == made[1].read_bytes()


def test_the_timestamp_of_snakemake_is_not_data(made):
    (made[0] / ".snakemake_timestamp").touch()
    check(*made)


# faults


def truncate(store):
    path = payload(store)
    path.write_bytes(path.read_bytes()[:-1])
    return path, "altered"


def flip(store):
    path = payload(store)
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    return path, "altered"


def empty(store):
    path = payload(store)
    path.write_bytes(b"")
    return path, "altered"


def remove(store):
    path = payload(store)
    path.unlink()
    return path, "missing"


def add(store):
    path = store / "x" / "extra"
    path.write_text("?")
    return path, "not in the manifest"


@pytest.mark.parametrize("fault", [truncate, flip, empty, remove, add])
def test_a_fault_is_told_by_one_line_that_names_the_file(made, fault):
    store, manifest = made
    path, what = fault(store)
    assert differences(store, manifest) == [f"{path}: {what}"]
    with pytest.raises(StoreError) as error:
        open_dataset(store, manifest)
    assert f"{path}: {what}" in one_line(error)
    assert "run again" in one_line(error)


def test_several_faults_are_counted(made):
    store, manifest = made
    add(store)
    flip(store)
    assert len(differences(store, manifest)) == 2
    with pytest.raises(StoreError, match=r"\(and 1 more\)") as error:
        check(store, manifest)
    one_line(error)


def test_a_missing_store_is_told(made):
    store, manifest = made
    shutil.rmtree(store)
    with pytest.raises(StoreError, match="missing") as error:
        open_dataset(store, manifest)
    one_line(error)


def test_a_folder_that_is_no_store_is_told(tmp_path):
    with pytest.raises(StoreError, match="cannot be read as Zarr") as error:
        open_dataset(tmp_path / "nothing.zarr")
    one_line(error)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "null",
        "{}",
        '{"files": {}}',
        '{"files": [], "root": ""}',
        "\x00",
        '{"files": null, "root": "0"}',
    ],
)
def test_what_is_no_manifest_is_told(made, text):
    store, manifest = made
    manifest.write_text(text)
    with pytest.raises(StoreError, match=str(manifest)) as error:
        open_dataset(store, manifest)
    one_line(error)


def test_a_missing_manifest_is_told(made):
    store, manifest = made
    manifest.unlink()
    with pytest.raises(StoreError, match=str(manifest)) as error:
        open_dataset(store, manifest)
    one_line(error)


def test_a_manifest_that_was_edited_is_told(made):
    store, manifest = made
    content = json.loads(manifest.read_text())
    name = next(iter(content["files"]))
    content["files"][name] = "0" * 64
    manifest.write_text(json.dumps(content))
    with pytest.raises(StoreError, match="root digest") as error:
        open_dataset(store, manifest)
    one_line(error)


@given(st.data())
def test_any_flipped_bit_of_a_store_is_found(shared, data):
    store, manifest = shared
    path = data.draw(st.sampled_from(stores.files(store)))
    before = path.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    changed = bytearray(before)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(changed)
    try:
        assert differences(store, manifest) == [f"{path}: altered"]
    finally:
        path.write_bytes(before)
    check(store, manifest)


@given(st.data())
def test_any_flipped_bit_of_a_manifest_is_found_or_harmless(shared, data):
    _, manifest = shared
    before = manifest.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    changed = bytearray(before)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    manifest.write_bytes(changed)
    original = json.loads(before)
    try:
        content = read_manifest(manifest)
        assert all(content[key] == original[key] for key in ("files", "root"))
    except StoreError:
        pass
    finally:
        manifest.write_bytes(before)


def test_payload_chunks_carry_a_checksum(made):
    """Zarr itself refuses altered numbers, even where no manifest is at hand."""
    flip(made[0])
    with pytest.raises(Exception, match=r"(?i)checksum|crc"):
        open_dataset(made[0]).load()


# root digest

names = st.text("abc/.", min_size=1, max_size=6)
digests = st.dictionaries(names, st.integers(0, 2**256 - 1).map("{:064x}".format), min_size=1)


@given(digests, st.data())
def test_root_digest_feels_every_change(files, data):
    root = root_digest(files)
    assert root_digest(dict(reversed(files.items()))) == root, "order does not count"
    name = data.draw(st.sampled_from(sorted(files)))
    other = {**files, name: f"{(int(files[name], 16) + 1) % 2**256:064x}"}
    renamed = {k + "x" if k == name else k: v for k, v in files.items()}
    dropped = {k: v for k, v in files.items() if k != name}
    added = {**files, "new": "0" * 64}
    assert root not in [root_digest(f) for f in (other, renamed, dropped, added)]


# whole folders


def test_a_folder_appears_when_it_is_whole(tmp_path):
    target, manifest = tmp_path / "deep" / "a", tmp_path / "a.json"
    with whole_folder(target, manifest) as folder:
        (folder / "x").write_text("1")
        assert not target.exists()
        assert not manifest.exists()
        assert folder.parent == target.parent, "a rename stays within one file system"
    assert [p.name for p in stores.files(target)] == ["x"]
    check(target, manifest)
    assert sorted(p.name for p in target.parent.iterdir()) == ["a"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_nothing(tmp_path, error):
    target, manifest = tmp_path / "a", tmp_path / "a.json"

    def job():
        with whole_folder(target, manifest) as folder:
            (folder / "x").write_text("1")
            raise error

    with pytest.raises(error):
        job()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing_of_what_was_there_before(tmp_path):
    target, manifest = tmp_path / "a", tmp_path / "a.json"
    with whole_folder(target, manifest) as folder:
        (folder / "old").write_text("1")
    with pytest.raises(RuntimeError), whole_folder(target, manifest):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_manifest_is_not_left(tmp_path, monkeypatch):
    def full(*args):
        raise OSError("no space left")

    monkeypatch.setattr(stores, "write_manifest", full)
    with (
        pytest.raises(OSError, match="no space"),
        whole_folder(tmp_path / "a", tmp_path / "a.json"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_job_left_is_cleared(tmp_path):
    target, manifest = tmp_path / "a", tmp_path / "a.json"
    with whole_folder(target, manifest) as folder:
        partial = folder
    partial.mkdir()
    (partial / "stale").write_text("1")
    with whole_folder(target, manifest) as folder:
        assert list(folder.iterdir()) == []
    assert not partial.exists()


def test_a_job_that_outlives_its_controller_harms_no_other(tmp_path):
    target, manifest = tmp_path / "a[1].zarr", tmp_path / "a[1].json"
    late = whole_folder(target, manifest)
    orphan = late.__enter__()
    with whole_folder(target, manifest) as folder:
        (folder / "new").write_text("1")
    assert not orphan.exists()
    with pytest.raises(FileNotFoundError):
        late.__exit__(None, None, None)
    check(target, manifest)
    assert (target / "new").exists()
    assert sorted(tmp_path.iterdir()) == sorted([target, manifest])


def test_a_second_write_replaces_the_first(made):
    changed = dataset().assign(n=("layer", np.zeros(3, dtype=np.int32)))
    save_dataset(changed, *made)
    xr.testing.assert_identical(open_dataset(*made).load(), changed)


def test_text_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_write_manifest_of_an_empty_folder(tmp_path):
    (tmp_path / "a").mkdir()
    content = write_manifest(tmp_path / "a", tmp_path / "a.json")
    assert content["files"] == {}
    check(tmp_path / "a", tmp_path / "a.json")


# bfloat16


def test_all_bits_of_bfloat16_survive():
    bits = np.arange(2**16, dtype=np.uint16)
    values = from_bits(bits)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(to_bits(values), bits)


def test_bits_are_those_of_torch():
    import torch

    values = torch.randn(5, 7).bfloat16()
    bits = values.view(torch.uint16).numpy()
    np.testing.assert_array_equal(from_bits(bits), values.float().numpy())
    np.testing.assert_array_equal(to_bits(values.float().numpy()), bits)


@pytest.mark.parametrize("shape", [(2, 5, 30, 9, 8256), (3, 7), (5_000_000,), (0, 4), ()])
def test_chunks_divide_their_array(shape) -> None:
    variable = xr.Variable([f"d{i}" for i in range(len(shape))], np.zeros(shape, np.float32))
    chunks = arrays.whole_chunks(variable)
    assert all(n % max(1, c) == 0 for n, c in zip(shape, chunks, strict=True))
    inner = np.prod(chunks, dtype=int) * 4
    assert inner <= max(arrays.CHUNK_BYTES, 4 * (shape[-1] if shape else 1))


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
@pytest.mark.parametrize("piece", [5, 12, 2**18])  # 5 divides no chunk, 12 divides all
def test_a_chunk_is_the_bytes_that_zarr_writes(tmp_path, monkeypatch, dtype, piece) -> None:
    monkeypatch.setattr(arrays, "PIECE_BYTES", piece)
    data = np.arange(5 * 6).reshape(5, 6).astype(dtype)
    written = []
    for name, direct in (("direct", True), ("zarr", False)):
        group = zarr.open_group(tmp_path / name, mode="w", zarr_format=3)
        array = create_array(group, "x", ("a", "b"), data.shape, (2, 6), dtype)
        if direct:
            for index in range(3):
                write_chunk(array, (index, 0), data[2 * index : 2 * index + 2])
        else:
            array[:] = data
        np.testing.assert_array_equal(array[:], data)
        written.append(digest_files(tmp_path / name))
    assert written[0] == written[1]


@pytest.mark.parametrize("module", ["abspos.stores", "abspos.audit.ledger", "abspos.figures.save"])
def test_what_holds_no_arrays_starts_without_zarr(module) -> None:
    """Every job enters the ledger; many do no more with stores."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert module in done.stdout.split()
    assert not {"torch", "xarray", "zarr"}.intersection(done.stdout.split())


# leases


def write_file(path: Path, text: str):
    """Begin to write a file: a generator that stops before the file gets its name."""
    with stores.whole_file(path) as partial:
        partial.write_text(text)
        yield


class Job:
    """What one process does under a lease, step by step, though others run between its steps."""

    def __init__(self, folder: Path) -> None:
        self.lease = stores.lease(folder / ".t.lease", [folder / "t.csv", folder / "t.zarr"])
        self.lease.__enter__()
        self.own = stores._held

    def __enter__(self) -> None:
        stores._held = self.own

    def __exit__(self, *error) -> None:
        stores._held = None

    def end(self) -> None:
        with self:
            self.lease.__exit__(None, None, None)


@pytest.mark.parametrize("begun", [True, False])
def test_a_file_of_an_earlier_job_never_replaces_that_of_a_later_one(tmp_path, begun) -> None:
    target = tmp_path / "t.csv"
    early = Job(tmp_path)
    steps = write_file(target, "early")
    if begun:
        with early:
            next(steps)
    late = Job(tmp_path)
    with late:
        write_atomically(target, "late")
    late.end()
    with early, pytest.raises((stores.LeaseError, FileNotFoundError)):
        list(steps)
    with pytest.raises(stores.LeaseError, match="a later run makes the same files"):
        early.end()
    assert target.read_text() == "late"
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("begun", [True, False])
def test_a_folder_of_an_earlier_job_never_replaces_that_of_a_later_one(tmp_path, begun) -> None:
    pair = tmp_path / "t.zarr", tmp_path / "t.manifest.json"
    early = Job(tmp_path)
    steps = whole_folder(*pair)
    if begun:
        with early:
            (steps.__enter__() / "x").write_text("early")
    late = Job(tmp_path)
    with late, whole_folder(*pair) as folder:
        (folder / "x").write_text("late")
    late.end()
    last = (lambda: steps.__exit__(None, None, None)) if begun else steps.__enter__
    with early, pytest.raises((stores.LeaseError, FileNotFoundError)):
        last()
    check(*pair)
    assert (pair[0] / "x").read_text() == "late"
    assert sorted(tmp_path.iterdir()) == sorted(pair)


def test_a_lease_that_nobody_took_leaves_nothing(tmp_path) -> None:
    with stores.lease(tmp_path / ".t.lease", [tmp_path / "t.csv"]):
        write_atomically(tmp_path / "t.csv", "1")
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_a_target_whose_name_begins_with_another_s_is_left_alone(tmp_path) -> None:
    other = write_file(tmp_path / "t.csv.b", "other")
    next(other)
    with stores.lease(tmp_path / ".t.lease", [tmp_path / "t.csv"]):
        pass
    list(other)
    assert (tmp_path / "t.csv.b").read_text() == "other"
