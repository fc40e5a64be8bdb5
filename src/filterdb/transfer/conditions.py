"""What is to be said of how the runs of an experiment were done, where they were not done alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from filterdb.transfer.book import Row
from filterdb.words import counted

CONDITIONS: dict[str, Callable[[Row], str]] = {
    "threads": lambda row: str(row.threads),
    "device": lambda row: str(row.device),
    "torch": lambda row: str(row.versions.get("torch")),
}
"""What decides, besides the settings, in which order numbers are added up, and how rounded."""


def conditions(rows: Iterable[Row]) -> tuple[str, ...]:
    """Sentences on runs that were done otherwise than others; none where all were done alike.

    Parameters
    ----------
    rows
        Of the experiment.
    """
    done = {row.id: row for row in rows if row.status == "done"}.values()
    told = []
    for name, value in CONDITIONS.items():
        counts = Counter(map(value, done))
        if len(counts) > 1:
            told.append(f"{name} " + ", ".join(f"{key} ({n:,})" for key, n in counts.most_common()))
    found = []
    if told:
        found.append(
            f"The {len(done):,} runs were not all done under the same conditions: "
            f"{'; '.join(told)}. The same run comes out a little otherwise under others, by chance "
            "and not by its arm."
        )
    without = sum(row.digest is None for row in done)
    if without:
        found.append(
            f"{counted(without, 'run')} by an earlier filterdb: that the data are those of then "
            "is taken for granted."
        )
    return tuple(found)
