"""What stands in for position 0 in chosen heads: one function per source of a substitute.

Source: docs/method.md, sections 4 and 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from abspos.activations.capture import Attention, forward, listening
from abspos.activations.certificates import TOLERANCE, relative
from abspos.activations.interventions import Setting, bos_vector
from abspos.activations.substitution import Substitution
from abspos.models.adapters import decoder_layers
from abspos.models.sources import CausalLM, ModelError
from abspos.study.conditions import Substitute

#: Keys and values (layer, input or 1, kv_head, feature), or numbers that stand for all of them.
Pair = tuple[Tensor, Tensor]


def last_of(model: CausalLM, embeddings: Tensor, position_ids: Tensor | None) -> Pair:
    """Keys and values (layer, input, kv_head, feature) of the last position of a forward pass."""
    found: dict[int, Pair] = {}

    def keep(seen: Attention) -> None:
        found[seen.layer] = seen.key[:, :, -1].clone(), seen.value[:, :, -1].clone()

    with listening(keep):
        forward(model, embeddings, position_ids)
    keys, values = zip(*(found[layer] for layer in sorted(found)), strict=True)
    return torch.stack(keys), torch.stack(values)


def of_token(model: CausalLM, setting: Setting, texts: Tensor, batch: int) -> Pair:
    """Those of the swap token's trajectory at position 0: no input has a part in it."""
    return last_of(model, setting.table[setting.token][None, None], None)


def zero(model: CausalLM, setting: Setting, texts: Tensor, batch: int) -> Pair:
    """Zeros."""
    nothing = bos_vector(setting).new_zeros(len(decoder_layers(model)), 1, 1, 1)
    return nothing, nothing


def mid_text(model: CausalLM, setting: Setting, texts: Tensor, batch: int) -> Pair:
    """Those of BOS in mid-text, as keys at position 0.

    It stands behind BOS and the words of the window's later half, which no early query has read.
    Position ids end at 0 there, so that its key is rotated as one at position 0 is.

    Raises:
        ModelError: in the first layer, where no context has entered, it differs from BOS at
            position 0.
    """
    bos = bos_vector(setting)
    found = [
        last_of(model, *within(model, bos, texts[first : first + batch]))
        for first in range(0, len(texts), batch)
    ]
    keys, values = (torch.cat(part, 1) for part in zip(*found, strict=True))
    alone = last_of(model, bos[None, None], None)
    allowed = TOLERANCE[str(bos.dtype).removeprefix("torch.")]["output"]
    for name, own, here in zip(("key", "value"), (keys, values), alone, strict=True):
        error = relative(own[0], here[0].expand_as(own[0]))
        if not error <= allowed:
            raise ModelError(
                f"BOS in mid-text: layer 0, its {name} differs from that at position 0 by "
                f"{error:.2g}, allowed {allowed:g}: its place enters by another way than "
                "attention and rotation; leave out unsink-*"
            )
    return keys, values


def within(model: CausalLM, bos: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings of BOS, the later half of each text, and BOS; and their position ids, up to 0."""
    words = model.get_input_embeddings()(texts[:, texts.shape[1] // 2 :].to(bos.device))
    ends = bos.expand(len(words), 1, -1)
    embeddings = torch.cat([ends, words, ends], 1)
    return embeddings, torch.arange(1 - embeddings.shape[1], 1, device=bos.device)[None]


Source = Callable[[CausalLM, Setting, Tensor, int], Pair]
SOURCES: Mapping[str, Source] = {"token": of_token, "zero": zero, "mid-text": mid_text}


def substitution(
    model: CausalLM,
    setting: Setting,
    substitute: Substitute,
    heads: np.ndarray,
    texts: Tensor,
    batch: int,
) -> Substitution:
    """What a condition's heads read at position 0.

    Args:
        model: with the variant applied and ``abspos`` attention set.
        setting: what conditions draw on.
        substitute: of the condition.
        heads: that read it (layer, head) bool.
        texts: tokens of the arm's inputs (input, position).
        batch: inputs per forward pass.
    """
    keys, values = SOURCES[substitute.source](model, setting, texts, batch)
    return Substitution(
        torch.as_tensor(heads),
        keys if "key" in substitute.parts else None,
        values if "value" in substitute.parts else None,
    )
