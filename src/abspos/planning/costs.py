"""Cost of a job: memory, time and bytes on disk, expected from model and study.

Constants were fitted to peaks and times in ledgers of real runs. Nothing heavy is imported, since
the Snakefile uses this module at every start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from abspos.activations.shapes import Shape, arrays
from abspos.planning.loads import Load
from abspos.planning.sizes import Sizes

#: Python with torch and transformers imported.
BASE_BYTES = 700e6
#: Bytes of logits in one block of a decomposition, by device, and of q and k held at the same time.
BLOCK_BYTES, READ_BYTES = {"cpu": 2**23, "cuda": 2**28}, 2**30
#: Copies of a block's logits, and of its heads' fields of all inputs, held at the same time.
LOGIT_COPIES, FIELD_COPIES = 7, 15
#: A decomposition stores an array of all layers in a file if it has at least this many bytes.
STACK_BYTES = 2**28
ITEM = {"float32": 4, "bfloat16": 2}
#: Time of a decomposition in float64 and without a store, over that of one with a store.
IN_DOUBLE = 3.0
#: Bytes of planted logits drawn and stored per second on one core.
DRAWN = 2e8
#: One position in this many has its next token scored (see activations.scored_positions).
SCORED = 8
#: Bytes of output logits that are held at a time (abspos.activations.losses).
LOGIT_BYTES = 2**27
#: Certificates: inputs, and bytes of attention weights that are held at a time
#: (abspos.activations.certificates).
CHECKED_INPUTS, CHECKED_BYTES = 2, 2**26
#: Copies of each that live at a time.
CHECKED_COPIES = 6
#: Training: forward passes that a step takes as long as, and copies of each layer's states, of its
#: queries and of its inner states, and of output logits, that live at a time.
PASSES, STATE_COPIES, HEAD_COPIES, INNER_COPIES, OUTPUT_COPIES = 3.5, 12, 4, 5, 6
#: Texts of the held-out loss per step (abspos.training.trainer.LOSS_STRIDE, texts.CHECKS).
CHECKED_TEXTS = 1.6
#: Energies by bin, lens and component that are kept of a head in each arm, with replicates of each:
#: fitted to the default study of two models, whose jobs took 2.96 and 1.04 GB.
REPLICATED = 80
#: Replicates besides those without one input: of all and of halves (statistics.half_samples).
OTHERS = 255
#: Bytes per weight fetched over the network: a 4-bit file, or 16-bit weights.
FETCHED = {"packaged": 0.6, "hub": 2.0, "local": 0.0, "random": 0.0, "synthetic": 0.0}


@dataclass(frozen=True)
class Machine:
    """Rates of a machine, per second. CPU rates were fitted to ledgers of runs on two cores; GPU
    rates are commonly seen on one large accelerator and were not measured by this project.

    Attributes:
        cpu_flops: floating-point operations of one core in float32.
        cpu_half: rate of bfloat16 over that of float32 on a CPU.
        gpu_flops: floating-point operations of one GPU in float32.
        gpu_half: rate of bfloat16 over that of float32 on a GPU.
        cpu_fields: numbers by (input, layer, head, query, key) that one core decomposes.
        gpu_fields: numbers that one GPU decomposes.
        statistics: bytes of component stores that one core turns into tables.
        disk: bytes to and from disk.
        network: bytes from the network.
        start: seconds (not a rate) from a job's submission to the end of its imports.
    """

    cpu_flops: float = 8.3e10
    cpu_half: float = 0.25
    gpu_flops: float = 1e13
    gpu_half: float = 10.0
    cpu_fields: float = 2e8
    gpu_fields: float = 3e9
    statistics: float = 8e7
    disk: float = 5e8
    network: float = 1e7
    start: float = 2.0

    def flops(self, load: Load) -> float:
        """Operations per second of the model of a job, in its dtype on its device."""
        if load.device == "cuda":
            return self.gpu_flops * (self.gpu_half if load.dtype == "bfloat16" else 1)
        half = self.cpu_half if load.dtype == "bfloat16" else 1
        return self.cpu_flops * half * load.threads


# Bytes on disk


def checkpoint_bytes(s: Sizes) -> int:
    """Bytes of a checkpoint folder; weights keep their precision, at most 4 bytes each."""
    return 4 * s.parameters + 10**7


def state_bytes(load: Load) -> int:
    """Bytes of the state from which a training continues: weights and two moments."""
    return 12 * load.sizes.parameters


def input_bytes(load: Load) -> int:
    """Bytes of the store of windows and its attributes."""
    return 4 * load.inputs * (load.length + load.half + 4) + 2**15


def activation_bytes(load: Load) -> int:
    """Bytes of one activation store, as its arrays have them."""
    s = load.sizes
    shape = Shape(
        layers=s.layers,
        inputs=load.inputs,
        heads=s.heads,
        kv_heads=load.key_heads,
        value_heads=s.kv_heads,
        length=load.length,
        head_size=s.head_size,
        key_size=s.head_size,
        hidden=s.hidden,
        batch=min(load.batch, load.inputs),
    )
    return sum(array.nbytes for array in arrays(shape, load.dtype, load.crossed).values())


def component_bytes(load: Load) -> int:
    """Bytes of one component store: packed Grams, mean fields, early fields of a reference.

    Each kind is compressed to a share of its numbers that was measured on real stores.
    """
    n, half = load.inputs, load.half
    # Mask, residual, row and sink in both lenses, the pattern in one; early also the anchored mask;
    # beyond windows the residual in both and the row in one.
    kinds = 9 + 2 * load.anchored + 9 + 3 * (load.bins - 2)
    # Of a pair, in both lenses, its matched R in two bins, and early seven and three combinations.
    kinds += 24 * load.paired
    grams = kinds * n * (n + 1) / 2
    profile = 10 * n * max(1, round(4 * math.log2(half)) - 5)
    means, by_input = 4 * load.shown * half + half, n * half + 4 * n
    # R in both lenses and the pattern in one; row and sink, two numbers a query, in both.
    kept = n * (3 * load.early_elements + 4 * (min(load.early, half) - 1))
    early = kept * load.fields + 5 * n * n * load.compared
    # What a head writes from position 0, and its share of the values there.
    s = load.sizes
    written = (s.hidden + s.kv_heads * s.head_size // s.heads) * load.crossed
    packed = 0.82 * (grams + profile) + 0.45 * means + 0.69 * by_input + 0.89 * (early + written)
    return round(4 * s.layers * s.heads * packed)


def table_bytes(load: Load) -> int:
    """Bytes of a model's tables and of the replicates that its claims are made of."""
    s = load.sizes
    return load.arms * s.layers * (s.heads * 6000 + load.inputs * 1300)  # fitted to runs


# Memory, in bytes


def _models_memory(load: Load) -> float:
    weights = 4 * load.sizes.parameters
    return BASE_BYTES + (2.2 * weights if load.packed else 0.5 * weights)


def _trained_memory(load: Load) -> float:
    s = load.sizes
    heads = (s.heads + 2 * s.kv_heads) * s.head_size
    layer = STATE_COPIES * s.hidden + HEAD_COPIES * heads + INNER_COPIES * s.inner
    token = s.layers * layer + OUTPUT_COPIES * s.vocabulary
    # Weights, gradients and two moments; states are kept for the way back.
    return BASE_BYTES + 16 * s.parameters + 4 * load.texts * load.length * token


def _inputs_memory(load: Load) -> float:
    return BASE_BYTES


def _planted_bytes(load: Load) -> int:
    """Bytes of the planted logits of all inputs, drawn in float64."""
    return 8 * load.inputs * load.sizes.layers * load.sizes.heads * load.length**2


def _planted_memory(load: Load) -> float:
    return BASE_BYTES + 4 * _planted_bytes(load) * min(1, load.batch / load.inputs)


def _activations_memory(load: Load) -> float:
    s, item = load.sizes, ITEM[load.dtype]
    tokens = load.batch * load.length
    states = (s.layers + 1) * s.hidden + s.layers * (s.heads + s.kv_heads) * s.head_size
    working = tokens * item * (2 * states + 3 * s.inner + 2 * load.length * s.heads)
    logits = 3 * min(LOGIT_BYTES, 4 * tokens // SCORED * s.vocabulary)
    kept = 4 * load.inputs * s.hidden * 2 * s.layers
    sums = 4 * s.layers * load.length * s.hidden
    passing = max(working + logits, _certificate_memory(load))
    return BASE_BYTES + item * s.parameters + passing + kept + sums


def _certificate_memory(load: Load) -> float:
    s, inputs = load.sizes, min(CHECKED_INPUTS, load.batch)
    weights = min(CHECKED_BYTES, 4 * inputs * s.heads * load.length**2)
    logits = min(LOGIT_BYTES, 4 * inputs * load.length * s.vocabulary)
    masks = 8 * inputs * load.length**2
    states = (s.layers + 4) * s.hidden + 3 * s.inner + 2 * (s.heads + s.kv_heads) * s.head_size
    return CHECKED_COPIES * (weights + logits) + masks + 4 * inputs * load.length * states


def _components_memory(load: Load) -> float:
    s = load.sizes
    group, most = s.heads // s.kv_heads, BLOCK_BYTES[load.device]
    field = 4 * load.inputs * load.elements
    heads = min(s.heads, max(group, most // field))
    rows = 4 * heads * load.references * load.length
    block = min(max(most, rows), load.inputs * rows)
    layer = 4 * load.inputs * load.length * (s.heads + load.key_heads) * s.head_size
    # On a CPU every thread has its own layer, and all share the limit of READ_BYTES.
    abreast = 1 if load.device == "cuda" else load.threads
    held = abreast * min(layer, max(READ_BYTES // abreast, layer // load.key_heads))
    held *= 1 + load.paired
    # Four fields, stored in files if they are large.
    means = 16 * s.layers * s.heads * load.shown * load.half
    kept = 1.5 * (component_bytes(load) - (means if means > 3 * STACK_BYTES else 0))
    working = abreast * (LOGIT_COPIES * block + FIELD_COPIES * heads * field)
    return BASE_BYTES + working + 2 * held + kept


def _statistics_memory(load: Load) -> float:
    # The replicates of all arms are kept for the claims, and every thread has a store of its own.
    heads, number = load.sizes.layers * load.sizes.heads, load.inputs + OTHERS
    replicates = 8 * REPLICATED * load.arms * heads * number
    return BASE_BYTES + replicates + load.threads * component_bytes(load)


# Time, in seconds


def _models_seconds(load: Load, machine: Machine) -> float:
    fetched = FETCHED[load.source] * load.sizes.parameters / machine.network
    # Reading, converting and writing; converting costs about as much again.
    return fetched + 8 * checkpoint_bytes(load.sizes) / machine.disk


def _trained_seconds(load: Load, machine: Machine) -> float:
    s = load.sizes
    attention = 2 * load.length * s.heads * s.head_size * s.layers
    text = load.length * (2.0 * (s.body + s.vocabulary * s.hidden) + attention)
    flops = load.updates * text * (PASSES * load.texts + CHECKED_TEXTS)
    moved = 3 * checkpoint_bytes(s) + 2 * state_bytes(load)
    rate = machine.flops(replace(load, dtype="float32"))  # whatever models run in
    return flops / rate + moved / machine.disk


def _inputs_seconds(load: Load, machine: Machine) -> float:
    return 3.0


def forward_flops(load: Load) -> float:
    """Operations of one forward pass over all inputs, with the logits of scored positions."""
    s, tokens = load.sizes, load.inputs * load.length
    attention = 2 * load.length * s.heads * s.head_size * s.layers  # causal: half of T x T, twice
    scored = s.vocabulary * s.hidden // SCORED
    return 2.0 * tokens * (s.body + scored) + tokens * attention


def decomposition_flops(load: Load) -> float:
    """Operations of the matrix products of one decomposition: logits, predicted (of every query
    and of the one before), Grams."""
    s, n = load.sizes, load.inputs
    queries = load.references + load.explained
    logits = 2 * n * queries * load.length * s.head_size
    predicted = 2 * 2 * n * load.references * load.elements
    grams = 2 * n * n * (5 + 2 * max(0, load.bins - 2)) * load.elements
    return float(s.layers * s.heads * (logits + predicted + grams))


def _planted_seconds(load: Load, machine: Machine) -> float:
    moved = activation_bytes(load) + checkpoint_bytes(load.sizes)
    return _planted_bytes(load) / DRAWN + moved / machine.disk


def _activations_seconds(load: Load, machine: Machine) -> float:
    moved = activation_bytes(load) + checkpoint_bytes(load.sizes)
    return forward_flops(load) / machine.flops(load) + moved / machine.disk


def _components_seconds(load: Load, machine: Machine) -> float:
    queries = load.references + load.explained
    fields = load.inputs * load.sizes.layers * load.sizes.heads * queries * load.length
    on_gpu = load.device == "cuda"
    rate = machine.gpu_fields if on_gpu else machine.cpu_fields * load.threads
    flops = machine.gpu_flops if on_gpu else machine.cpu_flops * load.threads
    # A pair reads the store of its other arm too, of as many inputs.
    moved = (1 + load.paired) * activation_bytes(load) + component_bytes(load)
    return fields / rate + decomposition_flops(load) / flops + moved / machine.disk


def _statistics_seconds(load: Load, machine: Machine) -> float:
    stores = load.arms * component_bytes(load)
    return stores / (machine.statistics * load.threads)


def population_seconds(runs: Sequence[Load], inputs: int, machine: Machine) -> float:
    """Seconds for the true energies of a synthetic model: one population per run."""
    load = runs[0]
    fields = inputs * load.sizes.layers * load.sizes.heads * load.length**2 * len(runs)
    return IN_DOUBLE * fields / (machine.cpu_fields * load.threads)


_MEMORY = {
    "models": _models_memory,
    "trained": _trained_memory,
    "inputs": _inputs_memory,
    "activations": _activations_memory,
    "planted": _planted_memory,
    "components": _components_memory,
    "statistics": _statistics_memory,
}
_SECONDS = {
    "models": _models_seconds,
    "trained": _trained_seconds,
    "inputs": _inputs_seconds,
    "activations": _activations_seconds,
    "planted": _planted_seconds,
    "components": _components_seconds,
    "statistics": _statistics_seconds,
}
STAGES = tuple(_MEMORY)


def stages(load: Load) -> tuple[str, ...]:
    """Stages that a model goes through: it is fetched or trained, and its activations are computed
    or planted."""
    others = {"activations" if load.source == "synthetic" else "planted"}
    others.add("models" if load.source == "trained" else "trained")
    return tuple(stage for stage in STAGES if stage not in others)


def memory(stage: str, load: Load) -> float:
    """Estimated peak memory of a job of this stage, in bytes."""
    return _MEMORY[stage](load)


def seconds(stage: str, load: Load, machine: Machine | None = None) -> float:
    """Estimated seconds of a job of this stage, without its start."""
    return _SECONDS[stage](load, machine or Machine())
