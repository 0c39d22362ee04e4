"""The lock of a study: which commit each revision of the hub stands for, and what it holds.

``studies/<study>.lock.yaml`` is written by `abspos pin` and goes into version control beside the
study. Plans are made from it alone: a branch that moves on the hub changes nothing here until it
is pinned anew. Nothing heavy is imported, for the Snakefile reads the lock at every start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os.path import relpath
from pathlib import Path
from typing import Any

import yaml

from abspos.models.gaps import Gap
from abspos.models.listed import COMMIT, is_file
from abspos.study.config import Study

#: What a pin is: ``commit``, ``files`` and what the small ones say (abspos.models.families.says),
#: or ``gap``, the reason why there is none.
Pin = Mapping[str, Any]
#: Pins by kind of repository, repository and revision.
Lock = dict[str, dict[str, dict[str, Pin]]]
#: (kind, repository, revision); a kind is ``model`` or ``dataset``.
Name = tuple[str, str, str]

HEAD = """\
# Which commit each revision of the hub stands for. Made by `abspos pin`, whose --help explains
# how to list revisions that have moved and how to pin them anew. Keep it under version control.
"""
#: Number of names in one query.
AT_A_TIME = 8

_SAFE = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_PICKLED = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")
#: What belongs to config and tokenizer.
_OTHERS = re.compile(r".*\.(json|model|txt|jinja)")


class LockError(ValueError):
    """A lock that cannot be read, or lacks what the study names."""


def path_of(study: str, root: Path = Path()) -> Path:
    """Where the lock of a study lies, by the study's name."""
    return root / "studies" / f"{study}.lock.yaml"


def names(study: Study) -> list[Name]:
    """All that a study has of the hub, in the config's order."""
    found: list[Name] = []
    for model in study.models:
        if model.source.type == "hub":
            found += [("model", model.source.repo, name) for name in model.source.revisions]
    if study.inputs.dataset is not None:
        found.append(("dataset", study.inputs.dataset.repo, study.inputs.dataset.revision))
    return list(dict.fromkeys(found))


def read(path: Path) -> Lock:
    """The lock of a file; empty where there is none.

    Raises:
        LockError: it is no lock.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        for pins in (pins for repos in found.values() for pins in repos.values()):
            for pin in pins.values():
                if "gap" in pin:
                    continue
                files = pin["files"]
                if not (COMMIT.fullmatch(pin["commit"]) and files):
                    raise KeyError("commit")
                if not all(map(is_file, files, files.values())):
                    raise KeyError("files")
    except FileNotFoundError:
        return {}
    except (
        *(OSError, yaml.YAMLError, AttributeError, KeyError, TypeError),
        *(ValueError, RecursionError),
    ) as error:
        raise LockError(
            f"{path}: cannot be read as a lock ({type(error).__name__}); delete it and run "
            "`abspos pin`"
        ) from None
    return dict(found)


def write(lock: Lock, path: Path) -> None:
    """Write a lock, whole or not at all; the same pins always give the same bytes."""
    from abspos.stores import write_atomically

    text = yaml.dump(lock, Dumper=_Dumper, sort_keys=True, width=10**9, allow_unicode=True)
    write_atomically(path, HEAD + text)


class _Dumper(yaml.SafeDumper):
    """One line for each file of a revision."""

    def represent_mapping(
        self, tag: str, mapping: Any, flow_style: bool | None = None
    ) -> yaml.MappingNode:
        return super().represent_mapping(tag, mapping, "bytes" in mapping)


def pin_of(lock: Lock, name: Name) -> Pin | None:
    """The pin of a name, or None."""
    kind, repo, revision = name
    return lock.get(kind, {}).get(repo, {}).get(revision)


def unpinned(study: Study, lock: Lock) -> list[Name]:
    """Revisions that a study names and the lock lacks."""
    found = []
    for name in names(study):
        pin = pin_of(lock, name)
        if (
            pin is None
            or ("gap" in pin and not may_be_gap(study, name))
            or _short(study, name, pin)
        ):
            found.append(name)
    return found


def _short(study: Study, name: Name, pin: Pin) -> bool:
    """Whether the pin of a data set lacks a file that the study names by now."""
    return name[0] == "dataset" and not set(data_files(study)) <= set(pin["files"])


def require_pins(study: Study, lock: Lock, files: Sequence[str | Path] = ()) -> None:
    """Refuse, before any job, a study that names what its lock lacks.

    Args:
        study: the study.
        lock: its lock.
        files: config files laid over config.yaml, for the command that is the cure.

    Raises:
        LockError: a line for each such repository.
    """
    missing: dict[str, list[str]] = {}
    for _, repo, revision in unpinned(study, lock):
        missing.setdefault(repo, []).append(revision)
    command = " ".join(["abspos pin", *(["--configfile", *map(relpath, files)] if files else [])])
    lines = [
        f"{repo}: {_some(found)} not pinned to a commit yet; run `{command}`"
        for repo, found in missing.items()
    ]
    if lines:
        raise LockError("\n".join(lines))


def may_be_gap(study: Study, name: Name) -> bool:
    """Whether a study goes on without a revision that is missing or broken."""
    return name[0] == "model" and all(s.on_missing == "gap" for s in sources(study, name[1]))


def sources(study: Study, repo: str) -> list[Any]:
    """The sources of a study that are this repository of the hub."""
    return [m.source for m in study.models if m.source.type == "hub" and m.source.repo == repo]


def _some(found: Sequence[str]) -> str:
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(found[:3]) + more


def weights(files: Mapping[str, Any], pickles: bool) -> list[str]:
    """The files of a revision that hold its weights: safetensors, else pickles where allowed."""
    safe = [name for name in files if _SAFE.fullmatch(name)]
    return safe or [name for name in files if pickles and _PICKLED.fullmatch(name)]


def chosen(files: Mapping[str, Any], pickles: bool, code: bool) -> list[str]:
    """The files that a checkpoint needs: config, tokenizer and weights; Python only if asked."""
    held = weights(files, pickles)
    unused = [] if any(map(_PICKLED.fullmatch, held)) else ["pytorch_model.bin.index.json"]
    return [
        name
        for name in files
        if name in held
        or (_OTHERS.fullmatch(name) and "/" not in name and name not in unused)
        or (code and name.endswith(".py"))
    ]


def complaint(files: Mapping[str, Any], pickles: bool) -> str | None:
    """Why files are no checkpoint that can be measured, or None."""
    if "config.json" not in files:
        return "no config.json: not a model of transformers"
    if weights(files, pickles):
        return None
    if weights(files, True):
        return "pickled weights only; allow_pickles: true reads them"
    return "no safetensors"


# Pinning


@dataclass
class Pinning:
    """Result of querying the hub.

    Attributes:
        lock: the lock afterwards.
        lines: changes, a line each.
        failures: revisions that could not be pinned, a line each.
    """

    lock: Lock
    lines: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


#: Gives a ``Listing`` of a name, or raises a RuntimeError that says why not.
Ask = Callable[[Name], Any]


def pin(study: Study, old: Lock, ask: Ask, anew: Callable[[str], bool]) -> Pinning:
    """Pin what has no commit yet, and what is to be pinned anew; drop what no study names.

    Args:
        study: the study.
        old: its lock so far.
        ask: the hub (abspos.models.hub.listing).
        anew: whether to query the hub again for a revision that has a commit, by its name.
    """
    done = Pinning({})
    wanted = names(study)
    lacking = unpinned(study, old)
    due = [n for n in wanted if n in lacking or _is_due(pin_of(old, n), anew(n[2]))]
    found = dict(zip(due, _asked(due, ask), strict=True))
    for name in wanted:
        kind, repo, revision = name
        before = pin_of(old, name)
        now = before
        if name in found:
            now = _pinned(study, name, found[name], done)
            done.lines += _change(name, before, now)
            now = now or before
        if now is not None:
            done.lock.setdefault(kind, {}).setdefault(repo, {})[revision] = now
    for name in _all(old):
        if name not in wanted:
            done.lines.append(f"dropped: {name[1]} at {name[2]}, which the study does not name")
    return done


def _is_due(pin: Pin | None, anew: bool) -> bool:
    return pin is None or "gap" in pin or anew


def _asked(due: Sequence[Name], ask: Ask) -> list[Any]:
    """Answer of the hub for each name: a listing, or the error."""

    def one(name: Name) -> Any:
        try:
            return ask(name)
        except RuntimeError as error:
            return error

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(one, due))


def _pinned(study: Study, name: Name, answer: Any, done: Pinning) -> Pin | None:
    """The pin that an answer gives; a failure instead, where the study allows no gap."""
    kind, repo, revision = name
    gaps = may_be_gap(study, name)
    if isinstance(answer, RuntimeError):
        reason = str(answer).removeprefix(f"{repo} at {revision}: ")
        missing = isinstance(answer, Gap)
    else:
        reason = _lack(study, name, answer.files) or ""
        missing = True
    if reason and not (missing and gaps):
        cure = ", or set on_missing: gap to continue without it" if kind == "model" else ""
        cure = f"; correct it{cure}" if missing else ""
        done.failures.append(f"{repo} at {revision}: {reason}{cure}")
        return None
    if reason:
        return {"gap": reason}
    kept = chosen(answer.files, pickles=True, code=True) if kind == "model" else data_files(study)
    said = {"says": dict(answer.says)} if answer.says else {}
    files = {name: dict(answer.files[name]) for name in kept}
    return {"commit": answer.commit, "files": files, **said}


def _lack(study: Study, name: Name, files: Mapping[str, Any]) -> str | None:
    """Description of files that the study needs and a repository lacks, or None."""
    if name[0] == "model":
        return complaint(files, any(s.allow_pickles for s in sources(study, name[1])))
    missing = [file for file in data_files(study) if file not in files]
    return f"no such file: {_some(missing)}" if missing else None


def data_files(study: Study) -> list[str]:
    """The files of the study's data set."""
    return list(study.inputs.dataset.files) if study.inputs.dataset else []


def _change(name: Name, before: Pin | None, now: Pin | None) -> Iterator[str]:
    what = f"{name[1]} at {name[2]}"
    if now is None or "gap" in now or now == before:
        return
    if before is not None and "commit" in before:
        if before["commit"] != now["commit"]:
            yield f"moved: {what}: {before['commit'][:12]} -> {now['commit'][:12]}"
        return
    yield f"pinned: {what}: {now['commit'][:12]}"


def _all(lock: Lock) -> list[Name]:
    return [
        (kind, repo, revision)
        for kind, repos in lock.items()
        for repo, pins in repos.items()
        for revision in pins
    ]


def gaps(lock: Lock) -> list[str]:
    """The gaps of a lock, a line each."""
    return [
        f"gap: {repo} at {revision}: {pin['gap']}"
        for repos in lock.values()
        for repo, pins in repos.items()
        for revision, pin in pins.items()
        if "gap" in pin
    ]


def moved(study: Study, lock: Lock, ask: Ask) -> Pinning:
    """Which pinned names stand for another commit on the hub by now; the lock stays as it is."""
    done = Pinning(lock)
    pinned = [n for n in names(study) if "commit" in (pin_of(lock, n) or {})]
    for name, answer in zip(pinned, _asked(pinned, ask), strict=True):
        before = pin_of(lock, name) or {}
        if isinstance(answer, Gap):
            done.lines.append(f"gone: {answer}; its commit was {before['commit'][:12]}")
        elif isinstance(answer, RuntimeError):
            done.failures.append(str(answer))
        else:
            done.lines += _change(name, before, {"commit": answer.commit})
    return done
