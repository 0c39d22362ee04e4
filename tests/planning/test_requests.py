"""What jobs ask for: arithmetic, growth with attempts, limits of partitions, refusals."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import yaml

from abspos.planning import costs
from abspos.planning import requests as resources
from abspos.planning import sizes as shapes
from abspos.planning.costs import STAGES
from abspos.planning.loads import Load, load_of
from abspos.planning.partitions import Limit, Request, ResourceError, minutes, read_limits
from abspos.planning.requests import request
from abspos.planning.sizes import Sizes
from abspos.study.config import load_study

ROOT = Path(__file__).parents[2]
SMOLLM = Sizes(30, 9, 3, 64, 576, 1536, 49152, tied=True)
LOAD = Load(SMOLLM, inputs=128, length=128, threads=2, arms=14, packed=True)
CPU = Limit("cpu", 64000, 1440, 32)
GPU = Limit("gpu", 48000, 720, 16, 4)
#: Peaks (MB), times (s) and bytes on disk (MB) in ledgers of real runs on two or one busy cores.
#: Those of statistics are from before the readings were stored, and left out.
SEEN = [
    (
        LOAD,
        {
            "models": (1690, 14, 542),
            "inputs": (461, 3, 0),
            "activations": (1625, 30, 1540),
            "components": (994, 9, 303),
        },
    ),
    (
        dataclasses.replace(LOAD, inputs=16, threads=1),
        {
            "activations": (1565, 18, 219),
            "components": (636, 4, 40),
        },
    ),
    (
        Load(Sizes(12, 12, 4, 64, 768, 1536, 258), 128, 128, arms=4),
        {
            "activations": (1106, 63, 879),
            "components": (764, 4, 152),
        },
    ),
    (
        Load(Sizes(4, 16, 2, 64, 1024, 2048, 258), 32, 512, arms=2),
        {
            "activations": (1175, 30, 324),
            "components": (813, 5, 20),
        },
    ),
]


@pytest.mark.parametrize(("load", "seen"), SEEN)
def test_asks_for_what_real_jobs_took_and_little_more(
    load: Load, seen: dict[str, tuple[float, float, float]]
) -> None:
    for stage, (peak, took, _) in seen.items():
        asked = request(stage, load)
        assert peak < asked.mem_mb <= max(3 * peak, resources.FEWEST_MB)
        assert 3 * took / 60 < asked.runtime <= 60


@pytest.mark.parametrize(
    ("sizes", "arms", "peak", "took"),
    [(SMOLLM, 26, 2965, 185), (Sizes(18, 4, 1, 256, 640, 2048, 262144), 23, 1038, 74)],
)
def test_statistics_of_many_arms_ask_for_what_they_took(
    sizes: Sizes, arms: int, peak: float, took: float
) -> None:
    """The two jobs of the default study of 29 November 2026: every arm's replicates are held."""
    load = dataclasses.replace(LOAD, sizes=sizes, arms=arms)
    asked = request("statistics", load)
    assert peak < asked.mem_mb <= 2 * peak
    assert 3 * took / 60 < asked.runtime <= 60


@pytest.mark.parametrize(("load", "seen"), SEEN)
def test_bytes_on_disk_are_close_to_those_of_real_stores(
    load: Load, seen: dict[str, tuple[float, float, float]]
) -> None:
    # Those stores also held sums of hidden states (depth, position, hidden) in float64 and what
    # heads write from position 0 (layer, input, head, hidden), since gone.
    sums = 8 * (load.sizes.layers + 1) * load.length * load.sizes.hidden / 1e6
    writes = 4 * load.sizes.layers * load.inputs * load.sizes.heads * load.sizes.hidden / 1e6
    stored = seen["activations"][2] - sums - writes
    assert costs.activation_bytes(load) / 1e6 == pytest.approx(stored, rel=0.06)
    assert costs.component_bytes(load) / 1e6 <= 3 * seen["components"][2]
    assert costs.component_bytes(load) / 1e6 >= 0.8 * seen["components"][2]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("key", "more"),
    [("inputs", 1024), ("length", 2048), ("batch", 64), ("sizes", SEEN[2][0].sizes)],
)
def test_more_work_never_asks_for_less(stage: str, key: str, more: object) -> None:
    small = dataclasses.replace(LOAD, sizes=Sizes(2, 4, 2, 16, 64, 128, 258))
    large = dataclasses.replace(small, **{key: more})
    assert costs.memory(stage, large) >= costs.memory(stage, small)
    assert costs.seconds(stage, large) >= costs.seconds(stage, small)


def test_bfloat16_halves_activations_and_a_gpu_is_faster() -> None:
    half = dataclasses.replace(LOAD, dtype="bfloat16")
    assert costs.activation_bytes(half) < 0.6 * costs.activation_bytes(LOAD)
    load = dataclasses.replace(LOAD, texts=8, updates=10)
    cuda = dataclasses.replace(load, device="cuda")
    for stage in resources.ON_DEVICE:
        assert costs.seconds(stage, cuda) < costs.seconds(stage, load)


def test_each_attempt_asks_for_twice_as_much_of_memory_and_time_alone() -> None:
    first, second, third = (request("components", LOAD, attempt) for attempt in (1, 2, 3))
    assert (second.mem_mb, second.runtime) == (2 * first.mem_mb, 2 * first.runtime)
    assert (third.mem_mb, third.runtime) == (4 * first.mem_mb, 4 * first.runtime)
    assert first.threads == third.threads == 2


@pytest.mark.parametrize("stage", STAGES)
def test_gpus_go_with_the_device_and_to_no_other_stage(stage: str) -> None:
    assert request(stage, LOAD).gpus == 0
    cuda = request(stage, dataclasses.replace(LOAD, device="cuda"))
    assert cuda.gpus == (stage in {"trained", "activations", "components"})


def test_growth_ends_at_the_widest_partition_that_serves_the_job() -> None:
    assert request("components", LOAD, 20, [CPU, GPU]) == Request(64000, 1440, 2, 0)
    cuda = dataclasses.replace(LOAD, device="cuda")
    assert request("components", cuda, 20, [CPU, GPU]) == Request(48000, 720, 2, 1)
    # With GPU partitions alone, CPU jobs go there; without limits nothing bounds them.
    assert request("components", LOAD, 20, [GPU]).mem_mb == 48000
    assert request("components", LOAD, 20).mem_mb > 1e8


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (Limit("p", mem_mb=1000), "1000 MB"),
        (Limit("p", runtime=10), "10 minutes"),
        (Limit("p", threads=1), "1 cores"),
    ],
)
def test_what_no_partition_serves_is_refused_in_a_line(limit: Limit, told: str) -> None:
    with pytest.raises(ResourceError) as error:
        request("components", LOAD, 1, [limit])
    line = str(error.value)
    assert "\n" not in line
    assert line.startswith("components: requests ")
    assert told in line
    assert "correct the file of partitions" in line


def test_a_gpu_job_needs_a_gpu_partition() -> None:
    cuda = dataclasses.replace(LOAD, device="cuda")
    with pytest.raises(ResourceError, match="1 GPU, which no partition offers"):
        request("activations", cuda, 1, [CPU])
    lines = resources.refusals([("smollm", cuda)], [CPU])
    assert [line.partition(":")[0] for line in lines] == [
        "smollm, activations",
        "smollm, components",
    ]
    assert resources.refusals([("smollm", cuda)], [CPU, GPU]) == []
    assert resources.refusals([("smollm", cuda)], []) == []


def test_a_guess_is_cut_down_instead_of_refused() -> None:
    guessed = dataclasses.replace(LOAD, sizes=shapes.guess("org/unknown"))
    assert guessed.sizes.guessed
    small = Limit("small", 8000, 60, 4)
    assert request("activations", guessed, 1, [small]) == Request(8000, 60, 2, 0)


def test_the_default_study_asks_for_little(tmp_path: Path) -> None:
    study = load_study(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")))
    load = load_of(study, "smollm2-135m", tmp_path, 14)
    assert load.packed
    assert load.bins == 3
    assert all(request(stage, load, 1, [CPU]).mem_mb < 8000 for stage in STAGES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (90, 90),
        ("90", 90),
        ("12h", 720),
        ("2d", 2880),
        ("30m", 30),
        ("1-00:00:00", 1440),
        ("01:30:00", 90),
        (math.inf, math.inf),
    ],
)
def test_time_limits_in_every_way_of_writing(text: str | float, expected: float) -> None:
    assert minutes(text) == expected


def test_reads_the_partitions_that_the_profile_names() -> None:
    assert read_limits(None) == ()
    cpu, gpu = read_limits(ROOT / "slurm/partitions.yaml")
    assert (cpu.name, cpu.gpus, gpu.name) == ("cpu", 0, "gpu")
    assert gpu.gpus > 0
    assert math.isfinite(cpu.mem_mb)
    assert math.isfinite(cpu.runtime)


@pytest.mark.parametrize(
    "text",
    [
        *("", "partitions: 3", "nothing: here", "partitions: {a: [1]}", "a: [", b"a: caf\xe9"),
        *("partitions: {a: {max_mem_mb: much}}", "[" * 20000),
        "partitions: {a: {max_mem_mb: 1" + "0" * 400 + "}}",
    ],
    ids=range(9),
)
def test_a_file_without_partitions_is_refused_by_name(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ResourceError, match=r"slurm_partitions .*p\.yaml"):
        read_limits(path)
    with pytest.raises(ResourceError, match=r"slurm_partitions .*absent\.yaml"):
        read_limits(tmp_path / "absent.yaml")
    path.write_text("partitions: {a: {max_runtime: soon}}")
    with pytest.raises(ResourceError, match="max_runtime 'soon'"):
        read_limits(path)
    for value in (".nan", "-1"):
        path.write_text(f"partitions: {{a: {{max_mem_mb: {value}}}}}")
        with pytest.raises(ResourceError, match="partition a: max_mem_mb"):
            read_limits(path)


def test_blocks_are_those_of_a_decomposition() -> None:
    """Stated twice, since what a Snakefile asks must not import torch."""
    from abspos.components import stack as layers
    from abspos.components import store as component_store

    assert costs.BLOCK_BYTES == component_store.BLOCK_BYTES
    assert costs.READ_BYTES == component_store.READ_BYTES
    assert costs.STACK_BYTES == layers.STACK_BYTES


def test_a_large_vocabulary_costs_its_weights_and_a_few_parts_of_logits():
    """However long the inputs are: output logits are made some positions at a time."""
    from abspos.activations import losses

    assert costs.LOGIT_BYTES == losses.LOGIT_BYTES
    for length in (256, 4096):
        small, large = (
            Load(dataclasses.replace(SMOLLM, vocabulary=tokens), 8, length, batch=8)
            for tokens in (1000, 262144)
        )
        extra = costs.memory("activations", large) - costs.memory("activations", small)
        weights = 4 * (large.sizes.parameters - small.sizes.parameters)
        assert 0 <= extra - weights <= costs.CHECKED_COPIES * losses.LOGIT_BYTES
