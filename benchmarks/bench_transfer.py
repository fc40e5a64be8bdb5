"""A training and its test against a plain PyTorch loop: the same network, images and budget.

    pytest benchmarks/bench_transfer.py -o addopts= --benchmark-only

The peer is what anyone would write: a `Dataset` of PIL images with the usual transforms (a random
crop, a mirror image, to a normalised tensor), a `DataLoader` in this process, images as they come
(NCHW), AdamW with a cosine, and a test at the end. Both have one thread. Then two runs side by
side, a process and a thread each, against the same two one after the other with two threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import nn
from torch.utils.data import DataLoader, Dataset

from filterdb.processes import Processes
from filterdb.transfer.data import Images
from filterdb.transfer.networks.building import build
from filterdb.transfer.run import Budget
from filterdb.transfer.training import torch_threads, train

NETWORK = {"width": 32, "depth": 4}
SIZE = 32


@pytest.fixture(scope="module")
def count(request) -> int:
    """Training images; few where nothing is timed."""
    return 64 if request.config.getoption("benchmark_disable") else 512


def pictures(count: int, seed: int) -> Images:
    """Random colour images in ten classes, each with a mean of its own."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    pixels = rng.integers(0, 128, (count, SIZE, SIZE, 3)) + 12 * labels[:, None, None, None]
    names = tuple(f"class {number}" for number in range(10))
    return Images(pixels.astype(np.uint8), labels.astype(np.int64), names, "random images")


def network() -> nn.Module:
    return build("convmixer", classes=10, channels=3, size=SIZE, seed=0, **NETWORK)


def budget(count: int, epochs: int) -> Budget:
    return Budget(epochs, batch=min(128, count // 4))


def ours(count: int, threads: int = 1, epochs: int = 2) -> float:
    """Train and test; picklable, for processes."""
    with torch_threads(threads):
        training, test = pictures(count, 0), pictures(count // 4, 1)
        found = train(network(), training, test, budget=budget(count, epochs))
    assert found.accuracy is not None
    return found.accuracy


class Plain(Dataset):
    """The images one by one, as transforms of PIL images have them."""

    def __init__(self, images: Images, mean, std, *, augment: bool) -> None:
        self.images = [Image.fromarray(pixels) for pixels in images.images]
        self.labels, self.augment = images.labels, augment
        self.mean, self.std = (torch.tensor(own).reshape(3, 1, 1) for own in (mean, std))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        image = self.images[index]
        if self.augment:
            left, top = torch.randint(0, 9, (2,)).tolist()
            image = ImageOps.expand(image, 4).crop((left, top, left + SIZE, top + SIZE))
            if torch.rand(1) < 0.5:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        values = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return (values - self.mean) / self.std, int(self.labels[index])


def plain(count: int, epochs: int = 2) -> float:
    training, test = pictures(count, 0), pictures(count // 4, 1)
    told = budget(count, epochs)
    scaled = training.images.astype(np.float32) / 255
    mean, std = scaled.mean((0, 1, 2)), scaled.std((0, 1, 2))
    model = network()
    batches = DataLoader(
        Plain(training, mean, std, augment=True), told.batch, shuffle=True, drop_last=True
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=told.rate, weight_decay=told.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, told.total(count))
    model.train()
    for _ in range(told.epochs):
        for images, labels in batches:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimiser.step()
            schedule.step()
    model.eval()
    right = 0
    with torch.no_grad():
        for images, labels in DataLoader(Plain(test, mean, std, augment=False), 512):
            right += int((model(images).argmax(1) == labels).sum())
    return right / len(test)


@pytest.mark.benchmark(group="two passes and a test, one thread")
def test_filterdb(benchmark, count):
    benchmark.pedantic(lambda: ours(count), rounds=2, warmup_rounds=1)


@pytest.mark.benchmark(group="two passes and a test, one thread")
def test_plain_loop(benchmark, count):
    def one_thread() -> float:
        with torch_threads(1):
            return plain(count)

    benchmark.pedantic(one_thread, rounds=2, warmup_rounds=1)


@pytest.mark.benchmark(group="two trainings on two cores")
def test_side_by_side(benchmark, count):
    processes = Processes(2)

    def both() -> list[float]:
        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(lambda _: processes.call(ours, count), range(2)))

    try:
        found = benchmark.pedantic(both, rounds=2, warmup_rounds=1)
    finally:
        processes.close()
    assert found[0] == found[1]


@pytest.mark.benchmark(group="two trainings on two cores")
def test_one_after_the_other(benchmark, count):
    benchmark.pedantic(lambda: [ours(count, 2) for _ in range(2)], rounds=2, warmup_rounds=1)


def test_both_learn():
    """The classes differ in their mean, so that some steps are enough for both."""
    with torch_threads(1):
        assert plain(128, epochs=20) > 0.2
        assert ours(128, epochs=20) > 0.2
