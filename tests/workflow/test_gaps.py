"""A sweep with gaps from end to end: real jobs, and the real client against a hub that fails.

Of four revisions one is sound, though the hub is gated, busy and cuts it off; one is served with
another digest than is listed, one was published in half, and one is not there. Plans of more kinds,
with stand-ins for the jobs, are in test_sweeps.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import warm
from loopback import Hub

from abspos import cli
from abspos.audit.verify import verify
from abspos.models.sources import fetch_random

REPO, TOKEN = "org/tiny", "hf_token"
SOUND, ALTERED, HALF, ABSENT = "step0", "step1", "step2", "step9"
SOURCE = {
    "type": "random",
    "family": "llama",
    "layers": 1,
    "heads": 2,
    "kv_heads": 1,
    "head_dim": 8,
    "hidden_size": 16,
    "max_position_embeddings": 64,
    "rope_theta": 10000.0,
}
SMALL: dict[str, Any] = {
    "inputs": {"number": 8, "length": 32, "batch": 8},
    "bins": {"early": 8},
    "anchor": 15,
    "variants": [{"name": "standard", "conditions": ["bos"]}],
    "swap_tokens": [],
    "statistics": {"sign_flips": 100},
}
PER_REVISION = {
    "models": 1,
    "inputs": 1,
    "activations": 1,
    "components": 1,
    "statistics": 1,
    "choices": 1,
}
#: What joins all revisions; figures are left out to save time.
FRONT, ENERGIES = "results/tiny/front.rst", "results/tiny/statistics/energies.csv"
CHECKPOINTS = "results/tiny/statistics/checkpoints.csv"
TARGETS = (FRONT, ENERGIES, CHECKPOINTS)
AGGREGATES = {"checkpoints", "tables", "claims", "sensitivity", "front"}


@dataclass
class Sweep:
    """A study of hub revisions, and the hub.

    Attributes:
        project: where it runs.
        hub: what it runs on.
        altered: commit of the revision that is served with another digest than listed.
        texts: what each run printed: without a token, with gaps that show, and around them.
    """

    project: Any
    hub: Hub
    altered: str
    texts: dict[str, str]

    def name(self, *revisions: str) -> None:
        """Let the study name these revisions."""
        source = {
            "type": "hub",
            "repo": REPO,
            "revisions": list(revisions),
            "on_missing": "gap",
            "tokens_per_step": 1000,
        }
        self.project.configure(models=[{"name": "toy", "source": source}])

    def pin(self, *options: str) -> tuple[int, str]:
        """Run `abspos pin`: exit code, and all that it printed."""
        command = [
            str(warm.shared().python),
            Path(sys.executable).with_name("abspos"),
            "pin",
            "--configfile",
            "studies/tiny.yaml",
            *options,
        ]
        done = subprocess.run(
            command,
            cwd=self.project.root,
            env=self.project.environment,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    def planned(self) -> tuple[dict[str, dict[str, int]], set[str]]:
        """Planned jobs of each revision, and the rules of the others."""
        by_revision: dict[str, Counter[str]] = {}
        others = set()
        for job in self.project.plan(*TARGETS).jobs:
            if "revision" in job.wildcards:
                by_revision.setdefault(job.wildcards["revision"], Counter())[job.rule] += 1
            else:
                others.add(job.rule)
        return {name: dict(jobs) for name, jobs in by_revision.items()}, others

    def notes(self) -> dict[str, str]:
        """Reasons that broken revisions have left."""
        found = (self.project.root / "results/checkpoints/toy").glob("*.gap.json")
        return {
            path.name.removesuffix(".gap.json"): json.loads(path.read_text())["reason"]
            for path in found
        }

    def gaps(self) -> dict[str, str]:
        """Reasons by revision in the table of checkpoints."""
        table = pd.read_csv(self.project.root / CHECKPOINTS)
        assert list(table["tokens"]) == [1000 * int(name[4:]) for name in table["revision"]]
        return dict(table.dropna(subset=["gap"])[["revision", "gap"]].to_numpy())

    def measured(self) -> set[str]:
        """Revisions that the joined table of energies has."""
        return set(pd.read_csv(self.project.root / ENERGIES)["revision"])


def files(seed: int, folder: Path) -> dict[str, bytes]:
    """The files of a tiny random model."""
    folder.mkdir()
    fetch_random(SOURCE | {"seed": seed}, "", folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def sweep(new_project, tmp_path_factory) -> Iterator[Sweep]:
    """The sweep after it was run until nothing is left to be done but the gaps."""
    folder = tmp_path_factory.mktemp("gaps")
    hub = Hub()
    made = [files(seed, folder / str(seed)) for seed in range(3)]
    weights = made[2]["model.safetensors"]
    made[2]["model.safetensors"] = weights[: len(weights) // 2]
    commits = [
        hub.publish(REPO, name, one) for name, one in zip((SOUND, ALTERED, HALF), made, strict=True)
    ]
    wrong = made[1]["model.safetensors"]
    hub.instead[commits[1], "model.safetensors"] = wrong[:-1] + bytes([wrong[-1] ^ 1])
    hub.gated[REPO] = TOKEN
    project = new_project(folder / "project", **SMALL)
    project.environment = hub.environment(folder / "home")
    found = Sweep(project, hub, commits[1], {})
    found.name(SOUND, ALTERED, HALF, ABSENT)
    code, found.texts["pin"] = found.pin()
    assert code == cli.FINDINGS, "pinned, and told that it is gated"
    code, found.texts["gated"] = project.snakemake(f"results/checkpoints/toy/{SOUND}.manifest.json")
    assert code == 1
    assert found.notes() == {}
    project.environment["HF_TOKEN"] = TOKEN
    hub.faults["tokenizer.json"] = ["busy"]
    hub.faults["model.safetensors"] = ["cut"]
    code, found.texts["first"] = project.snakemake("--keep-going", *TARGETS)
    assert code == 1
    code, found.texts["second"] = project.snakemake(*TARGETS)
    assert code == 0, found.texts["second"]
    yield found
    hub.close()
    shutil.rmtree(folder / "project", ignore_errors=True)


def test_a_gate_is_no_gap_and_its_cure_is_told(sweep) -> None:
    assert "gated; accept its terms on its page of the hub, set HF_TOKEN" in sweep.texts["gated"]
    assert "Traceback" not in sweep.texts["gated"]
    told = [line for line in sweep.texts["pin"].splitlines() if line.startswith("error: ")]
    assert len(told) == 3, "one for each revision that is there, before anything is planned"
    assert all("gated; accept its terms" in line for line in told)


def test_gaps_stop_nothing_and_every_table_and_the_report_name_them(sweep, tmp_path) -> None:
    reasons = {
        ALTERED: "serves another file than it lists",
        HALF: "the checkpoint cannot be read",
        ABSENT: "no such revision",
    }
    assert f"gap: {REPO} at {ABSENT}: no such revision" in sweep.texts["pin"]
    for name in (ALTERED, HALF):
        assert reasons[name] in sweep.texts["first"], "told when it happens"
        assert reasons[name] in sweep.notes()[name]
    assert sweep.texts["first"].count("`abspos pin` to try it again") == 2
    assert "Traceback" not in sweep.texts["first"] + sweep.texts["second"]

    assert sweep.measured() == {SOUND}
    claims = pd.read_csv(sweep.project.results / "claims.csv")
    assert set(claims["revision"]) == {SOUND}
    assert claims["estimate"].notna().any()
    front = sweep.project.root / FRONT
    for name, reason in reasons.items():
        assert reason in sweep.gaps()[name]
        assert name in front.read_text()
        assert reason in front.read_text()
    assert "3 of 4 checkpoints could not be measured" in " ".join(front.read_text().split())
    assert sweep.project.plan(*TARGETS).nothing

    sweep.name(SOUND, ALTERED, ABSENT)
    assert sweep.planned() == ({}, {"checkpoints", "front"}), (
        "a gap that is left out has no numbers"
    )
    sweep.name(SOUND, ALTERED, HALF, ABSENT)


def test_what_leaves_out_mends_adds_or_moves_a_revision_plans_it_alone(sweep) -> None:
    hub, project = sweep.hub, sweep.project

    # the hub serves the right bytes again: nothing, until `abspos pin` has them tried
    sweep.name(SOUND, ALTERED, ABSENT)
    del hub.instead[sweep.altered, "model.safetensors"]
    assert sweep.planned()[0] == {}
    code, text = sweep.pin()
    assert code == cli.FINE
    assert f"gap: {REPO} at {ALTERED}: to be tried again" in text
    assert set(sweep.notes()) == {HALF}, "the study does not name it any more"
    by_revision, others = sweep.planned()
    assert by_revision == {ALTERED: PER_REVISION}
    energies = project.results / "statistics/toy" / SOUND / "energies.csv"
    before = energies.stat().st_mtime_ns
    assert others >= AGGREGATES
    project.run(*TARGETS)
    assert sweep.measured() == {SOUND, ALTERED}
    assert set(sweep.gaps()) == {ABSENT}
    assert energies.stat().st_mtime_ns == before, "of the others nothing ran again"
    assert project.plan(*TARGETS).nothing

    # one is left out: what joined them
    sweep.name(SOUND, ABSENT)
    assert sweep.pin()[0] == cli.FINE
    by_revision, others = sweep.planned()
    assert by_revision == {}
    assert others >= AGGREGATES

    # the one that was not there comes
    moved = hub.commits[hub.refs[REPO][SOUND]] | {"generation_config.json": b"{}"}
    hub.publish(REPO, ABSENT, moved)
    assert sweep.pin()[0] == cli.FINE
    by_revision, others = sweep.planned()
    assert by_revision == {ABSENT: PER_REVISION}
    assert others >= AGGREGATES

    # a branch moves: nothing more, until it is pinned anew
    hub.publish(REPO, SOUND, moved)
    assert sweep.pin()[0] == cli.FINE
    assert sweep.planned()[0] == {ABSENT: PER_REVISION}
    code, text = sweep.pin("--moved")
    assert code == cli.FINDINGS
    assert f"moved: {REPO} at {SOUND}" in text
    assert sweep.pin("--anew", SOUND)[0] == cli.FINE
    assert sweep.planned()[0] == {ABSENT: PER_REVISION, SOUND: PER_REVISION}

    # the hub is down when the new commit is fetched: its name stands beside no old number. Only a
    # run without targets is sure to make again what a failed job took with it (docs/reruns.md).
    project.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    old = claims_of(project, SOUND)
    code, text = project.snakemake()
    assert code == 1
    assert "Traceback" not in text
    assert f"error: models toy/{SOUND}: {REPO}" in text or f"error: models toy/{ABSENT}" in text
    assert verify(project.results, project.root).findings
    project.environment["HF_ENDPOINT"] = hub.endpoint
    project.run()
    assert sweep.measured() == {SOUND, ABSENT}
    assert claims_of(project, SOUND).equals(old), "the same weights under another commit"
    found = verify(project.results, project.root).findings
    assert [f"{one.kind}: {one.what}: {one.detail}" for one in found] == []
    assert project.plan().nothing


def claims_of(project, revision: str) -> pd.DataFrame:
    """The verdicts of one revision."""
    table = pd.read_csv(project.results / "claims.csv")
    return table[table["revision"] == revision].reset_index(drop=True)
