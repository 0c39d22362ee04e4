"""The config told in words: what each key allows, the JSON schema, and the config reference.

Everything here is read from the pydantic models of `abspos.study`, so that the words cannot drift from
what is checked.
"""

import json
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined


@dataclass(frozen=True)
class Allowed:
    """What a key allows, in words, where its type alone would tell too little."""

    text: str


@dataclass(frozen=True)
class Node:
    """One place in the config: its type without wrappers, its constraints, and whether it may be null."""

    kind: Any
    metadata: tuple[Any, ...] = ()
    optional: bool = False
    tags: Mapping[str, type[BaseModel]] = field(default_factory=dict)

    def child(self, step: str | int) -> "Node":
        """The node below: a key of a mapping, or any item of a list; an untyped node where there is none."""
        if self.is_model and step in self.kind.model_fields:
            info = self.kind.model_fields[step]
            return node_of(info.annotation, tuple(info.metadata))
        if self.is_list and isinstance(step, int):
            return node_of(typing.get_args(self.kind)[0])
        return Node(Any)

    @property
    def is_model(self) -> bool:
        return isinstance(self.kind, type) and issubclass(self.kind, BaseModel)

    @property
    def is_list(self) -> bool:
        return typing.get_origin(self.kind) is tuple

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self.kind.model_fields) if self.is_model else ()

    @property
    def choices(self) -> tuple[str, ...]:
        """The names to choose from, where the node is a choice."""
        return typing.get_args(self.kind) if typing.get_origin(self.kind) is typing.Literal else ()


def node_of(annotation: Any, metadata: tuple[Any, ...] = ()) -> Node:
    """The node of an annotation, with `Annotated`, `Optional` and tagged unions unwrapped."""
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *extra = typing.get_args(annotation)
        flat = [
            part
            for item in extra
            for part in (item.metadata if isinstance(item, FieldInfo) else [item])
        ]
        return node_of(inner, metadata + tuple(flat))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [arg for arg in typing.get_args(annotation) if arg is not types.NoneType]
        optional = len(members) < len(typing.get_args(annotation))
        if len(members) == 1:
            inner_node = node_of(members[0], metadata)
            return Node(inner_node.kind, inner_node.metadata, optional, inner_node.tags)
        return Node(annotation, metadata, optional, {tag_of(member): member for member in members})
    return Node(annotation, metadata)


def tag_key(model: type[BaseModel]) -> str:
    """The key of a tagged union's member that holds its tag: the first one."""
    return next(iter(model.model_fields))


def tag_of(model: type[BaseModel]) -> str:
    """The tag that chooses this member of a tagged union, such as `hub`."""
    return str(typing.get_args(model.model_fields[tag_key(model)].annotation)[0])


def allowed(node: Node) -> str:
    """What a node allows, as a phrase: `a whole number, at least 8`."""
    return _phrase(node) + (", or null" if node.optional else "")


def _phrase(node: Node) -> str:
    for item in node.metadata:
        if isinstance(item, Allowed):
            return item.text
    if node.tags:
        key = tag_key(next(iter(node.tags.values())))
        return f"a mapping with {key}: one of {', '.join(node.tags)}"
    if node.choices:
        return ("one of " if len(node.choices) > 1 else "") + ", ".join(node.choices)
    if node.is_list:
        short = any(isinstance(item, annotated_types.MinLen) for item in node.metadata)
        return ("a list of one or more" if short else "a list") + ", each " + allowed(node.child(0))
    if node.is_model:
        return f"a mapping with the keys {', '.join(node.keys)}"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return ", ".join([names.get(node.kind, "a value"), *_bounds(node.metadata)])


def _bounds(metadata: tuple[Any, ...]) -> Iterator[str]:
    for item in metadata:
        match item:
            case annotated_types.Ge(ge=bound):
                yield f"at least {bound}"
            case annotated_types.Gt(gt=bound):
                yield f"above {bound}"
            case annotated_types.Le(le=bound):
                yield f"at most {bound}"
            case annotated_types.Lt(lt=bound):
                yield f"below {bound}"
            case annotated_types.MultipleOf(multiple_of=bound):
                yield "even" if bound == 2 else f"a multiple of {bound}"


def json_schema(model: type[BaseModel]) -> str:
    """The JSON schema of a config model, as indented text with a final newline."""
    return (
        json.dumps(model.model_json_schema(mode="validation"), indent=2, ensure_ascii=False) + "\n"
    )


def sections(
    model: type[BaseModel], path: str = ""
) -> Iterator[tuple[str, str, list[tuple[str, str, str, str]]]]:
    """The tables of the reference, top down: (path, docstring, rows of key, allowed, default, description)."""
    rows, below = [], []
    for key, info in model.model_fields.items():
        node = node_of(info.annotation, tuple(info.metadata))
        rows.append((key, allowed(node), _default(info), info.description or ""))
        inner, place = (node.child(0), f"{path}{key}[]") if node.is_list else (node, f"{path}{key}")
        for tag, member in inner.tags.items():
            below.append((f"{place} with {tag_key(member)}: {tag}", member, f"{place}."))
        if inner.is_model:
            below.append((place, inner.kind, f"{place}."))
    yield path.rstrip("."), _paragraph(model), rows
    for place, member, prefix in below:
        for title, text, table in sections(member, prefix):
            yield (place if title == prefix.rstrip(".") else title), text, table


def _paragraph(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = (
        info.get_default(call_default_factory=True)
        if info.default is PydanticUndefined
        else info.default
    )
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value):
        return "see below"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
