"""The notebooks run, cell by cell, on a tiny model.

TransformerLens and nnsight are no test dependencies (some 30 further packages): each has a
stand-in here, with the calls and the tensors that its notebook uses. The outputs in the notebooks
come from the real packages.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from abspos.claims.judgement import judge
from abspos.statistics.aggregate import tabulate

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def cells(notebook: Path, kind: str = "code") -> list[str]:
    """Sources of a notebook's cells of one kind."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in content["cells"] if c["cell_type"] == kind]


def execute(name: str) -> dict[str, Any]:
    """Run the code cells of a notebook in one namespace, which is returned."""
    space: dict[str, Any] = {"__name__": name}
    for number, cell in enumerate(cells(ROOT / "docs/notebooks" / f"{name}.ipynb")):
        with redirect_stdout(io.StringIO()):
            exec(compile(cell, f"{name}.ipynb, cell {number}", "exec"), space)
    return space


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    """Figures are drawn, not shown."""
    before = mpl.get_backend()
    mpl.use("agg")
    yield
    plt.close("all")
    mpl.use(before)


@pytest.fixture
def tiny(checkpoint, monkeypatch) -> Path:
    """The tiny model in place of the one that notebooks load by name."""
    monkeypatch.setenv("ABSPOS_MODEL", str(checkpoint))
    return checkpoint


def calls(model: Any, ids: torch.Tensor) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """What each layer hands to its attention function, in one pass."""
    kept = []

    def record(module, query, key, value, attention_mask, **settings):
        kept.append(((None, query, key, value, attention_mask), settings))
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)

    AttentionInterface.register("recorded", record)
    AttentionMaskInterface.register("recorded", sdpa_mask)
    model.config._attn_implementation = "recorded"
    with torch.no_grad():
        model(ids)
    return kept


class Bridge:
    """TransformerBridge, as its notebook uses it."""

    @classmethod
    def boot_transformers(cls, name: str, hf_model: Any, tokenizer: Any, device: str) -> Bridge:
        """A bridge to a model that is loaded."""
        made = cls()
        made.model, made.cfg = hf_model, SimpleNamespace(n_layers=len(hf_model.model.layers))
        return made

    def run_with_cache(
        self, ids: torch.Tensor, names_filter: Callable[[str], bool]
    ) -> tuple[None, dict[str, torch.Tensor]]:
        """Scaled scores before the softmax, -inf where a query sees no key."""
        cache = {}
        for layer, ((_, query, key, *_), settings) in enumerate(calls(self.model, ids)):
            keys = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
            scores = settings["scaling"] * query @ keys.mT
            hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            name = f"blocks.{layer}.attn.hook_attn_scores"
            assert names_filter(name)
            cache[name] = scores.masked_fill(hidden, -torch.inf)
        return None, cache


class Traced:
    """nnsight's TransformersModel, as its notebook uses it."""

    def __init__(self, model: Any, tokenizer: Any, task: str) -> None:
        self.wrapped = model

    @contextmanager
    def trace(self, ids: torch.Tensor) -> Iterator[None]:
        """A pass, with what each layer's attention function receives."""
        layers = []
        for call in calls(self.wrapped, ids):
            inputs = SimpleNamespace(save=lambda call=call: call)
            source = SimpleNamespace(attention_interface_1=SimpleNamespace(inputs=inputs))
            layers.append(SimpleNamespace(self_attn=SimpleNamespace(source=source)))
        self.model = SimpleNamespace(layers=layers)
        yield


def stand_in(monkeypatch: pytest.MonkeyPatch, module: str, **names: Any) -> None:
    """Put a module with these names where an import finds it."""
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        made = ModuleType(".".join(parts[:depth]))
        monkeypatch.setitem(sys.modules, made.__name__, made)
    for name, value in names.items():
        setattr(made, name, value)


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """Energies by notebook, to compare them."""
    return {}


@pytest.mark.parametrize("name", ["transformers", "transformer_lens", "nnsight"])
def test_a_model_goes_from_its_tensors_to_energies(name, tiny, monkeypatch, measured):
    stand_in(monkeypatch, "transformer_lens.model_bridge", TransformerBridge=Bridge)
    stand_in(monkeypatch, "nnsight.modeling.transformers", TransformersModel=Traced)
    found = execute(name)["energies"]
    assert dict(found.sizes) == {"layer": 3, "bin": 1, "lens": 2, "component": 6, "head": 4}
    assert found["energy"].notnull().all()
    assert (found["ci_low"] <= found["energy"]).all()
    assert plt.get_fignums()
    measured[name] = found
    # All three roads lead to the same numbers.
    first = next(iter(measured.values()))
    assert abs(found["energy"] - first["energy"]).max() < 1e-4 * first["energy"].max()


@pytest.fixture
def study(components, tmp_path, monkeypatch) -> Path:
    """A small finished study."""
    folder = tmp_path / "results" / "tiny"
    arms = [("standard", "bos"), ("standard", "no-bos"), ("window", "bos")]
    root = folder / "components" / "tiny" / "0"
    for name, arm in zip(components, arms, strict=True):
        place = root / arm[0] / arm[1]
        place.parent.mkdir(parents=True, exist_ok=True)
        Path(f"{place}.zarr").symlink_to(components[name].store)
    statistics = folder / "statistics"
    statistics.mkdir()
    stores, manifests = zip(*components.values(), strict=True)
    replicates = statistics / "replicates.zarr", statistics / "replicates.manifest.json"
    tabulate(
        stores,
        manifests,
        *replicates,
        arms=arms,
        model="tiny",
        revision="0",
        confidence=0.95,
        sign_flips=100,
        seed=0,
        threads=1,
    )
    judge(
        [replicates[0]],
        [replicates[1]],
        folder / "claims.csv",
        *(statistics / f"{name}.csv" for name in ("swaps", "changes", "controlled_effects")),
        models=[("tiny", "0")],
        variants={"standard": {}, "window": {"window": 6}},
        swap_tokens=[],
        confidence=0.95,
        seed=0,
    )
    monkeypatch.setenv("ABSPOS_RESULTS", str(folder))
    return folder


def test_a_finished_study_is_read(study):
    found = execute("results")
    assert {"mask", "residual"} <= {*found["by_layer"].columns}
    assert len(found["results"].stores) == 3
    interval = found["found"]
    assert 0 < interval.low < interval.estimate < interval.high < 1


def test_every_notebook_is_tested_and_starts_with_its_title():
    tested = {"transformers", "transformer_lens", "nnsight", "results"}
    assert {path.stem for path in NOTEBOOKS} == tested
    for path in NOTEBOOKS:
        assert cells(path, "markdown")[0].startswith("# ")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_holds_an_error_or_a_path_of_a_machine(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    outputs = [out for cell in content["cells"] for out in cell.get("outputs", ())]
    assert not [out for out in outputs if out["output_type"] in ("error", "stream")]
    text = json.dumps([out.get("data", {}).get("text/plain") for out in outputs])
    assert not [part for part in ("/tmp", "/root", "/home", "/work") if part in text]
