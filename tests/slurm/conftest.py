"""Copies of the project with a tiny study, and a real Slurm to run them on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import warm

sys.path.insert(0, str(Path(__file__).parent))

from throwaway import Cluster, cluster, missing

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "config.yaml", "workflow", "src", "slurm", "profiles", "resources", "envs")
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
STUDY = """
study: tiny
threads: 1
models:
  - {name: tiny, source: {type: random}}
inputs: {number: 8, length: 64}
bins: {early: 8}
anchor: 31
variants:
  - {name: standard, conditions: [bos, ablate-zero]}
  - {name: window, window: 16, conditions: [bos]}
statistics: {sign_flips: 100}
figures: {formats: [svg]}
"""
SACCT = "slurm-status-command: sacct\n# slurm-status-command: squeue"
#: The one line that docs/slurm.md tells where there is no accounting, and shorter waits.
SQUEUE = {
    SACCT: "# slurm-status-command: sacct\nslurm-status-command: squeue",
    "status-checks: 20": "status-checks: 1",
}

ON_GPU = ("activations", "activations_bos", "components")
#: One light job, the windows of text, and where its script begins.
TARGET = "results/tiny/inputs/tiny/seed-0.manifest.json"
BODY = "with job(snakemake):\n"


def heed_sigint() -> None:
    """Let a child be interrupted, whatever these tests were started by: what a shell puts in the
    background ignores SIGINT, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Project:
    """A copy of the project in a folder of its own.

    Attributes:
        warm: whether its runs, on the cluster too, start without their imports.
    """

    warm = True

    def __init__(self, folder: Path, env: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.env = dict(env or os.environ)

    def edit(self, name: str, changes: dict[str, str]) -> None:
        """Replace texts in a file; each must stand there."""
        path = self.folder / name
        text = path.read_text()
        for old, new in changes.items():
            assert old in text, f"{name}: {old!r}"
            text = text.replace(old, new)
        path.write_text(text)

    def command(self, *options: str) -> list[str]:
        """The command line of a run of the tiny study."""
        python = (str(warm.shared().python),) if self.warm else ()
        return [*python, str(SNAKEMAKE), "--configfile", "tiny.yaml", "--nocolor", *options]

    def snakemake(self, *options: str, seconds: float = 900) -> subprocess.CompletedProcess[str]:
        """Run to the end; stdout and stderr together."""
        return subprocess.run(
            self.command(*options),
            cwd=self.folder,
            env=self.env,
            text=True,
            timeout=seconds,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start in the background, in a process group of its own; output goes to ``out.txt``."""
        with open(self.folder / "out.txt", "w") as out:
            return subprocess.Popen(
                self.command(*options),
                cwd=self.folder,
                env=self.env,
                text=True,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=heed_sigint,
            )

    @property
    def output(self) -> str:
        """What a started run has printed so far."""
        return (self.folder / "out.txt").read_text()

    def results(self) -> dict[str, bytes]:
        """Content of every result file; not the ledger and logs, which say when and where."""
        top = self.folder / "results"
        return {
            str(p.relative_to(top)): p.read_bytes()
            for p in sorted(top.rglob("*"))
            if p.is_file()
            and not {"ledger", "logs"} & set(p.relative_to(top).parts)
            and p.name != ".snakemake_timestamp"
        }

    def copy(self, folder: Path, env: dict[str, str] | None = None) -> Project:
        """A copy, with results and Snakemake's own notes."""
        shutil.copytree(self.folder, folder)
        return Project(folder, env or self.env)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project as it is, with the tiny study, before any run."""
    folder = tmp_path_factory.mktemp("project") / "clone"
    folder.mkdir()
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
        else:
            shutil.copy(source, folder / name)
    (folder / "tiny.yaml").write_text(STUDY)
    return Project(folder)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A cluster for all tests of the session."""
    if lacking := missing():
        pytest.skip(
            f"no Slurm here: {', '.join(lacking)} missing (apt-get install slurmctld "
            "slurmd slurm-client munge)"
        )
    with cluster() as running:
        yield running


@pytest.fixture(scope="session")
def prepared(
    pristine: Project, slurm: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """A clone set up for the cluster without accounting, its checkpoint fetched."""
    folder = tmp_path_factory.mktemp("prepared") / "clone"
    project = pristine.copy(folder, slurm.env)
    project.edit("slurm/profile.yaml", SQUEUE)
    done = project.snakemake("--cores", "2", "--until", "models")
    assert done.returncode == 0, done.stdout
    return project


def on_gpus() -> list[str]:
    """Options that ask for a GPU as ``device: cuda`` would (test_plan.py shows that it does)."""
    return ["--set-resources", *(f"{rule}:gpu=1" for rule in ON_GPU)]


def sweep(project: Project) -> tuple[str, ...]:
    """Two other models, fetched in jobs, in arrays; the options of the run."""
    models = ", ".join(f"{{name: m{i}, source: {{type: random, seed: {i}}}}}" for i in (1, 2))
    old = "models:\n  - {name: tiny, source: {type: random}}\n"
    project.edit("tiny.yaml", {old: f"models: [{models}]\n"})
    switches = {"# slurm-array-jobs: activations,": "slurm-array-jobs: models, inputs,"}
    switches["slurm_download: local"] = "slurm_download: job"
    project.edit("slurm/profile.yaml", switches)
    return ("--profile", "slurm", "--until", "inputs")


def group(project: Project) -> tuple[str, ...]:
    """Two runs in groups, by the lines that the profile has for it; the options of the run."""
    profile = project.folder / "slurm/profile.yaml"
    head, lines = profile.read_text().split("# groups:")
    lines, tail = lines.split("\n\n", 1)
    profile.write_text(head + "groups:" + lines.replace("\n# ", "\n") + "\n\n" + tail)
    arms = [
        f"results/tiny/components/tiny/seed-0/standard/{condition}.manifest.json"
        for condition in ("bos", "ablate-zero")
    ]
    return ("--profile", "slurm", *on_gpus(), "--", *arms)


def outlast(project: Project) -> tuple[str, ...]:
    """A job whose first attempt outlasts its limit of one minute; the options of the run."""
    wait = "    import time\n    if snakemake.resources.attempt == 1:\n        time.sleep(300)\n"
    project.edit("workflow/scripts/inputs.py", {BODY: BODY + wait})
    least = {"= 1500, 15\n": "= 1500, 1\n", "FEWEST_MINUTES), 5)": "FEWEST_MINUTES), 1)"}
    project.edit("src/abspos/planning/requests.py", least)
    return ("--profile", "slurm", "--", TARGET)


class Begun:
    """A run in the background."""

    def __init__(self, project: Project, options: Sequence[str]) -> None:
        self.project = project
        self.controller = project.start(*options)

    def ended(self) -> Project:
        """Wait until the run has ended well; its clone."""
        assert self.controller.wait(timeout=900) == 0, self.project.output
        return self.project


@pytest.fixture(scope="session")
def begun(
    prepared: Project, pristine: Project, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Begun]]:
    """Long runs, begun together at the first test: they mostly wait for Slurm and its plugin."""

    def clone_of(project: Project, name: str) -> Project:
        return project.copy(tmp_path_factory.mktemp(name) / "clone")

    made = {}
    for name, prepare in (("late", outlast), ("sweep", sweep), ("groups", group)):
        project = clone_of(prepared, name)
        made[name] = Begun(project, prepare(project))
    made["whole"] = Begun(clone_of(prepared, "whole"), ("--profile", "slurm", *on_gpus()))
    local = clone_of(pristine, "local")
    local.warm = False  # so that its results show what warm starts change: nothing
    made["local"] = Begun(local, ("--cores", "2"))
    yield made
    for run in made.values():
        run.controller.kill()


@pytest.fixture
def clone(prepared: Project, tmp_path: Path) -> Project:
    """A prepared clone for one test."""
    return prepared.copy(tmp_path / "clone")
