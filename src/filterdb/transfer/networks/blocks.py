"""What the networks share: their convolutions, the residual connection and the head.

Convolutions pad with zeros to half their kernel, so that a stride of 1 keeps the resolution and
a stride of 2 halves it, rounded up. None has a bias, because a norm follows each of them. A
BatchNorm takes out the scale of each filter that a layer is given (but for filters of next to
nothing, which its epsilon outweighs), a LayerNorm over channels that of all of them together.
"""

from __future__ import annotations

import torch
from torch import nn


def depthwise(channels: int, *, kernel: int, stride: int = 1) -> nn.Conv2d:
    """One filter of its own for each channel."""
    return nn.Conv2d(
        channels, channels, kernel, stride, padding=kernel // 2, groups=channels, bias=False
    )


def regular(channels: int, out: int, *, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A filter for each pair of channels."""
    return nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False)


def pointwise(channels: int, out: int) -> nn.Conv2d:
    """1x1: mixes channels, and sees no neighbours."""
    return nn.Conv2d(channels, out, 1, bias=False)


class Residual(nn.Module):
    """``x + inner(x)``."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what is inside to what comes in."""
        result: torch.Tensor = x + self.inner(x)
        return result


def head(channels: int, classes: int) -> nn.Sequential:
    """Mean over the image, then one linear layer: logits of shape ``(N, classes)``."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
