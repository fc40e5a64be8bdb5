"""``replace``: a copy of a checkpoint whose depthwise filters are affine copies of keys."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from secrets import token_hex
from time import time
from typing import cast

from filterdb.errors import (
    ExportError,
    KeySetError,
    ReadError,
    UnsupportedFormatError,
    while_reading,
)
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.key_set import KeySet
from filterdb.keys.mismatch import other_sizes, tallied, tallied_sizes
from filterdb.keys.replacing.replacement import Replacement
from filterdb.keys.replacing.surgeon import Surgeon
from filterdb.keys.replacing.writers.slot import Writer
from filterdb.keys.sets.set_file import load_keys
from filterdb.keys.storing import together
from filterdb.layer import ModelFile
from filterdb.reading import read
from filterdb.remote.fetching import local_path
from filterdb.store.output import output_outside

PathLike = str | os.PathLike[str]
WRITERS = ("safetensors", "npz", "onnx")
DRAFT = ".filterdb-replace-{}.tmp"
DAY = 86_400
"""Seconds after which a draft is one that nobody writes any more."""


def replace(
    file: PathLike,
    keys: KeySet | PathLike,
    out: PathLike,
    *,
    min_r2: float = 0.0,
    equivalence: Equivalence | None = None,
    force: bool = False,
) -> Replacement:
    """Copy a checkpoint with each depthwise filter replaced by its best fit ``a x + b``.

    Each filter of the key set's kernel size becomes ``a`` times the key (or the move of it) that
    leaves least, plus ``b`` (METHODS 3.3), rounded to the element type of its layer. All else in
    the file stays as it is, bit for bit: other tensors, names, order, metadata, the graph.
    Constant and nearly zero filters are kept.

    Parameters
    ----------
    file
        Safetensors, npz or ONNX; nothing in it runs.
    keys
        A key set, the name of one that comes with filterdb, or the path of one.
    out
        The copy, in the same format. It is written whole or not at all.
    min_r2
        Filters whose fit explains less of their variance are kept as they are.
    equivalence
        What does not matter besides ``a`` and ``b``; what the key set says, if not given.
    force
        Replace ``out`` if it is there; never ``file`` itself.

    Returns
    -------
    Replacement
        Residuals by layer, every layer that was left alone with its reason, and the bytes that
        storing (key, a, b) would save.

    Raises
    ------
    ReadError
        The file cannot be read, or its format cannot be written.
    KeySetError
        No depthwise layer has filters of this size, or none of those can be written; or
        ``min_r2`` is not in 0..1.
    ExportError
        ``out`` is the file itself, is there already, is no place for it, or cannot be written.
    """
    if not 0 <= min_r2 <= 1:
        msg = f"min_r2 (--min-r2) is a share of variance from 0 to 1, not {min_r2}."
        raise KeySetError(msg)
    path = local_path(file)
    target = _target(path, out, force=force)
    chosen = load_keys(keys)
    if equivalence is not None:
        chosen = chosen.alike(equivalence)
    network = read(path)
    writer = _writer_of(network, target)
    require_depthwise(network, chosen)
    with while_reading(file=str(path)):
        surgeon = Surgeon(path, writer, chosen, min_r2=min_r2)
    for layer in network.layers:
        surgeon.take(layer)
    if not surgeon.layers:
        reasons = tallied(left.reason for left in surgeon.left if left.kind == "depthwise")
        msg = f"{path}: no depthwise layer of it can be replaced ({reasons})."
        raise KeySetError(msg)
    _write(writer, surgeon, target)
    return Replacement(
        source=path,
        out=target,
        format=network.format,
        keys=chosen.name,
        keys_id=chosen.id,
        min_r2=min_r2,
        layers=tuple(surgeon.layers),
        left=tuple(surgeon.left),
        storage=together(surgeon.storage),
    )


def require_depthwise(network: ModelFile, keys: KeySet) -> None:
    """Require a depthwise layer with filters of the size of the keys.

    Raises
    ------
    KeySetError
        There is none; the message says what there is.
    """
    depthwise = [layer for layer in network.layers if layer.kind == "depthwise"]
    if any(layer.kernel == keys.kernel for layer in depthwise):
        return
    if not depthwise:
        kinds = tallied(layer.kind for layer in network.layers)
        msg = (
            f"{network.source}: it has no depthwise layer, whose filters keys are about. Its "
            f"convolution layers are: {kinds}."
        )
        raise KeySetError(msg)
    sizes = tallied_sizes([layer.kernel for layer in depthwise])
    msg = f"{network.source}: {other_sizes(keys, 'depthwise layer', sizes)}"
    raise KeySetError(msg)


def _writers() -> Iterable[Writer]:
    for name in WRITERS:
        yield cast("Writer", import_module(f"filterdb.keys.replacing.writers.{name}"))


def _writer_of(network: ModelFile, target: Path) -> Writer:
    """The writer of a file's format, which the name of the copy should not belie."""
    writers = {writer.FORMAT.name: writer for writer in _writers()}
    if network.format not in writers:
        msg = (
            f"It was read as {network.format}, which is not written. Convert it to safetensors or "
            "ONNX first, or change the live module with filterdb.keys.initialise (needs torch)."
        )
        raise UnsupportedFormatError(msg).at(file=network.source)
    writer = writers[network.format]
    if target.suffix.lower() not in writer.FORMAT.suffixes:
        msg = (
            f"{network.source} is {network.format}, and so is its copy: let {target.name!r} end in "
            f"{writer.FORMAT.suffixes[0]}."
        )
        raise ExportError(msg)
    return writer


def _target(file: PathLike, out: PathLike, *, force: bool) -> Path:
    """Where the copy is written, without links."""
    target = output_outside(out)
    if target.exists():
        if Path(file).exists() and target.samefile(file):
            msg = f"{out} is the file itself, which is never written over. Name another place."
            raise ExportError(msg)
        if not target.is_file():
            msg = f"{out} is there and is no regular file, so it is not replaced. Name another."
            raise ExportError(msg)
        if not force:
            msg = f"{out} is there. Name another place, or replace it with --force (force=True)."
            raise ExportError(msg)
    elif not target.parent.is_dir():
        msg = f"The folder of {out} is not there. Make it first."
        raise ExportError(msg)
    return target


def _write(writer: Writer, surgeon: Surgeon, target: Path) -> None:
    """Write the copy beside its place, and move it there once it is whole and on the disk."""
    _remove_old_drafts(target.parent)
    draft = target.with_name(DRAFT.format(token_hex(8)))
    try:
        writer.write(surgeon.path, draft, surgeon.changes)
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(target)
    except ReadError as error:
        raise error.at(file=str(surgeon.path)) from error.__cause__
    except OSError as error:  # copying may name the source where the target has no room
        msg = f"{target} cannot be written: {error.strerror or error}. Nothing was left there."
        raise ExportError(msg) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _remove_old_drafts(folder: Path) -> None:
    """Remove the copies that were killed before they were whole: they are as large as a file.

    One that is being written was changed a moment ago; a day allows for clocks that differ.
    """
    for draft in folder.glob(DRAFT.format("[0-9a-f]" * 16)):
        with suppress(OSError):
            if draft.is_file() and time() - draft.lstat().st_mtime > DAY:
                draft.unlink()
