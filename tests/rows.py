"""Models made of plain rows: the store knows no reader, and neither do its tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from filterdb.store.catalogue import NewModel
from filterdb.store.payload import PayloadWriter, unique_names

Layers = Mapping[str, NDArray[np.float32]]


def draw(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def new_model(folder: Path, sha256: str, layers: Layers, **columns: object) -> NewModel:
    """A model with the rows that the tables insist on."""
    names = unique_names(layers)
    shapes = {name: array.shape for name, array in zip(names, layers.values(), strict=True)}
    with PayloadWriter(folder, shapes) as writer:
        for array in layers.values():
            writer.add(array)
        draft = writer.finish()
    model = {
        "sha256": sha256.ljust(64, "0"), "file_sha256": sha256.ljust(64, "0"), "companions": "[]",
        "path": f"/models/{sha256}", "format": "npz", "producer": None, "size_bytes": 100,
        "n_filters": sum(a.shape[0] * a.shape[1] for a in layers.values()), "verdict": "healthy",
        "reasons": '["All is well."]', "degenerate_share": 0.0, "notes": "[]",
    }  # fmt: skip
    rows = [
        {
            "name": name, "kind": "conv", "kind_reason": "names", "groups": 1,
            "out_channels": array.shape[0], "in_per_group": array.shape[1], "kh": array.shape[2],
            "kw": array.shape[3], "stride": "1x1", "dilation": None, "dtype": "float32",
            "conv_depth": index, "conv_depth_norm": 0.5, "depth_source": "order",
            "n_filters": array.shape[0] * array.shape[1], "weights_hash": layer_hash,
            "tensor": tensor, "sparsity": 0.25, "verdict": "healthy", "reason": "in order",
        }
        for index, ((name, array), (tensor, layer_hash)) in enumerate(
            zip(layers.items(), draft.tensors.items(), strict=True)
        )
    ]  # fmt: skip
    return NewModel(model | columns, rows, [{"name": "fc", "reason": "2-D"}], draft)
