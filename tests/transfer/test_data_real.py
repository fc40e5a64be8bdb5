"""The real data sets are read as their README says: counts, classes, shapes."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from filterdb.transfer.data import load_images, load_splits

CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def test_cifar_test_file_alone(shared: Path) -> None:
    found = load_images(shared / "datasets/cifar10-test.parquet")
    assert found.images.shape == (5000, 32, 32, 3)
    assert found.classes == CIFAR  # from the folders in the paths: the file has numbers only
    assert set(found.per_class.values()) == {500}
    assert found.left_out == {}
    assert found.source == "cifar10-test.parquet"


def test_a_picture_and_its_label_are_those_of_the_file(shared: Path) -> None:
    import io

    import pyarrow.parquet as pq
    from PIL import Image

    path = shared / "datasets/cifar10-test.parquet"
    table = pq.read_table(path)
    found = load_images(path)
    for row in (0, 1, 999, 1000, 4999):
        cell = table["image"][row].as_py()
        assert found.classes[found.labels[row]] == cell["path"].split("/")[0]
        oracle = np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB"))
        np.testing.assert_array_equal(found.images[row], oracle)


@pytest.mark.parametrize("given", ["train", "test"])
def test_either_file_names_the_whole_of_sign_digits(shared: Path, given: str) -> None:
    train, test = load_splits(shared / f"datasets/sign-digits-{given}.parquet", size=16)
    assert (len(train), len(test)) == (1649, 413)
    assert train.images.shape[1:] == test.images.shape[1:] == (16, 16, 3)
    assert train.classes == test.classes == tuple("0123456789")
    assert (train.source, test.source) == ("sign-digits-train.parquet", "sign-digits-test.parquet")


def test_omniglot_is_grey_and_its_parts_are_the_files(shared: Path) -> None:
    path = shared / "datasets/omniglot-alphabets-train.parquet"
    train, test = load_splits(path)
    assert train.images.shape == (3872, 32, 32, 1)
    assert test.images.shape == (1968, 32, 32, 1)
    assert len(train.classes) == 8
    assert "Greek" in train.classes
    alone = load_images(path, split="test")
    np.testing.assert_array_equal(alone.images, test.images)
    np.testing.assert_array_equal(alone.labels, test.labels)


def test_mnist_is_divided_class_by_class(shared: Path) -> None:
    path = shared / "datasets/mnist-10k-images-idx3-ubyte.gz"
    whole = load_images(path)
    raw = gzip.decompress(path.read_bytes())
    oracle = np.frombuffer(raw, np.uint8, offset=16).reshape(10000, 28, 28)
    np.testing.assert_array_equal(whole.images[..., 0], oracle)
    assert whole.classes == tuple("0123456789")
    train, test = load_splits(path)
    assert len(train) + len(test) == 10000
    for name, count in whole.per_class.items():
        assert test.per_class[name] == round(0.2 * count)
        assert train.per_class[name] + test.per_class[name] == count
    assert "80%" in train.source
    assert "20%" in test.source


def test_the_readme_has_every_class_of_cifar(shared: Path) -> None:
    text = (shared / "datasets/README.md").read_text()
    row = next(line for line in text.splitlines() if "cifar10-train" in line)
    assert " ".join(CIFAR) in row
