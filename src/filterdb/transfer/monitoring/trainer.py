"""The monitor as a callback of the Hugging Face ``Trainer``: needs ``transformers``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from filterdb.errors import MissingExtraError
from filterdb.transfer.monitoring.watch import Watch


def callback_class() -> Any:
    """The class of the callbacks of transformers."""
    try:
        return import_module("transformers").TrainerCallback
    except ModuleNotFoundError as error:
        msg = "TrainerMonitor needs transformers. Install it with: pip install transformers"
        raise MissingExtraError(msg) from error


class TrainerMonitor(Watch, callback_class()):  # type: ignore[misc]
    """Watches the model of a ``transformers.Trainer``: ``Trainer(callbacks=[TrainerMonitor()])``.

    Parameters and attributes are those of :class:`~filterdb.transfer.monitoring.watch.Watch`.
    """

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **others: Any) -> None:
        """Begin to watch."""
        if state.is_world_process_zero:
            self.begin(others["model"], int(state.epoch or 0))

    def on_epoch_end(self, *_: Any, **_others: Any) -> None:
        """Record the epoch."""
        self.step()

    def on_train_end(self, *_: Any, **_others: Any) -> None:
        """Record the last epoch in any case."""
        self.finish()
