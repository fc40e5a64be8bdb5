"""Weights in several files: the index that names them (``model.safetensors.index.json``), and each.

A file that is not there is named with the number of tensors that went missing with it: of a
repository only those files are fetched that hold convolutions.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from filterdb.errors import CorruptFileError, LimitError
from filterdb.layer import Contents, Skipped, Tensor
from filterdb.readers.companion import is_beside
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.limits import MAX_JSON, check_expansion
from filterdb.readers.mapping import map_file
from filterdb.readers.name_order import natural_key
from filterdb.readers.registry import reader_for

FORMAT = Format(
    "sharded",
    "weights in several files, with an index",
    (".index.json",),
    reads="parts in safetensors or PyTorch's formats; those that are not there are named",
)

PART = re.compile(r"(.+)-\d{5}-of-\d{5}\.(\w+)")
"""``model-00001-of-00002.safetensors``, as beside ``model.safetensors.index.json``."""
SHARDS = ("safetensors", "pytorch")
"""Formats that a part may have."""
MOST_FILES = 1000
OBJECT_BYTES = 250
"""Memory that an entry of the index takes once parsed, at most."""


def matches(head: Head) -> bool:
    """A JSON object with the key of such an index."""
    return head.start.lstrip(b" \t\r\n")[:1] == b"{" and b'"weight_map"' in head.start


def index_beside(part: Path) -> Path | None:
    """The index that a part belongs to, by their names: the hub's library calls them so."""
    named = PART.fullmatch(part.name)
    index = part.with_name(f"{named[1]}.{named[2]}.index.json") if named else None
    return index if index is not None and index.is_file() else None


def read(head: Head) -> Contents:
    """Read every file that the index names and that is there.

    Raises
    ------
    CorruptFileError
        The index is no table, names files elsewhere, or none of its files is there.
    LimitError
        It is larger than any network needs.
    """
    table = read_table(head)
    names = Counter(table.values())
    parts: list[tuple[Path, Contents]] = []
    skipped: list[Skipped] = []
    for name in sorted(names, key=natural_key):
        path = part_path(head.path, name)
        if path is None:
            count = names[name]
            skipped.append(
                Skipped(name, f"the file is not there; tensors of the index in it: {count:,}")
            )
            continue
        part = Head.of(path)
        reader = reader_for(part)
        if reader.FORMAT.name not in SHARDS:
            msg = f"Its part {name} is of another format ({reader.FORMAT.title})."
            raise CorruptFileError(msg)
        parts.append((path, reader.read(part)))
    if not parts:
        msg = f"None of the {len(names)} files that it names is there: put them beside it."
        raise CorruptFileError(msg)
    tensors: dict[str, Tensor] = {}
    for path, contents in parts:
        skipped += contents.skipped
        for tensor in contents.tensors:
            if tensor.name in tensors:
                skipped.append(Skipped(f"{path.name}: {tensor.name}", "another part has it, too"))
            tensors.setdefault(tensor.name, tensor)
    return Contents(
        format=FORMAT.name,
        tensors=tuple(sorted(tensors.values(), key=lambda tensor: natural_key(tensor.name))),
        skipped=tuple(skipped),
        producer=parts[0][1].producer,
        notes=tuple(dict.fromkeys(note for _, contents in parts for note in contents.notes)),
        companions=tuple(path for path, _ in parts),
    )


def read_table(head: Head) -> dict[str, str]:
    """Name of a tensor -> name of its file."""
    if head.size > MAX_JSON:
        msg = f"The index has {head.size:,} bytes; no more than {MAX_JSON:,} are read."
        raise LimitError(msg)
    text = map_file(head.path).tobytes()
    check_expansion(OBJECT_BYTES * sum(map(text.count, (b"{", b"[", b","))), head.size, "The index")
    try:
        whole: Any = json.loads(text)
        table = whole["weight_map"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        msg = f"The index is not valid ({error!s:.100}). Download or copy it again."
        raise CorruptFileError(msg) from error
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        msg = "Its 'weight_map' is no table of tensors and files. Download or copy it again."
        raise CorruptFileError(msg)
    if not table or len(set(table.values())) > MOST_FILES:
        msg = f"It names {len(set(table.values())):,} files, where 1 to {MOST_FILES:,} may be."
        raise CorruptFileError(msg)
    return table


def part_path(index: Path, name: str) -> Path | None:
    """A file that the index names, or None if it is not there.

    Raises
    ------
    CorruptFileError
        It is not in the folder of the index.
    """
    if name != Path(name).name or "\\" in name or "\0" in name or name in ("", ".", ".."):
        msg = f"It names the file {name[:100]!r}, which is not one beside it. It is damaged."
        raise CorruptFileError(msg)
    path = index.parent / name
    try:
        if not path.is_file() or path == index:
            return None
        inside = is_beside(path, index)
    except (OSError, RuntimeError, ValueError):  # an impossible name, a loop of links
        return None
    if not inside:
        msg = f"It names the file {name[:100]!r}, which is a link out of its folder."
        raise CorruptFileError(msg)
    return path
