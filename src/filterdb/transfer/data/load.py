"""`load_images`, `load_splits`: a path or a built-in name -> labelled images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np

from filterdb.errors import TransferError
from filterdb.transfer.data import builtin, choices, folder, idx, npz, parquet, pixels
from filterdb.transfer.data.files import File, files_of, kind_of, part_of
from filterdb.transfer.data.images import Images
from filterdb.transfer.data.naming import listed, name_classes
from filterdb.transfer.data.pictures import Record, decode
from filterdb.transfer.data.raw import Raw

Part = Literal["train", "test"]
Spec = str | PathLike[str]

EMPTY = "class without images"


def _joined(raws: Sequence[Raw], source: str, size: int | None, count: int | None) -> Raw:
    """Arrays of several files as one, in one size and number of channels."""
    sides = {raw.images.shape[1:3] for raw in raws}
    if size is None and len(sides) > 1:
        msg = (
            f"{source}: its files have images of different sizes ({sorted(sides)}). Give a size "
            "to bring them to."
        )
        raise TransferError(msg)
    count = count or max(raw.images.shape[3] for raw in raws)
    arrays = [pixels.recoloured(raw.images, count) for raw in raws]
    if size is not None:
        arrays = [pixels.squared(array, size) for array in arrays]
    return replace(
        raws[0],
        images=arrays[0] if len(arrays) == 1 else np.concatenate(arrays),
        labels=np.concatenate([raw.labels for raw in raws]),
        parts=np.concatenate([raw.parts for raw in raws]),
    )


def _files(path: Path, *, split: bool) -> list[File]:
    """The files to read: a training and a test part where there are both, else the path's own."""
    files = files_of(path)
    if split:
        parts = {file.part for file in files}
        held_out = "test" if "test" in parts else "validation"
        if {"train", held_out} <= parts:
            return [file for file in files if file.part in ("train", held_out)]
    return files if path.is_dir() else [file for file in files if file.part == part_of(path.name)]


def _read_files(path: Path, files: Sequence[File], size: int | None, count: int | None) -> Raw:
    kind = kind_of(path)
    if kind == "idx":
        raws = [idx.read(file.path, file.part) for file in files]
        return _joined(raws, str(path), size, count)
    if kind == "npz":
        raws = [raw for file in files for raw in npz.read(file.path, file.part)]
        return _joined(raws, str(path), size, count)
    rows = parquet.records if kind == "parquet" else folder.records
    names = parquet.class_names(files[0].path) if kind == "parquet" else None

    def records() -> Iterator[Record]:
        for file in files:
            yield from rows(file.path, file.part)

    return decode(records, path, size=size, channels=count, names=names)


def _reasons(raw: Raw, parts: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """Reason -> names of what was left out of some parts, or of all."""
    left_out: dict[str, list[str]] = {}
    for reason, name, part in raw.left_out:
        if parts is None or part in parts:
            left_out.setdefault(reason, []).append(name)
    return {reason: tuple(names) for reason, names in left_out.items()}


def _as_images(raw: Raw, source: str, names: Sequence[str] | None) -> Images:
    """Name the classes; those without an image are left out, and said."""
    left_out = _reasons(raw, None)
    if not len(raw.labels):
        told = "; ".join(f"{reason}: {len(each):,}" for reason, each in left_out.items())
        msg = f"{source}: it holds no image that can be used{f' ({told})' if told else ''}."
        raise TransferError(msg)
    stated = names if names is not None else raw.names
    labels, classes = name_classes(raw.labels, names=stated, folders=raw.folders, source=source)
    found = np.unique(labels)
    missing = tuple(name for at, name in enumerate(classes) if at not in set(found.tolist()))
    if missing:
        left_out[EMPTY] = missing
    if len(found) < 2:
        msg = (
            f"{source}: all images are of one class, {classes[found[0]]!r}. It takes two classes "
            "or more to tell apart."
        )
        raise TransferError(msg)
    there = tuple(classes[at] for at in found)
    return Images(raw.images, np.searchsorted(found, labels), there, source, left_out)


def _pair(images: Images, raw: Raw, told: dict[str, str], seed: int) -> tuple[Images, Images]:
    """Training and test images: the parts that the source has, or else a share of each class."""
    parts = set(raw.parts.tolist())
    held_out = "test" if "test" in parts else "validation"
    if not {"train", held_out} <= parts:
        return choices.divided(images, seed=seed)
    empty = {reason: names for reason, names in images.left_out.items() if reason == EMPTY}
    train, test = (
        replace(
            images.chosen(raw.parts == part),
            source=told.get(part, f"{images.source} ({part})"),
            left_out=_reasons(raw, [part]) | empty,
        )
        for part in ("train", held_out)
    )
    return train, test


def _checked(
    size: int | None,
    count: int | None,
    names: Sequence[str] | None,
    n: int | None,
    limits: tuple[int | None, int | None],
) -> None:
    for what, value in (("size", size), ("n", n), *(("limit", limit) for limit in limits)):
        if value is not None and value < 1:
            msg = f"The {what} {value} cannot be used. Give a whole number of 1 or more."
            raise TransferError(msg)
    if count not in (None, 1, 3):
        msg = f"Images have 1 channel (grey) or 3 (RGB), not {count}."
        raise TransferError(msg)
    if names is not None and (isinstance(names, str) or len(set(names)) < len(names)):
        msg = f"Names of classes are a list, each name once, not {names!r}."
        raise TransferError(msg)


def _load(
    spec: Spec,
    *,
    split: bool,
    size: int | None,
    channels: int | None,
    limits: tuple[int | None, int | None],
    names: Sequence[str] | None,
    n: int | None,
    seed: int,
) -> tuple[Images, Raw, dict[str, str]]:
    """All images, as they are in the files too, and the file that each part is from."""
    _checked(size, channels, names, n, limits)
    told: dict[str, str] = {}
    if str(spec) in builtin.BUILT_IN:
        source = str(spec)
        raws = builtin.read(source, n=n, limits=limits, seed=seed, size=size)
        raw = _joined(raws, source, size, channels)
    else:
        path = Path(spec).expanduser()
        close = get_close_matches(str(spec), builtin.BUILT_IN, n=1)
        if close and not path.exists():
            msg = (
                f"{spec}: there is no such file, folder or built-in set. Did you mean "
                f"{close[0]!r}? Built in are {listed(builtin.BUILT_IN)}."
            )
            raise TransferError(msg)
        source = path.name or str(path)
        files = _files(path, split=split)
        raw = _read_files(path, files, size, channels)
        told = {file.part: file.path.name for file in files if path.is_file() and file.part}
    return _as_images(raw, source, names), raw, told


def load_images(
    spec: Spec,
    *,
    split: Part | None = None,
    size: int | None = None,
    channels: int | None = None,
    limit: int | None = None,
    classes: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    n: int | None = None,
    seed: int = 0,
) -> Images:
    """Load labelled images.

    Parameters
    ----------
    spec
        A path (an IDX file of images, a Parquet file, an npz, a folder), or the name of a
        built-in set: ``digits``, ``textures``, ``shapes``, ``fractals``.
    split
        ``"train"`` or ``"test"``: that part of the data set. Files with these words in their names
        are found beside one another; where there is no second part, 20 % of each class are held
        out (:func:`~filterdb.transfer.data.choices.divided`). None: what the path itself names.
    size
        Side in pixels. By default the images' own; where they differ, the median shorter side.
    channels
        1 (grey) or 3 (RGB). By default what the images have.
    limit
        Images of each class at most, drawn at random.
    classes
        Names of the classes to keep.
    names
        Names of the labels 0, 1, 2 ..., for a file of bare numbers.
    n
        How many training images to draw of a set that is drawn; half as many for testing.
    seed
        The draws are a function of it.

    Raises
    ------
    TransferError
        The file is damaged, of no kind that is read, or holds no images that can be used; a class
        is not there; or only one is.
    MissingExtraError
        A library that the format needs is not installed.
    """
    images, raw, told = _load(
        spec, split=split is not None, size=size, channels=channels, limits=(limit, limit),
        names=names, n=n, seed=seed,
    )  # fmt: skip
    if split is not None:
        images = _pair(images, raw, told, seed)[split == "test"]
    return _chosen(images, classes, limit, seed)


def load_splits(
    spec: Spec,
    *,
    size: int | None = None,
    channels: int | None = None,
    limit: int | None = None,
    test_limit: int | None = None,
    classes: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    n: int | None = None,
    seed: int = 0,
) -> tuple[Images, Images]:
    """Training and test images at once, decoded once; as :func:`load_images` has them.

    ``limit`` holds for the training images, ``test_limit`` for the test images.
    """
    images, raw, told = _load(
        spec, split=True, size=size, channels=channels, limits=(limit, test_limit), names=names,
        n=n, seed=seed,
    )  # fmt: skip
    train, test = _pair(images, raw, told, seed)
    return _chosen(train, classes, limit, seed), _chosen(test, classes, test_limit, seed)


def _chosen(images: Images, classes: Sequence[str] | None, most: int | None, seed: int) -> Images:
    if classes is not None:
        images = choices.only(images, classes)
    return images if most is None else choices.limit(images, most, seed=seed)
