"""Optional dependencies: imported where they are used, and missed with the line that helps."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from filterdb.errors import MissingExtraError


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
