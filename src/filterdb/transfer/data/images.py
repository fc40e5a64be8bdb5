"""`Images`: a labelled set of images in memory, with what was left out of it and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import TransferError
from filterdb.words import counted

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]

SHOWN = 3
"""Names of left-out images that a sentence shows."""


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """A labelled set of images.

    Attributes
    ----------
    images
        uint8 of shape ``(N, H, W, C)``, with C 1 (grey) or 3 (RGB).
    labels
        int64 of shape ``(N,)``: indices into ``classes``.
    classes
        Names of the classes.
    source
        Where the images come from, and which part of it, as a sentence may say it.
    left_out
        Reason -> names of what the source holds and the set does not: images, empty classes.
    mirror
        Whether mirror images are of the same class; None if nobody has said.

    Raises
    ------
    TransferError
        The arrays do not go together.
    """

    images: Pixels
    labels: Labels
    classes: tuple[str, ...]
    source: str
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mirror: bool | None = None

    def __post_init__(self) -> None:
        pixels, labels = self.images, self.labels
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
            msg = (
                f"{self.source}: images are uint8 of shape (N, H, W, 1 or 3), not "
                f"{pixels.dtype} of shape {pixels.shape}."
            )
            raise TransferError(msg)
        if labels.dtype != np.int64 or labels.shape != pixels.shape[:1]:
            msg = (
                f"{self.source}: labels are int64, one an image, not {labels.dtype} of shape "
                f"{labels.shape} for {counted(len(pixels), 'image')}."
            )
            raise TransferError(msg)
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(self.classes)):
            msg = (
                f"{self.source}: labels run from {labels.min()} to {labels.max()}, but there are "
                f"names for {counted(len(self.classes), 'class')}."
            )
            raise TransferError(msg.replace("classs", "classes"))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return int(self.images.shape[3])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.images.shape[1]), int(self.images.shape[2])

    @property
    def per_class(self) -> dict[str, int]:
        """How many images each class has."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))

    @property
    def n_left_out(self) -> int:
        """How many images (and empty classes) were left out, for whatever reason."""
        return sum(map(len, self.left_out.values()))

    def chosen(self, index: NDArray[Any], *, source: str | None = None) -> Images:
        """The images at an index (a mask, or positions), with the classes as they are."""
        return replace(
            self,
            images=self.images[index],
            labels=self.labels[index],
            source=self.source if source is None else source,
        )

    def sentences(self) -> list[str]:
        """What the set holds, and what was left out of it: a line a reason."""
        high, wide = self.size
        lines = [
            f"{self.source}: {counted(len(self), 'image')} of {high}x{wide} pixels in "
            f"{len(self.classes)} classes."
        ]
        for reason, names in self.left_out.items():
            more = "" if len(names) <= SHOWN else ", ..."
            lines.append(f"Left out, {reason}: {len(names):,} ({', '.join(names[:SHOWN])}{more}).")
        return lines
