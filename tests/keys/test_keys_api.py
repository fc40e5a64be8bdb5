"""The public names of ``filterdb.keys``: there, callable, and not hidden by a module."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import filterdb
from filterdb import keys


def test_every_name_is_there() -> None:
    assert (
        keys.__all__ == dir(keys) == sorted(keys.__all__, key=lambda name: (name.islower(), name))
    )
    for name in keys.__all__:
        found = getattr(keys, name)
        assert callable(found)
        assert not isinstance(found, ModuleType)
    assert filterdb.keys is keys
    with pytest.raises(AttributeError, match="nothing"):
        _ = keys.nothing


def test_no_module_hides_a_name_once_all_are_imported() -> None:
    code = (
        "import pkgutil, importlib, filterdb.keys as keys;"
        "found = pkgutil.walk_packages(keys.__path__, 'filterdb.keys.');"
        "[importlib.import_module(module.name) for module in found];"
        "assert all(map(callable, (getattr(keys, name) for name in keys.__all__)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_torch_is_imported_only_to_be_used() -> None:
    code = (
        "import sys, filterdb; filterdb.keys.load('published8'); filterdb.keys.find;"
        "assert 'torch' not in sys.modules and 'onnx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_torch_all_is_there_until_it_is_used() -> None:
    code = """
import inspect, sys
sys.modules["torch"] = None
from filterdb import keys
from filterdb.errors import MissingExtraError
from filterdb.keys import *
assert hasattr(keys, "initialise") and dict(inspect.getmembers(keys))["initialise"] is initialise
assert "bias" in inspect.signature(initialise).parameters and "freeze" in initialise.__doc__
try:
    keys.initialise(None)
except MissingExtraError as error:
    assert "pip install 'filterdb[torch]'" in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)
