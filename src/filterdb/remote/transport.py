"""HTTP with care: time-outs, sizes, and redirects that stay with encryption."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage
from typing import IO, TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit

from filterdb._version import __version__
from filterdb.errors import ReadError

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from urllib.request import OpenerDirector, Request

TIMEOUT = 20.0
"""Seconds without a byte after which a server is given up."""
MOST_BYTES = 8 * 2**30
"""Size from which on nothing is downloaded."""
REDIRECTS = 5

STATUS = {
    401: "The server wants a login (401). Download the file yourself, and name that.",
    403: "The server refuses access (403). Download the file yourself, and name that.",
    404: "The server has no such file (404). Check the spelling.",
    410: "The file is gone (410). Look for another source.",
    416: "The server has no such part of the file (416): it changed, or is empty.",
    429: "The server answers too many requests (429). Try again later.",
}


class UnreachableError(ReadError):
    """No answer from the network: what a cache has may be used in its place."""


class Unchanged(Exception):  # noqa: N818  (an answer, no error)
    """What is in the cache already is still right (304)."""


def opener() -> OpenerDirector:
    """What opens a URL: http and https only, each redirect checked."""
    from urllib import request

    class Redirect(request.HTTPRedirectHandler):
        max_redirections = REDIRECTS
        max_repeats = 2

        def redirect_request(
            self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage,
            newurl: str,
        ) -> Request | None:  # fmt: skip
            try:
                check_redirect(req.full_url, newurl)
            except ReadError:
                fp.close()
                raise
            following = super().redirect_request(req, fp, code, msg, headers, newurl)
            if following and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
                following.remove_header("Authorization")  # a token is for one server only
            return following

    director = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        Redirect,
        request.HTTPErrorProcessor,
    ):
        director.add_handler(handler())
    return director


def check_redirect(before: str, after: str) -> None:
    """Refuse a redirect that leaves https, or http and https altogether.

    Raises
    ------
    ReadError
        It does.
    """
    old, new = urlsplit(before).scheme, urlsplit(urljoin(before, after)).scheme
    if new != "https" and new != old:
        msg = f"The server sends on from {old} to {new}, which is refused. Use another source."
        raise ReadError(msg)


@contextmanager
def opened(url: str, headers: Mapping[str, str] | None = None) -> Iterator[HTTPResponse]:
    """Open a URL for reading.

    Raises
    ------
    UnreachableError
        There is no connection, or no answer in time.
    Unchanged
        The answer to a conditional request.
    ReadError
        The server says no; the message has the mend, and never a header of ours.
    """
    from urllib.request import Request

    request = Request(  # noqa: S310  (the scheme is checked in the address)
        url, headers={"User-Agent": f"filterdb/{__version__}", **(headers or {})}
    )
    host = urlsplit(url).hostname or "the server"
    try:
        response = opener().open(request, timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        raise refusal(error.code, host) from error
    except (OSError, HTTPException) as error:
        raise UnreachableError(why_unreachable(error, host)) from error
    with response:
        try:
            yield response
        # What the caller does with the bytes, such as to write them, fails under its own name.
        except (ConnectionError, TimeoutError, ssl.SSLError, HTTPException) as error:
            raise UnreachableError(why_unreachable(error, host)) from error


def refusal(status: int, host: str) -> Exception:
    """What an answer other than the file means, with the mend."""
    if status == 304:
        return Unchanged()
    if status >= 500:
        return UnreachableError(
            f"The server {host} has trouble of its own ({status}). Try again later."
        )
    if status < 400:
        return ReadError(f"The server {host} sends on in a circle, or to what is no website.")
    return ReadError(STATUS.get(status, f"The server {host} refuses it ({status})."))


def why_unreachable(error: Exception, host: str) -> str:
    """What is wrong with a connection, and the mend."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, ssl.SSLError):
        return f"The certificate of {host} cannot be trusted or the connection is not secure."
    if isinstance(cause, TimeoutError):
        return f"There is no answer from {host} within {TIMEOUT:g} seconds. Try again later."
    if isinstance(cause, socket.gaierror):
        return f"The host {host} is not found. Check its spelling and the network connection."
    if isinstance(error, HTTPException | ConnectionResetError):
        return f"The connection to {host} broke off. Try again."
    return f"The host {host} cannot be reached. Check the network connection, or a proxy's setting."


def read_part(
    url: str, begin: int, end: int, headers: Mapping[str, str] | None = None
) -> tuple[bytes, int | None]:
    """Bytes ``begin`` to ``end`` of a file, and its whole size where the server says it.

    A server without range requests sends the file from its beginning: it is read no further than
    is needed.
    """
    span = {"Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
    with opened(url, {**(headers or {}), **span}) as response:
        partial = response.status == 206
        data = response.read(end - begin if partial else end)
        if partial:
            whole = response.headers.get("Content-Range", "").rpartition("/")[2]
        else:
            whole = response.headers.get("Content-Length", "")
            data = data[begin:]
    return data, int(whole) if whole.isdecimal() else None
