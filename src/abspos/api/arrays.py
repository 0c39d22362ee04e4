"""Energies of attention that is at hand as arrays, with intervals, as the tables of a study.

Source: docs/method.md, sections 1 and 3.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import Tensor

from abspos.components import grams
from abspos.components.blocks import block_bands, logit_bands
from abspos.components.decomposition import Parts
from abspos.components.labelled import causal_logits, describe, labels_of, require_window
from abspos.components.reduction import Plan, products
from abspos.components.store import BLOCK_BYTES, by_lens, head_blocks
from abspos.documents import unit_codes
from abspos.statistics import replicates as sl
from abspos.statistics.energies import packed_replicates
from abspos.statistics.sign_flips import packed_sign_flip_p
from abspos.study import grid

#: Fewest positions with a late bin, a reference half and early queries that differ.
SHORTEST = 4
VARIABLES = {
    "energy": "squared size of the mean field, unbiased",
    "ci_low": "lower end of the interval",
    "ci_high": "upper end of the interval",
    "p_value": "one-sided sign-flip test of energy > 0",
    "influence": "share of the influence variance that five inputs carry",
}


def energies(
    logits: Any = None,
    *,
    q: Any = None,
    k: Any = None,
    scale: float | None = None,
    softcap: float | None = None,
    window: int | None = None,
    documents: ArrayLike | None = None,
    early: int = 32,
    confidence: float = 0.95,
    flips: int = 10_000,
    seed: int = 0,
) -> xr.Dataset:
    """Energies of the components of every head of one layer, with intervals over inputs.

    Give ``logits``, or ``q`` and ``k`` after RoPE. NumPy arrays, torch tensors (on any device; half
    precision is computed in float32) or DataArrays with these names of dimensions.

    Args:
        logits: post-scale pre-softmax scores (input, head, query, key), N x H x T x T; keys after
            the query and beyond the window are ignored, -inf there too.
        q: queries (input, head, position, feature).
        k: keys (input, kv_head, position, feature); the number of heads is a multiple of theirs.
        scale: factor of q k; 1 / sqrt(feature) unless given.
        softcap: of the logits of q and k, as in Gemma 2.
        window: sliding window W in keys (the query's own included), or None.
        documents: label of each input's document (N,); each input is its own unless given.
            Inputs of one document never form a pair.
        early: first query after the early bin.
        confidence: level of the intervals.
        flips: sign flips of each test.
        seed: of the signs.

    Returns:
        ``energy``, ``ci_low``, ``ci_high``, ``p_value`` and ``influence`` (bin, lens, component,
        head), float64. Energies and their ends have the ``units`` of their lens: nats^2, or 1 for
        squared probability. Bins are early (1 <= query < early) and, where there are more, late
        (up to T // 2). Components are mask and residual; row, sink and rest, which the residual
        splits into; and pattern, the residual over the keys that are not position 0: the rest in
        the log lens, attention renormalised over those keys in the other. NaN where there is none.
        Attributes name T, window, early, n_inputs, n_documents and confidence.

    Raises:
        ValueError: neither or both of logits and q, k; wrong shapes; numbers that are not finite;
            fewer than 3 documents.

    Source: docs/method.md, section 3; as ``energies.csv`` of a study, where long inputs are taken
    on a grid of queries too.
    """
    if (logits is None) == (q is None or k is None):
        raise ValueError("energies: give logits, or both q and k")
    layer = (
        of_vectors(q, k, scale, softcap, window) if logits is None else of_logits(logits, window)
    )
    inputs, heads, length = layer.inputs, layer.heads, layer.length
    codes, sizes = unit_codes(documents, inputs)
    plan = plan_of(length, early, codes, layer.device)
    store = grams_of(layer, plan)
    units = None if len(sizes) == inputs else codes
    rows = {
        (which.name, lens, component): tested(packed, units, confidence, flips, seed)
        for which in plan.bins
        for (lens, component), packed in sl.packed_grams(store, which.name).items()
    }
    dataset = labelled(rows, heads)
    dataset = dataset.assign_coords(
        {name: label for name, label in layer.labels.items() if "input" not in label.dims}
    ).assign_coords(
        units=("lens", ["nats^2" if lens == "log" else "1" for lens in dataset["lens"].values]),
        first=("bin", [b.first for b in plan.bins]),
        last=("bin", [b.stop - 1 for b in plan.bins]),
    )
    describe(dataset)
    dataset.attrs = {
        "T": length,
        "window": length if window is None else window,
        "early": min(early, length // 2),
        "n_inputs": inputs,
        "n_documents": len(sizes),
        "confidence": confidence,
    }
    return dataset


@dataclass(frozen=True)
class Layer:
    """Attention of one layer, as its logits or as what they are made of.

    Attributes:
        inputs: number of inputs.
        heads: number of heads.
        kv_heads: number of K/V heads, or of heads where there are logits.
        length: T.
        device: where they are.
        labels: coordinates of inputs and heads.
        bands: parts of some K/V heads' queries, by their slice and a plan.
    """

    inputs: int
    heads: int
    kv_heads: int
    length: int
    device: torch.device
    labels: dict[Hashable, xr.DataArray]
    bands: Callable[[slice, Plan], list[Parts]]


def of_logits(logits: Any, window: int | None) -> Layer:
    """A layer of logits."""
    s = on_device(causal_logits(logits, window, caller=4))
    inputs, heads, length, _ = s.shape

    def bands(own: slice, plan: Plan) -> list[Parts]:
        return logit_bands(s[:, own], window, plan.queries, plan.bands)[0]

    labels = labels_of(logits, inputs, heads)
    return Layer(inputs, heads, heads, length, s.device, labels, bands)


def of_vectors(
    q: Any, k: Any, scale: float | None, softcap: float | None, window: int | None
) -> Layer:
    """A layer of queries and keys."""
    require_window(window)
    query, key = (on_device(vectors(x, name)) for x, name in ((q, "q"), (k, "k")))
    require_alike(query, key)
    inputs, heads, length, size = query.shape
    group = heads // key.shape[1]
    factor = float(size**-0.5 if scale is None else scale)
    bound = None if softcap is None else float(softcap)

    def bands(kv: slice, plan: Plan) -> list[Parts]:
        own = query[:, kv.start * group : kv.stop * group]
        return block_bands(own, key[:, kv], factor, window, bound, plan.queries, plan.bands)[0]

    labels = labels_of(q, inputs, heads)
    return Layer(inputs, heads, key.shape[1], length, query.device, labels, bands)


def on_device(tensor: Tensor) -> Tensor:
    """A tensor where it can be computed with: float64 sums need a CPU or CUDA."""
    return tensor if tensor.device.type in BLOCK_BYTES else tensor.cpu()


def vectors(values: Any, name: str) -> Tensor:
    """Queries or keys as a float tensor (input, head, position, feature)."""
    if isinstance(values, xr.DataArray):
        heads = "kv_head" if "kv_head" in values.dims else "head"
        values = values.transpose("input", heads, "position", "feature").values
    tensor = torch.as_tensor(values).detach()
    tensor = tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
    if tensor.ndim != 4 or tensor.shape[2] < SHORTEST:
        raise ValueError(
            f"{name}: shape {tuple(tensor.shape)}; allowed is (input, head, position, feature) "
            f"with at least {SHORTEST} positions"
        )
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name}: NaN or infinity; all must be finite")
    return tensor


def require_alike(query: Tensor, key: Tensor) -> None:
    """Raise ValueError for queries and keys that do not belong together."""
    same = [axis for axis in (0, 2, 3) if query.shape[axis] != key.shape[axis]]
    if same or query.shape[1] % key.shape[1]:
        raise ValueError(
            f"q: shape {tuple(query.shape)}, k: {tuple(key.shape)}; inputs, positions and features "
            "must be as many, and heads a multiple of the K/V heads"
        )


def plan_of(length: int, early: int, codes: np.ndarray, device: torch.device) -> Plan:
    """Queries and bins as in a study without windows."""
    half = length // 2
    if early < 2:
        raise ValueError(f"early: {early}; the early bin is 1 <= query < early, give at least 2")
    early = min(early, half)
    return Plan(
        torch.tensor(grid.explained(length, early, [half - 1]), device=device),
        grams.bins(half, early, []),
        anchor=half - 1,
        early=early,
        length=length,
        documents=torch.as_tensor(codes, device=device),
        device=str(device),
    )


def grams_of(layer: Layer, plan: Plan) -> xr.Dataset:
    """Packed Gram matrices ``gram_<bin>`` (lens, component_<bin>, head, pair) of a layer."""
    field = 4 * layer.inputs * grid.elements(plan.queries.tolist())
    most = BLOCK_BYTES[layer.device.type]
    blocks = [
        products(layer.bands(kv, plan), plan)
        for kv in head_blocks(layer.heads, layer.kv_heads, field, most)
    ]
    whole = {name: torch.cat([b[name] for b in blocks]).cpu().numpy() for name in blocks[0]}
    store = {}
    for which in plan.bins:
        chosen: dict[tuple[str, str], np.ndarray] = {}
        for name, values in whole.items():
            kind, own, lens, component = name.split("/")
            if (kind, own) == ("gram", which.name):
                chosen[lens, component] = values
        axes = (f"component_{which.name}", "head", "pair")
        store[f"gram_{which.name}"] = by_lens(chosen, axes)
    return xr.Dataset(store)


def tested(
    packed: np.ndarray, documents: np.ndarray | None, confidence: float, flips: int, seed: int
) -> dict[str, np.ndarray]:
    """Energy, interval and test of packed Gram matrices (head, pair), each (head)."""
    found = sl.replicate_interval(packed_replicates(packed, documents), confidence)
    return {
        "energy": found.estimate,
        "ci_low": found.low,
        "ci_high": found.high,
        "p_value": packed_sign_flip_p(packed, flips, seed, documents),
        "influence": found.influence,
    }


def labelled(
    rows: Mapping[tuple[str, str, str], Mapping[str, np.ndarray]], heads: int
) -> xr.Dataset:
    """Numbers of heads (head) by bin, lens and component as one dataset; NaN where none is."""
    axes = [list(dict.fromkeys(names)) for names in zip(*rows, strict=True)]
    shape = [*map(len, axes), heads]
    dims = ("bin", "lens", "component", "head")
    dataset = xr.Dataset(coords=dict(zip(dims, axes, strict=False)))
    for name, meaning in VARIABLES.items():
        values = np.full(shape, np.nan)
        for key, row in rows.items():
            place = tuple(names.index(own) for names, own in zip(axes, key, strict=True))
            values[place] = row[name]
        dataset[name] = (dims, values, {"long_name": meaning})
    return dataset
