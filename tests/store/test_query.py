from __future__ import annotations

import sqlite3
import time

import pytest

from filterdb.errors import DamagedStoreError, QueryError
from filterdb.store import query
from filterdb.store.query import select_layers, select_models


@pytest.fixture
def three(folder, add):
    add("a", seed=1, metadata={"task": "ocr", "size in GB": 1.5})
    add("b", seed=2, metadata={"task": "segmentation"})
    add("c", seed=3, verdict="degenerate")
    return folder


def names(rows):
    return [row["name"] for row in rows]


def test_models_are_chosen_by_an_expression(three):
    assert names(select_models(three)) == ["a", "b", "c"]
    assert names(select_models(three, "task = 'ocr' OR verdict = 'degenerate'")) == ["a", "c"]
    assert names(select_models(three, '"size in GB" > 1')) == ["a"]
    assert names(select_models(three, "task IS NULL -- a remark")) == ["c"]
    assert names(select_models(three, "task IN (SELECT task FROM models WHERE id = 2)")) == ["b"]
    assert select_models(three, "n_layers > 7") == []


def test_layers_see_their_models_columns(three):
    assert [row["model"] for row in select_layers(three, "task = 'ocr'")] == ["a"]
    assert [row["model"] for row in select_layers(three, "model_verdict = 'degenerate'")] == ["c"]
    assert [row["model"] for row in select_layers(three, "verdict = 'healthy'")] == ["a", "b", "c"]
    assert [row["model"] for row in select_layers(three, "model = 'b' AND kh = 3")] == ["b"]
    assert [row["model"] for row in select_layers(three, "sparsity > 0", model=3)] == ["c"]
    (row,) = select_layers(three, "model = 'a'")
    assert "task" not in row
    assert row["model_id"] == 1


def test_a_misspelt_column_is_answered_with_the_nearest_and_all_of_them(three):
    with pytest.raises(QueryError, match=r"Did you mean visual_category\?.*columns are: id, name"):
        select_models(three, "visual_categry = 'x'")
    with pytest.raises(QueryError, match=r"Did you mean entropy_ratio\?.*model_verdict"):
        select_layers(three, "entropy_ration > 1")
    with pytest.raises(QueryError, match="single quotes"):
        select_models(three, "task = segmentation")


@pytest.mark.parametrize(
    "where",
    [
        "task =",
        "1) ; DELETE FROM models; --",
        "1); ATTACH 'x.db' AS x; --",
        "load_extension('x.so')",
        "(SELECT writefile('x', 'y'))",
        "randomblob(900000000) IS NULL",
        "(DELETE FROM models)",
        "(SELECT * FROM pragma_query_only)",
        "task = 'a\0b",
        "\udcff = 1",
    ],
)
def test_what_is_no_harmless_expression_is_refused(three, where):
    before = (three / "catalogue.sqlite").read_bytes()
    with pytest.raises(QueryError):
        select_models(three, where)
    with pytest.raises(QueryError):
        select_layers(three, where)
    assert (three / "catalogue.sqlite").read_bytes() == before
    assert len(select_models(three)) == 3


def test_an_endless_expression_is_stopped(three, monkeypatch):
    monkeypatch.setattr(query, "SECONDS", 0.2)
    endless = (
        "(WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT sum(x) FROM n)"
    )
    start = time.monotonic()
    with pytest.raises(QueryError, match="was stopped"):
        select_models(three, endless)
    assert time.monotonic() - start < 5


def test_a_column_of_the_user_may_be_named_like_one_of_layers(folder, add):
    add("a", metadata={"kind": "mine", "digest of": 1})
    (row,) = select_layers(folder, "model_kind = 'mine' AND kind = 'conv'")
    assert row["kind"] == "conv"


def test_damage_is_named_as_such(three):
    with sqlite3.connect(three / "catalogue.sqlite") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = three / "catalogue.sqlite"
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(DamagedStoreError, match="filterdb verify"):
        select_models(three)


def test_a_column_of_the_user_never_hides_one_of_the_catalogue(folder, add):
    add("a", verdict="degenerate", metadata={"model_verdict": "fine", "Kind": "mine"})
    assert len(select_layers(folder, "model_verdict = 'degenerate'")) == 1
    assert len(select_layers(folder, "kind = 'conv' AND model_Kind = 'mine'")) == 1
