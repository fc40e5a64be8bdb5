"""Data of runs, looked at before anything is trained. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from filterdb.errors import TransferError
from filterdb.transfer.data import Images
from filterdb.transfer.data.naming import listed
from filterdb.transfer.loaded import Loaded, loaded
from filterdb.transfer.networks.registry import check_size
from filterdb.transfer.run import Data, Run

SEEN = 0.01
"""Share of the test images that may be among training images, where a set has no more of its own:
drawn images are equal now and then."""


@dataclass(frozen=True, slots=True)
class _Digests:
    """The different images of the two parts of a set."""

    train: frozenset[bytes]
    test: frozenset[bytes]

    def seen(self, test: frozenset[bytes]) -> float:
        """Share of test images that are among these training images."""
        return len(self.train & test) / max(len(test), 1)


def check_data(runs: Iterable[Run]) -> None:
    """Load the data of runs, so that what is wrong with them is said before anything is trained.

    Raises
    ------
    TransferError
        They cannot be loaded, or chosen as asked: a class is not there, or it is one only; a
        class has no images to train on, or none to test on; the images are too small for a
        network; or one of the runs takes filters from another that is trained on its test images.
        (Images are compared bit by bit: other sizes, crops and colours of them are not found.)
    """
    runs = list(runs)
    for run in runs:
        check_size(run.network, run.arguments, run.data.size)
    sets: dict[Data, _Digests] = {}
    for data in dict.fromkeys(_whole(run.data) for run in runs):
        both = _loaded(data)
        _check_classes(both.train, both.test)
        sets[data] = _Digests(_digests(both.train), _digests(both.test))
    known = {run.id: run for run in runs}
    pairs = {(_whole(known[key].data), _whole(run.data)): (known[key], run)
             for run in runs for key in run.sources if key in known}  # fmt: skip
    for (theirs, own), (source, run) in pairs.items():
        seen = sets[theirs].seen(sets[own].test)
        if theirs != own and seen > max(SEEN, sets[own].seen(sets[own].test)):
            msg = (
                f"{seen:.0%} of the different images that {run.name} is tested on are among those "
                f"that its source, {source.name}, is trained on ({own.name}; {theirs.name}): the "
                "result would mean nothing. Give both sets the same data.seed, or take sets with "
                "test parts of their own."
            )
            raise TransferError(msg)


def _loaded(data: Data) -> Loaded:
    """The images of a set; a split that its classes do not fit is named as the cause."""
    try:
        return loaded(data)
    except TransferError as error:
        if data.split is None:
            raise
        msg = (
            f"{error} The classes are split by {data.split!r}: say another split, of two or more "
            "classes a side, e.g. --set layers.split=pets=cat,dog, or layers.split=halves."
        )
        raise TransferError(msg) from error


def _whole(data: Data) -> Data:
    """The set that a share, and what is held out of it, is taken of: it is loaded once."""
    return replace(data, share=1.0, held_out=None, share_seed=None)


def _digests(images: Images) -> frozenset[bytes]:
    return frozenset(
        hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images.images
    )


def _check_classes(train: Images, test: Images) -> None:
    """Refuse classes that cannot be learnt, or not be tested."""
    for images, told in ((train, "train"), (test, "test")):
        without = [name for name, count in images.per_class.items() if not count]
        if without:
            msg = (
                f"{images.source}: there is no image to {told} on of {listed(without)}. Name the "
                "other classes in data.classes, or give these more images: a class takes two or "
                "more where a set has no test part of its own."
            )
            raise TransferError(msg)
