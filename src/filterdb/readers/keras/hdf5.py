"""The HDF5 reader: Keras models and weights of every generation, else a bag of arrays."""

from __future__ import annotations

from dataclasses import replace

from filterdb.errors import UnsupportedFormatError
from filterdb.layer import Contents
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.keras.hdf5_file import SIGNATURE, Place, take_inventory
from filterdb.readers.keras.training import statements_of
from filterdb.readers.keras.weights import contents_of
from filterdb.readers.mapping import map_file
from filterdb.readers.recognise.signatures import is_tar

FORMAT = Format(
    "keras-hdf5",
    "Keras HDF5 (or plain HDF5 arrays)",
    (".h5", ".hdf5", ".weights.h5"),
    reads=(
        "Keras 1, 2 and 3; layer types, strides and depth from the configuration; Theano kernels "
        "turned; opened in a process of its own"
    ),
)


USER_BLOCKS = tuple(512 << i for i in range(12))
"""Where HDF5 may begin if not at 0: up to 1 MB, though the format sets no end."""


def matches(head: Head) -> bool:
    """HDF5's signature, at the beginning or after a user block.

    MATLAB files begin with such a block; their arrays lie in another order. In a tar archive the
    members begin at such places.
    """
    if head.start.startswith(SIGNATURE):
        return True
    if head.size <= USER_BLOCKS[0] or head.start.startswith(b"MATLAB") or is_tar(head):
        return False
    data = map_file(head.path)
    return any(data[at : at + 8].tobytes() == SIGNATURE for at in USER_BLOCKS)


def read(head: Head) -> Contents:
    """List the datasets and read the configuration beside them, as JSON only.

    Raises
    ------
    CorruptFileError
        HDF5 cannot read the file, or it lists weights that it does not hold.
    LimitError
        Its datasets claim more than the file's size can justify.
    UnsupportedFormatError
        It is the published CNN Filter DB, which is data about networks and not one.
    """
    inventory = take_inventory(Place(head.path, 0, head.size))
    root = inventory.attributes.get("", {})
    if inventory.datasets.keys() & {"filters", "filter"} and "meta" in inventory.attributes:
        msg = (
            "This is the published CNN Filter DB data set (/filters and /meta), not a network. "
            "Take it into a database: filterdb import DB FILE."
        )
        raise UnsupportedFormatError(msg)
    attributes = {**inventory.attributes.get("model_weights", {}), **root}
    config = attributes.get("model_config")
    version = attributes.get("keras_version")
    contents = contents_of(
        FORMAT.name,
        inventory,
        config if isinstance(config, str) else None,
        str(version) if version else None,
    )
    return replace(contents, statements=statements_of(config, attributes.get("training_config")))
