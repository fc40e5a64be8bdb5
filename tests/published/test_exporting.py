"""Databases out, read again by the libraries of each format and by filterdb itself."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from filterdb.database import Database
from filterdb.errors import DamagedStoreError, ExportError, QueryError
from filterdb.published.exporting import export
from filterdb.published.importing import import_dataset
from networks import network, save
from published.dataset_files import Synthetic, synthetic, write

pytest.importorskip("tables")
h5py = pytest.importorskip("h5py")
pd = pytest.importorskip("pandas")

VARYING = ("id", "model_id", "sha256", "file_sha256", "path", "added_at", "digest", "size_bytes",
           "dtype", "notes")  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Synthetic:
    return synthetic()


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory, data: Synthetic) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    import_dataset(folder / "db", write(folder / "dataset.h5", data), jobs=1)
    return folder / "db"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks with 3x3, 5x5 and 1x1 kernels, odd names, and two with the same weights."""
    folder = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(5)
    plain = network("healthy", "sparse")
    other = {
        "a/b.weight": rng.standard_normal((8, 3, 5, 5)).astype(np.float32),
        "point.weight": rng.standard_normal((16, 8, 1, 1)).astype(np.float32),
        "c.weight": rng.standard_normal((4, 16, 3, 3)).astype(np.float32),
        "head.weight": rng.standard_normal((10, 4)).astype(np.float32),
    }
    (folder / "nets").mkdir()
    save(folder / "nets" / "plain.safetensors", plain)
    save(folder / "nets" / "again: plain?.safetensors", {f"m.{k}": v for k, v in plain.items()})
    save(folder / "nets" / "other.safetensors", other)
    table = "file,task,epoch,colour\nplain.safetensors,ocr,3,red\nother.safetensors,ocr,,\n"
    (folder / "nets.csv").write_text(table)
    Database(folder / "db").ingest([folder / "nets"], metadata=folder / "nets.csv", jobs=1)
    return folder / "db"


def content(folder: Path) -> list[dict[str, object]]:
    """All that a database says of its models and layers, whatever file they came from."""
    database = Database(folder)
    rows = [*database.models(), *database.layers()]
    return [{name: v for name, v in row.items() if name not in VARYING} for row in rows]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_round_trip_of_the_published_layout(
    tmp_path: Path, imported: Path, data: Synthetic, dtype: str
) -> None:
    result = export(imported, tmp_path / "out.h5", dtype=dtype)
    assert (result.models, result.layers) == (5, len(data.rows))
    assert result.filters == len(data.filters)
    assert result.left_out == {}
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["filters"].dtype == dtype
        assert file["filters"].chunks is None
        np.testing.assert_array_equal(file["filters"][()], data.filters)
    back = import_dataset(tmp_path / "db", tmp_path / "out.h5", jobs=1)
    assert (back.added, back.ends, back.version) == (5, "inclusive", "1.0.0")
    assert content(tmp_path / "db") == content(imported)


def test_what_is_written_is_what_the_published_file_had(
    tmp_path: Path, imported: Path, data: Synthetic
) -> None:
    original = write(tmp_path / "original.h5", data)
    export(imported, tmp_path / "out.h5")
    ours, theirs = (pd.read_hdf(path, key="meta") for path in (tmp_path / "out.h5", original))
    assert ours.index.names == ["model_id", "conv_depth", "conv_depth_norm", "layer_id"]
    pd.testing.assert_index_equal(ours.index, theirs.index)
    for name in ("filter_ids", "Visual Category", "Task", "Training-Dataset", "precision",
                 "total_filters", "3x3_filter_share", "Dataset URL"):  # fmt: skip
        pd.testing.assert_series_equal(ours[name], theirs[name])
    assert (ours["Paper"] == theirs["Paper"].fillna("")).all()


@pytest.mark.parametrize("word", ["nan", "NaN", "None", "nan~"])
def test_words_that_pandas_takes_for_nothing(tmp_path: Path, word: str) -> None:
    data = synthetic()
    change = {"Name": word, "layer_id": word, "Training-Dataset": word}
    data.rows[0] |= change
    for row in data.rows[1:10]:
        row |= {name: value for name, value in change.items() if name != "layer_id"}
    file = write(tmp_path / "dataset.h5", data, missing="nothing")
    import_dataset(tmp_path / "first", file, jobs=1)
    assert Database(tmp_path / "first").models()[0]["name"] == word
    export(tmp_path / "first", tmp_path / "out.h5")
    import_dataset(tmp_path / "second", tmp_path / "out.h5", jobs=1)
    assert content(tmp_path / "second") == content(tmp_path / "first")


def test_what_an_export_is_for(tmp_path: Path, imported: Path) -> None:
    notes = {name: export(imported, tmp_path / name).note for name in ("out", "out.h5")}
    assert all(note.endswith("copy its folder.") for note in notes.values())
    assert "kind unknown" in notes["out.h5"]
    assert "for other programs" in notes["out"]


def test_the_published_layout_leaves_out_other_kernels(tmp_path: Path, mixed: Path) -> None:
    result = export(mixed, tmp_path / "out.h5", dtype="float32")
    layers = Database(mixed).layers()
    chosen = [row for row in layers if (row["kh"], row["kw"]) == (3, 3)]
    assert result.left_out == {"not 3x3": 2}
    assert (result.models, result.layers) == (3, len(chosen))
    with h5py.File(tmp_path / "out.h5") as file:
        expected = [Database(mixed).weights(row["model_id"], row["name"]) for row in chosen]
        np.testing.assert_array_equal(
            file["filters"][()], np.concatenate([w.reshape(-1, 3, 3) for w in expected])
        )
    frame = pd.read_hdf(tmp_path / "out.h5", key="meta").reset_index()
    assert frame["layer_id"].tolist() == [row["name"] for row in chosen]
    assert frame.groupby("Name")["colour"].first().to_dict() == {
        "again: plain?.safetensors": "", "plain.safetensors": "red", "other.safetensors": "",
    }  # fmt: skip
    with pytest.raises(ExportError, match="None of the 2 layers is 3x3"):
        export(mixed, tmp_path / "none.h5", where="kh != 3")


def test_parquet(tmp_path: Path, mixed: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    result = export(mixed, tmp_path / "out.parquet")
    database = Database(mixed)
    assert sorted(path.name for path in (tmp_path / "out.parquet").iterdir()) == [
        "filters_1x1.parquet", "filters_3x3.parquet", "filters_5x5.parquet",
        "layers.parquet", "models.parquet",
    ]  # fmt: skip
    assert result.layers == len(database.layers())
    seen = 0
    for row in database.layers():
        kernel = f"{row['kh']}x{row['kw']}"
        table = parquet.read_table(
            tmp_path / "out.parquet" / f"filters_{kernel}.parquet",
            filters=[("model", "=", row["model"]), ("layer", "=", row["name"])],
        )
        weights = database.weights(row["model_id"], row["layer_index"])
        assert table["filter"].to_pylist() == list(range(row["n_filters"]))
        assert set(table["kernel"].to_pylist()) == {kernel}
        assert set(table["layer_index"].to_pylist()) == {row["layer_index"]}
        values = np.stack(table["values"].to_numpy())
        np.testing.assert_array_equal(values, weights.reshape(row["n_filters"], -1))
        assert values.dtype == np.float32
        seen += len(table)
    assert seen == result.filters
    rows = parquet.read_table(tmp_path / "out.parquet" / "layers.parquet").to_pylist()
    assert rows == database.layers()
    models = parquet.read_table(tmp_path / "out.parquet" / "models.parquet").to_pylist()
    assert [row["colour"] for row in models] == [row["colour"] for row in database.models()]


def test_large_layers_are_written_in_several_row_groups(
    tmp_path: Path, imported: Path, data: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    from filterdb.published import to_parquet

    monkeypatch.setattr(to_parquet, "ROWS", 50)
    export(imported, tmp_path / "out.parquet")
    file = parquet.ParquetFile(tmp_path / "out.parquet" / "filters_3x3.parquet")
    assert len(data.filters) / 100 <= file.num_row_groups <= len(data.filters) / 50
    values = np.stack(file.read()["values"].to_numpy())
    np.testing.assert_array_equal(values.reshape(-1, 3, 3), data.filters)


def test_safetensors_hold_the_same_weights(tmp_path: Path, mixed: Path) -> None:
    from safetensors.numpy import load_file

    result = export(mixed, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["again_ plain_.safetensors", "layers.csv", "models.csv", "other.safetensors",
                     "plain.safetensors"]  # fmt: skip
    database = Database(mixed)
    tensors = load_file(tmp_path / "out" / "other.safetensors")
    rows = database.layers(model="other.safetensors")
    assert list(tensors) == [row["name"] for row in rows]
    for row in rows:
        np.testing.assert_array_equal(
            tensors[row["name"]], database.weights("other.safetensors", row["name"])
        )
    with (tmp_path / "out" / "layers.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == result.layers
    Database(tmp_path / "db").ingest(
        [tmp_path / "out"], metadata=tmp_path / "out" / "models.csv", jobs=1
    )
    again = {row["name"]: row for row in Database(tmp_path / "db").models()}
    for row in database.models():
        name = {"again: plain?.safetensors": "again_ plain_.safetensors"}.get(row["name"])
        for column in ("weights_hash", "task", "epoch", "colour", "n_layers", "verdict"):
            assert again[name or row["name"]][column] == row[column], column


def test_a_condition(tmp_path: Path, mixed: Path) -> None:
    result = export(mixed, tmp_path / "out", where="colour = 'red' AND layer_index = 1")
    assert (result.models, result.layers) == (1, 1)
    with pytest.raises(QueryError, match="colour = 'blue'"):
        export(mixed, tmp_path / "none", where="colour = 'blue'")
    with pytest.raises(QueryError, match="no such column"):
        export(mixed, tmp_path / "none", where="nonsense = 1")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["out.h5", "out.parquet", "out"])
def test_nothing_is_overwritten_unasked(tmp_path: Path, imported: Path, name: str) -> None:
    where = "published_id = '7'"
    export(imported, tmp_path / name, where=where)
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(ExportError, match="--force"):
        export(imported, tmp_path / name)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    result = export(imported, tmp_path / name, force=True)
    assert result.models == 5
    assert not [path for path in tmp_path.iterdir() if path.name != name]


def test_what_is_not_ours_is_never_replaced(tmp_path: Path, imported: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_text("precious")
    for name, layout in (("photos", "safetensors"), ("photos", "hdf"), ("photos", "parquet")):
        with pytest.raises(ExportError, match="not of an earlier export"):
            export(imported, tmp_path / name, layout=layout, force=True)
    with pytest.raises(ExportError, match="not of an earlier export"):
        export(imported, imported, force=True)
    assert (tmp_path / "photos" / "me.jpg").read_text() == "precious"
    assert not Database(imported).verify().findings


def test_a_failure_leaves_nothing(tmp_path: Path, data: Synthetic) -> None:
    import_dataset(tmp_path / "db", write(tmp_path / "dataset.h5", data), jobs=1)
    sorted((tmp_path / "db" / "payload").rglob("*.safetensors"))[-1].unlink()
    (tmp_path / "out.h5").write_text("of an earlier day")
    for name in ("out.h5", "out.parquet", "out"):
        with pytest.raises(DamagedStoreError):
            export(tmp_path / "db", tmp_path / name, force=True)
    assert (tmp_path / "out.h5").read_text() == "of an earlier day"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset.h5", "db", "out.h5"]


def test_a_place_that_is_no_folder(tmp_path: Path, imported: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        export(imported, tmp_path / "file" / "out")


def test_progress(tmp_path: Path, imported: Path, data: Synthetic) -> None:
    seen: list[tuple[int, int, str]] = []
    export(imported, tmp_path / "out", progress=lambda *now: seen.append(now))
    assert [done for done, _, _ in seen] == list(range(1, len(data.rows) + 1))
    assert seen[-1][1:] == (len(data.rows), "vgg-mini (22)")
