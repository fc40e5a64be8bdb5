"""Labels of planted and of drawn filters: each of them counted once, kept, read again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import filterdb
from filterdb.errors import (
    DamagedStoreError,
    KeySetError,
    ModelNotFoundError,
    QueryError,
    StoreError,
)
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.fit import fit_keys
from filterdb.keys.key_set import KeyName, KeySet
from filterdb.keys.labels.jobs import LabelJob, fit_of, labels_of
from filterdb.keys.labels.labelling import label, label_filters
from filterdb.keys.labels.labels import SAME_WEIGHTS, Tally, added
from filterdb.keys.labels.stored_labels import UNLABELLED, labels_of_layer, read_labels, stored_keys
from filterdb.population.preset import SCANS, Scanning
from filterdb.store.connection import open_to_write
from filterdb.store.query import reading
from filterdb.store.verify import verify
from networks import save
from planted import copies, random_keys
from planted import network as depthwise_network

HERE = Scanning(jobs=1)


def some_keys(count=3, kernel=(3, 3), *, seed=0, name="some", **same):
    """Orthonormal keys of mean 0, so that what is of none is easily made."""
    taps = kernel[0] * kernel[1]
    rng = np.random.default_rng(seed)
    start = np.column_stack([np.ones(taps), rng.normal(size=(taps, taps - 1))])
    basis = np.linalg.qr(start)[0].T[1:]
    names = tuple(KeyName("edge" if i < 2 else f"spot {i}") for i in range(count))
    return KeySet(name, basis[:count].reshape(-1, *kernel), names, Equivalence(**same))


KEYS = some_keys()
STRANGER = some_keys(8).flat[7]
"""A filter of mean 0 that is orthogonal to all keys."""


def planted(key, n, *, seed=0):
    """Depthwise weights ``a key + b`` of either sign, any size and offset."""
    rng = np.random.default_rng(seed)
    a = rng.choice([-1, 1], n) * 10.0 ** rng.uniform(-2, 3, n)
    b = rng.normal(size=n) * np.abs(a)
    filters = a[:, None] * np.asarray(key).ravel() + b[:, None]
    side = round(filters.shape[1] ** 0.5)
    return filters.reshape(n, 1, side, side).astype(np.float32), a, b


def mixed(seed=0):
    """4 filters of the first key, 3 of the third, 2 strangers, 2 constant ones, 1 of zeros."""
    weights = np.concatenate(
        [
            planted(KEYS.flat[0], 4, seed=seed)[0],
            planted(KEYS.flat[2], 3, seed=seed + 1)[0],
            planted(STRANGER, 2, seed=seed + 2)[0],
            np.full((2, 1, 3, 3), 0.5 + seed, np.float32),
            np.full((1, 1, 3, 3), 1e-5, np.float32),
        ]
    )
    return weights, [4, 0, 3], (2, 2, 1)


def network(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "a.stem.weight": rng.normal(size=(12, 3, 3, 3)).astype(np.float32),
        "b.dw0.weight": mixed(seed)[0],
        "c.point.weight": rng.normal(size=(16, 12, 1, 1)).astype(np.float32),
        "d.dw1.weight": rng.normal(size=(16, 1, 3, 3)).astype(np.float32),
        "e.dw2.weight": rng.normal(size=(16, 1, 5, 5)).astype(np.float32),
        "f.head.weight": rng.normal(size=(10, 16)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two networks, and one with the weights of the first under other names."""
    folder = tmp_path_factory.mktemp("networks")
    save(folder / "a.safetensors", network(1))
    save(folder / "b.safetensors", network(2))
    save(folder / "copy.safetensors", {f"net.{k}": v for k, v in network(1).items()})
    database = filterdb.open(tmp_path_factory.mktemp("db") / "db")
    database.ingest([folder], jobs=1)
    return database


@pytest.fixture
def db(made, tmp_path):
    shutil.copytree(made.path, tmp_path / "db")
    return filterdb.open(tmp_path / "db")


def as_rows(labels):
    return [layer.to_dict() for layer in labels.layers]


def digests(folder):
    with reading(folder) as connection:
        return dict(connection.execute("SELECT model_id || '.' || layer_index, digest "
                                       "FROM key_labels"))  # fmt: skip


# --- files and arrays ---------------------------------------------------------------------------


def test_planted_keys_label_themselves_whatever_sign_scale_and_offset():
    weights, counts, (other, constant, zero) = mixed()
    labels = label({"dw.weight": weights}, KEYS)
    (layer,) = labels.layers
    assert layer.counts.tolist() == counts
    assert (layer.other, layer.constant, layer.zero, layer.n) == (other, constant, zero, 12)
    assert layer.model_id is None
    assert layer.mean_r2 == pytest.approx(7 / 9, abs=1e-5)
    assert labels.total.coverage == pytest.approx(7 / 9)
    assert labels.coverage == {"models": 1, "layers": 1, "filters": 12, "left_out": {}}


def test_each_key_of_a_set_is_its_own():
    keys = some_keys(8)
    labels = label({"dw.weight": keys.filters[:, None].astype(np.float32)}, keys)
    assert labels.total.counts.tolist() == [1] * 8


def test_rotations_are_the_same_key_only_where_that_is_asked():
    turned = np.stack([np.rot90(KEYS.filters[0], k) for k in range(4)])[:, None]
    source = {"dw.weight": (3 * turned - 7).astype(np.float32)}
    assert label(source, KEYS).total.counts.tolist() == [1, 0, 0]
    free = label(source, KEYS, equivalence=Equivalence(rotations=True))
    assert free.total.counts.tolist() == [4, 0, 0]
    assert free.key_set.id != KEYS.id


def test_signed_keys_tell_a_filter_from_its_negative():
    source = {"dw.weight": np.stack([KEYS.filters[:1], -KEYS.filters[:1]]).astype(np.float32)}
    assert label(source, KEYS).total.counts.tolist() == [2, 0, 0]
    signed = label(source, KEYS, equivalence=Equivalence(signed=True)).total
    assert (signed.counts.tolist(), signed.other) == ([1, 0, 0], 1)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 60),
    threshold=st.floats(0, 1),
    keys=st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_every_filter_is_counted_once(seed, n, threshold, keys):
    rng = np.random.default_rng(seed)
    filters = rng.normal(size=(n, 9)) * rng.choice([0, 1e-5, 1, 1e30], (n, 1))
    filters += rng.choice([0, 1], (n, 1)) * 3
    chosen = some_keys(keys, seed=seed)
    fit = fit_keys(filters.astype(np.float32), chosen.flat, (3, 3))
    tally = Tally.of(fit, chosen, threshold=threshold, dtype="float32")
    assert tally.n == n == tally.shaped + tally.constant + tally.zero
    assert tally.counts.shape == (keys,)
    for key in range(keys):
        own = [r2 >= np.float32(threshold) for k, r2 in zip(fit.key, fit.r2, strict=True)
               if k == key]  # fmt: skip
        assert tally.counts[key] == sum(own)
    both = added([tally, tally, tally], keys)
    assert both.n == 3 * n
    assert both.counts.tolist() == (3 * tally.counts).tolist()
    assert (both.mean_r2 is None) == (tally.mean_r2 is None)
    if tally.mean_r2 is not None:
        assert both.mean_r2 == pytest.approx(tally.mean_r2)
        assert tally.mean_r2 == pytest.approx(np.nanmean(fit.r2.astype(np.float64)))


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_fits_survive_being_packed(seed, n):
    filters = np.random.default_rng(seed).normal(size=(n, 9)).astype(np.float32)
    filters[: n // 3] = 1
    fit = fit_keys(filters, KEYS.flat, (3, 3))
    back = fit_of(labels_of(fit))
    for name in ("key", "view", "a", "b", "r2", "kind"):
        np.testing.assert_array_equal(getattr(back, name), getattr(fit, name))
        assert getattr(back, name).dtype == getattr(fit, name).dtype


def test_bytes_of_the_others_stay_raw():
    weights = mixed()[0]
    layer = label({"dw.weight": weights}, KEYS).layers[0]
    flags, indices = 2, -(-10 * 2 // 8)  # a bit a filter; two bits for one of three keys
    assert layer.raw_bytes == weights.nbytes == 12 * 9 * 4
    assert layer.keyed_bytes == flags + indices + 10 * 2 * 2 + 2 * 9 * 4
    storage = label({"dw0.weight": weights, "dw1.weight": mixed(4)[0]}, KEYS).storage
    assert (storage.raw, storage.keyed) == (2 * layer.raw_bytes, 2 * layer.keyed_bytes)
    assert storage.table == 3 * 9 * 4


def test_a_file_is_labelled_layer_by_layer(tmp_path):
    path = save(tmp_path / "net.safetensors", network())
    labels = label(path, KEYS)
    assert [layer.layer for layer in labels.layers] == ["b.dw0", "d.dw1"]
    assert [layer.layer_index for layer in labels.layers] == [1, 3]
    assert labels.left_out == {
        "not depthwise": 2, "filters of another size than the keys": 1}  # fmt: skip
    assert labels.models == (str(path),)
    expected = fit_keys(network()["d.dw1.weight"].reshape(-1, 9), KEYS.flat, (3, 3)).r2
    assert labels.layers[1].mean_r2 == pytest.approx(expected.mean(dtype=np.float64))
    assert [layer.depth for layer in labels.layers] == [0.25, 0.75]


def test_threshold_moves_filters_between_key_and_other():
    filters = np.stack([(KEYS.flat[0] + t * STRANGER) for t in (0.0, 0.4, 0.6, 2.0)])
    source = {"dw.weight": filters.reshape(-1, 1, 3, 3).astype(np.float32)}
    r2 = 1 / (1 + np.array([0, 0.4, 0.6, 2.0]) ** 2)
    for threshold in (0.1, 0.5, 0.8, 0.9, 1):
        total = label(source, KEYS, threshold=threshold).total
        assert total.counts.sum() == (r2 >= threshold).sum()


def test_not_finite_layers_are_left_out():
    bad = mixed()[0].copy()
    bad[3, 0, 1, 1] = np.nan
    labels = label({"dw0.weight": mixed()[0], "dw1.weight": bad}, KEYS)
    assert len(labels.layers) == 1
    assert labels.left_out == {"weights that are not finite": 1}
    with pytest.raises(KeySetError, match="NaN or infinite"):
        label({"dw1.weight": bad}, KEYS)


def test_layers_of_one_filter_and_of_constant_ones():
    one = label({"conv.weight": np.ones((1, 1, 3, 3), np.float32)}, KEYS, kind="any")
    assert (one.total.constant, one.total.coverage, one.total.mean_r2) == (1, None, None)
    assert "no filter has a shape" in repr(one)


def test_any_kind_takes_dense_layers_and_says_what_that_is_worth(tmp_path):
    labels = label(network(), KEYS, kind="any")
    assert [layer.kind for layer in labels.layers] == ["conv", "depthwise", "depthwise"]
    assert "depthwise layers" in labels.notes[0]
    assert label(network(), KEYS).notes == ()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"conv.weight": np.ones((8, 4, 3, 3), np.float32)},
         ["no depthwise layers", r"conv 3x3 \(1\)", "--kind any"]),
        ({"dw.weight": planted(some_keys(1, (5, 5)).flat[0], 8)[0]},
         ["3x3", r"depthwise layers are: 5x5 \(1\)", "padded", "keys.analytic"]),
    ],
)  # fmt: skip
def test_where_there_is_nothing_to_label_the_mend_is_told(source, words):
    for word in words:
        with pytest.raises(KeySetError, match=word):
            label(source, KEYS)


def test_settings_that_make_no_sense():
    source = {"dw.weight": mixed()[0]}
    with pytest.raises(KeySetError, match="between 0 and 1"):
        label(source, KEYS, threshold=80)
    with pytest.raises(QueryError, match="depthwise"):
        label(source, KEYS, kind="deepwise")
    with pytest.raises(KeySetError, match="no database"):
        label(source, KEYS, where="kind = 'conv'")
    with pytest.raises(KeySetError, match="no key set"):
        label(source, "nothing-of-that-name")


def test_keys_called_like_a_column_hide_none():
    names = ("model", "filters", "other")
    keys = KeySet("sly", KEYS.filters, names=tuple(map(KeyName, names)))
    (row, *_), plain = (label(network(), one).rows() for one in (keys, KEYS))
    assert {name: row[name] for name in names} == {name: plain[0][name] for name in names}
    assert [row[f"key {place}: {name}"] for place, name in enumerate(names, 1)] == [4, 0, 3]


@pytest.mark.parametrize("share", [float("nan"), -0.1, 1.5])
def test_a_threshold_that_is_no_share_is_refused_for_filters_and_kept_labels_too(db, share):
    (layer, *_) = label_filters(network(), KEYS)
    with pytest.raises(KeySetError, match="threshold"):
        list(layer.rows(threshold=share))
    label(db, KEYS, scanning=HERE)
    with pytest.raises(KeySetError, match="threshold"):
        read_labels(db.path, KEYS.id, threshold=share)


def test_the_result_as_json_and_as_a_table():
    labels = label(network(), KEYS)
    told = json.loads(json.dumps(labels.to_dict()))
    assert told["key_set"]["keys"] == ["edge 1", "edge 2", "spot 2"]
    assert told["total"]["filters"] == told["coverage"]["filters"] == 28
    assert [sum(row["counts"]) + row["other"] + row["constant"] + row["zero"]
            for row in told["layers"]] == [12, 16]  # fmt: skip
    frame = labels.to_pandas()
    columns = ["key 1: edge 1", "key 2: edge 2", "key 3: spot 2"]
    assert frame[columns].iloc[0].tolist() == [4, 0, 3]
    assert frame["layer"].tolist() == ["b.dw0", "d.dw1"]
    assert "copies of a key" in repr(labels)


# --- databases ----------------------------------------------------------------------------------


def test_a_database_is_labelled_as_its_files_are(db):
    labels = label(db, KEYS, scanning=HERE)
    assert [(layer.model, layer.layer) for layer in labels.layers] == [
        ("a.safetensors", "b.dw0"), ("a.safetensors", "d.dw1"),
        ("b.safetensors", "b.dw0"), ("b.safetensors", "d.dw1"),
        ("copy.safetensors", "net.b.dw0"), ("copy.safetensors", "net.d.dw1"),
    ]  # fmt: skip
    for layers, seed in ((labels.layers[:2], 1), (labels.layers[2:4], 2), (labels.layers[4:], 1)):
        for found, expected in zip(layers, label(network(seed), KEYS).layers, strict=True):
            assert found.counts.tolist() == expected.counts.tolist()
            assert (found.other, found.constant, found.zero, found.depth, found.raw_bytes) == (
                expected.other, expected.constant, expected.zero, expected.depth,
                expected.raw_bytes)  # fmt: skip
            assert found.mean_r2 == pytest.approx(expected.mean_r2, abs=1e-7)
    assert verify(db.path).findings == ()
    assert not (db.path / SCANS).exists()


def test_shared_weights_are_in_every_model_and_once_in_the_totals(db):
    labels = label(db, KEYS, scanning=HERE)
    assert [layer.repeated for layer in labels.layers] == [False] * 4 + [True] * 2
    assert labels.left_out[SAME_WEIGHTS] == 2
    assert labels.coverage["filters"] == labels.total.n == 56
    assert labels.models == ("a.safetensors", "b.safetensors")
    by_model = labels.by_model()
    assert by_model["copy.safetensors"].counts.tolist() == (
        by_model["a.safetensors"].counts.tolist())  # fmt: skip
    only = label(db, KEYS, where="model = 'copy.safetensors'", scanning=HERE)
    assert [layer.repeated for layer in only.layers] == [False, False]


def test_every_way_gives_the_same_labels(db):
    first = label(db.path, KEYS, scanning=HERE)
    stored = digests(db.path)
    again = label(db, KEYS, force=True, scanning=Scanning(jobs=2))
    assert as_rows(again) == as_rows(first)
    assert digests(db.path) == stored
    assert as_rows(label(db, KEYS, store=False, force=True, scanning=HERE)) == as_rows(first)
    assert as_rows(read_labels(db.path, KEYS.id)) == as_rows(first)
    assert as_rows(read_labels(db.path, "some")) == as_rows(first)


def test_labels_of_a_layer_are_the_fits_of_its_filters(db):
    label(db, KEYS, scanning=HERE)
    found = labels_of_layer(db.path, KEYS.id, (1, 1))
    weights, a, b = planted(KEYS.flat[0], 4, seed=1)
    assert found.key[[0, 1, 2, 3, 4, 5, 6, 9, 10, 11]].tolist() == [0] * 4 + [2] * 3 + [-1] * 3
    np.testing.assert_allclose(found.a[:4], a, rtol=1e-4)
    np.testing.assert_allclose(found.b[:4], b, rtol=1e-4)
    np.testing.assert_allclose(found.r2[:7], 1, atol=1e-4)
    kept = found.a[:4, None] * KEYS.flat[0] + found.b[:4, None]
    np.testing.assert_allclose(kept, weights.reshape(4, 9), rtol=1e-3, atol=1e-3)
    with pytest.raises(ModelNotFoundError, match="no labels"):
        labels_of_layer(db.path, KEYS.id, (1, 0))


def test_what_is_kept_serves_every_threshold_and_no_weights_are_read(db):
    strict = label(db, KEYS, threshold=0.95, scanning=HERE)
    loose = label(db, KEYS, threshold=0.5, store=False, force=True, scanning=HERE)
    shutil.rmtree(db.path / "payload")
    assert as_rows(read_labels(db.path, KEYS.id, threshold=0.5)) == as_rows(loose)
    assert as_rows(label(db, KEYS, threshold=0.95)) == as_rows(strict)
    assert loose.total.counts.sum() > strict.total.counts.sum()


def test_sql_counts_are_those_of_the_labels(db):
    label(db, KEYS, scanning=HERE)
    with reading(db.path) as connection:
        columns = "n, n_constant, n_zero, n_r2_70, n_r2_80, n_r2_90, n_r2_95, mean_r2"
        rows = connection.execute(f"SELECT {columns} FROM key_labels ORDER BY 1, 2").fetchall()
    at = [read_labels(db.path, KEYS.id, threshold=t).total for t in (0.7, 0.8, 0.9, 0.95)]
    sums = np.sum([row[:7] for row in rows], axis=0)
    copy = [read_labels(db.path, KEYS.id, threshold=t).by_model()["copy.safetensors"]
            for t in (0.7, 0.8, 0.9, 0.95)]  # fmt: skip
    expected = [total.counts.sum() + twice.counts.sum()
                for total, twice in zip(at, copy, strict=True)]  # fmt: skip
    assert sums[3:].tolist() == expected
    assert sums[:3].tolist() == [84, 6, 3]


def test_new_models_are_completed_and_nothing_else_is_gone_through(db, tmp_path):
    label(db, KEYS, scanning=HERE)
    before = digests(db.path)
    save(tmp_path / "new.safetensors", network(7))
    db.ingest([tmp_path / "new.safetensors"], jobs=1)
    assert read_labels(db.path, KEYS.id).left_out[UNLABELLED] == 2
    seen = []
    work = Scanning(jobs=1, progress=lambda done, total, _: seen.append((done, total)))
    labels = label(db, KEYS, scanning=work)
    assert len(labels.layers) == 8
    assert seen == [(1, 1)]
    after = digests(db.path)
    assert {key: after[key] for key in before} == before
    assert len(after) == 8
    assert UNLABELLED not in read_labels(db.path, KEYS.id).left_out
    label(db, KEYS, scanning=work)
    assert seen == [(1, 1)]
    assert verify(db.path).findings == ()


def test_two_sets_live_side_by_side(db):
    others = some_keys(2, seed=5, name="others")
    first = as_rows(label(db, KEYS, scanning=HERE))
    second = as_rows(label(db, others, scanning=HERE))
    turned = label(db, KEYS, equivalence=Equivalence(rotations=True), scanning=HERE)
    assert as_rows(read_labels(db.path, KEYS.id)) == first
    assert as_rows(read_labels(db.path, "others")) == second
    assert len(stored_keys(db.path)) == 3
    assert turned.key_set.id in {keys.id for keys in stored_keys(db.path)}
    for keys in stored_keys(db.path):
        assert keys.texts[:1] == (("edge 1",) if len(keys) > 1 else ("edge",))
    assert verify(db.path).findings == ()


def test_the_stored_set_is_the_set(db):
    keys = KeySet("telling", KEYS.filters, KEYS.names, KEYS.equivalence, {"source": "a test"})
    label(db, keys, scanning=HERE)
    (found,) = stored_keys(db.path)
    np.testing.assert_allclose(found.filters, keys.filters, rtol=0, atol=1e-15)
    assert (found.id, found.name, found.names) == (keys.id, keys.name, keys.names)
    assert found.metadata == {"source": "a test"}


def test_removal_takes_labels_along(db):
    label(db, KEYS, scanning=HERE)
    db.remove(["a.safetensors"])
    labels = read_labels(db.path, KEYS.id)
    assert labels.models == ("b.safetensors", "copy.safetensors")
    assert not any(layer.repeated for layer in labels.layers)
    assert verify(db.path).findings == ()


def test_flipped_labels_are_found_and_labelling_with_force_mends_them(db):
    label(db, KEYS, scanning=HERE)
    with closing(open_to_write(db.path)) as connection:
        (blob,) = connection.execute("SELECT labels FROM key_labels WHERE model_id = 2").fetchone()
        bad = bytearray(blob)
        bad[len(bad) // 2] ^= 4
        connection.execute("UPDATE key_labels SET labels = ? WHERE model_id = 2 "
                           "AND layer_index = 1", (bytes(bad),))  # fmt: skip
    (finding,) = verify(db.path).findings
    assert finding.where == "b.safetensors"
    label(db, KEYS, force=True, scanning=HERE)
    assert verify(db.path).findings == ()


def test_a_damaged_set_is_told_with_its_mend(db):
    label(db, KEYS, scanning=HERE)
    with closing(open_to_write(db.path)) as connection:
        connection.execute("UPDATE key_sets SET content = substr(content, 1, 100)")
    with pytest.raises(DamagedStoreError, match="filterdb keys label"):
        read_labels(db.path, KEYS.id)
    assert verify(db.path).damaged
    label(db, KEYS, force=True, scanning=HERE)
    assert stored_keys(db.path)[0].id == KEYS.id
    assert verify(db.path).findings == ()


def test_interrupted_labelling_keeps_nothing_and_goes_on(db):
    def stop(done, *_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(db, KEYS, scanning=Scanning(jobs=1, progress=stop))
    assert digests(db.path) == {}
    assert list((db.path / SCANS).rglob("*.npz"))
    assert len(label(db, KEYS, scanning=HERE).layers) == 6
    assert not (db.path / SCANS).exists()


def test_conditions_choose_layers(db):
    labels = label(db, KEYS, where="model = 'b.safetensors' AND name = 'b.dw0'", scanning=HERE)
    assert [layer.layer for layer in labels.layers] == ["b.dw0"]
    assert read_labels(db.path, KEYS.id).left_out[UNLABELLED] == 5
    with pytest.raises(QueryError, match="nothing is left"):
        label(db, KEYS, where="model = 'none'")
    with pytest.raises(KeySetError, match="no depthwise layers"):
        label(db, KEYS, where="kind = 'conv'")
    with pytest.raises(KeySetError, match=r"3x3 \(6\), 5x5 \(3\)"):
        label(db, some_keys(1, (7, 7)))
    labels = label(db, KEYS, kind="any", where="name LIKE '%stem'", scanning=HERE)
    assert [layer.kind for layer in labels.layers] == ["conv"] * 3


@pytest.fixture
def read_only(db):
    """The database on a read-only mount: permissions do not stop root."""
    place = db.path.parent / "mounted"
    place.mkdir()
    flags = ["mount", "--bind", "-o", "ro", str(db.path), str(place)]
    if os.getuid() or subprocess.run(flags, capture_output=True, check=False).returncode:
        db.path.chmod(0o555)
        if os.access(db.path, os.W_OK):
            pytest.skip("neither a mount nor permissions make a folder read-only here")
        yield db.path
        db.path.chmod(0o755)
        return
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_read_only_database_is_labelled_without_keeping(read_only):
    with pytest.raises(StoreError, match=r"read-only disk.*store=False"):
        label(read_only, KEYS, scanning=HERE)
    labels = label(read_only, KEYS, store=False, scanning=HERE)
    assert labels.layers[0].counts.tolist() == mixed()[1]
    assert len(labels.layers) == 6
    assert digests(read_only) == {}


def test_sets_that_are_not_there_are_named_with_those_that_are(db):
    label(db, KEYS, scanning=HERE)
    with pytest.raises(KeySetError, match=f"some \\({KEYS.id}\\)"):
        read_labels(db.path, "published9")
    with pytest.raises(KeySetError) as unknown:
        read_labels(db.path, "published9")
    assert "makes them" not in str(unknown.value)
    with pytest.raises(KeySetError, match="--set published8` makes them"):
        read_labels(db.path, "published8")


def test_there_must_be_a_database_with_layers(tmp_path):
    with pytest.raises(StoreError, match="no filterdb database"):
        label(tmp_path, KEYS)


def test_the_job_is_told_apart_by_all_that_matters():
    jobs = [LabelJob.of(keys) for keys in (KEYS, some_keys(seed=1), some_keys(rotations=True))]
    assert len({job.key for job in jobs}) == 3
    assert LabelJob.of(some_keys(name="renamed")).key == jobs[0].key


def test_every_filter_of_a_file_and_of_a_database_has_its_row(tmp_path) -> None:
    keys_ = KeySet("some", random_keys(3, (3, 3)).reshape(3, 3, 3))
    rng = np.random.default_rng(0)
    rows = copies(rng, keys_.flat, 12, noise=0.0)
    rows[4], rows[5] = 0.25, 0
    path = save(tmp_path / "net.safetensors", depthwise_network([rows, rows[::-1].copy()], (3, 3)))
    database = filterdb.open(tmp_path / "db")
    database.ingest(path, jobs=1)
    of_file = [row for layer in label_filters(path, keys_) for row in layer.rows()]
    of_database = [row for layer in label_filters(database, keys_) for row in layer.rows()]
    assert len(of_file) == len(of_database) == 24
    for one, other in zip(of_file, of_database, strict=True):
        assert {**one, "model": ""} == {**other, "model": ""}
    for row, weights in zip(of_file[:12], rows, strict=True):
        if row["name"] in ("constant", "nearly zero"):
            assert row["key"] is None
            assert row["b"] == pytest.approx(weights.mean())
            continue
        rebuilt = row["a"] * keys_.flat[row["key"] - 1] + row["b"]
        np.testing.assert_allclose(rebuilt, weights, atol=1e-5)
        assert row["name"] == keys_.texts[row["key"] - 1]
        assert row["in_channel"] == 0
    assert [row["name"] for row in of_file[4:6]] == ["constant", "nearly zero"]
    assert [row["out_channel"] for row in of_file] == [*range(12), *range(12)]
