"""What only one of the experiments has: the table of its name in a plan. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

PARTS = ("depthwise", "pointwise", "regular", "all")


def one_of(choices: Iterable[str], default: Any) -> Any:
    """A field whose value, or each of whose values, is one of a list."""
    return field(default=default, metadata={"choices": tuple(choices)})


@dataclass(frozen=True, slots=True)
class Layers:
    """After Yosinski et al. 2014.

    Attributes
    ----------
    split
        As in :class:`~filterdb.transfer.run.Data`. A is the first group and gives the filters, B
        the second, or the rest.
    parts
        What is transferred.
    cuts
        How many layers of the first of the parts; quarters of them if none are given. The other
        parts are cut at the same shares of their layers.
    contrast, contrast_arguments
        The network for the regular filters, of which separable networks have next to none.
    fine_tuned, random
        Whether there are the arms with copied filters that learn on, and with random ones.
    """

    split: str = "low=0,1,2,3,4"
    parts: tuple[str, ...] = one_of(PARTS, ("depthwise", "pointwise", "regular"))
    cuts: tuple[int, ...] = ()
    contrast: str = "resnet"
    contrast_arguments: Mapping[str, Any] = field(default_factory=dict)
    fine_tuned: bool = True
    random: bool = True


@dataclass(frozen=True, slots=True)
class Matrix:
    """Every source into every target.

    Attributes
    ----------
    sets
        Name -> what differs from ``[data]``: ``mnist.spec = "PATH"``, or the path alone.
    part
        What is transferred and frozen.
    """

    sets: Mapping[str, Any] = field(
        default_factory=lambda: {name: name for name in ("digits", "shapes", "textures")}
    )
    part: str = one_of(PARTS, "depthwise")


@dataclass(frozen=True, slots=True)
class Keys:
    """Frozen key filters.

    Attributes
    ----------
    sets
        Names of key sets that come with the package, or paths of files. They have the size of the
        network's filters.
    counts
        How many keys of each set; those that a set does not have are left out.
    """

    sets: tuple[str, ...] = ("published8", "found7x7")
    counts: tuple[int, ...] = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Size:
    """Filters of a source that has seen more or less of its images.

    Attributes
    ----------
    source
        What differs from ``[data]``, which is the target.
    shares
        Of the source's training images, class by class.
    part
        What is transferred and frozen.
    """

    source: Mapping[str, Any] = field(default_factory=lambda: {"spec": "shapes"})
    shares: tuple[float, ...] = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
    part: str = one_of(PARTS, "depthwise")


OPTIONS: Mapping[str, type[Any]] = {"layers": Layers, "matrix": Matrix, "keys": Keys, "size": Size}
"""Experiment -> what only it has."""
