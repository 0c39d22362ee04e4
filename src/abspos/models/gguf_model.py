"""A GGUF file as a plain float32 checkpoint, with the attention that the file states.

The loader of transformers reads some of a file's metadata and drops the rest without a word: RoPE
scaling, windows, bounds of logits, in some families the RoPE base. Here all that a file states
about attention is put into the config where transformers has a place for it, and refused by name
otherwise; so is a tensor that no part of the model took. Source of what a key means: llama.cpp,
which the files are made for.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_gguf_pytorch_utils import (
    TENSOR_PROCESSORS,
    TensorProcessor,
    get_gguf_hf_weights_map,
)

from abspos.models.families import REFUSED, ModelError, shown
from abspos.models.gguf_file import Head
from abspos.models.gguf_keys import (
    BOUNDS,
    CURE,
    EPSILON,
    FACTORS,
    LONG,
    MATTERS,
    NEUTRAL,
    PATTERN,
    READ,
    RMS_EPSILON,
    SCALING,
    SHORT,
    sound,
)
from abspos.models.pretrained import CausalLM, by_layer_type, pretrained

log = logging.getLogger("abspos")

#: Families in which a window, where there is one, is every layer's.
WINDOW_IN_ALL = ("mistral", "phi3", "starcoder2")
#: Names of the term that norms add to a variance.
EPSILONS = ("rms_norm_eps", "layer_norm_eps", "norm_epsilon", "norm_eps")


@contextmanager
def parsed_once() -> Iterator[None]:
    """Let transformers parse a GGUF file once.

    It reads the file anew for the config, the weights and the tokenizer, some seconds each time,
    nearly all of them for the vocabulary.
    """
    real = gguf.GGUFReader
    once = cache(real)
    # Of one file, whether its path comes as text or not.
    gguf.GGUFReader = lambda path: once(str(path))  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        gguf.GGUFReader = real  # type: ignore[misc]


def convert_gguf(file: Path, folder: Path) -> None:
    """Dequantise a GGUF file into a plain float32 checkpoint folder with its tokenizer.

    Raises:
        ModelError: it cannot be read, or states what transformers has no place for; in one line.
    """
    found = sound(file)
    log.info("converting %s to a float32 checkpoint", file.name)
    options: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    try:
        with parsed_once():
            config = AutoConfig.from_pretrained(file.parent, **options)
            if config.model_type not in REFUSED:
                as_stated(config, found, factors(file))
            loaded = pretrained(file.parent, config=config, dtype=torch.float32, **options)
            require_all_used(loaded, found)
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
    except ModelError as error:
        raise ModelError(f"{file}: {str(error).removeprefix(f'{file.parent}: ')}") from error
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")[:160] or type(error).__name__
        raise ModelError(f"{file}: transformers cannot convert it ({reason})") from error
    settings = loaded.config.to_dict()
    settings.pop("quantization_config", None)
    settings.pop("_name_or_path", None)
    plain_config = type(loaded.config).from_dict(settings)
    if getattr(plain_config, "abspos_as_mistral", False):
        plain_config = with_window(settings)
    # A loaded GGUF calls itself quantised and refuses to be saved; its weights are not. The plain
    # model takes them over, since a copy would weigh as much again.
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(plain_config, dtype=torch.float32)
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def with_window(settings: Mapping[str, Any]) -> Any:
    """The config of a Llama with a window in every layer: the same model as Mistral."""
    others = {"model_type", "architectures", "abspos_as_mistral", "transformers_version"}
    kept = {key: value for key, value in settings.items() if key not in others}
    return AutoConfig.for_model("mistral", **kept)


def factors(file: Path) -> dict[str, list[float]]:
    """Factors of RoPE that a file has as tensors, by their names."""
    reader = gguf.GGUFReader(file)  # in convert_gguf, the one that transformers reads
    return {
        tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type).ravel().astype(float).tolist()
        for tensor in reader.tensors
        if tensor.name in (FACTORS, LONG, SHORT)
    }


def as_stated(config: Any, found: Head, tensors: Mapping[str, list[float]]) -> None:
    """Put what a file states about attention into a config, in place.

    Args:
        config: as transformers reads it from the file.
        found: the file's head.
        tensors: of factors.

    Raises:
        ModelError: transformers has no place for something; names the key and its value.
    """
    lists = dict.fromkeys(found.lengths, "a list")  # also those that the metadata leave out
    for key, value in sorted((lists | found.metadata).items()):
        name = key.removeprefix(f"{found.architecture}.")
        if name == key or name in READ or not MATTERS.fullmatch(name):
            continue
        if value not in NEUTRAL[name] if name in NEUTRAL else value:
            refuse(config, found, name)
    apply_shape(config, found)
    if getattr(config, "rope_parameters", None):
        apply_rope(config, found, tensors)
    apply_window(config, found)
    apply_logits(config, found)


def refuse(config: Any, found: Head, key: str, why: str = "") -> None:
    """Refuse a file for a key that it states."""
    why = why or f"transformers has no place for it in {config.model_type!r}"
    value = "a list" if found.of(key) is None else shown(found.of(key))
    raise ModelError(
        f"states {found.architecture}.{key} {value}, but {why}: the attention would "
        "differ; give the model as a transformers folder"
    )


def declared(config: Any) -> set[str]:
    """The keys that a config's family knows; another is kept and never read."""
    return {item.name for item in dataclasses.fields(type(config))}


def put(config: Any, found: Head, key: str, name: str) -> None:
    """Set a key of a config to what the file states, if it states it."""
    value = found.of(key)
    if value is None or getattr(config, name, None) == value:
        return
    if name not in declared(config):
        refuse(config, found, key)
    setattr(config, name, float(value) if name in EPSILONS else value)


def head_size(config: Any) -> int:
    """Size of one attention head."""
    own = getattr(config, "head_dim", None)
    return int(own or config.hidden_size // config.num_attention_heads)


def apply_shape(config: Any, found: Head) -> None:
    """Sizes of heads, biases and the terms in norms."""
    length = found.of("attention.key_length") or config.hidden_size // config.num_attention_heads
    if length != head_size(config):
        if "head_dim" not in declared(config):
            refuse(config, found, "attention.key_length")
        config.head_dim = length
    if found.of("attention.value_length") not in (None, head_size(config)):
        refuse(config, found, "attention.value_length", f"keys have size {head_size(config)}")
    for key, name in (
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
    ):
        if found.of(key) is not None and getattr(config, name, None) != found.of(key):
            refuse(config, found, key, f"the model has {getattr(config, name, None)}")
    if found.of("attention.head_count_kv") is None:  # llama.cpp: as many as query heads
        config.num_key_value_heads = config.num_attention_heads
    biases = [f"blk.0.attn_{part}.bias" for part in ("q", "k", "v", "output")]
    if found.tensors.keys() >= set(biases) and "attention_bias" in declared(config):
        config.attention_bias = True
    for name in EPSILONS:
        if name in declared(config):
            for key in (EPSILON, RMS_EPSILON):
                put(config, found, key, name)


def apply_rope(config: Any, found: Head, tensors: Mapping[str, list[float]]) -> None:
    """Base, rotated features and scaling of RoPE; of layers with a window the base alone."""
    parameters = config.rope_parameters
    layered = by_layer_type(parameters)
    full = dict(parameters["full_attention"] if layered else parameters)
    if found.of("rope.freq_base") is not None:
        full["rope_theta"] = float(found.of("rope.freq_base"))
    rotated(config, found, full, layered)
    full |= scaling(
        config, found, int(head_size(config) * full.get("partial_rotary_factor", 1.0)), tensors
    )
    local_base = found.of("rope.freq_base_swa")
    if not layered:
        if local_base not in (None, full["rope_theta"]):
            refuse(config, found, "rope.freq_base_swa")
        config.rope_parameters = full
        return
    sliding = dict(parameters["sliding_attention"])
    if local_base is not None:
        sliding["rope_theta"] = float(local_base)
    config.rope_parameters = {**parameters, "full_attention": full, "sliding_attention": sliding}


def rotated(config: Any, found: Head, full: dict[str, Any], layered: bool) -> None:
    """How many features of a head RoPE turns."""
    count, size = found.of("rope.dimension_count"), head_size(config)
    if count is None or count == int(size * full.get("partial_rotary_factor", 1.0)):
        return
    if layered or "partial_rotary_factor" not in full or int(size * (count / size)) != count:
        refuse(config, found, "rope.dimension_count", f"the model rotates {size} features")
    full["partial_rotary_factor"] = count / size


def scaling(
    config: Any, found: Head, size: int, tensors: Mapping[str, list[float]]
) -> dict[str, Any]:
    """RoPE parameters of the scaling that a file states; empty where it states none."""
    newer, older = found.of("rope.scaling.factor"), found.of("rope.scale_linear")
    factor = (older if newer is None else newer) or 1.0
    kind = found.of(SCALING) or ("linear" if factor != 1.0 else "none")
    attention = found.of("rope.scaling.attn_factor") or 1.0
    context = config.max_position_embeddings
    original = found.of("rope.scaling.original_context_length") or context
    for name, values in tensors.items():
        if len(values) != size // 2:
            raise ModelError(
                f"{name} has {len(values)} factors for {size // 2} frequencies, half of "
                f"rope.dimension_count; {CURE}"
            )
        if not all(0 < value < math.inf for value in values):
            raise ModelError(f"{name} has factors that are not numbers above 0; {CURE}")
    if LONG in tensors or SHORT in tensors:
        if tensors.keys() != {LONG, SHORT} or kind not in ("none", "linear", "longrope"):
            raise ModelError(f"{LONG} and {SHORT} with scaling {kind!r} are not supported together")
        if factor != 1.0:
            refuse(config, found, "rope.scaling.factor", f"it has {LONG} too")
        if "original_max_position_embeddings" in declared(config):
            config.original_max_position_embeddings = original
        return longrope(tensors[SHORT], tensors[LONG], attention, original)
    own = tensors.get(FACTORS, [1.0] * (size // 2))
    if kind in ("none", "linear"):
        if attention != 1.0:
            refuse(config, found, "rope.scaling.attn_factor")
        factor = 1.0 if kind == "none" else float(factor)
        if any(value != 1.0 for value in own):
            # One list for any length: what turns a Llama 3.1 or 3.2 has no other form here.
            scaled = [value * factor for value in own]
            return longrope(scaled, scaled, 1.0, context)
        return {"rope_type": "linear", "factor": factor} if factor != 1.0 else {}
    if kind == "yarn" and FACTORS not in tensors and attention == 1.0:
        betas = {
            name: float(found.of(f"rope.scaling.yarn_{name}"))
            for name in ("beta_fast", "beta_slow")
            if found.of(f"rope.scaling.yarn_{name}") is not None
        }
        made = {"rope_type": "yarn", "factor": float(factor), **betas}
        return made | {"original_max_position_embeddings": original}
    refuse(config, found, "rope.scaling.type", "it is not supported with the file's other factors")
    raise AssertionError("refused")


def longrope(
    short: list[float], long: list[float], attention: float, original: int
) -> dict[str, Any]:
    """RoPE whose frequencies are divided by factors of their own."""
    return {
        "rope_type": "longrope",
        "short_factor": short,
        "long_factor": long,
        "factor": 1.0,
        "attention_factor": float(attention),
        "original_max_position_embeddings": original,
    }


def apply_window(config: Any, found: Head) -> None:
    """The window, and which layers have it."""
    window, pattern = (found.of(f"attention.sliding_window{end}") for end in ("", "_pattern"))
    kind = config.model_type
    types = getattr(config, "layer_types", None)
    if not window:
        if types and "sliding_attention" in types:
            refuse(config, found, "attention.sliding_window", "the model has sliding layers")
        if kind in WINDOW_IN_ALL:
            config.sliding_window = None
        return
    if pattern is not None:
        number = config.num_hidden_layers
        slides = (
            [bool(x) for x in pattern]
            if isinstance(pattern, list)
            else [pattern == 0 or i % pattern < pattern - 1 for i in range(number)]
        )
        stated = [("full", "sliding")[slide] + "_attention" for slide in slides]
        if len(stated) != number:
            why = f"the model has {number} layers"
            refuse(config, found, PATTERN, why)
        if types is not None:
            config.layer_types = types = stated
        elif not all(slides):
            refuse(config, found, PATTERN)
    if kind in WINDOW_IN_ALL or (types and "sliding_attention" in types):
        put(config, found, "attention.sliding_window", "sliding_window")
    elif kind == "llama":
        config.sliding_window, config.abspos_as_mistral = window, True
    elif window < config.max_position_embeddings:
        refuse(config, found, "attention.sliding_window")


def apply_logits(config: Any, found: Head) -> None:
    """Scale and bounds of logits."""
    for key in BOUNDS:
        if found.of(key):
            put(config, found, key, key)
        elif found.of(key) == 0 and getattr(config, key, None):
            refuse(config, found, key, f"the family has {getattr(config, key)}")
    scalar = getattr(config, "query_pre_attn_scalar", None)
    scale, size = found.of("attention.scale"), head_size(config)
    if scale:
        if abs(scale * (scalar or size) ** 0.5 - 1) > 1e-5:
            if scalar is None:
                refuse(config, found, "attention.scale", f"the model has {size**-0.5:.6g}")
            config.query_pre_attn_scalar = whole = round(scale**-2)
            if not whole or abs(scale * whole**0.5 - 1) > 1e-5:
                refuse(config, found, "attention.scale", "it is 1 over no root of a whole number")
    elif scalar not in (None, size):
        raise ModelError(
            f"its heads have size {size}, it does not state {found.architecture}.attention.scale, "
            f"and transformers would scale by {scalar}^-1/2; give the model as a transformers "
            "folder"
        )


def require_all_used(model: CausalLM, found: Head) -> None:
    """Refuse a file with a tensor that no part of the model took."""
    made = TENSOR_PROCESSORS.get(found.architecture, TensorProcessor)
    taken = get_gguf_hf_weights_map(model, made(config=model.config.to_dict()))
    applied = {FACTORS, LONG, SHORT}
    left = [
        name
        for name in found.tensors
        if name not in taken and name.removesuffix(".weight") not in taken and name not in applied
    ]
    if left and model.config.model_type not in REFUSED:
        raise ModelError(
            f"{len(left)} tensors, {left[0]} the first, have no counterpart "
            f"in {model.config.model_type!r} of transformers: the model would differ; give it as a "
            "transformers folder"
        )
