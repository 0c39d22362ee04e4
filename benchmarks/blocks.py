"""Peak memory and time of decomposing one layer of 7B shape: ``python -m benchmarks.blocks``.

A synthetic store of random q and k: N = 64 inputs of T = 2048, heads of size 128. With fewer than
the 32 heads of such a layer time falls in proportion; peak memory does not, since heads are read
in groups within READ_BYTES and computed one K/V head at a time.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import zarr

from abspos import grams, grid
from abspos.component_store import Plan, decompose_layer
from abspos.stores import create_array, open_dataset


def synthetic(folder: Path, heads: int, inputs: int, length: int, size: int, batch: int) -> None:
    """Write a store that holds q and k of one layer."""
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    generator = np.random.default_rng(0)
    for name, axis in (("q", "head"), ("k", "kv_head")):
        array = create_array(
            group, name, ("layer", "input", axis, "position", "feature"),
            (1, inputs, heads, length, size), (1, batch, heads, length, size), "float32",
        )  # fmt: skip
        for first in range(0, inputs, batch):
            shape = (batch, heads, length, size)
            array[0, first : first + batch] = generator.standard_normal(shape, np.float32)
    group.attrs.update(scale=[size**-0.5], window=[None], softcap=[None])


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blocks")
    for name, default in (("heads", 32), ("inputs", 64), ("length", 2048), ("size", 128),
                          ("batch", 1), ("threads", 2)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "a.zarr"
        synthetic(folder, o.heads, o.inputs, o.length, o.size, o.batch)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        store = open_dataset(folder)
        documents = torch.arange(o.inputs, device=o.device)
        queries = torch.tensor(grid.explained(o.length, 32, {63}), device=o.device)
        bins = grams.bins(o.length // 2, 32, [])
        plan = Plan(queries, bins, 63, 32, o.length, documents, o.device)
        began = time.perf_counter()
        with torch.no_grad():
            _, error = decompose_layer(store, 0, plan, None)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"heads {o.heads}, N {o.inputs}, T {o.length}: {seconds:.1f} s a layer, peak "
        f"{peak * 1024 / 1e9:.2f} GB (before: {before * 1024 / 1e9:.2f}), identity {error:.1e}"
    )


if __name__ == "__main__":
    main()
