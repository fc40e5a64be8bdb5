"""One training under a stated budget, the same bit for bit on a CPU for a seed and thread count.

Images stay uint8 in memory and are normalised a batch at a time; they and the filters are
channels_last; no data-loader processes; testing without gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from filterdb.errors import TransferError
from filterdb.transfer.data import Images, augmented, flips, mean_std
from filterdb.transfer.parts import trainable
from filterdb.transfer.run import Budget

Progress = Callable[[int, int, float], object]
"""Called after every pass with the steps done, the steps in all, and the mean loss of the pass."""

SHIFT = 8
"""Crops move images by this part of their size: 4 pixels of 32."""
EVERY = 32
"""Steps after which the loss is looked at: a look waits for a GPU."""
TEST_BATCH = 512


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a training.

    Attributes
    ----------
    accuracy, test_loss
        On the test images, at the end: share, nats. None if it diverged.
    train_loss
        Mean cross-entropy of each pass over the training images, nats.
    steps
        Steps done.
    seconds
        Of the training, without the test.
    diverged
        Whether a loss was not finite; nothing was done after that.
    """

    accuracy: float | None
    test_loss: float | None
    train_loss: tuple[float, ...]
    steps: int
    seconds: float
    diverged: bool


def train(
    model: nn.Module,
    train: Images,
    test: Images,
    *,
    budget: Budget,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Trained:
    """Train a network in place, and test it.

    Parameters
    ----------
    model
        Maps images ``(N, C, H, W)`` to logits ``(N, classes)``. Parameters that need no gradient
        stay as they are. It is left on the device, in evaluation mode.
    train, test
        Both are normalised by the mean and deviation of the training images.
    budget
        For how long, and how.
    seed
        Of the order of the images, of augmentation, and of torch's random numbers (dropout) while
        it lasts.
    device
        As torch names it.
    progress
        See :data:`Progress`.

    Raises
    ------
    TransferError
        There are no images, the two sets differ in size or classes, or nothing can be trained.
    """
    _check(train, test)
    parameters = trainable(model)
    if not parameters:
        msg = "All of the network is frozen: there is nothing to train. Free its head at least."
        raise TransferError(msg)
    gpus = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        # The type checker knows only one of the overloads of `to`.
        model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        into = _Normalise(train, device)
        begun = perf_counter()
        losses, steps, diverged = _fit(model, train, into, budget, seed, progress)
        seconds = perf_counter() - begun
        accuracy, loss = (None, None) if diverged else _tested(model, test, into)
    if loss is not None and not math.isfinite(loss):
        accuracy, loss, diverged = None, None, True
    model.eval()
    return Trained(accuracy, loss, tuple(losses), steps, seconds, diverged)


def _check(train: Images, test: Images) -> None:
    for images in (train, test):
        if not len(images):
            msg = f"{images.source}: there are no images. Choose more classes, or a higher limit."
            raise TransferError(msg)
    same = ("classes", "size", "channels")
    if any(getattr(train, name) != getattr(test, name) for name in same):
        msg = (
            f"{test.source} does not test what {train.source} trains: they differ in their "
            "classes, size or channels."
        )
        raise TransferError(msg)


class _Normalise:
    """Pixels ``(B, H, W, C)`` to images ``(B, C, H, W)``, channels_last, of mean 0, deviation 1."""

    def __init__(self, images: Images, device: str) -> None:
        mean, std = mean_std(images)
        std = np.where(std > 0, std, 1)
        self._device = device
        self._scale, self._shift = (
            torch.tensor(values, dtype=torch.float32, device=device).reshape(1, -1, 1, 1)
            for values in (1 / (255 * std), -mean / std)
        )

    def __call__(self, pixels: NDArray[np.uint8]) -> torch.Tensor:
        # Rows of pixels with their channels together are channels_last already: nothing is moved.
        batch = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)
        return batch.float().mul_(self._scale).add_(self._shift)

    def labels(self, labels: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(labels).to(self._device)


def _fit(
    model: nn.Module,
    images: Images,
    into: _Normalise,
    budget: Budget,
    seed: int,
    progress: Progress | None,
) -> tuple[list[float], int, bool]:
    """Mean loss of each pass, steps done, and whether it diverged."""
    total = budget.total(len(images))
    optimiser = _optimiser(model, budget)
    passes: list[float] = []
    step = 0
    model.train()
    while step < total:
        rng = np.random.default_rng([seed, len(passes)])
        losses = []
        for pixels, labels in _batches(images, budget, rng):
            for group in optimiser.param_groups:
                group["lr"] = budget.rate * _factor(step, total, budget)
            optimiser.zero_grad()
            loss = functional.cross_entropy(model(into(pixels)), into.labels(labels))
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(loss.detach())
            step += 1
            if step == total or (step % EVERY == 0 and not torch.isfinite(losses[-1])):
                break
        passes.append(torch.stack(losses).double().mean().item())
        if progress is not None:
            progress(step, total, passes[-1])
        if not math.isfinite(passes[-1]):
            return passes, step, True
    return passes, step, False


def _batches(
    images: Images, budget: Budget, rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """One pass in random order; a smaller last batch would weigh its images more."""
    order = rng.permutation(len(images))
    size = min(budget.batch, len(images))
    padding, flip = images.size[0] // SHIFT, flips(images)
    for at in range(0, len(order) - size + 1, size):
        index = order[at : at + size]
        pixels = images.images[index]
        if budget.augment:
            pixels = augmented(pixels, rng, padding=padding, flip=flip)
        yield pixels, images.labels[index]


def _optimiser(model: nn.Module, budget: Budget) -> torch.optim.Optimizer:
    """An optimiser of all that learns; norms and biases do not decay."""
    parameters = trainable(model)
    groups = [
        {"params": [own for own in parameters if own.ndim > 1], "weight_decay": budget.decay},
        {"params": [own for own in parameters if own.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if budget.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=budget.rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=budget.rate)


def _factor(step: int, total: int, budget: Budget) -> float:
    """The rate of a step as a share of the highest: a line up, then half a cosine down."""
    warm = round(budget.warmup * total)
    if step < warm:
        return (step + 1) / warm
    if budget.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(total - warm, 1)))


def _tested(model: nn.Module, images: Images, into: _Normalise) -> tuple[float, float]:
    """Accuracy and mean cross-entropy."""
    model.eval()
    right, loss = 0, 0.0
    with torch.inference_mode():
        for at in range(0, len(images), TEST_BATCH):
            logits = model(into(images.images[at : at + TEST_BATCH]))
            labels = into.labels(images.labels[at : at + TEST_BATCH])
            right += int((logits.argmax(1) == labels).sum())
            loss += functional.cross_entropy(logits, labels, reduction="sum").double().item()
    return right / len(images), loss / len(images)


def checked_device(name: str) -> str:
    """A device as torch names it, of ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"auto"``.

    Raises
    ------
    TransferError
        There is no such device, or it is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda"):
        msg = f"There is no device {name!r}: it is one of cpu, cuda, auto."
        raise TransferError(msg)
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if not count or (index and not (index.isdecimal() and int(index) < count)):
        msg = f"torch finds no device {name!r} here. Use cpu, or auto."
        raise TransferError(msg)
    return name


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many threads of torch, for the time being: sums are in another order with others."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
