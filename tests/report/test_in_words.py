"""The results in words: each sentence is printed exactly when its numbers carry it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from abspos.claims.registry import CLAIMS
from abspos.claims.sensitivity import FLIPS, SAME
from abspos.claims.verdicts import VERDICTS, Claimed, verdict
from abspos.report import in_words as module
from abspos.report.in_words import SENTENCES, SPOKEN, headline, in_words
from abspos.report.readings import by_readings, readings_sentence
from abspos.report.sentences import Sentence, Shown, chosen

SHARE = "share of mask + R"
SWAP = "swap-token: energy reduction"
EXCHANGE = "readers less others"


def row(claim: str, number: str, low: float, high: float, claimed: Claimed, **others: Any) -> dict:
    """A primary row with the verdict of its interval."""
    return {
        "claim": claim,
        "model": "m",
        "revision": "r",
        "arms": "standard/bos",
        "number": number,
        "lens": "log",
        "summary": "median",
        "estimate": (low + high) / 2,
        "ci_low": low,
        "ci_high": high,
        "claimed": str(claimed),
        "verdict": verdict(low, high, claimed),
        "primary": True,
        "note": np.nan,
    } | others


def claims(**intervals: tuple[float, float]) -> pd.DataFrame:
    """Primary rows of every claim that a sentence speaks of; all reproduced unless given."""
    found = {
        "mask": (0.2, 0.3),
        "residual": (0.7, 0.8),
        "ntk": (0.2, 0.3),
        "standard": (0.01, 0.03),
        "untrained": (0.02, 0.04),
        "between": (0.2, 0.4),
        "swap": (0.35, 0.45),
        "exchange": (0.6, 0.7),
        "exchange of change": (0.3, 0.4),
        "token": (0.5, 0.6),
    } | intervals
    share, reduction, size = Claimed(least=0.01), Claimed(least=0.1), Claimed(0.4, 0.1)
    grown = ("window-accumulates", "difference of slopes [energy per layer]")
    rows = [
        row("both-present", f"mask {SHARE}", *found["mask"], share),
        row("both-present", f"residual {SHARE}", *found["residual"], share),
        row("ntk-suppresses", "reduction of residual energy", *found["ntk"], reduction),
        row(*grown, *found["standard"], Claimed(), arms="window/bos vs standard/bos"),
        row(*grown, *found["untrained"], Claimed(), arms="window/bos vs untrained-window/bos"),
        row("standard-between", "smaller", *found["between"], reduction),
        row("bos-swap", SWAP, *found["swap"], size),
        row("bos-swap", SWAP, -0.2, -0.1, size, lens="probability", primary=False),
        row("sink-readers", f"{EXCHANGE}: share of energy", *found["exchange"], share),
        row(
            "sink-readers",
            f"{EXCHANGE}: share of the bos-swap change",
            *found["exchange of change"],
            share,
        ),
        row("fingerprint", "variance explained", *found["token"], share),
    ]
    return pd.DataFrame(rows)


def balance(*numbers: float, variant: str = "standard", condition: str = "bos") -> pd.DataFrame:
    """The balance at anchors 15, 31, ..., each within a tenth."""
    return pd.DataFrame(
        {
            "model": "m",
            "revision": "r",
            "variant": variant,
            "condition": condition,
            "anchor": 16 * np.arange(len(numbers)) + 15,
            "lens": "log",
            "balance": numbers,
            "ci_low": np.array(numbers) - 0.05,
            "ci_high": np.array(numbers) + 0.05,
        }
    )


def factorial(**shares: float) -> pd.DataFrame:
    """Effects of the shift pair on R, each within a tenth, over layers and in one of them."""
    row = {"model": "m", "revision": "r", "component": "residual", "lens": "log"}
    rows = [
        row | {"summary": "median", "layer": layer, "effect": effect.replace("_", " "), "share": x}
        for effect, share in shares.items()
        for layer, x in ((np.nan, share), (0.0, 0.0))
    ]
    found = pd.DataFrame(rows)
    return found.assign(ci_low=found["share"] - 0.05, ci_high=found["share"] + 0.05)


def effects(**shares: float) -> pd.DataFrame:
    """How far conditions move each reading of R, within a tenth."""
    row = {"model": "m", "revision": "r", "number": "difference share", "lens": "log"}
    rows = [
        row | {"condition": name.replace("_", "-"), "reading": reading, "estimate": share * factor}
        for name, share in shares.items()
        for reading, factor in (("R", 1.0), ("pattern", 2.0))
    ]
    found = pd.DataFrame(rows).assign(summary="median", n_inputs=128)
    found.loc[found["condition"].str.startswith("control"), "n_inputs"] = 64
    return found.assign(ci_low=found["estimate"] - 0.05, ci_high=found["estimate"] + 0.05)


def said(given: pd.DataFrame, **others: pd.DataFrame) -> list[str]:
    """All sentences of the one model."""
    ((model, found),) = in_words({"claims": given, **others})
    assert model == "m (r)"
    return found


@cache
def usual() -> tuple[str, ...]:
    """The sentences where all is reproduced."""
    return tuple(said(claims()))


def test_what_holds_is_said_with_its_numbers():
    assert list(usual()) == [
        "Both components are present in every variant of the trained weights. At early queries of "
        "the standard model the mask has 25.0 % [20.0, 30.0] of the energy of mask and R "
        "together and the "
        "residual-stream component 75.0 % [70.0, 80.0].",
        "NTK scaling reduces the residual-stream component, as claimed, by 25.0 % [20.0, 30.0].",
        "Under a sliding window the residual-stream component grows with depth at queries that "
        "cannot see position 0: by 0.02 [0.01, 0.03] per layer more than without a window, by "
        "0.03 [0.02, 0.04] more than with untrained weights.",
        "Standard RoPE lies between NTK scaling and a sliding window: the smaller of the two "
        "differences is 30.0 % [20.0, 40.0] of the residual-stream component.",
        "Replacing the embedding of BOS by another token's removes 40.0 % [35.0, 45.0] of the "
        "residual-stream component, which agrees with the claimed 40 %; in the probability lens it "
        "adds 15.0 % [10.0, 20.0].",
        "Heads that attend to position 0, given another token's key and value there, remove more "
        "of the residual-stream component than all other heads do; the difference is 65.0 % [60.0, "
        "70.0] of its energy.",
        "Heads that attend to position 0 make more of the change of the residual-stream component "
        "under another token than all other heads do; the difference is 35.0 % [30.0, 40.0] of it.",
        "Heads that attend to position 0 pass on the token that stands there: it explains 55.0 % "
        "[50.0, 60.0] of the variance of what they write from that position.",
    ]


@pytest.mark.parametrize(
    ("changed", "before", "after"),
    [
        ({"mask": (-0.01, 0.02)}, "Both components are present", ""),
        ({"ntk": (0.02, 0.05)}, "reduces", "by less than 10 points: it removes 3.5 % [2.0, 5.0]"),
        ({"ntk": (0.05, 0.2)}, "by 25.0 %", "whether by 10 points is open"),
        (
            {"ntk": (-0.3, -0.2)},
            "reduces",
            "NTK scaling raises the residual-stream component, "
            "against the claim, by 25.0 % [20.0, 30.0].",
        ),
        ({"ntk": (-0.3, 0.2)}, "by 25.0 %", "Whether NTK scaling reduces"),
        (
            {"untrained": (-0.1, 0.1)},
            "grows with depth",
            "is not shown: the difference of slopes is 0 [-0.1, 0.1]",
        ),
        ({"standard": (-0.2, -0.1)}, "grows with depth", "is not shown"),
        ({"between": (-0.2, -0.1)}, "Standard RoPE lies between", "RoPE does not lie between"),
        (
            {"between": (-0.2, 0.1)},
            "Standard RoPE lies between",
            "Whether standard RoPE lies between",
        ),
        (
            {"swap": (-0.05, 0.01)},
            "agrees with",
            "by less than 10 points in the log lens, not by 40 %",
        ),
        ({"swap": (0.15, 0.25)}, "agrees with", "less than the claimed 40 %"),
        ({"swap": (0.6, 0.7)}, "agrees with", "more than the claimed 40 %"),
        ({"swap": (0.1, 0.7)}, "agrees with", "too wide an interval to confirm"),
        ({"swap": (-0.3, -0.2)}, "agrees with", "raises the residual-stream component"),
        (
            {"swap": (-0.3, 0.1)},
            "agrees with",
            "adds 10.0 % [-10.0, 30.0] to the residual-stream component, which leaves open whether",
        ),
        (
            {"exchange": (-0.3, -0.2)},
            "remove more of",
            "heads do; the difference is 25.0 % [20.0, 30.0] of its",
        ),
        ({"exchange": (-0.01, 0.008)}, "remove more of", "remove no more of"),
        ({"exchange": (-0.1, 0.2)}, "remove more of", "remove perhaps more of"),
        ({"exchange of change": (-0.3, -0.2)}, "make more of", "make less of the change"),
        ({"token": (-0.01, 0.005)}, "explains 55.0 %", "do not pass on"),
        ({"token": (-0.1, 0.2)}, "explains 55.0 %", "there is open: it"),
    ],
)
def test_a_sentence_that_its_numbers_do_not_carry_is_not_said(changed, before, after):
    assert any(before in text for text in usual())
    found = said(claims(**changed))
    assert not any(before in text for text in found)
    assert any(after in text for text in found)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (
            (0.9, 0.8, 0.6),
            "is the larger of the two at every anchor up to 47, the query at which "
            "the mask's part is set to zero: it has 60.0 % [55.0, 65.0] of their joint energy at "
            "anchor 47, 90.0 % [85.0, 95.0] at anchor 15.",
        ),
        (
            (0.9, 0.8, 0.48, 0.3),
            "is the larger of the two up to anchor 31, "
            "the query at which the mask's part is set to zero: it has 80.0 % [75.0, 85.0] "
            "of their joint energy there, and less than half from "
            "anchor 63 on, 30.0 % [25.0, 35.0] there.",
        ),
        (
            (0.9, 0.3),
            "is the larger of the two up to anchor 15, "
            "the query at which the mask's part is set to zero: it has 90.0 % [85.0, 95.0] "
            "of their joint energy there, and less than half from "
            "anchor 31 on, 30.0 % [25.0, 35.0] there.",
        ),
        (
            (0.9, 0.52, 0.48),
            "is the larger of the two up to anchor 15, "
            "the query at which the mask's part is set to zero: it has 90.0 % [85.0, 95.0] "
            "of their joint energy there, and 52.0 % [47.0, 57.0] at anchor 31, where the interval "
            "covers one half.",
        ),
        (
            (0.4, 0.52, 0.3),
            "is the residual-stream component shown to be the larger of the two: it has at most "
            "52.0 % [47.0, 57.0] of their joint energy, at anchor 31.",
        ),
    ],
)
def test_which_part_is_larger_is_said_with_the_anchors(numbers, words):
    others = [balance(0.1, condition="ablate-zero"), balance(*numbers)]
    shuffled = pd.concat(others).sample(frac=1, random_state=0)
    found = said(claims(), balance=shuffled)
    assert [text.endswith(words) for text in found if "joint energy" in text] == [True]


@pytest.mark.parametrize("numbers", [(0.9, 0.5, 0.9), (0.3, 0.9)])
def test_a_share_that_does_not_fall_with_the_anchor_names_no_last_anchor(numbers):
    assert not any("up to anchor" in text for text in said(claims(), balance=balance(*numbers)))


@pytest.mark.parametrize(("numbers", "held"), [((0.01, 0.02), True), ((0.01, 0.6), False)])
def test_random_weights_are_said_to_have_the_larger_mask_only_if_they_have(numbers, held):
    found = said(claims(), balance=balance(*numbers, variant="untrained"))
    assert any("With random weights the mask component is the larger" in t for t in found) == held


def test_whose_doing_r_is_needs_both_parts():
    found = said(claims(), factorial=factorial(key_0=0.9, all_but_key_0=0.1))
    assert (
        "Of the residual-stream component between the same words at two places, key 0 alone makes "
        "90.0 % [85.0, 95.0], the queries and all other keys 10.0 % [5.0, 15.0]." in found
    )
    assert not any("key 0" in text for text in said(claims(), factorial=factorial(key_0=0.9)))


def test_the_headline_is_of_the_last_revision_of_each_model():
    given = pd.concat([claims(), claims(ntk=(-0.3, -0.2)).assign(revision="s")])
    given = pd.concat([given, claims().assign(model="n")])
    assert [name for name, _ in headline({"claims": given})] == ["m (s)", "n (r)"]


def test_models_trained_alike_speak_first_at_their_last_step():
    across = pd.concat(
        [
            claims(ntk=(0.2, 0.3)).assign(revision="step0"),
            claims(ntk=(-0.3, -0.2)).assign(revision="step9"),
        ]
    ).assign(n_runs=2)
    tables = {"claims": claims(), "architectures": across}
    (name, text), (other, _) = headline(tables)
    assert (name, other) == (
        "Models trained alike, with control m (step9), 2 runs of each",
        "m (r)",
    )
    assert "NTK scaling raises the residual-stream component, against the claim" in text
    assert "as claimed, by" not in text
    (name, said), *_ = in_words(tables)
    assert (name, " ".join(said)) == (
        "Models trained alike, with control m (step9), 2 runs of each",
        text,
    )


def test_one_training_run_says_what_its_intervals_leave_out():
    across = claims().assign(revision="step9", n_runs=1)
    (name, _), *_ = headline({"claims": claims(), "architectures": across})
    assert name == (
        "Models trained alike, with control m (step9), one run of each (intervals are over inputs; "
        "another run of the same training can differ by more)"
    )


def test_a_swap_stands_beside_a_control_of_its_size():
    both = effects(swap_token_1=0.2, control_shuffle=0.1)
    assert (
        "The first listed token in place of BOS moves the mean field of the residual-stream "
        "component: the difference has 20.0 % [15.0, 25.0] of the energy under BOS (N = 128). "
        "Shuffling all tokens after BOS, which leaves position 0 as it is, moves it by 10.0 % "
        "[5.0, 15.0] (N = 64)." in said(claims(), controlled_effects=both)
    )
    alone = said(claims(), controlled_effects=effects(swap_token_1=0.2))
    assert not any("Shuffling" in text for text in alone)


def test_a_claim_that_cannot_be_tested_says_why():
    rows = [row for row in claims().to_dict("records") if row["claim"] != "sink-readers"]
    rows += [rows[2] | {"claim": "sink-readers", "verdict": "not testable", "note": "needs x"}]
    assert "This study cannot test sink-readers: needs x." in said(pd.DataFrame(rows))


def test_a_claim_without_words_of_its_own_says_its_weakest_verdict(monkeypatch):
    monkeypatch.setattr(module, "SPOKEN", [name for name in SPOKEN if name != "fingerprint"])
    first = row("fingerprint", "variance", 0.2, 0.4, Claimed(least=0.01))
    second = row("fingerprint", "accuracy", -0.1, 0.2, Claimed(least=0.01))
    theorem = first | {"claimed": "<= 0", "verdict": "holds by construction"}
    rows = [row for row in claims().to_dict("records") if row["claim"] != "fingerprint"]
    found = said(pd.DataFrame([*rows, theorem, first, second]))
    assert found[-1] == "The verdict on fingerprint is inconclusive: accuracy, 0.05 [-0.1, 0.2]."


def test_every_measured_claim_is_spoken_of():
    rows = [
        row(claim.name, "n", 0.2, 0.4, Claimed(least=0.01))
        for claim in CLAIMS
        if claim.kind == "measured" and claim.name not in SPOKEN
    ]
    found = said(pd.DataFrame([*claims().to_dict("records"), *rows]))
    assert len(found) == len(SPOKEN) + 1 + len(rows)  # two of sink-readers


def changes(**rows: str) -> pd.DataFrame:
    """A sensitivity table: change by choice."""
    names = {"model": "m", "revision": "r", "claim": "bos-swap"}
    return pd.DataFrame([names | {"choice": k, "change": v} for k, v in rows.items()])


def test_flips_are_named_and_their_absence_is_said():
    found = said(claims(), sensitivity=changes(half="flips", early="same", bfloat16="same"))
    assert found[-2:] == [
        "Every verdict re-checked in bfloat16 is unchanged.",
        "Verdicts flip under other choices: bos-swap (half).",
    ]
    assert said(claims(), sensitivity=changes(bfloat16="same"))[-1] == (
        "No verdict flips under another choice."
    )
    table = changes(half="flips", early="flips").assign(reading=["R", "pattern"])
    assert "Verdicts flip under other choices: bos-swap (R: half; pattern: early)." in said(
        claims(), sensitivity=table
    )
    flipped = said(claims(), sensitivity=changes(bfloat16="flips"))
    assert not any("bfloat16 is" in text for text in flipped)


@pytest.mark.parametrize(
    ("replacements", "held"),
    [(["ablate-zero"], True), (["ablate-zero", "swap-token"], False), ([], False)],
)
def test_only_zeroing_covers_forty_percent_is_said_only_if_so(replacements, held):
    everyone = ["ablate-zero", "swap-token"]
    swaps = pd.DataFrame({"replacement": everyone, "model": "m", "revision": "r"})
    covers = swaps["replacement"].isin(replacements)
    swaps = swaps.assign(ci_low=0.3, ci_high=0.35 + 0.2 * covers, verdict="direction only")
    found = said(claims(), swaps=swaps)
    assert any("set position 0 to zero" in text for text in found) == held
    swaps["verdict"] = "not testable"
    found = said(claims(), swaps=swaps)
    assert not any("set position 0 to zero" in text for text in found), "a share of nothing"


def by_reading(**verdicts: tuple[str, str, str]) -> pd.DataFrame:
    """Rows of claims in three readings, R primary."""
    rows = [
        row(claim.replace("_", "-"), "n", 0.2, 0.4, Claimed())
        | {"verdict": found, "reading": reading, "primary": reading == "R"}
        for claim, three in verdicts.items()
        for reading, found in zip(("R", "sink", "pattern"), three, strict=True)
    ]
    return pd.DataFrame(rows)


def test_what_the_readings_say_together():
    agreed = ("absent",) * 3
    assert readings_sentence(by_reading(bos_swap=agreed)) == (
        "The readings of the residual-stream component agree on every claim."
    )
    apart = by_reading(bos_swap=("absent", "absent", "reproduced"), ntk_suppresses=agreed)
    assert readings_sentence(apart) == (
        "The readings of the residual-stream component disagree on bos-swap (R absent, sink "
        "absent, pattern reproduced)."
    )
    assert readings_sentence(claims()) == ""
    assert said(apart)[1].startswith("The readings")


def test_the_readings_stand_side_by_side():
    rows = [
        row(claim, "n", low, low + 0.02, Claimed()) | {"reading": name, "primary": name == "R"}
        for claim, lows in (("bos-swap", (-0.04, 0.5)), ("ntk-suppresses", (0.07, 0.2)))
        for name, low in zip(("R", "pattern"), lows, strict=True)
    ]
    given = pd.DataFrame(rows)
    wanted = (
        "Another token in place of BOS adds 3.0 % [2.0, 4.0] to the residual-stream component (R) "
        "and removes 51.0 % [50.0, 52.0] of its pattern over the keys other than position 0; NTK "
        "scaling removes 8.0 % [7.0, 9.0] of R and removes 21.0 % [20.0, 22.0] of the pattern."
    )
    assert by_readings(given) == wanted
    assert said(given)[0] == wanted
    assert headline({"claims": given}) == [("m (r)", wanted)]
    assert by_readings(given[given["reading"] == "R"]) == ""
    assert by_readings(claims()) == ""


def test_a_sentence_names_the_reading_that_decides():
    given = claims().assign(reading="pattern")
    texts = said(given)
    assert (
        "NTK scaling reduces the pattern of the residual-stream component, as claimed"
        in " ".join(texts)
    )
    alone = [
        t for t in texts if "the residual-stream component" in t.replace("the pattern of ", "")
    ]
    assert all("the pattern of the residual-stream component" in t for t in alone)
    assert len(alone) > 3


def test_each_kind_of_layers_speaks_for_itself():
    parts = [
        claims(ntk=interval).assign(kind=kind)
        for kind, interval in (("full", (0.2, 0.3)), ("window 512", (0.02, 0.05)))
    ]
    mixed = claims().assign(kind="full + window 512", primary=False)
    found = dict(in_words({"claims": pd.concat([*parts, mixed], ignore_index=True)}))
    assert list(found) == ["m (full) (r)", "m (window 512) (r)"]
    flips = {"claim": "bos-swap", "choice": "early 16", "change": FLIPS, "reading": "R"}
    sensitivity = pd.DataFrame(
        [
            flips | {"model": "m", "revision": "r", "kind": kind, "change": change}
            for kind, change in (("full", FLIPS), ("window 512", SAME))
        ]
    )
    tables = {"claims": pd.concat([*parts, mixed], ignore_index=True), "sensitivity": sensitivity}
    ends = [texts[-1] for _, texts in in_words(tables)]
    assert ends[0] == "Verdicts flip under other choices: bos-swap (R: early 16)."
    assert ends[1] == "No verdict flips under another choice."
    ntk = [next(t for t in texts if t.startswith("NTK")) for texts in found.values()]
    assert "by 25.0 %" in ntk[0]
    assert "less than 10 points" in ntk[1]


def test_models_speak_one_by_one():
    two = pd.concat([claims(), claims(ntk=(0.02, 0.05)).assign(model="other")])
    found = dict(in_words({"claims": two}))
    assert list(found) == ["m (r)", "other (r)"]
    assert found["m (r)"] != found["other (r)"]


# the mechanism


def test_a_sentence_without_its_row_is_not_said():
    one = Sentence("{x:n}", {"x": chosen("t", name="a*")}, lambda x: True)
    table = pd.DataFrame({"name": ["ab"], "estimate": [1.0], "ci_low": [0.5], "ci_high": [2.0]})
    assert one.stated({"t": table}) == "1 [0.5, 2]"
    assert one.stated({"t": table.assign(name="b")}) == ""
    assert one.stated({"t": table[:0]}) == one.stated({}) == ""


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%", "-3.5 % [-7.1, 0.1]"),
        ("-%", "3.5 % [-0.1, 7.1]"),
        ("n", "-0.0348 [-0.0708, 0.00124]"),
    ],
)
def test_numbers_are_shown_with_their_interval(form, text):
    shown = Shown({"estimate": -0.0348, "ci_low": -0.0708, "ci_high": 0.00124})
    assert format(shown, form) == text


def test_a_field_that_no_table_has_is_an_error():
    with pytest.raises(AttributeError, match="nothing"):
        _ = Shown({}).nothing


def test_every_sentence_can_be_said():
    """None waits for a row that no table has."""
    texts: set[str] = set()
    tables = [
        {"balance": balance(0.9, 0.8)},
        {"balance": balance(0.9, 0.1)},
        {"balance": balance(0.9, 0.5)},
        {"balance": balance(0.1)},
        {"balance": balance(0.1, variant="untrained")},
        {"sensitivity": changes(bfloat16="same")},
        {
            "swaps": pd.DataFrame(
                {"model": "m", "revision": "r", "replacement": ["ablate-zero"]}
            ).assign(ci_low=0.3, ci_high=0.5, verdict="reproduced")
        },
    ]
    tables.append({"factorial": factorial(key_0=0.9, all_but_key_0=0.1)})
    tables.append({"controlled_effects": effects(swap_token_1=0.2, control_shuffle=0.1)})
    intervals = [(0.2, 0.3), (0.02, 0.05), (-0.3, -0.2), (-0.3, 0.2), (0.05, 0.2)]
    swaps = [(0.35, 0.45), (0.15, 0.25), (0.6, 0.7), (0.1, 0.7), (-0.05, 0), (-0.3, -0.2), (-1, 1)]
    given = [({"ntk": x, "between": x}, {}) for x in intervals]
    given += [({"swap": x}, {}) for x in swaps] + [({"standard": (-1, 1)}, {})]
    given += [({}, table) for table in tables]
    shares = [(0.2, 0.3), (-0.3, -0.2), (-0.01, 0.005), (-0.3, 0.2), (0.005, 0.2)]
    given += [({"exchange": x, "exchange of change": x, "token": x}, {}) for x in shares]
    for changed, others in given:
        all_tables = {"claims": claims(**changed), **others}
        unsaid = (one for one in SENTENCES if one.text not in texts)
        texts |= {one.text for one in unsaid if one.stated(all_tables)}
    assert texts == {one.text for one in SENTENCES}
    assert set(claims()["verdict"]) <= set(VERDICTS)
