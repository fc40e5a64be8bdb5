from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_models import make, read, stored, value, weights

from filterdb.layer import Contents
from filterdb.readers.head import Head
from filterdb.readers.onnx import graph_file as reader

node = helper.make_node


def names(contents: Contents) -> list[str]:
    return [tensor.name for tensor in contents.tensors]


def reasons(contents: Contents) -> dict[str, str]:
    return {row.name: row.reason for row in contents.skipped}


def test_a_convolution_with_all_that_the_graph_says(tmp_path: Path) -> None:
    w = weights(6, 2, 3, 3)
    conv = node("Conv", ["x", "w"], ["y"], group=3, strides=[2, 1], dilations=[1, 4])
    contents = read(make([conv], stored(w=w)), tmp_path)
    (tensor,) = contents.tensors
    assert (tensor.name, tensor.shape, tensor.dtype) == ("w", w.shape, "float32")
    np.testing.assert_array_equal(tensor.load(), w)
    assert tensor.conv is not None
    assert (tensor.conv.groups, tensor.conv.stride, tensor.conv.dilation) == (3, (2, 1), (1, 4))
    assert (tensor.conv.transposed, tensor.conv.depth) == (False, 1)
    assert contents.producer == "test"
    assert "ai.onnx 21" in contents.notes[0]


def test_defaults_of_the_attributes(tmp_path: Path) -> None:
    model = make([node("Conv", ["x", "w"], ["y"])], stored(w=weights(2, 2, 3, 3)))
    conv = read(model, tmp_path).tensors[0].conv
    assert conv is not None
    assert (conv.groups, conv.stride, conv.dilation) == (1, (1, 1), (1, 1))


def test_transposed_convolutions_have_their_output_first(tmp_path: Path) -> None:
    w = weights(4, 3, 2, 2)  # 4 in, 2 groups of 3 out
    model = make([node("ConvTranspose", ["x", "w"], ["y"], group=2)], stored(w=w))
    (tensor,) = read(model, tmp_path).tensors
    assert tensor.conv is not None
    assert tensor.conv.transposed
    assert tensor.shape == tensor.load().shape == (6, 2, 2, 2)
    for group in range(2):
        for o in range(3):
            for i in range(2):
                expected = w[group * 2 + i, o]
                np.testing.assert_array_equal(tensor.load()[group * 3 + o, i], expected)


@pytest.mark.parametrize(
    ("domain", "op"), [("com.microsoft", "FusedConv"), ("", "DeformConv"), ("ai.onnx", "Conv")]
)
def test_further_operators_with_a_standard_weight(tmp_path: Path, domain: str, op: str) -> None:
    model = make([node(op, ["x", "w"], ["y"], domain=domain)], stored(w=weights(2, 1, 3, 3)))
    assert names(read(model, tmp_path)) == ["w"]


def test_what_is_left_out_has_a_reason(tmp_path: Path) -> None:
    tensors = stored(
        w1=weights(2, 1, 3), w3=weights(2, 1, 3, 3, 3), w4=weights(3, 1, 3, 3), k=np.ones(())
    )
    model = make(
        [
            node("Conv", ["x", "w1"], ["a"], name="one"),
            node("Conv", ["x", "w3"], ["b"], name="three"),
            node("Mul", ["w4", "k"], ["m"]),
            node("Conv", ["x", "m"], ["c"], name="computed"),
            node("Conv", ["x", "v"], ["d"], name="given"),
            node("Conv", ["x", "ghost"], ["e"]),
            node("Conv", ["x", "w4"], ["f"], name="groups", group=2),
            node("Conv", ["x"], ["g"], name="bare"),
            node("Conv", ["x", "w4"], ["h"], name="blocked", domain="com.microsoft.nchwc"),
            node("Gemm", ["x", "w4"], ["y"], name="dense"),
        ],
        tensors,
        inputs=("x", "v"),
        opsets=[helper.make_opsetid("com.microsoft.nchwc", 1)],
    )
    contents = read(model, tmp_path)
    assert contents.tensors == ()
    found = reasons(contents)
    assert found.keys() == {
        "one", "three", "computed", "given", "e", "groups", "bare", "blocked",
    }  # fmt: skip
    assert "3-D weight" in found["one"]
    assert "5-D weight" in found["three"]
    assert "computed by Mul" in found["computed"]
    assert "input of the graph" in found["given"]
    assert "nothing in the file defines 'ghost'" in found["e"]
    assert "2 groups" in found["groups"]
    assert "no weight" in found["bare"]
    assert "com.microsoft.nchwc" in found["blocked"]


def test_shared_weights_count_once(tmp_path: Path) -> None:
    model = make(
        [
            node("Identity", ["w"], ["w2"]),
            node("Conv", ["x", "w2"], ["a"], name="first"),
            node("Conv", ["a", "w"], ["y"], name="second"),
        ],
        stored(w=weights(2, 2, 3, 3)),
    )
    contents = read(model, tmp_path)
    assert names(contents) == ["w"]
    assert reasons(contents) == {"second": "shares the weights of layer 'w'"}


def test_initialisers_listed_as_inputs_are_weights(tmp_path: Path) -> None:
    """As in all models before IR version 4; they do not count as inputs for the depth either."""
    model = make(
        [
            node("Relu", ["x"], ["r"]),
            node("Conv", ["r", "w"], ["y"]),
        ],
        stored(w=weights(2, 2, 3, 3)),
        inputs=("x", "w"),
    )
    (tensor,) = read(model, tmp_path).tensors
    assert tensor.conv is not None
    assert tensor.conv.depth == 2


@pytest.mark.parametrize("channels", [2, 32])  # onnxruntime keeps tensors up to 127 bytes elsewhere
def test_two_initialisers_of_a_name_are_a_guess(tmp_path: Path, channels: int) -> None:
    first, last = (np.full((channels, 1, 3, 3), value, np.float32) for value in (1, 2))
    conv = node("Conv", ["x", "w"], ["y"], group=channels)
    model = make([conv], [*stored(w=first), *stored(w=last)])
    contents = read(model, tmp_path)
    assert not contents.tensors
    assert "'w' stands more than once" in contents.skipped[0].reason
    assert any("'w' stands more than once" in note for note in contents.notes)
    # Which one counts depends on the runtime, and in onnxruntime on the size.
    image = np.ones((1, channels, 3, 3), np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    assert session.run(None, {"x": image})[0].flat[0] in (9, 18)
    assert ReferenceEvaluator(model).run(None, {"x": image})[0].flat[0] == 18


def test_two_initialisers_of_a_name_and_of_the_same_values_are_one(tmp_path: Path) -> None:
    twice = [*stored(w=weights(2, 2, 3, 3)), *stored(w=weights(2, 2, 3, 3))]
    contents = read(make([node("Conv", ["x", "w"], ["y"])], twice), tmp_path)
    np.testing.assert_array_equal(contents.tensors[0].load(), weights(2, 2, 3, 3))
    assert not any("more than once" in note for note in contents.notes)


def test_layers_come_by_depth_then_by_place_in_the_file(tmp_path: Path) -> None:
    model = make(
        [  # in an order that ONNX forbids, and that occurs
            node("Conv", ["b", "w3"], ["y"]),
            node("Conv", ["x", "w2"], ["c"]),
            node("Conv", ["x", "w1"], ["a"]),
            node("Relu", ["a"], ["b"]),
        ],
        stored(w1=weights(2, 2, 3, 3), w2=weights(2, 2, 3, 3), w3=weights(2, 2, 3, 3)),
    )
    contents = read(model, tmp_path)
    assert names(contents) == ["w2", "w1", "w3"]
    assert [t.conv.depth for t in contents.tensors if t.conv] == [1, 1, 3]


def branches() -> onnx.ModelProto:
    """An If whose bodies hold a weight of one name each, and one that uses an outer weight."""
    bodies = [
        helper.make_graph(
            [
                node("Relu", ["a"], ["r"]),
                node("Conv", ["r", "w"], ["s"]),
                node("Conv", ["s", "outer"], ["t"]),
            ],
            "body",
            [],
            [value("t")],
            stored(w=weights(2, 2, 3, 3, seed=seed)),
        )
        for seed in (1, 2)
    ]
    branching = node(
        "If", ["c"], ["z"], name="choice", then_branch=bodies[0], else_branch=bodies[1]
    )
    return make(
        [node("Relu", ["x"], ["a"]), branching, node("Conv", ["z", "last"], ["y"])],
        stored(outer=weights(2, 2, 3, 3), last=weights(2, 2, 1, 1)),
        inputs=("x", "c"),
    )


def test_subgraphs_are_read_with_the_names_outside(tmp_path: Path) -> None:
    contents = read(branches(), tmp_path)
    by_name = {tensor.name: tensor for tensor in contents.tensors}
    bodies = {"1:choice/then_branch/w", "1:choice/else_branch/w"}
    assert set(list(by_name)[:2]) == bodies
    assert list(by_name)[2:] == ["outer", "last"]
    for seed, name in ((1, "1:choice/then_branch/w"), (2, "1:choice/else_branch/w")):
        np.testing.assert_array_equal(by_name[name].load(), weights(2, 2, 3, 3, seed=seed))
    assert [row.reason for row in contents.skipped] == ["shares the weights of layer 'outer'"]
    depths = [tensor.conv.depth for tensor in contents.tensors if tensor.conv]
    assert depths == [3, 3, 4, 6]  # Relu, Relu, Conv, Conv, If, Conv


def test_what_a_loop_carries_is_no_constant(tmp_path: Path) -> None:
    body = helper.make_graph(
        [
            node("Conv", ["a", "fixed"], ["b"], name="inside"),
            node("Conv", ["a", "carried"], ["d"], name="changing"),
            node("Identity", ["carried"], ["next"]),
            node("Identity", ["go"], ["goes"]),
        ],
        "body",
        [value(name) for name in ("i", "go", "a", "carried")],
        [value(name) for name in ("goes", "b", "next")],
    )
    model = make(
        [node("Loop", ["", "", "x", "w"], ["y", "z"], body=body)],
        stored(w=weights(2, 2, 3, 3), fixed=weights(2, 2, 3, 3)),
    )
    contents = read(model, tmp_path)
    assert names(contents) == ["fixed"]
    assert reasons(contents) == {"changing": "'carried' changes while the network runs"}


def test_functions_are_read_at_each_call(tmp_path: Path) -> None:
    block = helper.make_function(
        "local",
        "Block",
        ["a", "weight"],
        ["c"],
        [
            node("Conv", ["a", "weight"], ["b"]),
            node("Constant", [], ["own"], value=stored(k=weights(2, 2, 1, 1))[0]),
            node("Conv", ["b", "own"], ["c"], name="own_conv"),
        ],
        [helper.make_opsetid("", 21)],
        ["g"],
    )
    attribute = onnx.AttributeProto(name="group", ref_attr_name="g", type=2)
    block.node[0].attribute.append(attribute)
    model = make(
        [
            node("Block", ["x", "w1"], ["m"], domain="local", g=2),
            node("Block", ["m", "w2"], ["y"], domain="local", g=1),
        ],
        stored(w1=weights(2, 1, 3, 3), w2=weights(2, 2, 3, 3)),
        opsets=[helper.make_opsetid("local", 1)],
        functions=[block],
    )
    contents = read(model, tmp_path)
    assert names(contents) == ["w1", "own", "w2"]
    assert [t.conv.groups for t in contents.tensors if t.conv] == [2, 1, 1]
    assert [t.conv.depth for t in contents.tensors if t.conv] == [1, 2, 3]
    assert reasons(contents) == {"own_conv": "shares the weights of layer 'own'"}


def test_a_network_that_torch_exports(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3, groups=8, dilation=2),
        torch.nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2),
    ).eval()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.zeros(1, 3, 32, 32),), file, dynamo=False)
    contents = read(file.getvalue(), tmp_path)
    assert names(contents) == ["0.weight", "2.weight", "3.weight"]
    assert contents.producer is not None
    assert contents.producer.startswith("pytorch")
    state = {name: array.numpy() for name, array in net.state_dict().items()}
    for tensor in contents.tensors[:2]:
        np.testing.assert_array_equal(tensor.load(), state[tensor.name])
    deconv = state["3.weight"].reshape(2, 4, 3, 2, 2).swapaxes(1, 2).reshape(6, 4, 2, 2)
    np.testing.assert_array_equal(contents.tensors[2].load(), deconv)
    conv = contents.tensors[1].conv
    assert conv is not None
    assert (conv.groups, conv.dilation, conv.depth) == (8, (2, 2), 3)


def test_the_whole_zoo_is_told_apart(zoo: Path) -> None:
    for path in sorted((zoo / "weights").iterdir()):
        assert reader.matches(Head.of(path)) == (path.suffix == ".onnx"), path.name


# The manifest counts nodes and leaves FusedConv out. Nodes that share a weight are one layer
# here; FusedConv is a convolution with its activation.
EXPLAINED = {
    "basic-pitch--nmp.onnx": (9, 33),  # 32 nodes, 23 of which repeat a weight
    "openseeface--gaze-old-02401ce.onnx": (19, 532),  # 9 Conv and 10 FusedConv
    "openseeface--mnv3-detection.onnx": (70, 1120),  # 47 Conv and 23 FusedConv
}


def test_the_zoos_counts_are_those_of_the_manifest(zoo: Path) -> None:
    with (zoo / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["format"] == "onnx"]
    assert len(rows) >= 13
    for row in rows:
        path = zoo / "weights" / row["file"]
        contents = reader.read(Head.of(path))
        shapes = [tensor.shape for tensor in contents.tensors]
        counts = len(shapes), sum(s[0] * s[1] for s in shapes if s[2:] == (3, 3))
        stated = int(row["n_conv_layers"]), int(row["n_filters_3x3"])
        assert counts == EXPLAINED.get(row["file"], stated), row["file"]
        model = onnx.load(path)
        held = {tensor.name: tensor for tensor in model.graph.initializer}
        held |= {n.output[0]: n.attribute[0].t for n in model.graph.node if n.op_type == "Constant"}
        for tensor in contents.tensors:
            if tensor.conv is not None and not tensor.conv.transposed:
                expected = numpy_helper.to_array(held[tensor.name])
                np.testing.assert_array_equal(tensor.load(), expected)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08",
        b"\x08\x01\x12\x04none",  # a version and a name, but no graph
        b"\x08\x01\x12\x06\x0a\x04abcd\x3a\x02\x0a\x00",  # the "name" is a message
        b"\x08\x81\x80\x04\x3a\x02\x0a\x00",  # version 65,537
        b"\x3a\x02\x0a\x00",  # a graph without a version
        b"\x08\x07\x3a\x02\x18\x00",  # no field of a graph
        b"\x08\x07\x3a\x02\x0a\x00\xfa\x01\x00",  # a field that models do not have
        b"\x0a\x03net\x3a\x02\x0a\x00",  # a name first: Caffe
    ],
)
def test_other_content_is_not_taken_for_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert not reader.matches(Head.of(path))


def test_random_bytes_and_folders_are_not_onnx(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        (tmp_path / "a").write_bytes(b"\x08\x07" + rng.bytes(100))
        assert not reader.matches(Head.of(tmp_path / "a"))
    assert not reader.matches(Head.of(tmp_path))
