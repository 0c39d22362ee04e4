"""The work of one job, from the sizes of its model and the settings of its study.

Nothing heavy is imported, since the Snakefile uses this module at every start.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from abspos.planning.sizes import Sizes, sizes
from abspos.study import grid
from abspos.study.config import Study
from abspos.study.trained import origin


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
        crossed: whether what heads write from position 0 is stored.
        by_head: whether keys are stored as each query head reads them.
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
    crossed: bool = False
    by_head: bool = False
    texts: int = 0
    updates: int = 0

    @property
    def key_heads(self) -> int:
        """Number of heads that keys are stored of."""
        return self.sizes.heads if self.by_head else self.sizes.kv_heads

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


def load_of(study: Study, model: str, folder: Path | None, arms: int, updates: int = 0) -> Load:
    """The work of a job of one model of a study; every arm counts as one with all inputs.

    Args:
        study: the study.
        model: its name.
        folder: where its small files are at hand (abspos.planning.layout.Layout.at_hand), or None.
        arms: runs of the model.
        updates: training steps from the checkpoint before to this one.
    """
    own, source = study.model(model).source, origin(study, model).source.model_dump(mode="json")
    windows = {v.window for v in study.variants if v.window}
    inputs = study.inputs
    return Load(
        sizes=sizes(source, folder, inputs.length),
        inputs=inputs.number,
        length=inputs.length,
        batch=inputs.batch,
        dtype=study.dtype,
        device=study.device,
        threads=study.threads,
        arms=arms,
        bins=2 + len(windows),
        early=study.bins.early,
        anchored=study.anchor < inputs.length // 2 - 1,
        source=own.type,
        packed=own.type == "packaged" or str(source.get("path")).endswith(".gguf"),
        texts=own.batch if own.type == "trained" else 0,
        updates=updates,
    )
