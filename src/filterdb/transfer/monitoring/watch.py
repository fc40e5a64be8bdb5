"""What the callbacks of other packages' training loops have in common. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from filterdb.reading import Source
from filterdb.transfer.monitoring.monitor import Monitor
from filterdb.transfer.monitoring.record import Record
from filterdb.transfer.monitoring.sinks import Target, sinks_of


class Watch:
    """Makes a monitor when the training begins, once a checkpoint is loaded.

    It records on the first process alone.

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

    def begin(self, model: Any, epoch: int) -> None:
        """Begin, or go on where the same model is trained again."""
        if self.monitor is None or self.monitor.model is not model:
            self.monitor = Monitor(model, epoch=epoch, **self._settings)

    def step(self) -> None:
        """Record the epoch."""
        if self.monitor:
            self.monitor.step()

    def finish(self) -> None:
        """Record the last epoch in any case."""
        if self.monitor:
            self.monitor.finish()
