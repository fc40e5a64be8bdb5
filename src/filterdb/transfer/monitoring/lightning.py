"""The monitor as a callback of Lightning: needs ``lightning`` or ``pytorch-lightning``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from filterdb.errors import MissingExtraError
from filterdb.reading import Source
from filterdb.transfer.monitoring.monitor import Monitor
from filterdb.transfer.monitoring.record import Record
from filterdb.transfer.monitoring.sinks import Target, sinks_of

PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def callback_class() -> Any:
    """Lightning's ``Callback``: its two packages have one each, and the one in use is taken."""
    for name in sorted(PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return import_module(name).Callback
        except ModuleNotFoundError:
            continue
    msg = "LightningMonitor needs lightning. Install it with: pip install lightning"
    raise MissingExtraError(msg)


class LightningMonitor(callback_class()):  # type: ignore[misc]
    """Watches the network of a Lightning trainer: ``Trainer(callbacks=[LightningMonitor()])``.

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
        super().__init__()
        self.monitor: Monitor | None = None
        self._settings: dict[str, Any] = {"every": every, "to": sinks_of(to), "initial": initial}

    @property
    def records(self) -> list[Record]:
        """All records so far."""
        return self.monitor.records if self.monitor else []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin, or go on where the same module is trained again."""
        if trainer.is_global_zero and (self.monitor is None or self.monitor.model is not pl_module):
            self.monitor = Monitor(pl_module, epoch=trainer.current_epoch, **self._settings)

    def on_train_epoch_end(self, *_: Any) -> None:
        """Record the epoch."""
        if self.monitor:
            self.monitor.step()

    def on_train_end(self, *_: Any) -> None:
        """Record the last epoch in any case."""
        if self.monitor:
            self.monitor.finish()
