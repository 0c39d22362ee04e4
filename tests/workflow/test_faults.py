"""Faults, by injection: each ends in a clear line, and a plain rerun completes."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from abspos.audit.verify import verify

#: How a job that failed is told on the terminal, by abspos.audit.job.
ERROR = re.compile(r"^error: (.*) \(log: (.*)\)$", re.MULTILINE)


# kill -9


def test_killed_jobs_are_named_and_leave_nothing_that_is_taken_for_whole(disturbed) -> None:
    kills = disturbed[1].kills
    for kill, event in kills.items():
        assert event.killed, f"{kill}: the job ended before it was killed:\n{event.text}"
        assert event.code == 1, kill
        assert "died with <Signals.SIGKILL: 9>" in event.text, kill
        assert len(re.findall(r"^Error in rule (\w+):", event.text, re.MULTILINE)) == 1, kill
        assert "Traceback" not in event.text, kill


def test_a_killed_controller_leaves_a_lock_and_the_message_tells_the_cure(disturbed) -> None:
    _, events = disturbed
    assert events.controller.killed
    assert events.locked.code == 1
    assert "Directory cannot be locked" in events.locked.text
    assert "--unlock" in events.locked.text


def test_a_plain_rerun_completes(disturbed) -> None:
    """That its bytes are those of an undisturbed run is told in test_run."""
    project, events = disturbed
    assert events.last.code == 0
    assert events.last.left == []
    assert project.plan().nothing


def test_two_runs_at_once_are_refused(project) -> None:
    first = project.start("--force", "results/tiny/claims.csv", held=["claims"])
    job = project.held(first, "claims")
    try:
        code, text = project.snakemake("--force", "results/tiny/front.rst")
    finally:
        job.resume()
    assert first.wait(timeout=300) == 0
    assert code == 1
    assert "Directory cannot be locked" in text
    assert project.plan().nothing


# a change, then a fault

#: Every stage that the change below reaches.
STAGES = {
    "models",
    "inputs",
    "activations",
    "components",
    "statistics",
    "claims",
    "tables",
    "choices",
    "sensitivity",
    "figures",
    "front",
}


def other_checkpoint(study) -> dict[str, object]:
    """Settings that reach all stages: another checkpoint of the same name, other statistics."""
    (model,) = study["models"]
    source = {**model["source"], "rope_theta": 500.0}
    statistics = {"sign_flips": 120, "confidence": 0.9}
    return {"models": [{**model, "source": source}], "statistics": statistics}


def other_windows(study) -> dict[str, object]:
    """Other windows of the same texts: all but the checkpoint changes."""
    return {"inputs": {**study["inputs"], "start": "document"}}


@pytest.mark.parametrize(
    ("change", "stages"), [(other_checkpoint, STAGES), (other_windows, {"inputs", "statistics"})]
)
def test_after_a_change_a_failed_job_of_any_stage_leaves_no_old_number(
    small, kill, tmp_path, change, stages
) -> None:
    """What a failed job made is gone, though what was made of it before is still there."""
    project, fresh = small.copy(tmp_path / "copy"), tmp_path / "fresh"
    project.configure(**change(project.study))
    left = set(stages)
    while left:
        event = kill(project, left)
        assert event.killed, f"no job of {left} ran:\n{event.text}"
        assert event.code == 1
        assert verify(project.results, project.root).findings
    project.run()
    assert project.plan().nothing
    assert verify(project.results, project.root).findings == []
    other = type(project)(fresh, **project.study)
    other.run("results/tiny/front.rst")
    assert project.tables() == other.tables()
    front = "front.rst"
    assert (project.results / front).read_text() == (other.results / front).read_text()


def test_a_job_that_outlives_its_snakemake_changes_nothing(small, tmp_path) -> None:
    project = small.copy(tmp_path / "copy")
    project.configure(statistics={"sign_flips": 130})
    run = project.start("results/tiny/claims.csv", held=["statistics"])
    orphan = project.held(run, "statistics")
    orphan.resume()
    wait_until(lambda: any((project.results / "logs").rglob(".*.lease")))
    orphan.suspend()
    run.send_signal(signal.SIGKILL)
    run.wait()
    project.configure(statistics={"sign_flips": 140, "confidence": 0.8})
    project.run("--unlock")
    project.run("results/tiny/claims.csv")
    before = everything(project)
    orphan.resume()
    text, _ = run.communicate(timeout=300)
    assert "error: statistics toy/seed-0: a later run makes the same files" in text
    assert everything(project) == before


def everything(project) -> dict[str, bytes]:
    """All files of the results, those of the ledger and logs included."""
    paths = (path for path in project.results.rglob("*") if path.is_file())
    return {path.relative_to(project.results).as_posix(): path.read_bytes() for path in paths}


def wait_until(what: Callable[[], bool]) -> None:
    """Wait for a condition that holds soon."""
    end = time.monotonic() + 120
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


# altered files


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def chunk(store: Path) -> Path:
    """The largest file of a store."""
    return max(store.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else -1)


def errors(project, text: str) -> str:
    """The one line that a failed run tells; the traceback is in the log."""
    ((line, log),) = ERROR.findall(text)
    assert "Traceback" not in text
    assert "Traceback" in (project.root / log).read_text()
    return line


TABLES = "results/tiny/statistics/toy/seed-0/energies.csv"


@pytest.mark.parametrize("fault", [truncate, flip])
def test_an_altered_component_store_is_told_when_read_and_made_again(
    project, fault: Callable[[Path], None]
) -> None:
    store, manifest = project.store("components", "standard/ablate-zero")
    before = {**project.manifests(), **project.tables()}
    fault(chunk(store))
    (project.root / TABLES).unlink()
    code, text = project.snakemake(TABLES)
    assert code == 1
    line = errors(project, text)
    assert str(chunk(store).relative_to(project.root)) in line
    assert f"delete {store.relative_to(project.root)}" in line
    shutil.rmtree(store)
    manifest.unlink()
    project.run(TABLES)
    assert {**project.manifests(), **project.tables()} == before


def test_an_altered_manifest_is_told_when_read_and_made_again(project) -> None:
    _, manifest = project.store("components", "window/bos")
    before = manifest.read_bytes()
    flip(manifest)
    assert "statistics" in project.plan().rules
    code, text = project.snakemake(TABLES)
    assert code == 1
    assert str(manifest.relative_to(project.root)) in errors(project, text)
    manifest.unlink()
    project.run(str(manifest.relative_to(project.root)))
    assert manifest.read_bytes() == before


def test_an_altered_checkpoint_is_told_when_read(project) -> None:
    weights = project.root / "results/checkpoints/toy/seed-0/model.safetensors"
    flip(weights)
    target = "results/tiny/activations/toy/seed-0/ntk/bos.manifest.json"
    (project.root / target).unlink()
    code, text = project.snakemake(target)
    assert code == 1
    assert "results/checkpoints/toy/seed-0/model.safetensors: altered" in errors(project, text)


# disks


def mounted(*commands: str) -> tuple[str, ...]:
    """A prefix that runs a command where some mounts are made, seen by nobody else."""
    script = " && ".join((*commands, 'exec "$@"'))
    return ("unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh")


@pytest.fixture
def own_mounts(tmp_path) -> None:
    """Skip where a process cannot have mounts of its own."""
    try:
        trial = [*mounted(f"mount -t tmpfs -o size=1m tmpfs '{tmp_path}'"), "true"]
        if subprocess.run(trial, capture_output=True).returncode == 0:
            return
    except FileNotFoundError:
        pass
    pytest.skip("mounts of one's own (unshare --mount --map-root-user) are not allowed here")


BOS = "results/tiny/activations/toy/seed-0/standard/bos.manifest.json"


@pytest.mark.usefixtures("own_mounts")
def test_a_full_disk_is_told_in_a_line(kept, tmp_path) -> None:
    project = kept.copy(tmp_path / "copy")
    folder = project.results / "activations"
    shutil.rmtree(folder)
    folder.mkdir()
    code, text = project.snakemake(
        BOS, within=mounted(f"mount -t tmpfs -o size=200k tmpfs '{folder}'")
    )
    assert code == 1
    assert "the disk is full; free some space and run again" in errors(project, text)
    project.run(BOS)
    assert project.manifests()[BOS] == kept.manifests()[BOS]


@pytest.mark.usefixtures("own_mounts")
@pytest.mark.parametrize(
    ("there", "words"), [(True, "Write-protected output files"), (False, "the folder is read-only")]
)
def test_a_read_only_results_folder_is_told_before_any_job(project, there, words) -> None:
    folder, front = project.root / "results", project.results / "front.rst"
    if not there:
        front.unlink()
    mounts = f"mount --bind '{folder}' '{folder}'", f"mount -o remount,ro,bind '{folder}'"
    code, text = project.snakemake("--force", "results/tiny/front.rst", within=mounted(*mounts))
    assert code == 1
    assert words in text
    assert "Traceback" not in text
    assert project.plan().rules == ({} if there else {"front": 1})
