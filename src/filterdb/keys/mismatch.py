"""What is said where no layer has filters of the size of the keys: what there is, and the mend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from filterdb.keys.equivalence import Kernel
from filterdb.keys.key_set import KeySet

MOST = 12


def other_sizes(keys: KeySet, what: str, found: str) -> str:
    """That layers are of other sizes than the keys, and how to bring the keys there.

    Parameters
    ----------
    keys
        The set.
    what
        The layers: ``"depthwise layer"``.
    found
        Those there are, as :func:`tallied` lists them.
    """
    return (
        f"The keys of the set {keys.name!r} are {size_of(keys.kernel)}, and no {what} is. The "
        f"{what}s are: {found}. Bring the keys to that size: --resize padding (`KeySet.padded`) "
        "puts them in the middle of such a kernel, --resize analytic (`filterdb.keys.analytic`) "
        "takes the members of the analytic family that they are named after."
    )


def tallied(found: Iterable[str]) -> str:
    """``"depthwise 3x3 (12), conv 1x1 (4)"``, the most frequent first."""
    return ", ".join(f"{what} ({count:,})" for what, count in Counter(found).most_common(MOST))


def tallied_sizes(kernels: Sequence[Kernel]) -> str:
    """``"3x3 (12), 5x5 (4)"``, the most frequent first."""
    return tallied(map(size_of, kernels))


def size_of(kernel: Kernel) -> str:
    """``"3x3"``."""
    return "{}x{}".format(*kernel)
