from __future__ import annotations

import numpy as np
import pytest

import filterdb
from filterdb.errors import QueryError
from filterdb.population.selection import condition
from filterdb.stats.basis import reference_basis
from filterdb.stats.summary import scale
from populations import weights_of


@pytest.mark.parametrize("kernel", [(3, 3), (5, 5)])
@pytest.mark.parametrize("where", [None, "task = 'edges'", "model = 'alone.safetensors'"])
def test_a_basis_from_moments_is_the_pca_of_all_filters(shared_db, kernel, where):
    filters = scale(weights_of(shared_db, where, kernel))
    basis = shared_db.select(where, kernel=kernel).basis()
    centred = filters - filters.mean(axis=0)
    singular = np.linalg.svd(centred, compute_uv=False)
    ratios = singular**2 / (singular**2).sum()
    assert basis.n == len(filters)
    np.testing.assert_allclose(basis.explained_variance_ratio, ratios, atol=1e-10)
    np.testing.assert_allclose(basis.mean, filters.mean(axis=0), atol=1e-12)


def test_no_payload_is_read(shared_db, tmp_path):
    import shutil

    only = tmp_path / "mailed"
    only.mkdir()
    shutil.copy(shared_db.path / "catalogue.sqlite", only)
    mailed = filterdb.open(only)
    np.testing.assert_array_equal(mailed.basis().components, shared_db.basis().components)
    matrix = mailed.shift("task", permutations=20).matrix
    np.testing.assert_array_equal(matrix, shared_db.shift("task", permutations=20).matrix)
    assert mailed.nearest("net0").neighbours
    with pytest.raises(filterdb.StoreError, match="catalogue and no weights"):
        mailed.shift("task", preset="cvpr2022")


def test_weights_that_models_share_count_once(shared_db):
    whole = shared_db.select()
    table = whole.table()
    assert len(table.keys) == 30  # ten networks with three layers, and not the copy's
    assert table.left_out == {"the same weights as another model's": 3}
    assert len(whole.table(once=False).keys) == 33


def test_sparse_filters_can_be_left_out(shared_db):
    alone = shared_db.select(task="alone")
    without = shared_db.select(task="alone", drop_sparse=True)
    sparse = 5 * 8
    assert without.basis().n == alone.basis().n - sparse
    assert without.summary().n == alone.summary().n - sparse
    filters = weights_of(shared_db, "task = 'alone'")
    kept = filters[np.abs(filters).max(axis=1) > 0.01]
    np.testing.assert_allclose(without.basis().mean, scale(kept).mean(axis=0), atol=1e-12)


def test_a_summary_is_the_sum_of_its_layers(shared_db):
    found = shared_db.select("task = 'edges'").summary()
    filters = weights_of(shared_db, "task = 'edges'")
    basis = reference_basis((3, 3))
    edges = np.linspace(-basis.reach, basis.reach, 561)
    expected = [np.histogram(c, edges)[0] for c in basis.coefficients(scale(filters)).T]
    np.testing.assert_array_equal(found.counts, expected)
    np.testing.assert_allclose(found.raw.second, filters.T @ filters, rtol=1e-12)
    assert found.peak == np.abs(filters).max()
    assert found.basis_id == basis.id


def test_the_kernel_is_the_usual_one_unless_asked(shared_db):
    assert shared_db.select().kernel == (3, 3)
    assert shared_db.select("kh = 5").kernel == (5, 5)
    sizes = {size.kernel: size.layers for size in shared_db.select().kernels}
    assert sizes == {(3, 3): 33, (1, 1): 11, (5, 5): 11}


@pytest.mark.parametrize(
    ("where", "choice", "words"),
    [
        ("task = 'nothing'", {}, "condition task = 'nothing'"),
        ("task = 'edges'", {"kernel": (7, 7)}, r"7x7. It has 3x3 \("),
        ("kh = 1", {}, "1x1 kernels have none"),
        ("kh = 1", {"kernel": (1, 1)}, "1x1 and above"),
    ],
)
def test_an_empty_selection_says_which_condition_removed_everything(
    shared_db, where, choice, words
):
    with pytest.raises(QueryError, match=words):
        shared_db.select(where, **choice).basis()


def test_only_sparse_filters_and_sparse_left_out(tmp_path):
    from networks import save

    zeros = {"conv.weight": np.zeros((4, 4, 3, 3), np.float32)}
    save(tmp_path / "zeros.safetensors", zeros)
    database = filterdb.open(tmp_path / "db")
    database.ingest(tmp_path / "zeros.safetensors")
    assert database.select().basis().n == 16
    with pytest.raises(QueryError, match="are sparse: nothing is left"):
        database.select(drop_sparse=True).basis()


def test_layers_that_are_not_finite_are_counted(tmp_path):
    from networks import network, save

    arrays = network("healthy", "healthy")
    arrays["conv1.weight"][0, 0, 0, 0] = np.nan
    save(tmp_path / "nan.safetensors", arrays)
    database = filterdb.open(tmp_path / "db")
    database.ingest(tmp_path / "nan.safetensors")
    table = database.select().table()
    assert len(table.keys) == 1
    assert table.left_out == {"no summary: weights that are not finite, or none at all": 1}


def test_conditions_from_keywords():
    assert condition(None, {}) is None
    assert condition("a = 1", {}) == "a = 1"
    assert condition(None, {"task": "it's", "epoch": 3}) == "\"task\" = 'it''s' AND \"epoch\" = 3"
    assert condition(None, {"a": ["x", 1.5], "b": None}) == '"a" IN (\'x\', 1.5) AND "b" IS NULL'
    assert condition("x OR y", {"a": 1}).startswith("(\nx OR y\n) AND")


def test_selections_are_described(shared_db):
    text = repr(shared_db.select(task="edges", kernel=(3, 3), drop_sparse=True))
    assert "3x3" in text
    assert "edges" in text
    assert "sparse" in text


def test_every_layer_can_count_once_in_a_basis(shared_db):
    means, seen = [], set()
    for row in shared_db.layers("kh = 3"):
        model = next(m for m in shared_db.models() if m["name"] == row["model"])
        if model["duplicate_of"] is None:
            filters = shared_db.weights(row["model"], row["layer_index"]).reshape(-1, 9)
            means.append(scale(filters).mean(axis=0))
            seen.add(row["model"])
    basis = shared_db.select().basis(weighting="layers")
    np.testing.assert_allclose(basis.mean, np.mean(means, axis=0), atol=1e-12)
    assert "each layer counted once" in basis.origin
    with pytest.raises(QueryError, match="Did you mean layers"):
        shared_db.select().basis(weighting="layer")


def test_the_density_of_two_coefficients(shared_db):
    counts = shared_db.select(task="edges").density(scanning=filterdb.Scanning(jobs=1))
    basis = reference_basis((3, 3))
    first, second, *_ = basis.coefficients(scale(weights_of(shared_db, "task = 'edges'"))).T
    edges = np.linspace(-3.3, 3.3, 513)
    expected = np.histogram2d(first, second, [edges, edges])[0]
    np.testing.assert_array_equal(counts, expected)


def test_a_database_says_which_basis_it_is_in(shared_db):
    facts = shared_db.info()
    assert [row["kernel"] for row in facts["bases"]] == ["3x3", "5x5"]
    assert facts["bases"][0]["basis"] == reference_basis((3, 3)).id
    assert facts["summarised_layers"] == 44


def test_only_layers_that_are_in_another_model_count_once(shared_db):
    where = (
        "(model = 'net1.safetensors' AND layer_index = 0) OR "
        "(model = 'copy.safetensors' AND kh = 3)"
    )
    table = shared_db.select(where).table()
    assert len(table.keys) == 3
    assert table.left_out == {"the same weights as another model's": 1}
