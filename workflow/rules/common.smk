# The study, checked as a whole before any job; names and helpers that the rules share.

import re
import sys

from abspos.audit.code import shipped, sources
from abspos.figures.facts import facts, sections
from abspos.inputs.records import InputError
from abspos.planning.alike import alike
from abspos.planning.at_hand import load_at_hand
from abspos.planning.layout import TABLES, Layout
from abspos.models.lock import LockError, require_pins
from abspos.planning.misfits import misfits
from abspos.planning.partitions import ResourceError, read_limits
from abspos.planning.requests import ON_DEVICE, refusals, request
from abspos.planning.preflight import memory_mb, read_only, require_texts, settle
from abspos.planning.variations import other_studies
from abspos.study.conditions import chooses_heads
from abspos.study.config import SLURM, ConfigError
from abspos.study.files import load_files

# As a module with `config:`, the study is that mapping, whatever files it came from.
MODULE = not workflow.modifier.is_main_snakefile()
GIVEN = workflow.modifier.skip_configfile
try:
    STUDY = load_files(
        [] if GIVEN else [CONFIGFILE, *workflow.overwrite_configfiles],
        config,
        workflow.config_settings.config,
    )
    LIMITS = read_limits(STUDY.slurm_partitions)
    LAYOUT = Layout(STUDY, code=ROOT)
    require_texts(LAYOUT)
    require_pins(STUDY, LAYOUT.lock, workflow.overwrite_configfiles)
except (ConfigError, InputError, LockError, ResourceError) as error:
    sys.exit(f"config: {len(str(error).splitlines())} to correct\n{error}")

# Here all jobs share one machine's memory; a cluster gives each what it asks for. A module leaves
# that to the workflow that uses it.
shares = workflow.resource_settings.nodes is None and not MODULE
if shares and "mem_mb" not in workflow.global_resources:
    workflow.register_resource("mem_mb", memory_mb())

CHECKPOINTS = "results/checkpoints"


def load(model, revision):
    """The work that one job of a model has."""
    return load_at_hand(LAYOUT, model, revision, Path(CHECKPOINTS))


refused = misfits(LAYOUT, Path(CHECKPOINTS))
refused = refused or refusals(((m, load(m, r)) for m, r in LAYOUT.models()), LIMITS)
if refused:
    sys.exit("\n".join(refused))

# From here on revisions are asked for, which a model that is not there has none of.
RESULTS = LAYOUT.results
MENU = sections(LAYOUT.figures())
ALIKE = alike(LAYOUT)


wildcard_constraints:
    model="[^/]+",
    revision="[^/]+",
    variant="[^/]+",
    condition="[^/]+",
    figure="[^/.]+",
    format="[^/.]+",
    table="[^/.]+",


def result(path):
    """A path, or a pattern of paths, of the study's results."""
    return f"{RESULTS}/{path}"


def checkpoint_path(path):
    """A path, or a pattern of paths, below the checkpoints that all studies share."""
    return f"{CHECKPOINTS}/{path}"


def corpus_folder(wildcards, threads):
    """The file that is the corpus, or the folder whose files are.

    Where it lies is no reason to run again (see swap_tokens); what it holds is.
    """
    return LAYOUT.corpus_folder()


def swap_tokens(wildcards, threads):
    """Replacements that a model has to have as tokens: refused where its windows are drawn.

    Windows do not depend on them. Snakemake takes no parameter that is derived from threads as a
    reason to run again.
    """
    return LAYOUT.swap_tokens(wildcards.model)


def code(script, *modules):
    """Digests of a script and all it imports: a rule's sign that its code has changed.

    Each is a parameter of its own, so that `snakemake -n` names the file that was edited.
    """
    return sources(ROOT / "workflow/scripts" / script, ROOT, modules)


def shipped_corpus():
    """Digests of the corpus, where it is one that comes with the code: tracked as the code is."""
    return shipped(LAYOUT.shipped_corpus(), ROOT)


def environment(stage):
    """The conda environment of a stage, for `--software-deployment-method conda`."""
    gpu = STUDY.device == "cuda" and stage in ON_DEVICE
    return f"../../envs/{'gpu' if gpu else 'cpu'}.yaml"


def asks(stage):
    """Resources of a rule: memory and time by model and attempt, a GPU where it runs on one."""

    def asked(what):
        def value(wildcards, attempt):
            work = load(wildcards.model, wildcards.revision)
            return getattr(request(stage, work, attempt, LIMITS), what)

        return value

    def number(wildcards, attempt):
        return attempt

    gpu = {"gpu": {"gpu": 1}, "gres": {"gres": "gpu:1"}}[STUDY.slurm_gpu]
    return {
        "mem_mb": asked("mem_mb"),
        "runtime": asked("runtime"),
        "attempt": number,
        **(gpu if STUDY.device == "cuda" and stage in ON_DEVICE else {}),
    }


def slice_of(function, *names):
    """A params function that gives a slice of the config for some wildcards."""
    return lambda wildcards: function(*(wildcards[name] for name in names))


def per_model(*patterns):
    """Paths of patterns for every model and revision of the study."""
    return [p.format(model=m, revision=r) for m, r in LAYOUT.models() for p in patterns]


def per_alike(pattern):
    """Paths of a pattern for every model and revision that is compared across architectures."""
    return [pattern.format(model=m, revision=r) for m, r in ALIKE["models"]]


def per_synthetic(*patterns):
    """Paths of patterns for every synthetic model of the study."""
    return [p.format(model=m, revision=r) for m, r in LAYOUT.synthetic() for p in patterns]


def trained(here=True):
    """(model, revision) of the models that are trained here, or of all others."""
    return [pair for pair in LAYOUT.models() if (pair[0] in LAYOUT.courses) == here]


def per_trained(pattern):
    """Paths of a pattern for the last step of every model that the study trains."""
    return [pattern.format(model=m, revision=c.last) for m, c in LAYOUT.courses.items()]


def start_of(suffix):
    """An input function: the checkpoint that the training of a model starts from."""

    def path(wildcards):
        model, revision = LAYOUT.start(wildcards.model)
        return checkpoint_path(f"{model}/{revision}{suffix}")

    return path


def earlier_of(suffix):
    """An input function: the step before, of those that the study measures, or nothing."""

    def paths(wildcards):
        before = LAYOUT.courses[wildcards.model].before(wildcards.revision)
        return [checkpoint_path(f"{wildcards.model}/{name}{suffix}") for name in before]

    return paths


def per_run(*patterns):
    """Paths of patterns for every run of the study."""
    return [
        p.format(model=m, revision=r, variant=variant, condition=condition)
        for m, r in LAYOUT.models()
        for variant, condition in LAYOUT.arms(m)
        for p in patterns
    ]


def one_of(models):
    """A pattern that matches the names of these (model, revision) alone."""
    names = sorted({re.escape(model) for model, _ in models})
    return "|".join(names) or "(?!)"


def kept_activations():
    """Activation stores that the study wants to have at its end: all, or none."""
    return per_run(rules.activations.output.store) if STUDY.keep_activations else []


def hub_corpus():
    """The corpus where it is a data set of the hub, with its manifest."""
    return rules.corpus.output if STUDY.inputs.dataset else []


def known_truth():
    """Tables of the truth of synthetic models, where the study has some."""
    populations = per_synthetic(rules.population.output.table)
    return [*populations, *rules.comparison.output] if populations else []


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


def heads_from(suffix):
    """An input function: where a condition finds its heads, or nothing where none are chosen."""
    compared = reference_of(suffix)

    def paths(wildcards):
        return compared(wildcards) if chooses_heads(wildcards.condition) else []

    return paths


def partner_of(suffix):
    """An input function: activations that a run is paired with, or nothing."""

    def paths(wildcards):
        wanted = LAYOUT.partner(wildcards.condition)
        pattern = LAYOUT.store("activations") + suffix
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


def refuse_without_gpu():
    """Stop a GPU study here, before any job, where its jobs would run here and there is no GPU."""
    jobs = workflow.dag.needrun_jobs()
    if workflow.local_exec and any(job.rule.name.startswith(ON_DEVICE) for job in jobs):
        from abspos.models.sources import ModelError
        from abspos.models.loading import require_device

        try:
            require_device(STUDY.device)
        except ModelError as error:
            sys.exit(f"config: {error}")


def make_ready():
    """Refuse what no job could do; after a clock was set back, let no input be newer than now."""
    if STUDY.device == "cuda":
        refuse_without_gpu()
    if refused := read_only(RESULTS, CHECKPOINTS):
        sys.exit("\n".join(refused))
    settle(RESULTS, CHECKPOINTS, LAYOUT.corpus_folder())


# Snakemake keeps one such handler: the last.
onstart:
    make_ready()
