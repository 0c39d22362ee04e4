"""A checkpoint on this machine: the files of it that are used, and a name that follows from them.

Plans read it as well as jobs, so nothing heavy is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from abspos.models.families import ModelError
from abspos.stores import file_digest, write_atomically

#: Weights as transformers looks for them, the first that is there.
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
#: Files of a tokenizer, as the tokenizers of transformers call them.
TOKENIZER = re.compile(
    r"tokenizer(\.[0-9.]+)?\.json|(tokenizer_config|special_tokens_map|added_tokens)\.json"
    r"|(vocab|vocab-src|vocab-tgt|target_vocab|entity_vocab|normalizer|byte_maps|emoji|word_shape"
    r"|word_pronunciation)\.json|(merges|vocab|dict)\.txt|.+\.(model|spm|tiktoken)|bpe\.codes"
)
#: Where digests are kept, in the folder of checkpoints.
CACHE = ".digests.json"
#: A file that changed less than so many seconds ago is digested again by the next plan: a further
#: change could leave the same times on it.
SETTLED = 2.0


def place(source: Mapping[str, Any], root: Path = Path()) -> Path:
    """Where a local source lies; its path is relative to ``root``."""
    return root / Path(source["path"]).expanduser()


def is_gguf(path: Path) -> bool:
    """Whether a path is that of a GGUF file."""
    return path.suffix.lower() == ".gguf" and not path.is_dir()


def used(path: Path) -> list[Path]:
    """The files of a local checkpoint that are used: of a folder config, weights and tokenizer.

    Raises:
        ModelError: there is no model that can be used; in one line.
    """
    if not os.path.lexists(path):
        kind = "file" if is_gguf(path) else "folder"
        raise ModelError(f"{path}: no such {kind}; correct the path of the source")
    if not path.is_dir():
        require_file(path)
        if not is_gguf(path):
            raise ModelError(
                f"{path}: no model; give a folder as transformers saves it, or a .gguf file"
            )
        return [path]
    found = [path / "config.json", *weights(path)]
    try:
        names = sorted(item.name for item in path.iterdir())
        found += [path / name for name in names if TOKENIZER.fullmatch(name)]
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); make it readable") from None
    for file in found:
        require_file(file)
    return found


def require_file(path: Path) -> None:
    """Refuse what is no regular file that can be read."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ModelError(f"{path}: a link to a file that does not exist; restore it") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); make it readable") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise ModelError(f"{path}: {kind}, not a file; put the file there")
    if not os.access(path, os.R_OK):
        raise ModelError(f"{path}: cannot be read (Permission denied); make it readable")


def weights(folder: Path) -> list[Path]:
    """The files that hold the weights of a checkpoint folder, with their index if there is one."""
    config = folder / "config.json"
    if not os.path.lexists(config):
        files = sorted(folder.glob("*.gguf"))
        cure = f"; give the file itself, {files[0]}" if files else ""
        raise ModelError(
            f"{folder}: no config.json there; a local model is a transformers folder{cure}"
        )
    named = stated(config).get("transformers_weights")
    wanted = [named] if isinstance(named, str) else [WEIGHTS, INDEX]
    for name in wanted:
        file = folder / name
        if isinstance(named, str):
            require_inside(file, folder, name, config)
        if not os.path.lexists(file):
            continue
        return [file, *shards(file)] if name.endswith(".json") else [file]
    others = sorted(folder.glob("*.safetensors"))
    if others:
        raise ModelError(
            f"{folder}: no {' and no '.join(wanted)} there, and transformers loads no other; "
            f"{others[0].name} alone is not enough: save the model with save_pretrained"
        )
    raise ModelError(
        f"{folder}: no safetensors there; pickled weights are not loaded: save the model with "
        "save_pretrained"
    )


def require_whole(path: Path) -> None:
    """Refuse a checkpoint folder with a weights file that is cut, or whose header is broken.

    Raises:
        ModelError: names the file, its size and that which its header states.
    """
    for file in weights(path):
        if file.suffix != ".safetensors":
            continue
        size, stated = file.stat().st_size, stated_size(file)
        if stated is None:
            raise ModelError(f"{file}: no header of safetensors in {size} bytes; get it again")
        if size != stated:
            raise ModelError(f"{file}: {size} bytes, its header states {stated}; get it again")


def stated_size(file: Path) -> int | None:
    """Size in bytes of a safetensors file by its header; None if that is no header."""
    with open(file, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:
            return None
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for n, entry in header.items() if n != "__metadata__"]
            return 8 + length + int(max(ends, default=0))
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return None


def shards(index: Path) -> list[Path]:
    """The files that an index of weights names.

    Raises:
        ModelError: it is no index, or names a file outside of its folder or one that is missing.
    """
    placed = stated(index).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise ModelError(
            f"{index}: no weight_map, so not an index of weights; save the model again"
        )
    found = []
    for name in sorted({str(value) for value in placed.values()}):
        file = index.parent / name
        require_inside(file, index.parent, name, index)
        if not os.path.lexists(file):
            raise ModelError(f"{index}: names {name!r}, which is not there; get the whole model")
        found.append(file)
    return found


def require_inside(file: Path, folder: Path, name: str, stating: Path) -> None:
    """Refuse a file that is named inside of a checkpoint and lies outside of its folder.

    Links into the blobs of the hub's cache are followed: there every file is such a link.
    """
    inside = {folder.resolve(), folder.resolve().parent.parent / "blobs"}
    plain = re.fullmatch(r"[^/\\]+", name) and name not in (".", "..")
    if not plain or (file.is_symlink() and file.resolve().parent not in inside):
        raise ModelError(
            f"{stating}: names {name!r}, which is outside of its folder; put the file there and "
            "name it without a path"
        )


def stated(path: Path) -> dict[str, Any]:
    """The mapping that a JSON file of a local checkpoint holds."""
    require_file(path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = next(iter(str(error).splitlines()), "")[:120] or type(error).__name__
        raise ModelError(f"{path}: cannot be read ({reason}); correct it") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path}: holds no mapping of keys to values; correct it")
    return found


def name_of(digests: Mapping[str, str]) -> str:
    """The revision that follows from file names and digests; of a GGUF file from its digest."""
    if len(digests) == 1:
        (whole,) = digests.values()
    else:
        lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
        whole = hashlib.sha256(lines.encode()).hexdigest()
    return f"local-{whole[:12]}"


def revision(path: Path, cache: Path) -> str:
    """The revision of a local checkpoint: a name that follows from the content of its used files.

    Args:
        path: a checkpoint folder, or a GGUF file.
        cache: a file that keeps digests, so that a plan reads large files once. An entry counts
            while a file's inode, size and times of change are those of its digest; what alters
            content and leaves all of them (a disk edited below its file system) is not seen.
    """
    digests = Digests(cache)
    name = name_of({file.name: digests.of(file) for file in used(path)})
    digests.keep()
    return name


def require_revision(files: Iterable[Path], expected: str, path: Path, cache: Path) -> None:
    """Refuse files whose content has not the name that the plan gave it.

    Names that do not follow from content are not compared.
    """
    if not re.fullmatch(r"local-[0-9a-f]{12}", expected):
        return
    found = name_of({file.name: file_digest(file) for file in files})
    if found != expected:
        cache.unlink(missing_ok=True)  # where it comes from a digest that was kept
        raise ModelError(
            f"{path}: its content is {found}, the plan was made for {expected}; it was changed "
            "meanwhile: run again"
        )


class Digests:
    """Digests of files, kept in a file from one plan to the next.

    The file is replaced whole. Of two plans that write at once one loses its entries, which its
    next run makes again; a file that cannot be read counts as empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.new: dict[str, list[Any]] = {}
        self.old = self._read()

    def of(self, file: Path) -> str:
        """SHA-256 of a file."""
        before = self._stamp(file)
        whole = str(file.resolve())
        entry = self.old.get(whole)
        if isinstance(entry, list) and entry[:-1] == before and _DIGEST.fullmatch(str(entry[-1])):
            return str(entry[-1])
        started = time.time_ns()
        try:
            digest = file_digest(file)
        except OSError as error:
            raise ModelError(
                f"{file}: cannot be read ({error.strerror}); make it readable"
            ) from None
        changed = max(before[2:])
        if self._stamp(file) == before and started - changed > SETTLED * 1e9:
            self.new[whole] = [*before, digest]
        return digest

    def keep(self) -> None:
        """Write what is new, if the place can be written to."""
        if self.new:
            with suppress(OSError):
                write_atomically(self.path, json.dumps(self._read() | self.new, indent=1) + "\n")

    @staticmethod
    def _stamp(file: Path) -> list[int]:
        # Without the device: its number differs between the machines of a cluster.
        found = file.stat()
        return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


_DIGEST = re.compile(r"[0-9a-f]{64}")


def revision_of(source: Mapping[str, Any], root: Path = Path()) -> str:
    """A revision name that follows from a source's content, for sources that have no revisions.

    Args:
        source: one ``models[].source`` of the config.
        root: what local paths are relative to; digests of large files are kept below it.

    Raises:
        ModelError: there is no model at a local path.
    """
    if source["type"] == "packaged":
        return str(source["file_sha256"])[:12]
    if source["type"] in ("random", "synthetic"):
        return f"seed-{source['seed']}"
    return revision(place(source, root), root / "results/checkpoints" / CACHE)
