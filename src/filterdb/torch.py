"""For whoever trains with PyTorch: watch the filters of a network while it learns.

>>> from filterdb.torch import Monitor                                     # doctest: +SKIP
>>> monitor = Monitor(network, every=1, to=["filters.csv"])                # doctest: +SKIP
>>> for epoch in range(epochs):                                            # doctest: +SKIP
...     train_one_epoch(network)
...     monitor.step()

``LightningMonitor`` and ``TrainerMonitor`` are the same as callbacks of Lightning and of the
Hugging Face ``Trainer``. Importing this needs none of them, nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from filterdb.extras import require

if TYPE_CHECKING:
    from filterdb.transfer.monitoring.lightning import LightningMonitor
    from filterdb.transfer.monitoring.monitor import Monitor
    from filterdb.transfer.monitoring.record import Record
    from filterdb.transfer.monitoring.trainer import TrainerMonitor

# Public name -> the module that has it.
_HOME = {
    "LightningMonitor": "lightning",
    "Monitor": "monitor",
    "Record": "record",
    "TrainerMonitor": "trainer",
}

__all__ = ["LightningMonitor", "Monitor", "Record", "TrainerMonitor"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    require("torch", extra="torch")
    module = import_module(f"filterdb.transfer.monitoring.{_HOME[name]}")
    globals()[name] = value = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return __all__
