"""Eigenimages, cumulative variance and the ridge plot show the numbers that they were given."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import basis_of, legend_of, summary_of, texts
from matplotlib.collections import PolyCollection
from scipy.stats import gaussian_kde

from filterdb.figures import cumulative_variance, eigenimages, ridge_plot
from filterdb.figures.ridges import drawn_range
from filterdb.figures.style import OTHER, PALETTE
from filterdb.stats.basis import reference_basis


def test_an_eigenimage_is_the_component():
    bases = {"faces": basis_of(), "maps": basis_of(seed=3)}
    axes = eigenimages(bases).axes[0]
    assert len(axes.images) == 18
    for place, image in enumerate(axes.images):
        component = list(bases.values())[place // 9].components[place % 9].reshape(3, 3)
        shown = image.get_array().filled(np.nan)
        sign = np.sign((shown * component).sum())
        np.testing.assert_allclose(shown, sign * component)
        assert -image.norm.vmin == image.norm.vmax == np.abs(component).max()
        left, right, bottom, top = image.get_extent()
        assert (left + right) / 2 == pytest.approx(place % 9)
        assert bottom > top, "the first row of taps is above"
        assert right - left == pytest.approx(bottom - top)


def test_ratios_and_numbers_are_written():
    bases = {"faces": basis_of(n=12_345), "maps": reference_basis((1, 7))}
    written = texts(eigenimages(bases))
    for basis in bases.values():
        for ratio in basis.explained_variance_ratio:
            assert f"{100 * ratio:.1f} %" in written
    assert "faces\n3x3, n = 12.3k" in written
    assert "maps\n1x7, not fitted" in written
    assert [f"c{column}" in written for column in range(10)] == [True] * 9 + [False]


def test_signs_follow_the_first_row():
    first = basis_of()
    turned = basis_of()
    turned.components[::2] *= -1
    images = eigenimages({"a": first, "b": turned}).axes[0].images
    for above, below in zip(images[:9], images[9:], strict=True):
        np.testing.assert_array_equal(above.get_array(), below.get_array())


def test_components_that_are_left_out_are_said():
    figure = eigenimages({"large": reference_basis((5, 5))})
    assert len(figure.axes[0].images) == 9
    assert any("The first 9 of up to 25 components." in text for text in texts(figure))
    figure = eigenimages({"large": reference_basis((5, 5))}, components=25)
    assert len(figure.axes[0].images) == 25
    assert not any("up to" in text for text in texts(figure))


def test_images_have_the_shape_of_their_kernel():
    image = eigenimages({"row": reference_basis((1, 7))}).axes[0].images[0]
    left, right, bottom, top = image.get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(7)
    assert image.get_array().shape == (1, 7)


@pytest.mark.parametrize("draw", [eigenimages, cumulative_variance])
def test_no_basis(draw):
    with pytest.raises(ValueError, match="no basis"):
        draw({})


def test_cumulative_variance():
    bases = {"faces": basis_of(), "maps": basis_of((5, 5), n=2000)}
    figure = cumulative_variance(bases)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    for name, basis in bases.items():
        line = next(line for label, line in lines.items() if label.startswith(name))
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, basis.mean.size + 1))
        np.testing.assert_allclose(line.get_ydata(), np.cumsum(basis.explained_variance_ratio))
    assert legend_of(figure) == ["faces (n = 500)", "maps (n = 2,000)", "random filters"]
    dashed = [line for line in figure.axes[0].lines if line.is_dashed()]
    assert [list(line.get_ydata()) for line in dashed] == [[1 / 9, 1], [1 / 25, 1]]


def test_with_many_populations_the_extremes_are_named():
    bases = {f"{index}": basis_of(seed=index) for index in range(12)}
    figure = cumulative_variance(bases)
    by_first = sorted(bases, key=lambda name: bases[name].explained_variance_ratio[0])
    named = [entry.split(" ")[0] for entry in legend_of(figure)[:8]]
    assert set(named) == {*by_first[:4], *by_first[-4:]}
    assert legend_of(figure)[8:] == ["4 others", "random filters"]
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert colours.count(OTHER) == 4
    assert set(PALETTE) <= set(colours)


# Ridge plot -------------------------------------------------------------------------------------


def ridges(axes):
    return [each for each in axes.collections if isinstance(each, PolyCollection)]


def test_a_ridge_is_the_density_of_its_coefficients():
    reach = reference_basis((3, 3)).reach
    histograms = {name: summary_of(400, seed=seed).counts for seed, name in enumerate("ab")}
    figure = ridge_plot(histograms, reach=reach, ratios=np.full(9, 1 / 9))
    assert len(figure.axes) == 9
    centres = (np.arange(560) + 0.5) * (2 * reach / 560) - reach
    for column, axes in enumerate(figure.axes):
        assert axes.get_title("center") == f"c{column}\n11.1 %"
        assert len(ridges(axes)) == 2
        lines = [line for line in axes.lines if len(line.get_xdata()) > 2]
        for row, (line, counts) in enumerate(zip(lines, histograms.values(), strict=True)):
            values = np.repeat(centres, counts[column])
            expected = gaussian_kde(values, bw_method="silverman")(line.get_xdata())
            height = row - line.get_ydata()
            assert height.min() >= 0
            assert np.abs(height / height.max() - expected / expected.max()).max() < 5e-3
            assert height.max() == pytest.approx(1.7 * 0.9)


def test_rows_are_named_and_columns_share_a_scale():
    figure = ridge_plot({"$a$": summary_of(77).counts, "b": summary_of(5).counts}, reach=3.1)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [r"\$a\$" + "\nn = 77", "b\nn = 5"]
    assert len({axes.get_xlim() for axes in figure.axes}) == 1


def test_components_can_be_fewer():
    counts = np.ones((25, 560), int)
    assert len(ridge_plot({"a": counts}, reach=5.0).axes) == 9
    assert len(ridge_plot({"a": counts}, reach=5.0, components=3).axes) == 3
    assert len(ridge_plot({"a": counts[:2]}, reach=5.0).axes) == 2


def test_an_empty_group_is_flat():
    figure = ridge_plot({"none": np.zeros((2, 560), int)}, reach=3.0)
    assert np.ptp(figure.axes[0].lines[-1].get_ydata()) == 0


def test_no_group():
    with pytest.raises(ValueError, match="no histogram"):
        ridge_plot({}, reach=3.0)


@pytest.mark.parametrize("place", [0, 100, 279, 280, 555, 559])
def test_the_range_holds_what_there_is(place):
    counts = np.zeros(560)
    counts[place] = 10
    limit = drawn_range(counts, 2.8)
    centre = (place + 0.5) * 0.01 - 2.8
    assert abs(centre) <= limit <= max(abs(centre) + 0.02, 0.14) + 1e-12
