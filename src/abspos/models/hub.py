"""The model hub: what a name stands for, and files at a commit, compared with the hub's digests.

All goes through huggingface_hub, so its settings hold: HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE,
HF_HOME and HF_HUB_CACHE, HF_HUB_DOWNLOAD_TIMEOUT. A connection that is cut off goes on where it
stopped; a job that is killed keeps the files that were whole.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (  # HTTPError: the base of what its HTTP library raises
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from abspos.models.families import SAYS, says
from abspos.models.gaps import Gap
from abspos.models.listed import COMMIT, digest_as, is_file

log = logging.getLogger("abspos")

#: How often something is asked for before the hub counts as out of reach, and seconds before the
#: second time; twice as many before each further one.
ATTEMPTS, WAIT = 4, 1.0
#: Files from so many bytes on are worth a line when they are fetched.
LARGE = 10_000_000

#: How the client says that a file came shorter than stated.
CUT_SHORT = "Consistency check failed"
T = TypeVar("T")


class HubError(RuntimeError):
    """The hub, or the way to it, refuses or fails; the revision itself may be sound."""


@dataclass(frozen=True)
class Listing:
    """A revision as the hub lists it.

    Attributes:
        commit: the commit that its name stands for, 40 hexadecimal digits.
        files: by name: ``bytes``, and ``sha256``, or for small files ``sha1``: git's own digest.
        says: what its small files say that plans need (abspos.models.families.says); empty if not
            asked.
    """

    commit: str
    files: dict[str, dict[str, Any]]
    says: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def listing(repo: str, revision: str, kind: str = "model") -> Listing:
    """Ask the hub what a branch, tag or commit stands for, and which files it holds.

    Raises:
        Gap: there is no such revision.
        HubError: the hub is out of reach, the repository is not there, or it is gated.
    """
    what = f"{repo} at {revision}"
    info: Any = answer_to(
        lambda: HfApi().repo_info(
            repo,
            revision=revision,
            repo_type=kind,
            files_metadata=True,
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        ),
        what,
    )
    files = {}
    for item in sorted(info.siblings or [], key=lambda item: str(item.rfilename)):
        digest = {"sha256": item.lfs.sha256} if item.lfs else {"sha1": item.blob_id}
        files[item.rfilename] = {"bytes": item.size, **digest}
    if not COMMIT.fullmatch(str(info.sha)) or not all(map(is_file, files, files.values())):
        raise HubError(f"{what}: {_odd()}")
    return Listing(str(info.sha), files)


def _odd() -> str:
    """Error text for an answer without metadata, with its cure."""
    return (
        f"{constants.ENDPOINT} does not answer with a repository's metadata; check "
        "HF_ENDPOINT and the network's proxy, and run again"
    )


def read_too(repo: str, found: Listing) -> Listing:
    """A listing of a model, with what its config and its tokenizer's config say.

    Raises:
        Gap, HubError: see download.
    """
    wanted = {f"{n}.json": found.files[f"{n}.json"] for n in SAYS if f"{n}.json" in found.files}
    for path in download(repo, found.commit, wanted).values():
        return replace(found, says=says(path.parent))
    return found


def download(
    repo: str, commit: str, files: Mapping[str, Mapping[str, Any]], kind: str = "model"
) -> dict[str, Path]:
    """Bring files of a commit into the hub's cache, each compared with its digest.

    Args:
        repo: the repository.
        commit: which commit.
        files: of a Listing.
        kind: of the repository: ``model`` or ``dataset``.

    Returns:
        Where each file lies, by its name.

    Raises:
        Gap: a file is not there, or not the one that is listed, however often it is fetched.
        HubError: see listing; or there is no room.
    """
    require_room(
        repo, {name: facts for name, facts in files.items() if not cached(repo, commit, name, kind)}
    )
    return {name: _fetched(repo, commit, name, facts, kind) for name, facts in files.items()}


def cached(repo: str, commit: str, name: str, kind: str) -> bool:
    """Whether the hub's cache holds a file."""
    return isinstance(try_to_load_from_cache(repo, name, revision=commit, repo_type=kind), str)


def _fetched(repo: str, commit: str, name: str, facts: Mapping[str, Any], kind: str) -> Path:
    what = f"{repo} at {commit[:12]}, {name}"
    if facts["bytes"] >= LARGE:
        log.info("fetching %s, %.0f MB", what, facts["bytes"] / 1e6)
    for again in (False, True):
        path = Path(
            answer_to(
                partial(
                    hf_hub_download,
                    repo,
                    name,
                    revision=commit,
                    repo_type=kind,
                    force_download=again,
                ),
                what,
            )
        )
        found = digest_as(path, facts)
        if all(found[key] == facts[key] for key in found):
            return path
        log.warning("%s: not the listed file; fetching it again", what)
    ((key, value),) = found.items()
    raise Gap(
        f"{what}: its {key} is {value}, the lock states {facts[key]}; the hub or the mirror serves "
        "another file than it lists"
    )


def require_room(repo: str, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse what the disk of the hub's cache has no room for."""
    cache = Path(constants.HF_HUB_CACHE)
    place = next(p for p in (cache, *cache.absolute().parents) if p.exists())
    wanted, free = sum(facts["bytes"] for facts in files.values()), shutil.disk_usage(place).free
    if wanted > free:
        raise HubError(
            f"{repo}: {wanted / 1e9:.1f} GB to fetch, {free / 1e9:.1f} GB free in {cache}; make "
            "room, or set HF_HOME to a folder that has it"
        )


def answer_to(call: Callable[[], T], what: str) -> T:
    """The answer to a call of the client, repeated while the failure may pass.

    Raises:
        Gap: the revision or file is not there.
        HubError: anything else that the client raises, in one line with its cure.
    """
    for attempt in range(ATTEMPTS):
        try:
            return call()
        except (HTTPError, OSError, OfflineModeIsEnabled) as error:
            if attempt + 1 == ATTEMPTS or not may_pass(error):
                raise one_line_error(error, what) from error
            log.info("%s: %s; trying again", what, first_line(error))
            time.sleep(WAIT * 2**attempt)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            # The client takes any answer for what it hopes for: HTML, null, a list.
            raise HubError(f"{what}: {_odd()} ({first_line(error)})") from error
    raise AssertionError("ATTEMPTS is at least 1")


def may_pass(error: BaseException) -> bool:
    """Whether a failure may pass by itself: a busy hub, a connection that was cut off."""
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return status in (408, 429) or status >= 500
    if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
        return False  # the client has tried several times itself, or must not
    return isinstance(error, HTTPError) or CUT_SHORT in str(error)


def one_line_error(error: BaseException, what: str) -> RuntimeError:
    """One-line error for a failure of the client."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if constants.HF_HUB_OFFLINE:
        return HubError(
            f"{what}: not in the cache of the hub, and HF_HUB_OFFLINE is set; unset it, or fetch "
            f"it where there is a network and bring {constants.HF_HUB_CACHE}"
        )
    if isinstance(error, GatedRepoError) or status == 403:
        return HubError(
            f"{what}: gated; accept its terms on its page of the hub, set HF_TOKEN to your token, "
            "and run again"
        )
    if isinstance(error, RepositoryNotFoundError) or status == 401:
        return HubError(
            f"{what}: no such repository, or a private one: correct its name, or set HF_TOKEN to a "
            "token that may read it"
        )
    if isinstance(error, RevisionNotFoundError):
        return Gap(f"{what}: no such revision")
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return Gap(f"{what}: no such file")
    if CUT_SHORT in str(error):
        return Gap(
            f"{what}: the hub or the mirror sends fewer bytes than it lists, at every attempt"
        )
    return HubError(
        f"{what}: {constants.ENDPOINT} does not serve it ({first_line(error.__cause__ or error)}); "
        "check the network and HF_ENDPOINT, and run again"
    )


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
