"""One arm of a model: its settings, and what its condition puts in place.

Source: docs/method.md, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from abspos.activations.interventions import Batch, InterventionError, Setting, apply, known
from abspos.documents import holdout
from abspos.models.loading import largest_shift, rope_limits, variant_config
from abspos.models.sources import CausalLM
from abspos.models.tokenizer import require_fit, single_token, tokenizer_of
from abspos.stores import StoreError
from abspos.study.conditions import PAIRS, condition_of

#: What control-shift adds to position ids, where RoPE allows it.
SHIFT = 64


@dataclass(frozen=True)
class Extraction:
    """Settings of an extraction, as the study has them.

    Attributes:
        variant: one entry of the config's ``variants``.
        condition: what stands at position 0.
        number: N, how many of the inputs, counted from the first.
        held_out_of: where given, the inputs are those of a half of so many that no head is chosen
            on; None: of all.
        token: text of the swap token that the arm reads, if it reads one.
        early: first query after the early bin; control-later acts at half of it.
        dtype: ``float32`` or ``bfloat16``.
        batch: inputs per forward pass; halved, with a warning, while a GPU's memory is too small.
        seed: of random weights and random replacements.
        bos: the study's BOS policy, which the condition as-is alone reads.
    """

    variant: Mapping[str, Any]
    condition: str
    number: int
    token: str | None
    early: int
    dtype: str
    batch: int
    seed: int
    held_out_of: int | None = None
    bos: str = "auto"

    def numbers(self, documents: np.ndarray) -> np.ndarray:
        """Which inputs of the study the arm has (input), from the document of each.

        Source: docs/method.md, section 3 (selection).
        """
        if self.held_out_of is None:
            return np.arange(min(self.number, len(documents)))
        _, measured = holdout(self.held_out_of, self.seed, documents[: self.held_out_of])
        return np.flatnonzero(measured)[: self.number]

    @property
    def window(self) -> int | None:
        """Keys of the variant's window, or None."""
        return self.variant.get("window")


def tokens_for(
    checkpoint: Path, windows: xr.Dataset, arm: str, token: str | None
) -> tuple[int | None, int | None]:
    """Token ids of BOS and of the swap token that the arm reads; None for a missing one.

    Args:
        checkpoint: folder with the tokenizer, which only a swap token needs.
        windows: see abspos.inputs.windows.prepare.
        arm: its condition.
        token: text of the swap token, or None.

    Raises:
        InterventionError: there is no such condition, or it needs a missing BOS token.
        TokenizerError: the tokenizer cannot be read, does not fit the model, or the swap token is
            not one token of it.
    """
    condition, bos = known(arm), of_tokenizer(windows, "bos")
    if bos is None and condition.needs_bos:
        raise InterventionError(
            f"condition {arm!r}: this tokenizer has no BOS token; write `without: [bos]` "
            "beside the model's source to leave out such conditions"
        )
    if token is None:
        return bos, None
    swap = single_token(tokenizer_of(checkpoint), token)
    require_fit(checkpoint, swap)
    return bos, swap


def of_tokenizer(windows: xr.Dataset, name: str) -> Any:
    """What the store of windows has of the tokenizer: ``bos`` or ``prepends_bos``.

    Raises:
        StoreError: an earlier version, which did not keep it, made the store.
    """
    if name not in windows.attrs:
        where = windows.encoding.get("source", "store of inputs")
        raise StoreError(f"{where}: without {name!r}, of an earlier version; delete it and rerun")
    return windows.attrs[name]


def under_policy(windows: xr.Dataset, settings: Extraction, tokens: Tensor) -> Tensor:
    """Tokens (input, position) with BOS in front where a study's policy puts it there.

    The text then moves on by a position, and its last token goes: it is what a tokenizer gives that
    adds BOS to the text, cut to the same length.

    Args:
        windows: see abspos.inputs.windows.prepare.
        settings: of the arm; only where its condition reads the policy is anything changed.
        tokens: of the text alone (input, position).

    Raises:
        InterventionError: the policy is prepend, and there is no BOS token.
    """
    if not condition_of(settings.condition).reads_policy or settings.bos == "none":
        return tokens
    bos = of_tokenizer(windows, "bos")
    if settings.bos == "prepend" and bos is None:
        raise InterventionError(
            "inputs.bos 'prepend': this tokenizer has no BOS token; set auto or none"
        )
    if bos is None or (settings.bos == "auto" and not of_tokenizer(windows, "prepends_bos")):
        return tokens
    return torch.cat([torch.full_like(tokens[:, :1], bos), tokens[:, :-1]], 1)


def shift_for(checkpoint: Path, settings: Extraction, length: int) -> int:
    """Shift of all position ids by control-shift: SHIFT, or less if RoPE would change.

    Raises:
        InterventionError: every shift that the condition makes would change the frequencies of
            RoPE.
    """
    config = variant_config(checkpoint, settings.variant, length)
    shift = largest_shift(config, length, SHIFT)
    given = condition_of(settings.condition).substitute
    beyond = any(limit < length for _, limit in rope_limits(config))
    if given and given.source == "mid-text" and beyond:
        raise InterventionError(
            f"condition {settings.condition!r}: at inputs.length {length} this RoPE depends "
            "on the largest position, so that shorter texts have another; lower inputs.length, or "
            f"write `without: [{settings.condition}]` beside the model's source"
        )
    if shift == 0 and settings.condition == "control-shift":
        raise InterventionError(
            f"condition 'control-shift': at inputs.length {length} every shift changes the "
            "frequencies of this model's RoPE, which depend on the largest position; lower "
            "inputs.length, or write `without: [control-shift]` beside the model's source"
        )
    return shift


def tokens_of(windows: xr.Dataset, condition: str, numbers: np.ndarray) -> Tensor:
    """Token ids (input, position) of an arm's inputs: the windows, or those half a window earlier.

    Of a pair (abspos.study.conditions), the T // 2 tokens before a window and then its first half:
    what stands at position i under bos stands here at i + T // 2.

    Args:
        windows: see abspos.inputs.windows.draw_windows.
        condition: the arm's.
        numbers: which of the inputs.
    """
    tokens = windows["tokens"].values[numbers]
    if condition in PAIRS:
        before = windows["before"].values[numbers]
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
        table=Embeddings(model.get_input_embeddings()),
        bos=bos,
        token=token,
        later=early // 2,
        shift=shift,
        seed=seed,
    )


class Embeddings:
    """Input embeddings of a vocabulary (token, feature) as the first layer gets them.

    Looked up as they are read: some families scale what their table holds, and a scaled copy of a
    large vocabulary would weigh as much as the model.
    """

    def __init__(self, module: torch.nn.Embedding) -> None:
        self.module = module

    def __len__(self) -> int:
        return len(self.module.weight)

    def __getitem__(self, which: int | slice | Sequence[int]) -> Tensor:
        ids = torch.arange(len(self), device=self.module.weight.device)[which]
        return self.module(ids)


def embed(
    model: CausalLM, tokens: Tensor, numbers: Sequence[int], condition: str, setting: Setting
) -> Batch:
    """Input embeddings of some inputs with the condition applied.

    Args:
        model: of the run.
        tokens: (input, position).
        numbers: which inputs of the study these are (input).
        condition: the arm's.
        setting: what conditions draw on.
    """
    table = model.get_input_embeddings()
    return apply(condition, Batch(table(tokens.to(table.weight.device)), numbers), setting)
