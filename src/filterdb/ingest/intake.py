"""One file on its way into a database: read, measured, its weights written as a draft."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.checking import Check, LayerCheck, check_model
from filterdb.errors import ReadError
from filterdb.ingest.folding import measure_folded
from filterdb.ingest.inferring import infer
from filterdb.layer import ConvLayer
from filterdb.reading import read
from filterdb.stats.basis import Basis, Kernel, reference_basis
from filterdb.stats.summary import LayerSummary, has_summary, largest, summarise
from filterdb.store.catalogue import NewModel
from filterdb.store.folded import FoldedLayer
from filterdb.store.lock import ingesting
from filterdb.store.payload import Draft, PayloadWriter, file_hash, unique_names
from filterdb.store.summaries import read_bases


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A file as it was when it was hashed."""

    path: Path
    sha256: str
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> Fingerprint:
        """Hash a file.

        Raises
        ------
        ReadError
            It cannot be read.
        """
        try:
            facts = path.stat()
            return cls(path, file_hash(path), facts.st_size, facts.st_mtime_ns)
        except OSError as error:
            msg = f"The file cannot be read: {error.strerror or error}."
            raise ReadError(msg) from error

    @property
    def changed(self) -> bool:
        """True where the file is not the one any more that was hashed."""
        facts = self.path.stat()
        return (facts.st_size, facts.st_mtime_ns) != (self.size, self.modified_ns)

    def with_companions(self, companions: Sequence[Path]) -> str:
        """Hash that covers the files with external data, too."""
        if not companions:
            return self.sha256
        parts = [self.sha256, *(file_hash(path) for path in companions)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def covers(self, companions: Sequence[Path], sha256: str) -> bool:
        """True where the file and these companions have that hash together."""
        try:
            return self.with_companions(companions) == sha256
        except OSError:  # one is missing: another file altogether
            return False


class Summaries:
    """Summaries of a network's layers on their way, in the bases of the database they go to.

    Attributes
    ----------
    of_layer
        Index of the layer -> its summary. 1x1 kernels, huge ones and weights that are not
        finite have none.
    folded
        Index of the layer -> what it is with the batch normalisation that follows it.
    """

    def __init__(self, folder: Path) -> None:
        self.of_layer: dict[int, LayerSummary] = {}
        self.folded: dict[int, FoldedLayer] = {}
        self._known = read_bases(folder)
        self._used: dict[Kernel, Basis] = {}

    @property
    def bases(self) -> list[Basis]:
        """The bases that were used."""
        return list(self._used.values())

    def add(self, layer: ConvLayer, weights: NDArray[np.float32]) -> LayerSummary | None:
        """Summarise a layer, if it can be; and once more as folded, if a norm follows it."""
        summary = self.summarise(layer.kernel, weights)
        if summary is not None:
            self.of_layer[layer.index] = summary
        folded = measure_folded(layer, weights, self.summarise)
        if folded is not None:
            self.folded[layer.index] = folded
        return summary

    def summarise(self, kernel: Kernel, weights: NDArray[np.float32]) -> LayerSummary | None:
        """The summary of weights; None where they have none."""
        if not (has_summary(kernel) and weights.size and np.isfinite(largest(weights))):
            return None
        basis = self._known.get(kernel) or reference_basis(kernel)
        self._used[kernel] = basis
        return summarise(weights, basis)


def prepare(folder: Path, fingerprint: Fingerprint) -> NewModel:
    """Read and measure a file, and write its weights as a draft into a database.

    Raises
    ------
    ReadError
        The file cannot be read, holds no convolution, or is being written to.
    StoreError
        The draft cannot be written.
    """
    file = read(fingerprint.path)
    names = unique_names(layer.name for layer in file.layers)
    shapes = {name: layer.shape for name, layer in zip(names, file.layers, strict=True)}
    with ingesting(folder), PayloadWriter(folder, shapes) as writer:
        summaries = Summaries(folder)

        def keep(layer: ConvLayer, weights: NDArray[np.float32]) -> LayerSummary | None:
            writer.add(weights)
            return summaries.add(layer, weights)

        check = check_model(file, visit=keep)
        model = model_row(check, fingerprint)
        if fingerprint.changed:
            msg = "The file changed while it was read. Ingest it again when it is complete."
            raise ReadError(msg)
        draft = writer.finish()
    skipped = [{"name": item.name, "reason": item.reason} for item in file.skipped]
    layers = layer_rows(check, draft)
    stated = infer(file, fingerprint.path)
    return NewModel(
        model,
        layers,
        skipped,
        draft,
        summaries=summaries.of_layer,
        bases=summaries.bases,
        folded=summaries.folded,
        statements=stated,
    )


def model_row(check: Check, fingerprint: Fingerprint) -> dict[str, Any]:
    """Columns of ``models`` that a file decides."""
    file = check.file
    folder = fingerprint.path.parent
    return {
        "sha256": fingerprint.with_companions(file.companions),
        "file_sha256": fingerprint.sha256,
        "companions": json.dumps([os.path.relpath(path, folder) for path in file.companions]),
        "path": str(fingerprint.path),
        "format": file.format,
        "producer": file.producer,
        "size_bytes": fingerprint.size + sum(path.stat().st_size for path in file.companions),
        "n_filters": file.n_filters,
        "verdict": check.verdict,
        "reasons": json.dumps(check.reasons),
        "degenerate_share": check.degenerate_share,
        "notes": json.dumps(file.notes),
    }


def layer_rows(check: Check, draft: Draft) -> list[dict[str, Any]]:
    """Rows of ``layers``, each with its tensor in the draft."""
    stored = zip(check.layers, draft.tensors.items(), strict=True)
    return [
        layer_columns(row.layer)
        | {"tensor": tensor, "weights_hash": layer_hash}
        | asdict(row.quality)
        | {f"n_zero{part}": count for part, count in zeros_of(row).items()}
        | {"verdict": row.verdict, "reason": row.reason}
        for row, (tensor, layer_hash) in stored
    ]


def zeros_of(row: LayerCheck) -> dict[str, int]:
    """What is behind ``n_zero`` in the names of the columns -> number."""
    return {"": row.zeros.weights, "_filters": row.zeros.filters, "_channels": row.zeros.channels}


def layer_columns(layer: ConvLayer) -> dict[str, Any]:
    """Columns of ``layers`` that say what and where a layer is."""
    return {
        "name": layer.name,
        "kind": layer.kind,
        "kind_reason": layer.kind_reason,
        "out_channels": layer.out_channels,
        "in_per_group": layer.in_per_group,
        "groups": layer.groups,
        "kh": layer.kernel[0],
        "kw": layer.kernel[1],
        "stride": pair(layer.stride),
        "dilation": pair(layer.dilation),
        "dtype": layer.dtype,
        "conv_depth": layer.conv_depth,
        "conv_depth_norm": layer.conv_depth_norm,
        "depth_source": layer.depth_source,
        "n_filters": layer.n_filters,
        "weight_state": layer.state,
        "state_evidence": layer.evidence,
        "scheme": layer.scheme or None,
    }


def pair(values: tuple[int, int] | None) -> str | None:
    """Height and width as one text, as kernels are written: ``"2x2"``."""
    return None if values is None else f"{values[0]}x{values[1]}"
