"""TensorFlow's layouts of convolution weights, and the way to ``(C_out, C_in/groups, kh, kw)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from filterdb.layer import Loader


@dataclass(frozen=True, slots=True)
class Layout:
    """How a weight of four axes lies in the file.

    Attributes
    ----------
    axes
        The axes of the file in the order output, input, height, width; of a depthwise weight
        input channel, multiplier, height, width.
    depthwise
        The first two together are the output channels.
    """

    axes: tuple[int, int, int, int]
    depthwise: bool = False

    def shape(self, stored: Sequence[int]) -> tuple[int, int, int, int]:
        """The shape that :meth:`apply` gives."""
        out, into, height, width = (stored[axis] for axis in self.axes)
        return (out * into, 1, height, width) if self.depthwise else (out, into, height, width)

    def apply(self, load: Loader) -> NDArray[Any]:
        """Load, and bring into the order ``(C_out, C_in/groups, kh, kw)``."""
        stored = load()
        return stored.transpose(self.axes).reshape(self.shape(stored.shape))


HWIO = Layout((3, 2, 0, 1))
HWOI = Layout((2, 3, 0, 1))
DEPTHWISE = Layout((2, 3, 0, 1), depthwise=True)
