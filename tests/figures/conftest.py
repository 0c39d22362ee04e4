"""Synthetic tables and stores of any number of models, shaped like those of a real study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from abspos.claims.sources import ONE, WITHOUT

LENSES, SUMMARIES = ("log", "probability"), ("median", "mean")
READ = {"R": "residual", "sink": "sink", "pattern": "pattern"}  # by a component of like size
COMMIT = "b179c9523d0e6a0f98a330c7562b682750a6f8c8"
FULL, WINDOWED = ("standard", "ntk", "untrained"), ("window", "untrained-window")
LAYERS, HEADS, HALF, EARLY, WINDOW = 6, 4, 64, 32, 32
EDGES = [1, 2, 3, 4, 5, 6, 8, 9, 11, 13, 16, 19, 22, 26, 32, 38, 45, 53, 64]
#: Tables whose rows name the kind of their layers.
OF_LAYERS = ("profile", "layers", "energies", "sinks", "balance")
#: Numbers of a silence, in the columns of an exchange.
SILENCED = {
    "share of energy": "energy reduction",
    "share of the bos-swap change": "difference share",
}
CLAIM_COLUMNS = (
    "claim",
    "model",
    "revision",
    "arms",
    "number",
    "lens",
    "summary",
    "estimate",
    "ci_low",
    "ci_high",
    "claimed",
    "verdict",
    "primary",
    "n_inputs",
    "note",
    "p_value",
    "p_adjusted",
    "preliminary",
    "reading",
)


class Factory:
    """Makes all tables of a study; every number from one seed."""

    def __init__(self, models: int, windowed: bool, seed: int, inputs: int = 16):
        self.rng = np.random.default_rng(seed)
        self.runs = [(f"model-{i}", COMMIT if i % 2 == 0 else f"step{i}000") for i in range(models)]
        self.windowed, self.inputs = windowed, inputs
        self.variants = FULL + (WINDOWED if windowed else ())

    def row(self, name: str, value: float, **columns: Any) -> dict[str, Any]:
        reach = 0.05 + abs(value) * self.rng.uniform(0.05, 0.4)
        value = value + self.rng.normal() * reach / 4
        return columns | {
            name: value,
            "ci_low": value - reach,
            "ci_high": value + reach,
            "n_inputs": self.inputs,
        }

    def arms(self, conditions=("bos",)):
        for (model, revision), variant, condition in product(self.runs, self.variants, conditions):
            yield {"model": model, "revision": revision, "variant": variant, "condition": condition}

    def size(self, variant: str, lens: str, component: str) -> float:
        trained = 0.01 if variant.startswith("untrained") else 1.0
        sizes = {"mask": 3.0, "residual": 1.2, "row": 0.5, "sink": 0.6, "rest": 0.1}
        whole = (sizes | {"pattern": 0.1})[component]
        return whole * (trained if component != "mask" else 1) * (1 if lens == "log" else 0.05)

    def components(self, which: str) -> tuple[str, ...]:
        hidden = which.startswith("beyond")
        whole = ("residual",) if hidden else ("mask", "residual", "row", "sink")
        return (*whole, "rest", "pattern")

    def bins(self) -> tuple[str, ...]:
        return ("early", "late", "beyond") if self.windowed else ("early", "late")

    def profile(self) -> pd.DataFrame:
        return pd.DataFrame(
            self.row(
                "energy",
                self.size(arm["variant"], lens, component) * np.log(HALF / low) ** 2 / 10,
                **arm,
                first=low,
                last=high - 1,
                lens=lens,
                component=component,
                summary=summary,
            )
            for arm, lens, component, summary, (low, high) in product(
                self.arms(),
                LENSES,
                self.components("early"),
                SUMMARIES,
                pairwise(EDGES),
            )
        )

    def layers(self) -> pd.DataFrame:
        return pd.DataFrame(
            self.row(
                "energy",
                self.size(arm["variant"], lens, component) * (0.1 + layer),
                **arm,
                layer=layer,
                bin=which,
                lens=lens,
                component=component,
                summary=summary,
                window=float(WINDOW) if which == "beyond" else np.nan,
            )
            for arm in self.arms()
            for which, lens, summary, layer in product(
                self.bins(), LENSES, SUMMARIES, range(LAYERS)
            )
            for component in self.components(which)
        )

    def readings(self) -> pd.DataFrame:
        shares = {"R": 1.0, "sink": 0.9, "pattern": 0.1}
        return pd.DataFrame(
            self.row(
                "share",
                share,
                **arm,
                layer=layer,
                lens=lens,
                reading=reading,
                summary=summary,
                kind="full",
            )
            for arm in self.arms()
            for lens, summary, layer in product(LENSES, SUMMARIES, range(LAYERS))
            for reading, share in shares.items()
        )

    def energies(self) -> pd.DataFrame:
        return pd.DataFrame(
            self.row(
                "energy",
                self.size(arm["variant"], lens, component) * self.rng.lognormal(0, 2) - 0.1,
                **arm,
                layer=layer,
                head=head,
                bin=which,
                lens=lens,
                component=component,
            )
            for arm in self.arms()
            for which, lens, layer, head in product(
                self.bins(), LENSES, range(LAYERS), range(HEADS)
            )
            for component in self.components(which)
        )

    def sinks(self) -> pd.DataFrame:
        rows = []
        for arm, layer, head in product(self.arms(), range(LAYERS), range(HEADS)):
            excess = self.rng.uniform(-0.05, 0.9)
            rows.append(
                arm
                | {
                    "layer": layer,
                    "head": head,
                    "a_1": abs(excess),
                    "sink_excess": excess,
                    "sink_low": excess - 0.02,
                    "sink_high": excess + 0.02,
                    "n_inputs": self.inputs,
                }
            )
        return pd.DataFrame(rows)

    def position0(self) -> pd.DataFrame:
        rows = []
        for arm, depth in product(self.arms(("bos", "no-bos")), range(LAYERS + 1)):
            norm = 10 ** (4 * depth / LAYERS)
            spread = 0.0 if arm["condition"] == "bos" else norm / 50
            rows.append(
                arm
                | {
                    "depth": depth,
                    "state_norm": norm,
                    "norm_low": norm - spread,
                    "norm_high": norm + spread,
                    "state_variance": spread**2,
                    "n_inputs": self.inputs,
                }
            )
        return pd.DataFrame(rows)

    def fingerprint(self) -> pd.DataFrame:
        rows = []
        for (model, revision), layer in product(self.runs, range(LAYERS)):
            keys = {"model": model, "revision": revision, "variant": "standard", "layer": layer}
            keys |= {"value_share": 0.7 * 10.0**-layer, "readers": 0, "tokens": 5}
            if layer:  # no head of layer 0 reads the sink
                more = {"decoded": 0.6, "decoded_low": 0.5, "decoded_high": 0.7}
                keys |= {"readers": 2, "chance_high": 0.01, "p_value": 0.001} | more
            rows.append(self.row("explained", 0.3 if layer else np.nan, **keys))
        return pd.DataFrame(rows)

    def balance(self) -> pd.DataFrame:
        return pd.DataFrame(
            self.row("balance", 0.3 + anchor / 200, **arm, anchor=anchor, lens="log")
            for arm, anchor in product(self.arms(), (15, 31, 47, 63))
        )

    def loss(self) -> pd.DataFrame:
        return pd.DataFrame(self.row("loss", 3.0, **arm) for arm in self.arms(("bos", "no-bos")))

    def swaps(self) -> pd.DataFrame:
        replaced = {"swap-token": "", "swap-token-1": '" the"', "swap-token-2": '"\\n"'}
        replaced |= {"swap-mean": "", "ablate-zero": ""}
        numbers = (
            "energy reduction",
            "aligned reduction",
            "difference share",
            "amplitude reduction",
        )
        rows = []
        for run, name, number, lens, summary, reading in product(
            self.runs, replaced, numbers, LENSES, SUMMARIES, READ
        ):
            primary = (name, number, lens, summary, reading) == (
                "swap-token",
                "energy reduction",
                "log",
                "median",
                "R",
            )
            keys = dict(zip(("model", "revision"), run, strict=True))
            value = {"ablate-zero": 1.4, "swap-mean": 0.4}.get(name, 0.02)
            rows.append(
                self.row(
                    "estimate",
                    value,
                    **keys,
                    replacement=name,
                    token=replaced[name],
                    number=number,
                    lens=lens,
                    summary=summary,
                    primary=primary,
                    reading=reading,
                )
            )
        return pd.DataFrame(rows)

    def claims(self) -> pd.DataFrame:
        rows = []
        for model, revision in self.runs:
            keys = {"model": model, "revision": revision, "preliminary": True}
            for variant, (reading, component), lens, summary in product(
                self.variants, (("", "mask"), *READ.items()), LENSES, SUMMARIES
            ):
                rows.append(
                    self.row(
                        "estimate",
                        self.size(variant, lens, component),
                        **keys,
                        claim="both-present",
                        arms=f"{variant}/bos",
                        number="residual energy" if reading else "mask energy",
                        lens=lens,
                        summary=summary,
                        claimed="> 0",
                        verdict="reproduced",
                        primary=(lens, summary) == ("log", "median") and reading in ("", "R"),
                        reading=reading,
                    )
                )
            for lens, summary, reading in product(LENSES, SUMMARIES, READ):
                common = keys | {"lens": lens, "summary": summary, "reading": reading}
                common |= {"primary": lens == "log" and reading == "R"}
                rows += [
                    self.row(
                        "estimate",
                        -0.05,
                        **common,
                        claim="ntk-suppresses",
                        claimed="> 0",
                        arms="ntk/bos vs standard/bos",
                        verdict="opposite",
                        number="reduction of residual energy",
                    ),
                    self.row(
                        "estimate",
                        0.35,
                        **common,
                        claim="bos-swap",
                        claimed="0.4",
                        arms="standard/swap-mean vs standard/bos",
                        verdict="direction only",
                        number="swap-mean: energy reduction",
                    ),
                    self.row(
                        "estimate",
                        np.nan,
                        **common,
                        claim="window-accumulates",
                        arms="window/bos vs standard/bos",
                        verdict="not testable",
                        claimed="> 0",
                        number="difference of slopes [energy per layer]",
                    ),
                ]
            rows.append(
                keys
                | {
                    "claim": "mask-denominator",
                    "arms": "all",
                    "lens": "log",
                    "estimate": 2e-6,
                    "number": "largest error of the identity [nats]",
                    "claimed": "<= 0.001",
                    "verdict": "holds by construction",
                    "primary": True,
                    "n_inputs": self.inputs,
                }
            )
            for heads, share, lens, summary, reading in product(
                ("readers", "others", "all", "readers less others", "silence-top"),
                ("share of energy", "share of the bos-swap change"),
                LENSES,
                SUMMARIES,
                READ,
            ):
                decides = heads == "readers less others"
                rows.append(
                    self.row(
                        "estimate",
                        0.3,
                        **keys,
                        claim="sink-readers",
                        number=f"{heads}: {SILENCED[share] if 'silence' in heads else share}",
                        arms="standard/exchange-readers vs standard/bos",
                        lens=lens,
                        summary=summary,
                        claimed="> 0" if decides else "",
                        verdict="reproduced" if decides else "",
                        primary=decides and (lens, summary, reading) == ("log", "median", "R"),
                        reading=reading,
                    )
                )
        return pd.DataFrame(rows).reindex(columns=CLAIM_COLUMNS)

    def changes(self) -> pd.DataFrame:
        doses = [{"factor": f, "rope_type": "ntk"} for f in (0.5, 2.0, 8.0)]
        doses += [{"window": w} for w in (16, 32)] if self.windowed else []
        rows = []
        for (model, revision), dose in product(self.runs, doses):
            keys = {"model": model, "revision": revision, "variant": str(dose)} | dose
            rows += [
                self.row(
                    "estimate",
                    0.1,
                    **keys,
                    number=f"reduction of {'residual' if reading else 'mask'} energy",
                    bin="early",
                    lens=lens,
                    summary=summary,
                    reading=reading,
                )
                for reading, lens, summary in product(("", *READ), LENSES, SUMMARIES)
            ]
            rows.append(self.row("estimate", 0.5, **keys, number="rise of loss [nats per token]"))
        columns = [
            "model",
            "revision",
            "variant",
            "rope_type",
            "factor",
            "window",
            "number",
            "bin",
            "lens",
            "summary",
            "estimate",
            "ci_low",
            "ci_high",
            "n_inputs",
            "reading",
        ]
        return pd.DataFrame(rows).reindex(columns=columns)

    def controlled_effects(self) -> pd.DataFrame:
        sizes = {"swap-token-1": 0.1, "control-later": 0.01, "control-shift": 1e-6}
        return pd.DataFrame(
            self.row(
                "estimate",
                value,
                model=model,
                revision=revision,
                condition=condition,
                role="effect" if condition.startswith("swap") else "control",
                number="difference share",
                lens=lens,
                summary=summary,
                reading=reading,
            )
            for (model, revision), (condition, value), lens, summary, reading in product(
                self.runs, sizes.items(), LENSES, SUMMARIES, READ
            )
        )

    def controls(self) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "model": model,
                "revision": revision,
                "variant": "standard",
                "condition": condition,
                "check": f"largest energy of R, at most 1e-06, {lens}",
                "value": value,
                "passed": True,
            }
            for (model, revision), (condition, value), lens in product(
                self.runs, {"control-repeat": 0.0, "control-repeat-bos": 3.0}.items(), LENSES
            )
        )

    def factorial(self) -> pd.DataFrame:
        shares = {"key 0": 0.9, "keys": 0.04, "queries": 0.02, "interactions": 0.04, "all": 1.0}
        return pd.DataFrame(
            self.row(
                "share",
                share if component == "residual" else 0.0 if effect == "key 0" else 0.3,
                model=model,
                revision=revision,
                variant="standard",
                condition="shift",
                layer=layer,
                lens=lens,
                component=component,
                summary=summary,
                effect=effect,
                kind="full",
            )
            for (model, revision), layer, lens, component, summary, (effect, share) in product(
                self.runs,
                [*range(LAYERS), None],
                LENSES,
                ("residual", "pattern"),
                SUMMARIES,
                shares.items(),
            )
        ).astype({"layer": "Int64"})

    def sensitivity(self) -> pd.DataFrame:
        claims = self.claims()
        found = claims[claims["ci_low"].notna() & (claims["summary"] == "median")]
        found = found[found["verdict"].isin(["reproduced", "opposite", "direction only"])]
        choices = (
            ("early 16", "same"),
            ("half 1", "too few inputs"),
            ("mean head", "flips"),
            *((f"{head}{name}", "same") for name in ("plays", "code") for head in (ONE, WITHOUT)),
        )
        parts = [
            found.assign(
                choice=choice,
                change=change,
                published=found["verdict"],
                verdict=found["verdict"] if change == "same" else "inconclusive",
            )
            for choice, change in choices
        ]
        return pd.concat(parts, ignore_index=True)

    def tables(self) -> dict[str, pd.DataFrame]:
        names = (
            "profile",
            "layers",
            "readings",
            "energies",
            "sinks",
            "fingerprint",
            "position0",
            "balance",
            "swaps",
            "claims",
            "sensitivity",
            "changes",
            "controlled_effects",
            "controls",
            "factorial",
            "loss",
        )
        made = {name: getattr(self, name)() for name in names}
        # As in a study's own tables: a figure that takes a column for granted is seen to.
        return {n: t.assign(kind="full") if n in OF_LAYERS else t for n, t in made.items()}

    def store(self) -> xr.Dataset:
        """Mean fields of a component store."""
        shape = (LAYERS, HEADS, HALF, HALF)
        weights = self.rng.gamma(0.5, size=shape) * np.tril(np.ones((HALF, HALF)))
        predicted = weights / weights.sum(-1, keepdims=True)
        attention = predicted * 0.7 + 0.3 * np.eye(HALF)
        dims = ("layer", "head", "query", "offset")
        fields = {"attention": attention, "predicted": predicted}
        fields["residual"] = np.log((attention + 1e-6) / (predicted + 1e-6))
        found = {k: (dims, v.astype(np.float32)) for k, v in fields.items()}
        found["relative"] = (dims[:2] + dims[3:], self.rng.normal(size=shape[:3]))
        rising = np.log(np.arange(1, HALF + 1)) + np.zeros((LAYERS, HEADS, 2, 1))
        found["denominator"] = ((*dims[:2], "input", "cut"), rising)
        return xr.Dataset(found, attrs={"window": [None] * LAYERS})


@pytest.fixture(scope="session")
def tables_of() -> Callable[..., Mapping[str, pd.DataFrame]]:
    """tables_of(models=1, windowed=True, seed=0) -> every table of a study."""

    @cache
    def made(models: int, windowed: bool, seed: int) -> Mapping[str, pd.DataFrame]:
        return Factory(models, windowed, seed).tables()

    def make(models: int = 1, windowed: bool = True, seed: int = 0) -> Mapping[str, pd.DataFrame]:
        return dict(made(models, windowed, seed))

    return make


@pytest.fixture(scope="session")
def stores_of(tmp_path_factory) -> Callable[..., dict[str, Any]]:
    """stores_of(tables) -> a component store of standard/bos for every run of their sinks."""
    folder = tmp_path_factory.mktemp("stores") / "bos.zarr"
    Factory(1, True, 0).store().to_zarr(folder, zarr_format=3, consolidated=False)

    def make(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
        if "sinks" not in tables:  # which every figure with stores reads
            return {}
        runs = tables["sinks"][["model", "revision", "condition"]].drop_duplicates()
        return {"/".join((m, r, "standard", c)): folder for m, r, c in runs.itertuples(index=False)}

    return make
