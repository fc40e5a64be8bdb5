"""The measures against a float64 SVD, against torchconvquality, and on degenerate layers."""

from __future__ import annotations

import math
from dataclasses import asdict, fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from filterdb.stats import orthogonality, variance
from filterdb.stats.basis import reference_basis
from filterdb.stats.quality import LayerQuality, layer_quality
from filterdb.stats.randomness import threshold
from filterdb.stats.summary import summarise

SHAPES = [(64, 3, 3, 3), (32, 1, 3, 3), (8, 8, 3, 3), (300, 20, 3, 3), (16, 4, 5, 5), (5, 3, 1, 7),
          (3, 2, 7, 7), (40, 9, 2, 2), (12, 1, 11, 11), (1, 30, 3, 3)]  # fmt: skip
MADE = ["normal", "sparse", "large mean", "one direction", "heavy tails", "integers"]


def make(kind: str, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(shape)
    if kind == "sparse":
        w[rng.random(shape[:2]) < 0.4] *= 1e-4
    elif kind == "large mean":
        w += 1e4 * rng.random(shape[2:])
    elif kind == "one direction":
        w = w * 1e-5 + rng.standard_normal(shape[:2])[..., None, None] * rng.random(shape[2:])
    elif kind == "heavy tails":
        w *= np.exp(3 * rng.standard_normal(shape[:2]))[..., None, None]
    elif kind == "integers":
        w = np.round(20 * w)
    return w


def close(value: float | None, rel: float = 1e-6, abs: float = 1e-9) -> object:
    """``pytest.approx``, and None equal to None."""
    return None if value is None else pytest.approx(value, rel=rel, abs=abs)


def entropy_by_svd(filters: NDArray[np.float64]) -> float:
    s = np.linalg.svd(filters - filters.mean(axis=0), compute_uv=False) ** 2
    p = s[s > 0] / s.sum()
    return float(-(p * np.log10(p)).sum())


def oracle(weights: NDArray[np.floating]) -> dict[str, float | None]:
    """METHODS 1.4, word by word, in float64."""
    w = weights.astype(np.float64)
    n, taps = w.shape[0] * w.shape[1], w.shape[2] * w.shape[3]
    filters, rows = w.reshape(n, taps), w.reshape(len(w), -1)
    sparse = (np.abs(filters) < 0.01 * np.abs(w).max()).all(axis=1)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    off = np.abs(rows @ rows.T - np.eye(len(w))).sum()
    entropy, clean = entropy_by_svd(filters), entropy_by_svd(filters[~sparse])
    standard = (w - w.mean()) / w.std()
    t, t_clean = threshold(n, taps), threshold(int((~sparse).sum()), taps)
    return {
        "peak": np.abs(w).max(),
        "sparsity": sparse.mean(),
        "variance_entropy": entropy,
        "entropy_ratio": entropy / t if t else None,
        "n_clean": int((~sparse).sum()),
        "clean_variance_entropy": clean,
        "clean_entropy_ratio": clean / t_clean if t_clean else None,
        "orthogonality": 1 - off / (len(w) * (len(w) - 1)) if len(w) > 1 else None,
        "l1": np.abs(w).sum(),
        "l2": math.sqrt((w**2).sum()),
        "l1_standardised": np.abs(standard).sum(),
        "l2_standardised": math.sqrt(w.size),
    }


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-6)])
def test_equals_the_definition(kind, shape, dtype, tolerance):
    weights = make(kind, shape).astype(dtype)
    ours = asdict(layer_quality(weights))
    for name, expected in oracle(weights).items():
        assert ours[name] == close(expected, tolerance, tolerance), name


@pytest.mark.parametrize("kind", MADE)
def test_equals_the_definition_over_many_blocks(kind, monkeypatch):
    monkeypatch.setattr(variance, "BLOCK", 9 * 7)
    monkeypatch.setattr(orthogonality, "GRAM_ELEMENTS", 64 * 5)
    weights = make(kind, (64, 3, 3, 3))
    ours = asdict(layer_quality(weights))
    for name, expected in oracle(weights).items():
        assert ours[name] == close(expected, 1e-9, 1e-9), name


def test_many_filters_far_from_zero_do_not_cancel():
    # A float32 running sum would saturate at 2^24; a sum of squares would cancel.
    rng = np.random.default_rng(0)
    weights = (1000 + rng.standard_normal((2048, 128, 3, 3))).astype(np.float32)
    weights[..., 0, 0] += rng.standard_normal((2048, 128)).astype(np.float32)
    result = layer_quality(weights)
    filters = weights.reshape(-1, 9).astype(np.float64)
    eigenvalues = np.linalg.eigvalsh(np.cov(filters.T))
    shares = eigenvalues / eigenvalues.sum()
    assert result.variance_entropy == pytest.approx(-(shares @ np.log10(shares)), abs=1e-7)
    assert result.l1_standardised == pytest.approx(
        np.abs((filters - filters.mean()) / filters.std()).sum(), rel=1e-9
    )


@pytest.mark.parametrize("shape", [s for s in SHAPES if s[0] > 1], ids=str)
@pytest.mark.parametrize("kind", MADE)
def test_equals_torchconvquality(kind, shape):
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("torchconvquality")
    weights = make(kind, shape).astype(np.float32)
    theirs = peer.measure_conv_weight_quality(torch.from_numpy(weights))
    ours = layer_quality(weights)
    taps = shape[2] * shape[3]
    # Where the peer, in float32, loses the small singular values, the definition decides.
    tolerance = 1e-5 if kind in ("normal", "sparse", "integers", "heavy tails") else 2e-3
    assert ours.sparsity == pytest.approx(theirs["sparsity"], abs=1e-5)
    assert ours.orthogonality == pytest.approx(theirs["orthogonality"], abs=1e-5)
    if not math.isnan(theirs["variance_entropy"]):  # NaN where a singular value is exactly 0
        assert ours.variance_entropy == pytest.approx(theirs["variance_entropy"], abs=tolerance)
    if not math.isnan(theirs["variance_entropy_clean"]):
        assert ours.clean_variance_entropy == pytest.approx(
            theirs["variance_entropy_clean"], abs=tolerance
        )
    if taps == 9:
        assert ours.entropy_ratio == pytest.approx(theirs["variance_entropy_norm"], abs=tolerance)
        assert ours.clean_entropy_ratio == pytest.approx(
            theirs["variance_entropy_clean_norm"], abs=tolerance
        )


def test_all_zero_layer_is_sparse_without_entropy():
    result = layer_quality(np.zeros((8, 4, 3, 3), np.float32))
    assert (result.sparsity, result.variance_entropy, result.entropy_ratio) == (1, 0, 0)
    assert (result.peak, result.l1, result.l2, result.n_clean) == (0, 0, 0, 0)
    assert result.clean_variance_entropy is None
    assert result.l1_standardised is None
    assert result.orthogonality == pytest.approx(1 - 1 / 7)  # the diagonal of I alone


@pytest.mark.parametrize("value", [1.0, 0.1, -3e-7, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_filters_have_no_entropy(value, dtype):
    pattern = value * np.random.default_rng(0).random((3, 3))
    result = layer_quality(np.broadcast_to(pattern, (70, 90, 3, 3)).astype(dtype))
    assert result.variance_entropy == 0
    assert 0 <= result.orthogonality < 5e-6
    assert layer_quality(np.full((9, 9, 3, 3), value, dtype)).l1_standardised is None


def test_one_filter_and_two_have_no_ratio():
    one = layer_quality(np.random.default_rng(0).standard_normal((1, 1, 3, 3)))
    assert (one.variance_entropy, one.randomness_threshold, one.entropy_ratio) == (0, None, None)
    assert one.sparsity == 0
    two = layer_quality(np.random.default_rng(0).standard_normal((2, 1, 3, 3)))
    assert two.variance_entropy == pytest.approx(0, abs=1e-12)
    assert two.entropy_ratio is None


def test_one_output_channel_has_no_orthogonality():
    assert layer_quality(make("normal", (1, 16, 3, 3))).orthogonality is None


def test_zero_output_channels_count_as_the_reference_counts_them():
    weights = np.zeros((4, 1, 3, 3))
    weights[0, 0, 0, 0] = weights[1, 0, 1, 1] = 1  # two orthogonal rows, two zero ones
    assert layer_quality(weights).orthogonality == pytest.approx(1 - 2 / 12)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i1", "u1", "i2", "i8", "?", "g"])
def test_any_real_dtype(dtype):
    weights = make("integers", (16, 3, 3, 3)).clip(-100, 100)
    weights = (np.abs(weights) if dtype in ("u1", "?") else weights).astype(dtype)
    ours, exact = layer_quality(weights), layer_quality(weights.astype(np.float64))
    for field in fields(LayerQuality):
        expected = getattr(exact, field.name)
        assert getattr(ours, field.name) == close(expected, 1e-6, 1e-6)


def test_layout_does_not_matter_and_nothing_is_written():
    weights = make("sparse", (3, 3, 8, 16)).astype(np.float32)
    transposed = weights.transpose(3, 2, 0, 1)
    weights.setflags(write=False)
    assert layer_quality(transposed) == layer_quality(transposed.copy())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_counted_and_nothing_else(value):
    weights = make("normal", (4, 4, 3, 3)).astype(np.float32)
    weights[1, 2, 0, :2] = value
    weights[3, 3, 2, 2] = np.nan
    assert layer_quality(weights) == LayerQuality(16, n_invalid=3)


def test_one_by_one_has_norms_and_orthogonality_but_no_shape():
    result = layer_quality(make("normal", (8, 16, 1, 1)))
    assert result.l1 is not None
    assert result.peak is not None
    assert result.orthogonality is not None
    shape = (result.sparsity, result.variance_entropy, result.randomness_threshold,
             result.entropy_ratio, result.n_clean, result.clean_variance_entropy)  # fmt: skip
    assert shape == (None,) * 6


@pytest.mark.parametrize("shape", [(0, 3, 3, 3), (4, 0, 3, 3), (4, 3, 0, 3)])
def test_no_weights_no_measures(shape):
    assert layer_quality(np.empty(shape)) == LayerQuality(shape[0] * shape[1])


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"not float64 of shape \(3, 3\)"):
        layer_quality(np.ones((3, 3)))
    with pytest.raises(ValueError, match="not complex128"):
        layer_quality(np.ones((1, 1, 3, 3), np.complex128))


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e-44, 1e-30, 1e30, 1e37, 1e150, 1e300])
def test_no_scale_overflows_or_underflows(scale):
    weights = make("sparse", (16, 8, 3, 3))
    dtype = np.float32 if 1e-40 < scale < 1e38 else np.float64
    compare_scaled(layer_quality((scale * weights).astype(dtype)), layer_quality(weights), scale)


def test_denormal_weights_are_measured():
    rng = np.random.default_rng(0)
    weights = (rng.integers(-1000, 1000, (8, 8, 3, 3)) * 2.0**-149).astype(np.float32)
    assert np.abs(weights).max() < np.finfo(np.float32).tiny
    compare_scaled(
        layer_quality(weights), layer_quality(weights.astype(float) * 2.0**149), 2.0**-149
    )


def test_norms_out_of_range_are_undefined():
    assert layer_quality(np.full((9, 9, 3, 3), 1e308)).l1 is None


def test_faint_output_channels_keep_their_direction():
    weights = make("normal", (6, 4, 3, 3)).astype(np.float32)
    faint = weights.copy()
    faint[2] *= np.float32(1e-25)
    faint[4] *= np.float32(1e-30)
    expected = layer_quality(weights).orthogonality
    assert layer_quality(faint).orthogonality == pytest.approx(expected, abs=1e-6)


def compare_scaled(ours: LayerQuality, reference: LayerQuality, scale: float) -> None:
    for field in fields(LayerQuality):
        expected = getattr(reference, field.name)
        if field.name in ("peak", "l1", "l2"):
            expected *= scale
        assert getattr(ours, field.name) == close(expected, 1e-5), field.name


layers = st.builds(
    make,
    st.sampled_from(MADE),
    st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(1, 4), st.integers(2, 4)),
    st.integers(0, 2**32 - 1),
)


def same_shape_measures(a: LayerQuality, b: LayerQuality) -> None:
    for name in ("n_filters", "sparsity", "n_clean", "variance_entropy", "entropy_ratio",
                 "clean_variance_entropy"):  # fmt: skip
        assert getattr(a, name) == close(getattr(b, name), 1e-7, 1e-7), name


@given(layers, st.integers(-60, 60), st.sampled_from([-1, 1]))
@settings(max_examples=60, deadline=None)
def test_scale_and_sign_change_only_the_norms(weights, exponent, sign):
    scaled = layer_quality(weights * 2.0**exponent * sign)
    same_shape_measures(scaled, layer_quality(weights))
    assert scaled.orthogonality == close(layer_quality(weights).orthogonality)


@given(layers, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_filters_does_not_matter(weights, random):
    n = weights.shape[0] * weights.shape[1]
    order = random.sample(range(n), n)
    shuffled = weights.reshape(n, *weights.shape[2:])[order].reshape(weights.shape)
    same_shape_measures(layer_quality(shuffled), layer_quality(weights))
    ours, other = layer_quality(weights), layer_quality(weights[::-1, ::-1, ::-1, ::-1])
    assert ours.orthogonality == close(other.orthogonality)


@given(layers, st.integers(2, 4))
@settings(max_examples=40, deadline=None)
def test_copies_of_all_filters_change_no_entropy(weights, copies):
    repeated = layer_quality(np.concatenate([weights] * copies))
    once = layer_quality(weights)
    assert repeated.variance_entropy == pytest.approx(once.variance_entropy, abs=1e-7)
    assert repeated.sparsity == pytest.approx(once.sparsity)


@given(layers, st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_rotating_and_shifting_the_filters_changes_no_entropy(weights, seed):
    rng = np.random.default_rng(seed)
    taps = weights.shape[2] * weights.shape[3]
    rotation, _ = np.linalg.qr(rng.standard_normal((taps, taps)))
    moved = (weights.reshape(-1, taps) @ rotation + rng.standard_normal(taps)).reshape(
        weights.shape
    )
    assert layer_quality(moved).variance_entropy == pytest.approx(
        layer_quality(weights).variance_entropy, abs=1e-6
    )


@given(layers)
@settings(max_examples=60, deadline=None)
def test_measures_stay_in_their_range(weights):
    result = layer_quality(weights)
    n, taps = result.n_filters, weights.shape[2] * weights.shape[3]
    assert 0 <= result.sparsity <= 1
    most = math.log10(max(1, min(n - 1, taps)))
    assert 0 <= result.variance_entropy <= most + 1e-12
    assert result.orthogonality is None or 0 <= result.orthogonality <= 1
    assert result.n_clean == round(n * (1 - result.sparsity))
    assert all(v is None or math.isfinite(v) for v in asdict(result).values())


def test_an_eps_of_zero_makes_only_an_empty_layer_sparse():
    weights = make("sparse", (8, 4, 3, 3))
    weights[0] = 0
    assert layer_quality(weights, sparsity_eps=0).sparsity == 0
    assert layer_quality(0 * weights, sparsity_eps=0).sparsity == 1


@pytest.mark.parametrize("kind", MADE)
def test_large_float32_layers_keep_the_precision(kind, monkeypatch):
    weights = make(kind, (64, 40, 3, 3)).astype(np.float32)
    monkeypatch.setattr(variance, "LARGE", 1)
    monkeypatch.setattr(variance, "BLOCK", 9 * 300)
    ours = asdict(layer_quality(weights))
    for name, expected in oracle(weights).items():
        assert ours[name] == close(expected, 1e-6, 1e-6), name


def test_large_layers_of_equal_filters_have_no_entropy(monkeypatch):
    monkeypatch.setattr(variance, "LARGE", 1)
    pattern = np.random.default_rng(0).random((3, 3))
    weights = np.broadcast_to(pattern, (70, 90, 3, 3)).astype(np.float32)
    assert layer_quality(weights).variance_entropy == 0
    mixed = weights.copy()
    mixed[::3, ::2] = 0
    assert layer_quality(mixed).clean_variance_entropy == 0


def test_layers_sorted_by_scale_keep_the_precision(monkeypatch):
    monkeypatch.setattr(variance, "LARGE", 1)
    monkeypatch.setattr(variance, "BLOCK", 9 * 100)
    filters = make("heavy tails", (2560, 1, 3, 3))
    filters = filters[np.argsort(np.abs(filters).max(axis=(1, 2, 3)))] + 50
    weights = filters.astype(np.float32)
    for order in (weights, weights[::-1]):
        expected = oracle(weights)["variance_entropy"]
        assert layer_quality(order).variance_entropy == pytest.approx(expected, abs=1e-6)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("shape", [(400_000, 1, 1, 1), (2000, 1, 45, 45)])
def test_work_out_of_proportion_is_not_done(shape):
    """A file of these sizes is small; the pairs of its channels, or its components, are not."""
    quality = layer_quality(np.ones(shape, np.int8))
    assert quality.peak == 1
    assert quality.sparsity is None
    if shape[0] > 100_000:
        assert quality.orthogonality is None


@pytest.mark.parametrize("offset", [0.0, 0.3, 1e5])
def test_moments_of_a_summary_save_a_pass_and_change_nothing(offset):
    rng = np.random.default_rng(3)
    weights = (rng.normal(size=(40, 50, 3, 3)) + offset).astype(np.float32)
    weights[::4] *= 1e-4
    summary = summarise(weights, reference_basis((3, 3)))
    plain, quick = (
        layer_quality(weights),
        layer_quality(weights, moments=(summary.clean.raw, summary.sparse.raw)),
    )
    for name, value in asdict(plain).items():
        assert getattr(quick, name) == pytest.approx(value, rel=1e-7), name


def test_equal_filters_have_no_variance_by_moments_either():
    weights = np.full((30, 10, 3, 3), 0.7, np.float32)
    summary = summarise(weights, reference_basis((3, 3)))
    assert (
        layer_quality(weights, moments=(summary.clean.raw, summary.sparse.raw)).variance_entropy
        == 0
    )
