"""What is known of a network by where it was fetched from: its address, its model card."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from filterdb.ingest.inferring import in_our_words
from filterdb.layer import Statement
from filterdb.remote.card import facts
from filterdb.remote.fetching import Fetched
from filterdb.store.catalogue import NewModel

ADDRESS, CARD = "the name it was fetched by", "the model card"


def with_origin(new: NewModel, origin: Fetched) -> NewModel:
    """A new model with the notes on its fetching, and what its origin says of it.

    The model card is fetched here, if it has not been before; one that is not to be had says
    nothing.
    """
    notes = json.dumps([*origin.notes, *json.loads(new.model["notes"])])
    said = [
        Statement("source_url", origin.url, ADDRESS),
        Statement("revision", origin.revision, ADDRESS),
        *(in_our_words(Statement(*fact, CARD)) for fact in facts(origin).items()),
    ]
    return replace(
        new, model={**new.model, "notes": notes}, statements=surest([*said, *new.statements])
    )


def surest(statements: Iterable[Statement]) -> tuple[Statement, ...]:
    """The first statement on each column."""
    found: dict[str, Statement] = {}
    for statement in statements:
        found.setdefault(statement.column, statement)
    return tuple(found.values())
