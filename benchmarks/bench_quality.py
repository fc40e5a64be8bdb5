"""The measures of METHODS 1.4 on a VGG-16, against torchconvquality; both warm, in one process.

    pytest benchmarks/bench_quality.py -o addopts= --benchmark-only

No file is read here. The Gram matrices of the orthogonality alone are the floor.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchconvquality import measure_conv_weight_quality

import vgg16
from filterdb.stats.quality import layer_quality


@pytest.fixture(scope="module")
def arrays():
    return list(vgg16.layers().values())


@pytest.mark.benchmark(group="quality")
def test_filterdb(benchmark, arrays):
    results = benchmark.pedantic(
        lambda: [layer_quality(array) for array in arrays], rounds=10, warmup_rounds=2
    )
    assert sum(result.n_filters for result in results) == vgg16.N_FILTERS


@pytest.mark.benchmark(group="quality")
def test_torchconvquality(benchmark, arrays):
    tensors = [torch.from_numpy(array) for array in arrays]
    benchmark.pedantic(
        lambda: [measure_conv_weight_quality(tensor) for tensor in tensors],
        rounds=5, warmup_rounds=1,
    )  # fmt: skip


@pytest.mark.benchmark(group="quality")
def test_gram_alone(benchmark, arrays):
    rows = [array.reshape(len(array), -1) for array in arrays]
    benchmark.pedantic(lambda: [row @ row.T for row in rows], rounds=10, warmup_rounds=2)


def test_same_numbers(arrays):
    for array in arrays:
        ours, theirs = layer_quality(array), measure_conv_weight_quality(torch.from_numpy(array))
        pairs = {
            "sparsity": ours.sparsity,
            "variance_entropy": ours.variance_entropy,
            "variance_entropy_norm": ours.entropy_ratio,
            "variance_entropy_clean": ours.clean_variance_entropy,
            "variance_entropy_clean_norm": ours.clean_entropy_ratio,
            "orthogonality": ours.orthogonality,
        }
        for name, value in pairs.items():
            assert np.isclose(value, theirs[name], rtol=0, atol=1e-5), name
