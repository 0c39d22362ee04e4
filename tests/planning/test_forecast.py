"""The plan of a study: closed forms, a real study's ledger, what is printed and refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from abspos.cli import FINE, USAGE, main
from abspos.figures import FIGURES
from abspos.figures.facts import ONLY_WITH
from abspos.planning import costs, loads
from abspos.planning import forecast as plan
from abspos.planning import requests as resources
from abspos.planning.costs import Machine
from abspos.planning.forecast import Job
from abspos.planning.layout import Layout
from abspos.planning.loads import Load
from abspos.planning.sizes import Sizes
from abspos.statistics.half_samples import SPLITS
from abspos.study.conditions import SUBSTITUTES
from abspos.study.config import load_study
from abspos.study.files import merged

ROOT = Path(__file__).parents[2]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
# The run that the numbers below are from had this model alone, and no arm of 64 inputs.
CONFIG["models"] = CONFIG["models"][:1]
for variant in CONFIG["variants"]:
    variant["conditions"] = [
        given["name"] if isinstance(given, dict) and given["inputs"] == 64 else given
        for given in variant["conditions"]
    ]
SMOLLM = Sizes(30, 9, 3, 64, 576, 1536, 49152, tied=True)
#: Bytes of the stores of some arms in the default study, as its manifests have them.
STORES = {
    ("ntk", "bos"): (1522325783, 189559526),
    ("standard", "bos"): (1522325727, 399331814),
    ("standard", "no-bos"): (1522325984, 189559526),  # less writes, which it no longer has
    ("standard", "swap-mean"): (1522325742, 268301030),
    ("standard", "control-noop"): (95348828, 10414742),
    ("window", "bos"): (1522325757, 399331814),
}


def study(**changes: Any) -> Layout:
    return Layout(load_study(merged(CONFIG, changes)), ROOT)


#: Figures that some conditions alone have, and the default study's are among them.
SHOWN = {"readers", "controls", "repeats", "factorial"}


@pytest.fixture
def small(tmp_path: Path, monkeypatch) -> plan.Plan:
    """The plan of the default study as its ledger has it, with the shape of its model known."""
    monkeypatch.setattr(loads, "sizes", lambda *given: SMOLLM)
    (model,) = CONFIG["models"]
    # These came after the ledger.
    later = ["shift", "control-shuffle", "control-repeat", "control-repeat-bos"]
    later += {run.condition for run in study().study.runs()} & SUBSTITUTES.keys()
    layout = study(models=[model | {"without": later}])
    return plan.plan(layout, tmp_path, Machine(), cores=2)


def test_the_default_study_as_its_ledger_has_it(small: plan.Plan) -> None:
    # On two cores it took 544 s and 1.73 GB before readings were stored. Disk is that of stores of
    # these shapes, compressed as one of 16 inputs was.
    assert small.wall == pytest.approx(544, rel=0.3)
    # Statistics hold more since then: see the test below.
    lighter = [row.memory for row in small.rows if row.rule not in ("statistics", "choices", "all")]
    assert max(lighter) == pytest.approx(1.73e9, rel=0.3)
    assert small.peak == pytest.approx(5.70e9, rel=0.1)
    assert small.final == pytest.approx(4.09e9, rel=0.05)
    # Seconds of all jobs of a stage, imports included.
    took = {
        "models": 13.5,
        "inputs": 3.5,
        "activations": 371,
        "components": 80.6,
        "statistics": 19.6,
        "choices": 31.9,
    }
    for row in small.rows:
        if row.rule in took:
            cores = 2 if row.rule in (*resources.ON_THREADS, "choices") else 1
            planned = row.core_hours * 3600 / cores
            assert took[row.rule] / 1.5 < planned < took[row.rule] * 1.5, row.rule


@pytest.mark.parametrize("arm", STORES)
def test_bytes_of_each_kind_of_arm(tmp_path: Path, monkeypatch, arm: tuple[str, str]) -> None:
    monkeypatch.setattr(loads, "sizes", lambda *given: SMOLLM)
    (runs,) = plan.loads(study(), tmp_path).values()
    activations, components = STORES[arm]
    assert costs.activation_bytes(runs[arm]) == pytest.approx(activations, rel=0.03)
    assert costs.component_bytes(runs[arm]) == pytest.approx(components, rel=0.03)


def test_memory_of_statistics_grows_with_the_arms(tmp_path: Path, monkeypatch) -> None:
    """Both jobs of the default study with 26 arms took 2.7 and 2.96 GB; fewer than asked for."""
    monkeypatch.setattr(loads, "sizes", lambda *given: SMOLLM)
    made = plan.plan(study(), tmp_path, Machine(), cores=2)
    for row in made.rows:
        if row.rule in ("statistics", "choices"):
            assert 2.96e9 < row.memory < 1.3 * 2.96e9, row.rule
    assert costs.OTHERS == 1 + 2 * SPLITS


def test_jobs_are_those_of_the_workflow(tmp_path: Path) -> None:
    made = plan.plan(study(), tmp_path, Machine(), cores=2)
    assert {row.rule: row.jobs for row in made.rows} == {
        "models": 1,
        "inputs": 1,
        "activations": 26,
        "components": 26,
        "statistics": 1,
        "choices": 1,
        "checkpoints": 1,
        "tables": 1,
        "claims": 1,
        "sensitivity": 1,
        "figures": len(FIGURES) - len({*ONLY_WITH} - SHOWN),
        "front": 1,
        "page": 1,
    }


def test_revisions_and_kept_activations_add_up(tmp_path: Path) -> None:
    source = {"type": "hub", "repo": "org/model-7b", "revisions": ["a", "b", "c"]}
    one, three = (
        plan.plan(
            study(models=[{"name": "m", "source": {**source, "revisions": names}}]),
            tmp_path,
            Machine(),
            2,
        )
        for names in (["a"], ["a", "b", "c"])
    )
    jobs = {row.rule: row.jobs for row in three.rows}
    assert jobs["activations"] == 78
    assert jobs["models"] == 3
    assert jobs["claims"] == 1
    assert three.final == pytest.approx(3 * one.final)
    assert three.guessed == ("m",)
    kept = plan.plan(
        study(models=[{"name": "m", "source": source}], keep_activations=True),
        tmp_path,
        Machine(),
        2,
    )
    assert kept.peak == kept.final > three.peak


def test_writes_from_position_0_and_keys_by_head_are_counted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(loads, "sizes", lambda *given: SMOLLM)
    (runs,) = plan.loads(study(), tmp_path).values()
    bos, other = (runs["standard", name] for name in ("bos", "no-bos"))
    assert bos.crossed
    assert runs["standard", "swap-token-1"].crossed
    assert not other.crossed
    written = 4 * 30 * 9 * 576
    assert costs.activation_bytes(bos) - costs.activation_bytes(other) == written
    more = replace(bos, crossed=False)
    values = 4 * 30 * 3 * 64
    added = costs.component_bytes(bos) - costs.component_bytes(more)
    assert added == pytest.approx(0.89 * (written + values), rel=1e-3)
    chosen = runs["standard", "exchange-readers"]
    assert chosen.by_head
    assert not bos.by_head
    keys = 4 * 30 * chosen.inputs * (9 - 3) * chosen.length * 64
    shared = replace(chosen, by_head=False)
    assert costs.activation_bytes(chosen) - costs.activation_bytes(shared) == keys


def test_both_stores_of_a_pair_lie_on_disk_at_a_time(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(loads, "sizes", lambda *given: SMOLLM)
    names = ["bos", "no-bos", "shift"]
    layout = study(variants=[{"name": "standard", "conditions": names}], swap_tokens=[])
    (runs,) = plan.loads(layout, tmp_path).values()
    assert {name for _, name in runs} == set(names)
    bos, other, shift = (costs.activation_bytes(runs["standard", name]) for name in names)
    threads = layout.study.threads
    for slots, stores in ((1, bos + shift), (2, bos + shift + other)):
        found = plan.plan(layout, tmp_path, Machine(), cores=slots * threads)
        assert found.peak - found.final == stores
    paired = runs["standard", "shift"]
    slow = Machine(cpu_flops=1e30, cpu_fields=1e30, disk=1e3)
    moved = 2 * shift + costs.component_bytes(paired)
    assert costs.seconds("components", paired, slow) == pytest.approx(moved / 1e3)


def test_times_follow_the_machine_in_closed_form() -> None:
    load = Load(Sizes(2, 4, 2, 16, 64, 128, 256), 8, 32, threads=2)
    # Weights 2 (64 16 2 6 + 3 64 128); logits of every eighth position; T / 2 keys, twice.
    weights = 2 * (12288 + 24576)
    flops = 8 * 32 * (2 * (weights + 256 * 64 // 8) + 2 * 32 * 64 * 2)
    assert costs.forward_flops(load) == flops
    quick = Machine(disk=1e30)
    assert costs.seconds("activations", load, quick) == pytest.approx(flops / (2 * 8.3e10))
    half = replace(load, dtype="bfloat16", device="cuda")
    assert costs.seconds("activations", half, quick) == pytest.approx(flops / 1e14)
    slow = Machine(cpu_flops=1e30, cpu_fields=1e30, disk=1e3)
    moved = costs.activation_bytes(load) + costs.component_bytes(load)
    assert costs.seconds("components", load, slow) == pytest.approx(moved / 1e3)


def test_wall_time_is_that_of_the_busiest_or_of_the_longest_chain() -> None:
    many = [Job("a", 10, 0, cores=2)] * 4 + [Job("b", 5, 0)]
    assert plan.wall(many, 4, 1) == plan.OWN_SECONDS + (4 * 20 + 5) / 4
    assert plan.wall(many, 100, 1) == plan.OWN_SECONDS + 15
    on_gpu = [Job("a", 10, 0, gpu=True)] * 4
    assert plan.wall(on_gpu, 4, 2) == plan.OWN_SECONDS + 20
    (row,) = plan.rows(on_gpu)
    assert row.gpu_hours == 40 / 3600


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 kB"), (999, "0.999 kB"), (1.5e9, "1.5 GB"), (3e15, "3e+03 TB")],
)
def test_sizes_are_read_at_a_glance(number: float, text: str) -> None:
    assert plan.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "40 s"), (750, "12 min"), (11000, "3.1 h"), (5400, "1.5 h")]
)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert plan.duration(seconds) == text


def test_speeds_are_changed_by_name() -> None:
    assert plan.machine_of(["disk=1e8", "start=1"]) == replace(Machine(), disk=1e8, start=1)
    with pytest.raises(ValueError, match=r"--speed 'disc=1': no such speed; allowed are cpu_flops"):
        plan.machine_of(["disc=1"])
    for text in ("disk", "disk=fast", "disk=-1", "disk=inf"):
        with pytest.raises(ValueError, match="write a number above 0"):
            plan.machine_of([text])


def test_the_command_prints_the_plan_without_importing_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from abspos.cli import main; code = main(sys.argv[1:]);"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    change = tmp_path / "study.yaml"
    change.write_text("inputs: {number: 16}\n")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "plan",
            "--project",
            str(ROOT),
            "--cores",
            "2",
            "--configfile",
            str(change),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["rule", "jobs"]
    assert any(line.startswith("wall time on 2 cores: ") for line in lines)
    assert lines[-1].startswith("assumed per second: cpu_flops 8.3e+10")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("inputs: {nmber: 3}\n", "did you mean 'number'?"),
        ("- a\n", "study.yaml: holds no keys; a config is a mapping"),
        ("inputs: {corpus: nosuch}\n", "nosuch' cannot be read as a folder"),
        ("inputs: {number: 100000000}\n", "config: inputs.number: value 100000000"),
        (None, "study.yaml: no such file"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, capsys, text: str | None, told: str) -> None:
    from abspos import cli

    change = tmp_path / "study.yaml"
    if text is not None:
        change.write_text(text)
    arguments = ["plan", "--project", str(ROOT), "--configfile", str(change)]
    assert cli.main(arguments) == cli.USAGE
    assert told in capsys.readouterr().err


def test_the_command_says_what_is_to_be_pinned_before_a_run(tmp_path: Path, capsys) -> None:
    change = tmp_path / "study.yaml"
    source = {"type": "hub", "repo": "org/model-7b", "revisions": ["main"]}
    change.write_text(json.dumps({"models": [{"name": "m", "source": source}]}))
    assert main(["plan", "--project", str(ROOT), "--configfile", str(change)]) == FINE
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("before it runs: org/model-7b: main not pinned to a commit yet; run ")


def test_the_command_refuses_what_has_no_model_and_never_guesses_a_file_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], checkpoint: Path
) -> None:
    for path, code, told in (
        (tmp_path / "absent", USAGE, "absent: no such folder"),
        (tmp_path / "cut.gguf", USAGE, "cut.gguf: cannot be read as a GGUF file"),
        (checkpoint, FINE, None),
    ):
        (tmp_path / "cut.gguf").write_bytes(b"GGUF")
        change = tmp_path / "study.yaml"
        source = {"type": "local", "path": str(path)}
        models = [{"name": "m", "source": source}]
        given = {"models": models, "inputs": {"number": 16}, "swap_tokens": ["a", "b", "c", "d"]}
        change.write_text(json.dumps(given))
        try:
            found = main(["plan", "--project", str(ROOT), "--configfile", str(change)])
        except SystemExit as stop:
            found = int(stop.code or 0)
        printed = capsys.readouterr()
        assert found == code, printed.err
        assert "guess" not in printed.out
        if told:
            (line,) = printed.err.splitlines()
            assert line.startswith("error: models[m]: ")
            assert told in line
