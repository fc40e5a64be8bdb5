"""The database that all tests of populations ask."""

from __future__ import annotations

from pathlib import Path

import pytest

import filterdb
from populations import build


@pytest.fixture(scope="session")
def shared_db(tmp_path_factory: pytest.TempPathFactory) -> filterdb.Database:
    """Eleven networks; nobody changes it."""
    place = tmp_path_factory.mktemp("population")
    return build(place / "models", place / "db")


@pytest.fixture
def own_db(tmp_path: Path) -> filterdb.Database:
    """The same, to be changed."""
    return build(tmp_path / "models", tmp_path / "db")
