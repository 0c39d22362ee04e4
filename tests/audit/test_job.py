"""Around every job: where output goes, what an error looks like, what the ledger then says."""

from __future__ import annotations

import ast
import contextlib
import errno
import gc
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from snakemake.iocontainers import (
    InputFiles,
    Log,
    OutputFiles,
    Params,
    ResourceList,
    Snakemake,
    Wildcards,
)

from abspos.audit import job as job_module
from abspos.audit import ledger
from abspos.audit.job import Clock, job, loading, reason
from abspos.stores import StoreError, whole_folder

CODE = "src/abspos/made.py"
SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """An empty project with one source and one input."""
    monkeypatch.chdir(tmp_path)
    for name, text in (
        (CODE, "x = 1\n"),
        ("workflow/scripts/make.py", ""),
        ("resources/corpus/a.jsonl", '{"text": "a"}\n'),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def parameters(lines: Iterable[str], named: dict[str, Any]) -> Params:
    """Parameters as a rule has them: sources without a name, then those with one."""
    made = Params(toclone=[*lines, *named.values()])
    for place, name in enumerate(named, len(made) - len(named)):
        made._set_name(name, place)
    return made


def given(
    outputs: dict[str, str],
    log: str = "results/s/logs/a b.log",
    code: Iterable[str] = (),
    **params: Any,
) -> Snakemake:
    """The object that a script would find."""
    config = {"seed": 3, "deep": {"noise_seed": 4}}
    return Snakemake(
        InputFiles(fromdict={"corpus": "resources/corpus/a.jsonl"}),
        OutputFiles(fromdict=outputs),
        parameters(code, {"config": config, **params}),
        Wildcards(fromdict={"model": "tiny", "condition": "bos"}),
        2,
        ResourceList(fromdict={"_cores": 2, "attempt": 2}),
        Log(toclone=[log]),
        {"keep_activations": False},
        "make",
        None,
        scriptdir=str(Path("workflow/scripts").absolute()),
    )


def entry(output: str) -> dict[str, Any]:
    return ledger.read(ledger.place(output))


def test_all_output_lands_in_the_log_and_progress_on_the_terminal_too(project, capfd):
    with job(given({"table": "results/s/t.csv"})):
        print("from python")
        os.system("echo from a child; echo loud >&2")
        os.write(2, b"from C\n")
        logging.getLogger("abspos").info("half way")
        logging.getLogger("abspos").debug("too much")
        Path("results/s/t.csv").write_text("a\n1\n")
    print("after")
    log = Path("results/s/logs/a b.log").read_text()
    for text in ("from python", "from a child", "loud", "from C", "INFO half way"):
        assert text in log
    assert "too much" not in log
    out, err = capfd.readouterr()
    assert err == "[make tiny/bos] half way\n"
    assert out == "after\n"


def test_an_entry_says_what_made_a_file(project):
    digest = ledger.code.digest(project / CODE)
    with job(given({"table": "results/s/t.csv"}, code=[f"{CODE}:{digest}"], extra=Path("x/y"))):
        Path("results/s/t.csv").write_text("a\n1\n")
    made = entry("results/s/t.csv")
    assert made["code"][CODE]["code"] == digest
    assert len(made["code"][CODE]["file"]) == 64
    assert made["inputs"]["resources/corpus/a.jsonl"]["bytes"] == 14
    assert made["seeds"] == {"config.seed": 3, "config.deep.noise_seed": 4}
    assert made["params"] == {"extra": "x/y"}
    assert made["rule"]["name"] == "make"
    assert made["wildcards"] == {"model": "tiny", "condition": "bos"}
    assert made["packages"]["numpy"]
    assert "numpy" in made["loaded"]
    assert made["log"]["digest"]
    run = made["circumstances"]
    assert run["attempt"] == 2
    assert run["seconds"] >= 0
    assert run["peak_memory_bytes"] > 1e6
    assert run["start"].endswith("+00:00")
    assert run["host"]["cores"] == os.cpu_count()
    assert os.uname().nodename not in json.dumps(run["host"])


@pytest.mark.parametrize(("kept", "gone"), [(True, False), (False, True)])
def test_stores_of_the_activations_stage_are_temporary_unless_kept(project, kept, gone):
    store, manifest = (f"results/s/activations/m.{end}" for end in ("zarr", "manifest.json"))
    snakemake = given({"store": store, "manifest": manifest})
    snakemake.config["keep_activations"] = kept
    with job(snakemake), whole_folder(Path(store), Path(manifest)) as folder:
        (folder / "chunk").write_bytes(b"1234")
    assert entry(store)["temporary"] is gone
    assert entry(manifest)["temporary"] is False
    assert entry(store)["kind"] == "store"
    assert entry(store)["bytes"] == 4


def test_a_param_says_temporary_over_the_config(project):
    store, manifest = (f"results/s/other/m.{end}" for end in ("zarr", "manifest.json"))
    with (
        job(given({"store": store, "manifest": manifest}, temporary=True)),
        whole_folder(Path(store), Path(manifest)) as folder,
    ):
        (folder / "chunk").write_bytes(b"1")
    assert entry(store)["temporary"] is True


def test_an_error_is_one_line_and_a_traceback_in_the_log(project, capfd):
    with pytest.raises(SystemExit) as stop, job(given({"table": "results/s/t.csv"})):
        raise StoreError("x.zarr:\n  altered;   delete it")
    assert stop.value.code == 1
    out, err = capfd.readouterr()
    expected = "error: make tiny/bos: x.zarr: altered; delete it (log: results/s/logs/a b.log)\n"
    assert (out, err) == ("", expected)
    assert "Traceback" in Path("results/s/logs/a b.log").read_text()
    assert not ledger.place("results/s/t.csv").exists()


def test_what_cannot_be_imported_is_one_line_too(project, capfd):
    with pytest.raises(SystemExit) as stop, job(given({"table": "results/s/t.csv"})), loading():
        from abspos.audit.job import missing  # noqa: F401
    assert stop.value.code == 1
    _, err = capfd.readouterr()
    assert err.startswith("error: make tiny/bos: ImportError: cannot import name 'missing' from")
    assert err.endswith("(log: results/s/logs/a b.log)\n")
    assert err.count("\n") == 1
    assert "Traceback" in Path("results/s/logs/a b.log").read_text()


def test_an_output_that_was_not_made_is_an_error(project, capfd):
    with pytest.raises(SystemExit), job(given({"table": "results/s/t.csv"})):
        pass
    assert "results/s/t.csv: missing" in capfd.readouterr().err


def test_an_edit_since_the_plan_is_told_and_recorded_as_it_ran(project, capfd):
    with job(given({"table": "results/s/t.csv"}, code=[f"{CODE}:0000000000000000"])):
        Path("results/s/t.csv").write_text("a\n")
    assert f"{CODE}: edited since this job was planned" in capfd.readouterr().err
    assert entry("results/s/t.csv")["code"][CODE]["code"] == ledger.code.digest(project / CODE)


def wrapped(inner: Exception) -> Exception:
    """An error as libraries raise it, with the system's error as its cause."""
    try:
        try:
            raise inner
        except Exception as cause:
            raise RuntimeError("while writing") from cause
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left", "r/x"), "r/x: the disk is full"),
        (wrapped(OSError(errno.ENOSPC, "No space left")), "the disk is full"),
        (Exception("I/O: No space left on device (os error 28)"), "the disk is full"),
        (OSError(errno.EROFS, "Read-only file system", "r/x"), "r/x: the folder is read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "r/x"), "r/x: permission denied"),
        (MemoryError(), "out of memory"),
        (KeyError("layer"), "KeyError: 'layer'"),
        (ValueError("layer 3, head 1: NaN"), "layer 3, head 1: NaN"),
        (RuntimeError(), "RuntimeError"),
        (ValueError("\x1b[2J\nx"), "?[2J x"),
    ],
)
def test_reasons(error, expected):
    found = reason(error)
    assert found.startswith(expected)
    assert "\n" not in found


def test_long_reasons_are_cut():
    assert len(reason(ValueError("x" * 5000))) == 600


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_under_the_log_still_gives_the_line(project, capfd):
    with pytest.raises(SystemExit), job(given({"t": "results/s/t.csv"}, log="/dev/full")):
        raise OSError(errno.ENOSPC, "No space left on device", "results/s/t.csv")
    err = capfd.readouterr().err
    assert "error: make tiny/bos: results/s/t.csv: the disk is full" in err


def test_a_log_that_cannot_be_written_is_one_line(project, capfd):
    Path("results").write_text("in the way")
    with pytest.raises(SystemExit) as stop, job(given({"table": "results/s/t.csv"})):
        raise AssertionError("not reached")
    assert stop.value.code == 1
    assert capfd.readouterr().err.count("\n") == 1


def test_told_to_stop_cleans_up(project, capfd):
    made = {"store": "results/s/m.zarr", "manifest": "results/s/m.manifest.json"}
    with (
        pytest.raises(SystemExit) as stop,
        job(given(made)),
        whole_folder(*map(Path, made.values())),
    ):
        signal.raise_signal(signal.SIGTERM)
    assert stop.value.code == 143
    assert sorted(path.name for path in Path("results/s").iterdir()) == ["logs"]
    assert "stopped: make tiny/bos; run again" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_clock_that_goes_back_gives_no_negative_duration(monkeypatch):
    ticks = [1000.0]
    monkeypatch.setattr(job_module.time, "monotonic", lambda: ticks[-1])
    clock = Clock()
    ticks.append(10.0)
    assert clock.seconds() == 0.0


def test_the_calendar_set_back_does_not_matter(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert clock.seconds() >= 0


def test_streams_and_handlers_are_as_before(project):
    before = sys.stdout, sys.stderr, list(logging.getLogger("abspos").handlers)
    with job(given({"table": "results/s/t.csv"})):
        Path("results/s/t.csv").write_text("a\n")
    assert (sys.stdout, sys.stderr, logging.getLogger("abspos").handlers) == before


def collector() -> tuple[Any, ...]:
    return gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()


@pytest.fixture(params=[True, False], ids=["on", "off"])
def state(request):
    """The collector's state before a job."""
    before = gc.isenabled()
    (gc.enable if request.param else gc.disable)()
    yield collector()
    (gc.enable if before else gc.disable)()


@pytest.mark.parametrize("error", [None, ValueError("no"), SystemExit(143)])
def test_the_garbage_collector_is_as_before(project, state, error):
    seen = []
    with contextlib.suppress(SystemExit), job(given({"table": "results/s/t.csv"})):
        with loading():
            seen.append(gc.isenabled())
        seen.append(gc.isenabled())
        if error:
            raise error
        Path("results/s/t.csv").write_text("a\n")
    assert seen == [False, state[0]]  # the work is collected as ever
    assert collector() == state


def test_what_was_passed_over_before_a_job_still_is(project):
    gc.freeze()
    try:
        with job(given({"table": "results/s/t.csv"})), loading():
            Path("results/s/t.csv").write_text("a\n")
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


def test_the_collector_passes_over_modules_from_loading_on_and_again_at_the_end(project):
    code = """
import atexit, gc
atexit.register(lambda: print("end", gc.get_freeze_count() > 1000))  # runs last
from abspos.audit.job import job, loading
from tests_job import given

with job(given({"table": "results/s/t.csv"})):
    with loading():
        import email.message

    open("results/s/t.csv", "w").write(f"{gc.get_freeze_count() > 1000} {gc.isenabled()}")
print("after", gc.get_freeze_count())
"""
    Path("tests_job.py").write_text(Path(__file__).read_text())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["after 0", "end True"], done
    assert Path("results/s/t.csv").read_text() == "True True"


@pytest.mark.parametrize("state", [None, "0"])
def test_torch_gets_huge_pages_unless_told_otherwise(monkeypatch, state):
    name = "THP_MEM_ALLOC_ENABLE"
    monkeypatch.setenv(name, state or "")
    if state is None:
        monkeypatch.delenv(name)
    with loading():
        pass
    assert os.environ[name] == (state or "1")


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_scripts_import_their_stage_while_loading(script):
    """Whose errors and seconds are then the job's, and which the collector does not walk."""
    tree = ast.parse(script.read_text())
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    ours = [ast.unparse(node) for node in top if "abspos" in ast.unparse(node)]
    assert ours == ["from abspos.audit.job import job, loading"]
    *_, block = tree.body
    assert isinstance(block, ast.With)
    first, call = block.body
    assert isinstance(first, ast.With)
    assert ast.unparse(first.items[0]) == "loading()"
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
