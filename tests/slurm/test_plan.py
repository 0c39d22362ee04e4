"""What a study would submit: planned only, so no Slurm is needed but its client's name."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, Project

pytestmark = pytest.mark.slow

HEAVY = ("inputs", "activations", "activations_bos", "components", "statistics", "choices")


@pytest.fixture
def planned(pristine: Project, tmp_path: Path) -> Project:
    """A clone to plan in."""
    return pristine.copy(tmp_path / "clone")


def plan(project: Project, *options: str) -> str:
    """What a dry run prints, without the cluster that the profile would ask."""
    done = project.snakemake("--dry-run", "--cores", "2", *options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def counts(text: str) -> dict[str, int]:
    """Jobs of each rule in a plan."""
    table = text.rpartition("Job stats:")[2].partition("\n\n")[0]
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def resources(text: str, rule: str) -> set[str]:
    """The resources lines of a rule in a plan."""
    blocks = re.findall(rf"^rule {rule}:\n((?:    .*\n)+)", text, re.MULTILINE)
    return {re.search(r"resources: (.*)", block)[1] for block in blocks}


def test_three_variants_under_eight_conditions_are_few_jobs(planned: Project) -> None:
    conditions = [
        "bos",
        "no-bos",
        "ablate-zero",
        "swap-mean",
        "swap-noise",
        "swap-random",
        "control-noop",
        "control-shuffle",
    ]
    study = yaml.safe_load((planned.folder / "tiny.yaml").read_text())
    study["variants"] = [
        {"name": "standard", "conditions": conditions},
        {"name": "window", "window": 16, "conditions": conditions},
        {"name": "untrained", "untrained": True, "conditions": conditions},
    ]
    (planned.folder / "tiny.yaml").write_text(yaml.safe_dump(study))
    found = counts(plan(planned))
    assert found["activations"] + found["activations_bos"] == found["components"] == 24
    assert sum(found[rule] for rule in HEAVY) == 51 < 60


def test_a_sweep_over_a_hundred_checkpoints_plans_within_half_a_minute(planned: Project) -> None:
    study = yaml.safe_load((planned.folder / "tiny.yaml").read_text())
    study["models"] = [
        {"name": f"m{i}", "source": {"type": "random", "seed": i}} for i in range(100)
    ]
    (planned.folder / "tiny.yaml").write_text(yaml.safe_dump(study))
    before = os.times()
    found = counts(plan(planned))
    after = os.times()
    assert found["components"] == 300
    # Its own time on a processor, whatever else the machine does.
    used = after.children_user + after.children_system
    assert used - before.children_user - before.children_system < 30


@pytest.mark.parametrize(("way", "asked"), [("gpu", "gpu=1"), ("gres", "gres=gpu:1")])
def test_a_gpu_study_asks_for_gpus_in_one_way(planned: Project, way: str, asked: str) -> None:
    other = {"gpu": "gres", "gres": "gpu=1"}[way]
    text = plan(planned, "--config", "device=cuda", f"slurm_gpu={way}")
    for rule in ("activations", "activations_bos", "components"):
        lines = resources(text, rule)
        assert lines
        assert all(asked in line and other not in line for line in lines)
    for rule in ("inputs", "statistics", "models"):
        lines = resources(text, rule)
        assert lines
        assert not any("gpu" in line or "gres" in line for line in lines)


def test_a_cpu_study_asks_for_no_gpu(planned: Project) -> None:
    text = plan(planned)
    assert all(
        "gpu" not in line and "gres" not in line for rule in HEAVY for line in resources(text, rule)
    )


def test_a_gpu_study_without_gpu_is_refused_before_any_job(planned: Project) -> None:
    planned.env["CUDA_VISIBLE_DEVICES"] = ""
    done = planned.snakemake("--cores", "1", "--config", "device=cuda")
    assert done.returncode == 1
    assert "config: device 'cuda': no GPU is visible here; set `device: cpu`" in done.stdout
    assert "Execute" not in done.stdout
    assert not (planned.folder / "results/checkpoints").exists()


def test_the_workstation_profile_plans_a_gpu_study(planned: Project) -> None:
    done = planned.snakemake(
        "--dry-run", "--profile", "profiles/workstation", "--config", "device=cuda"
    )
    assert done.returncode == 0, done.stdout
    assert any("gpu=1" in line for line in resources(done.stdout, "activations"))


def test_no_profile_overrules_another() -> None:
    """profiles/default wins key by key, so the others may share no key with it."""
    default = yaml.safe_load((ROOT / "profiles/default/profile.yaml").read_text())
    for name in ("slurm/profile.yaml", "profiles/workstation/profile.yaml"):
        other = yaml.safe_load((ROOT / name).read_text())
        assert not default.keys() & other.keys()


def test_the_profile_says_all_that_it_must() -> None:
    profile = yaml.safe_load((ROOT / "slurm/profile.yaml").read_text())
    partitions = yaml.safe_load((ROOT / "slurm/partitions.yaml").read_text())["partitions"]
    assert profile["executor"] == "slurm"
    assert profile["retries"] >= 1
    assert profile["slurm-status-command"] == "sacct"
    assert profile["slurm-partition-config"] == profile["config"]["slurm_partitions"]
    assert sorted(bool(p.get("max_gpu")) for p in partitions.values()) == [False, True]
