"""An isotropic depthwise-separable network after ConvMixer (Trockman and Kolter 2022)."""

from __future__ import annotations

from torch import nn

from filterdb.transfer.networks.blocks import Residual, depthwise, head, pointwise


def convmixer(
    *, classes: int, channels: int, width: int, depth: int, kernel: int, patch: int
) -> nn.Module:
    """Patches, then ``depth`` times a depthwise layer with a residual and a pointwise layer.

    Unlike the paper's, the norm comes before the activation, so that the scale of frozen filters
    matters little, whoever they come from: not at all in training, as long as their responses
    vary by more than the norm's epsilon. Pixels that fill no patch at the right and the lower
    edge are not seen.
    """
    return nn.Sequential(
        nn.Sequential(
            nn.Conv2d(channels, width, patch, stride=patch, bias=False),
            nn.BatchNorm2d(width),
            nn.GELU(),
        ),
        nn.Sequential(*(_block(width, kernel) for _ in range(depth))),
        head(width, classes),
    )


def _block(width: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        Residual(depthwise(width, kernel=kernel), nn.BatchNorm2d(width), nn.GELU()),
        pointwise(width, width),
        nn.BatchNorm2d(width),
        nn.GELU(),
    )
