"""filterdb: a database of convolution filters, and a verdict on every layer.

>>> import filterdb                                  # doctest: +SKIP
>>> filterdb.check("resnet18.pth")                   # doctest: +SKIP
>>> filterdb.open("mydb").ingest(["models/"])        # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from filterdb._version import __version__

if TYPE_CHECKING:
    from filterdb import keys, torch
    from filterdb.checking import Check, LayerCheck, check
    from filterdb.comparing import Diff, LayerDiff, diff
    from filterdb.database import Database
    from filterdb.database import open_database as open  # noqa: A004
    from filterdb.errors import (
        CorruptFileError,
        DamagedStoreError,
        DatabaseNotFoundError,
        ExportError,
        FilterDBError,
        KeySetError,
        LimitError,
        MetadataError,
        MissingExtraError,
        ModelNotFoundError,
        NoConvolutionError,
        QueryError,
        ReadError,
        SchemaVersionError,
        StoreError,
        UnknownFormatError,
        UnsupportedFormatError,
    )
    from filterdb.layer import ConvLayer, ModelFile, Skipped
    from filterdb.population.nearest import Nearest
    from filterdb.population.population import Population
    from filterdb.population.preset import Scanning
    from filterdb.population.shift_matrix import ShiftMatrix
    from filterdb.population.shifting import shift_between
    from filterdb.reading import read
    from filterdb.stats.basis import Basis
    from filterdb.stats.verdict import Thresholds

# Public name -> the module that has it. Resolved at first use, so that `import filterdb` costs
# nothing but this file.
_HOME = {
    "Basis": "filterdb.stats.basis",
    "Check": "filterdb.checking",
    "ConvLayer": "filterdb.layer",
    "CorruptFileError": "filterdb.errors",
    "DamagedStoreError": "filterdb.errors",
    "Database": "filterdb.database",
    "DatabaseNotFoundError": "filterdb.errors",
    "Diff": "filterdb.comparing",
    "ExportError": "filterdb.errors",
    "KeySetError": "filterdb.errors",
    "FilterDBError": "filterdb.errors",
    "LayerCheck": "filterdb.checking",
    "LayerDiff": "filterdb.comparing",
    "LimitError": "filterdb.errors",
    "MetadataError": "filterdb.errors",
    "MissingExtraError": "filterdb.errors",
    "ModelFile": "filterdb.layer",
    "ModelNotFoundError": "filterdb.errors",
    "Nearest": "filterdb.population.nearest",
    "NoConvolutionError": "filterdb.errors",
    "Population": "filterdb.population.population",
    "QueryError": "filterdb.errors",
    "ReadError": "filterdb.errors",
    "Scanning": "filterdb.population.preset",
    "SchemaVersionError": "filterdb.errors",
    "ShiftMatrix": "filterdb.population.shift_matrix",
    "Skipped": "filterdb.layer",
    "StoreError": "filterdb.errors",
    "Thresholds": "filterdb.stats.verdict",
    "UnknownFormatError": "filterdb.errors",
    "UnsupportedFormatError": "filterdb.errors",
    "check": "filterdb.checking",
    "diff": "filterdb.comparing",
    "keys": "filterdb.keys",
    "open": "filterdb.database",
    "read": "filterdb.reading",
    "shift_between": "filterdb.population.shifting",
    "torch": "filterdb.torch",
}
_OTHER_NAME = {"open": "open_database"}
_PACKAGES = {"keys", "torch"}  # public as they are

__all__ = [
    "Basis",
    "Check",
    "ConvLayer",
    "CorruptFileError",
    "DamagedStoreError",
    "Database",
    "DatabaseNotFoundError",
    "Diff",
    "ExportError",
    "FilterDBError",
    "KeySetError",
    "LayerCheck",
    "LayerDiff",
    "LimitError",
    "MetadataError",
    "MissingExtraError",
    "ModelFile",
    "ModelNotFoundError",
    "Nearest",
    "NoConvolutionError",
    "Population",
    "QueryError",
    "ReadError",
    "Scanning",
    "SchemaVersionError",
    "ShiftMatrix",
    "Skipped",
    "StoreError",
    "Thresholds",
    "UnknownFormatError",
    "UnsupportedFormatError",
    "__version__",
    "check",
    "diff",
    "keys",
    "open",
    "read",
    "shift_between",
    "torch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    module = import_module(_HOME[name])
    value = module if name in _PACKAGES else getattr(module, _OTHER_NAME.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
