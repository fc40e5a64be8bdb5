"""A repository of a model hub: what it has, and its files, through the hub's own library and cache.

The library is asked for what it is sure in: names of the cache, logins, listings, downloads. No
code of a repository is ever run, nor is a file of it imported.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filterdb.errors import ReadError
from filterdb.remote.address import HubAddress, is_safe
from filterdb.remote.announcing import check_size
from filterdb.remote.choice import RemoteFile
from filterdb.remote.library import constants, endpoint, library
from filterdb.remote.refusal import STRANGE, explained
from filterdb.remote.transport import TIMEOUT, UnreachableError, check_redirect

MOST_FILES = 20_000
"""Files of a repository that are looked at."""
COMMIT = re.compile(r"[0-9a-f]{40,64}")
OFFERED = 40
"""Networks that are listed where a name stands for several."""


@dataclass(frozen=True, slots=True)
class Repository:
    """What a repository has at one commit.

    Attributes
    ----------
    address
        The name.
    commit
        40 hexadecimal digits.
    files
        Those whose names are safe; with sizes where they are known.
    offline
        Why this is only what the cache has; None where the hub was asked.
    """

    address: HubAddress
    commit: str
    files: tuple[RemoteFile, ...]
    offline: str | None = None

    def url(self, file: str) -> str:
        """Where a file is, at this commit."""
        return f"{endpoint()}/{self.address.repository}/resolve/{self.commit}/{quote(file)}"


def look(address: HubAddress) -> Repository:
    """What a repository has: asked of the hub, or else of the cache.

    Raises
    ------
    ReadError
        There is no such repository or revision, it wants a login, or nothing can be reached and
        the cache has nothing of it.
    """
    if constants().HF_HUB_OFFLINE:
        return look_offline(address, "The hub was not asked, as HF_HUB_OFFLINE is set.")
    try:
        with explained(address):
            info = library().HfApi(endpoint=endpoint()).model_info(
                address.repository, revision=address.revision, timeout=TIMEOUT, files_metadata=True
            )  # fmt: skip
    except UnreachableError as error:
        try:
            return look_offline(address, error.message)
        except ReadError:
            raise error from error.__cause__
    if not COMMIT.fullmatch(str(info.sha)):
        raise ReadError(STRANGE)
    files = tuple(
        RemoteFile(item.rfilename, item.size if isinstance(item.size, int) else None)
        for item in (info.siblings or ())[:MOST_FILES]
        if isinstance(item.rfilename, str) and is_safe(item.rfilename)
    )
    return Repository(address, str(info.sha), files)


def look_offline(address: HubAddress, reason: str) -> Repository:
    """What the hub's cache has of a repository.

    Raises
    ------
    ReadError
        Nothing of this revision.
    """
    wanted = address.revision or "main"
    try:
        cached = library().scan_cache_dir(constants().HF_HUB_CACHE).repos
    except library().CacheNotFound:
        cached = ()
    for repository in cached:
        if (repository.repo_type, repository.repo_id) != ("model", address.repository):
            continue
        for revision in repository.revisions:
            if wanted in (revision.commit_hash, *revision.refs):
                files = (
                    RemoteFile(
                        Path(item.file_path).relative_to(revision.snapshot_path).as_posix(),
                        item.size_on_disk,
                    )
                    for item in revision.files
                )
                ordered = tuple(sorted(files, key=lambda item: item.name))
                return Repository(address, revision.commit_hash, ordered, reason)
    msg = f"{reason} The cache has nothing of it, either: fetch it once with a connection."
    raise UnreachableError(msg)


def get(repository: Repository, file: str) -> Path:
    """A file of a repository, from the hub's cache or downloaded into it.

    Raises
    ------
    ReadError
        It cannot be had.
    """
    hub = library()
    name = repository.address.repository
    where: dict[str, Any] = {"endpoint": endpoint()}
    with explained(repository.address):
        if repository.offline is None:
            if not is_cached(repository, file):
                check_location(repository.url(file))
            # By the name that was given: the cache then knows to which commit it led, for want
            # of a connection later.
            found = hub.hf_hub_download(
                name, file, revision=repository.address.revision, etag_timeout=TIMEOUT, **where
            )
            if repository.commit in Path(found).parts:
                return Path(found)
            found = hub.hf_hub_download(name, file, revision=repository.commit, **where)
        else:
            found = hub.hf_hub_download(
                name, file, revision=repository.commit, local_files_only=True, **where
            )
    return Path(found)


def check_location(url: str) -> None:
    """Refuse a file that the hub sends on for to where it may not, or that is too large.

    Raises
    ------
    ReadError
        It is.
    """
    known = library().get_hf_file_metadata(url, timeout=TIMEOUT)
    check_redirect(url, known.location)
    check_size(known.size)


def is_cached(repository: Repository, file: str) -> bool:
    """Whether a file is in the hub's cache."""
    found = library().try_to_load_from_cache(
        repository.address.repository, file, revision=repository.commit
    )
    return isinstance(found, str)


def offered(name: str) -> list[str]:
    """What timm has of an architecture: names with the weights' own tag.

    Raises
    ------
    ReadError
        The hub cannot be asked.
    """
    address = HubAddress(f"timm:{name}", f"timm/{name}")
    with explained(address):
        found = library().HfApi(endpoint=endpoint()).list_models(
            author="timm", search=name, limit=200
        )  # fmt: skip
        names = [str(model.id).removeprefix("timm/") for model in found]
    return sorted(own for own in names if own.startswith(f"{name}."))


def names_of(address: HubAddress, commit: str) -> tuple[str, ...]:
    """What a network of the hub may be called, best first."""
    name = address.repository
    if address.revision:
        name += f"@{address.revision}"
    if address.file:
        name += f"/{address.file}"
    return name, f"{name}#{commit[:12]}", f"{name}#{commit}"


def listed(names: Sequence[str]) -> str:
    """Some names, at most :data:`OFFERED`, as one text."""
    more = f" and {len(names) - OFFERED} more" if len(names) > OFFERED else ""
    return ", ".join(names[:OFFERED]) + more
