"""Figures for a page: drawn in both styles, held as data, never fetched."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from filterdb.extras import require
from filterdb.figures import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 144  # one and a half pixels of the picture for one of the page


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure in a page.

    Attributes
    ----------
    light, dark
        ``data:`` addresses.
    width, height
        In pixels of the page.
    alt
        What the picture shows, as a sentence.
    caption
        What stands below it.
    """

    light: str
    dark: str
    width: int
    height: int
    alt: str
    caption: str


def picture(draw: Callable[..., Figure], *, caption: str, alt: str | None = None) -> Picture:
    """Draw a figure for light and for dark pages.

    Parameters
    ----------
    draw
        Makes the figure; called with ``style="light"`` and ``style="dark"``.
    caption
        What stands below it.
    alt
        What it shows, for who cannot see it; the figure's own label if not given.
    """
    figure = draw(style="light")
    width, height = (round(side * 96) for side in figure.get_size_inches())
    return Picture(
        light=data_address(figure),
        dark=data_address(draw(style="dark")),
        width=width,
        height=height,
        alt=alt or str(figure.get_label()),
        caption=caption,
    )


def data_address(figure: Figure) -> str:
    """A figure as an address that needs no request."""
    png = render(figure, dpi=DPI)
    webp = as_webp(png)
    kind, content = ("png", png) if webp is None else ("webp", webp)
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def as_webp(png: bytes) -> bytes | None:
    """The same pixels in a third of the bytes; None where Pillow was built without WebP."""
    if not require("PIL.features", extra="plot").check("webp"):
        return None
    buffer = BytesIO()
    with require("PIL.Image", extra="plot").open(BytesIO(png)) as image:
        image.convert("RGB").save(buffer, format="webp", lossless=True)
    return buffer.getvalue()
