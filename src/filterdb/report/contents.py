"""What is in a database: networks in tables, the degenerate ones, and what is not in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filterdb.report.advice import SIGNS, TONES
from filterdb.report.database_keys import depthwise_of
from filterdb.report.layers import Strip, strip
from filterdb.report.selection import Selection, is_untrained
from filterdb.report.words import listed
from filterdb.stats.verdict import DEGENERATE
from filterdb.words import counted

if TYPE_CHECKING:
    from filterdb.report.page import Context

VALUES_SHOWN = 8
DEGENERATE_SHOWN = 40
NETWORKS_SHOWN = 200
REASONS_SHOWN = 30
NAMES_SHOWN = 6
WORST_SHOWN = 2
COLUMNS = {
    "task": "Tasks",
    "visual_category": "Kinds of pictures",
    "training_dataset": "Training data",
    "architecture": "Architectures",
    "format": "File formats",
    "license": "Licences",
}


@dataclass(frozen=True, slots=True)
class Count:
    """A value and how many networks have it; ``width`` is that of its bar, 0 to 100."""

    name: str
    models: int
    filters: int
    width: float


@dataclass(frozen=True, slots=True)
class Tally:
    """The values of a column."""

    title: str
    counts: tuple[Count, ...]
    rest: str


@dataclass(frozen=True, slots=True)
class NetworkRow:
    """A network in a table; ``why`` names its worst layers, or is empty."""

    name: str
    verdict: str
    tone: str
    share: float | None
    about: str
    layers: int
    filters: int
    strip: Strip | None
    why: str
    untrained: bool


def what_is_in_it(selection: Selection) -> Context:
    """Values of the metadata, and sizes and kinds of filters."""
    tallies = []
    filters: Counter[int] = Counter()
    for row in selection.layers:
        filters[row["model_id"]] += row["n_filters"]
    for column, title in COLUMNS.items():
        values = {number: model.get(column) for number, model in selection.models.items()}
        if any(value not in (None, "") for value in values.values()):
            tallies.append(tally(title, values.items(), filters))
    return {
        "tallies": tallies,
        "sizes": by_layer(selection, lambda row: f"{row['kh']}×{row['kw']}"),
        "kinds": by_layer(selection, lambda row: row["kind"]),
        "no_keys": depthwise_of(selection).why_none,
        "without": [
            title for column, title in COLUMNS.items() if column != "format" and not any(
                model.get(column) for model in selection.models.values())
        ],
    }  # fmt: skip


def tally(title: str, values: Iterable[tuple[int, Any]], filters: Mapping[int, int]) -> Tally:
    """How many networks have each value, the most frequent first."""
    models: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    missing = 0
    for number, value in values:
        if value in (None, ""):
            missing += 1
            continue
        models[str(value)] += 1
        sums[str(value)] += filters[number]
    ranked = models.most_common()
    shown, others = ranked[:VALUES_SHOWN], ranked[VALUES_SHOWN:]
    most = shown[0][1]
    counts = tuple(Count(name, n, sums[name], 100 * n / most) for name, n in shown)
    rest = []
    if others:
        networks = counted(sum(n for _, n in others), "network")
        rest.append(f"{len(others):,} more, of {networks}")
    if missing:
        rest.append(f"not given for {missing:,}")
    return Tally(title, counts, "; ".join(rest))


def by_layer(selection: Selection, label: Any) -> list[tuple[str, int, int]]:
    """Label, layers and filters; the label with the most filters first."""
    layers: Counter[str] = Counter()
    filters: Counter[str] = Counter()
    for row in selection.layers:
        layers[label(row)] += 1
        filters[label(row)] += row["n_filters"]
    shown = [(name, layers[name], n) for name, n in filters.most_common(VALUES_SHOWN)]
    rest = [(layers[name], n) for name, n in filters.most_common()[VALUES_SHOWN:]]
    if rest:
        shown.append((f"{len(rest):,} more", sum(n for n, _ in rest), sum(n for _, n in rest)))
    return shown


def degenerate(selection: Selection) -> Context:
    """The networks that are degenerate or damaged, the worst first."""
    bad = [
        model
        for model in selection.models.values()
        if model["verdict"] in ("degenerate", "invalid")
    ]
    bad.sort(key=lambda model: (model["verdict"] != "invalid", -(model["degenerate_share"] or 0)))
    faults = Counter(row["verdict"] for row in selection.layers if row["verdict"] in DEGENERATE)
    return {
        "words": degenerate_words(len(bad), len(selection.models), faults),
        "caption": "Networks of which half or more of the filters that can be judged sit in layers "
        "with a fault, or with values that are not numbers; the worst first, each with the largest "
        "of these layers. The strip shows its layers.",
        "rows": [network_row(model, selection) for model in bad[:DEGENERATE_SHOWN]],
        "total": len(bad),
        "folded": False,
        "signs": SIGNS,
    }


def degenerate_words(bad: int, models: int, faults: Mapping[str, int]) -> str:
    """How many there are, and what is wrong with layers."""
    text = f"{bad:,} of {counted(models, 'network')}." if bad else "There is none."
    found = ", ".join(f"{n:,} {name}" for name, n in Counter(faults).most_common())
    return f"{text} Layers with a fault, in all networks: {found}." if found else text


def all_networks(selection: Selection) -> Context:
    """Every network, as far as there is room."""
    models = list(selection.models.values())
    return {
        "words": "",
        "caption": "The networks in the order in which they joined.",
        "rows": [network_row(model, selection) for model in models[:NETWORKS_SHOWN]],
        "total": len(models),
        "folded": True,
        "signs": SIGNS,
    }


def network_row(model: Mapping[str, Any], selection: Selection) -> NetworkRow:
    """A network's row."""
    layers = selection.layers_of[model["id"]]
    about = [str(model[name]) for name in ("task", "architecture") if model.get(name)]
    return NetworkRow(
        name=model["name"],
        verdict=model["verdict"],
        tone=TONES.get(model["verdict"], "none"),
        share=None if model["verdict"] == "undecided" else model["degenerate_share"],
        about=", ".join(about),
        layers=len(layers),
        filters=sum(row["n_filters"] for row in layers),
        strip=strip([row["verdict"] for row in layers]) if layers else None,
        why=worst_layers(layers) if model["verdict"] in ("degenerate", "invalid") else "",
        untrained=is_untrained(model),
    )


def worst_layers(layers: Sequence[Mapping[str, Any]]) -> str:
    """The largest layers with a fault, damaged ones first, and what they have."""
    bad = [row for row in layers if row["verdict"] in (*DEGENERATE, "invalid")]
    bad.sort(key=lambda row: (row["verdict"] != "invalid", -row["n_filters"]))
    named = [f"{row['name']} ({row['verdict']})" for row in bad]
    return listed(named, most=WORST_SHOWN)


def left_out(selection: Selection) -> Context:
    """Files that could not be read, tensors that were skipped, and what counts once."""
    info = selection.database.info()
    failed: defaultdict[str, list[str]] = defaultdict(list)
    for failure in info["failed_files"]:
        failed[failure["reason"]].append(Path(failure["path"]).name)
    return {
        "where": selection.where,
        "failures": info["failures"],
        "failed": ranked(failed),
        "more_reasons": max(0, len(failed) - REASONS_SHOWN),
        "skipped": list(info["skipped_by_reason"].items())[:REASONS_SHOWN],
        "n_skipped": info["skipped"],
        "duplicates": info["duplicates"],
    }


def ranked(reasons: Mapping[str, list[str]]) -> list[tuple[str, int, list[str]]]:
    """Reason, how many, and the first names; the most frequent reason first."""
    order = sorted(reasons.items(), key=lambda item: -len(item[1]))
    return [(reason, len(names), names[:NAMES_SHOWN]) for reason, names in order[:REASONS_SHOWN]]
