"""What surrounds the code: it parses, names what is there, and states one version."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_one_version_is_stated():
    citation = yaml.safe_load(text("CITATION.cff"))
    releases = re.findall(r"^## (\S+) \((\d{4}-\d\d-\d\d)\)$", text("CHANGELOG.md"), re.MULTILINE)
    assert releases[0] == (VERSION, citation["date-released"].isoformat())
    assert citation["version"] == VERSION
    assert [date for _, date in releases] == sorted((d for _, d in releases), reverse=True)


def test_the_citation_has_what_its_format_needs():
    citation = yaml.safe_load(text("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["license"] == "Apache-2.0"


@pytest.fixture(scope="module")
def container() -> dict[str, str]:
    """The sections of apptainer.def; its header is ``""``."""
    parts = re.split(r"^%(\w+)\n", "%\n" + text("apptainer.def"), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def test_the_container_file_parses(container):
    assert set(container) == {"", "files", "post", "environment", "runscript", "test", "labels"}
    assert re.search(r"^Bootstrap: docker\nFrom: python:3\.\d+", container[""], re.MULTILINE)
    for section in ("post", "environment", "runscript", "test"):
        command = ["sh", "-n", "-c", container[section]]
        assert subprocess.run(command, check=False).returncode == 0, section


def test_the_container_holds_all_that_a_run_needs(container):
    pairs = [line.split() for line in container["files"].splitlines() if line.strip()]
    assert all((ROOT / source).exists() for source, _ in pairs)
    assert all(target == f"/opt/abspos/{source}" for source, target in pairs)
    needed = {"Snakefile", "config.yaml", "workflow", "src", "resources", "profiles", "envs"}
    assert needed <= {source for source, _ in pairs}


def test_actions_run_what_ci_runs():
    found = yaml.safe_load(text(".github/workflows/ci.yml"))
    steps = [step for job in found["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in [step.get("run") for step in steps]
    assert found[True].keys() == {"push", "pull_request"}  # YAML 1.1 takes `on` for true


def test_commits_are_checked_by_tools_of_the_lock():
    hooks = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    lint = text("Makefile").partition("lint: setup")[2].partition("\n\n")[0]
    for hook in hooks:
        tool = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert f"$(BIN)/{tool}" in lint
    snakefiles = re.compile(hooks[-1]["files"])
    assert all(map(snakefiles.search, ("Snakefile", "workflow/Snakefile", "workflow/rules/a.smk")))


def test_the_layout_is_that_of_the_workflow_catalog():
    usage = yaml.safe_load(text(".snakemake-workflow-catalog.yml"))["usage"]
    assert usage.keys() <= {"mandatory-flags", "software-stack-deployment", "report"}
    assert (ROOT / "workflow/Snakefile").is_file()
    assert (ROOT / "config/README.md").is_file()
    assert text("config/config.yaml") == text("config.yaml")
    assert (ROOT / "workflow/profiles/default/profile.yaml").is_file()
    assert "Snakemake workflow" in text("README.md")


def test_the_picture_of_the_rules_has_every_rule_and_no_other():
    """But for those of some studies alone."""
    picture = text("docs/reruns.md").partition("```mermaid\n")[2].partition("```")[0]
    drawn = {*re.findall(r"(\w+) --> ", picture), *re.findall(r" --> (\w+)", picture)}
    rules = "".join(path.read_text() for path in ROOT.glob("workflow/rules/*.smk"))
    named = {*re.findall(r"^rule (\w+):", rules, re.MULTILINE)}
    some = {"corpus", "planted", "population", "comparison"}
    some |= {"calibration", "simulated", "calibration_figure"}
    assert drawn == named - some | {"figures"}
