"""The decomposition of attention into relative part, causal mask and residual stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from abspos.components.decomposition import decompose

__all__ = ["decompose"]


def __getattr__(name: str) -> Any:
    """Import the public functions when they are first used: torch and xarray take a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from abspos.components import decomposition

    return getattr(decomposition, name)
