"""Names and channel counts that pair convolutions with norms, and those that must not."""

from __future__ import annotations

import numpy as np
import pytest

import filterdb
from filterdb.layer import ModelFile


def conv(name: str, *shape: int, bias: bool = False) -> dict[str, np.ndarray]:
    arrays = {f"{name}.weight": np.ones(shape, np.float32)}
    return arrays | ({f"{name}.bias": np.ones(shape[0], np.float32)} if bias else {})


def norm(name: str, channels: int, *, affine: bool = True) -> dict[str, np.ndarray]:
    affines = {"weight": 2.0, "bias": 0.5} if affine else {}
    values = affines | {"running_mean": 0.0, "running_var": 4.0}
    return {f"{name}.{key}": np.full(channels, value) for key, value in values.items()}


def states(*parts: dict[str, np.ndarray]) -> dict[str, tuple[str, str | None]]:
    file = filterdb.read({key: value for part in parts for key, value in part.items()})
    return told(file)


def told(file: ModelFile) -> dict[str, tuple[str, str | None]]:
    return {layer.name: (layer.state, layer.norm and layer.norm.name) for layer in file.layers}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("conv", "bn"), ("conv1", "bn1"), ("conv1", "norm1"), ("conv_1", "BatchNorm_1"),
        ("conv1", "conv1_BN"), ("stem", "stem_bn"), ("block.dw_conv", "block.dw_bn"),
        ("features.0", "features.1"), ("block/conv1", "block/bn1"), ("conv2d3", "bn3"),
        ("conv1", "conv1.norm"),
    ],
)  # fmt: skip
def test_names_that_belong_together(first: str, second: str) -> None:
    found = states(conv(first, 8, 3, 3, 3, bias=True), norm(second, 8))
    assert found[first] == ("raw", second)


def test_a_norm_right_behind_a_convolution_without_a_bias_is_its_own() -> None:
    parts = conv("b.conv_dw", 8, 1, 3, 3), norm("b.bn1", 8), conv("b.conv_pw", 6, 8, 1, 1)
    found = states(*parts, norm("b.bn2", 6), conv("b.mix", 6, 6, 3, 3, bias=True), norm("b.q", 6))
    assert found["b.conv_dw"] == ("raw", "b.bn1")
    assert found["b.conv_pw"] == ("raw", "b.bn2")
    assert found["b.mix"] == ("unknown", None)


def test_norms_that_stand_together_are_nobodys_by_their_place() -> None:
    found = states(
        conv("b.left", 8, 8, 3, 3), conv("b.right", 8, 8, 3, 3), norm("b.one", 8), norm("b.two", 8)
    )
    assert set(found.values()) == {("unknown", None)}


def test_a_norm_before_its_convolution_is_a_pre_activation() -> None:
    found = states(norm("b.bn1", 8), conv("b.conv1", 8, 8, 3, 3), norm("b.bn2", 8))
    assert found["b.conv1"] == ("unknown", None)
    file = filterdb.read({**norm("b.bn1", 8), **conv("b.conv1", 8, 8, 3, 3)})
    assert file.layers[0].evidence == "b.bn1 stands before it: a pre-activation, by the order"


def test_one_norm_of_another_width_makes_all_of_such_names_doubtful() -> None:
    """A block that declares its convolutions first may still run its norms first."""
    same = conv("a.conv1", 8, 8, 3, 3), norm("a.bn1", 8)
    assert states(*same)["a.conv1"][0] == "raw"
    found = states(*same, conv("b.conv1", 16, 8, 3, 3), norm("b.bn1", 8),
                   conv("c.conv1", 16, 8, 3, 3), norm("c.bn1", 16))  # fmt: skip
    assert found["a.conv1"] == ("unknown", None)
    assert found["b.conv1"] == ("unknown", None)
    assert found["c.conv1"] == ("raw", "c.bn1")  # it could not take what the convolution takes


def test_where_the_order_is_the_alphabet_channel_counts_tell_before_from_behind() -> None:
    alike = conv("b.conv1", 8, 8, 3, 3), norm("b.bn1", 8)
    assert alphabetical(*alike)["b.conv1"] == ("unknown", None)
    found = alphabetical(*alike, conv("c.conv1", 16, 8, 3, 3), norm("c.bn1", 16))
    assert found == {"b.conv1": ("raw", "b.bn1"), "c.conv1": ("raw", "c.bn1")}
    found = alphabetical(*alike, conv("c.conv1", 16, 8, 3, 3), norm("c.bn1", 8))
    assert set(found.values()) == {("unknown", None)}
    assert alphabetical(conv("f.9", 8, 8, 3, 3), norm("f.10", 8))["f.9"] == ("raw", "f.10")


def alphabetical(*parts: dict[str, np.ndarray]) -> dict[str, tuple[str, str | None]]:
    arrays = {key: value for part in parts for key, value in part.items()}
    return states(dict(sorted(arrays.items())))


def test_a_norm_that_two_convolutions_may_have_is_no_ones() -> None:
    found = states(conv("conv1", 8, 3, 3, 3), conv("Conv1", 8, 8, 3, 3), norm("bn1", 8))
    assert found["conv1"] == found["Conv1"] == ("unknown", None)


def test_what_is_not_right_behind_in_a_sequence_is_not_its_norm() -> None:
    found = states(conv("f.0", 8, 3, 3, 3), norm("f.2", 8))
    assert found["f.0"] == ("unknown", None)


def test_where_every_norm_is_taken_the_rest_has_none() -> None:
    found = states(
        conv("f.0", 8, 3, 3, 3), norm("f.1", 8), conv("f.3", 4, 8, 3, 3, bias=True)
    )  # fmt: skip
    assert found == {"f.0": ("raw", "f.1"), "f.3": ("no_norm", None)}


def test_a_file_without_norms_proves_something_only_of_layers_without_a_bias() -> None:
    found = states(conv("a", 8, 3, 3, 3), conv("b", 8, 8, 3, 3, bias=True))
    assert found == {"a": ("no_norm", None), "b": ("unknown", None)}
    lost = {"n.weight": np.ones(8, np.float32)}  # a norm whose statistics were not saved
    assert states(conv("a", 8, 3, 3, 3), lost)["a"] == ("unknown", None)


def test_the_scale_is_gamma_by_the_deviation_and_the_epsilon_is_said() -> None:
    layers = filterdb.read({**conv("c", 8, 3, 3, 3), **norm("c_bn", 8)}).layers
    assert layers[0].norm is not None
    np.testing.assert_allclose(layers[0].norm.scale(), np.full(8, 2 / np.sqrt(4 + 1e-5)))
    assert layers[0].evidence == (
        "followed by batch normalisation c_bn, by its name and channels; "
        "epsilon assumed to be 1e-05"
    )
    plain = filterdb.read({**conv("c", 8, 3, 3, 3), **norm("c_bn", 8, affine=False)}).layers
    assert plain[0].norm is not None
    np.testing.assert_allclose(plain[0].norm.scale(), np.full(8, 1 / np.sqrt(4 + 1e-5)))


def test_a_transposed_one_is_paired_by_its_output_channels() -> None:
    parts = conv("up1", 16, 8, 2, 2), {"up1.bias": np.ones(8)}, norm("bn_up1", 8)
    file = filterdb.read({key: value for part in parts for key, value in part.items()})
    assert [layer.kind for layer in file.layers] == ["transposed"]
    assert told(file)["up1"] == ("raw", "bn_up1")


def test_a_live_module_gives_its_epsilon() -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.BatchNorm2d(8, eps=0.25)
    )
    (layer,) = filterdb.read(net).layers
    assert "assumed" not in layer.evidence
    assert layer.norm is not None
    np.testing.assert_allclose(layer.norm.scale(), np.full(8, 1 / np.sqrt(1.25)))


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("akamaster--resnet20-cifar10.th", {"raw": 19}),
        ("fastestdet--backbone-shufflenetv2.pth", {"raw": 55}),
        ("ultraface--rfb-640.pth", {"raw": 35, "no_norm": 17}),
        ("sci--easy.pt", {"raw": 4, "no_norm": 3}),  # blocks that share their layers
        # The same networks as graphs: they say what the names say.
        ("ultraface--rfb-320.onnx", {"raw": 35, "no_norm": 17}),
        ("ultraface--slim-320.pth", {"raw": 25, "no_norm": 17}),
        ("ultraface--slim-320.onnx", {"raw": 25, "no_norm": 17}),
        ("andes--resnet8-cifar10.onnx", {"folded": 7, "unknown": 2}),
        ("naruto-handsign--yolox-nano.onnx", {"folded": 104, "no_norm": 9}),
        ("openseeface--mnv3-detection.onnx", {"folded": 54, "no_norm": 16}),
        ("rapidocr--ch-mobile-v1.1-det.onnx", {"raw": 49, "no_norm": 8, "unknown": 1}),
        ("oarriaga--mini-xception-kdef.hdf5", {"raw": 14, "no_norm": 9}),
        ("car-cloning--model.h5", {"no_norm": 5}),
        ("lwnet--wnet_drive.pth", {"raw": 10, "unknown": 30}),  # an activation before the norm
    ],
)
def test_real_networks(name: str, counts: dict[str, int], zoo) -> None:  # type: ignore[no-untyped-def]
    file = filterdb.read(zoo / "weights" / name)
    found = dict.fromkeys(counts, 0)
    for layer in file.layers:
        found[layer.state] = found.get(layer.state, 0) + 1
        assert layer.evidence
    assert found == counts
