"""Loading a checkpoint with a variant applied.

Apart from getting it, so that another way to apply a variant fetches nothing again.
Source: docs/method.md, section 4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from abspos.models.pretrained import by_layer_type, pretrained
from abspos.models.sources import (
    CausalLM,
    ModelError,
    initialise,
    read_config,
    refuse_unsupported,
)
from abspos.models.tokenizer import has_code


def ntk_theta(theta: float, factor: float, rotary_dim: int) -> float:
    """The RoPE base of static NTK-aware scaling, b' = b f^(d / (d - 2)).

    Source: docs/method.md, section 4.
    """
    return theta * factor ** (rotary_dim / (rotary_dim - 2))


def apply_rope(config: Any, rope: Mapping[str, Any]) -> None:
    """Change the RoPE of a config in place as a variant asks, that of each layer type by itself.

    Raises:
        ModelError: the checkpoint has no RoPE parameters, or scaled RoPE already.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    if by_layer_type(parameters):
        config.rope_parameters = {
            layers: changed_rope(config, own, rope) for layers, own in parameters.items()
        }
    else:
        config.rope_parameters = changed_rope(config, parameters, rope)


def changed_rope(
    config: Any, parameters: Mapping[str, Any], rope: Mapping[str, Any]
) -> dict[str, Any]:
    """RoPE parameters of some layers as a variant wants them (see apply_rope)."""
    if "rope_theta" not in parameters:
        raise ModelError(
            f"model_type {config.model_type!r}: rope variants need a rope_theta to change"
        )
    kind = parameters.get("rope_type", "default")
    if kind != "default":
        raise ModelError(
            f"rope_type {kind!r}: the checkpoint's RoPE is scaled already; "
            "a rope variant of it would be inert or twice scaled"
        )
    theta = float(parameters["rope_theta"])
    if rope["rope_type"] == "ntk":
        partial = float(parameters.get("partial_rotary_factor", 1.0))
        rotary = int(head_size(config) * partial)
        new: dict[str, Any] = {"rope_theta": ntk_theta(theta, rope["factor"], rotary)}
    else:
        new = {key: value for key, value in rope.items() if value is not None}
        original = config.max_position_embeddings
        new.setdefault("original_max_position_embeddings", original)
    return {**parameters, **new}


def head_size(config: Any) -> int:
    """Size of one attention head."""
    return int(
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )


def variant_config(folder: Path, variant: Mapping[str, Any], length: int) -> Any:
    """The config of a checkpoint under a variant.

    Args:
        folder: a checkpoint folder.
        variant: ``rope``, ``window`` and ``untrained`` of one ``variants[]`` entry.
        length: T, positions per input.

    Raises:
        ModelError: the variant cannot act on this checkpoint, or T exceeds its context.
    """
    config = read_config(folder)
    refuse_unsupported(config)
    limit = getattr(config, "max_position_embeddings", length)
    rope = variant.get("rope") or {}
    dynamic = rope.get("rope_type") == "dynamic"
    if dynamic and length <= limit:
        raise ModelError(
            f"rope_type 'dynamic': inert while inputs.length {length} <= "
            f"max_position_embeddings {limit}"
        )
    if length > limit and not dynamic:
        raise ModelError(
            f"inputs.length {length}: the model's context is {limit} positions; lower it, or take "
            "a variant of dynamic RoPE alone"
        )
    if variant.get("window"):
        refuse_inert_window(config, variant["window"])
    if rope:
        apply_rope(config, rope)
    # Read by the mask function of abspos.activations.capture; part of the config so that it travels
    # with it.
    config.abspos_window = variant.get("window")
    return config


def rope_limits(config: Any) -> list[tuple[str, int]]:
    """Kinds of RoPE of a model that depend on the largest position id, with the length up to which
    they do not.

    Beyond it longrope has other factors, the same for all lengths, and dynamic RoPE another base
    for every length.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    context = getattr(config, "max_position_embeddings", 0)
    found = []
    for own in parameters.values() if by_layer_type(parameters) else [parameters]:
        kind = own.get("rope_type", "default")
        if kind == "longrope":
            found.append((kind, int(own.get("original_max_position_embeddings") or context)))
        if kind == "dynamic":
            found.append((kind, context))
    return found


def largest_shift(config: Any, length: int, most: int) -> int:
    """The largest shift of all position ids that leaves attention as it is, up to ``most``.

    Args:
        config: of the model, with the variant applied.
        length: T, positions per input.
        most: the shift where nothing depends on the largest position id.

    Returns:
        0 where every shift changes it.
    """
    rooms = [most]
    for kind, limit in rope_limits(config):
        if length <= limit:
            rooms.append(limit - length)
        elif kind == "dynamic":
            rooms.append(0)
    return min(rooms)


def refuse_inert_window(config: Any, window: int) -> None:
    """Refuse a window that some layer's own sliding window already keeps.

    A wider one would leave two widths among the layers, an equal one where all slide changes
    nothing.
    """
    native = getattr(config, "sliding_window", None)
    slides = set(getattr(config, "layer_types", None) or ["sliding_attention"])
    if native is None or "sliding_attention" not in slides:
        return
    if window > native or (window == native and len(slides) == 1):
        raise ModelError(
            f"window {window}: inert, the model's own sliding window is {native} keys; "
            "give a smaller one"
        )


def require_device(device: str) -> None:
    """Refuse a device that this machine, or this job's part of it, does not have."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            "device 'cuda': no GPU is visible here; set `device: cpu`, or run on a machine with a "
            "GPU (on a cluster: --profile slurm)"
        )


def load(
    folder: Path, variant: Mapping[str, Any], length: int, dtype: str, device: str, seed: int
) -> CausalLM:
    """A causal language model in evaluation mode with the variant applied.

    Args:
        folder: a checkpoint folder.
        variant: ``rope``, ``window`` and ``untrained`` of one ``variants[]`` entry.
        length: T, positions per input.
        dtype: ``float32`` or ``bfloat16``.
        device: ``cpu`` or ``cuda``.
        seed: of the random weights of an untrained variant.

    Raises:
        ModelError: see variant_config; or the device is not there.
    """
    require_device(device)
    config = variant_config(folder, variant, length)
    kind = getattr(torch, dtype)
    if variant.get("untrained"):
        model = initialise(config, seed, kind)
    else:
        try:
            model = pretrained(
                folder,
                config=config,
                dtype=kind,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=has_code(folder),
            )
        except ModelError:
            raise
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"{folder}: transformers cannot load it ({reason})") from error
    return model.eval().requires_grad_(False).to(device)


def describe(folder: Path) -> dict[str, Any]:
    """Relevant facts of a checkpoint's config, as plain values for a store's attributes."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    keys = (
        "model_type",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "hidden_size",
        "vocab_size",
        "max_position_embeddings",
        "rope_parameters",
        "sliding_window",
        "layer_types",
        "bos_token_id",
        "tie_word_embeddings",
        "query_pre_attn_scalar",
        "attn_logit_softcapping",
        "no_rope_layers",
    )
    return {key: config[key] for key in keys if config.get(key) is not None}
