"""Models that a study trains alike: from the same weights, with the same settings, each under a
variant of its own. What their comparison needs (abspos.claims.architectures)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from abspos.planning.layout import Layout
from abspos.study.config import Variant

#: What a model is measured under that has an architecture of its own: the variant without changes.
STANDARD = "standard"
#: Settings in which models that are trained alike may differ: more steps continue the same course.
FREE = {"variant", "seed", "steps", "at"}


def plain(variant: Variant) -> bool:
    """Whether a variant leaves the architecture as it is."""
    return not (variant.rope or variant.window)


def _groups(layout: Layout) -> list[dict[str, Any]]:
    """Models that were trained alike, at each step that all of them have.

    Returns:
        For each: ``start``, the (model, revision) that they began from; ``revision``, the step;
        ``runs``, the models by variant for each seed, with the control under `STANDARD`;
        ``variants``, the names of these; ``untrained``, variants of the start with random weights;
        ``base``, what stands at position 0; ``reading``, the one that decides, of the control.
        Without a control, or with nothing beside it, there is no group.
    """
    study = layout.study
    courses: dict[str, dict[int, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for name, course in layout.courses.items():
        variant = study.variant(course.source.variant)
        kept = course.source.model_dump(mode="json", exclude=FREE)
        key = str((sorted(kept.items()), variant.untrained))
        trained_under = STANDARD if plain(variant) else variant.name
        courses[key][course.source.seed].setdefault(trained_under, name)
    return [found for by_seed in courses.values() for found in _at_steps(layout, by_seed)]


def _at_steps(layout: Layout, by_seed: dict[int, dict[str, str]]) -> Iterator[dict[str, Any]]:
    """One group for each step that the models of all seeds have."""
    study = layout.study
    first, *others = by_seed.values()
    variants = [v for v in first if all(v in models for models in others)]
    if STANDARD not in variants or len(variants) < 2:
        return
    runs = [{v: models[v] for v in variants} for models in by_seed.values()]
    members = [name for run in runs for name in run.values()]
    control = study.model(runs[0][STANDARD])
    start = layout.start(control.name)
    without = study.model(start[0]).without
    for revision in layout.courses[control.name].trained:
        if all(revision in layout.courses[name].trained for name in members):
            yield {
                "start": list(start),
                "revision": revision,
                "runs": runs,
                "variants": variants,
                "untrained": [
                    v.name for v in study.variants if v.untrained and v.name not in without
                ],
                "base": "no-bos" if "bos" in control.without else "bos",
                "reading": control.reading,
            }


def alike(layout: Layout) -> dict[str, Any]:
    """Settings of the job that judges across architectures, with the stores that it reads.

    Returns:
        Arguments of abspos.claims.architectures.judge; without groups where nothing was trained
        alike.
    """
    found, judged = _groups(layout), layout.judgement()
    pairs = {tuple(group["start"]) for group in found}
    pairs |= {(m, g["revision"]) for g in found for run in g["runs"] for m in run.values()}
    return {
        "models": [list(pair) for pair in layout.models() if pair in pairs],
        "groups": found,
        **{name: judged[name] for name in ("variants", "confidence", "seed")},
    }
