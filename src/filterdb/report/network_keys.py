"""The part of a network's page on master keys: which of its filters are copies of known ones."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from math import prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import KeySetError
from filterdb.figures import best_and_worst, layer_bars
from filterdb.keys import sentences
from filterdb.keys.fit import nearest_keys
from filterdb.keys.key_set import THRESHOLD
from filterdb.keys.labels.chance import chance_of
from filterdb.keys.labels.labelling import label
from filterdb.keys.normal import normal_form
from filterdb.keys.search.found import Examples
from filterdb.keys.search.sample import DEPTHWISE
from filterdb.keys.sets.usual import usual_set
from filterdb.report.keys import (
    Depthwise,
    KeysPart,
    mosaic,
    size_of,
    typeset,
)
from filterdb.report.pictures import Picture, picture
from filterdb.report.words import percent, size
from filterdb.words import counted

if TYPE_CHECKING:
    from filterdb.keys.equivalence import Kernel
    from filterdb.keys.key_set import KeySet
    from filterdb.keys.labels.labels import Labels
    from filterdb.layer import ConvLayer
    from filterdb.reading import Source
    from filterdb.report.page import Context
    from filterdb.report.reading import Network

SIZES_SHOWN = 3
EXAMPLES = 10


def depthwise_of(network: Network) -> Depthwise:
    """The depthwise layers of a network."""
    layers = network.check.file.layers
    return Depthwise.of((layer.kind, layer.kernel, layer.n_filters) for layer in layers)


def master_keys(source: Source, network: Network) -> Context | None:
    """What the key sets that come with the package explain of a network's depthwise layers.

    Parameters
    ----------
    source
        Where the network was read from.
    network
        The same, read.

    Returns
    -------
    dict, or None
        None where no layer is depthwise: :attr:`Depthwise.why_none` says it elsewhere.
    """
    there = depthwise_of(network)
    if not there.filters:
        return None
    shown = list(there.filters)[:SIZES_SHOWN]
    return {
        "threshold": THRESHOLD,
        "found": False,
        "parts": [part(source, network, kernel, there) for kernel in shown],
        "left_out": there.left_out(shown),
    }


def part(source: Source, network: Network, kernel: Kernel, there: Depthwise) -> KeysPart:
    """What is said of the filters of one size."""
    keys = usual_set(kernel)
    if keys is None:
        filters, layers = there.filters[kernel], there.layers[kernel]
        return KeysPart(
            size_of(kernel),
            f"No keys of {size_of(kernel)} come with filterdb, so that "
            f"{counted(filters, 'filter')} in {counted(layers, 'layer')} are compared with none.",
        )
    try:
        labels = label(source, keys, threshold=THRESHOLD)
    except KeySetError as error:  # no layer has weights that are all numbers
        return KeysPart(size_of(kernel), str(error))
    chance = chance_of(labels, source)
    if chance is None:
        return KeysPart(size_of(kernel), typeset(sentences.labelled(labels)))
    said = [sentences.labelled_by_chance(chance), sentences.in_sample(chance), stored(labels)]
    return KeysPart(
        size_of(kernel),
        typeset(sentences.labelled(labels)),
        tuple(typeset(sentence) for sentence in said if sentence),
        pictures(labels, network),
        notes=notes(labels),
    )


def pictures(labels: Labels, network: Network) -> tuple[Picture, ...]:
    """The keys with their shares, the layers one by one, and the filters at both ends."""
    total, keys = labels.total, labels.key_set
    shares = np.array(total.columns) / max(total.n, 1)
    counts = np.array([row.columns for row in labels.layers])
    layers = [row.layer for row in labels.layers]
    own = [
        layer
        for layer in network.check.file.layers
        if layer.kind == DEPTHWISE and layer.kernel == keys.kernel
    ]
    return (
        mosaic(
            keys,
            shares,
            filters=total.n,
            caption="The keys, and above each the share of this network's filters that are "
            "copies of it. Red numbers count for the pattern, blue ones against it.",
        ),
        picture(
            partial(layer_bars, layers, counts, keys.texts, title="Keys by layer"),
            caption="Which keys the filters of each layer are copies of, from the first layer to "
            "the last.",
        ),
        picture(
            partial(best_and_worst, extremes(own, keys), filters=total.shaped, limit=EXAMPLES),
            caption="The filters that the keys explain best and worst, each with its R².",
        ),
    )


def extremes(layers: Iterable[ConvLayer], keys: KeySet) -> Examples:
    """The filters with the highest and the lowest R²; one layer is in memory at a time."""
    taps = prod(keys.kernel)
    unit: NDArray[np.float32] = np.empty((0, taps), np.float32)
    r2: NDArray[np.float32] = np.empty(0, np.float32)
    for layer in layers:
        filters = layer.weights.reshape(-1, taps)
        if not np.isfinite(filters).all():
            continue
        more = normal_form(filters).shaped
        unit = np.concatenate([unit, more])
        r2 = np.concatenate([r2, nearest_keys(more, keys.flat, keys.kernel, keys.equivalence)[1]])
        order = np.argsort(-r2, kind="stable")
        ends = np.r_[order[:EXAMPLES], order[EXAMPLES:][-EXAMPLES:]]
        unit, r2 = unit[ends], r2[ends]
    shape = (-1, *keys.kernel)
    best, worst = unit[:EXAMPLES], unit[EXAMPLES:][::-1]  # of few, none is both
    return Examples(best.reshape(shape), r2[:EXAMPLES], worst.reshape(shape), r2[EXAMPLES:][::-1])


def stored(labels: Labels) -> str:
    """What the filters take when they are stored by keys, in a sentence."""
    found = labels.storage
    if not found.raw:
        return ""
    word = "less" if found.saved >= 0 else "more"
    return (
        "Stored as (key, a, b), with what is other as it is, these filters take "
        f"{size(found.keyed + found.table)} instead of {size(found.raw)}: "
        f"{percent(abs(found.saved) / found.raw)} {word}."
    )


def notes(labels: Labels) -> tuple[str, ...]:
    """Where the keys come from, and what of this size was not labelled."""
    about = labels.key_set.metadata
    source, licence = about.get("source"), about.get("licence")
    said = []
    if source:
        licensed = f" ({licence})" if licence else ""
        said.append(f"The keys {labels.key_set.name}: {typeset(str(source))}{licensed}.")
    if constant := labels.total.constant + labels.total.zero:
        said.append(
            f"{counted(constant, 'filter')} without a shape (constant or nearly zero) "
            f"{'is' if constant == 1 else 'are'} a copy of no key, and not in these shares."
        )
    said += [
        f"{counted(count, 'layer')} left out: {why}."
        for why, count in labels.left_out.items()
        if why not in ("not depthwise", "filters of another size than the keys")
    ]
    return tuple(said)
