"""The one layout of convolution weights: ``(C_out, C_in/groups, kh, kw)``."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray


def transposed_to_out_first(weights: NDArray[Any], groups: int) -> NDArray[Any]:
    """Bring the weights of a transposed convolution into the layout of an ordinary one.

    PyTorch and ONNX store them input first. No value changes: the taps of each filter stay as
    they are (they are not flipped).

    Parameters
    ----------
    weights
        Shape ``(C_in, C_out/groups, kh, kw)``; any number of kernel axes will do.
    groups
        Number of groups, a divisor of ``C_in``.

    Returns
    -------
    ndarray
        Shape ``(C_out, C_in/groups, kh, kw)``; a view for one group.

    Examples
    --------
    >>> transposed_to_out_first(np.zeros((8, 3, 2, 2)), 4).shape
    (12, 2, 2, 2)
    """
    into, out_per_group, *kernel = weights.shape
    if groups < 1 or into % groups:
        msg = f"{groups} groups do not divide the {into} input channels of shape {weights.shape}."
        raise ValueError(msg)
    split = weights.reshape(groups, into // groups, out_per_group, *kernel)
    return split.swapaxes(1, 2).reshape(groups * out_per_group, into // groups, *kernel)


def out_first_shape(shape: tuple[int, ...], groups: int) -> tuple[int, ...]:
    """The shape that :func:`transposed_to_out_first` gives, without the array."""
    into, out_per_group, *kernel = shape
    return (groups * out_per_group, into // groups, *kernel)
