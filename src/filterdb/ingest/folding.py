"""A layer as it is with the batch normalisation that follows it: measured beside the stored one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from filterdb.checking import check_layer
from filterdb.errors import ReadError
from filterdb.layer import ConvLayer
from filterdb.stats.basis import Kernel
from filterdb.stats.folding import STORED_SCALE, folded
from filterdb.stats.summary import LayerSummary
from filterdb.store.folded import FoldedLayer
from filterdb.variant import fold

Summarise = Callable[[Kernel, NDArray[np.float32]], LayerSummary | None]


def measure_folded(
    layer: ConvLayer, weights: NDArray[np.float32], summarise: Summarise
) -> FoldedLayer | None:
    """Measure a layer as folded.

    Parameters
    ----------
    layer
        A layer as stored.
    weights
        Its weights.
    summarise
        Gives the summary of weights of a kernel size, None where they have none.

    Returns
    -------
    FoldedLayer or None
        None where no norm follows, or its parameters are not known or cannot be read: the layer
        itself is sound.
    """
    try:
        found = fold(layer)
    except ReadError:
        return None
    if found is None:
        return None
    values = folded(weights, found.scale)
    summary = summarise(layer.kernel, values)
    row = check_layer(replace(layer, load=lambda: values), visit=lambda *_: summary)
    measures = asdict(row.quality) | {"verdict": row.verdict, "reason": row.reason}
    return FoldedLayer(found.scale.astype(STORED_SCALE).tobytes(), measures, summary)
