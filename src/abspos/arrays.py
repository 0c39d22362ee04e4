"""Zarr arrays in stores: labelled, with a checksum per chunk, written and read at disk speed.

Light jobs need digests only, so Zarr and xarray are imported only where an array is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

from abspos.stores import StoreError, check, whole_folder

if TYPE_CHECKING:
    import xarray as xr
    import zarr

#: Largest chunk of small stores.
CHUNK_BYTES = 2**24
#: Chunks are written in pieces: one write of a whole chunk took six times as long. ext4 caches
#: large writes in large blocks of memory, which a virtual machine that returns free memory to its
#: host has to request again.
PIECE_BYTES = 2**18


class NonFiniteError(FloatingPointError):
    """A NaN or infinity in the output of a model or in numbers computed from it."""


def create_array(
    group: zarr.Group,
    name: str,
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: str,
    **attributes: Any,
) -> zarr.Array:
    """An uncompressed, checksummed array with named dimensions in an open group."""
    from zarr.codecs import Crc32cCodec

    return group.create_array(
        name,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        compressors=[Crc32cCodec()],
        # All chunks in one folder: a folder per chunk costs as much as writing the chunk.
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=dims,
        attributes=attributes,
        fill_value=0,
    )


def write_chunk(array: zarr.Array, index: tuple[int, ...], data: np.ndarray) -> None:
    """Write one chunk of an array of create_array to a local disk; edge chunks are padded with 0.

    Writes the same bytes as ``array[...] = data``, at the speed of the file system. Zarr's event
    loop takes several times as long, and takes cores away from the model.

    Args:
        array: uncompressed, with a crc32c checksum.
        index: index of the chunk along every axis.
        data: at most one chunk, of the array's dtype.
    """
    if data.shape != array.chunks:
        filled = np.zeros(array.chunks, data.dtype)
        filled[tuple(slice(n) for n in data.shape)] = data
        data = filled
    content = np.ascontiguousarray(data, data.dtype.newbyteorder("<")).reshape(-1).view("u1")
    with open(chunk_path(array, index), "wb") as handle:
        for first in range(0, len(content), PIECE_BYTES):
            handle.write(content[first : first + PIECE_BYTES].data)
        handle.write(google_crc32c.value(content).to_bytes(4, "little"))


def stored_chunk(array: zarr.Array, index: tuple[int, ...]) -> np.ndarray:
    """One chunk of an array of create_array on a local disk, as a read-only view of its file.

    Zarr's own reader takes several times as long. The chunk's checksum is not verified: opening a
    store with its manifest has already compared the digests of its files.

    Args:
        array: uncompressed; missing chunks hold 0.
        index: index of the chunk along every axis.
    """
    path = chunk_path(array, index)
    kind = array.dtype.newbyteorder("<")
    if not path.is_file():
        return np.zeros(array.chunks, kind)
    return np.memmap(path, kind, "r", shape=array.chunks)


def chunk_path(array: zarr.Array, index: tuple[int, ...]) -> Path:
    """File of a chunk of an array on a local disk."""
    from zarr.storage import LocalStore

    assert isinstance(array.store, LocalStore)
    return array.store.root / array.path / array.metadata.encode_chunk_key(index)


def whole_chunks(variable: xr.Variable) -> tuple[int, ...]:
    """Chunks that divide an array: leading axes are split until a chunk has at most CHUNK_BYTES.

    Zarr stores chunks at the edge in full size, so chunks that do not divide would waste space.
    """
    chunks, size = list(variable.shape), variable.size * variable.dtype.itemsize
    for axis, length in enumerate(variable.shape):
        if size <= CHUNK_BYTES:
            break
        chunks[axis], size = 1, size // max(1, length)
    return tuple(max(1, n) for n in chunks)


def save_dataset(dataset: xr.Dataset, target: Path, manifest: Path) -> None:
    """Write a dataset as one checksummed Zarr store with its manifest; whole or not at all."""
    dataset = text_as_strings(dataset)
    with whole_folder(target, manifest) as folder, consolidating():
        dataset.to_zarr(
            folder, mode="w", zarr_format=3, consolidated=True, encoding=encoding_of(dataset)
        )


def open_dataset(folder: Path, manifest: Path | None = None) -> xr.Dataset:
    """Open a store lazily, after comparing it with its manifest where one is given."""
    import xarray as xr

    with opening(folder, manifest):
        return strings_as_text(xr.open_zarr(folder, consolidated=False, chunks=None))


def save_groups(groups: Mapping[str, xr.Dataset], target: Path, manifest: Path) -> None:
    """Write datasets by path as the groups of one store, as `save_dataset` writes a dataset."""
    import xarray as xr
    import zarr

    tree = xr.DataTree.from_dict({path: text_as_strings(d) for path, d in groups.items()})
    encoding = {node.path: encoding_of(node.to_dataset(inherit=False)) for node in tree.subtree}
    with whole_folder(target, manifest) as folder, consolidating():
        # Once at the end: xarray would consolidate the whole store anew after every group.
        tree.to_zarr(folder, mode="w", zarr_format=3, consolidated=False, encoding=encoding)
        zarr.consolidate_metadata(folder, zarr_format=3)


def open_groups(folder: Path, manifest: Path | None = None) -> dict[str, xr.Dataset]:
    """Open all groups of a store lazily, by path from its root: ``/a/b``; see `open_dataset`."""
    import xarray as xr

    with opening(folder, manifest):
        found = xr.open_groups(folder, engine="zarr", consolidated=False, chunks=None)
        return {path: strings_as_text(dataset) for path, dataset in found.items()}


@contextmanager
def opening(folder: Path, manifest: Path | None) -> Iterator[None]:
    """Compare a store with its manifest; let nothing but a StoreError leave the block."""
    if manifest is not None:
        check(folder, manifest)
    try:
        with warnings.catch_warnings():
            # Snakemake's time stamp in the folder is not Zarr's and does no harm.
            warnings.filterwarnings("ignore", message=".*snakemake_timestamp.*")
            yield
    except Exception as error:
        raise StoreError(f"{folder}: cannot be read as Zarr ({error}); delete it, rerun") from None


@contextmanager
def consolidating() -> Iterator[None]:
    """Write consolidated metadata, without which a plain ``xarray.open_zarr`` warns.

    Stores are written once and whole, so the copy in the root cannot fall behind.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        yield


def text_as_strings(dataset: xr.Dataset) -> xr.Dataset:
    """A dataset whose labels of text have variable length, as Zarr's type ``string``.

    Text of fixed length has no specified Zarr type, and zarr 3.1 warns of it.
    """
    strings = np.dtypes.StringDType()
    text = {n: c.astype(strings) for n, c in dataset.coords.items() if c.dtype.kind in "UOT"}
    return dataset.assign_coords(text)


def strings_as_text(dataset: xr.Dataset) -> xr.Dataset:
    """The inverse of `text_as_strings`: labels as NumPy's own text, of fixed length."""
    text = {
        name: (c.dims, np.array(c.values.tolist(), dtype=str), c.attrs)
        for name, c in dataset.coords.items()
        if c.dtype.kind in "OT"
    }
    return dataset.assign_coords(text)


def encoding_of(dataset: xr.Dataset) -> dict[Any, dict[str, Any]]:
    """Compression, checksums and chunks of every array of a dataset."""
    from zarr.codecs import BloscCodec, Crc32cCodec

    # Bytes of one significance side by side: exponents repeat, and a fifth of a store is saved.
    packed = BloscCodec(cname="zstd", clevel=1, shuffle="shuffle")
    return {
        name: {"compressors": [packed, Crc32cCodec()], "chunks": whole_chunks(variable)}
        for name, variable in dataset.variables.items()
    }


def to_bits(array: np.ndarray) -> np.ndarray:
    """Float32 values that are bfloat16 already, as their upper 16 bits (uint16), without loss."""
    return (np.ascontiguousarray(array, dtype="<f4").view("<u4") >> 16).astype("<u2")


def from_bits(bits: np.ndarray) -> np.ndarray:
    """The inverse of to_bits: uint16 bits of bfloat16 to float32."""
    return (bits.astype("<u4") << 16).view("<f4")
