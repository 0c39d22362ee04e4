"""The config of a checkpoint with a variant as its own architecture.

An extraction applies a variant to a model as it is loaded. A model that is trained under a variant
has it in its config.json instead, where transformers reads it: RoPE among the RoPE parameters, a
window as the family states one.
Source: docs/models.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from abspos.models.families import BY_LAYER, IN_ALL, WITH_WINDOW, no_window
from abspos.models.loading import variant_config
from abspos.models.pretrained import by_layer_type

#: Settings of a family without windows that its family with one lacks.
BIASES = ("attention_bias", "mlp_bias")


def native_config(folder: Path, variant: Mapping[str, Any], length: int) -> Any:
    """The config of a checkpoint with a variant as its own architecture.

    Args:
        folder: a checkpoint folder.
        variant: ``rope`` and ``window`` of one ``variants[]`` entry.
        length: T, tokens per text.

    Raises:
        ModelError: the variant cannot act on this checkpoint, T exceeds its context, or its family
            cannot state a window in every layer.
    """
    config = variant_config(folder, variant, length)
    del config.abspos_window  # read by extractions alone
    window = variant.get("window")
    return config if window is None else with_window(config, window)


def with_window(config: Any, window: int) -> Any:
    """A config with a sliding window in every layer, as its family states one."""
    kind = config.model_type
    if kind in WITH_WINDOW and not any(getattr(config, key, False) for key in BIASES):
        others = {"model_type", "architectures", "transformers_version"}
        kept = {key: value for key, value in config.to_dict().items() if key not in others}
        config = AutoConfig.for_model(WITH_WINDOW[kind], **kept)
    elif kind not in (*IN_ALL, *BY_LAYER) or by_layer_type(config.rope_parameters):
        raise no_window(kind, window)
    config.sliding_window = window
    if kind in BY_LAYER:
        config.layer_types = ["sliding_attention"] * config.num_hidden_layers
    if hasattr(config, "use_sliding_window"):
        config.use_sliding_window = True
        config.max_window_layers = 0
    return config
