"""The ResNet for small images (He et al. 2016, section 4.2), regular or depthwise-separable."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from filterdb.transfer.networks.blocks import depthwise, head, pointwise, regular


def resnet(
    *,
    classes: int,
    channels: int,
    width: int,
    stages: int,
    blocks: int,
    stride: int,
    separable: bool,
) -> nn.Module:
    """A 3x3 convolution, then stages of ``blocks`` basic blocks.

    ``stages=3, blocks=3, stride=1`` is the paper's ResNet-20. With ``separable`` each 3x3
    convolution but the first becomes a depthwise 3x3, a norm and a pointwise convolution.
    Shortcuts have no parameters (the paper's option A), so that a regular network has no
    pointwise layers at all.
    """
    layers: list[nn.Module] = [
        regular(channels, width, stride=stride),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    before = width
    for stage in range(stages):
        here = width * 2**stage
        for block in range(blocks):
            step = 2 if stage and not block else 1
            layers.append(BasicBlock(before, here, stride=step, separable=separable))
            before = here
    return nn.Sequential(*layers, head(before, classes))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which takes every ``stride``-th pixel."""

    def __init__(self, before: int, here: int, *, stride: int, separable: bool) -> None:
        super().__init__()
        convolve = _separable if separable else _regular
        self.inner = nn.Sequential(
            *convolve(before, here, stride), nn.ReLU(), *convolve(here, here, 1)
        )
        self.stride = stride
        self.added = here - before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the shortcut, with channels of zeros where it has too few."""
        short = x[:, :, :: self.stride, :: self.stride]
        if self.added:
            short = functional.pad(short, (0, 0, 0, 0, 0, self.added))
        return functional.relu(short + self.inner(x))


def _regular(before: int, here: int, stride: int) -> list[nn.Module]:
    return [regular(before, here, stride=stride), nn.BatchNorm2d(here)]


def _separable(before: int, here: int, stride: int) -> list[nn.Module]:
    return [
        depthwise(before, kernel=3, stride=stride),
        nn.BatchNorm2d(before),
        pointwise(before, here),
        nn.BatchNorm2d(here),
    ]
