"""Choices from a set, its pixels and its augmentation, against plain implementations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterdb.errors import TransferError
from filterdb.transfer.data import (
    Images,
    augmented,
    channels,
    divided,
    flips,
    fraction,
    halves,
    limit,
    mean_std,
    only,
    parse_groups,
    resized,
    split_classes,
)

NAMES = ("cat", "dog", "ship", "truck", "plane")


def made(n: int = 100, *, size: int = 6, depth: int = 3, names: tuple[str, ...] = NAMES) -> Images:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (n, size, size, depth), dtype=np.uint8)
    return Images(images, rng.integers(0, len(names), n), names, "toys")


def names_of(images: Images) -> list[str]:
    return [images.classes[at] for at in images.labels]


def test_only_keeps_pixels_and_names_together() -> None:
    whole = made()
    found = only(whole, ["truck", "cat"])
    assert found.classes == ("cat", "truck")  # the order of the set, not of the question
    where = [at for at, name in enumerate(names_of(whole)) if name in ("cat", "truck")]
    np.testing.assert_array_equal(found.images, whole.images[where])
    assert names_of(found) == [names_of(whole)[at] for at in where]
    assert "cat, truck" in found.source


@pytest.mark.parametrize(
    ("wanted", "told"),
    [(["cat", "trukc"], r"Did you mean 'truck'\? The classes are: cat, dog, ship"),
     (["cat"], "one class only, 'cat'"), (["cat", "cat"], "one class only"),
     ([], "no class is chosen")],
)  # fmt: skip
def test_only_says_what_is_wrong(wanted: list[str], told: str) -> None:
    with pytest.raises(TransferError, match=told):
        only(made(), wanted)


def test_groups() -> None:
    groups = parse_groups("animals=cat, dog; wheels=truck,plane")
    assert groups == {"animals": ("cat", "dog"), "wheels": ("truck", "plane")}
    assert parse_groups(["a=x", "b=y,z"]) == {"a": ("x",), "b": ("y", "z")}
    two = split_classes(made(), groups)
    assert {name: found.classes for name, found in two.items()} == {
        "animals": ("cat", "dog"),
        "wheels": ("truck", "plane"),
    }
    one = split_classes(made(), parse_groups("animals=cat,dog"))
    assert one["rest"].classes == ("ship", "truck", "plane")
    assert len(one["animals"]) + len(one["rest"]) == 100


@pytest.mark.parametrize("text", ["", "cat,dog", "=cat", "a=", "a=cat;a=dog"])
def test_groups_that_cannot_be_read(text: str) -> None:
    with pytest.raises(TransferError, match="NAME=CLASS"):
        parse_groups(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [("a=cat,dog;b=dog,ship", "'dog' is in the groups 'a' and 'b'"), ("a=cat,dgo", "mean 'dog'"),
     ("a=cat", "one class only"), ("a=cat,dog,ship,truck", "one class only, 'plane'")],
)  # fmt: skip
def test_groups_that_do_not_fit(text: str, told: str) -> None:
    with pytest.raises(TransferError, match=told):
        split_classes(made(), parse_groups(text))


def test_halves_take_both_parts_apart_alike() -> None:
    train, test = made(100), made(40)
    for seed in range(5):
        first, second = halves(train, seed=seed)
        assert set(first.classes) | set(second.classes) == set(NAMES)
        assert len(first) + len(second) == 100
        assert halves(test, seed=seed)[0].classes == first.classes
    assert len({halves(train, seed=seed)[0].classes for seed in range(9)}) > 1
    with pytest.raises(TransferError, match="cannot be halved"):
        halves(only(train, ["cat", "dog", "ship"]))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(0, 5))
def test_limits_are_stratified_nested_and_in_order(n: int, seed: int) -> None:
    whole = made()
    whole = replace(whole, images=np.arange(100, dtype=np.uint8).reshape(-1, 1, 1, 1))
    small, large = (limit(whole, count, seed=seed) for count in (n, n + 3))
    for name, count in whole.per_class.items():
        assert small.per_class[name] == min(n, count)
    kept, more = small.images.ravel().tolist(), large.images.ravel().tolist()
    assert kept == sorted(kept)
    assert set(kept) <= set(more)
    few = only(small, ["cat", "ship"]).images
    np.testing.assert_array_equal(few, limit(only(whole, ["cat", "ship"]), n, seed=seed).images)


def test_fractions_are_nested_and_have_every_class() -> None:
    whole = made(320)
    sizes = []
    for share in (1 / 16, 1 / 4, 1.0):
        found = fraction(whole, share)
        sizes.append({image.tobytes() for image in found.images})
        for name, count in whole.per_class.items():
            assert found.per_class[name] == max(1, round(share * count))
    assert sizes[0] < sizes[1] < sizes[2]
    for share in (0, -1, 1.5, float("nan")):
        with pytest.raises(TransferError, match="share"):
            fraction(whole, share)


def test_divided_parts_are_disjoint_and_whole() -> None:
    whole = made(200)
    train, test = divided(whole, share=0.25, seed=3)
    first, second = ({image.tobytes() for image in part.images} for part in (train, test))
    assert not first & second
    assert len(first | second) == 200
    assert test.per_class == {name: round(0.25 * n) for name, n in whole.per_class.items()}
    pair = only(made(3, names=("a", "b")), ["a", "b"])
    lone = replace(pair, labels=np.array([0, 0, 1]))
    kept, held_out = divided(lone, share=0.9)
    assert kept.per_class == {"a": 1, "b": 1}
    assert held_out.per_class == {"a": 1, "b": 0}


@pytest.mark.parametrize(("old", "new"), [(28, 32), (28, 14), (8, 16), (64, 24), (9, 9), (5, 1)])
@pytest.mark.parametrize("depth", [1, 3])
def test_resizing_is_pillows_bilinear(old: int, new: int, depth: int) -> None:
    from PIL import Image

    images = made(5, size=old, depth=depth)
    found = resized(images, new).images
    for image, small in zip(images.images, found, strict=True):
        picture = Image.fromarray(image if depth == 3 else image[..., 0])
        oracle = np.asarray(picture.resize((new, new), Image.Resampling.BILINEAR))
        assert np.abs(oracle.reshape(small.shape).astype(int) - small).max() <= 1


def test_resizing_takes_the_centre() -> None:
    wide = np.zeros((2, 4, 10, 1), np.uint8)
    wide[:, :, 3:7] = 200
    images = Images(wide, np.array([0, 1]), ("a", "b"), "wide")
    assert resized(images, 8).images.min() == 200


def test_luminance_is_pillows() -> None:
    from PIL import Image

    images = made(4, size=16)
    grey = channels(images, 1).images
    for image, own in zip(images.images, grey, strict=True):
        np.testing.assert_array_equal(own[..., 0], np.asarray(Image.fromarray(image).convert("L")))
    back = channels(channels(images, 1), 3)
    np.testing.assert_array_equal(channels(back, 1).images, grey)
    with pytest.raises(TransferError, match="not 2"):
        channels(images, 2)


def test_mean_and_deviation() -> None:
    images = made()
    values = images.images.astype(np.float64) / 255
    mean, std = mean_std(images)
    np.testing.assert_allclose(mean, values.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, values.std(axis=(0, 1, 2)), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("flip", [True, False])
def test_augmentation_is_a_shift_and_perhaps_a_mirror(dtype: type, flip: bool) -> None:
    batch = made(40, size=7).images.astype(dtype)
    before = batch.copy()
    found = augmented(batch, np.random.default_rng(5), padding=2, flip=flip)
    np.testing.assert_array_equal(batch, before)
    assert (found.shape, found.dtype) == (batch.shape, batch.dtype)
    seen = set()
    for image, new in zip(batch, found, strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
        ways = {
            (top, left, mirror): padded[top : top + 7, left : left + 7][:, :: -1 if mirror else 1]
            for top in range(5) for left in range(5) for mirror in (False, True)
        }  # fmt: skip
        (way,) = (way for way, crop in ways.items() if np.array_equal(crop, new))
        seen.add(way)
    assert {mirror for *_, mirror in seen} == ({False, True} if flip else {False})
    assert {top for top, *_ in seen} == {left for _, left, _ in seen} == set(range(5))
    again = augmented(batch, np.random.default_rng(5), padding=2, flip=flip)
    np.testing.assert_array_equal(found, again)


def test_no_padding_and_no_mirror_is_the_image_itself() -> None:
    batch = made(5).images
    same = augmented(batch, np.random.default_rng(0), padding=0, flip=False)
    np.testing.assert_array_equal(same, batch)


def test_characters_are_not_mirrored() -> None:
    assert flips(made())
    assert not flips(made(names=tuple("0123456789")))
    assert not flips(made(names=("a", "b", "10")))


def test_arrays_that_do_not_go_together() -> None:
    whole = made()
    for wrong in (
        {"images": whole.images[:-1]},
        {"images": whole.images.astype(np.float32)},
        {"labels": whole.labels.astype(np.int32)},
        {"labels": whole.labels + 1},
        {"labels": whole.labels - 1},
        {"images": whole.images[..., :2]},
    ):
        with pytest.raises(TransferError, match="toys"):
            replace(whole, **wrong)
