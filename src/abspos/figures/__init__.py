"""One module per figure: tidy tables in, a matplotlib Figure out.

Every module has one function ``draw`` under ``@style.figure(...)``, which declares what the figure
reads and how the report lists it. ``abspos.figures.save`` reads, draws and writes. This file stays
light: an edit of one figure redraws that one alone.
"""

from abspos.extras import require

require("figures")

FIGURES = (
    "schematic",
    "readings_by_layer",
    "components_by_query",
    "components_by_layer",
    "residual_split",
    "factorial",
    "head_maps",
    "attention_rows",
    "position0",
    "bos_swap",
    "readers",
    "fingerprint",
    "balance",
    "dose",
    "controls",
    "repeats",
    "claims_forest",
    "verdicts",
    "by_source",
)

#: Figures of some studies only (abspos.planning.layout), and of targets that `all` does not make.
OTHERS = ("training", "adaptation", "truth", "calibration")
