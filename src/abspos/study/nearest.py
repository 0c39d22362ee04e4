"""The probable meaning of a mistyped word."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

#: Share of the letters of two words in the same order, at least, where one may stand for the other.
NEAR = 0.75


def nearest(word: Any, options: Iterable[str]) -> str | None:
    """The option that a mistyped word most likely stands for, or None if none is near.

    Near are three quarters of the letters in the same order, or the same letters; and where both
    have as many parts between hyphens, each part: control-foo is not meant to be control-noop.
    """
    if not isinstance(word, str):
        return None
    word = word.casefold()
    folded = {option.casefold(): option for option in options}
    close = difflib.get_close_matches(word, folded, len(folded) or 1, NEAR)
    close += [option for option in folded if _same_letters(word, option)]
    return next((folded[one] for one in close if _near(word, one)), None)


def _near(word: str, option: str) -> bool:
    """Whether each part of an option is near, of one that is near as a whole."""
    parts = [re.split("[-_]", text) for text in (word, option)]
    return len(parts[0]) != len(parts[1]) or all(
        (abs(len(a) - len(b)) == 1 and (a in b or b in a))  # one letter too few or too many
        or _same_letters(a, b)
        or difflib.SequenceMatcher(None, a, b).ratio() >= NEAR
        for a, b in zip(*parts, strict=True)
    )


def _same_letters(word: str, option: str) -> bool:
    return len(word) == len(option) and sorted(word) == sorted(option)
