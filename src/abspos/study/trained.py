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
            yield from _variant(view, name, names, variants)
            yield from _steps(view, path)
            yield from _held_out(view, path, names)


def _base(view: View, name: Any, path: Path, names: dict[Any, Path]) -> Iterator[Mistake]:
    """What training starts from has to be another model with weights, and not a circle."""
    base = view.get(*path, "from")
    if base is None or None in names:
        return
    if base not in names:
        others = [other for other in names if other != name]
        listed = ", ".join(others) or "none is there; list the model to start from"
        why = f"another model of this study: {listed}"
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


def _variant(
    view: View, name: Any, names: dict[Any, Path], variants: dict[Any, Path]
) -> Iterator[Mistake]:
    """The variant has to be there; what it changes cannot be changed again in the same model."""
    path = (*names[name], "source", "variant")
    variant = view.get(*path)
    if variant is None or None in variants:
        return
    if variant not in variants:
        why = f"a variant of this study: {', '.join(variants)}"
        yield refused(path, variant, why, nearest(variant, variants))
        return
    if view.get(*variants[variant], "rope", "rope_type") == "dynamic":
        why = "a variant without dynamic RoPE, which no checkpoint here has as its own"
        yield refused(path, variant, why)
        return
    before = [v for v in _trained_under(view, name, names)[1:] if v in variants]
    clashing = [v for v in before if _clash(view, variants[v], variants[variant])]
    if clashing:
        why = (
            f"another variant: it cannot be applied on top of {clashing[0]!r}, which the starting "
            "weights are trained with; a variant without rope and window keeps their architecture"
        )
        yield refused(path, variant, why)
    without = [view.get(*item) for item in view.places(*names[name], "without")]
    missing = {
        v: own
        for own in (variant, *before)
        for v in variants
        if v not in without and _clash(view, variants[own], variants[v])
    }
    if missing and None not in without:
        added, trained = (dict.fromkeys(map(repr, part)) for part in (missing, missing.values()))
        why = (
            f"{', '.join(added)} among them: not applicable on top of {', '.join(trained)}, which "
            "the weights are trained with"
        )
        yield refused((*names[name], "without"), without, why)


def _trained_under(view: View, name: Any, names: dict[Any, Path]) -> list[Any]:
    """The variants that a model is trained under: its own, that of its start, and so on."""
    chain = [names[one] for one in dict.fromkeys(_chain(view, name, names)) if one in names]
    trained = [place for place in chain if view.get(*place, "source", "type") == "trained"]
    return [view.get(*place, "source", "variant") for place in trained]


def _clash(view: View, own: Path, other: Path) -> bool:
    """Whether weights that are trained under one variant cannot be given another.

    RoPE that is scaled is not scaled again, a new base is not multiplied by the same factor again,
    and a window is not widened (abspos.models.loading.variant_config).
    """
    ropes = [view.get(*place, "rope") for place in (own, other)]
    windows = [view.get(*place, "window") for place in (own, other)]
    scaled = view.get(*own, "rope", "rope_type") != "ntk"
    turned = None not in ropes and (scaled or ropes[0] == ropes[1])
    return turned or (None not in windows and windows[1] >= windows[0])


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


def _held_out(view: View, path: Path, names: dict[Any, Path]) -> Iterator[Mistake]:
    """Documents that are measured, or of the held-out loss, are not trained on, here or before."""
    held_out, number = view.get(*path, "held_out"), view.get("inputs", "number")
    if held_out is not None and number is not None and held_out < number:
        why = f"at least inputs.number ({number}): measured documents must not be trained on"
        yield refused((*path, "held_out"), held_out, why)
    base = view.get(*path, "from")
    if base is None or base not in names or held_out is None:
        return
    source = (*names[base], "source")
    before = view.get(*source, "held_out") if view.get(*source, "type") == "trained" else None
    if before is not None and before != held_out:
        why = f"{before}, as in {base}, which was trained on texts of this held-out loss otherwise"
        yield refused((*path, "held_out"), held_out, why)
