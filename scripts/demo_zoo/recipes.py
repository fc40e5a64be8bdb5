"""The networks of the zoo: what each is, on what and how it is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from demo_zoo.networks import ConvMixer, DnCNN, MobileNet, PlainCNN, ResNet, Segmenter
from demo_zoo.tasks import Classification, Denoising, Segmentation, Task
from demo_zoo.training import Plan
from filterdb.transfer.data.drawn.sets import IMAGE_SETS

NARROW = (16, 32, 32, 32)
WIDE = (64, 64, 64, 64)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training, which yields one file, or one a kept epoch.

    Attributes
    ----------
    name
        Stem of the file name.
    architecture, about
        For the metadata and for the README.
    build, task, plan
        The untrained network, what it is asked, how it is trained.
    dtype
        Element type of the file.
    """

    name: str
    architecture: str
    about: str
    build: Callable[[], nn.Module]
    task: Task
    plan: Plan
    dtype: torch.dtype = torch.float32


def _plain(images: str, widths: tuple[int, ...] = NARROW) -> Callable[[], nn.Module]:
    chosen = IMAGE_SETS[images]
    return partial(PlainCNN, chosen.channels, len(chosen.classes), chosen.size, widths)


def _four_sets() -> list[Recipe]:
    plans = {
        "digits": Plan(epochs=30),
        "shapes": Plan(),
        "textures": Plan(),
        "fractals": Plan(images=4000),
    }
    return [
        Recipe(f"cnn-{images}", "plain CNN, 4 layers", "one architecture on four image sets",
               _plain(images), Classification(images), plan)
        for images, plan in plans.items()
    ]  # fmt: skip


def _three_depths() -> list[Recipe]:
    depths = {4: (32,), 8: (16, 32, 32), 12: (16, 16, 32, 32, 32)}
    return [
        Recipe(f"resnet{depth:02d}-shapes", f"ResNet-{depth}", "one of three depths",
               partial(ResNet, 3, 10, widths),
               Classification("shapes"), Plan(epochs=40))
        for depth, widths in depths.items()
    ]  # fmt: skip


def _widths() -> list[Recipe]:
    return [
        Recipe("wide-shapes", "plain CNN, 4 wide layers", "wide, and well fed: 3,000 images",
               _plain("shapes", WIDE), Classification("shapes"), Plan(epochs=15),
               torch.float16),
        Recipe("overwide-few", "plain CNN, 4 wide layers",
               "over-wide: the same on 60 images, with strong weight decay",
               _plain("shapes", WIDE), Classification("shapes"),
               Plan(images=60, epochs=600, decay=3e-2), torch.float16),
    ]  # fmt: skip


def _depthwise() -> list[Recipe]:
    return [
        Recipe("mobilenet-shapes", "MobileNet-like", "depthwise 3x3",
               partial(MobileNet, 3, 10, (32, 64, 64, 64, 64)), Classification("shapes"),
               Plan(epochs=30, decay=1e-2)),
        Recipe("convmixer-textures", "ConvMixer-64/4", "depthwise 7x7",
               partial(ConvMixer, 1, 10, 64, 4), Classification("textures"),
               Plan(rate=0.02, decay=0.2, adam=True, epochs=8)),
    ]  # fmt: skip


def _images_out() -> list[Recipe]:
    return [
        Recipe("dncnn-textures", "DnCNN-6", "a denoiser, without BatchNorm",
               partial(DnCNN, 24, 6), Denoising("textures"),
               Plan(rate=5e-3, decay=0.1, adam=True, epochs=25)),
        Recipe("segmenter-shapes", "encoder-decoder", "with two transposed convolutions",
               partial(Segmenter, 3), Segmentation(),
               Plan()),
    ]  # fmt: skip


def _run() -> Recipe:
    return Recipe("run-textures", "plain CNN, 4 layers", "checkpoints of one training",
                  _plain("textures"), Classification("textures"),
                  Plan(epochs=30, rate=0.03, keep=(0, 1, 3, 10, 20, 30), seed=1))  # fmt: skip


def _control() -> Recipe:
    return Recipe("cnn-random", "plain CNN, 4 layers", "a control: random weights, untrained",
                  _plain("shapes"), Classification("shapes"), Plan(epochs=0, seed=2))  # fmt: skip


RECIPES = (*_four_sets(), *_three_depths(), *_widths(), _control(), *_depthwise(),
           *_images_out(), _run())  # fmt: skip
