"""Extraction: one forward pass over the inputs of one run, into one store.

The store is written under a temporary name and certified before it takes its own.
Source: docs/method.md, sections 4 and 6.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch import Tensor

from abspos.activations.capture import (
    NAME,
    Attention,
    forward,
    listening,
    passing,
    residual_stream,
    writes,
)
from abspos.activations.certificates import certify
from abspos.activations.exchange import Exchange, exchanging
from abspos.activations.interventions import Batch, InterventionError, Setting, apply, known
from abspos.activations.layers import Layer, layers_of, tell_inert
from abspos.activations.retry import halving
from abspos.activations.store import Shape, Sums, Writer
from abspos.arrays import NonFiniteError, create_array, from_bits, open_dataset, write_chunk
from abspos.calibration import planted_store as synthetic_store
from abspos.models import loading as variants
from abspos.models import planted as synthetic
from abspos.models.sources import CausalLM
from abspos.models.tokenizer import require_fit, single_token, tokenizer_of
from abspos.progress import progress
from abspos.sinks import heads_of
from abspos.stores import check, whole_folder
from abspos.study.conditions import EXCHANGES, condition_of

#: Inputs and positions that certificates are made on.
SAMPLE, SAMPLE_LENGTH = 2, 256

#: RoPE types whose frequencies depend on the length of the input.
LENGTH_DEPENDENT = ("dynamic", "longrope")
#: Positions from one loss to the next.
LOSS_STRIDE = 4


def scored_positions(length: int) -> Tensor:
    """Positions whose next token is scored: every LOSS_STRIDE-th of the second half.

    The second half, where a change of position 0 can only show through attention; a stride,
    because vocabulary logits cost as much as several layers.
    """
    return torch.arange(length // 2, length - 1, LOSS_STRIDE)


def token_loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Mean next-token cross-entropy per input (input), in nats per token.

    Args:
        logits: of the scored positions (input, scored position, token).
        tokens: of the text (input, position); under control-shuffle still in the text's order.
    """
    target = tokens[:, scored_positions(tokens.shape[1]) + 1].to(logits.device)
    # Some tokens at a time: log-probabilities of all are as large as the logits.
    parts = zip(logits.flatten(0, 1).split(64), target.flatten().split(64), strict=True)
    found = [
        torch.nn.functional.cross_entropy(some.float(), those, reduction="none")
        for some, those in parts
    ]
    return torch.cat(found).reshape(target.shape).mean(1)


def require_finite(losses: np.ndarray, label: str) -> None:
    """Refuse a NaN or infinity that only shows after the last layer's queries and keys."""
    for number in np.flatnonzero(~np.isfinite(losses)):
        raise NonFiniteError(
            f"{label}: NaN or infinity in the output of the last layer, input {number}; "
            "try dtype: float32, or check the checkpoint"
        )


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


def tokens_for(checkpoint: Path, arm: str, token: str | None) -> tuple[int | None, int | None]:
    """Token ids of BOS and of the swap token that the arm reads; None for what there is not.

    Raises:
        InterventionError: there is no such condition, or it needs a BOS that the tokenizer has not.
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


def setting_for(
    model: CausalLM, bos: int | None, token: int | None, early: int, seed: int
) -> Setting:
    """What the conditions of this model draw on."""
    return Setting(
        table=embedding_table(model),
        bos=bos,
        token=token,
        later=early // 2,
        shift=64,
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


@halving
@torch.no_grad()
def extract(
    checkpoint: Path,
    inputs: Path,
    inputs_manifest: Path,
    store: Path,
    manifest: Path,
    *,
    variant: Mapping[str, Any],
    condition: str,
    number: int,
    token: str | None,
    early: int,
    dtype: str,
    device: str,
    batch: int,
    seed: int,
    threads: int,
    label: str,
    checkpoint_manifest: Path | None = None,
    reference: Path | None = None,
    reference_manifest: Path | None = None,
    left: float = 1.0,
) -> None:
    """Run one model, variant and condition over its inputs and write the activation store.

    The store holds, with T positions, N inputs and L layers: ``q`` (layer, input, head, position,
    feature) and ``k`` (layer, input, kv_head, position, feature) after RoPE; ``v0`` the values at
    position 0; ``state0`` (depth, input, hidden) the residual stream at position 0, and what its
    split elsewhere reads (abspos.activations.states): ``grand_mean`` (depth, hidden),
    ``by_position`` and ``square`` (depth, position), ``by_input`` (depth, input); ``median`` and
    ``largest`` (depth, input), magnitudes; ``loss`` (input) in nats per token. Its attributes hold
    each layer's scale, softcap, window and kind, RoPE, dtype and certificates.

    Args:
        checkpoint: a checkpoint folder.
        inputs: the store of windows, and its manifest.
        store: where to write, and its manifest.
        variant: one entry of the config's ``variants``.
        condition: what stands at position 0.
        number: N, how many of the inputs.
        token: text of the swap token that the arm reads, if it reads one.
        early: first query after the early bin; control-later acts at half of it.
        dtype: ``float32`` or ``bfloat16``.
        device: ``cpu`` or ``cuda``.
        batch: inputs per forward pass; halved, with a warning, while a GPU's memory is too small.
        seed: of random weights and random replacements.
        threads: that torch may use.
        label: names the run in progress lines and errors.
        checkpoint_manifest: what the checkpoint is checked against, byte by byte, where given.
        reference: the component store of bos and its manifest, for the heads of an exchange.
        left: of a synthetic model, share of sink and drift in this arm
            (abspos.calibration.planted_store).

    Raises:
        StoreError: checkpoint or windows are missing or altered.
        InterventionError: the tokenizer cannot give what the condition needs.
        ModelError: the model cannot be loaded or fails its certificates.
        NonFiniteError: a NaN or infinity, named by layer, head and input.
    """
    torch.set_num_threads(threads)
    if checkpoint_manifest is not None:
        check(checkpoint, checkpoint_manifest)
    windows = open_dataset(inputs, inputs_manifest)
    tokens = torch.as_tensor(windows["tokens"].values[:number]).long()
    bos, swap = tokens_for(checkpoint, condition, token)
    if synthetic.is_world(checkpoint):
        world = synthetic.read(checkpoint)
        table = synthetic_store.embeddings(world, tokens.shape[1])
        synthetic_store.write_store(
            world,
            tokens,
            Setting(table, bos, swap, 0, 0, seed),
            store,
            manifest,
            variant=variant,
            condition=condition,
            left=left,
            dtype=dtype,
            batch=batch,
            writes=condition_of(condition).varies,
            label=label,
        )
        return
    model = variants.load(checkpoint, variant, tokens.shape[1], dtype, device, seed)
    model.set_attn_implementation(NAME)
    setting = setting_for(model, bos, swap, early, seed)
    exchange = None
    if condition in EXCHANGES:
        if reference is None or reference_manifest is None:
            raise InterventionError(f"condition {condition!r}: needs bos on the same inputs")
        documents = windows["document"].values[:number]
        which = EXCHANGES[condition]
        heads = heads_of(which, reference, reference_manifest, documents, seed)
        exchange = exchange_of(model, setting, heads)
    layers = layers_of(model, model.get_input_embeddings()(tokens[:1, 1].to(device))[0])
    shape = sizes(model, layers, tokens, batch, by_head=exchange is not None)
    with (
        whole_folder(store, manifest) as folder,
        Writer(folder, shape, dtype, label, overlap=device != "cpu") as writer,
        exchanging(exchange),
    ):
        group = writer.group
        sums = Sums(shape)
        losses = np.zeros(shape.inputs, dtype=np.float32)
        starts = []
        scored = scored_positions(shape.length).to(device)
        blocks = range(0, shape.inputs, batch)
        for first in progress(blocks, len(blocks), label, f"batches of {batch} inputs"):
            part = slice(first, min(first + batch, shape.inputs))
            given = embed(model, tokens, part, condition, setting)
            writer.inputs = sums.inputs = part
            with listening(writer), passing(model, sums):
                output = model(
                    inputs_embeds=given.embeddings,
                    position_ids=given.position_ids,
                    use_cache=False,
                    logits_to_keep=scored,
                )
            losses[part] = token_loss(output.logits, tokens[part]).cpu().numpy()
            starts.append(given.embeddings[:, 0])
            writer.drain()
            require_finite(losses, label)
        sums.save(group)
        for name, data in (("v0", writer.v0), ("loss", losses)):
            axes = ("layer", "input", "kv_head", "feature") if name == "v0" else ("input",)
            create_array(group, name, axes, data.shape, data.shape, "float32")[:] = data
        if condition_of(condition).varies:
            one = (shape.inputs, shape.heads, shape.hidden)
            axes = ("layer", "input", "head", "hidden")
            array = create_array(group, "write0", axes, (shape.layers, *one), (1, *one), "float32")
            for layer, write in enumerate(writes(model, writer.v0)):
                write_chunk(array, (layer, 0, 0, 0), write[None])
        closed = trajectory_error(model, torch.cat(starts), given.position_ids, sums.state0)
        group.attrs.update(
            certificates=certificate(
                model, tokens, condition, setting, writer, layers, variant, dtype
            ),
            closed_trajectory=closed,
            exchanged=None if exchange is None else exchange.heads.tolist(),
            inert_window=tell_inert(layers, shape.length, label),
            **facts(layers, shape, variant, condition, dtype, checkpoint),
        )


def exchange_of(model: CausalLM, setting: Setting, heads: np.ndarray) -> Exchange:
    """Keys and values at position 0 of the swap token, for these heads (layer, head)."""
    keys, values = {}, {}

    def keep(seen: Attention) -> None:
        keys[seen.layer], values[seen.layer] = seen.key[0, :, 0], seen.value[0, :, 0]

    with listening(keep):
        forward(model, setting.table[setting.token][None, None], None)
    first, second = (torch.stack([by[i] for i in sorted(by)]) for by in (keys, values))
    return Exchange(first, second, torch.as_tensor(heads))


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
        length=tokens.shape[1],
        head_size=first.size,
        key_size=first.size,
        hidden=model.config.hidden_size,
        batch=min(batch, tokens.shape[0]),
    )


def embed(model: CausalLM, tokens: Tensor, part: slice, condition: str, setting: Setting) -> Batch:
    """Input embeddings of some inputs with the condition applied."""
    table = model.get_input_embeddings()
    ids = tokens[part].to(table.weight.device)
    numbers = range(tokens.shape[0])[part]
    return apply(condition, Batch(table(ids), numbers), setting)


def certificate(
    model: CausalLM,
    tokens: Tensor,
    condition: str,
    setting: Setting,
    writer: Writer,
    layers: Sequence[Layer],
    variant: Mapping[str, Any],
    dtype: str,
) -> dict[str, Any]:
    """Certify what was stored for the first inputs and positions (see certificates.certify).

    As many positions as it takes to see what depends on the length: RoPE, or a wide window.
    """
    rows, length = min(SAMPLE, tokens.shape[0]), tokens.shape[1]
    windows = [layer.window(length, variant.get("window")) for layer in layers]
    wide = any(w is not None and w >= SAMPLE_LENGTH for w in windows)
    if (variant.get("rope") or {}).get("rope_type") not in LENGTH_DEPENDENT and not wide:
        length = min(SAMPLE_LENGTH, length)
    part = slice(0, rows)
    given = embed(model, tokens, part, condition, setting)
    ids = None if given.position_ids is None else given.position_ids[:, :length]

    def read(array: zarr.Array, layer: int) -> np.ndarray:
        data = np.asarray(array[layer, part, :, :length])
        return from_bits(data) if data.dtype == np.uint16 else data

    stored = {layer: (read(writer.q, layer), read(writer.k, layer)) for layer in range(len(layers))}
    return certify(model, given.embeddings[:, :length], ids, stored, variant.get("window"), dtype)


def facts(
    layers: Sequence[Layer],
    shape: Shape,
    variant: Mapping[str, Any],
    condition: str,
    dtype: str,
    checkpoint: Path,
) -> dict[str, Any]:
    """Attributes of a store: how its logits are made, and of what model.

    ``scale``, ``softcap``, ``window`` and ``kind`` have one value a layer.
    """
    seen = (shape.length, variant.get("window"))
    values = {
        "condition": condition,
        "variant": dict(variant),
        "dtype": dtype,
        "batch": shape.batch,
        "scale": [layer.scale for layer in layers],
        "softcap": [layer.softcap for layer in layers],
        "window": [layer.window(*seen) for layer in layers],
        "kind": [layer.kind(*seen) for layer in layers],
        "checkpoint": variants.describe(checkpoint),
    }
    return json.loads(json.dumps(values))
