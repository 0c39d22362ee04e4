"""The readings: their names, and when each was fixed."""

from __future__ import annotations

from typing import get_args

import pytest

from abspos.components.readings import BY_NAME, READINGS, fixed
from abspos.study.fields import ReadingName


def test_names_are_those_that_the_config_allows():
    assert tuple(BY_NAME) == get_args(ReadingName) == tuple(r.name for r in READINGS)
    joints = [reading.joint for reading in READINGS]
    assert len(set(joints)) == len(joints), "each has inner products of its own"


@pytest.mark.parametrize("primary", list(BY_NAME))
def test_r_is_fixed_beforehand_and_the_others_but_where_r_decides(primary):
    found = {name: fixed(name, primary) for name in BY_NAME}
    late = "post hoc" if primary == "R" else "beforehand"
    assert found == {"R": "beforehand", "sink": late, "pattern": late}
