"""A small database made without any reader."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from filterdb.store.catalogue import Catalogue, Kept
from filterdb.store.connection import create
from rows import Layers, draw, new_model

Add = Callable[..., Kept]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "db"
    create(place)
    return place


@pytest.fixture
def add(folder: Path) -> Add:
    """Add a model of one 3x3 layer (or of ``layers``) to the database in ``folder``."""

    def add_model(
        name: str, *, seed: int = 0, layers: Layers | None = None,
        metadata: Mapping[str, object] | None = None, **columns: object,
    ) -> Kept:  # fmt: skip
        chosen = {"conv1": draw(4, 3, 3, 3, seed=seed)} if layers is None else layers
        digits = "".join(f"{ord(letter):02x}" for letter in name)
        new = new_model(folder, digits, chosen, **columns)
        with Catalogue(folder) as catalogue:
            catalogue.ensure_columns(metadata or {})
            return catalogue.add(new, [name], metadata)

    return add_model


@pytest.fixture
def read_only_view(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """A folder as it looks on a read-only mount: permissions do not stop root."""
    mounted: list[Path] = []
    closed: list[Path] = []

    def view(folder: Path) -> Path:
        place = tmp_path / "mounted"
        place.mkdir()
        flags = ["mount", "--bind", "-o", "ro", str(folder), str(place)]
        if (
            not os.getuid()
            and not subprocess.run(flags, capture_output=True, check=False).returncode
        ):
            mounted.append(place)
            return place
        folder.chmod(0o555)
        closed.append(folder)
        if os.access(folder, os.W_OK):
            pytest.skip("neither a mount nor permissions make a folder read-only here")
        return folder

    yield view
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)
    for folder in closed:
        folder.chmod(0o755)
