"""Component stores against the decomposition of the model's own eager attention."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from abspos.arrays import NonFiniteError, open_dataset
from abspos.components import blocks
from abspos.components import store as component_store
from abspos.components.decomposition import decompose
from abspos.components.grams import LENSES
from abspos.statistics import energies as statistics
from abspos.statistics.packing import unpack
from abspos.statistics.sign_flips import sign_flip_p
from abspos.stores import StoreError, write_manifest
from abspos.study import grid

LENGTH, HALF, EARLY, WINDOW = 32, 16, 8, 6
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
RUNS = {"bos": None, "no-bos": None, "window": WINDOW}


def opened(stored):
    return open_dataset(*stored).load()


@pytest.fixture(scope="module")
def found(components):
    return {name: opened(stored) for name, stored in components.items()}


@pytest.fixture(scope="module")
def attention(checkpoint, windows):
    """Eager attention by run: (layer, input, head, query, key) float64."""
    tokens = torch.as_tensor(open_dataset(*windows)["tokens"].values).long()
    table = load_file(checkpoint / "model.safetensors")["model.embed_tokens.weight"]
    model = AutoModelForCausalLM.from_pretrained(checkpoint, attn_implementation="eager").eval()
    i, j = np.indices((LENGTH, LENGTH))
    weights = {}
    for name, window in RUNS.items():
        embeddings = table[tokens]
        if name != "no-bos":
            embeddings[:, 0] = table[0]
        mask = torch.full((16, 1, LENGTH, LENGTH), torch.finfo(torch.float32).min)
        mask[..., torch.as_tensor((j <= i) & (i - j < (window or LENGTH)))] = 0
        with torch.no_grad():
            out = model(inputs_embeds=embeddings, attention_mask=mask, output_attentions=True)
        weights[name] = torch.stack(out.attentions).double().numpy()
    return weights


@pytest.fixture(scope="module")
def expected(attention):
    """The public decomposition of log attention (rows of logits are free of a constant)."""
    out = {}
    for name, a in attention.items():
        logits = np.log(np.where(a > 0, a, 1.0))  # where masked, any number does
        out[name] = [decompose(layer, RUNS[name]) for layer in logits]
    return out


def fields(dataset, lens, component):
    """Fields (input, head, query, offset) of a decomposition, by docs/method.md, section 3."""
    mask = dataset["mask"].values[..., None] + 0 * dataset["residual"].values
    p = dataset["predicted"].values
    return {
        ("log", "residual"): dataset["residual"].values,
        ("log", "mask"): mask,
        ("probability", "residual"): dataset["attention"].values - p,
        ("probability", "mask"): p - np.nan_to_num(p[..., -1:, :]),
    }[lens, component]


def grams_of(x, queries, lens, other=None):
    """Gram matrices (head, input, input) of one bin; NaN where an offset is not visible."""
    per_query = []
    for i in queries:
        seen = ~np.isnan(x[0, 0, i])
        one, two = (f[:, :, i, seen] for f in (x, x if other is None else other))
        product = np.einsum("nhd,mhd->hnm", one, two)
        per_query.append(product / seen.sum() if lens == "log" else product)
    return np.mean(per_query, axis=0)


def stored_grams(dataset, which, lens, component):
    packed = dataset[f"gram_{which}"].sel(lens=lens, **{f"component_{which}": component})
    return unpack(packed.values)


# against eager attention


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("field", ["residual", "attention", "predicted", "relative"])
def test_mean_fields(found, expected, name, field):
    for layer, whole in enumerate(expected[name]):
        mean = np.nan_to_num(whole[field].mean("input").values)
        np.testing.assert_allclose(found[name][field][layer], mean, **CLOSE)


@pytest.mark.parametrize("name", RUNS)
def test_denominators_give_the_mask(found, expected, name):
    for layer, whole in enumerate(expected[name]):
        denominator = found[name]["denominator"][layer].values
        mask = (denominator[..., -1:] - denominator).swapaxes(0, 1)
        np.testing.assert_allclose(mask, whole["mask"], **CLOSE)


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("component", ["residual", "mask"])
@pytest.mark.parametrize("which", ["early", "late"])
def test_grams(found, expected, name, lens, component, which):
    queries = range(1, EARLY) if which == "early" else range(EARLY, HALF)
    for layer, whole in enumerate(expected[name]):
        wanted = grams_of(fields(whole, lens, component), queries, lens)
        stored = stored_grams(found[name], which, lens, component)[layer]
        np.testing.assert_allclose(stored, wanted, **CLOSE)
        np.testing.assert_allclose(
            statistics.energy(stored), statistics.energy(wanted), rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("lens", LENSES)
def test_beyond_grams(found, attention, name, lens):
    """Attention cut to the nearest keys and renormalised, before anything else is done."""
    cut = np.zeros((*attention[name].shape[:4], WINDOW))
    for i in range(WINDOW - 1, LENGTH):
        row = attention[name][..., i, i + 1 - WINDOW : i + 1][..., ::-1]
        cut[..., i, :] = row / row.sum(-1, keepdims=True)
    model, reference = cut[..., WINDOW:HALF, :], cut[..., HALF:, :]
    if lens == "log":
        x = np.log(model) - np.log(reference).mean(-2, keepdims=True)
    else:
        x = model - reference.mean(-2, keepdims=True)
    for layer in range(3):
        wanted = grams_of(x[layer], range(HALF - WINDOW), lens)
        stored = stored_grams(found[name], f"beyond-{WINDOW}", lens, "residual")[layer]
        np.testing.assert_allclose(stored, wanted, **CLOSE)


def parts_of(x, window):
    """Row, sink and rest (input, head, query, offset) of a field of R; NaN where not visible."""
    row, sink = np.full_like(x, np.nan), np.full_like(x, np.nan)
    for query in range(HALF):
        keys = min(query + 1, window or HALF)
        ordinary = min(query, keys)
        row[..., query, :keys] = sink[..., query, :keys] = 0
        if ordinary:
            row[..., query, :ordinary] = x[..., query, :ordinary].mean(-1, keepdims=True)
        sink[..., query, ordinary:keys] = x[..., query, ordinary:keys]
    return {"row": row, "sink": sink, "rest": x - row - sink}


def parts_stored(dataset, which, lens):
    whole, row, sink = (stored_grams(dataset, which, lens, c) for c in ("residual", "row", "sink"))
    return {"row": row, "sink": sink, "rest": whole - row - sink}


BIN_QUERIES = {"early": range(1, EARLY), "late": range(EARLY, HALF)}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("which", BIN_QUERIES)
@pytest.mark.parametrize("lens", LENSES)
def test_row_sink_and_rest(found, expected, name, which, lens):
    """In every bin, and in layers whose window hides position 0 from some queries."""
    stored = parts_stored(found[name], which, lens)
    for layer, whole in enumerate(expected[name]):
        parts = parts_of(fields(whole, lens, "residual"), RUNS[name])
        for component, part in parts.items():
            wanted = grams_of(part, BIN_QUERIES[which], lens)
            np.testing.assert_allclose(stored[component][layer], wanted, **CLOSE)


def patterns(attention, window):
    """Attention renormalised over ordinary keys, less references with as many (input, ...)."""
    out = np.full((*attention.shape[:2], HALF, HALF), np.nan)
    for query in range(1, HALF):
        keys = min(query, window or HALF)
        offsets = np.arange(keys)
        own = attention[..., query, query - offsets]
        late = np.stack([attention[..., q, q - offsets] for q in range(HALF, LENGTH)])
        own, late = (x / x.sum(-1, keepdims=True) for x in (own, late))
        out[..., query, :keys] = own - late.mean(0)
    return out


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("which", BIN_QUERIES)
def test_patterns_of_probability(found, attention, name, which):
    stored = stored_grams(found[name], which, "probability", "pattern")
    for layer, a in enumerate(attention[name]):
        wanted = grams_of(patterns(a, RUNS[name]), BIN_QUERIES[which], "probability")
        np.testing.assert_allclose(stored[layer], wanted, **CLOSE)


@pytest.mark.parametrize("name", RUNS)
def test_sinks(found, attention, name):
    a = attention[name]
    dataset = found[name]
    assert dataset["a_1"].dims == ("layer", "head", "input")
    by_head = a.swapaxes(1, 2)
    np.testing.assert_allclose(dataset["a_1"], by_head[..., 0].mean(-1), **CLOSE)
    np.testing.assert_allclose(dataset["to_first"], by_head[..., 1:EARLY, 0].mean(-1), **CLOSE)


@pytest.mark.parametrize("name", RUNS)
def test_sink_excess(found, expected, name):
    window = RUNS[name]
    queries = range(1, min(EARLY, window or EARLY))
    for layer, whole in enumerate(expected[name]):
        excess = (whole["attention"] - whole["predicted"]).values
        wanted = np.mean([excess[..., i, i] for i in queries], axis=0).T
        np.testing.assert_allclose(found[name]["sink_excess"][layer], wanted, **CLOSE)


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("component", ["residual", "mask"])
def test_profile_is_the_energy_by_query(found, expected, lens, component):
    profile = found["bos"]["profile"].sel(lens=lens, profile_component=component)
    covered = []
    for name in profile["query_bin"].values:
        first, last = (int(edge) for edge in name.split("-"))
        covered += range(first, last + 1)
        for layer, whole in enumerate(expected["bos"]):
            gram = grams_of(fields(whole, lens, component), range(first, last + 1), lens)
            others = gram.sum(-1) - gram.diagonal(axis1=-2, axis2=-1)
            np.testing.assert_allclose(
                profile.sel(query_bin=name)[layer], others, rtol=1e-3, atol=2e-5
            )
    assert covered == list(range(1, HALF))


# long inputs


def test_long_inputs_are_decomposed_on_grids(
    found, attention, activations, decompose_into, tmp_path, monkeypatch
):
    """By definition, from eager attention, with references and early queries of the grids alone."""
    for name, value in (("MOST", 6), ("DENSE", 4), ("SHOWN", 5)):
        monkeypatch.setattr(grid, name, value)
    made = opened(decompose_into(tmp_path, activations["bos"]))
    queries, late = made.attrs["explained"], made.attrs["references"]
    assert queries == [*range(EARLY), 9, 12, 15]
    assert late == list(range(16, 32, 3))
    shown = made["query"].values
    assert list(shown) == [queries[i] for i in grid.shown(queries)]
    s = np.log(np.where(attention["bos"] > 0, attention["bos"], 1.0))
    rows = np.stack([s[..., q, q - np.arange(HALF)] for q in late], -2)
    fields, predicted = {}, {}
    for i in queries:
        cut = rows[..., : i + 1]
        log_p = cut - np.log(np.exp(cut).sum(-1, keepdims=True))
        fields[i] = s[..., i, i - np.arange(i + 1)] - log_p.mean(-2)
        predicted[i] = np.exp(log_p).mean(-2)
    for place, i in enumerate(shown):
        seen = slice(0, i + 1)
        np.testing.assert_allclose(made["residual"][:, :, place, seen], fields[i].mean(1), **CLOSE)
        np.testing.assert_allclose(
            made["predicted"][:, :, place, seen], predicted[i].mean(1), **CLOSE
        )
    # Every query of the bin counts once, by the nearest one that is explained.
    late_ones = [i for i in queries if i >= EARLY]
    nearest = [min(late_ones, key=lambda i: abs(i - j)) for j in range(EARLY, HALF)]
    assert nearest == [9, 9, 9, 12, 12, 12, 15, 15]
    chosen = [fields[i] for i in nearest]
    wanted = np.mean([np.einsum("lnhd,lmhd->lhnm", x, x) / x.shape[-1] for x in chosen], 0)
    np.testing.assert_allclose(stored_grams(made, "late", "log", "residual"), wanted, **CLOSE)
    np.testing.assert_allclose(
        stored_grams(made, "early", "probability", "sink").shape,
        stored_grams(found["bos"], "early", "probability", "sink").shape,
    )
    taken = [*queries, *late]
    share = np.diff([-1, *taken]) / LENGTH
    wanted = (attention["bos"].swapaxes(1, 2)[..., taken, 0] * share).sum(-1)
    np.testing.assert_allclose(made["a_1"], wanted, **CLOSE)
    assert share.sum() == 1
    assert max(made.attrs["identity_error"]) < 1e-5


# attributes and the rest


def test_attributes(found, activations):
    for name, dataset in found.items():
        source = open_dataset(*activations[name])
        for key in ("certificates", "closed_trajectory", "condition", "variant", "window"):
            assert dataset.attrs[key] == source.attrs[key]
        assert len(dataset.attrs["identity_error"]) == 3
        assert max(dataset.attrs["identity_error"]) < 1e-5
        assert dataset.attrs["anchor"] == HALF - 1, "the anchor asked for lies beyond half"
        assert dataset.attrs["length"] == LENGTH
        assert dataset.attrs["bins"] == {"early": [1, 8], "late": [8, 16], "beyond-6": [6, 16]}
        assert dataset.attrs["beyond"] == {"beyond-6": 6}
        np.testing.assert_array_equal(dataset["loss"], source["loss"])
    assert (found["bos"]["state_variance"] == 0).all()
    assert (found["no-bos"]["state_variance"] > 0).all()


def test_documents_are_those_of_the_inputs(found, windows):
    np.testing.assert_array_equal(found["bos"]["document"], open_dataset(*windows)["document"])


def test_inputs_of_one_document_never_pair(activations, windows, decompose_into, tmp_path):
    inputs = open_dataset(*windows).load()
    inputs["document"] = ("input", np.repeat(np.arange(8, dtype=np.int32), 2))
    changed = tmp_path / "inputs.zarr", tmp_path / "inputs.json"
    inputs.drop_attrs().to_zarr(changed[0], zarr_format=3, consolidated=False)
    write_manifest(*changed)
    paired = opened(decompose_into(tmp_path, activations["bos"], inputs=changed))
    documents = inputs["document"].values
    others = documents[:, None] != documents
    edges = [[int(edge) for edge in name.split("-")] for name in paired["query_bin"].values]
    np.testing.assert_array_equal(paired["query_edges"] - [0, 1], edges)
    queries = [last - first + 1 for first, last in edges]
    for lens in LENSES:
        early, late = (stored_grams(paired, which, lens, "residual") for which in ("early", "late"))
        expected = (((EARLY - 1) * early + (HALF - EARLY) * late) * others).sum(-1)
        profile = paired["profile"].sel(lens=lens, profile_component="residual").values
        summed = np.tensordot(queries, profile, 1)
        np.testing.assert_allclose(summed, expected, rtol=1e-3, atol=1e-4)


def test_identity_error_sees_a_wrong_decomposition():
    q, k = torch.randn(2, 4, LENGTH, 8), torch.randn(2, 2, LENGTH, 8)
    parts, _ = blocks.block_parts(q, k, 0.4, None)
    assert blocks.identity_error(q, k, 0.4, None, parts) < 1e-5
    for head in range(4):  # two K/V heads, each for a group of two
        parts.residual[0, head, HALF // 4, 3] += 0.01
        found = [blocks.identity_error(q, k, 0.4, None, parts, head=layer) for layer in range(3)]
        wanted = pytest.approx(0.01, rel=0.01)
        assert [error == wanted for error in found] == [layer % 2 == head % 2 for layer in range(3)]
        parts.residual[0, head, HALF // 4, 3] -= 0.01


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("lens", LENSES)
def test_fields_kept_have_the_grams_as_products(found, name, lens):
    x = found[name][f"early_{lens}"].values
    np.testing.assert_allclose(
        np.einsum("lhnk,lhmk->lhnm", x, x),
        stored_grams(found[name], "early", lens, "residual"),
        **CLOSE,
    )


def test_cross_grams(found, components, expected, attention, activations, decompose_into, tmp_path):
    """Of each reading, in float64 from eager attention; with itself: its own Gram."""
    (tmp_path / "own").mkdir()
    own = opened(decompose_into(tmp_path / "own", activations["bos"], reference=components["bos"]))
    other = opened(decompose_into(tmp_path, activations["no-bos"], reference=components["bos"]))
    early = BIN_QUERIES["early"]
    for lens in LENSES:
        stored = parts_stored(found["bos"], "early", lens)
        whole = stored_grams(found["bos"], "early", lens, "residual")
        np.testing.assert_allclose(own[f"cross_{lens}"], whole, **CLOSE)
        np.testing.assert_allclose(
            own[f"cross_{lens}_sink"], stored["row"] + stored["sink"], **CLOSE
        )
        for layer in range(3):
            x, y = (fields(expected[n][layer], lens, "residual") for n in ("no-bos", "bos"))
            np.testing.assert_allclose(
                other[f"cross_{lens}"][layer], grams_of(x, early, lens, y), **CLOSE
            )
            a, b = (parts_of(field, None) for field in (x, y))
            wanted = sum(grams_of(a[part], early, lens, b[part]) for part in ("row", "sink"))
            np.testing.assert_allclose(other[f"cross_{lens}_sink"][layer], wanted, **CLOSE)
            if lens == "log":  # as statistics have it: the rest of R
                pattern = other["cross_log"][layer] - other["cross_log_sink"][layer]
                wanted = grams_of(a["rest"], early, lens, b["rest"])
                np.testing.assert_allclose(pattern, wanted, **CLOSE)
    for layer in range(3):
        a, b = (patterns(attention[name][layer], None) for name in ("no-bos", "bos"))
        np.testing.assert_allclose(
            other["cross_probability_pattern"][layer],
            grams_of(a, early, "probability", b),
            **CLOSE,
        )


def test_control_noop_gives_exactly_the_numbers_of_bos(
    found, components, run, decompose_into, tmp_path
):
    noop = run(tmp_path, "control-noop")
    (tmp_path / "components").mkdir()
    made = opened(decompose_into(tmp_path / "components", noop))
    xr.testing.assert_equal(made, found["bos"].drop_vars(["write0", "value0"]))


def test_control_noop_on_a_few_inputs(found, components, run, decompose_into, tmp_path):
    noop = run(tmp_path, "control-noop", number=8)
    (tmp_path / "components").mkdir()
    made = opened(decompose_into(tmp_path / "components", noop, reference=components["bos"]))
    for lens in LENSES:
        gram = stored_grams(made, "early", lens, "residual")
        assert made[f"cross_{lens}"].shape == (3, 4, 8, 8)
        np.testing.assert_allclose(
            gram, stored_grams(found["bos"], "early", lens, "residual")[..., :8, :8], **CLOSE
        )
    np.testing.assert_array_equal(made["denominator"], found["bos"]["denominator"][:, :, :8])


def test_fields_are_left_out_unless_asked_for(activations, decompose_into, tmp_path):
    made = opened(decompose_into(tmp_path, activations["bos"], keep_fields=False))
    assert not [name for name in made.data_vars if name.startswith("early")]


def test_values_and_writes_of_one_token_at_position_0(found, activations):
    given = open_dataset(*activations["bos"])
    np.testing.assert_array_equal(found["bos"]["write0"], given["write0"])
    np.testing.assert_array_equal(found["bos"]["value0"], given["v0"][:, 0])
    assert not {"write0", "value0"} & set(found["no-bos"])


def test_an_arm_of_other_inputs_meets_those_of_its_reference(
    found, run, components, decompose_into, tmp_path
):
    """Inputs that no head is chosen on, in their own order, each beside itself under bos."""
    bos = components["bos"]
    made = run(tmp_path, "silence-top", reference=bos, held_out_of=16, number=6)
    own = opened(decompose_into(tmp_path, made, reference=bos, keep_fields=True))
    numbers = own.attrs["numbers"]
    assert numbers != list(range(6))
    assert own["document"].values.tolist() == found["bos"]["document"].values[numbers].tolist()
    for lens in ("log", "probability"):
        fields, others = own[f"early_{lens}"].values, found["bos"][f"early_{lens}"].values
        expected = fields @ others[:, :, numbers].swapaxes(-1, -2)
        np.testing.assert_allclose(own[f"cross_{lens}"], expected, rtol=1e-4, atol=1e-6)
        # In layer 0 nothing has been read yet: the same fields.
        np.testing.assert_allclose(fields[0], others[0][:, numbers], rtol=1e-4, atol=1e-5)


def test_bfloat16_activations(found, run, decompose_into, tmp_path):
    """Rounded inputs, float32 sums: near the float32 run, and decomposed without further loss."""
    (tmp_path / "components").mkdir()
    source = run(tmp_path, dtype="bfloat16")
    made = opened(decompose_into(tmp_path / "components", source))
    assert max(made.attrs["identity_error"]) < 1e-5
    difference = np.abs(made["attention"] - found["bos"]["attention"]).max()
    assert 0 < difference < 0.05


# the null that inputs without BOS must pass


@pytest.mark.parametrize("lens", LENSES)
def test_layer_0_without_bos_has_no_residual(found, lens):
    """Nothing there can tell positions apart but content."""
    dataset = found["no-bos"]
    gram = stored_grams(dataset, "early", lens, "residual")
    p = sign_flip_p(gram[0], flips=2000, documents=dataset["document"].values)
    assert (statistics.holm(p) > 0.05).all()


# blocks of heads


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (9, 3), (8, 8), (8, 1), (6, 3)])
@pytest.mark.parametrize("limit", [1, 5, 100, 10**9])
def test_head_blocks_tile_the_heads(heads, kv_heads, limit):
    blocks = list(component_store.head_blocks(heads, kv_heads, 1, limit))
    assert [h for b in blocks for h in range(b.start, b.stop)] == list(range(kv_heads))
    group = heads // kv_heads
    for block in blocks:
        size = (block.stop - block.start) * group
        assert size <= max(limit, group), "a block keeps within its bytes, or is one K/V head"


@pytest.mark.parametrize(("held", "block"), [(1, 1), (2**30, 1), (1, 2**28), (2**30, 40_000)])
def test_results_do_not_depend_on_blocks(
    found, activations, components, decompose_into, tmp_path, monkeypatch, held, block
):
    monkeypatch.setattr(component_store, "READ_BYTES", held)
    monkeypatch.setattr(component_store, "BLOCK_BYTES", {"cpu": block})
    monkeypatch.setattr(grid, "NARROWEST", 4)
    # Smallest blocks are slow: for them the arm that has most bins.
    for name in RUNS if block > 1 else ["window"]:
        (tmp_path / name).mkdir()
        made = opened(decompose_into(tmp_path / name, activations[name]))
        for field in made.data_vars:
            np.testing.assert_allclose(
                made[field], found[name][field], rtol=1e-5, atol=1e-6, err_msg=field
            )


def test_layers_take_turns_in_the_head_and_band_that_the_identity_is_checked_on(
    activations, decompose_into, tmp_path, monkeypatch
):
    heads, bands = [], []
    real = component_store.identity_error

    def checked(*given):
        heads.append(given[-1])
        bands.append(int(given[4].queries[0]))
        return real(*given)

    monkeypatch.setattr(grid, "NARROWEST", 4)
    monkeypatch.setattr(component_store, "identity_error", checked)
    made = opened(decompose_into(tmp_path, activations["bos"]))
    assert sorted(set(heads)) == [0, 1, 2]
    assert sorted(set(bands)) == [0, 4, 8]
    assert max(made.attrs["identity_error"]) < 1e-5


def test_results_do_not_depend_on_threads(found, activations, decompose_into, tmp_path):
    before = torch.get_num_threads()
    made = opened(decompose_into(tmp_path, activations["bos"], threads=2))
    xr.testing.assert_identical(made, found["bos"])
    assert torch.get_num_threads() == before


# faults


def spoilt(stored, folder, position=20):
    """A copy of an activation store with a NaN in one query, and a manifest that fits."""
    import zarr

    shutil.copytree(stored.store, folder / "spoilt.zarr")
    group = zarr.open_group(folder / "spoilt.zarr", mode="r+")
    group["q"][1, 9, 2, position, 5] = np.nan
    write_manifest(folder / "spoilt.zarr", folder / "spoilt.json")
    return folder / "spoilt.zarr", folder / "spoilt.json"


@pytest.mark.parametrize("position", [20, 12])
def test_a_nan_is_named_and_leaves_nothing(
    activations, decompose_into, tmp_path, monkeypatch, position
):
    """In a reference query, which all bands read, and in an early one, of a single band."""
    monkeypatch.setattr(grid, "NARROWEST", 4)
    source = spoilt(activations["bos"], tmp_path, position)
    (tmp_path / "out").mkdir()
    with pytest.raises(NonFiniteError, match="layer 1, head 2, input 9: NaN") as error:
        decompose_into(tmp_path / "out", source)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_altered_activations_are_refused(activations, decompose_into, tmp_path):
    store = tmp_path / "copy.zarr"
    shutil.copytree(activations["bos"].store, store)
    (store / "q" / "zarr.json").unlink()
    with pytest.raises(StoreError, match=r"q/zarr\.json: missing"):
        decompose_into(tmp_path, (store, activations["bos"].manifest))
    assert [p.name for p in tmp_path.iterdir()] == ["copy.zarr"]


def test_progress_is_told(activations, decompose_into, tmp_path, lines):
    decompose_into(tmp_path, activations["bos"])
    assert lines() == ["tiny: 3/3 layers, about 0:00 left"]
