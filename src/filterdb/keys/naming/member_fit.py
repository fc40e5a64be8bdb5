"""Least squares of a filter by a member of the analytic family, over its scales.

With offset and strength free, the least residual is where the squared cosine between the filter and
the member, both without their means, is greatest; that squared cosine is R².
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import KeySetError
from filterdb.keys.naming.grid_search import best_on, refined
from filterdb.keys.naming.members import Member, Part
from filterdb.keys.naming.scale_space import Kernel, centres, offsets, profile
from filterdb.keys.normal import CONSTANT

Array = NDArray[np.float64]
Centre = tuple[int, int]

STEPS = 33
EMPTY = 1e-10
"""Share of a member's energy that is more than rounding once its mean is taken away."""
TRIFLE = 1e-9
"""Of R²: more than rounding, less than anybody reads."""


@dataclass(frozen=True, slots=True)
class MemberFit:
    """A member at the scales that explain a filter best.

    Attributes
    ----------
    member
        Which.
    sigma_x, sigma_y
        In pixels, within 0 and the kernel's width and height (half of them for the Gaussian); None
        where it has none: the member has no scale, or the kernel a single tap along that axis.
    weights
        Of the member's parts, for the filter in normal form.
    centre
        Row and column of the tap it is centred on.
    r2
        Share of the filter's variance over its taps that it explains.
    """

    member: Member
    sigma_x: float | None
    sigma_y: float | None
    weights: tuple[float, ...]
    centre: Centre
    r2: float

    @property
    def text(self) -> str:
        """What the filter is called."""
        return self.member.text(self.weights)


def normalised(filter_: NDArray[np.floating]) -> Array:
    """A filter of shape ``(kh, kw)`` with mean 0 and norm 1.

    Raises
    ------
    KeySetError
        It is constant, not finite, or no filter at all.
    """
    exact = np.array(filter_, np.float64)
    if exact.ndim != 2 or exact.size < 2:
        msg = f"An array of shape {exact.shape} is no filter of shape (kh, kw) with two taps."
        raise KeySetError(msg)
    with np.errstate(invalid="ignore"):
        exact /= max(float(np.abs(exact).max()), 1e-300)
        exact -= exact.mean()
        norm = float(np.linalg.norm(exact))
    if not norm > CONSTANT:
        msg = "The filter is constant or not finite: it has no shape that could be named."
        raise KeySetError(msg)
    return exact / norm


def fit_least_squares(filter_: NDArray[np.floating], member: Member) -> MemberFit:
    """The scales at which a member explains a filter best, within bounds.

    Parameters
    ----------
    filter_
        Shape ``(kh, kw)``; offset, strength and sign do not matter.
    member
        One of :data:`~filterdb.keys.naming.members.FAMILY`.

    Returns
    -------
    MemberFit
        With ``r2`` 0 where the kernel has no room for the member.

    Raises
    ------
    KeySetError
        The filter is constant or not finite.
    """
    return fit_finely(normalised(filter_), fit_coarsely(normalised(filter_), member))


def fit_coarsely(unit: Array, member: Member) -> MemberFit:
    """The best of a grid of scales, for a filter in normal form."""
    kernel = unit.shape[0], unit.shape[1]
    best = MemberFit(member, None, None, (0.0,) * len(member.parts), centres(kernel)[0], 0.0)
    if not member.fits_in(kernel):
        return best
    for centre in centres(kernel):
        point, _ = best_on(partial(_worth, unit, member, centre), _axes(kernel, member))
        found = _fit(unit, member, centre, point)
        if found.r2 > best.r2 + EMPTY:
            best = found
    return best


def fit_finely(unit: Array, coarse: MemberFit) -> MemberFit:
    """Refine the scales of a fit."""
    kernel = unit.shape[0], unit.shape[1]
    if coarse.r2 == 0 or not coarse.member.scaled:
        return coarse
    objective = partial(_worth, unit, coarse.member, coarse.centre)
    sigma = coarse.sigma_y or 0.0, coarse.sigma_x or 0.0
    start = [np.sqrt(value / size) for value, size in zip(sigma, kernel, strict=True)]
    point, _ = refined(objective, _axes(kernel, coarse.member), start)
    return _fit(unit, coarse.member, coarse.centre, point)


def weights_at(
    unit: Array, member: Member, sigma: tuple[float, float], centre: Centre
) -> tuple[tuple[float, ...], float]:
    """Least-squares weights of a member's parts at ``(sigma_x, sigma_y)``, and R²."""
    y, x = (np.array([value]) for value in (sigma[1], sigma[0]))
    weights, r2 = _solved(*_products(unit, member, centre, y, x))
    return tuple(float(weight[0, 0]) for weight in weights), float(min(r2[0, 0], 1.0))


def _fit(unit: Array, member: Member, centre: Centre, point: tuple[float, ...]) -> MemberFit:
    """The fit at a point of the search."""
    height, width = unit.shape
    sigma_y, sigma_x = round(height * point[0] ** 2, 9), round(width * point[1] ** 2, 9)
    weights, r2 = weights_at(unit, member, (sigma_x, sigma_y), centre)
    x = sigma_x if member.scaled and width > 1 else None
    y = sigma_y if member.scaled and height > 1 else None
    return MemberFit(member, x, y, weights, centre, r2)


def _axes(kernel: Kernel, member: Member) -> list[Array]:
    """Square roots of sigma beside the kernel's size: small scales are the ones that differ."""
    grid = np.linspace(0, np.sqrt(member.broadest), STEPS)
    return [grid if member.scaled and size > 1 else np.zeros(1) for size in kernel]


def _worth(unit: Array, member: Member, centre: Centre, y: Array, x: Array) -> Array:
    """R² at every combination of scales, given as the square roots of :func:`_axes`.

    Where a scale makes no difference (along three taps, all odd profiles are one), the least is
    best by a trifle.
    """
    height, width = unit.shape
    sigma_y, sigma_x = height * np.square(y), width * np.square(x)
    r2 = _solved(*_products(unit, member, centre, sigma_y, sigma_x))[1]
    return r2 - TRIFLE * np.add.outer(y, x)


def _products(
    unit: Array, member: Member, centre: Centre, sigma_y: Array, sigma_x: Array
) -> tuple[list[Array], list[list[Array]]]:
    """Inner products of the parts with the filter, and with one another, their means taken away.

    All terms are separable, so that each is a product of matrices, and no kernel is built.
    """
    y, x = offsets((unit.shape[0], unit.shape[1]), centre)
    columns = {name: profile(name, sigma_y, y) for part in member.parts for _, name, _ in part}
    rows = {name: profile(name, sigma_x, x) for part in member.parts for _, _, name in part}

    def product(one: Part, other: Part) -> Array:
        total = np.zeros((len(sigma_y), len(sigma_x)))
        for weight, v, u in one:
            for factor, q, p in other:
                vertical = np.einsum("ij,ij->i", columns[v], columns[q])
                horizontal = np.einsum("ij,ij->i", rows[u], rows[p])
                total += weight * factor * np.outer(vertical, horizontal)
        means = _sum(one) * _sum(other) / unit.size
        return np.where(np.abs(total - means) > EMPTY * np.abs(total), total - means, 0)

    def _sum(part: Part) -> Array:
        return sum((weight * np.outer(columns[v].sum(axis=1), rows[u].sum(axis=1))
                    for weight, v, u in part), np.zeros(()))  # fmt: skip

    inner = [
        sum((weight * columns[v] @ unit @ rows[u].T for weight, v, u in part), np.zeros(()))
        for part in member.parts
    ]
    return inner, [[product(one, other) for other in member.parts] for one in member.parts]


def _solved(inner: list[Array], gram: list[list[Array]]) -> tuple[list[Array], Array]:
    """Weights of one sign that explain most, and the share that they explain."""
    alone = [_divided(value, gram[i][i]) for i, value in enumerate(inner)]
    shares = [weight * value for weight, value in zip(alone, inner, strict=True)]
    if len(inner) == 1:
        return alone, shares[0]
    first = shares[0] >= shares[1]
    weights = [np.where(first, alone[0], 0), np.where(first, 0, alone[1])]
    share = np.maximum(*shares)
    determinant = gram[0][0] * gram[1][1] - gram[0][1] ** 2
    determinant = np.where(determinant > EMPTY * gram[0][0] * gram[1][1], determinant, 0)
    both = [_divided(inner[0] * gram[1][1] - inner[1] * gram[0][1], determinant),
            _divided(inner[1] * gram[0][0] - inner[0] * gram[0][1], determinant)]  # fmt: skip
    of_one_sign = both[0] * both[1] > 0
    weights = [np.where(of_one_sign, b, w) for b, w in zip(both, weights, strict=True)]
    share = np.where(of_one_sign, both[0] * inner[0] + both[1] * inner[1], share)
    return weights, share


def _divided(value: Array, by: Array) -> Array:
    """0 where a member is constant."""
    return np.divide(value, by, out=np.zeros_like(value), where=by > 0)
