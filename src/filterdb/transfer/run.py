"""What one training run is, said so completely that its id stands for its outcome. No torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self, get_args

from filterdb.errors import TransferError
from filterdb.transfer.data import (
    Images,
    divided,
    fraction,
    halves,
    load_splits,
    parse_groups,
    split_classes,
)
from filterdb.transfer.data.naming import listed
from filterdb.transfer.networks.registry import checked_arguments
from filterdb.words import counted

FORMAT = 1
"""Counted up when the same settings come to another outcome."""
LATER = ("mirror", "held_out", "content", "share_seed", "code")
"""Settings that joined after the first ids had been given."""
NAMES = ("arm", "labels", "experiment")
"""What a run is called, which is not in its id."""
HALVES = "halves"
MOST_FEW = 4096
"""Random filters that stand for keys, at most: as many as a key set may have."""

Optimiser = Literal["adamw", "sgd"]
Schedule = Literal["cosine", "constant"]
How = Literal["depth", "pool"]


@dataclass(frozen=True, slots=True)
class Budget:
    """How a network is trained: the same for every arm of an experiment.

    Attributes
    ----------
    epochs
        Passes over the training images.
    batch
        Images of a step. The rest of a pass that fills no batch is left out, another one each
        time.
    rate
        Highest learning rate.
    decay
        Weight decay of all but norms and biases.
    optimiser
        ``"adamw"``, or ``"sgd"`` with Nesterov's momentum of 0.9.
    schedule
        ``"cosine"``, down to 0, or ``"constant"``.
    warmup
        Share of the steps in which the rate rises from 0.
    augment
        Whether images are cropped at random, and mirrored where that keeps their class.
    steps
        Takes the place of ``epochs``, so that sets of different sizes get equally many steps.
    """

    epochs: int
    batch: int = 128
    rate: float = 2e-3
    decay: float = 0.05
    optimiser: Optimiser = "adamw"
    schedule: Schedule = "cosine"
    warmup: float = 0.1
    augment: bool = True
    steps: int | None = None

    def __post_init__(self) -> None:
        _let_be(self, rate=float(self.rate), decay=float(self.decay), warmup=float(self.warmup))
        for name, known in (("optimiser", Optimiser), ("schedule", Schedule)):
            if getattr(self, name) not in get_args(known):
                msg = (
                    f"There is no {name} {getattr(self, name)!r}: it is one of "
                    f"{', '.join(get_args(known))}."
                )
                raise TransferError(msg)
        counts = (self.epochs, self.batch, 1 if self.steps is None else self.steps)
        finite = math.isfinite(self.rate) and math.isfinite(self.decay)
        if not (
            finite and min(counts) >= 1 and self.rate > 0 <= self.decay and 0 <= self.warmup <= 1
        ):
            msg = (
                f"A training of {self.epochs} epochs (steps={self.steps}) in batches of "
                f"{self.batch} at the rate {self.rate}, decay {self.decay} and warmup "
                f"{self.warmup} cannot be done. Counts are 1 or more, the rate is a number above "
                "0, the decay one of 0 or more, and the warmup a share in 0..1."
            )
            raise TransferError(msg)

    def total(self, images: int) -> int:
        """Number of steps on a set of so many images."""
        return self.steps or self.epochs * max(images // self.batch, 1)

    def sentence(self) -> str:
        """The budget as a table states it."""
        length = counted(self.steps, "step") if self.steps else counted(self.epochs, "epoch")
        warm = f" after a warmup of {self.warmup:.0%}" if self.warmup else ""
        return (
            f"{length} of {counted(self.batch, 'image')}, {self.optimiser} at {self.rate:g} "
            f"({self.schedule}{warm}), weight decay {self.decay:g}, "
            f"{'with' if self.augment else 'without'} augmentation"
        )


@dataclass(frozen=True, slots=True)
class Data:
    """What a network is trained and tested on.

    Attributes
    ----------
    spec
        Path or built-in name, as :func:`~filterdb.transfer.data.load.load_images` takes it.
    size, channels
        What the images are brought to.
    classes
        Names of the classes to keep; all if not given.
    names
        Names of the labels 0, 1, 2 ..., for a file of bare numbers.
    limit, test_limit
        Images of each class at most.
    split
        Groups of classes that the set is taken apart by, ``"man-made=airplane,ship"``, or
        ``"halves"`` for two halves drawn at random, called ``"A"`` and ``"B"``.
    group
        The group that is meant, such as ``"man-made"`` or ``"rest"``; the first if not given.
    share
        Share of the training images of each class.
    seed
        Of all that is drawn here: of a set without a test part of its own, what it is tested on
        too. Sets that give filters to one another have the same.
    mirror
        Whether a mirror image is of the same class, for augmentation; told by the names of the
        classes if not given (:func:`~filterdb.transfer.data.augment.flips`).
    held_out
        Share of the training images, class by class, that takes the place of the test images: to
        choose by.
    share_seed
        Of the share alone, where another one of the same training images is to be drawn.
    """

    spec: str
    size: int
    channels: int
    classes: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    limit: int | None = None
    test_limit: int | None = None
    split: str | None = None
    group: str | None = None
    share: float = 1.0
    seed: int = 0
    mirror: bool | None = None
    held_out: float | None = None
    share_seed: int | None = None

    def __post_init__(self) -> None:
        for name in ("classes", "names"):
            value = getattr(self, name)
            _let_be(self, **{name: None if value is None else tuple(value)})
        _let_be(self, spec=str(self.spec), share=float(self.share))
        if min(self.seed, self.share_seed or 0) < 0:
            msg = f"{self.spec}: a seed is a whole number of 0 or more, and not {self.seed}."
            raise TransferError(msg)
        if not 0 < self.share <= 1:
            msg = f"{self.spec}: a share of {self.share:g} is none: it lies above 0 and up to 1."
            raise TransferError(msg)
        if self.group is not None and self.split is None:
            msg = (
                f"{self.spec}: the group {self.group!r} of no split is asked for. Give the split "
                "too, such as man-made=airplane,automobile,ship,truck."
            )
            raise TransferError(msg)

    @property
    def name(self) -> str:
        """What tables call it in short: ``"cifar10 man-made"``, ``"digits B, 0.25 of it"``."""
        name = Path(self.spec).name.partition(".")[0] or self.spec
        group = f" {self.group}" if self.group is not None else ""
        share = f", {self.share:.3g} of it" if self.share != 1 else ""
        return f"{name}{group}{share}"

    def load(self) -> tuple[Images, Images]:
        """Training and test images.

        Raises
        ------
        TransferError
            They cannot be loaded, or chosen as asked.
        """
        train, test = load_splits(
            self.spec, size=self.size, channels=self.channels, classes=self.classes,
            names=self.names, limit=self.limit, test_limit=self.test_limit, seed=self.seed,
        )  # fmt: skip
        train, test = self._grouped(train), self._grouped(test)
        seed = self.seed if self.share_seed is None else self.share_seed
        train = fraction(train, self.share, seed=seed)
        if self.held_out is not None:
            train, test = divided(train, share=self.held_out, seed=self.seed)
        return replace(train, mirror=self.mirror), replace(test, mirror=self.mirror)

    def _grouped(self, images: Images) -> Images:
        if self.split is None:
            return images
        if self.split == HALVES:
            groups = dict(zip("AB", halves(images, seed=self.seed), strict=True))
        else:
            groups = split_classes(images, parse_groups(self.split))
        name = next(iter(groups)) if self.group is None else self.group
        if name not in groups:
            close = get_close_matches(name, groups, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            msg = (
                f"{images.source}: the split {self.split!r} has no group {name!r}. It has "
                f"{listed(groups)}.{hint}"
            )
            raise TransferError(msg)
        return groups[name]


@dataclass(frozen=True, slots=True)
class Start:
    """What some filters of a network begin with instead of their own random weights.

    Attributes
    ----------
    part
        ``"depthwise"``, ``"pointwise"``, ``"regular"`` or ``"all"``.
    first
        How many layers of the part, from the image on: the cut n of Yosinski et al. 2014. All of
        them if not given.
    frozen
        Whether they stay as they are; else they go on to learn.
    source
        Id of a run whose trained filters are taken.
    filters
        Where they come from besides: ``"random"``: they are the network's own random ones;
        ``"spectrum"``: the source's power spectra with random phases; ``"keys:SET:k"``: the first
        k (all if not given) keys of a set, drawn at random, ``"keys:SET:[1,3]"``: those of these
        numbers; ``"random:k"``: k random filters in the place of so many keys, other ones for
        each seed; ``"donor:PATH"``: the depthwise filters of any file that filterdb reads,
        ``"donor:DATABASE?CONDITION"``: those of a selection from a database; ``"donor-spectrum:"``
        with the same: random ones of their power spectra.
    how
        None: the source is of the same architecture, and each layer is copied into its place.
        ``"depth"``, ``"pool"``: as :func:`~filterdb.transfer.parts.assign` draws them.
    content
        Digest of the filters of a donor, or id of a key set: another file of the same name is
        another run.
    """

    part: str
    first: int | None = None
    frozen: bool = True
    source: str | None = None
    filters: str | None = None
    how: How | None = None
    content: str | None = None

    def __post_init__(self) -> None:
        if self.how not in (None, *get_args(How)):
            msg = (
                f"Filters cannot be drawn by {self.how!r}: it is one of {', '.join(get_args(How))}."
            )
            raise TransferError(msg)
        kind, colon, rest = (self.filters or "").partition(":")
        known = kind in ("", "random", "spectrum") or (
            kind in ("keys", "donor", "donor-spectrum") and bool(rest)
        )
        few = kind == "random" and bool(colon)
        if not known or (few and not (rest.isdecimal() and 1 <= int(rest) <= MOST_FEW)):
            msg = (
                f"There are no filters {self.filters!r} to begin with. Write random, random:k "
                f"(k of 1 to {MOST_FEW:,}), spectrum, keys:SET, keys:SET:k, donor:PATH or "
                "donor-spectrum:PATH."
            )
            raise TransferError(msg)
        if (self.source is None) == (kind in ("", "spectrum")):
            told = "needs" if self.source is None else "takes no"
            msg = (
                f"A start with {self.filters or 'copied'!r} filters {told} source: "
                "copies and 'spectrum' take that of a run, and no others do."
            )
            raise TransferError(msg)

    @property
    def name(self) -> str:
        """The part, with its cut, as fingerprints are kept by."""
        return self.part if self.first is None else f"{self.part}:{self.first}"


@dataclass(frozen=True, slots=True)
class Run:
    """One network, trained once.

    Attributes
    ----------
    network, arguments
        As :func:`~filterdb.transfer.networks.building.build` takes them.
    data, budget
        What it is trained on, and how.
    starts
        What parts of it begin with, done in this order.
    seed
        Of its random weights, the order of the images and their augmentation.
    arm, labels, experiment
        What an experiment calls it, and itself: they do not decide the outcome, and are not in
        the id.
    code
        Digest of the module that a network of one's own is from, as
        :func:`~filterdb.transfer.networks.code.code_of` has it.
    """

    network: str
    data: Data
    budget: Budget
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    starts: tuple[Start, ...] = ()
    seed: int = 0
    arm: str = ""
    labels: Mapping[str, Any] = field(default_factory=dict, hash=False)
    experiment: str = ""
    code: str | None = None

    def __post_init__(self) -> None:
        _let_be(self, starts=tuple(self.starts))
        _let_be(self, arguments=checked_arguments(self.network, self.arguments))
        names = [start.name for start in self.starts]
        if len(set(names)) < len(names):
            msg = f"A part is given filters twice ({', '.join(names)}). Give each its start once."
            raise TransferError(msg)

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of all that decides the outcome."""
        told = {key: value for key, value in _said(self.to_dict()).items() if key not in NAMES}
        told["data"] = _said(told["data"])
        told["starts"] = [_said(start) for start in told["starts"]]
        text = json.dumps({"format": FORMAT} | told, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def sources(self) -> tuple[str, ...]:
        """Ids of the runs that have to be done before."""
        return tuple(dict.fromkeys(start.source for start in self.starts if start.source))

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.arm or self.network} (seed {self.seed}, run {self.id})"

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON has them; tuples become lists."""
        told: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return told

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """The run that :meth:`to_dict` told of."""
        return cls(**{
            **told,
            "data": Data(**told["data"]),
            "budget": Budget(**told["budget"]),
            "starts": tuple(Start(**start) for start in told["starts"]),
        })  # fmt: skip


def _said(told: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those that joined later and are not set: ids stay what they were."""
    return {key: value for key, value in told.items() if key not in LATER or value is not None}


def _let_be(frozen: object, **values: object) -> None:
    """Set attributes of a frozen instance that is being made."""
    for name, value in values.items():
        object.__setattr__(frozen, name, value)
