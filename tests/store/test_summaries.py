from __future__ import annotations

import tracemalloc
import zlib
from contextlib import closing

import numpy as np
import pytest

from filterdb.errors import DamagedStoreError, StoreError
from filterdb.stats.basis import fit_basis, reference_basis
from filterdb.stats.summary import FINE_BINS, Summary, summarise
from filterdb.store.catalogue import Catalogue
from filterdb.store.connection import open_to_write
from filterdb.store.lock import ingesting
from filterdb.store.query import reading, select_summaries
from filterdb.store.rebasing import rebase
from filterdb.store.summaries import (
    inflated,
    moments_of,
    packed_counts,
    read_bases,
    stacked_counts,
    stacked_moments,
    summary_rows,
)
from filterdb.store.verify import verify
from rows import draw, new_model

BASIS = reference_basis((3, 3))


def summary_of(row, kernel):
    """A row of ``summaries`` as the :class:`Summary` that it was."""
    taps = kernel[0] * kernel[1]
    scaled, raw = (stacked_moments([row[name]], kernel)[0] for name in ("scaled", "raw"))
    counts = stacked_counts(inflated([row["fine"]], kernel), kernel, bins=FINE_BINS, dtype=np.int64)
    return Summary(
        kernel=kernel,
        basis_id=row["basis_id"],
        scaled=moments_of(row["n"], scaled, kernel),
        raw=moments_of(row["n"], raw, kernel),
        peak=row["peak"],
        counts=counts.reshape(taps, FINE_BINS),
    )


def with_summaries(folder, digits, layers, basis=BASIS):
    new = new_model(folder, digits, layers)
    summaries = {index: summarise(array, basis) for index, array in enumerate(layers.values())}
    with Catalogue(folder) as catalogue:
        from dataclasses import replace

        return catalogue.add(replace(new, summaries=summaries, bases=[basis]), [digits])


@pytest.fixture
def layers():
    some = draw(8, 8, 3, 3, seed=1)
    some[:3] *= 1e-4
    return {"conv1": some, "conv2": draw(4, 8, 3, 3, seed=2)}


def stored(folder):
    columns = ("part", "n", "basis_id", "peak", "scaled", "raw", "coarse", "fine", "digest")
    with reading(folder) as connection:
        query = f"SELECT {', '.join(columns)} FROM summaries ORDER BY model_id, layer_index, part"
        return [dict(zip(columns, row, strict=True)) for row in connection.execute(query)]


def test_a_summary_comes_back_as_it_was(folder, layers):
    with_summaries(folder, "aa", layers)
    rows = stored(folder)
    assert [row["part"] for row in rows] == ["clean", "sparse", "clean"]
    first = summarise(layers["conv1"], BASIS)
    for row, expected in zip(rows, (first.clean, first.sparse), strict=False):
        found = summary_of(row, (3, 3))
        assert (found.n, found.peak, found.basis_id) == (expected.n, expected.peak, BASIS.id)
        np.testing.assert_array_equal(found.counts, expected.counts)
        for kind in ("scaled", "raw"):
            np.testing.assert_array_equal(
                getattr(found, kind).second, getattr(expected, kind).second
            )
    assert read_bases(folder)[3, 3].id == BASIS.id
    assert verify(folder).findings == ()


@pytest.mark.parametrize("most", [255, 256, 65_536, 2**33])
def test_counts_take_the_narrowest_integers(most):
    counts = np.zeros((4, 70), np.int64)
    counts[1, 3] = most
    packed = packed_counts(counts)
    assert len(packed) == 280 * {255: 1, 256: 2, 65_536: 4, 2**33: 8}[most]
    other = packed_counts(counts // 2**32)
    both = stacked_counts([packed, other], (2, 2), dtype=np.int64)
    np.testing.assert_array_equal(both[0], counts)
    np.testing.assert_array_equal(both[1], counts // 2**32)


def test_moments_of_many_layers_add_up(folder, layers):
    with_summaries(folder, "aa", layers)
    rows = stored(folder)
    sums = stacked_moments([row["scaled"] for row in rows], (3, 3)).sum(axis=0)
    found = moments_of(sum(row["n"] for row in rows), sums, (3, 3))
    expected = [summarise(array, BASIS).all().scaled for array in layers.values()]
    np.testing.assert_allclose(found.second, expected[0].second + expected[1].second, rtol=1e-12)
    assert found.n == 96


def test_a_part_without_filters_has_no_row():
    rows = summary_rows(summarise(np.zeros((2, 2, 3, 3), np.float32), BASIS))
    assert [row["part"] for row in rows] == ["sparse"]


def test_damaged_rows_are_named(folder, layers):
    for bad in ([b"123"], [packed_counts(np.zeros((9, 70), np.int64)), b""]):
        with pytest.raises(DamagedStoreError, match="verify"):
            stacked_counts(bad, (3, 3))
    with pytest.raises(DamagedStoreError):
        stacked_moments([b"12345678"], (3, 3))
    with pytest.raises(DamagedStoreError):
        inflated([b"no deflate"], (3, 3))


def test_no_more_is_inflated_than_counts_of_such_filters_take():
    widest = bytes(9 * FINE_BINS * 8)
    assert inflated([zlib.compress(widest)], (3, 3)) == [widest]
    bombs = [zlib.compress(widest + b"0"), zlib.compress(bytes(64 * 2**20), 9)]
    cut = [zlib.compress(widest)[:-3], zlib.compress(widest) + b"0"]
    tracemalloc.start()
    for bad in bombs + cut:
        with pytest.raises(DamagedStoreError, match="verify"):
            inflated([bad], (3, 3))
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE summaries SET n = n + 1 WHERE part = 'sparse'",
        "UPDATE summaries SET coarse = zeroblob(length(coarse)) WHERE layer_index = 1",
        "UPDATE summaries SET peak = peak * (1 + 1e-15) WHERE layer_index = 0",
        "UPDATE summaries SET digest = replace(digest, 'a', 'b')",
        "DELETE FROM summaries WHERE part = 'sparse'",
        "UPDATE bases SET n = n + 1",
        "UPDATE bases SET mean = zeroblob(72)",
        "PRAGMA foreign_keys = 0; UPDATE summaries SET model_id = 9 WHERE layer_index = 1",
    ],
)
def test_verify_finds_every_change(folder, layers, change):
    with_summaries(folder, "aa", layers)
    with closing(open_to_write(folder)) as connection:
        connection.executescript(change)
    result = verify(folder)
    assert result.damaged
    assert {finding.kind for finding in result.findings} == {"catalogue"}
    assert all(finding.mend for finding in result.findings)


def test_a_model_goes_with_its_summaries(folder, layers):
    with_summaries(folder, "aa", layers)
    with Catalogue(folder) as catalogue:
        catalogue.remove(["aa"])
    assert stored(folder) == []
    assert verify(folder).findings == ()


def test_summaries_are_selected_with_their_layers(folder, layers):
    with_summaries(folder, "aa", layers)
    add = new_model(folder, "bb", {"conv": draw(2, 2, 3, 3), "wide": draw(2, 2, 5, 5)})
    with Catalogue(folder) as catalogue:
        catalogue.add(add, ["bb"])
    rows, basis = select_summaries(folder, None, ("model", "name"), kernel=(3, 3), arrays=("peak",))
    assert basis["id"] == BASIS.id
    assert [row[:5] for row in rows] == [
        ("aa", "conv1", None, "clean", 40),
        ("aa", "conv1", None, "sparse", 24),
        ("aa", "conv2", None, "clean", 32),
        ("bb", "conv", None, None, None),
    ]
    assert select_summaries(folder, "model = 'cc'", ("model",), kernel=(3, 3))[0] == []
    assert select_summaries(folder, None, ("model",), kernel=(5, 5))[1] is None


OTHER = fit_basis(summarise(draw(50, 50, 3, 3, seed=9), BASIS).all().scaled, (3, 3))


def test_rebasing_replaces_all_histograms_and_no_moments(folder, layers):
    with_summaries(folder, "aa", layers)
    before = stored(folder)
    news = [([(1, i)], False, summarise(array, OTHER)) for i, array in enumerate(layers.values())]
    assert rebase(folder, [OTHER], news) == 2
    after = stored(folder)
    assert {row["basis_id"] for row in after} == {OTHER.id}
    assert [row["scaled"] for row in after] == [row["scaled"] for row in before]
    assert [row["coarse"] for row in after] != [row["coarse"] for row in before]
    assert read_bases(folder)[3, 3].id == OTHER.id
    assert verify(folder).findings == ()


def test_rebasing_is_all_or_nothing(folder, layers):
    with_summaries(folder, "aa", layers)
    before = stored(folder)

    def breaks_off():
        yield [(1, 0)], False, summarise(layers["conv1"], OTHER)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebase(folder, [OTHER], breaks_off())
    with pytest.raises(StoreError, match="1 layers came without"):
        rebase(folder, [OTHER], [([(1, 0)], False, summarise(layers["conv1"], OTHER))])
    with ingesting(folder), pytest.raises(StoreError, match="nobody ingests"):
        rebase(folder, [OTHER], [])
    assert stored(folder) == before
    assert read_bases(folder)[3, 3].id == BASIS.id


def test_a_model_in_another_basis_is_refused(folder, layers):
    with_summaries(folder, "aa", layers)
    with pytest.raises(StoreError, match="Ingest the file again"):
        with_summaries(folder, "bb", {"conv": draw(3, 3, 3, 3)}, basis=OTHER)
    assert len(stored(folder)) == 3
    assert verify(folder).findings == ()
