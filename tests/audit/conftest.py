"""A small made-up study: every kind of result, written through real jobs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from snakemake.iocontainers import (
    InputFiles,
    Log,
    OutputFiles,
    Params,
    ResourceList,
    Snakemake,
    Wildcards,
)

from abspos.arrays import save_dataset
from abspos.audit.code import sources
from abspos.audit.job import job
from abspos.stores import whole_folder

STAGES = ("models", "activations", "components", "tables", "figures")
#: Rules of the whole study.
WHOLE = ("tables", "figures")
CHECKPOINT = "results/checkpoints/m/r1"
ACTIVATIONS = "results/s/activations/m/r1/bos"
COMPONENTS = "results/s/components/m/r1/bos"
CORPUS = "resources/corpus/a.jsonl"

FILES = {
    "Snakefile": 'configfile: "config.yaml"\n\n\ninclude: "workflow/rules/all.smk"\n',
    "config.yaml": "study: s\nseed: 0\n",
    "pyproject.toml": "[project]\nname = 'made-up'\n",
    CORPUS: json.dumps({"id": "a", "text": "some prose"}) + "\n",
    "workflow/rules/all.smk": "".join(
        f'rule {name}:  # said\n    script:\n        "../scripts/{name}.py"\n\n\n'
        for name in STAGES
    ),
    "src/abspos/__init__.py": '"""Made up."""\n',
    "src/abspos/numbers.py": '"""Numbers."""\n\nVALUE = 1\n',
    "src/abspos/drawing.py": "COLOUR = 'black'\n",
    **{
        f"workflow/scripts/{name}.py": "from abspos.numbers import VALUE\n"
        + ("import abspos.drawing\n" if name == "figures" else "")
        for name in STAGES
    },
}


def fields(seed: int = 0, nudge: float = 0.0) -> xr.Dataset:
    """A small component store's content."""
    values = np.random.default_rng(seed).normal(size=(2, 3, 4)) + nudge
    coords = {"lens": ["log", "probability"]}
    return xr.Dataset({"residual": (("lens", "head", "query"), values)}, coords=coords)


def table(seed: int = 0, nudge: float = 0.0) -> str:
    """A small table's text."""
    numbers = np.random.default_rng(seed).normal(size=5) + nudge
    return "claim,estimate,p_value\n" + "".join(
        f"c{i},{x:.9g},0.5\n" for i, x in enumerate(numbers)
    )


def parameters(lines: Iterable[str], named: dict[str, Any]) -> Params:
    """Parameters as a rule has them: sources without a name, then those with one."""
    made = Params(toclone=[*lines, *named.values()])
    for place, name in enumerate(named, len(made) - len(named)):
        made._set_name(name, place)
    return made


class Study:
    """A project folder with a study in it.

    Attributes:
        root: the project.
        results: ``results/s`` in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.results = root / "results/s"

    def snakemake(self, rule: str, inputs: list[str], outputs: list[str], **params: Any) -> Any:
        """What Snakemake hands to the script of a rule."""
        log = Path(
            "results/checkpoints" if rule == "models" else "results/s", "logs", f"{rule}.log"
        )
        code = sources(Path(f"workflow/scripts/{rule}.py"), self.root)
        return Snakemake(
            InputFiles(toclone=inputs),
            OutputFiles(toclone=outputs),
            parameters(code, {"config": {"seed": 0, "stage": rule}, **params}),
            Wildcards(fromdict={} if rule in WHOLE else {"model": "m", "revision": "r1"}),
            1,
            ResourceList(),
            Log(toclone=[str(log)]),
            {"keep_activations": False},
            rule,
            None,
            scriptdir=str(self.root / "workflow/scripts"),
        )

    def models(self, checkpoint: str = CHECKPOINT) -> None:
        """The checkpoint."""
        outputs = [checkpoint, f"{checkpoint}.manifest.json"]
        with job(self.snakemake("models", [], outputs)), whole_folder(*map(Path, outputs)) as made:
            (made / "config.json").write_text("{}")
            (made / "model.safetensors").write_bytes(bytes(range(256)))

    def activations(self) -> None:
        """The activation store."""
        outputs = [f"{ACTIVATIONS}.zarr", f"{ACTIVATIONS}.manifest.json"]
        inputs = [CORPUS, CHECKPOINT, f"{CHECKPOINT}.manifest.json"]
        with job(self.snakemake("activations", inputs, outputs)):
            save_dataset(fields(1), *map(Path, outputs))

    def components(self, nudge: float = 0.0) -> None:
        """The component store, after which the activations go."""
        outputs = [f"{COMPONENTS}.zarr", f"{COMPONENTS}.manifest.json"]
        inputs = [f"{ACTIVATIONS}.zarr", f"{ACTIVATIONS}.manifest.json"]
        with job(self.snakemake("components", inputs, outputs)):
            save_dataset(fields(nudge=nudge), *map(Path, outputs))
        shutil.rmtree(inputs[0])

    def tables(self, nudge: float = 0.0) -> None:
        """Two tables in one job."""
        outputs = ["results/s/claims.csv", "results/s/statistics/energies.csv"]
        inputs = [f"{COMPONENTS}.zarr", f"{COMPONENTS}.manifest.json"]
        with job(self.snakemake("tables", inputs, outputs)):
            for seed, output in enumerate(outputs):
                Path(output).parent.mkdir(exist_ok=True)
                Path(output).write_text(table(seed, nudge))

    def figures(self) -> None:
        """One figure."""
        with job(self.snakemake("figures", ["results/s/claims.csv"], ["results/s/figures/f.svg"])):
            Path("results/s/figures").mkdir(exist_ok=True)
            Path("results/s/figures/f.svg").write_text("<svg/>\n")

    def run(self, nudge: float = 0.0) -> None:
        """All jobs."""
        self.models()
        self.activations()
        self.components(nudge)
        self.tables(nudge)
        self.figures()


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Callable[..., Study]:
    """Make a study in a new folder: made(nudge=0.0) -> Study."""

    def make(nudge: float = 0.0) -> Study:
        root = tmp_path_factory.mktemp("project")
        for name, text in FILES.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        study = Study(root)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            study.run(nudge)
        return study

    return make


@pytest.fixture(scope="session")
def finished(made) -> Study:
    """One finished study, not to be changed."""
    return made()


@pytest.fixture
def study(finished, tmp_path, monkeypatch) -> Study:
    """A copy of the finished study, in its own folder, which is the working directory."""
    root = tmp_path / "copy"
    shutil.copytree(finished.root, root)
    monkeypatch.chdir(root)
    return Study(root)
