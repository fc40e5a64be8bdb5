from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filterdb.errors import UnsupportedFormatError
from filterdb.readers.layout import out_first_shape, transposed_to_out_first
from filterdb.readers.live import from_live

torch = pytest.importorskip("torch")

WEIGHT = np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3)


def loaded(source: Any) -> dict[str, Any]:
    return {tensor.name: tensor.load() for tensor in from_live(source).tensors}


def test_a_mapping_of_arrays_is_referred_to() -> None:
    weight = WEIGHT.copy()
    contents = from_live({"conv.weight": weight, "conv.bias": np.zeros(2), "note": "x", "n": 3})
    assert contents.format == "mapping"
    assert [(t.name, t.shape, t.dtype, t.conv) for t in contents.tensors] == [
        ("conv.weight", (2, 3, 3, 3), "float32", None), ("conv.bias", (2,), "float64", None),
    ]  # fmt: skip
    assert contents.tensors[0].load() is weight


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64", "int8", "bool", "float8_e5m2"])
def test_torch_tensors_of_every_type(kind: str) -> None:
    tensor = torch.tensor(WEIGHT[:1] % 3).to(getattr(torch, kind))
    (only,) = from_live({"w": tensor.requires_grad_(kind == "float64")}).tensors
    assert only.dtype == kind
    np.testing.assert_array_equal(
        only.load(), WEIGHT[:1] % 3 if kind != "bool" else WEIGHT[:1] % 3 > 0
    )
    assert only.load().dtype.kind in "fiu"


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_and_strided_tensors() -> None:
    tensor = torch.quantize_per_tensor(torch.tensor(WEIGHT), 0.5, 3, torch.quint8)
    found = loaded({"q": tensor, "t": torch.tensor(WEIGHT).permute(1, 0, 2, 3)})
    np.testing.assert_array_equal(found["q"], tensor.dequantize().numpy())
    np.testing.assert_array_equal(found["t"], WEIGHT.transpose(1, 0, 2, 3))


def test_what_cannot_be_taken_is_skipped() -> None:
    mapping = {
        "w": WEIGHT,
        "complex": np.zeros((2, 2), complex),
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.zeros(3, device="meta"),
        "objects": np.array([None]),
    }
    contents = from_live(mapping)
    assert [t.name for t in contents.tensors] == ["w"]
    assert {item.name for item in contents.skipped} == set(mapping) - {"w"}


def test_arrays_of_other_libraries() -> None:
    class Foreign:
        shape = (2, 3, 3, 3)
        dtype = "float32"

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return WEIGHT

    np.testing.assert_array_equal(loaded({"w": Foreign()})["w"], WEIGHT)


def test_arrays_in_an_open_hdf5_file(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["conv/weight"] = WEIGHT
        np.testing.assert_array_equal(loaded(file)["weight"], WEIGHT)


def test_bfloat16_of_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    (only,) = from_live({"w": WEIGHT.astype(ml_dtypes.bfloat16)}).tensors
    assert only.dtype == "bfloat16"
    np.testing.assert_array_equal(only.load(), WEIGHT)


def test_a_checkpoint_as_torch_loads_it() -> None:
    module = torch.nn.Conv2d(3, 2, 3)
    checkpoint = {"model": module.state_dict(), "optimizer": {"state": {}, "param_groups": []}}
    assert list(loaded(checkpoint)) == ["weight", "bias"]
    assert list(loaded({"net": module})) == ["weight", "bias"]


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(1, 8, 3, stride=2, dilation=(1, 2))
        self.depthwise = torch.nn.Conv2d(8, 8, 5, groups=8)
        self.up = torch.nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2)
        self.line = torch.nn.Conv1d(3, 4, 3)
        self.fc = torch.nn.Linear(3, 4)


def test_a_module_states_its_convolutions() -> None:
    module = Network()
    contents = from_live(module)
    assert contents.format == "torch-module"
    found = {tensor.name: tensor for tensor in contents.tensors}
    assert list(found) == list(module.state_dict())
    first, depthwise, up = (found[f"{name}.weight"] for name in ("first", "depthwise", "up"))
    assert (first.conv.groups, first.conv.stride, first.conv.dilation) == (1, (2, 2), (1, 2))
    assert depthwise.conv.groups == 8
    assert not depthwise.conv.transposed
    assert up.conv.transposed
    assert up.shape == up.load().shape == (6, 4, 2, 2)
    assert found["line.weight"].conv is found["fc.weight"].conv is found["up.bias"].conv is None


def test_wrapped_and_normed_modules_keep_their_facts() -> None:
    module = Network()
    torch.nn.utils.parametrizations.weight_norm(module.up, dim=1)
    contents = from_live(torch.nn.DataParallel(module))
    found = {tensor.name: tensor for tensor in contents.tensors}
    assert found["first.weight"].conv.stride == (2, 2)
    assert found["up.weight"].conv.transposed
    want = transposed_to_out_first(module.up.weight.detach().numpy(), 2)
    np.testing.assert_allclose(found["up.weight"].load(), want, rtol=1e-5)


def test_a_weight_whose_rule_is_not_followed_is_asked_of_its_layer() -> None:
    module = Network()
    parametrizations = torch.nn.utils.parametrizations
    parametrizations.orthogonal(module.first)
    parametrizations.spectral_norm(parametrizations.weight_norm(module.depthwise))
    found = {tensor.name: tensor for tensor in from_live(module).tensors}
    assert list(found) == ["first.bias", "first.weight", "depthwise.bias", "depthwise.weight",
                           *list(module.state_dict())[-6:]]  # fmt: skip
    assert found["first.weight"].conv.stride == (2, 2)
    module.eval()
    for name in ("first", "depthwise"):
        want = getattr(module, name).weight.detach().numpy()
        np.testing.assert_allclose(found[f"{name}.weight"].load(), want, rtol=1e-5)
    (weight, _) = from_live({"net": parametrizations.orthogonal(torch.nn.Conv2d(4, 4, 3))}).tensors[
        ::-1
    ]
    assert weight.name == "weight"


def test_a_lazy_layer_says_what_to_do() -> None:
    contents = from_live(torch.nn.Sequential(torch.nn.LazyConv2d(3, 3), torch.nn.Conv2d(3, 2, 3)))
    assert [tensor.name for tensor in contents.tensors] == ["1.weight", "1.bias"]
    assert {item.name for item in contents.skipped} == {"0.weight", "0.bias"}
    assert "run the module once" in contents.skipped[0].reason


def test_a_single_layer() -> None:
    (weight, _) = from_live(torch.nn.Conv2d(4, 4, 3, groups=2)).tensors
    assert weight.conv.groups == 2


@pytest.mark.parametrize("source", [3, None, WEIGHT, [1, 2], object()])
def test_anything_else_is_an_error(source: Any) -> None:
    with pytest.raises(UnsupportedFormatError, match="neither a path, nor a mapping"):
        from_live(source)


def test_torch_is_not_imported() -> None:
    code = (
        "import sys, numpy, filterdb.readers.live as live, filterdb.readers.pytorch.zip_checkpoint;"
        "live.from_live({'w': numpy.zeros((1, 1, 3, 3))}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_layout_of_a_transposed_convolution(groups: int) -> None:
    """A transposed convolution is the gradient of an ordinary one with the returned weight."""
    layer = torch.nn.ConvTranspose2d(8, 12, 3, groups=groups, bias=False)
    weight = layer.weight.detach().numpy()
    turned = transposed_to_out_first(weight, groups)
    assert turned.shape == out_first_shape(weight.shape, groups) == (12, 8 // groups, 3, 3)
    for out in range(12):
        for into in range(8 // groups):
            group = out // (12 // groups)
            np.testing.assert_array_equal(
                turned[out, into], weight[group * (8 // groups) + into, out % (12 // groups)]
            )
    with pytest.raises(ValueError, match="do not divide"):
        transposed_to_out_first(weight, 3)
