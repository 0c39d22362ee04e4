"""Extraction: one forward pass over the inputs of one run, into one store.

The store is written under a temporary name and certified before it takes its own.
Source: docs/method.md, sections 4 and 6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from abspos.activations.arms import (
    Extraction,
    embed,
    require_matched,
    setting_for,
    shift_for,
    tokens_for,
    tokens_of,
    under_policy,
)
from abspos.activations.capture import (
    NAME,
    forward,
    listening,
    passing,
    residual_stream,
    writes,
)
from abspos.activations.certificates import SAMPLE, certify, rerun
from abspos.activations.interventions import Batch, InterventionError, Setting
from abspos.activations.layers import Layer, layers_of, tell_inert
from abspos.activations.losses import require_finite, token_loss
from abspos.activations.position0 import substitution
from abspos.activations.retry import halving
from abspos.activations.shapes import Shape
from abspos.activations.store import Facts, Sample, Sums, Writer
from abspos.activations.substitution import Substitution, substituting
from abspos.arrays import open_dataset
from abspos.models import loading
from abspos.models.adapters import body
from abspos.models.sources import CausalLM
from abspos.progress import progress
from abspos.sinks import choose, heads_of
from abspos.stores import Stored, check, whole_folder
from abspos.study.conditions import PAIRS, Substitute, condition_of


def trajectory_error(
    model: CausalLM, starts: Tensor, position_ids: Tensor | None, state0: np.ndarray
) -> list[float]:
    """Closed trajectory: position 0 against forward passes on that single token, by depth.

    Args:
        model: the model of the run.
        starts: what stood at position 0 (input, feature).
        position_ids: (1, position) or None.
        state0: the residual stream at position 0 (depth, input, hidden).

    Returns:
        Largest absolute difference over the largest absolute value, one number per depth.
    """
    ids = None if position_ids is None else position_ids[:, :1]
    different, which = starts.unique(dim=0, return_inverse=True)
    with residual_stream(model) as seen:
        forward(model, different[:, None], ids)
    errors = []
    for alone, within in zip(seen.states, state0, strict=True):
        difference = np.abs(alone[which, 0].float().cpu().numpy() - within).max()
        errors.append(float(difference / max(float(np.abs(within).max()), 1e-30)))
    return errors


@torch.no_grad()
def extract(
    checkpoint: Stored,
    inputs: Stored,
    target: Stored,
    settings: Extraction,
    *,
    device: str,
    threads: int,
    label: str,
    reference: Stored | None = None,
) -> None:
    """Run one model, variant and condition over its inputs and write the activation store.

    Its layout: abspos.activations.store.

    Args:
        checkpoint: a checkpoint folder; every byte is checked against its manifest.
        inputs: the store of windows.
        target: where to write.
        settings: of this arm.
        device: ``cpu`` or ``cuda``.
        threads: that torch may use.
        label: names the run in progress lines and errors.
        reference: the component store of bos, for heads that are chosen.

    Raises:
        StoreError: checkpoint or windows are missing or altered.
        InterventionError: the tokenizer cannot give what the condition needs.
        ModelError: the model cannot be loaded or fails its certificates.
        NonFiniteError: a NaN or infinity, named by layer, head and input.
    """
    torch.set_num_threads(threads)
    check(*checkpoint)
    folder = Path(checkpoint.store)
    windows = open_dataset(*inputs)
    numbers = settings.numbers(windows["document"].values)
    tokens = tokens_of(windows, settings.condition, numbers)
    bos, swap = tokens_for(folder, windows, settings.condition, settings.token)
    tokens = under_policy(windows, settings, tokens)
    shift = shift_for(folder, settings, tokens.shape[1])
    require_matched(folder, settings, tokens.shape[1])
    model = loading.load(
        folder, settings.variant, tokens.shape[1], settings.dtype, device, settings.seed
    )
    model.set_attn_implementation(NAME)
    setting = setting_for(model, bos, swap, settings.early, settings.seed, shift)
    token = model.get_input_embeddings()(tokens[:1, 1].to(device))[0]
    layers = layers_of(model, token, tokens.shape[1], settings.window)
    instead = None
    if given := condition_of(settings.condition).substitute:
        heads = readers_of(given, layers, numbers, reference)
        instead = substitution(model, setting, given, heads, tokens, settings.batch)
    facts = loading.describe(folder)
    arm = Arm(model, layers, tokens, numbers, settings, setting, instead, facts)
    write_store(arm, target, batch=settings.batch, label=label)


def readers_of(
    given: Substitute, layers: Sequence[Layer], numbers: np.ndarray, reference: Stored | None
) -> np.ndarray:
    """Heads (layer, head) bool that read a substitute.

    Args:
        given: the substitute.
        layers: of the model.
        numbers: of the arm's inputs, on which no head is chosen.
        reference: the component store of bos.

    Raises:
        InterventionError: they are chosen, and there is no such store.
    """
    if not given.chosen:
        return choose(np.zeros((len(layers), layers[0].heads)), given.heads)
    if reference is None:
        raise InterventionError(f"heads {given.heads!r}: chosen under bos; run it on these inputs")
    return heads_of(given.heads, *reference, numbers)


@dataclass(frozen=True)
class Arm:
    """Model and settings of one extraction.

    Attributes:
        model: with the variant applied and ``abspos`` attention set.
        layers: of the model.
        tokens: of the windows (input, position).
        numbers: which inputs of the study these are (input).
        settings: of this arm.
        setting: what its condition draws on.
        substitution: what some heads read at position 0 instead, or None.
        checkpoint: facts from the checkpoint's config.
    """

    model: CausalLM
    layers: Sequence[Layer]
    tokens: Tensor
    numbers: np.ndarray
    settings: Extraction
    setting: Setting
    substitution: Substitution | None
    checkpoint: Mapping[str, Any]

    def embed(self, part: slice) -> Batch:
        """Input embeddings of some inputs with the condition applied."""
        numbers = self.numbers[part].tolist()
        return embed(self.model, self.tokens[part], numbers, self.settings.condition, self.setting)

    def reading(self, part: slice) -> AbstractContextManager[None]:
        """Heads read of some inputs what they read in this arm, while the context is open."""
        return substituting(self.substitution and self.substitution.of(part))

    @property
    def by_head(self) -> bool:
        """Whether query heads that share a key and value head read different ones."""
        own = self.substitution
        return own is not None and own.by_head(self.layers[0].kv_heads)


@halving
def write_store(arm: Arm, target: Stored, *, batch: int, label: str) -> None:
    """Run an arm batch by batch into its store, and certify it (see extract)."""
    model, tokens, settings = arm.model, arm.tokens, arm.settings
    shape = sizes(model, arm.layers, tokens, batch, by_head=arm.by_head)
    device = model.device
    overlap = device.type != "cpu"
    with (
        whole_folder(*target) as folder,
        Writer(folder, shape, settings.dtype, label, overlap) as writer,
    ):
        sums = Sums(shape)
        scored = condition_of(settings.condition).scored
        losses = np.full(shape.inputs, np.nan, dtype=np.float32)
        starts = []
        blocks = range(0, shape.inputs, batch)
        for first in progress(blocks, len(blocks), label, f"batches of {batch} inputs"):
            part = slice(first, min(first + batch, shape.inputs))
            given = arm.embed(part)
            writer.inputs = sums.inputs = part
            with arm.reading(part), listening(writer), passing(model, sums):
                output = body(model)(
                    inputs_embeds=given.embeddings,
                    position_ids=given.position_ids,
                    use_cache=False,
                )
            ends = output.last_hidden_state.float().sum((1, 2)).cpu().numpy()
            if scored:
                ends = token_loss(model, output, given.embeddings, tokens[part])
                losses[part] = ends
            starts.append(given.embeddings[:, 0])
            writer.drain()
            require_finite(ends, first, label)
        crossed = condition_of(settings.condition).crossed
        writer.finish(sums, losses, writes(model, writer.v0[:, 0]) if crossed else None)
        closed = trajectory_error(model, torch.cat(starts), given.position_ids, sums.state0)
        facts = Facts(
            certificates=certificate(arm, writer),
            closed_trajectory=closed,
            substituted=None if arm.substitution is None else arm.substitution.heads.tolist(),
            numbers=arm.numbers.tolist(),
            inert_window=tell_inert(arm.layers, shape.length, label),
            condition=settings.condition,
            variant=dict(settings.variant),
            dtype=settings.dtype,
            batch=shape.batch,
            scale=[layer.scale for layer in arm.layers],
            softcap=[layer.softcap for layer in arm.layers],
            window=[layer.window(shape.length, settings.window) for layer in arm.layers],
            kind=[layer.kind(settings.window) for layer in arm.layers],
            checkpoint=arm.checkpoint,
        )
        writer.state(facts)


def sizes(
    model: CausalLM, layers: Sequence[Layer], tokens: Tensor, batch: int, by_head: bool = False
) -> Shape:
    """The sizes of an extraction, from the model's layers and its inputs.

    Args:
        model: its config has the width.
        layers: of the model.
        tokens: (input, position).
        batch: inputs per forward pass.
        by_head: keys are kept as each query head reads them.
    """
    first = layers[0]
    return Shape(
        layers=len(layers),
        inputs=tokens.shape[0],
        heads=first.heads,
        kv_heads=first.heads if by_head else first.kv_heads,
        value_heads=first.kv_heads,
        length=tokens.shape[1],
        head_size=first.size,
        key_size=first.size,
        hidden=model.config.hidden_size,
        batch=min(batch, tokens.shape[0]),
    )


def certificate(arm: Arm, writer: Writer) -> dict[str, Any]:
    """Certify what was stored for the first inputs (see certificates.certify)."""
    part = slice(0, rerun(writer.batch, arm.settings.dtype))
    given = arm.embed(part)
    with arm.reading(part):
        return certify(
            arm.model,
            given.embeddings,
            given.position_ids,
            Sample(writer, min(SAMPLE, part.stop)),
            arm.settings.window,
            arm.settings.dtype,
            ordinary=arm.settings.condition in PAIRS,
        )
