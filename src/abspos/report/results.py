"""Results as measured, as Markdown: docs/results.md and docs/full.md.

    python -m abspos.report.results results/default > docs/results.md

The page is made from a study's tables and ledger; no number in it is typed by hand. The README's
table of verdicts and its sentences are made from the page (abspos.report.readme).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from abspos.claims import verdicts
from abspos.claims.sensitivity import FLIPS, SAME, TOO_FEW, UNTESTED, fragile
from abspos.claims.verdicts import SWAP
from abspos.csv_tables import read_csv
from abspos.figures import tidy
from abspos.report.front import OURS, claim_rows
from abspos.report.in_words import in_words
from abspos.report.numbers import SOURCES, estimate
from abspos.report.sentences import Tables

HEAD = [
    "claim",
    "verdict, log lens",
    "log lens",
    "verdict, probability lens",
    "probability lens",
    "claimed",
    "number",
    "arms",
    "N",
    "note",
]
#: The same for a study of several models.
SEVERAL = [HEAD[0], "model", *HEAD[1:]]

#: Heading of the sentences, which the README copies.
WORDS = "## In words\n"

EXCHANGES = """
## Substitutes for position 0 in chosen heads

Chosen heads read the key and value of the first listed token at position 0 (exchange), a value of
zero (silence), or the key and value that BOS has in mid-text (unsink); docs/method.md, section 5,
sink-readers. Heads are chosen on one half of the inputs and measured on the other.

{table}
"""
GUARDS = """
## Controls of position and the effects they guard

Changes of R under standard, early queries, as shares of its energy under bos (docs/method.md,
section 4).

{table}
"""


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    cells = [[str(value).replace("|", "\\|").replace("\n", " ") for value in row] for row in rows]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def claims_table(claims: pd.DataFrame) -> str:
    """The numbers that decide each claim, with both lenses in one line; with their models where
    there are several."""
    texts = dict.fromkeys(("note", "number", "arms"), "")
    rows = claim_rows(claims.astype(dict.fromkeys(texts, object)).fillna(texts))
    several = any(len(row) > len(HEAD) for row in rows)
    return markdown_table(SEVERAL if several else HEAD, rows)


def of_models(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Some columns of a table, after the model's where there are several."""
    return table[["model"] * (table["model"].nunique() > 1) + list(columns)]


def swaps_table(swaps: pd.DataFrame, summary: str) -> str:
    """The numbers of bos-swap for every replacement, in one summary; a star marks the primary."""
    chosen = tidy.by_kind(swaps[swaps["summary"] == summary])
    texts = [estimate(row) + " ★" * bool(row["primary"]) for row in chosen.to_dict("records")]
    chosen = chosen.assign(text=texts)
    keys = ["model", "reading", "replacement", "token", "lens"]
    wide = chosen.fillna({"token": ""}).pivot_table(
        index=keys, columns="number", values="text", aggfunc="first", sort=False
    )
    return markdown_table([*keys, *wide.columns], wide.reset_index().to_numpy().tolist())


def sensitivity_table(found: pd.DataFrame) -> str:
    """Every published verdict and the choices that flip it or cannot decide it."""
    rows = []
    found = tidy.by_kind(found).fillna({"lens": "", "reading": ""})
    known = ["model", "claim", "number", "arms", "lens", "reading"]
    for key, chosen in found.groupby(known, sort=False):
        by_change = [
            ", ".join(f"{row['choice']}: {row['verdict']}" for _, row in part.iterrows())
            for part in (chosen[chosen["change"] == kind] for kind in (FLIPS, TOO_FEW, UNTESTED))
        ]
        held = (chosen["change"] == SAME).sum()
        rows.append([*key, chosen["published"].iloc[0], f"{held} of {len(chosen)}", *by_change])
    head = [
        "model",
        "claim",
        "number",
        "arms",
        "lens",
        "reading",
        "published",
        "same under",
        "flips under",
        "too few inputs",
        "not testable",
    ]
    return markdown_table(head, rows)


def covering(swaps: pd.DataFrame, claimed: float | None = SWAP.value) -> str:
    """The numbers of bos-swap whose interval covers the claimed number, as a list.

    Without shares of next to nothing, whose intervals cover everything.
    """
    swaps = tidy.by_kind(swaps[swaps["verdict"] != verdicts.NOT_TESTABLE])
    fits = swaps[(swaps["ci_low"] <= claimed) & (claimed <= swaps["ci_high"])]
    lines = [
        f"- {row['model']}: {row['replacement']}, {row['number']}, reading {row['reading']}, "
        f"{row['lens']} lens, {row['summary']} head: {estimate(dict(row.items()))}"
        for _, row in fits.iterrows()
    ]
    return "\n".join(lines) or "- none"


def guards_table(guards: pd.DataFrame) -> str:
    """Controls of position and the effects that they guard, in per cent of R's energy."""
    guards = tidy.by_kind(guards)
    rows = guards.assign(text=[percent(row) for row in guards.to_dict("records")])
    keys = ["model", "role", "condition", "n_inputs", "reading", "lens", "summary"]
    wide = rows.pivot_table(
        index=keys, columns="number", values="text", aggfunc="first", sort=False
    )
    return markdown_table([*keys, *wide.columns], wide.reset_index().to_numpy().tolist())


def exchanges_table(claims: pd.DataFrame) -> str:
    """Shares carried by sets of heads, and changes under silence and unsinking, in per cent."""
    claims = tidy.by_kind(claims)
    chosen = claims[(claims["claim"] == "sink-readers") & claims["estimate"].notna()]
    several = chosen["model"].nunique() > 1
    rows = [
        [
            *[r["model"]] * several,
            r["number"] + (f", {r['reading']}" if isinstance(r.get("reading"), str) else ""),
            r["lens"],
            r["summary"],
            percent(r),
            int(r["n_inputs"]),
            "" if pd.isna(r["verdict"]) else r["verdict"],
        ]
        for r in chosen.to_dict("records")
    ]
    head = ["number", "lens", "head", "share", "N", "verdict"]
    return markdown_table(["model"] * several + head, rows)


def percent(row: Mapping[Hashable, Any]) -> str:
    """A share and its interval, in per cent with two decimals."""
    # Adding 0 after rounding makes -0.0 a plain 0.
    value, low, high = (
        f"{round(100 * row[name], 2) + 0:.2f}" for name in ("estimate", "ci_low", "ci_high")
    )
    return f"{value} % [{low}, {high}]"


def command(folder: Path) -> str:
    """The command that runs a shipped study."""
    if folder.name == "default":
        return "make reproduce"
    return f"snakemake --cores all --configfile studies/{folder.name}.yaml"


def taken_in(folder: Path) -> str:
    """A sentence that names the finished studies of other choices; empty if there are none."""
    names = sorted(path.parent.name for path in folder.parent.glob(f"{folder.name}.*/claims.csv"))
    listed = ", ".join(f"`{name}`" for name in names)
    return f"\nIncludes finished studies of other choices: {listed}.\n" if names else ""


def plain_table(table: pd.DataFrame) -> str:
    """All columns of a table, with four significant digits."""
    text = table.map(lambda x: f"{x:.4g}" if isinstance(x, float) else str(x))
    return markdown_table(list(text.columns), text.to_numpy().tolist())


def circumstances(folder: Path) -> dict[str, object]:
    """Date, machine, commit and versions of the claims' run, from their ledger entry."""
    entry = json.loads((folder / "ledger" / "claims.csv.json").read_text(encoding="utf-8"))
    host = entry["circumstances"]["host"]
    return {
        "date": entry["circumstances"]["start"][:10],
        "machine": f"{host['cpu']}, {host['cores']} cores, {host['memory_bytes'] / 2**30:.0f} GiB",
        "commit": entry["git"]["commit"][:12] if entry.get("git") else "unknown",
        "torch": entry["packages"].get("torch"),
        "transformers": entry["packages"].get("transformers"),
        "python": entry["python"],
    }


def words(tables: Tables) -> str:
    """The sentences that hold, as a list by model."""
    found = in_words(tables)
    several = len(found) > 1
    return "\n".join(
        f"{model}:\n\n" * several + "".join(f"- {text}\n" for text in said) for model, said in found
    )


def page(folder: Path) -> str:
    """The whole page of one study.

    Args:
        folder: ``results/<study>``.
    """
    found = read_csv(folder / "statistics" / "sensitivity.csv")
    claims = fragile(read_csv(folder / "claims.csv"), found)
    made = circumstances(folder)
    statistics = folder / "statistics"
    loss, controls = (read_csv(statistics / f"{n}.csv") for n in ("loss", "controls"))
    swaps = read_csv(statistics / "swaps.csv")
    guards = read_csv(statistics / "controlled_effects.csv")
    tables = {"claims": claims, "sensitivity": found, "swaps": swaps}
    tables["controlled_effects"] = guards
    tables |= {name: read_csv(statistics / f"{name}.csv") for name in ("balance", "factorial")}
    chosen_heads = claims["claim"].eq("sink-readers") & claims["estimate"].notna()
    more = EXCHANGES.format(table=exchanges_table(claims)) if chosen_heads.any() else ""
    more += GUARDS.format(table=guards_table(guards)) if len(guards) else ""
    chosen = ["variant", "condition", "loss", "ci_low", "ci_high", "n_inputs"]
    return f"""# Results as measured: the study `{folder.name}`

Made by `python -m abspos.report.results {folder.as_posix()}` from a run of
`{command(folder)}`, on
{made["date"]}, {made["machine"]}; Python {made["python"]}, torch {made["torch"]},
transformers {made["transformers"]}; code at commit {made["commit"]}.
{taken_in(folder)}
{OURS}

{WORDS}
{words(tables)}
## The claims

Each line is one number with its 95 % interval over inputs. Energies are mean squared nats (log
lens) or summed squared probability (probability lens). {SOURCES}

{claims_table(claims)}

## Every number of bos-swap

The paper's abstract has one number, 40 %. The tables show means over layers with 95 % intervals, as
shares: 0.4 is 40 %. The primary number, named beforehand, is marked ★: swap-token, energy
reduction, log lens, median head. Among {len(swaps)} estimates, the intervals of these cover 40 %:

{covering(swaps)}

Median head:

{swaps_table(swaps, "median")}

Mean over heads:

{swaps_table(swaps, "mean")}

## Sensitivity

Each verdict under other choices (docs/method.md, section 5). `statistics/sensitivity.csv` has every
number.

{sensitivity_table(found)}

## Controls

{plain_table(of_models(controls, "variant", "condition", "check", "value", "passed"))}
{more}
## Loss

Mean next-token cross-entropy, nats per token (docs/method.md, section 5).

{plain_table(of_models(loss, *chosen))}
"""


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m abspos.report.results results/<study>")
    sys.stdout.write(page(Path(sys.argv[1])))
