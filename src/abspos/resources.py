"""What a job asks for: memory, time, cores, GPUs and disk, as functions of model and study.

The one place for this arithmetic: the rules ask here, and so do estimates of cost. Numbers are
upper estimates, so that few jobs fail; constants were fitted to peaks and times in ledgers of real
runs. Nothing heavy is imported, for the Snakefile asks at every start.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from abspos.partitions import Limit, Request, ResourceError, within
from abspos.study import Study

#: Stages whose jobs run on the study's device; all others run on CPUs.
ON_DEVICE = ("activations", "components")
#: Every further attempt asks for this many times the memory and time of the one before.
GROWTH = 2
#: Python with torch and transformers imported.
BASE_BYTES = 700e6
#: Asked over estimated, for memory and for time.
MEMORY_MARGIN, TIME_MARGIN = 1.3, 4.0
#: No job asks for less: MB, and minutes (a cold file system can take minutes to import torch).
FEWEST_MB, FEWEST_MINUTES = 1500, 15
#: Floating-point operations per second: one CPU core, one GPU.
CPU_FLOPS = {"float32": 2e10, "bfloat16": 5e9}
GPU_FLOPS = {"float32": 5e12, "bfloat16": 2e13}
#: Fields of the decomposition (input, layer, head, query, key) per second.
FIELDS_PER_SECOND = {"cpu": 5e6, "cuda": 3e8}
#: Bytes per second to and from disk, and from the network.
DISK, NETWORK = 1e8, 5e6
#: Bytes of logits that one block of heads may take in a decomposition, and copies made of them.
BLOCK_BYTES, BLOCK_COPIES = 2**28, 10
ITEM = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model; all that costs depend on, and whether they are a guess from its name."""

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
        """Number of weights, norms left out."""
        attention = self.hidden * self.head_size * 2 * (self.heads + self.kv_heads)
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * (attention + 3 * self.hidden * self.inner)


@dataclass(frozen=True)
class Load:
    """One job's work.

    Attributes:
        sizes: of the model.
        inputs: N.
        length: T.
        batch: inputs per forward pass.
        dtype: in which the model runs.
        device: ``cpu`` or ``cuda``.
        threads: cores.
        arms: runs of the model.
        bins: of queries: early, late, and one for each window.
        packed: whether the checkpoint is converted from a GGUF file.
    """

    sizes: Sizes
    inputs: int
    length: int
    batch: int = 8
    dtype: str = "float32"
    device: str = "cpu"
    threads: int = 1
    arms: int = 1
    bins: int = 3
    packed: bool = False


# Sizes of models


#: Shapes to reckon with while a checkpoint is not there yet, by parameters in millions.
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


def sizes(source: Mapping[str, Any], folder: Path) -> Sizes:
    """Sizes of a checkpoint: from its config where it is there, else from what its name says.

    Args:
        source: one ``models[].source`` of the config.
        folder: its checkpoint folder, which need not exist yet.
    """
    if source["type"] == "random":
        inner = 2 * source["hidden_size"]
        return Sizes(
            source["layers"], source["heads"], source["kv_heads"], source["head_dim"],
            source["hidden_size"], inner, 258,
        )  # fmt: skip
    for place in (folder, Path(str(source.get("path", folder))).expanduser()):
        if (place / "config.json").is_file():
            return from_config(place / "config.json")
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
    """The usual shape of a model of as many parameters as its name says (``pythia-6.9b``)."""
    found = _COUNT.findall(name)
    millions = float(_UNKNOWN)
    if found:
        number, unit = found[-1]
        millions = float(number) * (1000 if unit in "bB" else 1)
    usual = USUAL[min((m for m in USUAL if m >= millions), default=max(USUAL))]
    return replace(usual, guessed=True)


# Bytes on disk


def checkpoint_bytes(s: Sizes) -> int:
    """Bytes of a checkpoint folder; weights are kept as they come, at most 4 bytes each."""
    return 4 * s.parameters + 10**7


def activation_bytes(load: Load) -> int:
    """Bytes of one activation store: q and k of all layers, states of position 0, sums."""
    s = load.sizes
    qk = load.inputs * (s.heads + s.kv_heads) * load.length * s.head_size * ITEM[load.dtype]
    v0 = 4 * load.inputs * s.kv_heads * s.head_size
    write0 = 4 * load.inputs * s.heads * s.hidden
    states = s.hidden * (4 * load.inputs + 8 * load.length)
    return s.layers * (qk + v0 + write0) + (s.layers + 1) * states


def component_bytes(load: Load) -> int:
    """Bytes of one component store: packed Grams, mean fields, early fields of a reference."""
    n, half = load.inputs, load.length // 2
    grams = load.bins * 2 * 3 * n * (n + 1) // 2
    fields = 3 * half * half + 2 * n * n
    early = 2 * n * half * half // 8
    return 4 * load.sizes.layers * load.sizes.heads * (grams + fields + early)


def study_bytes(load: Load, keep_activations: bool = False) -> int:
    """Bytes that one model of a study fills at the most: its stores and its checkpoint.

    Without ``keep_activations`` two activation stores for each core are reckoned with: what one
    job has written and another reads.
    """
    stores = load.arms if keep_activations else min(load.arms, 2 * load.threads)
    kept = checkpoint_bytes(load.sizes) + load.arms * component_bytes(load)
    return kept + stores * activation_bytes(load)


# Memory, in bytes


def _models_memory(load: Load) -> float:
    weights = 4 * load.sizes.parameters
    return BASE_BYTES + (3.5 * weights if load.packed else 0.5 * weights)


def _inputs_memory(load: Load) -> float:
    return BASE_BYTES


def _activations_memory(load: Load) -> float:
    s, item = load.sizes, ITEM[load.dtype]
    tokens = load.batch * load.length
    states = (s.layers + 1) * s.hidden + s.layers * (s.heads + s.kv_heads) * s.head_size
    working = tokens * item * (2 * states + 3 * s.inner + 2 * load.length * s.heads)
    logits = 3 * 4 * tokens // 8 * s.vocabulary
    kept = 4 * s.layers * load.inputs * (2 * s.heads * s.hidden + s.hidden)
    sums = 8 * s.layers * load.length * s.hidden
    return BASE_BYTES + 2 * item * s.parameters + working + logits + kept + sums


def _components_memory(load: Load) -> float:
    s = load.sizes
    logits = 4 * load.inputs * load.length**2
    block = min(max(BLOCK_BYTES, logits * s.heads // s.kv_heads), logits * s.heads)
    layer = 4 * load.inputs * load.length * (s.heads + s.kv_heads) * s.head_size
    return BASE_BYTES + BLOCK_COPIES * block + 3 * layer + 4 * component_bytes(load)


def _statistics_memory(load: Load) -> float:
    return BASE_BYTES + 2 * component_bytes(load)


# Time, in seconds


def _models_seconds(load: Load) -> float:
    return checkpoint_bytes(load.sizes) * (1 / NETWORK + 2 / DISK)


def _inputs_seconds(load: Load) -> float:
    return 10.0


def _activations_seconds(load: Load) -> float:
    rate = CPU_FLOPS[load.dtype] * load.threads
    if load.device == "cuda":
        rate = GPU_FLOPS[load.dtype]
    tokens = load.inputs * load.length
    flops = 2 * tokens * (load.sizes.parameters + load.length * load.sizes.hidden)
    return flops / rate + (activation_bytes(load) + checkpoint_bytes(load.sizes)) / DISK


def _components_seconds(load: Load) -> float:
    fields = load.inputs * load.sizes.layers * load.sizes.heads * load.length**2
    rate = FIELDS_PER_SECOND[load.device] * (load.threads if load.device == "cpu" else 1)
    return fields / rate + (activation_bytes(load) + component_bytes(load)) / DISK


def _statistics_seconds(load: Load) -> float:
    return load.arms * component_bytes(load) / (0.1 * DISK)


_MEMORY = {
    "models": _models_memory,
    "inputs": _inputs_memory,
    "activations": _activations_memory,
    "components": _components_memory,
    "statistics": _statistics_memory,
}
_SECONDS = {
    "models": _models_seconds,
    "inputs": _inputs_seconds,
    "activations": _activations_seconds,
    "components": _components_seconds,
    "statistics": _statistics_seconds,
}
STAGES = tuple(_MEMORY)


def memory(stage: str, load: Load) -> float:
    """Bytes of memory that a job of this stage is estimated to peak at."""
    return _MEMORY[stage](load)


def seconds(stage: str, load: Load) -> float:
    """Seconds that a job of this stage is estimated to take, start of Python left out."""
    return _SECONDS[stage](load)


# Requests


def request(stage: str, load: Load, attempt: int = 1, limits: Sequence[Limit] = ()) -> Request:
    """What a job asks for at this attempt.

    Args:
        stage: one of STAGES.
        load: its work.
        attempt: from 1; each further one asks for GROWTH times as much memory and time.
        limits: of the partitions; growth ends at what the widest that serves the job offers.

    Raises:
        ResourceError: no partition serves even the first attempt, and the sizes are no guess.
    """
    first = Request(
        mem_mb=_rounded(max(MEMORY_MARGIN * memory(stage, load) / 1e6, FEWEST_MB), 100),
        runtime=_rounded(max(TIME_MARGIN * seconds(stage, load) / 60, FEWEST_MINUTES), 5),
        threads=load.threads if stage in (*ON_DEVICE, "statistics") else 1,
        gpus=int(load.device == "cuda" and stage in ON_DEVICE),
    )
    growth = GROWTH ** (attempt - 1)
    grown = Request(first.mem_mb * growth, first.runtime * growth, first.threads, first.gpus)
    return within(stage, first, grown, limits, load.sizes.guessed) if limits else grown


def _rounded(number: float, step: int) -> int:
    return math.ceil(number / step) * step


def load_of(study: Study, model: str, folder: Path, arms: int) -> Load:
    """The work of a job of one model of a study; every arm counts as one with all inputs.

    Args:
        study: the study.
        model: its name.
        folder: its checkpoint folder, which need not exist yet.
        arms: runs of the model.
    """
    source = study.model(model).source.model_dump(mode="json")
    windows = {v.window for v in study.variants if v.window}
    return Load(
        sizes=sizes(source, folder),
        inputs=study.inputs.number,
        length=study.inputs.length,
        batch=study.inputs.batch,
        dtype=study.dtype,
        device=study.device,
        threads=study.threads,
        arms=arms,
        bins=2 + len(windows),
        packed=source["type"] == "packaged" or str(source.get("path")).endswith(".gguf"),
    )


def refusals(loads: Iterable[tuple[str, Load]], limits: Sequence[Limit]) -> list[str]:
    """One line for each stage of each model that no partition is known to serve."""
    lines = []
    for model, load in loads:
        for stage in STAGES if limits else ():
            try:
                request(stage, load, 1, limits)
            except ResourceError as error:
                lines.append(f"{model}, {error}")
    return lines
