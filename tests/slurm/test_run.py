"""A whole study on a real Slurm: where its jobs land, and that its results are the local run's."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from conftest import Project
from throwaway import Cluster

pytestmark = pytest.mark.slow

ON_GPU = ("activations", "activations_bos", "components")
TARGET = "results/tiny/inputs/tiny/seed-0.manifest.json"


def rule_of(record: dict[str, str]) -> str:
    """The rule of a job, from the comment that the plugin gives it."""
    return re.sub(r"^rule_(.*?)(_wildcards_.*)?$", r"\1", record["Comment"])


@pytest.fixture(scope="module")
def whole(
    prepared: Project, slurm: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, str]:
    """A study that ran on the cluster, and what was printed.

    There is no CUDA here: the study's device stays ``cpu``, and the GPU is asked for as
    ``device: cuda`` would ask for it (test_plan.py shows that it does).
    """
    project = prepared.copy(tmp_path_factory.mktemp("whole") / "clone")
    gpus = [f"{rule}:gpu=1" for rule in ON_GPU]
    done = project.snakemake("--profile", "slurm", "--set-resources", *gpus)
    assert done.returncode == 0, done.stdout
    return project, done.stdout


def test_gpu_jobs_get_a_device_and_cpu_jobs_do_not(
    whole: tuple[Project, str], slurm: Cluster
) -> None:
    records = slurm.jobs(whole[0].folder)
    assert {record["JobState"] for record in records} == {"COMPLETED"}
    granted = slurm.granted()
    for record in records:
        if rule_of(record) in ON_GPU:
            assert (record["Partition"], record["NodeList"]) == ("gpu", "gpu1")
            assert record["TresPerJob"] == "gres:gpu:1"
            assert granted[record["JobId"]] in {"0", "1"}
        else:
            assert (record["Partition"], record["NodeList"]) == ("cpu", "cpu1")
            assert "TresPerJob" not in record
            assert granted[record["JobId"]] == ""


def test_only_heavy_steps_are_submitted(whole: tuple[Project, str], slurm: Cluster) -> None:
    rules = Counter(rule_of(record) for record in slurm.jobs(whole[0].folder))
    expected = {"inputs": 1, "activations": 2, "activations_bos": 2, "components": 4}
    assert rules == {**expected, "statistics": 1}


def test_jobs_ask_for_memory_and_time(whole: tuple[Project, str], slurm: Cluster) -> None:
    for record in slurm.jobs(whole[0].folder):
        assert record["MinMemoryNode"] == "1500M"
        assert record["TimeLimit"] == "00:15:00"


def test_results_are_those_of_a_local_run(
    whole: tuple[Project, str], pristine: Project, tmp_path: Path
) -> None:
    local = pristine.copy(tmp_path / "local")
    done = local.snakemake("--cores", "2")
    assert done.returncode == 0, done.stdout
    here, there = local.results(), whole[0].results()
    assert len(here) > 100
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []


def test_nothing_is_left_to_do(whole: tuple[Project, str]) -> None:
    done = whole[0].snakemake("--profile", "slurm", "--dry-run")
    assert "Nothing to be done" in done.stdout


def test_a_sweep_goes_out_as_arrays(clone: Project, slurm: Cluster) -> None:
    clone.edit("slurm/profile.yaml", {"# slurm-array-jobs:": "slurm-array-jobs:"})
    more = "".join(f"  - {{name: m{i}, source: {{type: random, seed: {i}}}}}\n" for i in (1, 2))
    clone.edit("tiny.yaml", {"inputs: {": f"{more}inputs: {{"})
    clone.edit("slurm/profile.yaml", {"activations, activations_bos,": "models, inputs,",
                                      "slurm_download: local": "slurm_download: job"})  # fmt: skip
    done = clone.snakemake("--profile", "slurm", "--until", "inputs")
    assert done.returncode == 0, done.stdout
    records = slurm.jobs(clone.folder)
    assert {r["JobState"] for r in records} == {"COMPLETED"}
    by_rule = {rule: [r for r in records if rule_of(r) == rule] for rule in ("models", "inputs")}
    # One model is there already: its inputs do not wait for the others' downloads.
    assert len(by_rule["models"]) == 2
    assert len({r["ArrayJobId"] for r in by_rule["models"]}) == 1
    assert len(by_rule["inputs"]) == 3
    assert all(
        (clone.folder / f"results/tiny/inputs/{m}/seed-{i}.zarr").is_dir()
        for i, m in enumerate(("tiny", "m1", "m2"))
    )


def test_runs_of_a_group_share_one_gpu(clone: Project, slurm: Cluster) -> None:
    profile = clone.folder / "slurm/profile.yaml"
    head, commented = profile.read_text().split("# groups:")
    commented, tail = commented.split("\n\n", 1)
    profile.write_text(head + "groups:" + commented.replace("\n# ", "\n") + "\n\n" + tail)
    gpus = [f"{rule}:gpu=1" for rule in ON_GPU]
    arms = [
        f"results/tiny/components/tiny/seed-0/standard/{condition}.manifest.json"
        for condition in ("bos", "ablate-zero")
    ]
    done = clone.snakemake("--profile", "slurm", "--set-resources", *gpus, "--", *arms)
    assert done.returncode == 0, done.stdout
    groups = [
        r
        for r in slurm.jobs(clone.folder)
        if r["Comment"].startswith(("rule_runs", "rule_references"))
    ]
    # Two extractions and two decompositions, in as many jobs as one needs the other first.
    assert len(groups) == 2
    for record in groups:
        assert record["Partition"] == "gpu"
        assert record["TresPerJob"] == "gres:gpu:1"
        assert slurm.granted()[record["JobId"]] in {"0", "1"}
