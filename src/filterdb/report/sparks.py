"""Small pictures as the ``d`` of an SVG path: the templates have the markup, this has the numbers.

All are drawn into a box of ``WIDTH`` x ``HEIGHT`` with the origin at its upper left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 72.0, 20.0
LEAST = 0.6  # height of a bar that is there at all


def bars(values: Sequence[float] | NDArray[np.floating]) -> str:
    """Bars side by side, the largest as high as the box.

    Parameters
    ----------
    values
        Not negative, finite.

    Returns
    -------
    str
        Empty where nothing is above 0.
    """
    given = np.asarray(values, np.float64)
    if not given.size or not given.max() > 0:
        return ""
    heights = given / given.max() * HEIGHT
    step = WIDTH / heights.size
    gap = min(1.0, step / 4)
    return "".join(
        f"M{short(place * step)} {short(HEIGHT)}v-{short(max(height, LEAST))}"
        f"h{short(step - gap)}V{short(HEIGHT)}z"
        for place, height in enumerate(heights)
        if given[place] > 0
    )


def cells(chosen: Sequence[int], *, joined: bool) -> str:
    """Cells of a strip, one unit wide and high, at the places chosen.

    ``joined`` makes one of neighbours, for strips of many cells.
    """
    runs: list[list[int]] = []
    for place in sorted(chosen):
        if joined and runs and place == runs[-1][1]:
            runs[-1][1] = place + 1
        else:
            runs.append([place, place + 1])
    return "".join(f"M{start} 0h{end - start}v1H{start}z" for start, end in runs)


def short(number: float) -> str:
    """A coordinate with two decimals at most."""
    return f"{number:.2f}".rstrip("0").rstrip(".") or "0"
