"""The zoo's ``models.csv``: one row a file, in the columns that ``filterdb ingest`` knows."""

from __future__ import annotations

import csv
from pathlib import Path

from demo_zoo.recipes import Recipe
from demo_zoo.training import Kept

COLUMNS = ("file", "task", "visual_category", "training_dataset", "pretraining_dataset",
           "architecture", "framework", "precision", "license", "source_url", "run", "epoch",
           "accuracy", "psnr_db")  # fmt: skip
DATASETS = {
    "digits": ("handwriting", "scikit-learn digits"),
    "shapes": ("shapes", "drawn shapes"),
    "textures": ("textures", "drawn textures"),
    "fractals": ("fractals", "drawn fractals"),
}


def row(file: str, recipe: Recipe, kept: Kept) -> dict[str, str]:
    """What is known of one file; what does not apply is left empty."""
    category, dataset = DATASETS[recipe.task.images]
    if kept.epoch == 0:
        category = dataset = "none"
    return dict.fromkeys(COLUMNS, "") | {
        "file": file,
        "task": recipe.task.name,
        "visual_category": category,
        "training_dataset": dataset,
        "pretraining_dataset": "none",
        "architecture": recipe.architecture,
        "framework": "pytorch",
        "precision": str(recipe.dtype).removeprefix("torch."),
        "license": "Apache-2.0",
        "source_url": "",
        "run": recipe.name if recipe.plan.keep else "",
        "epoch": str(kept.epoch),
        recipe.task.metric: f"{kept.score:.4f}",
    }


def read_rows(path: Path) -> dict[str, dict[str, str]]:
    """The rows by file name; none where there is no such CSV."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def write_rows(path: Path, rows: dict[str, dict[str, str]]) -> None:
    """Write the rows in the order of their file names."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))
