"""Plain words: numbers, lists and shares as somebody who does not program reads them."""

from __future__ import annotations

from collections.abc import Sequence

SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
         "eleven", "twelve")  # fmt: skip


def several(count: int, noun: str) -> str:
    """``"one layer"``, ``"twelve layers"``, ``"1,200 layers"``."""
    number = SMALL[count] if count < len(SMALL) else f"{count:,}"
    return f"{number} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], *, most: int = 4) -> str:
    """``"a, b and c"``; of many the first ones and how many more."""
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most:,} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def compact(count: float) -> str:
    """``"9,876"``, ``"12 thousand"``, ``"1.5 million"``."""
    for size, name in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if count >= 0.9995 * size and count >= 10_000:
            return f"{count / size:.3g} {name}"
    return f"{count:,.0f}"


def size(count: int) -> str:
    """A size on the disk: ``"812 bytes"``, ``"4.2 MB"``."""
    for step, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= step:
            return f"{count / step:.1f} {name}"
    return f"{count:,} bytes"


def capital(text: str) -> str:
    """A sentence's beginning."""
    return text[:1].upper() + text[1:]


def percent(share: float | None) -> str:
    """A share; it is not rounded to none or all unless it is."""
    if share is None:
        return "–"
    if 0 < share < 0.005:
        return "less than 1 %"
    if 0.995 <= share < 1:
        return "more than 99 %"
    return f"{100 * share:.0f} %"
