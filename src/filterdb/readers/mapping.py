"""A file's bytes without reading them: mapped, read-only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import ReadError


def map_file(path: Path) -> NDArray[np.uint8]:
    """Map a whole file.

    Returns
    -------
    ndarray
        uint8, shape (size,), read-only. Pages are read when they are touched.

    Raises
    ------
    ReadError
        The file cannot be opened.
    """
    try:
        if path.stat().st_size == 0:  # an empty file cannot be mapped
            return np.frombuffer(b"", np.uint8)
        return np.asarray(np.memmap(path, np.uint8, mode="r"))
    except OSError as error:
        msg = f"{path.name} cannot be opened: {error.strerror or error}."
        raise ReadError(msg) from error
