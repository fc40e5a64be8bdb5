"""Which files an ingest is about: folders walked, and what is no network told apart."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from filterdb.errors import ReadError
from filterdb.readers.format import Recognised
from filterdb.readers.head import Head
from filterdb.readers.registry import identify
from filterdb.readers.sharded import index_beside
from filterdb.remote.fetching import Fetched, fetch, is_address
from filterdb.store.connection import exists

WEIGHT_SUFFIXES = {".bin", ".caffemodel", ".ckpt", ".gguf", ".h5", ".hdf5", ".keras",
                   ".mlmodel", ".model", ".npy", ".npz", ".onnx", ".param", ".pb", ".pdparams",
                   ".pickle", ".pkl", ".pt", ".pth", ".safetensors", ".tar", ".tflite", ".th",
                   ".weights"}  # fmt: skip
"""A file that is no network, under such a name, was meant to be one: it fails."""
PACKAGES = {"coreml", "orbax"}
"""Formats of folders that hold nothing but what belongs to them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file (or a folder that is one model) to be taken in.

    Attributes
    ----------
    path
        Absolute; of several files or a folder that are one model, the file that stands for it.
    shown
        As the caller would write it.
    names
        Names for the model, best first: relative to the folder that was given, then with
        more and more of the folders above it.
    readable
        True where a reader knows the content; otherwise reading it gives the reason.
    refusal
        Why it cannot even be looked at, if so.
    origin
        Where it was fetched from, if it was.
    """

    path: Path
    shown: str
    names: tuple[str, ...]
    readable: bool
    refusal: str | None = None
    origin: Fetched | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something in a folder that was passed over, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found, sorted by path."""

    candidates: tuple[Candidate, ...]
    ignored: tuple[Ignored, ...]


def discover(paths: Iterable[str | os.PathLike[str]]) -> Discovery:
    """Find the files below some paths, each once.

    Links to files are followed, links to folders are not; databases of filterdb are passed
    over. A path that is given itself is always a candidate, whatever it is.

    Parameters
    ----------
    paths
        Files and folders.
    """
    found: dict[Path, Candidate | Ignored] = {}
    for given in paths:
        for entry in _entries(given):
            path = entry.path if isinstance(entry, Candidate) else _absolute(Path(entry.path))
            if not isinstance(found.get(path), Candidate):
                found[path] = entry
    ordered = [found[path] for path in sorted(found, key=str)]
    return Discovery(
        tuple(entry for entry in ordered if isinstance(entry, Candidate)),
        tuple(entry for entry in ordered if isinstance(entry, Ignored)),
    )


def _entries(given: str | os.PathLike[str]) -> Iterable[Candidate | Ignored]:
    if is_address(given):
        return [_fetched(str(given))]
    root = Path(given)
    return _below(root) if root.is_dir() else [_given(root)]


def _fetched(text: str) -> Candidate:
    """What an address stands for: a file in a cache, under the names that it has there."""
    try:
        origin = fetch(text)
    except ReadError as error:
        shown = error.file or text  # without what is secret in an address
        return Candidate(Path(shown), shown, (shown,), readable=False, refusal=error.reason)
    found = _given(origin.path)
    return replace(found, shown=origin.source, names=origin.names, origin=origin)


def _given(path: Path) -> Candidate:
    return _candidate(path, _absolute(path).parent)


def _candidate(path: Path, top: Path) -> Candidate:
    kind = _identify(path)
    readable = kind is not None and not isinstance(kind, Recognised | ReadError)
    absolute = _absolute(path)
    return Candidate(
        _main_file(kind, absolute) or absolute, str(path), _names(absolute, top), readable
    )


def _below(root: Path) -> Iterator[Candidate | Ignored]:
    if _is_model(root):
        yield _given(root)
        return
    top = _absolute(root)
    errors: list[OSError] = []
    for folder, subfolders, files in os.walk(root, onerror=errors.append):
        here = Path(folder)
        if exists(here):
            yield Ignored(str(here), "a database of filterdb")
            subfolders.clear()
            continue
        for name in subfolders.copy():
            entry = _subfolder(here / name, top)
            if entry is not None:
                subfolders.remove(name)
                yield entry
        for name in files:
            yield _file(here / name, top)
    for error in errors:
        path = Path(str(error.filename))
        reason = f"The folder cannot be opened: {error.strerror}."
        names = _names(_absolute(path), top)
        yield Candidate(_absolute(path), str(path), names, False, reason)  # noqa: FBT003


def _subfolder(path: Path, top: Path) -> Candidate | Ignored | None:
    """What a folder is, if it is not to be walked."""
    if path.name.startswith("."):
        return Ignored(str(path), "a hidden folder")
    if path.is_symlink():
        return Ignored(str(path), "a link to a folder; give the folder itself to take it in")
    return _candidate(path, top) if _is_model(path) else None


def _file(path: Path, top: Path) -> Candidate | Ignored:
    if path.name.startswith("."):
        return Ignored(str(path), "a hidden file")
    if path.exists() and not path.is_file():
        return Ignored(str(path), "not a regular file")
    kind = _identify(path)
    if isinstance(kind, Recognised) and not kind.model and path.suffix not in WEIGHT_SUFFIXES:
        return Ignored(str(path), kind.title)
    whole = _main_file(kind, _absolute(path)) or index_beside(_absolute(path))
    if whole is not None:
        return Ignored(str(path), f"part of {whole.name}")
    return _candidate(path, top)


def _main_file(kind: object, path: Path) -> Path | None:
    """The file of a model that stands for another file of it, or for its folder."""
    finder = getattr(kind, "main_file", None)
    if finder is None:
        return None
    try:
        head = Head.of(path)
    except ReadError:
        return None
    found: Path | None = finder(head)
    return found or (head.path if head.path != path else None)  # a checkpoint, by its prefix


def _is_model(folder: Path) -> bool:
    """True for a folder that is one model as a whole (a SavedModel, an .mlpackage)."""
    kind = _identify(folder)
    if isinstance(kind, Recognised):
        return kind.model
    if kind is None or isinstance(kind, ReadError):
        return False
    return kind.FORMAT.name in PACKAGES or not _holds_others(folder)  # type: ignore[attr-defined]


def _holds_others(folder: Path) -> bool:
    """Whether a folder is part of a network, or has others besides the one that it stands for."""
    own = _candidate(folder, _absolute(folder)).path
    if _main_file(_identify(own), own) is not None:  # the variables of a SavedModel
        return True
    for here, subfolders, files in os.walk(folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in files:
            path = _absolute(Path(here) / name)
            kind = None if path == own or name.startswith(".") else _identify(path)
            network = kind is not None and not isinstance(kind, Recognised | ReadError)
            if network and _main_file(kind, path) is None and index_beside(path) is None:
                return True
    return False


def _identify(path: Path) -> object:
    """The reader, what it is recognised as, None for the unknown, or the error of looking."""
    try:
        return identify(Head.of(_absolute(path)))  # "." has no name to look at
    except ReadError as error:
        return error


def _names(path: Path, top: Path) -> tuple[str, ...]:
    """Names of a file below a folder: from the relative path on to ever more of the full one."""
    first = len(path.parts) - len(path.relative_to(top).parts)
    return tuple("/".join(path.parts[start:]) for start in range(first, 0, -1))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  (resolves "..", but no links)
