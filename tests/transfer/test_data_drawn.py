"""Built-in sets: the drawings are those that the demo networks were trained on, bit for bit."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from filterdb.errors import TransferError
from filterdb.transfer.data import load_images, load_splits
from filterdb.transfer.data.drawn.sets import IMAGE_SETS, Split, draw


@pytest.mark.parametrize(
    ("name", "split", "start"),
    [
        ("digits", "train", "2ec2ff128cee7148"),
        ("digits", "test", "f65e51babf95610d"),
        ("shapes", "train", "60355c9f52c39cf8"),
        ("shapes", "test", "0119c47bf636595d"),
        ("textures", "train", "7512f2a4620ca5ce"),
        ("textures", "test", "103665599abc52f4"),
        ("fractals", "train", "b590d8afe9518ea5"),
        ("fractals", "test", "baf7b382f4ae4b74"),
    ],
)
def test_drawings_of_a_seed_never_change(name: str, split: Split, start: str) -> None:
    # The grey values in 0..255: the last bits of a sine are the processor's.
    images, _ = draw(name, 40, 3, split=split)
    grey = (images * 255).round().astype(np.uint8)
    assert hashlib.sha256(grey.tobytes()).hexdigest()[:16] == start


@pytest.mark.parametrize("name", ["textures", "shapes", "fractals"])
def test_drawn_sets(name: str) -> None:
    train, test = load_splits(name, n=60, size=12, seed=2)
    classes = IMAGE_SETS[name].classes
    assert train.classes == test.classes == classes
    assert train.images.shape == (60, 12, 12, IMAGE_SETS[name].channels)
    assert len(test) == 30
    again = load_images(name, split="train", n=60, size=12, seed=2)
    np.testing.assert_array_equal(again.images, train.images)
    np.testing.assert_array_equal(again.labels, train.labels)
    other = load_images(name, split="train", n=60, size=12, seed=3)
    assert not np.array_equal(other.images, train.images)
    shown = {image.tobytes() for image in train.images}
    assert not shown & {image.tobytes() for image in test.images}


def test_a_larger_drawing_begins_with_the_smaller() -> None:
    small = load_images("textures", split="train", n=1000, size=8)
    large = load_images("textures", split="train", n=1500, size=8)
    np.testing.assert_array_equal(large.images[:1000], small.images)


def test_a_limit_is_drawn_in_full() -> None:
    train, test = load_splits("textures", limit=230, test_limit=7, size=8)
    assert set(train.per_class.values()) == {230}
    assert set(test.per_class.values()) == {7}


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    found = load_images("digits")
    np.testing.assert_allclose(found.images[..., 0] * (16 / 255), bunch.images, atol=0.04)
    np.testing.assert_array_equal(found.labels, bunch.target)
    train, test = load_splits("digits", size=16, channels=3)
    assert len(train) + len(test) == 1797
    assert train.images.shape[1:] == (16, 16, 3)


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(TransferError, match="GiB in memory"):
        load_images("textures", n=10**9)
    for wrong in ({"n": 0}, {"size": 0}, {"limit": 0}, {"channels": 2}):
        with pytest.raises(TransferError, match=r"cannot be used|not 2"):
            load_images("textures", **wrong)
