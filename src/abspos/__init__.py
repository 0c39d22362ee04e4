"""abspos: where does absolute position come from in decoder-only transformers?

Public functions, each imported when it is first used: ``decompose`` and ``energies`` of logits,
``open_results`` and ``load_components`` of what a study wrote.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """A public function, or the version."""
    # By its text: every job imports this package, and none may depend on its public functions.
    homes = import_module("abspos.api").HOMES
    if name in homes:
        return getattr(import_module(homes[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("abspos")
    raise AttributeError(f"module 'abspos' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return sorted([*import_module("abspos.api").HOMES, "__version__"])
