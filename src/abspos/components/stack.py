"""Arrays of all layers, filled one layer at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

#: Bytes of an array of all layers from which on it lies in a file instead of in memory.
STACK_BYTES = 2**28


class Stack:
    """Arrays of all layers (layer, ...); NaN in layers that lack one, as narrow windows do.

    Those of many bytes lie in files that are gone with the process, since the mean fields of long
    inputs are more than memory holds.
    """

    def __init__(self, depth: int, folder: Path) -> None:
        self.depth, self.folder = depth, folder
        self.arrays: dict[str, np.ndarray] = {}

    def add(self, layer: int, found: Mapping[str, np.ndarray]) -> None:
        """Take one layer; layers come in order."""
        for name in [name for name in found if name not in self.arrays]:
            self.arrays[name] = self.room(found[name])
            self.arrays[name][:layer] = np.nan
        for name, array in self.arrays.items():
            array[layer] = found.get(name, np.nan)

    def room(self, value: np.ndarray) -> np.ndarray:
        """An array for all layers, in memory or in a file."""
        shape = (self.depth, *value.shape)
        if self.depth * value.nbytes <= STACK_BYTES:
            return np.empty(shape, value.dtype)
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            return np.memmap(file, value.dtype, "w+", shape=shape)
