"""Jobs that leave traces, or kill the worker that they are given to."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from filterdb.scan import MomentsJob


@dataclass(frozen=True)
class CountedJob(MomentsJob):
    """Leaves a file in ``place`` for every layer that it was asked about."""

    place: str = ""

    def __call__(self, filters, layer):
        (Path(self.place) / f"{layer.tensor}-{token_hex(8)}").touch()
        return MomentsJob.__call__(self, filters, layer)


@dataclass(frozen=True)
class DeadlyJob(CountedJob):
    """Kills its process at the layer ``victim``, in the middle, while ``place`` holds bullets."""

    victim: str = ""

    def __call__(self, filters, layer):
        half = MomentsJob.__call__(self, filters[: len(filters) // 2], layer)
        assert half["seen"]
        bullets = sorted(Path(self.place).glob("bullet*"))
        if layer.tensor == self.victim and bullets:
            bullets[0].unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return CountedJob.__call__(self, filters, layer)


def load(place: Path, bullets: int) -> None:
    for number in range(bullets):
        (place / f"bullet{number}").touch()


@dataclass(frozen=True)
class BlindJob(MomentsJob):
    """Looks for the payloads in a folder that only the others can see."""

    def answers(self, part):
        return MomentsJob().answers(type(part)(part.folder / "elsewhere", part.layers))


@dataclass(frozen=True)
class ShortJob(MomentsJob):
    """Misses the last filter of every layer."""

    def __call__(self, filters, layer):
        return MomentsJob.__call__(self, filters[:-1], layer)


@dataclass(frozen=True)
class LostJob(MomentsJob):
    """Says the right number of filters for the wrong layer."""

    def answers(self, part):
        first, second, *rest = MomentsJob().answers(part)
        return [second, first, *rest]


def double(number: int) -> int:
    return 2 * number


def whoami() -> int:
    return os.getpid()
