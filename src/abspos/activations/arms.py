"""One arm of a model: its settings, and what its condition puts in place.

Source: docs/method.md, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from abspos.activations.interventions import Batch, InterventionError, Setting, apply, known
from abspos.models.loading import largest_shift, rope_limits, variant_config
from abspos.models.sources import CausalLM
from abspos.models.tokenizer import require_fit, single_token, tokenizer_of
from abspos.study.conditions import PAIRS

#: What control-shift adds to position ids, where RoPE allows it.
SHIFT = 64


@dataclass(frozen=True)
class Extraction:
    """Settings of an extraction, as the study has them.

    Attributes:
        variant: one entry of the config's ``variants``.
        condition: what stands at position 0.
        number: N, how many of the inputs.
        token: text of the swap token that the arm reads, if it reads one.
        early: first query after the early bin; control-later acts at half of it.
        dtype: ``float32`` or ``bfloat16``.
        batch: inputs per forward pass; halved, with a warning, while a GPU's memory is too small.
        seed: of random weights and random replacements.
    """

    variant: Mapping[str, Any]
    condition: str
    number: int
    token: str | None
    early: int
    dtype: str
    batch: int
    seed: int

    @property
    def window(self) -> int | None:
        """Keys of the variant's window, or None."""
        return self.variant.get("window")


def tokens_for(checkpoint: Path, arm: str, token: str | None) -> tuple[int | None, int | None]:
    """Token ids of BOS and of the swap token that the arm reads; None for a missing one.

    Raises:
        InterventionError: there is no such condition, or it needs a missing BOS token.
        TokenizerError: the tokenizer cannot be read, does not fit the model, or the swap token is
            not one token of it.
    """
    condition = known(arm)
    tokenizer = tokenizer_of(checkpoint)
    if tokenizer.bos_token_id is None and condition.needs_bos:
        raise InterventionError(
            f"condition {arm!r}: this tokenizer has no BOS token; write `without: [bos]` "
            "beside the model's source to leave out such conditions"
        )
    swap = None if token is None else single_token(tokenizer, token)
    require_fit(checkpoint, max(tokenizer.bos_token_id or 0, swap or 0))
    return tokenizer.bos_token_id, swap


def shift_for(checkpoint: Path, settings: Extraction, length: int) -> int:
    """Shift of all position ids by control-shift: SHIFT, or less if RoPE would change.

    Raises:
        InterventionError: every shift would change the frequencies of RoPE.
    """
    config = variant_config(checkpoint, settings.variant, length)
    shift = largest_shift(config, length, SHIFT)
    if shift == 0 and settings.condition == "control-shift":
        raise InterventionError(
            f"condition 'control-shift': at inputs.length {length} every shift changes the "
            "frequencies of this model's RoPE, which depend on the largest position; lower "
            "inputs.length, or write `without: [control-shift]` beside the model's source"
        )
    return shift


def tokens_of(windows: xr.Dataset, condition: str, number: int) -> Tensor:
    """Token ids (input, position) of an arm's inputs: the windows, or those half a window earlier.

    Of a pair (abspos.study.conditions), the T // 2 tokens before a window and then its first half:
    what stands at position i under bos stands here at i + T // 2.

    Args:
        windows: see abspos.inputs.windows.draw_windows.
        condition: the arm's.
        number: N, how many of the inputs.
    """
    tokens = windows["tokens"].values[:number]
    if condition in PAIRS:
        before = windows["before"].values[:number]
        tokens = np.concatenate([before, tokens], axis=1)[:, : tokens.shape[1]]
    return torch.as_tensor(tokens).long()


def require_matched(checkpoint: Path, settings: Extraction, length: int) -> None:
    """Refuse a pair whose two arms RoPE would not rotate alike.

    Raises:
        InterventionError: frequencies depend on the largest position id, which is smaller here.
    """
    if settings.condition not in PAIRS:
        return
    limits = rope_limits(variant_config(checkpoint, settings.variant, length))
    for kind, limit in limits:
        if length > limit and (kind == "dynamic" or length // 2 <= limit):
            raise InterventionError(
                f"condition {settings.condition!r}: at inputs.length {length} the frequencies of "
                f"this model's RoPE ({kind}, {limit} positions) depend on the largest position, "
                "which differs between the two arms of the pair; lower inputs.length, or write "
                f"`without: [{settings.condition}]` beside the model's source"
            )


def setting_for(
    model: CausalLM,
    bos: int | None,
    token: int | None,
    early: int,
    seed: int,
    shift: int = SHIFT,
) -> Setting:
    """Data that the conditions of this model use."""
    return Setting(
        table=embedding_table(model),
        bos=bos,
        token=token,
        later=early // 2,
        shift=shift,
        seed=seed,
    )


def embedding_table(model: CausalLM) -> Tensor:
    """Input embeddings of the whole vocabulary (token, feature) as the first layer gets them.

    Through the module where it is not a plain table, since some families scale what they look up.
    """
    module = model.get_input_embeddings()
    if type(module) is torch.nn.Embedding:
        return module.weight
    return module(torch.arange(module.weight.shape[0], device=module.weight.device))


def embed(model: CausalLM, tokens: Tensor, part: slice, condition: str, setting: Setting) -> Batch:
    """Input embeddings of some inputs with the condition applied."""
    table = model.get_input_embeddings()
    ids = tokens[part].to(table.weight.device)
    numbers = range(tokens.shape[0])[part]
    return apply(condition, Batch(table(ids), numbers), setting)
