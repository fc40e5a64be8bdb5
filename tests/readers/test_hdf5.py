from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from keras_networks import EXPECTED_DEPTHS, check_values, save
from scipy.signal import convolve2d, correlate2d

from filterdb.errors import CorruptFileError, LimitError, UnsupportedFormatError
from filterdb.layer import Contents, ModelFile, Tensor
from filterdb.readers.head import Head
from filterdb.readers.keras import hdf5, hdf5_file
from filterdb.roles import assign_roles

RANDOM = np.random.default_rng(3)


def contents(path: Path) -> Contents:
    head = Head.of(path)
    assert hdf5.matches(head)
    return hdf5.read(head)


def model(path: Path) -> ModelFile:
    return assign_roles(contents(path), str(path))


def weights(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype("float32")


def write_keras(
    path: Path,
    layers: Mapping[str, Mapping[str, Any]],
    config: Any = None,
    *,
    full: bool = True,
    **attributes: str,
) -> Path:
    """Write the layout of Keras 1 and 2 by hand."""
    with h5py.File(path, "w") as file:
        top = file.create_group("model_weights") if full else file
        for name, value in attributes.items():
            top.attrs[name] = value.encode()
        if config is not None:
            file.attrs["model_config"] = json.dumps(config).encode()
        top.attrs["layer_names"] = np.array([name.encode() for name in layers], "S64")
        for name, arrays in layers.items():
            group = top.create_group(name)
            group.attrs["weight_names"] = np.array([key.encode() for key in arrays], "S64")
            for key, array in arrays.items():
                group.create_dataset(key, data=array)
    return path


def one(path: Path) -> Tensor:
    """The only 4-D tensor of a file."""
    (tensor,) = [tensor for tensor in contents(path).tensors if len(tensor.shape) == 4]
    return tensor


# Real files of Keras 3


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save(tmp_path_factory.mktemp("hdf5") / "net.h5"))


@pytest.fixture(scope="module")
def saved_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save(tmp_path_factory.mktemp("hdf5") / "net.weights.h5"))


def test_every_layer_computes_what_keras_computes(saved: Path) -> None:
    check_values(model(saved))


def test_weights_only_give_the_same_values(saved_weights: Path) -> None:
    file = model(saved_weights)
    check_values(file)
    assert any("order is a guess" in note for note in file.notes)


def test_depths_are_longest_paths(saved: Path) -> None:
    depths: dict[str, list[int | None]] = {}
    for tensor in contents(saved).tensors:
        if tensor.conv is not None:
            depths.setdefault(tensor.name.split("/")[-2], []).append(tensor.conv.depth)
    assert depths == EXPECTED_DEPTHS
    assert {layer.depth_source for layer in model(saved).layers} == {"graph"}


def test_optimiser_state_is_left_out(saved: Path) -> None:
    found = contents(saved)
    assert not any("adam" in item.name for item in (*found.tensors, *found.skipped))


# Keras 2 by hand


def node(*names: str) -> list[Any]:
    return [[[name, 0, 0, {}] for name in names]]


def functional(*layers: tuple[str, str, list[Any], dict[str, Any]]) -> dict[str, Any]:
    return {
        "class_name": "Model",
        "config": {
            "name": "m",
            "layers": [
                {"class_name": kind, "name": name, "config": {"name": name, **config},
                 "inbound_nodes": inbound}
                for name, kind, inbound, config in layers
            ],
        },
    }  # fmt: skip


def test_keras_2_functional(tmp_path: Path) -> None:
    first, second = weights(3, 3, 2, 4), weights(5, 5, 4, 3)
    path = write_keras(
        tmp_path / "k2.h5",
        {"b": {"b/kernel:0": second, "b/bias:0": weights(3)}, "a": {"a/kernel:0": first}},
        functional(
            ("x", "InputLayer", [], {}),
            ("b", "Conv2D", node("r"), {"strides": [2, 1], "dilation_rate": [1, 1]}),
            ("r", "Activation", node("a"), {}),
            ("a", "Conv2D", node("x"), {"strides": 1}),
        ),
        keras_version="2.2.4",
        backend="tensorflow",
    )
    file = model(path)
    assert [layer.name for layer in file.layers] == ["a", "b"]  # by depth, not by file
    assert file.layers[1].stride == (2, 1)
    assert file.producer == "keras 2.2.4"
    np.testing.assert_array_equal(file.layers[0].weights, first.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(file.layers[1].weights, second.transpose(3, 2, 0, 1))


def test_a_graph_that_runs_in_a_circle_leaves_the_order_of_the_file(tmp_path: Path) -> None:
    path = write_keras(
        tmp_path / "circle.h5",
        {"a": {"a/kernel:0": weights(3, 3, 2, 4)}, "b": {"b/kernel:0": weights(3, 3, 4, 2)}},
        functional(("a", "Conv2D", node("b"), {}), ("b", "Conv2D", node("a"), {})),
        keras_version="2.2.4",
    )
    file = model(path)
    assert [(layer.name, layer.depth_source) for layer in file.layers] == [
        ("a", "order"), ("b", "order"),
    ]  # fmt: skip


def test_layer_names_in_parts(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "p.h5", {"conv2d_1": {"conv2d_1/kernel:0": weights(3, 3, 2, 4)}})
    with h5py.File(path, "a") as file:
        top = file["model_weights"]
        del top.attrs["layer_names"]
        top.attrs["layer_names0"] = np.array([], "S9")
        top.attrs["layer_names1"] = np.array([b"conv2d_1"])
    assert one(path).shape == (4, 2, 3, 3)


def test_names_tell_the_class_where_there_is_no_configuration(tmp_path: Path) -> None:
    path = write_keras(
        tmp_path / "names.h5",
        {
            "conv2d_7": {"conv2d_7/kernel:0": weights(3, 3, 3, 8)},
            "conv2d_transpose": {"conv2d_transpose/kernel:0": weights(2, 2, 6, 8)},
            "mine": {"mine/depthwise_kernel:0": weights(3, 3, 6, 2)},
            "other": {
                "other/pointwise_kernel:0": weights(1, 1, 12, 5),
                "other/alpha:0": weights(3, 3, 3, 3),
            },
            "locally_connected2d": {"locally_connected2d/kernel:0": weights(9, 27, 4)},
            "conv1d": {"conv1d/kernel:0": weights(3, 3, 8)},
        },
        full=False,
        keras_version="2.2.0",
    )
    file = model(path)
    assert [(layer.kind, layer.shape) for layer in file.layers] == [
        ("conv", (8, 3, 3, 3)),
        ("transposed", (6, 8, 2, 2)),
        ("depthwise", (12, 1, 3, 3)),
        ("conv", (5, 12, 1, 1)),
    ]
    reasons = {item.name: item.reason for item in file.skipped}
    assert "locally connected" in reasons["locally_connected2d/kernel:0"]
    assert "no kernel" in reasons["other/alpha:0"]
    assert "1-D convolution" in reasons["conv1d/kernel:0"]


def test_a_name_that_tells_nothing_leaves_the_neighbours_to_tell(tmp_path: Path) -> None:
    path = write_keras(
        tmp_path / "x.h5", {"x": {"x/kernel:0": weights(3, 3, 2, 4)}}, keras_version="2.11.0"
    )
    assert one(path).conv is None
    assert one(path).shape == (4, 2, 3, 3)


# Keras 1


def sequential(*layers: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "class_name": "Sequential",
        "config": [
            {"class_name": kind, "config": {"name": name, **config}}
            for name, kind, config in layers
        ],
    }


def test_keras_1_theano_order_and_direction(tmp_path: Path) -> None:
    kernel = weights(4, 1, 3, 3)
    path = write_keras(
        tmp_path / "th.h5",
        {"c": {"c_W": kernel, "c_b": weights(4)}},
        sequential(("c", "Convolution2D", {"dim_ordering": "th", "subsample": [2, 2]})),
        keras_version="1.2.0",
    )
    tensor = one(path)
    assert tensor.conv is not None
    assert tensor.conv.stride == (2, 2)
    image = RANDOM.normal(size=(7, 7))
    for ours, stored in zip(tensor.load(), kernel, strict=True):
        # What Theano computes with the stored kernel is what others compute with ours.
        np.testing.assert_allclose(
            correlate2d(image, ours[0], mode="valid"), convolve2d(image, stored[0], mode="valid")
        )
    notes = " ".join(contents(path).notes)
    assert "as the configuration says" in notes
    assert "Theano" in notes


def test_keras_2_under_theano_is_turned_too(tmp_path: Path) -> None:
    kernel = weights(3, 3, 2, 4)
    path = write_keras(
        tmp_path / "th2.h5", {"conv2d_1": {"conv2d_1/kernel": kernel}},
        keras_version="2.1.0", backend="theano",
    )  # fmt: skip
    np.testing.assert_array_equal(one(path).load(), kernel[::-1, ::-1].transpose(3, 2, 0, 1))


@pytest.mark.parametrize(
    ("shape", "bias", "axes"),
    [
        ((16, 3, 3, 3), 16, (0, 1, 2, 3)),
        ((3, 3, 3, 16), 16, (3, 2, 0, 1)),
        ((6, 6, 80, 32), None, (3, 2, 0, 1)),
        ((12, 40, 3, 3), None, (0, 1, 2, 3)),
    ],
)
def test_keras_1_without_configuration(
    tmp_path: Path, shape: tuple[int, ...], bias: int | None, axes: tuple[int, ...]
) -> None:
    kernel = weights(*shape)
    arrays = {"convolution2d_1_W:0": kernel}
    if bias:
        arrays["convolution2d_1_b:0"] = weights(bias)
    path = write_keras(tmp_path / "k1.h5", {"convolution2d_1": arrays}, full=False)
    np.testing.assert_array_equal(one(path).load(), kernel.transpose(axes))
    assert "as their shapes and biases tell" in " ".join(contents(path).notes)


def test_keras_1_deconvolution_and_separable(tmp_path: Path) -> None:
    up, deep = weights(4, 6, 3, 3), weights(2, 4, 3, 3)
    path = write_keras(
        tmp_path / "d.h5",
        {
            "s": {"s_depthwise_kernel:0": deep, "s_pointwise_kernel:0": weights(6, 8, 1, 1)},
            "u": {"u_W:0": up},
        },
        sequential(
            ("s", "SeparableConvolution2D", {"dim_ordering": "th"}),
            ("u", "Deconvolution2D", {"dim_ordering": "th"}),
        ),
        keras_version="1.2.2",
    )
    file = model(path)
    assert [layer.kind for layer in file.layers] == ["depthwise", "conv", "transposed"]
    assert file.layers[0].shape == (8, 1, 3, 3)
    np.testing.assert_array_equal(file.layers[0].weights[3, 0], deep[1, 1])  # channel 1, second
    np.testing.assert_array_equal(file.layers[2].weights, up)


def test_before_keras_1(tmp_path: Path) -> None:
    kernel = weights(16, 3, 5, 5)
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["nb_layers"] = 2
        group = file.create_group("layer_0")
        group.attrs["nb_params"] = 2
        group.create_dataset("param_0", data=kernel)
        group.create_dataset("param_1", data=weights(16))
        file.create_group("layer_1").attrs["nb_params"] = 0
    np.testing.assert_array_equal(one(tmp_path / "old.h5").load(), kernel[:, :, ::-1, ::-1])


# HDF5 of other makers


def test_a_bag_of_arrays(tmp_path: Path) -> None:
    kernel = weights(3, 3, 8, 16)
    with h5py.File(tmp_path / "bag.h5", "w") as file:
        file["net/conv"] = kernel
        file["net/text"] = "no numbers"
    found = contents(tmp_path / "bag.h5")
    assert found.format == "hdf5"
    assert "(h, w, in, out)" in found.notes[0]
    np.testing.assert_array_equal(found.tensors[0].load(), kernel.transpose(3, 2, 0, 1))
    assert [item.name for item in found.skipped] == ["net/text"]


def test_the_published_data_set_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "dataset.h5", "w") as file:
        file["filters"] = weights(10, 3, 3)
        file.create_group("meta/table")
    with pytest.raises(UnsupportedFormatError, match="filterdb import"):
        contents(tmp_path / "dataset.h5")


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "<i4", "?"])
@pytest.mark.parametrize("chunked", [False, True])
def test_types_and_chunks(tmp_path: Path, dtype: str, chunked: bool) -> None:
    kernel = (weights(16, 8, 3, 3) > 0).astype(dtype)
    options = {"chunks": (4, 8, 3, 3), "compression": "gzip", "shuffle": True} if chunked else {}
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file.create_dataset("w", data=kernel, **options)
    np.testing.assert_array_equal(one(tmp_path / "t.h5").load().astype(dtype), kernel)


def test_bfloat16_as_keras_3_writes_it(tmp_path: Path) -> None:
    values = np.float32([1.0, -2.5, 0.15625]).view("<u4") >> 16
    with h5py.File(tmp_path / "b.weights.h5", "w") as file:
        dataset = file.create_dataset("layers/dense/vars/0", data=values.astype("<u2").view("V2"))
        dataset.attrs["dtype"] = "bfloat16"
    (tensor,) = contents(tmp_path / "b.weights.h5").tensors
    assert tensor.dtype == "bfloat16"
    np.testing.assert_array_equal(tensor.load(), [1.0, -2.5, 0.15625])


# Hostile files


def test_links_to_elsewhere_are_never_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["w"] = weights(8, 8, 3, 3)
    (tmp_path / "secret.raw").write_bytes(bytes(8 * 8 * 9 * 4))
    layout = h5py.VirtualLayout((8, 8, 3, 3), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "w", (8, 8, 3, 3))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["link"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/w")
        file["soft"] = h5py.SoftLink("/link")
        file.create_virtual_dataset("virtual", layout)
        raw = [(str(tmp_path / "secret.raw"), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("raw", (8, 8, 3, 3), "f4", external=raw)
        file["own"] = weights(8, 8, 3, 3)
    found = contents(tmp_path / "x.h5")
    assert [tensor.name for tensor in found.tensors] == ["own"]
    assert {item.name for item in found.skipped} == {"link", "soft", "virtual", "raw"}


def test_names_that_are_no_text(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "n.h5", "w") as file:
        file[b"kern\xff"] = weights(8, 8, 3, 3)
    with pytest.raises(CorruptFileError, match="can't decode"):
        contents(tmp_path / "n.h5")


def test_groups_in_a_circle(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "c.h5", "w") as file:
        group = file.create_group("a/b")
        group["again"] = file["a"]
        group["w"] = weights(8, 8, 3, 3)
        group.attrs["name"] = group.ref
    assert one(tmp_path / "c.h5").name == "a/b/w"


@pytest.mark.parametrize("chunks", [None, True])
def test_values_never_written(tmp_path: Path, chunks: bool | None) -> None:
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_dataset("huge", (10**4, 10**4, 100, 100), "f4", chunks=chunks)
        file["own"] = weights(8, 8, 3, 3)
    found = contents(tmp_path / "v.h5")
    assert [tensor.name for tensor in found.tensors] == ["own"]
    assert found.skipped[0].reason == "its values were never written"


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        dataset = file.create_dataset("w", (10**4, 10**4, 3, 3), "f4", chunks=(100, 100, 3, 3),
                                      compression="gzip")  # fmt: skip
        dataset[:100, :100] = 0
    with pytest.raises(LimitError, match="out of proportion"):
        contents(tmp_path / "bomb.h5")


def test_a_weight_that_is_listed_but_missing(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "m.h5", {"a": {"a/kernel:0": weights(3, 3, 2, 4)}})
    with h5py.File(path, "a") as file:
        del file["model_weights/a/a/kernel:0"]
    with pytest.raises(CorruptFileError, match="not in the file"):
        contents(path)


def test_a_signature_is_not_enough(tmp_path: Path) -> None:
    (tmp_path / "s.h5").write_bytes(hdf5_file.SIGNATURE + bytes(1000))
    with pytest.raises(CorruptFileError, match="HDF5 cannot read it"):
        contents(tmp_path / "s.h5")


# The helper process


@pytest.fixture
def helper(monkeypatch: pytest.MonkeyPatch) -> Any:
    fresh = hdf5_file.Helper()
    monkeypatch.setattr(hdf5_file, "HELPER", fresh)
    yield fresh
    fresh.stop()


def test_one_helper_serves_many_files(helper: Any, saved: Path, saved_weights: Path) -> None:
    contents(saved)
    first = helper.process.pid
    contents(saved_weights)
    assert helper.process.pid == first


def test_a_helper_that_died_is_replaced(helper: Any, saved: Path) -> None:
    contents(saved)
    helper.process.kill()
    assert len(contents(saved).tensors) > 7


def test_a_helper_that_met_damage_is_not_used_again(helper: Any, tmp_path: Path) -> None:
    path = write_keras(tmp_path / "d.h5", {"a": {"a/kernel:0": weights(3, 3, 2, 4)}})
    data = path.read_bytes()
    (tmp_path / "cut.h5").write_bytes(data.replace(b"TREE", b"XXXX"))
    with pytest.raises(CorruptFileError):
        contents(tmp_path / "cut.h5")
    assert helper.process is None
    assert one(path).shape == (4, 2, 3, 3)


@pytest.mark.parametrize(
    ("program", "patience", "error", "words"),
    [
        ("import os; os.abort()", 30.0, CorruptFileError, "broke down"),
        ("import time; time.sleep(60)", 0.2, LimitError, "busy"),
        ("print('no JSON', flush=True); input()", 30.0, CorruptFileError, "broke down"),
    ],
)
def test_a_crash_or_a_hang_of_the_library_is_an_error(
    helper: Any, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    program: str, patience: float, error: type[Exception], words: str,
) -> None:  # fmt: skip
    (tmp_path / "worker.py").write_text(program)
    monkeypatch.setattr(hdf5_file, "WORKER", tmp_path / "worker.py")
    monkeypatch.setattr(hdf5_file, "PATIENCE", patience)
    monkeypatch.setattr(hdf5_file, "START", 0)
    with pytest.raises(error, match=words):
        contents(saved)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_starts_its_own_helper(helper: Any, saved: Path) -> None:
    contents(saved)
    parents = helper.process.pid
    helper.owner = -1  # as a child of fork would find it
    inherited = helper.process
    contents(saved)
    assert helper.process.pid != parents
    assert inherited.poll() is None
    inherited.kill()
    inherited.communicate()


# The shared zoo


def test_counts_agree_with_the_manifest(zoo: Path) -> None:
    import csv

    with (zoo / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["format"] == "keras-hdf5"]
    assert len(rows) == 34
    for row in rows:
        read = model(zoo / "weights" / row["file"])
        n_3x3 = sum(layer.n_filters for layer in read.layers if layer.kernel == (3, 3))
        depthwise = any(layer.kind == "depthwise" for layer in read.layers)
        assert (str(len(read.layers)), str(n_3x3)) == (
            row["n_conv_layers"], row["n_filters_3x3"],
        ), row["file"]  # fmt: skip
        assert depthwise == (row["has_depthwise"] == "yes"), row["file"]
        assert not any(layer.kind == "unknown" for layer in read.layers), row["file"]


def test_two_nested_models_with_layers_of_one_name(tmp_path: Path) -> None:
    first, second = weights(3, 3, 2, 4), weights(3, 3, 4, 5)
    path = write_keras(
        tmp_path / "n.h5",
        {"left": {"conv2d_1/kernel:0": first}, "right": {"conv2d_1/kernel:0": second}},
        keras_version="2.2.4",
    )
    file = model(path)
    assert [layer.shape for layer in file.layers] == [(4, 2, 3, 3), (5, 4, 3, 3)]
    np.testing.assert_array_equal(file.layers[1].weights, second.transpose(3, 2, 0, 1))


# User blocks, long names, attributes without end


@pytest.mark.parametrize("block", [512, 2048, 8192, 2**20])
def test_a_user_block_before_it(tmp_path: Path, block: int) -> None:
    kernel = weights(3, 3, 8, 16)
    with h5py.File(tmp_path / "u.h5", "w", userblock_size=block) as file:
        file["plain"] = kernel
        file.create_dataset("chunks", data=kernel, chunks=True, compression="gzip")
    with (tmp_path / "u.h5").open("r+b") as raw:
        raw.write(b"my own header")
    for tensor in contents(tmp_path / "u.h5").tensors:
        np.testing.assert_array_equal(tensor.load(), kernel.transpose(3, 2, 0, 1))


def test_matlab_files_are_none_of_ours(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.mat", "w", userblock_size=512) as file:
        file["w"] = weights(3, 3, 8, 16)
    with (tmp_path / "m.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file")
    assert not hdf5.matches(Head.of(tmp_path / "m.mat"))


def test_groups_in_groups_without_end(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "g.h5", "w") as file:
        group = file
        for _ in range(300):
            group = group.create_group("group")
        group["w"] = weights(8, 8, 3, 3)
        file["own"] = weights(8, 8, 3, 3)
    found = contents(tmp_path / "g.h5")
    assert [tensor.name for tensor in found.tensors] == ["own"]
    assert [item.reason for item in found.skipped] == ["its name is too long"]


def test_references_to_one_long_text_are_not_followed(helper: Any, tmp_path: Path) -> None:
    count, text = 20_000, "x" * 60_000
    with h5py.File(tmp_path / "v.h5", "w", libver="latest") as file:
        names = np.array(["a"] * count, object)
        file.create_dataset("texts", data=names, dtype=h5py.string_dtype())
        file.attrs.create("weight_names", names, dtype=h5py.string_dtype())
        file.create_dataset("one", data=np.array([text], object), dtype=h5py.string_dtype())
        file["own"] = weights(8, 8, 3, 3)
        texts, one = (file[name].id.get_offset() for name in ("texts", "one"))
    data = bytearray((tmp_path / "v.h5").read_bytes())
    data[texts : texts + 16 * count] = data[one : one + 16] * count  # a reference has 16 bytes
    (tmp_path / "v.h5").write_bytes(data)
    place = hdf5_file.Place(tmp_path / "v.h5", 0, len(data))
    assert hdf5_file.take_inventory(place).attributes == {"": {}}
    found = contents(tmp_path / "v.h5")
    assert [tensor.name for tensor in found.tensors] == ["own"]
    assert {item.name: item.reason for item in found.skipped}["texts"] == "no plain numbers"
    assert peak_memory(helper.process.pid) < 2**28


def test_long_attributes_of_many_groups_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "t.h5", "w") as file:
        for i in range(600):
            file.create_group(f"g{i}").attrs["weight_names"] = np.array([b"x" * 60_000])
    with pytest.raises(CorruptFileError, match="characters of attributes"):
        contents(tmp_path / "t.h5")


def peak_memory(process: int) -> int:
    """Most resident bytes that a process ever had."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        pytest.skip("needs /proc")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
