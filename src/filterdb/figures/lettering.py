"""Text in pictures: names of unknown origin, numbers that fit a label, and fonts for both."""

from __future__ import annotations

from functools import lru_cache

FAMILY = (
    "DejaVu Sans",  # comes with matplotlib
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Micro Hei", "Droid Sans Fallback"),
    *("Hiragino Sans", "PingFang SC", "Yu Gothic", "Microsoft YaHei", "Arial Unicode MS"),
)
"""Fonts in the order in which a character is looked for; those that are not there are left out."""


@lru_cache(maxsize=1)
def fonts() -> tuple[str, ...]:
    """Fonts of the house that are installed."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return tuple(name for name in FAMILY if name in installed)


@lru_cache(maxsize=1)
def glyphs() -> frozenset[int]:
    """Code points that those fonts can draw."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset().union(*(get_font(findfont(name)).get_charmap() for name in fonts()))


def plain(text: object, *, most: int = 36) -> str:
    """Text of unknown origin as matplotlib draws it letter by letter, ``$`` included."""
    return legible(text, most=most).replace("$", r"\$")


def legible(text: object, *, most: int = 60) -> str:
    r"""Text of unknown origin as text: line breaks become spaces, the middle of long text is lost.

    A character that no font has is written as its code (``\u732b``).
    """
    known = glyphs()
    drawn = "".join(
        letter
        if ord(letter) in known and letter.isprintable()
        else letter.encode("unicode_escape").decode()
        for letter in " ".join(str(text).split())
    )
    if len(drawn) > most:
        drawn = f"{drawn[: (most - 1) // 2]}…{drawn[len(drawn) - most // 2 :]}"
    return drawn


def compact(count: float) -> str:
    """A count for a label: ``9,876``, ``12.3k``, ``1.46bn``."""
    if count >= 10_000:
        for size, unit in ((1e9, "bn"), (1e6, "M"), (1e3, "k")):
            if count >= 0.9995 * size:  # 999,600 is 1M, not 1e+03k
                return f"{count / size:.3g}{unit}"
    return f"{count:,.0f}"


def shown(divergence: float) -> str:
    """A shift D for a cell: three decimals where it is small."""
    if divergence != divergence:
        return "–"
    if divergence < 0.0005:
        return "<.001" if divergence > 0 else "0"
    return f"{divergence:.{3 if divergence < 0.1 else 2 if divergence < 10 else 0}f}"
