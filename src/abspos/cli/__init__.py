# PYTHON_ARGCOMPLETE_OK
"""The command ``abspos``: plan a study, pin its models, read its verdicts, and audit its results.

Exit codes: 0 success, 1 findings, 2 invalid command.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, TypeVar

from abspos.cli.options import options_of

T = TypeVar("T")
FINE, FINDINGS, USAGE = 0, 1, 2


class UsageError(RuntimeError):
    """A command that cannot be carried out as given; each argument is a line of its own."""


def say(line: object, file: TextIO | None = None) -> None:
    """Print one line; whatever a file's name holds, it stays one line and moves no cursor."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(line))
    print(text, file=file or sys.stdout)


def verify(options: argparse.Namespace) -> int:
    """Read all results again and compare them with the ledger, or with other results."""
    from abspos.audit.verify import verify as check

    results = results_of(options)
    if options.against is not None:
        return against(results, options)
    began = time.monotonic()
    report = check(results, code_of(options))
    for finding in report.findings:
        say(finding)
    if not options.quiet:
        for note in report.notes:
            say(f"note: {note}")
    count = len(report.findings)
    say(
        f"{results}: {report.files} files and {report.stores} stores, "
        f"{report.bytes / 1e6:.1f} MB, read in {time.monotonic() - began:.1f} s: "
        + ("all as recorded" if not count else f"{count} finding{'s' * (count > 1)}")
    )
    say(f"seal of tables and stores: {report.seal}")
    say(f"seal of this run, its ledger, checkpoints and figures: {report.run_seal}")
    return FINDINGS if report.findings else FINE


def against(results: Path, options: argparse.Namespace) -> int:
    """Compare the numbers of two results folders."""
    from abspos.audit.compare import compare

    other: Path = options.against
    if not other.is_dir():
        raise UsageError(f"--against {other}: no such folder; give another results/<study>")
    found = compare(results, other, options.tolerance)
    for item in found:
        if not options.quiet or item.verdict != "identical":
            say(item)
    verdicts = [item.verdict for item in found]
    kinds = sorted(set(verdicts))
    say(
        f"{results} against {other}: "
        + (", ".join(f"{verdicts.count(kind)} {kind}" for kind in kinds) or "nothing to compare")
        + f" (rounding: up to {options.tolerance:g} of the largest value)"
    )
    return FINE if found and set(kinds) <= {"identical", "rounding", "may vary"} else FINDINGS


def explain(options: argparse.Namespace) -> int:
    """Print the provenance of one result."""
    from abspos.audit.explain import explain as lines_of
    from abspos.stores import StoreError

    try:
        results = results_of(options, options.file)
        for line in lines_of(options.file, results, code_of(options), options.depth):
            say(line)
    except StoreError as error:
        say(f"error: {error}", file=sys.stderr)
        return FINDINGS
    return FINE


def verdicts(options: argparse.Namespace) -> int:
    """Print the verdict on every claim and the page to read."""
    from abspos.report.summary import summary
    from abspos.stores import StoreError

    try:
        for line in summary(results_of(options)):
            say(line)
    except StoreError as error:
        say(f"error: {error}", file=sys.stderr)
        return FINDINGS
    return FINE


def crate(options: argparse.Namespace) -> int:
    """Pack a study as a Workflow Run RO-Crate."""
    from abspos.audit.crate import pack
    from abspos.stores import StoreError

    results = results_of(options)
    target = options.output or results.with_name(f"{results.name}.crate.zip")
    try:
        pack(results, code_of(options), target, stores=options.stores)
    except (StoreError, FileExistsError) as error:
        say(f"error: {error}", file=sys.stderr)
        return FINDINGS
    say(target)
    return FINE


def plan(options: argparse.Namespace) -> int:
    """Estimate the jobs, hours, memory and disk of a study before it runs."""
    from abspos.inputs.records import InputError
    from abspos.models.lock import LockError, require_pins
    from abspos.planning.forecast import lines, machine_of
    from abspos.planning.forecast import plan as reckon
    from abspos.planning.misfits import misfits
    from abspos.planning.preflight import require_texts
    from abspos.study.files import load_files

    study = from_config(options, load_files)
    try:
        machine = machine_of(options.speed)
    except ValueError as error:
        raise UsageError(str(error)) from None
    layout = layout_of(options, study)
    checkpoints = layout.root / "results/checkpoints"
    try:
        require_texts(layout)
    except InputError as error:
        raise UsageError(f"config: {error}") from None
    if refused := misfits(layout, checkpoints):
        raise UsageError(*refused)
    found = reckon(layout, checkpoints, machine, options.cores, options.gpus)
    for line in lines(found, machine, options.cores, options.gpus):
        if line.startswith("wall time") or not options.brief:
            say(line)
    try:
        require_pins(study, layout.lock, options.configfile)
    except LockError as error:
        for line in str(error).splitlines():
            say(f"before it runs: {line}")
    return FINE


def pin(options: argparse.Namespace) -> int:
    """Resolve the names of hub revisions to commits, once, into the study's lock."""
    from abspos.models import lock
    from abspos.models.gaps import Gap, forget
    from abspos.models.hub import HubError, listing, read_too
    from abspos.planning.misfits import misfits
    from abspos.study.files import load_files

    closed: list[str] = []  # revisions that are there, and whose files cannot be had from here

    def ask(name: lock.Name) -> Any:
        kind, repo, revision = name
        found = listing(repo, revision, kind)
        if kind == "model" and not options.moved:
            try:
                return read_too(repo, found)
            except HubError as error:
                closed.append(str(error))
            except Gap:  # broken files: its job leaves a note
                pass
        return found

    def anew(revision: str) -> bool:
        return options.anew is not None and (not options.anew or revision in options.anew)

    study = from_config(options, load_files)
    try:
        layout = layout_of(options, study)
        old = layout.lock
    except lock.LockError as error:
        raise UsageError(str(error)) from None
    wanted = {revision for _, _, revision in lock.names(study)}
    for revision in options.anew or []:
        if revision not in wanted:
            raise UsageError(f"--anew {revision}: the study names no such revision")
    path = lock.path_of(study.study, layout.root)
    if options.moved:
        found = lock.moved(study, old, ask)
        for line in found.lines:
            say(line)
    else:
        found = lock.pin(study, old, ask, anew)
        if found.lock != old:
            lock.write(found.lock, path)
        for sweep in layout.sweeps.values():
            for revision in sweep.names:
                if forget(sweep.folder / revision):
                    found.lines.append(f"gap: {sweep.source.repo} at {revision}: to be tried again")
        for line in (*found.lines, *lock.gaps(found.lock)):
            say(line)
        found.failures += closed
        found.failures += misfits(layout_of(options, study), layout.root / "results/checkpoints")
    for line in found.failures:
        say(f"error: {line}", file=sys.stderr)
    counts = Counter(
        "not pinned" if not pin else "gap" if "gap" in pin else "pinned"
        for pin in (lock.pin_of(found.lock, name) for name in lock.names(study))
    )
    say(f"{path}: " + (", ".join(f"{n} {what}" for what, n in counts.items()) or "nothing to pin"))
    return FINDINGS if found.failures or (options.moved and found.lines) else FINE


def folder_of(options: argparse.Namespace) -> Path:
    """The working folder, which holds the user's config and results."""
    return options.project or Path()


def code_of(options: argparse.Namespace) -> Path:
    """The folder of the code: of a project that is named or worked in, or of this command."""
    here = folder_of(options)
    mine = Path(__file__).parents[3]
    return here if options.project or (here / "workflow/rules").is_dir() else mine


def layout_of(options: argparse.Namespace, study: Any) -> Any:
    """The layout of a study in the working folder."""
    from abspos.planning.layout import Layout

    return Layout(study, folder_of(options), code_of(options))


def from_config(options: argparse.Namespace, make: Callable[[Sequence[Path]], T]) -> T:
    """Result of a function of the working folder's config and the files merged over it.

    Raises:
        UsageError: lists all config errors.
    """
    from abspos.study.config import ConfigError
    from abspos.study.files import base_config

    try:
        return make([base_config(folder_of(options), code_of(options)), *options.configfile])
    except ConfigError as error:
        raise UsageError(*(f"config: {mistake}" for mistake in error.mistakes)) from None


def name(options: argparse.Namespace) -> int:
    """Print the name of a study, which results/<study> is called after."""
    from abspos.study.files import study_name

    say(from_config(options, study_name))
    return FINE


#: Name of a command -> what it does; the function's first line is its help.
COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "name": name,
    "plan": plan,
    "pin": pin,
    "verdicts": verdicts,
    "verify": verify,
    "explain": explain,
    "crate": crate,
}


def results_of(options: argparse.Namespace, file: str | None = None) -> Path:
    """The results folder that is meant: by option, by a file in it, or by the study's config.

    Raises:
        UsageError: there is no such folder.
    """
    from abspos.study.files import study_name

    if options.results is not None:
        results = options.results
    elif options.study is not None:
        if Path(options.study).name != options.study:
            raise UsageError(f"--study {options.study!r}: a name, not a path; or use --results")
        results = folder_of(options) / "results" / options.study
    elif options.configfile:
        results = folder_of(options) / "results" / from_config(options, study_name)
    elif file is not None and (owner := owner_of(Path(file))):
        results = owner
    else:
        ledgers = sorted(folder_of(options).glob("results/*/ledger"))
        studies = [path.parent for path in ledgers if path.parent.name != "checkpoints"]
        if len(studies) == 1:  # a crate holds one study, whatever its config.yaml is called
            results = studies[0]
        else:
            results = folder_of(options) / "results" / from_config(options, study_name)
    if not results.is_dir():
        raise UsageError(f"{results}: no such folder; run snakemake first, or give --results")
    return Path(results)


def owner_of(path: Path) -> Path | None:
    """The nearest folder above a file that holds a ledger."""
    return next((p for p in path.parents if (p / "ledger").is_dir()), None)


def parser() -> argparse.ArgumentParser:
    """The options of every command."""
    return options_of({name: (f.__doc__ or "").splitlines()[0] for name, f in COMMANDS.items()})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 all is well, 1 findings, 2 the command was wrong.
    """
    top = parser()
    with suppress(ModuleNotFoundError):  # of an extra
        import argcomplete

        argcomplete.autocomplete(top)
    options = top.parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except UsageError as error:
        for line in error.args:
            say(f"error: {line}", file=sys.stderr)
        return USAGE
    except ModuleNotFoundError as error:
        from abspos.extras import extra_of, missing

        extra = extra_of(error.name)
        if extra is None:
            raise
        say(f"error: {missing(str(error.name), extra)}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # the reader, a pager say, has seen enough
        sys.stderr.close()
        return FINE
