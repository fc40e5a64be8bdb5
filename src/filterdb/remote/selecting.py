"""What of a repository is fetched: the file that is the network, by headers where they say it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePosixPath

from filterdb.errors import CorruptFileError, NoConvolutionError, ReadError
from filterdb.remote import hub
from filterdb.remote.address import is_safe
from filterdb.remote.choice import RemoteFile, candidates, without_weights
from filterdb.remote.header import Header, read_header
from filterdb.remote.library import login_headers
from filterdb.words import counted

MOST_HEADERS = 30
"""Files of a repository, or shards of one, whose headers are read."""
MOST_INDEX = 20_000_000
"""Bytes of an index of shards."""


def choose(repository: hub.Repository) -> tuple[RemoteFile, tuple[str, ...]]:
    """The file to take, and sentences on which it is and which it is not.

    Raises
    ------
    ReadError
        The file that was named is not there, or none holds weights.
    NoConvolutionError
        Those of safetensors hold no convolution, by their headers.
    """
    named = repository.address.file
    if named is not None:
        found = [item for item in repository.files if item.name == named]
        if not found:
            msg = f"There is no file {named!r}; {without_weights(repository.files)}."
            raise ReadError(msg)
        require_convolutions(repository, found)
        return found[0], (taken_note(repository, found[0], ()),)
    best = candidates(repository.files)
    if not best:
        msg = (
            "There is no file with weights in the repository; "
            f"{without_weights(repository.files)}. Name one as hf://org/name/FILE."
        )
        raise ReadError(msg)
    with_header = [item for item in best if item.name.endswith(".safetensors")]
    taken = require_convolutions(repository, with_header) if best[0] in with_header else best[0]
    others = [item.name for item in best if item != taken]
    return taken, (taken_note(repository, taken, others),)


def taken_note(repository: hub.Repository, taken: RemoteFile, names: Sequence[str]) -> str:
    """Say which file is the network, at which commit, and which were left aside."""
    note = f"{taken.name} was taken, at the commit {repository.commit[:12]}"
    if names:
        note += f"; not {', '.join(names[:5])}"
        note += f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{note}."


def require_convolutions(repository: hub.Repository, files: list[RemoteFile]) -> RemoteFile:
    """The first file that may hold a convolution, as far as headers tell.

    Raises
    ------
    NoConvolutionError
        None of them does. Nothing but headers was downloaded.
    """
    seen = []
    for item in files[:MOST_HEADERS]:
        header = rules_out(repository, item)
        if header is None:
            return item
        seen.append(f"{item.name} lists {counted(header.n_tensors, 'tensor')}")
    msg = (
        f"There is no 2-D convolution in it: {'; '.join(seen[:5])}, none of which is the weight "
        "of one. Only headers were downloaded."
    )
    raise NoConvolutionError(msg)


def rules_out(repository: hub.Repository, item: RemoteFile) -> Header | None:
    """The header of a file that holds no convolution by it; None for any other file."""
    if not item.name.endswith(".safetensors") or hub.is_cached(repository, item.name):
        return None
    header = read_header(repository.url(item.name), login_headers())
    return None if header.n_candidates else header


def shards_of(
    repository: hub.Repository, index: RemoteFile
) -> tuple[list[RemoteFile], tuple[str, ...]]:
    """The shards that an index names and that may hold convolutions.

    Raises
    ------
    NoConvolutionError
        None does.
    ReadError
        The index is damaged, or names what is not in the repository.
    """
    if index.size is not None and index.size > MOST_INDEX:
        msg = f"{index.name} has {index.size:,} bytes, as no index of shards has."
        raise CorruptFileError(msg)
    text = hub.get(repository, index.name).read_bytes()
    try:
        table = json.loads(text)["weight_map"]
        names = sorted({str(name) for name in table.values()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{index.name} is no index of shards: it has no table 'weight_map'."
        raise CorruptFileError(msg) from error
    folder = PurePosixPath(index.name).parent
    known = {item.name: item for item in repository.files}
    shards = [known.get(str(folder / name)) for name in names if is_safe(name)]
    there = [item for item in shards if item is not None]
    if len(there) < len(names) and repository.offline is None:
        msg = f"{index.name} names {len(names)} files, of which {len(there)} are there."
        raise CorruptFileError(msg)
    holding = [item for item in there if not rules_out(repository, item)]
    if not holding:
        msg = (
            f"There is no 2-D convolution in the {len(names)} files that {index.name} names, by "
            "their headers. Nothing else of them was downloaded."
        )
        raise NoConvolutionError(msg)
    left = len(there) - len(holding)
    note = f"{left} of its {len(names)} files hold no convolution and were not downloaded."
    return holding, (note,) if left else ()
