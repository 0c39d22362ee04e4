"""A model that is trained here: what more steps plan, and what other settings plan.

Training itself is real, of a tiny random model; jobs that measure are stand-ins that only write
their outputs. What a training computes is tested in tests/training.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from abspos.csv_tables import read_csv

#: Scripts that run as they are.
REAL = ("models", "inputs", "trained", "curves", "checkpoints")
STAND_IN = """
import json
from pathlib import Path

for output in map(Path, snakemake.output):
    if output.suffix == ".zarr":
        output.mkdir(parents=True, exist_ok=True)
    else:
        output.write_text(json.dumps([*snakemake.params.config.items()]))
"""
PER_STEP = dict.fromkeys(
    ("trained", "inputs", "activations", "components", "statistics", "choices"), 1
)
TARGETS = ("results/tiny/front.rst", "results/tiny/statistics/training.csv")
AGGREGATES = {"checkpoints", "claims", "curves", "front"}
WORDS = ["the", "old", "man", "and", "the", "sea", "went", "down", "to", "a", "house", "of"]


@pytest.fixture
def project(fresh, small_study):
    """A random model, and one that is trained on from it with a window; nothing has run."""
    for script in (fresh.root / "workflow/scripts").glob("*.py"):
        if script.stem not in REAL:
            script.write_text(STAND_IN)
    (fresh.root / "texts").mkdir()
    with open(fresh.root / "texts" / "few.jsonl", "w") as handle:
        for number in range(24):
            text = " ".join([f"{number}.", *(WORDS * 4)[number : number + 20]])
            handle.write(json.dumps({"id": f"{number:02d}", "text": text}) + "\n")
    fresh.configure(**small_study | {"inputs": small_study["inputs"] | {"corpus": "texts"}})
    train(fresh, steps=2, at=[0, 1])
    return fresh


def train(project, **settings) -> None:
    """Let the study train with these settings."""
    source = {"type": "trained", "from": "toy", "variant": "window", "held_out": 16, "batch": 2}
    slid = {"name": "slid", "source": source | settings, "without": ["window"]}
    variants = [
        {"name": "standard", "conditions": ["bos"]},
        {"name": "window", "window": 12, "conditions": ["bos"]},
    ]
    toy = next(model for model in project.study["models"] if model["name"] == "toy")
    project.configure(models=[toy | {"without": ["window"]}, slid], variants=variants)


def planned(project) -> tuple[dict[str, Counter], set[str]]:
    """Planned jobs of each step, and the rules of the jobs that join several."""
    by_step: dict[str, Counter] = {}
    others = set()
    for job in project.plan(*TARGETS).jobs:
        if "revision" in job.wildcards:
            by_step.setdefault(job.wildcards["revision"], Counter())[job.rule] += 1
        else:
            others.add(job.rule)
    return by_step, others


def test_more_steps_train_on_and_plan_the_new_ones_alone(project) -> None:
    project.run(*TARGETS)
    checkpoints = project.root / "results/checkpoints/slid"
    config = json.loads((checkpoints / "step2/config.json").read_text())
    assert config["sliding_window"] == 12
    assert project.plan(*TARGETS).nothing

    train(project, steps=4, at=[0, 1])
    assert planned(project)[0] == {"step4": PER_STEP}  # step2 is measured no more

    before = project.manifests()
    train(project, steps=4, at=[0, 1, 2])
    by_step, others = planned(project)
    assert by_step == {"step4": PER_STEP}
    assert others >= AGGREGATES

    project.run(*TARGETS)
    log = (project.root / "results/checkpoints/logs/slid/step4.log").read_text()
    assert "continues from step 2" in log
    assert before.items() <= project.manifests().items()
    table = read_csv(project.results / "statistics/training.csv")
    assert table["step"].tolist() == [0, 1, 2, 3, 4]
    assert project.plan(*TARGETS).nothing

    # more inputs, of documents that were held out: no training
    inputs = project.study["inputs"]
    project.configure(inputs=inputs | {"number": 16})
    by_step, others = planned(project)
    assert "inputs" in by_step["step4"]
    assert not any("trained" in jobs for jobs in by_step.values())
    project.configure(inputs=inputs)

    # another rate: every step, from the beginning, and nothing of the model it starts from
    train(project, steps=4, at=[0, 1, 2], learning_rate=1e-3)
    by_step, others = planned(project)
    assert by_step == dict.fromkeys(("step0", "step1", "step2", "step4"), PER_STEP)
    assert others >= AGGREGATES - {"checkpoints"}  # whose steps and tokens are the same

    # a step fewer: those after it, the first of which follows another one now, and what joins them
    train(project, steps=4, at=[0, 2])
    by_step, others = planned(project)
    assert by_step == dict.fromkeys(("step2", "step4"), PER_STEP)
    assert others >= AGGREGATES


def test_mistakes_stop_the_run_before_any_job(project) -> None:
    train(project, steps=2, at=[3], **{"from": "ty"})
    code, text = project.snakemake("-n")
    assert code == 1
    assert "config: 2 to correct" in text
    assert "source.from: value 'ty' — another model of this study: toy" in text
    assert "source.at[#1]: value 3 — at most steps (2)" in text
    assert not Path(project.root, "results").exists()
