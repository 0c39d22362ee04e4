"""Published measures beside the components, as Markdown: the numbers of docs/neighbours.md.

    python -m abspos.report.neighbours results/default

Each measure follows its own authors' definition (docs/method.md, section 3). All numbers are for
standard under bos and come from a study's tables.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from scipy.stats import spearmanr

from abspos.csv_tables import read_csv
from abspos.report.results import markdown_table
from abspos.sinks import SINK_THRESHOLD

#: Measures by which heads are ranked, columns of sinks.csv.
MEASURES = {"a_1_64": "a_1 at T = 64", "map_sink": "the map at position 0, less its row's mean"}
#: Our numbers, whose ranks of heads are compared with those of the measures.
BESIDE = {
    "sink excess A_i(i) - P_i(i)": ("sinks", "sink_excess"),
    "energy of the sink part of R, log": ("log", "sink"),
    "energy of the sink part of R, probability": ("probability", "sink"),
    "energy of R, log": ("log", "residual"),
    "energy of R, probability": ("probability", "residual"),
    "energy of the mask, log": ("log", "mask"),
}


def of_arm(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of standard under bos, or under no-bos if there is no bos."""
    rows = table[table["variant"] == "standard"]
    has_bos = (rows["condition"] == "bos").any()
    return rows[rows["condition"] == ("bos" if has_bos else "no-bos")]


def ranks(measure: str, sinks: pd.DataFrame, energies: pd.DataFrame) -> str:
    """Rank correlation over heads of a published measure, a column of sinks, with our numbers."""
    keys = ["model", "revision", "layer", "head"]
    early = energies[energies["bin"] == "early"]
    rows = []
    for name, (kind, which) in BESIDE.items():
        if kind == "sinks":
            own = sinks[[*keys, which]]
        else:
            chosen = (early["lens"] == kind) & (early["component"] == which)
            own = early.loc[chosen, [*keys, "energy"]]
        both = sinks[[*keys, measure]].merge(own, on=keys)
        rank = spearmanr(both[measure], both.iloc[:, -1]).statistic if len(both) > 2 else None
        rows.append([name, len(both), "" if rank is None else f"{rank:.2f}"])
    return markdown_table(
        ["our number", "heads", f"rank correlation with {MEASURES[measure]}"], rows
    )


def sink_line(sinks: pd.DataFrame) -> str:
    """Gu et al.'s Sink_1, and the number of heads whose mean attention makes them sinks."""
    share, mean = sinks["sink_share"].mean(), (sinks["a_1_64"] > SINK_THRESHOLD).sum()
    number = int(sinks["n_inputs"].max())
    return (
        f"Sink_1 = {100 * share:.1f} % of (input, layer, head) at T = 64, N = {number}; "
        f"{mean} of {len(sinks)} heads have a mean a_1 above {SINK_THRESHOLD}."
    )


def map_line(sinks: pd.DataFrame) -> str:
    """Kim et al.'s map: its difference from R by row and offset, and its value at position 0."""

    def over_heads(what: str) -> str:
        found = sinks[f"map_{what}"]
        return (
            f"{found.median():.2f} nats in the median head ({found.min():.2f} to {found.max():.2f})"
        )

    return (
        "The map and R_i(d) differ by one number per row and one per offset, to within "
        f"{sinks['map_error'].max():.1e} nats in all of {len(sinks)} heads. The standard "
        f"deviations of these numbers are, over rows, {over_heads('spread')} and, over offsets, "
        f"{over_heads('shift')}. The map at position 0 exceeds the mean of the row's other keys by "
        f"{over_heads('sink')}."
    )


def depths_table(position0: pd.DataFrame, states: pd.DataFrame) -> str:
    """By depth: massive activations (Sun et al.), norm at 0, and the split (Song & Zhong)."""
    parts = states.pivot_table(index="depth", columns="part", values="energy", sort=False)
    shares = parts.div(parts.sum(axis=1), axis=0)
    rows = [
        [
            row["depth"],
            f"{row['state_norm']:.4g}",
            f"{100 * row['massive_share']:.0f} %",
            f"{100 * row['massive_later']:.0f} %",
            f"{row['contrast']:.0f}",
            *(f"{100 * shares.loc[row['depth'], part]:.1f} %" for part in shares.columns),
        ]
        for row in position0.to_dict("records")
    ]
    head = [
        "depth",
        "norm at position 0",
        "massive at position 0",
        "at others",
        "largest at 0 / median",
        *shares.columns,
    ]
    return markdown_table(head, rows)


def page(folder: Path) -> str:
    """The numbers of one study of one model.

    Args:
        folder: ``results/<study>``.
    """
    names = ("sinks", "energies", "position0", "states")
    tables = [of_arm(read_csv(folder / "statistics" / f"{name}.csv")) for name in names]
    sinks, energies, position0, states = tables
    parts = [
        sink_line(sinks),
        ranks("a_1_64", sinks, energies),
        map_line(sinks),
        ranks("map_sink", sinks, energies),
        depths_table(position0, states),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m abspos.report.neighbours results/<study>")
    sys.stdout.write(page(Path(sys.argv[1])))
