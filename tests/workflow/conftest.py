"""Whole runs of a tiny study on a random model, each in a copy of the repository.

Two copies are made once per session: ``finished`` ran without disturbance and keeps no activations;
``disturbed`` ran the same study, keeps them, and was killed on the way in several stages. Tests
that change something take a copy of one of them (``project``).
"""

from __future__ import annotations

import fcntl
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import warm
import yaml

ROOT = Path(__file__).resolve().parents[2]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
#: What a run needs of the repository.
PARTS = ("Snakefile", "config.yaml", "envs", "profiles", "resources", "src", "workflow")
#: Which jobs are killed on the way, and when: as soon as they run, or while they write a store.
#: Every stage is killed at once in test_faults, after a change.
KILLS = (
    ("models", "writing"),
    ("inputs", "at once"),
    ("activations", "writing"),
    ("components", "writing"),
    ("statistics", "writing"),
    ("claims", "at once"),
    ("figures", "at once"),
)
#: How Snakemake says that a job only follows from another one.
FOLLOWS = "Input files updated by another job"

STUDY: dict[str, Any] = {
    "study": "tiny",
    "threads": 1,
    "models": [{"name": "toy", "source": {"type": "random", "family": "llama"}}],
    "inputs": {"number": 16, "length": 48, "batch": 16},
    "bins": {"early": 8},
    "anchor": 23,
    "variants": [
        {
            "name": "standard",
            "conditions": [
                "bos",
                "no-bos",
                "ablate-zero",
                "swap-token",
                {"name": "control-noop", "inputs": 8},
            ],
        },
        {"name": "ntk", "rope": {"rope_type": "ntk", "factor": 8}, "conditions": ["bos"]},
        {"name": "window", "window": 12, "conditions": ["bos"]},
    ],
    "swap_tokens": ["a"],
    "statistics": {"sign_flips": 200},
    "figures": {"formats": ["svg"]},
}

#: What makes it smaller: for tests that run it several times.
SMALL: dict[str, Any] = {
    "models": [
        {
            "name": "toy",
            "source": {
                "type": "random",
                "family": "llama",
                "layers": 1,
                "heads": 2,
                "kv_heads": 1,
                "head_dim": 8,
                "hidden_size": 16,
            },
        }
    ],
    "inputs": {"number": 8, "length": 32, "batch": 8},
    "bins": {"early": 8},
    "anchor": 15,
    "variants": [{"name": "standard", "conditions": ["bos", "no-bos"]}],
    "swap_tokens": [],
    "statistics": {"sign_flips": 100},
}

#: What makes it a study whose truth is known: a reduction of R by 40 % in swap-token (log lens,
#: median head), none in ntk, no R at all in no-bos and untrained.
KNOWN: dict[str, Any] = {
    "models": [
        {
            "name": "quiet",
            "source": {
                "type": "synthetic",
                "layers": 2,
                "heads": [1.0, 2.0],
                "sinks": [1.5, 0.75],
                "noise": 0.3,
                "left": {"no-bos": 0, "swap-token": 0.7925, "ntk": 1.0},
            },
        }
    ],
    "inputs": {"number": 32, "length": 32, "batch": 16},
    "bins": {"early": 8},
    "anchor": 15,
    "variants": [
        {
            "name": "standard",
            "conditions": ["bos", "no-bos", "swap-token", {"name": "control-noop", "inputs": 8}],
        },
        {"name": "ntk", "rope": {"rope_type": "ntk", "factor": 8}, "conditions": ["bos"]},
        {"name": "untrained", "untrained": True, "conditions": ["bos"]},
    ],
    "calibration": {"population": 600},
}


@dataclass(frozen=True)
class Job:
    """One planned job, as ``snakemake -n`` prints it."""

    rule: str
    wildcards: dict[str, str]
    reason: str


@dataclass(frozen=True)
class Plan:
    """What ``snakemake -n`` printed.

    Attributes:
        text: all of it.
        jobs: the planned jobs, without ``all``.
    """

    text: str
    jobs: list[Job] = field(init=False)

    def __post_init__(self) -> None:
        blocks = re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", self.text, re.MULTILINE)
        found = []
        for rule, block in blocks:
            facts = dict(re.findall(r"^    (\w+): (.*)$", block, re.MULTILINE))
            pairs = facts.get("wildcards", "").split(", ")
            wildcards = dict(pair.split("=", 1) for pair in pairs if pair)
            found.append(Job(rule.removesuffix("_bos"), wildcards, facts.get("reason", "")))
        object.__setattr__(self, "jobs", [job for job in found if job.rule != "all"])

    @property
    def nothing(self) -> bool:
        """Whether nothing is planned."""
        return "Nothing to be done" in self.text and not self.jobs

    @property
    def rules(self) -> dict[str, int]:
        """Planned jobs by rule."""
        return dict(Counter(job.rule for job in self.jobs))

    def arms(self, rule: str) -> list[str]:
        """variant/condition of the planned jobs of a rule, sorted."""
        found = (job.wildcards for job in self.jobs if job.rule == rule)
        return sorted(f"{w['variant']}/{w['condition']}" for w in found)

    def causes(self) -> dict[str, str]:
        """What changed, by rule: reasons that do not come from another job."""
        found = {}
        for job in self.jobs:
            reasons = [part for part in job.reason.split("; ") if not part.startswith(FOLLOWS)]
            if reasons:
                found[job.rule] = "; ".join(reasons)
        return found


class Project:
    """A copy of the repository, with one study in it.

    Attributes:
        environment: of Snakemake, where it is not that of the tests.
    """

    def __init__(self, root: Path, **changes: Any) -> None:
        self.root = root
        self.study: dict[str, Any] = STUDY
        self.environment: dict[str, str] | None = None
        self.results = root / "results" / str(STUDY["study"])
        self.clone()
        self.configure(**changes)

    def clone(self) -> None:
        """Bring the sources, all with the time stamps of now, as a fresh clone has them."""
        for part in PARTS:
            source, target = ROOT / part, self.root / part
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, target, ignore=ignored, copy_function=shutil.copyfile)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def configure(self, **changes: Any) -> None:
        """Write the study, with some keys at the top changed."""
        self.study = {**self.study, **changes}
        path = self.root / "studies" / "tiny.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(self.study), encoding="utf-8")

    def copy(self, root: Path, snakemake: bool = True) -> Project:
        """A fresh clone beside copied results, and by choice Snakemake's own records."""
        made = Project(root, **self.study)
        made.environment = self.environment
        for name in ("results", *([".snakemake"] if snakemake else [])):
            shutil.copytree(self.root / name, root / name, symlinks=True)
        return made

    def command(self, *arguments: str) -> list[str]:
        """A command line of Snakemake."""
        return [str(SNAKEMAKE), "--configfile", "studies/tiny.yaml", "--cores", "2", *arguments]

    def start(
        self, *arguments: str, within: tuple[str, ...] = (), held: Iterable[str] = ()
    ) -> subprocess.Popen[str]:
        """Start Snakemake, or a command that ends in it.

        Jobs of ``held`` stop before their scripts begin, until they are killed or resumed.
        """
        python = () if within else (str(warm.shared().python),)
        return subprocess.Popen(
            [*within, *python, *self.command(*arguments)],
            cwd=self.root,
            env={**(self.environment or os.environ), warm.HELD: " ".join(held)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def snakemake(self, *arguments: str, within: tuple[str, ...] = ()) -> tuple[int, str]:
        """Run Snakemake to its end: exit code and all that it printed."""
        process = self.start(*arguments, within=within)
        text, _ = process.communicate(timeout=600)
        return process.returncode, text

    def run(self, *targets: str) -> str:
        """Run what is to be done; it must succeed."""
        code, text = self.snakemake(*targets)
        assert code == 0, text
        return text

    def plan(self, *targets: str) -> Plan:
        """What would run."""
        code, text = self.snakemake("-n", *targets)
        assert code == 0, text
        return Plan(text)

    def edit(self, path: str, change: Callable[[str], str]) -> None:
        """Rewrite one text file."""
        file = self.root / path
        file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")

    def store(self, stage: str, arm: str = "standard/bos") -> tuple[Path, Path]:
        """The store of one arm and its manifest."""
        folder = self.results / stage / "toy" / "seed-0"
        return folder / f"{arm}.zarr", folder / f"{arm}.manifest.json"

    def tables(self) -> dict[str, bytes]:
        """Every CSV table, by its path below the results."""
        paths = sorted(self.results.rglob("*.csv"))
        return {path.relative_to(self.results).as_posix(): path.read_bytes() for path in paths}

    def manifests(self) -> dict[str, bytes]:
        """Every manifest, by its path below the project."""
        paths = sorted((self.root / "results").rglob("*.manifest.json"))
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in paths}

    def leftovers(self) -> list[str]:
        """Half-written files and folders."""
        return sorted(str(p.relative_to(self.root)) for p in self.results.rglob(".*partial*"))

    def jobs(self, script: str) -> list[psutil.Process]:
        """Running jobs, by the stem of their script."""
        return warm.shared().jobs(script, self.root)

    def held(self, run: subprocess.Popen[str], script: str) -> psutil.Process:
        """The first job of a script of ``held``, once it has stopped."""
        while not (stopped := [job for job in self.jobs(script) if is_stopped(job)]):
            assert run.poll() is None, f"the run ended before its {script} began"
            time.sleep(0.01)
        return stopped[0]


def is_stopped(process: psutil.Process) -> bool:
    """Whether a process waits to be killed or resumed."""
    try:
        return process.status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return False


@dataclass
class Disturbance:
    """What happened when a run was killed.

    Attributes:
        killed: whether the job was caught while it ran.
        code: Snakemake's exit code.
        text: what it printed.
        left: half-written folders at the end.
    """

    killed: bool
    code: int
    text: str
    left: list[str]


@dataclass
class Disturbances:
    """All that happened to one study.

    Attributes:
        kills: of jobs, by stage and moment.
        controller: the kill of Snakemake itself.
        locked: the run after that.
        last: the run that completed.
    """

    kills: dict[tuple[str, str], Disturbance]
    controller: Disturbance
    locked: Disturbance
    last: Disturbance


def kill_writing(project: Project, stage: str, folder: Path) -> Disturbance:
    """Run until a job of a stage writes into a folder, and kill -9 that job."""
    run = project.start()
    killed = False
    while run.poll() is None and not killed:
        for job in project.jobs(stage):
            while job.is_running() and not (killed := any(folder.rglob(".*.partial"))):
                time.sleep(0.001)
            if killed:
                job.kill()
                break
        time.sleep(0.01)
    text, _ = run.communicate(timeout=600)
    return Disturbance(killed, run.returncode, text, project.leftovers())


def kill_stages(project: Project, stages: set[str]) -> Disturbance:
    """Run, and kill -9 the first job of each of these stages as it begins.

    Stages of which a job was killed are taken out of the set.
    """
    held = frozenset(stages)
    run = project.start(held=held)
    while True:
        try:
            text, _ = run.communicate(timeout=0.01)
            return Disturbance(held != stages, run.returncode, text, project.leftovers())
        except subprocess.TimeoutExpired:
            pass
        for stage in sorted(held):
            for job in filter(is_stopped, project.jobs(stage)):
                if stage in stages:
                    stages.discard(stage)
                    job.kill()
                else:
                    job.resume()


def kill_controller(project: Project, stage: str) -> Disturbance:
    """Run until a job of a stage begins, kill -9 Snakemake itself, and let its jobs end."""
    run = project.start(held=[stage])
    project.held(run, stage)
    run.send_signal(signal.SIGKILL)
    while True:
        try:
            text, _ = run.communicate(timeout=0.01)  # ends when the orphans have ended, too
            return Disturbance(True, run.returncode, text, project.leftovers())
        except subprocess.TimeoutExpired:
            for job in filter(is_stopped, project.jobs(stage)):
                job.resume()


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Any:
    """What takes long, made in a folder by the first worker that asks, for all workers."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    made = shared / f"{name}.pickle"
    with open(shared / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            made.write_bytes(pickle.dumps(make(shared / name)))
    return pickle.loads(made.read_bytes())


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The study after an undisturbed run. Not to be changed."""

    def make(folder: Path) -> Project:
        project = Project(folder)
        project.run()
        return project

    return once(tmp_path_factory, "finished", make)


@pytest.fixture(scope="session")
def known(tmp_path_factory) -> Project:
    """A study of a synthetic model after a run. Not to be changed."""

    def make(folder: Path) -> Project:
        project = Project(folder, **KNOWN)
        project.run()
        return project

    return once(tmp_path_factory, "known", make)


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Project:
    """The smaller study after a run. Not to be changed."""

    def make(folder: Path) -> Project:
        project = Project(folder, **SMALL)
        project.run()
        return project

    return once(tmp_path_factory, "small", make)


@pytest.fixture(scope="session")
def disturbed(tmp_path_factory) -> tuple[Project, Disturbances]:
    """The study after a run that was killed several times, with activations kept."""
    return once(tmp_path_factory, "disturbed", disturb)


def disturb(folder: Path) -> tuple[Project, Disturbances]:
    """Run the study, kill jobs and Snakemake itself on the way, and complete it."""
    project = Project(folder, keep_activations=True)
    results, checkpoints = project.results, project.root / "results" / "checkpoints"
    writing = {"models": checkpoints} | {
        stage: results / stage for stage in ("activations", "components", "statistics")
    }

    kills = {}
    for stage, when in KILLS:
        if when == "at once":
            kills[stage, when] = kill_stages(project, {stage})
        else:
            kills[stage, when] = kill_writing(project, stage, writing[stage])
    controller = kill_controller(project, "figures")
    code, text = project.snakemake()
    locked = Disturbance(False, code, text, [])
    project.run("--unlock")
    last = Disturbance(False, 0, project.run(), project.leftovers())
    return project, Disturbances(kills, controller, locked, last)


@pytest.fixture(scope="session")
def kept(disturbed) -> Project:
    """The study with its activations. Not to be changed."""
    return disturbed[0]


@pytest.fixture
def project(finished, tmp_path) -> Iterator[Project]:
    """A copy of the finished study, to be changed."""
    yield finished.copy(tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)


@pytest.fixture(scope="session")
def new_project() -> type[Project]:
    """Makes copies of the repository, for runs that several tests share."""
    return Project


@pytest.fixture(scope="session")
def plan_of() -> type[Plan]:
    """Reads what ``snakemake -n`` printed."""
    return Plan


@pytest.fixture(scope="session")
def small_study() -> dict[str, Any]:
    """What makes the study of ``small``."""
    return SMALL


@pytest.fixture(scope="session")
def kill() -> Callable[[Project, set[str]], Disturbance]:
    """See kill_stages."""
    return kill_stages


@pytest.fixture
def fresh(tmp_path) -> Project:
    """A copy of the repository in which nothing has run."""
    return Project(tmp_path / "fresh")


@pytest.fixture
def touch() -> Callable[[Path], None]:
    """Give every file below a folder the time stamp of now, in no order of theirs."""

    def now(folder: Path) -> None:
        for path in sorted(folder.rglob("*"), reverse=True):
            if not path.is_symlink():
                os.utime(path)

    return now
