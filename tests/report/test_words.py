"""Numbers and lists as people read them."""

from __future__ import annotations

import pytest

from filterdb.report.words import capital, compact, listed, percent, several, size
from filterdb.words import counted


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (counted(1, "layer"), "1 layer"),
        (counted(1_200, "layer"), "1,200 layers"),
        (several(0, "layer"), "no layers"),
        (several(1, "layer"), "one layer"),
        (several(12, "layer"), "twelve layers"),
        (several(13, "layer"), "13 layers"),
        (listed([]), ""),
        (listed(["a"]), "a"),
        (listed(["a", "b"]), "a and b"),
        (listed(["a", "b", "c"]), "a, b and c"),
        (listed(list("abcdef")), "a, b, c, d and 2 more"),
        (compact(9_876), "9,876"),
        (compact(12_345), "12.3 thousand"),
        (compact(999_600), "1 million"),
        (compact(1_464_797_156), "1.46 billion"),
        (size(812), "812 bytes"),
        (size(4_200_000), "4.2 MB"),
        (percent(None), "–"),
        (percent(0.0), "0 %"),
        (percent(0.0001), "less than 1 %"),
        (percent(0.624), "62 %"),
        (percent(0.9999), "more than 99 %"),
        (percent(1.0), "100 %"),
        (percent(1.04), "104 %"),
        (capital("aB"), "AB"),
    ],
)
def test_words(said: str, words: str) -> None:
    assert said == words
