"""What the tests of pictures share: small results to draw, and a look at what was drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.text import Text
from numpy.typing import NDArray

from filterdb import figures
from filterdb.keys.key_set import KeyName, KeySet
from filterdb.keys.search.found import CodeAxis, Control, CurvePoint, Examples, Explained
from filterdb.stats.basis import Basis, fit_basis, reference_basis
from filterdb.stats.moments import Moments
from filterdb.stats.summary import Summary, scale, summarise

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    name: str
    models: int
    layers: int
    filters: int


@dataclass(frozen=True, eq=False)
class Shift:
    by: str
    groups: tuple[Group, ...]
    matrix: Array
    null_p95: Array
    ordered: bool = False
    preset: str = "reference"
    kernel: tuple[int, int] = (3, 3)


def shift_of(count: int, *, by: str = "task", seed: int = 0, **changes: Any) -> Shift:
    """A shift of so many groups: all pairs well above their null, all groups large."""
    rng = np.random.default_rng(seed)
    matrix = np.triu(0.05 + rng.random((count, count)), 1)
    groups = tuple(Group(f"group {i}", 2 + i, 5 + i, 2000 + 100 * i) for i in range(count))
    shift = Shift(by, groups, matrix + matrix.T, np.full((count, count), 0.01))
    return replace(shift, **changes)


def pairs_at(count: int, *pairs: tuple[int, int], value: float, others: float) -> Array:
    """A symmetric matrix with a value at some pairs."""
    matrix = np.full((count, count), others)
    for y, x in pairs:
        matrix[y, x] = matrix[x, y] = value
    return matrix


def filters_of(n: int, kernel: tuple[int, int] = (3, 3), *, seed: int = 0) -> Array:
    """Filters that vary more along some directions than along others, shape ``(n, kh, kw)``."""
    rng = np.random.default_rng(seed)
    taps = kernel[0] * kernel[1]
    axes, _ = np.linalg.qr(rng.standard_normal((taps, taps)))
    return (rng.standard_normal((n, taps)) * 0.7 ** np.arange(taps) @ axes).reshape(n, *kernel)


def basis_of(kernel: tuple[int, int] = (3, 3), *, n: int = 500, seed: int = 0) -> Basis:
    scaled = scale(filters_of(n, kernel, seed=seed).reshape(n, -1))
    return fit_basis(Moments.of(scaled.T), kernel)


def summary_of(n: int, *, seed: int = 0) -> Summary:
    return summarise(filters_of(n, seed=seed), reference_basis((3, 3))).all()


def layer_rows(count: int, **columns: Any) -> list[dict[str, Any]]:
    """Rows of layers as a database gives them; every fifth has no measures."""
    rng = np.random.default_rng(count)
    return [
        {
            "model": "net",
            "name": f"conv{i}",
            "conv_depth_norm": i / max(1, count - 1),
            "sparsity": None if i % 5 == 4 else float(rng.random()),
            "entropy_ratio": None if i % 5 == 4 else float(0.5 + rng.random()),
            "orthogonality": float(rng.random()),
            **columns,
        }
        for i in range(count)
    ]


def training_rows(runs: int = 1, epochs: tuple[float, ...] = (0, 1, 5, 20)) -> list[dict[str, Any]]:
    return [
        row | {"sparsity": 0.1 * run + 0.01 * epoch}
        for run in range(runs)
        for epoch in epochs
        for row in layer_rows(4, run=f"run {run}", epoch=epoch)
    ]


ODD_NAMES = (
    "cost in $ and $x^2$",
    "a_b^c \\frac{",
    "分類 🚀",
    "two\nlines\tand\x00more",
    "a name that is much, much longer than anything that fits beside a small picture " * 3,
    "ascii",
)


def keys_of(count: int, kernel: tuple[int, int] = (3, 3), *, texts: tuple[str, ...] = ()) -> KeySet:
    """So many keys, of which every third has no scales."""
    names = tuple(
        KeyName(texts[i % len(texts)] if texts else f"key {i + 1}", *(
            (None,) if i % 3 == 2 else ("a member", 0.5 + 0.1 * i, 0.6 + 0.1 * i)
        ))
        for i in range(count)
    )  # fmt: skip
    return KeySet("a set", filters_of(count, kernel), names)


def curve_of(*ks: int, controls: int = 4) -> list[CurvePoint]:
    """Points in which the networks are above all controls."""

    def explained(part: float, k: int) -> Explained:
        shares = np.array([0.9, 0.8, 0.6, 0.4]) * part * (1 - 0.7**k)
        return Explained(12_345, tuple(shares.tolist()), 0.5)

    names = ("gaussian", "spectrum", "covariance", "initialisation", ODD_NAMES[0])[:controls]
    return [
        CurvePoint(
            k,
            explained(1.0, k),
            explained(1.05, k).shares,
            {
                name: Control(explained(0.07 * (i + 1), k), explained(0.1 * (i + 1), k))
                for i, name in enumerate(names)
            },
        )
        for k in ks
    ]


def counts_of(layers: int, keys: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Labels of filters, shape ``(L, K + 3)``."""
    return np.random.default_rng(seed).integers(0, 50, (layers, keys + 3))


def code_of(count: int, kernel: tuple[int, int] = (3, 3), kept: tuple[int, ...] = ()) -> CodeAxis:
    counts = np.random.default_rng(count).integers(0, 9999, count)
    return CodeAxis(filters_of(count, kernel), counts, kept)


def examples_of(best: int, worst: int, kernel: tuple[int, int] = (3, 3)) -> Examples:
    r2 = np.linspace(0, 1, best + worst, dtype=np.float32)[::-1]
    filters = filters_of(best + worst, kernel).astype(np.float32)
    return Examples(filters[:best], r2[:best], filters[best:], r2[best:][::-1])


EVERY: dict[str, Callable[[figures.style.Style], Figure]] = {
    "eigenimages": lambda style: figures.eigenimages(
        {name: basis_of(seed=i) for i, name in enumerate(ODD_NAMES)}, style=style
    ),
    "eigenimages, one": lambda style: figures.eigenimages({"1x7": basis_of((1, 7))}, style=style),
    "eigenimages, few of a kernel": lambda style: figures.eigenimages(
        {"a": basis_of()}, components=1, style=style
    ),
    "cumulative variance": lambda style: figures.cumulative_variance(
        {name: basis_of(seed=i) for i, name in enumerate(ODD_NAMES)}, style=style
    ),
    "cumulative variance, many": lambda style: figures.cumulative_variance(
        {f"{i}": basis_of(seed=i) for i in range(12)}, style=style
    ),
    "ridge plot": lambda style: figures.ridge_plot(
        {name: summary_of(50, seed=i).counts for i, name in enumerate(ODD_NAMES)},
        reach=reference_basis((3, 3)).reach,
        style=style,
    ),
    "ridge plot, one": lambda style: figures.ridge_plot(
        {"one": summary_of(50).counts}, reach=3.1, components=2, style=style
    ),
    "shift matrix, 1": lambda style: figures.shift_matrix(shift_of(1), style=style),
    "shift matrix, 2": lambda style: figures.shift_matrix(shift_of(2), style=style),
    "shift matrix, odd names": lambda style: figures.shift_matrix(
        shift_of(6, by="a $ and a $", groups=tuple(Group(n, 1, 1, 9) for n in ODD_NAMES)),
        style=style,
    ),
    "shift matrix, 40": lambda style: figures.shift_matrix(
        shift_of(
            40,
            groups=tuple(Group(f"{i} {ODD_NAMES[4]}", 1, 1, 10**i % 10**9) for i in range(40)),
            null_p95=np.where(np.arange(40) % 2, 0.5, np.nan) * np.ones((40, 1)),
        ),
        style=style,
    ),
    "shift boxes": lambda style: figures.shift_boxes(
        [shift_of(9, by="task"), shift_of(1, by="a $ b $"), shift_of(2, by=ODD_NAMES[4])],
        style=style,
    ),
    "quality by depth": lambda style: figures.quality_by_depth(
        [row for i in range(11) for row in layer_rows(20, model=ODD_NAMES[i % 6] + str(i))],
        style=style,
    ),
    "quality by depth, one layer": lambda style: figures.quality_by_depth(
        layer_rows(1), style=style
    ),
    "training curves": lambda style: figures.training_curves(
        training_rows(), shifts={"run 0": {0: 0.4, 1: 0.1, 5: 0.01, 20: 0.0}}, style=style
    ),
    "training curves, many": lambda style: figures.training_curves(training_rows(11), style=style),
    "filter mosaic": lambda style: figures.filter_mosaic(
        filters_of(300), title=ODD_NAMES[4], scale="layer", style=style
    ),
    "filter mosaic, one": lambda style: figures.filter_mosaic(
        filters_of(1), title=ODD_NAMES[0], scale="layer", style=style
    ),
    "filter mosaic, 1x7": lambda style: figures.filter_mosaic(filters_of(9, (1, 7)), style=style),
    "changed filters": lambda style: figures.changed_filters(
        filters_of(30), filters_of(30, seed=1), list(ODD_NAMES) * 5, style=style
    ),
    "changed filters, one": lambda style: figures.changed_filters(
        filters_of(1, (7, 1)), filters_of(1, (7, 1), seed=1), [ODD_NAMES[4]], style=style
    ),
    "key mosaic, odd names": lambda style: figures.key_mosaic(
        keys_of(16, texts=ODD_NAMES),
        np.full(19, 1 / 19),
        filters=10**6,
        title=ODD_NAMES[0],
        style=style,
    ),
    "key mosaic, one": lambda style: figures.key_mosaic(
        keys_of(1, (1, 9)), np.ones(1), style=style
    ),
    "key mosaic, two of 9x1": lambda style: figures.key_mosaic(keys_of(2, (9, 1)), style=style),
    "key mosaic, 65": lambda style: figures.key_mosaic(
        keys_of(65, (11, 11)), np.zeros(65), style=style
    ),
    "coverage": lambda style: figures.coverage_curve(curve_of(1, 2, 4, 8, 16, 32), style=style),
    "coverage, one panel": lambda style: figures.coverage_curve(
        curve_of(7, controls=1), thresholds=(0.7,), style=style
    ),
    "coverage, three panels": lambda style: figures.coverage_curve(
        curve_of(*range(2, 14), controls=5),
        thresholds=(0.7, 0.8, 0.9),
        about=ODD_NAMES[4],
        style=style,
    ),
    "keys by depth": lambda style: figures.key_shares_by_depth(
        np.linspace(0, 1, 7), counts_of(7, 12), ODD_NAMES * 2, style=style
    ),
    "keys by layer": lambda style: figures.layer_bars(
        ODD_NAMES, counts_of(6, 6), ODD_NAMES, title=ODD_NAMES[4], style=style
    ),
    "keys by layer, one": lambda style: figures.layer_bars(
        ["a"], counts_of(1, 1), ["key"], style=style
    ),
    "keys by layer, many": lambda style: figures.layer_bars(
        [f"layer {i}" for i in range(200)],
        counts_of(200, 16),
        [str(i) for i in range(16)],
        style=style,
    ),
    "code axis": lambda style: figures.code_axis(code_of(50, (7, 7), (0, 9, 49)), style=style),
    "code axis, one": lambda style: figures.code_axis(code_of(1, (1, 5), (0,)), style=style),
    "code axis, 101": lambda style: figures.code_axis(code_of(101), style=style),
    "best and worst": lambda style: figures.best_and_worst(
        examples_of(20, 20, (7, 7)), filters=10**7, style=style
    ),
    "best and worst, one": lambda style: figures.best_and_worst(examples_of(1, 0), style=style),
    "agreement of keys": lambda style: figures.key_agreement(
        np.linspace(-1, 1, 36).reshape(6, 6),
        ODD_NAMES,
        ODD_NAMES,
        sets=ODD_NAMES[:2],
        style=style,
    ),
    "agreement of keys, many": lambda style: figures.key_agreement(
        np.zeros((64, 9)), [f"key {i}" for i in range(64)], [*"abcdefghi"], style=style
    ),
}
"""A call of every picture, with names and sizes that give trouble."""


def texts(figure: Figure) -> list[str]:
    """Everything that is written in a figure."""
    found = [text for text in figure.findobj(Text) if text.get_visible()]
    return [text.get_text() for text in found if text.get_text()]


def legend_of(figure: Figure) -> list[str]:
    """Entries of the figure's legends, those of its axes included."""
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return [text.get_text() for legend in legends if legend for text in legend.get_texts()]


def hatched(figure: Figure, pattern: str) -> set[tuple[int, int]]:
    """Cells (row, column) of the first axes' matrix that bear a hatch."""
    axes = figure.axes[0]
    rows, columns = axes.images[0].get_array().shape
    patches = [
        patch
        for patch in axes.patches
        if isinstance(patch, PathPatch) and patch.get_hatch() == pattern
    ]
    return {
        (row, column)
        for row in range(rows)
        for column in range(columns)
        if any(patch.get_path().contains_point((column, row)) for patch in patches)
    }
