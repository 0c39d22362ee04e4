"""Certificates of the packaged model in each precision: ``python -m benchmarks.precision``.

Whether bfloat16 is compared layer by layer or, as float32 is, through the depth of two forward
passes: what is one layer's rounding, and how far two right passes drift apart.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer

from abspos.activations import certificates
from abspos.activations.capture import NAME, Attention, forward, listening
from abspos.models.loading import load

ROOT = Path(__file__).resolve().parent.parent
ARMS: dict[str, dict[str, Any]] = {
    "standard": {},
    "ntk": {"rope": {"rope_type": "ntk", "factor": 8}},
    "window": {"window": 32},
    "untrained": {"untrained": True},
    "untrained-window": {"untrained": True, "window": 32},
}
NUMBERS = ("output", "weights", "states", "logits")


def inputs(checkpoint: Path, number: int, length: int) -> torch.Tensor:
    """BOS and the first tokens of documents of the corpus (input, position)."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    lines = (ROOT / "resources/corpus/austen.jsonl").read_text().splitlines()[:number]
    rows = [tokenizer(json.loads(line)["text"]).input_ids[: length - 1] for line in lines]
    return torch.tensor([[tokenizer.bos_token_id, *row] for row in rows])


@torch.no_grad()
def errors(checkpoint: Path, tokens: torch.Tensor, arm: str, dtype: str) -> dict[str, Any]:
    """The certificate of one arm."""
    model = load(checkpoint, ARMS[arm], tokens.shape[1], dtype, "cpu", 0)
    model.set_attn_implementation(NAME)
    given = model.get_input_embeddings()(tokens)
    stored: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def keep(seen: Attention) -> None:
        stored[seen.layer] = seen.query.float().numpy(), seen.key.float().numpy()

    with listening(keep):
        forward(model, given, None)
    return certificates.certify(model, given, None, stored, ARMS[arm].get("window"), dtype)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--inputs", type=int, default=2)
    parser.add_argument("--length", type=int, default=128)
    o = parser.parse_args()
    tokens = inputs(o.checkpoint, o.inputs, o.length)
    # What is beyond tolerance shall be shown, not refused.
    certificates.TOLERANCE.update(
        {dtype: dict.fromkeys(t, math.inf) for dtype, t in certificates.TOLERANCE.items()}
    )
    print("| arm | dtype | compared |", " | ".join(NUMBERS), "|")
    print("| --- " * (3 + len(NUMBERS)) + "|")
    for arm in ARMS:
        for dtype, by_layer in (("float32", ()), ("bfloat16", ("bfloat16",)), ("bfloat16", ())):
            certificates.BY_LAYER = set(by_layer)
            found = errors(o.checkpoint, tokens, arm, dtype)
            shown = ["" if not found[n] else f"{found[n]:.2g}" for n in NUMBERS]
            how = "layer by layer" if by_layer else "through depth"
            print(f"| {arm} | {dtype} | {how} |", " | ".join(shown), "|", flush=True)


if __name__ == "__main__":
    main()
