"""Optional dependencies: imported where they are used, and missed with the line that helps."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from filterdb.errors import MissingExtraError

if TYPE_CHECKING:
    import pandas as pd


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional dependency.

    Raises
    ------
    MissingExtraError
        It is not installed; the message has the line that installs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        msg = f"This needs {module}. Install it with: pip install 'filterdb[{extra}]'"
        raise MissingExtraError(msg) from error


def data_frame(data: Any, **labels: Any) -> pd.DataFrame:
    """Rows, or an array, as pandas has them.

    Raises
    ------
    MissingExtraError
        pandas is not installed.
    """
    frame: pd.DataFrame = require("pandas", extra="pandas").DataFrame(data, **labels)
    return frame
