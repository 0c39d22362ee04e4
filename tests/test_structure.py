"""The house: imports run downwards, no stage depends on a later room, modules stay small."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from abspos.audit.code import sources
from abspos.figures import FIGURES, OTHERS

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "src" / "abspos"
#: Single modules below all packages, then the packages, lowest first.
SHARED = ("extras", "stores", "arrays", "csv_tables", "documents", "logits", "sinks", "progress")
PACKAGES = (
    "study",
    "models",
    "inputs",
    "training",
    "activations",
    "components",
    "statistics",
    "claims",
    "calibration",
    "figures",
    "report",
    "planning",
    "audit",
    "api",
    "cli",
)
ROOMS = (*SHARED, *PACKAGES)
#: The room of every script, whose stage must not depend on a later one.
STAGES = {
    "activations": "activations",
    "architectures": "claims",
    "checkpoints": "report",
    "choices": "claims",
    "claims": "claims",
    "truth": "calibration",
    "components": "components",
    "corpus": "inputs",
    "curves": "training",
    "figures": "figures",
    "front": "report",
    "inputs": "inputs",
    "models": "models",
    "page": "report",
    "planted": "calibration",
    "population": "calibration",
    "sensitivity": "claims",
    "simulated": "calibration",
    "statistics": "statistics",
    "tables": "statistics",
    "trained": "training",
}
#: Lines that a module may have.
MOST_LINES = 400
MODULES = sorted(LIBRARY.rglob("*.py"))


def room(path: Path) -> str | None:
    """The room of a module; None of the package's own __init__."""
    first = path.relative_to(LIBRARY).parts[0]
    return None if first == "__init__.py" else first.removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Rooms that a module imports from, at its head or inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which room they reach"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for parts in (name.split(".") for name in names):
            if parts[0] == "abspos" and len(parts) > 1:
                yield parts[1]


def upward(path: Path) -> list[str]:
    """Rooms above its own that a module imports from."""
    own = room(path)
    if own is None:
        return sorted(set(imported(path)))
    return sorted({r for r in imported(path) if ROOMS.index(r) > ROOMS.index(own)})


def test_every_module_stands_in_a_room():
    assert {room(path) for path in MODULES} == {None, *ROOMS}
    assert {p.stem for p in LIBRARY.glob("*.py")} == {"__init__", *SHARED}


@pytest.mark.parametrize("name", ROOMS)
def test_imports_run_downwards(name):
    found = {str(p.relative_to(LIBRARY)): upward(p) for p in MODULES if room(p) == name}
    assert found
    assert {path: rooms for path, rooms in found.items() if rooms} == {}


def test_a_lazy_import_of_a_later_room_is_seen(tmp_path, monkeypatch):
    path = tmp_path / "activations" / "lazy.py"
    path.parent.mkdir()
    path.write_text("def f():\n    from abspos.calibration import worlds\n    import abspos.cli\n")
    monkeypatch.setitem(globals(), "LIBRARY", tmp_path)
    assert upward(path) == ["calibration", "cli"]


def later(script: str, *modules: str) -> list[str]:
    """Files of later rooms in the code digest of a stage."""
    lines = sources(Path("workflow/scripts", f"{script}.py"), ROOT, modules)
    paths = [ROOT / line.partition(":")[0] for line in lines]
    ours = [path for path in paths if path.is_relative_to(LIBRARY) and room(path)]
    own = ROOMS.index(STAGES[script])
    return [str(p.relative_to(ROOT)) for p in ours if ROOMS.index(room(p)) > own]


def test_every_script_has_a_room():
    assert {path.stem for path in (ROOT / "workflow/scripts").glob("*.py")} == set(STAGES)


@pytest.mark.parametrize("script", STAGES)
def test_no_stage_depends_on_a_later_room(script):
    assert later(script) == []


@pytest.mark.parametrize("figure", [*FIGURES, *OTHERS])
def test_no_figure_depends_on_a_later_room(figure):
    assert later("figures", f"abspos.figures.{figure}") == []


def test_a_later_room_in_a_digest_is_seen():
    assert "src/abspos/calibration/worlds.py" in later("models", "abspos.calibration.worlds")


def test_modules_stay_small():
    lines = {
        str(p.relative_to(LIBRARY)): len(p.read_text(encoding="utf-8").splitlines())
        for p in MODULES
    }
    assert {path for path, number in lines.items() if number > MOST_LINES} == set()


def test_rules_and_figures_have_names_of_their_own_and_rules_that_are_named_exist():
    """Snakemake reads some of these lines for some studies alone."""
    files = [ROOT / "workflow/Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    names = re.findall(r"^(?:rule|use rule \w+ as) (\w+)", text, re.MULTILINE)
    drawn = {*FIGURES, *OTHERS, "scales"} - {"calibration"}  # some for some studies alone
    assert not drawn & set(names)
    assert set(re.findall(r"\brules\.(\w+)", text)) <= set(names)


#: Modules that know the whole study: a job that depended on them would rerun for any of its checks.
WHOLE_STUDY = {"study/config.py", "study/checks.py", "study/fields.py", "models/lock.py"}


@pytest.mark.parametrize("script", STAGES)
def test_no_job_depends_on_the_whole_study(script):
    lines = sources(Path("workflow/scripts") / f"{script}.py", ROOT)
    paths = {line.rpartition(":")[0].removeprefix("src/abspos/") for line in lines}
    assert not paths & WHOLE_STUDY


def test_no_test_measures_a_time():
    """A busy machine would turn it red: timings are ratios, in benchmarks."""
    clocks = {"perf_counter", "perf_counter_ns", "process_time", "process_time_ns", "timeit"}
    for path in (ROOT / "tests").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        named = {getattr(node, "attr", getattr(node, "id", None)) for node in ast.walk(tree)}
        assert not named & clocks, path
