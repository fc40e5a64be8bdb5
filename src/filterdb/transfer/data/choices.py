"""Choices from a set: some classes, groups of classes, so many of each, two parts.

Every choice is a function of the set and a seed. What is drawn of a class depends on its name and
its images, not on which other classes there are; a smaller draw is part of a larger one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import TransferError
from filterdb.transfer.data.images import Images
from filterdb.transfer.data.naming import listed, position

REST = "rest"
TEST_SHARE = 0.2
"""Share of each class that is held out where a data set has no test part of its own."""


def only(images: Images, classes: Sequence[str], *, group: str | None = None) -> Images:
    """The images of some classes, which are numbered in the order of the set.

    Parameters
    ----------
    images
        The set.
    classes
        Names of two or more of its classes.
    group
        A name for them, added to the set's source.

    Raises
    ------
    TransferError
        A class is not there (the message lists those that are), or it is one class only.
    """
    wanted = sorted({position(name, images.classes, images.source) for name in classes})
    if len(wanted) < 2:
        told = f"{images.source}: " + (
            f"one class only, {images.classes[wanted[0]]!r}." if wanted else "no class is chosen."
        )
        msg = f"{told} Choose two or more of: {listed(images.classes)}."
        raise TransferError(msg)
    number = np.full(len(images.classes), -1)
    number[wanted] = np.arange(len(wanted))
    labels = number[images.labels]
    kept = labels >= 0
    names = tuple(images.classes[at] for at in wanted)
    told = group or (f"{len(names)} classes" if len(names) > 4 else ", ".join(names))
    source = images.source if len(wanted) == len(images.classes) else f"{images.source} [{told}]"
    return replace(
        images,
        images=images.images if kept.all() else images.images[kept],
        labels=labels[kept].astype(np.int64),
        classes=names,
        source=source,
    )


def parse_groups(text: str | Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read ``"man-made=airplane,ship"`` (one, several, or several with ``;`` between).

    Raises
    ------
    TransferError
        It is of another form, or a group comes twice.
    """
    pieces = [text] if isinstance(text, str) else list(text)
    groups: dict[str, tuple[str, ...]] = {}
    for piece in (part for whole in pieces for part in whole.split(";") if part.strip()):
        name, equals, names = piece.partition("=")
        members = tuple(member.strip() for member in names.split(",") if member.strip())
        if not equals or not name.strip() or not members or name.strip() in groups:
            msg = (
                f"The group {piece.strip()!r} cannot be used. Write each once, as "
                "NAME=CLASS,CLASS,..., such as man-made=airplane,automobile,ship,truck."
            )
            raise TransferError(msg)
        groups[name.strip()] = members
    if not groups:
        msg = "No group of classes is given. Write NAME=CLASS,CLASS,..."
        raise TransferError(msg)
    return groups


def split_classes(images: Images, groups: Mapping[str, Sequence[str]]) -> dict[str, Images]:
    """Take a set apart by groups of classes. One group alone is set against the rest.

    Raises
    ------
    TransferError
        A class is not there, is in two groups, or a group (or the rest) has fewer than two.
    """
    groups = {name: list(members) for name, members in groups.items()}
    seen: dict[str, str] = {}
    for group, members in groups.items():
        for name in members:
            position(name, images.classes, images.source)
            if seen.setdefault(name, group) != group:
                msg = (
                    f"{images.source}: the class {name!r} is in the groups {seen[name]!r} and "
                    f"{group!r}. A class belongs to one group."
                )
                raise TransferError(msg)
    if len(groups) == 1:
        groups[REST] = [name for name in images.classes if name not in seen]
    return {group: only(images, names, group=group) for group, names in groups.items()}


def halves(images: Images, *, seed: int = 0) -> tuple[Images, Images]:
    """Two sets with half of the classes each, drawn at random.

    The split into tasks A and B of Yosinski et al., How transferable are features in deep neural
    networks? (2014), Section 3. It depends on the names of the classes and the seed alone, so that
    it takes training and test images apart alike.

    Raises
    ------
    TransferError
        There are fewer than four classes.
    """
    if len(images.classes) < 4:
        msg = (
            f"{images.source}: {len(images.classes)} classes cannot be halved into two sets of at "
            "least two. Take a data set with four classes or more."
        )
        raise TransferError(msg)
    order = np.random.default_rng(seed).permutation(len(images.classes))
    names = [sorted(images.classes)[at] for at in order]
    middle = (len(names) + 1) // 2
    first, second = names[:middle], names[middle:]
    return only(images, first, group="half A"), only(images, second, group="half B")


def _shuffled(images: Images, seed: int) -> list[NDArray[np.int64]]:
    """Positions of each class's images, in an order of its own."""
    return [
        np.random.default_rng([seed, crc32(name.encode())]).permutation(
            np.flatnonzero(images.labels == at)
        )
        for at, name in enumerate(images.classes)
    ]


def limit(images: Images, n: int, *, seed: int = 0) -> Images:
    """At most ``n`` images of each class, drawn at random; they stay in the set's order.

    Raises
    ------
    TransferError
        ``n`` is below 1.
    """
    if n < 1:
        msg = f"{images.source}: a limit of {n} images a class leaves none. Give 1 or more."
        raise TransferError(msg)
    index = np.sort(np.concatenate([own[:n] for own in _shuffled(images, seed)]))
    if len(index) == len(images):
        return images
    return images.chosen(index, source=f"{images.source}, {n:,} a class at most (seed {seed})")


def fraction(images: Images, share: float, *, seed: int = 0) -> Images:
    """A share of each class (one image at least), drawn at random; it keeps the set's order.

    Raises
    ------
    TransferError
        The share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        msg = f"{images.source}: a share of {share} cannot be taken. Give one in 0..1, above 0."
        raise TransferError(msg)
    if share == 1:
        return images
    parts = [own[: max(1, round(share * len(own)))] for own in _shuffled(images, seed)]
    index = np.sort(np.concatenate(parts))
    return images.chosen(index, source=f"{images.source}, {share:.3g} of each class (seed {seed})")


def divided(images: Images, *, share: float = TEST_SHARE, seed: int = 0) -> tuple[Images, Images]:
    """Take a set apart into training and test images, class by class.

    Of each class with two images or more, ``share`` is held out: one at least, and never all.

    Raises
    ------
    TransferError
        The share is not between 0 and 1.
    """
    if not 0 < share < 1:
        msg = f"{images.source}: a share of {share} cannot be held out. Give one between 0 and 1."
        raise TransferError(msg)
    held_out = np.zeros(len(images), dtype=bool)
    for own in _shuffled(images, seed):
        if len(own) > 1:
            held_out[own[: min(max(1, round(share * len(own))), len(own) - 1)]] = True
    told = f"{images.source}, {{:.0%}} of each class (seed {seed})"
    return (
        images.chosen(~held_out, source=told.format(1 - share)),
        images.chosen(held_out, source=told.format(share)),
    )
