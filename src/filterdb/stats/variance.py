"""The principal components of a layer's filters: how much variance lies along each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from filterdb.stats.moments import Moments

BLOCK = 16384 * 9  # weights a block: a shifted copy stays in the second-level cache
LARGE = 2**18  # weights from which on blocks are summed in their own precision
SAMPLE = 1000  # filters that a typical one is chosen from
SPREAD = 1e-6  # of the sum of squares

Floats = NDArray[np.float32] | NDArray[np.float64]


def entropy_of(variances: NDArray[np.float64]) -> float:
    """Entropy, to base 10, of the shares of a total; 0 where the total is 0."""
    total = variances.sum()
    if total <= 0:
        return 0.0
    shares = variances[variances > 0] / total
    return max(0.0, -float(shares @ np.log10(shares)))


def component_variances(
    filters: Floats,
    clean: NDArray[np.bool_],
    moments: tuple[Moments, Moments] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variances, times n, along the principal components: of all filters, of the clean ones.

    They are the squared singular values of the centred filters, by way of the smaller of the
    two Gram matrices; or of the moments of the clean and of the sparse filters, where these are
    known and precise enough.
    """
    n, taps = filters.shape
    if n <= taps:
        gram, clean_gram = centred_gram(filters), centred_gram(filters[clean])
    elif moments is not None and all(map(is_spread, (moments[0] + moments[1], moments[0]))):
        gram, clean_gram = scatter_of(moments[0] + moments[1]), scatter_of(moments[0])
    else:
        gram, clean_gram = scatter_matrices(filters, clean)
    return np.linalg.eigvalsh(gram).clip(min=0), np.linalg.eigvalsh(clean_gram).clip(min=0)


def scatter_of(moments: Moments) -> NDArray[np.float64]:
    """Scatter about the mean, shape ``(taps, taps)``, from sums that are not centred."""
    return moments.second - np.outer(moments.first, moments.first / max(1, moments.n))


def is_spread(moments: Moments) -> bool:
    """Whether a scatter is large enough beside the mean to survive the subtraction.

    Of float64's sixteen digits ten then remain; the measures need five.
    """
    return bool(scatter_of(moments).trace() >= SPREAD * moments.second.trace() > 0)


def centred_gram(filters: Floats) -> NDArray[np.float64]:
    """Gram matrix, shape ``(n, n)``, of a few filters less their mean."""
    if len(filters) == 0:
        return np.zeros((1, 1))
    centred = filters - filters[0].astype(np.float64)
    centred -= centred.mean(axis=0)
    gram: NDArray[np.float64] = centred @ centred.T
    return gram


def scatter_matrices(
    filters: Floats, clean: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scatter about the mean, shape ``(taps, taps)``, of all filters and of the clean ones.

    Sums of blocks are added in float64; within a block of a large float32 layer they are
    float32. The filters are shifted by one of them: equal filters have exactly zero variance,
    and as that one is near the mean, subtracting the mean costs no precision. Clean and sparse
    filters are summed apart and added for all, in one pass.
    """
    n, taps = filters.shape
    if filters.size < LARGE:
        filters = filters.astype(np.float64)
    origin = np.tile(typical_filter(filters, clean), max(1, BLOCK // taps))
    ones = np.ones(len(origin) // taps, filters.dtype)
    scratch = np.empty_like(origin)
    clean_sum, sparse_sum = np.zeros(taps), np.zeros(taps)
    clean_products, sparse_products = np.zeros((taps, taps)), np.zeros((taps, taps))
    for rows in blocks(filters.shape):
        flat = filters[rows].reshape(-1)
        shifted: Floats = np.subtract(flat, origin[: flat.size], out=scratch[: flat.size]).reshape(
            -1, taps
        )
        sparse = np.flatnonzero(~clean[rows])
        if sparse.size:
            apart = shifted[sparse]
            sparse_sum += apart.sum(axis=0)
            sparse_products += apart.T @ apart
            shifted[sparse] = 0
        # np.dot lets other threads run meanwhile; for products this small `@` does not.
        clean_sum += np.dot(ones[: len(shifted)], shifted)
        clean_products += np.dot(shifted.T, shifted)
    total, products = clean_sum + sparse_sum, clean_products + sparse_products
    n_clean = max(1, int(np.count_nonzero(clean)))
    return (
        products - np.outer(total, total / n),
        clean_products - np.outer(clean_sum, clean_sum / n_clean),
    )


def typical_filter(filters: Floats, clean: NDArray[np.bool_]) -> Floats:
    """The clean filter nearest the mean, in a sample spread over the layer."""
    found = np.flatnonzero(clean)
    sample: Floats = filters[found[:: max(1, found.size // SAMPLE)]] if found.size else filters[:1]
    distances = np.square(sample - sample.mean(axis=0, dtype=np.float64)).sum(axis=1)
    nearest: Floats = sample[np.argmin(distances)]
    return nearest


def blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the rows of a matrix of ``shape``, about :data:`BLOCK` elements each."""
    step = height(shape)
    return (slice(start, start + step) for start in range(0, shape[0], step))


def height(shape: tuple[int, ...]) -> int:
    """Rows in a block of a matrix of ``shape``."""
    return max(1, BLOCK // shape[1])
