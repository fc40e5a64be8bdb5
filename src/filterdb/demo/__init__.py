"""The networks that come with the package; ``zoo/README.md`` says how they were made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path


@contextmanager
def zoo() -> Iterator[Path]:
    """The folder of the demo networks, with ``models.csv``, as a path while the context lasts."""
    with as_file(files("filterdb.demo") / "zoo") as folder:
        yield folder
