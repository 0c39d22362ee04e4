"""The registry of models: those of the shipped studies, with licence, RoPE, window and BOS.

    python -m abspos.report.registry      prints the table of docs/models.md

These facts help people choose models; no result depends on them. Source: resources/models.yaml.
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
        repo: name on the hub.
        package: package that ships it, if a study takes it from there.
        licence: licence of the weights.
        gated: whether users must accept terms and set a token.
        family: model type of transformers.
        rope: type of RoPE.
        theta: base of the rotary frequencies; that of full layers if layer types differ.
        local_theta: base of the sliding layers, if it differs.
        window: keys of its own sliding window, or None.
        context: positions.
        prepends_bos: whether its tokenizer prepends BOS.
        checkpoints: published training checkpoints, in words; None if none are known.
        read: source of the facts.
        unverified: facts without a source.
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
    """An error in the registry, as one line."""


def load(path: Path = PATH) -> dict[str, Entry]:
    """The registry by repository, in the file's order.

    Raises:
        RegistryError: an entry is invalid, or a repository is listed twice.
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
    """Rows of the table; a question mark follows each unverified fact."""

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
