"""The options of the command ``abspos``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

EXAMPLES = """\
examples:
  abspos plan --configfile studies/mine.yaml     jobs, hours, memory and disk, before the run
  abspos pin --configfile studies/mine.yaml      fix hub revisions to commits
  abspos verdicts                                what the study says, and which page to read
  abspos verify                                  is every file still what was written?
  abspos verify --against ../other/results/mine  are the numbers those of another run?
  abspos explain results/mine/claims.csv:2       what made this number
  abspos explain --depth 1 results/mine/claims.csv
  abspos crate --stores components               a Workflow Run RO-Crate of the study

`abspos COMMAND --help` lists the options of a command. Tab completes them after
  eval "$(register-python-argcomplete abspos)"
Exit codes: 0 success, 1 findings, 2 invalid command.
"""


def options_of(commands: Mapping[str, str]) -> argparse.ArgumentParser:
    """The options of every command.

    Args:
        commands: what each does, by its name.
    """
    top = argparse.ArgumentParser(
        prog="abspos",
        description="Plan a study, pin its models, read its verdicts, and audit its results.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"abspos {version('abspos')}")
    every = top.add_subparsers(dest="command", required=True, metavar="command")
    made = {}
    for name, text in commands.items():
        made[name] = every.add_parser(name, help=text, description=text)
        if name not in ("name", "plan", "pin"):  # which need no results
            made[name].add_argument("--results", type=Path, metavar="DIR", help="results/<study>")
            made[name].add_argument(
                "--study", metavar="NAME", help="name of the study, instead of --results"
            )
        made[name].add_argument(
            "--project",
            type=Path,
            metavar="DIR",
            help="a checkout and its results (default: results here, code here or of abspos)",
        )
        made[name].add_argument(
            "--configfile",
            type=Path,
            nargs="+",
            default=[],
            metavar="FILE",
            help="config file of the study, merged over config.yaml as by snakemake",
        )
    plan_options(made["plan"])
    which = made["pin"].add_mutually_exclusive_group()
    which.add_argument(
        "--moved",
        action="store_true",
        help="only list pinned revisions that now point to another commit; pin nothing",
    )
    which.add_argument(
        "--anew",
        nargs="*",
        metavar="REVISION",
        help="pin these anew, or all: revisions that moved are fetched and measured again",
    )
    made["verify"].add_argument("--quiet", action="store_true", help="findings and totals only")
    made["verify"].add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="compare numbers with another run of the study instead",
    )
    made["verify"].add_argument(
        "--tolerance",
        type=float,
        default=1e-3,
        metavar="X",
        help="largest rounding difference, as a share of the largest value (default: %(default)s)",
    )
    made["explain"].add_argument("file", metavar="FILE", help="a result, or TABLE.csv:LINE")
    made["explain"].add_argument(
        "--depth",
        type=whole,
        metavar="N",
        help="steps back: 0 is the result alone, 1 what it was made from (default: all)",
    )
    made["crate"].add_argument(
        "--stores",
        choices=("none", "components", "all"),
        default="none",
        help="which stores to pack (default: %(default)s)",
    )
    made["crate"].add_argument("--output", type=Path, metavar="FILE", help="a .zip, or a folder")
    return top


def plan_options(command: argparse.ArgumentParser) -> None:
    """The options of ``abspos plan``, less those that it shares."""
    command.add_argument("--brief", action="store_true", help="wall time and disk alone")
    command.add_argument(
        "--cores",
        type=count,
        default=os.cpu_count() or 1,
        metavar="N",
        help="cores that jobs share (default: all of this machine)",
    )
    command.add_argument(
        "--gpus",
        type=count,
        default=1,
        metavar="N",
        help="GPUs that jobs share if the study has device: cuda (default: %(default)s)",
    )
    command.add_argument(
        "--speed",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a rate of the machine per second, such as cpu_flops=6e10; may be repeated",
    )


def whole(text: str) -> int:
    """A whole number from 0 on."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"value {text!r}: a whole number from 0 on")
    return int(text)


def count(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"value {text!r}: a whole number from 1 on")
    return int(text)
