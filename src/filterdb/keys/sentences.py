"""What a search found, in sentences: each share with its interval, and with chance beside it."""

from __future__ import annotations

from collections.abc import Sequence

from filterdb.keys.key_set import KeySet
from filterdb.keys.labels.chance import Chance
from filterdb.keys.labels.labels import Labels
from filterdb.keys.search.agreement import ALIKE
from filterdb.keys.search.found import MEAN, Agreement, Claim, FoundKeys, Searched
from filterdb.keys.sets.told_claims import told_claims, told_groups
from filterdb.words import counted

CONTROLS = {
    "gaussian": "kernels of independent Gaussian weights",
    "shuffled": "the same filters with their taps shuffled",
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
    ``"8 keys explain 59% of the variance of a 3x3 filter, on average, in held-out models (95%
    interval 54% to 64%, over 51 models). Of Gaussian kernels with the same covariance, as many keys
    explain 51%: 8.1 points less (3.7 to 12), above chance."``
    """
    claim, went = claim_of(found, MEAN), found.searched
    return _headline(found.keys, claim, went.groups, went.held_out_by)


def told_headline(keys: KeySet) -> str | None:
    """The same of a key set, from what its file tells; None where it does not."""
    mean = next((claim for claim in told_claims(keys) if claim.measure == MEAN), None)
    told = told_groups(keys)
    if mean is None or told is None:
        return None
    return _headline(keys, mean, *told)


def _headline(keys: KeySet, claim: Claim, groups: int, by: str) -> str:
    verb = "explains" if len(keys) == 1 else "explain"
    size = "{}x{}".format(*keys.kernel)
    return (
        f"{counted(len(keys), 'key')} {verb} {percent(claim.value)} of the variance of a {size} "
        f"filter, on average, in held-out {_held(by)}s ({interval(claim, groups, by)}). "
        f"Of {control(claim)}, "
        f"as many keys {verb} {percent(claim.chance)}: {excess(claim)}{verdict(claim)}."
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
        f"{_over(claim, found.searched)}), {percent(1 - claim.value)} are other. "
        f"By chance, {percent(claim.chance)} are copies ({control(claim)}): {excess(claim)}"
        f"{verdict(claim)}."
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


def interval(claim: Claim, groups: int, by: str) -> str:
    """The interval of a measure, and over what it is taken.

    Parameters
    ----------
    claim
        The measure.
    groups
        How many there are.
    by
        What they are: ``"model"``, ``"run"``, ``"layer"``, or values of another column.
    """
    over = counted(groups, by)
    if by not in ("model", "run", "layer"):
        over = f"{counted(groups, 'value')} of {by}"
    if claim.low is None or claim.high is None:
        return f"{over}: too few for an interval"
    return f"95% interval {percent(claim.low)} to {percent(claim.high)}, over {over}"


def _over(claim: Claim, searched: Searched) -> str:
    return interval(claim, searched.groups, searched.held_out_by)


def excess(claim: Claim) -> str:
    """``"8.1 points less (3.7 to 12), "``: how far chance is below, with the 95 % interval."""
    if claim.excess_low is None or claim.excess_high is None:
        return ""
    difference = 100 * (claim.value - claim.chance)
    ends = f"({100 * claim.excess_low:.2g} to {100 * claim.excess_high:.2g})"
    word = "less" if difference >= 0 else "more"
    if difference < 0:
        ends = f"({-100 * claim.excess_high:.2g} to {-100 * claim.excess_low:.2g})"
    return f"{abs(difference):.2g} points {word} {ends}, "


def group_of(searched: Searched) -> str:
    """What is held out: by another column, whole models are."""
    return _held(searched.held_out_by)


def _held(by: str) -> str:
    return "layer" if by == "layer" else "model"


def control(claim: Claim) -> str:
    """The control that comes nearest, in words."""
    return CONTROLS.get(claim.control, claim.control)


def size_of(found: FoundKeys) -> str:
    """``"3x3"``."""
    return "{}x{}".format(*found.keys.kernel)


def percent(share: float) -> str:
    """A share as a sentence has it: with a digit more where little is left of it, or to it."""
    whole = 0.1 <= round(share, 3) <= 0.9 or share in (0, 1)
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


def labelled_by_chance(chance: Chance) -> str:
    """How much of controls the same keys explain, and whether the filters are above that.

    Examples
    --------
    ``"By chance, 7.3% are copies (kernels with the same power spectra and random
    phases): 21% is above chance (95% interval 13% to 28%, over 51 models). ..."``
    """
    copies, mean = chance.copies, chance.mean_r2
    return (
        f"By chance, {percent(copies.chance)} are copies ({control(copies)}): "
        f"{_judged(copies, chance)}. By chance, the keys explain {percent(mean.chance)} of the "
        f"variance ({control(mean)}): "
        f"{_judged(mean, chance)}."
    )


def _judged(claim: Claim, chance: Chance) -> str:
    """``"21% is above chance (95% interval 13% to 28%, over 51 models)"``."""
    told = interval(claim, chance.groups, chance.grouped_by)
    if claim.above is None:
        return f"{verdict(claim)} ({told})"
    return f"{percent(claim.value)} is {verdict(claim)} ({told})"


def in_sample(chance: Chance) -> str | None:
    """How many of the labelled networks the set was found on; None where it does not say."""
    if chance.found_on is None:
        return None
    among = "among those that the set was found on"
    if chance.models == 1:
        return f"The network is {'' if chance.found_on else 'not '}{among}."
    verb = "is" if chance.found_on == 1 else "are"
    return f"{chance.found_on:,} of {counted(chance.models, 'network')} {verb} {among}."
