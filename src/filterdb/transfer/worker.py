"""One run, done here and now: its network built, begun, trained, tested, and written down.

torch is imported where a run is done, not here.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from math import isfinite
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from filterdb._version import __version__
from filterdb.errors import FilterDBError, StoreError, TransferError
from filterdb.extras import require
from filterdb.transfer.book import Book, LeftOut, Row
from filterdb.transfer.data import flips
from filterdb.transfer.data.images import SHOWN
from filterdb.transfer.loaded import Loaded, loaded
from filterdb.transfer.networks.code import refuse_changed_code
from filterdb.transfer.run import Run

if TYPE_CHECKING:
    from filterdb.transfer.parts import Slot

Network = Any
"""A ``torch.nn.Module``; torch is not named here."""
Moments = Literal["last", "epochs"]
"""Which weights of a run are kept: the trained ones, or those after every pass and before, too."""

ALONE = Lock()
"""torch has one state of random numbers a process: the threads of a Dask worker take turns."""


class _NotKeptError(Exception):
    """The weights cannot be written, for which the run is not to blame."""


def do_run(
    run: Run, folder: Path, *, device: str, threads: int, keep: Moments | None = None
) -> Row:
    """Do one run here and now, and write its row, and its weights if they are to be kept.

    A run that fails is such a row too. Its sources are done, and their weights in the folder.

    Raises
    ------
    StoreError
        The row or the weights cannot be written.
    """
    book = Book(folder)
    try:
        with ALONE:
            row, model = _outcome(run, book, device, threads, keep)
    except _NotKeptError as error:
        raise error.__cause__ or error from None
    except Exception as error:
        told = (
            str(error) if isinstance(error, FilterDBError) else f"{type(error).__name__}: {error}"
        )
        return failed(run, book, told)
    if keep and row.status == "done":
        from filterdb.transfer.beginning import weights_of

        book.put_weights(run, weights_of(model))
    book.put(row)
    return row


def failed(run: Run, book: Book, reason: str) -> Row:
    """Write down that a run failed, and why."""
    row = Row(run, "failed", reason=reason, when=_now())
    book.put(row)
    return row


def _outcome(
    run: Run, book: Book, device: str, threads: int, keep: Moments | None
) -> tuple[Row, Network]:
    """Build, begin, train and test a network; its filters are looked at in between."""
    from filterdb.transfer.beginning import begin, sample_of, slots_of
    from filterdb.transfer.networks.building import build
    from filterdb.transfer.parts import trainable
    from filterdb.transfer.training import torch_threads, train

    data = loaded(run.data)
    classes = len(data.train.classes)
    refuse_changed_code(run.network, run.code)
    with torch_threads(threads):
        model = build(
            run.network, classes=classes, channels=run.data.channels, size=run.data.size,
            seed=run.seed, **run.arguments,
        )  # fmt: skip
        sample = sample_of(run.data)
        slots = {start.name: slots_of(model, start, sample=sample) for start in run.starts}
        prints = {"built": _fingerprints(model, slots)}
        given = begin(model, run, partial(_source, book))
        prints["given"] = _fingerprints(model, slots)
        prints["source"] = {each.start.name: each.source for each in given if each.source}
        prints["sources"] = {key: row.trained for key in run.sources if (row := book.get(key))}
        keeper = _Keeper(book, run, model) if keep == "epochs" else None
        trained = train(
            model, data.train, data.test, budget=run.budget, seed=run.seed, device=device,
            progress=keeper,
        )  # fmt: skip
        prints["trained"] = _fingerprints(model, slots)
    _check(run, prints)
    row = Row(
        run,
        "diverged" if trained.diverged else "done",
        reason=f"The loss was not finite within {trained.steps:,} steps."
        if trained.diverged
        else None,
        accuracy=trained.accuracy,
        test_loss=trained.test_loss,
        losses=tuple(loss if isfinite(loss) else None for loss in trained.train_loss),
        fingerprints=prints,
        parameters=sum(each.numel() for each in model.parameters()),
        trainable=sum(each.numel() for each in trainable(model)),
        classes=classes,
        guess=float(np.bincount(data.test.labels).max()) / len(data.test),
        images=len(data.train),
        steps=trained.steps,
        digest=data.digest,
        left_out=_left_out(data),
        mirrored=run.budget.augment and flips(data.train),
        seconds=trained.seconds,
        threads=threads,
        device=device,
        versions=_versions(),
        when=_now(),
    )
    return row, model


def _left_out(data: Loaded) -> dict[str, LeftOut]:
    """What neither part has; one that was divided says the same twice."""
    found: dict[str, dict[str, None]] = {}
    for images in (data.train, data.test):
        for reason, names in images.left_out.items():
            found.setdefault(reason, {}).update(dict.fromkeys(names))
    return {key: LeftOut(len(own), tuple(own)[:SHOWN]) for key, own in found.items()}


class _Keeper:
    """Keeps the weights before the training, and after every pass but the last, which is the end.

    Parameters
    ----------
    book
        Where to.
    run, model
        Whose.
    """

    def __init__(self, book: Book, run: Run, model: Network) -> None:
        self._book, self._run, self._model = book, run, model
        self._epoch = 0
        self._keep()

    def __call__(self, step: int, total: int, loss: float) -> None:
        self._epoch += 1
        if step < total and isfinite(loss):
            self._keep()

    def _keep(self) -> None:
        from filterdb.transfer.beginning import weights_of

        try:
            self._book.put_weights(self._run, weights_of(self._model), epoch=self._epoch)
        except StoreError as error:
            raise _NotKeptError from error


def _source(book: Book, run_id: str) -> Network:
    """The trained network of a run that is done."""
    from filterdb.transfer.beginning import restored

    row = book.get(run_id)
    if row is None or row.classes is None:
        msg = f"The run {run_id} that filters are to be taken from is not done."
        raise TransferError(msg)
    return restored(row.run, row.classes, book.get_weights(run_id))


def _fingerprints(model: Network, slots: Mapping[str, Iterable[Slot]]) -> dict[str, str]:
    """Of each part that is given filters, and of all else."""
    from filterdb.transfer.parts import fingerprint, fingerprint_of_rest

    rest = fingerprint_of_rest(model, [slot for part in slots.values() for slot in part])
    return {name: fingerprint(part) for name, part in slots.items()} | {"rest": rest}


def _check(run: Run, prints: Mapping[str, Mapping[str, str]]) -> None:
    """Do not believe a network that moved its filters by itself: a result would mean nothing."""
    moved = [
        start.name
        for start in run.starts
        if start.frozen and prints["given"][start.name] != prints["trained"][start.name]
    ]
    if moved:
        msg = f"The frozen filters ({', '.join(moved)}) of the network {run.network!r} changed."
        raise TransferError(msg)


def _versions() -> dict[str, str]:
    """Of whatever has a say in the last bit."""
    torch, numpy = (require(name, extra="transfer") for name in ("torch", "numpy"))
    return {
        "filterdb": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "machine": platform.machine(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
