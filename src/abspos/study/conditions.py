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
#: a control, a substitute that chosen heads read at position 0, or the same words at another place,
#: paired with bos query by query.
Role = Literal["reference", "replacement", "control", "substitute", "pair"]
#: Which of the study's swap tokens a condition reads: the first, or each in an arm of its own.
Token = Literal["first", "each"]
#: What must be nothing: any difference from bos, any beyond rounding, R in layer 0, R in every
#: layer; or, beside the last, what must be something in every layer, or the check could not fail.
Check = Literal["identical", "rounding", "layer 0", "repeat", "repeat with BOS"]
#: Heads that read a substitute (abspos.sinks): chosen by their attention to position 0, in all
#: layers or by third of the depth.
Heads = Literal["readers", "others", "top", "bottom", "all", "lower", "middle", "upper"]
#: What of position 0 a substitute replaces.
Part = Literal["key", "value"]
#: Sets of heads that are chosen on inputs under bos.
CHOSEN = frozenset({"readers", "others", "top", "bottom"})

#: Checks of one repeated token: with BOS, the check of the one without could fail.
REPEAT_CHECKS = ("repeat", "repeat with BOS")


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
class Substitute:
    """What chosen heads read at position 0 in place of what stands there.

    Attributes:
        heads: which heads; the others read position 0 as it is.
        source: where it comes from: the trajectory of a swap token, zeros, or BOS in mid-text.
        parts: what of position 0 it replaces.
    """

    heads: Heads
    source: Literal["token", "zero", "mid-text"]
    parts: tuple[Part, ...]

    @property
    def chosen(self) -> bool:
        """Whether its heads are chosen on inputs under bos, which the arm then must not have."""
        return self.heads in CHOSEN


@dataclass(frozen=True)
class Definition:
    """One condition.

    Attributes:
        name: in the config, in paths and in tables.
        text: what position 0 holds, for docs/config.md.
        role: see `Role`. All but references need bos beside them, on at least as many inputs;
            substitutes on at least twice as many, since one half chooses heads.
        needs_bos: whether a model without a BOS token cannot have it.
        token: see `Token`; None where it reads no swap token.
        reads_early: whether it depends on `bins.early`.
        reads_policy: whether it depends on `inputs.bos`.
        compared: whether it is compared with bos field by field, input by input.
        scored: whether its next-token loss is measured, which costs up to a fifth of a pass.
        crossed: whether it differs from other such conditions in nothing but the token at position
            0, the same in all inputs: then what heads write from it is stored, for the crossed
            design of the claim fingerprint.
        substitute: what chosen heads read at position 0 instead of what stands there.
        null: what must be nothing, if anything must; or must not.
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
    crossed: bool = False
    substitute: Substitute | None = None
    null: Null | None = None
    says: str = ""
    note: str = ""
    unplanted: str = ""

    @property
    def needs(self) -> str:
        """What a study or model has to give it, for docs/config.md."""
        tokens = {"first": "a swap token", "each": "swap tokens", None: ""}[self.token]
        return ", ".join(filter(None, ["BOS" if self.needs_bos else "", tokens]))


_SWAP = "swap-token: energy reduction"
_ONE_TOKEN = "no token but that at position 0 does anything"
_NO_READER = "no head reads keys and values"

#: Heads that read a substitute, in words.
_EXCHANGED: tuple[tuple[Heads, str], ...] = (
    ("readers", "sink readers"),
    ("others", "heads that are no sink readers"),
    ("all", "all heads"),
    ("lower", "all heads of the lower third of the layers"),
    ("middle", "all heads of the middle third of the layers"),
    ("upper", "all heads of the upper third of the layers"),
)
_SILENCED: tuple[tuple[Heads, str], ...] = (
    ("top", "the third of each layer's heads that attend to it most"),
    ("bottom", "the third of each layer's heads that attend to it least"),
    ("all", "all heads"),
)
#: Parts of position 0 that are as in mid-text, in words.
_UNSUNK: tuple[tuple[str, str, tuple[Part, ...]], ...] = (
    ("key", "the key", ("key",)),
    ("value", "the value", ("value",)),
    ("both", "the key and the value", ("key", "value")),
)

TABLE = (
    Definition(
        name="bos",
        text="the BOS embedding: the reference arm",
        role="reference",
        needs_bos=True,
        crossed=True,
    ),
    Definition(
        name="no-bos",
        text="the text's own first token",
        role="reference",
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
        crossed=True,
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
        name="control-repeat",
        text="a word of the text, which stands at all other positions too",
        role="control",
        null=Null("repeat", "both-present", "residual energy"),
        unplanted=_ONE_TOKEN,
    ),
    Definition(
        name="control-repeat-bos",
        text="the BOS embedding; one word of the text stands at all other positions",
        role="control",
        needs_bos=True,
        null=Null("repeat with BOS", "both-present", "residual energy"),
        unplanted=_ONE_TOKEN,
    ),
    Definition(
        name="shift",
        text="the BOS embedding, half a window earlier: the early half of the text stands in the "
        "second half",
        role="pair",
        needs_bos=True,
        unplanted=_ONE_TOKEN,
    ),
    *(
        Definition(
            name=f"exchange-{heads}",
            text=f"the BOS embedding; {words} read there the key and value of the first of "
            "swap_tokens instead",
            role="substitute",
            needs_bos=True,
            scored=False,
            token="first",
            compared=True,
            substitute=Substitute(heads, "token", ("key", "value")),
            unplanted=_NO_READER,
        )
        for heads, words in _EXCHANGED
    ),
    *(
        Definition(
            name=f"silence-{heads}",
            text=f"the BOS embedding, whose value counts as zero for {words}",
            role="substitute",
            needs_bos=True,
            scored=False,
            compared=True,
            substitute=Substitute(heads, "zero", ("value",)),
            unplanted=_NO_READER,
        )
        for heads, words in _SILENCED
    ),
    *(
        Definition(
            name=f"unsink-{name}",
            text=f"the BOS embedding; all heads read there {words} that BOS has in mid-text",
            role="substitute",
            needs_bos=True,
            scored=False,
            compared=True,
            substitute=Substitute("all", "mid-text", parts),
            unplanted=_NO_READER,
        )
        for name, words, parts in _UNSUNK
    ),
)

#: Conditions by name.
CONDITIONS: Mapping[str, Definition] = {row.name: row for row in TABLE}

#: What each condition substitutes at position 0, by its name.
SUBSTITUTES: Mapping[str, Substitute] = {
    row.name: row.substitute for row in TABLE if row.substitute
}

#: Conditions that are paired with bos query by query (abspos.components.pairs).
PAIRS = frozenset(row.name for row in TABLE if row.role == "pair")

#: What each control of position says of the effect that it stands beside.
BESIDE_EFFECTS: Mapping[str, str] = {row.name: row.says for row in TABLE if row.says}

#: Conditions with one token at all positions but perhaps the first.
REPEATS = frozenset(row.name for row in TABLE if row.null and row.null.check in REPEAT_CHECKS)

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


def inputs_of(condition: str, stated: Mapping[str, int | None], every: int) -> int:
    """How many inputs a condition has: as many as stated, or all if the study has fewer; a
    substitute at most half of those of bos, since the other half chooses heads.

    Args:
        condition: its name.
        stated: inputs that each condition of its variant states.
        every: inputs of the study.
    """
    if condition in SUBSTITUTES:
        every = min(stated["bos"] or every, every) // 2
    return min(stated[condition] or every, every)


def chooses_heads(arm: str) -> bool:
    """Whether an arm's condition acts on heads that are chosen under bos."""
    substitute = condition_of(arm).substitute
    return substitute is not None and substitute.chosen
