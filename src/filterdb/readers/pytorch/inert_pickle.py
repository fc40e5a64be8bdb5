"""Pickle without its danger: a stream becomes a tree of inert objects, and nothing is called.

A pickle is a program that may name and call any function. This machine follows the program but
has no way to import or to call: a name becomes a :class:`Global`, a call an :class:`Opaque` that
remembers what would have been called and with what. Whoever reads the tree decides what the few
shapes that matter (an ordered dict, a tensor, a NumPy array) mean.

The standard library's unpickler is no base for this: it imports, it hashes whatever a file uses
as a key (a deeply nested tuple overflows the interpreter's stack), and its memo is an array that
one instruction can make 30 GB long.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.readers.pytorch.inert_objects import Global, Opaque, Persistent, Unhashable
from filterdb.readers.pytorch.pickle_text import quoted, text, text_of_python_2

MAX_INSTRUCTIONS = 2_000_000
"""Checkpoints of thousands of tensors take some hundred thousand."""
MAX_OBJECTS = 500_000
"""Calls that are remembered: a tensor takes three or four."""
MAX_LINE = 2**20
MAX_KEY = 2**63
HIGHEST_PROTOCOL = 5


@dataclass(slots=True)
class Budget:
    """What all the pickles of one file may still take together."""

    instructions: int = field(default_factory=lambda: MAX_INSTRUCTIONS)
    objects: int = field(default_factory=lambda: MAX_OBJECTS)


@dataclass(frozen=True, slots=True)
class Unpickled:
    """A stream, followed to its end.

    Attributes
    ----------
    value
        Plain scalars, tuples, lists (also for sets), dicts and the inert classes above.
    persistent
        Every reference to the outside, in order.
    end
        Offset of the first byte after the stream.
    """

    value: Any
    persistent: tuple[Persistent, ...]
    end: int


def unpickle(data: memoryview, start: int = 0, budget: Budget | None = None) -> Unpickled:
    """Follow one pickle stream of any protocol, running nothing.

    Parameters
    ----------
    data
        Bytes that hold the stream; more may follow it.
    start
        Offset of its first byte.
    budget
        Shared with the other pickles of the file, if it has several.

    Raises
    ------
    CorruptFileError
        The stream is cut short, or no sound pickle.
    LimitError
        It has more instructions, objects or text than any checkpoint.
    """
    machine = Machine(data, start, budget or Budget())
    try:
        return Unpickled(machine.run(), tuple(machine.persistent), machine.position)
    except ReadError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, struct.error) as error:
        at = machine.position
        msg = (
            f"Its pickle stream is damaged near byte {at:,} ({type(error).__name__}). "
            "Download or copy the file again."
        )
        raise CorruptFileError(msg) from error


def hashable(key: Any) -> Any:
    """The key itself if it is a scalar of bounded size, else a wrapper."""
    if isinstance(key, str | bytes | bool | float | Global) or key is None:
        return key
    return key if isinstance(key, int) and abs(key) < MAX_KEY else Unhashable(key)


class Machine:
    """The stack machine: a position, a stack, its marks and the memo."""

    def __init__(self, data: memoryview, start: int, budget: Budget) -> None:
        self.data = data
        self.position = start
        self.budget = budget
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.persistent: list[Persistent] = []

    def run(self) -> Any:
        """Execute to STOP."""
        data, size = self.data, len(self.data)
        for used in range(self.budget.instructions):
            if self.position >= size:
                raise cut_short()
            code = data[self.position]
            self.position += 1
            if code == STOP:
                self.budget.instructions -= used + 1
                return self.stack.pop()
            instruction = INSTRUCTIONS.get(code)
            if instruction is None:
                what = f"is no instruction of a checkpoint (byte 0x{code:02x})"
                msg = f"Its pickle stream {what} at {self.position - 1:,}: it was not read further."
                raise CorruptFileError(msg)
            instruction(self)
        raise beyond(limit=f"{MAX_INSTRUCTIONS:,} instructions")

    # Bytes of the stream

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        begin = self.position
        if not 0 <= count <= len(self.data) - begin:
            raise cut_short()
        self.position = begin + count
        return bytes(self.data[begin : self.position])

    def number(self, width: int, *, signed: bool = False) -> int:
        """The next ``width`` bytes as a little-endian integer."""
        return int.from_bytes(self.take(width), "little", signed=signed)

    def line(self) -> bytes:
        """Up to the next newline, which is passed over."""
        begin, length = self.position, 64
        while True:
            end = bytes(self.data[begin : begin + length]).find(b"\n")
            if end >= 0:
                self.position = begin + end + 1
                return bytes(self.data[begin : begin + end])
            if begin + length >= len(self.data) or length >= MAX_LINE:
                raise cut_short()
            length *= 8

    # The stack

    def push(self, value: Any) -> None:
        """Put one object on the stack."""
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        """Pop everything above the last mark."""
        begin = self.marks.pop()
        if begin > len(self.stack):
            msg = "stack below its mark"
            raise IndexError(msg)
        values = self.stack[begin:]
        del self.stack[begin:]
        return values

    def pop_many(self, count: int) -> tuple[Any, ...]:
        """Pop exactly ``count`` objects, the deepest first."""
        if len(self.stack) < count:
            msg = "stack too short"
            raise IndexError(msg)
        values = tuple(self.stack[-count:])
        del self.stack[-count:]
        return values

    # Instructions that are more than a line

    def drop(self) -> None:
        """POP: one object, or a mark that lies on top."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def remember(self, index: int) -> None:
        """Keep the top of the stack under a number; a huge number costs no more than a small."""
        if not 0 <= index < MAX_KEY:
            msg = "memo index out of range"
            raise ValueError(msg)
        self.memo[index] = self.stack[-1]

    def make_dict(self) -> None:
        """DICT: keys and values since the mark."""
        values = self.since_mark()
        self.push({})
        self.set_items(values)

    def set_items(self, values: list[Any]) -> None:
        """Put alternating keys and values into the dict (or the inert object) on the stack."""
        target = self.stack[-1]
        pairs = zip(values[::2], values[1::2], strict=True)
        if isinstance(target, Opaque):
            target.items.extend(pairs)
        elif isinstance(target, dict):
            for key, value in pairs:
                target[hashable(key)] = value
        else:
            msg = "items for something that has none"
            raise TypeError(msg)

    def extend(self, values: list[Any]) -> None:
        """Append to the list (or the inert object) on the stack."""
        target = self.stack[-1]
        if isinstance(target, Opaque):
            target.elements.extend(values)
        elif isinstance(target, list):
            target.extend(values)
        else:
            msg = "elements for something that has none"
            raise TypeError(msg)

    def put_together(self, function: object, args: tuple[Any, ...]) -> None:
        """Push a function or class with its arguments, left alone."""
        self.budget.objects -= 1
        if self.budget.objects < 0:
            raise beyond(limit=f"{MAX_OBJECTS:,} objects")
        self.push(Opaque(function, args))

    def call(self) -> None:
        """REDUCE, NEWOBJ: a function or class and its arguments."""
        function, args = self.pop_many(2)
        self.put_together(function, args if isinstance(args, tuple) else (args,))

    def call_with_keywords(self) -> None:
        """NEWOBJ_EX: as before, with the keywords as a last argument."""
        cls, args, keywords = self.pop_many(3)
        self.put_together(cls, (args, keywords))

    def instance(self) -> None:
        """INST: a class by name, arguments since the mark."""
        cls = self.name_from_lines()
        self.put_together(cls, tuple(self.since_mark()))

    def instance_of(self) -> None:
        """OBJ: a class and its arguments since the mark."""
        cls, *args = self.since_mark()
        self.put_together(cls, tuple(args))

    def build(self) -> None:
        """BUILD: a state for the object on the stack."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Opaque):
            self.stack[-1].state = state

    def name_from_lines(self) -> Global:
        """A module and a name, a line each."""
        return Global(self.line().decode(), self.line().decode())

    def name_from_stack(self) -> None:
        """STACK_GLOBAL: a module and a name that are on the stack."""
        module, name = self.pop_many(2)
        if not isinstance(module, str) or not isinstance(name, str):
            msg = "a name that is no text"
            raise TypeError(msg)
        self.push(Global(module, name))

    def refer(self, identity: object) -> None:
        """A persistent id."""
        reference = Persistent(identity)
        self.persistent.append(reference)
        self.push(reference)

    def protocol(self) -> None:
        """PROTO: refuse what is newer than this machine."""
        version = self.number(1)
        if version > HIGHEST_PROTOCOL:
            msg = f"Its pickle protocol {version} is newer than this program: update filterdb."
            raise CorruptFileError(msg)

    def integer_line(self) -> None:
        """INT: a decimal number, or a truth value as protocol 0 writes it."""
        text = self.line()
        self.push({b"00": False, b"01": True}[text] if text in (b"00", b"01") else int(text))


def cut_short() -> CorruptFileError:
    """The error for a stream that ends in the middle."""
    return CorruptFileError(
        "Its pickle stream ends in the middle: the file is cut short or damaged. "
        "Download or copy it again."
    )


def beyond(*, limit: str) -> LimitError:
    """The error for pickles that are larger than any checkpoint's."""
    return LimitError(f"Its pickle streams have more than {limit}: they were not followed.")


Instruction = Callable[[Machine], object]
STOP = ord(".")
INSTRUCTIONS: dict[int, Instruction] = {
    # the stack and the memo
    ord("("): lambda m: m.marks.append(len(m.stack)),
    ord("0"): Machine.drop,
    ord("1"): Machine.since_mark,
    ord("2"): lambda m: m.push(m.stack[-1]),
    ord("p"): lambda m: m.remember(int(m.line())),
    ord("q"): lambda m: m.remember(m.number(1)),
    ord("r"): lambda m: m.remember(m.number(4)),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("g"): lambda m: m.push(m.memo[int(m.line())]),
    ord("h"): lambda m: m.push(m.memo[m.number(1)]),
    ord("j"): lambda m: m.push(m.memo[m.number(4)]),
    # scalars
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.stack.append(True),
    0x89: lambda m: m.stack.append(False),
    ord("I"): Machine.integer_line,
    ord("J"): lambda m: m.push(m.number(4, signed=True)),
    ord("K"): lambda m: m.push(m.number(1)),
    ord("M"): lambda m: m.push(m.number(2)),
    ord("L"): lambda m: m.push(int(m.line().removesuffix(b"L"))),
    0x8A: lambda m: m.push(m.number(m.number(1), signed=True)),
    0x8B: lambda m: m.push(m.number(m.number(4), signed=True)),
    ord("F"): lambda m: m.push(float(m.line())),
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    # text and bytes
    ord("S"): lambda m: m.push(text_of_python_2(quoted(m.line()))),
    ord("T"): lambda m: m.push(text_of_python_2(m.take(m.number(4)))),
    ord("U"): lambda m: m.push(text_of_python_2(m.take(m.number(1)))),
    ord("V"): lambda m: m.push(m.line().decode("raw-unicode-escape")),
    ord("X"): lambda m: m.push(text(m.take(m.number(4)))),
    0x8C: lambda m: m.push(text(m.take(m.number(1)))),
    0x8D: lambda m: m.push(text(m.take(m.number(8)))),
    ord("B"): lambda m: m.push(m.take(m.number(4))),
    ord("C"): lambda m: m.push(m.take(m.number(1))),
    0x8E: lambda m: m.push(m.take(m.number(8))),
    0x96: lambda m: m.push(m.take(m.number(8))),
    # containers; a set becomes a list, because its members would have to be hashed
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.since_mark())),
    0x85: lambda m: m.push(m.pop_many(1)),
    0x86: lambda m: m.push(m.pop_many(2)),
    0x87: lambda m: m.push(m.pop_many(3)),
    ord("]"): lambda m: m.push([]),
    ord("l"): lambda m: m.push(m.since_mark()),
    ord("a"): lambda m: m.extend([m.stack.pop()]),
    ord("e"): lambda m: m.extend(m.since_mark()),
    ord("}"): lambda m: m.push({}),
    ord("d"): Machine.make_dict,
    ord("s"): lambda m: m.set_items(list(m.pop_many(2))),
    ord("u"): lambda m: m.set_items(m.since_mark()),
    0x8F: lambda m: m.push([]),
    0x90: lambda m: m.extend(m.since_mark()),
    0x91: lambda m: m.push(m.since_mark()),
    # names and calls: recorded, never followed
    ord("c"): lambda m: m.push(m.name_from_lines()),
    0x93: Machine.name_from_stack,
    ord("R"): Machine.call,
    0x81: Machine.call,
    0x92: Machine.call_with_keywords,
    ord("i"): Machine.instance,
    ord("o"): Machine.instance_of,
    ord("b"): Machine.build,
    ord("P"): lambda m: m.refer(m.line().decode()),
    ord("Q"): lambda m: m.refer(m.stack.pop()),
    # framing
    0x80: Machine.protocol,
    0x95: lambda m: m.take(8),
}
"""Every instruction of protocols 0 to 5 but EXT1, EXT2, EXT4 (a registry of the writer's own
process) and NEXT_BUFFER, READONLY_BUFFER (data that is not in the stream)."""
