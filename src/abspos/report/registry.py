"""The registry of models: what the shipped studies name, with licence, RoPE, window and BOS.

    python -m abspos.report.registry      prints the table of docs/models.md

Facts for people who choose models; no result depends on them. Source: resources/models.yaml.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from abspos.study.fields import Bool, Part, Positive, Repo, Size, Text
from abspos.study.reference import table as markdown

PATH = Path(__file__).parents[3] / "resources/models.yaml"
Fact = Literal["licence", "gated", "rope", "theta", "window", "context", "prepends_bos"]


class Entry(Part):
    """One repository.

    Attributes:
        repo: its name on the hub.
        package: the package of the index that ships it, where a study takes it from there.
        licence: of the weights.
        gated: whether its terms have to be accepted, and a token set.
        family: model type of transformers.
        rope: type of RoPE.
        theta: base of the rotary frequencies; of full layers where layer types differ.
        local_theta: that of sliding layers, where it is another one.
        window: keys of its own sliding window, or None.
        context: positions.
        prepends_bos: whether its tokenizer puts BOS in front by itself.
        checkpoints: what of its training is published, in words; None if nothing is known.
        read: where the facts were read.
        unverified: facts that were not read anywhere.
    """

    repo: Repo
    package: Text | None = None
    licence: Text
    gated: Bool
    family: Text
    rope: Literal["default", "linear", "dynamic", "yarn", "longrope", "llama3"]
    theta: Positive
    local_theta: Positive | None = None
    window: Size | None
    context: Size
    prepends_bos: Bool
    checkpoints: Text | None
    read: Text
    unverified: tuple[Fact, ...]


class RegistryError(ValueError):
    """A registry with a mistake, in one line."""


def load(path: Path = PATH) -> dict[str, Entry]:
    """The registry by repository, in the file's order.

    Raises:
        RegistryError: an entry is mistaken, or a repository comes twice.
    """
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        entries = TypeAdapter(list[Entry]).validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise RegistryError(f"{path.name}: entry {place}: {first['msg']}") from None
    found = {entry.repo: entry for entry in entries}
    if len(found) < len(entries):
        raise RegistryError(f"{path.name}: a repository comes twice; list each once")
    return found


def rows(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """Rows of the table: a question mark behind what is unverified."""

    def cell(entry: Entry, fact: Fact, text: object) -> str:
        return f"{text}{' ?' if fact in entry.unverified else ''}"

    def words(value: bool) -> str:
        return "yes" if value else "no"

    return [
        (
            f"`{e.repo}`" + (f", as packaged in `{e.package}`" if e.package else ""),
            f"`{e.family}`",
            cell(e, "rope", e.rope),
            cell(e, "theta", f"{e.theta:g}" + (f", {e.local_theta:g}" if e.local_theta else "")),
            cell(e, "window", e.window or "none"),
            cell(e, "context", e.context),
            cell(e, "prepends_bos", words(e.prepends_bos)),
            cell(e, "licence", e.licence),
            cell(e, "gated", words(e.gated)),
            e.checkpoints or "",
        )
        for e in entries
    ]


def table(path: Path = PATH) -> str:
    """The registry as a Markdown table."""
    head = (
        "repository",
        "family",
        "RoPE",
        "theta",
        "window",
        "context",
        "prepends BOS",
        "licence",
        "gate",
        "published checkpoints",
    )
    return markdown(head, rows(list(load(path).values())))


if __name__ == "__main__":
    sys.stdout.write(table())
