"""Which layer of one network is which of another: by name, by content, else by order and shape.

A name can lie (exporters number their tensors), so weights that are the same find one another
first, whatever they are called. What neither names nor weights tell is aligned in order, so that
an inserted layer does not shift all those behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from filterdb.comparing.sketch import ALIKE, SAME, TELLING, closest_pairs, sketch
from filterdb.errors import while_reading
from filterdb.layer import ConvLayer, Kind, ModelFile

Matched = Literal["name", "content", "order"]
Array = NDArray[np.float64]

TRUSTED = 0.75
"""Share of the names in both that stand for one shape, from which on names are trusted."""
MOST_PAIRS = 4_000_000  # cells of an alignment: 2,000 layers on either side

FRAME = re.compile(r"(module|_orig_mod|model|net|network|params|params_ema|state_dict)(_\d+)?|\d+")
"""Parts of a name that wrap a whole network."""
SUFFIX = re.compile(r"([./](weight|kernel|W|w|Conv2D|depthwise_kernel))?(:\d+)?$")
BUILD = re.compile(r"^([^./]+)_(\d+)(?=[./]|$)")
"""A number at the first part of a name: Keras numbers a second build of the same layers so."""
SAME_KIND = {"grouped": "conv"}
"""Kinds that count as another one: a file may not say that a convolution has groups."""


@dataclass(frozen=True, slots=True)
class Match:
    """A layer of one network, its counterpart in the other, and what told so.

    ``same_shape`` is False where only the name is the same.
    """

    a: ConvLayer
    b: ConvLayer
    by: Matched

    @property
    def same_shape(self) -> bool:
        """Whether the weights can be compared one by one."""
        return self.a.shape == self.b.shape


def match_layers(a: ModelFile, b: ModelFile) -> list[Match]:
    """Pair the layers of two networks, each with one at most.

    Weights that are the same but for rounding and a factor per output channel come first. Then
    names decide, with and without what wraps the whole network, and of what is left weights
    that are alike. Where names are shifted, likeness goes before them, and they are only one of
    the things that an alignment in order heeds. It leaves out what has no counterpart.

    Layers of two kinds (ordinary, depthwise, transposed) are no counterparts, unless their
    weights are alike, or name and shape the same: then what is said of one's kind is wrong.

    Returns
    -------
    list of Match
        In the order of the first network.

    Raises
    ------
    ReadError
        A layer's weights could not be read; the error names file and layer.
    """
    pairing = Pairing(a, b)
    pairing.by_content(limit=SAME)
    trusted = names_agree(pairing.a, pairing.b)
    if trusted:
        pairing.by_key(lambda side, i: (side.layers[i].name, side.layers[i].shape))
        pairing.by_key(lambda side, i: (side.names[i], side.layers[i].shape))
    pairing.by_content(limit=ALIKE, least=TELLING)
    if trusted:
        pairing.by_key(lambda side, i: side.names[i])
    pairing.by_order()
    pairing.by_key(lambda side, i: (side.names[i], side.layers[i].shape))
    pairing.by_key(lambda side, i: side.names[i])
    return pairing.matches()


def bare_names(layers: Sequence[ConvLayer]) -> list[str]:
    """Names without the frames that all of them share, and without a framework's suffix.

    Where that makes two names one, the names stay.
    """
    parts = [SUFFIX.sub("", layer.name).replace("/", ".").split(".") for layer in layers]
    while (
        parts
        and all(len(part) > 1 and part[0] == parts[0][0] for part in parts)
        and FRAME.fullmatch(parts[0][0])
    ):
        parts = [part[1:] for part in parts]
    names = [".".join(part) for part in parts]
    return names if len(set(names)) == len(names) else [layer.name for layer in layers]


def common_names(a: Sequence[ConvLayer], b: Sequence[ConvLayer]) -> tuple[list[str], list[str]]:
    """Bare names of both, less the number of a second build where more are the same then."""
    return max(
        product(spellings(bare_names(a)), spellings(bare_names(b))),
        key=lambda names: len(set(names[0]) & set(names[1])),
    )


def spellings(names: list[str]) -> list[list[str]]:
    """The names, and those of a first build if all are numbered as of the same later one.

    ``conv2d_1`` of the second build is called ``conv2d_1_1``, ``block/conv`` ``block_1/conv``.
    """
    found = [BUILD.match(name) for name in names]
    if not names or len({each and each[2] for each in found}) > 1 or found[0] is None:
        return [names]
    return [names, [BUILD.sub(r"\1", name) for name in names]]


class Side:
    """One of the two networks: what is known of its layers, and which are still free."""

    def __init__(self, file: ModelFile, names: list[str]) -> None:
        self.source, self.layers, self.names = file.source, file.layers, names
        self.free = list(range(len(file.layers)))
        self._sketches: dict[int, Array] = {}

    def sketch(self, index: int) -> Array:
        """The sketch of a layer, made at its first use."""
        if index not in self._sketches:
            layer = self.layers[index]
            with while_reading(file=self.source, layer=layer.name):
                self._sketches[index] = sketch(layer.weights)
        return self._sketches[index]

    def free_by_shape(self) -> dict[tuple[int, ...], list[int]]:
        """The free layers of each shape."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i in self.free:
            groups.setdefault(self.layers[i].shape, []).append(i)
        return groups


def names_agree(a: Side, b: Side) -> bool:
    """Whether names tell layers: both have the same ones, or most stand for one shape.

    Where layers are numbered, one more shifts the names of all behind it: a name that fits is
    an accident then.
    """
    there = {name: layer.shape for name, layer in zip(b.names, b.layers, strict=True)}
    if there.keys() == set(a.names):
        return True
    same = [
        there[name] == layer.shape
        for name, layer in zip(a.names, a.layers, strict=True)
        if name in there
    ]
    return sum(same) >= TRUSTED * len(same)


class Pairing:
    """Layers of two networks that find one another, step by step."""

    def __init__(self, a: ModelFile, b: ModelFile) -> None:
        names = common_names(a.layers, b.layers)
        self.a, self.b = Side(a, names[0]), Side(b, names[1])
        self.found: list[tuple[int, int, Matched]] = []

    def matches(self) -> list[Match]:
        """What was found, in the order of the first network."""
        return [Match(self.a.layers[i], self.b.layers[j], by) for i, j, by in sorted(self.found)]

    def join(self, pairs: Iterable[tuple[int, int]], by: Matched) -> None:
        """Take pairs out of what is free; if their names are equal, that is what tells."""
        pairs = list(pairs)
        for i, j in pairs:
            named = self.a.names[i] == self.b.names[j]
            self.found.append((i, j, "name" if named else by))
        taken_a, taken_b = {i for i, _ in pairs}, {j for _, j in pairs}
        self.a.free = [i for i in self.a.free if i not in taken_a]
        self.b.free = [j for j in self.b.free if j not in taken_b]

    def by_key(self, key: Callable[[Side, int], Hashable]) -> None:
        """Pair layers of the same key, and the same shape or kind."""
        there = {key(self.b, j): j for j in reversed(self.b.free)}
        pairs = []
        for i in self.a.free:
            j = there.get(name := key(self.a, i))
            if j is None:
                continue
            a, b = self.a.layers[i], self.b.layers[j]
            if a.shape == b.shape or same_kind([a.kind], [b.kind]).all():
                pairs.append((i, there.pop(name)))
        self.join(pairs, "name")

    def by_content(self, *, limit: float, least: int = 1) -> None:
        """Pair layers of one shape whose weights lie closest, and no farther than ``limit``.

        Of several as close (copies within a network) the name decides, then the order. Sketches
        of fewer than ``least`` numbers do not count.
        """
        others = self.b.free_by_shape()
        for shape, rows in self.a.free_by_shape().items():
            columns = others.get(shape, [])
            if not 0 < len(rows) * len(columns) <= MOST_PAIRS:
                continue
            rows = [i for i in rows if len(self.a.sketch(i)) >= least]
            columns = [j for j in columns if len(self.b.sketch(j)) >= least]
            if rows and columns:
                pairs = closest_pairs(
                    np.array([self.a.sketch(i) for i in rows]),
                    np.array([self.b.sketch(j) for j in columns]),
                    limit,
                    preferred=self._same_names(rows, columns),
                )
                self.join([(rows[r], columns[c]) for r, c in pairs], "content")

    def by_order(self) -> None:
        """Align what is left: equal shapes, equal names, or best both."""
        rows, columns = self.a.free, self.b.free
        if not 0 < len(rows) * len(columns) <= MOST_PAIRS:
            return
        shapes = equal(
            [self.a.layers[i].shape for i in rows], [self.b.layers[j].shape for j in columns]
        )
        kinds = same_kind(
            [self.a.layers[i].kind for i in rows], [self.b.layers[j].kind for j in columns]
        )
        # A shape tells more than a name.
        pairs = align((2.0 * shapes + 1.0 * self._same_names(rows, columns)) * kinds)
        self.join([(rows[r], columns[c]) for r, c in pairs], "order")

    def _same_names(self, rows: Sequence[int], columns: Sequence[int]) -> NDArray[np.bool_]:
        return equal([self.a.names[i] for i in rows], [self.b.names[j] for j in columns])


def equal(a: Sequence[Hashable], b: Sequence[Hashable]) -> NDArray[np.bool_]:
    """Which of ``a`` equals which of ``b``: shape ``(len(a), len(b))``."""
    number: dict[Hashable, int] = {}
    left, right = (np.array([number.setdefault(x, len(number)) for x in s], int) for s in (a, b))
    same: NDArray[np.bool_] = left[:, None] == right[None, :]
    return same


def same_kind(a: Sequence[Kind], b: Sequence[Kind]) -> NDArray[np.bool_]:
    """Which of ``a`` may be of the kind of which of ``b``; an unknown one may be any."""
    left, right = (np.array([SAME_KIND.get(kind, kind) for kind in side]) for side in (a, b))
    there = left != "unknown", right != "unknown"
    fits: NDArray[np.bool_] = equal(left.tolist(), right.tolist()) | ~np.outer(*there)
    return fits


def align(scores: Array) -> list[tuple[int, int]]:
    """Pairs of rows and columns, both ascending, with the largest sum of scores.

    Parameters
    ----------
    scores
        Shape ``(n, m)``; nothing pairs at 0.
    """
    n, m = scores.shape
    best = np.zeros((n + 1, m + 1), np.float32)
    for r in range(n):
        here = np.maximum(best[r, 1:], best[r, :-1] + scores[r])
        best[r + 1, 1:] = np.maximum.accumulate(here) if m else here
    pairs = []
    r, c = n, m
    while r and c:
        if best[r, c] == best[r - 1, c]:
            r -= 1
        elif best[r, c] == best[r, c - 1]:
            c -= 1
        else:
            r, c = r - 1, c - 1
            pairs.append((r, c))
    return pairs[::-1]
