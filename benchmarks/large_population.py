"""200 million synthetic filters (7 GB): made on the fly, asked, and removed; a script, not a test.

    python benchmarks/large_population.py [--millions 200] [--folder FOLDER]

Networks of a million filters are written, ingested and removed one after the other; then the
database is asked for its basis and a shift from the catalogue alone, and for a paper's preset in
three passes over all weights. Prints the time and the peak memory of each step, and what they
come to for the published 1.46 billion.
"""

# ruff: noqa: E402, I001
from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.numpy import save_file

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]

import synthetic

import filterdb
from filterdb.population.preset import Scanning

LAYERS, FILTERS = 20, 50_176
PUBLISHED = 1_464_797_156
GROUPS = 10


def peak_mb() -> int:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) // 1024


@contextmanager
def step(name: str, filters: int | None = None) -> Iterator[None]:
    start = time.perf_counter()
    yield
    tell(name, time.perf_counter() - start, filters)


def tell(name: str, seconds: float, filters: int | None) -> None:
    """One line; what grows with the filters is carried over to the published number of them."""
    print(f"{name:46s} {seconds:8.2f} s  peak {peak_mb():5d} MB", end="")
    if filters:
        minutes = seconds * PUBLISHED / filters / 60
        print(
            f"  {filters / seconds / 1e6:6.1f} M filters/s  published set: {minutes:5.1f} min",
            end="",
        )
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    place = options.folder or Path(tempfile.mkdtemp(prefix="filterdb-large-"))
    place.mkdir(exist_ok=True)
    try:
        ask(place, options.millions)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def ask(place: Path, millions: int) -> None:
    database = filterdb.open(place / "db")
    filters = millions * LAYERS * FILTERS
    spent = 0.0
    for number in range(millions):
        file = place / f"net{number}.safetensors"
        save_file(synthetic.network(LAYERS, FILTERS, seed=number), file)
        table = place / "models.csv"
        table.write_text(f"file,task\n{file.name},task {number % GROUPS}\n")
        start = time.perf_counter()
        database.ingest(file, metadata=table, jobs=1)
        spent += time.perf_counter() - start
        file.unlink()
        if number % 20 == 19:
            print(
                f"  {number + 1} million filters in, {spent:.0f} s, peak {peak_mb()} MB", flush=True
            )
    tell("ingest (measure, summarise, store; 1 process)", spent, filters)
    size = (database.path / "catalogue.sqlite").stat().st_size
    print(f"catalogue {size / 1e6:.1f} MB for {filters / 1e6:,.0f} million filters")
    with step("basis (catalogue)"):
        database.basis()
    with step("shift by task, 200 permutations (catalogue)"):
        database.shift("task")
    with step("shift, preset cvpr2022 (3 passes, 2 processes)", filters):
        database.select().shift("task", preset="cvpr2022", scanning=Scanning(jobs=2))


if __name__ == "__main__":
    main()
