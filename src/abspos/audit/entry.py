"""Model of a ledger entry, which validates entries from any origin."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter


def _named(path: str) -> str:
    if not PurePosixPath(path).name or ".." in PurePosixPath(path).parts[:-1]:
        raise ValueError("not the name of a file")
    return path


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Short = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Word = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=1000)]
Name = Annotated[Word, AfterValidator(_named)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, le=1e10, allow_inf_nan=False)]


class Model(BaseModel):
    """Strict: no unknown keys, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Described(Model):
    """Bytes of a file (``file``), of a store by its manifest, or of another folder."""

    kind: Literal["file", "store", "folder"]
    digest: Digest
    bytes: Count


class Log(Described):
    """The log that a job left."""

    path: Name


class Source(Model):
    """A source file: its code less comments, and all its bytes."""

    code: Short
    file: Digest


class Defined(Source):
    """Where a rule is defined."""

    path: Name


class Rule(Model):
    """The rule of the job."""

    name: Word
    defined: Defined | None


class Git(Model):
    """Commit of the project, and whether tracked files were as committed."""

    commit: Word
    clean: bool


class Gpu(Model):
    """One GPU."""

    name: str
    driver: str


class Host(Model):
    """The class of machine."""

    cpu: str | None
    cores: Count | None
    cores_usable: Count | None
    memory_bytes: Count | None
    os: str
    architecture: str
    gpus: list[Gpu]


class Circumstances(Model):
    """Fields that may differ between two otherwise equal runs."""

    start: str
    seconds: Seconds
    peak_memory_bytes: Count
    attempt: Count | None
    host: Host


class Entry(Described):
    """One ledger entry."""

    format: Literal[1]
    path: Name
    temporary: bool
    inputs: dict[Name, Described]
    outputs: list[Name]
    log: Log | None = None
    code: dict[Name, Source]
    rule: Rule
    wildcards: dict[str, str]
    config: Any
    params: dict[str, Any]
    seeds: dict[str, Any]
    git: Git | None
    packages: dict[Word, Word]
    loaded: list[Word]
    python: Word
    determinism: dict[str, Any]
    threads: Count
    circumstances: Circumstances
    own: Digest = Field(alias="self")


_MOMENT = TypeAdapter(AwareDatetime)


def check(entry: Any) -> None:
    """Raise a ValueError unless ``entry`` is a ledger entry."""
    _MOMENT.validate_python(Entry.model_validate(entry).circumstances.start)
