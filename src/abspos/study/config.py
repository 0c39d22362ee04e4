"""The config as typed models: all defaults and all checks.

A study names the models, the inputs, and the arms: each variant of a model with each of its
conditions (docs/method.md, section 4). `load_study` turns Snakemake's merged config into a frozen
`Study`, or raises a `ConfigError`. Nothing heavy is imported: the Snakefile always reads it.

    python -m abspos.study.config schema       prints docs/config.schema.json
    python -m abspos.study.config study-schema prints docs/study.schema.json
    python -m abspos.study.config reference    prints docs/config.md
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from abspos.documents import MIN_INPUTS
from abspos.study.checks import Mistake, View, cross_checks, mistakes_of, refused
from abspos.study.conditions import CONDITIONS, TABLE, arms_of, condition_of, inputs_of, split
from abspos.study.fields import (
    Bool,
    Float,
    HubData,
    Int,
    Name,
    Part,
    Path,
    ReadingName,
    Seed,
    Size,
    Source,
    Text,
)
from abspos.study.reference import Allowed, json_schema, sections, table
from abspos.study.ropes import Rope
from abspos.study.synthetic import unfit
from abspos.study.trained import untrainable

if TYPE_CHECKING:
    ConditionName = str
else:
    ConditionName = Literal[*CONDITIONS]


class Model(Part):
    """One model."""

    name: Name = Field(description="Name of the model in paths, tables and figures.")
    source: Source = Field(description="Source of the checkpoint.")
    without: tuple[Text, ...] = Field(
        default=(),
        description="Arms to leave out for this model: variants, conditions, or variant/condition. "
        "`bos` means that the model has no BOS token, and leaves out all conditions that need one.",
    )
    reading: ReadingName = Field(
        default="pattern",
        description="Reading of the residual-stream component that decides the claims on this "
        "model (docs/method.md, section 1); the other two stand beside it. `R` is for a model "
        "whose results were known when the other two were defined: they are marked post hoc there.",
    )

    def leaves_out(self, variant: str, condition: str) -> bool:
        """Whether an arm is left out for this model."""
        conditions = {condition, split(condition)[0]}
        names = {variant, *conditions, *(f"{variant}/{name}" for name in conditions)}
        tokenless = "bos" in self.without and condition_of(condition).needs_bos
        return tokenless or not names.isdisjoint(self.without)


class Condition(Part):
    """What position 0 holds. A plain name is short for a mapping with that name."""

    name: ConditionName = Field(description="The condition.")
    inputs: Annotated[Int, Field(ge=3)] | None = Field(
        default=None,
        description="Largest number of inputs, counted from the first; null, or more than "
        "inputs.number: all. At least 8, or 3 for a control. exchange-*, silence-* and unsink-* "
        "have at most half of those of bos.",
    )


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


ConditionEntry = Annotated[
    Condition,
    BeforeValidator(_named, json_schema_input_type=ConditionName | Condition),
    Allowed("a condition's name, or a mapping with the keys name, inputs"),
]


class Variant(Part):
    """A change of the architecture with the same weights, and its conditions."""

    name: Name = Field(description="Name of the variant in paths, tables and figures.")
    rope: Rope | None = Field(
        default=None, description="A change of the rotary frequencies; null: none."
    )
    window: Size | None = Field(
        default=None,
        description="Sliding window in every layer, in keys, below inputs.length; null: none.",
    )
    untrained: Bool = Field(
        default=False, description="Whether to replace the trained weights by random ones."
    )
    conditions: tuple[ConditionEntry, ...] = Field(
        default=(Condition(name="bos"),), min_length=1, description="The conditions, each an arm."
    )


class Inputs(Part):
    """The texts, the same for every arm of a model."""

    corpus: Path = Field(
        default="resources/corpus",
        description="A file, or a folder with its subfolders: *.txt (one document each), *.jsonl "
        "(one per line), both plain or with .gz, or *.parquet (one per row); relative to the "
        "working folder, absolute, or from ~. resources/corpus is in the code of abspos, if the "
        "working folder has none of that name.",
    )
    text: Text = Field(
        default="text", description="The key, or the column, that holds a record's text."
    )
    id: Text | None = Field(
        default="id",
        description="The key that holds a record's id, a string or a whole number, once in the "
        "corpus; a file without `id` is allowed, one without another key is not. null, or none "
        "there: the file's name and the row.",
    )
    source: Text | None = Field(
        default=None,
        description="The key that holds the name of a record's source; null: its file, or for "
        "*.txt its folder. Each source gives as many inputs.",
    )
    dataset: HubData | None = Field(
        default=None,
        description="A data set of the hub that replaces corpus; null: none.",
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
    bos: Literal["auto", "prepend", "none"] = Field(
        default="auto",
        description="BOS in the condition `as-is`, in front of a text that loses no token. auto: "
        "where the tokenizer adds it by itself; prepend: for every model; none: for no model. "
        "Other conditions say themselves what stands at position 0.",
    )
    batch: Size = Field(default=8, description="Inputs per forward pass.")


class Bins(Part):
    """Groups of queries."""

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
        default=(8, 16, 32, 64, 128), min_length=1, description="Numbers of inputs to simulate."
    )
    population: Annotated[Int, Field(ge=100)] = Field(
        default=20000,
        description="Number of inputs from which the truth is computed, for simulated studies and "
        "for models with `source: {type: synthetic}`.",
    )


class Figures(Part):
    """Files of the figures."""

    formats: tuple[Literal["pdf", "svg", "png"], ...] = Field(
        default=("pdf", "svg"), min_length=1, description="File formats."
    )


SLURM = frozenset({"slurm_gpu", "slurm_download", "slurm_partitions"})
"""Keys that the profile in slurm/ sets. No result depends on them."""


@dataclass(frozen=True)
class Run:
    """One arm of one model: a variant under a condition (`swap-token-1` and so on written out)."""

    model: str
    variant: str
    condition: str
    inputs: int


class Study(Part):
    """The top-level keys."""

    study: Name = Field(
        default="default", description="Name of the study; it writes results/<study>/."
    )
    seed: Seed = Field(default=0, description="Seed of all random draws.")
    device: Literal["cpu", "cuda"] = Field(
        default="cpu",
        description="Device on which models run. Apple's mps is not supported; use cpu.",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="Precision in which models run."
    )
    threads: Size = Field(default=2, description="Cores of each heavy job.")
    keep_activations: Bool = Field(
        default=False, description="Whether to keep activation stores after use."
    )
    models: tuple[Model, ...] = Field(min_length=1, description="The models.")
    inputs: Inputs = Field(default=Inputs(), description="The texts.")
    bins: Bins = Field(default=Bins(), description="Groups of queries.")
    anchor: Size = Field(
        default=63,
        description="Query at which the balance is anchored, below half of inputs.length.",
    )
    variants: tuple[Variant, ...] = Field(
        min_length=1, description="The variants, each with its conditions."
    )
    swap_tokens: tuple[Text, ...] = Field(
        default=(),
        description="Tokens, each a single token in every model, for "
        f"{', '.join(row.name for row in TABLE if row.token)}; the default study has 4.",
    )
    statistics: Statistics = Field(default=Statistics(), description="Intervals and tests.")
    calibration: Calibration = Field(
        default=Calibration(),
        description="The simulated studies of the target `calibration`, and the truth of synthetic "
        "models.",
    )
    figures: Figures = Field(default=Figures(), description="Files of the figures.")
    slurm_gpu: Literal["gpu", "gres"] = Field(
        default="gpu", description="How jobs request a GPU from Slurm: --gpus=1 or --gres=gpu:1."
    )
    slurm_download: Literal["local", "job"] = Field(
        default="local",
        description="Whether to fetch checkpoints where Snakemake runs or in Slurm jobs.",
    )
    slurm_partitions: Path | None = Field(
        default=None,
        description="File with the limits of the partitions; null: no limits.",
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
        return arms_of(condition.name, len(self.swap_tokens))

    def runs(self) -> tuple[Run, ...]:
        """Every arm of every model, in the config's order. Revisions are resolved elsewhere."""
        every = self.inputs.number
        return tuple(
            Run(model.name, variant.name, arm, inputs_of(condition.name, stated, every))
            for model in self.models
            for variant in self.variants
            for stated in [{one.name: one.inputs for one in variant.conditions}]
            for condition in variant.conditions
            for arm in self.arms(condition)
            if not model.leaves_out(variant.name, arm)
        )


class ConfigError(ValueError):
    """An invalid config; its text and `mistakes` list all errors, one per line."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def idle(study: Study) -> Iterator[Mistake]:
    """Models whose arms are all left out."""
    busy = {run.model for run in study.runs()}
    for number, model in enumerate(study.models):
        if model.name not in busy:
            path = ("models", number, "without")
            yield refused(path, list(model.without), "fewer: no arm is left for this model")


def unread(study: Study) -> Iterator[Mistake]:
    """Keys that another one replaces, and a BOS policy that no condition reads."""
    for key in ("text", "id", "source"):
        value = getattr(study.inputs, key)
        if study.inputs.dataset and value != Inputs.model_fields[key].default:
            why = f"of inputs.corpus, which inputs.dataset replaces; give inputs.dataset.{key}"
            yield refused(("inputs", key), value, why)
    read = any(condition_of(run.condition).reads_policy for run in study.runs())
    if study.inputs.bos != "auto" and not read:
        why = "auto, unless a variant has the condition as-is, which alone reads it"
        yield refused(("inputs", "bos"), study.inputs.bos, why)


def load_study(config: Mapping[str, Any]) -> Study:
    """The validated study of a config.

    Args:
        config: plain mappings, lists and scalars, as YAML gives them.

    Raises:
        ConfigError: lists all errors.
    """
    study, mistakes = None, []
    try:
        study = Study.model_validate(config)
    except ValidationError as error:
        mistakes = mistakes_of(error, Study, config)
    view = View(Study, config, mistakes)
    mistakes += [*cross_checks(view), *untrainable(view)]
    if study is not None and not mistakes:
        mistakes = [*idle(study), *unread(study), *unfit(study)]
    if study is None or mistakes:
        raise ConfigError(tuple(dict.fromkeys(mistake.line(config) for mistake in mistakes)))
    return study


def schema(whole: bool = True) -> str:
    """JSON schema of a whole config, or of a file that states only what differs, as text."""
    text = json_schema(Study)
    return text if whole else re.sub(r',\n  "required": \[[^]]*\]', "", text)


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
    conditions = [(f"`{row.name}`", row.text, row.needs) for row in TABLE]
    parts.append(table(("condition", "position 0 holds", "needs"), conditions))
    return "\n".join(parts)


PREFACE = """\
# Config reference

Made by `python -m abspos.study.config reference` from `src/abspos/study/`; a test keeps them equal.
`docs/config.schema.json` and, for files that state only what differs, `docs/study.schema.json` are
for editors; a first line `# yaml-language-server: $schema=PATH` names one of them.

One file is always read: `config.yaml` of the working folder, or else its `config/config.yaml`, or
else the `config.yaml` of abspos, which is the default study. A file given by
`--configfile studies/<name>.yaml` is merged over it: mappings merge key by key, lists replace
lists. A study file without the key `study` gets its file's name. All config errors are reported
together, one per line, before any job. Relative paths: docs/anywhere.md.
"""


if __name__ == "__main__":
    parts: dict[str, Callable[[], str]] = {"schema": schema, "reference": reference}
    parts["study-schema"] = partial(schema, False)
    if sys.argv[1:] not in [[name] for name in parts]:
        sys.exit(f"usage: python -m abspos.study.config {'|'.join(parts)}")
    sys.stdout.write(parts[sys.argv[1]]())
