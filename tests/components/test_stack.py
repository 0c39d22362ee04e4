"""Arrays of all layers: in memory or in files, whole or with gaps."""

from __future__ import annotations

import numpy as np

from abspos.components import stack as layers
from abspos.components.stack import Stack


def test_arrays_of_many_bytes_lie_in_files_and_hold_the_same(tmp_path, monkeypatch):
    given = [{"a": np.full((2, 3), 1.0, "f4")}, {"a": np.full((2, 3), 2.0, "f4"), "b": np.ones(2)}]
    for limit in (2**28, 1):
        monkeypatch.setattr(layers, "STACK_BYTES", limit)
        stack = Stack(2, tmp_path / "new")
        for number, found in enumerate(given):
            stack.add(number, found)
        assert list(stack.arrays) == ["a", "b"]
        np.testing.assert_array_equal(stack.arrays["a"][:, 0, 0], [1, 2])
        np.testing.assert_array_equal(stack.arrays["b"], [[np.nan] * 2, [1, 1]])
        assert isinstance(stack.arrays["a"], np.memmap) == (limit == 1)
    assert not list((tmp_path / "new").iterdir()), "nothing stays when a job is killed"
