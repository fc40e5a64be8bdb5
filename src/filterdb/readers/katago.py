"""The KataGo reader: a gzipped network in text, or in text with its numbers in binary.

The file is a list of descriptions, each a name and the numbers that belong to it. How many
numbers there are tells what it is, whatever the version: a convolution has its kernel, channels
and dilation, then ``height * width * in * out`` weights in that order.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import CorruptFileError, LimitError
from filterdb.layer import Contents, Convolution, Norm, Skipped, Tensor
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.layer_graph import unique
from filterdb.readers.limits import allowed_bytes
from filterdb.readers.recognise.signatures import is_katago

FORMAT = Format(
    "katago",
    "KataGo network (txt.gz and bin.gz)",
    (".txt.gz", ".bin.gz"),
    reads="text and binary, whatever the version; dilation and norms",
)

MARK = b"@BIN@"
CONVOLUTION, NORM, MATRIX, BIAS = 6, 4, 2, 1
"""How many numbers stand before the weights of each."""
FREE = {"trunk": 0, "ordinary_block": 1, "dilated_block": 1, "gpool_block": 2,
        "nested_bottleneck_block": 0, "policyhead": 1000}  # fmt: skip
"""From these names on, how many convolutions do not feed the sum that runs through the trunk."""
MAX_LINE, CHUNK = 2**18, 2**20
MAX_ITEMS, MAX_LINES = 100_000, 500_000
MAX_HEADER = 64


@dataclass(slots=True)
class Item:
    """A description: its name, the numbers that open it, and the runs of weights."""

    name: str
    head: list[float] = field(default_factory=list)
    values: list[NDArray[np.float32]] = field(default_factory=list)

    def weights(self, opening: int) -> NDArray[np.float32]:
        """All numbers but the first few, in one run."""
        rest = np.array(self.head[opening:], np.float32)
        if not len(rest) and len(self.values) == 1:
            return self.values[0]
        return np.concatenate([rest, *self.values])

    def __len__(self) -> int:
        return len(self.head) + sum(map(len, self.values))


def matches(head: Head) -> bool:
    """A gzipped name and version, a line each, then the sizes of the board."""
    return is_katago(binary=False)(head) or is_katago(binary=True)(head)


def read(head: Head) -> Contents:
    """Unpack the file and sort its descriptions.

    Raises
    ------
    CorruptFileError
        It is cut short, or a convolution has not the numbers that its sizes need.
    LimitError
        It unpacks out of proportion to its size.
    """
    content = unpacked(head)
    lines = content[:MAX_LINE].split(b"\n", 2)
    if len(lines) < 3:
        raise damaged(what="it ends after its name")
    items = list(parse(content))
    tensors, skipped = convolutions(items)
    name = lines[0].decode("utf-8", "backslashreplace").strip()[:100]
    version = lines[1].decode("ascii", "backslashreplace").strip()[:10]
    note = f"KataGo network {name!r}, model version {version}."
    return Contents("katago", tensors, skipped, producer="katago", notes=(note,))


def unpacked(head: Head) -> bytes:
    """The content, bounded: weights hardly compress, and text becomes numbers of less room."""
    most = allowed_bytes(head.size) // 4
    kept = io.BytesIO()
    try:
        with gzip.open(head.path) as file:
            while chunk := file.read(CHUNK):
                kept.write(chunk)
                if kept.tell() > most:
                    msg = (
                        f"It unpacks to more than {most:,} bytes from {head.size:,}: that is out "
                        "of proportion, so it was not read."
                    )
                    raise LimitError(msg)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(what=f"it cannot be unpacked ({error})") from error
    return kept.getvalue()


def parse(content: bytes) -> Iterator[Item]:
    """The descriptions, in order."""
    item: Item | None = None
    position = count = lines = 0
    while position < len(content):
        end = content.find(b"\n", position)
        end = len(content) if end < 0 else end
        mark = content.find(MARK, position, min(end, position + MAX_LINE))
        if mark >= 0 and item is not None:
            read_numbers(item, content[position:mark])
            needed = 4 * binary_count(item)
            position = mark + len(MARK) + needed
            if position > len(content):
                raise damaged(what=f"the weights of {item.name!r} are cut short")
            item.values.append(np.frombuffer(content, "<f4", needed // 4, position - needed))
            continue
        line = content[position:end].strip()
        position = end + 1
        if item is not None and is_number(line[:MAX_HEADER]):
            lines += 1
            if lines > MAX_LINES:
                msg = f"It has more than {MAX_LINES:,} lines of numbers, as no network does."
                raise LimitError(msg)
            read_numbers(item, line)
        elif line:
            if item is not None:
                yield item
            count += 1
            if count > MAX_ITEMS:
                msg = f"It has more than {MAX_ITEMS:,} parts, as no network does: not read."
                raise LimitError(msg)
            item = Item(line[:200].decode("utf-8", "backslashreplace"))
    if item is not None:
        yield item


def read_numbers(item: Item, line: bytes) -> None:
    """Put the numbers of a line to those that open a description, or to its weights."""
    for piece in pieces(line):
        words = piece.split() if len(piece) < MAX_HEADER else []
        if len(words) == 1 and len(item.head) < CONVOLUTION and not item.values:
            item.head.append(number(words[0]))
            continue
        try:
            found = np.array(piece.split(), np.float64).astype(np.float32)
        except ValueError as error:
            raise damaged(what=f"{item.name!r} has a number that is none") from error
        if len(found):
            item.values.append(found)


def pieces(line: bytes) -> Iterator[bytes]:
    """A line in runs of whole words, so that a long one takes no more memory than a short."""
    position = 0
    while position < len(line):
        end = min(position + MAX_LINE, len(line))
        while end < len(line) and line[end] not in b" \t\r" and end - position < 2 * MAX_LINE:
            end += 1
        yield line[position:end]
        position = end


def is_number(line: bytes) -> bool:
    """Whether a line begins with a number, and not with a name."""
    try:
        float(line.split(None, 1)[0])
    except (ValueError, IndexError):
        return False
    return True


def number(word: bytes) -> float:
    """One number."""
    try:
        return float(word)
    except ValueError as error:
        raise damaged(what=f"{word[:20]!r} is no number") from error


def binary_count(item: Item) -> int:
    """How many numbers stand in binary behind the ones that open a description."""
    sizes = [int(value) if np.isfinite(value) else -1 for value in item.head]
    count = -1
    if len(sizes) == CONVOLUTION:
        count = prod(sizes[:4])
    elif len(sizes) == NORM:
        count = sizes[0]
    elif len(sizes) in (MATRIX, BIAS):
        count = prod(sizes)
    if not 0 <= count < 2**40 or min(sizes) < 0:
        raise damaged(what=f"how many weights {item.name!r} has is not known")
    return count


def kind_of(item: Item) -> int:
    """What a description is, by how many numbers it has: the count that opens it, or 0."""
    head, count = item.head, len(item)
    if not np.isfinite(head).all():
        return 0
    whole = [value == int(value) and value >= 0 for value in head]
    if len(head) == CONVOLUTION and all(whole) and count == CONVOLUTION + prod(map(int, head[:4])):
        return CONVOLUTION
    options = head[2:NORM]
    if len(head) >= NORM and whole[0] and set(options) <= {0, 1} and (
        count == NORM + int(head[0]) * int(2 + sum(options))
    ):  # fmt: skip
        return NORM
    if len(head) >= MATRIX and all(whole[:2]) and count == MATRIX + int(head[0] * head[1]):
        return MATRIX
    return BIAS if head and whole[0] and count == BIAS + int(head[0]) else 0


def convolutions(items: list[Item]) -> tuple[tuple[Tensor, ...], tuple[Skipped, ...]]:
    """Every convolution as a tensor, in the order of the file."""
    kinds = [kind_of(item) for item in items]
    names = unique(item.name for item in items)
    free = normalised(items, kinds)
    tensors: list[Tensor] = []
    skipped: list[Skipped] = []
    for index, (item, kind) in enumerate(zip(items, kinds, strict=True)):
        if kind == CONVOLUTION and len(item) > CONVOLUTION:
            height, width, into, out, *dilation = map(int, item.head)
            norm = norm_after(items, kinds, index, out) if index in free else None
            conv = Convolution(
                groups=1,
                stride=(1, 1),
                dilation=(dilation[0], dilation[1]),
                state="raw" if norm else "no_norm",
                evidence=(
                    f"followed by batch normalisation {norm.name}"
                    if norm
                    else "the file has every normalisation, and none follows it at once"
                ),
                norm=norm,
            )
            load = partial(load_weight, item, (height, width, into, out))
            tensors.append(Tensor(names[index], (out, into, height, width), "float32", load, conv))
        elif kind == MATRIX:
            skipped.append(Skipped(names[index], "a matrix: fully connected, without filters"))
        elif kind == 0 and len(item) > MAX_HEADER:
            reason = f"its {len(item):,} numbers are of no layer that is known"
            skipped.append(Skipped(names[index], reason))
    return tuple(tensors), tuple(skipped)


def normalised(items: list[Item], kinds: list[int]) -> set[int]:
    """The convolutions whose output is no sum: all in the heads, in a block all but the last.

    The last convolution of a block, and the first of the trunk, feed the sum that runs through
    the network; the norm that comes next in the file is that of the sum.
    """
    found: set[int] = set()
    left = 0
    for index, item in enumerate(items):
        left = FREE.get(item.name, left)
        if kinds[index] == CONVOLUTION and left > 0:
            left -= 1
            found.add(index)
    return found


def norm_after(items: list[Item], kinds: list[int], index: int, channels: int) -> Norm | None:
    """The normalisation of a convolution's output, if one follows at once.

    Where a second convolution stands between, it feeds global pooling: its own normalisation and
    a matrix come first, whose result is added to the first one's output before that is normalised.
    """
    after = [i for i in range(index + 1, min(index + 8, len(items))) if kinds[i]]
    pattern = [kinds[i] for i in after]
    at = 0
    if pattern[:1] == [CONVOLUTION] and pattern[1:4] == [NORM, MATRIX, NORM]:
        at = 3
    if pattern[at : at + 1] != [NORM] or items[after[at]].head[0] != channels:
        return None
    norm = items[after[at]]
    return Norm(norm.name, partial(norm_scale, norm))


def norm_scale(item: Item) -> NDArray[np.float64]:
    """``gamma / sqrt(variance + epsilon)``; the variance stands after the mean."""
    count, epsilon, has_scale = int(item.head[0]), item.head[1], bool(item.head[2])
    rest = item.weights(NORM).astype(np.float64)
    scale = rest[2 * count : 3 * count] if has_scale else np.ones(count)
    with np.errstate(all="ignore"):
        result: NDArray[np.float64] = scale / np.sqrt(rest[count : 2 * count] + epsilon)
    return result


def load_weight(item: Item, shape: tuple[int, ...]) -> NDArray[Any]:
    """The weights, from (height, width, in, out) to (out, in, height, width)."""
    weights = item.weights(CONVOLUTION).reshape(shape)
    return np.ascontiguousarray(weights.transpose(3, 2, 0, 1))


def damaged(*, what: str) -> CorruptFileError:
    """The error for a network that is not whole."""
    return CorruptFileError(f"The network is damaged: {what}. Download or copy the file again.")
