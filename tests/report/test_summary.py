"""The last lines of a run say what its claims say, and no more."""

from __future__ import annotations

import pandas as pd

from abspos.claims.rows import UNTRAINED
from abspos.csv_tables import write_csv
from abspos.report.summary import summary


def row(claim, verdict, lens="log", primary=True, model="m", preliminary=False):
    names = ("claim", "verdict", "lens", "primary", "model", "preliminary")
    found = dict(zip(names, (claim, verdict, lens, primary, model, preliminary), strict=True))
    return {**found, "revision": "r", "n_inputs": 16}


def lines(folder, rows):
    write_csv(pd.DataFrame(rows), folder / "claims.csv")
    return list(summary(folder))


def test_the_weakest_primary_verdict_of_each_claim(tmp_path):
    found = lines(
        tmp_path,
        [
            row("one", "reproduced"),
            row("one", "absent"),
            row("one", "opposite", primary=False),
            row("longer", "reproduced"),
            row("longer", "opposite", lens="probability"),
            row("one", "violated", lens="", model="n", preliminary=True),
        ],
    )
    assert found == [
        "m at r",
        "  one     absent",
        "  longer  log lens: reproduced; probability lens: opposite",
        "n at r, preliminary: 16 inputs",
        "  one     violated",
        f"report: {tmp_path / 'claims.csv'}",
    ]


def test_random_weights_have_no_verdict(tmp_path):
    given = row("both-present", None) | {"note": UNTRAINED}
    other = row("sink-readers", None) | {"note": "beside the claim"}
    assert lines(tmp_path, [row("one", "absent"), given, other]) == [
        "m at r",
        "  one           absent",
        f"  both-present  {UNTRAINED}",
        f"report: {tmp_path / 'claims.csv'}",
    ]


def test_each_kind_of_layers_has_its_verdicts(tmp_path):
    kinds = {"full": "absent", "window 512": "reproduced"}
    rows = [row("one", verdict) | {"kind": kind} for kind, verdict in kinds.items()]
    mixed = row("one", "opposite", primary=False) | {"kind": "full + window 512"}
    found = lines(
        tmp_path, [*(r | {"summary": "median"} for r in rows), mixed | {"summary": "mean"}]
    )
    assert found[:-1] == [
        *("m (full) at r", "  one  absent"),
        *("m (window 512) at r", "  one  reproduced"),
    ]


def test_the_page_to_read_is_the_one_that_is_there(tmp_path):
    rows = [row("one", "absent")]
    for name in ("front.rst", "report.html", "index.html"):
        (tmp_path / name).touch()
        assert lines(tmp_path, rows)[-1] == f"report: {tmp_path / name}"
