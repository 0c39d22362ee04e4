"""The code and the working folder are two places: one study, planned from an empty folder in every
way that Snakemake has, is the same study; and its results do not know where the code was."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import warm
import yaml

from abspos.audit.verify import verify

ROOT = Path(__file__).resolve().parents[2]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
MODULE = """
configfile: "config/config.yaml"

module abspos:
    snakefile: {snakefile}
    config: config

use rule * from abspos{names}
"""


def snakemake(folder: Path, *arguments: str) -> str:
    """What Snakemake prints in a folder; it must succeed."""
    command = [str(warm.shared().python), str(SNAKEMAKE), "--cores", "2", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def code(new_project, tmp_path_factory, small_study):
    """A clone of the code, with the study's plan in it."""
    project = new_project(tmp_path_factory.mktemp("code") / "abspos", **small_study)
    return project, project.plan().rules


@pytest.fixture
def empty(tmp_path) -> Path:
    """A working folder in which nothing is."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def configured(folder: Path, project, name: str = "config.yaml") -> None:
    """Put the study there, whole, as a copy of the default config that was edited."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    default = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    study = {**default, **project.study}
    path.write_text(yaml.safe_dump(study), encoding="utf-8")


def of_configfile(project, folder):
    return ["-s", f"{project.root}/Snakefile", "--configfile", f"{project.root}/studies/tiny.yaml"]


def of_config(project, folder):
    configured(folder, project)
    return ["-s", f"{project.root}/Snakefile"]


def of_catalog(project, folder):
    configured(folder, project, "config/config.yaml")
    return ["-s", f"{project.root}/workflow/Snakefile"]


def of_directory(project, folder):
    configured(folder, project)
    return ["-s", f"{project.root}/Snakefile", "--directory", str(folder)]


def of_module(project, folder, snakefile="", names=""):
    configured(folder, project, "config/config.yaml")
    (folder / "workflow").mkdir()
    snakefile = snakefile or repr(f"{project.root}/workflow/Snakefile")
    text = MODULE.format(snakefile=snakefile, names=names)
    (folder / "workflow/Snakefile").write_text(text, encoding="utf-8")
    return ["--workflow-profile", f"{project.root}/profiles/default"]


def of_renamed_module(project, folder):
    return of_module(project, folder, names=" as position_*")


def of_git(project, folder):
    """As snakedeploy writes it, but that the repository is on this machine."""
    git = ["git", "-C", str(project.root), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    if not (project.root / ".git").exists():
        for command in (["init", "-q"], ["add", *PARTS], ["commit", "-qm", "all"], ["tag", "v1"]):
            subprocess.run([*git, *command], check=True)
    file = f"gitfile({str(project.root)!r}, path='workflow/Snakefile', tag='v1')"
    return of_module(project, folder, file)


TARGET = "results/tiny/inputs/toy/seed-0.manifest.json"
PARTS = ("Snakefile", "config.yaml", "envs", "profiles", "resources", "src", "workflow")
WAYS = (
    of_configfile,
    of_config,
    of_catalog,
    of_directory,
    of_module,
    of_renamed_module,
    of_git,
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_an_empty_folder_plans_the_same_jobs(way, code, empty, plan_of) -> None:
    project, rules = code
    arguments = way(project, empty)
    start = project.root.parent if way is of_directory else empty
    found = plan_of(snakemake(start, "-n", *arguments)).rules
    named = {rule.removeprefix("position_"): n for rule, n in found.items()}
    assert {rule: n for rule, n in named.items() if rule != "all"} == rules
    assert not (empty / "results").exists()


@pytest.fixture(scope="module")
def made(code, tmp_path_factory) -> Path:
    """A folder with the inputs of the study, made from a clone elsewhere. Not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    snakemake(folder, TARGET, *of_configfile(code[0], folder))
    return folder


def test_results_do_not_say_where_the_code_lies(code, made) -> None:
    entry = (made / "results/tiny/ledger/inputs/toy/seed-0.zarr.json").read_text(encoding="utf-8")
    assert '"resources/corpus/austen.jsonl"' in entry
    assert '"corpus": "resources/corpus"' in entry
    assert '"path": "workflow/rules/inputs.smk"' in entry
    assert str(code[0].root) not in entry
    assert str(made) not in entry


@pytest.mark.parametrize("here", [False, True], ids=["another clone", "where the code lies"])
def test_moved_results_have_nothing_left_to_do(here, code, made, empty, plan_of) -> None:
    project, _ = code
    folder, clone = (project.root, project.root) if here else (empty, ROOT)
    for name in ("results", ".snakemake"):
        shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(made / name, folder / name)
    arguments = ("-s", f"{clone}/Snakefile", "--configfile", f"{project.root}/studies/tiny.yaml")
    assert plan_of(snakemake(folder, "-n", TARGET, *arguments)).nothing
    report = verify(folder / "results/tiny", clone)
    assert [str(f) for f in report.findings if f.kind != "packages"] == []


def test_texts_of_the_working_folder_come_first(code, empty) -> None:
    project, _ = code
    texts = empty / "resources/corpus"
    texts.mkdir(parents=True)
    source = project.root / "resources/corpus/austen.jsonl"
    shutil.copyfile(source, texts / "own.jsonl")
    text = snakemake(empty, "-n", *of_configfile(project, empty))
    assert "resources/corpus/own.jsonl" in text
    assert "austen" not in text
