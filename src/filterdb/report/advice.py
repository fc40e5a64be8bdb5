"""What the verdicts on layers mean and what one can do about them, in plain words.

Nothing here is measured: it turns a :class:`~filterdb.checking.Check` into sentences. The
measures see weights alone, so that every advice is a possibility to be tried, never an order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from filterdb.checking import Check, LayerCheck
from filterdb.report.words import capital, percent, several
from filterdb.stats.verdict import DEGENERATE, UNJUDGED
from filterdb.words import counted

TINY = 64
"""Filters below which a verdict rests on few of them."""
NAMED = 5
"""Layers named with a fault, those with the most filters first; the table has them all."""

TONES = {
    "healthy": "good",
    "degenerate": "bad",
    "sparse": "sparse",
    "low diversity": "alike",
    "random": "noise",
    "invalid": "bad",
    "undecided": "open",
    "undefined": "none",
}
"""Verdict -> its colour in the page."""
SIGNS = {"good": "✓", "bad": "✕", "sparse": "○", "alike": "≡", "noise": "≈", "open": "?",
         "none": "–"}  # fmt: skip
"""Colour -> its sign, for who does not see the colour."""


@dataclass(frozen=True, slots=True)
class Named:
    """A layer that has a fault, and how much of it."""

    name: str
    words: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found in some layers.

    Attributes
    ----------
    verdict
        Of these layers.
    headline
        The finding, in a few words.
    meaning, advice
        What that is, and what one can do about it.
    layers
        The largest of them.
    more
        How many further ones there are.
    """

    verdict: str
    headline: str
    meaning: str
    advice: str
    layers: tuple[Named, ...]
    more: int

    @property
    def tone(self) -> str:
        """Its colour."""
        return TONES[self.verdict]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on a network, in a headline and a few sentences."""

    verdict: str
    headline: str
    sentences: tuple[str, ...]

    @property
    def tone(self) -> str:
        """Its colour."""
        return TONES[self.verdict]


def judgement(check: Check) -> Judgement:
    """The verdict on a network in plain words."""
    judged = judged_layers(check)
    bad = [row for row in judged if row.verdict in DEGENERATE]
    healthy = sum(row.verdict == "healthy" for row in judged)
    undecided = sum(row.verdict == "undecided" for row in judged)
    sentences = [scale(check)] if len(judged) > undecided else []
    if len(judged) > undecided:
        sentences.append(healthy_words(healthy, len(judged) - undecided))
    if bad and check.degenerate_share is not None:
        sentences.append(
            f"{capital(percent(check.degenerate_share))} of the filters that can be judged sit in "
            f"the {several(len(bad), 'layer')} with a fault."
        )
    if undecided:
        further = "further layer" if len(judged) > undecided else "layer"
        verb = "is" if undecided == 1 else "are"
        sentences.append(f"{counted(undecided, further)} {verb} too small to tell.")
    shapeless = len(check.layers) - len(judged)
    if shapeless and check.verdict != "invalid":
        sentences.append(
            f"{counted(shapeless, 'further layer')} cannot be judged: "
            f"{'its' if shapeless == 1 else 'their'} filters are single numbers (1×1), or very "
            "large."
        )
    return Judgement(check.verdict, headline(check, bad), tuple(sentences))


def judged_layers(check: Check) -> list[LayerCheck]:
    """The layers whose filters have a shape to judge."""
    return [row for row in check.layers if row.verdict not in UNJUDGED]


def judged_filters(check: Check) -> int:
    """How many filters these have: what the shares of a network are of."""
    return sum(row.layer.n_filters for row in judged_layers(check))


def share_told(check: Check) -> float | None:
    """Share of the filters in layers with a fault; None where it cannot be told."""
    return None if check.verdict == "undecided" else check.degenerate_share


def scale(check: Check) -> str:
    """How much of a network its verdict is about."""
    judged, total = judged_filters(check), check.file.n_filters
    if judged == total:
        return f"All {counted(total, 'filter')} can be judged." if total > 1 else "It has 1 filter."
    verbs = ("is", "can") if judged == 1 else ("are", "can")
    return (
        f"{judged:,} of {counted(total, 'filter')} ({percent(judged / total)}) {verbs[0]} larger "
        f"than 1×1 and {verbs[1]} be judged."
    )


def healthy_words(healthy: int, judged: int) -> str:
    """How many of the layers are healthy."""
    if judged == 1:
        return f"The one layer that can be judged {'is healthy' if healthy else 'has a fault'}."
    if healthy == judged:
        return f"All {judged:,} layers that can be judged are healthy."
    number, verb = f"{healthy:,}" if healthy else "None", "are" if healthy > 1 else "is"
    return f"{number} of the {judged:,} layers that can be judged {verb} healthy."


def headline(check: Check, bad: Sequence[LayerCheck]) -> str:
    """The verdict in a line."""
    if check.verdict == "invalid":
        return "This network is damaged: some of its weights are not numbers."
    if check.verdict == "undefined":
        return "This network has no filters whose shape could be judged."
    if check.verdict == "undecided":
        return "This network is too small to be judged."
    # Where most filters are 1x1, the verdict is on the few that are not.
    partly = 2 * judged_filters(check) < check.file.n_filters
    if check.verdict == "degenerate":
        whole = "what can be judged of this network" if partly else "this network"
        filters: Counter[str] = Counter()
        for row in bad:
            filters[row.verdict] += row.layer.n_filters
        return {
            "sparse": f"Much of {whole} is switched off.",
            "low diversity": f"Much of {whole} repeats the same few patterns.",
            "random": f"Much of {whole} looks untrained.",
        }[filters.most_common(1)[0][0]]
    whole = "What can be judged of this network" if partly else "This network"
    if bad:
        return f"{whole} looks healthy, but {several(len(bad), 'layer')} " + (
            "is worth a look." if len(bad) == 1 else "are worth a look."
        )
    return f"{whole} looks healthy."


def findings(check: Check) -> tuple[Finding, ...]:
    """What was found, that with the most filters first; damage comes before all else."""
    found = []
    for verdict, plain in PLAIN.items():
        rows = [row for row in check.layers if row.verdict == verdict]
        if not rows:
            continue
        rows.sort(key=lambda row: -row.layer.n_filters)
        title = plain.many if len(rows) > 1 else plain.one
        finding = Finding(
            verdict,
            f"{counted(len(rows), 'layer')} {title}{place(check, rows)}",
            plain.meaning,
            " ".join([plain.advice, *caveats(rows)]),
            tuple(Named(row.layer.name, plain.words(row)) for row in rows[:NAMED]),
            max(0, len(rows) - NAMED),
        )
        filters = sum(row.layer.n_filters for row in rows)
        found.append((verdict == "invalid", verdict != "undecided", filters, finding))
    return tuple(finding for *_, finding in sorted(found, key=lambda item: item[:3], reverse=True))


def caveats(rows: Sequence[LayerCheck]) -> list[str]:
    """What to mind where such layers are not like most."""
    said: list[str] = []
    if rows[0].verdict in ("undecided", "invalid"):
        return said
    depthwise = sum(row.layer.kind == "depthwise" for row in rows)
    if depthwise:
        said.append(
            f"{some_of(depthwise, len(rows), ('is', 'are'))} depthwise: there each filter serves a "
            "channel of its own, and to remove it removes the channel, also from the layers before "
            "and after."
        )
    tiny = sum(row.layer.n_filters < TINY for row in rows)
    if tiny:
        said.append(
            f"{some_of(tiny, len(rows), ('has', 'have'))} fewer than {TINY} filters: there a few "
            "filters decide the verdict, and little is won by a change."
        )
    return said


def some_of(some: int, all_: int, verbs: tuple[str, str]) -> str:
    """How many of some layers: ``"These layers are"``, ``"1 of these layers is"``."""
    if some == all_:
        return f"This layer {verbs[0]}" if all_ == 1 else f"These layers {verbs[1]}"
    return f"{some:,} of these layers {verbs[some > 1]}"


def place(check: Check, rows: Sequence[LayerCheck]) -> str:
    """Where in a network layers are, if they are together: ``", towards the end"``."""
    depths = [row.layer.conv_depth_norm for row in rows]
    if len(check.layers) < 6:
        return ""
    if min(depths) > 2 / 3:
        return ", towards the end"
    if max(depths) < 1 / 3:
        return ", near the beginning"
    return ""


def sparse_words(row: LayerCheck) -> str:
    """How much of a layer does nothing."""
    n, sparsity = row.layer.n_filters, row.quality.sparsity or 0.0
    if not row.quality.peak:
        return f"all {n:,} filters are exactly zero."
    return f"{percent(sparsity)} of its {counted(n, 'filter')} are next to nothing."


def alike_words(row: LayerCheck) -> str:
    """How many patterns a layer has."""
    height, width = row.layer.kernel
    patterns = f"{10 ** (row.quality.variance_entropy or 0.0):.1f}"
    about = "one pattern" if patterns == "1.0" else f"{patterns} patterns"
    return (
        f"its {counted(row.layer.n_filters, 'filter')} are mixtures of about "
        f"{about}; {height * width} are possible."
    )


def noise_words(row: LayerCheck) -> str:
    """How close a layer is to noise."""
    ratio = row.quality.entropy_ratio or 0.0
    how = "as irregular as" if ratio >= 1 else f"nearly as irregular ({percent(ratio)}) as"
    return f"its {counted(row.layer.n_filters, 'filter')} are {how} random numbers."


def invalid_words(row: LayerCheck) -> str:
    """How much of a layer is no number."""
    number = row.quality.n_invalid
    return f"{counted(number, 'weight')} {'is' if number == 1 else 'are'} NaN or infinite."


def undecided_words(row: LayerCheck) -> str:
    """How few filters a layer has."""
    return f"{counted(row.layer.n_filters, 'filter')} of {size_of(row)}."


def size_of(row: LayerCheck) -> str:
    """A kernel's size, ``3×3``."""
    return "{}×{}".format(*row.layer.kernel)


@dataclass(frozen=True, slots=True)
class Plain:
    """A verdict in plain words.

    Attributes
    ----------
    one, many
        What one layer does, and several do, for a title.
    meaning, advice
        What that is, and what one can do about it.
    words
        A sentence on one layer.
    """

    one: str
    many: str
    meaning: str
    advice: str
    words: Callable[[LayerCheck], str]


PLAIN = {
    "invalid": Plain(
        "holds values that are not numbers",
        "hold values that are not numbers",
        "A weight that is infinite or not a number spoils everything that is computed with it. "
        "It comes from a training that broke down, or from a damaged file.",
        "Do not use this file. Go back to the last good checkpoint; if there is none, train again "
        "with a smaller learning rate, or with more precise numbers.",
        invalid_words,
    ),
    "sparse": Plain(
        "is mostly switched off",
        "are mostly switched off",
        "Most filters here are next to nothing beside the strongest of their layer: the layer "
        "has more room than the network uses.",
        "It could be made narrower: removing these filters (“pruning”) often costs no accuracy, "
        "and makes the network smaller and faster. If it was meant to be used fully, train with "
        "less weight decay. Measure the accuracy afterwards.",
        sparse_words,
    ),
    "low diversity": Plain(
        "repeats the same few patterns",
        "repeat the same few patterns",
        "The filters here are nearly copies of one another, so that the layer sees only few "
        "different things.",
        "A narrower layer would probably do the same work, or the network has more layers than "
        "its task needs. In training, more varied data makes filters more varied.",
        alike_words,
    ),
    "random": Plain(
        "looks like noise",
        "look like noise",
        "The filters here cannot be told from random numbers, or hardly. That is what a layer "
        "looks like before it is trained.",
        "Make sure that the network was trained to the end and that this is the right file. If it "
        "was, there is more network than the data could fill: make these layers narrower, leave "
        "some out, or train on more data or with more weight decay.",
        noise_words,
    ),
    "undecided": Plain(
        "is too small to tell",
        "are too small to tell",
        "With so few filters, trained layers and random ones look the same. That is no fault.",
        "Nothing needs to be done.",
        undecided_words,
    ),
}
"""What is said of each verdict that needs saying."""
