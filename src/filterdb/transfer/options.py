"""What only one of the experiments has: the table of its name in a plan. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

PARTS = ("depthwise", "pointwise", "regular", "all")
HOW = ("depth", "pool")


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
        How many keys of each set, and how many random filters beside them; those that a set does
        not have are left out.
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


@dataclass(frozen=True, slots=True)
class Architectures:
    """Filters of networks of other architectures.

    Attributes
    ----------
    sources
        Name -> arguments of a network, with its ``name`` where that is another:
        ``mobilenet = { blocks = 2 }``. Its kernel is that of the plan's network unless it says
        otherwise. If none are given, the other separable networks that are built in.
    how
        Ways of drawing: ``"depth"``, from the layer of the nearest relative depth; ``"pool"``,
        from all layers together.
    """

    sources: Mapping[str, Any] = field(default_factory=dict)
    how: tuple[str, ...] = one_of(HOW, HOW)


@dataclass(frozen=True, slots=True)
class Donors:
    """Filters of any checkpoint, or of a selection from a database.

    Attributes
    ----------
    sources
        Name -> path of a file, or ``{ path = "DATABASE", where = "CONDITION" }``.
    how
        As in :class:`Architectures`.
    scrambled
        Whether there are arms with the donors' own power spectra and random phases.
    """

    sources: Mapping[str, Any] = field(default_factory=dict)
    how: tuple[str, ...] = one_of(HOW, HOW)
    scrambled: bool = True


@dataclass(frozen=True, slots=True)
class DonorFile:
    """One of the :class:`Donors`.

    Attributes
    ----------
    path
        Of a file that filterdb reads, or of a database.
    where
        SQL expression over the layers of the database.
    """

    path: str
    where: str | None = None

    @property
    def spec(self) -> str:
        """As :class:`~filterdb.transfer.run.Start` has it."""
        return self.path if self.where is None else f"{self.path}?{self.where}"


@dataclass(frozen=True, slots=True)
class Removal:
    """Keys of a set, taken out one by one, each time that whose absence costs least.

    Attributes
    ----------
    set
        Name of a key set that comes with the package, or path of a file.
    start
        How many of its keys to begin with, the first ones; all if not given.
    down_to
        How many are left at the end.
    held_out
        Share of the training images, class by class, by which it is chosen.
    """

    set: str = "published8"
    start: int | None = None
    down_to: int = 4
    held_out: float = 0.2


OPTIONS: Mapping[str, type[Any]] = {
    "layers": Layers, "matrix": Matrix, "architectures": Architectures, "donors": Donors,
    "keys": Keys, "removal": Removal, "size": Size,
}  # fmt: skip
"""Experiment -> what only it has."""
