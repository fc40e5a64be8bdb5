from __future__ import annotations

import numpy as np
import pytest

import filterdb
from filterdb.database import Database, open_database
from filterdb.errors import (
    DamagedStoreError,
    DatabaseNotFoundError,
    ModelNotFoundError,
    QueryError,
    SchemaVersionError,
)
from filterdb.store.schema import SCHEMA_VERSION


def weights(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def db(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    np.savez(
        folder / "a.npz", **{"c.weight": weights(1, 8, 3, 3, 3), "d.weight": weights(2, 4, 8, 1, 1)}
    )
    np.savez(
        folder / "b.npz", **{"x.weight": weights(1, 8, 3, 3, 3), "y.weight": weights(2, 4, 8, 1, 1)}
    )
    np.savez(folder / "z.npz", **{"c.weight": weights(3, 8, 3, 7, 7).astype(np.float16)})
    (folder / "bad.onnx").write_text("no network")
    database = open_database(tmp_path / "db")
    database.ingest(folder)
    return database


def test_there_need_not_be_a_database_until_the_first_ingest(tmp_path):
    with filterdb.open(tmp_path / "none") as db:
        assert repr(db) == f"<Database '{tmp_path / 'none'}': not created yet>"
        for read in (
            db.models,
            db.layers,
            db.info,
            db.verify,
            lambda: db.remove("a"),
            lambda: db.weights("a", 0),
        ):
            with pytest.raises(DatabaseNotFoundError, match="filterdb ingest"):
                read()
    assert list(tmp_path.iterdir()) == []


def test_an_ingest_of_nothing_makes_an_empty_database(tmp_path):
    db = Database(tmp_path / "db")
    assert db.ingest([]).models == ()
    assert db.models() == db.layers() == []
    assert db.info()["models"] == 0


def test_repr_says_what_is_in(db):
    assert repr(db) == f"<Database '{db.path}': 3 models, 136 filters>"


def test_models_and_layers_are_rows_with_the_catalogues_columns(db):
    assert [row["name"] for row in db.models()] == ["a.npz", "b.npz", "z.npz"]
    assert [row["name"] for row in db.models("duplicate_of IS NULL")] == ["a.npz", "z.npz"]
    assert isinstance(db.models()[0]["reasons"], list)
    assert [row["name"] for row in db.layers(model="b.npz")] == ["x", "y"]
    assert [row["model"] for row in db.layers("kh = 7")] == ["z.npz"]
    assert len(db.layers("format = 'npz'", model=1)) == 2
    with pytest.raises(QueryError, match="columns are"):
        db.layers("kernel = 3")
    with pytest.raises(ModelNotFoundError, match="no model 'q'"):
        db.layers(model="q")


def test_weights_are_those_of_the_file_read_only_whoever_wrote_the_payload(db):
    np.testing.assert_array_equal(db.weights("b.npz", "x"), weights(1, 8, 3, 3, 3))
    np.testing.assert_array_equal(db.weights(1, 1), weights(2, 4, 8, 1, 1))
    half = db.weights("z.npz", "c")
    np.testing.assert_array_equal(half, weights(3, 8, 3, 7, 7).astype(np.float16))
    assert half.dtype == np.float32
    assert not half.flags.writeable
    with pytest.raises(ModelNotFoundError, match="no layer 'nix'"):
        db.weights("a.npz", "nix")
    for model, layer in ((1, 10**30), (1, -(10**30)), (1, -1), ("a.npz", "\udcff")):
        with pytest.raises(ModelNotFoundError, match="no layer"):
            db.weights(model, layer)
    with pytest.raises(ModelNotFoundError, match="no model"):
        db.weights(10**30, 0)


def test_numbers_may_be_numpys(db):
    np.testing.assert_array_equal(db.weights(np.int64(1), np.int64(1)), db.weights(1, 1))
    assert len(db.layers(model=np.int64(3))) == 1
    assert db.remove(np.int64(1)) == ["a.npz"]
    assert db.remove([np.int32(3)]) == ["z.npz"]


@pytest.mark.parametrize("model", ["99999999999999999999", "\udcff", 10**30])
def test_a_model_that_cannot_be_is_not_found(db, model):
    with pytest.raises(ModelNotFoundError, match="no model"):
        db.layers(model=model)
    with pytest.raises(ModelNotFoundError, match="no model"):
        db.remove(model)
    assert len(db.models()) == 3


def test_an_expression_that_is_no_text_is_refused(db):
    for rows in (db.models, db.layers):
        with pytest.raises(QueryError, match="UTF-8"):
            rows("\udcff = 1")


def test_info_accounts_for_everything(db):
    info = db.info()
    assert (info["models"], info["distinct_weights"], info["duplicates"]) == (3, 2, 1)
    assert (info["layers"], info["filters"], info["distinct_filters"]) == (5, 136, 80)
    assert info["filters_by_kernel"] == {"1x1": 64, "3x3": 48, "7x7": 24}
    assert info["models_by_format"] == {"npz": 3}
    assert sum(info["models_by_verdict"].values()) == 3
    assert sum(info["layers_by_verdict"].values()) == 5
    assert info["failures"] == 1
    assert info["failed_files"][0]["path"].endswith("bad.onnx")
    assert info["payload_bytes"] == sum(p.stat().st_size for p in db.path.rglob("*.safetensors"))


def test_remove_and_verify(db):
    assert db.remove(["a.npz", 3]) == ["a.npz", "z.npz"]
    assert db.verify().findings == ()
    np.testing.assert_array_equal(db.weights("b.npz", "x"), weights(1, 8, 3, 3, 3))
    assert db.remove("b.npz") == ["b.npz"]
    assert list(db.path.rglob("*.safetensors")) == []
    assert db.ingest(db.path.parent / "models").added == 3


def test_a_missing_payload_is_said_so(db):
    for path in db.path.rglob("*.safetensors"):
        path.unlink()
    with pytest.raises(DamagedStoreError, match="filterdb verify"):
        db.weights("a.npz", 0)
    assert len(db.models()) == 3


def test_a_newer_database_is_refused_by_every_method(db, monkeypatch):
    monkeypatch.setattr("filterdb.store.schema.SCHEMA_VERSION", SCHEMA_VERSION - 1)
    for method in (
        db.models,
        db.layers,
        db.info,
        db.verify,
        lambda: db.ingest([]),
        lambda: db.remove(1),
    ):
        with pytest.raises(SchemaVersionError, match="update filterdb"):
            method()


def test_layers_with_columns_of_their_models(db):
    rows = db.layers(also=("format", "task"))
    assert {row["format"] for row in rows} == {"npz"}
    assert {row["task"] for row in rows} == {None}
    assert "format" not in db.layers()[0]
    with pytest.raises(QueryError, match="no column 'colour'"):
        db.layers(also=["colour"])
