from __future__ import annotations

import sqlite3
import threading

import pytest

from filterdb.errors import MetadataError, ModelNotFoundError, StoreError
from filterdb.store import schema
from filterdb.store.catalogue import Catalogue
from filterdb.store.payload import payload_path, read_payload
from filterdb.store.query import select_layers, select_models
from filterdb.store.verify import verify
from rows import draw, new_model


def payloads(folder):
    return sorted((folder / "payload").rglob("*.safetensors"))


def test_a_model_is_kept_with_its_layers_and_weights(folder, add):
    array = draw(4, 3, 5, 5)
    kept = add("net.npz", layers={"a": array, "b": draw(2, 4, 1, 1)}, metadata={"task": "ocr"})
    assert kept.added
    (model,) = select_models(folder)
    assert (model["name"], model["n_layers"], model["n_filters"]) == ("net.npz", 2, 20)
    assert (model["task"], model["n_skipped"], model["duplicate_of"]) == ("ocr", 1, None)
    first, second = select_layers(folder)
    assert (first["model"], first["layer_index"], second["layer_index"]) == ("net.npz", 0, 1)
    assert (first["kh"], first["sparsity"], first["orthogonality"]) == (5, 0.25, None)
    stored = read_payload(payload_path(folder, model["weights_hash"]))
    assert (stored[first["tensor"]] == array).all()


def test_the_same_file_is_unchanged_under_whatever_name(folder, add):
    add("net")
    draft = new_model(folder, "6e6574", {"conv1": draw(4, 3, 3, 3)})
    with Catalogue(folder) as catalogue:
        kept = catalogue.add(draft, ["other"])
    assert (kept.added, kept.name) == (False, "net")
    assert not draft.draft.path.exists()


def test_the_same_weights_share_a_payload_whatever_their_names_and_order(folder, add):
    a, b = draw(2, 2, 3, 3, seed=1), draw(3, 2, 3, 3, seed=2)
    first = add("torch", layers={"a": a, "b": b})
    second = add("onnx", layers={"Conv_1": b, "Conv_0": a})
    assert len(payloads(folder)) == 1
    rows = select_models(folder)
    assert [row["duplicate_of"] for row in rows] == [None, first.id]
    assert [row["tensor"] for row in select_layers(folder, model=second.id)] == ["b", "a"]
    assert [row["name"] for row in select_layers(folder, model=second.id)] == ["Conv_1", "Conv_0"]
    assert verify(folder).findings == ()


def test_equal_layers_within_a_duplicate_each_have_a_tensor(folder, add):
    same = draw(2, 2, 3, 3)
    add("one", layers={"a": same, "b": same})
    second = add("two", layers={"c": same, "d": same})
    assert [row["tensor"] for row in select_layers(folder, model=second.id)] == ["a", "b"]
    assert verify(folder).findings == ()


def test_a_name_that_is_taken_is_lengthened_then_numbered(folder, add):
    add("net", seed=1)
    names = []
    for number in range(3):
        new = new_model(folder, f"b{number}", {"c": draw(1, 1, 3, 3, seed=number)})
        with Catalogue(folder) as catalogue:
            names.append(catalogue.add(new, ["net", "zoo/net"]).name)
    assert names == ["zoo/net", "zoo/net~2", "zoo/net~3"]


def test_remove_takes_the_payload_with_the_last_model_that_has_it(folder, add):
    first, second, third = add("a"), add("b"), add("c")
    other = add("other", seed=9)
    assert {row["duplicate_of"] for row in select_models(folder, "id IN (2, 3)")} == {first.id}
    with Catalogue(folder) as catalogue:
        assert catalogue.remove(["a"]) == ["a"]
    rows = {row["name"]: row["duplicate_of"] for row in select_models(folder)}
    assert rows == {"b": None, "c": second.id, "other": None}
    assert verify(folder).findings == ()
    with Catalogue(folder) as catalogue:
        assert catalogue.remove([second.id, "c"]) == ["b", "c"]
    assert len(payloads(folder)) == 1
    assert [row["id"] for row in select_models(folder)] == [other.id]
    assert len(select_layers(folder)) == 1
    assert verify(folder).findings == ()
    assert third.id != second.id


def test_models_are_found_by_name_number_and_hash(folder, add):
    kept = add("net")
    add("7", seed=7)
    with Catalogue(folder) as catalogue:
        with pytest.raises(ModelNotFoundError, match="no model 'nix'"):
            catalogue.remove(["net", "nix"])
        assert len(select_models(folder)) == 2
        assert catalogue.remove([str(kept.id)]) == ["net"]
        assert catalogue.remove(["37000000"]) == ["7"]


def test_a_beginning_of_a_hash_that_fits_several_models_removes_none(folder, add):
    add("aaab", seed=1)
    add("aaac", seed=2)
    with Catalogue(folder) as catalogue, pytest.raises(ModelNotFoundError, match="fits 2 models"):
        catalogue.remove(["616161"])


def test_metadata_of_a_known_model_can_change(folder, add):
    kept = add("net", metadata={"task": "ocr", "bytes": 12})
    with Catalogue(folder) as catalogue:
        assert catalogue.set_metadata(kept.id, {"task": "detection", "bytes": None})
        assert not catalogue.set_metadata(kept.id, {"task": "detection", "bytes": None})
    (row,) = select_models(folder)
    assert (row["task"], row["bytes"]) == ("detection", None)
    assert verify(folder).findings == ()


def test_a_column_that_is_added_later_leaves_earlier_models_sound(folder, add):
    add("a", seed=1)
    add("b", seed=2, metadata={'odd "name"; --': 1.5})
    assert [row['odd "name"; --'] for row in select_models(folder)] == [None, 1.5]
    assert verify(folder).findings == ()


def test_failures_are_remembered_until_settled(folder):
    def failures():
        with sqlite3.connect(folder / "catalogue.sqlite") as connection:
            return dict(connection.execute("SELECT path, reason FROM failures").fetchall())

    with Catalogue(folder) as catalogue:
        catalogue.record_failures({"/a": "text", "/b\udcff": "html"})
        assert failures() == {"/a": "text", "/b\\udcff": "html"}
        catalogue.record_failures({"/a": "an image"}, settled=["/b\udcff", "/c"])
    assert failures() == {"/a": "an image"}
    assert verify(folder).findings == ()


def test_a_failed_commit_leaves_nothing(folder, monkeypatch):
    new = new_model(folder, "aa", {"c": draw(1, 1, 3, 3)}, verdict=None)  # NOT NULL
    with Catalogue(folder) as catalogue, pytest.raises(StoreError, match="NOT NULL"):
        catalogue.add(new, ["net"])
    assert select_models(folder) == []
    assert not [path for path in (folder / "payload").rglob("*") if path.is_file()]


def test_a_full_disk_while_committing_leaves_nothing(folder):
    new = new_model(folder, "aa", {"c": draw(1, 1, 3, 3)}, notes="x" * 200_000)
    with Catalogue(folder) as catalogue:
        pages = catalogue._connection.execute("PRAGMA page_count").fetchone()[0]
        catalogue._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreError, match="no room left"):
            catalogue.add(new, ["net"])
    assert select_models(folder) == []
    assert verify(folder).findings == ()
    assert payloads(folder) == []


def test_threads_adding_the_same_weights_make_one_payload(folder):
    def work(number):
        for step in range(5):
            new = new_model(folder, f"{number}{step}", {"c": draw(2, 2, 3, 3, seed=step)})
            with Catalogue(folder) as catalogue:
                catalogue.add(new, [f"net{number}{step}"])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = select_models(folder)
    assert len(rows) == 15
    assert sum(row["duplicate_of"] is None for row in rows) == 5
    assert verify(folder).findings == ()


def test_a_column_in_another_case_is_the_same_column(folder, add):
    add("a", seed=1, metadata={"Dataset": "coco", "\u00c4": 1})
    add("b", seed=2, metadata={"dataset": "voc", "\u00e4": 2})
    assert [row["Dataset"] for row in select_models(folder)] == ["coco", "voc"]
    assert "dataset" not in select_models(folder)[0]
    assert select_models(folder)[1]["\u00e4"] == 2
    assert verify(folder).findings == ()


def test_more_columns_than_a_table_has_are_refused(folder, add):
    with Catalogue(folder) as catalogue:
        with pytest.raises(MetadataError, match=r"2,100 columns .* room for 1,\d\d\d more"):
            catalogue.ensure_columns(f"column {number}" for number in range(2100))
        catalogue._connection.setlimit(
            sqlite3.SQLITE_LIMIT_COLUMN, len(schema.MODELS) + len(schema.LAYERS) + 2
        )
        catalogue.ensure_columns(["one", "two"])
        with pytest.raises(MetadataError, match=r"add 1 columns .* room for 0 more"):
            catalogue.ensure_columns(["two", "three"])
    add("a", metadata={"two": 2})
    assert len(select_layers(folder, "two = 2")) == 1


@pytest.mark.parametrize("reference", [10**30, "9" * 5000, "99999999999999999999", "\udcff", -1])
def test_a_reference_that_no_model_can_have(folder, add, reference):
    add("a")
    with Catalogue(folder) as catalogue, pytest.raises(ModelNotFoundError, match="no model"):
        catalogue.remove([reference])


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_adding_a_file_again_restores_its_weights(folder, add, damage):
    a, b = draw(2, 2, 3, 3, seed=1), draw(3, 2, 3, 3, seed=2)
    add("torch", layers={"a": a, "b": b})
    add("onnx", layers={"Conv_1": b, "Conv_0": a})
    (path,) = payloads(folder)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    with Catalogue(folder) as catalogue:
        assert catalogue.known_files() == {}
    kept = add("onnx", layers={"Conv_1": b, "Conv_0": a})  # whose tensors have other names
    assert not kept.added
    assert verify(folder).findings == ()
    for number in (1, 2):
        for row in select_layers(folder, model=number):
            stored = read_payload(path)[row["tensor"]]
            assert stored.shape == (row["out_channels"], 2, 3, 3)
    path.unlink()
    assert add("third", layers={"x": a, "y": b}).added
    assert verify(folder).findings == ()
