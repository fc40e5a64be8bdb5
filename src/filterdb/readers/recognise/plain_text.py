"""Telling kinds of text apart, by the first bytes of a file. None of these functions raises."""

from __future__ import annotations

import re
from collections.abc import Callable

from filterdb.readers.head import Head

TEXT = re.compile(r"[^\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]*")


def text_of(head: Head) -> str | None:
    """The first bytes as text, or None where they are not text."""
    if not head.start:
        return None
    for cut in range(4):  # a character may be cut in two at the end
        try:
            text = head.start[: len(head.start) - cut].decode("utf-8-sig")
        except UnicodeDecodeError:
            if len(head.start) == head.size:
                return None
            continue
        return text if TEXT.fullmatch(text) else None
    return None


def is_text(head: Head) -> bool:
    """Any text in UTF-8."""
    return text_of(head) is not None


def text_matches(pattern: str) -> Callable[[Head], bool]:
    """Text that begins with ``pattern``, case ignored, after white space."""
    compiled = re.compile(r"\s*(?:" + pattern + ")", re.IGNORECASE | re.DOTALL)
    return lambda head: compiled.match(text_of(head) or "") is not None


def is_openvino(head: Head) -> bool:
    """OpenVINO's XML."""
    return re.match(r"\s*(<\?xml[^>]*>\s*)?<net\s+name=", text_of(head) or "") is not None


def is_table(head: Head) -> bool:
    """Comma- or tab-separated lines that all have the same number of separators."""
    lines = (text_of(head) or "").splitlines()[:20]
    lines = lines[:-1] if len(lines) > 2 else lines  # the last one may be cut
    return len(lines) > 1 and any(
        lines[0].count(mark) > 0 and len({line.count(mark) for line in lines}) == 1
        for mark in ",\t;"
    )
