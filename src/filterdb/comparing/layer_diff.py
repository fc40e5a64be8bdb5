"""One layer of one network beside its counterpart in another."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.checking import MEASURES, LayerCheck
from filterdb.comparing import relation
from filterdb.comparing.change import NO_CHANGE, Change, ChangedFilters, compare_weights
from filterdb.comparing.matching import Match, Matched
from filterdb.comparing.relation import relate
from filterdb.comparing.shift import layer_shift
from filterdb.errors import while_reading
from filterdb.layer import ConvLayer
from filterdb.stats.quality import LayerQuality, layer_quality
from filterdb.stats.shift import FEW_FILTERS
from filterdb.stats.summary import has_summary
from filterdb.stats.verdict import Thresholds, layer_verdict
from filterdb.stats.zeros import count_zeros

Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class LayerDiff:
    """A layer in two networks.

    Attributes
    ----------
    before, after
        The layer in each, with its measures and verdict.
    matched
        What told that they belong together: name | content | order.
    relation
        identical | rounded | scaled | scaled by channel | rearranged | pruned | quantised |
        changed | reshaped | invalid.
    note
        The relation in a sentence with its numbers; may be empty.
    change
        What became of the weights; None for another shape, or where one is NaN or infinite.
    shift
        D between the max-abs-scaled filters of the two, in the fixed basis of their size
        (METHODS 1.3); None for 1x1, for kernels that differ, and for very large ones.
    shift_null_p95
        95th percentile of D where before and after are exchanged at random, filter by filter
        (:func:`~filterdb.comparing.shift.layer_shift`); 0 for identical layers, None for too few
        filters.
    filters
        The most changed ones.
    """

    before: LayerCheck
    after: LayerCheck
    matched: Matched
    relation: relation.Name
    note: str = ""
    change: Change | None = None
    shift: float | None = None
    shift_null_p95: float | None = None
    filters: ChangedFilters = field(default_factory=ChangedFilters.none)

    @property
    def name(self) -> str:
        """Name in the first network."""
        return self.before.layer.name

    @property
    def distinguishable(self) -> bool:
        """Whether there is a shift that is more than chance.

        That is: whether the distribution of the filters' shapes changed by more than a random
        exchange of before and after changes it.
        """
        if self.shift is None or self.shift_null_p95 is None:
            return False
        return self.shift > self.shift_null_p95

    @property
    def few_filters(self) -> bool:
        """Whether there is a shift, of too few filters to mean much."""
        layers = (self.before.layer, self.after.layer)
        return self.shift is not None and min(la.n_filters for la in layers) < FEW_FILTERS

    def measure_changes(self) -> dict[str, float | None]:
        """After less before, for each measure of quality; None where either is undefined."""
        before, after = asdict(self.before.quality), asdict(self.after.quality)
        return {
            name: None if before[name] is None or after[name] is None else after[name] - old
            for name, old in before.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """The pair as in the JSON of ``filterdb diff``; undefined numbers are None."""
        changes = self.measure_changes()
        return {
            "name": self.name,
            "matched": self.matched,
            "relation": self.relation,
            "note": self.note,
            **(asdict(self.change) if self.change else dict.fromkeys(asdict(NO_CHANGE))),
            "shift": self.shift,
            "shift_null_p95": self.shift_null_p95,
            "few_filters": self.few_filters,
            "before": one_side(self.before),
            "after": one_side(self.after),
            "change": {name: changes[name] for name in MEASURES},
        }

    def to_row(self) -> dict[str, Any]:
        """The pair as one flat row, with every measure of both."""
        flat = self.to_dict()
        for side, check in (("before", self.before), ("after", self.after)):
            values = flat.pop(side) | asdict(check.quality)
            flat |= {f"{name}_{side}": value for name, value in values.items()}
        del flat["change"]
        return flat | {f"{name}_change": value for name, value in self.measure_changes().items()}


def one_side(row: LayerCheck) -> dict[str, Any]:
    """What the JSON says of a layer in one of the networks."""
    layer = row.layer
    return {
        "name": layer.name,
        "index": layer.index,
        "shape": list(layer.shape),
        "kind": layer.kind,
        "dtype": layer.dtype,
        "n_filters": layer.n_filters,
        **{name: getattr(row.quality, name) for name in MEASURES},
        "verdict": row.verdict,
    }


def compare_layers(match: Match, *, thresholds: Thresholds, files: tuple[str, str]) -> LayerDiff:
    """Measure a layer in two networks; nothing but this pair is in memory.

    Parameters
    ----------
    match
        The pair.
    thresholds
        Where the verdicts change.
    files
        Names of the two networks, for errors.

    Raises
    ------
    ReadError
        The weights of one could not be read; the error names file and layer.
    """
    a, b = (load(layer, file) for layer, file in zip((match.a, match.b), files, strict=True))
    quality = layer_quality(a, sparsity_eps=thresholds.sparsity_eps)
    before = judge(match.a, a, quality, thresholds=thresholds)
    same = match.same_shape and same_bits(a, b)
    if not same:
        quality = layer_quality(b, sparsity_eps=thresholds.sparsity_eps)
    after = judge(match.b, b, quality, thresholds=thresholds)
    row = LayerDiff(before, after, match.by, "identical")
    invalid = [words for words, check in (("first", before), ("second", after))
               if check.verdict == "invalid"]  # fmt: skip
    if invalid:
        note = f"NaN or infinite weights in the {' and the '.join(invalid)}: nothing to measure."
        return replace(row, relation="identical" if same else "invalid", note=note)
    if same:
        change = NO_CHANGE if a.any() else replace(NO_CHANGE, cosine=None)
        shift = 0.0 if has_summary(match.a.kernel) else None
        return replace(row, change=change, shift=shift, shift_null_p95=shift)
    apart = layer_shift(a, b)
    if apart is not None:
        row = replace(row, shift=apart.value, shift_null_p95=apart.null_p95)
    if not match.same_shape:
        shapes = " became ".join("x".join(map(str, layer.shape)) for layer in (match.a, match.b))
        note = f"{shapes}: its weights have no counterparts."
        return replace(row, relation="reshaped", note=note)
    change, products, filters = compare_weights(a, b)
    found = relate(a, b, change, products, (match.a.dtype, match.b.dtype))
    return replace(row, relation=found.name, note=found.note, change=change, filters=filters)


def load(layer: ConvLayer, file: str) -> Weights:
    """The weights of a layer; an error names the file and the layer."""
    with while_reading(file=file, layer=layer.name):
        return layer.weights


def judge(
    layer: ConvLayer, weights: Weights, quality: LayerQuality, *, thresholds: Thresholds
) -> LayerCheck:
    """Measures with their verdict."""
    verdict = layer_verdict(quality, layer.kernel, thresholds)
    return LayerCheck(layer, quality, verdict.name, verdict.reason, count_zeros(weights))


def same_bits(a: Weights, b: Weights) -> bool:
    """Whether all weights are equal, a NaN to the same NaN, 0 to -0."""
    return np.array_equal(a, b) or np.array_equal(a.view(np.uint32), b.view(np.uint32))
