"""One dataset of a Keras file with its place in the network."""

from __future__ import annotations

from dataclasses import dataclass

from filterdb.readers.keras.config import LayerFacts
from filterdb.readers.keras.hdf5_file import Dataset


@dataclass(frozen=True, slots=True)
class Weight:
    """One dataset with its place in the network.

    Attributes
    ----------
    name
        Unique name: that of the layer and the variable.
    names
        Names of the layer and of those around it, outermost first: they may tell its class.
    variable
        Name within the layer.
    facts
        What the configuration says of the layer, or None.
    """

    name: str
    names: tuple[str, ...]
    variable: str
    dataset: Dataset
    facts: LayerFacts | None
