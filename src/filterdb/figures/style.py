"""The house style: one look for all pictures, without touching what the caller has set.

>>> with house("light") as look:                     # doctest: +SKIP
...     figure = look.figure(6, 4)
...     axes = look.tidy(figure.add_subplot())
...     return look.finish(figure, alt="What the picture shows, in a sentence.")
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from filterdb.extras import require
from filterdb.figures.lettering import fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
Style = Literal["light", "dark"]

# The chromatic ones of M. Petroff, "Accessible color sequences for data visualization"
# (arXiv 2107.02270): told apart with every kind of colour vision. Markers tell them apart in grey.
PALETTE = ("#3f90da", "#e76300", "#832db6", "#ffa90e", "#bd1f01", "#b9ac70", "#a96b59", "#92dadd")
OTHER = "#717581"
HEADROOM, LEAST_BAR, MOST_BAR = 0.22, 0.6, 4.0
"""Of a colour bar, in inches: what is left free above it, and its height."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")


@dataclass(frozen=True, slots=True)
class Look:
    """Colours of one style, and what every figure begins and ends with.

    Attributes
    ----------
    paper, ink, muted, grid
        Background, text, secondary text, and lines that only guide the eye.
    diverging, sequential
        Names of colour maps; zero, or the least, is close to the paper.
    """

    paper: str
    ink: str
    muted: str
    grid: str
    diverging: str
    sequential: str

    def figure(self, width: float, height: float) -> Figure:
        """An empty figure, in inches, that belongs to no window and no global state."""
        from matplotlib.figure import Figure

        return Figure(figsize=(width, height), layout="constrained")

    def tidy(self, axes: Axes, *, grid: Literal["x", "y", "both"] | None = None) -> Axes:
        """Axes in the house style, also for ticks that matplotlib makes at a later drawing."""
        axes.tick_params(
            which="both", color=self.grid, labelcolor=self.ink, labelsize=8, length=3, width=0.8
        )
        axes.spines[["top", "right"]].set_visible(False)
        if grid:
            axes.grid(axis=grid, color=self.grid, linewidth=0.6)
        axes.set_axisbelow(True)
        return axes

    def bare(self, axes: Axes) -> Axes:
        """Axes whose frame and ticks are not drawn: for pictures and matrices."""
        self.tidy(axes)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        return axes

    def fit(
        self, figure: Figure, axes: Axes, *, width: float, height: float, least: float = 0.0
    ) -> None:
        """Size the figure so that axes get what they ask for, in inches, beside all labels.

        How much room labels need is known only once they are laid out. ``least`` is the least
        width of the figure: titles are not laid out. What has to be square is so by these sizes
        and not by an aspect, which shrinks axes after the layout, and that away from their labels.
        """
        if axes.child_axes:  # beside which a colour bar needs some height
            growth = max(1.0, (HEADROOM + LEAST_BAR) / height)
            width, height = growth * width, growth * height
        axes.set_aspect("auto")
        figure.set_size_inches(width + 8, height + 6)
        figure.draw_without_rendering()
        across, down = figure.get_size_inches()
        place = axes.get_position(original=True)
        across, down = across * (1 - place.width) + width, down * (1 - place.height) + height
        figure.set_size_inches(max(least, across), down)
        if across < least:
            figure.set_layout_engine("constrained", rect=(0, 0, across / least, 1))

    def head(self, axes: Axes, title: str, text: str = "") -> float:
        """A title above axes, and below it what one has to know; either may be empty.

        Both may be wider than the axes, which the layout must not mind: a blank title keeps
        room for their height alone. What is returned is about their width, in inches.
        """
        above = 6 + 11.5 * (text.count("\n") + 1 if text else 0)  # points
        axes.set_title(" ", fontsize=11 if title else 1, pad=above)
        lines: tuple[tuple[str, float, dict[str, Any]], ...] = (
            (title, above, {"fontsize": 11, "fontweight": "bold"}),
            (text, 6, {"fontsize": 8, "color": self.muted}),
        )
        for line, height, look in lines:
            axes.annotate(
                line,
                (0, 1),
                xycoords="axes fraction",
                xytext=(0, height),
                textcoords="offset points",
                in_layout=False,
                **look,
            )
        return 0.3 + max(0.11 * len(title), *(0.075 * len(line) for line in text.split("\n")))

    def colour_bar(self, axes: Axes, image: ScalarMappable, **options: Any) -> Colorbar:
        """A colour bar beside axes, as thin on a small picture as on a large one."""
        from matplotlib.transforms import Bbox

        figure = axes.get_figure(root=True)
        assert figure is not None  # noqa: S101 - these axes are on one

        def locate(_axes: object, _renderer: object) -> Bbox:
            (_, bottom), (right, top) = axes.get_position().get_points()
            width, height = figure.get_size_inches()
            top -= HEADROOM / height
            bottom = min(bottom, top - LEAST_BAR / height)
            high = min(top - bottom, MOST_BAR / height)
            return Bbox.from_bounds(right + 0.15 / width, bottom, 0.13 / width, high)

        place = axes.inset_axes((1, 0, 0.1, 1))
        place.set_axes_locator(locate)
        bar = figure.colorbar(image, cax=place, **options)
        bar.outline.set_visible(False)
        self.tidy(place)
        return bar

    def tile(
        self, axes: Axes, image: Array, *, at: tuple[float, float], half: Array, peak: float
    ) -> None:
        """A small image ``(kh, kw)`` in a hairline, red to ``peak`` and blue to ``-peak``.

        ``at`` is its centre (x, y) and ``half`` half its height and width.
        """
        from matplotlib.patches import Rectangle

        (x, y), (down, across) = at, half
        axes.imshow(
            image,
            cmap=self.colormap(self.diverging),
            vmin=-peak,
            vmax=peak,
            extent=(x - across, x + across, y + down, y - down),
        )
        corner = (x - across, y - down)
        frame = Rectangle(corner, 2 * across, 2 * down, fill=False, edgecolor=self.grid, lw=0.5)
        axes.add_patch(frame)

    def finish(self, figure: Figure, *, alt: str) -> Figure:
        """The figure, laid out in this style whatever the caller's is when it is shown.

        ``alt`` says what it shows in a sentence: the figure's label, kept by what saves it.
        """
        figure.set_label(alt)
        figure.draw_without_rendering()
        return figure

    def colormap(self, name: str, *, bad: str | None = None) -> Colormap:
        """A colour map, with grey (or another colour) for what is not finite."""
        from matplotlib import colormaps

        return colormaps[name].with_extremes(bad=bad or self.grid)


LOOKS: dict[str, Look] = {
    "light": Look("#ffffff", "#1c1f24", "#5a6069", "#d9dce1", "RdBu_r", "YlGnBu"),
    "dark": Look("#16191d", "#eceef1", "#a7adb6", "#3a3f47", "berlin", "YlGnBu_r"),
}


@contextmanager
def house(style: Style) -> Iterator[Look]:
    """Draw in the house style: matplotlib's own defaults and ours, restored afterwards.

    Raises
    ------
    ValueError
        There is no such style.
    MissingExtraError
        matplotlib is not installed.
    """
    if style not in LOOKS:
        msg = f"There is no style {style!r}: it is one of {', '.join(map(repr, LOOKS))}."
        raise ValueError(msg)
    look = LOOKS[style]
    matplotlib = require("matplotlib", extra="plot")
    require("matplotlib.figure", extra="plot")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(rc_parameters(look))
        yield look


def rc_parameters(look: Look) -> dict[str, Any]:
    """The style in matplotlib's terms."""
    text = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.labelcolor",
            "ytick.labelcolor")  # fmt: skip
    return {
        "font.family": list(fonts()),
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "axes.titlelocation": "left",
        "axes.linewidth": 0.8,
        "figure.titlesize": 11,
        "figure.titleweight": "bold",
        "legend.fontsize": 8,
        "legend.frameon": False,
        "hatch.linewidth": 0.6,
        "figure.facecolor": look.paper,
        "axes.facecolor": look.paper,
        "axes.edgecolor": look.muted,
        "savefig.facecolor": look.paper,
        **dict.fromkeys(text, look.ink),
        "image.interpolation": "nearest",
    }


def is_light(colours: ArrayLike) -> NDArray[np.bool_]:
    """Whether black is read better than white on colours, by relative luminance (WCAG 2).

    Parameters
    ----------
    colours
        Shape ``(..., 3)`` or ``(..., 4)``: red, green, blue from 0 to 1, as on a screen.
    """
    channels = np.asarray(colours, np.float64)[..., :3]
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    light: NDArray[np.bool_] = linear @ (0.2126, 0.7152, 0.0722) > 0.179
    return light
