"""``diff``: two networks in, what changed between them out, layer by layer."""

from __future__ import annotations

from functools import partial
from math import prod

from filterdb.checking import SIDE_BY_SIDE
from filterdb.comparing.layer_diff import LayerDiff, compare_layers
from filterdb.comparing.matching import match_layers
from filterdb.comparing.result import ChangedFilter, Diff
from filterdb.layer import ModelFile
from filterdb.reading import Source, read
from filterdb.stats.verdict import DEFAULT_THRESHOLDS, Thresholds
from filterdb.threads import map_in_threads
from filterdb.variant import Weights, in_variant

__all__ = ["ChangedFilter", "Diff", "LayerDiff", "diff"]


def diff(
    a: Source | ModelFile,
    b: Source | ModelFile,
    *,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    weights: Weights = "stored",
) -> Diff:
    """Compare two networks: which layers belong together, and how far each moved.

    Fine-tuned, pruned, quantised, exported or converted ones: layers find one another by name,
    by their weights whatever they are called, else by order and shape.

    Parameters
    ----------
    a, b
        Before and after: whatever :func:`filterdb.read` takes, or what it returned.
    thresholds
        Where the verdicts change.
    weights
        As :func:`filterdb.read` takes them; of what it returned already, only ``"stored"`` is
        left as it is.

    Returns
    -------
    Diff
        One row a matched layer, the layers without a counterpart, and a summary in sentences.

    Raises
    ------
    ReadError
        One of them could not be read; the error names the file.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype("f4")
    >>> diff({"conv1.weight": weights}, {"module.conv1.weight": weights}).identical
    True
    """
    file_a, file_b = (
        in_variant(source, weights)
        if isinstance(source, ModelFile)
        else read(source, weights=weights)
        for source in (a, b)
    )
    matches = match_layers(file_a, file_b)
    compare = partial(compare_layers, thresholds=thresholds, files=(file_a.source, file_b.source))
    if sum(prod(match.a.shape) for match in matches) >= SIDE_BY_SIDE:
        rows = map_in_threads(compare, matches)
    else:
        rows = [compare(match) for match in matches]
    matched = {match.a.index for match in matches}, {match.b.index for match in matches}
    return Diff(
        file_a,
        file_b,
        tuple(rows),
        tuple(layer for layer in file_a.layers if layer.index not in matched[0]),
        tuple(layer for layer in file_b.layers if layer.index not in matched[1]),
    )
