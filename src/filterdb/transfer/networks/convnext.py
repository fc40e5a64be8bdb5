"""A small ConvNeXt (Liu et al. 2022)."""

from __future__ import annotations

import torch
from torch import nn

from filterdb.transfer.networks.blocks import Residual, depthwise, head

LAYER_SCALE = 0.1
"""Where the layer scale starts: what CaiT (Touvron et al. 2021) takes for up to 18 blocks."""


def convnext(
    *,
    classes: int,
    channels: int,
    width: int,
    stages: int,
    blocks: int,
    kernel: int,
    patch: int,
    expansion: int,
) -> nn.Module:
    """Patches, then stages of ``blocks`` blocks with a 2x2 convolution of stride 2 between them.

    As in the paper, but that pointwise layers are 1x1 convolutions and not linear layers, that
    depthwise layers have no bias, and that the layer scale starts higher. Pixels that fill no
    patch at the right and the lower edge are not seen.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, patch, stride=patch, bias=False),
        ChannelNorm(width),
    ]
    for stage in range(stages):
        here = width * 2**stage
        if stage:
            layers += [ChannelNorm(here // 2), nn.Conv2d(here // 2, here, 2, stride=2)]
        layers += [_block(here, kernel=kernel, inside=here * expansion) for _ in range(blocks)]
    model = nn.Sequential(*layers, ChannelNorm(here), head(here, classes))
    model.apply(_initialise)
    return model


def _block(width: int, *, kernel: int, inside: int) -> Residual:
    return Residual(
        depthwise(width, kernel=kernel),
        ChannelNorm(width),
        nn.Conv2d(width, inside, 1),
        nn.GELU(),
        nn.Conv2d(inside, width, 1),
        LayerScale(width),
    )


def _initialise(module: nn.Module) -> None:
    """The paper's: normal, cut, of standard deviation 0.02; biases 0."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of ``(N, C, H, W)``, position by position."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - as torch names it
        """Normalise."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class LayerScale(nn.Module):
    """One learnt factor a channel at the end of a residual branch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels, 1, 1), LAYER_SCALE))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scale."""
        return x * self.scale
