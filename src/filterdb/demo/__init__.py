"""What comes with the package: networks (``zoo/README.md`` says how they were made), and results.

``results/NAME.json`` is the ``result.json`` of a documented experiment, with all its settings.
"""

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


@contextmanager
def results() -> Iterator[Path]:
    """The folder of the results of transfer experiments, as a path while the context lasts."""
    with as_file(files("filterdb.demo") / "results") as folder:
        yield folder
