"""What a job says of the machine it ran on."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

from abspos.audit import machine


def answer(text: str, code: int = 0):
    return lambda *given, **options: SimpleNamespace(stdout=text, returncode=code)


def test_gpus_are_named_with_their_driver(monkeypatch):
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(machine.subprocess, "run", answer("NVIDIA H100, 550.1\nNVIDIA A2, 550.1\n"))
    assert machine.gpus() == [
        {"name": "NVIDIA H100", "driver": "550.1"},
        {"name": "NVIDIA A2", "driver": "550.1"},
    ]


@pytest.mark.parametrize("text", ["", "NVIDIA-SMI has failed\n", "no devices, were, found\n"])
def test_a_broken_driver_is_no_gpu_and_no_error(monkeypatch, text):
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(machine.subprocess, "run", answer(text, 9))
    assert machine.gpus() == []


def test_a_driver_that_hangs_is_left_alone(monkeypatch):
    def hang(*given, **options):
        raise subprocess.TimeoutExpired("nvidia-smi", 30)

    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(machine.subprocess, "run", hang)
    assert machine.gpus() == []


def git(folder, *arguments: str) -> None:
    names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *names, *arguments], check=True, capture_output=True)


def test_commit_and_whether_the_tree_is_clean(tmp_path):
    assert machine.commit(tmp_path) is None
    git(tmp_path, "init")
    assert machine.commit(tmp_path) is None
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-m", "one")
    first = machine.commit(tmp_path)
    assert first is not None
    assert first["clean"]
    assert len(first["commit"]) == 40
    (tmp_path / "a").write_text("2")
    assert machine.commit(tmp_path) == {**first, "clean": False}


def test_versions_are_of_what_is_installed():
    found = machine.packages()
    assert {"numpy", "torch", "zarr", "snakemake"} <= set(found)
    assert set(machine.loaded()) <= set(found)
    assert "snakemake" not in machine.loaded()


def test_peak_memory_and_host_have_sane_sizes():
    assert 1e6 < machine.peak_memory() < 1e13
    host = machine.host()
    assert host["cpu"]
    assert 1 <= host["cores_usable"] <= host["cores"]
