"""The monitor as a callback of the Hugging Face ``Trainer``: needs ``transformers``."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from filterdb.errors import MissingExtraError
from filterdb.reading import Source
from filterdb.transfer.monitoring.monitor import Monitor
from filterdb.transfer.monitoring.record import Record
from filterdb.transfer.monitoring.sinks import Target, sinks_of


def callback_class() -> Any:
    """The class of the callbacks of transformers."""
    try:
        return import_module("transformers").TrainerCallback
    except ModuleNotFoundError as error:
        msg = "TrainerMonitor needs transformers. Install it with: pip install transformers"
        raise MissingExtraError(msg) from error


class TrainerMonitor(callback_class()):  # type: ignore[misc]
    """Watches the model of a ``transformers.Trainer``: ``Trainer(callbacks=[TrainerMonitor()])``.

    The watch begins when the training does, once a checkpoint is loaded, and records on the first
    process alone.

    Parameters
    ----------
    every, to, initial
        As of :class:`~filterdb.transfer.monitoring.monitor.Monitor`.

    Attributes
    ----------
    monitor
        The :class:`~filterdb.transfer.monitoring.monitor.Monitor`; None before the training.
    """

    def __init__(
        self,
        *,
        every: int = 1,
        to: Target | Iterable[Target] = (),
        initial: Source | None = None,
    ) -> None:
        self.monitor: Monitor | None = None
        self._settings: dict[str, Any] = {"every": every, "to": sinks_of(to), "initial": initial}

    @property
    def records(self) -> list[Record]:
        """All records so far."""
        return self.monitor.records if self.monitor else []

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **others: Any) -> None:
        """Begin, or go on where the same model is trained again."""
        model = others["model"]
        again = self.monitor is not None and self.monitor.model is model
        if state.is_world_process_zero and not again:
            self.monitor = Monitor(model, epoch=int(state.epoch or 0), **self._settings)

    def on_epoch_end(self, *_: Any, **_others: Any) -> None:
        """Record the epoch."""
        if self.monitor:
            self.monitor.step()

    def on_train_end(self, *_: Any, **_others: Any) -> None:
        """Record the last epoch in any case."""
        if self.monitor:
            self.monitor.finish()
