"""index.html: self-contained, and without a number or verdict that the tables do not carry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from abspos.claims import verdicts
from abspos.claims.registry import CLAIMS
from abspos.claims.sensitivity import fragile
from abspos.csv_tables import read_csv, write_csv
from abspos.report.numbers import with_sources
from abspos.report.page import MOST_NAMED, SIGNS, judged, others, page, studied, write
from abspos.report.pictures import picture

VOID = {"meta", "br", "img", "input", "path", "use", "hr", "link"}
SETTINGS: Mapping[str, Any] = {
    "study": "mine",
    "seed": 7,
    "models": [{"name": "m", "source": {"type": "random"}}],
    "inputs": {"number": 256, "length": 64},
    "bins": {"early": 16},
    "statistics": {"confidence": 0.9},
}
DRAWN = """<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg"><metadata>by x</metadata><style>*{a:b}</style>
<defs><path id="A" d="M0 0"/></defs><g clip-path="url(#A)"><use xlink:href="#A"/></g></svg>
"""


class Reader(HTMLParser):
    """Elements with their attributes and text, leaving out styles and folded settings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[dict[str, Any]] = []
        self.elements: list[dict[str, Any]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        element = {"tag": tag, "text": "", "in": [e["tag"] for e in self.open], **dict(attributes)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open, f"</{tag}> closes nothing"
            assert self.open.pop()["tag"] == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        tags = {element["tag"] for element in self.open}
        if not tags & {"style", "script", "pre", "code"}:
            for element in self.open:
                element["text"] += data

    def of(self, tag: str, **attributes: str) -> Iterator[dict[str, Any]]:
        for element in self.elements:
            if element["tag"] == tag and attributes.items() <= element.items():
                yield element


#: Enough of a head map to be shown; abspos.report.heads makes it.
HEADS: Mapping[str, Any] = {"runs": [], "maps": []}


def energies() -> pd.DataFrame:
    """Energies of two heads in one arm."""
    row = {"model": "m", "revision": "r", "variant": "standard", "condition": "bos", "layer": 0}
    row |= {"bin": "early", "lens": "log", "component": "mask", "kind": "full", "p_adjusted": 0.5}
    row |= {"energy": 0.1, "ci_low": 0.0, "ci_high": 0.2}
    return pd.DataFrame([row | {"head": 0}, row | {"head": 1}])


def tables(seed: int = 0, models: tuple[str, ...] = ("m",)) -> dict[str, pd.DataFrame]:
    """Tables of a study in which every claim has two numbers in both lenses and all readings."""
    rng = np.random.default_rng(seed)
    rows = []
    measured = [v for v in verdicts.VERDICTS if v != verdicts.NOT_TESTABLE]
    for model, claim, number, lens, reading in product(
        models,
        CLAIMS,
        ("a reduction", "a share"),
        ("log", "probability"),
        ("R", "sink"),
    ):
        value = rng.normal()
        rows.append(
            {
                "claim": claim.name,
                "model": model,
                "revision": "r",
                "arms": "standard/bos",
                "number": number,
                "lens": lens,
                "summary": "median",
                "estimate": value,
                "ci_low": value - 0.1 * abs(rng.normal()),
                "ci_high": value + 0.1 * abs(rng.normal()),
                "source_low": value - 0.2 if reading == "R" else np.nan,
                "source_high": value + 0.2 if reading == "R" else np.nan,
                "claimed": "> 0.1",
                "verdict": str(rng.choice(measured)),
                "primary": lens == "log" and reading == "R",
                "n_inputs": 256,
                "note": np.nan,
                "n_decides": np.nan,
                "preliminary": False,
                "reading": reading,
                "kind": "full",
                "fixed": "beforehand" if reading == "R" else "post hoc",
            }
        )
    claims = pd.DataFrame(rows)
    flips = claims[claims["primary"]].head(1).assign(choice="early 16", change="flips")
    keyed = {"model": models[0], "revision": "r"}
    balance = {"variant": "standard", "condition": "bos", "lens": "log", "anchor": 31}
    control = {"variant": "standard", "condition": "control-noop", "check": "identical"}
    checkpoint = {"repo": "owner/name", "commit": "abc", "tokens": np.nan, "gap": np.nan}
    return {
        "claims": fragile(claims, flips),
        "sensitivity": flips,
        "checkpoints": pd.DataFrame([{"model": m, "revision": "r", **checkpoint} for m in models]),
        "controls": pd.DataFrame([keyed | control | {"value": 0.0, "passed": True}]),
        "balance": pd.DataFrame(
            [keyed | balance | {"balance": 0.7, "ci_low": 0.6, "ci_high": 0.8}],
        ),
        "swaps": claims[claims["claim"] == "bos-swap"].assign(replacement="swap-token"),
    }


def numbers(text: str) -> set[str]:
    """Numbers of a text that are no whole ones, without sign."""
    return set(re.findall(r"\d+\.\d+(?:e[+-]?\d+)?", text))


def carried(found: Mapping[str, pd.DataFrame]) -> set[str]:
    """Every number of the tables, in the forms in which a page may show it."""
    values = np.concatenate(
        [table.select_dtypes("number").to_numpy(float).ravel() for table in found.values()]
    )
    values = np.abs(values[np.isfinite(values)])
    forms = (f"{v:.3g} {v:.2g} {100 * v:.1f}" for v in values)
    return {form for text in forms for form in text.split()}


@pytest.mark.parametrize("models", [("m",), ("m", "other")])
def test_it_shows_no_number_that_the_tables_do_not_carry(models) -> None:
    found = tables(models=models)
    text = " ".join(e["text"] for e in Reader(page(found, SETTINGS)).of("main"))
    shown = numbers(text.replace("arXiv 2606.06160", ""))
    assert len(shown) > 50
    assert shown <= carried(found)
    assert not numbers("0.123 [0.1, 0.2]") <= carried(found)  # the check can fail


def test_each_number_and_verdict_stands_on_the_line_of_claims_csv_that_it_names(tmp_path) -> None:
    found = tables(seed=3)
    write_csv(found["claims"], tmp_path / "claims.csv")
    written = read_csv(tmp_path / "claims.csv")
    details = Reader(page(found, SETTINGS)).of("details")
    shown = [element for element in details if "number" in str(element.get("class"))]
    assert len(shown) == len(written)
    for element in shown:
        line = int(element["data-line"])
        row = written.iloc[line - 2].to_dict()
        assert element["text"].startswith(with_sources(row))
        assert ("decides" in element["class"]) == row["primary"]
    explained = re.findall(
        r"abspos explain results/mine/claims\.csv:(\d+)</code></dd>", page(found, SETTINGS)
    )
    assert [int(line) for line in explained] == [int(e["data-line"]) for e in shown]


def test_every_verdict_of_a_claim_is_shown_and_no_other() -> None:
    found = tables(seed=5)
    html = page(found, SETTINGS)
    for claim, section in zip(
        CLAIMS, re.findall(r"<tbody[^>]*data-claim.*?</tbody>", html, re.DOTALL), strict=True
    ):
        badges = [
            e["text"].split(maxsplit=1)
            for e in Reader(section).of("span")
            if "badge" in str(e.get("class"))
        ]
        rows = found["claims"][found["claims"]["claim"] == claim.name]
        assert sorted(said for _, said in badges) == sorted(rows["verdict"])
        assert all(SIGNS[said.strip()][0] == sign for sign, said in badges)


def test_every_verdict_has_a_sign_of_its_own() -> None:
    assert set(SIGNS) == set(verdicts.VERDICTS)
    assert len({sign for sign, _ in SIGNS.values()}) == len(SIGNS)


def test_the_numbers_that_decide_come_first_and_others_are_left_to_the_table() -> None:
    found = tables()
    beside = found["claims"].head(1).assign(number="beside", primary=False, estimate=0.987)
    found["claims"] = pd.concat([beside, found["claims"]], ignore_index=True)
    for claim in judged(found["claims"]):
        deciding = [bool(line.row["primary"]) for line in claim.lines]
        assert deciding == sorted(deciding, reverse=True)
        assert {line.row["reading"] for line in claim.lines} == {"R", "sink"}
        assert "beside" not in {line.number for line in claim.lines}


def test_it_is_one_whole_page_that_fetches_nothing(tmp_path) -> None:
    (tmp_path / "head_maps.svg").write_text(DRAWN)
    (tmp_path / "position0.svg").write_text(DRAWN)
    drawn = [picture(tmp_path / f"{name}.svg") for name in ("head_maps", "position0")]
    html = page(tables() | {"energies": energies()}, SETTINGS, drawn, HEADS)
    assert html.startswith("<!doctype html>")
    assert 'id="heads"' in html
    assert 'id="energy-rows"' in html
    found = Reader(html)
    assert found.open == []
    for element in found.elements:
        source = element.get("src") or element.get("href") or element.get("xlink:href") or ""
        assert not re.match(r"\w+:|//", source) or source.startswith("data:")
    ids = [element["id"] for element in found.elements if "id" in element]
    assert len(ids) == len(set(ids))
    within = {e["href"][1:] for e in found.elements if str(e.get("href", "")).startswith("#")}
    assert within <= set(ids)
    assert not re.search(r"\{\{|\}\}|\{%|\bnan\b|\bNone\b", html.partition("</style>")[2])


def test_figures_are_in_the_order_of_the_argument_each_with_its_caption(tmp_path) -> None:
    names = ("readings_by_layer", "head_maps", "position0")
    for name in names:
        (tmp_path / f"{name}.svg").write_text(DRAWN)
    drawn = [picture(tmp_path / f"{name}.svg") for name in names]
    found = Reader(page(tables(), SETTINGS, drawn))
    shown = list(found.of("figure"))
    assert [element["id"] for element in shown] == [f"figure-{name}" for name in names]
    captions = [" ".join(element["text"].split()) for element in found.of("figcaption")]
    for one, caption in zip(drawn, captions, strict=True):
        assert one.caption in caption
    labels = [element["aria-label"] for element in found.of("svg", role="img")]
    assert labels == [one.label for one in drawn]


def test_the_head_map_stands_under_the_figure_of_heads_with_its_data(tmp_path) -> None:
    for name in ("head_maps", "position0"):
        (tmp_path / f"{name}.svg").write_text(DRAWN)
    drawn = [picture(tmp_path / f"{name}.svg") for name in ("head_maps", "position0")]
    html = page(tables(), SETTINGS, drawn, HEADS | {"level": "</script>"})
    places = [html.index(f'id="{name}"') for name in ("figure-head_maps", "heads")]
    assert places == sorted(places)
    assert places[-1] < html.index('id="figure-position0"')
    (data,) = re.findall(r'id="head-data">(.*?)</script>', html)
    assert json.loads(data) == {**HEADS, "level": "</script>"}
    assert 'id="heads"' not in page(tables(), SETTINGS, drawn)


def test_energies_are_on_the_page_or_behind_a_link() -> None:
    html = page(tables() | {"energies": energies()}, SETTINGS)
    (data,) = re.findall(r'id="energy-data">(.*?)</script>', html)
    (block,) = json.loads(data)
    assert block["energy"] == [0.1, 0.1]
    for shown in (html, page(tables(), SETTINGS)):
        assert 'href="statistics/energies.csv"' in shown
    assert "energy-data" not in page(tables(), SETTINGS).partition("<script>")[0]


def test_a_model_is_named_once_with_its_revisions_or_how_many_there_are() -> None:
    few = pd.DataFrame({"model": ["b", "a", "a"], "revision": ["r", "0", "1"]})
    assert studied(few) == ["b (r)", "a (0, 1)"]
    many = pd.DataFrame({"model": "a", "revision": [f"s{n}" for n in range(MOST_NAMED + 1)]})
    assert studied(many) == [f"a ({MOST_NAMED + 1} revisions, s0 to s{MOST_NAMED})"]


def test_models_of_a_group_trained_alike_have_no_headline_of_their_own() -> None:
    rows = pd.DataFrame({"model": ["a", "b", "c", "alone"]})
    groups = pd.DataFrame({"members": ["b c", "b c"]})
    assert others({"claims": rows, "architectures": groups})["model"].tolist() == ["a", "alone"]
    assert others({"claims": rows}) is rows


def test_each_kind_of_layers_of_one_model_speaks_under_its_own_name() -> None:
    found = tables()
    kinds = [found["claims"].assign(kind=kind) for kind in ("full", "sliding 6")]
    html = page({**found, "claims": pd.concat(kinds, ignore_index=True)}, SETTINGS)
    assert "<h3>m (full) (r)</h3>" in html
    assert "<h3>m (sliding 6) (r)</h3>" in html
    assert "<h3>m" not in page(found, SETTINGS)


def test_names_are_text_and_no_markup() -> None:
    found = tables(models=("<b>m</b>",))
    html = page(found, {**SETTINGS, "study": "<i>mine</i>"})
    assert "<b>m</b>" not in html
    assert "<i>mine</i>" not in html


@pytest.mark.parametrize(("number", "wanted"), [(127, True), (128, False)])
def test_few_inputs_are_said_to_be_preliminary(number, wanted) -> None:
    settings = {**SETTINGS, "inputs": {"number": number, "length": 64}}
    assert ("Preliminary:" in page(tables(), settings)) == wanted


def test_a_claim_that_cannot_be_tested_says_why() -> None:
    found = tables()
    claims = found["claims"]
    own = claims["claim"] == "sink-readers"
    empty = dict.fromkeys(("number", "arms", "estimate", "ci_low", "ci_high", "reading"), np.nan)
    untestable = claims[own].head(1).assign(verdict="not testable", note="needs an arm", **empty)
    found["claims"] = pd.concat([claims[~own], untestable], ignore_index=True)
    line = next(one for one in judged(found["claims"]) if one.name == "sink-readers").lines[0]
    assert (line.log.verdict, line.log.text, line.note) == ("not testable", "", "needs an arm")
    html = page(found, SETTINGS)
    assert "needs an arm" in html
    assert not re.search(r"\bnan\b", html)


def test_every_row_of_the_claims_is_in_the_table_of_all_numbers() -> None:
    found = tables()
    html = page(found, SETTINGS).partition('<table id="rows">')[2].partition("</table>")[0]
    rows = [element["text"] for element in Reader(html).of("tr")][1:]
    assert len(rows) == len(found["claims"])
    for line, (text, row) in enumerate(
        zip(rows, found["claims"].to_dict("records"), strict=True), 2
    ):
        assert text.split()[0] == str(line)
        assert with_sources(row) in text
        assert row["verdict"] in text


def test_what_is_missing_is_said(tmp_path) -> None:
    found = tables()
    found["controls"] = found["controls"].iloc[:0]
    found["checkpoints"]["gap"] = "no such file"
    html = page(found, SETTINGS)
    assert "This study ran no null control." in html
    assert "no such file" in html


def test_it_is_written_from_files(tmp_path) -> None:
    found = tables()
    found["claims"] = found["claims"].drop(columns="fragile")
    paths = {}
    for name, table in found.items():
        write_csv(table, tmp_path / f"{name}.csv")
        paths[name] = tmp_path / f"{name}.csv"
    (tmp_path / "head_maps.svg").write_text(DRAWN)
    write(paths, [tmp_path / "head_maps.svg"], tmp_path / "index.html", SETTINGS)
    html = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'id="figure-head_maps"' in html
    assert "flips under: early 16" in html
