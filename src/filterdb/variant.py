"""The weights of a network as stored, raw, or folded into their batch normalisations.

A batch normalisation that follows a convolution is, in evaluation, one number a channel that
scales its output. Who exports a network multiplies it into the filters; who trains one keeps them
apart (METHODS 1.1). Folding changes each filter by a factor: its scaled shape stays, up to the
sign; what compares the filters of a layer (sparsity, entropy, norms) does not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import NoConvolutionError, while_reading
from filterdb.layer import ConvLayer, Loader, ModelFile, Skipped, WeightState
from filterdb.stats.folding import folded
from filterdb.words import counted

Weights = Literal["stored", "raw", "folded"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)
STATES: tuple[WeightState, ...] = get_args(WeightState)

SILENT = 1e-6
"""Part of a layer's largest scale below which an output channel is as good as switched off."""
NOT_RAW = "a batch normalisation is folded into its weights: what they were before is not known"
NO_SCALE = "the parameters of its batch normalisation are not in the file"


def count_states(layers: tuple[ConvLayer, ...]) -> dict[str, int]:
    """How many layers there are of each state, all four of them."""
    count = Counter(layer.state for layer in layers)
    return {state: count[state] for state in STATES}


def in_variant(file: ModelFile, weights: Weights) -> ModelFile:
    """A network with its weights as asked for.

    Parameters
    ----------
    file
        The network as stored.
    weights
        ``"stored"``: as they are. ``"raw"``: without the layers that a norm was folded into.
        ``"folded"``: those that a norm follows are multiplied by its scale. Layers whose state is
        unknown stay as stored.

    Returns
    -------
    ModelFile
        What cannot be given stands in ``.skipped``; what is to be said of it in ``.notes``.

    Raises
    ------
    ValueError
        There is no such variant.
    ReadError
        The parameters of a norm cannot be read.
    NoConvolutionError
        No layer can be given.
    """
    if weights not in WEIGHTS:
        msg = f"there are no {weights!r} weights: they are {', '.join(WEIGHTS)}"
        raise ValueError(msg)
    if weights == "stored":
        return file
    given: list[ConvLayer] = []
    skipped: list[Skipped] = []
    silent: dict[str, int] = {}
    for layer in file.layers:
        if weights == "raw" and layer.state == "folded":
            skipped.append(Skipped(layer.name, NOT_RAW))
        elif weights == "folded" and layer.state == "raw":
            folded = fold(layer)
            if folded is None:
                skipped.append(Skipped(layer.name, NO_SCALE))
                continue
            given.append(folded.layer)
            silent |= {layer.name: folded.silent} if folded.silent else {}
        else:
            given.append(layer)
    if not given:
        msg = f"None of its layers can be given as {weights}: {skipped[0].reason}."
        raise NoConvolutionError(msg).at(file=file.source)
    notes = (switched_off(silent),) if silent else ()
    return replace(
        file,
        layers=tuple(given),
        skipped=(*file.skipped, *skipped),
        notes=(*file.notes, *notes),
        weights=weights,
        states=count_states(file.layers),
    )


def switched_off(silent: dict[str, int]) -> str:
    """Say where norms have a scale of 0."""
    shown = ", ".join(list(silent)[:3]) + (" ..." if len(silent) > 3 else "")
    channels = counted(sum(silent.values()), "output channel")
    layers = counted(len(silent), "layer")
    return (
        f"{channels} in {layers} ({shown}) have a batch normalisation whose scale is 0 or next to "
        "it: folded, their filters vanish."
    )


@dataclass(frozen=True, slots=True)
class Folded:
    """A layer with its norm multiplied in, the scale of each output channel, and how many are 0."""

    layer: ConvLayer
    scale: NDArray[np.float64]
    silent: int


def fold(layer: ConvLayer) -> Folded | None:
    """Multiply the norm that follows into a layer; None where its parameters are not known.

    Raises
    ------
    ReadError
        They cannot be read.
    """
    if layer.norm is None:
        return None
    with while_reading(layer=layer.name):
        scale = np.asarray(layer.norm.scale(), np.float64).reshape(-1)
    if scale.size != layer.out_channels:
        return None
    size = np.abs(scale)
    silent = int((size <= SILENT * size.max(initial=0)).sum())
    load = partial(load_folded, layer.load, scale)
    return Folded(replace(layer, load=load, norm=None), scale, silent)


def load_folded(load: Loader, scale: NDArray[np.float64]) -> NDArray[np.float32]:
    """Load weights and multiply them."""
    return folded(np.asarray(load(), np.float32), scale)
