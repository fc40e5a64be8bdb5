"""What a Keras model's configuration says of its name and of its training."""

from __future__ import annotations

import json
import re
from typing import Any

from filterdb.layer import Statement
from filterdb.readers.limits import MAX_JSON
from filterdb.readers.statements import statements_in

UNNAMED = re.compile(r"(model|sequential|functional)(_\d+)?")
"""What Keras calls a model that nobody named."""


def statements_of(config: object, training: object) -> tuple[Statement, ...]:
    """The model's name, unless Keras gave it, and the loss and the optimiser of its training.

    Parameters
    ----------
    config
        ``model_config``, JSON.
    training
        ``training_config``, JSON; in a Keras archive it is a part of ``config``.
    """
    model, trained = parsed(config), parsed(training)
    inner = model.get("config")
    name = inner.get("name") if isinstance(inner, dict) else None
    trained = trained or as_dict(model.get("compile_config"))
    optimiser = trained.get("optimizer_config", trained.get("optimizer"))
    pairs = [("loss", class_of(trained.get("loss"))), ("optimizer", class_of(optimiser))]
    if isinstance(name, str) and not UNNAMED.fullmatch(name):
        pairs.append(("architecture", name))
    return statements_in(pairs, "the model's configuration")


def parsed(text: object) -> dict[str, Any]:
    """A JSON object; empty for anything else."""
    if not isinstance(text, str) or len(text) > MAX_JSON:
        return {}
    try:
        return as_dict(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def as_dict(value: object) -> dict[str, Any]:
    """A dict; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def class_of(value: object) -> object:
    """The name of what Keras writes as a name or as a class with its settings."""
    return value.get("class_name") if isinstance(value, dict) else value
