"""The layouts of Keras kernels, and the way from each to ``(C_out, C_in/groups, kh, kw)``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.layer import Convolution, Loader
from filterdb.readers.keras.config import LayerFacts

KERNEL = re.compile(r"(^|_)(kernel|W|param_0)$")
CLASSES = {
    "depthwise_conv2d": "DepthwiseConv2D", "depthwiseconv2d": "DepthwiseConv2D",
    "separable_conv2d": "SeparableConv2D", "separableconv2d": "SeparableConv2D",
    "separableconvolution2d": "SeparableConv2D",
    "conv2d_transpose": "Conv2DTranspose", "conv2dtranspose": "Conv2DTranspose",
    "convolution2dtranspose": "Conv2DTranspose", "deconvolution2d": "Deconvolution2D",
    "conv2d": "Conv2D", "convolution2d": "Conv2D", "atrousconvolution2d": "Conv2D",
    "locally_connected2d": "LocallyConnected2D", "locallyconnected2d": "LocallyConnected2D",
}  # fmt: skip
AUTOMATIC_NAME = re.compile(f"({'|'.join(CLASSES)})(_[0-9]+)?")
"""Names that Keras gives to layers that the user has not named: they tell the class."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a kernel lies in the file.

    Attributes
    ----------
    axes
        The axes of the file in the order output, input, height, width; of a depthwise kernel
        input channel, multiplier, height, width.
    depthwise
        The first two axes together are the output channels.
    flipped
        The kernel is that of a true convolution (Theano): its taps run backwards.
    """

    axes: tuple[int, int, int, int]
    depthwise: bool = False
    flipped: bool = False

    def shape(self, stored: Sequence[int]) -> tuple[int, int, int, int]:
        """The shape that :meth:`apply` gives."""
        out, into, height, width = (stored[axis] for axis in self.axes)
        return (out * into, 1, height, width) if self.depthwise else (out, into, height, width)

    def apply(self, load: Loader) -> NDArray[Any]:
        """Load and bring into the order ``(C_out, C_in/groups, kh, kw)``."""
        stored = load()
        values = np.transpose(stored, self.axes)
        if self.flipped:
            values = values[:, :, ::-1, ::-1]
        return values.reshape(self.shape(stored.shape))


HWIO = (3, 2, 0, 1)
OIHW = (0, 1, 2, 3)
HWOI = (2, 3, 0, 1)


def known_class(names: Sequence[str], facts: LayerFacts | None) -> str | None:
    """The class of a layer: stated, or told by an automatic name; None where it is not known."""
    if facts is not None:
        return CLASSES.get(facts.class_name.lower(), facts.class_name)
    for name in reversed(names):
        match = AUTOMATIC_NAME.fullmatch(name)
        if match:
            return CLASSES[match[1]]
    return None


def layout_of(
    variable: str, class_name: str | None, *, theano_order: bool, flipped: bool
) -> Layout | None:
    """The layout of a 4-D variable; None where it is no kernel.

    Parameters
    ----------
    variable
        Its name within the layer: ``"kernel"``, ``"depthwise_kernel"``, ``"conv1_W"``.
    class_name
        Class of the layer, or None.
    theano_order
        Keras 1 with ``dim_ordering="th"``: output and input channels come first.
    flipped
        Written under the Theano backend.
    """
    if not KERNEL.search(variable):
        return None
    if "depthwise" in variable or class_name == "DepthwiseConv2D":
        return Layout((1, 0, 2, 3) if theano_order else HWOI, depthwise=True)
    if "pointwise" in variable:
        return Layout(OIHW if theano_order else HWIO)
    if class_name == "Conv2DTranspose":
        return Layout(HWOI, flipped=flipped)
    return Layout(OIHW if theano_order else HWIO, flipped=flipped)


def convolution_of(
    layout: Layout, stored: Sequence[int], class_name: str | None, facts: LayerFacts | None,
    variable: str, *, may_be_grouped: bool,
) -> Convolution | None:  # fmt: skip
    """What is known of the convolution; None where only its neighbours can tell."""
    config: Mapping[str, Any] = facts.config if facts else {}
    depth = facts.depth if facts else None
    stride = pair(config.get("strides", config.get("subsample")))
    dilation = pair(config.get("dilation_rate", config.get("atrous_rate")))
    out, _, _, _ = layout.shape(stored)
    if layout.depthwise:
        return Convolution(stored[layout.axes[0]], stride=stride, dilation=dilation, depth=depth)
    if "pointwise" in variable:
        behind = None if depth is None else depth + 1
        return Convolution(1, stride=(1, 1), dilation=(1, 1), depth=behind)
    if class_name in {"Conv2DTranspose", "Deconvolution2D"}:
        return Convolution(1, transposed=True, stride=stride, dilation=dilation, depth=depth)
    if class_name != "Conv2D" or (facts is None and may_be_grouped):
        return None
    groups = config.get("groups", 1)
    valid = type(groups) is int and groups > 0 and out % groups == 0
    known = groups if valid else None
    return Convolution(known, stride=stride, dilation=dilation, depth=depth)


def pair(value: Any) -> tuple[int, int] | None:
    """A stride or dilation as (height, width)."""
    if type(value) is int:
        return value, value
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(v) is int for v in value):
        return value[0], value[1]
    return None


def channels_first(kernels: Sequence[tuple[Sequence[int], int | None]]) -> bool | None:
    """Whether kernels of one file lie as OIHW rather than HWIO, weighed over all of them.

    Parameters
    ----------
    kernels
        Shape of each 4-D kernel, and the length of its bias (its output channels) or None.

    Returns
    -------
    bool or None
        None where nothing decides.
    """
    votes = 0
    for (a, b, c, d), outputs in kernels:
        if outputs is not None and (a == outputs) != (d == outputs):
            votes += 4 if a == outputs else -4
        if (a == b) != (c == d):
            votes += 1 if c == d else -1
        if (a * b > 225) != (c * d > 225):  # no kernel in use is larger than 15 x 15
            votes += 2 if a * b > 225 else -2
    return votes > 0 if votes else None
