"""The front page of the report: the question, the claims with their verdicts, the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from abspos.claims.registry import statements
from abspos.claims.sensitivity import fragile
from abspos.claims.verdicts import VERDICTS
from abspos.csv_tables import read_csv
from abspos.documents import MIN_INPUTS
from abspos.figures import tidy
from abspos.report.across import ABOUT, by_step
from abspos.report.in_words import in_words
from abspos.report.numbers import SOURCES, estimate, with_sources
from abspos.report.pictures import directive
from abspos.report.rst import cell, list_table
from abspos.report.sentences import Tables
from abspos.stores import write_atomically
from abspos.study.conditions import TABLE

#: What is the paper's and what is ours; shown before any number.
OURS = (
    "The claims, and the 40 % in one of them, are those of the abstract of *Where does Absolute "
    "Position come from in decoder-only Transformers?* (arXiv 2606.06160). The component formulae, "
    "energies, replacements and least effects are this project's own: the paper's full text was "
    "not at hand. They were fixed before it had a result; intervals, least effects and the rules "
    "of verdicts were revised later. Each verdict holds *under these definitions*, for these "
    "checkpoints and this corpus."
)

#: Around what the page shows once a reader opens it.
FOLDED = """.. raw:: html

   <details><summary>All settings, defaults included</summary>
"""
UNFOLDED = """.. raw:: html

   </details>"""

#: What a null control protects, by its condition: the claim, and the number that it would undo.
GUARDED = {row.name: (row.null.claim, row.null.number) for row in TABLE if row.null}

#: Columns that qualify a verdict, and the words that mark it.
MARKS = ("preliminary", "fragile")
#: If a claim has several verdicts, the first of these counts.
VERDICTS_WEAKEST_FIRST = (*VERDICTS, "")

#: Columns that identify one line of the front table.
SUBJECT = ["claim", "model", "revision", "arms", "number", "summary", "reading", "kind"]


def lines(claims: pd.DataFrame) -> list[dict[str, Mapping[str, Any]]]:
    """Numbers that decide a claim, each as its rows by lens; rows without a lens are under log."""
    found: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for record in claims.to_dict("records"):
        row = {str(key): value for key, value in record.items()}
        row["verdict"] = "" if pd.isna(row["verdict"]) else row["verdict"]
        lens = "probability" if row["lens"] == "probability" else "log"
        found.setdefault(tuple(str(row.get(key, "")) for key in SUBJECT), {})[lens] = row
    order = list(statements())
    kept = [line for line in found.values() if any(map(decides, line.values()))]
    return sorted(kept, key=lambda line: order.index(next(iter(line.values()))["claim"]))


def decides(row: Mapping[str, Any]) -> bool:
    """Whether a row decides a claim, or has no number because the claim is not testable."""
    return bool(row["primary"]) or pd.isna(row["number"])


def judged(row: Mapping[str, Any] | None) -> tuple[str, str]:
    """Verdict and estimate of one lens of a line; empty where the claim lacks that lens."""
    if row is None:
        return "", ""
    marks = [*needed(row), *(m for m in MARKS if row[m])]
    return marked(row["verdict"], marks), with_sources(row)


def needed(row: Mapping[Any, Any]) -> list[str]:
    """The number of inputs that would decide an inconclusive verdict; empty for others."""
    number = row.get("n_decides")
    return [] if number is None or pd.isna(number) else [f"N = {int(number)} would decide"]


def marked(verdict: str, marks: Sequence[str]) -> str:
    """A verdict, followed by its marks."""
    return f"{verdict} ({', '.join(marks)})" if marks else verdict


def models_of(claims: pd.DataFrame) -> list[str]:
    """Models and revisions of the table, as text."""
    pairs = claims[["model", "revision"]].drop_duplicates().to_numpy()
    return [f"{model} ({revision})" for model, revision in pairs]


def claim_rows(claims: pd.DataFrame) -> list[list[object]]:
    """Rows of the front table; each kind of layers of a hybrid stands as a model of its own."""
    rows: list[list[object]] = []
    claims = tidy.by_kind(claims)
    several = len(models_of(claims)) > 1
    for line in lines(claims):
        first = next(iter(line.values()))
        both = [*judged(line.get("log")), *judged(line.get("probability"))]
        number = "" if pd.isna(first["n_inputs"]) else int(first["n_inputs"])
        about = [first[key] for key in ("claimed", "number", "arms")]
        model = [f"{first['model']} ({first['revision']})"] if several else []
        rows.append([first["claim"], *model, *both, *about, number, notes(line)])
    return rows


def notes(line: Mapping[str, Mapping[str, Any]]) -> str:
    """The note of a line, and the other choices that flip its verdicts, by lens."""
    flips = [
        f"{'' if pd.isna(row['lens']) else f'{lens} lens '}flips under: {row['fragile']}"
        for lens, row in line.items()
        if row["fragile"]
    ]
    own = next(iter(line.values()))["note"]
    return "; ".join([*([] if pd.isna(own) or not own else [str(own)]), *flips])


def overall(claims: pd.DataFrame) -> list[list[str]]:
    """One line per claim: its verdict in each lens, or counts of verdicts over several models.

    A model's verdict is the weakest of the lines that decide it.
    """
    deciding = lines(claims)
    rows = []
    for name, statement in statements().items():
        both = []
        for lens in ("log", "probability"):
            found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
            for line in deciding:
                row = line.get(lens)
                if row and row["claim"] == name:
                    found.setdefault((row["model"], row["revision"]), []).append(row)
            both.append(tally([weakest(rows) for rows in found.values()]))
        rows.append([name, statement, *both])
    return rows


def weakest(rows: Sequence[Mapping[str, Any]]) -> tuple[str, list[str]]:
    """The weakest verdict of the rows that decide a claim, and the marks of any of them."""
    verdicts = [str(row["verdict"]) for row in rows]
    marks = [mark for mark in MARKS if any(bool(row[mark]) for row in rows)]
    return min(verdicts, key=VERDICTS_WEAKEST_FIRST.index), marks


def tally(found: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Verdicts of one claim: the one of a single model, or counts over several models."""
    if len(found) < 2:
        return "".join(marked(verdict, marks) for verdict, marks in found)
    texts = []
    for verdict in reversed(VERDICTS_WEAKEST_FIRST):
        alike = [marks for name, marks in found if name == verdict]
        counts = {mark: sum(mark in marks for marks in alike) for mark in MARKS}
        reserved = "".join(f", {number} {mark}" for mark, number in counts.items() if number)
        if alike:
            texts.append(f"{verdict or 'shown beside'}: {len(alike)} of {len(found)}{reserved}")
    return "; ".join(texts)


def scope(claims: pd.DataFrame) -> str:
    """The scope of verdicts on several models; empty for one model."""
    number = len(models_of(claims))
    if number < 2:
        return ""
    return f"""
Each of the {number} models is one checkpoint. Counts over them describe these checkpoints only. A
difference between two of them is no evidence about architectures, since they also differ in
weights, data, tokenizer and size. Effects of an architecture are measured on variants of
the same weights.
"""


def gaps(checkpoints: pd.DataFrame) -> str:
    """Checkpoints that the study names but could not measure, with reasons; empty without gaps."""
    missing = checkpoints[checkpoints["gap"].notna()]
    if missing.empty:
        return ""
    rows = missing[["model", "revision", "gap"]].to_numpy().tolist()
    return f"""
Gaps
----

{len(missing)} of {len(checkpoints)} checkpoints could not be measured, and no number above includes
them. ``abspos pin`` makes the next run try them again.

{list_table(["model", "revision", "reason"], rows)}
"""


def controls_section(controls: pd.DataFrame, claims: pd.DataFrame) -> str:
    """Null controls: measured effect, pass or fail, and the result each protects.

    Args:
        controls: see abspos.statistics.controls.
        claims: the claim table.
    """
    passed = {"True": "yes", "False": "NO"}
    rows = [
        [
            row["model"],
            f"{row['variant']}/{row['condition']}",
            row["check"],
            f"{row['value']:.3g}",
            passed[str(row["passed"])],
            guarded(row, claims),
        ]
        for row in controls.to_dict("records")
    ]
    head = ["model", "arm", "null control", "measured", "passed", "effect it guards"]
    shown = list_table(head, rows) if rows else "This study ran no null control."
    return f"""
Controls
--------

Null controls must have no effect; the last column shows the effect that each one guards.

{shown}
"""


def guarded(control: Mapping[Any, Any], claims: pd.DataFrame) -> str:
    """The measured effect that a control guards; empty if the study has not measured it."""
    claim, number = GUARDED.get(control["condition"], ("", ""))
    lens = "probability" if str(control["check"]).endswith("probability") else "log"
    own = (claims["model"] == control["model"]) & (claims["revision"] == control["revision"])
    rows = claims[own & (claims["claim"] == claim) & (claims["number"] == number)]
    rows = rows[(rows["lens"] == lens) & (rows["summary"] == "median")]
    rows = rows[rows["reading"].isna() | (rows["reading"] == "R")]
    arms = rows["arms"].astype(str).str.startswith(f"{control['variant']}/")
    found = rows[arms].to_dict("records")
    return f"{claim}, {number}, {lens} lens: {estimate(found[0])}" if found else ""


def architectures(tables: Tables) -> str:
    """The claims across architectures; empty where no models were trained alike."""
    if "architectures" not in tables:
        return ""
    return f"""
Across architectures
--------------------

{ABOUT}
Log lens, median head. ``statistics/architectures.csv`` has every number.

{list_table(*by_step(tables["architectures"]))}
"""


def words(tables: Tables) -> str:
    """The results in words: the sentences that hold, by model where there are several."""
    found = in_words(tables)
    parts = []
    for model, said in found:
        head = f"{cell(model)}:\n\n" if len(found) > 1 else ""
        parts.append(head + "\n".join(f"- {cell(text)}" for text in said))
    return "\nIn words\n--------\n\n{}\n".format("\n\n".join(parts)) if any(parts) else ""


def synthetic(settings: Mapping[str, Any]) -> str:
    """A warning about models with planted logits; empty if there is none."""
    names = [m["name"] for m in settings["models"] if m["source"]["type"] == "synthetic"]
    if not names:
        return ""
    return f"""
**Synthetic:** the logits of {cell(", ".join(names))} are planted. No verdict on them says anything
about the paper: each has a known right answer, which ``calibration/numbers.csv`` and the figure
*Truth* show.
"""


def page(
    claims: pd.DataFrame,
    settings: Mapping[str, Any],
    checkpoints: pd.DataFrame | None = None,
    controls: pd.DataFrame | None = None,
    tables: Tables | None = None,
    schematic: Path | None = None,
) -> str:
    """The front page as reStructuredText.

    Args:
        claims: the claim table, with the column ``fragile`` (see abspos.claims.sensitivity).
        settings: the resolved config.
        checkpoints: see abspos.report.checkpoints.
        controls: see abspos.statistics.controls; without them the page has no such section.
        tables: others that carry sentences (see abspos.report.in_words.in_words).
        schematic: the figure at the top.
    """
    checked = "" if controls is None else controls_section(controls, claims)
    missing = "" if checkpoints is None else gaps(checkpoints)
    models = models_of(claims)
    number = settings["inputs"]["number"]
    title = "Where does absolute position come from?"
    few = bool(claims["preliminary"].all()) or number < MIN_INPUTS
    preliminary = (
        f"\n**Preliminary:** {number} inputs; verdicts count from {MIN_INPUTS} on.\n" * few
    )
    head = [
        "claim",
        *(["model"] if len(models) > 1 else []),
        *("verdict", "log lens", "verdict, probability", "probability lens", "claimed"),
        *("number", "arms", "N", "note"),
    ]
    indented = "\n".join(
        f"   {line}" for line in yaml.safe_dump(dict(settings), sort_keys=False).splitlines()
    )
    return f""".. |nbsp| unicode:: 0xA0

{title}
{"=" * len(title)}

{directive(schematic)}
{OURS}
{preliminary}{synthetic(settings)}{words({"claims": claims, **(tables or {})})}
The claims
----------

Study *{cell(settings["study"])}* on {cell(", ".join(models))}; {number} inputs of
{settings["inputs"]["length"]} tokens. Intervals are at
{100 * settings["statistics"]["confidence"]:g} %, over inputs. {SOURCES}
The rows below decide each claim (log lens, median head), with the same number in the probability
lens. ``claims.csv`` has every other number. Energies are mean squared nats (log) or summed squared
probability.

{list_table(["claim", "statement", "verdict, log lens", "probability lens"], overall(claims))}
{scope(claims)}
A claim's verdict on a model is the weakest verdict of the numbers that decide it. A verdict is
*fragile* if it flips under another choice of early bin, anchor, summary or inputs, or in a study
with another setting. ``statistics/sensitivity.csv`` and its figure show all choices:

{list_table(head, claim_rows(claims))}
{architectures(tables or {})}{checked}{missing}
Settings of the run
-------------------

{FOLDED}
.. code-block:: yaml

{indented}

{UNFOLDED}

Rules of the workflow
---------------------
"""


def write(
    claims: Path,
    sensitivity: Path,
    out: Path,
    settings: Mapping[str, Any],
    checkpoints: Path | None = None,
    controls: Path | None = None,
    tables: Mapping[str, Path] | None = None,
    schematic: Path | None = None,
) -> None:
    """Write the front page of a study's report.

    Args:
        claims: claims.csv.
        sensitivity: sensitivity.csv.
        out: path of the reStructuredText.
        settings: the resolved config.
        checkpoints: checkpoints.csv, whose gaps are shown.
        controls: controls.csv, shown with the effects that they guard.
        tables: balance.csv, factorial.csv, swaps.csv and controlled_effects.csv by name, for the
            sentences; and
            architectures.csv where models were trained alike.
        schematic: the figure at the top.
    """
    changes = read_csv(sensitivity)
    table = fragile(read_csv(claims), changes)
    found = None if checkpoints is None else read_csv(checkpoints)
    checked = None if controls is None else read_csv(controls)
    others = {name: read_csv(path) for name, path in (tables or {}).items()}
    others["sensitivity"] = changes
    write_atomically(Path(out), page(table, settings, found, checked, others, schematic))
