"""Config errors: those in one key, in plain words, and those between keys.

Checks between keys run in the same pass, on the parts that are valid by themselves: `View` gives
None for whatever is absent or mistaken, and a check that meets None has nothing to say.
"""

import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pydantic import BaseModel, ValidationError

from abspos.study.conditions import CONDITIONS, SUBSTITUTES, arms_of
from abspos.study.fields import in_paths
from abspos.study.nearest import nearest
from abspos.study.reference import Node, allowed, tag_key

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

_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60
_repr.maxlevel = 3


@dataclass(frozen=True)
class Mistake:
    """One config error: path, message, and the key probably meant."""

    path: Path
    text: str
    meant: str | None = None

    def line(self, config: Any) -> str:
        """The mistake in one line that begins with the key."""
        return f"{_written(self.path, config)}: {self.text}"


def shown(value: Any) -> str:
    """A value as it is quoted in a message: on one line, and not too long."""
    try:
        text = _repr.repr(value).replace("\n", " ")
    except ValueError:  # Python does not print a number of thousands of digits
        return f"a very large {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-15:]}"


def refused(path: Path, value: Any, why: str, meant: Any = None) -> Mistake:
    """The mistake of a value that is not allowed."""
    hint = "" if meant is None else f"; did you mean {shown(meant)}?"
    return Mistake(path, f"value {shown(value)} — {why}{hint}")


# From pydantic's errors to mistakes


def mistakes_of(error: ValidationError, model: type[BaseModel], config: Any) -> list[Mistake]:
    """Errors that pydantic found, in the order of the config's keys."""
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
    """Probable meaning of a mistyped name or a value of the wrong type, or None."""
    if node.choices:
        return nearest(value, node.choices)
    if isinstance(value, str):
        guess = _TRUTHS.get(value.lower()) if node.kind is bool else _number(node.kind, value)
    else:
        guess = str(value) if node.kind is str and type(value) in (int, float) else None
    return guess if guess is not None and node.accepts(guess) else None


def _number(kind: Any, text: str) -> Any:
    try:
        return kind(text) if kind in (int, float) else None
    except ValueError:
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
    """A path as text: items of lists by name if they have one of their own, else by #number."""
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


class View:
    """The valid parts of a config, with defaults."""

    def __init__(self, model: type[BaseModel], config: Any, mistakes: Iterable[Mistake]) -> None:
        self._model = model
        self._config = config
        self._bad = {m.path for m in mistakes} | {
            (*m.path[:-1], m.meant) for m in mistakes if m.meant
        }

    def is_sound(self, *path: str | int) -> bool:
        """Whether nothing at, above or below a path is mistaken."""
        return not any(path[: len(bad)] == bad[: len(path)] for bad in self._bad)

    def get(self, *path: str | int) -> Any:
        """The value at a path, its default if absent; None if anything there is mistaken."""
        if not self.is_sound(*path):
            return None
        node, value = Node(self._model), self._config
        for step in path:
            if node.tags:
                tag = _below(value, tag_key(next(iter(node.tags.values()))))
                node = Node(node.tags.get(tag) if isinstance(tag, str) else None)
            node = node.child(step)
            if not (step == "name" and isinstance(value, str)):  # a condition's name alone
                value = _below(value, step)
        return node.default if value is ABSENT else value

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
    study = view.get("study")
    if study in RESERVED:
        yield refused(("study",), study, f"any name but {', '.join(RESERVED)}, which is taken")
    named: list[tuple[Path, Any]] = [(("study",), study)]
    for group in ("models", "variants"):
        entries = [((*place, "name"), view.get(*place, "name")) for place in view.places(group)]
        named += entries
        # capitals do not tell folders apart everywhere
        folded = [(path, name and name.casefold()) for path, name in entries]
        yield from _repeated(folded, f"each of the {group} needs a name of its own")
    for place in view.places("models"):
        paths = view.places(*place, "source", "revisions")
        named += [(path, view.get(*path)) for path in paths]
    for path, name in named:
        if name is not None and name.casefold().endswith(ENDINGS):
            why = f"a name without the ending of a file ({' '.join(ENDINGS)})"
            yield refused(path, name, why)


def _repetitions(view: View) -> Iterator[Mistake]:
    lists: list[Path] = [("swap_tokens",), ("figures", "formats")]
    for place in view.places("models"):
        yield from _revisions(view, (*place, "source", "revisions"))
    for path in lists:
        yield from _repeated([(item, view.get(*item)) for item in view.places(*path)], "once only")
    for place in view.places("variants"):
        yield from _repeated(_conditions(view, place), "once in a variant")


def _revisions(view: View, path: Path) -> Iterator[Mistake]:
    entries = [(item, view.get(*item)) for item in view.places(*path)]
    yield from _repeated(entries, "once only")
    folders: dict[str, str] = {}
    for item, name in entries:
        folder = None if name is None else in_paths(name).casefold()
        if folder is not None and folders.setdefault(folder, name) != name:
            why = f"another name in paths than that of {folders[folder]!r}: give its commit"
            yield refused(item, name, why)
    names = view.get(*path)
    for name in view.get(*path[:-1], "tokens") or () if names else ():
        if name not in names:
            why = f"one of revisions: {', '.join(names)}"
            yield refused((*path[:-1], "tokens"), name, why, nearest(name, names))


def _repeated(entries: list[tuple[Path, Any]], why: str) -> Iterator[Mistake]:
    counts: Counter[str] = Counter()
    for path, name in entries:
        counts[name] += 1
        if name is not None and counts[name] > 1:
            yield refused(path, name, why)


def _sources(view: View) -> Iterator[Mistake]:
    for place in view.places("models"):
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
    yield from _same(view)


def _same(view: View) -> Iterator[Mistake]:
    """Variants that change the same are one arm under two names."""
    seen: list[tuple[Any, Any]] = []
    for place in view.places("variants"):
        name = view.get(*place, "name")
        keys = ("rope", "window", "untrained")
        if name is None or not all(view.is_sound(*place, key) for key in keys):
            continue
        change = [view.get(*place, key) for key in keys]
        twin = next((other for other, made in seen if made == change and other != name), None)
        if twin is not None:
            why = f"a change of rope, window or untrained that {twin} has not: they are the same"
            yield refused((*place, "name"), name, why)
        seen.append((name, change))


def _rope(view: View, path: Path) -> Iterator[Mistake]:
    kind, factor = view.get(*path, "rope_type"), view.get(*path, "factor")
    plain = view.is_sound(*path, "attention_factor") and not view.get(*path, "attention_factor")
    if factor == 1 and kind != "longrope" and plain:
        why = "any factor but 1, which changes nothing: the arm is inert"
        yield refused((*path, "factor"), factor, why)
    low, high = view.get(*path, "low_freq_factor"), view.get(*path, "high_freq_factor")
    if low is not None and high is not None and high <= low:
        yield refused((*path, "high_freq_factor"), high, f"above low_freq_factor ({low})")
    short, long = view.get(*path, "short_factor"), view.get(*path, "long_factor")
    if short and long and len(short) != len(long):
        yield refused((*path, "long_factor"), long, f"as many as short_factor ({len(short)})")


def _arms(view: View) -> Iterator[Mistake]:
    tokens = view.get("swap_tokens")
    for place in view.places("variants"):
        for path, name in _conditions(view, place):
            inputs = view.get(*path, "inputs")
            if name is None:
                continue
            few = CONDITIONS[name].role in ("control", "substitute")
            if inputs is not None and inputs < FEWEST and not few:
                why = f"at least {FEWEST}, or at least 3 for a control or a substitute"
                yield refused((*path, "inputs"), inputs, why)
            if CONDITIONS[name].token and tokens is not None and not tokens:
                yield refused(path, name, "with tokens to swap in: list them under swap_tokens")
        yield from _reference(view, place)


def _reference(view: View, place: Path) -> Iterator[Mistake]:
    """Arms that are compared with bos need it beside them, on all of their inputs."""
    paths = {name: path for path, name in _conditions(view, place)}
    compared = [name for name in paths if name and CONDITIONS[name].role != "reference"]
    if not compared or None in paths:
        return
    if "bos" not in paths:
        why = f"with bos among them: {compared[0]} is compared with it"
        yield refused((*place, "conditions"), list(paths), why)
        return
    bos = view.get(*paths["bos"], "inputs")
    every = view.get("inputs", "number")
    for name in compared:
        path = (*paths[name], "inputs")
        inputs = view.get(*path) or every
        if inputs is not None and every is not None:
            inputs = min(inputs, every)
        known = bos is not None and view.is_sound(*path) and inputs is not None
        if name not in SUBSTITUTES and known and inputs > bos:
            why = f"at least {inputs}, the inputs of {name}, which is compared with bos"
            yield refused((*paths["bos"], "inputs"), bos, why)


def _conditions(view: View, place: Path) -> list[tuple[Path, Any]]:
    """The paths and names of a variant's conditions; a name is None if it is mistaken."""
    return [(path, view.get(*path, "name")) for path in view.places(*place, "conditions")]


def _without(view: View) -> Iterator[Mistake]:
    """Arms that a model is not given: variants have to be there, and some have to be left."""
    tokens = view.get("swap_tokens")
    conditions: set[str | None] = set()
    known: set[str | None] = {*CONDITIONS}  # a study that inherits its models may have fewer
    for place in view.places("variants"):
        variant = view.get(*place, "name")
        for _, name in _conditions(view, place):
            conditions.add(name)
            arms = {name, *(arms_of(name, len(tokens)) if name and tokens is not None else ())}
            known |= {variant, *arms, *(f"{variant}/{arm}" for arm in arms)}
        known.add(variant)
    for place in view.places("models"):
        without = [(path, view.get(*path)) for path in view.places(*place, "without")]
        tokenless = view.get(*place, "source", "bos") is False
        names = {name for _, name in without}
        needy = [c for c in CONDITIONS if c in conditions - names and CONDITIONS[c].needs_bos]
        if tokenless and "bos" not in names and needy:
            yield refused(
                (*place, "source", "bos"),
                False,
                f"without: [bos] beside it: conditions that need BOS ({', '.join(needy)}) are not "
                "for this model",
            )
        if None in known or None in names or tokens is None:
            continue
        for path, name in without:
            if name not in known:
                why = "a variant, a condition, or variant/condition of this study"
                yield refused(path, name, why, nearest(name, filter(None, known)))


_CHECKS = (_lengths, _names, _repetitions, _sources, _variants, _arms, _without)
