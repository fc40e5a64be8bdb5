"""Networks from elsewhere: the user's own function, and timm."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from filterdb.errors import MissingExtraError, TransferError


def own(name: str, *, classes: int, channels: int, size: int, **arguments: Any) -> nn.Module:
    """Call the user's own ``module:function`` with ``classes=``, ``channels=`` and what is given.

    The module is looked for in the current folder too, and its code runs: that is the point. The
    function gets ``size=`` as well if it has a parameter of that name.

    Raises
    ------
    TransferError
        There is no such module or function, it fails, or what it returns is no module.
    """
    module, _, function = name.partition(":")
    with _current_folder():
        make = _function(module, function)
        given = {"classes": classes, "channels": channels, **arguments}
        signature = inspect.signature(make)
        if "size" in signature.parameters:
            given.setdefault("size", size)
        try:
            signature.bind(**given)
        except TypeError as error:
            msg = (
                f"{name} cannot be called with {', '.join(f'{key}=' for key in given)}: {error}. "
                f"It is {function}{signature}."
            )
            raise TransferError(msg) from error
        try:
            model = make(**given)
        except Exception as error:
            msg = f"{name} failed with {type(error).__name__}: {error}"
            raise TransferError(msg) from error
    if not isinstance(model, nn.Module):
        msg = (
            f"{name} returned {_article(type(model).__name__)}, and not a torch.nn.Module: "
            "let it return the network itself."
        )
        raise TransferError(msg)
    return model


def from_timm(name: str, *, classes: int, channels: int, **arguments: Any) -> nn.Module:
    """A network of timm; without its trained weights unless ``pretrained=True`` is given.

    Raises
    ------
    MissingExtraError
        timm is not installed.
    TransferError
        timm has no such network, or does not make it with these arguments.
    """
    try:
        timm = import_module("timm")
    except ImportError as error:
        msg = f"The network timm:{name} needs timm. Install it with: pip install timm"
        raise MissingExtraError(msg) from error
    except Exception as error:
        msg = f"timm is installed, but cannot be imported: {type(error).__name__}: {error}"
        raise TransferError(msg) from error
    if not timm.is_model(name):
        close = get_close_matches(name, timm.list_models(), n=3)
        nearest = f" The nearest are {', '.join(close)}." if close else ""
        msg = f"timm has no network {name!r}.{nearest} timm.list_models() has them all."
        raise TransferError(msg)
    try:
        model = timm.create_model(name, num_classes=classes, in_chans=channels, **arguments)
    except Exception as error:
        msg = f"timm did not make {name!r}: {type(error).__name__}: {error}"
        raise TransferError(msg) from error
    assert isinstance(model, nn.Module)  # noqa: S101 - what create_model is for
    return model


def _function(module: str, function: str) -> Callable[..., Any]:
    """Import a function by name."""
    try:
        home = import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module.split(".")[0]:
            msg = (
                f"There is no module {module!r} for the network {module}:{function}. It is looked "
                f"for where Python looks, and in the current folder, {Path.cwd()}."
            )
        else:
            msg = f"The module {module!r} cannot be imported: {type(error).__name__}: {error}"
        raise TransferError(msg) from error
    found = getattr(home, function, None)
    if not callable(found):
        callables = [key for key, value in vars(home).items()
                     if callable(value) and not key.startswith("_")]  # fmt: skip
        has = f"It has {', '.join(callables)}." if callables else "It has none."
        msg = f"The module {module!r} has no function {function!r}. {has}"
        raise TransferError(msg)
    make: Callable[..., Any] = found
    return make


@contextmanager
def _current_folder() -> Iterator[None]:
    """Let modules of the current folder be found, as ``python -m`` does, after all others."""
    folder = str(Path.cwd())
    sys.path.append(folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOUaeiou' else 'a'} {noun}"
