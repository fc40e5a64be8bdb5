"""What is known of one layer after one epoch, a row of whatever the records go to."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Record:
    """One convolution layer after one epoch; numbers that are not defined are None.

    Attributes
    ----------
    epoch
        Epochs done: 0 is the state before the first.
    layer, index, kernel, kind, n_filters
        The layer's name, its position among the convolution layers, the height and width of its
        filters in taps, what it is, and how many filters it has.
    sparsity, variance_entropy, randomness_threshold, entropy_ratio, orthogonality
        As :func:`filterdb.check` has them (METHODS 1.4).
    verdict, reason
        As :func:`filterdb.check` has them; weights that are NaN or infinite are ``invalid``.
    shift
        The divergence D between the shapes of the layer's filters now and at the start, in the
        fixed basis of their size (METHODS 1.3). None for 1x1 filters, which have no shape.
    shift_null
        The D that chance alone hardly exceeds (95th percentile): that of as many filters drawn
        afresh from the distribution that the layer started from. **A shift below it is no
        finding**: small layers have a large D whatever happens, about 2.5 for 100 filters of 3x3
        and 0.15 for 1,000.
    relative_l2
        ``||w - w0|| / ||w0||`` of all weights of the layer: 0 where nothing moved; None where the
        start is all zero. It has no noise of sampling, but depends on the scale of the weights.
    cosine
        Of the weights now and at the start, as vectors; 1 where nothing but their scale changed.
    """

    epoch: int
    layer: str
    index: int
    kernel: tuple[int, int]
    kind: str
    n_filters: int
    sparsity: float | None
    variance_entropy: float | None
    randomness_threshold: float | None
    entropy_ratio: float | None
    orthogonality: float | None
    verdict: str
    reason: str
    shift: float | None
    shift_null: float | None
    relative_l2: float | None
    cosine: float | None


COLUMNS = tuple(field.name for field in fields(Record))
SCALARS = ("sparsity", "variance_entropy", "entropy_ratio", "orthogonality", "shift",
           "shift_null", "relative_l2", "cosine")  # fmt: skip
"""The columns that make a curve over the epochs."""
