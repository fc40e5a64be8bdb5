"""A file on the web, in a cache of our own: complete and of its checksum, or not there at all.

The cache is ``$XDG_CACHE_HOME/filterdb/web/<of the URL>/<of the content>/<file>``: what is there
under a checksum that was given needs no network any more.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from filterdb.errors import CorruptFileError, NoConvolutionError, ReadError
from filterdb.remote.address import WebAddress
from filterdb.remote.announcing import Meter, announce, check_size
from filterdb.remote.fetched import Fetched
from filterdb.remote.header import read_header
from filterdb.remote.transport import Unchanged, UnreachableError, opened
from filterdb.words import counted

if TYPE_CHECKING:
    from http.client import HTTPResponse

BLOCK = 2**20
ANSWER = "answer.json"
"""What the server said of the content last: to ask only whether it changed."""


def fetch_web(address: WebAddress) -> Fetched:
    """The file of a URL, from the cache or downloaded into it.

    Raises
    ------
    ReadError
        It cannot be had, or is not of the checksum that was given.
    NoConvolutionError
        It is a safetensors file, and its header says that there is none.
    """
    place = cache_folder() / hashlib.sha256(address.url.encode()).hexdigest()[:32]
    notes: tuple[str, ...] = ()
    sha256 = address.sha256
    if sha256 is None or not is_kept(place / sha256 / address.file, sha256):
        # With a checksum an answer of the server's that nothing changed would prove nothing.
        before = {} if sha256 else last_answer(place, address)
        try:
            sha256 = download(address, place, before)
        except OSError as error:
            msg = f"The cache {place} cannot be written: {error.strerror or error}."
            raise ReadError(msg) from error
        except Unchanged:
            sha256 = before["sha256"]
        except UnreachableError as error:
            if not before or address.sha256:
                raise
            sha256 = before["sha256"]
            notes = (f"{error.message} It was read from the cache.",)
    if address.sha256 is None:
        notes = (
            *notes,
            "No checksum was given; to have the same content for certain, add "
            f"#sha256={sha256} to the URL.",
        )
    parts = urlsplit(address.url)
    return Fetched(
        path=place / sha256 / address.file,
        source=address.text,
        names=(address.file, f"{parts.hostname}{parts.path}", f"{address.file}@{sha256[:12]}"),
        url=address.text,
        revision=f"sha256:{sha256}",
        notes=notes,
    )


def cache_folder() -> Path:
    """Where downloads from the web are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(home) / "filterdb" / "web"


def is_kept(path: Path, sha256: str) -> bool:
    """Whether a file is in the cache, with the content that its checksum says."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def last_answer(place: Path, address: WebAddress) -> dict[str, str]:
    """What the server said when the content came that is in the cache; empty without such."""
    try:
        answer = json.loads((place / ANSWER).read_text(encoding="utf-8"))
        if (place / answer["sha256"] / address.file).is_file():
            return {name: str(value) for name, value in answer.items()}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {}


def download(address: WebAddress, place: Path, before: Mapping[str, str]) -> str:
    """Fetch a file into its place in the cache and return its checksum."""
    if urlsplit(address.url).path.lower().endswith(".safetensors") and not before:
        header = read_header(address.url)
        if not header.n_candidates:
            msg = (
                f"Its header lists {counted(header.n_tensors, 'tensor')}, of which none is the "
                "weight of a 2-D convolution. Nothing else of it was downloaded."
            )
            raise NoConvolutionError(msg)
    asked = {"Accept-Encoding": "identity"}
    if before.get("etag"):
        asked["If-None-Match"] = before["etag"]
    elif before.get("last_modified"):
        asked["If-Modified-Since"] = before["last_modified"]
    with opened(address.url, asked) as response:
        if response.headers.get_content_type() == "text/html":
            msg = (
                "The server sends a web page, not a file. Look on it for the link of the file "
                "itself (on GitHub: 'raw')."
            )
            raise ReadError(msg)
        length = response.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else None
        check_size(size)
        announce(size, address.text)
        sha256 = keep(response, place, address, size)
        answer = {
            "sha256": sha256,
            "etag": response.headers.get("ETag", ""),
            "last_modified": response.headers.get("Last-Modified", ""),
        }
    write_whole(place / ANSWER, answer)
    return sha256


def keep(response: HTTPResponse, place: Path, address: WebAddress, size: int | None) -> str:
    """Write what comes, and put it under its checksum once it is complete.

    Raises
    ------
    CorruptFileError
        It broke off, or is not of the checksum that was given.
    """
    place.mkdir(parents=True, exist_ok=True)
    hashed, done, meter = hashlib.sha256(), 0, Meter(size)
    number, name = tempfile.mkstemp(dir=place, prefix="incomplete-")
    try:
        with os.fdopen(number, "wb") as file:
            while block := response.read(BLOCK):
                done += len(block)
                check_size(done)
                hashed.update(block)
                file.write(block)
                meter.at(done)
        if size is not None and done != size:
            msg = f"The connection broke off after {done:,} of {size:,} bytes. Try again."
            raise CorruptFileError(msg)
        sha256 = hashed.hexdigest()
        if address.sha256 not in (None, sha256):
            msg = (
                f"Its content has the sha256 {sha256}, not the one that was given: it is damaged, "
                "or another version. Check where the checksum is from."
            )
            raise CorruptFileError(msg)
        target = place / sha256 / address.file
        target.parent.mkdir(exist_ok=True)
        Path(name).replace(target)
    finally:
        meter.end()
        with suppress(FileNotFoundError):
            Path(name).unlink()
    return sha256


def write_whole(path: Path, answer: Mapping[str, Any]) -> None:
    """Write a small file so that nobody sees half of it."""
    other = path.with_name(f"{path.name}.{os.getpid()}")
    other.write_text(json.dumps(answer), encoding="utf-8")
    other.replace(path)
