"""Encoded pictures (PNG, JPEG ...) -> pixels of one shape. Those that fail are named."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from filterdb.extras import require
from filterdb.transfer.data.images import Pixels
from filterdb.transfer.data.raw import LeftOut, Raw, check_bytes

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "PPM", "TIFF")
"""Formats that are opened. Not all that Pillow knows: it hands PostScript to an interpreter."""
GREY = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I;16N", "I")
ORIENTATION = 0x0112
MAX_PICTURES = 10_000_000


class Record(NamedTuple):
    """One picture, not yet decoded. ``label`` None: it has none; ``folder`` "": likewise."""

    name: str
    data: bytes | Path | None
    label: int | str | None
    part: str
    folder: str = ""


Records = Callable[[], Iterator[Record]]
"""Records that can be gone through more than once, in the same order."""


@dataclass(slots=True)
class _Survey:
    """What the headers say: who can be used, the size and the colours that suit all."""

    usable: list[bool] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    colour: bool = False
    left_out: list[LeftOut] = field(default_factory=list)

    def shape(self, size: int | None, channels: int | None) -> tuple[int, int, int]:
        """Height, width and channels that all pictures get."""
        depth = channels or (3 if self.colour else 1)
        if size is not None:
            return size, size, depth
        if len(set(self.sizes)) == 1:
            wide, high = self.sizes[0]
            return high, wide, depth
        side = int(np.median([min(pair) for pair in self.sizes]))
        return side, side, depth


def _open(pillow: Any, data: bytes | Path) -> Any:
    return pillow.open(BytesIO(data) if isinstance(data, bytes) else data, formats=FORMATS)


def _reason(error: Exception) -> str:
    """Why a picture cannot be used, in a few words: the reasons are counted."""
    kind = type(error).__name__
    if kind.startswith("DecompressionBomb"):
        return "more pixels than can be trusted"
    if kind == "UnidentifiedImageError":
        return "not a picture in a format that is read"
    return "damaged or cut short"


def _survey(records: Records, pillow: Any) -> _Survey:
    found = _Survey()
    for record in records():
        reason = None
        if len(found.usable) >= MAX_PICTURES:
            reason = f"beyond the first {MAX_PICTURES:,}"
        elif record.data is None or record.data == b"":
            reason = "no picture"
        elif record.label is None:
            reason = "no label"
        else:
            try:
                with _open(pillow, record.data) as picture:
                    if picture.mode == "F":
                        reason = "pixels are floating-point numbers"
                    else:
                        found.sizes.append(picture.size)
                        found.colour |= picture.mode not in GREY
            except Exception as error:
                reason = _reason(error)
        found.usable.append(reason is None)
        if reason:
            found.left_out.append(LeftOut(reason, record.name, record.part))
    return found


def _upright(picture: Any, operations: Any) -> Any:
    """A photograph turned as its camera was held."""
    if picture.format in ("JPEG", "TIFF", "WEBP") and picture.getexif().get(ORIENTATION, 1) != 1:
        return operations.exif_transpose(picture)
    return picture


def _pixels(picture: Any, shape: tuple[int, int, int], pillow: Any, operations: Any) -> Pixels:
    """One picture in the shape: its centre, resized with antialiasing."""
    high, wide, depth = shape
    picture = _upright(picture, operations)
    if picture.mode.startswith("I"):
        # 16 bits a pixel: Pillow's own conversion cuts them off at 255.
        values = np.asarray(picture).astype(np.int64).clip(0, 65535) >> 8
        picture = pillow.fromarray(values.astype(np.uint8))
    mode = "L" if depth == 1 else "RGB"
    if picture.mode != mode:
        picture = picture.convert(mode)
    if picture.size != (wide, high):
        picture = operations.fit(picture, (wide, high), method=pillow.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.uint8).reshape(shape)


def decode(
    records: Records,
    source: Path,
    *,
    size: int | None,
    channels: int | None,
    names: tuple[str, ...] | None = None,
) -> Raw:
    """Decode pictures into one array.

    The headers are read first, so that all pictures get one shape: the size that is asked for, or
    the one they share, or else a square of the median shorter side; grey where all of them are.
    A picture of another shape gives its centre, resized by antialiased bilinear interpolation.
    """
    pillow, operations = (
        require(f"PIL.{name}", extra="transfer") for name in ("Image", "ImageOps")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata that is not used
        warnings.simplefilter("error", pillow.DecompressionBombWarning)
        survey = _survey(records, pillow)
        n = len(survey.sizes)
        shape = survey.shape(size, channels) if n else (1, 1, 1)
        check_bytes(n * int(np.prod(shape)), source)
        images = np.empty((n, *shape), dtype=np.uint8)
        kept: list[Record] = []
        left_out = survey.left_out
        for record, usable in zip(records(), survey.usable, strict=True):
            if not usable:
                continue
            try:
                with _open(pillow, record.data or b"") as picture:
                    images[len(kept)] = _pixels(picture, shape, pillow, operations)
            except Exception as error:
                left_out.append(LeftOut(_reason(error), record.name, record.part))
            else:
                kept.append(record._replace(data=None))
    folders = [record.folder for record in kept]
    return Raw(
        images[: len(kept)],
        _labels(kept),
        np.array([record.part for record in kept], dtype=object),
        folders=np.array(folders, dtype=object) if all(folders) else None,
        names=names,
        left_out=tuple(left_out),
    )


def _labels(kept: list[Record]) -> NDArray[Any]:
    labels = [record.label for record in kept]
    numbers = all(isinstance(label, int) for label in labels)
    return np.array(labels, dtype=np.int64 if numbers else object)
