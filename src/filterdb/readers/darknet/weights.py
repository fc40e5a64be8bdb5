"""The numbers in a darknet ``.weights``, in the order in which darknet writes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, ReadError
from filterdb.readers.darknet.config import Section

CUT = "the .weights file ends before this layer"
LARGEST = 2**40
NO_WEIGHTS = frozenset(
    {
        "maxpool", "local_avgpool", "avgpool", "route", "shortcut", "sam", "scale_channels",
        "upsample", "reorg", "reorg3d", "crop", "dropout", "cost", "softmax", "yolo", "region",
        "detection", "gaussian_yolo", "activation", "logistic", "l2norm", "normalization", "iseg",
        "empty", "silence", "contrastive",
    }
)  # fmt: skip
FORMER_NORM = ("scales", "mean", "variance")


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the numbers: their version, and how many bytes it takes."""

    version: tuple[int, int, int]
    size: int

    @property
    def transposed(self) -> bool:
        """Whether fully connected layers are stored the other way round."""
        return self.version[0] > 1000 or self.version[1] > 1000


def read_header(start: bytes) -> Header:
    """Three numbers of four bytes, and the images seen: in four bytes, and in eight from 0.2 on.

    Raises
    ------
    CorruptFileError
        The file is shorter.
    """
    version = tuple(int.from_bytes(start[i : i + 4], "little", signed=True) for i in (0, 4, 8))
    major, minor, revision = version
    wide = major * 10 + minor >= 2 and major < 1000 and minor < 1000
    size = 20 if wide else 16
    if len(start) < size:
        msg = "The .weights file is shorter than its header: download or copy it again."
        raise CorruptFileError(msg)
    return Header((major, minor, revision), size)


def sizes_of(layer: Section) -> dict[str, int] | str:
    """What a layer has in the file, in order; or why that is not known."""
    if layer.integer("dontload") or "share_layer" in layer.options:
        return {}
    channels = layer.into[2]
    filters = layer.integer("filters", 1)
    area = layer.integer("size", 1) ** 2
    norm = layer.normalised and not layer.integer("dontloadscales")
    match layer.type:
        case "convolutional" | "deconvolutional":
            former = dict.fromkeys(FORMER_NORM if norm else (), filters)
            groups = max(layer.groups, 1) if layer.type == "convolutional" else 1
            return {"biases": filters, **former, "weights": channels // groups * filters * area}
        case "connected":
            out, into = layer.out[2], layer.into[0] * layer.into[1] * channels
            latter = dict.fromkeys(FORMER_NORM if norm else (), out)
            return {"biases": out, "weights": into * out, **latter}
        case "local":
            places = layer.out[0] * layer.out[1]
            return {"biases": filters * places, "weights": area * channels * filters * places}
        case "batchnorm":
            return dict.fromkeys(FORMER_NORM, channels)
    if layer.type in NO_WEIGHTS and not layer.options.get("weights_type"):
        return {}
    return f"how much a layer of type [{layer.type:.40}] takes is not known"


class Numbers:
    """The file as float32, read from its beginning.

    Raises
    ------
    CorruptFileError
        Its length is not that of whole numbers.
    """

    def __init__(self, data: NDArray[np.uint8], header: Header) -> None:
        if (len(data) - header.size) % 4:
            msg = "The .weights file does not end with a whole number: it is cut short."
            raise CorruptFileError(msg)
        self.values = data[header.size :].view("<f4")
        self.position = 0

    def take(self, sizes: dict[str, int]) -> dict[str, NDArray[np.float32]]:
        """The next runs of numbers, unread."""
        runs = {}
        for name, count in sizes.items():
            runs[name] = self.values[self.position : self.position + count]
            self.position += count
        return runs


def find_runs(
    layers: list[Section], numbers: Numbers
) -> tuple[dict[int, dict[str, NDArray[np.float32]]], str]:
    """What each layer has, up to the end or the first whose size is not known; and why.

    A file that ends between two layers is the beginning of a network, as darknet cuts them for
    training further.

    Raises
    ------
    ReadError
        It ends within a layer, or has more than the layers take.
    """
    found: dict[int, dict[str, NDArray[np.float32]]] = {}
    for index, layer in enumerate(layers):
        sizes = sizes_of(layer)
        if isinstance(sizes, str):
            return found, sizes
        wanted, left = sum(sizes.values()), len(numbers.values) - numbers.position
        if min(sizes.values(), default=0) < 0 or wanted > LARGEST:
            msg = f"The layer {index} of its .cfg file ([{layer.type:.40}]) has no sound size."
            raise CorruptFileError(msg)
        if wanted and not left and found:
            return found, CUT
        if wanted > left:
            msg = (
                f"The layer {index} ([{layer.type:.40}]) takes {wanted:,} numbers of the .weights "
                f"file, which has {left:,} left: it is cut short, or belongs to another .cfg."
            )
            raise CorruptFileError(msg)
        if wanted:
            found[index] = numbers.take(sizes)
    if numbers.position < len(numbers.values):
        rest = len(numbers.values) - numbers.position
        msg = (
            f"The .weights file has {rest:,} numbers more than the layers of the .cfg take: the "
            "two do not belong together. Put the .cfg that it was trained with beside it."
        )
        raise ReadError(msg)
    return found, ""
