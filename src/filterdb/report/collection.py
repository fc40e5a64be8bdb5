"""``database_report``: a database as a page: what is in it, what moves its filters, what is bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from filterdb.figures import shift_boxes
from filterdb.report.advice import SIGNS
from filterdb.report.axes import AXES, Axis, Grouping, compare, described, grouping, in_short
from filterdb.report.contents import all_networks, degenerate, left_out, what_is_in_it
from filterdb.report.database_keys import master_keys
from filterdb.report.layers import MOST_CELLS, strip
from filterdb.report.page import (
    Context,
    Page,
    Progress,
    Section,
    filled,
    kept,
    prepare,
    render_page,
    section,
)
from filterdb.report.pairs import Pairs, pairs
from filterdb.report.pictures import picture
from filterdb.report.populations import patterns, quality, training
from filterdb.report.selection import Selection
from filterdb.report.words import compact
from filterdb.words import counted

if TYPE_CHECKING:
    from filterdb.database import Database
    from filterdb.population.shift_matrix import ShiftMatrix


def database_report(
    database: Database,
    where: str | None = None,
    *,
    title: str | None = None,
    progress: Progress | None = None,
) -> str:
    """One offline page on a database: what is in it, what moves its filters, what is degenerate.

    Parameters
    ----------
    database
        The database. Its catalogue is read, and the weights of its depthwise layers; nothing
        is written.
    where
        SQL expression over the columns of layers and models: report on these only.
    title
        The page's heading; the folder's name if not given.
    progress
        Called with the number of parts made, their total and the next one.

    Returns
    -------
    str
        HTML, complete in itself: no script, and nothing that is fetched.

    Raises
    ------
    QueryError
        The condition is not valid, or nothing meets it.
    DatabaseNotFoundError
        There is no database in the folder.
    MissingExtraError
        jinja2 or matplotlib is not installed.
    """
    prepare()
    selection = Selection.read(database, where)
    steps = Steps(progress, len(AXES) + 4)
    shifts: dict[str, ShiftMatrix] = {}
    parts = list(filter_parts(selection, steps, shifts)) if selection.layers else []
    # What comes first rests on what comes later.
    parts.insert(0, filled("verdict", "At a glance", "glance", glance(selection, shifts)))
    parts += kept(
        (
            section("left-out", "What was left out", "left_out", partial(left_out, selection)),
            section("words", "What the words mean", "words", dict),
        )
    )
    name = title or Path(database.path).resolve().name
    return render_page(Page(name, "Report on a database", tuple(parts)))


class Steps:
    """Tells how far a page is."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, name: str) -> None:
        """A part begins."""
        if self._progress is not None:
            self._progress(self._done, self._total, name)
        self._done += 1


def filter_parts(
    selection: Selection, steps: Steps, shifts: dict[str, ShiftMatrix]
) -> tuple[Section, ...]:
    """The parts on networks and filters, of a database that has any; ``shifts`` is filled."""
    parts = [
        section("contents", "What is in it", "contents", partial(what_is_in_it, selection)),
        section("degenerate", "Degenerate networks", "networks",
                partial(degenerate, selection)),
    ]  # fmt: skip
    steps("quality by depth")
    parts.append(section("depth", "Quality by depth", "pictures", partial(quality, selection)))
    parts += shift_parts(selection, steps, shifts)
    steps("patterns")
    parts.append(
        section("patterns", "What the filters are made of", "pictures",
                partial(patterns, selection))
    )  # fmt: skip
    steps("master keys")
    parts.append(section("keys", "Master keys", "keys", partial(master_keys, selection)))
    steps("training")
    parts.append(section("training", "While they learned", "pictures",
                         partial(training, selection)))  # fmt: skip
    parts.append(section("networks", "All networks", "networks", partial(all_networks, selection)))
    return kept(parts)


def shift_parts(
    selection: Selection, steps: Steps, shifts: dict[str, ShiftMatrix]
) -> list[Section | None]:
    """A part for each axis with groups, led by all of them side by side; ``shifts`` is filled."""
    reasons: list[tuple[Axis, str]] = []
    parts: list[Section | None] = []

    def along(chosen: Grouping) -> Context | None:
        shift = compare(chosen, selection)
        if len(shift.groups) < 2:
            reasons.append((chosen.axis, "the same for all"))
            return None
        shifts[chosen.axis.name] = shift
        return described(chosen, shift)

    for axis in AXES:
        steps(axis.title)
        try:
            chosen = grouping(axis, selection)
        except Exception as error:  # the first to ask for the usual kernel size
            return [section("axes", "What moves the filters", "failed", partial(reason_of, error))]
        if chosen.reason:
            reasons.append((axis, chosen.reason))
            continue
        parts.append(section(f"by-{axis.name}", axis.title, "axis", partial(along, chosen)))
    overview = section(
        "axes", "What moves the filters", "axes", lambda: axes(selection, shifts, reasons)
    )
    return [overview, *parts]


def reason_of(error: Exception) -> Context:
    """Why a part is missing."""
    return {"reason": str(error)}


def glance(selection: Selection, shifts: Mapping[str, ShiftMatrix]) -> Context:
    """The database in a few sentences."""
    models = list(selection.models.values())
    verdicts = sorted(
        (model["verdict"] for model in models),
        key=lambda name: (name != "healthy", name != "undecided", name),
    )
    distinct = len({model["weights_hash"] for model in models})
    sentences = in_short(shifts)
    if distinct < len(models):
        copies = len(models) - distinct
        verbs = ("has", "counts") if copies == 1 else ("have", "count")
        sentences.append(
            f"{counted(copies, 'network')} {verbs[0]} the same weights as another one, and "
            f"{verbs[1]} once."
        )
    if selection.where:
        sentences.append(
            f"Only what meets this condition is counted: {selection.where}. Verdicts on networks, "
            "and the shares of their filters in layers with a fault, are of whole networks all the "
            "same."
        )
    tone = "good" if models and set(verdicts) == {"healthy"} else "open"
    return {
        "headline": glance_headline(Counter(verdicts)),
        "sentences": sentences,
        "tone": tone,
        "sign": SIGNS[tone] if tone == "good" else "",
        "why": bool(selection.layers) and not {"degenerate", "invalid"}.isdisjoint(verdicts),
        "strip": strip(verdicts) if verdicts else None,
        "cells_seen": len(verdicts) <= MOST_CELLS,
        "signs": SIGNS,
        "facts": glance_facts(selection, models),
    }


def glance_headline(verdicts: Mapping[str, int]) -> str:
    """How many networks there are, and how many are healthy."""
    healthy, degenerate, damaged = (
        verdicts.get(name, 0) for name in ("healthy", "degenerate", "invalid")
    )
    models = sum(verdicts.values())
    counts = [
        (healthy, "looks healthy", "look healthy"),
        (degenerate, "is degenerate", "are degenerate"),
        (damaged, "is damaged", "are damaged"),
        (models - healthy - degenerate - damaged, "cannot be judged", "cannot be judged"),
    ]
    if not models:
        return "This database holds no networks yet."
    if models == 1:
        return f"One network, which {next(one for count, one, _ in counts if count)}."
    if healthy == models:
        return f"{models:,} networks, and all look healthy."
    said = [f"{count:,} {one if count == 1 else many}" for count, one, many in counts if count]
    return f"{models:,} networks: {', '.join(said)}."


def glance_facts(selection: Selection, models: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Numbers in large letters."""
    shaped = sum(row["n_filters"] for row in selection.layers if row["kh"] * row["kw"] > 1)
    tasks = {model["task"] for model in models if model["task"]}
    return [
        ("networks", f"{len(models):,}"),
        ("layers", f"{len(selection.layers):,}"),
        ("filters larger than 1×1", compact(shaped)),
        *([("tasks", f"{len(tasks):,}")] if tasks else []),
    ]


def axes(
    selection: Selection, shifts: Mapping[str, ShiftMatrix], reasons: Sequence[tuple[Axis, str]]
) -> Context:
    """All axes side by side."""
    size = "{}×{}".format(*selection.kernel)
    rows = []
    for axis in AXES:
        if axis.name in shifts:
            shift = shifts[axis.name]
            upper = np.triu_indices(len(shift.groups), 1)
            values, nulls = shift.matrix[upper], shift.null_p95[upper]
            rows.append(
                {
                    "axis": axis,
                    "groups": len(shift.groups),
                    "pairs": len(values),
                    "median": middle(values),
                    "null": middle(nulls),
                    "tested": Pairs.of(shift),
                }
            )
    shown = [shift for shift in shifts.values() if len(shift.groups) > 1]
    filters = sum(row["n_filters"] for row in selection.compared)
    other = sum(
        row["n_filters"]
        for row in selection.layers
        if row["kh"] * row["kw"] > 1 and (row["kh"], row["kw"]) != selection.kernel
    )
    return {
        "size": size,
        "words": (
            f"Compared {'is' if filters == 1 else 'are'} the {compact(filters)} "
            f"filter{'' if filters == 1 else 's'} of {size}"
        )
        + (f"; {compact(other)} of other sizes are not." if other else "."),
        "rows": rows,
        "picture": picture(
            partial(shift_boxes, shown),
            caption="The higher a pair of groups, the farther apart it is. Filled dots lie above "
            f"their own null{or_none(shown)}; the line is the middle of these nulls.",
        )
        if shown
        else None,
        "missing": [f"{axis.title[3:]}: {reason}" for axis, reason in reasons],
    }


def or_none(shifts: Sequence[ShiftMatrix]) -> str:
    """``", or have none"`` where pairs are drawn that could not be tested."""
    untested = any(pair.test == "none" for shift in shifts for pair in pairs(shift))
    return ", or have none" * untested


def middle(values: Any) -> float | None:
    """Median of what is known."""
    there = values[np.isfinite(values)]
    return float(np.median(there)) if there.size else None
