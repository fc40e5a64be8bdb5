"""The analytic family: the filters of the discrete Gaussian scale space, each with its name.

Kernels are arrays as networks hold them, which cross-correlate. The *names* of the derivatives
follow the published ones, which read the arrays as convolution kernels, with ``x`` to the right and
``y`` **upwards**: the forward difference ``f(y + 1) - f(y)`` is then positive one row *below* the
middle. A key and its negative are one key, so that signs do not matter; they only tell on-centre
from off-centre.

A difference of Gaussians of two scales near one another is the Laplacian of the Gaussian, because
``dT/ds`` is half the Laplacian of ``T``; one whose narrow Gaussian is a single tap is the
``centre-surround`` member, ``identity - alpha Laplacian of T`` with ``alpha`` of at least 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.naming.scale_space import Kernel, centres, offsets, profile

Array = NDArray[np.float64]
Term = tuple[float, str, str]
"""Weight, and the operators along y and x (:func:`~filterdb.keys.naming.scale_space.profile`)."""
Part = tuple[Term, ...]

ON_CENTRE: Part = ((-1, "second", "smooth"), (-1, "smooth", "second"))
"""The negative of the five-point Laplacian of T."""


@dataclass(frozen=True, slots=True)
class Member:
    """A filter with up to two scales.

    Attributes
    ----------
    name
        What it is called.
    description
        A sentence.
    parts
        The member is a sum of them with weights of one sign; one part but for ``centre-surround``.
    taps
        Least height and width of a kernel that has room for it.
    scaled
        It has a ``sigma_x`` and a ``sigma_y``.
    polar
        It comes on-centre and off-centre.
    broadest
        Largest sigma, beside the size of the kernel along its axis.
    """

    name: str
    description: str
    parts: tuple[Part, ...]
    taps: tuple[int, int] = (1, 1)
    scaled: bool = True
    polar: bool = False
    broadest: float = 1.0

    @property
    def parameters(self) -> int:
        """How many numbers are free, besides offset and strength."""
        return 2 * self.scaled + len(self.parts) - 1

    def fits_in(self, kernel: Kernel) -> bool:
        """Whether the kernel has room for it, and more than one tap."""
        return kernel[0] >= self.taps[0] and kernel[1] >= self.taps[1] and max(kernel) > 1

    def text(self, weights: tuple[float, ...]) -> str:
        """Its name, with the sign where that has one."""
        if not self.polar:
            return self.name
        sign = "on-centre" if sum(weights) >= 0 else "off-centre"
        return sign if len(self.parts) > 1 else f"{self.name} {sign}"

    def kernel(
        self,
        size: Kernel,
        sigma: tuple[float, float],
        *,
        weights: tuple[float, ...] | None = None,
        centre: tuple[int, int] | None = None,
    ) -> Array:
        """The member at some scales.

        Parameters
        ----------
        size
            Height and width.
        sigma
            ``(sigma_x, sigma_y)`` in pixels.
        weights
            Of the parts; 1 each if not given.
        centre
            Row and column; the (first) middle tap if not given.

        Returns
        -------
        ndarray
            Float64 of shape ``size``, neither centred nor normalised.
        """
        y, x = offsets(size, centre or centres(size)[0])
        result = np.zeros(size)
        for factor, part in zip(weights or (1.0,) * len(self.parts), self.parts, strict=True):
            for weight, along_y, along_x in part:
                column = profile(along_y, sigma[1], y)[0]
                row = profile(along_x, sigma[0], x)[0]
                result += factor * weight * np.outer(column, row)
        return result


def _derivative(name: str, along_y: str, along_x: str, description: str) -> Member:
    """A difference of the Gaussian; it takes as many taps as the operator has."""
    taps = {"smooth": 1, "forward": 2, "backward": 2, "central": 3, "second": 3}
    needs = taps[along_y], taps[along_x]
    return Member(name, description, (((1, along_y, along_x),),), needs)


SCALE_SPACE: tuple[Member, ...] = (
    Member("identity", "The middle tap alone.", (((1, "point", "point"),),), scaled=False),
    # Broader, and flat within the kernel, it would be a line, which is a second derivative.
    Member("Gaussian", "The discrete Gaussian.", (((1, "smooth", "smooth"),),), broadest=0.5),
    _derivative("d/dx", "smooth", "central", "Central difference along x of the Gaussian."),
    _derivative("d/dy", "central", "smooth", "Central difference along y of the Gaussian."),
    _derivative("d/dx forward", "smooth", "forward", "Forward difference along x."),
    _derivative("d/dx backward", "smooth", "backward", "Backward difference along x."),
    _derivative("d/dy forward", "forward", "smooth", "Forward difference along y."),
    _derivative("d/dy backward", "backward", "smooth", "Backward difference along y."),
    _derivative("d2/dx2", "smooth", "second", "Second difference along x of the Gaussian."),
    _derivative("d2/dy2", "second", "smooth", "Second difference along y of the Gaussian."),
    _derivative("d2/dxdy", "central", "central", "Central differences along x and y."),
    Member("Laplacian", "Five-point Laplacian of the Gaussian: a difference of Gaussians of near "
           "scales.", (ON_CENTRE,), (3, 3), polar=True),
    Member("centre-surround", "The identity less a multiple of the Laplacian of the Gaussian: "
           "sharpening, a difference of Gaussians whose narrow one is a single tap.",
           (((1, "point", "point"),), ON_CENTRE), (3, 3), polar=True),
)  # fmt: skip
PATTERNS: tuple[Member, ...] = (
    Member("box", "The mean over a rectangle that is smaller than the kernel.",
           (((1, "box", "box"),),)),
    Member("cross", "A row and a column with Gaussian profiles, through the whole kernel.",
           (((-1, "beside", "beside"),),), (3, 3)),
    Member("square", "The outline of a square of three by three taps, smoothed.",
           (((1, "three", "three"), (-1, "smooth", "smooth")),), (5, 5)),
)  # fmt: skip
FAMILY = SCALE_SPACE + PATTERNS
BY_NAME = {member.name: member for member in FAMILY}
