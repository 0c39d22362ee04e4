"""The crossed design of the claim fingerprint: each text behind each of several tokens.

Arms that differ in the token at position 0 alone have the same texts, so that what a head writes
from position 0 varies by token, by text and by both. Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float

from abspos.documents import holdout, unit_codes
from abspos.sinks import SINK_THRESHOLD
from abspos.statistics.energies import Interval, of_replicates, packed_replicates
from abspos.statistics.packing import symmetric
from abspos.statistics.replicates import mean_replicates
from abspos.statistics.sources import source_replicates

#: Of fewer texts nothing is decoded, and fewer tokens are no design.
FEWEST_TEXTS, FEWEST_TOKENS = 8, 2
#: Random permutations of the tests.
PERMUTATIONS = 999
#: Variables of a component store that the design reads.
READ = ("write0", "value0", "to_first", "a_1_64", "document")


@dataclass(frozen=True)
class Design:
    """What heads write from position 0, for texts crossed with tokens.

    A write is attention times ``write``: the mean over early queries of a[i, 0], times v_0 W_O.

    Attributes:
        attention: (token, layer, head, text).
        write: v_0 W_O (token, layer, head, axis), in coordinates of the tokens' span.
        value: v_0 (token, layer, value_head, feature).
        readers: which heads read the sink, chosen on other texts (layer, head).
        sources: where sources are the units, label of each text's source (text).
        missing: of how many sources no text is measured.
    """

    attention: Float[np.ndarray, "token layer head text"]
    write: Float[np.ndarray, "token layer head axis"]
    value: Float[np.ndarray, "token layer value_head feature"]
    readers: Bool[np.ndarray, "layer head"]
    sources: np.ndarray | None = None
    missing: int = 0

    @property
    def tokens(self) -> int:
        """How many tokens."""
        return len(self.attention)

    @property
    def texts(self) -> int:
        """How many texts."""
        return self.attention.shape[-1]

    @property
    def units(self) -> int:
        """How many texts, or sources where these are the units."""
        return self.texts if self.sources is None else len(set(self.sources.tolist()))

    def lacks(self) -> str:
        """Why nothing can be measured; empty where it can."""
        if self.missing:
            return f"no measured text of {self.missing} sources"
        if self.texts >= FEWEST_TEXTS and self.tokens >= FEWEST_TOKENS and self.readers.any():
            return ""
        return (
            f"{self.texts} texts, {self.tokens} tokens, {self.readers.sum()} sink readers; needs "
            f"{FEWEST_TEXTS}, {FEWEST_TOKENS} and 1"
        )

    def writes(self) -> Float[np.ndarray, "layer head text token axis"]:
        """Writes of every head."""
        return np.einsum("klhn,klha->lhnka", self.attention, self.write, optimize=True)


def design_of(arms: Mapping[str, xr.Dataset], seed: int) -> Design:
    """The design of the arms of one variant that have what it reads (see READ).

    Of these, those on most inputs. Sink readers are chosen by the first, bos where there is one, on
    one half of the texts, and measured on the other, the first window of each document.

    Args:
        arms: component stores, or what claims keep of them, by condition. Two variables more may
            stand in the first: ``measured`` (input) bool, inputs to measure on in place of that
            half, all others choosing; and ``source`` (input), labels of the units of intervals.
        seed: of the halves.
    """
    having = [store for store in arms.values() if "write0" in store]
    most = max((store.sizes["input"] for store in having), default=0)
    having = [store for store in having if store.sizes["input"] == most]
    if len(having) < FEWEST_TOKENS:
        nothing = np.zeros((len(having), 0, 0, 0))
        return Design(nothing, nothing, nothing, np.zeros((0, 0), dtype=bool))
    first, documents = having[0], having[0]["document"].values
    own = first["measured"].values if "measured" in first else holdout(most, seed, documents)[1]
    choosing, measured = ~own, own
    _, alone = np.unique(documents, return_index=True)
    texts = np.flatnonzero(measured & np.isin(np.arange(most), alone))

    sources, missing = None, 0
    if "source" in first:
        # Replicates leave sources out in the order in which they first appear among all inputs.
        codes, _ = unit_codes(first["source"].values, most)
        texts = texts[np.argsort(codes[texts], kind="stable")]
        sources, missing = codes[texts], len(set(codes.tolist()) - set(codes[texts].tolist()))

    def each(name: str) -> np.ndarray:
        return np.stack([store[name].values.astype(np.float64) for store in having])

    # The columns of R are the writes of the tokens in an orthonormal basis of their span.
    span = np.asarray(np.linalg.qr(np.moveaxis(each("write0"), 0, -1), mode="r"))
    return Design(
        each("to_first")[..., texts],
        np.moveaxis(span, -1, 0),
        each("value0"),
        first["a_1_64"].values[..., choosing].mean(-1) > SINK_THRESHOLD,
        sources,
        missing,
    )


def explained(
    writes: Float[np.ndarray, "*axes text token axis"], sources: np.ndarray | None = None
) -> Float[np.ndarray, "*axes replicate"]:
    """Share of the variance of writes, over texts and tokens, that the token explains.

    Variances are taken from pairs of different texts, as energies are. With w_nk the write of text
    n and token k, m_n its mean over tokens and d_nk = w_nk - m_n,

        share = mean_k U(d_k, d_k) / (mean_nk |w_nk|^2 - U(m, m))

    which is 0 in the mean where tokens are exchanged at random within each text (what chance
    explains is taken off), and 1 where a write depends on its token alone; never clipped.
    Replicates leave out texts, or whole sources where their labels (text) are given.
    """
    middle = writes.mean(-2)
    away = writes - middle[..., None, :]
    number = writes.shape[-2]
    flat = away.reshape(*away.shape[:-2], -1)
    by_token, common = (
        packed_replicates(packed) if sources is None else source_replicates(packed, sources)
        for packed in (
            symmetric(flat @ flat.swapaxes(-1, -2) / number),
            symmetric(middle @ middle.swapaxes(-1, -2)),
        )
    )
    whole = mean_replicates((writes**2).sum((-2, -1)) / number, sources) - common
    return by_token / np.where(whole > 0, whole, np.nan)


def permuted(
    writes: Float[np.ndarray, "*axes text token axis"], number: int, seed: int
) -> Float[np.ndarray, "*axes permutation"]:
    """The share that the token explains with tokens exchanged at random within each text."""
    *axes, texts, tokens, width = writes.shape
    away = (writes - writes.mean(-2, keepdims=True)).reshape(-1, texts, tokens, width)
    draw = np.random.default_rng(seed)
    orders = draw.permuted(np.tile(np.arange(tokens), (number, texts, 1)), axis=-1)
    chosen = np.eye(tokens)[orders].reshape(number, texts, tokens, tokens)
    # (permutation, new token, text, token) @ (text, token, head, axis)
    sides = chosen.transpose(0, 2, 1, 3).reshape(number * tokens, -1)
    sums = sides @ away.transpose(1, 2, 0, 3).reshape(texts * tokens, -1)
    sums = (sums**2).reshape(number, tokens, len(away), width).sum((1, 3)).T
    own = (away**2).sum((1, 2, 3))[:, None]  # pairs of a text with itself
    by_token = (sums - own) / (texts * (texts - 1) * tokens)
    middle = writes.mean(-2).reshape(-1, texts, width)
    common = ((middle.sum(1) ** 2).sum(-1) - (middle**2).sum((1, 2))) / (texts * (texts - 1))
    whole = (writes**2).sum((-3, -2, -1)).reshape(-1) / (texts * tokens) - common
    return (by_token / np.where(whole > 0, whole, np.nan)[:, None]).reshape(*axes, number)


def decoded(
    writes: Float[np.ndarray, "head text token axis"],
) -> Float[np.ndarray, " text"]:
    """Share of each text's tokens that are decoded from what heads write together (text).

    Each text is held out with all of its tokens: its writes go to the token whose mean over the
    other texts is nearest, heads scaled to unit variance. Without a fingerprint it is one over the
    number of tokens in the mean.
    """
    head, texts, tokens = writes.shape[:3]
    spread = (writes - writes.mean((1, 2), keepdims=True)).reshape(head, -1)
    scale = np.maximum((spread**2).mean(-1), 1e-300) ** -0.5
    joint = (writes * scale[:, None, None, None]).transpose(1, 2, 0, 3).reshape(texts, tokens, -1)
    means = (joint.sum(0) - joint) / (texts - 1)
    distance = ((joint[:, :, None] - means[:, None]) ** 2).sum(-1)
    return (distance.argmin(-1) == np.arange(tokens)).mean(-1)


def hangs(value: Float[np.ndarray, "token *axes feature"]) -> Float[np.ndarray, "*axes"]:
    """How far the value at position 0 hangs on its token: share of its mean square that differs
    between tokens. 0: the same for every token; 1 - 1 / tokens: orthogonal ones."""
    return 1 - (value.mean(0) ** 2).sum(-1) / (value**2).sum(-1).mean(0)


def over_readers(
    shares: Float[np.ndarray, "layer head replicate"], readers: np.ndarray, summary: str
) -> Float[np.ndarray, "layer replicate"]:
    """A layer's median or mean sink reader; layers without one are left out."""
    function = np.median if summary == "median" else np.mean
    having = np.flatnonzero(readers.any(-1))
    return np.stack([function(shares[layer, readers[layer]], axis=0) for layer in having])


def fingerprint(
    arms: Mapping[tuple[str, str], xr.Dataset], confidence: float, seed: int
) -> pd.DataFrame:
    """fingerprint.csv of one model without its name: by depth, for every variant with a design.

    Args:
        arms: component stores by (variant, condition).
        confidence: level of the intervals.
        seed: of the halves and the permutations.
    """
    found: list[dict[str, Any]] = []
    for variant in dict.fromkeys(variant for variant, _ in arms):
        own = {condition: store for (v, condition), store in arms.items() if v == variant}
        design = design_of(own, seed)
        if not design.lacks():
            first = next(condition for condition, store in own.items() if "write0" in store)
            keys = {"variant": variant, "condition": first}
            kinds = own[first].attrs["kind"]
            for kind, row in zip(kinds, by_depth(design, confidence, seed), strict=True):
                found.append(keys | {"kind": kind} | row)
    return pd.DataFrame(found, columns=COLUMNS)


def by_depth(design: Design, confidence: float, seed: int) -> list[dict[str, Any]]:
    """One row a layer: its value at position 0, and the mean over its sink readers if any."""
    writes = design.writes()
    shares, chance = explained(writes), permuted(writes, PERMUTATIONS, seed)
    rows = []
    for layer, readers in enumerate(design.readers):
        value = design.value[:, layer].reshape(design.tokens, -1)
        row: dict[str, Any] = {
            "layer": layer,
            "readers": int(readers.sum()),
            "value_share": float(hangs(value)),
            "tokens": design.tokens,
            "n_inputs": design.texts,
        }
        if readers.any():
            found = interval(shares[layer, readers].mean(0), confidence)
            right = interval(mean_replicates(decoded(writes[layer, readers]), None), confidence)
            null = chance[layer, readers].mean(0)
            row |= {
                "explained": float(found.estimate),
                "ci_low": float(found.low),
                "ci_high": float(found.high),
                "chance_high": float(np.quantile(null, (1 + confidence) / 2)),
                "p_value": p_value(float(found.estimate), null),
                "decoded": float(right.estimate),
                "decoded_low": float(right.low),
                "decoded_high": float(right.high),
            }
        rows.append(row)
    return rows


def interval(replicates: np.ndarray, confidence: float) -> Interval:
    """Interval of a mean over heads."""
    return of_replicates(replicates, smooth=True, confidence=confidence)


def p_value(estimate: float, null: np.ndarray) -> float:
    """Share of permutations, the identity among them, that reach the estimate."""
    return float((1 + (null >= estimate).sum()) / (1 + len(null)))


#: Of fingerprint.csv, behind the model and its revision.
COLUMNS = [
    "model",
    "revision",
    "variant",
    "condition",
    "layer",
    "kind",
    "readers",
    "value_share",
    "explained",
    "ci_low",
    "ci_high",
    "chance_high",
    "p_value",
    "decoded",
    "decoded_low",
    "decoded_high",
    "tokens",
    "n_inputs",
]
