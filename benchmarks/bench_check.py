"""`check` of a VGG-16 (13 convolutions, 1.6 million 3x3 filters) against torchconvquality.

Both warm, in one process. Ours reads the checkpoint from disk every time; torchconvquality has
the module in memory. The Gram matrices of the orthogonality alone are timed beside them: they
are the floor, as their arithmetic cannot be saved.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchconvquality

import filterdb
import vgg16


@pytest.fixture(scope="module")
def vgg():
    torch.manual_seed(0)
    channels, layers = 3, []
    for width in vgg16.WIDTHS:
        layers += [torch.nn.Conv2d(channels, width, 3), torch.nn.ReLU()]
        channels = width
    return torch.nn.Sequential(*layers)


@pytest.fixture(scope="module")
def checkpoint(vgg, tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(vgg.state_dict(), path)
    return path


@pytest.mark.benchmark(group="check")
def test_filterdb(benchmark, checkpoint):
    result = benchmark.pedantic(filterdb.check, args=(checkpoint,), rounds=15, warmup_rounds=3)
    assert result.coverage["filters"] == vgg16.N_FILTERS


@pytest.mark.benchmark(group="check")
def test_torchconvquality(benchmark, vgg):
    measure = torchconvquality.measure_quality
    assert len(benchmark.pedantic(measure, args=(vgg,), rounds=15, warmup_rounds=3)) == 13


@pytest.mark.benchmark(group="check")
def test_gram_alone(benchmark, vgg):
    arrays = [p.detach().numpy().reshape(p.shape[0], -1) for p in vgg.parameters() if p.ndim == 4]

    def grams():
        return [np.abs(array @ array.T).sum() for array in arrays]

    benchmark.pedantic(grams, rounds=15, warmup_rounds=3)


def test_same_numbers(checkpoint, vgg):
    theirs = torchconvquality.measure_quality(vgg)
    for row in filterdb.check(checkpoint).layers:
        peer = theirs[row.layer.name]
        quality = row.quality
        for ours, name in (
            (quality.sparsity, "sparsity"),
            (quality.variance_entropy, "variance_entropy"),
            (quality.entropy_ratio, "variance_entropy_norm"),
            (quality.clean_variance_entropy, "variance_entropy_clean"),
            (quality.orthogonality, "orthogonality"),
        ):
            assert abs(ours - peer[name]) < 1e-5
