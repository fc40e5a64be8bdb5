"""Files in exactly the layout of the published data set, written by pandas and PyTables."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# model_id -> what the data set says of it, and the filters of each of its layers
NETWORKS = {
    "0": ("resnet-mini", "natural", "Classification", (12, 36, 40, 64, 80, 96, 50, 33, 20, 12)),
    "1": ("unet-mini", "medical ct", "Medical Segmentation", (30, 24, 48, 96, 48, 24, 10)),
    "7": ("gan-mini", "faces", "GAN-Generator", (64, 64, 32, 16, 8)),
    "21": ("vgg-mini", "natural", "Classification", (9, 27, 54, 54, 108)),
    "22": ("vgg-mini", "natural", "Classification", (9, 27, 54)),
}


@dataclass
class Synthetic:
    """A data set in memory, and how to write it."""

    filters: NDArray[np.float64]
    rows: list[dict[str, Any]]
    layers: dict[tuple[str, str], NDArray[np.float64]] = field(default_factory=dict)


def synthetic(seed: int = 0, networks: dict[str, Any] = NETWORKS) -> Synthetic:
    """Filters that are float32 values, and a row a layer; ranges lie end to end."""
    rng = np.random.default_rng(seed)
    rows, blocks, layers, start = [], [], {}, 0
    for model_id, (name, category, task, sizes) in networks.items():
        for depth, size in enumerate(sizes):
            values = rng.standard_normal((size, 3, 3)) * rng.uniform(0.2, 1, (1, 3, 3))
            values = values.astype(np.float32).astype(np.float64)
            rows.append(
                {
                    "model_id": model_id,
                    "conv_depth": depth,
                    "conv_depth_norm": depth / (len(sizes) - 1),
                    "layer_id": f"Conv_{3 * depth}",
                    "start": start,
                    "stop": start + size,
                    "Name": name,
                    "Paper": None if name == "gan-mini" else f"https://example.org/{name}",
                    "Pretraining-Dataset": "ImageNet" if name == "unet-mini" else None,
                    "Training-Dataset": f"data of {name}",
                    "Visual Category": category,
                    "Task": task,
                    "Accessible": f"https://example.org/{name}.onnx",
                    "Dataset URL": "https://example.org/data",
                    "precision": "fp32",
                    "total_filters": int(sum(sizes)),
                    "3x3_filter_share": 1.0 if name != "unet-mini" else 0.5,
                    "producer": "pytorch",
                }
            )
            layers[model_id, f"Conv_{3 * depth}"] = values
            blocks.append(values)
            start += size
    return Synthetic(np.concatenate(blocks), rows, layers)


def write(
    path: Path,
    data: Synthetic,
    *,
    dataset: str = "filters",
    dtype: str = "float64",
    flat: bool = False,
    meta: str = "table",
    text: str = "str",
    inclusive: bool = True,
    version: str = "1.0.0",
    chunks: int | None = None,
    missing: str = "nan",
) -> Path:
    """Write it; ``meta`` is fixed | table | columns, ``text`` the type of pandas for texts.

    ``missing`` stands for a text that is missing, in a table.
    """
    import h5py
    import pandas as pd

    rows = [
        {name: value for name, value in row.items() if name not in ("start", "stop")}
        | {"filter_ids": row.get("ids") or f"{row['start']}:{row['stop'] - inclusive}"}
        for row in data.rows
    ]
    frame = pd.DataFrame(rows).drop(columns="ids", errors="ignore")
    if version == "0.1.0":
        frame = frame.rename(columns={"Visual Category": "Datatype"})
    if text == "object":
        texts = frame.select_dtypes(["str", "object"]).columns
        frame = frame.astype(dict.fromkeys(texts, object))
    frame = frame.set_index(["model_id", "conv_depth", "conv_depth_norm", "layer_id"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTables dislikes the names of columns, and pickles
        if meta == "columns":
            frame.to_hdf(path, key="meta", mode="w", format="table", data_columns=True)
        else:
            rep = {} if meta == "fixed" else {"nan_rep": missing}
            frame.to_hdf(path, key="meta", mode="w", format=meta, index=False, **rep)
    filters = data.filters.astype(dtype)
    with h5py.File(path, "a") as file:
        file.create_dataset(
            dataset,
            data=filters.reshape(-1, 9) if flat else filters,
            chunks=None if chunks is None else (chunks, *((9,) if flat else (3, 3))),
            compression=None if chunks is None else "gzip",
        )
    return path
