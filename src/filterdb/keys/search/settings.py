"""How keys are looked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from filterdb.errors import KeySetError
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.key_set import THRESHOLD
from filterdb.keys.normal import ZERO
from filterdb.keys.search.found import THRESHOLDS
from filterdb.keys.search.methods import CANDIDATES, METHODS, Method
from filterdb.keys.search.sample import ANY, DEPTHWISE
from filterdb.population.choices import check_choice

USUAL_K = 8
USUAL_SEEDS = 5
LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
MOST_K = 64
"""Keys with which a wanted coverage is tried at most."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How keys are looked for.

    Attributes
    ----------
    k
        Number of keys.
    coverage
        Instead of ``k``: the fewest keys with which this share of the held-out filters has R²
        of at least ``threshold``.
    threshold
        One of :data:`~filterdb.keys.search.found.THRESHOLDS`.
    method
        ``"lines"``, ``"greedy"`` or ``"autoencoder"``.
    seeds, seed
        Number of starts, and the first one's seed.
    equivalence
        What does not matter when filters are compared.
    kind
        ``"depthwise"``, or ``"any"`` for the 2-D slices of all layers.
    hold_out
        Column whose values are held out together; the model if not given, or the layer where
        there are fewer than five models.
    zero
        Filters whose weights are all at most this are nearly zero.
    compare
        Further methods to compare with.
    ladder
        Numbers of keys at which the curve is taken, besides ``k``.
    by
        Axes by whose groups coverage is told apart.
    """

    k: int = USUAL_K
    coverage: float | None = None
    threshold: float = THRESHOLD
    method: Method = "lines"
    seeds: int = USUAL_SEEDS
    seed: int = 0
    equivalence: Equivalence = field(default_factory=Equivalence)
    kind: str = DEPTHWISE
    hold_out: str | None = None
    zero: float = ZERO
    compare: tuple[Method, ...] = ("greedy",)
    ladder: tuple[int, ...] = LADDER
    by: tuple[str, ...] = ("depth_decile", "training_dataset")

    @property
    def compared(self) -> tuple[Method, ...]:
        """The methods to compare with: never the method itself, lines where that leaves none."""
        others = tuple(method for method in self.compare if method != self.method)
        return others or (("lines",) if self.compare and self.method != "lines" else ())

    def check(self) -> None:
        """Make sure that they make sense.

        Raises
        ------
        QueryError, KeySetError
            One does not; the message says which and what is possible.
        """
        check_choice("method", self.method, METHODS)
        check_choice("kind", self.kind, (DEPTHWISE, ANY))
        for method in self.compare:
            check_choice("compare", method, METHODS)
        if self.threshold not in THRESHOLDS:
            listed = ", ".join(f"{threshold:g}" for threshold in THRESHOLDS)
            msg = f"threshold is {self.threshold:g}; it is one of {listed}."
            raise KeySetError(msg)
        if self.method == "autoencoder" and self.k > CANDIDATES:
            msg = (
                f"The autoencoder draws {CANDIDATES} candidates and cannot give {self.k} keys. Ask "
                "for fewer (--k), or take the method lines."
            )
            raise KeySetError(msg)
        least = {"k": self.k, "seeds": self.seeds, "ladder": min(self.ladder, default=1)}
        for name, value in least.items():
            if value < 1:
                msg = f"{name} is {value}, and has to be 1 or more."
                raise KeySetError(msg)
        if self.coverage is not None and not 0 < self.coverage <= 1:
            msg = f"coverage is {self.coverage:g}; it is a share between 0 and 1, such as 0.95."
            raise KeySetError(msg)
