"""What the parts of a page on master keys share: sizes, sentences, and what is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from filterdb.figures import key_mosaic
from filterdb.keys.search.sample import DEPTHWISE
from filterdb.report.pictures import Picture, picture
from filterdb.words import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from filterdb.keys.equivalence import Kernel
    from filterdb.keys.key_set import KeySet

SEVERAL = re.compile(r"\b(\d+)x(\d+)\b")
MODEL = re.compile(r"\bmodel(?=s?\b)")
PERCENT = re.compile(r"(\d)%")


@dataclass(frozen=True, slots=True)
class KeysPart:
    """What is said of the filters of one size.

    Attributes
    ----------
    size
        ``"3×3"``.
    answer
        The sentence that comes first; why there is nothing, where the rest is empty.
    sentences
        What goes with it.
    pictures
        In order.
    table
        What the template's table of networks is filled with, or None.
    notes
        What else to know.
    """

    size: str
    answer: str
    sentences: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    table: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Depthwise:
    """The depthwise layers of a network or of a database.

    Attributes
    ----------
    filters, layers
        Kernel size -> how many; the size with the most filters first.
    others
        Number of layers of other kinds.
    single
        Number of depthwise layers whose filters are single numbers.
    """

    filters: dict[Kernel, int]
    layers: dict[Kernel, int]
    others: int
    single: int

    @classmethod
    def of(cls, layers: Iterable[tuple[str, Kernel, int]]) -> Depthwise:
        """Those among layers, of which kind, kernel size and number of filters are given."""
        filters: Counter[Kernel] = Counter()
        numbers: Counter[Kernel] = Counter()
        others = single = 0
        for kind, kernel, count in layers:
            if kind != DEPTHWISE:
                others += 1
            elif kernel == (1, 1):
                single += 1
            elif count:
                filters[kernel] += count
                numbers[kernel] += 1
        ranked = dict(filters.most_common())
        return cls(ranked, {kernel: numbers[kernel] for kernel in ranked}, others, single)

    @property
    def why_none(self) -> str:
        """Why there is no part on master keys; empty where there is one."""
        if self.filters:
            return ""
        what = "has filters larger than one number" if self.single else "is depthwise"
        who = "depthwise layer" if self.single else "layer"
        return f"No {who} {what}: there is no part on master keys, which are about such layers."

    def left_out(self, shown: Iterable[Kernel]) -> list[str]:
        """What a part on some sizes is not about, in sentences."""
        done = set(shown)
        sentences = []
        if self.others:
            verb = "is" if self.others == 1 else "are"
            sentences.append(f"{counted(self.others, 'layer')} of other kinds {verb} not in it.")
        if self.single:
            sentences.append(
                f"{counted(self.single, 'depthwise layer')} of single numbers (1×1) have no shape."
                if self.single > 1
                else "One depthwise layer of single numbers (1×1) has no shape."
            )
        if rest := [kernel for kernel in self.filters if kernel not in done]:
            listed = ", ".join(
                f"{size_of(kernel)} ({counted(self.layers[kernel], 'layer')}, "
                f"{counted(self.filters[kernel], 'filter')})"
                for kernel in rest
            )
            sentences.append(f"Left out for room: {listed}.")
        return sentences


def mosaic(keys: KeySet, shares: NDArray[Any], *, filters: int, caption: str) -> Picture:
    """The keys as pictures, each with the share of the filters that are its copies."""
    return picture(partial(key_mosaic, keys, shares, filters=filters), caption=caption)


def size_of(kernel: Kernel) -> str:
    """``"3×3"``."""
    return "{}×{}".format(*kernel)


def typeset(sentence: str) -> str:
    """A sentence for terminals in the words and the signs of pages."""
    text = SEVERAL.sub(r"\1×\2", sentence).replace(">=", "≥")
    return MODEL.sub("network", PERCENT.sub(r"\1 %", text))
