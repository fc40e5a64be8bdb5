"""Whether filters differ at all: if none does, there are no patterns to draw."""

from __future__ import annotations

import numpy as np

from filterdb.stats.moments import Moments
from filterdb.stats.summary import Summary

ROUNDING = 1e-12
"""Share of the mean square below which a variance is an error of rounding."""


def varies(moments: Moments) -> bool:
    """Whether filters differ from one another by more than rounding.

    Parameters
    ----------
    moments
        Of the filters.
    """
    if not moments.n:
        return False
    squares = float(np.trace(moments.second)) / moments.n
    return float(np.trace(moments.covariance)) > ROUNDING * squares


def alike(summary: Summary) -> str:
    """That filters do not differ, as a sentence; empty where they do."""
    size = "{}×{}".format(*summary.kernel)
    if summary.n == 1:
        return f"There is only one filter of {size}, and so no difference to show."
    if not varies(summary.raw):
        return f"All {summary.n:,} filters of {size} are the same."
    if not varies(summary.scaled):
        return f"All {summary.n:,} filters of {size} are the same but for their strength."
    return ""
