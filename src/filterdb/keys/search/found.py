"""What a search for keys comes back with: the keys, what they explain, and what chance does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filterdb.keys.key_set import KeySet

THRESHOLDS = (0.7, 0.8, 0.9, 0.95)
"""R² from which a filter counts as explained."""
MEAN = "mean R²"
"""Name of the measure that needs no threshold."""


@dataclass(frozen=True, slots=True)
class Explained:
    """How well keys fit filters.

    Attributes
    ----------
    filters
        Number of filters with a shape: the base of all shares.
    shares
        Of these filters, with R² of at least each of :data:`THRESHOLDS`.
    mean_r2
        Mean of R².
    """

    filters: int
    shares: tuple[float, ...]
    mean_r2: float

    def at(self, threshold: float) -> float:
        """Share of the filters with R² of at least one of :data:`THRESHOLDS`."""
        return self.shares[THRESHOLDS.index(threshold)]


@dataclass(frozen=True, slots=True)
class Control:
    """What chance does with as many keys.

    Attributes
    ----------
    by_found
        Kernels of the control, explained by the networks' keys.
    by_own
        Kernels of the control, explained by keys that were found on other kernels of the
        control: how much so many keys explain where there is nothing to find.
    """

    by_found: Explained
    by_own: Explained


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What so many keys explain of networks that they were not found on.

    Attributes
    ----------
    k
        Number of keys.
    networks
        Filters of held-out networks, or of held-out layers of few networks.
    layers
        Share of the held-out layers whose median filter has R² of at least each threshold.
    controls
        Name (``"gaussian"``, ``"shuffled"``, ``"spectrum"``, ``"covariance"``,
        ``"initialisation"``) -> chance.
    """

    k: int
    networks: Explained
    layers: tuple[float, ...]
    controls: Mapping[str, Control]


@dataclass(frozen=True, slots=True)
class NetworkCoverage:
    """What the keys that were found on other networks explain of one.

    Attributes
    ----------
    model, group
        Its name, and the group with which it was held out.
    layers, filters
        In it and of this kernel size; filters that have a shape.
    explained
        By keys found without its group.
    """

    model: str
    group: str
    layers: int
    filters: int
    explained: Explained


@dataclass(frozen=True, slots=True)
class GroupCoverage:
    """What the keys that were found on other networks explain of the layers of a group.

    Attributes
    ----------
    axis, name
        What layers are grouped by, and the group: ``"depth_decile"``, ``"(0.1,0.2]"``.
    models, layers, filters
        In it; filters that have a shape.
    explained
        By keys found without the network.
    """

    axis: str
    name: str
    models: int
    layers: int
    filters: int
    explained: Explained


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whether another search finds the same.

    Attributes
    ----------
    other
        ``"seed 2"``, ``"greedy"``, ``"autoencoder"``.
    matched
        Mean cosine (absolute, unless signed) of keys matched one to one.
    least
        The smallest of them.
    same
        How many matched keys have a cosine of at least 0.95.
    rand_index
        Adjusted Rand index of the two labellings of the filters: 1 the same, 0 chance.
    chance_matched
        What ``matched`` is for as many random keys.
    """

    other: str
    matched: float
    least: float
    same: int
    rand_index: float
    chance_matched: float


@dataclass(frozen=True, slots=True)
class Claim:
    """Whether the keys explain more than chance does, at one threshold or by the mean.

    Attributes
    ----------
    measure
        ``"R² >= 0.9"``, ..., or :data:`MEAN`.
    value, low, high
        Of held-out networks, with the 95 % interval over groups of networks (None where there
        are too few groups).
    chance, control
        The most that as many keys of its own explain of a control, and which one; where another
        control is not exceeded, that one.
    excess_low, excess_high
        Of ``value - chance``, the 95 % interval over groups: kernels of a control that stand for
        a filter each are drawn with it.
    above
        Whether all controls are exceeded, at the lower end of the interval, by half a point;
        None where there is no interval.
    """

    measure: str
    value: float
    low: float | None
    high: float | None
    chance: float
    control: str
    excess_low: float | None
    excess_high: float | None
    above: bool | None


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search went through.

    Attributes
    ----------
    models, layers, filters
        All of the selection.
    shaped, constant, zero
        Filters with a shape, constant ones, and nearly zero ones.
    sampled
        Filters with a shape among those that the search worked on (all, where it is as many).
    held_out_by, groups
        Column whose values were held out together, and how many values there are.
    left_out
        Why layers of the selection are not in it -> how many.
    """

    models: int
    layers: int
    filters: int
    shaped: int
    constant: int
    zero: int
    sampled: int
    held_out_by: str
    groups: int
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """The filters that the keys fit best and worst.

    Attributes
    ----------
    best, worst
        Normal forms, float32 of shape ``(m, kh, kw)``.
    best_r2, worst_r2
        Their R², shape ``(m,)``.
    """

    best: NDArray[np.float32]
    best_r2: NDArray[np.float32]
    worst: NDArray[np.float32]
    worst_r2: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class CodeAxis:
    """What an autoencoder with one code draws along it.

    Attributes
    ----------
    decoded
        Filters at evenly spaced codes, ``(C, kh, kw)``, mean 0 and norm 1.
    counts
        How many of the filters have their code nearest to each, int64 ``(C,)``.
    kept
        Indices of those that became keys.
    """

    decoded: NDArray[np.float64]
    counts: NDArray[np.int64]
    kept: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FoundKeys:
    """Keys, found on a population, and what they are worth.

    Attributes
    ----------
    keys
        The keys, those with the most filters first, named.
    method, seeds
        How they were found, and with how many starts.
    searched
        What the search went through.
    fitted
        What the keys explain of the filters that they were found on.
    shares
        Of these filters, by key, shape ``(K,)``.
    curve
        Held out, against the number of keys; ``curve[i].k == len(keys)`` for one of them.
    networks
        Each network, explained by keys found on others.
    groups
        The same by depth, by data set, and by whatever was asked for.
    agreement
        With other seeds and methods.
    claims
        What is above chance, and what is not.
    examples
        Best and worst.
    axis
        Of the autoencoder; None for other methods.
    notes
        What else to know, in sentences.
    """

    keys: KeySet
    method: str
    seeds: int
    searched: Searched
    fitted: Explained
    shares: NDArray[np.float64]
    curve: tuple[CurvePoint, ...]
    networks: tuple[NetworkCoverage, ...]
    groups: tuple[GroupCoverage, ...]
    agreement: tuple[Agreement, ...]
    claims: tuple[Claim, ...]
    examples: Examples
    axis: CodeAxis | None = None
    notes: tuple[str, ...] = ()

    @property
    def point(self) -> CurvePoint:
        """The point of the curve with as many keys as the set."""
        return next(point for point in self.curve if point.k == len(self.keys))

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; the keys themselves as nested lists."""
        keys = [
            {**asdict(name), "text": text, "share": float(share), "filter": key.tolist()}
            for name, text, share, key in zip(
                self.keys.names, self.keys.texts, self.shares, self.keys.filters, strict=True
            )
        ]
        return {
            "kernel": list(self.keys.kernel),
            "id": self.keys.id,
            "method": self.method,
            "seeds": self.seeds,
            "equivalence": self.keys.equivalence.to_dict(),
            "thresholds": list(THRESHOLDS),
            "searched": _plain(self.searched),
            "keys": keys,
            "fitted": _plain(self.fitted),
            "curve": [_plain(point) for point in self.curve],
            "networks": [_plain(network) for network in self.networks],
            "groups": [_plain(group) for group in self.groups],
            "agreement": [_plain(agreement) for agreement in self.agreement],
            "claims": [_plain(claim) for claim in self.claims],
            "notes": list(self.notes),
        }


def _plain(result: Any) -> Any:
    """Dataclasses and tuples as JSON has them."""
    return asdict(result)
