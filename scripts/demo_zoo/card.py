"""The zoo's README: what each network is, how it was trained, and what was measured on it."""

from __future__ import annotations

from pathlib import Path

from demo_zoo.recipes import RECIPES, Recipe
from filterdb import read
from filterdb.stats.quality import LayerQuality, layer_quality

TEXT = """\
# The demo networks

Small convolutional networks for `filterdb demo` and for tests. They were trained for this
package, from random weights and on images that need no download: scikit-learn's digits, and
shapes, textures and fractals drawn by `scripts/demo_zoo/`. Licence: Apache-2.0.

    python scripts/train_demo_zoo.py --out src/filterdb/demo/zoo    # about 6 CPU minutes
    python scripts/train_demo_zoo.py --check src/filterdb/demo/zoo

Training is seeded and runs on one thread: one machine gives the same bytes each time; another
processor gives the same figures but other weights. `models.csv` has the metadata, one row a file;
`accuracy` and `psnr_db` are on 1,000 images that training never saw.

- `sparse` is the share of sparse filters, `H/T_H` the variance entropy as a share of the
  randomness threshold, for the layers in order (those with kernels larger than 1x1). Near 1
  a layer cannot be told from noise.
- Nothing but the training makes the phenomena. Sparse filters come from weight decay: with
  BatchNorm behind it, a filter that the loss does not need shrinks to nothing.
- `overwide-few` learns its 60 images by heart (all 60 right) and fails on new ones; its decay of
  0.03 was chosen high on purpose. `wide-shapes` is the same architecture on 3,000 images.
- Not all is healthy in the others. First layers with 16 to 24 filters are too small for their
  entropy to say much; those of the texture networks stay as diverse as noise. The last layer of
  `cnn-textures` has a low entropy, but no sparse filters. `resnet04-shapes` is too shallow for
  its task, and its last layer stays close to its start. `mobilenet-shapes` had twice the usual
  weight decay and loses filters in its first two layers.
- `cnn-random` and epoch 0 of the run are untrained: they are meant to read as random.
- BatchNorm statistics are averaged over the training images each time a network is kept.

| file | what | trained on | rate, decay | score | filters | sparse | H/T_H by layer |
|--|--|--|--|--|--|--|--|
"""


def _qualities(file: Path) -> list[LayerQuality]:
    layers = [layer for layer in read(file).layers if layer.kernel != (1, 1)]
    return [layer_quality(layer.weights) for layer in layers]


def _sparse(qualities: list[LayerQuality]) -> float:
    sparse = sum(quality.n_filters * (quality.sparsity or 0) for quality in qualities)
    return sparse / sum(quality.n_filters for quality in qualities)


def _line(recipe: Recipe, file: Path, row: dict[str, str]) -> str:
    plan, qualities = recipe.plan, _qualities(file)
    score = row["accuracy"] or f"{float(row['psnr_db']):.1f} dB"
    method = f"{'AdamW' if plan.adam else 'SGD'} {plan.rate:g}, {plan.decay:g}"
    images = f"{plan.images:,} {recipe.task.images}, epoch {row['epoch']}"
    untrained = row["epoch"] == "0"
    cells = (
        file.stem,
        f"{recipe.architecture}: {recipe.about}",
        "nothing" if untrained else images,
        "" if untrained else method,
        score,
        f"{sum(quality.n_filters for quality in qualities):,}",
        f"{_sparse(qualities):.2f}",
        " ".join(f"{quality.entropy_ratio or 0:.2f}" for quality in qualities),
    )
    return f"| {' | '.join(cells)} |\n"


def write_card(folder: Path, rows: dict[str, dict[str, str]]) -> None:
    """Write ``README.md`` for the files of the CSV."""
    lines = []
    for recipe in RECIPES:
        stems = (f"{recipe.name}.", f"{recipe.name}-epoch")
        mine = (name for name in sorted(rows) if name.startswith(stems))
        lines += [_line(recipe, folder / name, rows[name]) for name in mine]
    (folder / "README.md").write_text(TEXT + "".join(lines), "utf-8")
