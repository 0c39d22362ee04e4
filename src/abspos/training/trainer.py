"""Training on from a checkpoint, up to one step, with AdamW on next-token cross-entropy.

Text order, random weights and dropout follow from seed and step, and the learning rate from the
step alone. So a training that is stopped and continued arrives at the same bytes as one that is
not, on the same machine with as many threads, and a longer one passes through the shorter.
Source: docs/models.md.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from abspos.csv_tables import write_csv
from abspos.inputs.records import InputError
from abspos.models.loading import require_device
from abspos.models.local import TOKENIZER
from abspos.models.native import native_config
from abspos.models.pretrained import pretrained
from abspos.models.sources import CausalLM, ModelError, initialise, require_measurable
from abspos.models.tokenizer import has_code, tokenizer_of
from abspos.progress import progress
from abspos.stores import Stored, check, read_manifest, whole_folder
from abspos.training import state
from abspos.training.curves import LOSSES
from abspos.training.texts import Texts, read_texts

log = logging.getLogger("abspos")

#: Of AdamW; gradients are clipped to a norm.
BETAS, EPSILON, WEIGHT_DECAY, LARGEST_NORM = (0.9, 0.95), 1e-8, 0.0, 1.0
#: Target of positions that count in no loss.
UNSCORED = -100
#: Steps from one held-out loss to the next.
LOSS_STRIDE = 10
#: Seconds from one state on disk to the next.
SAVED_SECONDS = 300.0


@dataclass(frozen=True)
class Training:
    """Settings of a training up to one step.

    Attributes:
        step: updates until the checkpoint.
        variant: ``rope``, ``window`` and ``untrained`` of the variant that it is trained under.
        batch: texts per step.
        learning_rate: after the warm-up.
        warmup: steps over which it grows linearly.
        prepend_bos: whether position 0 of each text holds BOS.
        seed: of the order of texts, of random weights and dropout.
        held_out: inputs whose documents are not trained on.
        inputs: ``length``, ``start``, ``seed`` and ``keys`` of the study's inputs.
    """

    step: int
    variant: Mapping[str, Any]
    batch: int
    learning_rate: float
    warmup: int
    prepend_bos: bool
    seed: int
    held_out: int
    inputs: Mapping[str, Any]

    def rate(self, step: int) -> float:
        """Learning rate of the update after so many others."""
        return self.learning_rate * min(1.0, (step + 1) / max(1, self.warmup))


def train(
    start: Stored,
    target: Stored,
    corpus: str | Path,
    settings: Training,
    *,
    device: str,
    threads: int,
    label: str,
    code: Sequence[str] = (),
    every: float = SAVED_SECONDS,
) -> None:
    """Write the checkpoint of one step, from the last state of this training or from its start.

    The checkpoint has the variant's architecture in its config.json, and ``losses.csv`` beside the
    weights: step, training tokens, the loss of the step's texts before its update, and the
    held-out loss every LOSS_STRIDE steps and at the end, in nats per token.

    Args:
        start: the checkpoint that training starts from.
        target: the checkpoint folder to make, and its manifest.
        corpus: the texts, a file or a folder.
        settings: of the training.
        device: ``cpu`` or ``cuda``.
        threads: cores.
        label: names the job in progress lines.
        code: digests of the code: a state of other code is not continued.
        every: seconds from one state on disk to the next.

    Raises:
        ModelError: the model cannot be trained under the variant, or its loss is not finite.
        InputError: the texts are too few, or a BOS is missing.
        StoreError: the starting checkpoint is missing or altered.
    """
    start, target = Stored(*map(Path, start)), Stored(*map(Path, target))
    torch.set_num_threads(threads)
    require_device(device)
    check(*start)
    if has_code(start.store):
        raise ModelError(f"{start.store}: it has code of its own, which is not trained here")
    config = native_config(start.store, settings.variant, settings.inputs["length"])
    tokenizer = tokenizer_of(start.store)
    if settings.prepend_bos and tokenizer.bos_token_id is None:
        raise InputError(
            "source.prepend_bos: value True — false, since this tokenizer has no BOS token"
        )
    texts = read_texts(corpus, tokenizer, settings.inputs, settings.held_out)
    if settings.prepend_bos:
        texts = texts.begun_with(tokenizer.bos_token_id)
    root = read_manifest(start.manifest)["root"]
    key = key_of(settings, root, texts.digest, device, torch.__version__, *code)
    with exactly(device):
        run = Run(initial(start.store, config, settings).to(device), settings, texts)
        place = state.place(target.store)
        kept = state.find(place, key)
        further = kept is not None and kept.step > settings.step
        if kept is not None and not further and (tensors := state.read(place)) is not None:
            log.info("%s: continues from step %d", label, kept.step)
            run.resume(kept, tensors)
        saved = time.monotonic()
        steps = range(run.step, settings.step)
        for step in progress(steps, len(steps), label, f"steps from {run.step}"):
            run.update()
            due = time.monotonic() - saved >= every or step + 1 == settings.step
            if due and not further:
                state.write(place, run.head(key), run.tensors())
                saved = time.monotonic()
        losses = run.table()
    with whole_folder(*target) as folder:
        run.model.to("cpu").save_pretrained(folder)
        for file in sorted(start.store.iterdir()):
            if TOKENIZER.fullmatch(file.name):
                shutil.copyfile(file, folder / file.name)
        require_measurable(folder)
        write_csv(losses, folder / LOSSES)


def key_of(settings: Training, *others: str) -> str:
    """Digest of all that determines a training, but not of its last step."""
    stated = asdict(settings)
    del stated["step"]
    return hashlib.sha256(json.dumps([stated, *others], sort_keys=True).encode()).hexdigest()


def initial(folder: Path, config: Any, settings: Training) -> CausalLM:
    """The model at step 0, with the variant as its own architecture."""
    if settings.variant.get("untrained"):
        return initialise(config, settings.seed, torch.float32)
    return pretrained(
        folder, config=config, dtype=torch.float32, use_safetensors=True, local_files_only=True
    )


@contextmanager
def exactly(device: str) -> Iterator[None]:
    """On a GPU, only algorithms that give the same bytes each time, while the context is open."""
    if device != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with sdpa_kernel([SDPBackend.MATH]):
            yield
    finally:
        torch.use_deterministic_algorithms(before)


def require_finite(step: int, name: str, value: Tensor) -> None:
    """Stop a training that diverges before its weights are lost."""
    if not bool(value.isfinite()):
        raise ModelError(
            f"step {step}: the {name} is {float(value.detach())}; lower the source's "
            "learning_rate, or raise its warmup"
        )


class Run:
    """A model in training: its weights, its optimizer, and the losses so far."""

    def __init__(self, model: CausalLM, settings: Training, texts: Texts) -> None:
        self.model, self.settings, self.texts = model, settings, texts
        self.step, self.losses = 0, list[Mapping[str, Any]]()
        self.parameters = dict(model.named_parameters())
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            betas=BETAS,
            eps=EPSILON,
            weight_decay=WEIGHT_DECAY,
            fused=True,  # one pass over weights and moments instead of a dozen
        )

    def update(self) -> None:
        """One step."""
        settings, step = self.settings, self.step
        row = self.row(step % LOSS_STRIDE == 0)
        torch.manual_seed(settings.seed + step)  # of dropout, in models that have it
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate(step)
        self.model.train()
        loss = self.loss(self.texts.batch(step, settings.batch, settings.seed))
        require_finite(step, "loss", loss)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), LARGEST_NORM)
        require_finite(step, "norm of the gradient", norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.append(row | {"loss": float(loss.detach())})
        self.step = step + 1

    def loss(self, tokens: np.ndarray) -> Tensor:
        """Mean next-token cross-entropy of texts (text, position), in nats per token."""
        ids = torch.as_tensor(tokens, device=self.model.device).long()
        logits = self.model(input_ids=ids, use_cache=False).logits
        # the last position has no next token: left out by its target, which copies no logits
        targets = torch.nn.functional.pad(ids[:, 1:], (0, 1), value=UNSCORED)
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), targets.flatten(), ignore_index=UNSCORED
        )

    def row(self, checked: bool) -> dict[str, Any]:
        """Step, training tokens so far and, where it is wanted, held-out loss."""
        tokens = self.step * self.settings.batch * self.texts.train.shape[1]
        held_out = self.checked() if checked else None
        return {"step": self.step, "tokens": tokens, "loss": None, "held_out_loss": held_out}

    def checked(self) -> float:
        """The held-out loss."""
        self.model.eval()
        size, check = self.settings.batch, self.texts.check
        total = 0.0
        with torch.no_grad():
            for first in range(0, len(check), size):
                part = check[first : first + size]
                total += float(self.loss(part)) * len(part)
        return total / len(check)

    def table(self) -> pd.DataFrame:
        """All losses, with the held-out loss after the last update."""
        return pd.DataFrame([*self.losses, self.row(True)]).astype(
            {"loss": float, "held_out_loss": float}
        )

    def head(self, key: str) -> state.Head:
        """What the state on disk says of itself."""
        return state.Head(key, self.step, tuple(self.losses))

    def tensors(self) -> dict[str, Tensor]:
        """Weights and moments by name."""
        found = {}
        for name, parameter in self.parameters.items():
            moments = self.optimizer.state[parameter]
            found[f"weight/{name}"] = parameter.detach().contiguous()
            found[f"first/{name}"] = moments["exp_avg"]
            found[f"second/{name}"] = moments["exp_avg_sq"]
        return found

    def resume(self, head: state.Head, tensors: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self.step, self.losses = head.step, [*head.losses]
        for name, parameter in self.parameters.items():
            with torch.no_grad():
                parameter.copy_(tensors[f"weight/{name}"])
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(head.step), device=parameter.device),
                "exp_avg": tensors[f"first/{name}"].to(parameter.device),
                "exp_avg_sq": tensors[f"second/{name}"].to(parameter.device),
            }
