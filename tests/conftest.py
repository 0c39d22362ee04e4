"""A tiny random model, a small corpus, and the stores made of them, once per session."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from hypothesis import settings
from loopback import Hub
from safetensors.torch import load_file, save_file
from xdist.scheduler import LoadScopeScheduling

from abspos.activations.extract import Extraction, extract
from abspos.components.store import Decomposition, decompose_run
from abspos.inputs.windows import prepare
from abspos.models import hub
from abspos.models.sources import fetch_random
from abspos.stores import Stored, write_manifest

# Two busy cores: an example may take any time, and CI must not draw other ones than the developer.
settings.register_profile("abspos", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("abspos")

INPUTS, LENGTH, EARLY = 16, 32, 8
WINDOW = {"name": "window", "window": 6}
PROSE = "the old man and the sea went down to a house of stone by the king's river"


#: Begun first, for they take longest and mostly wait; and what fills every worker at the end.
FIRST, LAST = ("tests/slurm/", "tests/workflow/"), "tests/workflow/test_reruns.py"
#: Folders whose files share what their conftest makes.
TOGETHER = ("tests/slurm/", "tests/audit/", "tests/figures/")


def unit_of(nodeid: str) -> str:
    """What stays on one worker: a folder or file whose tests share runs; of LAST, each test."""
    path = nodeid.partition("::")[0]
    if path == LAST:
        return nodeid
    return str(Path(path).parent) if path.startswith(TOGETHER) else path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with whole runs, end with plans that are quick and many."""
    items.sort(key=lambda item: item.nodeid.startswith(FIRST), reverse=True)
    items.sort(key=lambda item: item.nodeid.startswith(LAST))


class ByUnit(LoadScopeScheduling):
    """Keeps the tests of a unit on one worker, units in the order of their tests.

    Not xdist's own groups: the release that is locked loses them under this pytest, and every
    worker then makes every run.
    """

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByUnit:
    """The scheduler of `-n`, whatever `--dist` says."""
    config.option.loadscopereorder = False
    return ByUnit(config, log)


@pytest.fixture(autouse=True)
def threads():
    """One thread is fastest for sizes as small as these; jobs set what they are told."""
    torch.set_num_threads(1)


@pytest.fixture
def lines(caplog):
    """The progress lines of a test."""
    caplog.set_level(logging.INFO, logger="abspos")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def loopback(tmp_path, monkeypatch):
    """A model hub of this test alone on the loopback address; the client's settings point there."""
    served = Hub()
    template = served.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {
        "ENDPOINT": served.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_TOKEN_PATH": str(tmp_path / "token"),
    }.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(hub, "WAIT", 0.0)
    yield served
    served.close()


@pytest.fixture(scope="session")
def source() -> dict[str, Any]:
    """The config's `source` of the tiny model."""
    return {
        "type": "random",
        "family": "llama",
        "seed": 0,
        "layers": 3,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 8,
        "hidden_size": 32,
        "max_position_embeddings": 256,
        "rope_theta": 10000.0,
    }


@pytest.fixture(scope="session")
def checkpoint(source, tmp_path_factory) -> Path:
    """A Llama of 3 layers whose queries and keys are loud enough for attention to have shape."""
    folder = tmp_path_factory.mktemp("checkpoint")
    fetch_random(source, "0", folder)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    loud = {n: t * 6 if "q_proj" in n or "k_proj" in n else t for n, t in tensors.items()}
    save_file(loud, weights, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """24 documents of 60 to 400 bytes in two files."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(7)
    for name, first in (("one", 0), ("two", 12)):
        with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as handle:
            for number in range(first, first + 12):
                text = " ".join(rng.choice(PROSE.split(), size=rng.integers(20, 90)))
                handle.write(json.dumps({"id": f"doc-{number:02d}", "text": text}) + "\n")
    return folder


@pytest.fixture(scope="session")
def draw_into(corpus) -> Callable[..., Stored]:
    """16 windows of 32 tokens for a checkpoint: draw_into(folder, checkpoint) -> Stored."""

    def draw(folder: Path, checkpoint: Path) -> Stored:
        made = Stored(folder / "0.zarr", folder / "0.manifest.json")
        given = map(str, (corpus, checkpoint, *made))
        prepare(*given, number=INPUTS, length=LENGTH, start="random", seed=0)
        return made

    return draw


@pytest.fixture(scope="session")
def windows(draw_into, checkpoint, tmp_path_factory) -> Stored:
    """Those of the tiny model."""
    return draw_into(tmp_path_factory.mktemp("inputs"), checkpoint)


@pytest.fixture(scope="session")
def run(checkpoint, windows) -> Callable[..., None]:
    """Extraction with small settings: run(folder, condition, variant, **others) -> Stored."""

    def extract_into(folder: Path, condition="bos", variant=None, **others: Any) -> Stored:
        made = Stored(folder / f"{condition}.zarr", folder / f"{condition}.manifest.json")
        given = {"checkpoint": checkpoint, "windows": windows, "reference": None} | others
        model = Stored(given.pop("checkpoint"), folder.parent / f"{folder.name}.model.json")
        write_manifest(*model)
        inputs, reference = given.pop("windows"), given.pop("reference")
        settings_ = {
            "variant": variant or {"name": "standard"},
            "condition": condition,
            "number": INPUTS,
            "token": "a",
            "early": EARLY,
            "dtype": "float32",
            "batch": 8,
            "seed": 0,
        }
        # Paths are plain text, as Snakemake hands them to a script.
        model, inputs, target = (Stored(*map(str, pair)) for pair in (model, inputs, made))
        extract(
            model,
            inputs,
            target,
            Extraction(**(settings_ | given)),
            device="cpu",
            threads=1,
            label=f"tiny/{condition}",
            reference=reference and Stored(*map(str, reference)),
        )
        return made

    return extract_into


@pytest.fixture(scope="session")
def activations(run, tmp_path_factory) -> dict[str, Stored]:
    """Activation stores: bos and no-bos of the standard model, and bos of the windowed one."""
    standard, window = (tmp_path_factory.mktemp(name) for name in ("standard", "window"))
    return {
        "bos": run(standard),
        "no-bos": run(standard, "no-bos"),
        "window": run(window, variant=WINDOW),
    }


@pytest.fixture(scope="session")
def decompose_into(windows) -> Callable[..., Stored]:
    """Decomposition with small settings: decompose_into(folder, activations, **others)."""

    def decompose(folder: Path, given: Stored, **others: Any) -> Stored:
        made = Stored(folder / "components.zarr", folder / "components.manifest.json")
        settings_ = {
            "early": EARLY,
            "anchor": 63,
            "windows": [WINDOW["window"]],
            "keep_fields": True,
        }
        passed = {
            "reference": None,
            "partner": None,
            "threads": 1,
            "inputs": windows,
            "label": "tiny",
        } | {k: v for k, v in others.items() if k not in settings_}
        activations, inputs, target = (
            Stored(*map(str, pair)) for pair in (given, passed.pop("inputs"), made)
        )
        chosen = settings_ | {k: v for k, v in others.items() if k in settings_}
        decompose_run(activations, inputs, target, Decomposition(**chosen), device="cpu", **passed)
        return made

    return decompose


@pytest.fixture(scope="session")
def components(activations, decompose_into, tmp_path_factory) -> dict[str, Stored]:
    """Component stores of the same runs."""
    return {
        name: decompose_into(tmp_path_factory.mktemp(f"components-{name}"), given)
        for name, given in activations.items()
    }


@pytest.fixture(scope="session")
def shift_pair(activations, run, decompose_into, tmp_path_factory) -> tuple[Stored, Stored, Stored]:
    """A shift pair: activations of bos and of shift, and the component store of the pair."""
    shift = run(tmp_path_factory.mktemp("shift"), "shift")
    folder = tmp_path_factory.mktemp("components-shift")
    made = decompose_into(folder, shift, partner=activations["bos"], keep_fields=False)
    return activations["bos"], shift, made
