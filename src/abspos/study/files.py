"""Config files: read strictly, and laid one over another as Snakemake does.

YAML as such takes the last of two equal keys, and lets a few lines stand for millions of values.
Here the first is refused with both lines, the second by a limit, and every error is one line with
the file and its line. Snakemake has a reader of its own for `--configfile`; the rules call
`load_files` on the same files, before any job.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from abspos.study.checks import refused, shown
from abspos.study.config import ConfigError, Study, load_study
from abspos.study.reference import allowed, node_of_field

#: Values of a config file at the most, with every alias written out. The default study has 100.
MOST_VALUES = 100_000
#: Characters of a number at the most.
LONGEST_NUMBER = 40

KINDS = {
    "tag:yaml.org,2002:int": "a whole number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:timestamp": "a date",
}

#: Numbers in base 8 (010) and base 60 (1:30) of YAML 1.1; dates are no such numbers.
_OTHER_BASE = re.compile(r"[-+]?(0[0-7_]*[1-7][0-7_]*|\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?)")


@dataclass(frozen=True)
class ConfigFile:
    """One config file.

    Attributes:
        path: where it lies.
        content: its keys; none where the file is unreadable.
        mistakes: one line each, with the file and, where there is one, the line in it.
        unreadable: whether they leave no content.
    """

    path: Path
    content: Mapping[str, Any]
    mistakes: tuple[str, ...] = ()
    unreadable: bool = False


class _Unreadable(Exception):
    """Why a file cannot be read, and in which line."""

    def __init__(self, why: str, line: int | None = None) -> None:
        super().__init__(why)
        self.line = line


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader; a value that Python cannot make is an error with its line.

    So is a number that YAML reads as another than it shows: 0042 as 34, 1:30 as 90.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = KINDS.get(node.tag, "a value")
        try:
            number = isinstance(node, yaml.ScalarNode) and node.tag in KINDS
            if number and len(node.value) > LONGEST_NUMBER:
                raise ValueError
            if number and _OTHER_BASE.fullmatch(node.value):
                why = f"value {shown(node.value)} is not the number that it shows: YAML takes it "
                why += "in base 8 or 60; put text in quotes, or write a number without leading 0"
                raise _Unreadable(why, _line(node))
            return super().construct_object(node, deep=deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            size = f" of {len(node.value)} characters" if len(node.value) > LONGEST_NUMBER else ""
            why = f"value {shown(node.value)}{size} cannot be read as {kind}; put text in quotes"
            raise _Unreadable(why, _line(node)) from None


def base_config(folder: Path, code: Path) -> Path:
    """The config that further files are merged over.

    Args:
        folder: the working folder, whose config.yaml or config/config.yaml comes first.
        code: the folder of the code, whose config.yaml is the default study.
    """
    own = (folder / "config.yaml", folder / "config" / "config.yaml")
    return next((path for path in own if path.exists()), code / "config.yaml")


def read(path: str | Path) -> ConfigFile:
    """Read one config file, YAML or JSON; what is wrong with it is in `mistakes`."""
    path = Path(path)
    name = _written(path)
    try:
        text = _text(path)
        try:
            content = json.loads(text, parse_int=_short(int), parse_float=_short(float))
            text = text.replace("\t", " ")  # which YAML refuses between values, and JSON does not
        except ValueError:
            content = None
        loader = _Loader(text)
        node = loader.get_single_node()
        _require_few(node)
        if not isinstance(node, yaml.MappingNode):
            raise _Unreadable("holds no keys; a config is a mapping such as `study: mine`")
        twice = tuple(f"{name}, line {line}: {why}" for line, why in _repeated(loader, node))
        return ConfigFile(path, content or loader.construct_document(node), twice)
    except _Unreadable as error:
        why, line = str(error), error.line
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = f"not YAML: {', '.join(filter(None, [error.context, error.problem]))}"
        why += "; indent with spaces" if "'\\t'" in why else ""
        line = None if mark is None else mark.line + 1
    except yaml.reader.ReaderError as error:
        why = f"character {chr(int(error.character))!r} is not allowed in YAML"
        line = text.count("\n", 0, error.position) + 1
    except RecursionError:
        why, line = "nested too deep to be a config", None
    place = f"{name}, line {line}" if line else name
    return ConfigFile(path, {}, (f"{place}: {' '.join(why.split())}",), unreadable=True)


def _short(kind: type[int | float]) -> Callable[[str], int | float]:
    """Reads a number of JSON; refuses a long one, which the YAML reader reports with its line."""

    def read_number(text: str) -> int | float:
        if len(text) > LONGEST_NUMBER:
            raise ValueError
        return kind(text)

    return read_number


def _written(path: Path) -> str:
    """A path as errors show it: from here, where that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise _Unreadable("not a file; a config is a file of YAML")
        data = path.read_bytes()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise _Unreadable("no such file" if missing else str(error.strerror)) from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        why = f"byte {data[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        raise _Unreadable(why, line) from None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _children(node: yaml.Node) -> Sequence[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _require_few(root: yaml.Node | None) -> None:
    """Refuse aliases that stand for too much, or for what they are a part of."""
    sizes: dict[int, int | None] = {}

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node), 0)
        if known is None:
            raise _Unreadable("an alias refers to a value that contains it; remove it", _line(node))
        if not known:
            sizes[id(node)] = None  # under way
            sizes[id(node)] = known = 1 + sum(size(child) for child in _children(node))
        if known > MOST_VALUES:
            why = f"more than {MOST_VALUES} values once aliases are written out; use fewer"
            raise _Unreadable(why, _line(node))
        return known

    if root is not None:
        size(root)


def _repeated(loader: _Loader, root: yaml.Node) -> list[tuple[int, str]]:
    """Keys that stand twice in a mapping, each with its line and a text that names the first's."""
    found = []
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        waiting += _children(node)
        first: dict[Any, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            name = loader.construct_object(key)
            if name in first:
                why = f"key {shown(name)} is already set in line {first[name]}; keep one of them"
                found.append((_line(key), why))
            first.setdefault(name, _line(key))
    return sorted(found)


def merged(config: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A config with another laid over it, as Snakemake does: mappings merge, lists replace."""
    result = dict(config)
    for key, value in change.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both and isinstance(old, Mapping) else value
    return result


def load_files(
    files: Sequence[str | Path],
    config: Mapping[str, Any] | None = None,
    stated: Iterable[str] = (),
) -> Study:
    """The study that config files describe.

    Args:
        files: config.yaml and further files, each laid over those before.
        config: what Snakemake made of them; None: merged here.
        stated: keys that `snakemake --config` sets.

    Raises:
        ConfigError: every mistake in the files and in the config, one line each.
    """
    # Snakemake needs no config.yaml where there is a --configfile.
    contents = _contents(files if config is None else [f for f in files if Path(f).exists()])
    mistakes = [line for file in contents for line in file.mistakes]
    whole: Mapping[str, Any] = {}
    for file in contents if config is None else ():
        whole = merged(whole, file.content)
    whole = dict(whole if config is None else config)
    if contents and "study" not in stated:
        try:
            whole["study"] = _name(contents)
        except ConfigError as error:
            mistakes += error.mistakes
    try:
        study = load_study(whole)
    except ConfigError as error:
        mistakes += error.mistakes
    if mistakes:
        raise ConfigError(tuple(dict.fromkeys(mistakes)))
    return study


def study_name(files: Sequence[str | Path]) -> str:
    """The name of the study that config files describe, which nothing else of them is needed for.

    Args:
        files: config.yaml and further files, each laid over those before.

    Raises:
        ConfigError: a file cannot be read, or the name is none.
    """
    name, node = _name(_contents(files)), node_of_field(Study.model_fields["study"])
    if not node.accepts(name):
        raise ConfigError((refused(("study",), name, allowed(node)).line({}),))
    return str(name)


def _contents(files: Sequence[str | Path]) -> list[ConfigFile]:
    found = [read(path) for path in files]
    if any(file.unreadable for file in found):
        raise ConfigError(tuple(line for file in found for line in file.mistakes))
    return found


def _name(files: Sequence[ConfigFile]) -> Any:
    """Name in the last file that has one; if only config.yaml has one, the first other file's.

    Raises:
        ConfigError: that file's name is none for a study.
    """
    further = files[1:]
    named = [file.content["study"] for file in further or files if "study" in file.content]
    node = node_of_field(Study.model_fields["study"])
    if named or not further:
        return named[-1] if named else node.default
    path = further[0].path
    if not node.accepts(path.stem):
        why = f"value {shown(path.stem)} — {allowed(node)}; add `study: <name>`"
        raise ConfigError(
            (f"{_written(path)}: no key study, and the file's name cannot serve: {why}",)
        )
    return path.stem
