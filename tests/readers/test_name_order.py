from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from filterdb.readers.name_order import natural_key, numbers_ascend


def test_runs_of_digits_compare_as_numbers() -> None:
    names = ["layer.10.w", "layer.2.w", "layer.2.b", "conv", "2", "10"]
    assert sorted(names, key=natural_key) == [
        "2", "10", "conv", "layer.2.b", "layer.2.w", "layer.10.w",
    ]  # fmt: skip


@given(st.lists(st.text(max_size=30)))
def test_any_names_can_be_compared_and_then_ascend(names: list[str]) -> None:
    assert numbers_ascend(sorted(names, key=natural_key))


def test_numbers_that_go_back_are_seen() -> None:
    assert numbers_ascend(["b1", "a1", "b2", "a2"])
    assert not numbers_ascend(["a2", "b1", "a1"])
