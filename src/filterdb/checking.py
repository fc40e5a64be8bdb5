"""``check``: one network in, measures and a verdict with reasons for every layer out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import while_reading
from filterdb.layer import ConvLayer, ModelFile
from filterdb.reading import Source, read
from filterdb.stats.quality import LayerQuality, layer_quality
from filterdb.stats.sparsity import SPARSITY_EPS
from filterdb.stats.summary import LayerSummary
from filterdb.stats.verdict import DEFAULT_THRESHOLDS, Thresholds, layer_verdict, model_verdict
from filterdb.stats.zeros import Zeros, count_zeros
from filterdb.threads import map_in_threads
from filterdb.variant import Weights, count_states

if TYPE_CHECKING:
    import pandas as pd

Visitor = Callable[[ConvLayer, NDArray[np.float32]], LayerSummary | None]

MEASURES = ("sparsity", "variance_entropy", "randomness_threshold", "entropy_ratio",
            "orthogonality")  # fmt: skip
"""The measures of the JSON contract; ``LayerCheck.quality`` has all of them."""

SIDE_BY_SIDE = 2**20
"""Weights in a network from which on threads are worth their start."""


@dataclass(frozen=True, slots=True)
class LayerCheck:
    """One layer's measures and verdict.

    Attributes
    ----------
    layer
        The layer, with its place in the network.
    quality
        Every measure of METHODS 1.4.
    verdict
        healthy | sparse | low diversity | random | undecided | undefined | invalid.
    reason
        Why, in words and numbers.
    zeros
        Weights that are exactly 0.
    """

    layer: ConvLayer
    quality: LayerQuality
    verdict: str
    reason: str
    zeros: Zeros

    def to_dict(self) -> dict[str, Any]:
        """The layer as in the JSON of ``filterdb check``; undefined numbers are None."""
        layer = self.layer
        return {
            "name": layer.name,
            "index": layer.index,
            "kernel": list(layer.kernel),
            "kind": layer.kind,
            "out_channels": layer.out_channels,
            "in_per_group": layer.in_per_group,
            "groups": layer.groups,
            "n_filters": layer.n_filters,
            **{name: getattr(self.quality, name) for name in MEASURES},
            "verdict": self.verdict,
            "reason": self.reason,
            "zeros": asdict(self.zeros),
            "weight_state": layer.state,
            "state_evidence": layer.evidence,
        }


@dataclass(frozen=True, slots=True, repr=False)
class Check:
    """The health of one network: a row a layer, verdicts, and what they cover.

    Attributes
    ----------
    file
        The network as read.
    layers
        One row a convolution layer, in order.
    verdict
        healthy | degenerate | undecided | invalid | undefined.
    reasons
        Why, as sentences, the weightiest first. (How the file was read, where that needed a
        choice, is in ``file.notes``.)
    degenerate_share
        Share of the filters with shape statistics that sit in degenerate layers; None where
        no layer has any.
    """

    file: ModelFile
    layers: tuple[LayerCheck, ...]
    verdict: str
    reasons: tuple[str, ...]
    degenerate_share: float | None

    @property
    def coverage(self) -> dict[str, int]:
        """Convolution layers found, those with shape statistics, and their filters."""
        return {
            "conv_layers": len(self.layers),
            "analysed": sum(row.verdict not in ("undefined", "invalid") for row in self.layers),
            "filters": self.file.n_filters,
        }

    @property
    def weights(self) -> dict[str, Any]:
        """Which weights were asked for, and how many layers there are of each state."""
        return {"asked": self.file.weights, **(self.file.states or count_states(self.file.layers))}

    def to_dict(self) -> dict[str, Any]:
        """The check as in the JSON of ``filterdb check``."""
        return {
            "file": self.file.source,
            "format": self.file.format,
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "coverage": self.coverage,
            "weights": self.weights,
            "degenerate_share": self.degenerate_share,
            "notes": list(self.file.notes),
            "skipped": [asdict(item) for item in self.file.skipped],
            "layers": [row.to_dict() for row in self.layers],
        }

    def to_pandas(self) -> pd.DataFrame:
        """One row a layer, with every measure (needs the extra ``pandas``)."""
        from filterdb.extras import data_frame

        return data_frame([row.to_dict() | asdict(row.quality) for row in self.layers])

    def __repr__(self) -> str:
        covered = self.coverage
        return (
            f"<Check {self.file.source!r}: {self.verdict}; {covered['analysed']} of "
            f"{covered['conv_layers']} layers analysed, {covered['filters']:,} filters>"
        )

    def _repr_html_(self) -> str:
        from html import escape

        head = ("layer", "kernel", "kind", "filters", *MEASURES, "verdict", "reason")
        rows = [
            (
                row.layer.name,
                "x".join(map(str, row.layer.kernel)),
                row.layer.kind,
                f"{row.layer.n_filters:,}",
                *(shown(getattr(row.quality, name)) for name in MEASURES),
                row.verdict,
                row.reason,
            )
            for row in self.layers
        ]
        cells = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
        )
        title = "".join(f"<th>{name}</th>" for name in head)
        return f"<p>{escape(repr(self))}</p><table><tr>{title}</tr>{cells}</table>"


def shown(value: float | None) -> str:
    """A measure for people: three decimals, a dash where it is undefined."""
    return "–" if value is None else f"{value:.3f}"


def check(
    source: Source,
    *,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    weights: Weights = "stored",
) -> Check:
    """Measure every convolution layer of a network and say which are healthy.

    Parameters
    ----------
    source
        Whatever :func:`filterdb.read` takes: a path, a mapping, a live module.
    thresholds
        Where the verdicts change; see :class:`~filterdb.stats.verdict.Thresholds`.
    weights
        As :func:`filterdb.read` takes them.

    Returns
    -------
    Check
        One row a layer, a verdict for the network, and the coverage.

    Raises
    ------
    ReadError
        The source could not be read.
    """
    return check_model(read(source, weights=weights), thresholds=thresholds)


def check_model(
    file: ModelFile,
    *,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    visit: Visitor | None = None,
) -> Check:
    """Measure a network that has been read; one layer a core is in memory at a time.

    Parameters
    ----------
    file
        The network.
    thresholds
        Where the verdicts change.
    visit
        Called once a layer, in order, with its float32 weights of shape
        ``(C_out, C_in/groups, kh, kw)``: for who wants them too (ingest), so that nothing is
        read twice; if it returns their summary, no moment is taken twice, either. It keeps the
        layers in one thread.

    Raises
    ------
    ReadError
        A layer's weights could not be read; the error names the layer.
    """
    if visit is None and sum(prod(layer.shape) for layer in file.layers) >= SIDE_BY_SIDE:
        rows = tuple(map_in_threads(partial(check_layer, thresholds=thresholds), file.layers))
    else:
        rows = tuple(check_layer(layer, thresholds, visit) for layer in file.layers)
    model = model_verdict(
        [(row.verdict, row.layer.n_filters, row.layer.name) for row in rows], thresholds
    )
    return Check(
        file=file,
        layers=rows,
        verdict=model.name,
        reasons=model.reasons,
        degenerate_share=model.degenerate_share,
    )


def check_layer(
    layer: ConvLayer, thresholds: Thresholds = DEFAULT_THRESHOLDS, visit: Visitor | None = None
) -> LayerCheck:
    """Measure one layer."""
    with while_reading(layer=layer.name):
        weights = layer.weights
    summary = None if visit is None else visit(layer, weights)
    moments = None
    if summary is not None and thresholds.sparsity_eps == SPARSITY_EPS:  # parted at the same one
        moments = summary.clean.raw, summary.sparse.raw
    quality = layer_quality(weights, sparsity_eps=thresholds.sparsity_eps, moments=moments)
    verdict = layer_verdict(quality, layer.kernel, thresholds)
    return LayerCheck(layer, quality, verdict.name, verdict.reason, count_zeros(weights))
