"""A whole study on a real Slurm: where its jobs land, and that its results are the local run's."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from conftest import ON_GPU, Begun, Project
from throwaway import Cluster

pytestmark = pytest.mark.slow


def rule_of(record: dict[str, str]) -> str:
    """The rule of a job, from the comment that the plugin gives it."""
    return re.sub(r"^rule_(.*?)(_wildcards_.*)?$", r"\1", record["Comment"])


@pytest.fixture(scope="module")
def whole(begun: dict[str, Begun]) -> Project:
    """A study that ran on the cluster; there is no CUDA here, so its device stays ``cpu``."""
    return begun["whole"].ended()


def test_gpu_jobs_get_a_device_and_cpu_jobs_do_not(whole: Project, slurm: Cluster) -> None:
    records = slurm.jobs(whole.folder)
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


def test_only_heavy_steps_are_submitted(whole: Project, slurm: Cluster) -> None:
    rules = Counter(rule_of(record) for record in slurm.jobs(whole.folder))
    expected = {"inputs": 1, "activations": 1, "activations_bos": 2, "components": 3}
    assert rules == {**expected, "statistics": 1, "choices": 1}


def test_jobs_ask_for_memory_and_time(whole: Project, slurm: Cluster) -> None:
    for record in slurm.jobs(whole.folder):
        assert record["MinMemoryNode"] == "1500M"
        assert record["TimeLimit"] == "00:15:00"


def test_results_are_those_of_a_local_run(whole: Project, begun: dict[str, Begun]) -> None:
    here, there = begun["local"].ended().results(), whole.results()
    assert len(here) > 80
    assert here.keys() == there.keys()
    assert [name for name in here if here[name] != there[name]] == []


def test_nothing_is_left_to_do(whole: Project) -> None:
    done = whole.snakemake("--profile", "slurm", "--dry-run")
    assert "Nothing to be done" in done.stdout


def test_a_sweep_goes_out_as_arrays(begun: dict[str, Begun], slurm: Cluster) -> None:
    folder = begun["sweep"].ended().folder
    records = slurm.jobs(folder)
    assert {r["JobState"] for r in records} == {"COMPLETED"}
    models = [r for r in records if rule_of(r) == "models"]
    assert sorted(r["ArrayTaskId"] for r in models) == ["1", "2"]
    assert len({r["ArrayJobId"] for r in models}) == 1
    # What becomes ready together goes out together: inputs do when both downloads are seen at once.
    assert len([r for r in records if rule_of(r) == "inputs"]) == 2
    assert all((folder / f"results/tiny/inputs/m{i}/seed-{i}.zarr").is_dir() for i in (1, 2))


def test_runs_of_a_group_share_one_gpu(begun: dict[str, Begun], slurm: Cluster) -> None:
    records = slurm.jobs(begun["groups"].ended().folder)
    groups = [r for r in records if r["Comment"].startswith(("rule_runs", "rule_references"))]
    # Two extractions and two decompositions, in as many jobs as one needs the other first.
    assert len(groups) == 2
    for record in groups:
        assert record["Partition"] == "gpu"
        assert record["TresPerJob"] == "gres:gpu:1"
        assert slurm.granted()[record["JobId"]] in {"0", "1"}
