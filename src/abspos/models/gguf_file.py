"""The head of a GGUF file: metadata and the names of its tensors, read without its vocabulary.

Apart from the ``gguf`` package, whose reader takes seconds for a large vocabulary: a plan reads
this at every start. Source: the GGUF specification, versions 2 and 3.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from abspos.models.families import ModelError

#: Numbers by their type in the file.
NUMBERS = dict(enumerate(("<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?")))
NUMBERS |= {10: "<Q", 11: "<q", 12: "<d"}
TEXT, ARRAY = 8, 9
#: Arrays of numbers up to so many items are kept: one a layer, or one a pair of features.
KEPT = 4096
#: Dimensions that a tensor has at the most.
DIMENSIONS = 4


@dataclass(frozen=True)
class Head:
    """Metadata by key, lengths of arrays that are left out, and shapes of tensors by name."""

    metadata: dict[str, Any] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """The family, as llama.cpp calls it."""
        return str(self.metadata.get("general.architecture", ""))

    def of(self, key: str) -> Any:
        """A value of the architecture's own metadata, or None."""
        return self.metadata.get(f"{self.architecture}.{key}")


def says(found: Head) -> dict[str, dict[str, Any]]:
    """Decisive facts of a file, under the names of abspos.models.families.says."""
    family = found.architecture.replace("-", "_")
    stated = {"model_type": family, "max_position_embeddings": found.of("context_length")}
    return {"config": {key: value for key, value in stated.items() if value is not None}}


def head(path: Path) -> Head:
    """The head of a GGUF file.

    Raises:
        ModelError: it is no GGUF file, is cut off, or is one part of several.
    """
    found = path.stat()
    return _head(path, found.st_size, found.st_mtime_ns)


@cache
def _head(path: Path, size: int, changed: int) -> Head:
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            made = _Reader(raw).head()
    except (OSError, ValueError, struct.error, KeyError, OverflowError) as error:
        raise ModelError(
            f"{path}: cannot be read as a GGUF file ({error or type(error).__name__}); download it "
            "again"
        ) from None
    if not isinstance(made.metadata.get("general.architecture"), str) or not made.architecture:
        raise ModelError(f"{path}: no general.architecture in it; download the file again")
    if made.metadata.get("split.count", 1) not in (0, 1):
        raise ModelError(
            f"{path}: one part of split.count {made.metadata['split.count']}; join them to one "
            "file first (llama-gguf-split --merge)"
        )
    return made


class _Reader:
    """Reads along a file; what lies beyond its end raises an error."""

    def __init__(self, raw: mmap.mmap) -> None:
        self.raw, self.at = raw, 0

    def head(self) -> Head:
        if self.raw[:4] != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        self.at = 4
        version, tensors, keys = self.number("<I"), self.number("<Q"), self.number("<Q")
        if version not in (2, 3):
            raise ValueError(f"version {version}, where 2 and 3 are read")
        made = Head()
        for _ in range(keys):
            key, kind = self.text(), self.number("<I")
            if key in made.metadata or key in made.lengths:
                raise ValueError(f"{key} stands in it twice")
            if kind == ARRAY:
                self.array(key, made)
            else:
                made.metadata[key] = self.text() if kind == TEXT else self.number(NUMBERS[kind])
        last = 0
        for _ in range(tensors):
            name, dimensions = self.text(), self.number("<I")
            if dimensions > DIMENSIONS:
                raise ValueError(f"a tensor of {dimensions} dimensions")
            # The file has the fastest dimension first.
            shape = tuple(self.number("<Q") for _ in range(dimensions))[::-1]
            self.skip(4)
            last = max(last, self.number("<Q"))
            if name in made.tensors:
                raise ValueError(f"tensor {name} stands in it twice")
            made.tensors[name] = shape
        self.skip(last)  # where the last tensor begins
        return made

    def array(self, key: str, made: Head) -> None:
        kind, length = self.number("<I"), self.number("<Q")
        made.lengths[key] = length
        if kind == TEXT:
            for _ in range(length):
                self.skip(self.number("<Q"))
            return
        form = NUMBERS[kind]
        if length <= KEPT:
            made.metadata[key] = [self.number(form) for _ in range(length)]
        else:
            self.skip(length * struct.calcsize(form))

    def number(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self.raw, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self) -> str:
        length = self.number("<Q")
        start = self.at
        self.skip(length)
        return self.raw[start : self.at].decode("utf-8")

    def skip(self, length: int) -> None:
        self.at += length
        if self.at > len(self.raw):
            raise ValueError("it is cut off")
