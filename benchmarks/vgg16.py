"""A network of the shape of VGG-16: 13 convolutions, 1.6 million 3x3 filters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
N_FILTERS = 1_634_496


def layers(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights by layer name, shape ``(C_out, C_in, 3, 3)``, as structured as trained ones.

    The filters vary along nine directions whose variances fall off, and one filter in fifty is
    near zero, so that the clean measures have work to do.
    """
    rng = np.random.default_rng(seed)
    found = {}
    channels = 3
    for i, width in enumerate(WIDTHS):
        basis, _ = np.linalg.qr(rng.standard_normal((9, 9)))
        filters = rng.standard_normal((width * channels, 9)) * 0.75 ** np.arange(9) @ basis
        filters[rng.random(len(filters)) < 0.02] *= 1e-4
        found[f"features.{i}.weight"] = (filters / np.sqrt(9 * channels)).astype(np.float32)
        found[f"features.{i}.weight"].shape = (width, channels, 3, 3)
        channels = width
    return found
