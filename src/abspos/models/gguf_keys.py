"""Keys of a GGUF file that decide what its model computes, and whether their values can be true.

A loader takes a default of the family for a key that is missing, and any value for one that is
there. Both are refused here by name: values of another kind, sizes that the tensors do not have,
and files that lack a key for which a default would be a guess. Plans read this as well as jobs.
Source of what a key means: llama.cpp, which the files are made for.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from abspos.models.families import REFUSED, ModelError, shown
from abspos.models.gguf_file import Head, head

#: Keys without the architecture before them, by kind: whole numbers from 1 on and from 0 on,
#: numbers above 0 and from 0 on, of which 0 stands for none.
SIZES = (
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "rope.dimension_count",
)
COUNTS = ("attention.sliding_window", "rope.scaling.original_context_length")
EPSILON, RMS_EPSILON = "attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon"
POSITIVE = (
    EPSILON,
    RMS_EPSILON,
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
)
BOUNDS = ("attn_logit_softcapping", "final_logit_softcapping")
NUMBERS = (
    *BOUNDS,
    "attention.scale",
    "rope.scale_linear",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
)
PATTERN, SCALING = "attention.sliding_window_pattern", "rope.scaling.type"
#: Tensors of factors by which frequencies of RoPE are divided.
FACTORS = "rope_freqs.weight"
LONG, SHORT = "rope_factors_long.weight", "rope_factors_short.weight"
#: Keys that have a place in a config.
READ = {*SIZES, *COUNTS, *POSITIVE, *NUMBERS, PATTERN, SCALING}
#: Keys that change nothing, at these values.
NEUTRAL = {
    "attention.causal": (True,),
    "rope.scaling.finetuned": (True, False),
    "rope.scaling.yarn_ext_factor": (1.0, -1.0),
    "rope.scaling.yarn_attn_factor": (1.0,),
}
#: Other keys that change what a model computes from its weights.
MATTERS = re.compile(
    r"(rope|attention)\..*|.*softcapping|(logit|residual|embedding)_scale|swin_norm"
    r"|full_attention_interval"
)

#: Keys that every file of a RoPE decoder states, beside the term in its norms.
NEEDED = (
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "rope.freq_base",
)
#: Further keys that files of an architecture state, where the defaults of transformers and
#: llama.cpp differ or follow a published model. Its keys are the architectures that are checked.
FURTHER: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe"), ()),
    "gemma2": ("attention.sliding_window", *BOUNDS),
    "gemma3": ("attention.sliding_window",),
    "nemotron": ("rope.dimension_count",),
    "phi3": ("rope.dimension_count", "attention.sliding_window"),
    "stablelm": ("rope.dimension_count",),
    "starcoder2": ("attention.sliding_window",),
}
#: Numbers of layers of the published models whose files leave out which layers are sliding.
PUBLISHED = {"gemma3": (18, 26, 34, 48, 62)}

#: What helps where a file's own values contradict each other, or lack.
CURE = "download it again, or give the model as a transformers folder"


def sound(path: Path) -> Head:
    """The head of a GGUF file whose values are of their kinds and agree with its tensors.

    Raises:
        ModelError: it cannot be read, lacks a key, or states what cannot be true; in one line.
    """
    found = head(path)
    try:
        if found.architecture.replace("-", "_") not in REFUSED:
            require_kinds(found)
        if found.architecture in FURTHER:
            require_scaling(found)
            require_stated(found)
            require_blocks(found)
            require_shapes(found)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    return found


def require_kinds(found: Head) -> None:
    """Refuse a value that is not of its key's kind."""
    for name in sorted(READ):
        key = f"{found.architecture}.{name}"
        if key not in found.metadata and key not in found.lengths:
            continue
        value = found.metadata.get(key)
        kind = needs(name, value)
        if kind:
            listed = key in found.lengths and value is None
            what = f"a list of {found.lengths[key]}" if listed else shown(value)
            raise ModelError(f"states {key} {what}, which is not {kind}; {CURE}")


def needs(name: str, value: Any) -> str:
    """The kind of value that a key needs, where a value is of another; else empty."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    number = (whole or isinstance(value, float)) and math.isfinite(value)
    if name in SIZES and not (whole and 0 < value < 2**31):
        return "one whole number above 0 and below 2^31"
    if name in COUNTS and not (whole and value >= 0):
        return "one whole number from 0 on"
    if name in (EPSILON, RMS_EPSILON) and not (number and 0 < value < 1):
        return "one number between 0 and 1"
    if name in POSITIVE and not (number and value > 0):
        return "one number above 0"
    if name in NUMBERS and not (number and value >= 0):
        return "one number from 0 on"
    if name == SCALING and not isinstance(value, str):
        return "a name"
    flags = isinstance(value, list) and all(one in (0, 1) for one in value)
    if name == PATTERN and not (flags or (whole and value >= 0)):
        return "a number of layers or a flag for each"
    return ""


def require_stated(found: Head) -> None:
    """Refuse a file without a key for which transformers would take a default."""
    for name in (*NEEDED, *FURTHER[found.architecture]):
        if found.of(name) is None:
            raise ModelError(
                f"does not state {found.architecture}.{name}, and no default is right for every "
                f"model; {CURE}"
            )
    layers = found.of("block_count")
    if found.of(PATTERN) is None and layers not in PUBLISHED.get(found.architecture, (layers,)):
        raise ModelError(
            f"does not state {found.architecture}.{PATTERN}, which only models of "
            f"{', '.join(map(str, PUBLISHED[found.architecture]))} layers may leave out, and has "
            f"{layers}; {CURE}"
        )
    terms = [found.of(name) for name in (EPSILON, RMS_EPSILON)]
    if terms == [None, None] or (None not in terms and terms[0] != terms[1]):
        found_terms = "none" if terms == [None, None] else f"{terms[0]} and {terms[1]}"
        raise ModelError(
            f"needs one of {found.architecture}.{EPSILON} and {RMS_EPSILON}, it states "
            f"{found_terms}; {CURE}"
        )


def require_scaling(found: Head) -> None:
    """Refuse a scaling of RoPE that leaves out a part of what it needs."""
    factor, kind = found.of("rope.scaling.factor"), found.of(SCALING)
    needed = {}
    if factor not in (None, 0, 1):
        needed = {SCALING: f"rope.scaling.factor {factor}"}
    if kind in ("linear", "yarn") and not found.of("rope.scale_linear"):
        needed |= {"rope.scaling.factor": f"{SCALING} {kind!r}"}
    if kind == "yarn":
        needed |= {"rope.scaling.original_context_length": f"{SCALING} 'yarn'"}
    if found.tensors.keys() & {LONG, SHORT}:
        needed |= dict.fromkeys(
            ("rope.scaling.original_context_length", "rope.scaling.attn_factor"), LONG
        )
    for name, beside in needed.items():
        if not found.of(name):
            raise ModelError(
                f"states {beside} and no {found.architecture}.{name}, without which its RoPE "
                f"would be guessed; {CURE}"
            )


def require_blocks(found: Head) -> None:
    """Refuse a number of layers that the tensors do not have."""
    count = found.of("block_count")
    blocks = {int(match[1]) for name in found.tensors if (match := _BLOCK.match(name))}
    if len(blocks) != count or max(blocks, default=-1) != count - 1:
        raise ModelError(
            f"states {found.architecture}.block_count {count}, but its tensors are of "
            f"{len(blocks)} blocks; {CURE}"
        )


def require_shapes(found: Head) -> None:
    """Refuse sizes that the tensors do not have."""
    hidden, heads = found.of("embedding_length"), found.of("attention.head_count")
    kv_heads = found.of("attention.head_count_kv") or heads
    keys = found.of("attention.key_length") or hidden // heads
    values = found.of("attention.value_length") or hidden // heads
    if (found.of("rope.dimension_count") or 0) > keys:
        raise ModelError(
            f"states {found.architecture}.rope.dimension_count {found.of('rope.dimension_count')} "
            f"for heads of size {keys} (embedding_length {hidden}, attention.head_count {heads}); "
            f"{CURE}"
        )
    # By the name of a tensor without its block: its shape, rows first, and the keys it follows
    # from; None where any number fits.
    inputs = ("embedding_length",)
    sizes = ("attention.head_count", "attention.key_length", *inputs)
    kv_sizes = ("attention.head_count_kv", *sizes)
    expected: dict[str, tuple[tuple[int | None, int], tuple[str, ...]]] = {
        "token_embd.weight": ((found.of("vocab_size"), hidden), ("vocab_size", *inputs)),
        "attn_q.weight": ((heads * keys, hidden), sizes),
        "attn_k.weight": ((kv_heads * keys, hidden), kv_sizes),
        "attn_v.weight": ((kv_heads * values, hidden), ("attention.value_length", *kv_sizes)),
        "attn_output.weight": ((hidden, heads * values), ("attention.value_length", *sizes)),
        "attn_qkv.weight": (
            ((heads + kv_heads) * keys + kv_heads * values, hidden),
            ("attention.value_length", *kv_sizes),
        ),
        "ffn_down.weight": (
            (hidden, found.of("feed_forward_length")),
            ("feed_forward_length", *inputs),
        ),
    }
    for name, shape in found.tensors.items():
        wanted, names = expected.get(_BLOCK.sub("", name), (shape, ()))
        if len(shape) != 2 or any(a not in (b, None) for a, b in zip(wanted, shape, strict=True)):
            if not names:
                continue
            stated = ", ".join(f"{n} {found.of(n) or 'not at all'}" for n in names)
            raise ModelError(
                f"states {found.architecture}.{stated}, but {name} is "
                f"{' x '.join(map(str, shape))}; {CURE}"
            )


_BLOCK = re.compile(r"blk\.(\d+)\.")
