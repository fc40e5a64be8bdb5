"""Weights in parts, adapters, averages and ties, against what torch itself computes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import filterdb
from filterdb.errors import NoConvolutionError
from filterdb.layer import ModelFile
from filterdb.readers.averages import averaged_prefix

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional, utils  # noqa: E402
from torch.nn.utils import parametrizations, prune  # noqa: E402


def conv() -> Any:
    return nn.Conv2d(4, 6, 3)


def transposed() -> Any:
    return nn.ConvTranspose2d(4, 6, 3)


LAYOUTS = {
    "weight norm": lambda: utils.weight_norm(conv()),
    "weight norm, axis 1": lambda: utils.weight_norm(conv(), dim=1),
    "weight norm, whole": lambda: utils.weight_norm(conv(), dim=None),
    "weight norm, transposed": lambda: utils.weight_norm(transposed()),
    "new weight norm": lambda: parametrizations.weight_norm(conv()),
    "new weight norm, axis 1": lambda: parametrizations.weight_norm(conv(), dim=1),
    "new weight norm, whole": lambda: parametrizations.weight_norm(conv(), dim=None),
    "spectral norm": lambda: utils.spectral_norm(conv()),
    "spectral norm, transposed": lambda: utils.spectral_norm(transposed()),
    "new spectral norm": lambda: parametrizations.spectral_norm(conv()),
    "new spectral norm, axis 1": lambda: parametrizations.spectral_norm(conv(), dim=1),
    "new spectral norm, transposed": lambda: parametrizations.spectral_norm(transposed()),
    "pruned": lambda: prune.l1_unstructured(conv(), "weight", 0.5),
    "pruned in channels": lambda: prune.ln_structured(conv(), "weight", 0.5, n=2, dim=0),
}
NOT_FOLLOWED = {
    "orthogonal": lambda: parametrizations.orthogonal(conv()),
    "one upon the other": lambda: parametrizations.spectral_norm(
        parametrizations.weight_norm(conv())
    ),
}


def network(make: Any) -> Any:
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(make(), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 3, 3))
    for _ in range(3):  # spectral norm estimates as it goes
        model(torch.randn(2, 4, 8, 8))
    return model.eval()


def read(state: Any, path: Path) -> ModelFile:
    if path.suffix == ".safetensors":
        save_file({name: tensor.detach().numpy().copy() for name, tensor in state.items()}, path)
    else:
        torch.save(state, path)
    return filterdb.read(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_parts_become_what_torch_computes_with(tmp_path: Path, layout: str, suffix: str) -> None:
    model = network(LAYOUTS[layout])
    with torch.no_grad():
        model(torch.randn(1, 4, 8, 8))  # the old hooks compute the weight
    weight = model[0].weight.detach().numpy()
    if isinstance(model[0], nn.ConvTranspose2d):
        weight = weight.swapaxes(0, 1)
    file = read(model.state_dict(), tmp_path / f"a{suffix}")
    assert [layer.name for layer in file.layers] == ["0", "3"]
    assert file.notes
    np.testing.assert_allclose(file.layers[0].weights, weight, rtol=0, atol=1e-6)


@pytest.mark.parametrize("layout", NOT_FOLLOWED)
def test_what_cannot_be_merged_is_named(tmp_path: Path, layout: str) -> None:
    file = read(network(NOT_FOLLOWED[layout]).state_dict(), tmp_path / "a.pth")
    assert [layer.name for layer in file.layers] == ["3"]
    assert "0.parametrizations.weight.original" in file.skipped[0].name
    assert "rule is not followed" in file.skipped[0].reason


def adapter(first: str, second: str, target: str = "c") -> tuple[dict[str, Any], Any]:
    """A convolution with an adapter of rank 2, and what both compute together."""
    torch.manual_seed(2)
    base, down, up = conv(), nn.Conv2d(4, 2, 3, bias=False), nn.Conv2d(2, 6, 1, bias=False)
    state = {
        f"{target}.weight": base.weight.data, f"{target}.bias": base.bias.data,
        f"{target}.{first}.weight": down.weight.data, f"{target}.{second}.weight": up.weight.data,
        f"{target}.alpha": torch.tensor(1.5),
    }  # fmt: skip
    return state, lambda x: base(x) + up(down(x)) * (1.5 / 2)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("factors", [("lora_down", "lora_up"), ("lora_A", "lora_B")])
def test_an_adapter_with_all_its_parts_is_added(
    tmp_path: Path, factors: tuple[str, str], suffix: str
) -> None:
    state, compute = adapter(*factors)
    file = read(state, tmp_path / f"a{suffix}")
    (layer,) = file.layers
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        ours = functional.conv2d(x, torch.from_numpy(layer.weights), state["c.bias"])
        assert torch.allclose(ours, compute(x), atol=1e-5)
    assert file.notes[-1] == "Low-rank adapters (LoRA) added to 1 weights."


def test_an_adapter_alone_holds_no_layer(tmp_path: Path) -> None:
    state, _ = adapter("lora_down", "lora_up", "lora_unet_c")
    alone = {name: tensor for name, tensor in state.items() if "lora_unet_c." in name}
    del alone["lora_unet_c.weight"]
    with pytest.raises(NoConvolutionError, match="a factor of a low-rank adapter"):
        read(alone, tmp_path / "a.safetensors")


def test_an_adapter_without_its_scale_is_named_beside_its_layer(tmp_path: Path) -> None:
    state, _ = adapter("lora_A", "lora_B")
    peft = {
        "base_model.model.c.base_layer.weight": state["c.weight"],
        "base_model.model.c.lora_A.default.weight": state["c.lora_A.weight"],
        "base_model.model.c.lora_B.default.weight": state["c.lora_B.weight"],
    }
    file = read(peft, tmp_path / "a.pth")
    (layer,) = file.layers
    np.testing.assert_array_equal(layer.weights, state["c.weight"].numpy())
    assert len(file.skipped) == 2
    assert "are not merged" in file.notes[-1]


@pytest.mark.parametrize(
    "change",
    [
        {"c.alpha": torch.ones(6)},
        {"c.lora_mid.weight": torch.ones(2, 2, 3, 3)},
        {"c.lora_up.weight": torch.ones(6, 3, 1, 1)},
        {"c.lora_down.weight": torch.ones(2, 4, 5, 5)},
        {"c.lora_down.weight": torch.ones(0, 4, 3, 3)},
    ],
)
def test_parts_that_do_not_fit_are_left_alone(tmp_path: Path, change: dict[str, Any]) -> None:
    state, _ = adapter("lora_down", "lora_up")
    file = read(state | change, tmp_path / "a.pth")
    (layer,) = file.layers
    np.testing.assert_array_equal(layer.weights, state["c.weight"].numpy())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("own", "average", "label"),
    [
        ("generator.", "generator_ema.", "generator_ema"),
        ("model.", "model_ema.", "model_ema"),
        ("", "ema_model.", "ema_model"),
        ("online.", "ema.", "ema"),
    ],
)
def test_a_running_average_is_named_and_the_network_taken(
    tmp_path: Path, own: str, average: str, label: str, suffix: str
) -> None:
    weights = {"a.c.weight": torch.rand(4, 3, 3, 3), "d.weight": torch.rand(2, 4, 3, 3)}
    state = {own + name: tensor for name, tensor in weights.items()}
    state |= {average + name: tensor + 1 for name, tensor in weights.items()}
    file = read(state, tmp_path / f"a{suffix}")
    assert [layer.name for layer in file.layers] == [f"{own}a.c", f"{own}d"]
    assert [layer.weights.max() < 1 for layer in file.layers] == [True, True]
    assert [item.name for item in file.skipped] == [label]
    assert any("running average" in note for note in file.notes)


def test_an_average_whose_names_lost_their_dots(tmp_path: Path) -> None:
    weight = torch.rand(4, 3, 3, 3)
    state = {"model.a.c.weight": weight, "model_ema.acweight": weight + 1,
             "model_ema.decay": torch.tensor(0.9)}  # fmt: skip
    assert [layer.name for layer in read(state, tmp_path / "a.pth").layers] == ["model.a.c"]


@pytest.mark.parametrize(
    "names",
    [
        ["ema.c.weight"],
        ["net.avg_layer.weight", "net.other.weight"],
        ["a.0.weight_avg_layer.weight", "a.1.weight_avg_layer.weight"],
        ["model.c.weight", "model.d.weight", "model_ema.c.weight"],
        ["a.b.ema.c.weight", "a.b.c.weight"],
    ],
)
def test_what_is_no_copy_of_all_of_a_network_is_no_average(
    tmp_path: Path, names: list[str]
) -> None:
    file = read({name: torch.rand(4, 3, 3, 3) for name in names}, tmp_path / "a.pth")
    assert len(file.layers) == len(names)


def test_averages_are_told_by_whole_words() -> None:
    told = ["model_ema.x", "model.ema.x", "ema_model.module.x", "net_g_ema.c", "swa.x"]
    assert [averaged_prefix(name) for name in told] == [
        "model_ema.", "model.ema.", "ema_model.", "net_g_ema.", "swa.",
    ]  # fmt: skip
    assert not any(map(averaged_prefix, ["schema.x", "cinema.x", "emanet.x", "a.b.ema.x", "ema"]))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = conv()
        self.b = self.a
        self.c = parametrizations.weight_norm(conv())
        self.d = self.c
        self.heads = nn.ModuleList([nn.Sequential(conv()) for _ in range(2)])
        self.heads[1][0].weight = self.heads[0][0].weight


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_tied_weights_count_once(tmp_path: Path, *, new: bool, whole: bool) -> None:
    model = Tied()
    what = {"model": model} if whole else {"state_dict": model.state_dict()}
    if whole and any(hasattr(m, "parametrizations") for m in model.modules()):
        what = {"model": nn.Sequential(model.a, model.b, model.heads)}
    torch.save(what, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    file = filterdb.read(tmp_path / "a.pth")
    tied = [item for item in file.skipped if item.reason.startswith("shares the weights of")]
    if whole:
        assert len(file.layers) == 2
    else:
        assert [layer.name for layer in file.layers] == ["a", "c", "heads.0.0"]
        assert [item.name for item in tied] == ["b.weight", "d.weight", "heads.1.0.weight"]


def test_equal_values_and_parts_of_a_weight_are_not_tied(tmp_path: Path) -> None:
    weight = torch.rand(4, 3, 3, 3)
    state = {"a.weight": weight, "b.weight": weight.clone(), "c.weight": weight[:2]}
    assert len(read(state, tmp_path / "a.pth").layers) == 3
