"""Every job against plain NumPy over all filters at once."""

from __future__ import annotations

import numpy as np
import plain
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from filterdb.scan import DensityJob, HistogramJob, MomentsJob, RangeJob, ScanLayer, SummaryJob
from filterdb.scan.blocks import Blocks
from filterdb.stats.basis import reference_basis
from filterdb.stats.summary import BLOCK, summarise

BASIS = reference_basis((3, 3))
ALL_JOBS = [
    MomentsJob(),
    RangeJob(BASIS),
    HistogramJob(BASIS, -3, 3),
    DensityJob(BASIS, bins=8),
    SummaryJob((BASIS,)),
]

some_filters = arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.just(9)),
    elements=st.sampled_from([0, 0.5, -0.001, 0.01, 1, -1, 3, 1e-30, 1e30]),
)


def ask(job, filters, kernel=(3, 3)):
    layer = ScanLayer(1, 0, "conv", (len(filters), 1, *kernel), len(filters), "f" * 64)
    answer = job(filters, layer)
    assert int(answer["seen"]) == len(filters)
    return job.value(answer)


def kept(filters, drop_sparse):
    return filters[~plain.sparse(filters)] if drop_sparse else filters


def coefficients(filters):
    return (plain.scaled(filters) - BASIS.mean) @ BASIS.components.T


@pytest.fixture(scope="module")
def large():
    """Filters that need several blocks, the last of them not full."""
    generator = np.random.default_rng(7)
    filters = generator.normal(size=(2 * BLOCK + 100, 9)) + generator.normal(size=9)
    filters[generator.random(len(filters)) < 0.3] *= 1e-3
    filters[[0, 17, -1]] = 0
    return filters.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(filters=some_filters, drop_sparse=st.booleans())
def test_blocks_are_the_scaled_filters(filters, drop_sparse):
    blocks = Blocks(filters, drop_sparse=drop_sparse)
    found = [np.empty((9, 0)), *(block.copy() for block in blocks)]
    expected = plain.scaled(kept(filters, drop_sparse))
    np.testing.assert_array_equal(np.concatenate(found, axis=1).T, expected)
    assert blocks.seen == len(filters)


def test_a_filter_at_the_threshold_is_not_sparse():
    peaks = np.array([1, 0.01, np.nextafter(np.float32(0.01), np.float32(0))], np.float32)
    filters = np.zeros((3, 9), np.float32)
    filters[:, 4] = peaks
    assert ask(MomentsJob(drop_sparse=True), filters).n == 2


@pytest.mark.parametrize("drop_sparse", [False, True])
class TestAgainstNumPy:
    def test_moments(self, large, drop_sparse):
        found = ask(MomentsJob(drop_sparse), large)
        expected = plain.scaled(kept(large, drop_sparse))
        assert found.n == len(expected)
        np.testing.assert_allclose(found.first, expected.sum(axis=0), rtol=1e-12, atol=1e-9)
        np.testing.assert_allclose(found.second, expected.T @ expected, rtol=1e-12, atol=1e-9)

    def test_range(self, large, drop_sparse):
        found = ask(RangeJob(BASIS, drop_sparse), large)
        expected = coefficients(kept(large, drop_sparse))
        np.testing.assert_allclose(found, (expected.min(), expected.max()), rtol=1e-13)

    def test_histogram_leaves_out_what_is_outside(self, large, drop_sparse):
        found = ask(HistogramJob(BASIS, -1.5, 1, bins=30, drop_sparse=drop_sparse), large)
        expected = coefficients(kept(large, drop_sparse))
        for counts, column in zip(found, expected.T, strict=True):
            np.testing.assert_array_equal(counts, np.histogram(column, 30, (-1.5, 1))[0])
        assert found.sum() < expected.size

    def test_histogram_counts_what_is_outside_at_its_ends(self, large, drop_sparse):
        job = HistogramJob(BASIS, -1.5, 1, drop_sparse=drop_sparse, outside="clip")
        found = ask(job, large)
        expected = coefficients(kept(large, drop_sparse)).clip(-1.5, 1)
        for counts, column in zip(found, expected.T, strict=True):
            np.testing.assert_array_equal(counts, np.histogram(column, 70, (-1.5, 1))[0])
        assert found.sum() == expected.size

    def test_density(self, large, drop_sparse):
        job = DensityJob(BASIS, components=(3, 1), bins=40, reach=1.2, drop_sparse=drop_sparse)
        found = ask(job, large)
        expected = coefficients(kept(large, drop_sparse))
        limits = (-1.2, 1.2)
        counts, *_ = np.histogram2d(expected[:, 3], expected[:, 1], 40, (limits, limits))
        np.testing.assert_array_equal(found, counts)
        assert 0 < found.sum() < len(expected)


def test_the_least_and_the_greatest_coefficient_are_counted(large):
    low, high = ask(RangeJob(BASIS), large)
    found = ask(HistogramJob(BASIS, low, high), large)
    assert found.sum() == large.size
    assert found[:, 0].any()
    assert found[:, -1].any()


def test_no_filters_have_no_range():
    filters = np.zeros((5, 9), np.float32)
    assert ask(RangeJob(BASIS, drop_sparse=True), filters) == (np.inf, -np.inf)
    assert ask(MomentsJob(drop_sparse=True), filters).n == 0
    assert not ask(HistogramJob(BASIS, -3, 3, drop_sparse=True), filters).any()


def test_summaries_are_those_of_an_ingest(large):
    bases = (reference_basis((1, 3)), BASIS)
    found = ask(SummaryJob(bases), large)
    expected = summarise(large.reshape(-1, 3, 3), BASIS)
    for ours, theirs in ((found.clean, expected.clean), (found.sparse, expected.sparse)):
        assert (ours.kernel, ours.basis_id, ours.peak) == ((3, 3), BASIS.id, theirs.peak)
        np.testing.assert_array_equal(ours.counts, theirs.counts)
        for a, b in ((ours.scaled, theirs.scaled), (ours.raw, theirs.raw)):
            assert a.n == b.n > 0
            np.testing.assert_array_equal(a.first, b.first)
            np.testing.assert_array_equal(a.second, b.second)


@pytest.mark.parametrize("kernel", [(1, 3), (5, 5), (7, 2)])
def test_any_kernel_size(kernel):
    taps = kernel[0] * kernel[1]
    filters = np.random.default_rng(1).normal(size=(50, taps)).astype(np.float32)
    basis = reference_basis(kernel)
    assert ask(MomentsJob(), filters, kernel).second.shape == (taps, taps)
    found = ask(HistogramJob(basis, -basis.reach, basis.reach), filters, kernel)
    np.testing.assert_array_equal(found.sum(axis=1), np.full(taps, 50))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("job", ALL_JOBS, ids=lambda job: type(job).__name__)
def test_weights_that_are_not_finite_are_never_counted(job, value):
    filters = np.ones((BLOCK + 3, 9), np.float32)
    filters[-1, 4] = value
    with pytest.raises(ValueError, match="NaN"):
        ask(job, filters)


@pytest.mark.parametrize("drop_sparse", [False, True])
def test_nor_while_sparse_filters_are_dropped(drop_sparse):
    filters = np.ones((3, 9), np.float32)
    filters[1, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        ask(MomentsJob(drop_sparse), filters)


@pytest.mark.parametrize("job", ALL_JOBS[1:], ids=lambda job: type(job).__name__)
def test_a_basis_of_another_size_is_refused(job):
    with pytest.raises(ValueError, match="size"):
        ask(job, np.ones((2, 25), np.float32), (5, 5))


def test_the_key_of_a_job_is_its_question():
    other = reference_basis((5, 5))
    jobs = [
        *ALL_JOBS,
        MomentsJob(drop_sparse=True),
        RangeJob(other),
        HistogramJob(BASIS, -3, 3, bins=71),
        HistogramJob(BASIS, -3, 3, outside="clip"),
        DensityJob(BASIS, components=(1, 0), bins=8),
        SummaryJob((BASIS, other)),
    ]
    assert len({job.key for job in jobs}) == len(jobs)
    assert HistogramJob(BASIS, -3, 3).key == ALL_JOBS[2].key
