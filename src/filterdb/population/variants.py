"""Weights as stored, raw or folded: which of them a selection measures, and what is to be said.

Folding multiplies every filter of an output channel by one number. Its scaled shape stays, up to
the sign; what is measured over a layer changes: sparsity (and so which filters are sparse),
entropy, norms (METHODS 1.1). A comparison of some layers raw with others folded says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

STATES = ("raw", "folded", "no_norm", "unknown")
NOT_RAW = "a batch normalisation is folded into the weights: the raw ones are not known"
NO_SCALE = "raw, and the parameters of the batch normalisation that follows are not known"
CHANGED = (
    "Folding changes the sparsity, entropy and norms of a layer, and which of its filters are "
    "sparse (cvprw2022 leaves those out); scaled shapes stay, up to the sign"
)


def why_not(weights: str, state: str | None, scale: bytes | None) -> str | None:
    """The reason why a layer cannot be given as asked for; None where it can."""
    if weights == "raw" and state == "folded":
        return NOT_RAW
    if weights == "folded" and state == "raw" and scale is None:
        return NO_SCALE
    return None


def measured(states: Iterable[str | None], *, weights: str) -> dict[str, Any]:
    """What was asked for, and how many layers are measured in each state.

    A raw layer that is measured as folded counts as folded; one of a catalogue that says
    nothing counts as unknown.
    """
    count = Counter(state or "unknown" for state in states)
    if weights == "folded":
        count["folded"] += count.pop("raw", 0)
    return {"asked": weights, **{state: count[state] for state in STATES}}


def remarks(found: dict[str, Any]) -> tuple[str, ...]:
    """What to know of a result whose layers were measured in several states."""
    if found["asked"] == "stored":
        if not (found["raw"] and found["folded"]):
            return ()
        return (
            f"Weights as stored: {found['raw']:,} layers are raw and {found['folded']:,} have a "
            f"batch normalisation folded in. {CHANGED}. --weights folded compares like with like.",
        )
    if not found["unknown"]:
        return ()
    return (
        f"Of {found['unknown']:,} layers it is not known whether they are raw or folded: they are "
        f"taken as stored. {CHANGED}.",
    )
