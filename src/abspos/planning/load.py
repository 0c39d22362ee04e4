"""The work of a job, and the rates of the machine that it runs on."""

from __future__ import annotations

from dataclasses import dataclass

from abspos.planning.sizes import Sizes
from abspos.study import grid


@dataclass(frozen=True)
class Machine:
    """Rates of a machine, per second. CPU rates were fitted to ledgers of runs on two cores; GPU
    rates are commonly seen on one large accelerator and were not measured by this project.

    Attributes:
        cpu_flops: floating-point operations of one core in float32.
        cpu_half: rate of bfloat16 over that of float32 on a CPU.
        gpu_flops: floating-point operations of one GPU in float32.
        gpu_half: rate of bfloat16 over that of float32 on a GPU.
        cpu_fields: numbers by (input, layer, head, query, key) that one core decomposes.
        gpu_fields: numbers that one GPU decomposes.
        statistics: bytes of component stores that one core turns into tables.
        disk: bytes to and from disk.
        network: bytes from the network.
        start: seconds (not a rate) from a job's submission to the end of its imports.
    """

    cpu_flops: float = 8.3e10
    cpu_half: float = 0.25
    gpu_flops: float = 1e13
    gpu_half: float = 10.0
    cpu_fields: float = 2e8
    gpu_fields: float = 3e9
    statistics: float = 8e7
    disk: float = 5e8
    network: float = 1e7
    start: float = 2.0

    def flops(self, load: Load) -> float:
        """Operations per second of the model of a job, in its dtype on its device."""
        if load.device == "cuda":
            return self.gpu_flops * (self.gpu_half if load.dtype == "bfloat16" else 1)
        half = self.cpu_half if load.dtype == "bfloat16" else 1
        return self.cpu_flops * half * load.threads


@dataclass(frozen=True)
class Load:
    """The work of one job.

    Attributes:
        sizes: sizes of the model.
        inputs: N.
        length: T.
        batch: inputs per forward pass.
        dtype: precision in which the model runs.
        device: ``cpu`` or ``cuda``.
        threads: cores.
        arms: runs of the model.
        bins: number of query bins: early, late, and one per window.
        early: first query after the early bin.
        anchored: whether the balance has an anchor other than the last early query.
        source: type of the model's source.
        packed: whether the checkpoint is converted from a GGUF file.
        fields: whether early fields are stored, so that other arms can be compared with them.
        compared: whether early fields are compared with those of another arm.
        paired: whether it is one arm of a pair, whose combinations are stored.
        texts: texts per training step, of a model that is trained here.
        updates: training steps from the checkpoint before to this one.
    """

    sizes: Sizes
    inputs: int
    length: int
    batch: int = 8
    dtype: str = "float32"
    device: str = "cpu"
    threads: int = 1
    arms: int = 1
    bins: int = 3
    early: int = 32
    anchored: bool = False
    source: str = "packaged"
    packed: bool = False
    fields: bool = True
    compared: bool = False
    paired: bool = False
    texts: int = 0
    updates: int = 0

    @property
    def half(self) -> int:
        """T // 2, the number of offsets."""
        return self.length // 2

    @property
    def references(self) -> int:
        """Number of sampled reference queries (abspos.study.grid)."""
        return len(grid.references(self.length))

    @property
    def explained(self) -> int:
        """Number of explained early queries, without a few that the study adds."""
        return len(grid.explained(self.length, self.early))

    @property
    def elements(self) -> int:
        """Elements of a field of explained queries, per head and input."""
        return grid.elements(grid.explained(self.length, self.early))

    @property
    def shown(self) -> int:
        """Number of early queries whose mean fields are stored."""
        return len(grid.shown(grid.explained(self.length, self.early)))

    @property
    def early_elements(self) -> int:
        """Numbers in the early bin of a field: queries 1 to early - 1 with all their keys."""
        early = min(self.early, self.half)
        return early * (early + 1) // 2 - 1
