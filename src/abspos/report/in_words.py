"""The results in words: every sentence that states a result, held by the numbers that carry it.

The front page and the pages of results print the sentences that hold; the README copies those of
docs/results.md. A new sentence is one record here. Source: docs/method.md, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from abspos.claims import verdicts
from abspos.claims.names import as_text
from abspos.claims.registry import CLAIMS
from abspos.claims.sensitivity import FLIPS, SAME
from abspos.figures import tidy
from abspos.report.across import counted
from abspos.report.readings import R, by_readings, readings_sentence
from abspos.report.sentences import (
    ABOVE,
    BELOW,
    LEVEL,
    Sentence,
    Shown,
    Tables,
    balances,
    beside_controls,
    by_verdict,
    chosen,
    course,
    covering_forty,
    deciding,
    exchanged,
    factorial,
    probability,
    sorted_by_verdict,
    weakest,
)

SWAP = "Replacing the embedding of BOS by another token's"
ANCHOR = "the query at which the mask's part is set to zero"
LARGER = (
    f"{R.capitalize()} is the larger of the two up to anchor {{above.anchor}}, {ANCHOR}: it has "
    "{above:%} of their joint energy there"
)
#: What the deciding numbers are of, by the primary reading.
NAMES = {"R": R, "sink": f"the sink part of {R}", "pattern": f"the pattern of {R}"}
OTHER = "; in the probability lens it {other:by}."
READERS = "Heads that attend to position 0"
ALIKE = "Models trained alike, with control"
#: What intervals over inputs leave out; seen in one training made three times (docs/studies.md).
UNCERTAIN = "intervals are over inputs; another run of the same training can differ by more"

SENTENCES: tuple[Sentence, ...] = (
    Sentence(
        "Both components are present in every variant of the trained weights. At early queries of "
        f"the standard model the mask has {{mask:%}} of the energy of mask and R together and {R} "
        "{residual:%}.",
        {
            "every": deciding("both-present"),
            "mask": deciding("both-present", number="mask share*", arms="standard/*"),
            "residual": deciding("both-present", number="residual share*", arms="standard/*"),
        },
        lambda every, **_: set(every["verdict"]) == {verdicts.REPRODUCED},
    ),
    Sentence(
        f"{R.capitalize()} is the larger of the two at every anchor up to {{last.anchor}}, "
        f"{ANCHOR}: it has {{least:%}} of their joint energy at anchor {{least.anchor}}, "
        "{most:%} at anchor {most.anchor}.",
        balances("standard", "least", "most", "last"),
        lambda every, **_: course(every) == (ABOVE,),
        number="balance",
        always_r=True,
    ),
    Sentence(
        f"{LARGER}, and {{level:%}} at anchor {{level.anchor}}, where the interval covers one "
        "half.",
        balances("standard", ABOVE, LEVEL),
        lambda every, **_: course(every) == (ABOVE, LEVEL),
        number="balance",
        always_r=True,
    ),
    Sentence(
        f"{LARGER}, and less than half from anchor {{below.anchor}} on, {{below:%}} there.",
        balances("standard", ABOVE, BELOW),
        lambda every, **_: course(every) in ((ABOVE, BELOW), (ABOVE, LEVEL, BELOW)),
        number="balance",
        always_r=True,
    ),
    Sentence(
        f"At no anchor up to {{last.anchor}}, {ANCHOR}, is {R} shown to be the larger of the two: "
        "it has at most {most:%} of their joint energy, at anchor {most.anchor}.",
        balances("standard", "most", "last"),
        lambda every, **_: ABOVE not in course(every),
        number="balance",
        always_r=True,
    ),
    Sentence(
        "With random weights the mask component is the larger at every anchor up to {last.anchor}: "
        "the residual stream has at most {most:%}.",
        balances("untrained", "most", "last"),
        lambda every, **_: course(every) == (BELOW,),
        number="balance",
        always_r=True,
    ),
    *by_verdict(
        {
            verdicts.REPRODUCED: f"NTK scaling reduces {R}, as claimed, by {{ntk:%}}.",
            verdicts.DIRECTION_ONLY: f"NTK scaling reduces {R}, as claimed, by {{ntk:%}}; "
            "after Holm's correction over the claims, whether by 10 points is open.",
            verdicts.ABSENT: f"NTK scaling changes {R} by less than 10 points: it {{ntk:by}}.",
            verdicts.OPPOSITE: f"NTK scaling raises {R}, against the claim, by {{ntk:-%}}.",
            verdicts.INCONCLUSIVE: f"Whether NTK scaling reduces {R} is open: it {{ntk:by}}.",
        },
        {"ntk": deciding("ntk-suppresses")},
    ),
    Sentence(
        f"Under a sliding window {R} grows with depth at queries that cannot see position 0: by "
        "{standard:n} per layer more than without a window, by {untrained:n} more than with "
        "untrained weights.",
        {
            "standard": deciding("window-accumulates", arms="* vs standard/*"),
            "untrained": deciding("window-accumulates", arms="* vs untrained*"),
            "every": deciding("window-accumulates"),
        },
        lambda every, **_: len(every) == 2 and set(every["verdict"]) == {verdicts.REPRODUCED},
    ),
    Sentence(
        f"Growth of {R} with depth under a sliding window is not shown: the difference of slopes "
        "is {weak:n}.",
        {"weak": sorted_by_verdict("window-accumulates")},
        lambda weak: weakest(weak) in (verdicts.INCONCLUSIVE, verdicts.OPPOSITE),
    ),
    *by_verdict(
        {
            verdicts.REPRODUCED: "Standard RoPE lies between NTK scaling and a sliding window: the "
            f"smaller of the two differences is {{between:%}} of {R}.",
            **dict.fromkeys(
                (verdicts.ABSENT, verdicts.OPPOSITE),
                "Standard RoPE does not lie between NTK scaling and a sliding window by 10 points: "
                f"the smaller of the two differences is {{between:%}} of {R}.",
            ),
            **dict.fromkeys(
                (verdicts.DIRECTION_ONLY, verdicts.INCONCLUSIVE),
                "Whether standard RoPE lies between NTK scaling and a sliding window by 10 points "
                f"is open: the smaller of the two differences is {{between:%}} of {R}.",
            ),
        },
        {"between": deciding("standard-between")},
    ),
    *by_verdict(
        {
            verdicts.REPRODUCED: f"{SWAP} removes {{swap:%}} of {R}, which agrees with the claimed "
            f"40 %{OTHER}",
            verdicts.SMALLER: f"{SWAP} removes {{swap:%}} of {R}, less than the claimed "
            f"40 %{OTHER}",
            verdicts.LARGER: f"{SWAP} removes {{swap:%}} of {R}, more than the claimed 40 %{OTHER}",
            verdicts.DIRECTION_ONLY: f"{SWAP} removes {{swap:%}} of {R}, too wide an interval to "
            f"confirm the claimed 40 %{OTHER}",
            verdicts.ABSENT: f"{SWAP} changes {R} by less than 10 points in the log lens, not by "
            f"40 %: it {{swap:by}}{OTHER}",
            verdicts.OPPOSITE: f"{SWAP} raises {R}, against the claim, by {{swap:-%}}{OTHER}",
            verdicts.INCONCLUSIVE: f"{SWAP} {{swap:of}} {R}, which leaves open whether "
            f"it changes anything{OTHER}",
        },
        {"swap": deciding("bos-swap"), "other": probability("bos-swap")},
    ),
    Sentence(
        f"The first listed token in place of BOS moves the mean field of {R}: the difference has "
        "{effect:%} of the energy under BOS (N = {effect.n_inputs}). Shuffling all tokens after "
        "BOS, which leaves position 0 as it is, moves it by {control:%} (N = {control.n_inputs}).",
        {
            "effect": beside_controls("swap-token-1"),
            "control": beside_controls("control-shuffle"),
        },
        lambda effect, control: len(effect) == len(control) == 1,
        always_r=True,
    ),
    Sentence(
        "Of all numbers of bos-swap, only some that set position 0 to zero have an interval that "
        "covers 40 %; this removes position 0 and does not replace its token.",
        {"covering": covering_forty},
        lambda covering: set(covering["replacement"]) == {"ablate-zero"},
    ),
    *exchanged(
        "share of energy",
        f"{READERS}, given another token's key and value there, remove {{how}} of {R} than all "
        "other heads do; {by} of its energy.",
    ),
    *exchanged(
        "share of the bos-swap change",
        f"{READERS} make {{how}} of the change of {R} under another token than all other heads "
        "do; {by} of it.",
    ),
    *by_verdict(
        {
            verdicts.REPRODUCED: f"{READERS} pass on the token that stands there: it explains "
            "{token:%} of the variance of what they write from that position.",
            **dict.fromkeys(
                (verdicts.DIRECTION_ONLY, verdicts.INCONCLUSIVE),
                f"Whether {READERS.lower()} pass on the token that stands there is open: it "
                "explains {token:%} of the variance of what they write from that position.",
            ),
            **dict.fromkeys(
                (verdicts.ABSENT, verdicts.OPPOSITE),
                f"{READERS} do not pass on the token that stands there: it explains {{token:%}} of "
                "the variance of what they write from that position.",
            ),
        },
        {"token": deciding("fingerprint", number="variance explained")},
    ),
    Sentence(
        f"Of {R} between the same words at two places, key 0 alone makes {{key:%}}, the queries "
        "and all other keys {rest:%}.",
        {
            "key": factorial(effect="key 0"),
            "rest": factorial(effect="all but key 0"),
        },
        lambda key, rest: len(key) == len(rest) == 1,
        number="share",
        always_r=True,
    ),
    Sentence(
        "Every verdict re-checked in bfloat16 is unchanged.",
        {"rows": chosen("sensitivity", choice="bfloat16")},
        lambda rows: set(rows["change"]) == {SAME},
    ),
)
#: Claims that the sentences above speak of; the others get a plain one.
SPOKEN = (
    "both-present",
    "ntk-suppresses",
    "window-accumulates",
    "standard-between",
    "bos-swap",
    "sink-readers",
    "fingerprint",
)


def plain_sentences(tables: Tables) -> Iterator[str]:
    """One sentence for each measured claim that has none of its own, or that cannot be tested."""
    claims = tables["claims"]
    for claim in CLAIMS:
        rows = claims[(claims["claim"] == claim.name) & claims["primary"].astype(bool)]
        rows = rows[rows["verdict"].isin(verdicts.VERDICTS)]
        rows = rows[~rows["claimed"].astype(str).str.startswith("<=")]
        if claim.kind != "measured" or rows.empty:
            continue
        tested = rows[rows["verdict"] != verdicts.NOT_TESTABLE]
        if tested.empty:
            yield f"This study cannot test {claim.name}: {rows['note'].iloc[0]}."
        elif claim.name not in SPOKEN:
            records = tested.to_dict("records")
            row = min(records, key=lambda one: verdicts.VERDICTS.index(one["verdict"]))
            number = f"{row['number']}, {Shown(row):n}"
            yield f"The verdict on {claim.name} is {row['verdict']}: {number}."


def flip_sentences(tables: Tables) -> Iterator[str]:
    """The claims whose verdicts another choice flips, with those choices by reading."""

    def by_reading(rows: pd.DataFrame) -> str:
        names = as_text(rows.get("reading", pd.Series("", rows.index)))
        return "; ".join(
            f"{name}: {choices}" if name else choices
            for name, own in rows.groupby(names, sort=False)
            if (choices := ", ".join(dict.fromkeys(own["choice"])))
        )

    found = tables.get("sensitivity", pd.DataFrame(columns=["claim", "choice", "change"]))
    flips = found[found["change"] == FLIPS]
    if len(flips):
        listed = "; ".join(
            f"{claim} ({by_reading(rows)})" for claim, rows in flips.groupby("claim", sort=False)
        )
        yield f"Verdicts flip under other choices: {listed}."
    elif len(found):
        yield "No verdict flips under another choice."


def read_as(sentence: Sentence, own: Tables) -> str:
    """A sentence on a model's tables, which names the reading that decides its claims."""
    claims, text = own["claims"], sentence.stated(own)
    if sentence.always_r or "reading" not in claims:
        return text
    (name, *_) = [
        reading
        for reading in claims.loc[claims["primary"].astype(bool), "reading"].dropna().unique()
        if reading in NAMES
    ] or ["R"]
    named = NAMES[name]
    return named.join(text.split(R)).replace(R.capitalize(), named.capitalize())


def headline(tables: Tables) -> list[tuple[str, str]]:
    """What models that were trained alike say; then, of the last revision of each model, what the
    readings say side by side, or the first of SENTENCES that holds.

    Args:
        tables: as of in_words.
    """
    return [
        *((name, " ".join(said)) for name, said in of_architectures(tables)),
        *(
            (
                name,
                by_readings(own["claims"])
                or next(filter(None, (read_as(one, own) for one in SENTENCES)), ""),
            )
            for name, own in by_model({**tables, "claims": latest(tables["claims"])})
        ),
    ]


def of_architectures(tables: Tables) -> list[tuple[str, list[str]]]:
    """The sentences that hold across architectures at the last step, by group."""
    if "architectures" not in tables:
        return []
    found = []
    for name, own in by_model({"claims": latest(tables["architectures"])}):
        said = [text for one in SENTENCES if (text := read_as(one, own))]
        said += plain_sentences(own)
        if said:
            runs = counted(own["claims"]["n_runs"])
            times = f"one run of each ({UNCERTAIN})" if runs == "1" else f"{runs} runs of each"
            found.append((f"{ALIKE} {name}, {times}", said))
    return found


def latest(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the last revision of each model."""
    runs = table[["model", "revision"]].drop_duplicates()
    return table.merge(runs.groupby("model", sort=False).tail(1), on=["model", "revision"])


def of_model(table: pd.DataFrame, model: str, revision: str) -> pd.DataFrame:
    """The rows of one model."""
    return table[(table["model"] == model) & (table["revision"] == revision)]


def by_model(tables: Tables) -> Iterator[tuple[str, Tables]]:
    """Each model with its revision, and its rows of the tables; each kind of layers of a hybrid
    speaks as a model of its own."""
    tables = {name: tidy.by_kind(table) for name, table in tables.items()}
    runs = tables["claims"][["model", "revision"]].drop_duplicates()
    for model, revision in runs.itertuples(index=False, name=None):
        own = {name: of_model(table, model, revision) for name, table in tables.items()}
        yield f"{model} ({revision})", own


def in_words(tables: Tables) -> list[tuple[str, list[str]]]:
    """The sentences that hold, by model.

    Args:
        tables: ``claims``, and as far as there are ``balance``, ``factorial``, ``swaps``,
            ``controlled_effects``, ``sensitivity`` and ``architectures``.

    Returns:
        Model with revision, and its sentences; what the readings say together comes first. Before
        all of them, what models that were trained alike say together.
    """
    found = of_architectures(tables)
    for model, own in by_model(tables):
        said = [by_readings(own["claims"]), readings_sentence(own["claims"])]
        said += [read_as(one, own) for one in SENTENCES]
        said += [*plain_sentences(own), *flip_sentences(own)]
        found.append((model, [text for text in said if text]))
    return found
