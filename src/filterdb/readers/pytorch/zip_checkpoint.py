"""The PyTorch reader for ZIP containers: checkpoints and TorchScript, without torch.

The archive holds a pickle and one member a storage, uncompressed as torch writes it: storages
are mapped where they lie. Code in a TorchScript archive is not looked at.
"""

from __future__ import annotations

from functools import partial

from filterdb.errors import LimitError
from filterdb.layer import Contents
from filterdb.readers.format import Format
from filterdb.readers.head import Head
from filterdb.readers.pytorch.inert_objects import (
    Global,
    Opaque,
    Persistent,
    as_key,
    attributes,
)
from filterdb.readers.pytorch.inert_pickle import Budget, Unpickled, unpickle
from filterdb.readers.pytorch.tensors import (
    Storage,
    TorchObjects,
    checkpoint_contents,
    storage_dtype,
)
from filterdb.readers.zip_members import MappedZip, damaged

FORMAT = Format(
    "pytorch",
    "PyTorch checkpoint (zip), TorchScript archive",
    (".pth", ".pt", ".ckpt", ".bin"),
    reads=(
        "without torch, mapped, nothing run: state dicts, nested checkpoints, whole pickled "
        "modules, TorchScript attributes (`torchscript`); weight norm, spectral norm and pruning "
        "masks merged; float16, bfloat16, float8, quantised"
    ),
)

PICKLE = "/data.pkl"
BESIDE = ("version", "byteorder", "constants.pkl", "data/")
"""Members, or beginnings of their names, that torch writes into the same folder."""
MAX_PICKLE = 2**28
MAX_DEFLATED_PICKLE = 16_000_000
"""Pickles of thousands of tensors take less than 1 MB; stored, they may hold arrays."""


def matches(head: Head) -> bool:
    """A ZIP archive with a ``data.pkl`` in a folder of any name, and what torch puts beside it."""
    folders = {name.removesuffix("data.pkl") for name in head.zip_names if name.endswith(PICKLE)}
    beside = tuple(folder + name for folder in folders for name in BESIDE)
    return any(name.startswith(beside) for name in head.zip_names)


def read(head: Head) -> Contents:
    """Follow the pickle and map the storages.

    Raises
    ------
    CorruptFileError
        The archive, the pickle or a tensor contradicts itself.
    LimitError
        Compressed members or views expand out of proportion to the file.
    """
    archive = TorchArchive(MappedZip.of(head))
    content = archive.unpickle("data.pkl")
    root, format_name = content.value, "pytorch"
    if archive.has("constants.pkl"):
        constants = archive.unpickle("constants.pkl")
        archive.constants = {id(reference) for reference in constants.persistent}
        root, format_name = with_constants(root, constants.value), "torchscript"
    return checkpoint_contents(
        root,
        TorchObjects(archive.find_storage),
        file_size=head.size,
        unpacked_size=sum(member.size for member in archive.members.members.values()),
        format_name=format_name,
    )


class TorchArchive:
    """What torch keeps in a ZIP archive: ``NAME/data.pkl``, ``NAME/data/0``, ...

    Parameters
    ----------
    members
        The archive.

    Attributes
    ----------
    constants
        Which references are to TorchScript's constants, by identity of the object.
    """

    def __init__(self, members: MappedZip) -> None:
        self.members = members
        pickles = [name for name in members.members if name.endswith(PICKLE)]
        self.folder = min(pickles, key=len).removesuffix("data.pkl")
        self.constants: set[int] = set()
        self.budget = Budget()
        self.storages: dict[tuple[str, str], Storage] = {}
        order = b"little"
        if self.has("byteorder"):
            order = members.bytes_of(self.folder + "byteorder").tobytes()
        if order not in (b"little", b"big"):
            raise damaged(what=f"its byte order is {order[:20]!r}")
        self.big_endian = order == b"big"

    def has(self, name: str) -> bool:
        """True where the folder holds a member of that name."""
        return self.folder + name in self.members.members

    def unpickle(self, name: str) -> Unpickled:
        """Follow one of the pickles.

        Raises
        ------
        LimitError
            It is longer than any checkpoint's, or long and compressed, which torch never does.
        """
        member = self.members.members[self.folder + name]
        if member.deflated and member.size > MAX_DEFLATED_PICKLE:
            msg = f"Its {name} unfolds to {member.size:,} bytes: pack it again uncompressed."
            raise LimitError(msg)
        if member.size > MAX_PICKLE:
            msg = f"Its {name} has {member.size:,} bytes, more than {MAX_PICKLE:,}: not followed."
            raise LimitError(msg)
        return unpickle(self.members.bytes_of(member.name).data, 0, self.budget)

    def find_storage(self, reference: Persistent) -> Storage | None:
        """The storage that ``("storage", class, key, device, length)`` refers to."""
        identity = reference.id
        if not (isinstance(identity, tuple) and len(identity) >= 5 and identity[0] == "storage"):
            return None
        part = "constants/" if id(reference) in self.constants else "data/"
        name = f"{self.folder}{part}{as_key(identity[2])}"
        dtype = storage_dtype(identity[1])
        if (name, dtype) not in self.storages:
            if name not in self.members.members:
                raise damaged(what=f"its member {name!r} is missing")
            size = self.members.members[name].size
            values = partial(self.members.bytes_of, name)
            self.storages[name, dtype] = Storage(dtype, size, values, self.big_endian)
        return self.storages[name, dtype]


def with_constants(root: object, constants: object) -> Opaque:
    """A scripted module with its constants: a frozen network keeps its weights there."""
    whole = Opaque(Global("__torch__", "archive"), ())
    named = attributes(root) if isinstance(root, Opaque) else {}
    whole.state = {**(named or {"model": root}), "CONSTANTS": numbered(constants)}
    return whole


def numbered(constants: object) -> dict[str, object]:
    """Constants under the names that the code calls them by: c0, c1, ..."""
    values = constants if isinstance(constants, list | tuple) else ()
    return {f"c{number}": value for number, value in enumerate(values)}
