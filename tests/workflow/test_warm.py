"""Processes that start warm (tests/helpers/warm.py) behave as those that do not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import warm

#: Prints what a script finds, then ends as it is told to.
SCRIPT = """
import os, signal, sys
loaded = any(name.split(".")[0] == "abspos" for name in sys.modules)
print(os.getcwd(), os.environ["WORD"], sys.argv[1:], sys.stdin.read(), sys.path[0], loaded)
print("wrong", file=sys.stderr)
{end}
"""


@pytest.fixture
def start(tmp_path):
    """Start a script in a folder of its own: start(end, **environment) -> the caller's process."""

    def begin(end: str, **environment: str) -> subprocess.Popen[str]:
        (tmp_path / "tmp.told.py").write_text(SCRIPT.format(end=end))
        return subprocess.Popen(
            [str(warm.shared().python), str(tmp_path / "tmp.told.py"), "a b"],
            cwd=tmp_path,
            env={**os.environ, "WORD": "here", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('because')", 1),
        ("raise ValueError('because')", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_a_script_gets_and_gives_what_it_would_in_a_new_interpreter(start, tmp_path, end, code):
    process = start(end)
    out, err = process.communicate("text", timeout=600)
    assert process.returncode == code
    told = f"{tmp_path} here ['a b'] text {tmp_path} False\n"
    assert out == told or code == -signal.SIGKILL, "what is buffered then is lost, or is not"
    assert ("because" in err) == ("because" in end)


def test_a_signal_reaches_the_script_and_a_killed_caller_takes_it_along(start, tmp_path):
    for number, code in ((signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)):
        process = start("import time; open('began', 'w'); time.sleep(600)")
        process.stdin.close()
        wait_for(lambda: (tmp_path / "began").exists())
        (job,) = warm.shared().jobs("told", tmp_path)
        process.send_signal(number)
        assert process.wait(timeout=600) == code
        wait_for(lambda job=job: not job.is_running() or job.status() == "zombie")
        Path(tmp_path, "began").unlink()


@pytest.mark.parametrize("job", [{}, {"SLURM_JOB_ID": "1"}])
def test_a_killed_caller_takes_what_its_script_started_along_in_a_slurm_job(start, tmp_path, job):
    """As it is without warm starts: Slurm ends a job's processes together, a kill ends one."""
    inner = "import time; open('began', 'w'); time.sleep(600)"
    outer = f"import subprocess; subprocess.run([{str(warm.shared().python)!r}, 'inner.py'])"
    (tmp_path / "inner.py").write_text(inner)
    process = start(outer, **job)
    process.stdin.close()
    wait_for(lambda: (tmp_path / "began").exists())
    (inside,) = warm.shared().jobs("inner", tmp_path)
    (outside,) = warm.shared().jobs("told", tmp_path)
    process.kill()
    process.wait(timeout=600)
    wait_for(lambda: not outside.is_running() or outside.status() == "zombie")
    if job:
        wait_for(lambda: not inside.is_running() or inside.status() == "zombie")
    else:
        time.sleep(0.5)
        assert inside.is_running()
        assert inside.status() != "zombie"
        inside.kill()


def test_callers_that_die_while_they_ask_do_not_end_the_server(start, tmp_path):
    """One was killed between its request and the answer, and all later starts were refused."""
    asked = json.dumps({"argv": [str(tmp_path / "none.py")], "cwd": "/", "env": {}}).encode()
    head = len(asked).to_bytes(8, "big")
    for sent in (b"", head[:3], head, head + asked[:9], head + asked):
        caller = socket.socket(socket.AF_UNIX)
        caller.connect(str(warm.shared().python.with_name("socket")))
        if sent:
            socket.send_fds(caller, [sent[:8]], [2, 2, 2])
            with contextlib.suppress(BrokenPipeError):  # the server has already given it up
                caller.sendall(sent[8:])
        caller.close()
    process = start("")
    process.communicate("text", timeout=600)
    assert process.returncode == 0


def test_the_hub_is_the_callers(start):
    end = "from huggingface_hub import constants, HfApi; print(HfApi().endpoint)"
    out, err = start(end, HF_ENDPOINT="http://127.0.0.1:9").communicate("", timeout=600)
    assert out.splitlines()[1:] == ["http://127.0.0.1:9"], err


def wait_for(what) -> None:
    """Wait for a condition that holds soon."""
    end = time.monotonic() + 600
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)
