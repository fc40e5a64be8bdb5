"""Which keys the filters of a layer are copies of, by depth and layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from filterdb.figures.lettering import compact, legible, plain
from filterdb.figures.style import OTHER, PALETTE, Style, house
from filterdb.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from filterdb.figures.style import Look

Array = NDArray[np.float64]

REST = ("other", "constant", "nearly zero")
"""What a filter is that is no key's copy; the last columns of counts, in this order."""
PALER = (0.0, 0.45, 0.75)  # how near to the paper their greys are
TENTHS = 10
BAR, MOST_BAR, LONGEST_SIDE = 0.21, 0.4, 14.0  # distance of two layers, and of all, in inches
ENTRY = 0.175  # height of an entry of a legend
LEAST_LABEL = 0.13  # distance of two names
MORE = "////"


def key_shares_by_depth(
    depths: NDArray[Any], counts: NDArray[Any], names: Sequence[str], *, style: Style = "light"
) -> Figure:
    """Share of each key in layers of each depth; every layer weighs the same.

    Parameters
    ----------
    depths
        ``conv_depth_norm`` of layers, shape ``(L,)``, from 0 to 1; layers without are left out.
    counts
        Filters of each key, then those that are "other", constant and nearly zero, shape
        ``(L, K + 3)``.
    names
        Of the keys, length ``K``. Of more than eight keys, the most frequent have colours.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        A stacked bar a tenth of the depth, with the number of layers above it.

    Raises
    ------
    ValueError
        Shapes do not match, or there is no layer with a depth and filters.
    """
    counts = checked(counts, names, layers=len(depths))
    depths = np.array([np.nan if depth is None else depth for depth in depths], np.float64)
    known = np.isfinite(depths) & (counts.sum(axis=1) > 0)
    if not known.any():
        msg = "No layer has a depth and filters with labels, so that there is no share to draw."
        raise ValueError(msg)
    shares = shares_of(counts[known])
    tenth = np.clip((depths[known] * TENTHS).astype(int), 0, TENTHS - 1)
    layers = np.bincount(tenth, minlength=TENTHS)
    mean = np.zeros((TENTHS, shares.shape[1]))
    np.add.at(mean, tenth, shares)
    mean /= np.maximum(layers, 1)[:, None]
    with house(style) as look:
        figure = look.figure(7.4, 3.9)
        axes = look.tidy(figure.add_subplot())
        base = np.zeros(TENTHS)
        places = (np.arange(TENTHS) + 0.5) / TENTHS
        classes = classes_of(look, shares, names)
        for columns, label, colours in classes:
            height = mean[:, columns].sum(axis=1)
            axes.bar(places, 100 * height, 0.094, 100 * base, label=label, **colours)
            base += height
        for place, number in zip(places, layers, strict=True):
            where, text = (101.5, f"{number:,}") if number else (1.5, "no layers")
            axes.text(
                place, where, text, ha="center", va="bottom", fontsize=7, color=look.muted,
                rotation=0 if number else 90,
            )  # fmt: skip
        axes.set(
            xlim=(0, 1),
            ylim=(0, 107),
            yticks=range(0, 101, 20),
            ylabel="mean share of a layer's filters, %",
        )
        axes.set_xlabel("relative depth (0: first layer, 1: last)")
        axes.spines[:].set_visible(False)
        name_classes(axes)
        total = counted(int(known.sum()), "layer")
        text = f"{total}, {compact(counts[known].sum())} filters; every layer weighs the same"
        if not known.all():
            text += f"; {counted(int((~known).sum()), 'layer')} without depth or filters left out"
        look.head(axes, "Keys by depth", text + "\nAbove each bar: its number of layers")
        return look.finish(figure, alt=summary_of(f"Keys by depth of {total}", mean, layers, names))


def layer_bars(
    layers: Sequence[str],
    counts: NDArray[Any],
    names: Sequence[str],
    *,
    title: str = "",
    style: Style = "light",
) -> Figure:
    """Share of each key in every layer of a network, a bar a layer in their order.

    Parameters
    ----------
    layers
        Their names, length ``L``.
    counts
        Filters of each key, then those that are "other", constant and nearly zero, shape
        ``(L, K + 3)``.
    names
        Of the keys, length ``K``. Of more than eight keys, the most frequent have colours.
    title
        The network's name.
    style
        ``"light"`` or ``"dark"``.

    Returns
    -------
    Figure
        The number of filters stands beside each bar.

    Raises
    ------
    ValueError
        Shapes do not match, or there are no filters.
    """
    counts = checked(counts, names, layers=len(layers))
    if not counts.sum():
        msg = "No layer has filters with labels, so that there is no share to draw."
        raise ValueError(msg)
    number, shares = len(layers), shares_of(counts)
    with house(style) as look:
        figure = look.figure(4, 4)
        axes = look.bare(figure.add_subplot())
        classes = classes_of(look, shares[counts.sum(axis=1) > 0], names)
        # The legend is beside the bars, and may be higher than few of them.
        height = max(min(BAR * number, LONGEST_SIDE), ENTRY * (len(classes) + 1))
        pitch = min(height / number, MOST_BAR)
        every = int(np.ceil(LEAST_LABEL / pitch))
        base = np.zeros(number)
        for columns, label, colours in classes:
            width = shares[:, columns].sum(axis=1)
            axes.barh(np.arange(number), 100 * width, 0.82, 100 * base, label=label, **colours)
            base += width
        marked = range(0, number, every)
        axes.set_yticks(marked, [plain(layers[i], most=32) for i in marked], fontsize=7)
        for place in marked:
            text = compact(counts[place].sum())
            axes.text(101, place, text, va="center", fontsize=6.5, color=look.muted)
        axes.set(xlim=(0, 100), ylim=(height / pitch - 0.5, -0.5), xticks=range(0, 101, 25))
        axes.set_xlabel("share of the layer's filters, %")
        name_classes(axes, right=1.09)
        text = f"{counted(number, 'layer')} in order, {compact(counts.sum())} filters"
        heading = plain(title, most=44) or "Keys by layer"
        least = look.head(axes, heading, text + ": their number beside each bar")
        look.fit(figure, axes, width=3.6, height=height, least=least)
        about = f"Keys in the layers of {legible(title) or 'a network'}"
        return look.finish(figure, alt=summary_of(about, shares, counts.sum(axis=1), names))


def checked(counts: NDArray[Any], names: Sequence[str], *, layers: int) -> Array:
    """Counts as float64.

    Raises
    ------
    ValueError
        They are not so many layers by so many keys and three.
    """
    expected = (layers, len(names) + len(REST))
    if np.shape(counts) != expected or not layers:
        msg = (
            f"Counts of shape {np.shape(counts)} are not those of {layers} layers and "
            f"{len(names)} keys: it takes {expected}, with {', '.join(REST)} at the end."
        )
        raise ValueError(msg)
    return np.asarray(counts, np.float64)


def shares_of(counts: Array) -> Array:
    """Counts over their sum in each layer; 0 for a layer without any."""
    totals = counts.sum(axis=1, keepdims=True)
    return counts / np.where(totals > 0, totals, 1)


def classes_of(
    look: Look, shares: Array, names: Sequence[str]
) -> list[tuple[list[int], str, dict[str, Any]]]:
    """Columns to add up, their label with the mean share, and how a bar of them looks.

    Keys come first, from below; those without a colour of their own are one hatched class.
    """
    mean, keys = shares.mean(axis=0), len(names)
    frequent = sorted(np.argsort(-mean[:keys], kind="stable")[: len(PALETTE)].tolist())
    edge = {"edgecolor": look.paper, "linewidth": 0.5}
    classes = [
        ([key], plain(names[key], most=24), {"color": colour, **edge})
        for key, colour in zip(frequent, PALETTE, strict=False)
    ]
    more = [key for key in range(keys) if key not in frequent]
    if more:
        looks = {"color": look.paper, "hatch": MORE, "edgecolor": look.muted, "linewidth": 0}
        classes.append((more, counted(len(more), "more key"), looks))
    classes += [
        ([keys + place], name, {"color": mixed(OTHER, look.paper, paler), **edge})
        for place, (name, paler) in enumerate(zip(REST, PALER, strict=True))
        if place == 0 or mean[keys + place] > 0
    ]
    return [
        (columns, f"{label}  {percent(mean[columns].sum())}", looks)
        for columns, label, looks in classes
    ]


def mixed(colour: str, other: str, share: float) -> tuple[float, ...]:
    """A colour on its way to another."""
    from matplotlib.colors import to_rgb

    return tuple((1 - share) * np.array(to_rgb(colour)) + share * np.array(to_rgb(other)))


def name_classes(axes: Axes, *, right: float = 1.02) -> None:
    """A legend beside the bars, from above as the bars are."""
    axes.legend(
        loc="upper left", bbox_to_anchor=(right, 1.02), reverse=True, handlelength=1.1,
        handleheight=1.1, borderpad=0, title="mean of the layers", title_fontsize=8,
        alignment="left",
    )  # fmt: skip


def percent(share: float) -> str:
    """A share for a label: ``12.3 %``, and no 0 or 100 that is none."""
    if not np.isfinite(share):
        return "–"
    if 0 < share < 0.0005:
        return "<0.1 %"
    if 0.9995 <= share < 1:
        return ">99.9 %"
    return f"{100 * share:.{0 if share in (0, 1) else 1}f} %"


def summary_of(about: str, shares: Array, weights: NDArray[Any], names: Sequence[str]) -> str:
    """The picture in a sentence, for who cannot see it; bars without weight do not count."""
    mean = shares[weights > 0].mean(axis=0)
    first = int(np.argmax(mean[: len(names)])) if names else 0
    most = f"the most frequent key is {legible(names[first])} ({percent(mean[first])}), "
    return f"{about}: {most if names else ''}{percent(mean[len(names)])} are other."
