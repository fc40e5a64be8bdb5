"""A small MobileNetV2 (Sandler et al. 2018)."""

from __future__ import annotations

from torch import nn

from filterdb.transfer.networks.blocks import Residual, depthwise, head, pointwise, regular


def mobilenet(
    *,
    classes: int,
    channels: int,
    width: int,
    stages: int,
    blocks: int,
    kernel: int,
    stride: int,
    expansion: int,
) -> nn.Module:
    """A 3x3 convolution, then stages of ``blocks`` inverted residuals.

    The first block of each stage but the first has stride 2. As in the paper, a block that
    changes the resolution or the width has no residual connection, and the first of all does not
    expand.
    """
    layers: list[nn.Module] = [
        regular(channels, width, stride=stride),
        nn.BatchNorm2d(width),
        nn.ReLU6(),
    ]
    before = width
    for stage in range(stages):
        here = width * 2**stage
        for block in range(blocks):
            first = stage == block == 0
            inner = _bottleneck(
                before,
                here,
                kernel=kernel,
                stride=2 if stage and not block else 1,
                expansion=1 if first else expansion,
            )
            layers.append(Residual(*inner) if before == here else nn.Sequential(*inner))
            before = here
    last = [pointwise(before, 2 * before), nn.BatchNorm2d(2 * before), nn.ReLU6()]
    return nn.Sequential(*layers, *last, head(2 * before, classes))


def _bottleneck(
    before: int, here: int, *, kernel: int, stride: int, expansion: int
) -> list[nn.Module]:
    """Expand, convolve depthwise, project: the last without an activation."""
    inside = before * expansion
    expand = [pointwise(before, inside), nn.BatchNorm2d(inside), nn.ReLU6()]
    return [
        *(expand if expansion > 1 else []),
        depthwise(inside, kernel=kernel, stride=stride),
        nn.BatchNorm2d(inside),
        nn.ReLU6(),
        pointwise(inside, here),
        nn.BatchNorm2d(here),
    ]
