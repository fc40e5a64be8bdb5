"""From measures to a verdict, with its reason in words and numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

from filterdb.stats.quality import LayerQuality
from filterdb.stats.randomness import (
    LEAST_FILTERS,
    filters_to_decide,
    filters_to_tell_noise,
    quantile,
)
from filterdb.stats.sparsity import SPARSITY_EPS
from filterdb.words import counted

DEGENERATE = frozenset({"sparse", "low diversity", "random"})
UNJUDGED = frozenset({"undefined", "invalid"})


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Every number at which a verdict changes.

    Entropies are on the scale of 3x3 filters, 0 to log10 9 = 0.954; for other sizes they are
    stretched to 0 .. log10(kh * kw).

    Attributes
    ----------
    sparsity_eps
        A filter is sparse if all its weights are below this share of the layer's peak [paper].
    random_margin
        A layer is random if ``H >= T_H - random_margin`` [paper].
    low_entropy, low_entropy_sparsity
        A layer has low diversity if ``H < low_entropy`` and at least this share of its filters
        is sparse [paper].
    very_low_entropy
        ... or if ``H`` alone is below this [ours]: 10^0.3 = 2, fewer than two effective
        patterns. Of 1,052 layers of 64 or more filters in 123 public networks 2.6 % lie there,
        and of torchvision's ResNet-18 only layer4.1.conv2 (0.209; all others are above 0.56).
    high_sparsity
        A layer is sparse from this share of sparse filters on [ours]: the majority. It holds
        for 3.7 % of the same layers; 69 % of them have no sparse filter at all.
    degenerate_share
        A network is degenerate if at least this share of its filters sits in degenerate
        layers [ours]: the majority. Of 130 public networks 22 are; half have less than 4 %.
    """

    sparsity_eps: float = SPARSITY_EPS
    random_margin: float = 0.02
    low_entropy: float = 0.5
    low_entropy_sparsity: float = 0.14
    very_low_entropy: float = 0.3
    high_sparsity: float = 0.5
    degenerate_share: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value <= 1:
                msg = f"The threshold {field.name} lies between 0 and 1; {value} does not."
                raise ValueError(msg)


DEFAULT_THRESHOLDS = Thresholds()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict on a layer.

    Attributes
    ----------
    name
        healthy | sparse | low diversity | random | undecided | undefined | invalid.
    reason
        Why, one sentence in words and numbers.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModelVerdict:
    """A verdict on a network.

    Attributes
    ----------
    name
        healthy | degenerate | undecided | invalid | undefined.
    reasons
        Why, as sentences, the weightiest first.
    degenerate_share
        Share of its filters, of those in layers with shape statistics, that sit in degenerate
        layers; None where no layer has any.
    """

    name: str
    reasons: tuple[str, ...]
    degenerate_share: float | None


def layer_verdict(
    quality: LayerQuality, kernel: tuple[int, int], thresholds: Thresholds = DEFAULT_THRESHOLDS
) -> Verdict:
    """Judge one layer.

    A finding counts only if it is no accident of a small layer: one trained layer in a hundred,
    at most, would look so by chance (:func:`~filterdb.stats.randomness.quantile`). Otherwise
    the layer is undecided, and the reason says how many filters would decide.

    Parameters
    ----------
    quality
        Its measures.
    kernel
        ``(kh, kw)``.
    thresholds
        Where the verdicts change.
    """
    n = quality.n_filters
    if quality.n_invalid:
        return Verdict("invalid", f"{counted_are(quality.n_invalid, 'weight')} NaN or infinite.")
    if quality.sparsity is None or quality.variance_entropy is None:
        return Verdict("undefined", undefined_reason(n, kernel))
    if quality.sparsity >= thresholds.high_sparsity:
        return Verdict("sparse", sparse_reason(quality, thresholds))
    taps = math.prod(kernel)
    scale = math.log10(taps) / math.log10(9)
    margin = thresholds.random_margin * scale
    if quality.randomness_threshold is None or n < LEAST_FILTERS:
        return Verdict("undecided", too_few(n, filters_to_tell_noise(margin, taps)))
    if quality.variance_entropy >= quality.randomness_threshold - margin:
        return noise_verdict(quality, margin, taps)
    if has_low_entropy(quality, thresholds, scale):
        return diversity_verdict(quality, thresholds, taps)
    reason = (
        f"The filters are diverse, and not noise: {shown(quality)}, where {n:,} random filters "
        f"give {quality.randomness_threshold:.3f} or more; {quality.sparsity:.0%} are near zero."
    )
    return Verdict("healthy", reason)


def undefined_reason(n: int, kernel: tuple[int, int]) -> str:
    """Say why there are no shape statistics."""
    if n == 0:
        return "There are no weights."
    if kernel == (1, 1):
        return "A 1x1 kernel has no shape to judge."
    return f"Kernels of {kernel[0]}x{kernel[1]} are too large for shape statistics."


def has_low_entropy(quality: LayerQuality, thresholds: Thresholds, scale: float) -> bool:
    """Whether the entropy is low by itself, or low with many sparse filters."""
    entropy = quality.variance_entropy or 0.0
    sparsity = quality.sparsity or 0.0
    return entropy < thresholds.very_low_entropy * scale or (
        entropy < thresholds.low_entropy * scale and sparsity >= thresholds.low_entropy_sparsity
    )


def noise_verdict(quality: LayerQuality, margin: float, taps: int) -> Verdict:
    """Random, unless trained layers of so few filters look the same."""
    n, entropy = quality.n_filters, quality.variance_entropy or 0.0
    limit = (quality.randomness_threshold or 0.0) - margin
    # Where no number of filters would decide, the margin is the user's own: it is obeyed.
    needed = filters_to_tell_noise(margin, taps)
    if needed and quantile("trained", 0.99, n, taps) >= limit:
        return Verdict("undecided", too_few(n, needed, shown(quality)))
    low, high = (quantile("random", q, n, taps) for q in (0.01, 0.99))
    found = f"variance entropy H = {entropy:.4f}"
    noise = f"{n:,} random filters give {low:.4f} to {high:.4f}"
    if entropy >= low:
        reason = f"The filters cannot be told from noise: {found}, and {noise} (98 in 100 times)."
    else:
        reason = (
            f"The shapes of the filters carry little structure: {found} reaches {limit:.4f}, the "
            f"randomness threshold less {margin:.3f}; {noise}."
        )
    return Verdict("random", reason)


def diversity_verdict(quality: LayerQuality, thresholds: Thresholds, taps: int) -> Verdict:
    """Low diversity, unless trained layers of so few filters look the same."""
    n, entropy = quality.n_filters, quality.variance_entropy or 0.0
    usual = quantile("trained", 0.01, n, taps)
    null = f"{n:,} filters drawn with the average spectrum of trained layers stay above {usual:.3f}"
    needed = filters_to_decide(entropy, taps)
    if needed and entropy >= usual:
        reason = (
            f"{n:,} filters are too few to tell: {shown(quality)} is low, but {null} no more than "
            f"99 in 100 times; from {needed:,} filters on it would mean low diversity."
        )
        return Verdict("undecided", reason)
    reason = f"{rule_of_low_diversity(quality, thresholds, taps)}; {null} 99 in 100 times."
    return Verdict("low diversity", reason)


def rule_of_low_diversity(quality: LayerQuality, thresholds: Thresholds, taps: int) -> str:
    """Say which of the two rules a layer meets, with its numbers."""
    entropy, scale = quality.variance_entropy or 0.0, math.log10(taps) / math.log10(9)
    if entropy < thresholds.very_low_entropy * scale:
        return (
            f"The filters are nearly alike: {shown(quality)} is below "
            f"{thresholds.very_low_entropy * scale:.3f}, about {10**entropy:.1f} effective "
            f"patterns of {taps} possible"
        )
    return (
        f"The filters are much alike and many are dead: {shown(quality)} is below "
        f"{thresholds.low_entropy * scale:.3f}, and {quality.sparsity or 0:.0%} are near zero "
        f"(limit {thresholds.low_entropy_sparsity:.0%})"
    )


def sparse_reason(quality: LayerQuality, thresholds: Thresholds) -> str:
    """Say how much of the layer does nothing."""
    n = quality.n_filters
    if not quality.peak:
        return f"All weights of the {counted(n, 'filter')} are zero."
    dead = n - (quality.n_clean or 0)
    return (
        f"{dead:,} of {counted(n, 'filter')} ({dead / n:.0%}) are near zero: no weight "
        f"reaches {thresholds.sparsity_eps:.0%} of the layer's largest, {quality.peak:.3g}."
    )


def too_few(n: int, needed: int | None, observed: str | None = None) -> str:
    """Say that noise and training look the same in so few filters, and how many would do."""
    what = f": {observed} fits both noise and training" if observed else ""
    end = f"; from {needed:,} filters of this size on they differ" if needed else ""
    return f"{counted_are(n, 'filter')} too few to tell{what}{end}."


def shown(quality: LayerQuality) -> str:
    """The variance entropy, for people."""
    return f"variance entropy H = {quality.variance_entropy:.3f}"


def counted_are(count: int, noun: str) -> str:
    """``"1 filter is"``, ``"1,200 filters are"``."""
    return f"{counted(count, noun)} {'is' if count == 1 else 'are'}"


def model_verdict(
    layers: Sequence[tuple[str, int, str]], thresholds: Thresholds = DEFAULT_THRESHOLDS
) -> ModelVerdict:
    """Judge a network.

    Parameters
    ----------
    layers
        Per layer the name of its verdict, its number of filters, and its own name.
    thresholds
        Where the verdicts change.
    """
    judged = [layer for layer in layers if layer[0] not in UNJUDGED]
    total = sum(n for _, n, _ in judged)
    if not total:
        share = None
    else:
        share = sum(n for verdict, n, _ in judged if verdict in DEGENERATE) / total
    undecided = sum(n for verdict, n, _ in judged if verdict == "undecided")
    if any(verdict == "invalid" for verdict, _, _ in layers):
        name = "invalid"
    elif share is None:
        name = "undefined"
    elif share >= thresholds.degenerate_share:
        name = "degenerate"
    else:
        name = "undecided" if 2 * undecided > total else "healthy"
    reasons = (invalid_reason(layers), share_reason(judged, total), undecided_reason(judged, total))
    return ModelVerdict(name, tuple(reason for reason in reasons if reason), share)


def invalid_reason(layers: Sequence[tuple[str, int, str]]) -> str | None:
    """Say which layers hold weights that are no numbers."""
    names = [name for verdict, _, name in layers if verdict == "invalid"]
    if not names:
        return None
    return (
        f"{len(names)} of {counted(len(layers), 'layer')} "
        f"{'holds' if len(names) == 1 else 'hold'} NaN or infinite weights, first {names[0]}."
    )


def share_reason(judged: Sequence[tuple[str, int, str]], total: int) -> str:
    """Say how many filters sit in degenerate layers, and in which."""
    if not judged:
        return "No layer has filters whose shape can be judged: larger than 1x1, with weights."
    layers = counted(len(judged), "layer")
    bad = [layer for layer in judged if layer[0] in DEGENERATE]
    if not bad:
        return f"No layer is degenerate, of {layers} with kernels above 1x1 ({total:,} filters)."
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(b[0] for b in bad).most_common())
    inside = sum(n for _, n, _ in bad)
    kind, n, name = max(bad, key=lambda layer: layer[1])
    return (
        f"{inside / total:.0%} of its {total:,} filters above 1x1 sit in {len(bad)} degenerate of "
        f"{layers}: {kinds} (largest: {name}, {kind}, {n:,} filters)."
    )


def undecided_reason(judged: Sequence[tuple[str, int, str]], total: int) -> str | None:
    """Say how much is too small to be judged."""
    sizes = [n for verdict, n, _ in judged if verdict == "undecided"]
    if not sizes:
        return None
    return (
        f"{counted_are(len(sizes), 'layer')} too small to decide "
        f"({sum(sizes):,} filters, {sum(sizes) / total:.0%})."
    )
