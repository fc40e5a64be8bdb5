"""What the monitor costs beside the epoch that it watches: 3,000 images like CIFAR-10's, on a CPU.

    pytest benchmarks/bench_monitor.py -o addopts= --benchmark-only

To reach: 2 % of an epoch of the built-in networks. An epoch is a pass over the training images as
``filterdb transfer`` does it, without the test; compare the pairs of each group.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from filterdb.torch import Monitor
from filterdb.transfer.data.images import Images
from filterdb.transfer.networks.building import build
from filterdb.transfer.run import Budget
from filterdb.transfer.training import train

NETWORKS = {
    "convmixer": ("convmixer", {}),
    "convnext": ("convnext", {}),
    "mobilenet": ("mobilenet", {}),
    "resnet": ("resnet", {}),
    "separable": ("resnet", {"separable": True}),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    name, arguments = NETWORKS[request.param]
    return build(name, classes=10, channels=3, size=32, **arguments)


@pytest.fixture
def images(request):
    count = 64 if request.config.getoption("benchmark_disable") else 3_000
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
    labels = np.arange(count) % 10
    return Images(pixels, labels, tuple(map(str, range(10))), "noise")


def trained(network, images):
    """Move the weights as far as a few steps do: at the start every shift is 0."""
    few = Images(images.images[:128], images.labels[:128], images.classes, images.source)
    train(network, few, few, budget=Budget(epochs=1, batch=64))


@pytest.mark.benchmark(group="monitor")
def test_epoch(benchmark, network, images):
    few = Images(images.images[:64], images.labels[:64], images.classes, images.source)
    budget = Budget(epochs=1, batch=min(128, len(images)))
    found = benchmark.pedantic(
        lambda: train(network, images, few, budget=budget), rounds=3, warmup_rounds=1
    )
    assert not found.diverged


@pytest.mark.benchmark(group="monitor")
def test_monitor(benchmark, network, images):
    monitor = Monitor(network)
    trained(network, images)
    found = benchmark.pedantic(monitor.step, rounds=20, warmup_rounds=2)
    assert all(record.relative_l2 > 0 for record in found)


@pytest.mark.benchmark(group="monitor-start")
def test_start(benchmark, network):
    found = benchmark.pedantic(lambda: Monitor(network), rounds=5, warmup_rounds=1)
    assert found.records


@pytest.mark.benchmark(group="monitor-large")
def test_eleven_million_weights(benchmark, request):
    """A ResNet-18's 3x3 layers; no epoch of it is run here: it takes minutes."""
    width = 8 if request.config.getoption("benchmark_disable") else 64
    network = build("resnet", classes=10, channels=3, size=32, width=width, stages=4)
    monitor = Monitor(network)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.add_(0.01 * torch.randn_like(layer.weight))
    found = benchmark.pedantic(monitor.step, rounds=5, warmup_rounds=1)
    assert all(record.verdict != "invalid" for record in found)
