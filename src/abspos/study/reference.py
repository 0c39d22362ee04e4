"""The config in words: allowed values of each key, the JSON schema, and the reference.

Everything here is read from the pydantic models of `abspos.study.config`, so that the words cannot
drift from what is checked.
"""

import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import annotated_types
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Allowed:
    """Allowed values of a key in words, where its type alone is not specific enough."""

    text: str


@dataclass(frozen=True)
class Node:
    """One place in the config: its bare type, constraints, whether it may be null, its default."""

    kind: Any
    metadata: tuple[Any, ...] = ()
    optional: bool = False
    tags: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    default: Any = None

    def child(self, step: str | int) -> "Node":
        """The node of a mapping's key or a list's item; an untyped node for anything else."""
        if self.is_model and step in self.keys:
            return node_of_field(fields_of(self.kind)[str(step)])
        if self.is_list and isinstance(step, int):
            return node_of(typing.get_args(self.kind)[0])
        if typing.get_origin(self.kind) is dict:
            return node_of(typing.get_args(self.kind)[1])
        return Node(Any)

    def accepts(self, value: Any) -> bool:
        """Whether a value is allowed here."""
        try:
            kind: Any = self.kind
            for item in self.metadata:
                kind = typing.Annotated[kind, item]
            TypeAdapter(kind).validate_python(value)
        except ValidationError:
            return False
        return True

    @property
    def is_model(self) -> bool:
        """Whether a mapping with fixed keys stands here."""
        return isinstance(self.kind, type) and issubclass(self.kind, BaseModel)

    @property
    def is_list(self) -> bool:
        """Whether a list stands here."""
        return typing.get_origin(self.kind) is tuple

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the mapping; none where there is no mapping."""
        return tuple(fields_of(self.kind)) if self.is_model else ()

    @property
    def choices(self) -> tuple[str, ...]:
        """The names to choose from, where the node is a choice."""
        return typing.get_args(self.kind) if typing.get_origin(self.kind) is typing.Literal else ()


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model by their keys in the config: one is a word of Python's, `from`."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


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
            return replace(node_of(members[0], metadata), optional=optional)
        return Node(annotation, metadata, optional, {tag_of(member): member for member in members})
    return Node(annotation, metadata)


def node_of_field(info: FieldInfo) -> Node:
    """The node of a model's field."""
    default = None if info.is_required() else info.default
    return replace(node_of(info.annotation, tuple(info.metadata)), default=default)


def tag_key(model: type[BaseModel]) -> str:
    """The key of a tagged union's member that holds its tag: the first one."""
    return next(iter(model.model_fields))


def tag_of(model: type[BaseModel]) -> str:
    """The tag that chooses this member of a tagged union, such as `hub`."""
    return str(typing.get_args(model.model_fields[tag_key(model)].annotation)[0])


def allowed(node: Node) -> str:
    """Allowed values of a node, as a phrase: `a whole number, at least 8`."""
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


Section = tuple[str, str, list[tuple[str, ...]]]


def sections(model: type[BaseModel], title: str = "", path: str = "") -> Iterator[Section]:
    """The tables of the reference, top down: title, docstring, rows.

    A row holds key, what is allowed, default and description.
    """
    rows: list[tuple[str, ...]] = []
    below: list[tuple[str, type[BaseModel], str]] = []
    for key, info in fields_of(model).items():
        node = node_of_field(info)
        rows.append((f"`{key}`", allowed(node), _default(info), info.description or ""))
        place = f"{path}.{key}" if path else key
        if node.is_list:
            node, place = node.child(0), f"{place}[]"
        for tag, member in node.tags.items():
            below.append((f"{place} with {tag_key(member)}: {tag}", member, place))
        if node.is_model:
            below.append((place, node.kind, place))
    yield title, " ".join((model.__doc__ or "").split()), rows
    for name, member, place in below:
        yield from sections(member, name, place)


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if isinstance(info.default, BaseModel):
        return "see below"
    return f"`{json.dumps(info.default, ensure_ascii=False, default=_written_short)}`"


def _written_short(part: BaseModel) -> Any:
    return part.model_dump(mode="json", exclude_none=True)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table, with a final newline."""
    lines = [head, tuple("---" for _ in head), *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)
