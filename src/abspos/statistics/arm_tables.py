"""All tables of one arm, from its component store, and its replicates for what compares arms.

Nothing here reads an activation. Source: docs/method.md, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from abspos.components.lenses import LENSES
from abspos.components.readings import READINGS
from abspos.sinks import SINK_THRESHOLD
from abspos.statistics import replicates as sl
from abspos.statistics.energies import Interval, benjamini_hochberg, packed_replicates
from abspos.statistics.fingerprint import READ
from abspos.statistics.logit_maps import logit_map_columns
from abspos.statistics.packing import of_some
from abspos.statistics.sign_flips import packed_sign_flip_p
from abspos.statistics.store import ArmReplicates, facts_of
from abspos.statistics.summary_tests import summary_tests

#: Anchors at which the balance of R and mask is shown, as far as they lie below half of the length.
ANCHORS = (15, 31, 47, 63, 95, 127, 191, 255, 383, 511, 767, 1023, 1535, 2047)
#: Conditions that both-present is tested under: bos, or the text alone where there is no BOS.
REFERENCES = ("bos", "no-bos")

Keys = Mapping[str, Any]


class ArmTables:
    """All tables of one arm, and its replicates for what compares arms."""

    def __init__(self, store: xr.Dataset, keys: Keys, confidence: float, flips: int, seed: int):
        self.store, self.keys, self.confidence = store, dict(keys), confidence
        self.flips, self.seed = flips, seed
        self.documents = sl.documents_of(store)
        self.number = store.sizes["input"]
        self.kinds = np.array(store.attrs["kind"])
        self.bins: dict[str, xr.DataArray] = {}
        self.tables: dict[str, pd.DataFrame] = {}
        self.p_values: xr.DataArray | None = None
        self.energies()
        self.summaries()
        self.readings()
        self.profile()
        self.sinks()
        self.sink_share()
        self.position0()
        self.states()
        self.balance()
        self.loss()
        self.masses()

    def frame(self, columns: Mapping[str, Any]) -> pd.DataFrame:
        """A table with the arm's keys in front and its number of inputs behind."""
        return pd.DataFrame({**self.keys, **columns, "n_inputs": self.number})

    def joined(self, pieces: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
        """`frame` of the columns of all pieces, one below the other: an array of one length or a
        single value each. Many small frames would take most of the time of the tables."""
        lengths = [max(np.size(column) for column in piece.values()) for piece in pieces]
        return self.frame(
            {
                name: np.concatenate(
                    [
                        np.broadcast_to(piece[name], length)
                        for piece, length in zip(pieces, lengths, strict=True)
                    ]
                )
                for name in pieces[0]
            }
        )

    def interval_columns(
        self, name: str, replicates: np.ndarray | xr.DataArray, summary: str = "mean"
    ) -> dict[str, Any]:
        """An estimate and its interval as flat columns, axes in their order."""
        return columns_of(name, sl.replicate_interval(replicates, self.confidence, summary))

    def energies(self) -> None:
        """Energy, interval and sign-flip test of every head, bin, lens and component."""
        frames: list[dict[str, Any]] = []
        for which in self.store.attrs["bins"]:
            packed = sl.packed_grams(self.store, which)
            tests: dict[tuple[str, str], np.ndarray] = {}
            pieces: dict[tuple[str, str], np.ndarray] = {}
            for key, own in packed.items():
                same = next((k for k in tests if packed[k] is own), None)
                if same is not None:
                    pieces[key], tests[key] = pieces[same], tests[same]
                    continue
                pieces[key] = packed_replicates(own, self.documents)
                tests[key] = packed_sign_flip_p(own, self.flips, self.seed, self.documents)
            self.bins[which] = sl.stack(pieces)
            if which == "early" and self.keys["condition"] in REFERENCES:
                self.p_values = summary_tests(
                    packed, self.kinds, self.flips, self.seed, self.documents
                )
            for lens, component in sl.pairs(self.bins[which]):
                key = lens, component
                frames.append(self.by_head(which, key, pieces[key], tests[key]))
        self.tables["energies"] = self.joined(frames)

    def by_head(
        self, which: str, key: tuple[str, str], replicates: np.ndarray, p: np.ndarray
    ) -> dict[str, Any]:
        """Energies of all heads in one bin, lens and component, with their tests, as columns."""
        own = sl.bin_columns(self.store, which)
        found = sl.replicate_interval(replicates, self.confidence)
        layer, head = (axis.ravel() for axis in np.indices(p.shape))
        return {
            "layer": layer,
            "head": head,
            "bin": own["bin"],
            "lens": key[0],
            "component": key[1],
            **columns_of("energy", found),
            "p_value": np.ravel(p),
            "p_adjusted": np.ravel(benjamini_hochberg(p)),
            "influence": np.ravel(found.influence),
            "kind": self.kinds[layer],
            "window": own["window"],
        }

    def among(self, name: str, numbers: Sequence[int]) -> dict[str, xr.DataArray]:
        """Early R, its parts and their cross on the inputs of arms that have some of them.

        Args:
            name: of the bin.
            numbers: of the inputs.
        """
        documents = self.store["document"].values[numbers]

        def replicates(grams: Mapping[tuple[str, str], np.ndarray]) -> xr.DataArray:
            return sl.stack(
                {
                    key: packed_replicates(of_some(packed, numbers), documents)
                    for key, packed in grams.items()
                }
            )

        parts = {part for reading in READINGS for part in reading.parts}
        early = sl.packed_grams(self.store, "early")
        found = {name: replicates({k: packed for k, packed in early.items() if k[1] in parts})}
        crossed = sl.crossed_grams(self.store)
        return found | ({f"{name}-cross": replicates(crossed)} if crossed else {})

    def summaries(self) -> None:
        """Energies by layer (median and mean head) and by model (mean of layers)."""
        layers, models = [], []
        for which, array in self.bins.items():
            own = sl.bin_columns(self.store, which)
            for summary in sl.SUMMARIES:
                by_layer = sl.over_heads(array, summary)
                for lens, component in sl.pairs(array):
                    one = by_layer.sel(lens=lens, component=component, drop=True)
                    common = {"bin": own["bin"], "lens": lens, "component": component}
                    common["summary"] = summary
                    columns = self.interval_columns("energy", one, summary)
                    layer = {"layer": np.arange(len(one)), **common, **columns}
                    layer |= {"kind": self.kinds, "window": own["window"]}
                    layers.append(layer)
                    for kind, chosen in sl.by_kind(self.kinds).items():
                        mean = one.isel(layer=chosen).mean("layer")
                        columns = self.interval_columns("energy", mean, summary)
                        model = {**common, **columns, "kind": kind, "window": own["window"]}
                        models.append(model)
        self.tables["layers"] = self.joined(layers)
        self.tables["summary"] = self.joined(models)

    def readings(self) -> None:
        """Early energy of each reading as a share of R's, by layer."""
        early, frames = self.bins["early"], []
        for lens, summary in product(LENSES, sl.SUMMARIES):
            by_layer = {
                reading.name: sl.over_heads(
                    early.sel(lens=lens, component=list(reading.parts)).sum(
                        "component", skipna=False
                    ),
                    summary,
                )
                for reading in READINGS
            }
            for reading, energies in by_layer.items():
                share = energies / by_layer["R"].where(by_layer["R"] > 0)
                columns = {
                    "layer": np.arange(len(share)),
                    "lens": lens,
                    "reading": reading,
                    "summary": summary,
                    **self.interval_columns("share", share, summary),
                    "kind": self.kinds,
                }
                frames.append(columns)
        self.tables["readings"] = self.joined(frames)

    def profile(self) -> None:
        """Energies of narrow bins: curves over the query position."""
        edges = self.store["query_edges"].values
        frames = []
        for (lens, component), margins in sl.margins(self.store).items():
            found = xr.DataArray(
                sl.margin_replicates(margins, self.documents),
                dims=("query_bin", "layer", "head", "replicate"),
            )
            for summary in sl.SUMMARIES:
                columns = {
                    "first": edges[:, 0],
                    "last": edges[:, 1] - 1,
                    "lens": lens,
                    "component": component,
                    "summary": summary,
                    **self.interval_columns("energy", sl.over_model(found, summary), summary),
                    "kind": sl.pooled(self.kinds),
                }
                frames.append(columns)
        self.tables["profile"] = self.joined(frames)

    def sinks(self) -> None:
        """Attention to position 0 by head."""
        by_head = {name: self.store[name].values for name in ("a_1", "sink_excess", "a_1_64")}
        layer, head = np.indices(by_head["a_1"].shape[:2])
        excess = sl.replicate_interval(
            sl.mean_replicates(by_head["sink_excess"].astype(np.float64), self.documents),
            self.confidence,
        )
        self.tables["sinks"] = self.frame(
            {
                "layer": layer.ravel(),
                "head": head.ravel(),
                "a_1": by_head["a_1"].mean(-1).ravel(),
                "sink_excess": np.ravel(excess.estimate),
                "a_1_64": by_head["a_1_64"].mean(-1).ravel(),
                "sink_share": (by_head["a_1_64"] > SINK_THRESHOLD).mean(-1).ravel(),
                "to_first": self.store["to_first"].values.mean(-1).ravel(),
                "sink_low": np.ravel(excess.low),
                "sink_high": np.ravel(excess.high),
                "kind": self.kinds[layer.ravel()],
                **{name: np.ravel(x) for name, x in logit_map_columns(self.store).items()},
            }
        )

    def sink_share(self) -> None:
        """Share of the heads that sink at position 0, over inputs."""
        share = (self.store["a_1_64"].values > SINK_THRESHOLD).mean((0, 1))
        found = sl.mean_replicates(share, self.documents)
        columns = self.interval_columns("sink_share", found[None])
        self.tables["sink_share"] = self.frame({**columns, "kind": sl.pooled(self.kinds)})

    def position0(self) -> None:
        """Norm and cross-input variance of the state at position 0 through depth."""
        norm = sl.mean_replicates(self.store["state_norm"].values, self.documents)
        columns = self.interval_columns("state_norm", norm)
        columns["norm_low"], columns["norm_high"] = columns.pop("ci_low"), columns.pop("ci_high")
        variance = self.store["state_variance"].values
        self.tables["position0"] = self.frame(
            {
                "depth": np.arange(len(variance)),
                **columns,
                "state_variance": variance,
                "closed_error": self.store.attrs["closed_trajectory"],
                "massive_share": self.store["state_massive"].values.mean(-1),
                "massive_later": self.store["later_massive"].values.mean(-1),
                "contrast": np.median(self.store["state_contrast"].values, axis=-1),
            }
        )

    def states(self) -> None:
        """Mean squared norm of hidden states by depth: mean, position, context and residual."""
        split = self.store["hidden_split"]
        depth, part = np.indices(split.transpose("depth", "part").shape)
        self.tables["states"] = self.frame(
            {
                "depth": depth.ravel(),
                "part": split["part"].values[part.ravel()],
                "energy": split.transpose("depth", "part").values.ravel(),
            }
        )

    def balance(self) -> None:
        """R / (R + mask) of early queries: over anchors in the log lens, where the mask is free of
        the offset; at the study's own anchor in the probability lens too. log Z_i is known for
        every i below half of the length, so that each anchor is exact at every length."""
        first, stop = self.store.attrs["bins"]["early"]
        denominator = self.store["denominator"].values.astype(np.float64)
        rows = []
        for anchor in anchors_of(self.store.attrs["anchor"], denominator.shape[-1]):
            gram = sl.anchored_gram(denominator, anchor, range(first, stop))
            mask = sl.gram_replicates(gram, self.documents)
            array = xr.DataArray(mask, dims=("layer", "head", "replicate"))
            rows.append(self.balance_row(anchor, "log", array))
        early = self.bins["early"]
        name = "anchored" if "anchored" in early["component"] else "mask"
        own = early.sel(lens="probability", component=name, drop=True)
        rows.append(self.balance_row(self.store.attrs["anchor"], "probability", own))
        self.tables["balance"] = pd.concat(rows, ignore_index=True)

    def balance_row(self, anchor: int, lens: str, mask: xr.DataArray) -> pd.DataFrame:
        """The balance at one anchor, from the mask's energies (layer, head, replicate)."""
        residual = self.bins["early"].sel(lens=lens, component="residual", drop=True)
        over, under = (sl.over_model(x, "median") for x in (residual, mask))
        columns = self.interval_columns("balance", over / (over + under), "median")
        kind = sl.pooled(self.kinds)
        return self.frame({"anchor": [anchor], "lens": lens, **columns, "kind": kind})

    def loss(self) -> None:
        """Next-token loss in nats per token, of arms in which it is measured."""
        self.loss_replicates: xr.DataArray | None = None
        self.tables["loss"] = pd.DataFrame()
        if self.store["loss"].isnull().all():
            return
        found = sl.mean_replicates(self.store["loss"].values.astype(np.float64), self.documents)
        self.loss_replicates = xr.DataArray(found, dims="replicate")
        self.tables["loss"] = self.frame(self.interval_columns("loss", found[None]))

    def masses(self) -> None:
        """Mask mass, residual mass and sink excess by query: mean over heads of mean fields."""
        attention, predicted = (
            self.store[name].values.astype(np.float64).mean((0, 1))
            for name in ("attention", "predicted")
        )
        by_head = self.store["attention"].values - self.store["predicted"].values
        queries = self.store["query"].values
        rows = np.flatnonzero(queries > 0)
        queries = queries[rows]
        hidden = np.array([predicted[-1, self.keys_of(int(i)) :].sum() for i in queries])
        self.tables["masses"] = self.frame(
            {
                "query": queries,
                "mask_mass": hidden,
                "residual_mass": np.abs(by_head).sum(-1).mean((0, 1))[rows] / 2,
                "sink_excess": (attention - predicted)[rows, queries],
                "kind": sl.pooled(self.kinds),
            }
        )

    def keys_of(self, query: int) -> int:
        """Keys that an early query has, in the layer with the widest sight."""
        windows = self.store.attrs["window"]
        sight = self.store.attrs["length"] if None in windows else max(windows)
        return min(query + 1, sight)

    def all_bins(self, parts: Mapping[str, Sequence[int]]) -> dict[str, xr.DataArray]:
        """Energies by bin and with its reference; also on parts of the inputs (see among)."""
        found = dict(self.bins)
        crossed = {
            key: packed_replicates(packed, self.documents)
            for key, packed in sl.crossed_grams(self.store).items()
        }
        if crossed:
            found["cross"] = sl.stack(crossed)
        for name, numbers in parts.items():
            found |= self.among(name, numbers)
        return found

    def for_claims(self, parts: Mapping[str, Sequence[int]] | None = None) -> ArmReplicates:
        """Evidence of this arm for claims, also on parts of the inputs, by bin (see among)."""
        writes = None
        if "write0" in self.store:
            writes = self.store[list(READ)].reset_coords(drop=True)
            writes.attrs = {}
        return ArmReplicates(
            facts_of(self.store),
            self.all_bins(parts or {}),
            self.loss_replicates,
            self.p_values,
            writes,
        )


def anchors_of(own: int, half: int) -> list[int]:
    """Anchors of the balance: the study's own, the last query below half, and those of ANCHORS
    below it. None lies higher: a reference query cut to more keys would reach position 0."""
    return sorted({own, half - 1, *(anchor for anchor in ANCHORS if anchor < half)})


def columns_of(name: str, found: Interval) -> dict[str, np.ndarray]:
    """An estimate and its interval as flat columns, axes in their order."""
    ends = {"ci_low": found.low, "ci_high": found.high}
    return {column: np.ravel(x) for column, x in ({name: found.estimate} | ends).items()}
