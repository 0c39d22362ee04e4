"""The kinds of layers as seen on the running model, through extraction and decomposition."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from transformers import AutoConfig, AutoModelForCausalLM

from abspos.activations.capture import NAME
from abspos.activations.certificates import allowed
from abspos.activations.layers import Layer, layers_of, rope_of, tell_inert
from abspos.arrays import open_dataset
from abspos.claims.rows import counted
from abspos.components.store import Decomposition, decompose_run
from abspos.models.adapters import ADAPTERS, Adapter
from abspos.models.sources import ModelError, fetch_random
from abspos.statistics.aggregate import tabulate
from abspos.statistics.energies import benjamini_hochberg
from abspos.statistics.packing import unpack
from abspos.statistics.replicates import by_kind, pooled
from abspos.stores import Stored

LENGTH = 32
#: The kinds of layers of the hybrid below.
FULL, SLIDING = "full, theta 1e4", "sliding 6, theta 1e4"
BOTH = f"{FULL}+{SLIDING}"


class Hybrid(NamedTuple):
    """Where its stores lie, its component store, and the attributes of its activations."""

    folder: Path
    components: xr.Dataset
    activations: dict[str, Any]


def model_of(family, source, folder, **config):
    fetch_random(source | {"family": family}, "0", folder)
    settings = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(settings))
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=NAME)
    return model.eval()


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def layer(native=None, rope="theta 1e4"):
    return Layer(4, 2, 8, 0.5, None, native, rope)


@pytest.mark.parametrize(
    ("native", "variant", "window", "kind"),
    [
        (None, None, None, "full"),
        (6, None, 6, "sliding 6"),
        (None, 6, 6, "sliding 6"),
        (6, 4, 4, "sliding 4"),
        (31, None, 31, "sliding 31"),
        (32, None, None, "sliding 32"),
        (4096, None, None, "sliding 4096"),
        (4096, 6, 6, "sliding 6"),
    ],
)
def test_windows_and_kinds(native, variant, window, kind):
    assert layer(native).window(LENGTH, variant) == window
    assert layer(native).kind(variant) == f"{kind}, theta 1e4"
    assert layer(native, "no RoPE").kind(variant) == f"{kind}, no RoPE"


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"rope_type": "default", "rope_theta": 10000}, "theta 1e4"),
        ({"rope_theta": 100000.0 * 8 ** (64 / 62)}, "theta 8.56e5"),
        ({"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0}, "llama3, theta 5e5"),
        ({"full_attention": {"rope_theta": 1e6}, "sliding_attention": {}}, "theta 1e6"),
        (None, "default"),
    ],
)
def test_rope_in_words(parameters, text):
    config = SimpleNamespace(rope_parameters=parameters, layer_types=["full_attention"])
    assert rope_of(config, 0) == text


def test_kinds_in_words():
    assert pooled(["full", "full"]) == "full"
    assert pooled(["sliding", "full", "sliding"]) == "full+sliding"
    assert counted(["sliding", "full", "sliding"]) == "1 full and 2 sliding"
    found = by_kind(["sliding", "full", "sliding"])
    assert {k: list(v) for k, v in found.items()} == {
        "full+sliding": [0, 1, 2],
        "full": [1],
        "sliding": [0, 2],
    }
    assert list(by_kind(["full"])) == ["full"]


def test_a_window_that_hides_nothing_is_told(lines):
    assert tell_inert([layer(32), layer()], LENGTH, "m") == 32
    assert lines() == [
        "m: the model's own window of 32 keys hides nothing at inputs.length 32: its layers are "
        "measured as full attention"
    ]
    assert tell_inert([layer(31), layer()], LENGTH, "m") is None
    assert tell_inert([layer()], LENGTH, "m") is None


def test_a_model_without_rope_is_refused(source, tmp_path):
    model = model_of("smollm3", source, tmp_path, no_rope_layers=[0, 0, 0])
    with pytest.raises(ModelError, match="model_type 'smollm3': it has no RoPE") as error:
        layers_of(model, torch.ones(32), LENGTH)
    one_line(error)


def test_positions_that_are_added_to_embeddings_are_refused(monkeypatch):
    monkeypatch.setitem(ADAPTERS, "gpt2", Adapter("transformer.h"))
    config = AutoConfig.for_model("gpt2", n_embd=32, n_layer=2, n_head=4, vocab_size=20)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=NAME).eval()
    with pytest.raises(ModelError, match="'gpt2': positions enter its residual stream") as error:
        layers_of(model, torch.ones(32), LENGTH)
    one_line(error)


@torch.no_grad()
def test_windows_are_seen_without_a_forward_pass_at_full_length(source, tmp_path, monkeypatch):
    """A pass more would be a quarter of an extraction of four long inputs."""
    model = model_of("mistral", source, tmp_path, sliding_window=6)
    tokens = torch.arange(LENGTH)[None] % 250
    before, seen = model(tokens).logits, []
    product = torch.nn.functional.linear

    def count(x, *args):
        seen.append(x.shape[1])
        return product(x, *args)

    monkeypatch.setattr(torch.nn.functional, "linear", count)
    layers = layers_of(model, torch.ones(32), LENGTH)
    assert [layer.native for layer in layers] == [6] * len(layers)
    assert set(seen) == {1}
    monkeypatch.undo()
    assert torch.equal(model(tokens).logits, before), "the model is what it was"


def test_windows_of_two_widths_are_refused(source, tmp_path):
    model = model_of("mistral", source, tmp_path, sliding_window=9)

    def narrowed(module, args, kwargs):
        mask = kwargs["attention_mask"]
        narrow = None if mask is None else mask & allowed(LENGTH, 6)  # None: a single token
        return args, {**kwargs, "attention_mask": narrow}

    model.model.layers[1].self_attn.register_forward_pre_hook(narrowed, with_kwargs=True)
    with pytest.raises(ModelError, match=r"windows of [69], [69] keys") as error:
        layers_of(model, torch.ones(32), LENGTH)
    one_line(error)


@pytest.fixture(scope="module")
def stores(source, run, windows, tmp_path_factory):
    """Component store of a hybrid with bounded logits, and the attributes of its activations."""
    folder = tmp_path_factory.mktemp("hybrid")
    model_of(
        "gemma2",
        source,
        folder / "model",
        sliding_window=6,
        attn_logit_softcapping=2.0,
        head_dim=8,
    )
    made = run(folder, checkpoint=folder / "model")
    out = folder / "components.zarr", folder / "components.manifest.json"
    settings = Decomposition(early=8, anchor=63, windows=[4], keep_fields=True)
    decompose_run(made, windows, Stored(*out), settings, device="cpu", threads=1, label="hybrid")
    return Hybrid(folder, open_dataset(*out), open_dataset(*made).attrs)


def test_layers_are_labelled_in_every_store(stores):
    _, components, activation = stores
    for attrs in (components.attrs, activation):
        assert attrs["kind"] == [SLIDING, FULL, SLIDING]
        assert attrs["window"] == [6, None, 6]
        assert attrs["softcap"] == [2.0, 2.0, 2.0]
        assert attrs["inert_window"] is None
    assert max(components.attrs["identity_error"]) < 1e-4


def test_a_models_own_window_has_a_bin_beyond_it(stores):
    components = stores.components
    assert components.attrs["bins"] == {
        "early": [1, 8],
        "late": [8, 16],
        "beyond-4": [4, 16],
        "beyond-6": [6, 16],
    }


@pytest.fixture(scope="module")
def tables(stores, tmp_path_factory):
    """Tables of the hybrid's one arm; its windows are narrower than the early bin."""
    folder = tmp_path_factory.mktemp("tables")
    tabulate(
        [stores.folder / "components.zarr"],
        [stores.folder / "components.manifest.json"],
        folder / "replicates.zarr",
        folder / "replicates.json",
        arms=[("standard", "bos")],
        model="m",
        revision="0",
        confidence=0.95,
        sign_flips=100,
        seed=0,
        threads=1,
    )
    return {path.stem: pd.read_csv(path) for path in folder.glob("*.csv")}


@pytest.mark.parametrize("name", ["energies", "sinks", "layers"])
def test_every_row_of_a_layer_has_its_kind(tables, name):
    table = tables[name]
    assert (table["kind"] == table["layer"].map({0: SLIDING, 1: FULL, 2: SLIDING})).all()
    # Where a window makes the mask 0 no document has influence.
    assert table.drop(columns=["influence", "window"], errors="ignore").notna().all(axis=None)


def test_layers_with_a_window_have_every_part_of_r(tables):
    """A query that does not see position 0 has no sink, and a row that is no less a denominator."""
    table = tables["energies"]
    for component in ("row", "sink", "rest", "pattern"):
        own = table[(table["component"] == component) & (table["bin"] == "early")]
        assert set(own["kind"]) == {FULL, SLIDING}
    adjusted = table[(table["component"] == "row") & (table["lens"] == "log")]
    for which, rows in adjusted.groupby(["bin", adjusted["window"].fillna(0)]):
        expected = benjamini_hochberg(rows["p_value"].to_numpy())
        np.testing.assert_allclose(rows["p_adjusted"], expected, err_msg=str(which))
    late = table[(table["bin"] == "late") & (table["component"] == "sink")]
    assert (late[late["kind"] == SLIDING]["energy"] == 0).all(), "a window of 6, queries from 8"
    assert (late[late["kind"] == FULL]["energy"] != 0).all()


def test_means_over_layers_name_their_kinds(tables):
    table = tables["summary"]
    residual = table[(table["component"] == "residual") & (table["bin"] == "early")]
    assert set(residual["kind"]) == {FULL, SLIDING, BOTH}
    layers = tables["layers"]
    keys = {"bin": "early", "lens": "log", "component": "residual", "summary": "median"}
    by_layer = layers[np.logical_and.reduce([layers[k] == v for k, v in keys.items()])]
    by_kind = residual[(residual["lens"] == "log") & (residual["summary"] == "median")]
    means = by_kind.set_index("kind")["energy"]
    assert means[FULL] == pytest.approx(by_layer["energy"].iloc[1])
    assert means[SLIDING] == pytest.approx(by_layer["energy"].iloc[[0, 2]].mean())
    assert means[BOTH] == pytest.approx(by_layer["energy"].mean())
    for name in ("profile", "balance", "masses"):
        assert set(tables[name]["kind"]) == {BOTH}


def test_heads_are_counted_on_the_model(source, run, tmp_path):
    """GPT-NeoX has as many K/V heads as heads, whatever its config says besides."""
    model_of("gpt_neox", source, tmp_path / "model", num_key_value_heads=2)
    made = open_dataset(*run(tmp_path, checkpoint=tmp_path / "model"))
    assert made.sizes["head"] == made.sizes["kv_head"] == 4


@pytest.mark.parametrize("window", [7, 31, 32])
def test_certificates_see_all_positions(source, run, tmp_path, window):
    model_of("mistral", source, tmp_path / "model", sliding_window=window)
    made = open_dataset(*run(tmp_path, checkpoint=tmp_path / "model"))
    assert made.attrs["certificates"]["positions"] == 32
    assert made.attrs["inert_window"] == (32 if window == 32 else None)
    assert made.attrs["window"] == [window if window < 32 else None] * 3


def test_a_hybrid_is_compared_layer_by_layer(source, run, windows, tmp_path):
    """Layers whose windows are narrower than the early bin keep fewer offsets than the others;
    compared with itself, each has the Gram matrix that it has anyway."""
    model_of("gemma2", source, tmp_path / "model", sliding_window=3)
    made = run(tmp_path, checkpoint=tmp_path / "model")
    settings = Decomposition(early=8, anchor=63, windows=[], keep_fields=True)
    first, second = (
        Stored(tmp_path / f"{n}.zarr", tmp_path / f"{n}.manifest.json") for n in (1, 2)
    )
    how = {"device": "cpu", "threads": 1, "label": "hybrid"}
    decompose_run(made, windows, first, settings, **how)
    decompose_run(made, windows, second, settings, **how, reference=first)
    store = open_dataset(*second)
    for lens in ("log", "probability"):
        packed = store["gram_early"].sel(lens=lens, component_early="residual").values
        np.testing.assert_allclose(store[f"cross_{lens}"], unpack(packed, 16), rtol=1e-4, atol=1e-7)


def test_layers_that_do_not_attend_are_refused(source, tmp_path):
    types = ["conv", "full_attention", "conv"]
    model = model_of("lfm2", source | {"layers": 3}, tmp_path, layer_types=types)
    with pytest.raises(ModelError, match="'lfm2': layers 0, 2 have no attention") as error:
        layers_of(model, torch.ones(32), LENGTH)
    one_line(error)


def test_what_fails_inside_the_first_pass_is_told_by_the_family(source, tmp_path):
    model = model_of("llama", source, tmp_path)
    model.model.layers[1].self_attn.forward = None
    with pytest.raises(
        ModelError, match=r"'llama': a forward pass on one token failed .*'NoneType'"
    ) as error:
        layers_of(model, torch.ones(32), LENGTH)
    one_line(error)
