"""Progress lines, on a clock that the test holds."""

from __future__ import annotations

import pytest

from abspos import progress as module
from abspos.progress import clock, progress


@pytest.fixture
def time(monkeypatch):
    """A monotonic clock that stands still unless moved."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def walk(time, seconds, total, **others):
    for item in progress(range(total), total, "run", "steps", **others):
        time[0] += seconds
        yield item


def test_items_come_through_in_order(time):
    assert list(walk(time, 1, 7)) == list(range(7))


def test_lines_tell_what_is_done_and_left(time, lines):
    list(walk(time, 2, 6))
    assert lines() == [
        "run: 3/6 steps, about 0:06 left",
        "run: 6/6 steps, about 0:00 left",
    ]


def test_quick_steps_are_told_once_at_the_end(time, lines):
    list(walk(time, 0.01, 50))
    assert lines() == ["run: 50/50 steps, about 0:00 left"]


def test_every_sets_how_often(time, lines):
    list(walk(time, 2, 4, every=0))
    assert len(lines()) == 4


def test_nothing_to_do_says_nothing(time, lines):
    assert list(progress([], 0, "run", "steps")) == []
    assert lines() == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (0.9, "0:00"), (61.5, "1:01"), (599, "9:59"), (3725, "62:05")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text
