"""Frame of every workflow script around its one library call: logs, errors, the ledger.

Used by each script as

    from abspos.audit.job import job, loading

    with job(snakemake):
        with loading():
            from abspos.models.sources import fetch

        fetch(...)

Errors and seconds of imports inside it count as those of the job.
Nothing heavy is imported here.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import io
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from abspos.audit.allocation import keep_freed_memory

log = logging.getLogger("abspos")

#: Errors of the system that have a cure, printed instead of a traceback.
CURES = {
    errno.ENOSPC: "the disk is full; free some space and run again",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.EROFS: "the folder is read-only; make it writable, or move the project, and run again",
    errno.EACCES: "permission denied; make the folder writable for you and run again",
    errno.EPERM: "permission denied; make the folder writable for you and run again",
    errno.ENOMEM: "out of memory; lower inputs.batch, or run on a machine with more",
}


@contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Run the body of one workflow job.

    All output, that of C libraries included, goes to the job's log; progress lines go to the
    terminal too. When the body ends well, each output gets its ledger entry. When it fails, the
    traceback goes to the log, one line to the terminal, and the process exits with code 1.
    Python's garbage collector is left as it was found.

    Args:
        snakemake: the object that Snakemake gives to scripts. Parameters without a name are the
            lines of ``abspos.audit.code.sources``; ``params.config`` holds the settings the rule
            reads.

    Raises:
        SystemExit: the body failed (1), or the job was told to stop (143).
    """
    from abspos.stores import LeaseError, require_lease

    path = Path(snakemake.log[0]) if len(snakemake.log) else Path(os.devnull)
    name = title(snakemake)
    began = Clock()
    with _redirected(path, name) as terminal, _collector_restored():
        try:
            with _told_to_stop(), _leased(snakemake, path):
                before = _before(snakemake)
                try:
                    yield
                    _enter(snakemake, before, began)
                except Exception:
                    require_lease()  # a later job removes partial files: name the cause, not that
                    raise
        except Exception as error:
            with contextlib.suppress(OSError):  # a full disk takes no traceback
                traceback.print_exc()
            _tell(terminal, f"error: {name}: {reason(error)} (log: {path})")
            if isinstance(error, LeaseError):
                _leave_results()
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            _tell(terminal, f"stopped: {name}; run again to complete it")
            raise SystemExit(130) from None
        except SystemExit as stop:
            if stop.code == 143:
                _tell(terminal, f"stopped: {name}; run again to complete it")
            raise


@contextmanager
def loading() -> Iterator[None]:
    """Import with Python's garbage collector at rest, and have it pass over what is there then.

    Torch and transformers make a million objects that live to the end, and the collector would walk
    them dozens of times meanwhile: a fifth of the seconds that they take to load. The work that
    follows is collected as ever.

    Torch gets large tensors in huge pages, unless the environment says otherwise, and memory that
    its jobs free stays with their process: page faults took 7 % of an extraction and a sixth of a
    training step. Of statistics it made the peak larger, and none faster (docs/performance.md).
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if "torch" in sys.modules:
            keep_freed_memory()
        gc.freeze()
        if enabled:
            gc.enable()


@contextmanager
def _collector_restored() -> Iterator[None]:
    """Undo ``gc.freeze`` at the end of a job; repeat it at the end of the process.

    There, Python would search all modules for garbage before it drops them. The process is the
    script's own, but in a test or a notebook, which go on after the job.
    """
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    frozen = gc.get_freeze_count()
    try:
        yield
    finally:
        if not frozen:
            gc.unfreeze()


class Clock:
    """Start by the calendar, duration by a clock that nobody can set back."""

    def __init__(self) -> None:
        self.start = datetime.now(UTC)
        self._ticks = time.monotonic()

    def seconds(self) -> float:
        """Seconds since the start, never negative."""
        return round(max(0.0, time.monotonic() - self._ticks), 3)


def title(snakemake: Any) -> str:
    """The rule and its wildcards on a line: ``decompose smollm2-135m/standard/bos``."""
    wildcards = "/".join(str(value) for value in snakemake.wildcards)
    return f"{snakemake.rule} {wildcards}".strip()


def reason(error: BaseException) -> str:
    """An error as one line; the cure where the system's error has a known one."""
    for cause in _chain(error):
        number = cause.errno if isinstance(cause, OSError) else None
        if number is None and "No space left on device" in str(cause):
            number = errno.ENOSPC
        if number is None and isinstance(cause, MemoryError):
            number = errno.ENOMEM
        if number in CURES:
            name = getattr(cause, "filename", None)
            return f"{name}: {CURES[number]}" if name else CURES[number]
    text = "".join(c if c.isprintable() else "?" for c in " ".join(str(error).split()))
    ours = type(error).__module__.partition(".")[0] == "abspos"
    if not text or not (ours or isinstance(error, ValueError)):
        text = f"{type(error).__name__}: {text}".rstrip(": ")
    return text if len(text) <= 600 else f"{text[:597]}..."


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _leased(snakemake: Any, log_file: Path) -> contextlib.AbstractContextManager[None]:
    """The lease on all that a job writes; its log has one name for each rule and its wildcards."""
    from abspos.audit.ledger import place
    from abspos.stores import lease

    if not len(snakemake.log):
        return contextlib.nullcontext()
    outputs = [Path(str(path)) for path in snakemake.output]
    entries = [place(path.as_posix()) for path in outputs]
    return lease(log_file.with_name(f".{log_file.name}.lease"), [*outputs, *entries])


def _leave_results() -> None:
    """Under Slurm, end the whole Slurm job of a job whose lease was taken.

    The Snakemake inside it takes a job that failed for one whose outputs may be corrupt, and
    removes them: they are those of the later run by now.
    """
    number = os.environ.get("SLURM_JOB_ID")
    if number is None:
        return
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(["scancel", "--signal=KILL", "--full", number], timeout=60, check=True)
        time.sleep(60)  # the signal is on its way
    raise SystemExit(0)  # it could not be sent: after a success outputs stay as they are


def _tell(terminal: int, line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(terminal, f"{line}\n".encode(errors="replace"))


@contextmanager
def _redirected(path: Path, name: str) -> Iterator[int]:
    """Send descriptors 1 and 2 to the log; give a descriptor of the terminal."""
    terminal = os.dup(2)
    saved = [os.dup(1), terminal]
    streams = [sys.stdout, sys.stderr]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():  # a job that an earlier run left goes on writing to its own log
            path.unlink()
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    except OSError as error:
        _tell(terminal, f"error: {name}: {reason(error)}")
        raise SystemExit(1) from None
    for stream in streams:
        stream.flush()
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    # New text streams, since those of a notebook or a test need not stand on descriptors 1 and 2.
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", 0, closefd=False), "utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", 0, closefd=False), "utf-8", write_through=True)
    handlers = [_to_log(), _to_terminal(terminal, name)]
    level = log.level
    log.setLevel(logging.INFO)
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield terminal
    finally:
        for handler in handlers:
            log.removeHandler(handler)
        log.setLevel(level)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        sys.stdout, sys.stderr = streams
        for number, descriptor in enumerate(saved, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def _to_log() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler


class _Terminal(logging.Handler):
    def __init__(self, descriptor: int) -> None:
        super().__init__(logging.INFO)
        self.descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        _tell(self.descriptor, self.format(record))


def _to_terminal(descriptor: int, name: str) -> logging.Handler:
    handler = _Terminal(descriptor)
    handler.setFormatter(logging.Formatter(f"[{name.replace('%', '%%')}] %(message)s"))
    return handler


@contextmanager
def _told_to_stop() -> Iterator[None]:
    """Turn SIGTERM into an exit that still removes half-written folders."""

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    try:
        old = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: nothing to arrange
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def _code_root(snakemake: Any) -> Path:
    """The project folder, which holds the script: with the code, not always where results go."""
    if (scripts := Path(os.path.normpath(snakemake.scriptdir))).is_dir():
        return scripts.parents[1]
    return Path(__file__).parents[3]  # a script of a git repository, which has no folder


def _before(snakemake: Any) -> dict[str, Any]:
    """State recorded before the work, since inputs and sources may change while it runs."""
    with loading():
        from abspos.audit import ledger, machine

    root = _code_root(snakemake)
    settings = dict(snakemake.params.items())
    every = list(snakemake.params)[: len(snakemake.params) - len(settings)]
    lines = [line for line in every if not ledger.code.is_data(line)]
    data = [line.rpartition(":")[0] for line in every if ledger.code.is_data(line)]
    sources = ledger.code_files(lines, root)
    for line in lines:
        path, _, planned = line.rpartition(":")
        if sources[path]["code"] != planned:
            log.warning("%s: edited since this job was planned; run again", path)
    config = settings.pop("config", {})
    rule = ledger.rule_file(snakemake.rule, ledger.script_of(sources), root)
    return {
        "inputs": {
            **ledger.inputs(str(path) for path in snakemake.input),
            **{name: ledger.describe(root / name) for name in sorted(data)},
        },
        "code": sources,
        "rule": {"name": snakemake.rule, "defined": rule},
        "wildcards": {key: str(value) for key, value in snakemake.wildcards.items()},
        "params": ledger.plain(settings, root),
        "config": ledger.plain(config),
        "seeds": ledger.plain(ledger.seeds({"config": config, **settings})),
        "git": machine.commit(root),
    }


def _enter(snakemake: Any, before: dict[str, Any], began: Clock) -> None:
    """Write one ledger entry per output; all outputs are complete now."""
    from abspos.audit import ledger, machine

    shared = {
        **before,
        "format": ledger.FORMAT,
        "packages": machine.packages(),
        "loaded": machine.loaded(),
        "python": machine.python(),
        "determinism": machine.determinism(),
        "threads": snakemake.threads,
        "outputs": sorted(str(path) for path in snakemake.output),
        "log": _log(snakemake),
        "circumstances": {
            "start": began.start.isoformat(timespec="seconds"),
            "seconds": began.seconds(),
            "peak_memory_bytes": machine.peak_memory(),
            "attempt": ledger.plain(snakemake.resources.get("attempt")),
            "host": machine.host(),
        },
    }
    for path in shared["outputs"]:
        described = ledger.describe(Path(path))
        temporary = described["kind"] != "file" and _temporary(snakemake, path)
        ledger.write({**shared, "path": path, "temporary": temporary, **described})


def _log(snakemake: Any) -> dict[str, Any] | None:
    """The job's log, to which nothing is added any more."""
    from abspos.audit import ledger

    sys.stdout.flush()
    sys.stderr.flush()
    paths = [str(path) for path in snakemake.log[:1]]
    return {"path": paths[0], **ledger.describe(Path(paths[0]))} if paths else None


def _temporary(snakemake: Any, path: str) -> bool:
    """Whether Snakemake removes this store once it has been used."""
    stated = snakemake.params.get("temporary")
    if stated is not None:
        return bool(stated)
    from abspos.audit.ledger import TEMPORARY

    kept = bool(snakemake.config.get("keep_activations"))
    return not kept and Path(path).parts[2:3] == (TEMPORARY,)
