"""The nodes and functions of a GraphDef, as they stand in the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from filterdb.errors import CorruptFileError
from filterdb.readers.tensorflow.message import AGAIN, Message

NodeAttributes = dict[str, Message]


@dataclass(frozen=True)
class NodeDef:
    """One operator: its inputs as written, its attributes unread."""

    name: str
    op: str
    inputs: tuple[str, ...]
    message: Message = field(repr=False)

    @classmethod
    def of(cls, message: Message) -> NodeDef:
        """Read a NodeDef. Inputs that only order the execution are left out."""
        inputs = (text for text in message.texts(3) if not text.startswith("^"))
        # Its fields are forgotten until an attribute is asked for: there may be many nodes.
        unread = Message(message.source, message.begin, message.end)
        return cls(message.text(1), message.text(2), tuple(inputs), unread)

    @cached_property
    def attributes(self) -> NodeAttributes:
        """Name -> AttrValue."""
        return self.message.entries(5)

    def attribute(self, name: str) -> Message:
        """An AttrValue; an empty one where there is none."""
        return self.attributes.get(name, Message(self.message.source, 0, 0))

    def text(self, name: str) -> str:
        """An attribute that is text."""
        return self.attribute(name).text(2)

    def texts(self, name: str) -> list[str]:
        """An attribute that is a list of texts."""
        return self.attribute(name).message(1).texts(2)

    def integers(self, name: str) -> list[int]:
        """An attribute that is a list of integers."""
        return self.attribute(name).message(1).integers(3)

    def integer(self, name: str, default: int) -> int:
        """An attribute that is an integer."""
        return self.attribute(name).integer(3, default)

    def function(self, name: str) -> str:
        """An attribute that is a function: its name."""
        return self.attribute(name).message(10).text(1)


@dataclass(frozen=True)
class Function:
    """A function of the library.

    Attributes
    ----------
    name, inputs, outputs
        Of its signature.
    results
        Output -> the value that it is, as written.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    message: Message = field(repr=False)

    @classmethod
    def of(cls, message: Message) -> Function:
        """Read the signature of a FunctionDef."""
        signature = message.message(1)
        inputs, outputs = (
            tuple(argument.text(1) for argument in signature.messages(n)) for n in (2, 3)
        )
        return cls(signature.text(1), inputs, outputs, message)

    @cached_property
    def nodes(self) -> list[NodeDef]:
        """Its body."""
        return [NodeDef.of(message) for message in self.message.messages(3)]

    @cached_property
    def results(self) -> dict[str, str]:
        """Output -> the value that it is, as written."""
        return {entry.text(1): entry.text(2) for entry in self.message.messages(4)}


@dataclass(frozen=True)
class GraphDef:
    """The nodes of a graph, and the functions that they may call."""

    nodes: list[NodeDef]
    functions: dict[str, Function]

    @classmethod
    def of(cls, message: Message) -> GraphDef:
        """Read a GraphDef.

        Raises
        ------
        CorruptFileError
            It is no message, or two nodes have one name.
        LimitError
            It has more fields than any network.
        """
        nodes = [NodeDef.of(node) for node in message.messages(1)]
        if len({node.name for node in nodes}) != len(nodes):
            msg = f"Two nodes of its graph have the same name. {AGAIN}"
            raise CorruptFileError(msg)
        library = (Function.of(function) for function in message.message(2).messages(1))
        return cls(nodes, {function.name: function for function in library})
