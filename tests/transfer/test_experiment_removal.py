"""Keys taken out one by one, as accuracies ask for, and honest accuracies of the rest."""

from __future__ import annotations

import numpy as np
import pytest

from filterdb.errors import TransferError
from filterdb.transfer.book import Row
from filterdb.transfer.experiments import more_of, result_of, runs_of
from filterdb.transfer.experiments.removal import rounds
from filterdb.transfer.plan import Plan, plan_of
from filterdb.transfer.run import Run

WORTH = {1: 0.05, 2: 0.01, 3: 0.03, 4: 0.002, 5: 0.04, 6: 0.02}
"""What each key adds to the accuracy."""


def planned(**options: object) -> Plan:
    return plan_of({"experiment": "removal", "removal": {"start": 6, "down_to": 3, **options}})


def numbers(run: Run) -> set[int]:
    told = run.starts[0].filters if run.starts else None
    if not told or not told.startswith("keys:"):
        return set()
    return set(map(int, told.rpartition("[")[2].removesuffix("]").split(",")))


def outcome(run: Run) -> Row:
    rng = np.random.default_rng(int(run.id, 16) % 2**32)
    accuracy = 0.5 + sum(WORTH[key] for key in numbers(run)) + rng.normal(0, 1e-4)
    return Row(run, "done", accuracy=accuracy)


def carried_out(plan: Plan) -> tuple[list[Row], list[int]]:
    """Rows, and how many came at a time."""
    rows, some, counts = [], runs_of(plan), []
    while some:
        counts.append(len(some))
        rows += map(outcome, some)
        some = more_of(plan, rows)
    return rows, counts


def test_the_least_useful_keys_go_first() -> None:
    plan = planned()
    rows, counts = carried_out(plan)
    assert [one.removed for one in rounds(plan, rows)] == [4, 2, 6]
    # Three references, two controls a count, six candidates; then candidates and what was kept,
    # which may have been drawn already.
    most = [3 * (3 + 2 * 3 + 6), 3 * (5 + 1), 3 * (4 + 1), 3 * 1]
    assert counts[0] == most[0]
    assert all(0 <= one - count <= 3 for one, count in zip(most, counts, strict=True))
    left = {frozenset(numbers(row.run)) for row in rows if row.run.arm == "3 keys kept"}
    assert left == {frozenset({1, 3, 5})}
    assert len({row.id for row in rows}) == len(rows)


def test_it_is_chosen_on_images_that_no_reported_network_is_tested_on() -> None:
    plan = planned()
    rows, _ = carried_out(plan)
    result = result_of(plan, rows)
    shown = {row.arm for row in result.table}
    for row in rows:
        assert (row.run.data.held_out is None) == (row.run.arm in shown)
        assert row.run.data.held_out in (None, 0.2)
    assert result.coverage.done == result.coverage.planned >= len(rows)
    told = " ".join(result.sentences)
    assert "Of 6 keys, number 4 " in told
    assert "Kept of published8: keys 1, 3, 5." in told
    assert "had no part in the choice" in told


def test_what_is_kept_is_held_against_all_and_as_many() -> None:
    plan = planned()
    rows, _ = carried_out(plan)
    found = {(one.arm, one.control): one for one in result_of(plan, rows).comparisons}
    loss = found["3 keys kept", "6 keys kept"]
    assert loss.difference == pytest.approx(-WORTH[4] - WORTH[2] - WORTH[6], abs=1e-3)
    assert found["3 keys kept", "3 keys drawn"].difference > 0
    assert ("4 keys kept", "4 random filters") in found
    assert ("6 keys kept", "in full") in found


def test_a_round_waits_for_all_of_its_runs() -> None:
    plan = planned()
    first = runs_of(plan)
    rows = [outcome(run) for run in first[:-1]]
    assert [run.id for run in more_of(plan, rows)] == [first[-1].id]
    assert rounds(plan, rows)[-1].removed is None
    assert "not decided" in " ".join(result_of(plan, rows).sentences)


def test_runs_without_an_accuracy_do_not_decide() -> None:
    """A key whose absence diverged is kept; a seed that one of the others lacks counts for none."""
    plan = planned(down_to=5)
    rows = []
    for run in runs_of(plan):
        row = outcome(run)
        if run.labels.get("without") == 4:
            row = Row(run, "diverged")
        if run.labels.get("without") == 2 and run.labels["repeat"] == 1:
            row = Row(run, "failed", reason="no room")
        rows.append(row)
    (one,) = rounds(plan, rows)
    assert (one.removed, one.seeds) == (2, 2)
    assert 4 not in one.scores
    nothing = [Row(run, "failed") for run in runs_of(plan)]
    assert more_of(plan, nothing) == []


def test_keys_that_cannot_be_taken_out() -> None:
    for options, message in (
        ({"down_to": 6}, "from 6 down to 6"), ({"start": 9}, "published8 has 8"),
        ({"set": "found3x3"}, "found3x3 are 3x3, the filters of the network 'convmixer' 7x7"),
    ):  # fmt: skip
        with pytest.raises(TransferError, match=message):
            runs_of(planned(**options))


def test_how_far_ahead_the_key_that_goes_is() -> None:
    plan = planned(down_to=5)
    rows, _ = carried_out(plan)
    (one,) = rounds(plan, rows)
    assert one.next == 2
    pairs = [one.values[4][seed] - one.values[2][seed] for seed in plan.seeds]
    half = 4.30265 * np.std(pairs, ddof=1) / np.sqrt(3)
    mean = np.mean(pairs)
    told = " ".join(result_of(plan, rows).sentences)
    interval = f"({100 * (mean - half):+.1f} to {100 * (mean + half):+.1f}, 3 pairs)"
    assert f"Against leaving out number 2, the next, that is {100 * mean:+.1f} points " in told
    assert interval in told


def test_keys_that_tie_are_said() -> None:
    plan = planned(down_to=5)
    rows = [
        Row(run, "done", accuracy=0.5 if run.labels.get("without") in (1, 4) else 0.4)
        for run in runs_of(plan)
    ]
    assert [one.removed for one in rounds(plan, rows)] == [4]
    told = " ".join(result_of(plan, rows).sentences)
    assert "2 keys tie: of these that of the highest number goes." in told
    assert "the next, that is" not in told
