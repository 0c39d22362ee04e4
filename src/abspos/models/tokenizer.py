"""A checkpoint's own tokenizer: loaded, and held against the model that it stands beside.

What its tokens mean to a study: text without special tokens, single tokens to swap in.

Apart from models, which needs torch: inputs are drawn without it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol


class TokenizerError(RuntimeError):
    """A tokenizer that is not there, cannot be read, or belongs to another model."""


class Tokenizer(Protocol):
    """Interface of a tokenizer for reading text."""

    def __call__(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool) -> Any:
        """A mapping with the token ids of a text under ``input_ids``."""


def plain_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of a text; the mark of a special token in it, ``<s>`` say, is text like any other.

    A vocabulary may have such a mark as a piece of text none the less: see control_ids.
    """
    found = tokenizer(text, add_special_tokens=False, split_special_tokens=True)
    return list(found["input_ids"])


def unknown_id(tokenizer: Any) -> int | None:
    """The id that a tokenizer gives to text that it has no token for; None where there is none.

    What its vocabulary does decides, where that can be seen: byte-level ones have a token for every
    text, and some of their configs name a special token as the unknown one all the same.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    unknown = tokenizer.unk_token_id if backend is None else backend_unknown(backend)
    other = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    return None if unknown is None or unknown in other else int(unknown)


def backend_unknown(backend: Any) -> int | None:
    """The unknown token of what tokenizer.json holds."""
    if hasattr(backend.model, "unk_token"):
        name = backend.model.unk_token
        return None if name is None else backend.token_to_id(name)
    return json.loads(backend.to_str())["model"].get("unk_id")  # of a Unigram, which alone knows


def control_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of special tokens, BOS among them, which no text holds; not the unknown token."""
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset({*tokenizer.all_special_ids, *added} - {unknown_id(tokenizer)})


def single_token(tokenizer: Any, text: str) -> int:
    """The token id of a text that can be swapped in for BOS.

    Raises:
        TokenizerError: it is several tokens or none, BOS itself, or unknown to the tokenizer.
    """
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise TokenizerError(
            f"swap_tokens: {text!r} is {len(ids)} tokens for this tokenizer; list single tokens"
        )
    token = int(ids[0])
    what = ""
    if token == tokenizer.bos_token_id:
        what = "this tokenizer's BOS, so that the arm is inert"
    elif token == unknown_id(tokenizer):
        what = "unknown to this tokenizer"
    elif token in control_ids(tokenizer) and tokenizer.convert_ids_to_tokens(token) != text:
        what = f"read as the special token {tokenizer.convert_ids_to_tokens(token)!r}"
    if what:
        raise TokenizerError(f"swap_tokens: {text!r} is {what}; list another token")
    return token


def prepends_bos(tokenizer: Any) -> bool:
    """Whether a tokenizer puts BOS in front of a text by itself."""
    if tokenizer.bos_token_id is None:
        return False
    try:
        ids = tokenizer("a")["input_ids"]
    except Exception:  # a vocabulary of words may have neither it nor an unknown token
        ids = tokenizer("")["input_ids"]
    return list(ids[:1]) == [tokenizer.bos_token_id]


def has_code(folder: Path) -> bool:
    """Whether a checkpoint has code of its own, which is only fetched if the config allows it."""
    return any(Path(folder).glob("*.py"))


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a checkpoint folder, loaded without a prompt about remote code.

    Raises:
        TokenizerError: there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=has_code(folder)
        )
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise TokenizerError(
                f"{folder}: its tokenizer needs code of its own, which runs only with "
                "allow_remote_code: true in a hub source"
            ) from error
        reason = next(iter(str(error).splitlines()), "")[:120] or type(error).__name__
        raise TokenizerError(
            f"{folder}: its tokenizer cannot be loaded ({reason}); give the source the tokenizer's "
            "files, tokenizer.json and tokenizer_config.json, beside config.json"
        ) from error


def require_fit(folder: Path, largest: int) -> None:
    """Refuse a token id that the model of a checkpoint folder has no embedding for.

    Raises:
        TokenizerError: there are fewer embeddings.
    """
    try:
        config = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
    except OSError:  # planted models have none
        return
    size = config.get("vocab_size")
    if size is not None and largest >= size:
        raise TokenizerError(
            f"{folder}: its tokenizer gives token id {largest}, its model has embeddings for 0 to "
            f"{size - 1}; it belongs to another model: give the source the right tokenizer"
        )
