"""Names that stand for files elsewhere: ``hf://org/name``, ``timm:NAME``, ``https://...``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeGuard
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from filterdb.errors import ReadError

NAME = re.compile(r"(?:(hf):/{1,2}|(timm):|(https?):/{1,2})", re.IGNORECASE)
"""What a name begins with. A ``Path`` made of one has lost the second slash."""
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"(refs/(?:pr|convert)/[^/]+|[^/]+)(?:/(.*))?")
SHA256 = re.compile(r"sha256[=:-]([0-9a-fA-F]{64})")
SECRET = re.compile(r"token|key|sig|secret|passw|credential|auth", re.IGNORECASE)
THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class HubAddress:
    """A repository of a model hub.

    Attributes
    ----------
    text
        As it was given.
    repository
        ``"org/name"``.
    revision
        Branch, tag or commit; None for the main branch.
    file
        One file of it; None where the choice is ours.
    timm
        What was named ``timm:NAME``: it may be an architecture, of which there are several.
    """

    text: str
    repository: str
    revision: str | None = None
    file: str | None = None
    timm: str | None = None


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A file on the web.

    Attributes
    ----------
    text
        As it was given, without what looks like a secret in it: fit to be shown.
    url
        Where it is, without the checksum.
    sha256
        Of its content, if that was given; lower case.
    """

    text: str
    url: str
    sha256: str | None = None

    @property
    def file(self) -> str:
        """The last part of the path, as a file may be called here."""
        last = unquote(urlsplit(self.url).path).rsplit("/", 1)[-1]
        return re.sub(r"[^\w.-]", "_", last, flags=re.ASCII).lstrip(".")[-100:] or "file"


Address = HubAddress | WebAddress


def is_address(source: object) -> TypeGuard[str]:
    """Whether something stands for a file elsewhere. A file of such a name is ``./timm:name``."""
    return isinstance(source, str) and NAME.match(source) is not None


def parse(text: str) -> Address:
    """What a name stands for.

    Raises
    ------
    ReadError
        It is no valid name; the message says what one looks like.
    """
    begin = NAME.match(text)
    if begin is None:
        msg = "This is no name of a network elsewhere: hf://org/name, timm:NAME, https://..."
        raise ReadError(msg).at(file=text)
    rest = text[begin.end() :]
    if begin[1]:
        return hub_address(text, rest)
    if begin[2]:
        return timm_address(text, rest)
    return web_address(text, f"{begin[3].lower()}://{rest}")


def hub_address(text: str, rest: str) -> HubAddress:
    """``org/name[@revision][/file]``."""
    rest = rest.removeprefix("models/") if rest.count("/") >= 2 else rest
    name, at, further = rest.partition("@")
    if not at:
        parts = name.split("/")
        name, file = "/".join(parts[:2]), "/".join(parts[2:])
        revision = None
    else:
        matched = REVISION.fullmatch(further)
        revision, file = (unquote(matched[1]), matched[2] or "") if matched else ("", "")
    parts = name.split("/")
    if parts[0] in ("datasets", "spaces", "buckets", "kernels") and len(parts) == 2 and file:
        msg = "Only repositories of models can be read: hf://org/name."
        raise ReadError(msg).at(file=text)
    valid = len(parts) <= 2 and all(REPOSITORY.fullmatch(part) for part in parts)
    if not valid or revision == "" or (file and not is_safe(file)):
        msg = (
            "This is no valid name of a network on the hub. Write hf://org/name, "
            "hf://org/name@revision or hf://org/name@revision/file."
        )
        raise ReadError(msg).at(file=text)
    return HubAddress(text, name, revision, file or None)


def timm_address(text: str, rest: str) -> HubAddress:
    """``NAME[@revision]``, a repository of ``timm``."""
    name, at, revision = rest.removeprefix("timm/").partition("@")
    if not REPOSITORY.fullmatch(name) or (at and not revision):
        msg = "This is no valid name of a timm network. Write for example timm:resnet18.a1_in1k."
        raise ReadError(msg).at(file=text)
    return HubAddress(text, f"timm/{name}", revision or None, None, name)


def web_address(text: str, url: str) -> WebAddress:
    """``https://host/path[#sha256=...]``; plain http only on this machine.

    Raises
    ------
    ReadError
        It is no such URL, has a password in it, or a checksum of another kind.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        host, parts = None, SplitResult("", "", "", "", "")
    shown = without_secrets(parts)
    if not host or any(character.isspace() or not character.isprintable() for character in url):
        msg = "This is no valid URL. Write https://host/path."
        raise ReadError(msg).at(file=shown if host else text.split("?")[0])
    if parts.username or parts.password:
        msg = "A URL with a name or a password in it is not used. Download the file yourself."
        raise ReadError(msg).at(file=shown)
    if parts.scheme == "http" and host not in THIS_MACHINE:
        msg = "Plain http can be altered on its way and is not used. Write https://."
        raise ReadError(msg).at(file=shown)
    checksum = SHA256.fullmatch(parts.fragment)
    if parts.fragment and not checksum:
        msg = "After the # of a URL stands its checksum: #sha256= and 64 hexadecimal digits."
        raise ReadError(msg).at(file=shown)
    # A URL is ASCII; what is escaped in it stays so.
    plain = parts._replace(
        path=quote(parts.path, safe="/%:@!$&'()*+,;=~"),
        query=quote(parts.query, safe="/%:@!$&'()*+,;=~?"),
        fragment="",
    )
    return WebAddress(shown, plain.geturl(), checksum[1].lower() if checksum else None)


def without_secrets(parts: SplitResult) -> str:
    """A URL as it may be shown: no password, no signature, no checksum."""
    place = parts.netloc.rpartition("@")[2]
    query = parts.query
    if any(SECRET.search(name) for name, _ in parse_qsl(query, keep_blank_values=True)):
        query = "…"
    return parts._replace(netloc=place, query=query, fragment="").geturl()


def is_safe(name: str) -> bool:
    """Whether a repository's file may be called so: relative, below it, printable."""
    parts = name.split("/")
    return (
        len(name) <= 500
        and name.isprintable()
        and not set(name) & set('\\:*?"<>|')
        and all(part.strip(". ") for part in parts)
    )
