"""The published data set into a database, against what pandas itself wrote and reads."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filterdb.database import Database
from filterdb.errors import CorruptFileError, LimitError, ReadError, UnsupportedFormatError
from filterdb.published.frame import read_frame
from filterdb.published.hdf5 import PublishedFile
from filterdb.published.importing import import_dataset
from filterdb.published.intake import Narrowing
from published.dataset_files import NETWORKS, Synthetic, synthetic, write

pytest.importorskip("tables")
h5py = pytest.importorskip("h5py")
pd = pytest.importorskip("pandas")

VARIANTS: dict[str, dict[str, Any]] = {
    "v1.0.0": {},
    "float32": {"dtype": "float32"},
    "float16": {"dtype": "float16"},
    "N x 9": {"flat": True},
    "/filter": {"dataset": "filter", "flat": True, "dtype": "float32"},
    "fixed format": {"meta": "fixed"},
    "data columns": {"meta": "columns"},
    "texts as objects": {"text": "object"},
    "fixed format of objects": {"text": "object", "meta": "fixed"},
    "in chunks": {"chunks": 100},
    "N x 9 in chunks": {"chunks": 64, "flat": True},
    "exclusive": {"inclusive": False},
    "v0.1.0": {"version": "0.1.0", "inclusive": False, "dtype": "float32"},
}


@pytest.fixture(scope="module")
def data() -> Synthetic:
    return synthetic()


def assert_same_filters(db: Database, data: Synthetic, dtype: str = "float64") -> None:
    """Every layer of the data set is in the database, value by value."""
    ids = {row["id"]: row["published_id"] for row in db.models()}
    rows = db.layers()
    assert len(rows) == len(data.layers)
    for row in rows:
        expected = data.layers[ids[row["model_id"]], row["name"]].astype(dtype).astype(np.float32)
        weights = db.weights(row["model_id"], row["layer_index"])
        assert weights.shape == (1, len(expected), 3, 3)
        np.testing.assert_array_equal(weights[0], expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant(tmp_path: Path, data: Synthetic, variant: str) -> None:
    options = VARIANTS[variant]
    path = write(tmp_path / "dataset.h5", data, **options)
    result = import_dataset(tmp_path / "db", path, jobs=1)
    assert (result.added, result.unchanged, result.failed) == (len(NETWORKS), 0, 0)
    assert result.version == options.get("version", "1.0.0")
    assert result.filters == len(data.filters)
    assert result.dtype == options.get("dtype", "float64")
    assert result.ends == ("inclusive" if options.get("inclusive", True) else "exclusive")
    assert result.left_out_columns == {}
    db = Database(tmp_path / "db")
    assert_same_filters(db, data, result.dtype)
    for row, (model_id, (name, category, task, sizes)) in zip(
        db.models(), NETWORKS.items(), strict=True
    ):
        assert row["published_id"] == model_id
        assert row["name"].startswith(name)
        assert row["visual_category"] == category
        assert row["published_task"] == task
        assert row["task"] == ("Segmentation" if "Segmentation" in task else task)
        assert row["training_dataset"] == f"data of {name}"
        assert row["pretraining_dataset"] == ("ImageNet" if name == "unet-mini" else None)
        assert row["paper"] == (None if name == "gan-mini" else f"https://example.org/{name}")
        assert row["source_url"] == f"https://example.org/{name}.onnx"
        assert row["Dataset URL"] == "https://example.org/data"
        assert row["total_filters"] == sum(sizes) == row["n_filters"]
        assert row["3x3_filter_share"] == (0.5 if name == "unet-mini" else 1)
        assert row["published_producer"] == "pytorch"
        assert row["format"] == "cnn-filter-db"
    assert not db.verify().findings


@pytest.mark.parametrize("meta", ["fixed", "table", "columns"])
@pytest.mark.parametrize("text", ["str", "object"])
def test_the_frame_is_what_pandas_reads(
    tmp_path: Path, data: Synthetic, meta: str, text: str
) -> None:
    path = write(tmp_path / "dataset.h5", data, meta=meta, text=text)
    expected = pd.read_hdf(path, key="meta").reset_index()
    with PublishedFile.open(path) as file:
        frame = read_frame(file.attributes, file.parts)
    assert set(frame.columns) == set(expected.columns)
    for name, values in frame.columns.items():
        column = expected[name].astype(object)
        assert values == column.where(column.notna(), None).tolist()
        assert all(type(value) in (str, int, float, type(None)) for value in values)


def test_what_needs_channels_is_undefined(tmp_path: Path, data: Synthetic) -> None:
    import_dataset(tmp_path / "db", write(tmp_path / "dataset.h5", data), jobs=1)
    db = Database(tmp_path / "db")
    for row in db.layers():
        assert (row["kind"], row["groups"], row["orthogonality"]) == ("unknown", None, None)
        assert (row["out_channels"], row["depth_source"]) == (1, "graph")
    notes = " ".join(db.models()[0]["notes"])
    assert "no channels" in notes
    assert "nothing was lost" in notes


def test_measures_are_those_of_the_same_filters_in_a_network(
    tmp_path: Path, data: Synthetic
) -> None:
    from filterdb.stats.quality import layer_quality

    import_dataset(tmp_path / "db", write(tmp_path / "dataset.h5", data), jobs=1)
    row = Database(tmp_path / "db").layers(model="resnet-mini")[5]
    filters = data.layers["0", row["name"]].astype(np.float32)
    expected = layer_quality(filters.reshape(8, 12, 3, 3))
    for name in ("sparsity", "variance_entropy", "entropy_ratio", "l1", "l2_standardised"):
        assert row[name] == pytest.approx(getattr(expected, name), rel=1e-6), name


@pytest.mark.parametrize("jobs", [1, 3])
def test_again_is_unchanged_and_the_number_of_jobs_does_not_matter(
    tmp_path: Path, data: Synthetic, jobs: int
) -> None:
    path = write(tmp_path / "dataset.h5", data)
    seen: list[tuple[int, int, str]] = []
    first = import_dataset(tmp_path / "db", path, jobs=jobs, progress=lambda *now: seen.append(now))
    assert [done for done, _, _ in seen] == [1, 2, 3, 4, 5]
    assert {total for _, total, _ in seen} == {5}
    before = Database(tmp_path / "db").models()
    moved = path.rename(tmp_path / "elsewhere.h5")
    again = import_dataset(tmp_path / "db", moved, jobs=jobs)
    assert (again.added, again.unchanged) == (0, 5)
    assert [row.name for row in again.models] == [row.name for row in first.models]
    assert Database(tmp_path / "db").models() == before
    assert [row["published_id"] for row in before] == list(NETWORKS)


def test_lost_weights_are_restored(tmp_path: Path, data: Synthetic) -> None:
    path = write(tmp_path / "dataset.h5", data)
    import_dataset(tmp_path / "db", path, jobs=1)
    next((tmp_path / "db" / "payload").rglob("*.safetensors")).unlink()
    import_dataset(tmp_path / "db", path, jobs=1)
    assert_same_filters(Database(tmp_path / "db"), data)


@pytest.mark.parametrize("chunks", [None, 100])
def test_a_repaired_download_is_taken_in(
    tmp_path: Path, data: Synthetic, chunks: int | None
) -> None:
    """Whichever filter was damaged, what the file has now is in the database afterwards."""
    sound = write(tmp_path / "sound.h5", data, chunks=chunks)
    for place in (5, 700):  # in the middle of a layer: of the first model, and of another
        filters = data.filters.copy()
        filters[place] += 1
        damaged = write(tmp_path / "damaged.h5", replace(data, filters=filters), chunks=chunks)
        db = Database(tmp_path / f"db {place}")
        import_dataset(db.path, damaged, jobs=1)
        result = import_dataset(db.path, sound, jobs=2)
        assert (result.added, result.unchanged) == (1, 4)
        (new,) = (row for row in result.models if row.status == "added")
        assert "1 networks were there with other filters" in result.notes[-1]
        assert repr(new.name) in result.notes[-1]
        old = next(row for row in db.models() if row["published_id"] == new.id)
        db.remove(old["id"])
        assert_same_filters(db, data)
        again = import_dataset(db.path, sound, jobs=1)
        assert (again.added, again.unchanged, len(again.notes)) == (0, 5, 1)


def test_columns_with_names_of_the_catalogue(tmp_path: Path, data: Synthetic) -> None:
    names = ("id", "published_id", "Published_Task", "sha256", "path", "model")
    rows = [row | {name: f"{name} of {row['model_id']}" for name in names} for row in data.rows]
    path = write(tmp_path / "dataset.h5", replace(data, rows=rows))
    result = import_dataset(tmp_path / "db", path, jobs=1)
    assert (result.added, result.left_out_columns) == (5, {})
    for row in Database(tmp_path / "db").models():
        assert row["published_task"] == row["published_task"].strip() != ""
        for name in names:
            assert row[result.renamed_columns[name]] == f"{name} of {row['published_id']}"


def test_float64_that_float32_cannot_hold_is_noted(tmp_path: Path, data: Synthetic) -> None:
    finer = replace(data, filters=data.filters * (1 + 1e-9))
    import_dataset(tmp_path / "db", write(tmp_path / "dataset.h5", finer), jobs=1)
    notes = " ".join(Database(tmp_path / "db").models()[0]["notes"])
    assert "rounded to float32 in 10 layers" in notes


def test_narrowing_of_what_is_no_number() -> None:
    narrowing = Narrowing()
    values = np.array([np.nan, np.inf, 1e300, 0.0, -0.0, 1e-320, 1.5])
    result = narrowing.narrow(values)
    np.testing.assert_array_equal(result, [np.nan, np.inf, np.inf, 0, 0, 0, 1.5])
    assert (narrowing.layers, narrowing.overflowed) == (1, 1)
    assert narrowing.error == 1  # 1e-320 became 0
    note = str(narrowing.note("float64"))
    assert note.endswith("; 1 of them overflowed: they became infinite.")
    assert "inf " not in note
    narrowing = Narrowing()
    narrowing.narrow(np.array([1e39, -1e300]))
    assert narrowing.note("float64") == (
        "Its float64 values were rounded to float32 in 1 layers; 2 of them overflowed: they "
        "became infinite."
    )


DAMAGE = {
    "outside": ({"ids": "1200:5000"}, "do not lie among"),
    "backwards": ({"ids": "9:3"}, "do not lie among"),
    "no range": ({"ids": "0-11"}, "start:end"),
    "all": ({"ids": "0:1248"}, "overlap"),
    "neighbour": ({"ids": "0:20"}, "overlap"),
    "huge": ({"ids": "0:999999999999999999999"}, "start:end"),
    "depth": ({"conv_depth_norm": 7.5}, "conv_depth_norm"),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("inclusive", [True, False])
def test_a_damaged_row_fails_its_model_only(
    tmp_path: Path, data: Synthetic, damage: str, inclusive: bool
) -> None:
    change, reason = DAMAGE[damage]
    rows = [data.rows[0] | change, *data.rows[1:]]
    path = write(tmp_path / "dataset.h5", replace(data, rows=rows), inclusive=inclusive)
    result = import_dataset(tmp_path / "db", path, jobs=1)
    assert result.ends == ("inclusive" if inclusive else "exclusive")
    assert [row.status for row in result.models] == ["failed"] + ["added"] * 4
    assert reason in str(result.models[0].reason)
    assert "Conv_0" in str(result.models[0].reason)
    assert any("belong to no layer" in note for note in result.notes)
    db = Database(tmp_path / "db")
    assert [row["path"] for row in db.info()["failed_files"]] == [f"{path}#0"]
    mended = write(path, data, inclusive=inclusive)
    again = import_dataset(tmp_path / "db", mended, jobs=1)
    assert (again.added, again.unchanged) == (1, 4)
    assert db.info()["failed_files"] == []
    assert_same_filters(db, data)


def test_two_rows_that_contradict_each_other_are_neither_believed(
    tmp_path: Path, data: Synthetic
) -> None:
    last = len(NETWORKS["0"][3]) - 1  # of the first network; the next row is the second's first
    rows = [*data.rows]
    rows[last] = rows[last] | {"stop": rows[last]["stop"] + 3}
    result = import_dataset(
        tmp_path / "db", write(tmp_path / "dataset.h5", replace(data, rows=rows)), jobs=1
    )
    assert [row.status for row in result.models] == ["failed", "failed", *["added"] * 3]


def test_one_layer_leaves_no_doubt_where_it_ends(tmp_path: Path) -> None:
    data = synthetic(networks={"a": ("one", "natural", "Classification", (5, 7))})
    for inclusive in (True, False):
        path = write(tmp_path / f"{inclusive}.h5", data, inclusive=inclusive)
        result = import_dataset(tmp_path / f"db {inclusive}", path, jobs=1)
        assert result.ends == ("inclusive" if inclusive else "exclusive")


def test_a_network_of_one_depth_has_depth_zero(tmp_path: Path) -> None:
    data = synthetic(networks={"a": ("one", "natural", "Classification", (5, 7))})
    row = data.rows[0] | {"conv_depth_norm": float("nan"), "stop": 12}
    path = write(tmp_path / "dataset.h5", replace(data, rows=[row]))
    assert import_dataset(tmp_path / "db", path, jobs=1).added == 1
    assert Database(tmp_path / "db").layers()[0]["conv_depth_norm"] == 0


def test_columns_that_vary_within_a_network_are_named(tmp_path: Path, data: Synthetic) -> None:
    rows = [row | {"op": f"op {i}"} for i, row in enumerate(data.rows)]
    path = write(tmp_path / "dataset.h5", replace(data, rows=rows))
    result = import_dataset(tmp_path / "db", path, jobs=1)
    assert list(result.left_out_columns) == ["op"]
    assert "op" not in Database(tmp_path / "db").models()[0]


def test_columns_of_dates_and_categories_are_left_out(tmp_path: Path, data: Synthetic) -> None:
    path = write(tmp_path / "dataset.h5", data)
    frame = pd.read_hdf(path, key="meta")
    frame["when"] = pd.Timestamp("2022-03-01")
    frame.to_hdf(path, key="meta", format="fixed")
    result = import_dataset(tmp_path / "fixed", path, jobs=1)
    assert list(result.left_out_columns) == ["when"]
    frame["sort"] = pd.Categorical(["x"] * len(frame))
    frame.to_hdf(path, key="meta", format="table")
    result = import_dataset(tmp_path / "table", path, jobs=1)
    assert set(result.left_out_columns) == {"when", "sort"}
    assert result.added == 5


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_nothing_in_the_file_is_run(tmp_path: Path, data: Synthetic) -> None:
    path = write(tmp_path / "dataset.h5", data, text="object", meta="fixed")
    mark = tmp_path / "it ran"
    bomb = np.frombuffer(pickle.dumps(Bomb(mark)), np.uint8)
    with h5py.File(path, "a") as file:
        for name in [name for name in file["meta"] if name.endswith("_values")]:
            if file["meta"][name].dtype.kind == "O":
                file["meta"][name][0] = bomb
        file["meta"].attrs["info"] = pickle.dumps(Bomb(mark), protocol=0)
    with pytest.raises(CorruptFileError, match="/meta"):
        import_dataset(tmp_path / "db", path, jobs=1)
    assert not mark.exists()
    assert not (tmp_path / "db").exists()


def test_links_to_other_files_are_not_followed(tmp_path: Path, data: Synthetic) -> None:
    path = write(tmp_path / "dataset.h5", data)
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["filters"] = h5py.ExternalLink(str(path), "/filters")
        file["meta"] = h5py.ExternalLink(str(path), "/meta")
    with pytest.raises(UnsupportedFormatError, match="/filters"):
        import_dataset(tmp_path / "db", tmp_path / "linked.h5", jobs=1)


@pytest.mark.parametrize("shape", [(10, 5, 5), (10, 3), (10,)])
def test_other_hdf5_files_are_refused(tmp_path: Path, data: Synthetic, shape: tuple[int]) -> None:
    path = write(tmp_path / "dataset.h5", data)
    with h5py.File(path, "a") as file:
        del file["filters"]
        file["filters"] = np.zeros(shape)
    with pytest.raises(UnsupportedFormatError, match=r"shape \(10"):
        import_dataset(tmp_path / "db", path, jobs=1)
    with h5py.File(path, "a") as file:
        del file["meta"]
    with pytest.raises(UnsupportedFormatError, match="/meta"):
        import_dataset(tmp_path / "db", path, jobs=1)
    path.write_text("no HDF5 at all")
    with pytest.raises(CorruptFileError, match="HDF5 cannot read it"):
        import_dataset(tmp_path / "db", path, jobs=1)


def test_a_file_cut_short_is_refused(tmp_path: Path, data: Synthetic) -> None:
    path = write(tmp_path / "dataset.h5", data)
    os.truncate(path, path.stat().st_size - 5000)
    with pytest.raises(CorruptFileError):
        import_dataset(tmp_path / "db", path, jobs=1)


def test_a_chunk_that_is_damaged_fails_its_models_only(tmp_path: Path, data: Synthetic) -> None:
    path = write(tmp_path / "dataset.h5", data, chunks=200)
    with h5py.File(path) as file:
        place = file["filters"].id.get_chunk_info(0)
    with path.open("r+b") as raw:
        raw.seek(place.byte_offset + 20)
        raw.write(b"\xff" * 40)
    result = import_dataset(tmp_path / "db", path, jobs=2)
    assert [row.status for row in result.models] == ["failed"] + ["added"] * 4


@pytest.mark.parametrize("chunks", [None, 100])
def test_flipped_bytes_end_in_an_import_or_an_error_of_ours(
    tmp_path: Path, data: Synthetic, chunks: int | None
) -> None:
    """What libhdf5 dies of, its helper process dies of."""
    path = write(tmp_path / "dataset.h5", data, chunks=chunks)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    places = np.unique(np.concatenate([rng.integers(0, 4096, 6), rng.integers(0, len(content), 4)]))
    for place in places.tolist():
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        with (
            suppress(CorruptFileError, UnsupportedFormatError, LimitError),  # and no other
            PublishedFile.open(path) as file,
        ):
            read_frame(file.attributes, file.parts)
            file.filters(0, min(50, file.count))


def test_a_helper_that_died_is_replaced(tmp_path: Path, data: Synthetic) -> None:
    with PublishedFile.open(write(tmp_path / "dataset.h5", data, chunks=100)) as file:
        assert file.helper.process is not None
        file.helper.process.kill()
        file.helper.process.wait()
        with pytest.raises(CorruptFileError, match="broke down"):
            file.filters(0, 10)
        np.testing.assert_array_equal(file.filters(0, 210), data.filters[:210])


def test_a_directory_or_nothing_at_all(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.h5"):
        with pytest.raises(ReadError, match="cannot be read") as caught:
            import_dataset(tmp_path / "db", path)
        assert str(path) in str(caught.value)
    assert not (tmp_path / "db").exists()


KILLED = """
import os, signal, sys
from filterdb.published.importing import import_dataset
def progress(done, total, name):
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
import_dataset(sys.argv[1], sys.argv[2], jobs=2, progress=progress)
"""


def test_a_killed_import_resumes(tmp_path: Path, data: Synthetic) -> None:
    path, db = write(tmp_path / "dataset.h5", data), Database(tmp_path / "db")
    for killed_at, there in ((2, 2), (4, 4)):  # the second run finds two and adds two
        command = [sys.executable, "-c", KILLED, str(db.path), str(path), str(killed_at)]
        done = subprocess.run(command, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert done.returncode == -signal.SIGKILL
        assert len(db.models()) == there
    assert {finding.kind for finding in db.verify().findings} <= {"leftover"}
    result = import_dataset(db.path, path, jobs=1)
    assert (result.added, result.unchanged) == (1, 4)
    assert_same_filters(db, data)
    assert not db.verify().findings


def test_the_ranges_of_the_helper_file_lie_end_to_end(data: Synthetic) -> None:
    """Guards the tests themselves."""
    assert data.rows[0]["start"] == 0
    assert all(one["stop"] == next_["start"] for one, next_ in pairwise(data.rows))
    assert data.rows[-1]["stop"] == len(data.filters)
