"""A throwaway Slurm on this machine: a CPU node and a GPU node with two devices that do nothing.

Real daemons of the system's Slurm, started by their user without systemd, on free ports, in a
folder of their own. No accounting and no cgroups: sacct has no answer there, and memory limits are
granted but not enforced. Processes of a job are those of its process group: proctrack/linuxproc
follows parents and loses a job's Snakemake once its shell has died of SIGTERM.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scontrol", "scancel")
SEARCH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

CONFIG = """
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdSpoolDir={folder}/spool.%n
StateSaveLocation={folder}/state
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
Prolog={folder}/bin/prolog
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
# squeue keeps finished jobs so long: the status command of these tests.
MinJobAge=86400
EnforcePartLimits=ALL
KillWait=2
# A node whose job is slow to die takes no more: 60 s are few while other tests load the machine.
UnkillableStepTimeout=600
NodeName=cpu1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=8 RealMemory=16000
NodeName=gpu1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=16000 \
Gres=gpu:2
PartitionName=cpu Nodes=cpu1 Default=YES DefaultTime=10 MaxTime=1440
PartitionName=gpu Nodes=gpu1 DefaultTime=10 MaxTime=1440
"""
# Each GPU must name a character device; these two exist on every Linux.
DEVICES = "NodeName=gpu1 Name=gpu File=/dev/null\nNodeName=gpu1 Name=gpu File=/dev/zero\n"
# The job-step plugin drops SLURM_CONF before it calls srun.
# What slurmd grants each job on its node, which scontrol forgets when the job has ended.
PROLOG = '#!/bin/sh\necho "$SLURM_JOB_ID gpus=$SLURM_JOB_GPUS" >> {folder}/granted.txt\n'
SRUN = '#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {srun} "$@"\n'


def missing() -> list[str]:
    """Programs of Slurm that this machine lacks."""
    return [name for name in PROGRAMS if not shutil.which(name, path=SEARCH)]


def wait_for(what: Callable[[], object], seconds: float, why: str) -> object:
    """The first true value of a function, or an error after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.1)
    raise TimeoutError(f"{why}: not within {seconds:g} s")


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Cluster:
    """A running cluster: its folder, and what its own records say of jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": f"{folder / 'bin'}:{SEARCH}",
        }
        # A test run may itself be a Slurm job.
        for name in [n for n in self.env if n.startswith("SLURM_") and n != "SLURM_CONF"]:
            del self.env[name]

    def run(self, *command: str) -> str:
        """Output of one of Slurm's commands."""
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout

    def jobs(self, folder: Path) -> list[dict[str, str]]:
        """Slurm's records of all jobs submitted in a folder, oldest first."""
        text = self.run("scontrol", "--details", "--oneliner", "show", "job")
        records = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in text.splitlines()]
        mine = [r for r in records if Path(r.get("WorkDir", "")) == folder]
        return sorted(mine, key=lambda r: int(r["JobId"]))

    def granted(self) -> dict[str, str]:
        """The GPU that slurmd granted each job, empty where it granted none."""
        lines = (self.folder / "granted.txt").read_text().splitlines()
        return dict(line.split(" gpus=") for line in lines)

    def start(self) -> None:
        """Write the configuration and start munged, slurmctld and both slurmd."""
        host, user = socket.gethostname().partition(".")[0], pwd.getpwuid(os.getuid()).pw_name
        folder = self.folder
        for name in ("bin", "state", "spool.cpu1", "spool.gpu1"):
            (folder / name).mkdir()
        config = CONFIG.format(host=host, user=user, folder=folder, ports=free_ports(3))
        (folder / "slurm.conf").write_text(config)
        (folder / "gres.conf").write_text(DEVICES)
        srun = shutil.which("srun", path=SEARCH)
        for name, text in (("srun", SRUN), ("prolog", PROLOG)):
            (folder / "bin" / name).write_text(text.format(folder=folder, srun=srun))
            (folder / "bin" / name).chmod(0o755)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self.daemon(
            "munged",
            f"--key-file={key}",
            f"--socket={folder}/munge.sock",
            f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munged.log",
            f"--seed-file={folder}/munged.seed",
        )
        self.daemon("slurmctld", "-f", self.env["SLURM_CONF"])
        wait_for(lambda: "UP" in self.run("scontrol", "ping"), 20, "slurmctld answers")
        for node in ("cpu1", "gpu1"):
            self.daemon("slurmd", "-N", node, "-f", self.env["SLURM_CONF"])
        wait_for(
            lambda: self.run("sinfo", "-h", "-N", "-o", "%T").split() == ["idle", "idle"],
            30,
            "both nodes are idle",
        )

    def daemon(self, *command: str) -> None:
        """Start a program that goes to the background by itself."""
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")

    def stop(self) -> None:
        """Cancel what runs and end the daemons by their pids."""
        if (self.folder / "slurmctld.pid").exists():
            self.run("scancel", "--full", "--state=RUNNING")
            self.run("scancel", "--state=PENDING")
            running = ("squeue", "-h", "-t", "R,CG")
            try:
                wait_for(lambda: not self.run(*running), 20, "no job is left")
            except TimeoutError as error:
                print(error)
        for name in ("slurmd.cpu1", "slurmd.gpu1", "slurmctld", "munged"):
            self.end(self.folder / f"{name}.pid")

    @staticmethod
    def end(file: Path) -> None:
        """End the process of a pid file, at first politely."""
        if not file.exists() or not (text := file.read_text().strip()):
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(int(text), number)
                wait_for(lambda: not alive(int(text)), 10, f"{file.stem} ends")
            except ProcessLookupError:
                return
            except TimeoutError:
                continue
            return


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster that lives as long as the context."""
    # munged wants every folder above its socket to be open to all: no folder of pytest's own is.
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    folder.chmod(0o755)
    made = Cluster(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)
