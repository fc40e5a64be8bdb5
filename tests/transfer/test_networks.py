"""Networks by name: shapes, seeds, what the arguments do, and what is refused."""

from __future__ import annotations

import inspect
import random
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from filterdb.errors import MissingExtraError, TransferError  # noqa: E402
from filterdb.transfer.networks.building import build  # noqa: E402
from filterdb.transfer.networks.registry import NETWORKS, checked_arguments  # noqa: E402

SMALL = {
    "convmixer": {"width": 8, "depth": 2},
    "convnext": {"width": 8, "blocks": 1},
    "mobilenet": {"width": 4, "blocks": 2},
    "resnet": {"width": 4, "blocks": 1},
}
VARIANTS = [
    *SMALL.items(),
    ("resnet", {"width": 4, "blocks": 2, "separable": True}),
    ("convmixer", {"width": 8, "depth": 2, "kernel": 7, "patch": 1}),
    ("convnext", {"width": 8, "stages": 2, "kernel": 3, "patch": 4}),
    ("mobilenet", {"width": 4, "blocks": 1, "kernel": 5, "expansion": 1, "stages": 4}),
]


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("name", "given"), VARIANTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_logits_and_gradients_at_any_size(name: str, given: dict[str, int], channels: int) -> None:
    model = build(name, classes=5, channels=channels, size=16, **given)
    assert model.training
    for height, width in [(16, 16), (28, 28), (17, 23)]:
        assert model(torch.zeros(2, channels, height, width)).shape == (2, 5)
    model(torch.randn(4, channels, 16, 16)).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("name", NETWORKS)
def test_defaults_take_the_smallest_images(name: str) -> None:
    model = build(name, classes=2, channels=1, size=8)
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 2)
    with pytest.raises(TransferError, match="7x7 are too small"):
        build(name, classes=2, channels=1, size=7)


@pytest.mark.parametrize(("name", "given"), VARIANTS)
def test_channels_last_makes_the_same(name: str, given: dict[str, int]) -> None:
    model = build(name, classes=3, channels=3, size=16, **given).eval()
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = model(images)
    model.to(memory_format=torch.channels_last)
    found = model(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_seed_decides_and_nobody_elses_numbers_move(name: str) -> None:
    torch.manual_seed(11)
    random.seed(11)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first, same, other = (
        build(name, classes=3, channels=1, size=16, seed=seed, **SMALL[name]) for seed in (4, 4, 5)
    )
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # noqa: NPY002
    torch.manual_seed(99)
    again = build(name, classes=3, channels=1, size=16, seed=4, **SMALL[name])
    for key, tensor in first.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[key])
        assert torch.equal(tensor, again.state_dict()[key])
    assert any(not torch.equal(tensor, other.state_dict()[key])
               for key, tensor in first.state_dict().items())  # fmt: skip


@pytest.mark.parametrize(("name", "given"), VARIANTS)
def test_norms_and_depthwise_layers_are_as_promised(name: str, given: dict[str, int]) -> None:
    model = build(name, classes=3, channels=3, size=16, **given)
    layers = list(model.modules())
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in layers) == (name != "convnext")
    assert any(isinstance(layer, nn.LayerNorm) for layer in layers) == (name == "convnext")
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    kernel = given.get("kernel", NETWORKS[name].arguments.get("kernel"))
    for layer in convolutions:
        if layer.groups > 1:
            assert type(layer) is nn.Conv2d
            assert layer.groups == layer.in_channels == layer.out_channels
            assert layer.bias is None
            expected = 3 if kernel is None else getattr(kernel, "default", kernel)
            assert layer.kernel_size == (expected, expected)


def test_resnet_20_has_the_papers_size() -> None:
    # He et al. 2016, table 6: 0.27 million parameters. By hand: 3x3 convolutions, two numbers a
    # channel for each norm, the linear layer.
    model = build("resnet", classes=10, channels=3, size=32, blocks=3, stride=1)
    convolutions = 9 * (3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64)
    norms = 2 * (16 + 6 * 16 + 6 * 32 + 6 * 64)
    assert parameters(model) == convolutions + norms + 64 * 10 + 10 == 269_722


def test_convmixer_counted_by_hand() -> None:
    model = build("convmixer", classes=4, channels=3, size=32, width=16, depth=3, kernel=5, patch=4)
    block = 16 * 25 + 16 * 16 + 2 * 2 * 16
    assert parameters(model) == 3 * 16 * 16 + 2 * 16 + 3 * block + 16 * 4 + 4
    assert model[:2](torch.zeros(2, 3, 32, 32)).shape == (2, 16, 8, 8)


def test_strides_halve_once_a_stage() -> None:
    images = torch.zeros(2, 3, 32, 32)
    for name in ("convnext", "mobilenet", "resnet"):
        model = build(name, classes=4, channels=3, size=32, **SMALL[name])
        assert model[:-1](images).shape[2:] == (4, 4)
    patched = build("convnext", classes=4, channels=3, size=32, patch=4, width=8)
    assert patched[:-1](images).shape[2:] == (2, 2)


def test_a_resnet_block_is_its_formula() -> None:
    block = build("resnet", classes=2, channels=1, size=8, width=4, stages=2, blocks=1)[4].eval()
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    short = torch.zeros(2, 8, 3, 3)
    short[:, :4] = x[:, :, ::2, ::2]
    assert torch.equal(block(x), torch.clamp(short + block.inner(x), min=0))


def test_table_and_functions_agree() -> None:
    for name, network in NETWORKS.items():
        module = import_module(f"filterdb.transfer.networks.{name}")
        wanted = set(inspect.signature(getattr(module, name)).parameters)
        assert wanted == {"classes", "channels", *network.arguments}
        assert network.text
        assert all(argument.text for argument in network.arguments.values())


def test_the_table_needs_no_torch() -> None:
    script = (
        "import sys; from filterdb.transfer.networks.registry import checked_arguments; "
        "checked_arguments('resnet', {}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("convmixr", {}, r"no network 'convmixr' \(do you mean 'convmixer'\?\).*convnext.*timm"),
        ("zzz", {}, r"no network 'zzz'\. There are convmixer"),
        ("resnet", {"widht": 3}, r"'widht' \(do you mean 'width'\?\). It has width, stages"),
        ("resnet", {"kernel": 3}, "no argument 'kernel'"),
        ("convmixer", {"kernel": 4}, "kernel=4 .* is even"),
        ("convmixer", {"kernel": 1}, "kernel=1 .* at least 3"),
        ("convmixer", {"depth": 0}, "depth=0 .* at least 1"),
        ("convmixer", {"depth": 2.0}, "no whole number"),
        ("convmixer", {"depth": True}, "no whole number"),
        ("resnet", {"separable": 1}, "neither true nor false"),
        ("convnext", {"stages": 5, "patch": 4}, "at least 64x64"),
        ("convmixer", {"patch": 40}, "at least 40x40"),
    ],
)
def test_what_is_refused(name: str, given: dict[str, object], message: str) -> None:
    with pytest.raises(TransferError, match=message):
        build(name, classes=4, channels=3, size=32, **given)


def test_sizes_that_are_refused() -> None:
    with pytest.raises(TransferError, match="at least 2"):
        build("resnet", classes=1, channels=3, size=32)
    with pytest.raises(TransferError, match="not 4"):
        build("resnet", classes=2, channels=4, size=32)


def test_arguments_are_completed_and_others_left_alone() -> None:
    assert checked_arguments("convmixer", {"kernel": 5})["kernel"] == 5
    assert checked_arguments("convmixer", {})["width"] == NETWORKS["convmixer"].arguments[
        "width"].default  # fmt: skip
    assert checked_arguments("mine:net", {"anything": "x"}) == {"anything": "x"}


OWN = """
import random
import torch
from torch import nn

def net(*, classes, channels, width=4):
    return nn.Sequential(nn.Conv2d(channels, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Dropout(), nn.Linear(width, classes))

def flat(*, classes, channels, size):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, classes))

def fixed(classes, channels):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * 9 * 9, classes))

def maps(classes, channels):
    return nn.Conv2d(channels, classes, 3)

def pair(classes, channels):
    class Pair(nn.Module):
        def forward(self, x):
            return x, x
    return Pair()

def nothing(classes, channels):
    return "resnet"

def fails(classes, channels):
    raise KeyError("oh")

def alone(classes):
    return None

number = 3
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of one's own in the current folder."""
    name = f"own_networks_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    (tmp_path / f"{name}_broken.py").write_text("import no_such_module_at_all\n")
    monkeypatch.chdir(tmp_path)
    return name


def test_own_networks(mine: str) -> None:
    path = list(sys.path)
    model = build(f"{mine}:net", classes=6, channels=1, size=16, seed=1, width=7)
    assert model.training
    assert all(layer.training for layer in model)
    assert model(torch.zeros(3, 1, 16, 16)).shape == (3, 6)
    assert model[0].out_channels == 7
    same = build(f"{mine}:net", classes=6, channels=1, size=16, seed=1, width=7)
    other = build(f"{mine}:net", classes=6, channels=1, size=16, seed=2, width=7)
    assert torch.equal(model[0].weight, same[0].weight)
    assert not torch.equal(model[0].weight, other[0].weight)
    assert build(f"{mine}:flat", classes=6, channels=3, size=9)[1].in_features == 3 * 81
    assert sys.path == path


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nett", "has no function 'nett'. It has net, flat"),
        ("number", "has no function 'number'"),
        ("", "has no function ''"),
        ("fixed", "does not take images of 2x3x16x16: .*shapes cannot be multiplied"),
        ("maps", r"makes \(2, 4, 14, 14\) of images .* not logits of shape \(2, 4\)"),
        ("pair", "makes tuple of images"),
        ("nothing", "returned a str, and not a torch.nn.Module"),
        ("fails", "failed with KeyError: 'oh'"),
        ("alone", r"cannot be called with classes=, channels=.*alone\(classes\)"),
    ],
)
def test_own_networks_that_do_not_do(mine: str, function: str, message: str) -> None:
    with pytest.raises(TransferError, match=message):
        build(f"{mine}:{function}", classes=4, channels=3, size=16)


def test_own_modules_that_do_not_do(mine: str) -> None:
    with pytest.raises(TransferError, match=r"no module 'no_such_networks' .*current folder"):
        build("no_such_networks:net", classes=4, channels=3, size=16)
    with pytest.raises(TransferError, match=r"cannot be imported.*no_such_module_at_all"):
        build(f"{mine}_broken:net", classes=4, channels=3, size=16)
    with pytest.raises(TransferError, match=r"cannot be called.*depth"):
        build(f"{mine}:net", classes=4, channels=3, size=16, depth=3)
    with pytest.raises(TransferError, match=r"too small"):
        build(f"{mine}:net", classes=4, channels=3, size=4)


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")
def test_timm_is_missed_with_the_line_that_helps() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install timm"):
        build("timm:convnext_atto", classes=4, channels=3, size=32)


@pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
def test_timm_networks() -> None:
    model = build("timm:mobilenetv2_035", classes=4, channels=1, size=32, seed=3)
    same = build("timm:mobilenetv2_035", classes=4, channels=1, size=32, seed=3)
    assert all(torch.equal(tensor, same.state_dict()[key])
               for key, tensor in model.state_dict().items())  # fmt: skip
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 4)
    with pytest.raises(TransferError, match=r"no network 'mobilenetv2_35'.*mobilenetv2_035"):
        build("timm:mobilenetv2_35", classes=4, channels=1, size=32)
