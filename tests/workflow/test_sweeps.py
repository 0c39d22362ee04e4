"""Sweeps of hub revisions by the jobs that are planned: added, removed, moved, missing, broken.

The jobs themselves are stand-ins that only write their outputs; fetching is tested in
tests/models/test_sources.py, names and files of the hub in tests/models/test_hub.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import warm

from abspos import cli

REPO = "org/tiny"
FILES = {"config.json": b"{}", "model.safetensors": b"weights"}
#: Makes every output; a revision that is called broken leaves a note, as
#: abspos.models.sources.fetch does.
STAND_IN = """
import json
from pathlib import Path

if snakemake.wildcards.get("revision") == "broken" and snakemake.rule == "models":
    note = Path(snakemake.output[0]).with_name("broken.gap.json")
    commit = snakemake.params.config["commit"]
    note.write_text(json.dumps({"commit": commit, "reason": "its sha256 is wrong"}))
    raise SystemExit("broken")
for output in map(Path, snakemake.output):
    if output.suffix == ".zarr" or output.name == snakemake.wildcards.get("revision"):
        output.mkdir(parents=True, exist_ok=True)
    else:
        output.write_text(json.dumps([*snakemake.params.config.items()]))
"""
PER_REVISION = {
    "models": 1,
    "inputs": 1,
    "activations": 1,
    "components": 1,
    "statistics": 1,
    "choices": 1,
}
#: What joins all revisions, figures left out to save time.
TARGETS = ("results/tiny/front.rst", "results/tiny/statistics/energies.csv")
AGGREGATES = {"checkpoints", "tables", "claims", "front"}


@pytest.fixture
def project(fresh, loopback, tmp_path):
    """A sweep of two revisions, pinned by the command; nothing has run."""
    for script in (fresh.root / "workflow/scripts").glob("*.py"):
        script.write_text(STAND_IN)
    for name in ("step0", "step1", "step2", "broken"):
        loopback.publish(REPO, name, {**FILES, "tokenizer.json": name.encode()})
    variants = [{"name": "standard", "conditions": ["bos"]}]
    fresh.configure(variants=variants, swap_tokens=[])
    sweep(fresh, "step0", "step1")
    command = [str(warm.shared().python), Path(sys.executable).with_name("abspos"), *COMMAND]
    environment = loopback.environment(tmp_path / "home")
    subprocess.run(command, cwd=fresh.root, env=environment, check=True, capture_output=True)
    return fresh


COMMAND = ["pin", "--configfile", "studies/tiny.yaml"]


def sweep(project, *revisions: str, **others) -> None:
    """Let the study name these revisions."""
    source = {"type": "hub", "repo": REPO, "revisions": list(revisions), **others}
    project.configure(models=[{"name": "toy", "source": source}])


def pin(project, monkeypatch, *options: str) -> int:
    """Run the command in this process."""
    monkeypatch.chdir(project.root)
    return cli.main([*COMMAND, *options])


def planned(project) -> tuple[dict[str, Counter], set[str]]:
    """Planned jobs of each revision, and the rules of the others."""
    by_revision: dict[str, Counter] = {}
    others = set()
    for job in project.plan(*TARGETS).jobs:
        if "revision" in job.wildcards:
            by_revision.setdefault(job.wildcards["revision"], Counter())[job.rule] += 1
        else:
            others.add(job.rule)
    return by_revision, others


def test_a_sweep_plans_what_changed_and_nothing_else(
    project, loopback, monkeypatch, capsys
) -> None:
    project.run(*TARGETS)

    # a branch moves: nothing, until it is pinned anew
    loopback.publish(REPO, "step1", {**FILES, "tokenizer.json": b"moved"})
    assert pin(project, monkeypatch) == cli.FINE
    assert pin(project, monkeypatch, "--moved") == cli.FINDINGS
    assert f"moved: {REPO} at step1: " in capsys.readouterr().out
    assert project.plan(*TARGETS).nothing
    assert pin(project, monkeypatch, "--anew", "step1") == cli.FINE
    by_revision, others = planned(project)
    assert by_revision == {"step1": PER_REVISION}
    assert others >= AGGREGATES

    # a revision is added beside it: both, and what joins them
    sweep(project, "step0", "step1", "step2")
    assert pin(project, monkeypatch) == cli.FINE
    by_revision, others = planned(project)
    assert by_revision == {"step1": PER_REVISION, "step2": PER_REVISION}
    assert others >= AGGREGATES

    # both are left out again: what joined them
    sweep(project, "step0")
    assert pin(project, monkeypatch) == cli.FINE
    by_revision, others = planned(project)
    assert by_revision == {}
    assert others >= AGGREGATES
    assert pin(project, monkeypatch, "--moved") == cli.FINE


def test_gaps_stop_nothing_and_are_tried_again_on_request(
    project, loopback, monkeypatch, capsys
) -> None:
    sweep(project, "step0", "broken", "step7", on_missing="gap")
    assert pin(project, monkeypatch) == cli.FINE
    assert f"gap: {REPO} at step7: no such revision" in capsys.readouterr().out
    code, _ = project.snakemake("--keep-going", *TARGETS)
    assert code == 1
    by_revision, others = planned(project)
    assert by_revision == {}, "step0 is done, broken is a gap by now"
    assert others >= AGGREGATES
    project.run("results/tiny/statistics/checkpoints.csv")
    rows = (project.results / "statistics/checkpoints.csv").read_text()
    assert "its sha256 is wrong" in rows
    assert "no such revision" in rows

    loopback.publish(REPO, "step7", FILES)
    assert pin(project, monkeypatch) == cli.FINE
    assert f"gap: {REPO} at broken: to be tried again" in capsys.readouterr().out
    by_revision, _ = planned(project)
    assert by_revision == {"broken": PER_REVISION, "step7": PER_REVISION}

    sweep(project, "step0", "step9")
    code, text = project.snakemake("-n")
    assert code == 1
    assert f"{REPO}: step9 not pinned to a commit yet; run `abspos pin" in text
    assert "--configfile studies/tiny.yaml`" in text
    assert pin(project, monkeypatch) == cli.FINDINGS
    assert "step9: no such revision" in capsys.readouterr().err


def test_what_cannot_be_measured_is_told_when_pinned_and_planned(
    project, loopback, monkeypatch, capsys
) -> None:
    config = {
        "config.json": b'{"model_type": "llama", "max_position_embeddings": 32}',
        "tokenizer_config.json": b'{"bos_token": null}',
    }
    loopback.publish(REPO, "small", {**FILES, **config})
    loopback.publish(REPO, "sinks", {**FILES, "config.json": b'{"model_type": "gpt_oss"}'})
    sweep(project, "small", "sinks")
    loopback.requests.clear()
    assert pin(project, monkeypatch) == cli.FINDINGS
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3
    for line, words in zip(told, ("no BOS token", "context of 32", "'gpt_oss'"), strict=True):
        assert line.startswith("error: ")
        assert words in line
    assert not any(name == "model.safetensors" for _, name, _ in loopback.requests)
    code, text = project.snakemake("-n")
    assert code == 1
    assert "Traceback" not in text
    assert all(line.removeprefix("error: ") in text for line in told)


def test_a_data_set_is_fetched_once_for_all_models(project, loopback, monkeypatch) -> None:
    loopback.publish("org/texts", "main", {"a.jsonl": b'{"text": "x"}\n'})
    data = {"repo": "org/texts", "files": ["a.jsonl"]}
    project.configure(inputs={"number": 16, "length": 48, "dataset": data})
    assert pin(project, monkeypatch) == cli.FINE
    code, text = project.snakemake("-n", *project_inputs("step0", "step1"))
    assert code == 0, text
    counts = dict(re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE))
    assert counts == {"corpus": "1", "models": "2", "inputs": "2", "total": "5"}


def project_inputs(*revisions: str) -> list[str]:
    """The inputs of some revisions, as targets."""
    return [f"results/tiny/inputs/toy/{revision}.manifest.json" for revision in revisions]
