"""Models that are trained here: their steps, what they start from, and mistakes in either."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from abspos.study.checks import Mistake, Path, View, refused
from abspos.study.fields import TrainedSource
from abspos.study.nearest import nearest

if TYPE_CHECKING:
    from abspos.study.config import Model, Study

#: Steps at about equal distances on a logarithmic axis, times powers of ten.
SPACED = (1, 3)
#: The first of them: earlier steps change little.
FIRST = 10


def steps_of(source: TrainedSource) -> tuple[int, ...]:
    """The steps whose checkpoints are measured, in order."""
    stated = log_spaced(source.steps) if source.at is None else source.at
    return tuple(sorted({*stated, source.steps}))


def log_spaced(steps: int) -> Iterator[int]:
    """0, 10, 30, 100, 300 and so on below a number of steps."""
    yield 0
    power = FIRST
    while power < steps:
        yield from (factor * power for factor in SPACED if factor * power < steps)
        power *= 10


def origin(study: Study, name: str) -> Model:
    """The model whose checkpoint is not trained here that the training of a model began from."""
    model = study.model(name)
    while isinstance(model.source, TrainedSource):
        model = study.model(model.source.base)
    return model


def untrainable(view: View) -> Iterator[Mistake]:
    """The mistakes in models that are trained here."""
    names = {view.get(*place, "name"): place for place in view.places("models")}
    variants = {view.get(*place, "name"): place for place in view.places("variants")}
    for name, place in names.items():
        path = (*place, "source")
        if view.get(*path, "type") == "trained":
            yield from _base(view, name, path, names)
            yield from _variant(view, place, variants)
            yield from _steps(view, path)
            yield from _held_out(view, path)


def _base(view: View, name: Any, path: Path, names: dict[Any, Path]) -> Iterator[Mistake]:
    """What training starts from has to be another model with weights, and not a circle."""
    base = view.get(*path, "from")
    if base is None or None in names:
        return
    if base not in names:
        others = [other for other in names if other != name]
        why = f"another model of this study: {', '.join(others)}"
        yield refused((*path, "from"), base, why, nearest(base, others))
        return
    chain = _chain(view, name, names)
    first = chain[-1]
    if first == name:
        why = f"a model that is not trained from this one: {' from '.join(chain)}"
        yield refused((*path, "from"), base, why)
    elif first in names:
        source = (*names[first], "source")
        if view.get(*source, "type") == "synthetic":
            why = f"a model with weights: {first} is synthetic"
            yield refused((*path, "from"), base, why)
        if view.get(*source, "bos") is False and view.get(*path, "prepend_bos"):
            why = f"false: the tokenizer of {first} has no BOS token"
            yield refused((*path, "prepend_bos"), True, why)


def _chain(view: View, name: Any, names: dict[Any, Path]) -> list[Any]:
    """A model, what it is trained from, and so on, up to one that is not trained here, that is
    missing, or that comes twice."""
    chain = [name]
    while chain[-1] in names and chain[-1] not in chain[:-1]:
        source = (*names[chain[-1]], "source")
        if view.get(*source, "type") != "trained":
            break
        chain.append(view.get(*source, "from"))
    return chain


def _variant(view: View, place: Path, variants: dict[Any, Path]) -> Iterator[Mistake]:
    """The variant has to be there; what it changes cannot be changed again in the same model."""
    path = (*place, "source", "variant")
    variant = view.get(*path)
    if variant is None or None in variants:
        return
    if variant not in variants:
        why = f"a variant of this study: {', '.join(variants)}"
        yield refused(path, variant, why, nearest(variant, variants))
        return
    changes = any(view.get(*variants[variant], key) is not None for key in ("rope", "window"))
    without = [view.get(*item) for item in view.places(*place, "without")]
    if changes and variant not in without and None not in without:
        why = f"{variant!r} among them: the weights are trained with that change, as their own"
        yield refused((*place, "without"), without, why)


def _steps(view: View, path: Path) -> Iterator[Mistake]:
    """Steps to measure are steps of the training, each once."""
    steps, seen = view.get(*path, "steps"), set[int]()
    for item in view.places(*path, "at"):
        step = view.get(*item)
        if step is None:
            continue
        if steps is not None and step > steps:
            yield refused(item, step, f"at most steps ({steps}); raise steps to train longer")
        if step in seen:
            yield refused(item, step, "once only")
        seen.add(step)


def _held_out(view: View, path: Path) -> Iterator[Mistake]:
    """Documents that are measured are not trained on."""
    held_out, number = view.get(*path, "held_out"), view.get("inputs", "number")
    if held_out is not None and number is not None and held_out < number:
        why = f"at least inputs.number ({number}): measured documents must not be trained on"
        yield refused((*path, "held_out"), held_out, why)
