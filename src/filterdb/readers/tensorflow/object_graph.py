"""The objects that TensorFlow 2 writes into a checkpoint: whose variable is which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from filterdb.readers.tensorflow.message import Message

ATTRIBUTES = "/.ATTRIBUTES/"


@dataclass(frozen=True, slots=True)
class Objects:
    """What a checkpoint says of its variables.

    Attributes
    ----------
    names
        Key -> name of the variable in the program.
    slots
        Key of a variable of the optimiser -> key of the variable that it serves.
    keys
        Number of an object -> key of its value.
    """

    names: dict[str, str]
    slots: dict[str, str]
    keys: dict[int, str]

    @classmethod
    def of(cls, graph: Message | None) -> Objects:
        """Read a TrackableObjectGraph.

        Raises
        ------
        CorruptFileError
            It is no such message.
        """
        keys: dict[int, str] = {}
        names: dict[str, str] = {}
        slots: dict[str, str] = {}
        if graph is None:
            return cls(names, slots, keys)
        for number, node in enumerate(graph.messages(1)):
            for name, key in values(node):
                keys.setdefault(number, key)
                names[key] = name
        for node in graph.messages(1):
            for slot in node.messages(3):
                served, own = keys.get(slot.integer(1)), keys.get(slot.integer(3))
                if served and own:
                    slots[own] = served
        return cls(names, slots, keys)


def values(node: Message) -> Iterator[tuple[str, str]]:
    """Name and key of each value of an object."""
    for attribute in node.messages(2):
        yield attribute.text(2), attribute.text(3)


def plain(key: str) -> str:
    """A key without what TensorFlow adds to the path of the object."""
    return key.split(ATTRIBUTES)[0]
