"""index.html of a study: the question, the result, its figures and where each number came from.

One self-contained file: figures are drawn inline, and nothing is fetched. Every number and verdict
comes from a table. The markup is in abspos.report.page_template.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, StrictUndefined

from abspos.claims import verdicts
from abspos.claims.registry import CLAIMS
from abspos.claims.sensitivity import fragile
from abspos.components.readings import READINGS
from abspos.csv_tables import read_csv
from abspos.documents import MIN_INPUTS
from abspos.figures import style, tidy
from abspos.figures.attention_rows import LOOKS
from abspos.report.across import ABOUT, by_step
from abspos.report.front import MARKS, OURS, guarded, needed, notes, overall
from abspos.report.head_energies import as_json, early_energies
from abspos.report.heads import head_map
from abspos.report.in_words import headline, in_words
from abspos.report.numbers import SOURCES, with_sources
from abspos.report.page_template import PAGE
from abspos.report.pictures import Picture, picture
from abspos.report.readme import PLAIN
from abspos.report.sentences import Tables
from abspos.stores import write_atomically

#: Figures that stand above the verdicts, and the one that the head map follows.
NONE: Mapping[str, Path] = {}
SCHEMATIC, HERO, MAPPED = "schematic", "readings_by_layer", "head_maps"

#: Bytes that figures and energies may take; arms that do not fit are in energies.csv alone.
MOST_BYTES = 7_000_000

#: Revisions of a model that the page's second line names one by one.
MOST_NAMED = 6

#: Sign and class of each verdict; the class gives its colour.
SIGNS = {
    verdicts.REPRODUCED: ("✓", "yes"),
    verdicts.BY_CONSTRUCTION: ("≡", "yes"),
    verdicts.DIRECTION_ONLY: ("↗", "partly"),
    verdicts.SMALLER: ("<", "partly"),
    verdicts.LARGER: (">", "partly"),
    verdicts.ABSENT: ("○", "no"),
    verdicts.OPPOSITE: ("−", "no"),
    verdicts.VIOLATED: ("✗", "no"),
    verdicts.INCONCLUSIVE: ("?", "open"),
    verdicts.NOT_TESTABLE: ("·", "open"),
}

#: Columns that tell the lines of a claim apart.
LINE = ["model", "revision", "kind", "arms", "number", "summary", "reading"]

#: Columns of the table of all numbers, besides line and estimate.
COLUMNS = (
    *("claim", "model", "revision", "arms", "number", "lens", "summary", "reading", "kind"),
    *("claimed", "verdict"),
)


@dataclass(frozen=True)
class Number:
    """One number of the verdict table.

    Attributes:
        text: estimate with its interval over inputs, and over sources.
        line: of claims.csv; line 1 is its header.
        verdict: of this number; empty for a number shown beside a claim.
        sign, colour: see SIGNS.
        marks: preliminary, fragile, or the number of inputs that would decide.
        decides: whether it decides its claim.
    """

    text: str
    line: int
    verdict: str
    sign: str
    colour: str
    marks: str
    decides: bool


@dataclass(frozen=True)
class Line:
    """One line of the verdict table: a number in both lenses.

    Attributes:
        row: the columns of its first row in claims.csv.
        number: its name in plain words.
        log, probability: by lens, None where the claim lacks it.
        note: reasons and choices that flip a verdict.
    """

    row: Mapping[str, Any]
    number: str
    log: Number | None
    probability: Number | None
    note: str


@dataclass(frozen=True)
class Judged:
    """One claim of the verdict table.

    Attributes:
        name, statement, kind: of abspos.claims.registry.
        code: the function that computes its rows.
        lines: its numbers, deciding ones first.
    """

    name: str
    statement: str
    kind: str
    code: str
    lines: tuple[Line, ...]


def number(row: Mapping[str, Any] | None) -> Number | None:
    """One row of the claim table as a number of the page."""
    if row is None:
        return None
    said = "" if pd.isna(row["verdict"]) else str(row["verdict"])
    sign, colour = SIGNS.get(said, ("", "beside"))
    marks = [*(mark for mark in MARKS if said and row[mark]), *needed(row)]
    known = with_sources(row), int(row["line"]), said, sign, colour, ", ".join(marks)
    return Number(*known, decides=bool(row["primary"]))


def shown(claims: pd.DataFrame) -> pd.DataFrame:
    """The rows of the verdict table: what decides a claim, in every lens and reading.

    Args:
        claims: the claim table, with the column ``fragile``.

    Returns:
        Its rows with their lines in claims.csv and the model as it is called there; each kind of
        layers of a hybrid stands as a model of its own.
    """
    lined = claims.assign(line=range(2, len(claims) + 2), checkpoint=claims["model"])
    rows = tidy.by_kind(lined)
    keys = ["claim", "model", "revision", "arms", "number", "summary", "kind"]
    text = list(rows.reindex(columns=keys).astype(object).fillna("").itertuples(index=False))
    deciding = rows["primary"].astype(bool) | rows["number"].isna()
    chosen = {key for key, decides in zip(text, deciding, strict=True) if decides}
    return rows.loc[[key in chosen for key in text]].dropna(subset="verdict")


def judged(claims: pd.DataFrame) -> list[Judged]:
    """The verdict table.

    Args:
        claims: the claim table, with the column ``fragile``.
    """
    rows = shown(claims)
    found = []
    for claim in CLAIMS:
        by_line: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
        own = rows[rows["claim"] == claim.name]
        for row in own.sort_values("primary", ascending=False, kind="stable").to_dict("records"):
            lens = "probability" if row["lens"] == "probability" else "log"
            key = tuple(str(row.get(name, "")) for name in LINE)
            by_line.setdefault(key, {})[lens] = {str(k): v for k, v in row.items()}
        lines = tuple(line_of(by_lens) for by_lens in by_line.values())
        code = f"{claim.rows.__module__}.{getattr(claim.rows, '__name__', claim.name)}"
        found.append(Judged(claim.name, claim.statement, claim.kind, code, lines))
    return found


def line_of(by_lens: Mapping[str, Mapping[str, Any]]) -> Line:
    """One line of the verdict table from its rows by lens."""
    first = {k: "" if pd.isna(v) else v for k, v in next(iter(by_lens.values())).items()}
    name = PLAIN.get(first["number"], first["number"])
    log, probability = (number(by_lens.get(lens)) for lens in ("log", "probability"))
    return Line(first, name, log, probability, note=notes(by_lens))


def every_row(claims: pd.DataFrame) -> list[dict[str, Any]]:
    """All rows of the claim table as text, with their lines in claims.csv."""
    text = claims.reindex(columns=list(COLUMNS)).astype(object)
    rows = text.where(text.notna(), "").to_dict("records")
    return [
        {**{str(k): v for k, v in row.items()}, "line": line, "text": with_sources(own)}
        for line, (row, own) in enumerate(zip(rows, claims.to_dict("records"), strict=True), 2)
    ]


def readings_of(claims: pd.DataFrame) -> list[dict[str, str]]:
    """Which reading decides on each model, and when each was fixed."""
    if "fixed" not in claims:
        return []
    stated = claims[claims["reading"].notna() & claims["fixed"].notna()]
    found = []
    for (model, revision), own in stated.groupby(["model", "revision"], sort=False):
        primary = own.loc[own["primary"].astype(bool), "reading"]
        fixed = own.drop_duplicates("reading").set_index("reading")["fixed"]
        texts = {reading.name: str(fixed.get(reading.name, "")) for reading in READINGS}
        decides = ", ".join(dict.fromkeys(primary))
        found.append({"model": f"{model} ({revision})", "decides": decides, **texts})
    return found


def null_controls(controls: pd.DataFrame, claims: pd.DataFrame) -> list[dict[str, str]]:
    """The null controls: measured effect, pass or fail, and the number that each guards."""
    return [
        {
            "model": row["model"],
            "arm": f"{row['variant']}/{row['condition']}",
            "check": row["check"],
            "measured": f"{row['value']:.3g}",
            "passed": "yes" if str(row["passed"]) == "True" else "NO",
            "guards": guarded(row, claims),
        }
        for row in controls.to_dict("records")
    ]


def emphasised(text: str) -> str:
    """A text as HTML, with what stands between asterisks emphasised."""
    return re.sub(r"\*([^*]+)\*", r"<em>\1</em>", escape(text, quote=False))


def studied(checkpoints: pd.DataFrame) -> list[str]:
    """Each model with its revisions; of many their number, the first and the last."""
    found = []
    for model, own in checkpoints.groupby("model", sort=False):
        names = own["revision"].astype(str).tolist()
        many = f"{len(names)} revisions, {names[0]} to {names[-1]}"
        found.append(f"{model} ({', '.join(names) if len(names) <= MOST_NAMED else many})")
    return found


def others(tables: Tables) -> pd.DataFrame:
    """The claims of models that are in no group of models trained alike."""
    claims, groups = tables["claims"], tables.get("architectures")
    if groups is None:
        return claims
    members = {name for names in groups["members"].unique() for name in names.split()}
    return claims[~claims["model"].isin(members)]


def page(
    tables: Tables,
    settings: Mapping[str, Any],
    pictures: Sequence[Picture] = (),
    heads: Mapping[str, Any] | None = None,
) -> str:
    """The page as HTML.

    Args:
        tables: ``claims`` with the column ``fragile``, ``sensitivity``, ``checkpoints``,
            ``controls``, ``balance``, ``factorial``, ``swaps`` and ``controlled_effects``; with
            ``energies``, the page has a table of these, and with ``architectures`` the claims
            across these.
        settings: the resolved config.
        pictures: the study's figures, in the order of the argument.
        heads: the head map, see abspos.report.heads; it follows the figure head_maps.
    """
    claims = tables["claims"]
    by_name = {one.name: one for one in pictures}
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    synthetic = [m["name"] for m in settings["models"] if m["source"]["type"] == "synthetic"]
    texts = tables["checkpoints"].reindex(columns=["model", "revision", "repo", "commit", "gap"])
    checkpoints = texts.astype(object).where(texts.notna(), "").to_dict("records")
    said = {n: table for n, table in tables.items() if "model" in table and n != "energies"}
    room = MOST_BYTES - sum(len(one.drawing) for one in pictures)
    text, held, arms = early_energies(tables.get("energies"), room)
    rendered = environment.from_string(PAGE).render(
        study=settings["study"],
        results=f"results/{settings['study']}",
        ours=emphasised(OURS),
        sources=emphasised(SOURCES),
        studied=studied(texts[texts["gap"].isna()]),
        lead=headline({**said, "claims": others(tables)}),
        words=in_words(said),
        schematic=by_name.get(SCHEMATIC),
        hero=by_name.get(HERO),
        pictures=[one for one in pictures if one.name not in (SCHEMATIC, HERO)],
        overall=overall(claims),
        claims=judged(claims),
        mapped=MAPPED,
        heads=as_json(heads) if heads else "",
        energies={"text": text, "held": held, "arms": arms},
        colors={
            "sliding": style.GREEN,
            "model": LOOKS["model"].color,
            "mask": LOOKS["mask alone"].color,
        },
        columns=COLUMNS,
        rows=every_row(claims),
        several=len(tidy.by_kind(claims)[["model", "revision"]].drop_duplicates()) > 1,
        signs=SIGNS,
        readings=READINGS,
        fixed=readings_of(claims),
        across=by_step(tables["architectures"]) if "architectures" in tables else None,
        about=ABOUT,
        controls=null_controls(tables["controls"], claims),
        checkpoints=checkpoints,
        synthetic=synthetic,
        settings=settings,
        level=f"{100 * settings['statistics']['confidence']:g}",
        least=MIN_INPUTS,
        sizes={"reduction": verdicts.REDUCTION.least, "share": verdicts.SHARE.least},
        half_width=verdicts.HALF_WIDTH,
        swap=verdicts.SWAP_SHARE,
        yaml=yaml.safe_dump(dict(settings), sort_keys=False),
    )
    return rendered.strip() + "\n"


def write(
    tables: Mapping[str, Path],
    figures: Sequence[Path],
    out: Path,
    settings: Mapping[str, Any],
    stores: Mapping[str, Path] = NONE,
    replicates: Mapping[str, Path] = NONE,
) -> None:
    """Write index.html of a study.

    Args:
        tables: claims.csv, sensitivity.csv, checkpoints.csv, controls.csv, balance.csv,
            factorial.csv, swaps.csv, controlled_effects.csv, energies.csv and sinks.csv by name;
            architectures.csv where models were trained alike.
        figures: one file of each figure, in the order of the argument.
        out: path of the page, in the study's folder.
        settings: the resolved config.
        stores: component stores of the heads to show, by ``model/revision/variant/condition``.
        replicates: store of replicates by ``model/revision``.
    """
    found = {name: read_csv(path) for name, path in tables.items()}
    found["claims"] = fragile(found["claims"], found["sensitivity"])
    sinks, confidence = found.pop("sinks", pd.DataFrame()), settings["statistics"]["confidence"]
    heads = head_map(stores, replicates, sinks, confidence) if stores else None
    pictures = [picture(Path(path)) for path in figures]
    write_atomically(Path(out), page(found, settings, pictures, heads))
