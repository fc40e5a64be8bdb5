"""Master keys of 10 million 7x7 depthwise filters, k = 8, against scikit-learn's KMeans.

    pytest benchmarks/bench_keys.py -o addopts= --benchmark-only

To reach: 60 s on two cores, in memory that does not grow with the filters. The peer clusters the
same normal forms, which have to be in memory for it, from one start; ours reads the weights from
the database, takes five starts, and measures what the keys explain, held out and beside chance.
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

import filterdb
from filterdb.keys.normal import normal_form
from filterdb.keys.search.finding import find
from filterdb.keys.search.lines import find_lines
from filterdb.keys.search.settings import Settings
from filterdb.threads import one_blas_thread
from networks import save
from planted import copies, network, random_keys

KERNEL, K = (7, 7), 8
KEYS = random_keys(K, KERNEL)


def weights(count: int, seed: int) -> np.ndarray:
    return copies(np.random.default_rng(seed), KEYS, count, noise=0.5)


@pytest.fixture(scope="module")
def timed(request) -> bool:
    return not request.config.getoption("benchmark_disable")


@pytest.fixture(scope="module")
def database(tmp_path_factory, timed):
    """Ten networks of ten depthwise layers; a layer's filters are made one network at a time."""
    place = tmp_path_factory.mktemp("keys")
    width = 100_000 if timed else 40
    found = filterdb.open(place / "db")
    for number in range(10):
        layers = [weights(width, 100 * number + layer) for layer in range(10)]
        file = save(place / f"net{number}.safetensors", network(layers, KERNEL, thin=True))
        del layers
        found.ingest(file, jobs=1)
        file.unlink()
    return found


@pytest.mark.benchmark(group="keys of 10 million 7x7 filters, k = 8")
def test_filterdb(benchmark, database):
    found = benchmark.pedantic(
        lambda: find(database.select(kernel=KERNEL), Settings(k=K)), rounds=1
    )
    assert found.searched.layers == 100
    assert found.point.networks.mean_r2 > 0.7


@pytest.mark.benchmark(group="keys of 10 million 7x7 filters, k = 8")
def test_scikit_learn(benchmark, timed):
    count = 10_000_000 if timed else 4000
    unit = np.concatenate(
        [
            normal_form(weights(min(count, 100_000), seed)).shaped
            for seed in range(-(-count // 100_000))
        ]
    )
    peer = KMeans(K, n_init=1, random_state=0)
    benchmark.pedantic(lambda: peer.fit(unit), rounds=1)
    assert peer.n_iter_ >= 1


@pytest.mark.benchmark(group="k-means alone, 500,000 7x7 filters in memory")
@pytest.mark.parametrize("who", ["lines", "scikit-learn"])
def test_in_memory(benchmark, timed, who):
    unit = normal_form(weights(500_000 if timed else 4000, 0)).shaped
    if who == "lines":  # on one core, as each start has it
        with one_blas_thread():
            benchmark.pedantic(lambda: find_lines(unit, K, KERNEL), rounds=3)
    else:
        benchmark.pedantic(lambda: KMeans(K, n_init=1, random_state=0).fit(unit), rounds=3)
