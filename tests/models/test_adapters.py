"""Where a family's modules are: one row where its names are not the usual ones."""

from __future__ import annotations

import pytest

from abspos.models.adapters import (
    ADAPTERS,
    Adapter,
    attention_module,
    body,
    decoder_layers,
    output_projection,
)
from abspos.models.loading import load
from abspos.models.sources import ModelError, fetch_random


@pytest.fixture
def model(source, tmp_path):
    fetch_random(source, "0", tmp_path)
    return load(tmp_path, {}, 32, "float32", "cpu", 0)


def test_usual_names_need_no_row(model):
    assert "llama" not in ADAPTERS
    assert body(model) is model.model
    assert decoder_layers(model) is model.model.layers
    assert attention_module(model, 1) is model.model.layers[1].self_attn
    assert output_projection(model, 2) is model.model.layers[2].self_attn.o_proj


def test_a_family_with_other_names_is_one_row(model, monkeypatch):
    model.trunk, model.model.layers[0].mix = model.model, model.model.layers[0].self_attn
    model.model.layers[0].mix.out = model.model.layers[0].mix.o_proj
    monkeypatch.setitem(ADAPTERS, "llama", Adapter("trunk.layers", "mix", "out"))
    assert body(model) is model.model
    assert output_projection(model, 0) is model.model.layers[0].self_attn.o_proj


@pytest.mark.parametrize("row", [Adapter("trunk.layers"), Adapter(attention="mix")])
def test_a_part_that_is_not_there_is_named_with_the_cure(model, monkeypatch, row):
    monkeypatch.setitem(ADAPTERS, "llama", row)
    wanted = r"model_type 'llama': \w+ has no '(trunk.layers|mix)' .*adapters.ADAPTERS$"
    with pytest.raises(ModelError, match=wanted) as error:
        attention_module(model, 0)
    assert "\n" not in str(error.value)
