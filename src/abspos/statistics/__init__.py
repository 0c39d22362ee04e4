"""Energies, their intervals and tests, and the tables made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from abspos.statistics.energies import energy, jackknife

__all__ = ["energy", "jackknife"]


def __getattr__(name: str) -> Any:
    """Import the public functions when they are first used: torch and xarray take a second."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from abspos.statistics import energies

    return getattr(energies, name)
