"""Zarr stores on disk: whole or not there at all, with a manifest of digests beside each.

A store is a folder. It is written under a temporary name and renamed when complete, so that a
killed job leaves nothing that a later one takes for whole. Its manifest (sorted SHA-256 digests
of its files) is written last; readers compare the two before they use a byte.

Every job keeps digests and writes files whole; only those with arrays import Zarr and xarray here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

if TYPE_CHECKING:
    import xarray as xr
    import zarr

#: Chunks of small stores are at most this large.
CHUNK_BYTES = 2**24
#: Chunks are handed to the file system in pieces: one write of a whole chunk took six times as
#: long. ext4 caches large writes in large blocks of memory, which a virtual machine whose free
#: memory goes back to its host has to fetch anew.
PIECE_BYTES = 2**18
# Snakemake drops its own file into folders it tracks; it is not part of the data.
FOREIGN = {".snakemake_timestamp"}


class StoreError(RuntimeError):
    """A store, folder or manifest that is missing, incomplete or altered."""


def file_digest(path: Path) -> str:
    """SHA-256 of one file, as 64 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def files(folder: Path) -> list[Path]:
    """All files below a folder that are data, sorted by relative path."""
    found = (p for p in Path(folder).rglob("*") if p.is_file() and p.name not in FOREIGN)
    return sorted(found, key=lambda p: p.relative_to(folder).as_posix())


def digest_files(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 for every file below a folder, sorted by path."""
    paths = files(folder)
    with ThreadPoolExecutor(max_workers=4) as pool:
        digests = pool.map(file_digest, paths)
        return {p.relative_to(folder).as_posix(): d for p, d in zip(paths, digests, strict=True)}


def root_digest(digests: Mapping[str, str]) -> str:
    """One SHA-256 over the sorted ``path digest`` lines of a folder."""
    lines = "".join(f"{path} {digest}\n" for path, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that readers see the old content or the new, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        with open(partial, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_manifest(folder: Path, manifest: Path) -> dict[str, Any]:
    """Write the manifest of a finished folder: root digest, bytes, and the digest of each file."""
    digests = digest_files(folder)
    content = {
        "root": root_digest(digests),
        "bytes": sum(p.stat().st_size for p in files(folder)),
        "files": digests,
    }
    write_atomically(manifest, json.dumps(content, indent=1) + "\n")
    return content


def read_manifest(manifest: Path) -> dict[str, Any]:
    """Read a manifest and check that its digests give its root."""
    try:
        content = json.loads(Path(manifest).read_text(encoding="utf-8"))
        whole = root_digest(content["files"]) == content["root"]
    except OSError as error:
        raise StoreError(f"{manifest}: cannot be read ({error.strerror}); run again") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{manifest}: not a manifest ({error}); delete it and run again") from None
    if not whole:
        raise StoreError(f"{manifest}: its root digest does not fit its files; delete it and rerun")
    return content


def differences(folder: Path, manifest: Path) -> list[str]:
    """What differs between a folder and its manifest, one line per file; empty if nothing."""
    stated = read_manifest(manifest)["files"]
    if not Path(folder).is_dir():
        return [f"{folder}: missing"]
    found = digest_files(folder)
    lines = [f"{folder}/{name}: missing" for name in stated.keys() - found.keys()]
    lines += [f"{folder}/{name}: not in the manifest" for name in found.keys() - stated.keys()]
    lines += [
        f"{folder}/{name}: altered" for name in stated.keys() & found.keys()
        if stated[name] != found[name]
    ]  # fmt: skip
    return sorted(lines)


def check(folder: Path, manifest: Path) -> None:
    """Raise a StoreError that names the first difference between a folder and its manifest."""
    lines = differences(folder, manifest)
    if lines:
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise StoreError(
            f"{lines[0]}{more}; the manifest {manifest} says otherwise: "
            f"delete {folder} and its manifest, and run again"
        )


class NonFiniteError(FloatingPointError):
    """A NaN or infinity in what a model computed or in what was made of it."""


@contextmanager
def whole_folder(target: Path, manifest: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on success it becomes ``target`` and gets its manifest.

    On any error the temporary folder is removed and neither ``target`` nor manifest appears.
    What jobs that were killed left of the same target is removed first. A job that outlives its
    killed controller may still be filling such a folder: then that job fails, and no other.
    """
    target, manifest = Path(target), Path(manifest)
    manifest.unlink(missing_ok=True)
    for left in (target, *target.parent.glob(f".{escape(target.name)}.*partial")):
        shutil.rmtree(left, ignore_errors=True)
    partial = target.with_name(f".{target.name}.{token_hex(4)}.partial")
    partial.mkdir(parents=True)
    moved = False
    try:
        yield partial
        partial.replace(target)
        moved = True
        write_manifest(target, manifest)
    except BaseException:
        if moved:
            shutil.rmtree(target, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def create_array(
    group: zarr.Group, name: str, dims: tuple[str, ...], shape: tuple[int, ...],
    chunks: tuple[int, ...], dtype: str, **attributes: Any,
) -> zarr.Array:  # fmt: skip
    """An uncompressed, checksummed array with named dimensions in an open group."""
    from zarr.codecs import Crc32cCodec

    return group.create_array(
        name,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        compressors=[Crc32cCodec()],
        # All chunks in one folder: making and removing a folder for each costs as much as writing.
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=dims,
        attributes=attributes,
        fill_value=0,
    )


def write_chunk(array: zarr.Array, index: tuple[int, ...], data: np.ndarray) -> None:
    """Write one chunk of an array of create_array on a local disk, edge chunks filled up with 0.

    The same bytes as ``array[...] = data`` leaves, at the speed of the file system: Zarr's way
    through its event loop costs several times that, and takes the cores from the model.

    Args:
        array: uncompressed, with a crc32c checksum.
        index: which chunk, along every axis.
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

    Zarr's own way costs several times what the file system does. The chunk's checksum is not
    compared: whoever opens a store with its manifest has compared the digests of its files.

    Args:
        array: uncompressed; chunks that are not there hold 0.
        index: which chunk, along every axis.
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
    """Chunks that divide an array: leading axes one at a time until a chunk is CHUNK_BYTES small.

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
    from zarr.codecs import Crc32cCodec

    labels = {n: c.values.tolist() for n, c in dataset.coords.items() if c.dtype.kind in "UOT"}
    # Zarr has no settled type for text: labels of axes travel as attributes.
    dataset = dataset.drop_vars(list(labels)).assign_attrs(axis_labels=labels)
    encoding = {
        name: {"compressors": [Crc32cCodec()], "chunks": whole_chunks(variable)}
        for name, variable in dataset.variables.items()
    }
    with whole_folder(target, manifest) as folder:
        dataset.to_zarr(folder, mode="w", zarr_format=3, consolidated=False, encoding=encoding)


def open_dataset(folder: Path, manifest: Path | None = None) -> xr.Dataset:
    """Open a store lazily, after comparing it with its manifest where one is given."""
    import xarray as xr

    if manifest is not None:
        check(folder, manifest)
    try:
        with warnings.catch_warnings():
            # Snakemake's time stamp in the folder is not Zarr's and does no harm.
            warnings.filterwarnings("ignore", message=".*snakemake_timestamp.*")
            dataset = xr.open_zarr(folder, consolidated=False, chunks=None)
        return dataset.assign_coords(dataset.attrs.pop("axis_labels", {}))
    except Exception as error:
        raise StoreError(f"{folder}: cannot be read as Zarr ({error}); delete it, rerun") from None


def to_bits(array: np.ndarray) -> np.ndarray:
    """Float32 values that are bfloat16 already, as their upper 16 bits (uint16), without loss."""
    return (np.ascontiguousarray(array, dtype="<f4").view("<u4") >> 16).astype("<u2")


def from_bits(bits: np.ndarray) -> np.ndarray:
    """The inverse of to_bits: uint16 bits of bfloat16 to float32."""
    return (bits.astype("<u4") << 16).view("<f4")
