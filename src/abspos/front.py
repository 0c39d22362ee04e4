"""The front page of the report: the question, the claims with their verdicts, the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from abspos.stores import write_atomically

#: What is the paper's and what is ours; said before any number.
OURS = (
    "The claims are those of the abstract of *Where does Absolute Position come from in "
    "decoder-only Transformers?* (arXiv 2606.06160). The component formulae, estimators, "
    "replacements and thresholds are this project's own, fixed before it had a result: the paper's "
    "full text was not at hand. Each verdict is a verdict on the claim *under these definitions*, "
    "for these checkpoints and this corpus."
)

#: A cell that looks empty and is one to docutils.
BLANK = "|nbsp|"

#: The claims in one line each, in the order in which they are shown.
STATEMENTS = {
    "both-present": "position reaches attention through the causal mask and the residual stream",
    "mask-denominator": "the mask's part comes from the softmax denominator of each query",
    "closed-trajectory": "position 0 attends to itself alone: a closed dynamical system",
    "sink-readers": "later attention reads that trajectory through sink-reading heads",
    "ntk-suppresses": "NTK scaling suppresses the residual-stream component",
    "window-accumulates": "in sliding windows the residual-stream component grows with depth",
    "bos-swap": "replacing the BOS embedding removes 40 % of the residual-stream component",
    "fingerprint": "the sink passes on a fingerprint of the token at position 0",
}


def cell(value: object) -> str:
    """A value as text of one reStructuredText table cell."""
    text = "" if value is None or (isinstance(value, float) and pd.isna(value)) else str(value)
    escaped = text.replace("\\", "\\\\").replace("*", "\\*").replace("`", "\\`")
    return escaped.replace("|", "\\|").replace("_", "\\_").replace("\n", " ")


def list_table(head: Sequence[str], rows: Sequence[Sequence[object]], widths: str = "auto") -> str:
    """A reStructuredText list-table."""
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in [head, *rows]:
        for i, value in enumerate(row):
            lines.append(f"   {'* -' if i == 0 else '  -'} {cell(value) or BLANK}")
    return "\n".join(lines)


def estimate(row: Mapping[str, Any]) -> str:
    """An estimate with its interval, to three digits."""
    if pd.isna(row["estimate"]):
        return ""
    if pd.isna(row["ci_low"]):
        return f"{row['estimate']:.2g}"
    return f"{row['estimate']:.3g} [{row['ci_low']:.3g}, {row['ci_high']:.3g}]"


def chosen(claims: pd.DataFrame) -> pd.DataFrame:
    """The rows of the front table: the deciding row of each claim, and its other lens."""
    primary = claims[claims["primary"].astype(bool)]
    keys = ["claim", "model", "revision", "arms", "number", "summary"]
    other = claims[(claims["lens"] == "probability") & claims["number"].notna()]
    wanted = set(primary[keys].fillna("").itertuples(index=False, name=None))
    beside = other[[t in wanted for t in other[keys].fillna("").itertuples(index=False, name=None)]]
    untestable = claims[claims["verdict"] == "not testable"]
    rows = pd.concat([primary, beside, untestable]).drop_duplicates()
    order = {claim: i for i, claim in enumerate(STATEMENTS)}
    rows = rows.assign(order=rows["claim"].map(order))
    return rows.sort_values(["order", "model", "number", "arms", "lens"], kind="stable")


def claim_rows(claims: pd.DataFrame) -> list[list[object]]:
    """Rows of the front table."""
    return [
        [
            row["claim"], row["number"], row["arms"], row["lens"], estimate(row), row["claimed"],
            row["verdict"] + (" (preliminary)" if row["preliminary"] else ""),
            "" if pd.isna(row["n_inputs"]) else int(row["n_inputs"]), row["note"],
        ]
        for row in chosen(claims).to_dict("records")
    ]  # fmt: skip


def page(claims: pd.DataFrame, settings: Mapping[str, Any]) -> str:
    """The front page as reStructuredText.

    Args:
        claims: the claim table.
        settings: the resolved config.
    """
    models = ", ".join(
        f"{m} ({r})" for m, r in claims[["model", "revision"]].drop_duplicates().to_numpy()
    )
    number = settings["inputs"]["number"]
    title = "Where does absolute position come from?"
    preliminary = ""
    if bool(claims["preliminary"].all()) or number < 128:
        preliminary = (
            f"\n**Preliminary:** {number} inputs; verdicts count from 128 on.\n"
        )
    head = ["claim", "number", "arms", "lens", "estimate [interval]", "claimed", "verdict", "N", ""]
    statements = "\n".join(f"- **{name}**: {text}." for name, text in STATEMENTS.items())
    indented = "\n".join(f"   {line}" for line in
                         yaml.safe_dump(dict(settings), sort_keys=False).splitlines())  # fmt: skip
    return f""".. |nbsp| unicode:: 0xA0

{title}
{"=" * len(title)}

{OURS}
{preliminary}
The claims
----------

Study *{cell(settings["study"])}* on {cell(models)}; {number} inputs of
{settings["inputs"]["length"]} tokens. Intervals are at
{100 * settings["statistics"]["confidence"]:g} %, over inputs. The rows below decide each claim
(log lens, median head) and stand beside the same number in the probability lens; every other
number is in ``claims.csv``. Energies are mean squared nats (log) or summed squared probability.

{list_table(head, claim_rows(claims))}

{statements}

Settings of the run
-------------------

.. code-block:: yaml

{indented}
"""


def write(claims: Path, out: Path, settings: Mapping[str, Any]) -> None:
    """Write the front page of a study's report.

    Args:
        claims: claims.csv.
        out: where the reStructuredText goes.
        settings: the resolved config.
    """
    table = pd.read_csv(claims, dtype={"revision": str})
    write_atomically(Path(out), page(table, settings))
