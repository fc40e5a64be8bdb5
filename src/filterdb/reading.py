"""``read``: any source in, convolution layers out. Nothing in a source ever runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from filterdb.errors import NoConvolutionError, ReadError
from filterdb.layer import Contents, ModelFile
from filterdb.readers.head import Head
from filterdb.readers.registry import read_contents
from filterdb.remote.address import is_address
from filterdb.roles import assign_roles
from filterdb.variant import Weights, in_variant

Source = str | os.PathLike[str] | Mapping[str, Any] | Any
"""A path, a name elsewhere, a mapping name -> array, or a live ``torch.nn.Module``."""


def read(source: Source, *, weights: Weights = "stored") -> ModelFile:
    """Read a checkpoint's convolution layers, whatever its format, running nothing in it.

    Parameters
    ----------
    source
        Path of a file (its content decides the format, never its suffix), a name that stands for
        one elsewhere (``hf://org/name``, ``timm:NAME``, ``https://...``), a mapping
        name -> array in PyTorch's layout, or a live ``torch.nn.Module``.
    weights
        ``"stored"``: as they are. ``"folded"``: multiplied by the batch normalisation that
        follows, where there is one. ``"raw"``: without the layers that one is folded into.

    Returns
    -------
    ModelFile
        ``.layers``, ``.skipped`` (with reasons), ``.format``. Weights are read from the file
        when a layer is asked for them.

    Raises
    ------
    ReadError
        The file cannot be read, is damaged, or is of a format without a reader.
    NoConvolutionError
        It was read, and holds no convolution weights, or none as asked for.

    Examples
    --------
    >>> import numpy as np
    >>> file = read({"conv1.weight": np.ones((8, 3, 3, 3), np.float32)})
    >>> file.layers[0].shape
    (8, 3, 3, 3)
    """
    contents, name = contents_of(source)
    file = assign_roles(contents, name)
    if not file.layers:
        raise NoConvolutionError(nothing_found(file)).at(file=name)
    return in_variant(file, weights)


def contents_of(source: Source) -> tuple[Contents, str]:
    """Contents and name of a path, of a name elsewhere, or of a live object."""
    if isinstance(source, str | os.PathLike):
        given = os.fspath(source)
        if is_address(given):
            return fetched_contents(given)
        path = Path(given)
        return read_contents(Head.of(path)), str(path)
    from filterdb.readers.live import from_live

    return from_live(source), f"<{type(source).__name__}>"


def fetched_contents(text: str) -> tuple[Contents, str]:
    """Contents of a network that a name stands for, fetched into a cache if need be."""
    from filterdb.remote.fetching import fetch

    fetched = fetch(text)
    try:
        contents = read_contents(Head.of(fetched.path))
    except ReadError as error:
        error.file = fetched.source  # where it lies in the cache helps nobody
        raise
    return replace(contents, notes=(*fetched.notes, *contents.notes)), fetched.source


def nothing_found(file: ModelFile) -> str:
    """Say what the file holds instead of convolutions."""
    if not file.skipped:
        return f"It was read as {file.format}, and holds no convolution weights at all."
    shown = "; ".join(f"{item.name}: {item.reason}" for item in file.skipped[:3])
    more = f"; and {len(file.skipped) - 3} more" if len(file.skipped) > 3 else ""
    return f"It was read as {file.format}, and holds no 2-D convolution weights ({shown}{more})."
