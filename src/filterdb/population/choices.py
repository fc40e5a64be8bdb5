"""Settings that are one of a few words."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from filterdb.errors import QueryError

PRESETS = ("reference", "cvpr2022", "cvprw2022", "medneurips2022")
"""The fixed basis and bins, and the papers' settings (``scan.presets``), without importing them."""
WEIGHTINGS = ("filters", "layers")
"""What counts once: each filter, so that large layers dominate, or each layer."""

WEIGHTS = ("stored", "raw", "folded")
"""Which weights of the layers: see :mod:`filterdb.population.variants`."""


def check_choice(what: str, value: str, known: Sequence[str]) -> None:
    """Make sure that a setting is one of those that exist."""
    if value not in known:
        close = get_close_matches(value, known, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        msg = f"There is no {what} {value!r}.{hint} There are: {', '.join(known)}."
        raise QueryError(msg)
