"""Each condition changes what it says and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from abspos.activations.interventions import (
    INTERVENTIONS,
    Batch,
    InterventionError,
    Setting,
    apply,
    intervention,
)
from abspos.study.conditions import CONDITIONS, arms_of, condition_of

LENGTH = 7
SETTING = Setting(
    table=torch.randn(11, 5, generator=torch.Generator().manual_seed(0)),
    bos=1,
    token=3,
    later=4,
    shift=64,
    seed=0,
)
ALL = [arm for condition in CONDITIONS for arm in arms_of(condition, 2)]


def batch(*numbers):
    """Inputs by number: the same input is the same in every batch."""
    rows = [
        torch.randn(LENGTH, 5, generator=torch.Generator().manual_seed(100 + n)) for n in numbers
    ]
    return Batch(torch.stack(rows), numbers)


def changed(condition, setting=SETTING, numbers=(0, 1, 2)):
    """Positions that differ from the text's own tokens in any input."""
    before = batch(*numbers)
    after = apply(condition, before, setting)
    assert after.embeddings.shape == before.embeddings.shape
    assert after.numbers == before.numbers
    differs = (after.embeddings != before.embeddings).any(-1).any(0)
    return set(differs.nonzero().flatten().tolist()), after


def test_conditions_are_those_of_the_config():
    assert set(INTERVENTIONS) == set(CONDITIONS)
    with pytest.raises(NotImplementedError, match=r"condition 'swap-halved': .* 'swap_halved'"):
        intervention("swap-halved")


@pytest.mark.parametrize("condition", ALL)
def test_the_batch_given_stays_as_it_was(condition):
    before = batch(0, 1)
    kept = before.embeddings.clone()
    apply(condition, before, SETTING)
    assert torch.equal(before.embeddings, kept)


@pytest.mark.parametrize(
    ("condition", "token"),
    [("bos", 1), ("control-noop", 1), ("swap-token-1", 3), ("swap-token-2", 3)],
)
def test_a_token_at_position_0(condition, token):
    where, after = changed(condition)
    assert where == {0}
    assert (after.embeddings[:, 0] == SETTING.table[token]).all()
    assert after.position_ids is None


def test_no_bos_is_the_text():
    where, after = changed("no-bos")
    assert where == set()
    assert after.position_ids is None


def test_swap_mean():
    where, after = changed("swap-mean")
    assert where == {0}
    torch.testing.assert_close(after.embeddings[0, 0], SETTING.table.mean(0))


def test_swap_noise_has_the_norm_of_bos_and_is_one_vector():
    where, after = changed("swap-noise")
    assert where == {0}
    torch.testing.assert_close(after.embeddings[0, 0].norm(), SETTING.table[1].norm())
    assert (after.embeddings[:, 0] == after.embeddings[0, 0]).all()
    _, other = changed("swap-noise", replace(SETTING, seed=1))
    assert (after.embeddings[0, 0] != other.embeddings[0, 0]).all()


def test_swap_random_is_a_token_of_each_input():
    where, after = changed("swap-random", numbers=tuple(range(40)))
    assert where == {0}
    hits = (after.embeddings[:, None, 0] == SETTING.table).all(-1)
    assert (hits.sum(1) == 1).all()
    assert len(hits.int().argmax(1).unique()) > 5


def test_ablate_zero():
    where, after = changed("ablate-zero")
    assert where == {0}
    assert (after.embeddings[:, 0] == 0).all()


def test_control_noop_is_bos_bit_for_bit():
    (_, bos), (_, noop) = changed("bos"), changed("control-noop")
    assert torch.equal(bos.embeddings, noop.embeddings)


def test_control_later():
    where, after = changed("control-later")
    assert where == {0, 4}
    assert (after.embeddings[:, 0] == SETTING.table[1]).all()
    assert (after.embeddings[:, 4] == SETTING.table[3]).all()


def test_control_shift_moves_position_ids_alone():
    where, after = changed("control-shift")
    assert where == {0}
    assert torch.equal(after.embeddings, changed("bos")[1].embeddings)
    assert after.position_ids.tolist() == [list(range(64, 64 + LENGTH))]


def test_control_shuffle_keeps_the_tokens():
    where, after = changed("control-shuffle")
    assert where > {0}
    before = batch(0, 1, 2).embeddings
    orders = []
    for row, original in zip(after.embeddings, before, strict=True):
        assert torch.equal(row[0], SETTING.table[1])
        same = (row[1:, None] == original[None, 1:]).all(-1)
        assert (same.sum(0) == 1).all()
        assert (same.sum(1) == 1).all()
        orders.append(tuple(same.int().argmax(1).tolist()))
    assert len(set(orders)) > 1


def test_control_repeat_is_one_token_of_each_input():
    text = batch(0, 1, 2).embeddings
    _, bare = changed("control-repeat")
    assert torch.equal(bare.embeddings, text[:, 1:2].expand_as(text))
    _, after_bos = changed("control-repeat-bos")
    assert (after_bos.embeddings[:, 0] == SETTING.table[1]).all()
    assert torch.equal(after_bos.embeddings[:, 1:], bare.embeddings[:, 1:])


def test_shift_begins_half_a_window_earlier():
    """The words of the second half have the position ids of the first under bos."""
    where, after = changed("shift")
    assert where == {0}
    assert torch.equal(after.embeddings, changed("bos")[1].embeddings)
    assert after.position_ids.tolist() == [list(range(-3, 4))]


@given(st.sampled_from(ALL), st.permutations(range(6)), st.integers(1, 6))
def test_an_input_is_changed_alike_in_every_batch(condition, order, size):
    together = apply(condition, batch(*range(6)), SETTING).embeddings
    for first in range(0, 6, size):
        numbers = order[first : first + size]
        alone = apply(condition, batch(*numbers), SETTING).embeddings
        assert torch.equal(alone, together[list(numbers)])


@pytest.mark.parametrize("condition", ["swap-random", "control-shuffle"])
def test_random_conditions_follow_the_seed_alone(condition):
    numbers = tuple(range(12))
    torch.manual_seed(1)
    one = apply(condition, batch(*numbers), SETTING).embeddings
    torch.manual_seed(2)
    again = apply(condition, batch(*numbers), SETTING).embeddings
    other = apply(condition, batch(*numbers), replace(SETTING, seed=1)).embeddings
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_randomness_leaves_the_global_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    for condition in ALL:
        apply(condition, batch(0, 1), SETTING)
    assert torch.equal(torch.rand(1), expected)


def test_bfloat16_stays_bfloat16():
    setting = replace(SETTING, table=SETTING.table.bfloat16())
    given_ = Batch(batch(0, 1).embeddings.bfloat16(), (0, 1))
    for condition in ALL:
        assert apply(condition, given_, setting).embeddings.dtype == torch.bfloat16


# refusals


@pytest.mark.parametrize(
    "condition", ["", "BOS", "swap-token", "swap-token-0", "swap-token-01", "swap-token-1x"]
)
def test_a_condition_that_does_not_exist(condition):
    with pytest.raises(InterventionError) as error:
        apply(condition, batch(0), SETTING)
    text = str(error.value)
    assert text.startswith(f"condition {condition!r}: not one of bos, no-bos")
    assert "\n" not in text


@pytest.mark.parametrize("condition", [arm for arm in ALL if condition_of(arm).needs_bos])
def test_conditions_with_bos_need_one(condition):
    with pytest.raises(InterventionError, match="no BOS token; use 'no-bos'"):
        apply(condition, batch(0), replace(SETTING, bos=None))


@pytest.mark.parametrize("condition", [arm for arm in ALL if not condition_of(arm).needs_bos])
def test_other_conditions_do_without(condition):
    apply(condition, batch(0), replace(SETTING, bos=None))


def test_bos_may_be_token_0():
    after = apply("bos", batch(0), replace(SETTING, bos=0))
    assert torch.equal(after.embeddings[0, 0], SETTING.table[0])


def test_missing_swap_tokens_are_told():
    for arm in ("swap-token-3", "control-later", "exchange-all"):
        with pytest.raises(InterventionError, match=f"'{arm}': needs a swap token; list one"):
            apply(arm, batch(0), replace(SETTING, token=None))
