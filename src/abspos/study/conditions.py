"""Conditions: what stands at position 0, one row each. Everything else about them follows from it.

A new condition is a row of `TABLE` and a function of abspos.activations.interventions. The config's
names, checks and reference, the layout, the plan, the claims' replacements and the controls all
read this table. Source: docs/method.md, section 4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

#: What a condition is for: a starting point, a replacement of BOS (numbers of the claim bos-swap),
#: a control, or another position 0 that only some heads read.
Role = Literal["reference", "replacement", "control", "exchange"]
#: Which of the study's swap tokens a condition reads: the first, or each in an arm of its own.
Token = Literal["first", "each"]
#: What must be nothing: any difference from bos, any beyond rounding, R in layer 0.
Check = Literal["identical", "rounding", "layer 0"]
#: Heads that an exchange acts on (abspos.sinks).
Heads = Literal["readers", "matched", "all"]


@dataclass(frozen=True)
class Null:
    """A null control: what must be nothing, and the result that it protects.

    Attributes:
        check: how it is measured (abspos.statistics.controls).
        claim: the claim that it protects.
        number: the number of that claim.
    """

    check: Check
    claim: str
    number: str


@dataclass(frozen=True)
class Definition:
    """One condition.

    Attributes:
        name: in the config, in paths and in tables.
        text: what position 0 holds, for docs/config.md.
        role: see `Role`. All but references need bos beside them, on at least as many inputs.
        needs_bos: whether a model without a BOS token cannot have it.
        token: see `Token`; None where it reads no swap token.
        reads_early: whether it depends on `bins.early`.
        reads_policy: whether it depends on `inputs.bos`.
        compared: whether it is compared with bos field by field, input by input.
        scored: whether its next-token loss is measured, which costs up to a fifth of a pass.
        varies: whether the token at position 0 differs between inputs: then what heads write from
            it is stored.
        heads: the heads of an exchange; the others read bos.
        null: what must be nothing, if anything must.
        says: of a control of position, what it changes instead of position 0, for the figure
            Controls.
        note: stands beside its numbers in claims.csv.
        unplanted: why a synthetic model cannot have it; empty where it can.
    """

    name: str
    text: str
    role: Role
    needs_bos: bool = False
    token: Token | None = None
    reads_early: bool = False
    reads_policy: bool = False
    compared: bool = False
    scored: bool = True
    varies: bool = False
    heads: Heads | None = None
    null: Null | None = None
    says: str = ""
    note: str = ""
    unplanted: str = ""


_SWAP = "swap-token: energy reduction"
_ONE_TOKEN = "no token but that at position 0 does anything"
_NO_READER = "no head reads keys and values"

TABLE = (
    Definition(
        name="bos",
        text="the BOS embedding: the reference arm",
        role="reference",
        needs_bos=True,
    ),
    Definition(
        name="no-bos",
        text="the text's own first token",
        role="reference",
        varies=True,
        null=Null("layer 0", "both-present", "residual energy"),
    ),
    Definition(
        name="as-is",
        text="what inputs.bos says: by default BOS in front of the whole text where the tokenizer "
        "adds it by itself, else the text's own first token",
        role="reference",
        reads_policy=True,
        unplanted="no logit depends on what a tokenizer adds",
    ),
    Definition(
        name="swap-token",
        text="another token's embedding: swap-token-1, -2, ..., one for each of swap_tokens",
        role="replacement",
        scored=False,
        token="each",
        compared=True,
    ),
    Definition(
        name="swap-mean",
        text="the mean embedding of the vocabulary",
        role="replacement",
        scored=False,
        compared=True,
    ),
    Definition(
        name="swap-noise",
        text="Gaussian noise of the BOS embedding's norm",
        role="replacement",
        scored=False,
        needs_bos=True,
        compared=True,
    ),
    Definition(
        name="swap-random",
        text="a random token, another one for each input",
        role="replacement",
        scored=False,
        compared=True,
        varies=True,
    ),
    Definition(
        name="ablate-zero",
        text="zeros: position 0 is removed, not replaced",
        role="replacement",
        scored=False,
        compared=True,
        note="removes position 0, does not replace it",
    ),
    Definition(
        name="control-noop",
        text="BOS replaced by itself: must change nothing at all",
        role="control",
        needs_bos=True,
        null=Null("identical", "bos-swap", _SWAP),
    ),
    Definition(
        name="control-later",
        text="the BOS embedding; the first of swap_tokens stands at a later position",
        role="control",
        needs_bos=True,
        token="first",
        reads_early=True,
        compared=True,
        says="the same token at a later position instead of position 0",
        unplanted=_ONE_TOKEN,
    ),
    Definition(
        name="control-shift",
        text="the BOS embedding, all position ids shifted by a constant",
        role="control",
        needs_bos=True,
        compared=True,
        null=Null("rounding", "bos-swap", _SWAP),
        says="all position ids shifted: nothing but rounding",
        unplanted="no logit depends on position ids",
    ),
    Definition(
        name="control-shuffle",
        text="the BOS embedding, the tokens after it shuffled",
        role="control",
        needs_bos=True,
        compared=True,
        says="the text after position 0 shuffled",
        unplanted=_ONE_TOKEN,
    ),
    Definition(
        name="exchange-readers",
        text="the BOS embedding; sink readers read there the keys and values of the first of "
        "swap_tokens instead",
        role="exchange",
        needs_bos=True,
        token="first",
        compared=True,
        heads="readers",
        unplanted=_NO_READER,
    ),
    Definition(
        name="exchange-matched",
        text="the same in as many other heads, matched by layer",
        role="exchange",
        needs_bos=True,
        token="first",
        compared=True,
        heads="matched",
        unplanted=_NO_READER,
    ),
    Definition(
        name="exchange-all",
        text="the same in all heads",
        role="exchange",
        needs_bos=True,
        token="first",
        compared=True,
        heads="all",
        unplanted=_NO_READER,
    ),
)

#: Conditions by name.
CONDITIONS: Mapping[str, Definition] = {row.name: row for row in TABLE}

#: The set of heads of each exchange, by its name.
EXCHANGES: Mapping[str, str] = {row.name: row.heads for row in TABLE if row.heads}

#: Conditions with one arm for each swap token.
NUMBERED = frozenset(row.name for row in TABLE if row.token == "each")


def split(arm: str) -> tuple[str, int | None]:
    """The condition of an arm, and the number of its swap token: swap-token-2 -> swap-token, 2.

    Arms of most conditions have no number; a name that is no arm is given back as it is.
    """
    numbered = re.fullmatch(r"(.+)-([1-9][0-9]*)", arm)
    if numbered and numbered[1] in NUMBERED:
        return numbered[1], int(numbered[2])
    return arm, None


def condition_of(arm: str) -> Definition:
    """The row of an arm's condition.

    Raises:
        KeyError: there is no such condition.
    """
    return CONDITIONS[split(arm)[0]]


def arms_of(condition: str, tokens: int) -> tuple[str, ...]:
    """The arms of a condition, where the study lists so many swap tokens."""
    if condition not in NUMBERED:
        return (condition,)
    return tuple(f"{condition}-{number}" for number in range(1, tokens + 1))


def is_arm(name: str) -> bool:
    """Whether an arm can have this name: its condition's, numbered where there are several."""
    condition, number = split(name)
    return condition in CONDITIONS and (condition in NUMBERED) == (number is not None)


def token_of(arm: str, swap_tokens: Sequence[str]) -> str | None:
    """The one swap token that an arm reads, out of those that the study lists; None if none."""
    if condition_of(arm).token is None:
        return None
    number = split(arm)[1] or 1
    return swap_tokens[number - 1]
