from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.stats

import filterdb
from filterdb.errors import QueryError
from filterdb.population.preset import Scanning
from filterdb.population.shifting import shift_between
from filterdb.stats.basis import reference_basis
from filterdb.stats.summary import scale
from networks import save
from populations import family, weights_of

EPS = np.float32(np.finfo(np.float32).eps)


def divergence_by_hand(groups, low, high, weights):
    """METHODS 1.3, step 3, written down plainly: coefficients of each group, (n, k)."""
    width = (high - low) / 70
    matrix = np.zeros((len(groups), len(groups)))
    densities = []
    for coefficients in groups:
        rows = []
        for column in coefficients.T:
            density, _ = np.histogram(column, 70, (low, high), density=True)
            density[density == 0] = EPS
            rows.append(density / density.sum())
        densities.append(rows)
    assert width > 0
    for i, p in enumerate(densities):
        for j, q in enumerate(densities):
            kl = [
                scipy.stats.entropy(a, b) + scipy.stats.entropy(b, a)
                for a, b in zip(p, q, strict=True)
            ]
            matrix[i, j] = np.dot(weights, kl)
    return matrix


def by_task(database):
    names = ["alone", "edges", "plain"]
    return [scale(weights_of(database, f"task = '{name}'")) for name in names]


def test_the_default_is_methods_1_3_in_the_fixed_basis(shared_db):
    basis = reference_basis((3, 3))
    found = shared_db.shift("task", permutations=0)
    groups = [basis.coefficients(filters) for filters in by_task(shared_db)]
    expected = divergence_by_hand(groups, -basis.reach, basis.reach, basis.explained_variance_ratio)
    np.testing.assert_allclose(found.matrix, expected, atol=1e-9)
    assert [group.name for group in found.groups] == ["alone", "edges", "plain"]
    assert [group.models for group in found.groups] == [1, 4, 5]
    assert [group.filters for group in found.groups] == [640, 4 * 1344, 5 * 1344]


@pytest.mark.parametrize("preset", ["cvpr2022", "cvprw2022", "medneurips2022"])
def test_a_preset_is_the_papers_formula(shared_db, preset):
    groups = by_task(shared_db)
    if preset == "cvprw2022":
        sparse = np.abs(weights_of(shared_db, "task = 'alone'")).max(axis=1) < 0.01
        assert sparse.sum() == 40
        groups[0] = groups[0][~sparse]
    pooled = np.concatenate(groups)
    centred = pooled - pooled.mean(axis=0)
    _, singular, components = np.linalg.svd(centred, full_matrices=False)
    weights = singular**2 / (singular**2).sum()
    coefficients = [(filters - pooled.mean(axis=0)) @ components.T for filters in groups]
    every = np.concatenate(coefficients)
    low, high = every.min(), every.max()
    if preset == "medneurips2022":
        low, high, weights = -3, 3, np.full(9, 1 / 9)
    # A component's sign carries no meaning, but the bins of an uneven range do: take ours.
    found = shared_db.shift("task", preset=preset, permutations=0)
    signs = np.sign(np.sum(found.basis.components * components, axis=1))
    coefficients = [part * signs for part in coefficients]
    every = np.concatenate(coefficients)
    if preset != "medneurips2022":
        low, high = every.min(), every.max()
    expected = divergence_by_hand(coefficients, low, high, weights)
    np.testing.assert_allclose(found.matrix, expected, atol=1e-9)
    np.testing.assert_allclose(found.weights, weights, atol=1e-12)
    assert not (shared_db.path / "scans").exists()


def test_a_preset_is_the_same_in_processes(shared_db):
    one = shared_db.select().shift("task", preset="cvpr2022", scanning=Scanning(jobs=1))
    two = shared_db.select().shift("task", preset="cvpr2022", scanning=Scanning(jobs=2))
    np.testing.assert_array_equal(one.matrix, two.matrix)
    np.testing.assert_array_equal(one.null_models_p95, two.null_models_p95)


def test_every_layer_can_count_once(shared_db):
    basis = reference_basis((3, 3))
    found = shared_db.shift("task", weighting="layers", permutations=0)
    densities = []
    for task in ("alone", "edges", "plain"):
        layers = []
        models = [
            row["name"]
            for row in shared_db.models(f"task = '{task}'")
            if row["duplicate_of"] is None
        ]
        for model in models:
            for row in shared_db.layers("kh = 3", model):
                filters = shared_db.weights(model, row["layer_index"]).reshape(-1, 9)
                c = basis.coefficients(scale(filters))
                layers.append(
                    [np.histogram(x, 70, (-basis.reach, basis.reach))[0] / len(x) for x in c.T]
                )
        width = 2 * basis.reach / 70
        density = np.mean(layers, axis=0) / width
        density[density == 0] = EPS
        densities.append(density / density.sum(axis=1, keepdims=True))
    for i, j in ((0, 1), (1, 2), (0, 2)):
        p, q = densities[i], densities[j]
        expected = ((p - q) * np.log(p / q)).sum(axis=1) @ basis.explained_variance_ratio
        assert found.matrix[i, j] == pytest.approx(expected, rel=1e-5)


def test_families_that_differ_are_told_apart_and_like_ones_are_not(shared_db):
    found = shared_db.shift("task")
    edges, plain = 1, 2
    assert found.distinguishable[edges, plain]
    assert found.p_models[edges, plain] < 0.05
    assert found.low[edges, plain] > 0
    assert found.low[edges, plain] < found.high[edges, plain]
    halves = shared_db.shift("epoch", "task = 'plain' AND epoch < 8")
    assert len(halves.groups) == 4
    colours = shared_db.select(task="plain").shift("colour")
    assert not colours.distinguishable.any()


def test_a_group_of_one_model_says_so(shared_db):
    found = shared_db.shift("task")
    alone = 0
    assert np.isnan(found.null_models_p95[alone]).all()
    assert np.isfinite(found.null_layers_p95[alone, 1:]).all()
    assert np.isfinite(found.null_p95[alone, 1:]).all()
    assert any("cannot be permuted: alone." in note for note in found.notes)
    assert any("Below 1,000 filters: alone." in note for note in found.notes)


def test_models_with_layers_in_both_groups_are_permuted_as_pairs(shared_db):
    found = shared_db.shift("depth_decile")
    assert np.isfinite(found.null_models_p95[0, -1])
    assert found.ordered
    assert [group.name for group in found.groups] == ["[0.0,0.1]", "(0.2,0.3]", "(0.4,0.5]"]
    assert found.p_models[0, -1] > 0.05


def test_the_same_network_in_two_groups_has_no_shift_to_itself(shared_db):
    found = shared_db.shift("model", "model IN ('net1.safetensors', 'copy.safetensors')")
    assert [group.name for group in found.groups] == ["copy.safetensors", "net1.safetensors"]
    assert (found.matrix == 0).all()
    assert not found.distinguishable.any()


def test_weights_count_once_a_group(shared_db):
    found = shared_db.shift("task", permutations=0)
    assert found.coverage["left_out"] == {"the same weights as another model's in the group": 3}
    by_model = shared_db.shift("model", permutations=0)
    assert by_model.coverage["left_out"] == {}


def test_layers_without_a_value_are_counted(shared_db):
    found = shared_db.shift("colour", permutations=0)
    assert [group.name for group in found.groups] == ["blue", "red"]
    assert found.coverage["left_out"]["no value of colour"] == 12


def test_pairs_of_axes(shared_db):
    found = shared_db.shift("task,colour", permutations=0)
    assert [group.name for group in found.groups] == [
        "alone · red", "edges · blue", "edges · red", "plain · blue", "plain · red",
    ]  # fmt: skip
    assert shared_db.shift(("task", "stage"), permutations=0).by == "task,stage"


def test_numbers_come_in_their_order(shared_db):
    found = shared_db.shift("epoch", permutations=0)
    assert [group.name for group in found.groups] == [*"01234567", "9", "10", "20"]
    assert found.ordered


def test_every_axis_of_the_issue_works(shared_db):
    for axis in ("task", "architecture", "model", "epoch", "depth_decile", "stage", "layer_index",
                 "kind", "format", "colour", "depth decile", "TASK"):  # fmt: skip
        if axis == "architecture":
            with pytest.raises(QueryError, match="has a value of 'architecture'"):
                shared_db.shift(axis)
            continue
        assert len(shared_db.shift(axis, permutations=0).groups) >= 1


def test_an_unknown_axis_lists_them_with_their_values(shared_db):
    with pytest.raises(QueryError, match="Did you mean task") as caught:
        shared_db.shift("tsak")
    assert "task: edges, plain, alone" in str(caught.value)
    assert "depth_decile" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"preset": "cvpr2021"}, "Did you mean cvpr2022"),
        ({"weighting": "models"}, "filters, layers"),
    ],
)
def test_unknown_settings(shared_db, settings, words):
    with pytest.raises(QueryError, match=words):
        shared_db.shift("task", **settings)


def test_too_many_groups(shared_db, monkeypatch):
    monkeypatch.setattr("filterdb.population.grouping.MOST_GROUPS", 5)
    with pytest.raises(QueryError, match="coarser axis"):
        shared_db.shift("model")


def test_a_result_is_deterministic_and_its_json_has_no_nan(shared_db):
    one, two = shared_db.shift("task"), shared_db.shift("task")
    text = json.dumps(one.to_dict(), allow_nan=False)
    assert text == json.dumps(two.to_dict())
    data = json.loads(text)
    assert {"by", "preset", "groups", "matrix", "weights", "null_p95"} <= set(data)
    assert data["groups"][1] == {
        "name": "edges",
        "models": 4,
        "layers": 12,
        "filters": 5376,
        "largest_share": 0.25,
    }
    assert data["null_p95"][0][0] is None
    assert one.to_pandas().loc["edges", "plain"] == one.matrix[1, 2]
    assert "3 groups" in repr(one)
    assert "edges" in one._repr_html_()


def test_marks_in_the_matrix(shared_db):
    cells = shared_db.shift("task").cells()
    assert cells[1][1] == ""
    assert cells[1][2][0].isdigit()
    plain = shared_db.select(task="plain").shift("colour").cells()
    assert plain[0][1].startswith("≈")
    lonely = shared_db.shift("model", "model = 'alone.safetensors' OR model = 'net0.safetensors'",
                             kernel=(5, 5)).cells()  # fmt: skip
    assert lonely[0][1].startswith("*")


def test_pairs_tell_claims_from_chance(shared_db):
    found = shared_db.shift("task")
    rows = found.pairs()
    assert [row["distinguishable"] for row in rows] == sorted(
        (row["distinguishable"] for row in rows), reverse=True
    )
    assert found.verdict == (
        "1 of 1 pair lies above the 95th percentile of their null of models; less than one would "
        "by chance alone. 2 pairs have a group below 1,000 filters."
    )
    assert found.too_few.tolist() == [[True] * 3, [True, False, False], [True, False, False]]


def test_kernel_sizes_are_never_mixed(shared_db):
    found = shared_db.shift("task", kernel=(5, 5), permutations=0)
    assert found.kernel == (5, 5)
    assert found.matrix.shape == (3, 3)
    assert found.weights.shape == (25,)


def test_populations_of_two_databases(shared_db, own_db):
    found = shift_between({"a": shared_db.select(), "b": own_db.select()}, permutations=20)
    assert found.matrix[0, 1] == 0
    edges, plain = shared_db.select(task="edges"), own_db.select(task="plain")
    across = shift_between({"edges": edges, "plain": plain}, permutations=20)
    inside = shared_db.shift("task", permutations=0)
    assert across.matrix[0, 1] == pytest.approx(inside.matrix[1, 2], abs=1e-12)
    with pytest.raises(QueryError, match="cannot be compared"):
        shift_between({"a": edges, "b": own_db.select(kernel=(5, 5))})
    with pytest.raises(QueryError, match="preset"):
        shift_between({"a": edges, "b": plain}, preset="cvpr2022")


def test_two_databases_in_different_bases_are_refused_with_the_mend(shared_db, own_db):
    own_db.select().table()
    changed = own_db.fit_basis()
    assert set(changed) == {(3, 3)}
    with pytest.raises(QueryError, match=f"filterdb basis {own_db.path} --adopt {shared_db.path}"):
        shift_between({"a": shared_db.select(), "b": own_db.select()})
    own_db.adopt_basis(shared_db)
    found = shift_between({"a": shared_db.select(), "b": own_db.select()}, permutations=0)
    assert found.matrix[0, 1] == 0


def test_a_payload_that_is_gone_is_named(own_db):
    lost = next(own_db.path.rglob("*.safetensors"))
    lost.unlink()
    with pytest.raises(filterdb.StoreError, match=lost.name):
        own_db.shift("task", preset="cvpr2022")


def test_small_networks_of_the_same_filters_are_not_told_apart(tmp_path):
    """Their few filters alone put them far from large ones, which random groups do not show."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(9, 9)) * 0.7 ** np.arange(9)[:, None]

    def layer(out, per_group):
        filters = rng.normal(size=(out * per_group, 9)) @ mixing
        return filters.reshape(out, per_group, 3, 3).astype(np.float32)

    lines = ["file,size"]
    for number in range(9):
        shape, size = ((12, 12), "small") if number < 4 else ((48, 48), "large")
        name = f"n{number}.safetensors"
        save(tmp_path / name, {f"c{i}.weight": layer(*shape) for i in range(3)})
        lines.append(f"{name},{size}")
    (tmp_path / "m.csv").write_text("\n".join(lines))
    database = filterdb.open(tmp_path / "db")
    database.ingest(tmp_path, metadata=tmp_path / "m.csv")
    found = database.shift("size")
    assert found.groups[1].filters == 4 * 3 * 144
    assert found.matrix[0, 1] > found.null_models_p95[0, 1], "the models' null does not see it"
    assert found.matrix[0, 1] < found.null_filters_p95[0, 1] * 1.5
    assert not found.distinguishable.any()


def test_the_same_weights_are_one_unit(tmp_path):
    """Eight networks in two formats each: what one has in the one, it has in the other."""
    rows = ["file,kind_of_file"]
    for number in range(8):
        arrays = family(number, 0.1 * number)
        save(tmp_path / f"n{number}.safetensors", arrays)
        np.savez(tmp_path / f"n{number}.npz", **arrays)
        rows += [f"n{number}.safetensors,a", f"n{number}.npz,b"]
    (tmp_path / "m.csv").write_text("\n".join(rows))
    database = filterdb.open(tmp_path / "db")
    database.ingest(tmp_path, metadata=tmp_path / "m.csv")
    found = database.shift("kind_of_file")
    assert found.matrix[0, 1] == 0
    assert found.high[0, 1] < 1e-9
    assert found.coverage["models"] == 8
    pooled = database.shift("kind_of_file", preset="cvpr2022", permutations=0)
    assert pooled.basis.n == database.basis().n


def test_numbers_keep_all_their_digits(tmp_path):
    rows = ["file,step"]
    for number in range(4):
        save(tmp_path / f"n{number}.safetensors", family(number, 0.0))
        rows.append(f"n{number}.safetensors,{1_000_001 + number}")
    (tmp_path / "m.csv").write_text("\n".join(rows))
    database = filterdb.open(tmp_path / "db")
    database.ingest(tmp_path, metadata=tmp_path / "m.csv")
    names = [group.name for group in database.shift("step", permutations=0).groups]
    assert names == ["1000001", "1000002", "1000003", "1000004"]


def test_a_column_of_the_users_comes_before_what_is_derived(tmp_path):
    save(tmp_path / "a.safetensors", family(0, 0.0))
    save(tmp_path / "b.safetensors", family(1, 0.0))
    (tmp_path / "m.csv").write_text('file,stage,"x,y"\na.safetensors,S1,1\nb.safetensors,S2,2\n')
    database = filterdb.open(tmp_path / "db")
    database.ingest(tmp_path, metadata=tmp_path / "m.csv")
    names = [group.name for group in database.shift("stage", permutations=0).groups]
    assert names == ["S1", "S2"]
    assert len(database.shift("x,y", permutations=0).groups) == 2
    with pytest.raises(QueryError, match="Name an axis"):
        database.shift([])


def test_sparse_filters_can_be_left_out_of_a_papers_preset(shared_db):
    whole = shared_db.shift("task", preset="cvpr2022", permutations=0)
    without = shared_db.shift("task", preset="cvpr2022", permutations=0, drop_sparse=True)
    assert without.basis.n == whole.basis.n - 40
    assert without.groups[0].filters == whole.groups[0].filters - 40


def test_a_population_follows_its_database_to_another_basis(own_db):
    population = own_db.select()
    before = population.shift("task", permutations=0)
    own_db.fit_basis()
    after = population.shift("task", permutations=0)
    fresh = own_db.select().shift("task", permutations=0)
    assert after.basis.id == fresh.basis.id != before.basis.id
    np.testing.assert_array_equal(after.matrix, fresh.matrix)
    assert population.summary().basis_id == fresh.basis.id


@pytest.mark.parametrize("where", ["1) OR (1", "  ", "1 -- a remark"])
def test_a_condition_widens_nothing_but_itself(shared_db, where):
    found = shared_db.shift("task", where, permutations=0)
    whole = shared_db.shift("task", permutations=0)
    np.testing.assert_array_equal(found.matrix, whole.matrix)
    assert found.kernel == (3, 3)


def test_a_name_that_is_no_column(shared_db):
    with pytest.raises(QueryError, match="Did you mean task"):
        shared_db.select(tsk="edges")
    with pytest.raises(QueryError, match="undefined numbers are NULL"):
        shared_db.select(epoch=float("nan"))
