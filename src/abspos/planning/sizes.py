"""Sizes of models, which determine all costs: from a checkpoint's config, or from its name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model that determine its costs, and whether they are guessed from its name."""

    layers: int
    heads: int
    kv_heads: int
    head_size: int
    hidden: int
    inner: int
    vocabulary: int
    tied: bool = False
    guessed: bool = False

    @property
    def parameters(self) -> int:
        """Number of weights, without norms."""
        return self.body + self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def body(self) -> int:
        """Weights of the layers, which every token passes."""
        attention = self.hidden * self.head_size * 2 * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.inner)


#: Shapes assumed before a checkpoint is fetched, by parameters in millions.
USUAL = {
    160: Sizes(12, 12, 12, 64, 768, 3072, 50304),
    410: Sizes(24, 16, 16, 64, 1024, 4096, 50304),
    1500: Sizes(24, 16, 16, 128, 2048, 8192, 50304),
    3000: Sizes(32, 32, 32, 80, 2560, 10240, 50304),
    8500: Sizes(32, 32, 32, 128, 4096, 14336, 128256),
    14000: Sizes(40, 40, 40, 128, 5120, 17408, 151936),
    35000: Sizes(64, 40, 40, 128, 5120, 27648, 151936),
    75000: Sizes(80, 64, 64, 128, 8192, 29568, 152064),
}
_UNKNOWN = 8500
_COUNT = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([mMbB])(?![A-Za-z0-9])")


def sizes(source: Mapping[str, Any], folder: Path, length: int = 0) -> Sizes:
    """Sizes of a checkpoint: from its config where it is there, else from what its name says.

    Args:
        source: one ``models[].source`` of the config.
        folder: its checkpoint folder, which need not exist yet.
        length: T, on which the sizes of a synthetic model depend
            (abspos.calibration.planted_store).
    """
    if source["type"] == "synthetic":
        heads = len(source["heads"])
        return Sizes(source["layers"], heads, 1, length, length, 0, 258)
    if source["type"] == "random":
        inner = 2 * source["hidden_size"]
        return Sizes(
            source["layers"],
            source["heads"],
            source["kv_heads"],
            source["head_dim"],
            source["hidden_size"],
            inner,
            258,
        )
    for place in (folder, Path(str(source.get("path", folder))).expanduser()):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            return from_config(place / "config.json")  # else its job tells what is wrong with it
    return guess(str(source.get("file") or source.get("repo") or source.get("path")))


@cache
def from_config(path: Path) -> Sizes:
    """Sizes that a ``config.json`` states; where it does not state one, the usual relation."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config = {**config, **config.get("text_config", {})}
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    return Sizes(
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_size=config.get("head_dim") or hidden // heads,
        hidden=hidden,
        inner=config.get("intermediate_size") or 4 * hidden,
        vocabulary=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings")),
    )


def guess(name: str) -> Sizes:
    """The usual shape for the number of parameters in a model's name (``pythia-6.9b``)."""
    found = _COUNT.findall(name)
    millions = float(_UNKNOWN)
    if found:
        number, unit = found[-1]
        millions = float(number) * (1000 if unit in "bB" else 1)
    usual = USUAL[min((m for m in USUAL if m >= millions), default=max(USUAL))]
    return replace(usual, guessed=True)
