"""The public functions of ``import abspos``, and where each of them is defined."""

from __future__ import annotations

#: Module of each public name.
HOMES = {
    "decompose": "abspos.components.decomposition",
    "energies": "abspos.api.arrays",
    "load_components": "abspos.api.results",
    "open_results": "abspos.api.results",
}
