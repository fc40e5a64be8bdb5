"""Shift along an axis over a catalogue of 20,000 layers in 20 groups.

    pytest benchmarks/bench_shift.py -o addopts= --benchmark-only

To reach: 0.3 s without null, 3 s with 200 permutations of layers and of models. There is no peer:
the notebook passes over all filters again for each axis.
"""

from __future__ import annotations

import numpy as np
import pytest

import filterdb
import synthetic

GROUPS = 20


@pytest.fixture(scope="module")
def database(tmp_path_factory, request):
    timed = not request.config.getoption("benchmark_disable")
    models = 400 if timed else 80
    place = tmp_path_factory.mktemp("shift") / "db"
    return filterdb.open(synthetic.catalogue(place, models=models, layers=50, groups=GROUPS))


@pytest.mark.benchmark(group="shift")
def test_without_null(benchmark, database):
    found = benchmark.pedantic(
        lambda: database.shift("task", permutations=0), rounds=5, warmup_rounds=1
    )
    assert len(found.groups) == GROUPS


@pytest.mark.benchmark(group="shift")
def test_with_200_permutations(benchmark, database):
    found = benchmark.pedantic(lambda: database.shift("task"), rounds=3, warmup_rounds=1)
    upper = np.triu_indices(GROUPS, 1)
    assert np.isfinite(found.null_models_p95[upper]).all()
    assert np.isfinite(found.null_layers_p95[upper]).all()
    assert np.isfinite(found.low[upper]).all()


@pytest.mark.benchmark(group="shift")
def test_basis(benchmark, database):
    found = benchmark.pedantic(database.basis, rounds=5, warmup_rounds=1)
    assert found.n == 4096 * found.n // 4096
