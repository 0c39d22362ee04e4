"""Content of position 0: one small function per condition of abspos.study.conditions.

Every function takes input embeddings (input, position, feature) of the text's own tokens and
returns what the model gets instead. Nothing else differs between the arms of a model.
Source: docs/method.md, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from abspos.study.conditions import CONDITIONS, SUBSTITUTES, Definition, condition_of, is_arm

#: Tokens of a vocabulary whose embeddings are looked up at a time.
AT_ONCE = 4096


class Table(Protocol):
    """Input embeddings of a vocabulary (token, feature): a tensor, or what looks them up."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: Any) -> Tensor:
        """The embeddings of one token (feature), or of some (token, feature)."""


class InterventionError(ValueError):
    """A condition that does not exist or that this model cannot be given."""


@dataclass(frozen=True)
class Setting:
    """Data that conditions use.

    Attributes:
        table: input embeddings of the whole vocabulary (token, feature).
        bos: token id of BOS, or None where the tokenizer has none.
        token: id of the swap token that the arm reads, or None where it reads none.
        later: the later position that control-later replaces.
        shift: what control-shift adds to all position ids.
        seed: of everything random; draws depend on it and the input's number alone.
    """

    table: Table
    bos: int | None
    token: int | None
    later: int
    shift: int
    seed: int

    @cached_property
    def mean(self) -> Tensor:
        """The mean embedding of the vocabulary (feature), summed some tokens at a time."""
        parts = (self.table[i : i + AT_ONCE] for i in range(0, len(self.table), AT_ONCE))
        total = torch.stack([part.sum(0, dtype=torch.float64) for part in parts]).sum(0)
        return (total / len(self.table)).to(self.table[0].dtype)


@dataclass(frozen=True)
class Batch:
    """Inputs as the model gets them.

    Attributes:
        embeddings: (input, position, feature).
        numbers: which inputs of the study these are (input).
        position_ids: (1, position), or None for 0..T-1.
    """

    embeddings: Tensor
    numbers: Sequence[int]
    position_ids: Tensor | None = None


def at(batch: Batch, position: int, vectors: Tensor) -> Batch:
    """Replace what stands at one position by ``vectors``, (feature) or (input, feature)."""
    embeddings = batch.embeddings.clone()
    embeddings[:, position] = vectors.to(embeddings)
    return Batch(embeddings, batch.numbers, batch.position_ids)


def generator(seed: int, number: int) -> torch.Generator:
    """Randomness of one input, the same in whatever batch it comes."""
    return torch.Generator().manual_seed(seed * 1_000_003 + number)


def bos_vector(setting: Setting) -> Tensor:
    """The BOS embedding (feature)."""
    if setting.bos is None:
        raise InterventionError("condition 'bos': this tokenizer has no BOS token; use 'no-bos'")
    return setting.table[setting.bos]


def bos(batch: Batch, setting: Setting) -> Batch:
    """The BOS embedding at position 0."""
    return at(batch, 0, bos_vector(setting))


def no_bos(batch: Batch, setting: Setting) -> Batch:
    """The text's own first token."""
    return batch


def as_is(batch: Batch, setting: Setting) -> Batch:
    """What a study's BOS policy says: it stands in the tokens (see abspos.activations.arms)."""
    return batch


def swap_token(batch: Batch, setting: Setting) -> Batch:
    """The embedding of the arm's swap token."""
    if setting.token == setting.bos:
        raise InterventionError(
            "condition 'swap-token': inert, its token is BOS; list another in swap_tokens"
        )
    return at(batch, 0, setting.table[setting.token])


def swap_mean(batch: Batch, setting: Setting) -> Batch:
    """The mean embedding of the vocabulary."""
    return at(batch, 0, setting.mean)


def swap_noise(batch: Batch, setting: Setting) -> Batch:
    """One Gaussian vector of the BOS embedding's norm, the same for all inputs."""
    reference = bos_vector(setting).float().cpu()
    noise = torch.randn(reference.shape, generator=generator(setting.seed, -1 % 2**31))
    return at(batch, 0, noise * (reference.norm() / noise.norm()))


def swap_random(batch: Batch, setting: Setting) -> Batch:
    """A random token of the vocabulary per input."""
    size = len(setting.table)
    ids = [
        int(torch.randint(size, (1,), generator=generator(setting.seed, n))) for n in batch.numbers
    ]
    return at(batch, 0, setting.table[ids])


def ablate_zero(batch: Batch, setting: Setting) -> Batch:
    """Zeros: removes position 0 from bias-free pre-norm models instead of replacing it."""
    return at(batch, 0, torch.zeros_like(setting.table[0]))


def control_noop(batch: Batch, setting: Setting) -> Batch:
    """BOS, replaced by itself: must change nothing at all against ``bos``."""
    return at(bos(batch, setting), 0, bos_vector(setting))


def control_later(batch: Batch, setting: Setting) -> Batch:
    """BOS at position 0, and the swap token at a later position instead of there."""
    return at(bos(batch, setting), setting.later, setting.table[setting.token])


def control_shift(batch: Batch, setting: Setting) -> Batch:
    """BOS, all position ids shifted by a constant: RoPE makes it change nothing but rounding."""
    started = bos(batch, setting)
    length = batch.embeddings.shape[1]
    ids = torch.arange(length, device=batch.embeddings.device) + setting.shift
    return Batch(started.embeddings, batch.numbers, ids[None])


def control_shuffle(batch: Batch, setting: Setting) -> Batch:
    """BOS, then the text's tokens in a random order of their own per input."""
    embeddings = bos(batch, setting).embeddings.clone()
    length = embeddings.shape[1]
    for row, number in enumerate(batch.numbers):
        order = torch.randperm(length - 1, generator=generator(setting.seed, number)) + 1
        embeddings[row, 1:] = embeddings[row, order.to(embeddings.device)]
    return Batch(embeddings, batch.numbers)


def control_repeat(batch: Batch, setting: Setting) -> Batch:
    """The text's second token, which bos has first, at every position: a token per input."""
    repeated = batch.embeddings[:, 1:2].expand_as(batch.embeddings).clone()
    return Batch(repeated, batch.numbers)


def control_repeat_bos(batch: Batch, setting: Setting) -> Batch:
    """BOS, then the text's second token at every other position."""
    return bos(control_repeat(batch, setting), setting)


def shift(batch: Batch, setting: Setting) -> Batch:
    """BOS, with position ids that begin at -T/2.

    The batch holds the windows half a window earlier (abspos.activations.arms.tokens_of), so that
    the words of the early half have the position ids that they have under bos: their queries and
    keys are compared as they are stored, however the model rotates them.
    """
    started = bos(batch, setting)
    length = batch.embeddings.shape[1]
    ids = torch.arange(length, device=batch.embeddings.device) - length // 2
    return Batch(started.embeddings, batch.numbers, ids[None])


def intervention(condition: str) -> Callable[[Batch, Setting], Batch]:
    """The function of a condition: of its name, with underscores; a substitute starts from `bos`.

    What heads then read at position 0 is of abspos.activations.position0.

    Raises:
        NotImplementedError: this module has no such function.
    """
    name = "bos" if condition in SUBSTITUTES else condition.replace("-", "_")
    function = globals().get(name)
    if function is None:
        raise NotImplementedError(
            f"condition {condition!r}: {__name__} has no function {name!r}; write it"
        )
    return function


#: The function of each condition in abspos.study.conditions.
INTERVENTIONS: Mapping[str, Callable[[Batch, Setting], Batch]] = {
    name: intervention(name) for name in CONDITIONS
}


def known(arm: str) -> Definition:
    """The row of an arm's condition.

    Raises:
        InterventionError: there is no such arm.
    """
    if not is_arm(arm):
        allowed = ", ".join(c if is_arm(c) else f"{c}-1 .. {c}-K" for c in CONDITIONS)
        raise InterventionError(f"condition {arm!r}: not one of {allowed}")
    return condition_of(arm)


def apply(arm: str, batch: Batch, setting: Setting) -> Batch:
    """Put in place what an arm's condition wants, by its name in the config.

    Raises:
        InterventionError: there is no such arm, or this model cannot be given it.
    """
    condition = known(arm)
    if condition.token and setting.token is None:
        raise InterventionError(f"condition {arm!r}: needs a swap token; list one in swap_tokens")
    return INTERVENTIONS[condition.name](batch, setting)
