"""What a comparison shows, in sentences that say no more than its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod
from statistics import median

from filterdb.comparing.layer_diff import LayerDiff
from filterdb.layer import ConvLayer, ModelFile
from filterdb.stats.null import ONE_IN

IN_WORDS = {
    "identical": "identical",
    "rounded": "the same but for rounding",
    "scaled": "the same but for one factor a layer",
    "scaled by channel": "the same but for a factor per output channel (as folding a BatchNorm "
    "into the convolution gives)",
    "rearranged": "the same in another arrangement",
    "pruned": "pruned (some weights became zero, no other moved)",
    "quantised": "quantised",
    "changed": "different",
    "reshaped": "of another shape",
    "invalid": "with NaN or infinite weights",
}
MOVED = ("changed", "quantised", "pruned")
UNRELATED = 0.1
"""Median absolute cosine below which weights have nothing in common ..."""
ENOUGH_WEIGHTS = 1000
"""... in layers of so many weights, where chance stays within about 0.03."""
WORTH_A_SENTENCE = 0.01
"""Share of newly zero weights that is mentioned."""


def sum_up(
    a: ModelFile,
    b: ModelFile,
    rows: Sequence[LayerDiff],
    only_a: Sequence[ConvLayer],
    only_b: Sequence[ConvLayer],
) -> tuple[str, ...]:
    """All sentences, the weightiest first."""
    nothing = unrelated(rows)
    # That they are different goes without saying then.
    bare = nothing and all(row.relation == "changed" for row in rows)
    sentences = (
        nothing,
        "" if bare else headline(rows, only_a, only_b),
        unmatched(rows, only_a, only_b),
        largest_change(rows),
        shifts(rows),
        new_zeros(rows),
        verdicts(rows),
        f"The formats differ: {a.format} and {b.format}." if a.format != b.format else "",
        types(rows),
        mixtures(a, b, rows),
        how_matched(rows),
    )
    return tuple(sentence for sentence in sentences if sentence)


def headline(
    rows: Sequence[LayerDiff], only_a: Sequence[ConvLayer], only_b: Sequence[ConvLayer]
) -> str:
    """What the layers in both are to each other."""
    if not rows:
        return (
            f"The networks have no layer in common: none of {len(only_a)} and {len(only_b)} "
            "match by name, by content or by shape."
        )
    counts = Counter(row.relation for row in rows).most_common()
    where = "" if not only_a and not only_b else " matched"
    if len(counts) > 1:
        parts = "; ".join(f"{count} {IN_WORDS[name]}" for name, count in counts)
        return f"Of {layers(len(rows), where)}: {parts}."
    all_are = "The one layer is" if len(rows) == 1 else f"All {layers(len(rows), where)} are"
    return f"{all_are} {IN_WORDS[counts[0][0]]}."


def unmatched(
    rows: Sequence[LayerDiff], only_a: Sequence[ConvLayer], only_b: Sequence[ConvLayer]
) -> str:
    """What has no counterpart."""
    if not rows:
        return ""
    parts = [
        f"{layers(len(only))} only in the {which}"
        for only, which in ((only_a, "first"), (only_b, "second"))
        if only
    ]
    return f"{' and '.join(parts)}." if parts else ""


def largest_change(rows: Sequence[LayerDiff]) -> str:
    """How far the layers moved that did, and which moved most."""
    moved = [
        (row.change.relative_l2, row)
        for row in rows
        if row.relation in MOVED and row.change and row.change.relative_l2 is not None
    ]
    if not moved:
        return ""
    most, row = max(moved, key=lambda pair: pair[0])
    cosine = row.change and row.change.cosine
    where = row.name if cosine is None else f"{row.name}, cosine {cosine:.3f}"
    if len(moved) == 1:
        return f"The weights of one layer moved by {most:.3g} of their length ({where})."
    middle = median(size for size, _ in moved)
    return (
        f"The weights of {layers(len(moved))} moved by {middle:.3g} of their length (median), at "
        f"most by {most:.3g} ({where})."
    )


def unrelated(rows: Sequence[LayerDiff]) -> str:
    """Whether the weights point anywhere."""
    cosines = [
        abs(row.change.cosine)
        for row in rows
        if row.relation in MOVED
        and row.change
        and row.change.cosine is not None
        and prod(row.before.layer.shape) >= ENOUGH_WEIGHTS
    ]
    if not cosines or median(cosines) >= UNRELATED:
        return ""
    return (
        f"The weights have next to nothing in common: the median absolute cosine of "
        f"{layers(len(cosines))} is {median(cosines):.3f}."
    )


def shifts(rows: Sequence[LayerDiff]) -> str:
    """Where the distribution of the filters' shapes changed by more than chance, and most."""
    tested = [
        row for row in rows
        if row.relation in (*MOVED, "reshaped") and row.shift and row.shift_null_p95 is not None
    ]  # fmt: skip
    beyond = [(row.shift or 0.0, row) for row in tested if row.distinguishable]
    what = "The distribution of the filters' shapes changed by"
    if not tested:
        return ""
    if not beyond:
        if len(tested) == 1:
            return f"{what} no more than chance in the one layer that has one."
        return f"{what} more than chance in none of {layers(len(tested))}."
    # Few filters have a large D whatever they are: what it is to chance tells, not D itself.
    most, row = max(beyond, key=lambda pair: pair[0] / (pair[1].shift_null_p95 or 1.0))
    numbers = f"{row.name}, D = {most:.3g}, by chance up to {row.shift_null_p95:.3g}"
    if len(tested) == 1:
        return f"{what} more than chance in the one layer that has one ({numbers})."
    return (
        f"{what} more than chance in {len(beyond)} of {layers(len(tested))} "
        f"(1 in {ONE_IN} does by accident), {'most ' if len(beyond) > 1 else ''}in {numbers}."
    )


def new_zeros(rows: Sequence[LayerDiff]) -> str:
    """How much became zero, over all layers."""
    sizes = [(prod(row.before.layer.shape), row.change) for row in rows if row.change]
    total = sum(size for size, _ in sizes)
    share = sum(size * change.newly_zero for size, change in sizes) / total if total else 0.0
    return f"{share:.0%} of the weights became zero." if share >= WORTH_A_SENTENCE else ""


def verdicts(rows: Sequence[LayerDiff]) -> str:
    """Which verdicts changed."""
    changed = Counter(
        (row.before.verdict, row.after.verdict)
        for row in rows
        if row.before.verdict != row.after.verdict
    )
    if not changed:
        return ""
    parts = [f"{count} from {old} to {new}" for (old, new), count in changed.most_common()]
    return f"Verdicts that changed: {', '.join(parts)}."


def types(rows: Sequence[LayerDiff]) -> str:
    """Which element types the files store, where they differ."""
    changed = Counter(
        (row.before.layer.dtype, row.after.layer.dtype)
        for row in rows
        if row.before.layer.dtype != row.after.layer.dtype
    )
    if not changed:
        return ""
    parts = [f"{old} and {new} ({layers(count)})" for (old, new), count in changed.most_common()]
    return f"The files store other types: {', '.join(parts)}."


def mixtures(a: ModelFile, b: ModelFile, rows: Sequence[LayerDiff]) -> str:
    """Whether raw weights were compared with folded ones, which differ by a factor a channel."""
    mixed = [
        row
        for row in rows
        if {measured_state(row.before.layer, a), measured_state(row.after.layer, b)}
        == {"raw", "folded"}
    ]
    if not mixed:
        return ""
    one = len(mixed) == 1
    return (
        f"{'One layer is' if one else f'{layers(len(mixed))} are'} raw in one network and in the "
        f"other multiplied by the batch normalisation that follows ({mixed[0].name}): the "
        "difference is that factor, too, and sparsity, entropy and norms cannot be compared. "
        "--weights folded compares like with like."
    )


def measured_state(layer: ConvLayer, file: ModelFile) -> str:
    """State of the weights that were compared."""
    return "folded" if layer.state == "raw" and file.weights == "folded" else layer.state


def how_matched(rows: Sequence[LayerDiff]) -> str:
    """How layers with other names found one another."""
    counts = Counter[str](row.matched for row in rows)
    words = {"content": "by their weights", "order": "by order and shape"}
    parts = [f"{layers(counts[how])} {told}" for how, told in words.items() if counts[how]]
    return f"Matched under other names: {', '.join(parts)}." if parts else ""


def layers(count: int, kind: str = "") -> str:
    """``"1 layer"``, ``"20 matched layers"``."""
    return f"{count:,}{kind} layer{'' if count == 1 else 's'}"
