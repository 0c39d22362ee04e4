"""Settings that synthetic models do not support, checked on an otherwise valid study.

Its logits are planted, not computed, so that an arm can change them in two ways only: by its
window, and by what is left of sink and drift.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from abspos.study.checks import Mistake, refused
from abspos.study.conditions import condition_of, is_arm
from abspos.study.fields import SyntheticSource
from abspos.study.nearest import nearest

if TYPE_CHECKING:
    from abspos.study.config import Study


def unfit(study: Study) -> Iterator[Mistake]:
    """The mistakes in synthetic models and their arms."""
    known = set(arms(study))
    for number, model in enumerate(study.models):
        if not isinstance(model.source, SyntheticSource):
            continue
        source, path = model.source, ("models", number, "source")
        if len(source.sinks) != len(source.heads):
            why = f"as many as heads ({len(source.heads)})"
            yield refused((*path, "sinks"), list(source.sinks), why)
        for name in source.left:
            if name not in known:
                why = "a variant, a condition, or variant/condition of this study"
                yield refused((*path, "left"), name, why, nearest(name, known))
            elif is_arm(arm := name.rpartition("/")[2]) and _is_bos(arm):
                why = f"any arm but {arm}, which must be what bos is"
                yield refused((*path, "left"), name, why)
        for run in study.runs():
            if run.model == model.name:
                yield from unfit_arm(study, source, run.variant, run.condition, (*path, "type"))


def _is_bos(arm: str) -> bool:
    null = condition_of(arm).null
    return null is not None and null.check == "identical"


def arms(study: Study) -> Iterator[str]:
    """All names of arms: variants, conditions, and variant/condition."""
    for variant in study.variants:
        yield variant.name
        for condition in variant.conditions:
            for name in {condition.name, *study.arms(condition)}:
                yield from (name, f"{variant.name}/{name}")


def unfit_arm(
    study: Study, source: SyntheticSource, variant: str, condition: str, path: tuple[str | int, ...]
) -> Iterator[Mistake]:
    """Why a synthetic model cannot be given an arm."""
    if why := condition_of(condition).unplanted:
        why_not = f"`without: [{condition}]` beside the source: in planted logits {why}"
        yield refused(path, source.type, why_not)
    rope = study.variant(variant).rope
    if rope is None:
        return
    if rope.rope_type != "ntk":
        why_not = f"`without: [{variant}]` beside the source: in planted logits nothing is rotated"
        yield refused(path, source.type, why_not)
    elif source.left.keys().isdisjoint({variant, f"{variant}/{condition}"}):
        why_not = (
            f"`left: {{{variant}: 0.8}}` in it, or another share: nothing else can act there, the "
            "arm is inert"
        )
        yield refused(path, source.type, why_not)
