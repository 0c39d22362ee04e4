"""All measurements: tables as CSV and Markdown, and a plot, in benchmarks/out.

    python -m benchmarks [--checkpoint DIR] [--repeats 5] [--only NAME ...]

NAME is speed, scaling, profile, memory, peers, whole, planning or start.

Times are ratios to the bare forward pass of the same process, whose runs alternate with those
measured; peaks are those of whole processes that do one thing once. Peers are left out where
benchmarks/peers.sh has not been run.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OUT = HERE / "out"
PEERS = HERE / ".peers/bin/python"
#: T, N and batch: as many tokens each.
LENGTHS = ((128, 64, 8), (512, 16, 2), (1024, 8, 1), (2048, 4, 1))
#: The same for peers, which keep every T x T matrix in memory.
BESIDE_PEERS = ((128, 24, 8), (512, 6, 2), (1024, 3, 1), (1024, 6, 1))
#: N at T = 128.
NUMBERS = (8, 16, 32, 64)
Row = dict[str, Any]


def contest(
    python: Path | str, checkpoint: Path, case: tuple[int, int, int], repeats: int, *names: str
) -> dict[str, Any]:
    """Run contestants in one new process and read what it prints last."""
    command = [
        str(python),
        str(HERE / "contestants.py"),
        str(checkpoint),
        *map(str, case),
        str(repeats),
        *names,
    ]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(names)} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def speed(checkpoint: Path, repeats: int) -> list[Row]:
    """Extraction and decomposition against the bare forward pass, over T."""
    rows = []
    for case in LENGTHS:
        found = contest(
            sys.executable, checkpoint, case, repeats, "bare", "extraction", "decomposition"
        )
        rows += timed(found)
    return rows


def timed(found: dict[str, Any]) -> list[Row]:
    """One row a contestant: median seconds, and the medians over repetitions of its ratios.

    Of elapsed time, and of processor time, which other work on the machine disturbs less.
    """

    def ratio(kind: str, name: str) -> float:
        pairs = zip(found[kind][name], found[kind]["bare"], strict=True)
        return round(median(a / b for a, b in pairs), 3)

    return [
        {
            "T": found["length"],
            "N": found["inputs"],
            "what": name,
            "seconds": round(median(seconds), 2),
            "ratio": ratio("seconds", name),
            "cpu_ratio": ratio("cores", name),
            "bytes_MB": round(found["bytes"].get(name, 0) / 1e6, 1),
        }
        for name, seconds in found["seconds"].items()
    ]


def scaling(checkpoint: Path, repeats: int) -> list[Row]:
    """Extraction and decomposition against the bare forward pass, over N at T = 128."""
    rows = []
    for number in NUMBERS:
        found = contest(
            sys.executable,
            checkpoint,
            (128, number, 8),
            repeats,
            "bare",
            "extraction",
            "decomposition",
        )
        rows += timed(found)
    return rows


def profile(checkpoint: Path, repeats: int) -> list[Row]:
    """Where the time of extraction and decomposition goes, over T."""
    rows = []
    for case in LENGTHS:
        found = contest(
            sys.executable,
            checkpoint,
            case,
            repeats,
            "profiled_extraction",
            "profiled_decomposition",
        )
        for name, parts in found["parts"].items():
            total = sum(parts.values())
            rows += [
                {
                    "T": case[0],
                    "N": case[1],
                    "what": name,
                    "part": part,
                    "cpu_seconds": round(own, 3),
                    "share": round(own / total, 3),
                }
                for part, own in sorted(parts.items(), key=lambda pair: -pair[1])
            ]
    return rows


def memory(checkpoint: Path, repeats: int) -> list[Row]:
    """Peak memory of the bare pass and of an extraction, over T and over N."""
    rows = []
    for case in (*LENGTHS, *((128, n, 8) for n in NUMBERS)):
        peaks = {
            name: contest(sys.executable, checkpoint, case, 0, name)["peak"]
            for name in ("bare", "extraction")
        }
        rows += [
            {
                "T": case[0],
                "N": case[1],
                "what": name,
                "peak_MB": round(peak / 1e6),
                "ratio": round(peak / peaks["bare"], 3),
            }
            for name, peak in peaks.items()
        ]
    return rows


def peers(checkpoint: Path, repeats: int) -> list[Row]:
    """What else gives attention, each beside the bare pass in its own environment."""
    rows = []
    for case in BESIDE_PEERS:
        for name in ("eager", "transformerlens", "nnsight", "extraction"):
            rows += beside(checkpoint, repeats, case, name)
    return rows


def beside(checkpoint: Path, repeats: int, case: tuple[int, int, int], name: str) -> list[Row]:
    """One contestant and its decomposition beside the bare pass, with their peaks."""
    python: Path | str = PEERS if name in ("transformerlens", "nnsight") else sys.executable
    if python == PEERS and not PEERS.is_file():
        print(f"{name}: left out; benchmarks/peers.sh makes its environment")
        return []
    rows = []
    both = (name, "decomposition" if name == "extraction" else f"{name}_decomposed")
    for row in timed(contest(python, checkpoint, case, repeats, "bare", *both))[1:]:
        # A decomposition needs the store that an extraction leaves.
        alone = both if row["what"] == "decomposition" else (row["what"],)
        peak = contest(python, checkpoint, case, 0, *alone)["peak"]
        rows.append({**row, "peak_MB": round(peak / 1e6)})
    return rows


def whole(checkpoint: Path, repeats: int) -> list[Row]:
    """From a checkpoint to energies with intervals: all of abspos beside its peers, once each."""
    from benchmarks.whole import measure

    return measure(checkpoint)


def planning(checkpoint: Path, repeats: int) -> list[Row]:
    """Seconds that Snakemake plans."""
    from benchmarks.planning import measure

    return measure()


def start(checkpoint: Path, repeats: int) -> list[Row]:
    """Seconds until each workflow script begins its work."""
    from benchmarks.start import measure

    return measure(repeats)


MEASURES: dict[str, Callable[[Path, int], list[Row]]] = {
    "speed": speed,
    "scaling": scaling,
    "profile": profile,
    "memory": memory,
    "peers": peers,
    "whole": whole,
    "planning": planning,
    "start": start,
}


def exponent(pairs: Sequence[tuple[float, float]]) -> float:
    """Slope of log y over log x by least squares."""
    x, y = ([math.log(pair[i]) for pair in pairs] for i in (0, 1))
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum(
        (a - mx) ** 2 for a in x
    )


def table(rows: Sequence[Row]) -> str:
    """Rows as Markdown."""
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    lines += [f"| {' | '.join(str(row.get(name, '')) for name in names)} |" for row in rows]
    return "\n".join(lines)


def exponents(rows: Sequence[Row], over: str) -> str:
    """Time of each contestant as a fitted power: per input over T, or in all over N."""
    found = []
    for name in dict.fromkeys(row["what"] for row in rows):
        own = [row for row in rows if row["what"] == name]
        pairs = [(r[over], r["seconds"] / (r["N"] if over == "T" else 1)) for r in own]
        found.append(f"{name} {over}^{exponent(pairs):.2f}")
    return f"Seconds{' per input' if over == 'T' else ''}: " + ", ".join(found)


def plot(rows: Sequence[Row], path: Path) -> None:
    """Seconds per input against T, both on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.5), layout="constrained")
    for name in dict.fromkeys(row["what"] for row in rows):
        own = [row for row in rows if row["what"] == name]
        axes.loglog([r["T"] for r in own], [r["seconds"] / r["N"] for r in own], "o-", label=name)
    axes.set(xlabel="T [tokens]", ylabel="seconds per input", xticks=[r["T"] for r in own])
    axes.set_xticks([r["T"] for r in own], [str(r["T"]) for r in own])
    axes.minorticks_off()
    axes.legend(frameon=False)
    figure.savefig(path)


def save(name: str, rows: Sequence[Row]) -> None:
    """Write one measurement's table, as CSV and Markdown, and its plot."""
    OUT.mkdir(exist_ok=True)
    with open(OUT / f"{name}.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    text = table(rows)
    if name == "scaling":
        text += f"\n\n{exponents(rows, 'N')}"
    if name == "speed":
        text += f"\n\n{exponents(rows, 'T')}"
        plot(rows, OUT / "speed.svg")
    (OUT / f"{name}.md").write_text(f"{text}\n", encoding="utf-8")
    print(f"\n{name}\n\n{text}", flush=True)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--checkpoint", type=Path, help="default: the packaged model's")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES))
    options = parser.parse_args()
    here = sorted(p.parent for p in ROOT.glob("results/checkpoints/*/*/model.safetensors"))
    checkpoint = options.checkpoint or next(iter(here), None)
    if checkpoint is None:
        parser.error("no checkpoint in results/checkpoints; run `make reproduce`, or --checkpoint")
    for name in options.only:
        save(name, MEASURES[name](checkpoint, options.repeats))


if __name__ == "__main__":
    main()
