"""The two lenses that components are seen through; without torch, for all later rooms.

Source: docs/method.md, section 1.
"""

from __future__ import annotations

#: Logits in nats, and attention probabilities.
LENSES = ("log", "probability")
