"""What keys are called: no two the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterdb.keys.key_set import KeyName, KeySet


def called(texts: list[str]) -> tuple[str, ...]:
    filters = np.random.default_rng(0).normal(size=(len(texts), 2, 2))
    return KeySet("some", filters, names=tuple(map(KeyName, texts))).texts


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ("a b", "a,b"),
        ("a a b", "a 1,a 2,b"),
        ("a a a_1", "a 2,a 3,a 1"),
        ("a_1 a a_1 a", "a 1 1,a 2,a 1 2,a 3"),
    ],
)
def test_a_text_that_stands_twice_gets_a_number_that_is_free(texts: str, expected: str) -> None:
    names = [text.replace("_", " ") for text in texts.split()]
    assert ",".join(called(names)) == expected


@given(st.lists(st.sampled_from(["a", "a 1", "a 2", "a 1 1", "b", ""]), min_size=1, max_size=30))
def test_all_are_different_and_those_that_stand_once_stay(texts: list[str]) -> None:
    found = called(texts)
    assert len(set(found)) == len(texts)
    for text, name in zip(texts, found, strict=True):
        assert name == text if texts.count(text) == 1 else name.startswith(f"{text} ")
