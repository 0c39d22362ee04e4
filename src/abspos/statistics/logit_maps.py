"""Kim et al.'s logit map beside R, head by head: the columns ``map_*`` of sinks.csv.

Source: docs/method.md, section 3 (neighbours).
"""

from __future__ import annotations

import numpy as np
import xarray as xr


def logit_map_columns(store: xr.Dataset) -> dict[str, np.ndarray]:
    """Kim et al.'s logit map at early queries (layer, head), and how it stands to R.

    ``map_sink``: what it gives to position 0 beyond the mean of its row's other keys; over
    queries that see position 0. Less R_i(d) it is one number a row, whose standard deviation
    over rows is ``map_spread``, plus one number an offset, the mean logit of late queries less
    that of early ones, whose standard deviation over offsets is ``map_shift``;
    ``map_error`` is the largest difference from such a sum.
    Source: docs/method.md, section 3 (neighbours).
    """
    first, stop = store.attrs["bins"]["early"]
    shown = store["query"].values
    rows = np.flatnonzero((shown >= first) & (shown < stop))
    queries = shown[rows]
    found, residual = (
        store[name].values[:, :, rows].astype(np.float64) for name in ("logit_map", "residual")
    )
    offset = np.arange(found.shape[-1])
    windows = [w or store.attrs["length"] for w in store.attrs["window"]]
    keys = np.minimum(queries + 1, np.array(windows)[:, None])[:, None, :, None]
    seen = offset < keys
    apart = found - residual
    by_row = apart[..., 0]
    apart = np.where(seen, apart - by_row[..., None], 0)
    rows_with = seen.sum(2)
    by_offset = apart.sum(2) / np.maximum(rows_with, 1)
    error = np.abs(apart - by_offset[:, :, None])
    others = np.where(offset < queries[:, None], found, 0).sum(-1) / queries
    excess = found[..., np.arange(len(queries)), queries] - others
    sees = (keys > queries[:, None])[..., 0]
    return {
        "map_sink": np.where(sees, excess, 0).sum(-1) / np.maximum(sees.sum(-1), 1),
        "map_spread": by_row.std(-1),
        "map_shift": by_offset.std(-1, where=rows_with > 0),
        "map_error": np.where(seen, error, 0).max((-1, -2)),
    }
