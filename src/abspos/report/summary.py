"""The verdicts of a finished study as a few lines, for the end of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from abspos.claims.rows import UNTRAINED
from abspos.claims.verdicts import VERDICTS
from abspos.csv_tables import read_csv
from abspos.figures import tidy
from abspos.stores import StoreError

#: Pages of a study, the first that exists is named.
PAGES = ("index.html", "report.html", "front.rst")


def summary(results: Path) -> Iterator[str]:
    """Each claim's verdict for each model, in both lenses, and the page to read.

    A claim with several primary numbers has the weakest verdict of them, as in the report; each
    kind of layers of a hybrid stands as a model of its own. Random weights get no verdict.

    Args:
        results: the study's folder.

    Raises:
        StoreError: the study has no claims yet.
    """
    path = results / "claims.csv"
    if not path.is_file():
        raise StoreError(f"{path}: missing; run snakemake to make it")
    table = tidy.by_kind(read_csv(path))
    judged = table["verdict"].isin(VERDICTS)
    table = table.assign(verdict=table["verdict"].where(judged, UNTRAINED))
    random = table.get("note", pd.Series("", table.index)).eq(UNTRAINED)
    rows = table[table["primary"].astype(bool) & (judged | random)]
    width = max(map(len, rows["claim"]), default=0)
    for (model, revision), of_model in rows.groupby(["model", "revision"], sort=False):
        few = bool(of_model["preliminary"].fillna(False).any())
        note = f", preliminary: {of_model['n_inputs'].max():.0f} inputs" if few else ""
        yield f"{model} at {revision}{note}"
        for claim, of_claim in of_model.groupby("claim", sort=False):
            yield f"  {claim:<{width}}  {in_lenses(of_claim)}"
    page = next((results / name for name in PAGES if (results / name).is_file()), path)
    yield f"report: {page}"


def in_lenses(rows: pd.DataFrame) -> str:
    """The weakest verdict of some rows: one where the lenses agree, else one for each."""
    found = {
        lens: min(of_lens["verdict"], key=[*VERDICTS, UNTRAINED].index)
        for lens, of_lens in rows.fillna({"lens": ""}).groupby("lens", sort=False)
    }
    if len(set(found.values())) == 1:
        return str(next(iter(found.values())))
    return "; ".join(f"{lens!s} lens: {verdict}" for lens, verdict in found.items())
