"""Which layer of one network is which of another: by name, by content, else by order and shape.

A name can lie (exporters number their tensors), so weights that are the same find one another
first, whatever they are called. What neither names nor weights tell is aligned in order, so that
an inserted layer does not shift all those behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from filterdb.comparing.sketch import ALIKE, SAME, TELLING, closest_pairs, sketch
from filterdb.errors import while_reading
from filterdb.layer import ConvLayer, ModelFile

Matched = Literal["name", "content", "order"]
Array = NDArray[np.float64]

TRUSTED = 0.75
"""Share of the names in both that stand for one shape, from which on names are trusted."""
MOST_PAIRS = 4_000_000  # cells of an alignment: 2,000 layers on either side

FRAME = re.compile(r"(module|_orig_mod|model|net|network|params|params_ema|state_dict|\d+)")
"""Parts of a name that wrap a whole network."""
SUFFIX = re.compile(r"([./](weight|kernel|W|w|Conv2D|depthwise_kernel))?(:\d+)?$")


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


class Side:
    """One of the two networks: what is known of its layers, and which are still free."""

    def __init__(self, file: ModelFile) -> None:
        self.source, self.layers = file.source, file.layers
        self.names = bare_names(file.layers)
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
        self.a, self.b = Side(a), Side(b)
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
        """Pair layers of the same key."""
        there = {key(self.b, j): j for j in reversed(self.b.free)}
        keys = [(i, key(self.a, i)) for i in self.a.free]
        self.join([(i, there.pop(name)) for i, name in keys if name in there], "name")

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
        # A shape tells more than a name.
        pairs = align(2.0 * shapes + 1.0 * self._same_names(rows, columns))
        self.join([(rows[r], columns[c]) for r, c in pairs], "order")

    def _same_names(self, rows: Sequence[int], columns: Sequence[int]) -> NDArray[np.bool_]:
        return equal([self.a.names[i] for i in rows], [self.b.names[j] for j in columns])


def equal(a: Sequence[Hashable], b: Sequence[Hashable]) -> NDArray[np.bool_]:
    """Which of ``a`` equals which of ``b``: shape ``(len(a), len(b))``."""
    number: dict[Hashable, int] = {}
    left, right = (np.array([number.setdefault(x, len(number)) for x in s], int) for s in (a, b))
    same: NDArray[np.bool_] = left[:, None] == right[None, :]
    return same


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
