"""The shift pair: the same words at two places, and which of queries and keys carries R.

Arm A is bos, arm B is shift: the words of A's early half stand there half = T // 2 positions later,
after words of the same document, under the position ids that they have in A. A's query and keys at
i and B's at i + half hold the same tokens and are stored as RoPE rotates them at the same place.
Key 0 of A is BOS; in its place B has a key in mid-text.

    matched R     log a_A[i, j] - log p_B[i + half, j + half], B cut to the keys that A has
    combination   the same with B's own queries, ordinary keys or key 0 in place of A's

A combination is three letters, the arms of queries, ordinary keys and key 0: AAA is A itself, BBB
is B cut to A's keys, which all are compared with. The pattern has no key 0, so two letters name its
combinations.

Source: docs/method.md, section 1. Keys run forwards here, from A's position 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from abspos.components import grams
from abspos.components.decomposition import hiding
from abspos.components.reduction import Plan
from abspos.logits import rebuilt_logits

#: Combinations of each component, less the one that all are compared with.
COMBINATIONS: Mapping[str, tuple[str, ...]] = {
    "residual": tuple("".join(arms) for arms in product("AB", repeat=3))[:-1],
    "pattern": tuple("".join(arms) for arms in product("AB", repeat=2))[:-1],
}


#: Largest difference of the first layer's queries and keys of the same words in the two arms of a
#: pair, relative to the largest value, by dtype of the forward pass.
ALIGNED = {"float32": 1e-4, "bfloat16": 2e-2}


@dataclass(frozen=True)
class Arm:
    """Queries and keys of one arm after RoPE, at all T positions.

    Attributes:
        query: (input, head, position, feature).
        key: (input, kv_head, position, feature).
    """

    query: Float[Tensor, "input head position feature"]
    key: Float[Tensor, "input kv_head position feature"]

    @property
    def half(self) -> int:
        """T // 2."""
        return self.query.shape[2] // 2

    def words(self, late: bool) -> Arm:
        """The T // 2 positions with the words of bos's early half."""
        place = slice(self.half * late, self.half * (1 + late))
        return Arm(self.query[:, :, place], self.key[:, :, place])


@dataclass(frozen=True)
class Pair:
    """Both arms of a block of heads.

    Attributes:
        bos: arm A.
        shifted: arm B.
        scale: of the logits.
        window: W of the layer, or None.
        softcap: of the logits, or None.
    """

    bos: Arm
    shifted: Arm
    scale: float
    window: int | None
    softcap: float | None

    @cached_property
    def words(self) -> dict[str, Arm]:
        """A and B at the words of the early half."""
        return {"A": self.bos.words(late=False), "B": self.shifted.words(late=True)}

    def seen(self, queries: Int[Tensor, " query"]) -> Bool[Tensor, "query key"]:
        """Which keys each query sees, up to the last query's own."""
        keys = torch.arange(int(queries[-1]) + 1, device=queries.device)
        offset = queries[:, None] - keys
        return (offset >= 0) & (offset < (self.window or len(keys)))

    def products(self, queries: Int[Tensor, " query"]) -> dict[str, Tensor]:
        """Logits (input, head, query, key) by the arms of queries and keys: AA, AB, BA, BB."""
        keys = int(queries[-1]) + 1
        return {
            a + b: rebuilt_logits(
                self.words[a].query[:, :, queries],
                self.words[b].key[:, :, :keys],
                self.scale,
                self.softcap,
            )
            for a, b in product(self.words, repeat=2)
        }


def combined(products: Mapping[str, Tensor], combination: str) -> Tensor:
    """Logits (input, head, query, key) of a combination of three letters."""
    query, keys, first = tuple(combination)
    rows = products[query + keys]
    if first == keys:
        return rows
    return torch.cat([products[query + first][..., :1], rows[..., 1:]], -1)


def log_attention(logits: Tensor, seen: Bool[Tensor, "query key"]) -> Tensor:
    """Log attention (input, head, query, key) on the visible keys; elsewhere far below any."""
    return (logits + hiding(seen, logits.dtype)).log_softmax(-1)


def differences(
    logits: Mapping[str, Tensor], baseline: Tensor, seen: Bool[Tensor, "query key"], centred: bool
) -> Iterator[tuple[str, str, Tensor]]:
    """Combinations less the baseline: (lens, combination, (input, head, query, key)).

    Args:
        logits: of each combination (input, head, query, key).
        baseline: those of B cut to A's keys.
        seen: keys on which both are renormalised; the others hold 0.
        centred: whether the log lens is less its mean over the keys seen.
    """
    base = log_attention(baseline, seen)
    keys = seen.sum(-1, keepdim=True).clamp_min(1)
    for combination, rows in logits.items():
        own = log_attention(rows, seen)
        moved = (own - base).masked_fill_(~seen, 0)
        if centred:
            moved = (moved - moved.sum(-1, keepdim=True) / keys).masked_fill_(~seen, 0)
        yield "log", combination, moved
        yield "probability", combination, (own.exp() - base.exp()).masked_fill_(~seen, 0)


def fields(
    pair: Pair, queries: Int[Tensor, " query"], factorial: bool
) -> Iterator[tuple[str, str, str, Tensor]]:
    """Fields of some queries, weighted: (lens, component, combination, (input, head, query, key)).

    A dot product over some queries is the sum of their inner products, as in
    abspos.components.grams.weighted.

    Args:
        pair: a block of heads.
        queries: which queries, from 1 on, in order.
        factorial: every combination; otherwise AAA of the residual alone.
    """
    seen, products = pair.seen(queries), pair.products(queries)
    ordinary = seen.clone()
    ordinary[:, 0] = False
    root = seen.sum(-1).double().rsqrt().to(pair.bos.query.dtype)[:, None]
    whole = COMBINATIONS["residual"] if factorial else ("AAA",)
    logits = {name: combined(products, name) for name in whole}
    for lens, name, field in differences(logits, products["BB"], seen, centred=False):
        yield lens, "residual", name, field * root if lens == "log" else field
    if factorial:
        logits = {name: products[name] for name in COMBINATIONS["pattern"]}
        for lens, name, field in differences(logits, products["BB"], ordinary, centred=True):
            yield lens, "pattern", name, field * root if lens == "log" else field


def pair_grams(pair: Pair, plan: Plan) -> dict[str, Tensor]:
    """Packed Gram matrices of a pair, leading axis head.

    ``gram/<bin>/<lens>/matched`` is R with the content matched; ``factorial/<component>/<lens>/
    <combination>`` has the early bin's combinations.

    Args:
        pair: a block of heads, of all inputs.
        plan: the queries and bins.
    """
    sums: dict[str, Tensor] = {}

    def add(name: str, one: Tensor) -> None:
        sums[name] = sums[name] + one if name in sums else one

    for band, which in product(plan.bands, plan.plain):
        queries, gaps = plan.queries[band], plan.gaps_of(band)
        rows = which.rows(queries)
        if rows.start == rows.stop:
            continue
        early = which.name == "early"
        for lens, component, combination, field in fields(pair, queries[rows], early):
            if gaps is not None:
                field = field * gaps[rows].sqrt().to(field)[:, None]
            one = grams.pack(grams.gram(grams.flatten(field))) / plan.number(which)
            if (component, combination) == ("residual", "AAA"):
                add(f"gram/{which.name}/{lens}/matched", one)
            if early:
                add(f"factorial/{component}/{lens}/{combination}", one)
    return sums


def pair_error(pair: Pair, head: int = 0) -> float:
    """Largest error of log attention of AAA and BBB, by another computation.

    For one query of the first input and one head of each K/V head's group, in float64, from whole
    rows: AAA is a row of arm A, and BBB a row of arm B whose far keys are taken away after the
    softmax.

    Args:
        pair: a block of heads.
        head: which of a group is checked, modulo their number, so that layers can take turns.
    """
    half, group = pair.bos.half, pair.bos.query.shape[1] // pair.bos.key.shape[1]
    checked, query = slice(head % group, None, group), half // 2
    rows = torch.tensor([query], device=pair.bos.query.device)
    products, seen = pair.products(rows), pair.seen(rows)
    keys = int(seen.sum())
    errors = []
    for arm, last, name in ((pair.bos, query, "AAA"), (pair.shifted, half + query, "BBB")):
        logits = rebuilt_logits(
            arm.query[:1, checked, last : last + 1].double(),
            arm.key[:1].double(),
            pair.scale,
            pair.softcap,
        )[0, :, 0, : last + 1]
        attention = logits[:, -(pair.window or last + 1) :].softmax(-1)[:, -keys:]
        expected = (attention / attention.sum(-1, keepdim=True)).log()
        own = log_attention(combined(products, name), seen)[0, checked, 0, -keys:]
        errors.append((own.double() - expected).abs().max())
    return float(torch.stack(errors).max())  # NaN if any is


def alignment_error(pair: Pair) -> float:
    """Largest difference of queries and keys of the two arms at the words that they share, relative
    to the largest value.

    In the first layer they depend on token and position id alone. Key 0 is another token.
    """
    a, b = pair.words.values()
    errors = [
        (own[:, :, 1:] - other[:, :, 1:]).abs().max() / own.abs().max().clamp_min(1e-30)
        for own, other in ((a.query, b.query), (a.key, b.key))
    ]
    return float(torch.stack(errors).max())  # NaN if any is


def require_aligned(first_layer: Pair, dtype: str) -> None:
    """Refuse a pair whose arms do not hold the same words at the same position ids.

    Args:
        first_layer: in later ones, queries and keys hold what they read.
        dtype: of the forward passes.

    Raises:
        ValueError: with the difference.
    """
    error, allowed = alignment_error(first_layer), ALIGNED[dtype]
    if not error <= allowed:
        raise ValueError(
            f"layer 0: queries or keys of the pair differ by {error:.2g} where both arms hold the "
            f"same words, allowed {allowed:g}; the two stores are of different inputs, or their "
            "position ids are not rotated alike"
        )
