"""What a search found, in sentences: each share with its interval, and with chance beside it."""

from __future__ import annotations

from collections.abc import Sequence

from filterdb.keys.labels.labels import Labels
from filterdb.keys.search.agreement import ALIKE
from filterdb.keys.search.chance import Chance, hardest
from filterdb.keys.search.found import MEAN, Agreement, Claim, FoundKeys, Searched
from filterdb.words import counted

CONTROLS = {
    "gaussian": "kernels of independent Gaussian weights",
    "spectrum": "kernels with the same power spectra and random phases",
    "covariance": "Gaussian kernels with the same covariance",
    "initialisation": "the same networks before training",
}
"""Control -> what it is, in a sentence."""
SEED = "seed "
"""What the names of other starts begin with."""


def headline(found: FoundKeys) -> str:
    """How much the keys explain, and whether that is more than chance does.

    Examples
    --------
    ``"8 keys explain 59% of the variance of 3x3 filters in held-out models (95% interval 57% to
    62%, over 51 models). Of Gaussian kernels with the same covariance, as many keys explain 51%:
    above chance."``
    """
    claim = claim_of(found, MEAN)
    verb = "explains" if len(found.keys) == 1 else "explain"
    return (
        f"{counted(len(found.keys), 'key')} {verb} {percent(claim.value)} of the variance of "
        f"{size_of(found)} filters in {held_out(found.searched)} "
        f"({interval(claim, found.searched)}). Of {control(claim)}, as many keys {verb} "
        f"{percent(claim.chance)}: {verdict(claim)}."
    )


def shares(found: FoundKeys, threshold: float) -> str:
    """How many filters are copies of a key, how many are not, and what chance does.

    Parameters
    ----------
    found
        The result.
    threshold
        One of :data:`~filterdb.keys.search.found.THRESHOLDS`.
    """
    claim = claim_of(found, f"R² >= {threshold:g}")
    return (
        f"{percent(claim.value)} of these filters are copies of a key (R² >= {threshold:g}; "
        f"{interval(claim, found.searched)}), {percent(1 - claim.value)} are other. "
        f"By chance, {percent(claim.chance)} are copies ({control(claim)}): {verdict(claim)}."
    )


def agreement(found: FoundKeys) -> str | None:
    """Whether other starts and other methods find the same keys; None where none was tried."""
    starts = [one for one in found.agreement if one.other.startswith(SEED)]
    parts = [f"{counted(len(starts), 'other start')}: {_again(starts)}"] if starts else []
    parts += [f"{one.other}: {_again([one])}" for one in found.agreement if one not in starts]
    if not parts:
        return None
    return (
        f"How many of {counted(len(found.keys), 'key')} other searches find again (cosine of "
        f"{ALIKE:g} or more): {'; '.join(parts)}. Random keys match with a mean cosine of "
        f"{found.agreement[0].chance_matched:.2f}."
    )


def _again(searches: Sequence[Agreement]) -> str:
    """``"4 to 8 (mean cosine 0.74 to 1.00)"``."""
    same = _span([str(value) for value in sorted(one.same for one in searches)])
    cosine = _span([f"{value:.2f}" for value in sorted(one.matched for one in searches)])
    return f"{same} (mean cosine {cosine})"


def _span(rising: Sequence[str]) -> str:
    return rising[0] if rising[0] == rising[-1] else f"{rising[0]} to {rising[-1]}"


def coverage(found: FoundKeys) -> str:
    """What the search went through, by class, and what it left out and why."""
    went = found.searched
    text = (
        f"{counted(went.models, 'model')}, {counted(went.layers, 'layer')}, "
        f"{counted(went.filters, f'{size_of(found)} filter')}: {went.shaped:,} with a shape, "
        f"{went.constant:,} constant, {went.zero:,} nearly zero."
    )
    left = ", ".join(f"{counted(count, 'layer')}: {why}" for why, count in went.left_out.items())
    return f"{text} Left out: {left}." if left else text


def claim_of(found: FoundKeys, measure: str) -> Claim:
    """The claim on one measure."""
    return next(claim for claim in found.claims if claim.measure == measure)


def verdict(claim: Claim) -> str:
    """What can be said of a measure, in words."""
    if claim.above is None:
        return "no claim is possible"
    return "above chance" if claim.above else "no more than chance"


def interval(claim: Claim, searched: Searched) -> str:
    """The interval of a measure, and over what it is taken."""
    groups = counted(searched.groups, group_of(searched))
    if searched.held_out_by not in ("model", "layer"):
        groups = f"{counted(searched.groups, 'value')} of {searched.held_out_by}"
    if claim.low is None or claim.high is None:
        return f"{groups}: too few for an interval"
    return f"95% interval {percent(claim.low)} to {percent(claim.high)}, over {groups}"


def held_out(searched: Searched) -> str:
    """What the keys were tried on."""
    return f"held-out {group_of(searched)}s"


def group_of(searched: Searched) -> str:
    """What is held out: by another column, whole models are."""
    return "layer" if searched.held_out_by == "layer" else "model"


def control(claim: Claim) -> str:
    """The control that comes nearest, in words."""
    return CONTROLS.get(claim.control, claim.control)


def size_of(found: FoundKeys) -> str:
    """``"3x3"``."""
    return "{}x{}".format(*found.keys.kernel)


def percent(share: float) -> str:
    """A share as a sentence has it: with a digit more where little is left of it, or to it."""
    whole = 0.1 <= share <= 0.9 or share in (0, 1)
    return f"{share:.{0 if whole else 1}%}"


def labelled(labels: Labels) -> str:
    """How many filters are copies of a key of a set, and how much of them the keys explain."""
    total, size = labels.total, "{}x{}".format(*labels.key_set.kernel)
    filters = f"{counted(total.shaped, f'{size} filter')} with a shape"
    if total.coverage is None or total.mean_r2 is None:
        return f"None of {counted(total.n, f'{size} filter')} has a shape that a key could have."
    return (
        f"{percent(total.coverage)} of {filters} are copies of a key of {labels.key_set.name} "
        f"(R² >= {labels.threshold:g}), {percent(1 - total.coverage)} are other. The keys explain "
        f"{percent(total.mean_r2)} of the variance."
    )


def labelled_by_chance(labels: Labels, chance: Chance) -> str:
    """What the same keys explain where there is nothing to find."""
    text = (
        f"By chance: of {CONTROLS['gaussian']}, {percent(chance.coverage)} are copies of these "
        f"keys, which explain {percent(chance.mean_r2)}."
    )
    told = hardest(labels.key_set.metadata, labels.threshold)
    if told is None:
        return text
    share = "" if told[0] is None else f"{percent(told[0])} copies, "
    return f"{text} When the set was found, as many keys of controls: {share}{percent(told[1])}."
