"""What conditions need, by the beginnings of their names."""

#: Conditions that put BOS at position 0, or need its embedding.
NEEDS_BOS = ("bos", "swap-noise", "control-", "exchange-")


def needs_bos(condition: str) -> bool:
    """Whether a condition cannot be had without a BOS token."""
    return condition.startswith(NEEDS_BOS)
