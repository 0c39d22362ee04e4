"""Whatever happens to results, code or packages, verify names it; nothing else does it name."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from abspos.arrays import save_dataset
from abspos.audit import ledger, machine
from abspos.audit.crate import pack
from abspos.audit.explain import explain
from abspos.audit.job import job
from abspos.audit.verify import verify
from abspos.stores import StoreError, root_digest

STORE = "components/m/r1/bos.zarr"
ACTIVATIONS, COMPONENTS = (f"results/s/{stage}/m/r1/bos" for stage in ("activations", "components"))
CHECKPOINT, CORPUS = "results/checkpoints/m/r1", "resources/corpus/a.jsonl"


def found(study) -> set[tuple[str, str]]:
    """Kind and relative name of each finding."""
    findings = verify(study.results, study.root).findings
    return {(f.kind, f.what.removeprefix(f"{study.root}/")) for f in findings}


def edit_entry(study, output: str, **changes) -> None:
    """Forge an entry: its own digest is made anew."""
    path = study.root / ledger.place(output)
    path.write_text(ledger.render({**ledger.read(path), **changes}))


def everything(study) -> list[Path]:
    """All files that a study and its checkpoints consist of."""
    return sorted(p for p in (study.root / "results").rglob("*") if p.is_file())


def test_a_finished_study_is_as_recorded(study):
    report = verify(study.results, study.root)
    assert report.findings == []
    assert (report.files, report.stores) == (6, 3)
    assert [note.partition(",")[0] for note in report.notes] == ["temporary stores"]


@settings(max_examples=50)
@given(data=st.data())
def test_one_flipped_byte_anywhere_is_found(finished, data):
    path = data.draw(st.sampled_from(everything(finished)))
    before = path.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1)) if before else None
    after = bytearray(before or b"x")
    if place is not None:
        after[place] ^= data.draw(st.integers(1, 255))
    try:
        path.write_bytes(after)
        findings = verify(finished.results, finished.root).findings
    finally:
        path.write_bytes(before)
    name = path.relative_to(finished.root).as_posix()
    assert any(name in finding.what or name in finding.detail for finding in findings), findings


def test_every_single_missing_file_is_named(finished):
    for path in everything(finished):
        kept = path.read_bytes()
        path.unlink()
        try:
            findings = verify(finished.results, finished.root).findings
        finally:
            path.write_bytes(kept)
        name = path.relative_to(finished.root).as_posix()
        own = name.replace("/ledger/", "/").removesuffix(".json") if "/ledger/" in name else name
        assert any(own in f"{f.what} {f.detail}" for f in findings), name


def test_files_that_nobody_wrote_are_named_and_snakemakes_own_are_not(study):
    (study.results / "extra.csv").write_text("a\n")
    (study.results / STORE / "more").write_text("a")
    (study.results / STORE / ".snakemake_timestamp").write_text("")
    (study.results / "report.html").write_text("<html>")
    (study.results / "ledger/.x.json.partial-77").write_text("{")
    (study.results / "components/.x.zarr.partial").mkdir()
    (study.results / "components/.x.zarr.partial/c").write_text("")
    assert found(study) == {
        ("unaccounted", "results/s/extra.csv"),
        ("unaccounted", f"results/s/{STORE}/more"),
        ("unaccounted", "results/s/ledger/.x.json.partial-77"),
        ("unaccounted", "results/s/components/.x.zarr.partial"),
    }


def test_files_that_nobody_wrote_are_named_wherever_they_lie(study):
    names = (
        "results/s/logs/extra.csv",
        "results/s/logs/.tables.log.lease",
        "results/s/benchmarks/b.tsv",
        "results/checkpoints/extra.bin",
        "results/checkpoints/.training/m/extra.bin",
        "results/checkpoints/m/r2/model.safetensors",
        "results/checkpoints/ledger/notes.txt",
    )
    for name in names:
        path = study.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("?")
    (study.results / STORE / ".snakemake_timestamp").write_text("hidden")
    (study.results / "report.html").mkdir()
    (study.results / "report.html/x").write_text("")
    (study.results / "linked").symlink_to(study.root / "src")
    hidden = {f"results/s/{STORE}/.snakemake_timestamp", "results/s/report.html/x"}
    wanted = {*names, *hidden, "results/s/linked"}
    assert found(study) == {("unaccounted", name) for name in wanted}


def test_checkpoints_of_other_studies_notes_states_and_failed_logs_are_no_findings(study):
    study.models("results/checkpoints/other/r7")
    (study.root / "results/checkpoints/.training/m").mkdir(parents=True)
    for name in ("state.json", "step10.safetensors"):
        (study.root / "results/checkpoints/.training/m" / name).write_text("{}")
    (study.root / "results/checkpoints/m/r2.gap.json").write_text("{}")
    (study.results / "logs/failed.log").write_text("Traceback")
    report = verify(study.results, study.root)
    assert report.findings == []
    assert any("logs of jobs that failed" in note and "failed.log" in note for note in report.notes)


BROKEN = {
    "empty": "",
    "deep": "[" * 100_000,
    "deep files": '{"bytes": 1, "root": "", "files": ' + '{"a":' * 50_000,
    "no bytes": json.dumps({"root": root_digest({}), "files": {}}),
    "no text": json.dumps({"root": root_digest({}), "files": {}, "bytes": "1"}),
    "wrong digests": json.dumps({"root": root_digest({"a": "1"}), "files": {"a": 1}, "bytes": 1}),
    "lone surrogate": json.dumps({"root": "", "files": {"\ud800": ""}, "bytes": 1}),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("manifest", [f"{COMPONENTS}.manifest.json", f"{CHECKPOINT}.manifest.json"])
def test_a_broken_manifest_is_named_and_the_rest_still_read(study, manifest, text):
    (study.root / manifest).write_text(text)
    (study.results / "claims.csv").write_text("x")
    assert found(study) >= {("altered", manifest), ("altered", "results/s/claims.csv")}


@pytest.mark.parametrize(
    "name",
    [
        "left-out.json",
        f"{COMPONENTS}.manifest.json",
        f"{COMPONENTS}.zarr/pipe",
        "results/s/claims.csv",
        "results/s/ledger/claims.csv.json",
        "results/s/logs/tables.log",
        "results/s/extra.csv",
        "results/s/ledger/extra.json",
        "workflow/scripts/tables.py",
        CORPUS,
    ],
)
def test_a_pipe_is_named_and_ends_nothing(study, name):
    (study.root / name).unlink(missing_ok=True)
    os.mkfifo(study.root / name)
    findings = found(study)
    assert name == "left-out.json" or any(name == what for _, what in findings)


@pytest.mark.parametrize("name", ["src/abspos/drawing.py", "workflow/rules/all.smk"])
def test_a_source_that_is_no_text_ends_nothing(study, name):
    (study.root / name).write_bytes(b"\xff\xfe\x00")
    report = verify(study.results, study.root)
    assert ("code", name) in found(study) or any("rules edited" in note for note in report.notes)


def replaced(study) -> None:
    """A revision that was measured, and is a gap by now."""
    checkpoint, store = "results/checkpoints/m/r0", "results/s/components/m/r0/bos"
    study.models(checkpoint)
    outputs = [f"{store}.zarr", f"{store}.manifest.json"]
    inputs = [checkpoint, f"{checkpoint}.manifest.json"]
    with job(study.snakemake("components", inputs, outputs)):
        save_dataset(xr.Dataset({"x": ("head", [1.0])}), *map(Path, outputs))
    shutil.rmtree(checkpoint)
    Path(f"{checkpoint}.manifest.json").unlink()
    Path(f"{checkpoint}.gap.json").write_text('{"commit": "1", "reason": "broken"}')


def test_a_gap_that_replaces_a_measured_revision_is_no_finding(study, tmp_path):
    before = verify(study.results, study.root)
    replaced(study)
    report = verify(study.results, study.root)
    assert report.findings == []
    assert any("that no current result was made from" in note for note in report.notes)
    assert (report.seal, report.run_seal) == (before.seal, before.run_seal)
    pack(study.results, study.root, tmp_path / "crate")
    assert verify(tmp_path / "crate/results/s", tmp_path / "crate").findings == []
    assert not (tmp_path / "crate/results/s/ledger/components/m/r0").exists()


def test_what_is_left_of_a_revision_is_still_compared_with_its_entry(study):
    replaced(study)
    name = "results/s/components/m/r0/bos.manifest.json"
    Path(name).write_text("{}")
    assert ("altered", name) in found(study)


@pytest.mark.parametrize("crate", [True, False])
def test_a_list_of_what_is_left_out_hides_no_table_and_nothing_outside_of_a_crate(study, crate):
    claims, store = "results/s/claims.csv", f"{COMPONENTS}.zarr"
    listed = {name: ledger.read(ledger.place(name))["digest"] for name in (claims, store)}
    corpus = ledger.read(ledger.place(f"{ACTIVATIONS}.zarr"))["inputs"][CORPUS]["digest"]
    (study.root / "left-out.json").write_text(json.dumps({**listed, CORPUS: corpus}))
    if crate:
        (study.root / "ro-crate-metadata.json").write_text("{}")
    Path(claims).unlink()
    Path(CORPUS).unlink()
    shutil.rmtree(store)
    hidden = {("missing", store)} if crate else set()
    assert found(study) == {("missing", name) for name in (claims, store, CORPUS)} - hidden


def test_a_kept_store_that_is_missing_is_missing_and_a_temporary_one_is_not(study):
    shutil.rmtree(study.results / STORE)
    assert found(study) == {("missing", f"results/s/{STORE}")}


def test_a_temporary_store_that_is_there_is_read_too(study):
    study.activations()
    assert found(study) == set()
    chunk = next((study.results / "activations/m/r1/bos.zarr/residual/c").rglob("0"))
    while chunk.is_dir():
        chunk = next(chunk.iterdir())
    chunk.write_bytes(chunk.read_bytes()[:-1])
    assert {kind for kind, _ in found(study)} == {"altered"}


def test_an_entry_that_calls_a_kept_store_temporary_hides_nothing(study):
    edit_entry(study, f"{COMPONENTS}.zarr", temporary=True)
    assert found(study) == {("altered", f"{COMPONENTS}.zarr")}
    shutil.rmtree(f"{COMPONENTS}.zarr")
    assert ("altered", f"{COMPONENTS}.zarr") in found(study)


@pytest.mark.parametrize("name", ["results/s/claims.csv", f"{COMPONENTS}.zarr"])
@pytest.mark.parametrize("forged", ["kind", "bytes"])
def test_an_entry_of_another_kind_or_size_is_no_missing_result(study, name, forged):
    entry = ledger.read(ledger.place(name))
    other = {"store": "file", "file": "store"}[entry["kind"]]
    edit_entry(study, name, **{forged: other if forged == "kind" else entry["bytes"] + 1})
    assert found(study) == {("altered", name)}


def test_an_edited_source_is_named_and_a_comment_is_not(study):
    source = study.root / "src/abspos/drawing.py"
    source.write_text("# said\n" + source.read_text())
    assert found(study) == set()
    source.write_text("COLOUR = 'red'\n")
    assert found(study) == {("code", "src/abspos/drawing.py")}
    source.unlink()
    (finding,) = verify(study.results, study.root).findings
    assert finding.detail == "gone; it made results/s/figures/f.svg"


def test_another_version_of_a_package_is_named_with_what_it_made(study, monkeypatch):
    now = {**machine.packages(), "numpy": "99.0", "matplotlib": "99.0"}
    monkeypatch.setattr(machine, "packages", lambda: now)
    findings = verify(study.results, study.root).findings
    named = [f.what.partition(" ")[0] for f in findings]
    assert "numpy" in named
    assert all("today: 99.0" in f.detail for f in findings)


def test_an_edited_rule_is_a_note(study):
    rules = study.root / "workflow/rules/all.smk"
    rules.write_text(rules.read_text().replace("# said", "# said otherwise"))
    assert len(verify(study.results, study.root).notes) == 1
    rules.write_text(rules.read_text().replace("rule tables:", "rule tables:\n    threads: 2"))
    report = verify(study.results, study.root)
    assert report.findings == []
    assert "rules edited since; snakemake -n shows whether it matters: tables" in report.notes


def test_a_result_remade_behind_its_readers_back_is_stale(study):
    study.activations()
    study.components(nudge=1.0)
    assert found(study) == {
        ("stale", "results/s/claims.csv"),
        ("stale", "results/s/statistics/energies.csv"),
    }


def test_a_corpus_that_changed_or_is_gone_is_named(study):
    corpus = study.root / "resources/corpus/a.jsonl"
    corpus.write_text("{}\n")
    assert found(study) == {("altered", "resources/corpus/a.jsonl")}
    corpus.unlink()
    assert found(study) == {("missing", "resources/corpus/a.jsonl")}


def test_a_forged_table_with_a_forged_entry_breaks_the_chain(study):
    claims = study.results / "claims.csv"
    claims.write_text("claim,estimate,p_value\n")
    edit_entry(study, "results/s/claims.csv", **ledger.describe(claims))
    assert found(study) == {("stale", "results/s/figures/f.svg")}


def test_a_result_and_its_entry_both_gone_are_missed_by_their_readers(study):
    (study.results / "claims.csv").unlink()
    ledger.place("results/s/claims.csv").unlink()
    assert found(study) == {("missing", "results/s/claims.csv")}


def test_an_entry_of_another_file_is_not_believed(study):
    shutil.copy(ledger.place("results/s/figures/f.svg"), ledger.place("results/s/claims.csv"))
    assert ("altered", "results/s/ledger/claims.csv.json") in found(study)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"path": 3}', "\xff", "[" * 9999])
def test_entries_that_are_none(study, text):
    ledger.place("results/s/figures/f.svg").write_bytes(text.encode("latin-1"))
    assert found(study) == {
        ("altered", "results/s/ledger/figures/f.svg.json"),
        ("unaccounted", "results/s/figures/f.svg"),
    }


def test_moved_results_verify_in_their_new_place(study, tmp_path):
    shutil.move(study.root / "results", tmp_path / "elsewhere")
    report = verify(tmp_path / "elsewhere/s", study.root)
    assert report.findings == []
    (tmp_path / "elsewhere/s").rename(tmp_path / "elsewhere/renamed")
    assert verify(tmp_path / "elsewhere/renamed", study.root).findings == []
    chunk = tmp_path / "elsewhere/checkpoints/m/r1/config.json"
    chunk.write_text("[]")
    findings = verify(tmp_path / "elsewhere/renamed", study.root).findings
    assert [(f.kind, f.what) for f in findings] == [("altered", str(chunk))]


def test_no_ledger_at_all_is_a_finding(study):
    shutil.rmtree(study.results / "ledger")
    assert ("missing", "results/s/ledger") in found(study)


def test_two_clones_have_one_seal_and_a_changed_number_another(finished, made):
    one = verify(finished.results, finished.root).seal
    again, other = made(), made(nudge=1e-9)
    assert verify(again.results, again.root).seal == one
    assert verify(other.results, other.root).seal != one


def test_a_forged_figure_with_its_entry_changes_the_seal_of_the_run_alone(study):
    before = verify(study.results, study.root)
    figure = study.results / "figures/f.svg"
    figure.write_text("<svg></svg>\n")
    edit_entry(study, "results/s/figures/f.svg", **ledger.describe(figure))
    after = verify(study.results, study.root)
    assert after.findings == []
    assert after.seal == before.seal
    assert after.run_seal != before.run_seal


def test_a_rewritten_entry_changes_the_seal_of_the_run(study):
    before = verify(study.results, study.root).run_seal
    edit_entry(study, "results/s/figures/f.svg", config={"seed": 1, "stage": "figures"})
    assert verify(study.results, study.root).run_seal != before


def test_a_rewritten_entry_of_a_job_with_several_results_is_named(study):
    edit_entry(study, "results/s/claims.csv", config={"seed": 1, "stage": "tables"})
    assert found(study) == {
        ("altered", "results/s/claims.csv"),
        ("altered", "results/s/statistics/energies.csv"),
    }


def test_a_copy_of_the_run_has_its_seal_wherever_it_lies(study, tmp_path):
    before = verify(study.results, study.root).run_seal
    shutil.move(study.root / "results", tmp_path / "elsewhere")
    assert verify(tmp_path / "elsewhere/s", study.root).run_seal == before


def test_entries_are_one_text_and_nothing_of_the_machine_names_it(study):
    for path in ledger.entries(study.results):
        text = path.read_text()
        assert text == ledger.render(json.loads(text))
        assert str(study.root) not in text
        assert os.uname().nodename not in text or len(os.uname().nodename) < 4


SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3)
JSON = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS)


def places(value, path=()):
    """Paths of all values in nested dictionaries and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


@settings(max_examples=50)
@given(data=st.data())
def test_forged_entries_of_any_kind_give_findings_and_no_crash(finished, data):
    file = finished.root / ledger.place("results/s/claims.csv")
    before = file.read_text()
    entry = json.loads(before)
    *above, last = data.draw(st.sampled_from(sorted(places(entry), key=str)))
    inner = entry
    for key in above:
        inner = inner[key]
    inner[last] = data.draw(JSON)
    file.write_text(ledger.render(entry))
    try:
        report = verify(finished.results, finished.root)
        for finding in report.findings:
            assert str(finding).count("\n") == 0
        with contextlib.suppress(StoreError):
            list(explain(str(finished.results / "claims.csv"), finished.results, finished.root))
    finally:
        file.write_text(before)
