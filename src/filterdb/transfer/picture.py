"""The picture of a result: which of the figures an experiment has, and what goes into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from filterdb.errors import TransferError
from filterdb.figures.transfer_curves import Line, Panel, accuracy_curves
from filterdb.figures.transfer_forest import Row, accuracy_forest
from filterdb.figures.transfer_marks import Measured
from filterdb.figures.transfer_matrix import Cell, transfer_matrix
from filterdb.transfer.results import FULL, OWN, RANDOM, Comparison, Result, TableRow
from filterdb.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from filterdb.figures.style import Style

SAND = 5
"""Number in the palette of what is random."""
KINDS = {
    "AnB": ("A's filters, frozen (AnB)", 1, False),
    "BnB": ("B's own, frozen (BnB)", 0, False),
    "RnB": ("random ones, frozen (RnB)", SAND, False),
    "AnB+": ("A's, learning on (AnB+)", 1, True),
    "BnB+": ("B's own, learning on (BnB+)", 0, True),
}
"""Kind of an arm of layers -> name, colour, dashed."""
FEW = "few random"
"""How experiments label so many random filters."""
NAMED = {FEW: "as many random filters", "kept": "the keys kept", "drawn": "as many keys drawn"}
"""What lines of the keys are called."""


def picture_of(result: Result, *, style: Style = "light") -> Figure:
    """The figure of an experiment.

    Layers, keys, removal and size: accuracy along their axis; matrix: a heat map of differences
    to the target's own filters; all others: a line an arm.

    Raises
    ------
    TransferError
        No run was done, so that there is nothing to draw, or an arm lacks a label.
    MissingExtraError
        matplotlib is not installed.
    """
    if not any(row.values for row in result.table):
        msg = f"There is nothing to draw of {result.experiment}: no run has an accuracy."
        raise TransferError(msg)
    try:
        return PICTURES.get(result.experiment, _forest)(result, style)
    except KeyError as error:
        msg = f"An arm of {result.experiment} has no label {error}: the result cannot be drawn."
        raise TransferError(msg) from error


def about(result: Result) -> str:
    """Network, data and number of seeds, in a line."""
    network, data = (_table(result.settings.get(name)) for name in ("network", "data"))
    seeds = max((len(row.values) for row in result.table), default=0)
    told = [str(network.get("name", ""))]
    told += [f"{key} {network[key]}" for key in SIZES if key in network]
    told = [f"{', '.join(filter(None, told))}{_data(result, data)}", counted(seeds, "seed")]
    return "; ".join(told)


SIZES = ("width", "depth", "kernel")


def images_of(size: object, channels: object) -> str:
    """``"16x16 grey"``, ``"32x32 colour"``."""
    told = "grey" if channels == 1 else "colour" if channels == 3 else f"of {channels} channels"
    return f"{size}x{size} {told}"


def _data(result: Result, data: Mapping[str, object]) -> str:
    """Name of the data, and of the source of an experiment that has one, and what images are."""
    options = _table(result.settings.get(result.experiment))
    spec = str(data.get("spec", "")).rstrip("/").rpartition("/")[2]
    others = [*map(_table, _table(options.get("sets")).values()), _table(options.get("source"))]
    told = "" if result.experiment == "matrix" else f" on {spec}"
    if "size" in data and not any({"size", "channels"} & other.keys() for other in others):
        images = images_of(data["size"], data.get("channels"))
        told += f" ({images})" if told else f"; images {images}"
    return told


def _table(told: object) -> Mapping[str, object]:
    return told if isinstance(told, Mapping) else {}


def _measured(row: TableRow) -> Measured:
    found = row.accuracy
    return Measured(found.mean, found.low, found.high, tuple(row.values.values()))


def _layers(result: Result, style: Style) -> Figure:
    panels = []
    arms = [row for row in result.table if "part" in row.labels]
    bases = [row for row in result.table if row.labels.get("base") == "B"]
    for part in dict.fromkeys(row.labels["part"] for row in arms):
        mine = [row for row in arms if row.labels["part"] == part]
        lines = [
            Line(name, points, colour, dashed)
            for kind, (name, colour, dashed) in KINDS.items()
            if (points := {row.labels["cut"]: _measured(row) for row in mine
                           if row.labels["kind"] == kind})
        ]  # fmt: skip
        name = mine[0].labels["network"]
        base = next(
            (row for row in bases if row.arm == f"{name} for {part} filters, B"),
            next((row for row in bases if row.arm == f"{name} B"), None),
        )
        references = {} if base is None else {"B, trained in full": _measured(base)}
        panels.append(Panel(f"{part} ({name})", lines, references))
    return accuracy_curves(
        panels, axis="transferred layers n", title="The first n layers from A or from B",
        about=about(result), style=style,
    )  # fmt: skip


def _keys(result: Result, style: Style) -> Figure:
    arms = [row for row in result.table if "k" in row.labels]
    names = sorted({row.labels["filters"]: None for row in arms}, key=lambda name: name == FEW)
    lines = [
        Line(NAMED.get(name, str(name)),
             {row.labels["k"]: _measured(row) for row in arms if row.labels["filters"] == name},
             SAND if name == FEW else place)
        for place, name in enumerate(names)
    ]  # fmt: skip
    references = {row.arm: _measured(row) for row in result.table if "k" not in row.labels}
    removal = result.experiment == "removal"
    title = "Keys taken out one by one" if removal else "A few frozen keys for learnt filters"
    return accuracy_curves(
        [Panel("", lines, references)], axis="frozen keys k", doubling=True, title=title,
        about=about(result), style=style,
    )  # fmt: skip


def _size(result: Result, style: Style) -> Figure:
    points = {row.labels["share"]: _measured(row) for row in result.table if "share" in row.labels}
    references = {
        row.arm: _measured(row)
        for row in result.table
        if "share" not in row.labels and "source_share" not in row.labels
    }
    ticks = {share: str(Fraction(share).limit_denominator(1000)) for share in points}
    return accuracy_curves(
        [Panel("", [Line("source's filters, frozen", points, 0)], references)],
        axis="share of the source's images", doubling=True, ticks=ticks,
        title="Filters of a source that has seen more or less", about=about(result), style=style,
    )  # fmt: skip


def _matrix(result: Result, style: Style) -> Figure:
    sets = list(dict.fromkeys(row.labels["target"] for row in result.table))
    arms = {(row.labels["source"], row.labels["target"]): row for row in result.table}
    controls = {(c.arm, c.control): c for c in result.comparisons}

    def against_own(source: str, target: str) -> Cell:
        one, own = arms[source, target].arm, arms[target, target].arm
        if (one, own) in controls:
            return _cell(controls[one, own], 1.0)
        return _cell(controls.get((own, one)), -1.0)

    references = {
        name: [against_own(source, target) for target in sets]
        for name, source in (("random filters, frozen", RANDOM), ("trained in full", FULL))
        if any((source, target) in arms for target in sets)
    }
    own = [_measured(arms[target, target]) for target in sets]
    part = _table(result.settings.get("matrix")).get("part", "depthwise")
    return transfer_matrix(
        sets, [[against_own(source, target) for target in sets] for source in sets],
        own=own, references=references, title=f"Frozen {part} filters of every set in every other",
        about=about(result), style=style,
    )  # fmt: skip


def _cell(found: Comparison | None, sign: float) -> Cell:
    if found is None or found.difference is None:
        return Cell(None, None, None)
    if found.low is None or found.high is None:
        return Cell(sign * found.difference, None, None)
    low, high = sorted((sign * found.low, sign * found.high))
    return Cell(sign * found.difference, low, high)


def _forest(result: Result, style: Style) -> Figure:
    """References, then what is compared with them.

    Sources are left out: other networks, whose own accuracies would only stretch the axis.
    """
    shown = [row for row in result.table if not _is_source(row)]
    rows = [Row(row.arm, _measured(row), _is_reference(row)) for row in shown]
    return accuracy_forest(
        sorted(rows, key=lambda row: not row.reference),
        title=f"Accuracy by arm: {result.experiment}", about=about(result), style=style,
    )  # fmt: skip


def _is_source(row: TableRow) -> bool:
    return row.labels.get("filters") == FULL and "source" in row.labels


def _is_reference(row: TableRow) -> bool:
    """Whether it is of the network itself: in full, its own filters, random ones."""
    return row.labels.get("filters") in (FULL, OWN, RANDOM, f"spectrum of {OWN}")


PICTURES: Mapping[str, Callable[[Result, Style], Figure]] = {
    "layers": _layers, "keys": _keys, "removal": _keys, "size": _size, "matrix": _matrix,
}  # fmt: skip
"""By the name of the experiment; the others have the forest."""
