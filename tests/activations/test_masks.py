"""What a layer is given while its mask is looked at."""

from __future__ import annotations

import pytest
import torch

from abspos.activations.masks import first_position


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ((1, 6, 8), (1, 1, 8)),  # a hidden state
        ((1, 6, 6), (1, 1, 6)),  # as wide as there are positions
        ((1, 1, 6), (1, 1, 6)),  # the same, of a layer further up
        ((1, 6), (1, 1)),  # positions
        ((6, 8), (1, 8)),
        ((6,), (1,)),
        ((), ()),
        ((6, 6, 8), (6, 1, 8)),  # as many inputs as positions
        ((1, 1, 6, 6), (1, 1, 6, 6)),  # a mask
        ((1, 6, 6, 6), (1, 6, 6, 6)),  # of as many heads
    ],
)
def test_a_layer_that_is_looked_at_gets_its_first_position_and_whole_masks(given, left):
    args, kwargs = first_position(((torch.zeros(given),), {"x": [torch.ones(given), None]}), 6)
    assert args[0].shape == left
    assert kwargs["x"][0].shape == left
    assert kwargs["x"][1] is None
