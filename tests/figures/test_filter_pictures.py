"""Mosaics, and filters before and after: the pictures hold the very weights."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import filters_of, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from filterdb.figures import changed_filters, filter_mosaic
from filterdb.figures.mosaic import evenly_by_norm, grid_columns, tiles


def filters_in(figure, kernel):
    """The filters of a mosaic, read back from the pixels of its picture, row by row."""
    picture, cover = (image.get_array() for image in figure.axes[0].images)
    picture, free = np.ma.filled(picture, np.nan), cover[..., 3] == 0
    found = []
    rows = np.flatnonzero(np.diff(free.any(axis=1).astype(int), prepend=0) == 1)
    columns = np.flatnonzero(np.diff(free.any(axis=0).astype(int), prepend=0) == 1)
    zoom = int(np.argmin(free[rows[0] :, columns[0]])) // kernel[0]
    for y in rows:
        for x in columns:
            if free[y, x]:
                tile = picture[y : y + zoom * kernel[0], x : x + zoom * kernel[1]]
                assert free[y : y + zoom * kernel[0], x : x + zoom * kernel[1]].all()
                taps = tile[::zoom, ::zoom]
                np.testing.assert_array_equal(tile, taps.repeat(zoom, 0).repeat(zoom, 1))
                found.append(taps)
    return np.array(found)


@pytest.mark.parametrize("kernel", [(3, 3), (1, 7), (7, 1), (1, 1), (2, 5), (31, 31)])
@pytest.mark.parametrize("count", [1, 2, 17])
def test_every_filter_is_there_by_falling_norm(kernel, count):
    filters = filters_of(count, kernel)
    figure = filter_mosaic(filters, scale="layer")
    expected = sorted(filters, key=lambda each: -np.linalg.norm(each))
    np.testing.assert_allclose(filters_in(figure, kernel), expected)
    image = figure.axes[0].images[0]
    assert -image.norm.vmin == image.norm.vmax == np.abs(filters).max()
    assert len(figure.axes[0].child_axes) == 1, "a colour bar says how much"


def test_a_layer_is_as_good_as_its_filters():
    layer = filters_of(12).reshape(4, 3, 3, 3).astype(np.float32)
    before = layer.copy()
    a = filters_in(filter_mosaic(layer), (3, 3))
    b = filters_in(filter_mosaic(layer.reshape(-1, 3, 3)), (3, 3))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(layer, before)


def test_each_to_its_own_peak():
    filters = filters_of(6) * np.array([1, 1e-8, 1e8, 0, 3, 4])[:, None, None]
    figure = filter_mosaic(filters)
    shown = filters_in(figure, (3, 3))
    np.testing.assert_allclose(np.abs(shown).max(axis=(1, 2)), [1, 1, 1, 1, 1, 0])
    assert figure.axes[0].images[0].norm.vmax == 1
    assert not figure.axes[0].child_axes


def test_of_many_even_ranks_are_shown_and_said():
    filters = filters_of(1000)
    figure = filter_mosaic(filters, title="conv $1_a$", limit=100, scale="layer")
    order = sorted(filters, key=lambda each: -np.linalg.norm(each))
    shown = filters_in(figure, (3, 3))
    assert len(shown) == 100
    np.testing.assert_allclose(shown[[0, 1, 50, 99]], [order[i] for i in (0, 10, 505, 999)])
    written = texts(figure)
    assert r"conv \$1_a\$" in written
    head = "100 of 1,000 filters, 3x3, by falling norm\nat even ranks, all to the layer's peak"
    assert head in written
    assert "conv $1_a$: 100 of 1,000 filters" in figure.get_label()


def test_all_and_only():
    assert any(
        text.startswith("All 9 filters, 3x3") for text in texts(filter_mosaic(filters_of(9)))
    )
    assert any(text.startswith("The only filter") for text in texts(filter_mosaic(filters_of(1))))


def test_weights_that_are_not_finite_are_grey_and_counted():
    filters = filters_of(5)
    filters[0, 0, 0], filters[1] = np.nan, np.inf
    filters[2, 1, 1] = -np.inf
    for scale in ("own", "layer"):
        figure = filter_mosaic(filters, scale=scale)
        assert np.isnan(filters_in(figure, (3, 3))).sum() == 11
        assert np.isfinite(figure.axes[0].images[0].norm.vmax)
        assert any("NaN or infinite, in 3 of them" in text for text in texts(figure))


def test_nothing_but_zeros_or_nans():
    assert not filters_in(filter_mosaic(np.zeros((4, 3, 3)), scale="layer"), (3, 3)).any()
    assert np.isnan(filters_in(filter_mosaic(np.full((4, 3, 3), np.nan)), (3, 3))).all()


@pytest.mark.parametrize("shape", [(0, 3, 3), (4, 0, 3, 3), (3, 3), (4, 4, 4, 3, 3)])
def test_no_filters(shape):
    with pytest.raises(ValueError, match="cannot be drawn"):
        filter_mosaic(np.zeros(shape))


def test_another_scale():
    with pytest.raises(ValueError, match="'model'"):
        filter_mosaic(filters_of(3), scale="model")


@given(st.integers(1, 400), st.integers(1, 64))
def test_ranks_are_distinct_and_have_both_ends(count, limit):
    filters = np.random.default_rng(count).random((count, 1, 1))
    chosen = evenly_by_norm(filters, limit)
    assert len(set(chosen)) == len(chosen) == min(count, limit)
    assert chosen[0] == filters.argmax()
    assert limit == 1 or chosen[-1] == filters.argmin()


@settings(deadline=None)
@given(st.integers(1, 256), st.integers(1, 11), st.integers(1, 11))
def test_a_mosaic_is_about_square(count, height, width):
    columns = grid_columns(count, (height, width))
    assert 1 <= columns <= count
    if count >= 64:
        rows, across = tiles(np.zeros((count, height, width)), columns=columns)[0].shape
        assert 0.55 < rows / across < 1.8


# Before and after -------------------------------------------------------------------------------


def test_triples_are_before_after_and_difference():
    before, after = filters_of(6, (2, 3)), filters_of(6, (2, 3), seed=1)
    figure = changed_filters(before, after, [f"conv #{i}" for i in range(6)])
    images = figure.axes[0].images
    assert len(images) == 18
    for place in range(6):
        triple = images[3 * place : 3 * place + 3]
        expected = (before[place], after[place], after[place] - before[place])
        for image, weights in zip(triple, expected, strict=True):
            np.testing.assert_allclose(image.get_array(), weights)
            assert image.norm.vmax == max(np.abs(before[place]).max(), np.abs(after[place]).max())
            assert image.norm.vmin == -image.norm.vmax
        lefts = [image.get_extent()[0] for image in triple]
        assert lefts == sorted(lefts)
    written = texts(figure)
    for place in range(6):
        share = np.linalg.norm(after[place] - before[place]) / np.linalg.norm(before[place])
        assert f"conv #{place}" in written
        assert f"changed by {100 * share:.3g} %" in written
    assert [written.count(name) for name in ("before", "after", "difference")] == [4, 4, 4]


def test_the_order_is_the_caller_s_and_the_rest_is_said():
    before, after = filters_of(40), filters_of(40, seed=1)
    figure = changed_filters(before, after, [str(i) for i in range(40)], limit=5)
    assert len(figure.axes[0].images) == 15
    np.testing.assert_allclose(figure.axes[0].images[12].get_array(), before[4])
    assert "5 of 40 filters, the most changed first" in texts(figure)


def test_what_has_no_relative_change():
    zero, one = np.zeros((1, 3, 3)), np.ones((1, 3, 3))
    assert "was zero" in texts(changed_filters(zero, one, ["a"]))
    assert "zero" in texts(changed_filters(zero, zero, ["a"]))
    assert "changed by 100 %" in texts(changed_filters(one, zero, ["a"]))
    bad = one.copy()
    bad[0, 0] = np.inf
    figure = changed_filters(bad, bad, ["a"])
    assert "not finite" in texts(figure)
    assert figure.axes[0].images[0].norm.vmax == 1


@pytest.mark.parametrize(
    ("before", "after", "labels"),
    [
        ((2, 3, 3), (2, 3, 3), 1),
        ((2, 3, 3), (2, 3, 5), 2),
        ((2, 9), (2, 9), 2),
        ((0, 3, 3), (0, 3, 3), 0),
    ],
)
def test_what_makes_no_pairs(before, after, labels):
    with pytest.raises(ValueError, match="do not make pairs"):
        changed_filters(np.ones(before), np.ones(after), ["a"] * labels)
