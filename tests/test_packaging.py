"""The lock, the environments and the project file agree, and set-up says what it needs."""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from snakemake.common import get_snakemake_searchpaths

from abspos.extras import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
CONDA_NAMES = {"pytorch-cpu": "torch"}


def locked() -> dict[str, str]:
    """Give the lock's versions by name, torch's pin among them."""
    torch = (ROOT / "requirements-torch.txt").read_text()
    return dict(re.findall(r"^([a-z0-9.-]+)==([^\s;]+)", LOCK + torch, re.MULTILINE))


#: Extras that the library imports; the others serve clusters and developers.
OF_THE_LIBRARY = ("workflow", "gguf", "crate", "figures")


def required(*extras: str) -> list[Requirement]:
    """Give what the project asks for, with these extras."""
    groups = [PROJECT["project"]["optional-dependencies"][extra] for extra in extras]
    return [Requirement(line) for line in sum(groups, PROJECT["project"]["dependencies"])]


def everything() -> list[Requirement]:
    """Give what the project asks for with all of its extras, as it is locked."""
    return required(*PROJECT["project"]["optional-dependencies"])


def environment(name: str) -> dict[str, str]:
    """Give an environment's pins by their names in the lock; python is not one of them."""
    *conda, _, last = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())["dependencies"]
    pins = [line.split("=", 1) for line in conda] + [line.split("==", 1) for line in last["pip"]]
    return {CONDA_NAMES.get(pin[0], pin[0]): pin[1] for pin in pins if pin[0] != "python"}


def test_the_lock_satisfies_every_requirement() -> None:
    versions = locked()
    for requirement in everything():
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} is not in the lock: make lock"
        assert requirement.specifier.contains(versions[name]), f"{requirement}: {versions[name]}"


def test_every_import_of_the_library_is_asked_for() -> None:
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "workflow").rglob("*.py")]
    nodes = [node for path in sources for node in ast.walk(ast.parse(path.read_text()))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    names |= {str(node.module) for node in froms}
    tops = {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"abspos"}
    owners = importlib.metadata.packages_distributions()
    asked = {canonicalize_name(line.name) for line in required(*OF_THE_LIBRARY, "terminal")}
    assert "torch" in tops
    assert {top for top in tops if not asked & {*map(canonicalize_name, owners[top])}} == set()


def test_every_locked_package_has_a_hash() -> None:
    entries = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) > 50
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_lock_leaves_out_what_differs_by_platform() -> None:
    names = locked().keys()
    assert not [name for name in names if re.match(r"nvidia|cuda|triton", name)]
    assert not re.search(r"^torch==", LOCK, re.MULTILINE)


@pytest.mark.parametrize("path", ["requirements.lock", "requirements-torch.txt", "pyproject.toml"])
def test_no_host_and_no_machine_path(path: str) -> None:
    text = (ROOT / path).read_text().replace(PROJECT["project"]["urls"]["Paper"], "")
    assert not re.search(r"https?://|file:|index-url [^`]|--find-links|(?<!\w)/\w+/", text)


def test_torch_is_pinned_for_the_lock_alone_and_its_needs_are_told_to_it() -> None:
    (torch,) = [line for line in required() if line.name == "torch"]
    assert {clause.operator for clause in torch.specifier} == {">="}
    assert torch.specifier.contains(locked()["torch"])
    (told,) = PROJECT["tool"]["uv"]["dependency-metadata"]
    assert told["version"] == locked()["torch"]
    asked = [Requirement(line) for line in importlib.metadata.requires("torch") or []]
    needs = {str(line) for line in asked if line.marker is None}
    assert needs <= {str(Requirement(line)) for line in told["requires-dist"]}


def test_what_is_installed_is_what_is_locked() -> None:
    versions = locked()
    installed = {
        name: importlib.metadata.version(name).split("+")[0]
        for name in (canonicalize_name(line.name) for line in everything())
    }
    assert installed == {name: versions[name] for name in installed}


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_conda_environments_hold_the_locked_versions_of_all_that_the_library_needs(
    name: str,
) -> None:
    needed = {canonicalize_name(line.name) for line in required(*OF_THE_LIBRARY)} - {"snakemake"}
    assert environment(name) == {key: locked()[key] for key in needed}


def test_a_bare_python_finds_the_library_and_snakemake_by_the_path_of_a_script() -> None:
    """With conda, a script's Python sees its own packages first and these paths after them."""
    code = (
        f"import sys; sys.path.extend({get_snakemake_searchpaths()!r});"
        "from snakemake.iocontainers import Snakemake;"
        "import abspos, json; print(json.dumps(abspos.__file__))"
    )
    python = Path(sys.base_prefix) / "bin" / "python3"
    told = subprocess.run([python, "-I", "-S", "-c", code], capture_output=True, check=True)
    assert Path(json.loads(told.stdout)).is_relative_to(ROOT / "src")


def test_the_command_exists() -> None:
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="abspos")
    assert command.value == PROJECT["project"]["scripts"]["abspos"] == "abspos.cli:main"
    assert callable(command.load())


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make on this Makefile in another folder."""
    return subprocess.run(
        ["make", "--no-print-directory", "-f", str(ROOT / "Makefile"), *arguments],
        cwd=folder,
        env={**os.environ, "MAKEFLAGS": "", **variables},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Give a folder with the files that set-up reads."""
    for name in ("requirements.lock", "requirements-torch.txt", "pyproject.toml", "config.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def test_an_old_python_is_refused_in_one_line(clone: Path) -> None:
    old = clone / "old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.10.1\nexit 1\n')
    old.chmod(0o755)
    told = make(clone, "setup", f"PYTHON={old}")
    assert told.returncode != 0
    (line,) = [line for line in told.stderr.splitlines() if not line.startswith("make")]
    assert "Python 3.10.1" in line
    assert "3.11 or newer" in line
    assert not (clone / ".venv").exists()


def stand_in(clone: Path) -> Path:
    """Give a Python whose pip only notes what it is asked, as the PYTHON of make and in .venv."""
    python = clone / "python"
    python.write_text(
        f'#!/bin/sh\necho "$@" >> {clone}/calls\n'
        'case "$*" in *"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python;; esac\n'
        'case "$*" in *requirements.lock*) echo "Collecting numpy==2"; echo Downloading;; esac\n'
        f'case "$*" in *requirements-torch*) [ ! -e {clone}/break ];; esac\n'
    )
    python.chmod(0o755)
    return python


def installs(clone: Path) -> int:
    """Count the installs from the lock so far."""
    return (clone / "calls").read_text().count("-r requirements.lock")


def test_setup_installs_once_and_again_when_the_lock_changes(clone: Path) -> None:
    python = f"PYTHON={stand_in(clone)}"
    assert make(clone, "setup", python).returncode == 0
    (clone / "requirements.lock").touch()
    assert make(clone, "setup", python).returncode == 0
    assert installs(clone) == 1
    (clone / "requirements.lock").write_text(LOCK + "# changed\n")
    assert make(clone, "setup", python).returncode == 0
    assert installs(clone) == 2


def test_setup_shows_that_it_lives_and_fails_when_pip_does(clone: Path) -> None:
    python = f"PYTHON={stand_in(clone)}"
    done = make(clone, "setup", python)
    assert "numpy==2" in done.stdout
    assert "Downloading" not in done.stdout
    (clone / "requirements.lock").write_text(LOCK + "# changed\n")
    broken = clone / ".venv/bin/python"
    broken.write_text('#!/bin/sh\ncase "$*" in *requirements.lock*) exit 1;; esac\n')
    assert make(clone, "setup", python).returncode != 0
    assert (clone / ".venv/.installed").read_text() == ""


def test_a_terminal_gets_bars_of_progress(tools: Path) -> None:
    """And the last lines are the verdicts, or why there are none."""
    command = ["script", "-qec", f"make -f {ROOT}/Makefile reproduce CORES=2", "/dev/null"]
    done = subprocess.run(command, cwd=tools, capture_output=True, text=True, timeout=60)
    assert "<--logger><rich>" in (tools / "ran").read_text().splitlines()[0]
    assert "results/default: no such folder" in done.stdout


def test_an_interrupted_setup_begins_again_from_nothing(clone: Path) -> None:
    python = f"PYTHON={stand_in(clone)}"
    (clone / "break").touch()
    assert make(clone, "setup", python).returncode != 0
    (clone / "break").unlink()
    (clone / ".venv" / "half-written").touch()
    assert make(clone, "setup", python).returncode == 0
    assert not (clone / ".venv" / "half-written").exists()
    assert installs(clone) == 2


@pytest.fixture
def tools(clone: Path) -> Path:
    """Give a folder that is set up: abspos is the real one, snakemake only notes its arguments."""
    assert make(clone, "setup", f"PYTHON={stand_in(clone)}").returncode == 0
    commands = {
        "snakemake": f"printf '<%s>' \"$@\" >> '{clone}/ran'; echo >> '{clone}/ran'",
        "abspos": f"PYTHONPATH='{ROOT}/src' exec '{sys.executable}' -m abspos.cli \"$@\"",
    }
    for name, command in commands.items():
        path = clone / ".venv/bin" / name
        path.write_text(f"#!/bin/sh\n{command}\n")
        path.chmod(0o755)
    return clone


@pytest.mark.parametrize(
    ("study", "text", "name"),
    [
        ("", "", "default"),
        ("other.yaml", "seed: 1\nstudy: other  # a name of its own\n", "other"),
        ("quoted.yaml", 'study: "mine"\n', "mine"),
        ("unnamed.yaml", "seed: 1\n", "unnamed"),
        ("a folder/it's; true.yaml", "{study: 'mine'}\n", "mine"),
    ],
)
def test_the_report_goes_where_the_study_writes(
    tools: Path, study: str, text: str, name: str
) -> None:
    if study:
        (tools / study).parent.mkdir(exist_ok=True)
        (tools / study).write_text(text)
    done = make(tools, "reproduce", "CORES=2", f"STUDY={study}")
    assert done.returncode == 0, done.stderr
    run = "<--cores><2>" + (f"<--configfile><{study}>" if study else "")
    lines = (tools / "ran").read_text().splitlines()
    style = "<--report-stylesheet><workflow/report/report.css>"
    assert lines == [run, f"{run}<--report><results/{name}/report.html>{style}"]
    links = [f"file://{tools}/results/{name}/{page}.html" for page in ("index", "report")]
    assert done.stdout.splitlines()[-2:] == links


@pytest.mark.parametrize("target", ["reproduce", "report", "plan", "verify", "explain", "crate"])
def test_a_study_that_is_not_there_is_told_before_anything_runs(tools: Path, target: str) -> None:
    arguments = "ARGS=claims.csv" if target == "explain" else "ARGS="
    done = make(tools, target, "STUDY=studies/no such.yaml", arguments)
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert told == ["error: config: studies/no such.yaml: no such file"]
    assert not (tools / "ran").exists()


def test_verify_means_the_study_that_is_given(tools: Path) -> None:
    for name in ("default", "mine"):
        (tools / "results" / name / "ledger").mkdir(parents=True)
    (tools / "my study.yaml").write_text('study: "mine"\n')
    for study, name in (("", "default"), ("my study.yaml", "mine")):
        done = make(tools, "verify", f"STUDY={study}", "ARGS=--quiet")
        assert f"results/{name}: 0 files" in done.stdout, done.stderr


#: Put into a fresh environment: modules of extras are as if they were not installed, but for YAML,
#: which zarr brings.
BLOCK = f"""
import sys
class Block:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {sorted({*sum(EXTRAS.values(), ())} - {"yaml"})!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block)
"""
#: What the light core does: all public functions, quickly imported.
CORE = """
import json, sys
before = len(sys.modules)
import abspos
modules = len(sys.modules) - before
early = sorted({"torch", "numpy", "xarray", "pandas"} & {*sys.modules})
import numpy as np, xarray as xr
from pathlib import Path
from abspos.arrays import save_dataset
logits = np.random.default_rng(0).normal(size=(4, 2, 12, 12))
fields, found = abspos.decompose(logits), abspos.energies(logits, early=4)
store = Path(sys.argv[1], "components/m/r/standard/bos.zarr")
store.parent.mkdir(parents=True)
save_dataset(fields.mean("input").expand_dims("layer"), store, store.with_suffix(".manifest.json"))
Path(sys.argv[1], "claims.csv").write_text("claim,model\\nbos-swap,0042\\n")
results = abspos.open_results(sys.argv[1])
loaded = abspos.load_components(store, check=True)
print(json.dumps({
    "file": abspos.__file__, "version": abspos.__version__, "modules": modules, "early": early,
    "energies": found["energy"].shape, "model": results.tables["claims"]["model"][0],
    "same": bool((results.components()["mask"] == loaded["mask"]).all()),
    "typed": Path(abspos.__file__).with_name("py.typed").is_file(),
    "stub": Path(abspos.__file__).with_suffix(".pyi").is_file(),
}))
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a fresh environment with the built wheel, the core's packages, and no other."""
    folder = tmp_path_factory.mktemp("fresh")
    source = folder / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)

    def uv(*arguments: str) -> None:
        command = [sys.executable, "-m", "uv", "--quiet", "--offline", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    uv("build", "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", ".", "source")
    uv("venv", "--python", sys.executable, "env")
    (wheel,) = folder.glob("abspos-*.whl")
    uv("pip", "install", "--no-deps", "--python", "env/bin/python", str(wheel))
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    (site / "block_extras.py").write_text(BLOCK)
    (site / "block_extras.pth").write_text("import block_extras\n")
    # A path in a .pth is not searched for other .pth files: the editable install stays unseen.
    (site / "others.pth").write_text(str(Path(np.__file__).parents[1]) + "\n")
    return folder / "env" / "bin"


def test_the_wheel_does_what_import_abspos_promises_without_any_extra(
    fresh: Path, tmp_path: Path
) -> None:
    code = [str(fresh / "python"), "-W", "error", "-I", "-c", CORE, str(tmp_path / "mine")]
    done = subprocess.run(code, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert Path(told["file"]).is_relative_to(fresh.parent)
    assert told["version"] == PROJECT["project"]["version"]
    assert told["early"] == []
    assert told["modules"] < 100  # numpy alone brings 150
    assert told["energies"] == [2, 2, 6, 2]
    assert told["model"] == "0042"
    assert told["same"]
    assert told["typed"]
    assert told["stub"]


@pytest.mark.parametrize("command", ["plan", "crate --results ."])
def test_a_command_of_the_wheel_names_the_extra_that_it_lacks(
    fresh: Path, tmp_path: Path, command: str
) -> None:
    done = subprocess.run(
        [fresh / "abspos", *command.split()], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert re.fullmatch(
        r"error: \w+ is not installed; run: pip install 'abspos\[\w+\]'\n", done.stderr
    )


def test_the_wheel_says_what_it_is(fresh: Path) -> None:
    (metadata,) = fresh.parent.glob("lib/python*/site-packages/abspos-*.dist-info/METADATA")
    text = metadata.read_text()
    assert "License-Expression: Apache-2.0" in text
    assert "Project-URL: Paper, https://arxiv.org/abs/2606.06160" in text
    assert "Description-Content-Type: text/markdown" in text
    assert {f"Provides-Extra: {name}" for name in PROJECT["project"]["optional-dependencies"]} <= {
        *text.splitlines()
    }
