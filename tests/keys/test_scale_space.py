"""The discrete Gaussian against SciPy's Bessel functions, and members against SciPy's filters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.special import ive

from filterdb.keys.naming.grid_search import maximum
from filterdb.keys.naming.members import BY_NAME, FAMILY
from filterdb.keys.naming.scale_space import centres, discrete_gaussian, offsets, profile

SIGMAS = st.floats(0, 5)
PLACES = np.arange(-60, 61)


@pytest.mark.parametrize("sigma", [0, 1e-3, 0.1, 0.5, 1, 2.5, 7, 31])
def test_it_is_the_bessel_function(sigma: float) -> None:
    places = np.arange(-40, 41)
    expected = ive(np.abs(places), sigma**2)
    np.testing.assert_allclose(discrete_gaussian(sigma, places)[0], expected, rtol=0, atol=1e-14)


@given(sigma=SIGMAS)
@settings(max_examples=30, deadline=None)
def test_it_sums_to_one_and_has_that_variance(sigma: float) -> None:
    values = discrete_gaussian(sigma, PLACES)[0]
    assert values.min() >= 0
    assert values.sum() == pytest.approx(1, abs=1e-12)
    assert values @ PLACES**2 == pytest.approx(sigma**2, abs=1e-9)


@given(one=SIGMAS, other=SIGMAS)
@settings(max_examples=30, deadline=None)
def test_smoothing_twice_adds_the_variances(one: float, other: float) -> None:
    twice = np.convolve(*(discrete_gaussian(sigma, PLACES)[0] for sigma in (one, other)), "same")
    np.testing.assert_allclose(twice, discrete_gaussian(np.hypot(one, other), PLACES)[0],
                               atol=1e-12)  # fmt: skip


def test_it_solves_the_diffusion_equation() -> None:
    step, variance = 1e-4, 1.3
    later, sooner = (discrete_gaussian(np.sqrt(variance + by), PLACES)[0] for by in (step, -step))
    second = profile("second", np.sqrt(variance), PLACES)[0]
    np.testing.assert_allclose((later - sooner) / (2 * step), second / 2, atol=1e-7)


def test_every_sigma_has_its_row() -> None:
    sigmas = [0.3, 0, 4.0]
    rows = discrete_gaussian(sigmas, [0, 2])
    np.testing.assert_allclose(rows, [ive([0, 2], sigma**2) for sigma in sigmas], atol=1e-15)


def test_a_box_has_the_standard_deviation_of_its_scale() -> None:
    places = np.arange(-4, 5)
    for width in (1, 3, 5, 7):
        sigma = np.sqrt((width**2 - 1) / 12)
        box = profile("box", sigma, places)[0]
        np.testing.assert_allclose(box, np.abs(places) <= width // 2, atol=1e-12)
        assert box @ places**2 / box.sum() == pytest.approx(sigma**2)


# What the names mean, on a wide image of T: as convolution kernels with y upwards, f(y + 1) is the
# row above. Each gives the image that the member is cut from.
WIDE = 61


def image(sigma_x: float, sigma_y: float) -> np.ndarray:
    places = np.abs(np.arange(WIDE) - WIDE // 2)
    return np.outer(ive(places, sigma_y**2), ive(places, sigma_x**2))


def moved(values: np.ndarray, *, x: int = 0, y: int = 0) -> np.ndarray:
    """The image of f(x + x0, y + y0)."""
    return np.roll(values, (y, -x), (0, 1))


MEANING = {
    "Gaussian": lambda t: t,
    "d/dx": lambda t: (moved(t, x=1) - moved(t, x=-1)) / 2,
    "d/dy": lambda t: (moved(t, y=1) - moved(t, y=-1)) / 2,
    "d/dx forward": lambda t: moved(t, x=1) - t,
    "d/dx backward": lambda t: t - moved(t, x=-1),
    "d/dy forward": lambda t: moved(t, y=1) - t,
    "d/dy backward": lambda t: t - moved(t, y=-1),
    "d2/dx2": lambda t: moved(t, x=1) - 2 * t + moved(t, x=-1),
    "d2/dy2": lambda t: moved(t, y=1) - 2 * t + moved(t, y=-1),
    "d2/dxdy": lambda t: (moved(t, x=1, y=1) - moved(t, x=1, y=-1)
                          - moved(t, x=-1, y=1) + moved(t, x=-1, y=-1)) / 4,
    "Laplacian": lambda t: -ndimage.laplace(t),
    "square": lambda t: ndimage.convolve(t, np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])),
}  # fmt: skip


@pytest.mark.parametrize("size", [(7, 7), (5, 9), (11, 3), (6, 7), (4, 4)])
@pytest.mark.parametrize("name", MEANING)
def test_members_are_what_they_are_called(name: str, size: tuple[int, int]) -> None:
    whole = MEANING[name](image(0.7, 1.2))
    for row, column in centres(size):
        top, left = WIDE // 2 - row, WIDE // 2 - column
        expected = whole[top : top + size[0], left : left + size[1]]
        found = BY_NAME[name].kernel(size, (0.7, 1.2), centre=(row, column))
        np.testing.assert_allclose(found, expected, atol=1e-13)


def test_members_without_differences() -> None:
    unit = np.zeros((5, 5))
    unit[2, 2] = 1
    np.testing.assert_array_equal(BY_NAME["identity"].kernel((5, 5), (1, 1)), unit)
    plus = np.zeros((5, 5))
    plus[2] = plus[:, 2] = 1
    np.testing.assert_allclose(BY_NAME["cross"].kernel((5, 5), (0, 0)), plus - 1, atol=1e-15)
    third = np.sqrt(8 / 12)
    box = BY_NAME["box"].kernel((5, 5), (third, 0))
    np.testing.assert_allclose(box, [[0] * 5] * 2 + [[0, 1, 1, 1, 0]] + [[0] * 5] * 2, atol=1e-15)
    sharp = BY_NAME["centre-surround"].kernel((5, 5), (0.8, 0.8), weights=(1, 0.5))
    np.testing.assert_allclose(sharp, unit + 0.5 * BY_NAME["Laplacian"].kernel((5, 5), (0.8, 0.8)))


def test_the_family_has_one_of_each() -> None:
    assert len({member.name for member in FAMILY}) == len(FAMILY)
    assert FAMILY[0].parameters == 0
    assert BY_NAME["Gaussian"].parameters == 2
    assert BY_NAME["centre-surround"].parameters == 3


def test_the_middle_of_an_even_side_lies_between_two_taps() -> None:
    assert centres((7, 3)) == ((3, 1),)
    assert centres((4, 1)) == ((1, 0), (2, 0))
    assert len(centres((2, 6))) == 4
    y, x = offsets((3, 2), (1, 0))
    assert y.tolist() == [1, 0, -1]  # upwards
    assert x.tolist() == [0, 1]


def test_a_maximum_is_found_within_the_bounds() -> None:
    def hill(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(-(np.subtract.outer(a, 0.3141592) ** 2))[:, None] - (b - 9) ** 2

    point, value = maximum(hill, [np.linspace(0, 1, 33), np.linspace(0, 2, 33)])
    assert point == pytest.approx((0.3141592, 2), abs=1e-6)
    assert value == pytest.approx(-49)
