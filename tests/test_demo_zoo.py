"""The networks that ship with the package show what they claim; their images are reproducible."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file

from demo_zoo import images
from filterdb import demo
from filterdb.stats.quality import LayerQuality, layer_quality

ZOO = Path(demo.__file__).parent / "zoo"
FILES = sorted(ZOO.glob("*.safetensors"))
ROWS = list(csv.DictReader((ZOO / "models.csv").read_text(encoding="utf-8").splitlines()))
RUN = sorted(ZOO.glob("run-textures-epoch*.safetensors"))


@cache
def convolutions(name: str) -> dict[str, NDArray[np.float64]]:
    """The convolution weights of a file with kernels larger than 1x1."""
    state = load_file(ZOO / f"{name}.safetensors")
    return {
        key: value.astype(np.float64)
        for key, value in state.items()
        if value.ndim == 4 and value.shape[2:] != (1, 1)
    }


@cache
def qualities(name: str) -> list[LayerQuality]:
    return [layer_quality(weights) for weights in convolutions(name).values()]


def sparse_share(name: str) -> float:
    sparse = sum(quality.n_filters * quality.sparsity for quality in qualities(name))
    return sparse / sum(quality.n_filters for quality in qualities(name))


def entropies(name: str) -> list[float]:
    """H/T_H of the layers with at least 128 filters, where it means something."""
    return [q.entropy_ratio for q in qualities(name) if q.n_filters >= 128]


def test_zoo_is_large_enough_and_small_enough() -> None:
    assert len(FILES) >= 14
    assert sum(file.stat().st_size for file in FILES) <= 3e6


def test_every_file_has_one_row_and_every_row_a_file() -> None:
    assert sorted(row["file"] for row in ROWS) == [file.name for file in FILES]


def test_rows_are_complete() -> None:
    known = ("task", "visual_category", "training_dataset", "pretraining_dataset",
             "architecture", "framework", "precision", "license", "epoch")  # fmt: skip
    assert all(row[column] for row in ROWS for column in known)
    assert all(row["accuracy"] or row["psnr_db"] for row in ROWS)
    assert {row["run"] for row in ROWS} == {"", "run-textures"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_weights_are_finite_and_of_the_precision_the_row_says(file: Path) -> None:
    precision = {row["file"]: row["precision"] for row in ROWS}[file.name]
    state = load_file(file)
    convs = [value for value in state.values() if value.ndim == 4]
    assert len(convs) >= 3
    assert all(np.isfinite(value).all() for value in state.values())
    assert {str(value.dtype) for value in convs} == {precision}
    with safe_open(file, "numpy") as opened:
        assert opened.metadata() == {"producer": "filterdb demo zoo 1"}


def test_zoo_context_yields_the_folder() -> None:
    with demo.zoo() as folder:
        assert (folder / "models.csv").is_file()


@pytest.mark.parametrize("name", ["cnn-random", "run-textures-epoch00"])
def test_untrained_networks_are_random(name: str) -> None:
    assert len(entropies(name)) == 3
    assert min(entropies(name)) > 0.99
    assert sparse_share(name) == 0


@pytest.mark.parametrize("image_set", ["digits", "shapes", "textures", "fractals"])
def test_one_architecture_on_four_image_sets_is_healthy(image_set: str) -> None:
    name = f"cnn-{image_set}"
    for quality in qualities(name):
        if quality.n_filters >= 128:
            assert quality.variance_entropy < quality.randomness_threshold - 0.02
    assert sparse_share(name) < 0.02
    shapes = [weights.shape[0] for weights in convolutions(name).values()]
    assert shapes == [weights.shape[0] for weights in convolutions("cnn-random").values()]


def test_depths_differ() -> None:
    depths = [len(convolutions(f"resnet{depth:02d}-shapes")) for depth in (4, 8, 12)]
    assert depths == [3, 7, 11]


def test_too_few_images_leave_a_wide_network_sparse_and_less_diverse() -> None:
    shapes = [weights.shape for weights in convolutions("wide-shapes").values()]
    assert shapes == [weights.shape for weights in convolutions("overwide-few").values()]
    assert sparse_share("wide-shapes") < 0.02
    assert sparse_share("overwide-few") > 0.4
    assert all(few < many for few, many in
               zip(entropies("overwide-few"), entropies("wide-shapes"), strict=True))  # fmt: skip


def test_the_run_moves_away_from_its_start() -> None:
    states = [convolutions(file.stem) for file in RUN]
    assert len(states) >= 5
    for layer, start in states[0].items():
        cosines = [np.vdot(start, state[layer]) / np.linalg.norm(start)
                   / np.linalg.norm(state[layer]) for state in states]  # fmt: skip
        assert np.all(np.diff(cosines) < 0), (layer, cosines)
    assert np.mean(entropies(RUN[-1].stem)) < np.mean(entropies(RUN[0].stem)) - 0.05


@pytest.mark.parametrize(
    ("name", "kernel", "layers"),
    [("mobilenet-shapes", 3, 4), ("convmixer-textures", 7, 4)],
)
def test_depthwise_networks(name: str, kernel: int, layers: int) -> None:
    shapes = [weights.shape for weights in convolutions(name).values()]
    assert sum(shape[1:] == (1, kernel, kernel) for shape in shapes) == layers


@pytest.mark.parametrize("name", ["cnn-digits", "cnn-textures", "dncnn-textures"])
def test_grey_networks_start_with_one_channel(name: str) -> None:
    assert next(iter(convolutions(name).values())).shape[1:] == (1, 3, 3)


def test_denoiser_removes_noise() -> None:
    (row,) = [row for row in ROWS if row["task"] == "denoising"]
    assert float(row["psnr_db"]) > 22  # the noise itself leaves 20 dB


@pytest.mark.parametrize("name", ["digits", "shapes", "textures", "fractals"])
def test_images_are_reproducible_and_balanced(name: str) -> None:
    image_set = images.IMAGE_SETS[name]
    drawn, labels = images.draw(name, 45, seed=3)
    again, same = images.draw(name, 45, seed=3)
    assert drawn.shape == (45, image_set.channels, image_set.size, image_set.size)
    assert (drawn.dtype, labels.dtype) == (np.float32, np.int64)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    np.testing.assert_array_equal(drawn, again)
    np.testing.assert_array_equal(labels, same)
    counts = np.bincount(labels, minlength=len(image_set.classes))
    assert np.ptp(counts) <= 1
    assert not np.array_equal(drawn, images.draw(name, 45, seed=4)[0])
    assert not np.array_equal(drawn, images.draw(name, 45, seed=3, split="test")[0])
    assert images.draw(name, 3, seed=0, size=32)[0].shape[2:] == (32, 32)


def test_training_twice_gives_the_same_bytes() -> None:
    import torch

    from demo_zoo.recipes import RECIPES
    from demo_zoo.training import Plan, train

    recipe = next(recipe for recipe in RECIPES if recipe.name == "cnn-digits")
    threads = torch.get_num_threads()
    plan = Plan(images=128, epochs=2)
    try:
        (first,), (second,) = (list(train(recipe.build, recipe.task, plan)) for _ in range(2))
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(mode=False)
    assert first.score == second.score
    assert all(torch.equal(value, second.state[key]) for key, value in first.state.items())
