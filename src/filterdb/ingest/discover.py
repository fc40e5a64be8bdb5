"""Which files an ingest is about: folders walked, and what is no network told apart."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from filterdb.errors import ReadError
from filterdb.readers.format import Reader, Recognised
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
    return _candidate(path, _Seen.at(path), _absolute(path).parent)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one look at a path told.

    Attributes
    ----------
    path
        Absolute.
    kind
        The reader, what it is recognised as, None for the unknown, or the error of looking.
    main
        The file of a model that stands for this one, or for this folder; None where it stands
        for itself.
    """

    path: Path
    kind: Reader | Recognised | ReadError | None
    main: Path | None = None

    @classmethod
    def at(cls, path: Path) -> _Seen:
        """Look at a path."""
        absolute = _absolute(path)  # "." has no name to look at
        try:
            head = Head.of(absolute)
            kind = identify(head)
        except ReadError as error:
            return cls(absolute, error)
        find: Callable[[Head], Path | None] = getattr(kind, "main_file", lambda _: None)
        # The head of a checkpoint that is given by its prefix is that of its index.
        main = find(head) or (head.path if head.path != absolute else None)
        return cls(absolute, kind, main)

    @property
    def readable(self) -> bool:
        """Whether a reader knows the content."""
        return self.kind is not None and not isinstance(self.kind, Recognised | ReadError)


def _candidate(path: Path, seen: _Seen, top: Path) -> Candidate:
    return Candidate(seen.main or seen.path, str(path), _names(seen.path, top), seen.readable)


def _below(root: Path) -> Iterator[Candidate | Ignored]:
    seen, top = _Seen.at(root), _absolute(root)
    if _is_model(seen):
        yield _candidate(root, seen, top.parent)
        return
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
    seen = _Seen.at(path)
    return _candidate(path, seen, top) if _is_model(seen) else None


def _file(path: Path, top: Path) -> Candidate | Ignored:
    if path.name.startswith("."):
        return Ignored(str(path), "a hidden file")
    if path.exists() and not path.is_file():
        return Ignored(str(path), "not a regular file")
    seen = _Seen.at(path)
    kind = seen.kind
    if isinstance(kind, Recognised) and not kind.model and path.suffix not in WEIGHT_SUFFIXES:
        return Ignored(str(path), kind.title)
    whole = seen.main or index_beside(seen.path)
    if whole is not None:
        return Ignored(str(path), f"part of {whole.name}")
    return _candidate(path, seen, top)


def _is_model(folder: _Seen) -> bool:
    """True for a folder that is one model as a whole (a SavedModel, an .mlpackage)."""
    kind = folder.kind
    if isinstance(kind, Recognised):
        return kind.model
    if kind is None or isinstance(kind, ReadError):
        return False
    return kind.FORMAT.name in PACKAGES or not _holds_others(folder)


def _holds_others(folder: _Seen) -> bool:
    """Whether a folder is part of a network, or has others besides the one that it stands for."""
    own = folder.main or folder.path
    if _Seen.at(own).main not in (None, own):  # the variables of a SavedModel
        return True
    for here, subfolders, files in os.walk(folder.path):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in files:
            path = Path(here) / name
            if path == own or name.startswith("."):
                continue
            seen = _Seen.at(path)
            if seen.readable and seen.main is None and index_beside(seen.path) is None:
                return True
    return False


def _names(path: Path, top: Path) -> tuple[str, ...]:
    """Names of a file below a folder: from the relative path on to ever more of the full one."""
    first = len(path.parts) - len(path.relative_to(top).parts)
    return tuple("/".join(path.parts[start:]) for start in range(first, 0, -1))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  (resolves "..", but no links)
