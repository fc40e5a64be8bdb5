"""The architectures, each as small as its phenomenon allows.

safetensors files list tensors by name, so the names are such that their order is the network's.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


def conv_bn(c_in: int, c_out: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A 3x3 convolution and its BatchNorm."""
    conv = nn.Conv2d(c_in, c_out, 3, stride, 1, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(c_out)]


class PlainCNN(nn.Module):
    """3x3 convolutions in a row, BatchNorm, ReLU, pooling before, between and after."""

    def __init__(self, channels: int, classes: int, size: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index, (c_in, c_out) in enumerate(zip((channels, *widths), widths, strict=False)):
            layers += [*conv_bn(c_in, c_out), nn.ReLU()]
            if index in (0, len(widths) - 2):
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers, nn.AvgPool2d(2))
        self.classifier = nn.Linear(widths[-1] * (size // 8) ** 2, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(c_in, c_out, stride=stride)
        self.conv2, self.bn2 = conv_bn(c_out, c_out)
        self.downsample = nn.Sequential()
        if c_in != c_out or stride > 1:
            conv = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class ResNet(nn.Module):
    """A first convolution, residual blocks, pooling, a linear layer; depth = 2 + 2 * blocks."""

    def __init__(self, channels: int, classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(channels, 16, stride=2)
        steps = list(zip((16, *widths), widths, strict=False))
        self.layers = nn.Sequential(
            *(BasicBlock(c_in, c_out, 1 + (c_in != c_out)) for c_in, c_out in steps)
        )
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(torch.relu(self.bn1(self.conv1(x))))
        return self.fc(x.amax((2, 3)))


class MobileNet(nn.Module):
    """Depthwise 3x3 and pointwise 1x1 convolutions in turn."""

    def __init__(self, channels: int, classes: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Sequential(*conv_bn(channels, widths[0], stride=2), nn.ReLU())
        ]
        for c_in, c_out in pairwise(widths):
            layers.append(nn.Sequential(
                *conv_bn(c_in, c_in, groups=c_in), nn.ReLU(),
                nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(),
            ))  # fmt: skip
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).amax((2, 3)))


class Residual(nn.Sequential):
    """Its modules, beside a shortcut."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x


class ConvMixer(nn.Module):
    """Patches, then depthwise 7x7 (with a shortcut) and pointwise convolutions in turn."""

    def __init__(self, channels: int, classes: int, width: int, depth: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Conv2d(channels, width, 2, 2), nn.GELU(), nn.BatchNorm2d(width)
        )
        self.layers = nn.Sequential(*(
            nn.Sequential(
                Residual(nn.Conv2d(width, width, 7, groups=width, padding=3), nn.GELU(),
                         nn.BatchNorm2d(width)),
                nn.Conv2d(width, width, 1), nn.GELU(), nn.BatchNorm2d(width),
            )
            for _ in range(depth)
        ))  # fmt: skip
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.embed(x)).mean((2, 3)))


class DnCNN(nn.Module):
    """Predicts the noise of a grey image and takes it away; no BatchNorm."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        self.dncnn = nn.Sequential(*layers, nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x - self.dncnn(x)


class Segmenter(nn.Module):
    """Two steps down, two transposed convolutions up, one logit a pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down1 = nn.Sequential(*conv_bn(channels, 16), nn.ReLU())
        self.down2 = nn.Sequential(*conv_bn(16, 24, stride=2), nn.ReLU())
        self.down3 = nn.Sequential(*conv_bn(24, 32, stride=2), nn.ReLU())
        self.up1 = nn.ModuleList(
            [nn.ConvTranspose2d(32, 24, 4, 2, 1), nn.Sequential(*conv_bn(48, 24), nn.ReLU())]
        )
        self.up2 = nn.ModuleList(
            [nn.ConvTranspose2d(24, 16, 4, 2, 1), nn.Sequential(*conv_bn(32, 16), nn.ReLU()),
             nn.Conv2d(16, 1, 1)]
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(first)
        transposed, merge = self.up1
        x = merge(torch.cat([transposed(self.down3(second)), second], 1))
        transposed, merge, logit = self.up2
        return logit(merge(torch.cat([transposed(x), first], 1)))
