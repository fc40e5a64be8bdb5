"""``network_report``: one network as a page, the verdict first."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from filterdb.errors import FilterDBError
from filterdb.figures import cumulative_variance, eigenimages
from filterdb.reading import Source
from filterdb.reference import reference_population
from filterdb.report import examples
from filterdb.report.advice import (
    SIGNS,
    TONES,
    findings,
    judged_filters,
    judgement,
    share_told,
)
from filterdb.report.layers import MOST_ROWS, strip_of, table
from filterdb.report.network_keys import depthwise_of, master_keys
from filterdb.report.page import (
    Context,
    Page,
    Progress,
    filled,
    kept,
    prepare,
    render_page,
    section,
)
from filterdb.report.pictures import Picture, picture
from filterdb.report.reading import Network, read_network
from filterdb.report.standing import Places, charts, itself, nearest, places, places_if_any
from filterdb.report.variance import alike
from filterdb.report.words import percent, size
from filterdb.stats.basis import Basis, fit_basis
from filterdb.words import counted

SIZES_SHOWN = 2
FEW_FILTERS = 100
"""Below, the principal components of a network say little."""
NAMES_SHOWN = 20


def network_report(
    source: Source, *, title: str | None = None, progress: Progress | None = None
) -> str:
    """One offline page on a network: its verdict, what to do about it, and what that rests on.

    Parameters
    ----------
    source
        Whatever :func:`filterdb.read` takes: a path, a mapping, a live module.
    title
        The page's heading; the file's name if not given.
    progress
        Called with the number of layers read, their total and the last one's name.

    Returns
    -------
    str
        HTML, complete in itself: no script, and nothing that is fetched.

    Raises
    ------
    ReadError
        The source, or the weights of a layer, cannot be read.
    MissingExtraError
        jinja2 or matplotlib is not installed.
    """
    prepare()
    network = read_network(source, progress=progress)
    check = network.check
    found = places_if_any(network)
    if progress is not None:
        progress(len(check.layers), len(check.layers), "pictures")
    parts = [
        filled("verdict", "Verdict", "verdict", verdict(network)),
        section("advice", "What to do about it", "advice", partial(advice, network)),
        section("standing", "Beside other networks", "standing", partial(standing, network, found)),
        section("examples", "What its filters look like", "examples", partial(mosaics, network)),
        section("patterns", "What they are made of", "patterns", partial(patterns, network)),
        section("keys", "Master keys", "keys", partial(master_keys, source, network)),
        section("layers", "Every layer", "layers", partial(all_layers, network, found or {})),
        section("reading", "How it was read", "reading", partial(how_read, network)),
        section("words", "What the words mean", "words", dict),
    ]
    page = Page(title or Path(check.file.source).name, "Report on a network", kept(parts))
    return render_page(page)


def verdict(network: Network) -> Context:
    """The verdict in plain words, and the layers at a glance."""
    check = network.check
    judged = judged_filters(check)
    share = share_told(check)
    told = [] if check.verdict == "undecided" else [
        (f"of {counted(check.file.n_filters, 'filter')} can be judged", f"{judged:,}")
    ]  # fmt: skip
    if share is not None:
        these = "that one" if judged == 1 else f"these {judged:,}"
        told.append((f"of {these} sit in layers with a fault", percent(share)))
    return {
        "judgement": judgement(check),
        "strip": strip_of(check),
        "signs": SIGNS,
        "facts": [
            ("layers", f"{len(check.layers):,}"),
            *told,
            ("format", check.file.format),
        ],
    }


def advice(network: Network) -> Context:
    """What was found, and what one can do."""
    return {
        "findings": findings(network.check),
        "verdict": network.check.verdict,
        "cut": len(network.check.layers) > MOST_ROWS,
        "signs": SIGNS,
    }


def standing(network: Network, found: Places | None) -> Context:
    """Where it stands among the reference population."""
    population = reference_population()
    found = places(network) if found is None else found
    share = share_told(network.check)
    own = itself(network)
    return {
        "summary": population.summary,
        "share": share,
        "judged": judged_filters(network.check),
        "whole": None if share is None else population.network_percentile(share, without=own),
        "charts": charts(network.check, found),
        "itself": own,
        "near": nearest(network, without=own),
    }


def mosaics(network: Network) -> Context:
    """Pictures of the worst and of typical layers."""
    bad, good = examples.worst(network.check), examples.typical(network.check)
    return {
        "examples": [examples.example(row) for row in [*bad, *good]],
        "why_none": "" if bad or good else examples.why_none(network.check),
        "worst": len(bad),
        "typical": len(good),
        "faults": sum(
            row.verdict in ("sparse", "low diversity", "random") for row in network.check.layers
        ),
        "signs": SIGNS,
    }


def patterns(network: Network) -> Context:
    """Principal components of its filters, beside those of the reference."""
    sizes = [kernel for kernel in network.sizes if network.sums[kernel].n]
    shown = [kernel for kernel in sizes if network.sums[kernel].n >= FEW_FILTERS][:SIZES_SHOWN]
    parts: list[tuple[str, str, Picture | None, Picture | None]] = []
    for place, kernel in enumerate(shown):
        summary = network.sums[kernel]
        name = "{}×{}".format(*kernel)
        if same := alike(summary):
            parts.append((name, same, None, None))
            continue
        bases = {"this network": fit_basis(summary.scaled, kernel)}
        with suppress(FilterDBError):  # too few reference networks have that size
            bases["other networks"] = reference_population().basis(kernel)
        words = explained(bases, name, summary.n)
        images = picture(
            partial(eigenimages, bases),
            caption="The patterns that the filters are mixtures of (eigenimages), the most "
            "important first.",
            alt=words,
        )
        curve = None
        if place == 0:
            curve = picture(
                partial(cumulative_variance, bases),
                caption="How much of all differences between the filters the first patterns cover "
                "together. The closer to the dashed line, the more like noise.",
                alt=words,
            )
        parts.append((name, words, images, curve))
    few = [f"{h}×{w} ({network.sums[h, w].n:,})" for h, w in sizes if (h, w) not in shown]
    return {"parts": parts, "few": few, "none": not sizes, "least": FEW_FILTERS}


def explained(bases: Mapping[str, Basis], name: str, n: int) -> str:
    """How many patterns it takes, in a sentence."""
    needed = {who: patterns_for(basis, 0.8) for who, basis in bases.items()}
    text = (
        f"Four fifths of all differences between its {n:,} filters of {name} are covered by "
        f"{counted(needed['this network'], 'pattern')}"
    )
    other = needed.get("other networks")
    return text + (f"; in other networks it takes {other}." if other else ".")


def patterns_for(basis: Basis, share: float) -> int:
    """Number of components that explain a share of the variance."""
    reached = basis.explained_variance_ratio.cumsum() < share - 1e-12
    return int(reached.sum()) + 1


def all_layers(network: Network, found: Places) -> Context:
    """The table of layers."""
    rows, left_out = table(network, found)
    return {"rows": rows, "left_out": left_out, "total": len(network.check.layers), "signs": SIGNS}


def how_read(network: Network) -> Context:
    """What the file is, how it was read, and what was left out."""
    file = network.check.file
    sizes: Counter[str] = Counter()
    layers: Counter[str] = Counter()
    for layer in file.layers:
        name = "{}×{}".format(*layer.kernel)
        sizes[name] += layer.n_filters
        layers[name] += 1
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for item in file.skipped:
        by_reason[item.reason].append(item.name)
    unjudged: defaultdict[str, list[str]] = defaultdict(list)
    for row in network.check.layers:
        if TONES[row.verdict] in ("none", "open") or row.verdict == "invalid":
            unjudged[row.reason].append(row.layer.name)
    path = Path(file.source)
    facts = [("file", file.source)]
    if path.is_file():
        facts.append(("size", size(path.stat().st_size)))
    facts.append(("format", file.format))
    if file.producer:
        facts.append(("written by", file.producer))
    if file.companions:
        facts.append(("further files", ", ".join(item.name for item in file.companions)))
    sources = {layer.depth_source for layer in file.layers}
    facts.append(
        (
            "order of the layers",
            "from the network's graph" if sources == {"graph"} else "as in the file",
        )
    )
    dtypes = Counter(layer.dtype for layer in file.layers)
    facts.append(("numbers", ", ".join(dtypes)))
    return {
        "facts": facts,
        "notes": file.notes,
        "coverage": network.check.coverage,
        "sizes": [(name, layers[name], count) for name, count in sizes.most_common()],
        "skipped": grouped(by_reason),
        "unjudged": grouped(unjudged),
        "no_keys": depthwise_of(network).why_none,
    }


def grouped(reasons: Mapping[str, list[str]]) -> list[tuple[str, int, list[str]]]:
    """Reason, how many, and the first names; the most frequent reason first."""
    ranked = sorted(reasons.items(), key=lambda item: -len(item[1]))
    return [(reason, len(names), names[:NAMES_SHOWN]) for reason, names in ranked]
