"""Sizes of models, which determine all costs: from a checkpoint's config, or from its name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from abspos.models import gguf_file, local
from abspos.models.families import ModelError, require_numbers


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
    70: Sizes(6, 8, 8, 64, 512, 2048, 50304),
    135: Sizes(30, 9, 3, 64, 576, 1536, 49152, tied=True),
    160: Sizes(12, 12, 12, 64, 768, 3072, 50304),
    270: Sizes(18, 4, 1, 256, 640, 2048, 262144, tied=True),
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


def sizes(source: Mapping[str, Any], folder: Path | None, length: int = 0) -> Sizes:
    """Sizes of a checkpoint: from its config where it is there, else from what its name says.

    Args:
        source: one ``models[].source`` of the config.
        folder: its checkpoint folder or file, which need not exist yet, or None.
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
    for place in (folder, local.place(source) if source["type"] == "local" else None):
        with suppress(ModelError):  # which abspos.planning.misfits reports
            if place is not None and place.exists():
                return of_checkpoint(place)
    return guess(str(source.get("file") or source.get("repo") or source.get("path")))


def of_checkpoint(place: Path) -> Sizes:
    """Sizes of a checkpoint that is there: a folder, by its config, or a GGUF file.

    Raises:
        ModelError: it does not state them, or cannot be read.
    """
    return from_gguf(place) if local.is_gguf(place) else from_config(place / "config.json")


@cache
def from_config(path: Path) -> Sizes:
    """Sizes that a ``config.json`` states; where it does not state one, the usual relation."""
    config: Mapping[str, Any] = local.stated(path)
    nested = config.get("text_config")
    config = {**config, **(nested if isinstance(nested, dict) else {})}
    needed = ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size")
    if not config.keys() >= set(needed):
        config = by_usual_names(path.parent, config, needed)
    try:
        require_numbers(config)
        heads, hidden = config["num_attention_heads"], config["hidden_size"]
        inner = config.get("intermediate_size")
        return Sizes(
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_size=config.get("head_dim") or hidden // heads,
            hidden=hidden,
            inner=max(map(int, inner if isinstance(inner, list) else [inner or 4 * hidden])),
            vocabulary=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings")),
        )
    except ModelError as error:
        raise ModelError(f"{path.parent}/{error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: it does not state {error}; correct it") from None


def by_usual_names(
    folder: Path, config: Mapping[str, Any], needed: Sequence[str]
) -> Mapping[str, Any]:
    """A config with keys that its family calls otherwise under their usual names too."""
    from transformers import AutoConfig  # slow to import, and rarely needed

    try:
        found = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception:  # the first key that lacks is reported instead
        return config
    usual = {key: getattr(found, key, None) for key in needed}
    return {**config, **{key: value for key, value in usual.items() if value is not None}}


def from_gguf(path: Path) -> Sizes:
    """Sizes that a GGUF file states."""
    found = gguf_file.head(path)

    def most(key: str, other: int | None = None) -> int:
        value = found.of(key)
        value = max(value, default=None) if isinstance(value, list) else value
        value = other if value is None else value
        if not isinstance(value, int) or value < 1:
            raise ModelError(f"{path}: {found.architecture}.{key} {value!r} is not a model size")
        return value

    heads, hidden = most("attention.head_count"), most("embedding_length")
    embeddings = found.tensors.get("token_embd.weight", ())
    return Sizes(
        layers=most("block_count"),
        heads=heads,
        kv_heads=most("attention.head_count_kv", heads),
        head_size=most("attention.key_length", most("rope.dimension_count", hidden // heads)),
        hidden=hidden,
        inner=most("feed_forward_length", 4 * hidden),
        vocabulary=embeddings[0] if embeddings else most("vocab_size"),
        tied="output.weight" not in found.tensors,
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
