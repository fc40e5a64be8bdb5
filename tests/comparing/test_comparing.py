"""Two networks side by side: what was done to one is what ``diff`` says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils import fusion, prune

from filterdb.comparing import diff
from filterdb.comparing.shift import layer_shift
from filterdb.errors import FilterDBError, ReadError
from filterdb.layer import ModelFile
from filterdb.reading import read
from filterdb.stats.quality import layer_quality
from networks import network, random_layer, save, sparse_layer, trained_layer

DEMO = Path(__file__).parents[2] / "src" / "filterdb" / "demo" / "zoo"


class Net(nn.Module):
    """A stem, a depthwise and a pointwise layer, each with its norm, in and out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(24, 5, 3)  # defined first, computed last
        self.stem = nn.Conv2d(3, 12, 3, bias=False)
        self.stem_norm = nn.BatchNorm2d(12)
        self.depthwise = nn.Conv2d(12, 12, 5, groups=12, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(12)
        self.pointwise = nn.Conv2d(12, 24, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(24)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    net = Net().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            module.running_var.uniform_(0.1, 2)  # type: ignore[operator, union-attr]
    return net


def saved(net: nn.Module, path: Path, prefix: str = "") -> Path:
    torch.save({prefix + name: value for name, value in net.state_dict().items()}, path)
    return path


def exported(net: Net, path: Path, *, folded: bool = False) -> Path:
    """The graph as an exporter writes it: in order of computation, folded weights numbered."""
    nodes, stored, flow = [], [], "input"
    for number, name in enumerate(("stem", "depthwise", "pointwise", "head")):
        conv, norm = getattr(net, name), getattr(net, f"{name}_norm", None)
        weight, called = conv.weight, f"{name}.weight"
        if folded and norm is not None:
            weight, _ = fusion.fuse_conv_bn_weights(
                weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            called = str(400 + number)
        stored.append(numpy_helper.from_array(weight.detach().numpy(), called))
        nodes.append(helper.make_node("Conv", [flow, called], [f"out{number}"], group=conv.groups))
        flow = f"out{number}"
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info(flow, TensorProto.FLOAT, None)],
        stored,
    )
    onnx.save(helper.make_model(graph, producer_name="test"), str(path))
    return path


def test_itself(tmp_path: Path) -> None:
    file = save(tmp_path / "a.safetensors", network("healthy", "random", "sparse"))
    result = diff(file, file)
    assert result.identical
    assert result.summary == ("All 3 layers are identical.",)
    for row in result.layers:
        assert row.change is not None
        assert (row.change.relative_l2, row.change.cosine, row.change.sign_flips) == (0, 1, 0)
        assert row.shift == 0
        assert {value for value in row.measure_changes().values() if value is not None} == {0}
    assert result.most_changed() == []
    with pytest.raises(FilterDBError, match="nothing to draw"):
        result.plot()


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_saved_again(net: Net, tmp_path: Path, prefix: str) -> None:
    again = saved(net, tmp_path / "again.pth", prefix)
    for other in (again, net, read(again)):
        assert diff(saved(net, tmp_path / "net.pth"), other).identical


def test_exported(net: Net, tmp_path: Path) -> None:
    result = diff(saved(net, tmp_path / "net.pth"), exported(net, tmp_path / "net.onnx"))
    assert result.identical
    assert result.summary == (
        "All 4 layers are identical.",
        "The formats differ: pytorch and onnx.",
    )
    assert result.layers[0].name == "head"
    assert all(row.shift in (0, None) for row in result.layers)


def test_exported_and_folded(net: Net, tmp_path: Path) -> None:
    file = exported(net, tmp_path / "net.onnx", folded=True)
    result = diff(saved(net, tmp_path / "net.pth"), file)
    assert {row.name: (row.relation, row.matched) for row in result.layers} == {
        "head": ("identical", "name"),
        "stem": ("scaled by channel", "content"),
        "depthwise": ("scaled by channel", "content"),
        "pointwise": ("scaled by channel", "content"),
    }
    assert not result.identical
    assert "folding a BatchNorm" in result.summary[0]
    assert not any("chance" in sentence for sentence in result.summary)


def test_halved(net: Net, tmp_path: Path) -> None:
    before = saved(net, tmp_path / "net.pth")
    result = diff(before, saved(net.half(), tmp_path / "half.pth"))
    assert result.relations == {"rounded": 4}
    assert result.summary[0] == "All 4 layers are the same but for rounding."
    assert "float32 and float16 (4 layers)" in result.summary[-1]


def test_pruned(net: Net, tmp_path: Path) -> None:
    before = saved(net, tmp_path / "net.pth")
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions:
        prune.l1_unstructured(module, "weight", 0.5)
        prune.remove(module, "weight")
    result = diff(before, saved(net, tmp_path / "pruned.pth"))
    assert result.relations == {"pruned": 4}
    assert "50% of the weights became zero." in result.summary
    assert all(row.change and row.change.newly_zero == 0.5 for row in result.layers)


def test_fine_tuned(net: Net, tmp_path: Path) -> None:
    before = saved(net, tmp_path / "net.pth")
    with torch.no_grad():
        net.stem.weight[4, 2] *= -3  # and the backbone is frozen
        net.head = nn.Conv2d(24, 7, 3)
    result = diff(before, saved(net, tmp_path / "tuned.pth"))
    assert {row.name: row.relation for row in result.layers} == {
        "head": "reshaped",
        "stem": "changed",
        "depthwise": "identical",
        "pointwise": "identical",
    }
    (filter_change,) = result.most_changed()
    assert (filter_change.layer, filter_change.index) == ("stem", (4, 2))
    np.testing.assert_allclose(filter_change.after, -3 * filter_change.before)
    head = next(row for row in result.layers if row.name == "head")
    assert head.change is None
    assert head.shift is not None
    assert "5x24x3x3 became 7x24x3x3" in head.note


def test_measures_and_verdicts_are_those_of_check() -> None:
    rng = np.random.default_rng(0)
    before, after = trained_layer(rng, 32, 16, 3, 3), sparse_layer(rng, 32, 16, 3, 3)
    (row,) = diff({"conv.weight": before}, {"conv.weight": after}).layers
    assert (row.before.verdict, row.after.verdict) == ("healthy", "sparse")
    a, b = layer_quality(before), layer_quality(after)
    assert (row.before.quality, row.after.quality) == (a, b)
    assert a.sparsity is not None
    assert b.sparsity is not None
    assert row.measure_changes()["sparsity"] == b.sparsity - a.sparsity
    assert (
        "Verdicts that changed: 1 from healthy to sparse."
        in diff({"conv.weight": before}, {"conv.weight": after}).summary
    )


def test_the_shift_with_its_null() -> None:
    a = network("healthy", "healthy", seed=1)
    b = {"conv0.weight": random_layer(np.random.default_rng(2), 24, 12, 3, 3),
         "conv1.weight": a["conv1.weight"]}  # fmt: skip
    changed, same = diff(a, b).layers
    expected = layer_shift(a["conv0.weight"], b["conv0.weight"])
    assert expected is not None
    assert (changed.shift, changed.shift_null_p95) == (expected.value, expected.null_p95)
    assert (same.shift, same.shift_null_p95, same.distinguishable) == (0, 0, False)
    assert changed.to_dict()["shift_null_p95"] == changed.to_row()["shift_null_p95"]
    assert changed.few_filters


def shifted(*shifts: tuple[float | None, float | None]) -> tuple[str, ...]:
    """What the summary says of layers with these D and nulls."""
    names = [f"conv{i}.weight" for i in range(len(shifts))]
    rng = np.random.default_rng(0)
    a = {name: rng.standard_normal((8, 8, 3, 3)).astype(np.float32) for name in names}
    result = diff(a, {name: weights + np.float32(0.1) for name, weights in a.items()})
    rows = tuple(
        replace(row, shift=d, shift_null_p95=null)
        for row, (d, null) in zip(result.layers, shifts, strict=True)
    )
    return replace(result, layers=rows).summary


def test_no_sentence_quotes_a_shift_within_chance() -> None:
    (told,) = (line for line in shifted((20.0, 21.0), (0.5, 0.2), (5.0, 4.5), (9.0, None))
               if "chance" in line)  # fmt: skip
    assert "in 2 of 3 layers" in told
    assert "conv1, D = 0.5, by chance up to 0.2." in told
    assert "20" not in told.replace("1 in 20", "")
    (told,) = (line for line in shifted((20.0, 21.0), (3.0, 4.0)) if "chance" in line)
    assert told.endswith("changed by more than chance in none of 2 layers.")
    assert not any("chance" in line for line in shifted((None, None), (3.0, None)))


def test_unrelated_networks() -> None:
    a = network("random", "random", "random", seed=1)
    b = network("random", "random", "random", seed=2)
    first, *others = diff(a, b).summary
    assert "next to nothing in common" in first
    assert not any("different" in sentence for sentence in others)
    near = {name: value + np.float32(0.1) * b[name] for name, value in a.items()}
    assert not any("next to nothing" in sentence for sentence in diff(a, near).summary)


def test_nothing_in_common() -> None:
    a = {"conv.weight": np.ones((4, 4, 3, 3), np.float32)}
    b = {"other.weight": np.ones((4, 4, 5, 5), np.float32)}
    result = diff(a, b)
    assert not result.identical
    assert (len(result.layers), len(result.only_a), len(result.only_b)) == (0, 1, 1)
    assert "no layer in common" in result.summary[0]


def test_a_layer_in_one_only_is_not_identical() -> None:
    a, b = network("healthy"), network("healthy", "healthy")
    b["conv0.weight"] = a["conv0.weight"]
    result = diff(a, b)
    assert result.relations == {"identical": 1}
    assert not result.identical
    assert result.summary[:2] == ("The one layer is identical.", "1 layer only in the second.")
    assert [layer.name for layer in result.only_b] == ["conv1"]


def test_weights_that_are_no_numbers() -> None:
    a = network("healthy", "healthy")
    b = {name: value.copy() for name, value in a.items()}
    b["conv1.weight"][3, 2, 1, 0] = np.nan
    result = diff(a, b)
    row = result.layers[1]
    assert (row.relation, row.change, row.shift) == ("invalid", None, None)
    assert "second" in row.note
    assert diff(b, b).identical
    json.dumps(result.to_dict(), allow_nan=False)


def test_zeros_to_weights_and_back() -> None:
    zeros = {"conv.weight": np.zeros((8, 4, 3, 3), np.float32)}
    weights = {"conv.weight": random_layer(np.random.default_rng(0), 8, 4, 3, 3)}
    assert diff(zeros, zeros).identical
    assert diff(zeros, weights).layers[0].relation == "changed"
    assert diff(weights, zeros).layers[0].relation == "pruned"
    for result in (diff(zeros, zeros), diff(zeros, weights), diff(weights, zeros)):
        json.dumps(result.to_dict(), allow_nan=False)


def test_json_and_table() -> None:
    pd = pytest.importorskip("pandas")
    a, b = network("healthy", "sparse", seed=1), network("healthy", "random", "healthy", seed=2)
    result = diff(a, b)
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert {"a", "b", "identical", "summary", "relations", "coverage", "layers", "only_a",
            "only_b"} == set(data)  # fmt: skip
    assert data["coverage"]["layers_matched"] == 2
    assert data["coverage"]["only_b"] == 1
    assert data["layers"][0]["before"]["shape"] == [24, 12, 3, 3]
    table = result.to_pandas()
    assert isinstance(table, pd.DataFrame)
    assert table.relative_l2.tolist() == [row["relative_l2"] for row in data["layers"]]
    assert table.sparsity_before.tolist() == [row["before"]["sparsity"] for row in data["layers"]]
    assert {"l2_after", "orthogonality_change", "verdict_before"} <= set(table)
    assert "1 only in the second" in repr(result)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import filterdb.comparing as comparing

    a, b = network("healthy", "sparse", "random", seed=1), network(*["healthy"] * 3, seed=2)
    alone = diff(a, b).to_dict()
    monkeypatch.setattr(comparing, "SIDE_BY_SIDE", 0)
    assert diff(a, b).to_dict() == alone


def test_an_error_names_file_and_layer() -> None:
    good = read(network("healthy", "healthy"))

    def fail() -> np.ndarray:
        msg = "The bytes are gone."
        raise OSError(5, msg)

    layers = (good.layers[0], replace(good.layers[1], load=fail))
    bad: ModelFile = replace(good, source="bad.pth", layers=layers)
    with pytest.raises(ReadError, match=r"bad\.pth.*conv1.*bytes are gone"):
        diff(good, bad)


def test_two_checkpoints_of_one_training() -> None:
    first, late, last = (DEMO / f"run-textures-epoch{n}.safetensors" for n in ("00", "20", "30"))
    near, far = diff(late, last), diff(first, last)
    assert [row.matched for row in near.layers] == ["name"] * 4
    for close, distant in zip(near.layers, far.layers, strict=True):
        assert close.change is not None
        assert distant.change is not None
        assert close.change.relative_l2 is not None
        assert distant.change.relative_l2 is not None
        assert 0 < close.change.relative_l2 < distant.change.relative_l2


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("ultraface--slim-320.onnx", "ultraface--slim-320.pth"),
        ("portraitseg--sinet-softmax.onnx", "portraitseg--sinet-296.pth"),
    ],
)
def test_a_real_network_in_two_formats(zoo: Path, a: str, b: str) -> None:
    there = diff(zoo / "weights" / a, zoo / "weights" / b)
    assert there.identical
    back = diff(zoo / "weights" / b, zoo / "weights" / a)
    assert back.identical
    assert len(there.layers) == len(back.layers) > 40


def test_a_real_network_folded(zoo: Path) -> None:
    folder = zoo / "weights"
    result = diff(folder / "libfacedet--yunet-s.pth", folder / "libfacedet--yunet-s-640.onnx")
    assert result.relations == {"identical": 38, "scaled by channel": 15}
    assert result.coverage["only_a"] == result.coverage["only_b"] == 0
    assert sum(row.matched == "content" for row in result.layers) == 15


def test_a_real_network_built_twice(zoo: Path) -> None:
    """All names of the first end in _1, and its stem is wider."""
    files = [zoo / "weights" / f"oarriaga--mini-xception-fer2013-{n}.hdf5" for n in ("000", "119")]
    result = diff(*files)
    found = {row.name: row.after.layer.name for row in result.layers}
    assert result.coverage["only_a"] == result.coverage["only_b"] == 0
    assert found["conv2d_1_1"] == "conv2d_1"
    assert found["separable_conv2d_1_1/depthwise_kernel:0"].startswith("separable_conv2d_1/depth")
    assert all(row.before.layer.kind == row.after.layer.kind for row in result.layers)
    assert all(row.matched == "name" for row in result.layers)


def test_real_networks_of_two_depths(zoo: Path) -> None:
    folder = zoo / "weights"
    result = diff(
        folder / "akamaster--resnet20-cifar10.th", folder / "akamaster--resnet32-cifar10.th"
    )
    assert len(result.layers) == 19
    assert all(row.name == row.after.layer.name for row in result.layers)
    assert {layer.name.split(".")[1] for layer in result.only_b} == {"3", "4"}
