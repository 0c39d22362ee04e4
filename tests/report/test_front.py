"""The front page: what it shows of the claims, and that docutils renders it whatever they hold."""

from __future__ import annotations

import copy
import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from docutils.core import publish_parts
from hypothesis import example, given, settings
from hypothesis import strategies as st

from abspos.claims import judgement as claims
from abspos.claims import registry, sensitivity
from abspos.claims.verdicts import VERDICTS
from abspos.csv_tables import write_csv
from abspos.report import checkpoints, front, readme, results, rst
from abspos.study.config import load_study

ROOT = Path(__file__).parents[2]
LENSES, SUMMARIES = ("log", "probability"), ("median", "mean")
SHOWN = "0.123 [0.1, 0.15]"


def row(claim: str, **values: Any) -> dict[str, Any]:
    """A measured row; see others() for the columns that it lacks."""
    return {
        "claim": claim,
        "model": "tiny",
        "revision": "0123",
        "arms": "standard/bos",
        "number": "an energy",
        "lens": "log",
        "summary": "median",
        "estimate": 0.12345,
        "ci_low": 0.1,
        "ci_high": 0.15,
        "claimed": "> 0",
        "verdict": "reproduced",
        "primary": True,
        "n_inputs": 128.0,
        "note": np.nan,
        "preliminary": False,
    } | values


def numbers(claim: str, **values: Any) -> list[dict[str, Any]]:
    """A number in both lenses and both summaries; the log lens and the median decide."""
    return [
        row(
            claim,
            **(
                {"lens": lens, "summary": summary, "primary": (lens, summary) == ("log", "median")}
                | values
            ),
        )
        for lens in LENSES
        for summary in SUMMARIES
    ]


def theorem(claim: str, **values: Any) -> dict[str, Any]:
    given = {
        "arms": "all",
        "lens": np.nan,
        "summary": np.nan,
        "estimate": 1.2e-7,
        "ci_low": np.nan,
        "ci_high": np.nan,
        "claimed": "<= 0.001",
        "verdict": "holds by construction",
    }
    return row(claim, **(given | values))


def untestable(claim: str, lens: Any = "log", **values: Any) -> dict[str, Any]:
    missing = dict.fromkeys(
        ("arms", "number", "summary", "estimate", "ci_low", "ci_high", "n_inputs"), np.nan
    )
    given = missing | {
        "lens": lens,
        "verdict": "not testable",
        "primary": lens != "probability",
        "note": "needs an arm",
    }
    return row(claim, **(given | values))


def table(*rows: Any) -> pd.DataFrame:
    """Claims: these, and one plain row for every claim that they lack."""
    flat = [one for given in rows for one in (given if isinstance(given, list) else [given])]
    there = {one["claim"] for one in flat}
    plain = [row(claim) for claim in registry.statements() if claim not in there]
    return pd.DataFrame(flat + plain).reindex(columns=claims.COLUMNS).assign(fragile="")


def config(**changes: Any) -> dict[str, Any]:
    made = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    return load_study(made).model_dump(mode="json") | changes


SETTINGS = config()


def render(text: str) -> str:
    """HTML of a page; the slightest complaint of docutils is an error."""
    overrides = {"report_level": 1, "halt_level": 2, "embed_stylesheet": False}
    return publish_parts(text, writer="html5", settings_overrides=overrides)["html_body"]


def plain(text: str) -> str:
    """What a reader sees of HTML."""
    return html.unescape(re.sub(r"<[^>]+>", "", text)).replace("\xa0", "").strip()


def cells(page: str) -> list[list[list[str]]]:
    """Text of every cell, by table and row."""
    return [
        [
            [plain(c) for c in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", r, re.DOTALL)]
            for r in re.findall(r"<tr>(.*?)</tr>", t, re.DOTALL)
        ]
        for t in re.findall(r"<table.*?</table>", page, re.DOTALL)
    ]


def shown(given: pd.DataFrame) -> tuple[list[list[str]], list[dict[str, str]]]:
    """The rows of the overall table, and those of the table of numbers by column."""
    overall, (head, *rows) = cells(render(front.page(given, SETTINGS)))
    assert all(len(r) == len(head) for r in rows)
    return overall[1:], [dict(zip(head, r, strict=True)) for r in rows]


# what it shows


def test_every_claim_is_shown_in_the_order_of_the_method():
    overall, rows = shown(table())
    assert [r[0] for r in overall] == list(registry.statements())
    assert [r[1] for r in overall] == list(registry.statements().values())
    assert [r["claim"] for r in rows] == list(registry.statements())
    assert len(registry.statements()) == len(registry.CLAIMS)


def test_a_claim_that_is_registered_has_its_line(monkeypatch):
    claim = registry.Claim(
        name="made-up",
        statement="heads do what nobody expects",
        kind="theorem",
        rows=lambda evidence: iter(()),
        choices={},
        from_energies=False,
    )
    monkeypatch.setattr(registry, "CLAIMS", (*registry.CLAIMS, claim))
    overall, rows = shown(table())
    assert overall[-1][:2] == ["made-up", "heads do what nobody expects"]
    assert rows[-1]["claim"] == "made-up"


def test_both_lenses_of_a_deciding_number_stand_on_one_line():
    given = numbers("both-present")
    given[2] |= {"estimate": 0.5, "ci_low": -0.5, "ci_high": 1.5, "verdict": "inconclusive"}
    _, rows = shown(table(given))
    (found,) = [r for r in rows if r["claim"] == "both-present"]
    assert found == {
        "claim": "both-present",
        "verdict": "reproduced",
        "log lens": SHOWN,
        "verdict, probability": "inconclusive",
        "probability lens": "0.5 [-0.5, 1.5]",
        "claimed": "> 0",
        "number": "an energy",
        "arms": "standard/bos",
        "N": "128",
        "note": "",
    }


def test_numbers_that_decide_nothing_are_left_to_the_table():
    """Means of heads, other replacements, what stands beside, a number that came out as none."""
    others = [
        *numbers("bos-swap", number="swap-mean: energy reduction", primary=False),
        *numbers(
            "bos-swap",
            number="amplitude",
            primary=False,
            verdict="not testable",
            estimate=np.nan,
            ci_low=np.nan,
            ci_high=np.nan,
        ),
        *numbers(
            "ntk-suppresses",
            number="reduction of mask energy",
            primary=False,
            claimed=np.nan,
            verdict=np.nan,
        ),
    ]
    _, rows = shown(table(others, numbers("bos-swap"), numbers("ntk-suppresses")))
    assert [r["number"] for r in rows] == ["an energy"] * 9


def test_what_cannot_be_tested_is_shown_with_its_reason():
    given = [untestable("sink-readers", lens) for lens in LENSES]
    overall, rows = shown(table(given, untestable("fingerprint", np.nan, note="too few")))
    assert [*overall[3][2:], *overall[8][2:]] == [
        "not testable",
        "not testable",
        "not testable",
        "",
    ]
    (readers,) = [r for r in rows if r["claim"] == "sink-readers"]
    assert readers["verdict"] == readers["verdict, probability"] == "not testable"
    assert (readers["note"], readers["log lens"], readers["N"]) == ("needs an arm", "", "")
    assert rows[-1]["note"] == "too few"


def test_each_reason_has_its_line():
    """Half of a claim may lack one arm and half another."""
    given = [
        untestable("window-accumulates", lens, arms=arms, note=f"needs {arms}")
        for lens in LENSES
        for arms in ("a", "b")
    ]
    _, rows = shown(table(given))
    assert [r["note"] for r in rows if r["claim"] == "window-accumulates"] == ["needs a", "needs b"]


def test_a_theorem_stands_under_the_log_lens():
    _, rows = shown(table(theorem("closed-trajectory")))
    (found,) = [r for r in rows if r["claim"] == "closed-trajectory"]
    assert (found["verdict"], found["log lens"]) == ("holds by construction", "1.2e-07")
    assert (found["verdict, probability"], found["claimed"]) == ("", "<= 0.001")


@pytest.mark.parametrize(
    ("verdicts", "wanted"),
    [
        (["reproduced", "reproduced"], "reproduced"),
        (["reproduced", "direction only"], "direction only"),
        (["not testable", "reproduced"], "not testable"),
        (["inconclusive", "direction only"], "inconclusive"),
        (["inconclusive", "opposite"], "opposite"),
        (["holds by construction", "reproduced"], "reproduced"),
    ],
)
def test_a_claim_is_as_strong_as_its_weakest_number(verdicts, wanted):
    given = [row("fingerprint", number=f"n{i}", verdict=v) for i, v in enumerate(verdicts)]
    overall, _ = shown(table(given))
    assert overall[-1][2:] == [wanted, ""]


def test_several_models_are_counted_and_nothing_is_said_of_architectures():
    parts = []
    for model, verdict in (("a", "reproduced"), ("b", "inconclusive"), ("c", "reproduced")):
        given = numbers("both-present", verdict=verdict)
        given += numbers("both-present", number="another", verdict="reproduced")
        parts.append(table(given).assign(model=model))
    several = pd.concat(parts, ignore_index=True)
    page = render(front.page(several, SETTINGS))
    overall, *_ = cells(page)
    (found,) = [line for line in overall if line[0] == "both-present"]
    assert found[2] == "reproduced: 2 of 3; inconclusive: 1 of 3"
    assert "Each of the 3 models is one checkpoint" in " ".join(page.split())
    assert "one checkpoint" not in render(front.page(parts[0], SETTINGS))
    lines = readme.claim_lines(f"\n{results.claims_table(several)}\n")
    models = [line["model"][0] for line in lines if line["claim"] == "both-present"]
    assert models == ["a", "a", "b", "b", "c", "c"]
    assert "model" not in readme.claim_lines(f"\n{results.claims_table(parts[0])}\n")[0]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ([], ""),
        ([("opposite", [])], "opposite"),
        ([("reproduced", ["preliminary", "fragile"])], "reproduced (preliminary, fragile)"),
        ([("reproduced", [])] * 3, "reproduced: 3 of 3"),
        (
            [("not testable", []), ("opposite", ["fragile"])],
            "not testable: 1 of 2; opposite: 1 of 2, 1 fragile",
        ),
    ],
)
def test_verdicts_are_tallied(found, text):
    assert front.tally(found) == text


def test_every_verdict_has_its_place():
    assert set(VERDICTS) <= set(front.VERDICTS_WEAKEST_FIRST)


def test_preliminary_verdicts_say_so():
    given = [one | {"preliminary": True} for one in numbers("bos-swap")]
    overall, rows = shown(table(given))
    marked = {r["claim"]: r["verdict"] for r in rows if "preliminary" in r["verdict"]}
    assert marked == {"bos-swap": "reproduced (preliminary)"}
    assert "Preliminary:" not in render(front.page(table(given), SETTINGS))
    few = copy.deepcopy(SETTINGS)
    few["inputs"]["number"] = 16
    assert "<strong>Preliminary:</strong> 16 inputs" in render(front.page(table(), few))
    (found,) = [r[2:] for r in overall if r[0] == "bos-swap"]
    assert found == ["reproduced (preliminary)"] * 2
    assert sum("preliminary" in r[2] for r in overall) == 1


def test_planted_logits_are_said_to_be():
    made = copy.deepcopy(SETTINGS)
    assert "Synthetic:" not in render(front.page(table(), made))
    made["models"] = [{"name": "noise_1*", "source": {"type": "synthetic"}}]
    page = plain(render(front.page(table(), made)))
    assert "Synthetic: the logits of noise_1* are planted. No verdict on them says" in page


def test_models_are_told_apart():
    one, other = (
        [r | {"model": m, "revision": v} for r in numbers("bos-swap")]
        for m, v in (("a", "0123"), ("b", "main"))
    )
    rest = [r | {"model": "a"} for r in table().to_dict("records") if r["claim"] != "bos-swap"]
    given = table(one, other, rest)
    _, rows = shown(given)
    assert [r["model"] for r in rows if r["claim"] == "bos-swap"] == ["a (0123)", "b (main)"]
    assert "on a (0123), b (main); 128 inputs" in plain(render(front.page(given, SETTINGS)))
    _, rows = shown(table())
    assert "model" not in rows[0], "one model needs no column"


def test_it_says_first_what_is_ours():
    page = plain(render(front.page(table(), SETTINGS)))
    assert page.index("the paper's full text was not at hand") < page.index("The claims\n")
    assert "under these definitions" in page
    assert "Intervals are at\n95 %, over inputs" in page


def test_the_settings_can_be_read_back():
    page = render(front.page(table(), SETTINGS))
    (block,) = re.findall(r"<pre.*?>(.*?)</pre>", page, re.DOTALL)
    assert yaml.safe_load(plain(block)) == SETTINGS


def test_intervals_over_sources_stand_in_the_table_and_are_explained():
    deciding = table().assign(source_low=-0.06789, source_high=0.45)
    page = plain(render(front.page(deciding, SETTINGS)))
    assert "sources [-0.0679, 0.45]" in page
    assert "takes the sources of text as units" in page


# text that docutils could take for markup

NASTY = [
    "a | b |c| d",
    "*bold* **x** *",
    "foo_ `bar`_ __ _x_ [1]_",
    "back\\slash \\",
    "``code``",
    "line\nbreak\r\n",
    "'single' \"double\"",
    ".. note:: x",
    ":field: y",
    "ends::",
    "::",
    "- item",
    "* item",
    "+ item",
    "1. one",
    "(a) one",
    "A. one",
    "#. one",
    "-5",
    "-f FILE",
    "--long",
    "/V",
    "====",
    "----",
    "> 0",
    ">>> x",
    "| line",
    "a\u2028b",
    "a\x0bb\x85c",
    "<b>&amp;",
    "|nbsp|",
    "http://x.y/z_",
    "a@b.c",
    "é ü 日本",
    "..",
    ". . .",
    "%s {x}",
    "~",
    "\\*",
    "=====  =====",
]


def squeezed(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("text", [*NASTY, " ", "\t"])
def test_a_cell_shows_its_text_and_nothing_else(text):
    page = render(f".. |nbsp| unicode:: 0xA0\n\n{rst.list_table(['h'], [[text], ['x']])}\n")
    assert cells(page) == [[["h"], [squeezed(text)], ["x"]]]


@given(
    text=st.text(alphabet=st.sampled_from(list("ab1 *_`|\\:.-+=>(#)[]\n'\"<&~^/@{}")), max_size=12)
)
@settings(max_examples=50)
@example("1) a")
@example("i. a")
def test_any_cell_shows_its_text(text):
    page = render(f".. |nbsp| unicode:: 0xA0\n\n{rst.list_table(['h'], [[text]])}\n")
    assert cells(page) == [[["h"], [squeezed(text)]]]


@pytest.mark.parametrize("name", ["a_", "A.b-c_d", "1.", "a" * 64, "0_", "x--y", "a._"])
def test_names_of_studies_and_models(name):
    given = table().assign(model=name, revision="refs-pr_1")
    page = plain(render(front.page(given, SETTINGS | {"study": name})))
    assert f"Study {name} on {name} (refs-pr_1); 128 inputs" in page


def test_nasty_notes_arms_and_tokens():
    rows = [row("bos-swap", note=text, arms=text, number=text) for text in NASTY]
    page = render(front.page(table(rows), SETTINGS | {"swap_tokens": NASTY}))
    found = [r for r in cells(page)[1] if r[0] == "bos-swap"]
    assert [r[6:] for r in found] == [[squeezed(t), squeezed(t), "128", squeezed(t)] for t in NASTY]
    (block,) = re.findall(r"<pre.*?>(.*?)</pre>", page, re.DOTALL)
    assert yaml.safe_load(html.unescape(re.sub(r"<[^>]+>", "", block)))["swap_tokens"] == NASTY


# files


def test_a_fragile_verdict_is_marked_and_says_what_flips_it():
    given = table(numbers("bos-swap", note="a note"))
    log = (given["claim"] == "bos-swap") & (given["lens"] == "log") & given["primary"]
    given.loc[log, "fragile"] = "early 16, half 2"
    overall, rows = shown(given)
    (line,) = [r for r in rows if r["claim"] == "bos-swap"]
    assert line["verdict"] == "reproduced (fragile)"
    assert line["verdict, probability"] == "reproduced"
    assert line["note"] == "a note; log lens flips under: early 16, half 2"
    assert next(r[2:] for r in overall if r[0] == "bos-swap") == [
        "reproduced (fragile)",
        "reproduced",
    ]
    assert sum("fragile" in cell for r in overall for cell in r) == 1


def test_a_page_from_a_file(tmp_path):
    """A file has NaN for what is empty; a revision of digits keeps its zeros."""
    given = table(
        numbers("bos-swap", revision="0123"),
        theorem("closed-trajectory"),
        numbers("ntk-suppresses"),
        numbers(
            "ntk-suppresses",
            number="reduction of mask energy",
            primary=False,
            verdict="",
            claimed="",
        ),
        untestable("fingerprint", ""),
    )
    found = pd.DataFrame(columns=sensitivity.COLUMNS)
    found.to_csv(tmp_path / "sensitivity.csv", index=False)
    given.drop(columns="fragile").to_csv(tmp_path / "claims.csv", index=False)
    files = [tmp_path / name for name in ("claims.csv", "sensitivity.csv", "out/front.rst")]
    front.write(*files, SETTINGS)
    text = (tmp_path / "out" / "front.rst").read_text(encoding="utf-8")
    assert "tiny (0123)" in text
    assert text == front.page(given, SETTINGS)
    render(text)


@pytest.mark.parametrize("name", ["0042", "None", "1e5", "NA", "nan", "true", "null"])
def test_names_in_files_are_shown_as_they_are(tmp_path, name):
    given = table(numbers("bos-swap", model=name, revision=name, arms=f"{name}/bos"))
    write_csv(given.drop(columns="fragile"), tmp_path / "claims.csv")
    write_csv(pd.DataFrame(columns=sensitivity.COLUMNS), tmp_path / "sensitivity.csv")
    checkpoints.write(
        [{"model": name, "revision": name, "gap": name}], tmp_path / "checkpoints.csv"
    )
    paths = [tmp_path / file for file in ("claims.csv", "sensitivity.csv", "front.rst")]
    front.write(*paths, SETTINGS, tmp_path / "checkpoints.csv")
    page = render((tmp_path / "front.rst").read_text(encoding="utf-8"))
    assert f"{name} ({name})" in plain(page)
    assert any(f"{name}/bos" in row for rows in cells(page) for row in rows)
    assert [name] * 3 in cells(page)[-1]


# controls


def test_each_control_stands_beside_the_effect_it_guards(tmp_path):
    given = table(
        numbers(
            "bos-swap",
            number="swap-token: energy reduction",
            arms="standard/swap-token-1 vs standard/bos",
            estimate=0.4,
        ),
        numbers("both-present", number="residual energy"),
        numbers("both-present", number="residual energy", arms="ntk/bos", estimate=9.0),
    )
    keys = {"model": "tiny", "revision": "0123", "variant": "standard"}
    check = "layer 0: smallest adjusted p of R = 0, probability"
    made = pd.DataFrame(
        [
            keys | {"condition": "control-noop", "check": "noop", "value": 0.0, "passed": True},
            keys | {"condition": "no-bos", "check": check, "value": 0.012345, "passed": False},
            keys
            | {"revision": "1", "condition": "no-bos", "check": "a", "value": 1, "passed": True},
        ]
    )
    made.to_csv(tmp_path / "controls.csv", index=False)
    given.drop(columns="fragile").to_csv(tmp_path / "claims.csv", index=False)
    pd.DataFrame(columns=sensitivity.COLUMNS).to_csv(tmp_path / "sensitivity.csv", index=False)
    paths = [tmp_path / name for name in ("claims.csv", "sensitivity.csv", "front.rst")]
    front.write(*paths, SETTINGS, controls=tmp_path / "controls.csv")
    *_, (_, noop, first, other) = cells(render((tmp_path / "front.rst").read_text("utf-8")))
    effect = "bos-swap, swap-token: energy reduction, log lens: 0.4 [0.1, 0.15]"
    assert noop == ["tiny", "standard/control-noop", "noop", "0", "yes", effect]
    assert first[3:5] == ["0.0123", "NO"]
    assert first[5] == f"both-present, residual energy, probability lens: {SHOWN}"
    assert other[-1] == "", "another revision has its own effects"


def test_a_study_without_controls_says_so():
    empty = pd.DataFrame(columns=["model", "revision", "variant", "condition", "check"])
    assert "no null control" in plain(render(front.page(table(), SETTINGS, controls=empty)))


# gaps


def test_gaps_are_told_with_their_reasons(tmp_path):
    given = [
        {"model": "tiny", "revision": "0123", "tokens": 5},
        {"model": "tiny", "revision": "0456", "gap": "no such *revision*"},
    ]
    checkpoints.write(given, tmp_path / "checkpoints.csv")
    table().drop(columns="fragile").to_csv(tmp_path / "claims.csv", index=False)
    pd.DataFrame(columns=sensitivity.COLUMNS).to_csv(tmp_path / "sensitivity.csv", index=False)
    paths = [tmp_path / name for name in ("claims.csv", "sensitivity.csv", "front.rst")]
    front.write(*paths, SETTINGS, tmp_path / "checkpoints.csv")
    page = render((tmp_path / "front.rst").read_text(encoding="utf-8"))
    assert "1 of 2 checkpoints could not be measured" in plain(page)
    assert ["tiny", "0456", "no such *revision*"] in cells(page)[-1]
    checkpoints.write(given[:1], tmp_path / "checkpoints.csv")
    front.write(*paths, SETTINGS, tmp_path / "checkpoints.csv")
    text = (tmp_path / "front.rst").read_text(encoding="utf-8")
    assert text == front.page(table(), SETTINGS)
