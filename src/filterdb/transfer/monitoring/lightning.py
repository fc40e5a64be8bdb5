"""The monitor as a callback of Lightning: needs ``lightning`` or ``pytorch-lightning``."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from filterdb.errors import MissingExtraError
from filterdb.transfer.monitoring.watch import Watch

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


class LightningMonitor(Watch, callback_class()):  # type: ignore[misc]
    """Watches the network of a Lightning trainer: ``Trainer(callbacks=[LightningMonitor()])``.

    Parameters and attributes are those of :class:`~filterdb.transfer.monitoring.watch.Watch`.
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch."""
        if trainer.is_global_zero:
            self.begin(pl_module, trainer.current_epoch)

    def on_train_epoch_end(self, *_: Any) -> None:
        """Record the epoch."""
        self.step()

    def on_train_end(self, *_: Any) -> None:
        """Record the last epoch in any case."""
        self.finish()
