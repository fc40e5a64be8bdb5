"""Train the demo networks and write them with their metadata.

    python scripts/train_demo_zoo.py --out src/filterdb/demo/zoo --jobs 2

One machine gives the same bytes each time. Another processor rounds differently, and training
amplifies that: there the figures agree, the weights do not. ``--check DIR`` trains into a
temporary folder and compares with DIR.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

TOLERANCE = {"accuracy": 0.05, "psnr_db": 0.5}


def make(name: str, out: Path) -> tuple[dict[str, dict[str, str]], float]:
    """Train one recipe, write its files, return their metadata and the seconds it took."""
    from safetensors.torch import save_file

    from demo_zoo.metadata import row
    from demo_zoo.recipes import RECIPES
    from demo_zoo.training import train

    start = time.perf_counter()
    recipe = next(recipe for recipe in RECIPES if recipe.name == name)
    rows = {}
    for kept in train(recipe.build, recipe.task, recipe.plan):
        stem = f"{name}-epoch{kept.epoch:02d}" if recipe.plan.keep else name
        state = {
            key: value.to(recipe.dtype) if value.is_floating_point() else value
            for key, value in kept.state.items()
        }
        file = out / f"{stem}.safetensors"
        save_file(state, file, {"producer": "filterdb demo zoo 1"})
        rows[file.name] = row(file.name, recipe, kept)
    return rows, time.perf_counter() - start


def make_all(names: Sequence[str], out: Path, jobs: int) -> None:
    """Train recipes in processes; the rows of other files in the folder's CSV are kept."""
    from demo_zoo.card import write_card
    from demo_zoo.metadata import read_rows, write_rows

    out.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = read_rows(out / "models.csv")
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(make, name, out) for name in names]
        for count, future in enumerate(as_completed(futures), 1):
            new, seconds = future.result()
            rows |= new
            for file, row in new.items():
                score = row["accuracy"] or f"{row['psnr_db']} dB"
                print(f"[{count}/{len(names)}] {file}: {score} ({seconds:.0f} s)", flush=True)
    write_rows(out / "models.csv", rows)
    write_card(out, rows)


def compare(shipped: Path, fresh: Path) -> bool:
    """Print how two folders differ; False where the shapes or the scores do."""
    from safetensors.numpy import load_file

    from demo_zoo.metadata import read_rows

    old_rows, good = read_rows(shipped / "models.csv"), True
    for file, row in read_rows(fresh / "models.csv").items():
        old, new = load_file(shipped / file), load_file(fresh / file)
        same_shapes = {k: v.shape for k, v in old.items()} == {k: v.shape for k, v in new.items()}
        gaps = {
            metric: abs(float(row[metric]) - float(old_rows[file][metric]))
            for metric in TOLERANCE
            if row[metric]
        }
        close = all(gap <= TOLERANCE[metric] for metric, gap in gaps.items())
        identical = (shipped / file).read_bytes() == (fresh / file).read_bytes()
        good &= same_shapes and close
        print(f"{file}: {'identical' if identical else 'differs'}, same shapes {same_shapes}, "
              f"difference in {gaps}")  # fmt: skip
    return good


def main() -> int:
    """Run the command line."""
    from demo_zoo.recipes import RECIPES

    names = [recipe.name for recipe in RECIPES]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--out", type=Path, help="folder to write")
    goal.add_argument("--check", type=Path, metavar="DIR", help="folder to compare with")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    options = parser.parse_args()
    if options.out:
        make_all(options.only, options.out, options.jobs)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        make_all(options.only, Path(folder), options.jobs)
        return 0 if compare(options.check, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
