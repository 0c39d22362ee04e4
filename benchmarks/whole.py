"""From a checkpoint to energies with intervals of every head: abspos, and what a user would write.

    python -m benchmarks --only whole

Each program is a process of its own, timed from its start to its end: Snakemake with all its jobs,
or a script that does what the notebooks of docs/ do. All read the same checkpoint and the same
windows, keep what they need of all layers, and end with a table of the same energies, which are
compared. Memory is the largest sum over a program's processes of their proportional set sizes,
which counts shared pages once, read five times a second; disk is the largest total of its files.

A program that is run as ``python benchmarks/whole.py NAME CHECKPOINT WINDOWS BATCH TABLE`` is one
of the functions below, in the environment of benchmarks/peers.sh or of abspos.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "benchmarks/.peers/bin/python"
#: T, N and batch.
CASES = ((128, 128, 8), (1024, 16, 1))
#: Seconds between two readings of memory and disk.
EVERY = 0.2
Layers = Iterator[dict[str, Any]]


def plain(checkpoint: str, windows: list[torch.Tensor]) -> Layers:
    """Plain transformers: attention weights of eager attention, whose logarithms are logits up to
    a number for each row, which R does not depend on."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager"
    )
    passes = [
        list(model(ids, output_attentions=True, use_cache=False).attentions) for ids in windows
    ]
    for layer in range(len(passes[0])):
        weights = torch.cat([one[layer] for one in passes])
        for one in passes:
            one[layer] = None
        yield {"logits": weights.clamp_min_(torch.finfo(weights.dtype).tiny).log_()}


def transformerlens(checkpoint: str, windows: list[torch.Tensor]) -> Layers:
    """TransformerLens: ``run_with_cache`` of attention scores."""
    from transformer_lens.model_bridge import TransformerBridge

    model = TransformerBridge.boot_transformers(checkpoint, device="cpu", dtype=torch.float32)
    caches = []
    for ids in windows:
        _, cache = model.run_with_cache(ids, names_filter=lambda n: n.endswith("hook_attn_scores"))
        caches.append(list(cache.values()))
    for layer in range(len(caches[0])):
        scores = torch.cat([one[layer] for one in caches])
        for one in caches:
            one[layer] = None
        yield {"logits": scores}


def nnsight(checkpoint: str, windows: list[torch.Tensor]) -> Layers:
    """nnsight: a trace that saves queries and keys after RoPE."""
    from nnsight.modeling.transformers import TransformersModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = TransformersModel(source, tokenizer=tokenizer, task="text-generation")
    traces = []
    for ids in windows:
        saved = []
        with model.trace(ids):
            for layer in model.model.layers:
                saved.append(layer.self_attn.source.attention_interface_1.inputs.save())
        traces.append([(given[1], given[2], settings["scaling"]) for given, settings in saved])
    for layer in range(len(traces[0])):
        q, k = (torch.cat([one[layer][part] for one in traces]) for part in (0, 1))
        yield {"q": q, "k": k, "scale": traces[0][layer][2]}


PROGRAMS: dict[str, Callable[[str, list[torch.Tensor]], Layers]] = {
    "transformers": plain,
    "transformerlens": transformerlens,
    "nnsight": nnsight,
}


@torch.no_grad()
def program(name: str, checkpoint: str, windows: str, batch: str, table: str) -> None:
    """Energies of every head by one of the programs, as a table like that of a study."""
    import abspos
    from abspos.csv_tables import write_csv

    given = np.load(windows)
    batches = list(torch.from_numpy(given["tokens"]).long().split(int(batch)))
    found = []
    for number, layer in enumerate(PROGRAMS[name](checkpoint, batches)):
        energies = abspos.energies(**layer, documents=given["documents"])
        found.append(energies.to_dataframe().reset_index().assign(layer=number))
    import pandas as pd

    write_csv(pd.concat(found), Path(table))


def workflow(folder: Path, checkpoint: Path, case: tuple[int, int, int]) -> list[str]:
    """The command of a study of one model and one arm, up to its table of energies."""
    length, number, batch = case
    study = folder / "whole.yaml"
    study.write_text(
        f"""study: whole
models: [{{name: m, source: {{type: local, path: {checkpoint}}}}}]
inputs: {{number: {number}, length: {length}, batch: {batch}}}
variants: [{{name: standard, conditions: [bos]}}]
swap_tokens: []
""",
        encoding="utf-8",
    )
    target = "results/whole/statistics/energies.csv"
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "all"]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    return [*command, "--configfile", str(ROOT / "config.yaml"), str(study), "--", target]


class Watch:
    """Largest memory of a process with all below it, and of a folder, until it is closed."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.pid, self.folder = pid, folder
        self.memory = self.disk = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        """Read both again and again."""
        import psutil

        while not self.over.wait(EVERY):
            total = 0
            with suppress(psutil.Error):
                above = psutil.Process(self.pid)
                for process in [above, *above.children(recursive=True)]:
                    with suppress(psutil.Error):
                        total += process.memory_full_info().pss
            self.memory = max(self.memory, total)
            self.disk = max(self.disk, size(self.folder))

    def close(self) -> None:
        """Stop reading."""
        self.over.set()
        self.thread.join()


def size(folder: Path) -> int:
    """Bytes of the files below a folder, links not followed; files may go while it looks."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_size
    return total


def timed(command: Sequence[str], folder: Path, may_be_killed: bool = False) -> dict[str, Any]:
    """Seconds, memory and disk of one program; by choice also of one that was killed on the way,
    as the system does where memory ends."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}", "HF_HUB_OFFLINE": "1"}
    before, began = size(folder), time.perf_counter()
    with open(folder / "log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        watch = Watch(process.pid, folder)
        code = process.wait()
        seconds = time.perf_counter() - began
        watch.close()
    if code and not (code < 0 and may_be_killed):
        raise SystemExit(f"failed: {' '.join(command)}\n{(folder / 'log').read_text()[-3000:]}")
    return {
        "seconds": round(seconds, 1),
        "peak_MB": round(watch.memory / 1e6),
        "disk_MB": round((watch.disk - before) / 1e6),
    }


def residuals(table: Path) -> np.ndarray:
    """R of early queries in the log lens (head of all layers), from a table of energies."""
    from abspos.csv_tables import read_csv

    rows = read_csv(table)
    own = rows[
        (rows["bin"] == "early") & (rows["lens"] == "log") & (rows["component"] == "residual")
    ]
    return own.sort_values(["layer", "head"])["energy"].to_numpy(float)


def measure(checkpoint: Path) -> list[dict[str, Any]]:
    """One row a case and program; ``difference`` is the largest over heads from abspos, of R."""
    from abspos.arrays import open_dataset

    rows: list[dict[str, Any]] = []

    def add(row: dict[str, Any]) -> None:
        print(row, flush=True)  # at once: what comes later may take all memory
        rows.append(row)

    for case in CASES:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "abspos")
            folder.mkdir()
            found = timed(workflow(folder, checkpoint.resolve(), case), folder)
            results = folder / "results/whole"
            (store,) = (results / "inputs/m").glob("*.zarr")
            windows = open_dataset(store, store.with_suffix(".manifest.json"))
            given = Path(scratch, "windows.npz")
            tokens = under_bos(windows)
            np.savez(given, tokens=tokens, documents=windows["document"].values)
            ours = residuals(results / "statistics/energies.csv")
            head = {"T": case[0], "N": case[1]}
            add({**head, "program": "abspos", **found, "difference": 0.0})
            for name in PROGRAMS:
                python = sys.executable if name == "transformers" else str(PEERS)
                if not Path(python).is_file():
                    print(f"{name}: left out; benchmarks/peers.sh makes its environment")
                    continue
                own = Path(scratch, name)
                own.mkdir()
                table = own / "energies.csv"
                command = [python, __file__, name, str(checkpoint), str(given), str(case[2])]
                found = timed([*command, str(table)], own, may_be_killed=True)
                if not table.is_file():
                    add({**head, "program": f"{name}, killed", **found})
                    continue
                away = np.abs(residuals(table) / ours - 1).max()
                add({**head, "program": name, **found, "difference": float(f"{away:.1e}")})
    return rows


def under_bos(windows: Any) -> np.ndarray:
    """Tokens of windows with BOS at position 0, as the arm bos has them."""
    tokens = windows["tokens"].values.copy()
    tokens[:, 0] = windows.attrs["bos"]
    return tokens


if __name__ == "__main__":
    program(*sys.argv[1:])
