"""One network of the data set on its way into a database: sliced, measured, written as a draft."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from filterdb.checking import check_model
from filterdb.errors import CorruptFileError, ReadError
from filterdb.ingest.intake import Fingerprint, Summaries, layer_rows, model_row
from filterdb.layer import ConvLayer, ModelFile
from filterdb.published.hdf5 import PublishedFile
from filterdb.published.layout import LayerRange, PublishedModel
from filterdb.published.naming import FORMAT
from filterdb.store.catalogue import NewModel
from filterdb.store.lock import ingesting
from filterdb.store.payload import PayloadWriter, layer_hash, unique_names

NO_CHANNELS = (
    "The published data set keeps no channels: a layer of n filters stands here as (1, n, 3, 3), "
    "one output channel, so that what compares channels (orthogonality) is undefined."
)
FOLDED = (
    "It was extracted from ONNX graphs: for networks from PyTorch that folds batch normalisation "
    "into the filters, which changes sparsity and entropy, not the shapes of filters."
)


@dataclass(slots=True)
class Narrowing:
    """What became of float64 values that the database keeps as float32.

    Attributes
    ----------
    layers
        Number of layers in which a value changed.
    error
        Largest change, relative to its value, of those that stayed finite.
    overflowed
        Number of finite values that float32 cannot hold: they became infinite.
    """

    layers: int = 0
    error: float = 0.0
    overflowed: int = 0

    def narrow(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Values as float32; finer differences between them are lost, and noted."""
        with np.errstate(over="ignore"):
            result = values.astype(np.float32, copy=False)
        if values.dtype.itemsize > 4:
            changed = (result != values) & ~np.isnan(values)
            if changed.any():
                before, after = values[changed], result[changed].astype(np.float64)
                self.layers += 1
                finite = np.isfinite(after)
                self.overflowed += int(np.count_nonzero(~finite))
                error = np.abs(after[finite] / before[finite] - 1).max(initial=0)
                self.error = max(self.error, float(error))
        return result

    def note(self, stored: str) -> str | None:
        """A sentence on it; None where there was nothing to narrow."""
        if np.dtype(stored).itemsize <= 4:
            return None
        if not self.layers:
            return f"Its {stored} values are float32 values: nothing was lost by storing them so."
        text = f"Its {stored} values were rounded to float32 in {self.layers} layers"
        if self.error:
            text += f", by up to {self.error:.1e} of the value"
        if self.overflowed:
            text += f"; {self.overflowed:,} of them overflowed: they became infinite"
        return text + "."


def identity(file: PublishedFile, model: PublishedModel) -> str:
    """SHA-256 that tells a network of a data set again, without reading its filters.

    It covers the type and the number of the filters and the network's rows in the table: a copy
    of the file has it too, and so has one with other filters. See :func:`with_filters`.
    """
    rows = [(row.layer_id, row.conv_depth, row.conv_depth_norm, row.start, row.stop)
            for row in model.layers]  # fmt: skip
    facts = [FORMAT, file.dtype.str, file.count, model.id, dict(model.columns), rows]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def with_filters(known: str, layer_hashes: Iterable[str]) -> str:
    """SHA-256 of a network with every one of its filters.

    Parameters
    ----------
    known
        From :func:`identity`.
    layer_hashes
        Of its layers as a database stores them, in order.
    """
    return hashlib.sha256("\n".join((known, *layer_hashes)).encode()).hexdigest()


def filters_read(file: PublishedFile, model: PublishedModel) -> Iterator[str]:
    """Read a network's filters, and hash each layer of them as a database would store it.

    Raises
    ------
    CorruptFileError
        They cannot be read.
    """
    return (layer_hash(load(file, row, Narrowing())) for row in model.layers)


def conv_layers(
    file: PublishedFile, model: PublishedModel, narrowing: Narrowing
) -> tuple[ConvLayer, ...]:
    """The layers of a network, unread until asked for."""
    return tuple(
        ConvLayer(
            name=row.layer_id,
            index=index,
            shape=(1, row.stop - row.start, 3, 3),
            kind="unknown",
            kind_reason="the published data set does not say",
            groups=None,
            stride=None,
            dilation=None,
            dtype=file.dtype.name,
            conv_depth=row.conv_depth,
            conv_depth_norm=row.conv_depth_norm,
            depth_source="graph",
            load=partial(load, file, row, narrowing),
        )
        for index, row in enumerate(model.layers)
    )


def load(file: PublishedFile, row: LayerRange, narrowing: Narrowing) -> NDArray[np.float32]:
    """The filters of one layer, float32 of shape ``(1, n, 3, 3)``."""
    return narrowing.narrow(file.filters(row.start, row.stop))[None]


def prepare(folder: Path, file: PublishedFile, model: PublishedModel) -> NewModel:
    """Measure a network of the data set and write its filters as a draft; one layer at a time.

    Its ``file_sha256`` is that of :func:`identity`, its ``sha256`` that of :func:`with_filters`.

    Raises
    ------
    ReadError
        Its rows are damaged, or its filters cannot be read.
    StoreError
        The draft cannot be written.
    """
    if model.fault is not None:
        raise CorruptFileError(model.fault)
    narrowing = Narrowing()
    layers = conv_layers(file, model, narrowing)
    network = ModelFile(f"{file.path}#{model.id}", FORMAT, layers)
    names = unique_names(layer.name for layer in layers)
    shapes = {name: layer.shape for name, layer in zip(names, layers, strict=True)}
    size = sum(layer.n_filters for layer in layers) * 9 * file.dtype.itemsize
    fingerprint = Fingerprint(file.path.absolute(), identity(file, model), size, 0)
    with ingesting(folder), PayloadWriter(folder, shapes) as writer:
        summaries = Summaries(folder)

        def keep(layer: ConvLayer, weights: NDArray[np.float32]) -> None:
            writer.add(weights)
            summaries.add(layer, weights)

        check = check_model(network, visit=keep)
        if file.path.stat().st_size != file.size:
            msg = "The file changed while it was read. Import it again when it is complete."
            raise ReadError(msg)
        draft = writer.finish()
    notes = [NO_CHANNELS, FOLDED, narrowing.note(file.dtype.name)]
    row = model_row(check, fingerprint) | {
        "sha256": with_filters(fingerprint.sha256, draft.tensors.values()),
        "notes": json.dumps([note for note in notes if note]),
    }
    return NewModel(row, layer_rows(check, draft), [], draft, summaries.of_layer, summaries.bases)
