"""One activation store in, one component store out: a block of heads of one layer at a time.

A component store is small: Gram matrices, mean fields, what position 0 does through depth.
Source: docs/method.md, sections 1, 3 and 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import zarr
from torch import Tensor

from abspos.arrays import NonFiniteError, from_bits, open_dataset, save_dataset, stored_chunk
from abspos.components import grams
from abspos.components.blocks import block_bands, identity_error
from abspos.components.decomposition import Parts
from abspos.components.logit_map import logit_map
from abspos.components.pairs import Arm, Pair, pair_error, pair_grams, require_aligned
from abspos.components.reduction import Plan, block_summary
from abspos.components.stack import Stack
from abspos.components.trajectory import trajectory
from abspos.progress import progress
from abspos.stores import Stored
from abspos.study import grid

#: Bytes of logits that one block of heads and inputs may take, and of a field of a block of heads:
#: what a processor's caches hold, and what keeps a GPU busy.
BLOCK_BYTES = {"cpu": 2**23, "cuda": 2**28}
#: Bytes of q and k, as float32, that are held at a time: as many heads as fit, of all inputs;
#: shared by the layers that are worked on side by side.
READ_BYTES = 2**30


def head_blocks(heads: int, kv_heads: int, bytes_per_head: int, most: int) -> Iterator[slice]:
    """Blocks of K/V heads, as slices, whose query heads stay within so many bytes."""
    group = heads // kv_heads
    step = max(1, min(kv_heads, most // max(1, group * bytes_per_head)))
    for first in range(0, kv_heads, step):
        yield slice(first, min(first + step, kv_heads))


def read_heads(array: zarr.Array, layer: int, heads: slice, inputs: int) -> Tensor:
    """Some heads of one layer of q or k (input, head, position, feature) as float32.

    Of the first so many inputs; a chunk of inputs at a time, since a store keeps all heads of its
    chunk together.
    """
    step = array.chunks[1]
    found = torch.empty(inputs, heads.stop - heads.start, *array.shape[3:], dtype=torch.float32)
    for number, first in enumerate(range(0, inputs, step)):
        part = found[first : first + step]
        data = stored_chunk(array, (layer, number, 0, 0, 0))[0, : len(part), heads]
        part.numpy()[:] = from_bits(data) if data.dtype == np.uint16 else data
    return found


def bands_of(
    q: Tensor, k: Tensor, scale: float, window: int | None, softcap: float | None, plan: Plan
) -> tuple[list[Parts], Tensor]:
    """block_bands of all inputs, made of as many inputs at a time as BLOCK_BYTES allows.

    Logits and what is made of them go with their block; fields of explained queries stay, since
    Gram matrices need those of all inputs.
    """
    late = len(grid.references(q.shape[2])) * q.shape[1] * q.shape[2] * 4
    step = max(1, BLOCK_BYTES[q.device.type] // late)
    blocks = [
        block_bands(
            q[n : n + step], k[n : n + step], scale, window, softcap, plan.queries, plan.bands
        )
        for n in range(0, q.shape[0], step)
    ]
    if len(blocks) == 1:
        return blocks[0]
    bands, to_first = zip(*blocks, strict=True)
    return [joined(own) for own in zip(*bands, strict=True)], torch.cat(to_first)


def joined(parts: Sequence[Parts]) -> Parts:
    """Parts of the same queries of one input after the other as one."""

    def whole(field: str) -> Tensor:
        return torch.cat([getattr(own, field) for own in parts])

    return replace(
        parts[0],
        relative=whole("relative"),
        denominator=whole("denominator"),
        residual=whole("residual"),
        attention=whole("attention"),
        predicted=whole("predicted"),
        before=whole("before"),
    )


def head_tensors(
    store: xr.Dataset, layer: int, plan: Plan
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Blocks of K/V heads of one layer, each with its q and k of all inputs on the device.

    Read in groups of heads within READ_BYTES, computed in blocks whose fields are within
    BLOCK_BYTES.
    """
    inputs, length = store.sizes["input"], store.sizes["position"]
    heads, kv_heads = store.sizes["head"], store.sizes["kv_head"]
    group = heads // kv_heads
    arrays = {n: zarr.open_array(f"{store.encoding['source']}/{n}", mode="r") for n in ("q", "k")}
    # A K/V head comes with the queries of its group, hence twice a query head at the most.
    row = 2 * 4 * inputs * length * store.sizes["feature"]
    for held in head_blocks(heads, kv_heads, row, READ_BYTES // plan.abreast):
        q = read_heads(arrays["q"], layer, slice(held.start * group, held.stop * group), inputs)
        k = read_heads(arrays["k"], layer, held, inputs)
        count = held.stop - held.start
        most = BLOCK_BYTES[torch.device(plan.device).type]
        field = 4 * inputs * grid.elements(plan.queries.tolist())
        for kv in head_blocks(count * group, count, field, most):
            block = slice(kv.start * group, kv.stop * group)
            own = slice(held.start + kv.start, held.start + kv.stop)
            yield own, q[:, block].to(plan.device), k[:, kv].to(plan.device)


def decompose_layer(
    store: xr.Dataset,
    layer: int,
    plan: Plan,
    reference: xr.Dataset | None,
    partner: xr.Dataset | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """All stored variables of one layer, leading axis head, and its largest errors by name."""
    scale, window, softcap = (store.attrs[name][layer] for name in ("scale", "window", "softcap"))
    group = store.sizes["head"] // store.sizes["kv_head"]
    blocks: list[dict[str, Tensor]] = []
    errors: dict[str, float] = {}
    partners = repeat(None) if partner is None else head_tensors(partner, layer, plan)
    for (kv, q, k), other_arm in zip(head_tensors(store, layer, plan), partners, strict=False):
        block = slice(kv.start * group, kv.stop * group)
        bands, to_first = bands_of(q, k, scale, window, softcap, plan)
        require_finite(bands, layer, block.start)
        other = None
        if reference is not None:
            numbers = store.attrs["numbers"]
            other = {
                str(name).removeprefix("early_").replace("_", "/"): torch.as_tensor(
                    reference[name][layer, block].values[:, numbers]
                )
                for name in reference.data_vars
                if str(name).startswith("early_")
            }
        summary = block_summary(bands, to_first, plan, other)
        summary["logit_map"] = logit_map(q, k, scale, softcap, plan.shown)
        own = bands[layer % len(bands)]
        found = {"identity_error": identity_error(q, k, scale, window, own, softcap, layer)}
        if other_arm is not None:
            pair = Pair(Arm(*other_arm[1:]), Arm(q, k), scale, window, softcap)
            if layer == 0:
                require_aligned(pair, store.attrs["dtype"])
            summary |= pair_grams(pair, plan)
            found["pair_error"] = pair_error(pair, layer)
        errors = {name: max(errors.get(name, 0.0), error) for name, error in found.items()}
        blocks.append(summary)
    whole = {name: torch.cat([b[name] for b in blocks]).cpu().numpy() for name in blocks[0]}
    return whole, errors


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Have torch use so many threads for each operation, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def require_finite(bands: Sequence[Parts], layer: int, first_head: int) -> None:
    """Refuse a NaN or infinity in the decomposition, by layer, head and input."""
    # A sum of what is not finite is not finite either, and takes one pass.
    bad = ~torch.isfinite(torch.stack([own.residual.sum((2, 3)) for own in bands]).sum(0))
    if bool(bad.any()):
        number, head = (int(i) for i in bad.nonzero()[0])
        raise NonFiniteError(
            f"layer {layer}, head {first_head + head}, input {number}: NaN or infinity in the "
            "decomposition; the activations of this run are not finite or overflow"
        )


@dataclass(frozen=True)
class Decomposition:
    """Settings of a decomposition, as the study has them.

    Attributes:
        early: first query after the early bin.
        anchor: a of mask_i = M_i - M_a; half - 1 where the inputs are shorter.
        windows: keys of the windows in this study, for the bins beyond them, beside those of the
            model's own layers.
        keep_fields: keep the early fields of every input.
    """

    early: int
    anchor: int
    windows: Sequence[int]
    keep_fields: bool


def decompose_run(
    activations: Stored,
    inputs: Stored,
    target: Stored,
    settings: Decomposition,
    *,
    device: str,
    threads: int,
    label: str,
    reference: Stored | None = None,
    partner: Stored | None = None,
) -> None:
    """Decompose one activation store into one component store.

    The store holds, by layer and head: packed Gram matrices ``gram_<bin>`` (lens, component,
    layer, head, pair) float32; ``profile`` (lens, component, query_bin, layer, head, input), row
    sums of narrow bins' Grams, whose first query and the one after the last are ``query_edges``
    (query_bin, edge); mean fields ``residual``, ``attention``, ``predicted`` and
    ``logit_map`` (layer, head, query, offset), ``relative``; ``denominator`` (layer, head, input,
    query), minus the mask up to the anchor's; sinks by input; and position 0 through depth (see
    trajectory), in arms that differ in its token alone also its value there ``value0`` (layer,
    value_head, feature) and that times W_O, ``write0`` (layer, head, hidden).
    With a reference store, ``cross_<lens>`` (layer, head, input, input_reference) has the inner
    products of this run's early R with the reference run's, ``cross_<lens>_sink`` those of its row
    and sink parts together, and ``cross_probability_pattern`` those of its pattern, which in the
    log lens are the difference of the other two; with ``keep_fields`` the store can be such a
    reference. With a partner, ``gram_<bin>`` has the component ``matched``, and
    ``factorial_<component>`` (lens, combination_<component>, layer, head, pair) the early Gram
    matrices of the pair's combinations (see abspos.components.pairs).

    Args:
        activations: an activation store.
        inputs: the store of windows, for the documents they come from.
        target: where to write.
        settings: of the decomposition.
        device: ``cpu`` or ``cuda``.
        threads: cores to use. On a CPU each takes a layer of its own, since threads that share
            the many small steps of one layer wait for each other.
        label: names the run in progress lines and errors.
        reference: a component store with fields.
        partner: the activation store of bos that a pair is matched with, of as many inputs or more.

    Raises:
        StoreError: activations or windows are missing or altered.
        ValueError: the arms of a pair do not hold the same words.
        NonFiniteError: named by layer, head and input.
    """
    on_cpu = torch.device(device).type == "cpu"
    source = open_dataset(*activations)
    half = source.sizes["position"] // 2
    early, anchor = settings.early, min(settings.anchor, half - 1)
    every = sorted({*settings.windows, *(w for w in source.attrs["window"] if w is not None)})
    documents = open_dataset(*inputs)["document"].values[source.attrs["numbers"]]
    length = source.sizes["position"]
    named = {anchor, *(w - 1 for w in every), *every}
    plan = Plan(
        torch.tensor(grid.explained(length, early, named), device=device),
        grams.bins(half, early, every),
        anchor,
        early,
        length,
        torch.as_tensor(documents, device=device),
        device,
        settings.keep_fields,
        threads if on_cpu else 1,
    )
    other = None if reference is None else open_dataset(*reference)
    paired = None
    if partner is not None:
        paired = open_dataset(*partner).isel(input=slice(0, source.sizes["input"]))
    stack, errors = Stack(source.sizes["layer"], Path(target.store).parent), []
    one = partial(decompose_layer, source, plan=plan, reference=other, partner=paired)
    with torch_threads(1 if on_cpu else threads), ThreadPoolExecutor(plan.abreast) as pool:
        layers = progress(pool.map(one, range(stack.depth)), stack.depth, label, "layers")
        for layer, (found, error) in enumerate(layers):
            stack.add(layer, found)
            errors.append(error)
    stacked = stack.arrays
    queries = plan.queries.tolist()
    dataset = assemble(stacked).merge(trajectory(source))
    if "write0" in source:
        dataset["value0"] = (("layer", "value_head", "feature"), source["v0"].values[:, 0])
        dataset["write0"] = (("layer", "head", "hidden"), source["write0"].values)
    dataset["query"] = ("query", [queries[i] for i in grid.shown(queries)])
    dataset["query_edges"] = (("query_bin", "edge"), [[b.first, b.stop] for b in plan.narrow])
    dataset["document"] = ("input", documents)
    dataset["loss"] = ("input", source["loss"].values)
    keep = (
        "certificates",
        "closed_trajectory",
        "condition",
        "variant",
        "dtype",
        "window",
        "numbers",
        "substituted",
        "softcap",
        "kind",
        "inert_window",
    )
    dataset.attrs = {name: source.attrs[name] for name in keep} | {
        **{name: [error[name] for error in errors] for name in errors[0]},
        "anchor": anchor,
        "length": length,
        "explained": queries,
        "references": list(grid.references(length)),
        "bins": {b.name: [b.first, b.stop] for b in plan.bins},
        "beyond": {b.name: b.keys for b in plan.bins if b.keys is not None},
    }
    save_dataset(dataset, *target)


def assemble(stacked: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Arrays (layer, head, ...) under slash-separated names as one labelled dataset."""
    grouped: dict[str, dict[Any, np.ndarray]] = {}
    for name in list(stacked):
        kind, *key = name.split("/")
        grouped.setdefault(kind, {})[tuple(key)] = stacked[name]
    data: dict[str, Any] = {}
    for bin_name in dict.fromkeys(key[0] for key in grouped["gram"]):
        chosen = {k[1:]: v for k, v in grouped["gram"].items() if k[0] == bin_name}
        axes = (f"component_{bin_name}", "layer", "head", "pair")
        data[f"gram_{bin_name}"] = by_lens(chosen, axes)
    profile = grouped["profile"]
    names = list(dict.fromkeys(key[0] for key in profile))
    pieces = [
        by_lens(
            {k[1:]: v for k, v in profile.items() if k[0] == name},
            ("profile_component", "layer", "head", "input"),
        )
        for name in names
    ]
    data["profile"] = xr.concat(pieces, xr.IndexVariable("query_bin", names))
    for kind in ("early", "cross"):
        last = ("input", "element") if kind == "early" else ("input", "input_reference")
        for key, value in grouped.get(kind, {}).items():
            name = "_".join(key)
            own = last if kind == "cross" else (last[0], f"element_{name}")
            data[f"{kind}_{name}"] = (("layer", "head", *own), value)
    factorial = grouped.pop("factorial", {})
    for component in dict.fromkeys(key[0] for key in factorial):
        chosen = {k[1:]: v for k, v in factorial.items() if k[0] == component}
        axes = (f"combination_{component}", "layer", "head", "pair")
        data[f"factorial_{component}"] = by_lens(chosen, axes)
    field = ("layer", "head", "query", "offset")
    dims = {
        "residual": field,
        "attention": field,
        "predicted": field,
        "logit_map": field,
        "relative": ("layer", "head", "offset"),
        "denominator": ("layer", "head", "input", "cut"),
    }
    for kind, values in grouped.items():
        if () in values:
            data[kind] = (dims.get(kind, ("layer", "head", "input")), values[()])
    return xr.Dataset(data)


def by_lens(chosen: Mapping[tuple[str, str], np.ndarray], axes: tuple[str, ...]) -> xr.DataArray:
    """Arrays by (lens, component) as one DataArray (lens, component, ...).

    Where a lens has no such component, NaN: those that follow from others are not stored twice.
    """
    components = list(dict.fromkeys(component for _, component in chosen))
    first = next(iter(chosen.values()))
    value = np.full((len(grams.LENSES), len(components), *first.shape), np.nan, first.dtype)
    for (lens, component), array in chosen.items():
        value[grams.LENSES.index(lens), components.index(component)] = array
    coords = {"lens": list(grams.LENSES), axes[0]: components}
    return xr.DataArray(value, dims=("lens", *axes), coords=coords)
