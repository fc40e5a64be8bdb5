"""Names for keys: the member of the analytic family that explains one best, if any does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import KeySetError
from filterdb.keys.key_set import KeyName, KeySet
from filterdb.keys.naming.member_fit import (
    MemberFit,
    fit_coarsely,
    fit_finely,
    normalised,
    weights_at,
)
from filterdb.keys.naming.members import BY_NAME, FAMILY, PATTERNS
from filterdb.keys.naming.scale_space import Kernel, centres

Array = NDArray[np.float64]

NAMED = 0.7
"""R² from which a member lends a key its name [this project]: the published models of the eight
published keys explain 0.70 (key 1) to 0.99 of them. Of random Gaussian kernels, none of 500 of 7x7
and one of 1,000 of 5x5 gets a name, but 1 % of 3x5, 6 % of 1x9 and 17 % of 3x3."""
SIMPLER = 0.005
"""Share of a key's variance for which no parameter is spent [this project]."""
PROMISING = 0.05
"""Members whose best scale of a coarse grid is that much worse than another's are not refined."""


def name_key(
    filter_: NDArray[np.floating], *, number: int = 1, threshold: float = NAMED
) -> KeyName:
    """What the analytic family calls a filter.

    In a small kernel, many members are the same filter (in three taps, all symmetric ones are the
    identity), and a name says less than in a large one; R² is to be read with that in mind.

    Parameters
    ----------
    filter_
        Shape ``(kh, kw)``; offset and strength do not matter, the sign only for the words on- and
        off-centre.
    number
        It is ``"key 3"`` where no member fits.
    threshold
        R² from which a member fits.

    Returns
    -------
    KeyName
        With R² of the best member, whether or not that is enough for a name.

    Raises
    ------
    KeySetError
        The filter is constant or not finite.
    """
    fit = best_member(filter_)
    if fit.r2 < threshold:
        return KeyName(f"key {number}", r2=fit.r2)
    return KeyName(fit.text, fit.member.name, fit.sigma_x, fit.sigma_y, fit.r2)


def best_member(filter_: NDArray[np.floating]) -> MemberFit:
    """The simplest member that explains a filter nearly as well as the best does.

    Of the members whose R² is less than :data:`SIMPLER` below the best, those with the fewest
    parameters; of these a member of the scale space rather than a pattern; of these the one with
    the least scales: in 3x3 taps, a Gaussian is also some very broad second derivative.

    Raises
    ------
    KeySetError
        The filter is constant or not finite.
    """
    unit = normalised(filter_)
    coarse = [fit_coarsely(unit, member) for member in FAMILY]
    enough = max(fit.r2 for fit in coarse) - PROMISING
    fits = [fit_finely(unit, fit) for fit in coarse if fit.r2 >= enough]
    best = max(fit.r2 for fit in fits)
    return min((fit for fit in fits if fit.r2 >= best - SIMPLER), key=_complexity)


def _complexity(fit: MemberFit) -> tuple[int, bool, float]:
    """What the simplest member has least of."""
    scales = round((fit.sigma_x or 0.0) + (fit.sigma_y or 0.0), 3)
    return fit.member.parameters, fit.member in PATTERNS, scales


def name_keys(keys: KeySet, *, threshold: float = NAMED) -> KeySet:
    """A key set with the names that the analytic family gives its keys."""
    names = (
        name_key(key, number=number, threshold=threshold)
        for number, key in enumerate(keys.filters, 1)
    )
    return replace(keys, names=tuple(names))


def analytic(keys: KeySet, kernel: Kernel) -> KeySet:
    """The named members themselves, at another kernel size.

    Parameters
    ----------
    keys
        Every one with a name of the family (:func:`name_keys`).
    kernel
        Height and width. Where a side is even, members are centred on the first of its two middle
        taps.

    Returns
    -------
    KeySet
        Idealised keys of that size, with the signs of the originals; ``metadata["resized_from"]``
        says how they came about, and what was measured with the originals is left out.

    Raises
    ------
    KeySetError
        A key has no name, or the size has no room for one.
    """
    nameless = [text for text, name in zip(keys.texts, keys.names, strict=True)
                if name.member not in BY_NAME]  # fmt: skip
    if nameless:
        msg = (
            f"{', '.join(nameless)} of the key set {keys.name!r} cannot be brought to another size "
            "by the analytic family: no member of it explains them. Leave them out, or pad with "
            "zeros."
        )
        raise KeySetError(msg)
    filters = [
        _rendered(key, name, kernel) for key, name in zip(keys.filters, keys.names, strict=True)
    ]
    origin = "{}x{} by the analytic family".format(*keys.kernel)
    metadata = {**keys.origin, "resized_from": origin}
    return replace(keys, filters=np.stack(filters), metadata=metadata)


def _rendered(key: Array, name: KeyName, kernel: Kernel) -> Array:
    """A key's member at another size, with the weights and the sign that it has in the key."""
    member = BY_NAME[name.member or ""]
    own = key.shape[0], key.shape[1]
    sigma = name.sigma_x or 0.0, name.sigma_y or 0.0
    fits = [weights_at(normalised(key), member, sigma, centre) for centre in centres(own)]
    weights, r2 = max(fits, key=lambda fit: fit[1])
    if member.fits_in(kernel) and r2 > 0:
        result = member.kernel(kernel, sigma, weights=weights)
        if np.ptp(result) > 1e-9 * np.abs(result).max():
            return result
    size = "{}x{}".format(*kernel)
    msg = f"There is no {name.text!r} of sigma {sigma[0]:g} and {sigma[1]:g} in a {size} kernel."
    raise KeySetError(msg)
