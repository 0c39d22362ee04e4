"""The loss curves of all models that a study trains, as one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from abspos.csv_tables import read_csv, write_csv
from abspos.stores import Stored, check

#: File of a trained checkpoint's folder with the losses up to its step.
LOSSES = "losses.csv"
COLUMNS = ["model", "step", "tokens", "loss", "held_out_loss"]


def join(
    folders: Sequence[Path], manifests: Sequence[Path], models: Sequence[str], out: Path
) -> None:
    """Write the losses of several models as one table.

    Args:
        folders: the last checkpoint of each model, and its manifest.
        models: their names.
        out: path of the CSV: model, step, tokens, loss, held_out_loss (nats per token).

    Raises:
        StoreError: a checkpoint is missing or altered.
    """
    tables = []
    for model, *stored in zip(models, folders, manifests, strict=True):
        folder = Stored(*map(Path, stored))
        check(*folder)
        table = read_csv(folder.store / LOSSES)
        table.insert(0, "model", model)
        tables.append(table)
    write_csv(pd.concat(tables, ignore_index=True)[COLUMNS], Path(out))
