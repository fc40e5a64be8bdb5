"""Master key filters: the few spatial filters that depthwise layers are affine copies of.

>>> from filterdb import keys                                              # doctest: +SKIP
>>> keys.load("published8")                                                # doctest: +SKIP
>>> keys.find(filterdb.open("mydb").select(kernel=(3, 3)))                 # doctest: +SKIP
>>> keys.initialise(network, keys="published8", bias="per-channel")        # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filterdb.keys.equivalence import Equivalence
    from filterdb.keys.fit import Fit, fit_keys
    from filterdb.keys.key_set import KeyName, KeySet
    from filterdb.keys.labels.labelling import label, label_filters
    from filterdb.keys.labels.labels import Labels
    from filterdb.keys.labels.stored_labels import labels_of_layer, read_labels
    from filterdb.keys.naming.naming import analytic
    from filterdb.keys.naming.naming import name_keys as name
    from filterdb.keys.replacing.replacing import replace
    from filterdb.keys.search.finding import find
    from filterdb.keys.search.found import FoundKeys
    from filterdb.keys.search.settings import Settings
    from filterdb.keys.sets.set_file import load_keys as load
    from filterdb.keys.sets.set_file import save_keys as save
    from filterdb.keys.sets.set_file import shipped
    from filterdb.keys.torch.initialising import initialise

# Public name -> module, and the name there where it is another.
_HOME = {
    "Equivalence": ("equivalence", "Equivalence"),
    "Fit": ("fit", "Fit"),
    "FoundKeys": ("search.found", "FoundKeys"),
    "KeyName": ("key_set", "KeyName"),
    "KeySet": ("key_set", "KeySet"),
    "Labels": ("labels.labels", "Labels"),
    "Settings": ("search.settings", "Settings"),
    "analytic": ("naming.naming", "analytic"),
    "find": ("search.finding", "find"),
    "fit_keys": ("fit", "fit_keys"),
    "initialise": ("torch.initialising", "initialise"),
    "label_filters": ("labels.labelling", "label_filters"),
    "label": ("labels.labelling", "label"),
    "load": ("sets.set_file", "load_keys"),
    "labels_of_layer": ("labels.stored_labels", "labels_of_layer"),
    "name": ("naming.naming", "name_keys"),
    "read_labels": ("labels.stored_labels", "read_labels"),
    "replace": ("replacing.replacing", "replace"),
    "save": ("sets.set_file", "save_keys"),
    "shipped": ("sets.set_file", "shipped"),
}

__all__ = [
    "Equivalence",
    "Fit",
    "FoundKeys",
    "KeyName",
    "KeySet",
    "Labels",
    "Settings",
    "analytic",
    "find",
    "fit_keys",
    "initialise",
    "label",
    "label_filters",
    "labels_of_layer",
    "load",
    "name",
    "read_labels",
    "replace",
    "save",
    "shipped",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    module, own = _HOME[name]
    return getattr(import_module(f"{__name__}.{module}"), own)


def __dir__() -> list[str]:
    return __all__
