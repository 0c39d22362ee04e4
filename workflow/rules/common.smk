# The study, checked as a whole before any job; names and helpers that the rules share.

import os
import sys

# Jobs, on this machine or a cluster's, import the library from this checkout.
SOURCE = str(Path(workflow.basedir) / "src")
sys.path.insert(0, SOURCE)
os.environ["PYTHONPATH"] = SOURCE

from abspos.code import sources
from abspos.figures import FIGURES
from abspos.inputs import InputError, check_corpus
from abspos.layout import TABLES, Layout, figure_facts
from abspos.study import ConfigError, load_study

try:
    STUDY = load_study(config)
    check_corpus(STUDY.inputs.corpus, STUDY.inputs.number, STUDY.inputs.length)
except (ConfigError, InputError) as error:
    sys.exit(f"config: {len(str(error).splitlines())} to correct\n{error}")

LAYOUT = Layout(STUDY)
RESULTS = LAYOUT.results
CHECKPOINTS = "results/checkpoints"
ROOT = Path(workflow.basedir)


wildcard_constraints:
    model="[^/]+",
    revision="[^/]+",
    variant="[^/]+",
    condition="[^/]+",
    figure="[^/.]+",
    format="[^/.]+",
    table="[^/.]+",


def code(script, *modules):
    """Digests of a script and all it imports: a rule's sign that its code has changed.

    Each is a parameter of its own, so that `snakemake -n` names the file that was edited.
    """
    return sources(ROOT / "workflow/scripts" / script, ROOT, modules)


def slice_of(function, *names):
    """A params function that gives a slice of the config for some wildcards."""
    return lambda wildcards: function(*(wildcards[name] for name in names))


def per_model(pattern):
    """Paths of a pattern for every model and revision of the study."""
    return [pattern.format(model=m, revision=r) for m, r in LAYOUT.models()]


def kept_or_temporary(path):
    """A store that goes once everything that reads it is made, unless the study keeps it."""
    return directory(path) if STUDY.keep_activations else temp(directory(path))


def reference_of(suffix):
    """An input function: what a run is compared with, or nothing."""

    def paths(wildcards):
        wanted = LAYOUT.reference(wildcards.model, wildcards.variant, wildcards.condition)
        pattern = LAYOUT.store("components") + suffix
        named = {**wildcards, "condition": wanted}
        return [pattern.format(**named)] if wanted else []

    return paths


def arms_of(suffix):
    """An input function: component stores of all runs of a model, in the config's order."""

    def paths(wildcards):
        pattern = LAYOUT.store("components") + suffix
        return [
            pattern.format(**wildcards, variant=variant, condition=condition)
            for variant, condition in LAYOUT.arms(wildcards.model)
        ]

    return paths
