"""The reader of archives: the network inside, whichever readable format it has.

Formats that are themselves archives (PyTorch, NumPy, Keras) come before it and are never
unpacked. One layer of packing is opened (``.tar.gz`` counts as one). Where there are several
networks, the one with the most convolution filters is taken and the others are named.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from filterdb.errors import NoConvolutionError, ReadError, as_read_error
from filterdb.layer import Contents, Convolution, Loader, Skipped, Tensor
from filterdb.readers.archives.members import (
    Container,
    container_of,
    members,
    while_unpacking,
)
from filterdb.readers.archives.unpacked import Unpacked, is_wanted
from filterdb.readers.format import Format, Reader
from filterdb.readers.head import HEAD_BYTES, Head
from filterdb.readers.limits import shortened
from filterdb.readers.registry import READERS, load_reader

FORMAT = Format(
    "archive",
    "ZIP, tar or gzip archive with one of these in it",
    (".zip", ".tar", ".tar.gz", ".tgz", ".gz"),
    reads="one layer of packing, within limits; its largest network where there are several",
)
OWN = "archives.archive"
MOST_LOOKED_AT = 200
MOST_NETWORKS = 50
PEEKED_BYTES = 2**28
"""How much of an archive is unpacked to see whether it holds a network at all."""
BEGINNING = 2**18
OF_ANYTHING = frozenset({".bin", ".json", ".xml", ".txt", ".tar", ".gz", ".zip", ".pkl", ".cfg",
                         ".npy", ".txt.gz", ".bin.gz", ".pickle", ".index"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Network:
    """A network in an archive."""

    name: str
    contents: Contents

    @property
    def n_filters(self) -> int:
        """Number of 2-D filters, as far as shapes tell."""
        return sum(prod(t.shape[:2]) for t in self.contents.tensors if len(t.shape) == 4)


def matches(head: Head) -> bool:
    """An archive, of no format of its own, with a member that begins like a network."""
    container = container_of(head)
    if container is None or reader_of(head) is not None:
        return False
    try:
        with tempfile.TemporaryDirectory(prefix="filterdb-") as folder:
            return any(promising(head, container, Path(folder)))
    except ReadError:
        return False


def reader_of(head: Head) -> Reader | None:
    """The reader for what is no archive; None where there is none, or it cannot be looked at."""
    try:
        readers = (load_reader(module) for module in READERS if module != OWN)
        return next((reader for reader in readers if reader.matches(head)), None)
    except ReadError:
        return None


def promising(head: Head, container: Container, folder: Path) -> Iterator[bool]:
    """Whether each of the first members is named or begins like a network."""
    names = telling_suffixes()
    wanted = (
        member
        for member in members(head, container, most=PEEKED_BYTES)
        if member.path is not None and member.content is not None and is_wanted(member.path)
    )
    for number, member in enumerate(islice(wanted, MOST_LOOKED_AT)):
        if member.path is None or member.content is None:
            continue
        with while_unpacking():
            start = member.content.read(BEGINNING)
        beginning = folder / f"{number}"
        beginning.write_bytes(start)
        # Not every format can be told from its beginning.
        yield bool(start) and (
            member.path.suffix in names
            or reader_of(Head(beginning, len(start), start[:HEAD_BYTES])) is not None
        )


def telling_suffixes() -> frozenset[str]:
    """Usual suffixes of the formats that can be read, but for those of other files, too."""
    formats = (load_reader(module).FORMAT for module in READERS if module != OWN)
    return frozenset(suffix for known in formats for suffix in known.suffixes) - OF_ANYTHING


def read(head: Head) -> Contents:
    """Unpack an archive, and read the network with the most filters in it.

    The folder that it is unpacked into is private, and goes with the last of the tensors.

    Raises
    ------
    CorruptFileError
        The archive, or the only network in it, is damaged.
    LimitError
        It unfolds out of proportion.
    NoConvolutionError
        No member is a network.
    """
    container = container_of(head) or "ZIP"
    unpacked = Unpacked.of(head, container)
    networks: list[Network] = []
    failed: list[tuple[str, ReadError]] = []
    for path, reader in islice(found_in(unpacked.folder), MOST_NETWORKS):
        name = path.relative_to(unpacked.folder).as_posix()
        name = "the top folder" if name == "." else name
        try:
            networks.append(Network(name, reader.read(Head.of(path))))
        except Exception as error:
            failed.append((name, as_read_error(error)))
    if not networks:
        if failed:
            name, reason = failed[0]
            msg = f"Its member {shortened(name)!r}: {reason.message}"
            raise type(reason)(msg).at(layer=reason.layer) from reason
        msg = "No member of the archive is a network that can be read. Unpack it to look inside."
        raise NoConvolutionError(msg)
    taken = max(networks, key=lambda one: one.n_filters)
    others = [one for one in networks if one is not taken]
    skipped = [
        Skipped(one.name, f"another network of {one.n_filters:,} filters in the archive")
        for one in others
    ]
    skipped += [Skipped(name, shortened(error.reason)) for name, error in failed]
    return held(taken, unpacked, container, [*skipped, *unpacked.skipped])


def found_in(folder: Path) -> Iterator[tuple[Path, Reader]]:
    """The networks below a folder, in the order of their paths; a folder may be one itself."""
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        if path.is_dir():
            # The folder of the archive itself is one that only holds networks.
            reader = reader_of(Head.of(path))
            if reader is not None:
                yield path, reader
            else:
                waiting += sorted(path.iterdir(), reverse=True)
        else:
            reader = reader_of(Head.of(path))
            if reader is not None:
                yield path, reader


def held(
    network: Network, unpacked: Unpacked, container: Container, skipped: list[Skipped]
) -> Contents:
    """The contents of a network whose tensors keep the folder that they are read from."""
    contents = network.contents
    note = f"Read from {shortened(network.name)} in the {container} archive"
    rest = [item.name for item in skipped if "another network" in item.reason]
    if rest:
        shown = ", ".join(map(shortened, rest[:5])) + (
            f" and {len(rest) - 5} more" if rest[5:] else ""
        )
        note += f", which has the most filters of its networks; not from {shown}"
    return replace(
        contents,
        tensors=tuple(keeping(tensor, unpacked) for tensor in contents.tensors),
        skipped=(*contents.skipped, *skipped),
        notes=(f"{note}.", *contents.notes),
        # They lie in the archive, whose hash covers them.
        companions=(),
    )


def keeping(tensor: Tensor, unpacked: Unpacked) -> Tensor:
    """A tensor that keeps the folder as long as it lives."""
    load = partial(load_from, unpacked, tensor.load)
    conv: Convolution | None = tensor.conv
    if conv is not None and conv.norm is not None:
        conv = replace(
            conv, norm=replace(conv.norm, scale=partial(load_from, unpacked, conv.norm.scale))
        )
    return replace(tensor, load=load, conv=conv)


def load_from(_unpacked: Unpacked, load: Loader) -> NDArray[Any]:
    """Load; the folder is there as long as this may be called."""
    return load()
