"""Every figure draws from any study, says what it must, and gives the same bytes for equal data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from abspos.csv_tables import read_csv, write_csv
from abspos.figures import FIGURES, compared, style, tidy
from abspos.figures.attention_rows import telling_heads
from abspos.figures.facts import Facts, facts
from abspos.figures.save import load, save, with_stable_ids

ROOT = Path(__file__).parents[2]
#: Figures of tables that have rows in every study.
IN_EVERY_STUDY = {
    "claims_forest",
    "components_by_layer",
    "components_by_query",
    "readings_by_layer",
    "residual_split",
}


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def read_by(name: str, tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables that a figure declares, and no other."""
    return {key: tables[key] for key in facts(name).tables}


@pytest.fixture(scope="session")
def draw(stores_of):
    """draw(name, tables) with the stores that those tables go with."""

    def drawn(name, tables):
        tables = read_by(name, tables)
        return load(name)(tables, stores_of(tables))

    return drawn


@pytest.fixture(scope="session")
def usual(stores_of, tables_of):
    """usual(name, models=1) -> the figure of an unchanged study at level 0.9, drawn once."""

    @cache
    def drawn(name: str, models: int) -> Figure:
        tables = read_by(name, tables_of(models=models))
        return load(name)(tables, stores_of(tables), 0.9)

    return lambda name, models=1: drawn(name, models)


@pytest.mark.parametrize("name", FIGURES)
def test_modules_say_what_they_need(name, tables_of):
    declared = facts(name)
    assert declared.tables
    assert set(declared.tables) <= set(tables_of())
    assert all(len(arm.split("/")) == 2 for arm in declared.stores)
    assert declared.category
    assert declared.label
    assert len(declared.caption) > 100


@pytest.mark.parametrize("name", FIGURES)
def test_figures_state_inputs_models_and_level(name, usual):
    shown = texts(usual(name))
    assert "N = 16 inputs" in shown or name == "repeats", "controls.csv has no N"
    assert "model-0 @ b179c952" in shown
    assert "90 %" in shown or "interval" in shown


@pytest.mark.parametrize("name", FIGURES)
def test_every_model_has_its_part(name, usual):
    shown = texts(usual(name, models=3))
    assert all(f"model-{i} @ " in shown for i in range(3))


@pytest.mark.parametrize("name", FIGURES)
def test_drawing_renders_no_figure_on_the_way(name, draw, tables_of, monkeypatch):
    """A renderer holds every pixel: one for each label took 14 GB where there were 16 models."""
    made, begin = [], RendererAgg.__init__

    def counted(self, *args):
        made.append(args)
        begin(self, *args)

    monkeypatch.setattr(RendererAgg, "__init__", counted)
    draw(name, tables_of(models=3))
    assert len(made) <= 3, "one for each model at most"


@pytest.mark.parametrize("name", FIGURES)
def test_tables_without_rows_give_a_figure_that_says_so(name, tables_of):
    """Which is small and names no model, where a study may have none of its rows."""
    empty = {key: table.iloc[:0] for key, table in read_by(name, tables_of()).items()}
    figure = load(name)(empty, {})
    assert "study" in texts(figure)
    if name not in IN_EVERY_STUDY:
        assert "no model @" not in texts(figure)
        assert not re.search(r"\bN\b|interval", texts(figure)), "of what would be shown"
        assert figure.get_figheight() < 2.5


@pytest.mark.parametrize("name", FIGURES)
def test_estimates_that_are_nan_leave_gaps(name, draw, tables_of):
    def without(rows):
        return {
            key: table.assign(
                **{c: table[c].mask(rows(table)) for c in table.select_dtypes("float")}
            )
            for key, table in read_by(name, tables_of()).items()
        }

    draw(name, without(lambda table: table.index % 2 == 0))
    draw(name, without(lambda table: table.index >= 0))


# a new figure


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> tuple[Facts, Callable[..., Figure]]:
    """What the example of docs/extending.md declares, and what it draws with."""
    text = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"(?ms)^## A figure\n.*?^```python\n(.*?)^```", text)
    folder = tmp_path_factory.mktemp("figures")
    (folder / "loss.py").write_text(source, encoding="utf-8")
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(source, "example", "exec"), names)
    return facts("loss", folder), names["draw"]


def test_the_example_of_the_docs_meets_what_every_figure_meets(example, tables_of):
    declared, draw_example = example
    assert declared.label not in {facts(name).label for name in FIGURES}
    assert len(declared.caption) > 100
    several = tables_of(models=4)
    assert set(declared.tables) <= set(several)
    shown = texts(draw_example(several, confidence=0.9))
    assert all(f"model-{i} @ " in shown for i in range(4))
    assert "N = 16 inputs" in shown
    assert "90 %" in shown
    assert "study" in texts(draw_example({"loss": several["loss"].iloc[:0]}))
    without = several["loss"][several["loss"]["condition"] == "no-bos"]
    assert "no reference arm" not in texts(draw_example({"loss": without}))


# models beside each other


@pytest.mark.parametrize("name", FIGURES)
def test_height_does_not_grow_with_the_number_of_models(name, usual):
    assert usual(name, models=3).get_figheight() < 1.6 * usual(name).get_figheight()


def data_of(ax: Axes) -> list[np.ndarray]:
    """Points (point, axis) of all that a panel draws in its own coordinates."""
    found = [line.get_xydata() for line in ax.lines if line.get_transform() == ax.transData]
    for one in ax.collections:
        marks = isinstance(one, PathCollection)
        found += [one.get_offsets()] if marks else [path.vertices for path in one.get_paths()]
    return [np.asarray(points, dtype=float) for points in found if len(points)]


@pytest.mark.parametrize("name", FIGURES)
def test_no_panel_is_empty(name, usual, draw, tables_of):
    """Of a model that has other arms than the rest too."""

    def few(table):
        own = table["model"] == "model-1"
        return table[~own | (table["variant"] == "untrained")] if "variant" in table else table

    tables = read_by(name, tables_of(models=2))
    fewer = {key: few(table) for key, table in tables.items()}
    other = any(len(fewer[key]) < len(table) for key, table in tables.items())
    for figure in [usual(name, models=3)] + [draw(name, fewer)] * other:
        for ax in figure.axes:
            if ax.axison and not ax.images:
                shown = [points for points in data_of(ax) if np.isfinite(points).any()]
                assert shown or ax.texts, (ax.get_title(), ax.get_ylabel())


@pytest.mark.parametrize("models", [1, 2])
@pytest.mark.parametrize("name", sorted({*FIGURES} - {"attention_rows", "position0", "head_maps"}))
def test_intervals_beyond_an_axis_are_printed(name, models, draw, tables_of):
    """Wide intervals leave the axes of some figures; these print how far they reach."""

    def widened(table):
        middle = (table["ci_low"] + table["ci_high"]) / 2 if "ci_low" in table else None
        ends = {"ci_low": -1, "ci_high": 1} if middle is not None else {}
        return table.assign(
            **{end: middle + sign * (40 * middle.abs() + 40) for end, sign in ends.items()}
        )

    tables = read_by(name, tables_of(models=models))
    tables = {key: widened(table) for key, table in tables.items()}
    for ax in draw(name, tables).axes:
        if not ax.axison or not data_of(ax):
            continue
        points = np.concatenate(data_of(ax))
        low, high = np.sort(ax.get_ylim())
        outside = ((points[:, 1] < low) | (points[:, 1] > high)).any()
        assert not outside or "intervals reach" in texts(ax), (ax.get_title(), ax.get_ylabel())


def test_what_is_printed_of_shares_lies_beyond_them(usual):
    """Where curves run along 0 and 1, which would cross it."""
    figure = usual("readings_by_layer")
    figure.draw_without_rendering()
    for ax in figure.findobj(Axes):
        printed = [t for t in ax.texts if "intervals reach" in t.get_text()]
        for low, high in (t.get_window_extent().intervaly for t in printed):
            edges = [ax.transData.transform((0, y))[1] for y in (0, 1)]
            assert low >= edges[1] or high <= edges[0]


def test_readers_show_every_reading_and_all_models_in_one_row(usual):
    one, three = (usual("readers", models=n) for n in (1, 3))
    for figure in (one, three):
        assert [ax.get_title() for ax in figure.axes[:3]] == ["R", "sink", "pattern"]
        assert len(figure.axes) == 6, "two numbers in three readings"
        rows = [text.get_text() for text in figure.axes[0].get_yticklabels()]
        assert rows == ["readers", "others", "all", "readers less others", "silence-top"]
    marks = [
        [line for line in f.axes[0].lines if line.get_marker() != "None"] for f in (one, three)
    ]
    assert [len(found) for found in marks] == [5 * 2, 5 * 2 * 3]
    assert len({line.get_color() for line in marks[1]}) == 3
    places = np.array([line.get_ydata()[0] for line in marks[1]])
    assert len(set(places)) == len(places), "no mark covers another"
    assert set(places.round()) == set(range(5))


def test_models_share_the_axis_of_a_dose(usual):
    one, three = (usual("dose", models=n) for n in (1, 3))
    assert len(one.axes) == len(three.axes) == 10
    colors = {line.get_color() for line in three.axes[0].lines if line.get_marker() != "None"}
    assert len(colors) == 3


def test_a_number_with_one_dose_has_no_panel(draw, tables_of):
    tables = dict(tables_of())
    changes = tables["changes"]
    gone = (changes["number"] == "reduction of mask energy") & (changes["factor"] != 2.0)
    tables["changes"] = changes.assign(estimate=changes["estimate"].mask(gone))
    labels = [ax.get_ylabel() for ax in draw("dose", tables).axes]
    assert not any("mask" in label for label in labels)
    assert any("loss" in label for label in labels)


def test_models_share_the_panel_of_a_number_by_source(usual, draw, tables_of):
    tables = dict(tables_of(models=2))
    one = usual("by_source")
    # The second model is decided by another reading than the first.
    for name in ("claims", "sensitivity"):
        table = tables[name]
        own = (table["model"] == "model-1") & table["reading"].isin(["R", "pattern"])
        deciding = (table["reading"] == "pattern") & (table["lens"] == "log")
        tables[name] = table.assign(primary=table["primary"].mask(own, deciding))
    two = draw("by_source", tables)
    shown = [[ax.get_title(loc="left") for ax in f.axes if ax.axison] for f in (one, two)]
    assert "ntk-suppresses, R" in shown[0]
    assert "ntk-suppresses, R or pattern" in shown[1]
    assert len(shown[0]) == len(shown[1])
    units = [ax.get_xlabel().split("(")[-1] for ax in two.axes if ax.axison]
    assert set(units) == {"nats²)", "share)"}


def test_kinds_of_layers_of_a_hybrid_stand_as_models_of_their_own():
    run = {"model": "m", "revision": "1"}
    other = {"model": "n", "revision": "1", "kind": "full"}
    rows = [
        run | {"kind": "full+sliding", "summary": "median", "estimate": 1.0},
        run | {"kind": "full+sliding", "summary": "", "estimate": 2.0},
        run | {"kind": "full", "summary": "median", "estimate": 3.0},
        run | {"kind": "sliding", "summary": "median", "estimate": 4.0},
        other | {"summary": "median", "estimate": 5.0},
    ]
    table = pd.DataFrame(rows)
    found = tidy.by_kind(table)
    shown = {model: list(part["estimate"]) for model, part in found.groupby("model")}
    assert shown == {"m (full)": [2.0, 3.0], "m (sliding)": [2.0, 4.0], "n": [5.0]}
    assert tidy.title("m (full, theta 1e6)", "0" * 12) == "m @ 00000000\n(full, theta 1e6)"
    alone = table[table["kind"].isin(["full", "sliding"])]  # a table without rows over both
    assert set(tidy.by_kind(alone)["model"]) == {"m (full)", "m (sliding)", "n"}
    plain = table.drop(columns="kind")
    assert tidy.by_kind(plain) is plain


def test_sliding_layers_are_marked_in_maps_of_heads(draw, tables_of):
    def hybrid(table):
        return table.assign(kind=(table["layer"] % 3 == 2).map({True: "full", False: "sliding 9"}))

    tables = dict(tables_of(models=2))
    bare = draw("head_maps", tables)
    tables |= {name: hybrid(tables[name]) for name in ("energies", "sinks")}
    marked = draw("head_maps", tables)
    assert "sliding layers of models that have others too" in texts(marked)
    bars = [len(ax.lines) for ax in marked.axes if ax.get_xlabel() == "head"]
    assert bars == [4] * 6
    assert not any(ax.lines for ax in bare.axes)


def test_models_share_the_axis_of_a_claim(usual):
    one, three = (usual("claims_forest", models=n) for n in (1, 3))
    assert len(one.axes) == len(three.axes)
    panel = three.axes[0]
    bars = [
        line for line in panel.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2
    ]
    rows = {
        round(float(line.get_ydata()[0]))
        for line in bars
        if line.get_transform() == panel.transData
    }
    colors = {line.get_color() for line in bars if line.get_transform() == panel.transData}
    assert len(rows) == len(panel.get_yticks()) == 20
    assert len(colors) == 3


def test_verdicts_that_differ_between_models_are_counted(draw, tables_of):
    tables = dict(tables_of(models=3))
    claims = tables["claims"]
    swapped = (claims["model"] == "model-1") & (claims["claim"] == "bos-swap")
    tables["claims"] = claims.assign(verdict=claims["verdict"].mask(swapped, "opposite"))
    shown = " ".join(texts(draw("claims_forest", tables)).split())
    assert "2 direction only; 1 opposite" in shown


def test_models_share_the_scale_of_a_component(usual):
    axes = usual("components_by_layer", models=3).axes
    rows = [axes[i : i + 3] for i in range(0, len(axes), 3)]
    assert len(rows) == 8, "four places in two lenses"
    assert all(len({ax.get_ylim() for ax in row}) == 1 for row in rows)
    assert [ax.get_title() for ax in rows[0]] == [
        "model-0 @ b179c952",
        "model-1 @ step1000",
        "model-2 @ b179c952",
    ]


# panels that say something, and all that they say


def test_a_lens_with_one_anchor_has_no_panel(draw, tables_of):
    tables = dict(tables_of())
    balance = tables["balance"]
    last = balance[balance["anchor"] == 63].assign(lens="probability")
    tables["balance"] = pd.concat([balance, last], ignore_index=True)
    figure = draw("balance", tables)
    assert [ax.get_title() for ax in figure.findobj(Axes)] == ["log lens"]
    assert "probability lens at one anchor only: balance.csv" in texts(figure)


def test_a_kind_of_variant_with_one_dose_has_no_panel(draw, tables_of):
    tables = dict(tables_of())
    changes = tables["changes"]
    tables["changes"] = changes[changes["window"] != 16]
    labels = [ax.get_xlabel() for ax in draw("dose", tables).findobj(Axes)]
    assert [label for label in labels if label] == ["NTK factor"]
    tables["changes"] = changes[(changes["window"] != 16) & ~changes["factor"].isin([0.5, 2.0])]
    assert "fewer than two windows" in texts(draw("dose", tables))


#: Verdicts are marks without a scale; units of maps stand at their colour bars.
@pytest.mark.parametrize("models", [1, 3])
@pytest.mark.parametrize("name", sorted({*FIGURES} - {"verdicts", "head_maps"}))
def test_every_axis_is_labelled(name, models, usual):
    """Panels that share an axis need its label once; rows of a forest have names."""
    for ax in usual(name, models=models).findobj(Axes):
        if not ax.axison:
            continue
        across = [one.get_xlabel() for one in ax.get_shared_x_axes().get_siblings(ax)]
        up = [one.get_ylabel() for one in ax.get_shared_y_axes().get_siblings(ax)]
        assert any(across) or not ax.get_xticks().size, ax.get_title()
        named = (
            isinstance(ax.yaxis.get_major_formatter(), FuncFormatter) or not ax.get_yticks().size
        )
        assert any(up) or named, ax.get_title()


def test_what_lies_beyond_an_axis_is_printed(draw, tables_of):
    tables = dict(tables_of())
    profile = tables["profile"]
    window = (profile["variant"] == "window") & (profile["lens"] == "log")
    tables["profile"] = profile.assign(ci_low=profile["ci_low"].mask(window, -0.7))
    figure = draw("components_by_query", tables)
    printed = [ax.get_title() for ax in figure.findobj(Axes) if "intervals reach −0.7" in texts(ax)]
    assert printed == ["window"]
    swaps = tables["swaps"]
    far = (swaps["replacement"] == "ablate-zero") & (swaps["number"] == "energy reduction")
    tables["swaps"] = swaps.assign(estimate=swaps["estimate"].mask(far, 2.5))
    assert texts(draw("bos_swap", tables)).splitlines().count("250") == 6


# names stay text

ODD = {"model-0": "0042", "standard": "None", "ntk": "1e5", "untrained": "NA", "window": "true"}


@pytest.mark.parametrize("name", FIGURES)
def test_names_are_shown_as_they_are(name, draw, tables_of, tmp_path):
    compares = name in ("components_by_query", "components_by_layer", "balance")
    # Other figures look for the variant standard by its name.
    odd = ODD | {"untrained-window": "null"} if compares else {"model-0": ODD["model-0"]}
    tables = {key: table.replace(odd) for key, table in read_by(name, tables_of()).items()}
    paths = {key: tmp_path / f"{key}.csv" for key in tables}
    for key, path in paths.items():
        write_csv(tables[key], path)
    read = {key: read_csv(path) for key, path in paths.items()}
    shown = texts(draw(name, read))
    assert "0042 @ b179c952" in shown
    if compares:
        assert {"None", "1e5", "NA", "true", "null"} <= set(shown.splitlines())


def test_sources_have_rows_and_one_source_says_so(usual, draw, tables_of):
    tables = dict(tables_of())
    figure = usual("by_source")
    named = {tuple(t.get_text() for t in ax.get_yticklabels()) for ax in figure.findobj(Axes)}
    assert ("all", "code", "plays") in named
    alone = tables["sensitivity"]["choice"].str.startswith(("source ", "without "))
    one = draw("by_source", tables | {"sensitivity": tables["sensitivity"][~alone]})
    assert "one source of text" in texts(one)
    assert "plays" not in texts(usual("verdicts"))


def test_tokens_are_no_formulas(draw, tables_of):
    tables = dict(tables_of())
    tables["swaps"] = tables["swaps"].replace({'" the"': '"$a$"'})
    assert r'swap-token-1 "\$a\$"' in texts(draw("bos_swap", tables))


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

    tables = {key: without(table) for key, table in read_by(name, tables_of()).items()}
    shown = texts(draw(name, tables))
    assert "no standard" not in shown
    assert "no arm" not in shown
    quiet = ("claims_forest", "verdicts", "position0", "factorial", "by_source", "fingerprint")
    quiet += ("repeats",)
    assert "no-bos" in shown or name in quiet


@pytest.mark.parametrize("name", FIGURES)
def test_of_many_revisions_a_few_have_their_part(name, draw, tables_of):
    def many(table):
        of_one = [table.assign(revision=f"step{i}") for i in range(9)]
        return pd.concat(of_one, ignore_index=True)

    tables = {key: many(table) for key, table in read_by(name, tables_of()).items()}
    words = " ".join(texts(draw(name, tables)).split())
    drawn = [i for i in range(9) if re.search(rf"model-0 @ step{i}\b", words)]
    if name == "schematic":  # an illustration, which needs no more than the last
        assert drawn == [8]
        return
    assert drawn == [0, 2, 4, 6, 8]
    assert "4 further revisions are only in the tables" in words


@pytest.mark.parametrize("name", FIGURES)
def test_of_many_runs_each_model_has_its_last(name, draw, usual, tables_of):
    """Where there are more than colours, and more than a page holds."""

    def many(table):
        of_one = [table.assign(revision=f"step{i}") for i in range(4)]
        return pd.concat(of_one, ignore_index=True)

    tables = {key: many(table) for key, table in read_by(name, tables_of(models=3)).items()}
    figure = draw(name, tables)
    words = " ".join(texts(figure).split())
    assert all(f"model-{i} @ step3" in words for i in range(3))
    assert not any(f"@ step{i}" in words for i in range(3))
    assert "9 further revisions are only in the tables" in words
    assert (figure.get_size_inches() <= 1.05 * usual(name, models=3).get_size_inches()).all()


@pytest.mark.parametrize("models", [1, 2, 3, compared.ABREAST])
@pytest.mark.parametrize("name", FIGURES)
def test_titles_of_panels_lie_beside_each_other(name, models, usual):
    figure = usual(name, models=models)
    figure.draw_without_rendering()
    titles = [
        (ax, text.get_text(), text.get_window_extent())
        for ax in figure.axes
        for text in (ax.title, ax._left_title, ax._right_title)
        if ax.get_visible() and text.get_text().strip()
    ]
    for ax, text, box in titles:
        assert box.x1 <= figure.bbox.x1, text
        for other, words, place in titles:
            assert other is ax or not box.overlaps(place), (text, words)


def test_equal_data_give_equal_bytes(tables_of, tmp_path):
    path = tmp_path / "layers.csv"
    tables_of()["layers"].to_csv(path, index=False)
    suffixes = ("svg", "pdf", "png")
    for i in range(2):
        outputs = [tmp_path / f"{i}.{suffix}" for suffix in suffixes]
        save("components_by_layer", {"layers": path}, {}, outputs)
    for suffix in suffixes:
        one, other = ((tmp_path / f"{i}.{suffix}").read_bytes() for i in range(2))
        assert one == other, suffix


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_saved_from_files(name, tables_of, stores_of, tmp_path):
    tables = read_by(name, tables_of())
    paths = {key: tmp_path / f"{key}.csv" for key in tables}
    for key, path in paths.items():
        tables[key].to_csv(path, index=False)
    # In the other formats one of curves (above), and those that hold more than lines and text.
    suffixes = ("svg", "pdf") if name in ("head_maps", "attention_rows") else ("svg",)
    outputs = [tmp_path / "figures" / f"{name}.{suffix}" for suffix in suffixes]
    save(name, paths, stores_of(tables), outputs)
    assert all(output.stat().st_size > 1000 for output in outputs)
    assert sorted(outputs[0].parent.iterdir()) == sorted(outputs)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="not one of schematic, "):
        save("os", {}, {}, [])
    with pytest.raises(ValueError, match="no table 'profile' given"):
        save("components_by_query", {}, {}, [])
    with pytest.raises(ValueError, match="can be pdf, svg or png"):
        save("balance", {"balance": tmp_path / "balance.csv"}, {}, [tmp_path / "balance.gif"])


def test_looks_are_fixed_and_distinct_without_colour():
    looks = style.variants(["mine", "window", "standard", "zz"])
    assert list(looks) == ["standard", "window", "mine", "zz"]
    assert looks["standard"] == style.variants(["standard"])["standard"]
    for family in (style.COMPONENTS, style.VARIANTS):
        shapes = {(str(look.linestyle), look.marker, look.filled) for look in family.values()}
        assert len(shapes) == len(family)


def test_as_many_runs_share_an_axis_as_there_are_colours():
    assert len(set(style.MODELS)) == len(style.MODELS) == tidy.MOST_RUNS


def test_revisions_are_short():
    assert tidy.short("b179c9523d0e6a0f98a330c7562b682750a6f8c8") == "b179c952"
    assert tidy.short("step143000") == "step143000"


def test_telling_heads_differ():
    place = pd.MultiIndex.from_product([range(2), range(3)], names=["layer", "head"])
    frame = pd.DataFrame(index=place).reset_index()
    energies = pd.concat(
        [frame.assign(lens=lens, energy=[5.0, 9, 1, 2, 3, 4]) for lens in style.LENSES]
    )
    sinks = frame.assign(sink_excess=[0.8, 0.9, 0, 0, 0, 0])
    near = np.array([[0, 0, 0, 1, 0, 0.5]]).reshape(2, 3)
    chosen = telling_heads(energies, sinks, near)
    assert [(h.layer, h.head) for h in chosen] == [(0, 1), (1, 2), (1, 0), (0, 2)]


def test_exact_zeros_have_their_own_tick(usual):
    assert "exactly 0" in texts(usual("position0"))


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
    table = tables["sensitivity"].iloc[:1].assign(lens=np.nan, choice="half 1")
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
    assert list(tidy.base(rows).index) == [0, 2]
    assert tidy.base(rows, lens="probability").empty
    assert tidy.base(rows[:0]).empty
    assert tidy.under(tidy.base(rows)) == "condition bos (no-bos: b)"
    assert tidy.under(rows[:1]) == tidy.under(rows[:0]) == "condition bos"


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
    assert tidy.hybrid_sliding(rows) == [0, 2]
    assert tidy.hybrid_sliding(rows[rows["variant"] == "window"]) == []
    assert tidy.hybrid_sliding(rows.drop(columns="kind")) == tidy.hybrid_sliding(rows[:0]) == []
    assert tidy.pooled(rows) == tidy.pooled(rows.drop(columns="kind")) == ""
    mixed = rows.assign(kind="full+sliding")
    assert tidy.pooled(mixed) == "; means over layers of several kinds: full+sliding"


def test_clip_paths_are_named_by_the_drawing_alone():
    """Their own names hang on digits that are not drawn, and differed between two equal runs."""
    one, other, moved = (
        f'<path d="{x}" clip-path="url(#{a})"/><path clip-path="url(#{b})"/>'
        f'<clipPath id="{a}"/><clipPath id="{b}"/>'
        for x, a, b in (("1", "pa6f0", "p12"), ("1", "p6a8f", "p34"), ("2", "pa6f0", "p12"))
    )
    assert with_stable_ids(one) == with_stable_ids(other)
    assert with_stable_ids(one) != with_stable_ids(moved), "two drawings may stand on one page"
    assert with_stable_ids(one).count("-0") == with_stable_ids(one).count("-1") == 2
    assert with_stable_ids("<svg/>") == "<svg/>"


def test_one_repeated_token_is_shown_without_and_after_bos(usual):
    shown = texts(usual("repeats"))
    assert {"control-repeat", "control-repeat-bos"} <= set(shown.splitlines())
