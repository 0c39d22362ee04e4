"""One contestant in a process of its own: seconds of each repetition, interleaved, and peak memory.

    python benchmarks/contestants.py CHECKPOINT T N BATCH REPEATS NAME [NAME ...]

prints one line of JSON. The names are functions below; ``transformerlens`` and ``nnsight`` need the
environment of benchmarks/peers.sh, ``extraction`` and ``decomposition`` that of abspos. The name of
a peer with ``_decomposed`` takes what it gives through
``abspos.components.decomposition.decompose`` as well.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


class Task:
    """The same random tokens for every contestant; where stores go; what was kept."""

    def __init__(self, checkpoint: str, length: int, inputs: int, batch: int) -> None:
        self.checkpoint, self.length, self.inputs, self.batch = checkpoint, length, inputs, batch
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        generator = torch.Generator().manual_seed(0)
        self.tokens = torch.randint(10, 40000, (inputs, length), generator=generator)
        self.kept: dict[str, int] = {}
        #: Processor seconds of each part of a contestant whose parts are timed.
        self.parts: dict[str, dict[str, float]] = {}
        #: What a contestant left, to be removed before its next run, outside of the time measured.
        self.clears: dict[str, Path] = {}

    def batches(self) -> list[torch.Tensor]:
        """Tokens of each forward pass."""
        return list(self.tokens.split(self.batch))


def loaded(task: Task, attention: str) -> Any:
    """The model with an attention of transformers."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        task.checkpoint, dtype=torch.float32, attn_implementation=attention
    ).eval()


def scored(length: int) -> torch.Tensor:
    """Positions whose logits are made: those that an extraction scores."""
    return torch.arange(length // 2, length - 1, 4)


def bare(task: Task) -> Callable[[], None]:
    """The SDPA forward pass, with logits of the positions that an extraction scores."""
    model = loaded(task, "sdpa")

    def run() -> None:
        for tokens in task.batches():
            model(tokens, use_cache=False, logits_to_keep=scored(task.length))

    return run


Given = Callable[[], list[torch.Tensor]]


def eager_weights(task: Task) -> Given:
    """Attention weights (input, head, query, key) by batch and layer, of eager attention."""
    model = loaded(task, "eager")

    def give() -> list[torch.Tensor]:
        kept = []
        for tokens in task.batches():
            out = model(
                tokens, use_cache=False, output_attentions=True, logits_to_keep=scored(task.length)
            )
            kept += list(out.attentions)
        return kept

    return give


def holding(task: Task, name: str, give: Given) -> Callable[[], None]:
    """Have a peer make its tensors, all in memory."""

    def run() -> None:
        kept = give()
        if not kept:
            raise SystemExit(f"{name}: nothing was kept")
        task.kept[name] = sum(a.nbytes for a in kept)

    return run


def decomposing(task: Task, name: str, give: Given) -> Callable[[], None]:
    """Have a peer make its attention weights and decompose them, a layer of a batch at a time.

    Log weights are logits up to a number for each row, which changes nothing (docs/method.md,
    section 1); weights that vanished in float32 are taken as the smallest there is.
    """
    from abspos.components.decomposition import decompose

    def run() -> None:
        kept = give()
        task.kept[name] = sum(a.nbytes for a in kept)
        for weights in kept:
            decompose(weights.clamp_min(torch.finfo(weights.dtype).tiny).log())

    return run


def eager(task: Task) -> Callable[[], None]:
    """Eager attention with output_attentions, all attention weights in memory."""
    return holding(task, "eager", eager_weights(task))


def eager_decomposed(task: Task) -> Callable[[], None]:
    """The same, decomposed."""
    return decomposing(task, "eager_decomposed", eager_weights(task))


def extraction(task: Task) -> Callable[[], None]:
    """Everything that an extraction stores, with its digests.

    Loading and certificates are left out.
    """
    import xarray as xr

    from abspos.activations import extract as activations
    from abspos.arrays import save_dataset
    from abspos.models import loading as variants
    from abspos.stores import Stored, write_manifest

    folder = task.folder
    windows = xr.Dataset(
        {
            "tokens": (("input", "position"), task.tokens.numpy().astype(np.int32)),
            "document": ("input", np.arange(task.inputs, dtype=np.int32)),
        },
        attrs={"bos": 0},
    )
    save_dataset(windows, folder / "inputs.zarr", folder / "inputs.json")
    variant = {"rope": None, "window": None, "untrained": False}
    settings = activations.Extraction(
        variant, "bos", task.inputs, None, early=32, dtype="float32", batch=task.batch, seed=0
    )
    model = variants.load(Path(task.checkpoint), variant, task.length, "float32", "cpu", 0)
    write_manifest(Path(task.checkpoint), folder / "model.json")
    activations.check = lambda *_: None  # type: ignore[assignment]
    activations.loading.load = lambda *_: model  # type: ignore[assignment]
    activations.certificate = lambda *_: {}  # type: ignore[assignment]
    task.clears["extraction"] = folder / "a.zarr"

    def run() -> None:
        activations.extract(
            Stored(Path(task.checkpoint), folder / "model.json"),
            Stored(folder / "inputs.zarr", folder / "inputs.json"),
            Stored(folder / "a.zarr", folder / "a.json"),
            settings,
            device="cpu",
            threads=torch.get_num_threads(),
            label="bench",
        )
        task.kept["extraction"] = on_disk(folder / "a.zarr")

    return run


def decomposition(task: Task) -> Callable[[], None]:
    """The decomposition of the store that the extraction left, checked, computed and saved."""
    from abspos.components import store as component_store
    from abspos.stores import Stored

    folder = task.folder
    task.clears["decomposition"] = folder / "c.zarr"

    def run() -> None:
        component_store.decompose_run(
            *(Stored(folder / f"{n}.zarr", folder / f"{n}.json") for n in ("a", "inputs", "c")),
            component_store.Decomposition(early=32, anchor=63, windows=[], keep_fields=False),
            device="cpu",
            threads=torch.get_num_threads(),
            label="bench",
        )
        task.kept["decomposition"] = on_disk(folder / "c.zarr")

    return run


def profiled_extraction(task: Task) -> Callable[[], None]:
    """The extraction on one thread, its parts timed."""
    from benchmarks.parts import EXTRACTION, watch

    task.clears["profiled_extraction"] = task.folder / "a.zarr"
    return watch(EXTRACTION, extraction(task), task.parts.setdefault("extraction", {}))


def profiled_decomposition(task: Task) -> Callable[[], None]:
    """The decomposition of the store that the extraction left, on one thread, its parts timed."""
    from benchmarks.parts import DECOMPOSITION, watch

    task.clears["profiled_decomposition"] = task.folder / "c.zarr"
    found = task.parts.setdefault("decomposition", {})
    return watch(DECOMPOSITION, decomposition(task), found)


def transformerlens_cache(task: Task, *hooks: str) -> Given:
    """TransformerLens, run_with_cache of some hooks of every layer."""
    from transformer_lens.model_bridge import TransformerBridge

    model = TransformerBridge.boot_transformers(task.checkpoint, device="cpu", dtype=torch.float32)

    def give() -> list[torch.Tensor]:
        kept = []
        for tokens in task.batches():
            _, cache = model.run_with_cache(tokens, names_filter=lambda name: name.endswith(hooks))
            kept += list(cache.values())
        return kept

    return give


def transformerlens(task: Task) -> Callable[[], None]:
    """TransformerLens with attention scores and patterns, all in memory."""
    give = transformerlens_cache(task, "hook_attn_scores", "hook_pattern")
    return holding(task, "transformerlens", give)


def transformerlens_decomposed(task: Task) -> Callable[[], None]:
    """TransformerLens with patterns, decomposed."""
    give = transformerlens_cache(task, "hook_pattern")
    return decomposing(task, "transformerlens_decomposed", give)


def nnsight_weights(task: Task) -> Given:
    """nnsight, a trace that saves the attention weights of every layer."""
    from nnsight import LanguageModel

    model = LanguageModel(
        task.checkpoint,
        device_map="cpu",
        dtype=torch.float32,
        attn_implementation="eager",
        dispatch=True,
    )
    layers = model.config.num_hidden_layers

    def give() -> list[torch.Tensor]:
        kept: list[torch.Tensor] = []
        for tokens in task.batches():
            with model.trace(tokens):
                saved = list().save()  # noqa: C408  (nnsight gives it that method)
                for number in range(layers):
                    saved.append(model.model.layers[number].self_attn.output[1])
            kept += list(saved)
        return kept

    return give


def nnsight(task: Task) -> Callable[[], None]:
    """nnsight with attention weights, all in memory."""
    return holding(task, "nnsight", nnsight_weights(task))


def nnsight_decomposed(task: Task) -> Callable[[], None]:
    """The same, decomposed."""
    return decomposing(task, "nnsight_decomposed", nnsight_weights(task))


def on_disk(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


@torch.no_grad()
def main(arguments: list[str]) -> None:
    """Measure some contestants, one after the other in every repetition."""
    checkpoint, length, inputs, batch, repeats, *names = arguments
    task = Task(checkpoint, int(length), int(inputs), int(batch))
    torch.set_num_threads(2)
    try:
        runs = {name: globals()[name](task) for name in names}
        seconds: dict[str, list[float]] = {name: [] for name in names}
        cores: dict[str, list[float]] = {name: [] for name in names}
        for repeat in range(int(repeats) + 1):  # the first warms up
            for name, run in runs.items():
                if name in task.clears:
                    shutil.rmtree(task.clears[name], ignore_errors=True)
                began, busy = time.perf_counter(), time.process_time()
                run()
                if repeat or int(repeats) == 0:
                    seconds[name].append(round(time.perf_counter() - began, 3))
                    cores[name].append(round(time.process_time() - busy, 3))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        found = {
            "length": task.length,
            "inputs": task.inputs,
            "seconds": seconds,
            "cores": cores,
            "peak": peak,
            "bytes": task.kept,
            "parts": task.parts,
        }
        print(json.dumps(found))
    finally:
        shutil.rmtree(task.folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
