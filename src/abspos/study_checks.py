"""The mistakes in a config: those that pydantic finds, told as a person would, and those between keys.

Checks between keys run in the same pass, on the parts that are valid by themselves: `View` gives None for
whatever is absent or mistaken, and a check that meets None has nothing to say.
"""

import difflib
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pydantic import BaseModel, ValidationError

from abspos.study_reference import Node, allowed, tag_key

Path = tuple[str | int, ...]
ABSENT = object()
RESERVED = {"checkpoints"}  # results/checkpoints/ is shared by all studies
ENDINGS = (
    ".csv",
    ".json",
    ".md",
    ".pdf",
    ".png",
    ".svg",
    ".yaml",
    ".zarr",
)  # of files beside such folders
FEWEST = 8  # inputs of an arm that is measured; a control, which is only compared, may have fewer

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60
_repr.maxlevel = 3


@dataclass(frozen=True)
class Mistake:
    """One mistake: where, what is there, what is allowed; `meant` is the key that an unknown one stands for."""

    path: Path
    text: str
    meant: str | None = None

    def line(self, config: Any) -> str:
        """The mistake in one line that begins with the key."""
        return f"{_written(self.path, config)}: {self.text}"


def shown(value: Any) -> str:
    """A value as it is quoted in a message: on one line, and not too long."""
    text = _repr.repr(value).replace("\n", " ")
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-15:]}"


def nearest(word: Any, options: Iterable[str]) -> str | None:
    """The option that a mistyped word most likely stands for, or None."""
    folded = {option.casefold(): option for option in options}
    close = difflib.get_close_matches(word.casefold(), folded, 1) if isinstance(word, str) else []
    return folded[close[0]] if close else None


def refused(path: Path, value: Any, why: str, meant: Any = None) -> Mistake:
    """The mistake of a value that is not allowed."""
    hint = "" if meant is None else f"; did you mean {shown(meant)}?"
    return Mistake(path, f"value {shown(value)} — {why}{hint}")


# From pydantic's errors to mistakes


def mistakes_of(error: ValidationError, model: type[BaseModel], config: Any) -> list[Mistake]:
    """What pydantic found, in the order of the config's keys."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    found = [(item["type"], _mistake(item["type"], item["loc"], model, config)) for item in details]
    # pydantic counts valid items only: a list whose items are mistaken is not a short list
    return [m for kind, m in found if kind != "too_short" or not reduce(_below, m.path, config)]


def _mistake(kind: str, loc: Path, model: type[BaseModel], config: Any) -> Mistake:
    path, parent, node, value = _located(loc, model, config)
    if kind in ("extra_forbidden", "invalid_key"):
        meant = nearest(loc[-1], parent.keys)
        hint = f"; did you mean {meant!r}?" if meant else ""
        return Mistake(path, f"unknown key — one of {', '.join(parent.keys)}{hint}", meant)
    if kind == "missing":
        return Mistake(path, f"missing — {allowed(node)}")
    if kind.startswith("union_tag_"):
        return _wrong_tag(path, node, value)
    return refused(path, value, allowed(node), _meant(node, value))


def _wrong_tag(path: Path, node: Node, value: Any) -> Mistake:
    key = tag_key(next(iter(node.tags.values())))
    options = f"one of {', '.join(node.tags)}"
    tag = _below(value, key)
    if tag is ABSENT:
        return Mistake((*path, key), f"missing — {options}")
    return refused((*path, key), tag, options, nearest(tag, node.tags))


def _meant(node: Node, value: Any) -> Any:
    """What was meant by a value of the wrong type or a mistyped name; None where nobody can tell."""
    if node.choices:
        return nearest(value, node.choices)
    if node.kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return None
    if node.kind is bool:
        return {
            "true": True,
            "yes": True,
            "on": True,
            "false": False,
            "no": False,
            "off": False,
        }.get(value.lower())
    if node.kind in (int, float):
        try:
            return node.kind(value)
        except ValueError:
            return None
    return None


def _located(loc: Path, model: type[BaseModel], config: Any) -> tuple[Path, Node, Node, Any]:
    """The path as it stands in the config, the node above, the node, and the value there."""
    path: list[str | int] = []
    parent, node, value = Node(model), Node(model), config
    for step in loc:
        if step in node.tags:  # pydantic names the member of a tagged union; the config does not
            node = Node(node.tags[str(step)])
            continue
        parent, node = node, node.child(step)
        if not isinstance(value, str):  # a condition given by its name alone has no key below it
            path.append(step)
            value = _below(value, step)
    return tuple(path), parent, node, value


def _below(value: Any, step: str | int) -> Any:
    try:
        return value[step]
    except (KeyError, IndexError, TypeError):
        return ABSENT


def _written(path: Path, config: Any) -> str:
    """A path as text: items of lists by name where they have one of their own, else by number from #1."""
    text, value = "", config
    for step in path:
        if isinstance(step, int) and isinstance(value, list | tuple):
            names = [_below(item, "name") for item in value]
            name = names[step]
            plain = isinstance(name, str) and _is_plain(name) and names.count(name) == 1
            text += f"[{name if plain else f'#{step + 1}'}]"
        else:
            key = str(step) if _is_plain(str(step)) else shown(step)
            text += f".{key}" if text else key
        value = _below(value, step)
    return text or "config"


def _is_plain(name: str) -> bool:
    return 0 < len(name) <= 64 and name.isascii() and all(c.isalnum() or c in "._-" for c in name)


# Between keys


def _attribute(part: Any, key: str | int) -> Any:
    return getattr(part, str(key), None)


class View:
    """The valid parts of a config, with defaults."""

    def __init__(self, model: type[BaseModel], config: Any, mistakes: Iterable[Mistake]) -> None:
        self._defaults: Any = model.model_construct()
        self._config = config
        self._bad = {m.path for m in mistakes} | {
            (*m.path[:-1], m.meant) for m in mistakes if m.meant
        }

    def is_sound(self, *path: str | int) -> bool:
        """Whether nothing at, above or below a path is mistaken."""
        return not any(path[: len(bad)] == bad[: len(path)] for bad in self._bad)

    def is_mapping(self, *path: str | int) -> bool:
        """Whether there is a mapping at a path."""
        return isinstance(reduce(_below, path, self._config), Mapping)

    def get(self, *path: str | int) -> Any:
        """The value at a path, its default if absent; None if anything there is mistaken."""
        if not self.is_sound(*path):
            return None
        value = reduce(_below, path, self._config)
        if value is ABSENT and not any(isinstance(step, int) for step in path):
            return reduce(_attribute, path, self._defaults)
        return None if value is ABSENT else value

    def places(self, *path: str | int) -> Iterator[tuple[str | int, ...]]:
        """The paths of a list's items."""
        items = reduce(_below, path, self._config)
        if isinstance(items, list | tuple):
            yield from ((*path, index) for index in range(len(items)))


def cross_checks(view: View) -> list[Mistake]:
    """The mistakes that only show where keys meet."""
    return [mistake for check in _CHECKS for mistake in check(view)]


def _lengths(view: View) -> Iterator[Mistake]:
    length = view.get("inputs", "length")
    for path in [("bins", "early"), ("anchor",)]:
        query = view.get(*path)
        if length is not None and query is not None and query >= length // 2:
            why = f"below {length // 2}, half of inputs.length ({length})"
            yield refused(path, query, why)


def _names(view: View) -> Iterator[Mistake]:
    named: list[tuple[Path, Any]] = [(("study",), view.get("study"))]
    for group in ("models", "variants"):
        entries = [((*place, "name"), view.get(*place, "name")) for place in view.places(group)]
        yield from _repeated(
            entries, f"each of the {group} needs a name of its own, capitals apart"
        )
        named += entries
    for path, name in named:
        if name is not None and (name.casefold() in RESERVED or name.casefold().endswith(ENDINGS)):
            why = f"not {', '.join(sorted(RESERVED))}, and not ending like a file ({' '.join(ENDINGS)})"
            yield refused(path, name, why)


def _repetitions(view: View) -> Iterator[Mistake]:
    lists: list[Path] = [("swap_tokens",), ("figures", "formats")]
    lists += [(*place, "source", "revisions") for place in view.places("models")]
    for path in lists:
        yield from _repeated(
            [(place, view.get(*place)) for place in view.places(*path)], "listed twice"
        )
    for place in view.places("variants"):
        yield from _repeated(list(_conditions(view, place)), "listed twice in this variant")


def _repeated(entries: list[tuple[Path, Any]], why: str) -> Iterator[Mistake]:
    folded = [(path, name, name.casefold()) for path, name in entries if isinstance(name, str)]
    counts: Counter[str] = Counter()
    for path, name, key in folded:
        counts[key] += 1
        if counts[key] > 1:
            yield refused(path, name, why)


def _sources(view: View) -> Iterator[Mistake]:
    for place in view.places("models"):
        if view.get(*place, "source", "type") != "random":
            continue
        heads = view.get(*place, "source", "heads")
        shared = view.get(*place, "source", "kv_heads")
        if heads is not None and shared is not None and heads % shared:
            yield refused((*place, "source", "heads"), heads, f"a multiple of kv_heads ({shared})")


def _variants(view: View) -> Iterator[Mistake]:
    length = view.get("inputs", "length")
    for place in view.places("variants"):
        window = view.get(*place, "window")
        if window is not None and length is not None and window >= length:
            why = (
                f"below inputs.length ({length}): as wide a window hides nothing, the arm is inert"
            )
            yield refused((*place, "window"), window, why)
        yield from _rope(view, (*place, "rope"))


def _rope(view: View, path: Path) -> Iterator[Mistake]:
    kind, factor = view.get(*path, "rope_type"), view.get(*path, "factor")
    if factor == 1 and kind != "longrope" and not view.get(*path, "attention_factor"):
        why = "any factor but 1, which changes nothing: the arm is inert"
        yield refused((*path, "factor"), factor, why)
    low = view.get(*path, "low_freq_factor") or 1.0
    high = view.get(*path, "high_freq_factor") or 4.0
    if kind == "llama3" and high <= low:
        yield refused((*path, "high_freq_factor"), high, f"above low_freq_factor ({low})")
    short, long = view.get(*path, "short_factor"), view.get(*path, "long_factor")
    if short and long and len(short) != len(long):
        yield refused((*path, "long_factor"), long, f"as many as short_factor ({len(short)})")


def _arms(view: View) -> Iterator[Mistake]:
    number = view.get("inputs", "number")
    tokens = view.get("swap_tokens")
    for place in view.places("variants"):
        arms = list(_conditions(view, place))
        for path, name in arms:
            inputs = view.get(*path, "inputs") if view.is_mapping(*path) else None
            if name is None:
                continue
            if inputs is not None and number is not None and inputs > number:
                yield refused((*path, "inputs"), inputs, f"at most inputs.number ({number})")
            if inputs is not None and inputs < FEWEST and not name.startswith("control-"):
                why = f"at least {FEWEST}, or at least 2 for a control"
                yield refused((*path, "inputs"), inputs, why)
            if name == "swap-token" and tokens is not None and not len(tokens):
                why = "needs tokens to swap in: list them under swap_tokens"
                yield refused(path, name, why)
        yield from _reference(view, place, arms, number)


def _reference(
    view: View, place: Path, arms: list[tuple[Path, Any]], number: int | None
) -> Iterator[Mistake]:
    """Arms that are compared with bos need it beside them, on all of their inputs."""
    names = [name for _, name in arms]
    compared = [
        name for name in names if name and name.startswith(("swap-", "ablate-", "control-"))
    ]
    if not compared or None in names:
        return
    if "bos" not in names:
        why = f"with bos among them: {compared[0]} is compared with it"
        yield refused((*place, "conditions"), names, why)
        return
    inputs = {name: _inputs(view, path, number) for path, name in arms}
    for path, name in arms:
        bos, mine = inputs["bos"], inputs[name]
        if name in compared and bos is not None and mine is not None and mine > bos:
            why = f"at most the inputs of bos ({bos}), with which {name} is compared"
            yield refused((*path, "inputs") if view.is_mapping(*path) else path, mine, why)


def _inputs(view: View, path: Path, number: int | None) -> int | None:
    """The inputs of an arm; None if they are mistaken."""
    if not view.is_mapping(*path):
        return number
    return view.get(*path, "inputs") or (number if view.is_sound(*path, "inputs") else None)


def _conditions(view: View, place: Path) -> Iterator[tuple[Path, Any]]:
    """The paths and names of a variant's conditions; a name is None if it is mistaken."""
    for path in view.places(*place, "conditions"):
        yield path, view.get(*path, "name") if view.is_mapping(*path) else view.get(*path)


_CHECKS = (_lengths, _names, _repetitions, _sources, _variants, _arms)
