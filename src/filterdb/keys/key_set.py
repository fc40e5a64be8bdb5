"""A key set: a few filters in normal form, their names, and where they come from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.errors import KeySetError
from filterdb.keys.equivalence import Equivalence, Kernel
from filterdb.keys.normal import CONSTANT

Array = NDArray[np.float64]

MOST_KEYS = 4096
THRESHOLD = 0.8
"""R² below which a filter is a copy of no key, but "other"."""
MEASURED = ("chance", "fitted", "held_out", "claims", "verdict")
"""Metadata that were measured with these very keys, and hold for no others."""


@dataclass(frozen=True, slots=True)
class KeyName:
    """What the analytic family calls a key (:mod:`filterdb.keys.naming.naming`).

    Attributes
    ----------
    text
        In words: ``"Gaussian"``, ``"d/dx forward"``; ``"key 3"`` where no member fits.
    member
        Name of the member of the family; None where none fits.
    sigma_x, sigma_y
        Its scales in pixels; None where it has none.
    r2
        Share of the key that the member explains; None where none was tried.
    """

    text: str
    member: str | None = None
    sigma_x: float | None = None
    sigma_y: float | None = None
    r2: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """Master key filters of one kernel size.

    Attributes
    ----------
    name
        A word: ``"published8"``.
    filters
        Float64 of shape ``(K, kh, kw)``, each of mean 0 and norm 1 (METHODS 3.3).
    names
        What each is called.
    equivalence
        What does not matter when filters are compared with them.
    metadata
        What is known of the set, as JSON has it: ``source`` (population or publication),
        ``licence``, ``method``; ``networks_found_on`` (the first 16 hexadecimal digits of each
        network's ``weights_hash``); and what was measured (:data:`MEASURED`).

    Raises
    ------
    KeySetError
        There are no keys, or one is constant or not finite.
    """

    name: str
    filters: Array
    names: tuple[KeyName, ...] = ()
    equivalence: Equivalence = field(default_factory=Equivalence)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        filters = np.array(self.filters, np.float64)
        if filters.ndim != 3 or not 1 <= len(filters) <= MOST_KEYS or filters[0].size < 2:
            msg = (
                f"Keys of shape {filters.shape} are no key set: it takes (K, kh, kw) with 1 to "
                f"{MOST_KEYS:,} keys of two taps or more."
            )
            raise KeySetError(msg)
        flat = filters.reshape(len(filters), -1)
        with np.errstate(over="ignore", invalid="ignore"):
            flat = flat / np.maximum(np.abs(flat).max(axis=1, keepdims=True), 1e-300)
            flat = flat - flat.mean(axis=1, keepdims=True)
            norms = np.linalg.norm(flat, axis=1)
        bad = np.flatnonzero(~(norms > CONSTANT))
        if len(bad):
            msg = (
                f"Key {bad[0] + 1} of the set {self.name!r} is constant or not finite, so that no "
                "filter is a copy of it. Take it out of the set."
            )
            raise KeySetError(msg)
        if self.names and len(self.names) != len(filters):
            msg = f"The key set {self.name!r} has {len(filters)} keys, but {len(self.names)} names."
            raise KeySetError(msg)
        flat /= norms[:, None]
        names = self.names or tuple(KeyName(f"key {i + 1}") for i in range(len(filters)))
        object.__setattr__(self, "filters", flat.reshape(filters.shape))
        object.__setattr__(self, "names", names)

    @property
    def kernel(self) -> Kernel:
        """Height and width of the keys."""
        return self.filters.shape[1], self.filters.shape[2]

    @property
    def flat(self) -> Array:
        """The keys as rows, float64 of shape ``(K, k)``."""
        return self.filters.reshape(len(self.filters), -1)

    @property
    def texts(self) -> tuple[str, ...]:
        """What each key is called, no two the same: a text that stands twice gets a number.

        It is made anew at every call.
        """
        times = Counter(name.text for name in self.names)
        numbers = {text: map(str, count(1)) for text, number in times.items() if number > 1}

        def numbered(text: str) -> str:
            # What another key is called already is passed over.
            return next(f"{text} {number}" for number in numbers[text]
                        if f"{text} {number}" not in times)  # fmt: skip

        return tuple(
            numbered(name.text) if name.text in numbers else name.text for name in self.names
        )

    @property
    def id(self) -> str:
        """The version of the set: 16 hexadecimal digits, a hash of the keys and of what is same."""
        digest = hashlib.sha256(np.asarray(self.filters.shape, "<i8").tobytes())
        digest.update(self.filters.astype("<f4").tobytes())
        digest.update(repr(self.equivalence).encode())
        return digest.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.filters)

    def __repr__(self) -> str:
        height, width = self.kernel
        return f"<KeySet {self.name!r}: {len(self)} keys, {height}x{width}>"

    @property
    def origin(self) -> dict[str, Any]:
        """The metadata without what was measured: what still holds where the keys change."""
        return {name: value for name, value in self.metadata.items() if name not in MEASURED}

    def take(self, chosen: list[int], *, name: str | None = None) -> KeySet:
        """Some of the keys, in the order given; what was measured with all of them is left out."""
        return replace(
            self,
            name=name or self.name,
            filters=self.filters[chosen],
            names=tuple(self.names[index] for index in chosen),
            metadata=self.origin,
        )

    def alike(self, equivalence: Equivalence) -> KeySet:
        """The same keys where something else does not matter: another version of the set.

        What was measured with the set as it was is left out.
        """
        if equivalence == self.equivalence:
            return self
        return replace(self, equivalence=equivalence, metadata=self.origin)

    def cosines(self, other: KeySet) -> Array:
        """Cosine of every key with every key of another set of the same size, ``(K, L)``."""
        if other.kernel != self.kernel:
            sizes = ["{}x{}".format(*found.kernel) for found in (self, other)]
            msg = (
                f"The key sets {self.name!r} ({sizes[0]}) and {other.name!r} ({sizes[1]}) are of "
                "different kernel sizes. Bring one to the size of the other: --resize padding "
                "(`KeySet.padded`) or --resize analytic (`filterdb.keys.analytic`)."
            )
            raise KeySetError(msg)
        product: Array = self.flat @ other.flat.T
        return product

    def padded(self, kernel: Kernel) -> KeySet:
        """The keys in the middle of a kernel of another size: zeros around, or their rim cut.

        Raises
        ------
        KeySetError
            The sizes differ by an odd number, so that there is no middle; or nothing is left.
        """
        steps = [new - old for new, old in zip(kernel, self.kernel, strict=True)]
        if any(step % 2 for step in steps):
            msg = "{}x{} keys have no place in the middle of a {}x{} kernel.".format(
                *self.kernel, *kernel
            )
            raise KeySetError(msg)
        result = self.filters
        for axis, step in enumerate(steps, 1):
            margin = abs(step) // 2
            if step >= 0:
                widths = [(0, 0), (0, 0), (0, 0)]
                widths[axis] = (margin, margin)
                result = np.pad(result, widths)
            else:
                result = result.take(range(margin, result.shape[axis] - margin), axis=axis)
        how = "by cropping its rim" if min(steps) < 0 else "by centred zero-padding"
        origin = "{}x{} {}".format(*self.kernel, how)
        return replace(self, filters=result, metadata={**self.origin, "resized_from": origin})
