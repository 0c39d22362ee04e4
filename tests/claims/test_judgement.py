"""The claim table on planted replicates: every row's number, interval, verdict and reason."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from planted_evidence import (
    LAYERS,
    LENSES,
    NOISE,
    OF,
    READ,
    SHARES,
    SUMMARIES,
    TOKENS,
    VARIANTS,
    WINDOW,
    N,
    Plan,
    evidence,
    named,
    replicates,
    study,
)
from scipy import stats

from abspos.claims import registry
from abspos.claims.evidence import Evidence
from abspos.claims.fingerprint import fingerprint
from abspos.claims.judgement import COLUMNS, claim_table, judge
from abspos.claims.rows import BESIDE, UNDEFINED, UNTRAINED, measured
from abspos.claims.swaps import PREMISE, swap_rows
from abspos.claims.variants import LOSS, SLOPES
from abspos.claims.verdicts import VERDICTS, Claimed
from abspos.documents import holdout
from abspos.statistics.aggregate import tabulate
from abspos.statistics.energies import holm
from abspos.statistics.replicates import no_halves
from abspos.statistics.store import Arm, open_replicates, save_replicates

CLAIMS = tuple(registry.statements())
#: What stands beside window-accumulates.
KEPT = "share of the slope that stays with position 0 zeroed"
PUBLIC = [
    "claim",
    "model",
    "revision",
    "arms",
    "number",
    "lens",
    "summary",
    "estimate",
    "ci_low",
    "ci_high",
    "claimed",
    "verdict",
    "primary",
    "n_inputs",
    "note",
]


def rows_of(table: pd.DataFrame, claim: str, **values: Any) -> pd.DataFrame:
    """Rows of a claim with these values; of the reading R, or of none, unless one is named."""
    chosen = table[table["claim"] == claim]
    own = values.pop("reading", "R")
    chosen = chosen[chosen["reading"].isna() | chosen["reading"].isin(["", own])]
    for key, value in values.items():
        chosen = chosen[chosen[key] == value]
    return chosen


def judged(claim: str, given: Evidence, **values: Any) -> pd.DataFrame:
    """The rows of one claim alone, with these values."""
    rows = registry.CLAIMS[CLAIMS.index(claim)].judge(given)
    return rows_of(pd.DataFrame(rows).reindex(columns=COLUMNS), claim, **values)


@pytest.fixture(scope="module")
def whole():
    return evidence(study())


@pytest.fixture(scope="module")
def table(whole):
    return claim_table(whole)


# the table as a whole


def test_public_columns_come_first(table):
    """docs/method.md, section 8."""
    assert list(table.columns) == COLUMNS
    assert COLUMNS[: len(PUBLIC)] == PUBLIC


def test_claims_stand_in_the_order_of_the_method(table):
    assert tuple(dict.fromkeys(table["claim"])) == CLAIMS


def test_both_lenses_wherever_a_claim_has_them(table):
    found = table.groupby("claim")["lens"].agg(set)
    for claim in CLAIMS:
        if claim in ("closed-trajectory", "fingerprint"):  # of states and writes, not of attention
            assert found[claim] == {""}
        else:
            assert found[claim] - {""} == set(LENSES)


def test_each_number_has_both_lenses_and_both_summaries(table):
    numbers = table[(table["summary"].fillna("") != "") & (table["claim"] != "fingerprint")]
    shown = numbers.groupby(["claim", "arms", "number", "reading"])[["lens", "summary"]].apply(
        lambda rows: sorted(rows.itertuples(index=False, name=None))
    )
    both = sorted((lens, summary) for lens in LENSES for summary in SUMMARIES)
    for (claim, _, _, reading), found in shown.items():
        hidden = (claim, reading) == ("window-accumulates", "sink")  # see its own test
        assert found == (both[:2] if hidden else both)


def test_the_deciding_rows_are_those_named_beforehand(table):
    """Log lens and median head, of the replacements swap-token alone, of its numbers the first."""
    primary = table[table["primary"].astype(bool)]
    median = primary[primary["summary"] == "median"]
    median = median[median["claim"] != "fingerprint"]  # of writes, which have no lens
    assert set(median["lens"]) == {"log"}
    tokens = ", ".join(f"standard/swap-token-{i}" for i in range(1, 5))
    assert list(zip(median["claim"], median["arms"], median["number"], strict=True)) == [
        ("both-present", f"{variant}/bos{versus}", number)
        for variant, twin in (
            ("standard", "untrained"),
            ("ntk", "untrained"),
            ("window", "untrained-window"),
        )
        for versus, number in (
            ("", "mask share of mask + R"),
            ("", "residual share of mask + R"),
            (f" vs {twin}/bos", "residual share of mask + R, difference"),
        )
    ] + [
        ("ntk-suppresses", "ntk/bos vs standard/bos", "reduction of residual energy"),
        (
            "window-accumulates",
            "window/bos vs standard/bos",
            "difference of slopes [energy per layer]",
        ),
        (
            "window-accumulates",
            "window/bos vs untrained-window/bos",
            "difference of slopes [energy per layer]",
        ),
        (
            "standard-between",
            "ntk/bos, window/bos vs standard/bos",
            "smaller of both differences, share of standard's energy",
        ),
        ("bos-swap", f"{tokens} vs standard/bos", "swap-token: energy reduction"),
    ]
    others = primary[(primary["summary"].fillna("") == "") | (primary["claim"] == "fingerprint")]
    assert set(others["claim"]) == {
        "mask-denominator",
        "closed-trajectory",
        "sink-readers",
        "fingerprint",
    }
    assert (rows_of(others, "fingerprint")["number"].tolist()) == [
        "spread of the state at position 0 under bos, relative to the state",
        "variance explained",
    ]


# readings


ENERGY_CLAIMS = ("both-present", "ntk-suppresses", "window-accumulates", "bos-swap")


@pytest.mark.parametrize("claim", ENERGY_CLAIMS)
@pytest.mark.parametrize("reading", ["sink", "pattern"])
def test_every_number_of_r_is_given_in_each_reading(table, claim, reading):
    """Planted as shares of R: reductions are the same, energies and their slopes those shares."""
    keys = ["arms", "number", "lens", "summary"]
    table = table[table["number"] != KEPT]
    whole = rows_of(table, claim).query("reading == 'R'").set_index(keys)
    rows = rows_of(table, claim, reading=reading).query("reading == @reading")
    measured_ = rows[rows["verdict"] != "not testable"].set_index(keys)
    known = whole.loc[measured_.index]
    share = READ[reading] if claim in ("both-present", "window-accumulates") else 1.0
    if (claim, reading) == ("window-accumulates", "sink"):
        share = SHARES["row"]
        assert set(measured_.index.get_level_values("lens")) == {"log"}
    else:
        assert len(measured_) == len(whole)
    for column in ("estimate", "ci_low", "ci_high"):
        np.testing.assert_allclose(measured_[column], share * known[column], rtol=1e-9)
    np.testing.assert_array_equal(measured_["verdict"], known["verdict"])
    assert not rows["primary"].any()
    assert set(rows["fixed"]) == {"post hoc"}
    assert set(whole["fixed"]) == {"beforehand"}


def test_beyond_a_window_the_probability_of_a_sink_is_nothing_to_test(table):
    rows = rows_of(table, "window-accumulates", reading="sink", lens="probability")
    rows = rows[rows["reading"] == "sink"]
    assert set(rows["verdict"]) == {"not testable"}
    assert rows["note"].str.contains("position 0 is out of sight").all()


@pytest.mark.parametrize("reading", list(READ))
def test_the_config_says_which_reading_decides(whole, table, reading):
    """Readings are marked post hoc on a model that had been seen when R alone was defined."""
    if reading != whole.primary:
        table = claim_table(replace(whole, primary=reading))
    primary = table[table["primary"].astype(bool) & table["claim"].isin(ENERGY_CLAIMS)]
    assert set(primary["reading"]) == {"", reading}
    assert set(primary[primary["reading"] == ""]["number"]) == {"mask share of mask + R"}
    before = table[table["reading"].fillna("") != ""].groupby("reading")["fixed"].agg(set)
    late = {"post hoc"} if reading == "R" else {"beforehand"}
    assert before.to_dict() == {"R": {"beforehand"}, "sink": late, "pattern": late}


def test_every_verdict_is_one_of_the_method(table):
    judged = table["verdict"] != ""
    assert set(table["verdict"][judged]) <= set(VERDICTS)
    assert (table["claimed"][judged] != "").all()


def test_what_stands_beside_a_claim_gets_no_verdict(table):
    beside = table[table["verdict"] == ""]
    untrained = beside["note"] == UNTRAINED
    assert set(beside["arms"][untrained]) == {"untrained/bos", "untrained-window/bos"}
    assert set(beside["number"][~untrained]) == {
        "mask energy",
        "residual energy",
        "mask share of mask + R, difference",
        "reduction of mask energy",
        "rise of loss [nats per token]",
        "standard above ntk, share of its energy",
        "window above standard, share of its energy",
        KEPT,
    }
    assert (beside["claimed"] == "").all()
    assert beside["note"][~untrained].str.startswith(BESIDE).all()
    assert not beside["primary"].any()
    assert beside["ci_low"].notna().all()


def test_measured_rows_have_all_their_numbers(table):
    measured_ = table[table["p_value"].notna()]
    for column in ("estimate", "ci_low", "ci_high", "n_inputs"):
        assert measured_[column].notna().all()
    assert (measured_["ci_low"] < measured_["estimate"]).all()
    assert (measured_["estimate"] < measured_["ci_high"]).all()


def test_holm_over_claims(table):
    """A claim's p-value is the largest of the rows that decide it; Holm runs over claims."""
    primary = table[table["primary"].astype(bool) & table["p_value"].notna()]
    by_claim = primary.groupby("claim")["p_value"].max()
    assert set(by_claim.index) == {
        "both-present",
        "ntk-suppresses",
        "window-accumulates",
        "standard-between",
        "bos-swap",
        "fingerprint",
    }
    adjusted = dict(zip(by_claim.index, holm(by_claim.to_numpy()), strict=True))
    np.testing.assert_allclose(primary["p_adjusted"], primary["claim"].map(adjusted))
    assert table.loc[table.index.difference(primary.index), "p_adjusted"].isna().all()


@pytest.mark.parametrize(("number", "wanted"), [(127, True), (N, False), (16, True)])
def test_few_inputs_make_verdicts_preliminary(table, number, wanted):
    if number != N:
        table = claim_table(evidence(study(), number=number))
    others = table[(table["claim"] != "fingerprint") & (table["verdict"] != "not testable")]
    theorem = others["verdict"] == "holds by construction"
    assert theorem.any()
    assert (others["preliminary"] == (wanted & ~theorem)).all()
    assert (others["n_inputs"] == number).all()
    assert not table[table["verdict"] == "not testable"]["preliminary"].any()


# hybrids and models without BOS

KINDS = ["full", "sliding", "sliding", "sliding", "full", "sliding"]
HYBRID = {"kind": KINDS, "window": [WINDOW if kind == "sliding" else None for kind in KINDS]}


def hybrid() -> Plan:
    """A model with windows of its own: the default study, standard and untrained as published."""
    plan = study()
    for name in plan:
        own = HYBRID if name in ("standard:bos", "untrained:bos") else {"kind": KINDS}
        plan[name] |= {"facts": own}
    return plan


@pytest.fixture(scope="module")
def of_kinds():
    return claim_table(evidence(hybrid()))


def test_no_mean_over_several_kinds_of_layers_decides_a_claim(of_kinds, table):
    measured = of_kinds[of_kinds["summary"].fillna("") != ""]
    pooled = measured["kind"] == "full+sliding"
    assert set(measured["kind"]) == {"full", "sliding", "full+sliding"}
    assert not measured[pooled]["primary"].any()
    assert (measured[pooled]["verdict"].fillna("") == "").all()
    assert measured[pooled]["note"].str.contains("shown beside the claim").all()
    for claim in ("both-present", "ntk-suppresses", "bos-swap"):
        rows = rows_of(of_kinds, claim, primary=True, lens="log", summary="median")
        assert set(rows["kind"]) == {"full", "sliding"}, claim
        assert (rows.groupby(["arms", "number"])["kind"].nunique() == 2).all()
    assert set(table["kind"]) == {""}


def test_a_number_that_is_not_over_layers_comes_once_and_keeps_its_verdict(of_kinds, table):
    for claim in ("mask-denominator", "closed-trajectory"):
        assert list(rows_of(of_kinds, claim)["verdict"]) == list(rows_of(table, claim)["verdict"])
    assert len(rows_of(of_kinds, "ntk-suppresses", number="rise of loss [nats per token]")) == 1


def test_each_kind_is_the_mean_over_its_own_layers():
    given = evidence(hybrid())
    bins = given.arms[named("standard:bos")].bins["early"]
    bins.loc[{"component": "residual"}] *= xr.DataArray([1, 3, 3, 3, 1, 3], dims="layer")
    rows = judged("both-present", given, arms="standard/bos", lens="log", summary="median")
    rows = rows[(rows["number"] == "residual energy") & (rows["reading"] == "R")]
    rows = rows.set_index("kind")["estimate"]
    assert list(rows.index) == ["full+sliding", "full", "sliding"]
    assert rows["sliding"] == pytest.approx(3 * rows["full"])
    assert rows["full+sliding"] == pytest.approx((2 * rows["full"] + 4 * rows["sliding"]) / 6)


def test_layers_that_a_variant_makes_alike_stay_apart():
    plan = hybrid()
    for name in ("window:bos", "untrained-window:bos"):
        plan[name] |= {"facts": {"kind": ["sliding"] * LAYERS}}
    found = evidence(plan).by_kind()
    assert [(part.kind, part.layers.tolist()) for part in found] == [
        (kind, [own == kind for own in KINDS]) for kind in ("full", "sliding")
    ]


def test_a_models_own_windows_are_shown_over_its_sliding_layers():
    plan = hybrid()
    plan["standard:bos"] |= {"slope": 0.3}
    given = evidence(plan)
    rows = judged("window-accumulates", given, arms="standard/bos vs untrained/bos", kind="sliding")
    assert len(rows) == 4
    assert not rows["primary"].any()
    assert set(rows["note"]) == {
        "queries beyond a window of 12 keys; 4 sliding layers of 6; position 0 stays visible "
        "through 2 full layers"
    }
    log = rows[(rows["lens"] == "log") & (rows["summary"] == "median")].squeeze()
    assert log["estimate"] == pytest.approx(0.3 * OF["median"])
    # The full layers of the standard arm count for nothing: a bend there changes no number.
    given.arms[named("standard:bos")].bins["beyond-12"].values[:, :, [0, 4]] = 99.0
    again = judged(
        "window-accumulates", given, arms="standard/bos vs untrained/bos", kind="sliding"
    )
    assert list(again["estimate"]) == list(rows["estimate"])


def test_windows_of_too_few_reached_layers_are_left_out():
    plan = hybrid()
    plan["standard:bos"]["facts"] = HYBRID | {"window": [WINDOW] * 2 + [None] * 4}
    rows = judged("window-accumulates", evidence(plan), arms="standard/bos vs untrained/bos")
    assert rows.empty


@pytest.mark.parametrize("window", [WINDOW, 20])
def test_the_bin_beyond_a_window_is_told_by_where_it_begins(window):
    plan = study()
    plan["standard:bos"] |= {"facts": {"beyond": {"beyond-20": 20}}}
    found = evidence(plan).beyond(named("standard:bos"), window)
    assert found == ("beyond-20" if window == 20 else None)


def tokenless() -> Evidence:
    """The arms of a model without BOS."""
    plan = Plan()
    for variant in VARIANTS:
        residual = 0.01 if VARIANTS[variant]["untrained"] else 1.0
        slope = 0.5 if variant == "window" else 0.01
        plan.arm(f"{variant}:no-bos", residual=residual, slope=slope)
    plan["standard:no-bos"] |= {"fingerprint": 3.0}
    plan.arm("standard:swap-token-1")
    return replace(evidence(plan), base="no-bos")


def test_claims_of_a_model_without_bos():
    table = claim_table(tokenless())
    decided = table[table["primary"].astype(bool)]
    expected = {
        "both-present": {"reproduced"},
        "mask-denominator": {"holds by construction"},
        "closed-trajectory": {"holds by construction"},
        "sink-readers": {"not testable"},
        "ntk-suppresses": {"not testable"},
        "window-accumulates": {"reproduced"},
        "standard-between": {"absent"},
        "bos-swap": {"not testable"},
        "fingerprint": {"not testable"},
    }
    verdicts = {c: set(decided[decided["claim"] == c]["verdict"]) for c in expected}
    assert verdicts == expected
    beside = rows_of(table, "ntk-suppresses", arms="ntk/no-bos vs standard/no-bos")
    assert len(beside) == 9
    assert set(beside["verdict"]) == {""}
    assert not table["arms"].astype(str).str.contains("/bos").any()


# each claim, planted


def check(row: pd.Series, value: float, verdict: str, relative: float | None = None) -> None:
    """A number, its verdict, and where the standard error is known its interval."""
    assert row["estimate"] == pytest.approx(value)
    assert row["verdict"] == verdict
    if relative is not None:
        reach = stats.t.ppf(0.975, N - 1) * relative * value
        assert row["ci_high"] == pytest.approx(value + reach)
        assert row["ci_low"] == pytest.approx(value - reach)


def test_energies_of_both_parts(table):
    for variant, mask, residual in (("standard", 1, 2), ("untrained", 1, 0.01), ("ntk", 0.9, 1.4)):
        for name, energy in (("mask", mask), ("residual", residual)):
            for summary in SUMMARIES:
                for lens, scale in (("log", 1), ("probability", 0.1)):
                    rows = rows_of(
                        table,
                        "both-present",
                        arms=f"{variant}/bos",
                        lens=lens,
                        number=f"{name} energy",
                        summary=summary,
                    )
                    value = energy * OF[summary] * scale
                    check(rows.squeeze(), value, "", NOISE)
    arms = set(rows_of(table, "both-present")["arms"].str.split(" vs ").str[0])
    assert arms == {f"{variant}/bos" for variant in VARIANTS}, "in every variant"


def test_shares_of_both_parts(table):
    """Of the mask alone, of R alone and above untrained weights, where it is 0.01 of 1.01."""
    shares = {"standard": 2 / 3, "ntk": 1.4 / 2.3, "window": 0.5}
    bare = 0.01 / 1.01
    for (variant, share), lens, summary in product(shares.items(), LENSES, SUMMARIES):
        chosen = table[table["arms"].str.startswith(f"{variant}/bos")]
        rows = rows_of(chosen, "both-present", lens=lens, summary=summary).set_index("number")
        check(rows.loc["mask share of mask + R"], 1 - share, "reproduced")
        check(rows.loc["residual share of mask + R"], share, "reproduced")
        check(rows.loc["residual share of mask + R, difference"], share - bare, "reproduced")
        check(rows.loc["mask share of mask + R, difference"], bare - share, "")


def residual_share(plan: Plan, number: str = "residual share of mask + R") -> pd.Series:
    """The primary row of R's share in the standard arm."""
    rows = judged("both-present", evidence(plan), number=number, primary=True)
    return rows[rows["arms"].str.startswith("standard")].squeeze()


def test_a_component_below_the_least_share_is_absent():
    row = residual_share(study().arm("standard:bos", residual=0.005))
    check(row, 0.005 / 1.005, "absent")


def test_a_component_that_untrained_weights_have_as_well_is_not_of_the_training():
    plan = study().arm("untrained:bos", residual=2.0)
    assert residual_share(plan)["verdict"] == "reproduced"
    check(residual_share(plan, "residual share of mask + R, difference"), 0, "absent")


def test_without_untrained_weights_shares_alone_are_tested():
    plan = study().without("untrained:bos", "untrained-window:bos")
    rows = judged("both-present", evidence(plan), primary=True)
    untested = rows[rows["verdict"] == "not testable"]
    assert list(untested["arms"]) == ["standard/bos", "ntk/bos", "window/bos"]
    assert set(untested["note"]) == {"needs untrained weights of the same shape and window"}
    assert set(rows["verdict"]) == {"not testable", "reproduced"}


def test_weights_without_training_get_no_verdict(whole):
    """Of a random model no row has one but theorems, and what no arm could test."""
    table = claim_table(replace(whole, random=True))
    assert set(table["verdict"]) == {"", "holds by construction", "not testable"}
    assert table["p_adjusted"].isna().all()
    measured_ = table[table["p_value"].notna() & table["primary"].astype(bool)]
    assert set(measured_["note"].str.split(";").str[0]) >= {UNTRAINED}
    assert measured_["estimate"].notna().all()


@pytest.mark.parametrize(
    ("ntk", "window", "verdict", "smaller"),
    [
        (1.4, 2.8, "reproduced", 0.3),
        (1.4, 2.3, "reproduced", 0.15),
        (1.4, 2.1, "absent", 0.05),
        (2.4, 2.8, "opposite", -0.2),
        (1.4, 1.0, "opposite", -0.5),
    ],
)
def test_standard_between(ntk, window, verdict, smaller):
    plan = study().arm("ntk:bos", residual=ntk).arm("window:bos", residual=window)
    table = judged("standard-between", evidence(plan))
    for lens, summary in product(LENSES, SUMMARIES):
        rows = rows_of(table, "standard-between", lens=lens, summary=summary)
        values = dict(zip(rows["number"], rows["estimate"], strict=True))
        assert list(values.values()) == pytest.approx([1 - ntk / 2, window / 2 - 1, smaller])
        check(rows.iloc[-1], smaller, verdict)


def test_the_smaller_difference_is_that_which_could_be_none():
    """Larger but uncertain: its interval reaches lower, so it decides."""
    given = evidence(study().arm("ntk:bos", residual=1.6).arm("window:bos", residual=2.6))
    wide = replicates(1.0, "noise", noise=0.5)
    given.arms[named("window:bos")].bins["early"].loc[{"component": "residual"}] *= wide
    row = judged("standard-between", given, primary=True).squeeze()
    assert row["estimate"] == pytest.approx(0.3)
    assert row["verdict"] == "inconclusive"


@pytest.mark.parametrize("claim", ["ntk-suppresses", "standard-between", "bos-swap"])
@pytest.mark.parametrize(
    ("share", "noise", "testable"),
    [(0.02, NOISE, True), (0.005, NOISE, False), (0.02, 0.5, False)],
)
def test_a_share_of_nothing_is_not_testable(claim, share, noise, testable):
    """By the interval of the reference's share of mask + R: below 1 %, or not clear of it."""
    plan = study().arm("standard:bos", residual=share / (1 - share))
    row = judged(claim, evidence(plan, noise=noise), primary=True).squeeze()
    assert (row["verdict"] != "not testable") == testable
    assert np.isfinite(row["estimate"])
    if not testable:
        assert f"R energy of standard/bos is {100 * share:g} % [" in row["note"]
        assert "not clear of 1 %" in row["note"]
        assert np.isnan(row["p_value"])
        assert row["claimed"]


def test_theorems(table):
    for claim in ("mask-denominator", "closed-trajectory"):
        rows = rows_of(table, claim)
        assert set(rows["verdict"]) == {"holds by construction"}
        assert set(rows["claimed"]) == {"<= 0.001"}
        assert rows["estimate"].ge(0).all()
    assert rows_of(table, "closed-trajectory").squeeze()["estimate"] == 1e-5


@pytest.mark.parametrize(
    ("facts", "claim", "number"),
    [
        ({"identity_error": 0.002}, "mask-denominator", "largest error of the identity [nats]"),
        ({"mask_low": -0.002}, "mask-denominator", "largest mask below 0 [nats]"),
        ({"mask_rise": 0.002}, "mask-denominator", "largest rise of the mask [nats]"),
        (
            {"sum_error": 0.002},
            "mask-denominator",
            "largest error of the sum of predicted attention",
        ),
        ({"closed_error": 0.002}, "closed-trajectory", "largest difference, relative to the state"),
    ],
)
@pytest.mark.parametrize("arm", ["standard:bos", "untrained-window:bos"])
def test_a_theorem_that_fails_in_one_arm_fails(whole, facts, claim, number, arm):
    given = copy.deepcopy(whole)
    given.facts[named(arm)] |= facts
    row = judged(claim, given, number=number).squeeze()
    assert (row["estimate"], row["verdict"]) == (0.002, "violated")
    given.facts[named(arm)] |= dict.fromkeys(facts, np.nan)
    row = judged(claim, given, number=number).squeeze()
    assert row["verdict"] == "not testable"


def test_the_trajectory_of_a_coarse_dtype_is_held_to_what_its_rounding_allows(whole):
    given = copy.deepcopy(whole)
    for facts in given.facts.values():
        facts |= {"dtype": "bfloat16", "closed_error": 0.056}
    row = judged("closed-trajectory", given).squeeze()
    assert (row["claimed"], row["verdict"]) == ("<= 0.1", "holds by construction")
    given.facts[named("standard:bos")]["closed_error"] = 0.11
    assert judged("closed-trajectory", given).squeeze()["verdict"] == "violated"


def test_sink_readers_await_their_arm(table):
    rows = rows_of(table, "sink-readers")
    assert list(rows["lens"]) == list(LENSES)
    assert set(rows["verdict"]) == {"not testable"}


def exchanges(others: float = 1.9) -> Plan:
    """Sink readers carry half of the energy, others little; the whole swap changes R by E_b."""
    plan, half = study(), N // 2
    plan["standard:bos"] |= {"half": 2.0}
    plan["standard:swap-token-1"] |= {"half": 2.0, "half-cross": 1.0}  # D = 2
    for name, heads, residual, cross in (
        ("exchange-readers", 6, 1.0, 1.0),  # D = 1
        ("exchange-others", 12, others, others),  # D = 2 - o
        ("exchange-all", 18, 0.5, 0.25),  # D = 2
        ("silence-bottom", 6, 1.0, 1.5),  # D = 0
        ("unsink-key", 18, 0.2, 0.1),  # D = 2
    ):
        facts = {"substituted": heads}
        plan.arm(f"standard:{name}", residual=residual, cross=cross, inputs=half, facts=facts)
    return plan


def test_sink_readers():
    table = judged("sink-readers", evidence(exchanges()))
    shares = {
        "readers": (0.5, 0.5),
        "others": (0.05, 0.05),
        "all": (0.75, 1.0),
        "readers less others": (0.45, 0.45),
    }
    counts = {"readers": 6, "others": 12, "all": 18, "readers less others": 6}
    for heads, numbers in shares.items():
        for number, share in zip(
            ("share of energy", "share of the bos-swap change"), numbers, strict=True
        ):
            rows = rows_of(table, "sink-readers", number=f"{heads}: {number}")
            assert len(rows) == 4
            assert rows["estimate"].to_numpy() == pytest.approx(share)
            assert (rows["n_inputs"] == N // 2).all()
            assert rows["note"].str.contains(f"{counts[heads]} heads").all()
            assert rows["note"].str.contains("chosen on other inputs").all() == (heads != "all")
            decides = heads == "readers less others"
            assert set(rows["verdict"]) == ({"reproduced"} if decides else {""})
            assert rows["primary"].sum() == decides
    arms = set(table[table["number"].str.startswith("readers less")]["arms"])
    assert arms == {"standard/exchange-readers vs standard/exchange-others"}


def test_shares_of_a_negligible_whole_are_not_testable():
    """Of R under bos, or of its change under the swapped token, where that is 0.3 % of mask + R."""
    quiet, still = exchanges(), exchanges()
    quiet["standard:bos"] |= {"residual": 0.003}
    still["standard:swap-token-1"] |= {"residual": 2.0, "cross": 1.995}
    shares = "share of energy", "share of the bos-swap change"
    for plan, negligible, of in (
        (quiet, shares[0], "R energy of standard/bos is 0.3 %"),
        (still, shares[1], "the change of R from standard/bos to standard/swap-token-1 is 0.33 %"),
    ):
        rows = judged("sink-readers", evidence(plan), lens="log", summary="median")
        row = rows[rows["number"] == f"readers less others: {negligible}"].squeeze()
        assert row["verdict"] == "not testable"
        assert of in row["note"]
        assert "not clear of 1 %" in row["note"]
        assert row["estimate"] == pytest.approx(0.45), "the number stays"
        beside = rows[rows["number"] == f"readers: {negligible}"].squeeze()
        assert beside["verdict"] == "", "numbers beside the claim need no whole"
    other = rows[rows["number"] == f"readers less others: {shares[0]}"].squeeze()
    assert other["verdict"] == "reproduced"


def test_silence_and_unsinking_stand_beside():
    table = judged("sink-readers", evidence(exchanges()))
    for number, value in {
        "silence-bottom: energy reduction": 0.5,
        "silence-bottom: difference share": 0.0,
        "unsink-key: energy reduction": 0.9,
        "unsink-key: difference share": 1.0,
    }.items():
        rows = rows_of(table, "sink-readers", number=number)
        assert len(rows) == 4
        assert rows["estimate"].to_numpy() == pytest.approx(value)
        assert set(rows["verdict"]) == {""}
        assert set(rows["arms"]) == {f"standard/{number.split(':')[0]} vs standard/bos"}


def test_half_of_the_inputs_by_design_are_not_preliminary():
    table = claim_table(evidence(exchanges()))
    for claim in ("sink-readers", "fingerprint"):
        assert not rows_of(table, claim)["preliminary"].any()


@pytest.mark.parametrize(("others", "verdict"), [(1.0, "inconclusive"), (0.5, "opposite")])
def test_sink_readers_that_carry_no_more(others, verdict):
    table = judged("sink-readers", evidence(exchanges(others), noise=0.03), primary=True)
    assert set(table["verdict"]) == {verdict}


@pytest.mark.parametrize(
    ("energy", "verdict"),
    [(1.4, "reproduced"), (1.9, "absent"), (2.0, "absent"), (2.4, "opposite")],
)
def test_ntk_suppresses(energy, verdict):
    table = judged(
        "ntk-suppresses", evidence(study().arm("ntk:bos", mask=0.9, residual=energy, loss=3.2))
    )
    for lens in LENSES:
        for summary in SUMMARIES:
            chosen = {"lens": lens, "summary": summary}
            row = rows_of(table, "ntk-suppresses", number="reduction of residual energy", **chosen)
            check(row.squeeze(), 1 - energy / 2, verdict)
            mask = rows_of(table, "ntk-suppresses", number="reduction of mask energy", **chosen)
            check(mask.squeeze(), 0.1, "")
    loss = rows_of(table, "ntk-suppresses", number="rise of loss [nats per token]").squeeze()
    check(loss, 0.2, "")


def test_the_control_with_the_opposite_sign_stands_beside():
    down = {"rope": {"rope_type": "ntk", "factor": 0.5}, "window": None, "untrained": False}
    plan = study().arm("down:bos", residual=3.0)
    table = judged("ntk-suppresses", evidence(plan, VARIANTS | {"down": down}))
    rows = rows_of(table, "ntk-suppresses", arms="down/bos vs standard/bos")
    assert set(rows["verdict"]) == {""}
    assert not rows["primary"].any()
    alone = {k: v for k, v in VARIANTS.items() if k != "ntk"} | {"down": down}
    rows = judged("ntk-suppresses", evidence(plan.without("ntk:bos"), alone))
    assert rows[rows["primary"].astype(bool)]["verdict"].tolist() == ["not testable"]
    assert len(rows[rows["verdict"] == ""]) == 9


@pytest.mark.parametrize("change", [{"untrained": True}, {"window": WINDOW}])
def test_ntk_is_compared_in_the_same_weights_and_nothing_else(change):
    """1 - 0.01 / 2 of an untrained variant would be no suppression by NTK."""
    variants = VARIANTS | {"other": VARIANTS["ntk"] | change}
    given = evidence(study().arm("other:bos", residual=0.01), variants)
    assert set(judged("ntk-suppresses", given)["arms"]) == {"ntk/bos vs standard/bos"}
    assert not judged("window-accumulates", given)["arms"].str.contains("other").any()


@pytest.mark.parametrize(
    ("slope", "verdicts"),
    [
        (0.5, ("reproduced", "reproduced")),
        (-0.5, ("opposite", "opposite")),
        (0.01, ("inconclusive", "opposite")),
        (0.02, ("reproduced", "inconclusive")),
    ],
)
def test_window_accumulates(slope, verdicts):
    table = judged("window-accumulates", evidence(study().arm("window:bos", slope=slope)))
    others = (("standard", 0.01), ("untrained-window", 0.02))
    for (other, below), verdict in zip(others, verdicts, strict=True):
        for summary in SUMMARIES:
            for lens, scale in (("log", 1), ("probability", 0.1)):
                rows = rows_of(
                    table,
                    "window-accumulates",
                    arms=f"window/bos vs {other}/bos",
                    lens=lens,
                    summary=summary,
                )
                check(rows.squeeze(), (slope - below) * OF[summary] * scale, verdict)
    assert len(rows_of(table, "window-accumulates").query("number == @SLOPES")) == 8


@pytest.mark.parametrize("reading", ["R", "sink", "pattern"])
def test_the_share_of_a_slope_that_stays_with_position_0_zeroed_stands_beside(reading):
    plan = study().arm("window:bos", slope=0.5).arm("window:ablate-zero", slope=0.2)
    rows = judged("window-accumulates", evidence(plan), number=KEPT, reading=reading)
    rows = rows[rows["reading"] == reading]
    assert len(rows) == (2 if reading == "sink" else 4)
    assert set(rows["arms"]) == {"window/ablate-zero vs window/bos"}
    np.testing.assert_allclose(rows["estimate"], 0.4)
    assert set(rows["verdict"]) == {""}
    none = judged("window-accumulates", evidence(study()), number=KEPT)["estimate"]
    np.testing.assert_allclose(none, 0, atol=1e-12)
    without = study().without("window:ablate-zero")
    assert judged("window-accumulates", evidence(without), number=KEPT).empty


@pytest.mark.parametrize(
    ("loss", "told"),
    [(3.0, ""), (3.4, ""), (3.5, ""), (5.0, "the window costs 2.00 [")],
)
def test_a_window_that_costs_much_loss_is_out_of_training(loss, told):
    table = judged("window-accumulates", evidence(study().arm("window:bos", loss=loss)))
    rows = table[table["number"] == SLOPES]
    assert rows["note"].str.contains("out of the model's training").eq(bool(told)).all()
    assert rows["note"].str.contains(told, regex=False).all()
    (cost,) = table[table["number"] == LOSS]["estimate"]
    assert cost == pytest.approx(loss - 3.0)


def test_slopes_are_over_the_layers_that_position_0_can_have_reached():
    """Half 32, window 12: 11 keys a layer reach query 31 from layer 2 on."""
    given = evidence(study())
    found = given.arms[named("window:bos")].bins["beyond-12"]
    found.values[:, :, :2] = 1e6
    row = judged(
        "window-accumulates", given, arms="window/bos vs standard/bos", lens="log", summary="median"
    ).squeeze()
    assert row["estimate"] == pytest.approx((0.5 - 0.01) * 2)


def test_windows_of_several_sizes_find_their_bins():
    narrow = {"rope": None, "window": 9, "untrained": False}
    variants = VARIANTS | {"narrow": narrow, "untrained-narrow": narrow | {"untrained": True}}
    plan = study().arm("narrow:bos", slope=0.3).arm("untrained-narrow:bos", slope=0.1)
    given = evidence(plan, variants)
    assert list(given.facts[named("standard:bos")]["beyond"]) == ["beyond-9", "beyond-12"]
    given.arms[named("standard:bos")].bins["beyond-9"].values[:] *= 10
    rows = judged("window-accumulates", given, lens="log", summary="median", number=SLOPES)
    assert dict(zip(rows["arms"], rows["estimate"].round(6), strict=True)) == {
        "window/bos vs standard/bos": 0.98,
        "window/bos vs untrained-window/bos": 0.96,
        "narrow/bos vs standard/bos": 0.4,
        "narrow/bos vs untrained-narrow/bos": 0.4,
    }
    told = rows["note"].str.extract(r"beyond a window of (\d+) keys")[0]
    assert list(told) == [("12", "9")[arms.startswith("narrow")] for arms in rows["arms"]]


def test_bos_swap(table):
    """Four tokens at 0.5, 0.55, 0.65 and 0.7 of the energy: 40 % are removed on average."""
    for lens in LENSES:
        for summary in SUMMARIES:
            rows = rows_of(table, "bos-swap", lens=lens, summary=summary)
            found = rows.set_index("number")[["estimate", "verdict"]]
            shares = np.array([0.5, 0.55, 0.65, 0.7])
            wanted = {
                "swap-token: energy reduction": 0.4,
                "swap-token: aligned reduction": 0.4,
                "swap-token: difference share": 0.4,
                "swap-token: amplitude reduction": 1 - np.sqrt(shares).mean(),
                "swap-mean: energy reduction": 0.75,
                "swap-mean: aligned reduction": 0.5,
                "swap-mean: difference share": 0.25,
                "swap-mean: amplitude reduction": 0.5,
                "ablate-zero: energy reduction": 0.99,
                "ablate-zero: aligned reduction": 0.95,
                "ablate-zero: difference share": 0.91,
                "ablate-zero: amplitude reduction": 0.9,
            }
            assert found["estimate"].to_dict() == pytest.approx(wanted)
            assert found["verdict"]["swap-token: energy reduction"] == "reproduced"
            assert found["verdict"]["swap-mean: energy reduction"] == "direction only, larger"
    assert set(rows_of(table, "bos-swap")["claimed"]) == {"0.4"}
    zeroed = table[table["number"].fillna("").str.startswith("ablate-zero")]
    assert zeroed["note"].str.contains("removes position 0, does not replace it").all()


def test_tokens_that_change_nothing_reproduce_nothing():
    plan = study()
    for i in range(1, 5):
        plan.arm(f"standard:swap-token-{i}", residual=2.0, cross=2.0)
    row = judged("bos-swap", evidence(plan), primary=True).squeeze()
    check(row, 0, "absent")


def test_a_wide_interval_around_forty_percent_is_a_direction():
    row = judged("bos-swap", evidence(study(), noise=0.15), primary=True).squeeze()
    assert row["ci_low"] > 0
    assert row["ci_low"] < 0.4 - 0.1
    assert row["verdict"] == "direction only"


def test_a_number_that_is_none_says_so():
    plan = study().arm("standard:swap-mean", residual=-0.01, cross=1.0)
    row = judged(
        "bos-swap",
        evidence(plan),
        lens="log",
        summary="mean",
        number="swap-mean: amplitude reduction",
    ).squeeze()
    assert row["verdict"] == "not testable"
    assert row["note"] == f"{PREMISE}; {UNDEFINED}"


def test_fingerprint(table):
    rows = [row for _, row in rows_of(table, "fingerprint").iterrows()]
    constant, median, mean, right = rows
    assert (constant["estimate"], constant["verdict"]) == (0, "holds by construction")
    assert constant["claimed"] == "<= 0.001"
    for row in (median, mean):
        assert 0.02 < row["estimate"] < 0.9
        assert row["note"].startswith("4 sink readers, chosen on other texts; 5 tokens; permuted")
        assert row["note"].endswith("p = 0.001")
    assert [row["verdict"] for row in rows[1:]] == ["reproduced"] * 3
    assert 0.2 < right["estimate"] < 0.8
    assert median["n_inputs"] == right["n_inputs"] == N // 2, "measured on one half"
    assert median["arms"].endswith("vs standard/bos")
    assert [row["primary"] for row in rows] == [True, True, False, False]


def test_fingerprint_of_each_kind_is_of_its_own_heads(of_kinds):
    rows = rows_of(of_kinds, "fingerprint", number="variance explained", summary="median")
    readers = rows["note"].str.extract(r"(\d+) sink readers")[0].astype(int)
    by_kind = dict(zip(rows["kind"], readers, strict=True))
    assert by_kind["full"] + by_kind["sliding"] == by_kind["full+sliding"]
    assert rows["estimate"].nunique() == 3


def test_no_fingerprint():
    rows = judged("fingerprint", evidence(study(), strength=0.0)).iloc[1:]
    assert "reproduced" not in set(rows["verdict"])
    assert (rows["estimate"].abs() < 0.05).all()


@pytest.mark.parametrize(
    ("dtype", "spread", "verdict"),
    [
        ("float32", 1e-5, "holds by construction"),
        ("float32", 2e-3, "violated"),
        ("bfloat16", 2e-3, "holds by construction"),
        ("bfloat16", 0.11, "violated"),
    ],
)
def test_a_state_that_varies_under_bos_by_more_than_rounding_is_seen(dtype, spread, verdict):
    """A last batch of fewer inputs may be rounded differently."""
    plan = study()
    for arm in plan.values():
        arm.setdefault("facts", {})["dtype"] = dtype
    plan["window:bos"]["facts"] = {"state_spread": spread, "dtype": dtype}
    row = judged("fingerprint", evidence(plan)).iloc[0]
    assert (row["estimate"], row["verdict"]) == (spread, verdict)


def test_fingerprint_measured_on_some_texts_chooses_its_readers_on_all_others():
    given = evidence(study())
    _, measured_on = holdout(N, 0, list(range(N)))
    given.arms[named("standard:bos")].writes["a_1_64"].values[..., measured_on] = 0
    assert list(fingerprint(given))[1]["verdict"] == "reproduced"

    def on(kept: np.ndarray) -> list[dict]:
        arms = {
            arm: replace(own, writes=own.writes.assign(measured=("input", kept)))
            for arm, own in given.arms.items()
            if own.writes is not None
        }
        return list(fingerprint(replace(given, arms=arms)))

    assert "0 sink readers" in on(~measured_on)[-1]["note"], "chosen where none reads"
    some = measured_on & (np.cumsum(measured_on) <= 10)
    assert [row["n_inputs"] for row in on(some)[1:]] == [10] * 3


# what cannot be tested says why


def lost(dropped: tuple[str, ...], claim: str) -> pd.DataFrame:
    return judged(claim, evidence(study().without(*dropped)), verdict="not testable")


TRAINED = ("standard:bos", "ntk:bos", "window:bos")
SWAPS = tuple(f"standard:swap-token-{i}" for i in range(1, 5))
CROSSED = ("standard:bos", *SWAPS)


@pytest.mark.parametrize(
    ("dropped", "claim", "reason"),
    [
        (TRAINED, "both-present", "needs a trained variant under bos"),
        (("ntk:bos",), "ntk-suppresses", "needs an ntk variant of a factor above 1 and standard"),
        (("standard:bos",), "ntk-suppresses", "needs an ntk variant"),
        (("window:bos",), "window-accumulates", "needs a window variant under bos"),
        (("standard:bos",), "window-accumulates", "needs standard/bos"),
        (("untrained-window:bos",), "window-accumulates", "needs untrained-window/bos"),
        (("standard:bos",), "bos-swap", "needs standard under bos and swap-token"),
        (SWAPS, "bos-swap", "needs standard under bos and swap-token"),
        (CROSSED, "fingerprint", "crossed design of bos and swap-token: 0 texts, 0 tokens"),
    ],
)
def test_a_missing_arm_is_named(dropped, claim, reason):
    rows = lost(dropped, claim)
    assert rows["note"].str.startswith(reason).all()
    assert list(rows["lens"]) == ([""] if claim == "fingerprint" else list(LENSES))
    assert rows["primary"].tolist() == [lens != "probability" for lens in rows["lens"]]
    assert rows["estimate"].isna().all()
    claimed = {"bos-swap": "0.4", "ntk-suppresses": "> 0.1"} | dict.fromkeys(
        ("both-present", "sink-readers", "fingerprint"), "> 0.01"
    )
    assert rows["claimed"].tolist() == [claimed.get(claim, "> 0")] * len(rows)


#: A study with two listed tokens: of these either could be lost.
SMALLER = ("standard:swap-token-3", "standard:swap-token-4")


@pytest.mark.parametrize("arm", study().without(*SMALLER, "standard:swap-token-2"))
def test_other_claims_do_not_miss_an_arm(arm):
    needed = {
        "standard:bos": {"ntk-suppresses", "window-accumulates", "standard-between", "bos-swap"},
        "ntk:bos": {"ntk-suppresses", "standard-between"},
        "window:bos": {"window-accumulates", "standard-between"},
        "untrained:bos": {"both-present"},
        "untrained-window:bos": {"both-present", "window-accumulates"},
    }.get(arm, set())
    table = claim_table(evidence(study().without(arm, *SMALLER)))
    assert tuple(dict.fromkeys(table["claim"])) == CLAIMS, "no claim is passed over in silence"
    # A row with a number lacks no arm: it is 0 by construction.
    failed = table[(table["verdict"] == "not testable") & table["number"].isna()]
    assert set(failed["claim"]) - {"sink-readers"} == needed


def test_an_arm_on_fewer_inputs_is_no_arm():
    table = judged("ntk-suppresses", evidence(study().arm("ntk:bos", inputs=8)))
    assert set(rows_of(table, "ntk-suppresses")["verdict"]) == {"not testable"}
    assert not table["arms"].fillna("").str.contains("ntk").any()


def test_other_rope_changes_are_not_ntk():
    linear = VARIANTS["ntk"] | {"rope": {"rope_type": "linear", "factor": 8.0}}
    table = judged("ntk-suppresses", evidence(study(), VARIANTS | {"ntk": linear}))
    assert set(rows_of(table, "ntk-suppresses")["verdict"]) == {"not testable"}


def test_half_of_the_window_claim_is_still_tested():
    table = judged("window-accumulates", evidence(study().without("untrained-window:bos")))
    rows = rows_of(table, "window-accumulates", lens="log")
    rows = rows[rows["number"] != KEPT]
    assert rows.groupby("arms")["verdict"].agg(set).to_dict() == {
        "window/bos vs standard/bos": {"reproduced"},
        "window/bos vs untrained-window/bos": {"not testable"},
    }


@pytest.mark.parametrize(
    ("window", "reason"),
    [(40, "no early query lies beyond 40 keys"), (7, "position 0 can have reached 1 layers")],
)
def test_a_window_that_shows_nothing_says_so(window, reason):
    variants = {k: v | ({"window": window} if v["window"] else {}) for k, v in VARIANTS.items()}
    rows = judged("window-accumulates", evidence(study(), variants))
    rows = rows[rows["number"] != LOSS]
    assert set(rows["verdict"]) == {"not testable"}
    assert rows["note"].str.startswith(reason).all()


def test_no_head_that_reads_a_sink():
    given = evidence(study())
    given.arms[named("standard:bos")].writes["a_1_64"].values[:] = 0.1
    row = judged("fingerprint", given).iloc[-1]
    assert row["verdict"] == "not testable"
    assert "0 sink readers" in row["note"]


# one row


def test_intervals_and_p_values_of_a_row():
    given = evidence(study(), confidence=0.9)
    values = replicates(0.02, "x", noise=0.5)
    row = measured(given, [named("standard:bos")], "n", values, Claimed(), lens="log")
    reach = stats.t.ppf(0.95, N - 1) * 0.01
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((0.02 - reach, 0.02 + reach))
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(2, N - 1))
    assert 0 < row["influence"] <= 1
    assert row["arms"] == "standard/bos"


def test_a_row_counts_the_inputs_of_its_smallest_arm():
    given = evidence(study())
    arms = [named("standard:bos"), named("standard:control-noop")]
    assert measured(given, arms, "n", replicates(1, "x"), None)["n_inputs"] == 8


@pytest.mark.parametrize(("number", "noted"), [(128, True), (64, True), (63, False)])
def test_a_handful_of_inputs_that_carry_the_result_are_told(number, noted):
    given = evidence(study(), number=number)
    values = np.ones(number + 1)
    values[[3, 9]] = 5
    row = measured(given, [named("standard:bos")], "n", no_halves(values), Claimed())
    assert ("five inputs carry" in row["note"]) == noted


# files


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two models as judge reads them, the second with one arm alone."""
    tmp_path = tmp_path_factory.mktemp("claims")
    made = []
    plans = [study(), Plan().arm("standard:bos")]
    for i, plan in enumerate(plans):
        given = evidence(plan)
        paths = [tmp_path / f"{i}.zarr", tmp_path / f"{i}.json"]
        save_replicates(given.arms, *paths)
        made.append(paths)
    judge(
        *zip(*made, strict=True),
        tmp_path / "claims.csv",
        tmp_path / "swaps.csv",
        tmp_path / "changes.csv",
        tmp_path / "controlled_effects.csv",
        models=[("a", "0123"), ("b", "main")],
        variants=VARIANTS,
        swap_tokens=TOKENS,
        confidence=0.95,
        seed=0,
    )
    return tuple(
        pd.read_csv(tmp_path / name, dtype={"revision": str})
        for name in ("claims.csv", "swaps.csv")
    )


@pytest.mark.filterwarnings("error::FutureWarning")
def test_claims_of_several_models(written, table):
    found, _ = written
    assert list(found.columns) == COLUMNS
    assert found[["model", "revision"]].drop_duplicates().to_numpy().tolist() == [
        ["a", "0123"],
        ["b", "main"],
    ]
    first = found[found["model"] == "a"].reset_index(drop=True)
    np.testing.assert_allclose(first["estimate"], table["estimate"].astype(float), rtol=1e-6)
    assert first["verdict"].fillna("").tolist() == table["verdict"].tolist()
    for column in ("primary", "preliminary"):
        assert found[column].dtype == bool
    second = found[found["model"] == "b"]
    assert set(rows_of(second, "bos-swap")["verdict"]) == {"not testable"}


def test_swaps_one_by_one(written):
    _, swaps = written
    assert list(swaps.columns[:4]) == ["model", "revision", "replacement", "token"]
    assert set(swaps["model"]) == {"a"}
    assert list(dict.fromkeys(swaps["replacement"])) == [
        "swap-token",
        *(f"swap-token-{i}" for i in range(1, 5)),
        "swap-mean",
        "ablate-zero",
    ]
    assert set(swaps["number"]) == {
        "energy reduction",
        "aligned reduction",
        "difference share",
        "amplitude reduction",
    }
    assert len(swaps) == 7 * 4 * 4 * 3
    assert list(dict.fromkeys(swaps["reading"])) == list(READ)
    swaps = swaps[swaps["reading"] == "R"]
    texts = swaps.dropna(subset="token").drop_duplicates("replacement").set_index("replacement")
    assert [json.loads(text) for text in texts["token"]] == TOKENS
    primary = swaps[swaps["primary"]]
    assert primary["replacement"].tolist() == ["swap-token"]
    one = swaps[(swaps["number"] == "energy reduction") & (swaps["summary"] == "median")]
    log = one[one["lens"] == "log"].set_index("replacement")["estimate"]
    tokens = [log[f"swap-token-{i}"] for i in range(1, 5)]
    assert tokens == pytest.approx([0.5, 0.45, 0.35, 0.3])
    assert log["swap-token"] == pytest.approx(np.mean(tokens))


def test_a_study_without_swaps_has_an_empty_table(tmp_path):
    given = evidence(study().without(*SWAPS, "standard:swap-mean", "standard:ablate-zero"))
    assert list(swap_rows(given, each=True)) == []


def test_a_single_listed_token_stands_once():
    plan = study().without(*SWAPS[1:])
    rows = list(swap_rows(evidence(plan), each=True))
    labels = [row["replacement"] for row in rows]
    assert list(dict.fromkeys(labels)) == ["swap-token", "swap-mean", "ablate-zero"]
    assert json.loads(rows[0]["token"]) == " the"


def test_from_a_run_to_its_claims(components, tmp_path):
    """Component stores of a tiny model through tables to verdicts."""
    arms = {
        "bos": ("standard", "bos"),
        "no-bos": ("standard", "no-bos"),
        "window": ("window", "bos"),
    }
    stores = [components[name] for name in arms]
    tabulate(
        [s.store for s in stores],
        [s.manifest for s in stores],
        tmp_path / "replicates.zarr",
        tmp_path / "replicates.json",
        arms=list(arms.values()),
        model="tiny",
        revision="seed-0",
        confidence=0.95,
        sign_flips=100,
        seed=0,
        threads=1,
    )
    variants = {
        name: VARIANTS[name] | {"window": window}
        for name, window in (("standard", None), ("window", 6))
    }
    judge(
        [tmp_path / "replicates.zarr"],
        [tmp_path / "replicates.json"],
        tmp_path / "claims.csv",
        tmp_path / "swaps.csv",
        tmp_path / "changes.csv",
        tmp_path / "controlled_effects.csv",
        models=[("tiny", "seed-0")],
        variants=variants,
        swap_tokens=[],
        confidence=0.95,
        seed=0,
    )
    found = pd.read_csv(tmp_path / "claims.csv")
    assert tuple(dict.fromkeys(found["claim"])) == CLAIMS
    theorems = found[found["claimed"].str.startswith("<=", na=False)]
    measured = found.drop(theorems.index)
    assert measured["preliminary"][measured["verdict"] != "not testable"].all()
    assert not theorems["preliminary"].any()
    assert set(theorems["verdict"]) == {"holds by construction"}
    sizes = pd.read_csv(tmp_path / "summary.csv").set_index(
        ["variant", "condition", "bin", "lens", "component", "summary"]
    )["energy"]
    rows = found[found["claim"] == "both-present"]
    energies_ = rows[rows["number"].str.endswith(" energy", na=False)]
    assert len(energies_) == 32
    for row in energies_.to_dict("records"):
        component = {"R": "residual", "pattern": "pattern"}.get(row["reading"], "mask")
        key = (row["arms"].split("/")[0], "bos", "early", row["lens"], component, row["summary"])
        if row["reading"] != "sink":  # a median of sums
            assert row["estimate"] == pytest.approx(sizes[key])
        elif row["summary"] == "mean":
            parts = (sizes[(*key[:4], part, "mean")] for part in ("row", "sink"))
            assert row["estimate"] == pytest.approx(sum(parts))
    assert pd.read_csv(tmp_path / "swaps.csv").empty
    assert list(open_replicates(tmp_path / "replicates.zarr")) == [Arm(*a) for a in arms.values()]
