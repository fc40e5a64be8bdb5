"""What the hub's library raises, in one sentence with the mend.

Its own messages are not passed on: they are long, and of requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filterdb.errors import ReadError
from filterdb.remote.address import HubAddress
from filterdb.remote.library import endpoint, host
from filterdb.remote.transport import UnreachableError

NO_CONNECTION = {
    "ConnectError", "ConnectionError", "NetworkError", "ProtocolError", "TransportError",
    "RequestException", "OfflineModeIsEnabled", "SSLError", "gaierror",
}  # fmt: skip
"""Among the classes of what the library raises without a connection; it changed its own library
for HTTP once."""
STRANGE = "The hub's answer is not understood. Check HF_ENDPOINT, or update huggingface_hub."


class NoRepositoryError(ReadError):
    """The hub has no such repository, or does not say so."""


@contextmanager
def explained(address: HubAddress) -> Iterator[None]:
    """Turn what the hub's library raises into one sentence with the mend.

    The library's own messages are not passed on: they are long, and of requests.
    """
    try:
        yield
    except ReadError:
        raise
    except Exception as error:
        raise as_read_error(error, address) from error


def as_read_error(error: Exception, address: HubAddress) -> ReadError:
    """What the hub's library raised, in words of ours."""
    chain: list[BaseException] = [error]
    while (below := chain[-1].__cause__) is not None and len(chain) < 10:
        chain.append(below)
    kinds = {kind.__name__ for link in chain for kind in type(link).__mro__}
    page = f"{endpoint()}/{address.repository}"
    statuses = [getattr(getattr(link, "response", None), "status_code", None) for link in chain]
    status = next((status for status in statuses if isinstance(status, int)), None)
    if "GatedRepoError" in kinds:
        msg = (
            f"Its owner lets only those have it who asked. Ask for it at {page}, then log in with: "
            "hf auth login (or set HF_TOKEN)."
        )
        return ReadError(msg)
    if "RevisionNotFoundError" in kinds:
        msg = f"It has no branch, tag or commit {address.revision!r}. See {page}/tree/main."
        return ReadError(msg)
    if kinds & {"RepositoryNotFoundError", "DisabledRepoError"} or status == 401:
        msg = (
            f"The hub has no such repository, or it is private ({page}). Check the spelling; if "
            "it is yours, log in with: hf auth login (or set HF_TOKEN)."
        )
        return NoRepositoryError(msg)
    if kinds & {"RemoteEntryNotFoundError"} or ("EntryNotFoundError" in kinds and status == 404):
        return ReadError(f"The repository has no such file. See {page}/tree/main.")
    if "HFValidationError" in kinds:
        return ReadError("The hub takes no such name. Write hf://org/name.")
    if status is not None and 400 <= status < 500:
        return ReadError(f"The hub refuses it ({status}). Try again later, or see {page}.")
    if status is not None:
        return UnreachableError(f"The hub has trouble of its own ({status}). Try again later.")
    if any("Timeout" in kind for kind in kinds):
        return UnreachableError(f"There is no answer from {host()} in time. Try again later.")
    local = next((link for link in chain if isinstance(link, OSError) and link.filename), None)
    if local is not None:
        return ReadError(f"The hub's cache cannot be used: {local.strerror} ({local.filename}).")
    if not kinds & NO_CONNECTION or "JSONDecodeError" in kinds:
        return ReadError(STRANGE)
    msg = f"The hub at {host()} cannot be reached. Check the network connection, or HF_ENDPOINT."
    return UnreachableError(msg)
