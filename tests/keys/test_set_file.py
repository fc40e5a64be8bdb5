"""Key sets as files: round trips, what comes with the package, and files that are none."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from filterdb.errors import KeySetError
from filterdb.keys.equivalence import Equivalence
from filterdb.keys.key_set import KeyName, KeySet
from filterdb.keys.sets.set_file import FOLDER, load_keys, save_keys, shipped

KEYS = np.random.default_rng(0).normal(size=(3, 5, 3))


def made(**changes) -> KeySet:
    fields = {
        "names": (
            KeyName("Gaussian", "Gaussian", 0.7, None, 0.98),
            KeyName("key 2", r2=0.1),
            KeyName("Schlüssel"),
        ),
        "equivalence": Equivalence(rotations=True),
        "metadata": {"source": "a test", "chance": {"mean_r2": 0.25}, "coverage": [0.5, None]},
    }
    return KeySet("made", KEYS, **(fields | changes))


def written(path: Path, metadata: object = None, *, keys: np.ndarray = KEYS,
            entry: dict | None = None, name: str = "keys") -> Path:  # fmt: skip
    """A safetensors file by hand, which may say anything."""
    data = np.ascontiguousarray(keys).tobytes()
    header = {} if metadata is None else {"__metadata__": metadata}
    header[name] = {"dtype": "F64", "shape": list(keys.shape), "data_offsets": [0, len(data)]}
    header[name] |= entry or {}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_a_round_trip_keeps_everything(tmp_path: Path) -> None:
    keys = made()
    path = save_keys(keys, tmp_path / "made.safetensors")
    again = load_keys(path)
    np.testing.assert_allclose(again.filters, keys.filters, rtol=0, atol=1e-15)
    for field in ("name", "names", "equivalence", "metadata", "id", "kernel"):
        assert getattr(again, field) == getattr(keys, field)
    assert load_keys(str(path)).id == keys.id


def test_the_library_reads_it(tmp_path: Path) -> None:
    path = save_keys(made(), tmp_path / "made.safetensors")
    with safe_open(path, "np") as file:
        np.testing.assert_array_equal(file.get_tensor("keys"), made().filters)
        told = file.metadata()
    assert told["kernel"] == "5x3"
    assert told["normalisation"] == "mean 0, norm 1"
    assert json.loads(told["metadata"])["source"] == "a test"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_file_of_the_library_is_read(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "mine.safetensors"
    save_file({"keys": KEYS.astype(dtype)}, path)
    keys = load_keys(path)
    assert keys.name == "mine"
    assert keys.texts == ("key 1", "key 2", "key 3")
    np.testing.assert_allclose(keys.filters, KeySet("mine", KEYS).filters, atol=1e-6)


def test_a_scale_may_be_a_hundred_times_the_kernel(tmp_path: Path) -> None:
    told = {"names": '[{"text": "a", "sigma_x": 500, "r2": 1}, {"text": "b"}, {"text": "c"}]'}
    name = load_keys(written(tmp_path / "wide.safetensors", told)).names[0]
    assert (name.sigma_x, name.r2) == (500, 1)


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    told = {"n": np.int64(3), "r2": np.float32(0.5), "curve": np.arange(3), "pair": (1, 2)}
    again = load_keys(save_keys(made(metadata=told), tmp_path / "a.safetensors"))
    assert again.metadata == {"n": 3, "r2": 0.5, "curve": [0, 1, 2], "pair": [1, 2]}


def test_a_key_set_passes_through() -> None:
    keys = made()
    assert load_keys(keys) is keys


def test_what_comes_with_the_package() -> None:
    assert "published8" in shipped()
    for name in shipped():
        assert load_keys(name).name == name
        assert name in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_a_name_that_is_not_there_gets_a_hint() -> None:
    with pytest.raises(KeySetError, match=r"published8.*Did you mean 'published8'\?"):
        load_keys("publishd8")


@pytest.mark.parametrize("metadata", [{"x": object()}, {"x": float("nan")}, {"x": {1, 2}},
                                      {"x": "\x1b[2J"}, {"x": "y" * 2_000_001}])  # fmt: skip
def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, metadata: dict) -> None:
    with pytest.raises(KeySetError):
        save_keys(made(metadata=metadata), tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_bad_places_to_write(tmp_path: Path) -> None:
    with pytest.raises(KeySetError, match=r"end in \.safetensors"):
        save_keys(made(), tmp_path / "keys.npz")
    with pytest.raises(KeySetError, match="cannot be written"):
        save_keys(made(), tmp_path / "nowhere" / "keys.safetensors")


def test_files_of_other_kinds(tmp_path: Path) -> None:
    np.savez(tmp_path / "keys.npz", keys=KEYS)
    np.save(tmp_path / "keys.npy", KEYS)
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("Filter 1:\n0.1 0.2")
    for path in list(tmp_path.iterdir()):
        with pytest.raises(KeySetError, match="no safetensors file") as error:
            load_keys(path)
        assert str(path) in str(error.value)
    with pytest.raises(KeySetError, match="It is no file"):
        load_keys(tmp_path)


MALFORMED = {
    "not strings": {"name": 3},
    "no object": ["name"],
    "names no JSON": {"names": "["},
    "names no list": {"names": "{}"},
    "a name no object": {"names": '["Gaussian", "b", "c"]'},
    "a name without text": {"names": '[{}, {}, {}]'},
    "a sigma of text": {"names": '[{"text": "a", "sigma_x": "1"}]'},
    "a sigma not finite": {"names": '[{"text": "a", "sigma_x": Infinity}]'},
    "a sigma too large": {"names": f'[{{"text": "a", "sigma_x": 1{"0" * 400}}}]'},
    "a sigma beyond any kernel": {"names": '[{"text": "a", "sigma_x": 501}, {"text": "b"},'
                                           ' {"text": "c"}]'},
    "an R² above 1": {"names": '[{"text": "a", "r2": 1.01}, {"text": "b"}, {"text": "c"}]'},
    "metadata beyond float64": {"metadata": '{"chance": {"a": {"shares": [1e999, 1, 1, 1]}}}'},
    "whole metadata beyond float64": {"metadata": '{"chance": [1' + "0" * 400 + "]}"},
    "metadata of too many digits": {"metadata": '{"chance": 1' + "0" * 5_000 + "}"},
    "a negative sigma": {"names": '[{"text": "a", "sigma_x": -1}]'},
    "too few names": {"names": '[{"text": "a"}]'},
    "control characters": {"names": '[{"text": "\\u001b[2J"}]'},
    "a long name": {"name": "x" * 201},
    "an unknown equivalence": {"equivalence": '{"colour": true}'},
    "an equivalence of numbers": {"equivalence": '{"signed": 1}'},
    "metadata no object": {"metadata": "[]"},
    "metadata too deep": {"metadata": '{"a":' + "[" * 5_000 + "]" * 5_000 + "}"},
    "metadata with control characters": {"metadata": '{"source": "\\u001b]0;"}'},
    "metadata with NaN": {"metadata": '{"coverage": NaN}'},
}  # fmt: skip


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_metadata(tmp_path: Path, what: str) -> None:
    path = written(tmp_path / "bad.safetensors", MALFORMED[what])
    with pytest.raises(KeySetError) as error:
        load_keys(path)
    assert str(error.value).startswith(str(path))


CLAIMS = {
    "too many keys": {"shape": [2**40, 5, 3]},
    "too large keys": {"shape": [3, 2**31, 2**31]},
    "more than there is": {"shape": [3, 5, 4]},
    "two axes": {"shape": [9, 5]},
    "no keys": {"shape": [0, 5, 3]},
    "one tap": {"shape": [45, 1, 1]},
    "a hole": {"data_offsets": [8, 360]},
    "beyond the end": {"data_offsets": [0, 2**62]},
    "whole numbers": {"dtype": "I64"},
    "an unknown type": {"dtype": "F128"},
    "a shape of text": {"shape": "3"},
}


@pytest.mark.parametrize("what", CLAIMS)
def test_claims_are_checked(tmp_path: Path, what: str) -> None:
    path = written(tmp_path / "bad.safetensors", entry=CLAIMS[what])
    with pytest.raises(KeySetError, match=r"bad\.safetensors: "):
        load_keys(path)


def test_a_network_is_no_key_set(tmp_path: Path) -> None:
    path = written(tmp_path / "net.safetensors", name="conv.weight")
    with pytest.raises(KeySetError, match="filterdb keys find"):
        load_keys(path)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_keys_without_a_shape(tmp_path: Path, value: float) -> None:
    path = written(tmp_path / "flat.safetensors", keys=np.full((2, 3, 3), value))
    with pytest.raises(KeySetError, match=r"flat.safetensors: Key 1"):
        load_keys(path)


WHOLE = (FOLDER / "published8.safetensors").read_bytes()
HEADER = 8 + int.from_bytes(WHOLE[:8], "little")


@given(length=st.integers(0, len(WHOLE) - 1))
@settings(max_examples=60, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
def test_truncated_files(tmp_path: Path, length: int) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(WHOLE[:length])
    with pytest.raises(KeySetError):
        load_keys(path)


@given(flips=st.lists(st.tuples(st.integers(0, HEADER - 1), st.integers(0, 255)), min_size=1,
                      max_size=4))  # fmt: skip
@settings(max_examples=150, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
def test_flipped_bytes_are_an_error_or_a_key_set(tmp_path: Path, flips) -> None:
    damaged = bytearray(WHOLE)
    for place, value in flips:
        damaged[place] = value
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(damaged)
    told = ""
    try:
        keys = load_keys(path)
    except KeySetError as error:
        told = str(error)
    assert str(path) in told if told else keys.filters.size == 392
