"""Write the small darknet files that the reader is tested with, and their arrays.

OpenCV reads the format and is no dependency of this project. To run it::

    python -m venv /tmp/v && /tmp/v/bin/pip install "opencv-python-headless<5"
    /tmp/v/bin/python scripts/make_reader_files/darknet_files.py tests/readers/files/darknet

The numbers of the ``.weights`` are written one layer after another as darknet does. Beside each
file lies an ``.npz``: the weights of each convolution as OpenCV has read them, in the order of the
layers. OpenCV folds no normalisation in: it keeps one as a layer, whose factors are ``NAME/bn``.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import cv2
import numpy as np

OUT = Path(sys.argv[1])
RANDOM = np.random.default_rng(4)

PLAIN = """
# comments come first
[net]
width=32
height=24
channels=3

[convolutional]
batch_normalize=1
filters=6
size=3
stride=1
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
batch_normalize=1
filters=6
groups=6
size=3
stride=2
pad=1
activation=leaky

[convolutional]
filters=8
size=1
stride=1
pad=1
activation=linear

[convolutional]
batch_normalize=1
filters=8
size=3
stride=1
pad=1
activation=leaky

[shortcut]
from=-2
activation=linear

[route]
layers=-1,-3

[route]
layers=-1
groups=2
group_id=1

[upsample]
stride=2

[convolutional]
filters=4
size=3
stride=1
pad=1
activation=linear
"""


def numbers(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def layers() -> list[tuple[bool, tuple[int, int, int, int]]]:
    """Whether each convolution of the configuration is normalised, and its shape."""
    return [
        (True, (6, 3, 3, 3)),
        (True, (6, 1, 3, 3)),
        (False, (8, 6, 1, 1)),
        (True, (8, 8, 3, 3)),
        (False, (4, 8, 3, 3)),
    ]


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "plain.cfg").write_text(PLAIN)
    with (OUT / "plain.weights").open("wb") as file:
        file.write(struct.pack("<iiiq", 0, 2, 5, 64000))
        for normed, shape in layers():
            file.write(numbers(shape[0]).tobytes())
            if normed:
                for values in (numbers(shape[0]), numbers(shape[0]), np.abs(numbers(shape[0])) + 1):
                    file.write(values.tobytes())
            file.write(numbers(*shape).tobytes())
    network = cv2.dnn.readNetFromDarknet(str(OUT / "plain.cfg"), str(OUT / "plain.weights"))
    found = {}
    for name in network.getLayerNames():
        if network.getLayer(name).type == "Convolution":
            found[name] = network.getParam(name, 0)
        elif network.getLayer(name).type == "BatchNorm":
            found[name] = np.stack([network.getParam(name, i).ravel() for i in range(4)])
    np.savez_compressed(OUT / "plain.npz", **found)


if __name__ == "__main__":
    main()
