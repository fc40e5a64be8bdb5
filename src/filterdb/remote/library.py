"""The hub's own library: imported when a name is given, and not before."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from filterdb.extras import require


def library() -> Any:
    """The hub's library.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    return require("huggingface_hub", extra="hub")


def constants() -> Any:
    """The library's settings, from the variables of its environment.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    return require("huggingface_hub.constants", extra="hub")


def endpoint() -> str:
    """Where the hub is: ``HF_ENDPOINT``, or the public one."""
    return str(constants().ENDPOINT).rstrip("/")


def host() -> str:
    """The hub's host, for messages."""
    return urlsplit(endpoint()).netloc


def login_headers() -> dict[str, str]:
    """Headers for requests of our own to the hub; with the user's login, if there is one."""
    utils = require("huggingface_hub.utils", extra="hub")
    headers: dict[str, str] = utils.build_hf_headers()
    return {name: value for name, value in headers.items() if name.lower() == "authorization"}
