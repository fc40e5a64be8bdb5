"""Bounds on what a file may make us allocate: memory in proportion to its size.

Trained weights hardly compress (6-15 %), so honest files stay far below these; a bomb does not.
"""

from __future__ import annotations

from filterdb.errors import LimitError

EXPANSION = 10
ALLOWANCE = 200 * 2**20
MAX_DEPTH = 64
"""Nesting of containers (dicts in a checkpoint, subgraphs) that is still followed."""
MAX_NAME = 500
"""Characters in the name of a tensor; real names have some 100."""


def allowed_bytes(file_size: int) -> int:
    """Bytes that a file of ``file_size`` bytes may expand to, all told."""
    return EXPANSION * file_size + ALLOWANCE


def check_expansion(wanted: int, file_size: int, what: str) -> None:
    """Refuse an expansion out of proportion.

    Raises
    ------
    LimitError
        ``wanted`` bytes are more than :func:`allowed_bytes`.
    """
    if wanted > allowed_bytes(file_size):
        msg = (
            f"{what} claims {wanted:,} bytes in a file of {file_size:,}: that is out of "
            "proportion, so it was not read. If the file is genuine, decompress it first."
        )
        raise LimitError(msg)


MAX_JSON = 6_000_000
"""Bytes of a configuration in JSON, which unfolds to thirty times that at worst."""


def shortened(name: str) -> str:
    """A name as it may be shown, however long it is."""
    return name if len(name) <= MAX_NAME else f"{name[:100]}... ({len(name):,} characters)"
