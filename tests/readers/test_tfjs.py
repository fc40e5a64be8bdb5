"""TensorFlow.js models against the arrays of TensorFlow itself (scripts/make_reader_files)."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import filterdb
from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.layer import Contents, Convolution, ModelFile
from filterdb.readers import registry
from filterdb.readers.head import Head
from filterdb.readers.tfjs import model_file
from filterdb.roles import assign_roles

FILES = Path(__file__).parent / "files" / "tfjs"
NAMES = sorted(path.stem for path in FILES.glob("*.npz"))
FOLDED = {"graph": 1e-6}  # folded by the converter in float32


def contents_of(path: Path) -> Contents:
    return registry.read_contents(Head.of(path))


def network(path: Path) -> ModelFile:
    return assign_roles(contents_of(path), str(path))


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FILES / f"{name}.npz") as held:
        return dict(held)


def test_there_are_models() -> None:
    assert len(NAMES) == 8


@pytest.mark.parametrize("name", NAMES)
def test_values_and_order_are_tensorflows(name: str) -> None:
    expected = [array for key, array in sorted(arrays(name).items()) if key.isdigit()]
    layers = network(FILES / name).layers
    assert len(layers) == len(expected)
    for layer, array in zip(layers, expected, strict=True):
        assert layer.shape == array.shape
        np.testing.assert_allclose(layer.weights, array, rtol=0, atol=FOLDED.get(name, 0))
    assert {layer.depth_source for layer in layers} == {"graph"}


@pytest.mark.parametrize("name", ["layers", "graph"])
def test_every_kind_of_convolution_is_told(name: str) -> None:
    layers = network(FILES / name).layers
    assert [(layer.kind, layer.groups) for layer in layers] == [
        ("conv", 1), ("depthwise", 4), ("depthwise", 8), ("conv", 1), ("conv", 1),
        ("transposed", 1), ("conv", 1),
    ]  # fmt: skip
    assert layers[0].stride == (2, 1)
    assert layers[4].dilation == (2, 1)
    assert layers[5].stride == (2, 2)
    assert [layer.conv_depth for layer in layers] == list(range(7))


@pytest.mark.parametrize(
    ("name", "dtype", "scheme"),
    [
        ("layers", "float32", ""),
        ("layers_float16", "float16", ""),
        ("layers_uint8", "uint8", "per-tensor, affine"),
        ("layers_uint16", "uint16", "per-tensor, affine"),
    ],
)
def test_element_types_and_schemes(name: str, dtype: str, scheme: str) -> None:
    tensors = [tensor for tensor in contents_of(FILES / name).tensors if tensor.conv]
    assert {(tensor.dtype, tensor.scheme) for tensor in tensors} == {(dtype, scheme)}


def by_depth(name: str) -> list[Convolution]:
    """The convolutions of a model in the order of its graph."""
    found = [tensor.conv for tensor in contents_of(FILES / name).tensors if tensor.conv]
    return sorted(found, key=lambda conv: conv.depth or 0)


def states(name: str) -> list[str]:
    return [conv.state for conv in by_depth(name)]


def test_norms_of_a_layers_model_follow_by_topology() -> None:
    assert states("layers") == ["raw", "raw"] + ["no_norm"] * 5
    for conv, name in zip(by_depth("layers"), ("norm1", "norm2"), strict=False):
        assert conv.norm is not None
        assert conv.norm.name == name
        np.testing.assert_allclose(conv.norm.scale(), arrays("layers")[name], rtol=1e-6)


def test_norms_of_nested_models() -> None:
    assert states("layers_nested") == ["raw", "no_norm"]
    first = by_depth("layers_nested")[0]
    assert first.norm is not None
    expected = arrays("layers_nested")["in_n"]
    np.testing.assert_allclose(first.norm.scale(), expected, rtol=1e-6)


def test_norms_of_a_graph_model_are_folded_with_a_trace() -> None:
    assert states("graph") == ["folded", "folded"] + ["no_norm"] * 5
    first = contents_of(FILES / "graph").tensors[0]
    assert first.conv is not None
    assert first.conv.evidence.endswith("net/first/Conv2D_bn_offset'")


def test_a_norm_that_the_graph_still_has() -> None:
    (tensor,) = contents_of(FILES / "graph_raw").tensors
    assert tensor.conv is not None
    assert tensor.conv.state == "raw"
    assert tensor.conv.dilation == (3, 3)
    assert tensor.conv.norm is not None
    expected = arrays("graph_raw")["scale"]
    np.testing.assert_allclose(tensor.conv.norm.scale(), expected, rtol=1e-6)


def test_functions_count_where_they_are_run() -> None:
    layers = network(FILES / "graph_functions").layers
    assert [layer.conv_depth for layer in layers] == [0, 1, 2, 3]


def test_the_folder_and_its_description_are_one_model() -> None:
    folder, file = contents_of(FILES / "layers"), contents_of(FILES / "layers" / "model.json")
    assert [t.name for t in folder.tensors] == [t.name for t in file.tensors]
    shards = [f"group1-shard{i}of3.bin" for i in (1, 2, 3)]
    assert [path.name for path in file.companions] == shards
    assert [path.name for path in folder.companions] == ["model.json", *shards]
    assert file.producer == "TensorFlow.js Converter v4.22.0"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of a model in three shards."""
    shutil.copytree(FILES / "layers", tmp_path / "model")
    return tmp_path / "model"


def test_a_missing_shard_is_named(model: Path) -> None:
    (model / "group1-shard2of3.bin").unlink()
    with pytest.raises(ReadError, match=r"group1-shard2of3\.bin', which is not there"):
        filterdb.read(model / "model.json")


def test_a_shard_cut_short(model: Path) -> None:
    shard = model / "group1-shard3of3.bin"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match="hold 2,771"):
        filterdb.read(model / "model.json")


def rewrite(model: Path, change: Callable[[Any], None]) -> Path:
    path = model / "model.json"
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))
    return path


@pytest.mark.parametrize("name", ["../secret.bin", "/etc/passwd", "a/../../b", "C:\\a", ""])
def test_no_shard_lies_outside(model: Path, name: str) -> None:
    def change(tree: Any) -> None:
        tree["weightsManifest"][0]["paths"][1] = name

    (model.parent / "secret.bin").write_bytes(bytes(10_000))
    with pytest.raises(ReadError, match="outside its own folder"):
        filterdb.read(rewrite(model, change))


def test_no_link_leads_outside(model: Path) -> None:
    shard = model / "group1-shard1of3.bin"
    shard.rename(model.parent / "elsewhere.bin")
    shard.symlink_to(model.parent / "elsewhere.bin")
    with pytest.raises(ReadError, match="outside its own folder"):
        filterdb.read(model / "model.json")


def entry(tree: Any, name: str) -> Any:
    return next(w for w in tree["weightsManifest"][0]["weights"] if w["name"] == name)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", [3, 3, -3, 4]), ("shape", [2**50]), ("shape", "3"), ("shape", [True]),
        ("shape", [1] * 100), ("dtype", "float128"), ("dtype", None), ("name", 5),
        ("quantization", {"dtype": "uint8", "scale": "1", "min": 0}),
        ("quantization", {"dtype": "uint8", "scale": float("nan"), "min": 0}),
        ("quantization", {"dtype": "int3"}), ("quantization", []),
    ],
)  # fmt: skip
def test_impossible_entries(model: Path, key: str, value: Any) -> None:
    def change(tree: Any) -> None:
        entry(tree, "first/kernel")[key] = value

    with pytest.raises(CorruptFileError, match="is impossible"):
        filterdb.read(rewrite(model, change))


def test_a_claim_beyond_the_shards(model: Path) -> None:
    with pytest.raises(CorruptFileError, match="One is cut short"):
        filterdb.read(rewrite(model, lambda tree: entry(tree, "first/kernel").update(
            shape=[3, 3, 3, 2**30])))  # fmt: skip


def test_texts_and_complex_numbers_are_named(tmp_path: Path) -> None:
    weights = [
        {"name": "words", "shape": [2], "dtype": "string"},
        {"name": "spectrum", "shape": [3], "dtype": "complex64"},
        {"name": "a/kernel", "shape": [1, 1, 2, 2], "dtype": "float32"},
        {"name": "a/table", "shape": [1, 1, 1, 1], "dtype": "float32"},
    ]
    content = b"\3\0\0\0cat\0\0\0\0" + bytes(24) + np.arange(5, dtype="<f4").tobytes()
    (tmp_path / "w.bin").write_bytes(content)
    (tmp_path / "m.json").write_text(json.dumps([{"paths": ["w.bin"], "weights": weights}]))
    contents = contents_of(tmp_path / "m.json")
    assert [item.name for item in contents.skipped] == ["words", "spectrum", "a/table"]
    (tensor,) = contents.tensors
    np.testing.assert_array_equal(tensor.load()[:, :, 0, 0], [[0, 2], [1, 3]])


def test_a_bomb_of_texts(tmp_path: Path) -> None:
    weights = [{"name": "words", "shape": [10**9], "dtype": "string"}]
    (tmp_path / "w.bin").write_bytes(bytes(1000))
    (tmp_path / "m.json").write_text(json.dumps([{"paths": ["w.bin"], "weights": weights}]))
    with pytest.raises(LimitError, match="texts"):
        filterdb.read(tmp_path / "m.json")


def test_a_description_beyond_reason(tmp_path: Path) -> None:
    text = '[{"paths": [], "weights": [], "dtype": "' + "a" * 6_000_000 + '"}]'
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(LimitError, match=r"longer than 6,000,000 bytes"):
        filterdb.read(tmp_path / "m.json")


def test_a_model_without_convolutions(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('[{"paths": [], "weights": [], "dtype": ""}]')
    with pytest.raises(ReadError, match="convolution"):
        filterdb.read(tmp_path / "m.json")


def refuses(path: Path) -> bool:
    """Read a model whole; True where that ends in a foreseen error, and no other may come."""
    try:
        for tensor in model_file.read(Head.of(path)).tensors:
            assert tensor.load().shape == tensor.shape
            if tensor.conv and tensor.conv.norm:
                tensor.conv.norm.scale()
    except ReadError:
        return True
    return False


ODD = [None, 0, -1, 2, 10**30, float("nan"), "", [], {}, "a", "Conv2D", "../x", True, {"a": 1}]


@pytest.mark.parametrize("name", NAMES)
def test_odd_values_in_any_place(tmp_path: Path, name: str) -> None:
    shutil.copytree(FILES / name, tmp_path / name)
    text = (FILES / name / "model.json").read_text()
    source = random.Random(name)
    for _ in range(60):
        place = tree = json.loads(text)
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = source.choice(keys)
            if isinstance(place[key], dict | list) and source.random() < 0.9:
                place = place[key]
                continue
            place[key] = source.choice(ODD)
            break
        (tmp_path / name / "model.json").write_text(json.dumps(tree))
        refuses(tmp_path / name / "model.json")


def test_a_description_cut_anywhere(model: Path) -> None:
    text = (model / "model.json").read_bytes()
    source = random.Random(1)
    for cut in source.sample(range(len(text) - 1), 60):
        (model / "model.json").write_bytes(text[:cut])
        assert refuses(model / "model.json")


def test_a_folder_of_several_models_is_none(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text('[{"paths": [], "weights": [], "dtype": ""}]')
    assert not model_file.matches(Head.of(tmp_path))
    (tmp_path / "model.json").write_text('[{"paths": [], "weights": [], "dtype": ""}]')
    assert model_file.matches(Head.of(tmp_path))


COUNTS = {  # model: layers and 3x3 filters of the manifest
    "face-api--age-gender-model": (30, 1792),
    "face-api--tiny-face-detector-model": (12, 544),
    "human--blazeface": (69, 1536),
    "human--emotion-mini": (23, 1328),
    "human--gender-ssrnet-imdb": (14, 3984),
    "human--meet": (43, 280),
    "human--selfie": (55, 280),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_the_zoo(zoo: Path, name: str) -> None:
    layers = network(zoo / "weights" / f"{name}.tfjs").layers
    threes = sum(layer.n_filters for layer in layers if layer.kernel == (3, 3))
    assert (len(layers), threes) == COUNTS[name]


def test_the_converter_leaves_its_mark_in_the_zoo(zoo: Path) -> None:
    contents = contents_of(zoo / "weights" / "human--gender.tfjs")
    told = [tensor.conv.state for tensor in contents.tensors if tensor.conv]
    assert (told.count("folded"), told.count("no_norm"), len(told)) == (14, 9, 23)
    # This one came by way of TFLite, which leaves none.
    contents = contents_of(zoo / "weights" / "human--selfie.tfjs")
    assert {tensor.conv.state for tensor in contents.tensors if tensor.conv} <= {
        "unknown", "no_norm",
    }  # fmt: skip
