"""Python processes that start warm: forks of a server that has imported what they need.

A start of Snakemake takes 3 seconds of a processor, one of a job up to 11, nearly all of it imports
of other packages. ``Server.python`` is an executable that takes the place of ``sys.executable``: it
has the server fork, and the fork runs Snakemake or a script with the caller's arguments, folder,
environment, and standard streams. The library itself is never imported beforehand. A killed caller
takes its fork with it; inside a Slurm job all that the fork has started too, since Slurm ends the
processes of a job together. A fork that runs a script bears its rule's name (``Server.jobs``).

Settings that packages read from the environment when they are imported are those of the server; of
huggingface_hub they are read again.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

import psutil

#: In the environment: scripts whose processes stop before they begin, to be found by a test.
HELD = "WARM_HELD"
SNAKEMAKE = (
    "snakemake.cli",
    "snakemake_executor_plugin_slurm",
    "snakemake_executor_plugin_slurm_jobstep",
    "numpy",
    "pydantic",
)
JOBS = (
    "torch",
    "transformers.modeling_utils",
    "transformers.models.llama.modeling_llama",
    "pandas",
    "xarray",
    "zarr",
    "scipy.stats",
    "seaborn",
    "matplotlib.backends.backend_svg",
    "matplotlib.backends.backend_agg",
)

#: Runs on the caller's side, without site-packages: a hundredth of a second.
CLIENT = """#!{python} -IS
import os, signal, socket, sys
import json
request = json.dumps({{"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}}).encode()
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
server.sendall(request)
answers = server.makefile("r")
child = int(answers.readline())
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: os.kill(child, number))
code = int(answers.readline())
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


class Server:
    """A server in a process of its own, which ends with the one that started it.

    Attributes:
        python: an executable that stands in for ``sys.executable``.
    """

    def __init__(self, folder: Path) -> None:
        address = str(folder / "socket")
        self.python = folder / "python"
        self.python.write_text(CLIENT.format(python=sys.executable, address=address))
        self.python.chmod(0o755)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, address, str(self.python)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def jobs(self, script: str, folder: Path) -> list[psutil.Process]:
        """The running scripts of a name, by the folder they were started in."""
        found = []
        for process in psutil.Process(self._process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # zombies included
                if process.name() == script and Path(process.cwd()) == folder:
                    found.append(process)
        return found

    def close(self) -> None:
        """End the server and all that it runs."""
        self._process.communicate()


@functools.cache
def shared() -> Server:
    """The server of this process, which ends it at its own end."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    server = Server(folder)
    atexit.register(shutil.rmtree, folder)
    atexit.register(server.close)
    return server


def serve(address: str, python: str) -> None:
    """Fork for every request until standard input ends."""
    _load(SNAKEMAKE)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    ended, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    ended.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the tests' own; the server ends with them
    events = selectors.DefaultSelector()
    for watched in (0, ended, listening):
        events.register(watched, selectors.EVENT_READ)
    running: dict[int, socket.socket] = {}
    in_jobs: set[int] = set()
    print("ready", flush=True)
    while True:
        for key, _ in events.select():
            if key.fileobj == 0:
                for pid in running:
                    os.kill(pid, signal.SIGKILL)
                return
            if key.fileobj is listening:
                caller, _ = listening.accept()
                mine = (events, listening, ended, wakeup, *running.values())
                request, streams = _read(caller)
                if pid := request and _fork(request, streams, caller, python, mine):
                    running[pid] = caller
                    if "SLURM_JOB_ID" in request["env"]:
                        in_jobs.add(pid)
                    events.register(caller, selectors.EVENT_READ, pid)
            elif key.fileobj is ended:
                with contextlib.suppress(BlockingIOError):
                    ended.recv(4096)
                _reap(running, events)
            elif key.data in running:  # the caller died
                _kill(key.data, descendants=key.data in in_jobs)
                events.unregister(key.fileobj)
        in_jobs &= running.keys()


def _reap(running: dict[int, socket.socket], events: selectors.BaseSelector) -> None:
    """Send the exit codes of children that have ended."""
    for pid in list(running):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            caller = running.pop(pid)
            with contextlib.suppress(OSError):
                caller.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            with contextlib.suppress(KeyError):
                events.unregister(caller)
            caller.close()


def _kill(pid: int, descendants: bool) -> None:
    """Kill a fork; its descendants first, of which those that wait for a fork end that one too."""
    found = psutil.Process(pid).children(recursive=True) if descendants else []
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    os.kill(pid, signal.SIGKILL)


def _read(caller: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request and the caller's streams; none if the caller died before it had asked."""
    try:
        head, streams, *_ = socket.recv_fds(caller, 8, 3)
        with caller.makefile("rb") as stream:
            return json.loads(stream.read(int.from_bytes(head, "big"))), streams
    except (OSError, ValueError):
        caller.close()
        return {}, []


def _fork(
    request: dict[str, Any],
    streams: list[int],
    caller: socket.socket,
    python: str,
    mine: tuple[Any, ...],
) -> int:
    """Run a request in a child, which exits; the child's number."""
    if not _is_snakemake(request["argv"]):
        _load(JOBS)
    if pid := os.fork():
        for stream in streams:
            os.close(stream)
        with contextlib.suppress(OSError):  # a caller that died meanwhile is seen to have ended
            caller.sendall(f"{pid}\n".encode())
        return pid
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for one in (caller, *mine):
            one.close()
        code = _run(request, streams, python)
    finally:
        os._exit(code)


def _run(request: dict[str, Any], streams: list[int], python: str) -> int:
    """What a new interpreter would do with this request; its exit code."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None
    if constants := sys.modules.get("huggingface_hub.constants"):
        importlib.reload(constants)
    snakemake = _is_snakemake(request["argv"])
    first, *arguments = request["argv"][request["argv"][0] == "-m" :]
    paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    sys.path[0:1] = [str(Path(first).parent), *paths]
    sys.argv = [first, *arguments]
    try:
        if snakemake:
            sys.executable = python
            importlib.import_module("snakemake.cli").main()
        else:
            name = _script(first)
            Path("/proc/self/comm").write_text(name)
            if name in os.environ.get(HELD, "").split():
                os.kill(os.getpid(), signal.SIGSTOP)
            runpy.run_path(first, run_name="__main__")
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code


def _is_snakemake(argv: list[str]) -> bool:
    """Whether a command line is that of Snakemake: by its path, or as a module."""
    return Path(argv[argv[0] == "-m"]).name == "snakemake"


def _script(path: str) -> str:
    """``claims`` of Snakemake's copy ``tmp1234.claims.py``."""
    return Path(path).stem.rpartition(".")[2]


def _load(modules: tuple[str, ...]) -> None:
    """Import modules; never the library itself."""
    for module in modules:
        importlib.import_module(module)
    assert not any(name.partition(".")[0] == "abspos" for name in sys.modules)


if __name__ == "__main__":
    serve(*sys.argv[1:])
