"""Every figure draws from any study, says what it must, and gives the same bytes for equal data."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text

from abspos.csv_tables import read_csv
from abspos.figures import FIGURES, style
from abspos.figures.save import load, save


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.fixture
def draw(stores_of):
    """draw(name, tables) with the stores that those tables go with."""

    def drawn(name, tables, confidence=0.95):
        figure = load(name).draw(tables, stores_of(tables), confidence)
        figure.canvas.draw()
        return figure

    return drawn


@pytest.mark.parametrize("name", FIGURES)
def test_modules_say_what_they_need(name, tables_of):
    module = load(name)
    assert module.TABLES
    assert set(module.TABLES) <= set(tables_of())
    assert all(len(arm.split("/")) == 2 for arm in module.STORES)
    assert module.CATEGORY
    assert set(module.LABELS) == {"figure", "shows"}
    assert len(module.CAPTION) > 100


@pytest.mark.parametrize("name", FIGURES)
def test_figures_state_inputs_models_and_level(name, draw, tables_of):
    shown = texts(draw(name, tables_of(), confidence=0.9))
    assert "N = 16 inputs" in shown
    assert "model-0 @ b179c952" in shown
    assert "90 %" in shown or "interval" in shown


@pytest.mark.parametrize("name", FIGURES)
def test_every_model_has_its_part(name, draw, tables_of):
    shown = texts(draw(name, tables_of(models=4)))
    assert all(f"model-{i} @ " in shown for i in range(4))


@pytest.mark.parametrize("name", FIGURES)
def test_tables_without_rows_give_a_figure_that_says_so(name, draw, tables_of):
    empty = {key: table.iloc[:0] for key, table in tables_of().items()}
    figure = load(name).draw(empty, {})
    figure.canvas.draw()
    assert "study" in texts(figure)


@pytest.mark.parametrize("name", FIGURES)
def test_estimates_that_are_nan_leave_gaps(name, draw, tables_of):
    def without(rows):
        return {
            key: table.assign(
                **{c: table[c].mask(rows(table)) for c in table.select_dtypes("float")}
            )
            for key, table in tables_of().items()
        }

    draw(name, without(lambda table: table.index % 2 == 0))
    draw(name, without(lambda table: table.index >= 0))


def test_a_study_without_window_says_so(draw, tables_of):
    shown = texts(draw("components_by_layer", tables_of(windowed=False)))
    assert "no windowed arm in this study" in shown


def test_beyond_each_window_has_its_row(draw, tables_of):
    tables = dict(tables_of())
    layers = tables["layers"]
    wider = layers[layers["bin"] == "beyond"].assign(window=48.0)
    tables["layers"] = pd.concat([layers, wider], ignore_index=True)
    figure = draw("components_by_layer", tables)
    titles = [ax.get_title() for ax in figure.findobj(Axes)]
    assert [t for t in titles if "beyond" in t] == [
        f"residual, queries beyond {w} keys ({lens} lens)"
        for w in (32, 48)
        for lens in ("log", "probability")
    ]
    of_one = [len(ax.get_lines()) for ax in figure.findobj(Axes) if "beyond 32" in ax.get_title()]
    assert len(set(of_one)) == 1, "a line per variant, not one per window"


@pytest.mark.parametrize("name", sorted({*FIGURES} - {"bos_swap", "readers", "controls"}))
def test_models_without_bos_are_drawn_under_no_bos(name, draw, tables_of):
    def without(table):
        if "condition" not in table:
            return table
        rows = table[table["condition"] == "bos"]
        return rows.assign(condition="no-bos") if len(rows) else table

    tables = {key: without(table) for key, table in tables_of().items()}
    shown = texts(draw(name, tables))
    assert "no standard" not in shown
    assert "no arm" not in shown
    assert "no-bos" in shown or name in ("claims_forest", "verdicts", "position0")


@pytest.mark.parametrize("name", FIGURES)
def test_of_many_revisions_a_few_have_their_part(name, draw, tables_of):
    def many(table):
        of_one = [table.assign(revision=f"step{i}") for i in range(30)]
        return pd.concat(of_one, ignore_index=True)

    tables = {key: many(table) for key, table in tables_of().items()}
    shown = texts(draw(name, tables))
    drawn = [i for i in range(30) if f"model-0 @ step{i}\n" in shown + "\n"]
    assert drawn == [0, 7, 14, 22, 29]
    assert "25 further revisions are in the tables alone" in " ".join(shown.split())


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_equal_data_give_equal_bytes(suffix, tables_of, tmp_path):
    path = tmp_path / "layers.csv"
    tables_of()["layers"].to_csv(path, index=False)
    outputs = [tmp_path / f"{i}.{suffix}" for i in range(2)]
    for output in outputs:
        save("components_by_layer", {"layers": path}, {}, [output])
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_saved_from_files(name, tables_of, stores_of, tmp_path):
    tables = tables_of()
    paths = {key: tmp_path / f"{key}.csv" for key in tables}
    for key, path in paths.items():
        tables[key].to_csv(path, index=False)
    outputs = [tmp_path / "figures" / f"{name}.{suffix}" for suffix in ("svg", "pdf")]
    save(name, paths, stores_of(tables), outputs)
    assert all(output.stat().st_size > 1000 for output in outputs)
    assert sorted(outputs[0].parent.iterdir()) == sorted(outputs)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="not one of components_by_query"):
        save("os", {}, {}, [])
    with pytest.raises(ValueError, match="no table 'profile' given"):
        save("components_by_query", {}, {}, [])
    with pytest.raises(ValueError, match="can be pdf, svg or png"):
        save("balance", {"balance": tmp_path / "balance.csv"}, {}, [tmp_path / "balance.gif"])


def test_tables_keep_names_as_text(tmp_path):
    path = tmp_path / "t.csv"
    pd.DataFrame({"revision": ["0123"], "token": ['"null"'], "energy": [np.nan]}).to_csv(path)
    row = read_csv(path).iloc[0]
    assert (row["revision"], row["token"]) == ("0123", '"null"')
    assert np.isnan(row["energy"])


def test_looks_are_fixed_and_distinct_without_colour():
    looks = style.variants(["mine", "window", "standard", "zz"])
    assert list(looks) == ["standard", "window", "mine", "zz"]
    assert looks["standard"] == style.variants(["standard"])["standard"]
    for family in (style.COMPONENTS, style.VARIANTS):
        shapes = {(str(look.linestyle), look.marker, look.filled) for look in family.values()}
        assert len(shapes) == len(family)


def test_revisions_are_short():
    assert style.short("b179c9523d0e6a0f98a330c7562b682750a6f8c8") == "b179c952"
    assert style.short("step143000") == "step143000"


def test_telling_heads_differ():
    heads = load("attention_rows")
    place = pd.MultiIndex.from_product([range(2), range(3)], names=["layer", "head"])
    frame = pd.DataFrame(index=place).reset_index()
    energies = pd.concat(
        [frame.assign(lens=lens, energy=[5.0, 9, 1, 2, 3, 4]) for lens in style.LENSES]
    )
    sinks = frame.assign(sink_excess=[0.8, 0.9, 0, 0, 0, 0])
    near = np.array([[0, 0, 0, 1, 0, 0.5]]).reshape(2, 3)
    chosen = heads.telling_heads(energies, sinks, near)
    assert [(h.layer, h.head) for h in chosen] == [(0, 1), (1, 2), (1, 0), (0, 2)]


def test_exact_zeros_have_their_own_tick(draw, tables_of):
    assert "exactly 0" in texts(draw("position0", tables_of()))


def test_numbers_without_a_verdict_are_shown_beside(draw, tables_of, tmp_path):
    tables = tables_of()
    claims = tables["claims"].assign(verdict="reproduced")
    claims.loc[claims.index[0], "verdict"] = ""
    claims.to_csv(tmp_path / "claims.csv", index=False)
    tables["claims"] = read_csv(tmp_path / "claims.csv")
    shown = texts(draw("claims_forest", tables)).splitlines()
    assert shown.count("shown beside") == 1
    assert "nan" not in shown


# models without BOS


def test_a_verdict_without_a_lens_stands_left(draw, tables_of):
    tables = tables_of()
    table = tables["sensitivity"].iloc[:1].assign(lens=np.nan, choice="halves exchanged")
    figure = draw("verdicts", tables | {"sensitivity": table})
    left, right = figure.findobj(Axes)
    assert (len(left.get_lines()), len(right.get_lines())) == (3, 1)  # two marks and the rule


def test_what_a_model_without_bos_has_stands_in_its_place():
    rows = pd.DataFrame(
        {
            "model": ["a", "a", "b"],
            "revision": "r",
            "condition": ["bos", "no-bos", "no-bos"],
            "lens": "log",
        }
    )
    assert list(style.base(rows).index) == [0, 2]
    assert style.base(rows, lens="probability").empty
    assert style.base(rows[:0]).empty
    assert style.under(style.base(rows)) == "condition bos (no-bos: b)"
    assert style.under(rows[:1]) == style.under(rows[:0]) == "condition bos"


# layers of several kinds


def test_hybrids_are_marked():
    kinds = ["sliding", "full", "sliding"]
    rows = pd.DataFrame(
        {
            "variant": ["standard"] * 3 + ["window"] * 3,
            "layer": [0, 1, 2] * 2,
            "kind": kinds + ["sliding"] * 3,
        }
    )
    assert style.hybrid_sliding(rows) == [0, 2]
    assert style.hybrid_sliding(rows[rows["variant"] == "window"]) == []
    assert style.hybrid_sliding(rows.drop(columns="kind")) == style.hybrid_sliding(rows[:0]) == []
    assert style.pooled(rows) == style.pooled(rows.drop(columns="kind")) == ""
    mixed = rows.assign(kind="full+sliding")
    assert style.pooled(mixed) == "; means over layers of several kinds: full+sliding"
