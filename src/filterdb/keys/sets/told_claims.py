"""What a key set's file claims of held-out networks: checked, as everything in a file is."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from filterdb.keys.key_set import KeySet
from filterdb.keys.search.found import Claim

MOST = 32


def told_claims(keys: KeySet) -> tuple[Claim, ...]:
    """The claims that a search put into the metadata of its keys; none where one is malformed."""
    told = keys.metadata.get("claims")
    rows = told if isinstance(told, list | tuple) else ()
    claims = [_claim(row) for row in rows[:MOST]]
    known = tuple(claim for claim in claims if claim is not None)
    return known if len(known) == len(claims) else ()


def told_groups(keys: KeySet) -> tuple[int, str] | None:
    """Over how many groups claims were made, and of which column; None where nobody says."""
    told = keys.metadata.get("held_out")
    if not isinstance(told, Mapping):
        return None
    groups, by = told.get("groups"), told.get("by")
    return (groups, by) if type(groups) is int and isinstance(by, str) else None


def _claim(row: Any) -> Claim | None:
    """One claim, or None where it is none."""
    if not isinstance(row, Mapping):
        return None
    measure: Any = row.get("measure")
    control: Any = row.get("control")
    value: Any = row.get("value")
    chance: Any = row.get("chance")
    above = row.get("above")
    ends = tuple(row.get(name) for name in ("low", "high", "excess_low", "excess_high"))
    good = (
        isinstance(measure, str)
        and isinstance(control, str)
        and (above is None or type(above) is bool)
        and all(map(_is_share, (value, chance)))
        and all(end is None or _is_share(end) for end in ends)
    )
    if not good:
        return None
    return Claim(
        measure=measure, value=value, low=ends[0], high=ends[1], chance=chance, control=control,
        excess_low=ends[2], excess_high=ends[3], above=above,
    )  # fmt: skip


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and isfinite(value)
