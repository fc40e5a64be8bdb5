from __future__ import annotations

import pytest

from filterdb.errors import ModelNotFoundError, QueryError


def test_a_copy_is_nearest_and_shares_everything(shared_db):
    found = shared_db.nearest("net1")
    first = found.neighbours[0]
    assert (first.model, first.shift, first.shared_share) == ("copy.safetensors", 0, 1)
    assert first.same_weights
    assert found.filters == 1344
    assert found.compared == 10


def test_a_frozen_layer_shows_at_once(shared_db):
    found = shared_db.nearest("frozen", n=2)
    assert [(row.model, row.shared_layers) for row in found.sharing] == [("net2.safetensors", 1)]
    assert found.sharing[0].shared_share == pytest.approx(0.2)
    assert len(found.neighbours) == 2


def test_a_family_is_near(shared_db):
    found = shared_db.nearest("net0", n=4)
    assert {row.model for row in found.neighbours} == {
        "net1.safetensors", "net2.safetensors", "net3.safetensors", "copy.safetensors",
    }  # fmt: skip
    shifts = [row.shift for row in found.neighbours]
    assert shifts == sorted(shifts)
    assert all(row.null_p95 is not None for row in found.neighbours)


def test_among_some_only(shared_db):
    found = shared_db.nearest("net0", where="task = 'plain'")
    assert found.compared == 5
    assert found.to_dict()["kernel"] == [3, 3]
    assert len(found.to_pandas()) == 5
    assert "net0" in repr(found)


def test_nothing_to_compare(shared_db):
    with pytest.raises(ModelNotFoundError, match="Did you mean net"):
        shared_db.nearest("nett0")
    with pytest.raises(QueryError, match="7x7"):
        shared_db.nearest("net0", kernel=(7, 7))
    with pytest.raises(QueryError, match="No other model"):
        shared_db.nearest("net0", where="task = 'nothing'")


def test_a_superset_does_not_have_the_same_weights(tmp_path):
    import numpy as np

    import filterdb
    from networks import save
    from populations import family

    small, large = family(0, 0.0), family(0, 0.0) | {"more.weight": family(1, 0.0)["conv1.weight"]}
    for arrays in (small, large):
        arrays["dead.weight"] = np.zeros((8, 8, 3, 3), np.float32)
    save(tmp_path / "small.safetensors", small)
    save(tmp_path / "large.safetensors", large)
    database = filterdb.open(tmp_path / "db")
    database.ingest(tmp_path)
    (row,) = database.nearest("small").neighbours
    assert not row.same_weights
    assert (row.shared_layers, row.shared_share) == (5, 1.0)  # the dead layer is no sign
