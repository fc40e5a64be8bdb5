"""``fetch``: a name in, a file in a cache out."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from filterdb.errors import ReadError, while_reading
from filterdb.remote import hub
from filterdb.remote.address import HubAddress, is_address, parse
from filterdb.remote.announcing import announce, check_size
from filterdb.remote.choice import INDEX, companions
from filterdb.remote.fetched import Fetched
from filterdb.remote.library import library
from filterdb.remote.refusal import NoRepositoryError
from filterdb.remote.selecting import choose, shards_of
from filterdb.remote.web import fetch_web

__all__ = ["Fetched", "fetch", "is_address", "local_path"]


def fetch(text: str) -> Fetched:
    """Bring a network that a name stands for to this machine.

    Of a repository the one file is taken that holds the network, safetensors first; of that the
    header is read over the network, and the rest only if it holds what may be a convolution.
    A name is looked up once in a process: the file stays the same as long as that runs.

    Parameters
    ----------
    text
        ``hf://org/name[@revision][/file]``, ``timm:NAME``, ``https://...[#sha256=...]``.

    Returns
    -------
    Fetched
        ``.path`` on this machine, and where it is from.

    Raises
    ------
    ReadError
        The name is not valid, or its file cannot be had; one sentence names both and the mend.
    NoConvolutionError
        The file's header says that there is none.
    MissingExtraError
        ``huggingface_hub`` is not installed.
    """
    found = _fetch(text)
    if not found.path.exists():  # the cache was emptied meanwhile
        _fetch.cache_clear()
        found = _fetch(text)
    return found


def local_path(source: str | os.PathLike[str]) -> Path:
    """The file on this machine that a path or a name stands for.

    Raises
    ------
    ReadError, MissingExtraError
        As in :func:`fetch`.
    """
    return fetch(source).path if is_address(source) else Path(source)


@lru_cache(maxsize=256)
def _fetch(text: str) -> Fetched:
    address = parse(text)
    if isinstance(address, HubAddress):
        library()
    with while_reading(file=address.text):
        if isinstance(address, HubAddress):
            return fetch_hub(address)
        return fetch_web(address)


def fetch_hub(address: HubAddress) -> Fetched:
    """The network of a repository."""
    try:
        repository = hub.look(address)
    except NoRepositoryError:
        choices = hub.offered(address.timm) if address.timm else []
        if not choices:
            raise
        msg = (
            f"{address.timm} is an architecture, and timm has several trained networks of it. "
            f"Name one: {hub.listed([f'timm:{name}' for name in choices])}."
        )
        raise ReadError(msg) from None
    taken, notes = choose(repository)
    wanted = [taken, *companions(taken.name, repository.files)]
    if taken.name.endswith(INDEX):
        shards, further = shards_of(repository, taken)
        wanted, notes = [*wanted, *shards], (*notes, *further)
    check_size(sum(item.size or 0 for item in wanted))
    missing = [item for item in wanted if not hub.is_cached(repository, item.name)]
    announce(sum(item.size or 0 for item in missing), f"{address.text} ({taken.name})")
    paths = [hub.get(repository, item.name) for item in wanted]
    return Fetched(
        path=paths[0],
        source=address.text,
        names=hub.names_of(address, repository.commit),
        url=repository.url(taken.name),
        revision=repository.commit,
        notes=(*((repository.offline,) if repository.offline else ()), *notes),
    )
