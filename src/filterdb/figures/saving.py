"""Figures as files: whole or not at all, and the same bytes for the same figure."""

from __future__ import annotations

import errno
import os
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from filterdb.errors import ExportError
from filterdb.extras import require
from filterdb.figures.style import house

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
DPI = 150


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int = DPI) -> Path:
    """Write a figure as PNG, SVG or PDF, by the path's suffix; a file of that name is replaced.

    Parameters
    ----------
    figure
        Any figure. Its label, a sentence on what it shows, becomes the file's description.
    path
        Where to; its folder must be there.
    dpi
        Dots per inch of a PNG, and of images within the others.

    Returns
    -------
    Path
        The file. It is complete or, after an error, as it was.

    Raises
    ------
    ExportError
        The suffix is none of these.
    OSError
        The file cannot be written.
    """
    path = Path(path)
    kind = format_of(path)
    write_whole(render(figure, kind, dpi=dpi), path)
    return path


def write_whole(content: bytes, path: Path) -> None:
    """Write a file, complete or not at all; through a link, what it leads to.

    Raises
    ------
    OSError
        It cannot be written, or is there and is no regular file.
    """
    target = Path(os.path.realpath(path))
    if target.is_symlink():  # links that lead to one another
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "it is there and is no regular file", str(path))
    draft = target.with_name(f".filterdb-{token_hex(8)}.tmp")  # short, however long the name is
    try:
        draft.write_bytes(content)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def format_of(path: str | os.PathLike[str]) -> str:
    """``png``, ``svg`` or ``pdf``: so that a wrong suffix is found before anything is computed.

    Raises
    ------
    ExportError
        The suffix is none of these.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        names = ", ".join(SUFFIXES)
        msg = f"{os.fspath(path)!r} is no name for a picture: let it end in one of {names}."
        raise ExportError(msg)
    return suffix[1:]


def render(figure: Figure, kind: str = "png", *, dpi: int = DPI) -> bytes:
    """The content of the file that :func:`save` writes, for who embeds it in a page.

    The bytes depend on the figure and the version of matplotlib, not on time or chance.
    """
    matplotlib = require("matplotlib", extra="plot")
    description = str(figure.get_label())
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": "filterdb", "Description": description},
        "svg": {"Date": None, "Creator": "filterdb", "Description": description},
        "pdf": {"CreationDate": None, "Creator": "filterdb", "Subject": description},
    }
    buffer = BytesIO()
    with house("light"):  # what is decided only now: the colours are the figure's own
        matplotlib.rcParams.update({"svg.hashsalt": "filterdb", "pdf.fonttype": 42})
        figure.savefig(
            buffer,
            format=kind,
            dpi=dpi,
            metadata=metadata[kind],
            facecolor=figure.get_facecolor(),
        )
    return buffer.getvalue()
