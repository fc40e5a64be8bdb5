"""Whether the code of a user's own network is still that of its runs. No torch."""

from __future__ import annotations

import hashlib
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from filterdb.errors import TransferError


def code_of(name: str) -> str | None:
    """The first 16 hexadecimal digits of the SHA-256 of the module of ``module:function``.

    Of its file alone, and not of what it imports. None for networks that are built in or of timm,
    and where there is no such file: building the network says then what is wrong.
    """
    module, colon, _ = name.partition(":")
    if not colon or module == "timm":
        return None
    folder = str(Path.cwd())
    sys.path.append(folder)  # where `own` looks last, too
    try:
        with suppress(Exception):  # parents of a dotted name are imported: anything can happen
            spec = find_spec(module)
            if spec is not None and spec.origin is not None:
                return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()[:16]
    finally:
        sys.path.remove(folder)
    return None


def refuse_changed_code(name: str, code: str | None) -> None:
    """Refuse to build a network whose module is not the one that its run was planned with.

    Raises
    ------
    TransferError
        The module has changed.
    """
    found = code_of(name)
    if None not in (code, found) and code != found:
        msg = (
            f"The module of the network {name} is not the one that the run was planned with: its "
            "file has changed since. Give the command again: with other code they are other runs."
        )
        raise TransferError(msg)
