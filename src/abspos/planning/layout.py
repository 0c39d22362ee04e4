"""Where everything lies, and which slice of the config each rule depends on.

The one place for output paths; the rules only name its functions. Plain values in and out: a rule
that is given a slice reruns when that slice changes, and not when anything else does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from abspos.figures import FIGURES
from abspos.figures.facts import ONLY_WITH, facts
from abspos.inputs.corpus import folder_of
from abspos.models import local, lock
from abspos.models.revisions import Sweep
from abspos.planning.corpora import Corpus
from abspos.planning.courses import Course
from abspos.study.conditions import PAIRS, condition_of, token_of
from abspos.study.config import Run, Study
from abspos.study.fields import HubSource, SyntheticSource, TrainedSource

#: Tables of one model that are also joined over all models.
TABLES = (
    *("energies", "sinks", "sink_share", "layers", "readings", "summary", "profile", "position0"),
    *("states", "balance", "loss", "masses", "controls", "factorial", "fingerprint"),
)


@dataclass(frozen=True)
class Layout:
    """Paths and config slices of one study.

    Attributes:
        study: the study.
        root: the working folder, which all paths are relative to.
        code: the folder of the code, with what it ships in resources/.
    """

    study: Study
    root: Path = Path()
    code: Path = Path(__file__).parents[3]

    @property
    def results(self) -> str:
        """The folder that a run of the study writes."""
        return f"results/{self.study.study}"

    def store(self, stage: str) -> str:
        """Path pattern of a stage's stores, by wildcards."""
        return f"{self.results}/{stage}/{{model}}/{{revision}}/{{variant}}/{{condition}}"

    @cached_property
    def lock(self) -> lock.Lock:
        """Commits of what comes from the hub; empty where nothing is pinned yet."""
        return lock.read(lock.path_of(self.study.study, self.root))

    @cached_property
    def sweeps(self) -> dict[str, Sweep]:
        """The models that come from the hub."""
        return {
            model.name: Sweep(
                model.source, self.lock, self.root / "results/checkpoints" / model.name
            )
            for model in self.study.models
            if isinstance(model.source, HubSource)
        }

    @cached_property
    def courses(self) -> dict[str, Course]:
        """The models that are trained here."""
        return {
            model.name: Course(model.source, self.study.inputs.length)
            for model in self.study.models
            if isinstance(model.source, TrainedSource)
        }

    @property
    def along(self) -> dict[str, Sweep | Course]:
        """The models whose revisions lie along a training, from the hub or from here."""
        return {**self.sweeps, **self.courses}

    def start(self, model: str) -> tuple[str, str]:
        """(model, revision) that the training of a model starts from."""
        base = self.courses[model].source.base
        return base, self.revisions(base)[-1]

    def revisions(self, model: str) -> tuple[str, ...]:
        """Revisions of a model that are measured, as paths have them.

        Those of a hub repository are called as there, gaps are left out; those of a model that is
        trained here are its steps; other sources have one, whose name follows from what it is.
        """
        if model in self.along:
            return self.along[model].measured
        if model not in self._single:
            source = self.study.model(model).source.model_dump(mode="json")
            self._single[model] = local.revision_of(source, self.root)
        return (self._single[model],)

    @cached_property
    def _single(self) -> dict[str, str]:
        """Revisions of models that have one, by model: one plan sees one content of a folder."""
        return {}

    def checkpoints(self) -> list[dict[str, Any]]:
        """All that the study names, gaps included, in the config's order, as rows of a table.

        Keys: model and revision; of hub models repo, commit, tokens (of training) and gap, why it
        cannot be measured.
        """
        return [
            {"model": model.name, "revision": revision, **(along.row(revision) if along else {})}
            for model in self.study.models
            for along in [self.along.get(model.name)]
            for revision in (along.names if along else self.revisions(model.name))
        ]

    def models(self) -> list[tuple[str, str]]:
        """(model, revision) of everything the study measures."""
        return [(m.name, r) for m in self.study.models for r in self.revisions(m.name)]

    @cached_property
    def _runs(self) -> dict[str, list[Run]]:
        """Runs by model: made once, for every job of a sweep asks for them."""
        runs: dict[str, list[Run]] = {model.name: [] for model in self.study.models}
        for run in self.study.runs():
            runs[run.model].append(run)
        return runs

    def runs(self, model: str) -> list[Run]:
        """Runs of one model, in the config's order."""
        return self._runs[model]

    def arms(self, model: str) -> list[tuple[str, str]]:
        """(variant, condition) of one model's runs."""
        return [(run.variant, run.condition) for run in self.runs(model)]

    def number(self, model: str, variant: str, condition: str) -> int:
        """How many inputs a run has."""
        return next(
            r.inputs for r in self.runs(model) if (r.variant, r.condition) == (variant, condition)
        )

    def is_reference(self, model: str, variant: str, condition: str) -> bool:
        """Whether other runs of this variant are compared with this one field by field."""
        return condition == "bos" and any(
            self.reference(model, v, c) for v, c in self.arms(model) if v == variant
        )

    def reference(self, model: str, variant: str, condition: str) -> str | None:
        """The condition that a run is compared with, or None."""
        own = condition_of(condition)
        if not own.compared or (variant, "bos") not in self.arms(model):
            return None
        same = self.number(model, variant, condition) == self.number(model, variant, "bos")
        return "bos" if same or own.substitute or own.says else None

    def partner(self, condition: str) -> str | None:
        """The condition whose activations a run is paired with, or None."""
        return "bos" if condition in PAIRS else None

    def variant(self, name: str) -> dict[str, Any]:
        """The changes of a variant, as plain values."""
        variant = self.study.variant(name)
        return {
            "rope": variant.rope.parameters() if variant.rope else None,
            "window": variant.window,
            "untrained": variant.untrained,
        }

    def windows(self) -> list[int]:
        """Keys of the windows that the study's variants have."""
        return sorted({v.window for v in self.study.variants if v.window})

    def source(self, model: str, revision: str) -> dict[str, Any]:
        """Where a checkpoint comes from, as plain values, and nothing of other revisions."""
        if model in self.sweeps:
            return self.sweeps[model].checkpoint(revision)
        if model in self.courses:
            course = self.courses[model]
            own = {"variant": self.variant(course.source.variant), "inputs": self.inputs()}
            del own["inputs"]["number"]  # training leaves out documents of `held_out` inputs
            return course.settings(revision) | own
        found = self.study.model(model).source.model_dump(mode="json", exclude={"left"})
        return {k: v for k, v in found.items() if k not in ("parts", "terms") or v}

    def inputs(self) -> dict[str, Any]:
        """Settings that determine the windows of text."""
        inputs = self.study.inputs
        return {
            "number": inputs.number,
            "length": inputs.length,
            "start": inputs.start,
            "seed": self.study.seed,
            "keys": self.keys(),
        }

    def dataset(self) -> dict[str, Any]:
        """Settings that determine a corpus from the hub; empty for other corpora."""
        data = self.study.inputs.dataset
        if data is None:
            return {}
        pin = lock.pin_of(self.lock, ("dataset", data.repo, data.revision)) or {}
        stated = pin.get("files", {})
        return {
            "repo": data.repo,
            "commit": pin.get("commit"),
            "keys": {"text": data.text, "id": data.id, "source": data.source},
            "files": {name: stated.get(name) for name in data.files},
            "documents": data.documents,
        }

    @cached_property
    def _corpus(self) -> Corpus:
        return Corpus(folder_of(self.study.inputs.corpus), self.root, self.code)

    def corpus_folder(self) -> str:
        """The corpus: a folder, or one file.

        Raises:
            InputError: it is in a home folder that does not exist.
        """
        return f"{self.results}/corpus" if self.study.inputs.dataset else self._corpus.folder

    def corpus(self) -> list[str]:
        """Files that change with the corpus: its own, or the manifest of a data set."""
        if self.study.inputs.dataset:
            return [f"{self.corpus_folder()}.manifest.json"]
        return self._corpus.own

    def shipped_corpus(self) -> list[str]:
        """Files of a corpus that comes with the code, relative to the code's folder."""
        return [] if self.study.inputs.dataset else self._corpus.shipped

    def keys(self) -> dict[str, str | None]:
        """Keys of the corpus's records; a data set of the hub has been written with the first."""
        inputs = self.study.inputs
        if inputs.dataset:
            return {"text": "text", "id": "id", "source": "source"}
        return {"text": inputs.text, "id": inputs.id, "source": inputs.source}

    def swap_tokens(self, model: str) -> list[str]:
        """The listed replacements that the arms of a model read."""
        conditions = (condition for _, condition in self.arms(model))
        read = {token_of(condition, self.study.swap_tokens) for condition in conditions}
        return [token for token in self.study.swap_tokens if token in read]

    def extraction(self, model: str, variant: str, condition: str) -> dict[str, Any]:
        """Settings that determine an extraction, besides model and inputs."""
        study, own = self.study, condition_of(condition)
        return {
            "variant": self.variant(variant),
            "condition": condition,
            "number": self.number(model, variant, condition),
            "token": token_of(condition, study.swap_tokens),
            "early": study.bins.early if own.reads_early else 0,
            "dtype": study.dtype,
            "batch": study.inputs.batch,
            "seed": study.seed,
            **({"held_out_of": self.number(model, variant, "bos")} if own.substitute else {}),
            **({"bos": study.inputs.bos} if own.reads_policy else {}),
            **self.left(model, variant, condition),
        }

    def left(self, model: str, variant: str, condition: str) -> dict[str, float]:
        """Share of sink and drift in an arm of a synthetic model; empty for other models."""
        source = self.study.model(model).source
        if not isinstance(source, SyntheticSource):
            return {}
        return {"left": source.remains(variant, condition)}

    def decomposition(self, model: str, variant: str, condition: str) -> dict[str, Any]:
        """Settings that determine a decomposition, besides its activations."""
        own = self.study.variant(variant).window
        return {
            "early": self.study.bins.early,
            "anchor": self.study.anchor,
            "windows": [own] if own else self.windows(),
            "keep_fields": self.is_reference(model, variant, condition),
        }

    def tabulation(self, model: str) -> dict[str, Any]:
        """Settings that determine the tables of a model, besides its component stores."""
        statistics = self.study.statistics
        return {
            "arms": [list(arm) for arm in self.arms(model)],
            "confidence": statistics.confidence,
            "sign_flips": statistics.sign_flips,
            "seed": self.study.seed,
        }

    def calibration(self) -> dict[str, Any]:
        """Settings that determine the simulated studies."""
        calibration = self.study.calibration
        return {
            "studies": calibration.studies,
            "inputs": list(calibration.inputs),
            "population": calibration.population,
            "seed": self.study.seed,
        }

    def synthetic(self) -> list[tuple[str, str]]:
        """(model, revision) of the synthetic models, whose truth is known."""
        kinds = {m.name for m in self.study.models if isinstance(m.source, SyntheticSource)}
        return [(model, revision) for model, revision in self.models() if model in kinds]

    def computed(self) -> list[tuple[str, str]]:
        """(model, revision) of all others, whose activations a forward pass gives."""
        return [pair for pair in self.models() if pair not in self.synthetic()]

    def population(self, model: str) -> dict[str, Any]:
        """Settings that determine the true energies of a synthetic model."""
        study = self.study
        arms = [
            {
                "variant": variant,
                "condition": condition,
                **self.left(model, variant, condition),
                "untrained": study.variant(variant).untrained,
                "window": study.variant(variant).window,
                "windows": self.decomposition(model, variant, condition)["windows"],
            }
            for variant, condition in self.arms(model)
        ]
        return {
            "source": self.source(model, ""),
            "arms": arms,
            "length": study.inputs.length,
            "early": study.bins.early,
            "anchor": study.anchor,
            "population": study.calibration.population,
        }

    def truth(self) -> dict[str, Any]:
        """Settings of the comparison with the truth, besides tables and replicates."""
        judged = self.judgement() | {"models": [list(pair) for pair in self.synthetic()]}
        return {key: value for key, value in judged.items() if key != "random"}

    def figures(self) -> tuple[str, ...]:
        """The study's figures: those that it has arms for, that of training where a model has
        published checkpoints along it, that of training here, and that of a known truth."""
        conditions = {condition.name for v in self.study.variants for condition in v.conditions}
        found = [f for f in FIGURES if f not in ONLY_WITH or conditions & set(ONLY_WITH[f])]
        trained = any(len(sweep.trained) > 1 for sweep in self.sweeps.values())
        known = {"training": trained, "adaptation": self.courses, "truth": self.synthetic()}
        return (*found, *(name for name, there in known.items() if there))

    def figure_tables(self, figure: str) -> list[str]:
        """Tables that a figure reads."""
        paths = {
            "claims": f"{self.results}/claims.csv",
            **{t: f"{self.results}/calibration/{t}.csv" for t in ("truth", "numbers")},
        }
        named = facts(figure).tables
        return [paths.get(t, f"{self.results}/statistics/{t}.csv") for t in named]

    def figure_stores(self, figure: str, suffix: str = ".zarr") -> list[str]:
        """Component stores that a figure reads: those of its arms that the study has, under no-bos
        of a model that has no bos."""
        wanted = {tuple(arm.split("/")) for arm in facts(figure).stores}
        return [
            self.store("components").format(model=m, revision=r, variant=v, condition=c) + suffix
            for m, r in self.models()
            for v, c in self.arms(m)
            if (v, "bos" if c == "no-bos" and (v, "bos") not in self.arms(m) else c) in wanted
        ]

    def choices(self, model: str) -> dict[str, Any]:
        """Settings of a model's claims under other choices, besides its stores."""
        judged = self.judgement()
        return {
            "arms": [list(arm) for arm in self.arms(model)],
            **{k: judged[k] for k in ("variants", "swap_tokens", "confidence", "seed")},
            "base": "no-bos" if model in judged["without_bos"] else "bos",
            "random": model in judged["random"],
            "reading": judged["readings"][model],
        }

    def judgement(self) -> dict[str, Any]:
        """Settings that determine the claims, besides the replicates of each model."""
        return {
            "models": [list(pair) for pair in self.models()],
            "variants": {v.name: self.variant(v.name) for v in self.study.variants},
            "swap_tokens": list(self.study.swap_tokens),
            "without_bos": [m.name for m in self.study.models if "bos" in m.without],
            "random": [m.name for m in self.study.models if m.source.type == "random"],
            "readings": {m.name: m.reading for m in self.study.models},
            "confidence": self.study.statistics.confidence,
            "seed": self.study.seed,
        }
