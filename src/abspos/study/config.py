"""The config as typed models: the one place with defaults, and the one that refuses mistakes.

A study names the models, the inputs, and the arms: each variant of a model with each of its
conditions (docs/method.md, section 4). `load_study` takes the merged config that Snakemake holds
and gives a frozen `Study`, or a `ConfigError` with every mistake, one line each. Nothing heavy is
imported, for the Snakefile reads the config at every start.

    python -m abspos.study.config schema       prints docs/config.schema.json
    python -m abspos.study.config reference    prints docs/config.md
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from abspos.documents import MIN_INPUTS
from abspos.study.checks import Mistake, View, cross_checks, mistakes_of, refused
from abspos.study.conditions import needs_bos
from abspos.study.fields import (
    Bool,
    Float,
    HubData,
    Int,
    Name,
    Part,
    Path,
    Rope,
    Seed,
    Size,
    Source,
    Text,
)
from abspos.study.reference import Allowed, json_schema, sections, table
from abspos.study.synthetic import unfit

ConditionName = Literal[
    "bos",
    "no-bos",
    "swap-token",
    "swap-mean",
    "swap-noise",
    "swap-random",
    "ablate-zero",
    "control-noop",
    "control-later",
    "control-shift",
    "control-shuffle",
    "exchange-readers",
    "exchange-matched",
    "exchange-all",
]

CONDITIONS: dict[str, str] = {
    "bos": "the BOS embedding: the reference arm",
    "no-bos": "the text's own first token",
    "swap-token": "another token's embedding: swap-token-1, -2, ..., one for each of swap_tokens",
    "swap-mean": "the mean embedding of the vocabulary",
    "swap-noise": "Gaussian noise of the BOS embedding's norm",
    "swap-random": "a random token, another one for each input",
    "ablate-zero": "zeros: position 0 is removed, not replaced",
    "control-noop": "BOS replaced by itself: must change nothing at all",
    "control-later": "the BOS embedding; the first of swap_tokens stands at a later position",
    "control-shift": "the BOS embedding, all position ids shifted by a constant",
    "control-shuffle": "the BOS embedding, the tokens after it shuffled",
    "exchange-readers": "the BOS embedding; sink readers read there the keys and values of the "
    "first of swap_tokens instead",
    "exchange-matched": "the same in as many other heads, matched by layer",
    "exchange-all": "the same in all heads",
}

EXCHANGES = tuple(name for name in CONDITIONS if name.startswith("exchange-"))
"""Conditions in which chosen heads read another position 0 (abspos.activations.exchange)."""


class Model(Part):
    """One model."""

    name: Name = Field(description="What the model is called in paths, tables and figures.")
    source: Source = Field(description="Where its checkpoint comes from.")
    without: tuple[Text, ...] = Field(
        default=(),
        description="Arms that this model is not given: names of variants and of conditions, or "
        "variant/condition. `bos` says that it has no BOS token, and leaves out all conditions "
        "that need one.",
    )

    def leaves_out(self, variant: str, condition: str) -> bool:
        """Whether the model is not given an arm."""
        names = {variant, condition, f"{variant}/{condition}"}
        if condition.startswith("swap-token-"):
            names |= {"swap-token", f"{variant}/swap-token"}
        tokenless = "bos" in self.without and needs_bos(condition)
        return tokenless or not names.isdisjoint(self.without)


class Condition(Part):
    """What stands at position 0. A name alone is short for a mapping with that name."""

    name: ConditionName = Field(description="The condition.")
    inputs: Annotated[Int, Field(ge=3)] | None = Field(
        default=None,
        description="Use the first so many inputs only; null: all. At least 8, or 3 for a control.",
    )


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


ConditionEntry = Annotated[
    Condition,
    BeforeValidator(_named, json_schema_input_type=ConditionName | Condition),
    Allowed("a condition's name, or a mapping with the keys name, inputs"),
]


class Variant(Part):
    """A change of architecture with the same weights, and the conditions it is measured under."""

    name: Name = Field(description="What the variant is called in paths, tables and figures.")
    rope: Rope | None = Field(
        default=None, description="A change of the rotary frequencies; null: none."
    )
    window: Size | None = Field(
        default=None,
        description="Sliding window in every layer, in keys, below inputs.length; null: none.",
    )
    untrained: Bool = Field(
        default=False, description="Whether random weights take the place of the trained ones."
    )
    conditions: tuple[ConditionEntry, ...] = Field(
        default=(Condition(name="bos"),), min_length=1, description="The conditions, each an arm."
    )


class Inputs(Part):
    """The texts, the same for every arm of a model."""

    corpus: Path = Field(
        default="resources/corpus",
        description="Folder of *.jsonl files (id, text), a document a line, or *.txt, each one.",
    )
    dataset: HubData | None = Field(
        default=None,
        description="A data set of the hub that takes the place of corpus; null: none.",
    )
    number: Annotated[Int, Field(ge=8)] = Field(
        default=MIN_INPUTS,
        description=f"Number of inputs; below {MIN_INPUTS} every verdict is marked preliminary.",
    )
    length: Annotated[Int, Field(ge=8, multiple_of=2)] = Field(
        default=128, description="Length T, in tokens."
    )
    start: Literal["random", "document"] = Field(
        default="random",
        description="Where windows begin: at a random offset inside a document, or at its start.",
    )
    batch: Size = Field(default=8, description="Inputs per forward pass.")


class Bins(Part):
    """How queries are grouped."""

    early: Annotated[Int, Field(ge=2)] = Field(
        default=32, description="First query after the early bin, below half of inputs.length."
    )


class Statistics(Part):
    """Intervals and tests."""

    confidence: Annotated[Float, Field(gt=0, lt=1)] = Field(
        default=0.95, description="Level of the intervals."
    )
    sign_flips: Annotated[Int, Field(ge=100)] = Field(
        default=10000, description="Random signs per test."
    )


class Calibration(Part):
    """Simulated studies with planted components (docs/method.md, section 7)."""

    studies: Annotated[Int, Field(ge=2)] = Field(
        default=500, description="Simulated studies in each world."
    )
    inputs: tuple[Annotated[Int, Field(ge=3)], ...] = Field(
        default=(8, 16, 32, 64, 128), min_length=1, description="Numbers of inputs to look at."
    )
    population: Annotated[Int, Field(ge=100)] = Field(
        default=20000,
        description="Inputs that truths are computed from, of simulated studies and of models of "
        "`source: {type: synthetic}`.",
    )


class Figures(Part):
    """The figures' files."""

    formats: tuple[Literal["pdf", "svg", "png"], ...] = Field(
        default=("pdf", "svg"),
        min_length=1,
        description="File formats.",
    )


SLURM = frozenset({"slurm_gpu", "slurm_download", "slurm_partitions"})
"""Keys that the profile in slurm/ sets: how a cluster is asked. No result depends on them."""


@dataclass(frozen=True)
class Run:
    """One arm of one model: a variant under a condition (`swap-token-1` and so on written out)."""

    model: str
    variant: str
    condition: str
    inputs: int


class Study(Part):
    """The keys at the top."""

    study: Name = Field(
        default="default", description="Name of the study; it writes results/<study>/."
    )
    seed: Seed = Field(default=0, description="Seed of all that is drawn.")
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="Where models run.")
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="Precision in which models run."
    )
    threads: Size = Field(default=2, description="Cores of each heavy job.")
    keep_activations: Bool = Field(
        default=False, description="Whether activation stores stay after use."
    )
    models: tuple[Model, ...] = Field(min_length=1, description="The models.")
    inputs: Inputs = Field(default=Inputs(), description="The texts.")
    bins: Bins = Field(default=Bins(), description="How queries are grouped.")
    anchor: Size = Field(
        default=63,
        description="Query at which the balance is anchored, below half of inputs.length.",
    )
    variants: tuple[Variant, ...] = Field(
        min_length=1, description="The variants, each with its conditions."
    )
    swap_tokens: tuple[Text, ...] = Field(
        default=(),
        description="Tokens for swap-token, control-later and exchange-*; the method asks for 4.",
    )
    statistics: Statistics = Field(default=Statistics(), description="Intervals and tests.")
    calibration: Calibration = Field(
        default=Calibration(),
        description="The simulated studies of the target `calibration`, and the truth of synthetic "
        "models.",
    )
    figures: Figures = Field(default=Figures(), description="The figures' files.")
    slurm_gpu: Literal["gpu", "gres"] = Field(
        default="gpu", description="Whether Slurm is asked for --gpus=1, or for --gres=gpu:1."
    )
    slurm_download: Literal["local", "job"] = Field(
        default="local",
        description="Whether checkpoints are fetched where Snakemake runs, or in Slurm jobs.",
    )
    slurm_partitions: Path | None = Field(
        default=None,
        description="File of the partitions' limits, which no job asks beyond; null: no limits.",
    )

    @property
    def preliminary(self) -> bool:
        """Whether the inputs are too few for a claim (docs/method.md, section 3)."""
        return self.inputs.number < MIN_INPUTS

    def model(self, name: str) -> Model:
        """The model of that name; raises KeyError."""
        return {model.name: model for model in self.models}[name]

    def variant(self, name: str) -> Variant:
        """The variant of that name; raises KeyError."""
        return {variant.name: variant for variant in self.variants}[name]

    def arms(self, condition: Condition) -> tuple[str, ...]:
        """The names of a condition's arms: its own, or `swap-token-1` and so on, one a token."""
        if condition.name != "swap-token":
            return (condition.name,)
        return tuple(f"swap-token-{number}" for number in range(1, len(self.swap_tokens) + 1))

    def runs(self) -> tuple[Run, ...]:
        """Every arm of every model, in the config's order. Revisions are resolved elsewhere."""
        return tuple(
            Run(model.name, variant.name, arm, condition.inputs or self.inputs.number)
            for model in self.models
            for variant in self.variants
            for condition in variant.conditions
            for arm in self.arms(condition)
            if not model.leaves_out(variant.name, arm)
        )


class ConfigError(ValueError):
    """A config with mistakes; its text and `mistakes` tell all of them, one line each."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def idle(study: Study) -> Iterator[Mistake]:
    """Models that are left without an arm."""
    busy = {run.model for run in study.runs()}
    for number, model in enumerate(study.models):
        if model.name not in busy:
            path = ("models", number, "without")
            yield refused(path, list(model.without), "fewer: no arm is left for this model")


def load_study(config: Mapping[str, Any]) -> Study:
    """The study that a config describes.

    Args:
        config: plain mappings, lists and scalars, as YAML gives them.

    Raises:
        ConfigError: every mistake at once.
    """
    study, mistakes = None, []
    try:
        study = Study.model_validate(config)
    except ValidationError as error:
        mistakes = mistakes_of(error, Study, config)
    mistakes += cross_checks(View(Study, config, mistakes))
    if study is not None and not mistakes:
        mistakes = [*idle(study), *unfit(study)]
    if study is None or mistakes:
        raise ConfigError(tuple(dict.fromkeys(mistake.line(config) for mistake in mistakes)))
    return study


def schema() -> str:
    """The JSON schema of the config, as text (docs/config.schema.json)."""
    return json_schema(Study)


def reference() -> str:
    """The config reference, as Markdown (docs/config.md)."""
    parts = [PREFACE]
    for title, text, rows in sections(Study):
        heading = f"`{title}`" if title else "Top level"
        parts += [
            f"## {heading}\n\n{text}\n",
            table(("key", "allowed", "default", "meaning"), rows),
        ]
    parts.append("## Conditions\n\nWhat position 0 holds (docs/method.md, section 4).\n")
    conditions = [(f"`{name}`", text) for name, text in CONDITIONS.items()]
    parts.append(table(("condition", "position 0 holds"), conditions))
    return "\n".join(parts)


PREFACE = """\
# Config reference

Made by `python -m abspos.study.config reference` from the models in `src/abspos/study*.py`; a test
keeps it in step. `docs/config.schema.json`, made by `python -m abspos.study.config schema`, tells
an editor the same.

`config.yaml` is always read. A study given by `--configfile studies/<name>.yaml` is merged over it:
mappings merge key by key, lists replace lists. All mistakes are told at once, one line each, before
any job starts.
"""


if __name__ == "__main__":
    commands = {"schema": schema, "reference": reference}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit("usage: python -m abspos.study.config schema|reference")
    sys.stdout.write(commands[sys.argv[1]]())
