"""Before the first job: no file from the future, no folder that is read-only."""

import os
import time

import psutil

from abspos.planning import preflight as start
from abspos.planning.preflight import memory_mb, read_only, settle


def test_files_from_the_future_get_the_time_of_now(tmp_path):
    names = ("old", "x.zarr/.snakemake_timestamp", "new")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    year = time.time() + 365 * 24 * 3600
    os.utime(tmp_path / "old", (5, 5))
    for name in names[1:]:
        os.utime(tmp_path / name, (year, year))
    assert settle(tmp_path, tmp_path / "missing") == sorted(tmp_path / name for name in names[1:])
    assert all(path.stat().st_mtime <= time.time() for path in tmp_path.rglob("*"))
    assert (tmp_path / "old").stat().st_mtime == 5
    assert settle(tmp_path) == []


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "in").mkdir()
    outside = tmp_path / "outside"
    outside.touch()
    year = time.time() + 365 * 24 * 3600
    os.utime(outside, (year, year))
    (tmp_path / "in" / "link").symlink_to(outside)
    os.utime(tmp_path / "in" / "link", (year, year), follow_symlinks=False)
    assert settle(tmp_path / "in") == [tmp_path / "in" / "link"]
    assert outside.stat().st_mtime > time.time()


def test_a_folder_that_is_read_only_is_told_in_a_line(tmp_path, monkeypatch):
    assert read_only(tmp_path, tmp_path / "to" / "be" / "made") == []
    assert read_only("results/to/be/made") == []
    monkeypatch.setattr(start.os, "access", lambda path, mode: path != tmp_path)
    (line,) = read_only(tmp_path / "results", tmp_path.parent)
    assert line.startswith(f"{tmp_path / 'results'}: the folder is read-only; make it writable")


def test_memory_is_the_machines_or_what_a_limit_leaves(tmp_path, monkeypatch):
    own = psutil.virtual_memory().total // 10**6
    two, one = tmp_path / "memory.max", tmp_path / "limit_in_bytes"
    monkeypatch.setattr(start, "CGROUP_LIMITS", (two, one))
    assert memory_mb() == own
    two.write_text("max\n")
    assert memory_mb() == own
    one.write_text("1500000000\n")
    assert memory_mb() == 1500
    two.write_text(f"{2**62}\n")
    assert memory_mb() == 1500
