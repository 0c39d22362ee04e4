"""A clock that was set back leaves no file from the future."""

import os
import time

from abspos.clock import settle


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
