"""What a network is asked: which images, which loss, and how well it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from filterdb.transfer.data.drawn import shapes
from filterdb.transfer.data.drawn.sets import Split, balanced_labels, draw, generator

Pair = tuple[Tensor, Tensor]


def split(*, test: bool) -> Split:
    """The name of the split."""
    return "test" if test else "train"


class Task(Protocol):
    """Data and its use. ``images`` names the set, ``metric`` what ``score`` returns."""

    @property
    def name(self) -> str: ...

    @property
    def images(self) -> str: ...

    @property
    def metric(self) -> str: ...

    def data(self, n: int, seed: int, *, test: bool) -> Pair:
        """Inputs and targets."""

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """What the training lowers."""

    def score(self, output: Tensor, target: Tensor) -> float:
        """What is reported."""


@dataclass(frozen=True)
class Classification:
    """Which class an image is of."""

    images: str
    name: str = "classification"
    metric: str = "accuracy"

    def data(self, n: int, seed: int, *, test: bool) -> Pair:
        inputs, labels = draw(self.images, n, seed, split=split(test=test))
        return torch.from_numpy(inputs), torch.from_numpy(labels)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(output, target)

    def score(self, output: Tensor, target: Tensor) -> float:
        return (output.argmax(1) == target).float().mean().item()


@dataclass(frozen=True)
class Denoising:
    """White noise off an image; the score is the signal-to-noise ratio in decibels."""

    images: str
    deviation: float = 0.1
    size: int = 16
    name: str = "denoising"
    metric: str = "psnr_db"

    def data(self, n: int, seed: int, *, test: bool) -> Pair:
        inputs, _ = draw(self.images, n, seed, split=split(test=test), size=self.size)
        clean = torch.from_numpy(inputs)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
        return clean + self.deviation * noise, clean

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.mse_loss(output, target)

    def score(self, output: Tensor, target: Tensor) -> float:
        return -10 * functional.mse_loss(output, target).log10().item()


@dataclass(frozen=True)
class Segmentation:
    """Which pixels belong to the shape; the score is the share of right pixels."""

    images: str = "shapes"
    name: str = "segmentation"
    metric: str = "accuracy"

    def data(self, n: int, seed: int, *, test: bool) -> Pair:
        rng = generator("shapes", seed, split(test=test))
        masks = shapes.draw_masks(balanced_labels(n, len(shapes.CLASSES), rng), 24, rng)
        inputs = torch.from_numpy(shapes.paint(masks, rng)).float()
        return inputs, torch.from_numpy(masks > 0.5).float()[:, None]

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(output, target)

    def score(self, output: Tensor, target: Tensor) -> float:
        return ((output > 0) == (target > 0.5)).float().mean().item()


def evaluate(model: nn.Module, task: Task, pair: Pair) -> float:
    """The score of a network on held-out images."""
    model.eval()
    with torch.no_grad():
        score = task.score(model(pair[0]), pair[1])
    model.train()
    return score
