"""Peak memory and time of a decomposition of 7B shape: ``python -m benchmarks.blocks``.

32 layers of 32 heads of size 128, N = 64 inputs of T = 2048, bfloat16: 69 GB of random q and k.
All layers are one, whose files stand in the store under the names of every layer, so that a disk
of a tenth of that will do; each is read, checked and decomposed like any other.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from abspos.arrays import chunk_path, create_array, open_dataset, save_dataset, to_bits, write_chunk
from abspos.components.store import Decomposition, decompose_run
from abspos.stores import Stored, write_manifest

#: What a trajectory reads, by its axes.
STATES = {
    "state0": ("depth", "input", "hidden"),
    "grand_mean": ("depth", "hidden"),
    "by_position": ("depth", "position"),
    "square": ("depth", "position"),
    "by_input": ("depth", "input"),
    "median": ("depth", "input"),
    "largest": ("depth", "input"),
    "loss": ("input",),
}


def synthetic(folder: Path, sizes: dict[str, int], batch: int) -> None:
    """Write an activation store of random numbers, every layer with the same q and k.

    Args:
        folder: where.
        sizes: of the axes layer, input, head, position, feature.
        batch: inputs in a chunk.
    """
    group = zarr.open_group(folder, mode="w", zarr_format=3)
    generator = np.random.default_rng(0)
    layers, inputs, heads, length, size = sizes.values()
    for name, axis in (("q", "head"), ("k", "kv_head")):
        dims = ("layer", "input", axis, "position", "feature")
        chunk = (1, batch, heads, length, size)
        array = create_array(
            group, name, dims, (layers, inputs, *chunk[2:]), chunk, "uint16", scalar="bfloat16"
        )
        for number in range(inputs // batch):
            index = (0, number, 0, 0, 0)
            write_chunk(array, index, to_bits(generator.standard_normal(chunk, np.float32)))
            for layer in range(1, layers):
                os.link(chunk_path(array, index), chunk_path(array, (layer, *index[1:])))
    shapes = sizes | {"depth": layers + 1, "hidden": heads * size}
    for name, dims in STATES.items():
        shape = tuple(shapes[axis] for axis in dims)
        array = create_array(group, name, dims, shape, shape, "float32")
        array[...] = generator.standard_normal(shape, np.float32)
    none = {name: [None] * layers for name in ("window", "softcap", "inert_window", "exchanged")}
    group.attrs.update(
        none,
        scale=[size**-0.5] * layers,
        certificates={},
        closed_trajectory=[],
        condition="bos",
        variant={},
        dtype="bfloat16",
        kind=["full"] * layers,
    )


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blocks")
    for name, default in (
        ("layers", 32),
        ("inputs", 64),
        ("heads", 32),
        ("length", 2048),
        ("size", 128),
        ("batch", 1),
        ("threads", 2),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    o = parser.parse_args()
    sizes = {
        "layer": o.layers,
        "input": o.inputs,
        "head": o.heads,
        "position": o.length,
        "feature": o.size,
    }
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        synthetic(folder / "a.zarr", sizes, o.batch)
        write_manifest(folder / "a.zarr", folder / "a.json")
        documents = xr.Dataset({"document": ("input", np.arange(o.inputs, dtype=np.int32))})
        save_dataset(documents, folder / "inputs.zarr", folder / "inputs.json")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        decompose_run(
            *(Stored(folder / f"{n}.zarr", folder / f"{n}.json") for n in ("a", "inputs", "c")),
            Decomposition(early=32, anchor=63, windows=[], keep_fields=False),
            device=o.device,
            threads=o.threads,
            label="7B",
        )
        seconds = time.perf_counter() - began
        error = max(open_dataset(folder / "c.zarr").attrs["identity_error"])
        kept = sum(p.stat().st_size for p in (folder / "c.zarr").rglob("*") if p.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{sizes}: {seconds:.0f} s, peak {peak * 1024 / 1e9:.2f} GB "
        f"(before: {before * 1024 / 1e9:.2f}), {kept / 1e9:.2f} GB written, identity {error:.1e}"
    )


if __name__ == "__main__":
    main()
