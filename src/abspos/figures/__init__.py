"""One module per figure, one function each: tidy tables in, a matplotlib Figure out.

Every module of ``FIGURES`` has ``draw(tables, stores=None, confidence=0.95)`` and says what it
needs: ``TABLES`` (names of tables), ``STORES`` (component stores as ``variant/condition``),
``CATEGORY``, ``LABELS`` and ``CAPTION``. ``abspos.figures.save`` reads, draws and writes.
This file stays light: whoever needs one figure imports that one alone.
"""

FIGURES = (
    "components_by_query",
    "components_by_layer",
    "residual_split",
    "head_maps",
    "attention_rows",
    "position0",
    "bos_swap",
    "readers",
    "balance",
    "dose",
    "controls",
    "claims_forest",
    "verdicts",
)

#: Figures of some studies only (abspos.planning.layout), and of targets that `all` does not make.
OTHERS = ("training", "truth", "calibration")
