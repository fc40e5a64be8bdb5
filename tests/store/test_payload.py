from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file

from filterdb.errors import DamagedStoreError, StoreError
from filterdb.store.payload import (
    PayloadWriter,
    file_hash,
    layer_hash,
    model_hash,
    read_payload,
    unique_names,
)

weights = arrays(
    np.float32,
    st.tuples(*[st.integers(1, 3)] * 4),
    elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
)


def write(folder: Path, tensors: dict[str, np.ndarray]) -> Path:
    with PayloadWriter(folder, {name: array.shape for name, array in tensors.items()}) as writer:
        for array in tensors.values():
            writer.add(array)
        return writer.finish().path


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tensors=st.dictionaries(st.text(max_size=8), weights, min_size=1, max_size=4))
def test_what_is_written_is_read_by_us_and_by_the_safetensors_library(folder, tensors):
    tensors = dict(zip(unique_names(tensors), tensors.values(), strict=True))
    path = write(folder, tensors)
    ours, theirs = read_payload(path), load_file(path)
    assert list(ours) == list(tensors)
    assert set(theirs) == set(tensors)
    for name, array in tensors.items():
        np.testing.assert_array_equal(ours[name], array)
        np.testing.assert_array_equal(theirs[name], array)
        assert not ours[name].flags.writeable


def test_the_draft_knows_its_hashes_and_the_data_are_aligned(folder):
    array = np.arange(18, dtype=np.float32).reshape(2, 1, 3, 3)
    with PayloadWriter(folder, {"a": array.shape}) as writer:
        writer.add(array)
        draft = writer.finish()
    assert draft.sha256 == file_hash(draft.path)
    assert draft.size == draft.path.stat().st_size
    assert draft.tensors == {"a": layer_hash(array)}
    assert (8 + int.from_bytes(draft.path.read_bytes()[:8], "little")) % 64 == 0
    final = draft.publish(folder)
    assert (
        final == folder / "payload" / draft.weights_hash[:2] / f"{draft.weights_hash}.safetensors"
    )
    assert not draft.path.exists()


def test_a_hash_is_of_shape_and_values_and_a_models_of_layers_in_any_order():
    array = np.arange(36, dtype=np.float32)
    one, other = array.reshape(4, 1, 3, 3), array.reshape(2, 2, 3, 3)
    assert layer_hash(one) != layer_hash(other)
    assert layer_hash(one) == layer_hash(np.asfortranarray(one))
    assert layer_hash(one) == layer_hash(one.astype(">f4"))
    hashes = [layer_hash(one), layer_hash(other)]
    assert model_hash(hashes) == model_hash(hashes[::-1])
    assert model_hash(hashes) != model_hash(hashes[:1])


def test_nothing_remains_of_a_payload_that_was_not_finished(folder):
    with PayloadWriter(folder, {"a": (1, 1, 3, 3)}) as writer:
        writer.add(np.ones((1, 1, 3, 3), np.float32))
    assert not [path for path in (folder / "payload").rglob("*") if path.is_file()]


def test_layers_must_be_as_announced(folder):
    with PayloadWriter(folder, {"a": (1, 1, 3, 3), "b": (1, 1, 3, 3)}) as writer:
        with pytest.raises(ValueError, match="announced as float32"):
            writer.add(np.ones((1, 1, 3, 3), np.float64))
        with pytest.raises(ValueError, match="announced as float32"):
            writer.add(np.ones((9,), np.float32))
        writer.add(np.ones((1, 1, 3, 3), np.float32))
        with pytest.raises(ValueError, match="1 of 2"):
            writer.finish()


def test_names_become_unique_and_writable():
    assert unique_names(["a", "a", "a~2", "a"]) == ["a", "a~2", "a~2~2", "a~3"]
    assert unique_names(["__metadata__", "\udcff"]) == ["__metadata__~2", "\\udcff"]


@pytest.mark.parametrize("size", [0, 5, 8, 70, 200])
def test_a_file_cut_short_is_damage(folder, size):
    path = write(folder, {"a": np.ones((4, 1, 3, 3), np.float32)})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DamagedStoreError, match="filterdb verify"):
        read_payload(path)


def test_a_full_disk_is_a_clear_error(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="no room left"):
        write(folder, {"a": np.ones((1, 1, 3, 3), np.float32)})
    assert not list((folder / "payload" / ".tmp").iterdir())
