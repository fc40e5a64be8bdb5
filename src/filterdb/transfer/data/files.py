"""Which files a data set is made of: its kind by content, its parts and shards by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

from filterdb.errors import TransferError
from filterdb.transfer.data import idx
from filterdb.transfer.data.naming import natural

Kind = Literal["idx", "parquet", "npz", "folder"]

PART = re.compile(
    r"(?<![a-z])(train(?:ing)?|test(?:ing)?|t10k|val(?:id(?:ation)?)?)(?![a-z])", re.IGNORECASE
)
SHARD = re.compile(r"-\d{5}-of-\d{5}")


class File(NamedTuple):
    """A file or folder that holds one part of a data set; "" where its name does not say."""

    path: Path
    part: str


def part_of(name: str) -> str:
    """``"train"``, ``"test"``, ``"validation"``, or "" where a name says none of them."""
    found = PART.search(name)
    if not found:
        return ""
    word = found[1].lower()
    return {"tr": "train", "te": "test", "t1": "test", "va": "validation"}[word[:2]]


def _family(name: str) -> str:
    """What the files of one data set have in common in their names."""
    return PART.sub("*", SHARD.sub("", name), count=1).lower().removesuffix(".gz")


def kind_of(path: Path) -> Kind:
    """The format of a file by its first bytes; what a folder holds.

    Raises
    ------
    TransferError
        There is no such file, or it is of no format that is read.
    """
    if not path.exists():
        msg = f"{path}: there is no such file or folder, nor built-in set."
        raise TransferError(msg)
    if path.is_dir():
        return kind_of(_data_files(path)[0]) if _data_files(path) else "folder"
    head = idx.first_bytes(path)
    if head == b"PAR1":
        return "parquet"
    if head.startswith(b"PK"):
        return "npz"
    if idx.matches(head):
        return "idx"
    msg = (
        f"{path}: this is no data set of a kind that is read: IDX (MNIST's), Parquet with an image "
        "column, npz, or a folder with a sub-folder of images for each class."
    )
    raise TransferError(msg)


def _data_files(folder: Path) -> list[Path]:
    """Parquet or IDX image files that lie in a folder itself."""
    found = [
        path
        for path in folder.iterdir()
        if path.is_file()
        and (path.suffix == ".parquet" or re.search(r"images.idx[34]-ubyte(\.gz)?$", path.name))
    ]
    return sorted(found, key=lambda path: natural(path.name))


def files_of(path: Path) -> list[File]:
    """All files of the data set that a path belongs to: its parts and shards, in natural order.

    Raises
    ------
    TransferError
        A folder holds the files of several data sets.
    """
    if path.is_dir() and not _data_files(path):
        parts = [File(sub, part_of(sub.name)) for sub in path.iterdir()
                 if sub.is_dir() and PART.fullmatch(sub.name)]  # fmt: skip
        if any(file.part == "train" for file in parts):
            return sorted(parts, key=lambda file: natural(file.path.name))
        return [File(path, "")]
    if path.is_dir():
        found = _data_files(path)
        families = sorted({_family(file.name) for file in found})
        if len(families) > 1:
            msg = (
                f"{path}: it holds {len(families)} data sets ({', '.join(families[:5])}). Name one "
                "of the files."
            )
            raise TransferError(msg)
    else:
        found = [
            file
            for file in sorted(path.parent.iterdir(), key=lambda file: natural(file.name))
            if file == path or (_family(file.name) == _family(path.name) and file.is_file()
                                and part_of(file.name) and part_of(path.name))
        ]  # fmt: skip
    # A file and its gzipped copy are one.
    twice = {file.name for file in found}
    found = [file for file in found if file == path or not (
        file.name.endswith(".gz") and file.name.removesuffix(".gz") in twice)]  # fmt: skip
    return [File(file, part_of(file.name)) for file in found]
