"""A checkpoint's own tokenizer: loaded, and held against the model that it stands beside.

Apart from models, which needs torch: inputs are drawn without it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class TokenizerError(RuntimeError):
    """A tokenizer that is not there, cannot be read, or belongs to another model."""


def has_code(folder: Path) -> bool:
    """Whether a checkpoint comes with code of its own that may run: it was put there only if the
    study's config says so."""
    return any(Path(folder).glob("*.py"))


def tokenizer_of(folder: Path) -> Any:
    """The tokenizer of a checkpoint folder; nobody is asked whether code may run.

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
                "allow_remote_code: true beside a hub source"
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
            f"{size - 1}; it is another model's tokenizer: give the source its own"
        )
