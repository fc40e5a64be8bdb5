"""Ingest of the shared zoo of 174 real networks: cold, and with nothing new."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

import filterdb

ZOO = Path(__file__).resolve().parents[2] / "shared" / "zoo"


@pytest.fixture
def zoo():
    if not ZOO.is_dir():
        pytest.skip(f"no networks at {ZOO}")
    return ZOO


@pytest.mark.benchmark(group="ingest")
def test_cold(benchmark, zoo, tmp_path):
    fresh = (tmp_path / f"db{i}" for i in itertools.count())

    def ingest():
        return filterdb.open(next(fresh)).ingest([zoo / "weights"], metadata=zoo / "manifest.csv")

    result = benchmark.pedantic(ingest, rounds=3)
    benchmark.extra_info.update(added=result.added, failed=result.failed)
    assert result.added > 100


@pytest.mark.benchmark(group="ingest")
def test_nothing_new(benchmark, zoo, tmp_path):
    db = filterdb.open(tmp_path / "db")
    db.ingest([zoo / "weights"], metadata=zoo / "manifest.csv")
    result = benchmark.pedantic(
        lambda: db.ingest([zoo / "weights"], metadata=zoo / "manifest.csv"), rounds=3
    )
    assert result.added == 0
