from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from filterdb.errors import LimitError
from filterdb.layer import Tensor
from filterdb.readers import state_dict
from filterdb.readers.live import LiveObjects
from filterdb.readers.state_dict import Selection, select, tidy

torch = pytest.importorskip("torch")
prune = pytest.importorskip("torch.nn.utils.prune")


def network(n: int = 4, value: float = 0.0, prefix: str = "") -> dict[str, Any]:
    return {
        f"{prefix}conv1.weight": np.full((n, 3, 3, 3), value, np.float32),
        f"{prefix}conv1.bias": np.zeros(n, np.float32),
        f"{prefix}conv2.weight": np.full((n, n, 3, 3), value, np.float32),
    }


def chosen(checkpoint: Any) -> Selection:
    return select(checkpoint, LiveObjects())


def taken(checkpoint: Any) -> float:
    """The value that marks the network that was taken."""
    (weight, *_) = chosen(checkpoint).tensors
    return float(weight.load().flat[0])


def test_a_state_dict_is_itself() -> None:
    found = chosen(network())
    assert [t.name for t in found.tensors] == ["conv1.weight", "conv1.bias", "conv2.weight"]
    assert found.skipped == found.notes == ()


@pytest.mark.parametrize(
    "key",
    ["state_dict", "model", "params", "params_ema", "net", "generator", "G", "netG", "ema",
     "model_state_dict", "network", "weights", "anything at all"],
)  # fmt: skip
def test_nested_under_any_key_and_twice(key: str) -> None:
    for checkpoint in ({"epoch": 3, key: network()}, {"state": {key: network()}}, [network()]):
        found = chosen(checkpoint)
        assert [t.name for t in found.tensors] == list(network())
        assert found.notes == ()


def test_the_optimiser_is_never_taken_nor_named() -> None:
    big = {"exp_avg": np.zeros((99, 99, 3, 3)), "exp_avg_sq": np.zeros((99, 99, 3, 3)), "step": 1}
    for optimiser in (
        {"optimizer": network(64)},
        {"optimizer_states": [{"state": {0: big}, "param_groups": []}]},
        {"anything": {"state": {0: big}, "param_groups": []}},
        {"opt_g": network(64)},
        {"state": {0: big}},
        {"sgd": {"0": {"momentum_buffer": np.zeros((99, 9, 3, 3))}}},
        {"lr_scheduler": network(64)},
    ):
        found = chosen({**optimiser, "model": network(4, 7)})
        assert len(found.tensors) == 3
        assert found.skipped == ()


def test_an_upscaler_is_no_scaler() -> None:
    assert len(chosen({"upscaler": network()}).tensors) == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("params_ema", "params"),
        ("state_dict", "state_dict_ema"),
        ("model", "ema"),
        ("G", "G_ema"),
        ("net", "swa_net"),
    ],
)
def test_of_copies_the_preferred_one(first: str, second: str) -> None:
    for order in ((first, second), (second, first)):
        checkpoint = {key: network(4, 1.0 + (key == second)) for key in order}
        assert taken(checkpoint) == 1.0
        found = chosen(checkpoint)
        assert [(item.name, "copy" in item.reason) for item in found.skipped] == [(second, True)]
        assert f"'{first}' was taken, not '{second}'" in found.notes[0]


def test_of_networks_the_largest_and_the_rest_by_name() -> None:
    found = chosen({"encoder": network(4, 1), "decoder": network(8, 2), "aux": network(2, 3)})
    assert found.tensors[0].load().flat[0] == 2
    assert {item.name for item in found.skipped} == {"encoder", "aux"}
    assert "28 filters" in found.skipped[0].reason
    assert "'decoder' was taken" in found.skipped[0].reason


@pytest.mark.parametrize("key", ["netD", "D", "discriminator", "net_d", "critic", "teacher"])
def test_a_discriminator_only_if_there_is_nothing_else(key: str) -> None:
    assert taken({key: network(64, 1), "netG": network(4, 2)}) == 2
    assert taken({key: network(64, 1)}) == 1


def test_the_top_level_competes_with_what_it_holds() -> None:
    found = chosen({**network(4, 1), "ema": network(4, 2)})
    assert found.tensors[0].load().flat[0] == 1
    assert "the top level was taken, not 'ema'" in found.notes[0]


def test_copies_behind_different_wrappers_are_copies() -> None:
    found = chosen({"ema": network(4, 2), "model": network(4, 1, "module.")})
    assert "copy" in found.skipped[0].reason
    assert found.tensors[0].name == "conv1.weight"


def test_a_tree_of_layers_is_one_network() -> None:
    weight = np.ones((4, 3, 3, 3), np.float32)
    tree = {
        "params": {
            "conv0": {"kernel": weight, "bias": np.zeros(4)},
            "norm": {"scale": np.ones(4)},
            "block": {"conv1": {"kernel": weight}},
        }
    }
    assert [t.name for t in chosen(tree).tensors] == [
        "params.conv0.kernel", "params.conv0.bias", "params.norm.scale",
        "params.block.conv1.kernel",
    ]  # fmt: skip


def test_without_convolutions_what_there_is_is_shown() -> None:
    found = chosen({"epoch": 3, "model": {"fc.weight": np.ones((3, 4)), "fc.bias": np.ones(3)}})
    assert [t.name for t in found.tensors] == ["fc.weight", "fc.bias"]
    assert chosen({"epoch": 3}).tensors == ()


def test_endless_and_cyclic_checkpoints() -> None:
    cyclic: dict[str, Any] = {"model": network()}
    cyclic["self"] = cyclic
    assert len(chosen(cyclic).tensors) == 3
    deep: Any = network()
    for _ in range(100_000):
        deep = [deep]
    assert chosen(deep).tensors == ()
    doubled: Any = [network()]
    for _ in range(60):
        doubled = [doubled, doubled]
    assert len(chosen(doubled).tensors) == 3


def test_more_tensors_than_any_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_dict, "MAX_TENSORS", 2)
    with pytest.raises(LimitError, match="more than 2 tensors"):
        chosen(network())


def bag(**arrays: Any) -> list[Tensor]:
    return [
        Tensor(name.replace("__", "."), np.shape(a), "float32", lambda a=a: np.asarray(a))
        for name, a in arrays.items()
    ]


def names(tensors: Any) -> list[str]:
    return [tensor.name for tensor in tensors]


def test_prefixes_that_all_share() -> None:
    tensors, notes = tidy(bag(module___orig_mod__a__weight=1.0, module___orig_mod__module__b=2.0))
    assert names(tensors) == ["a.weight", "module.b"]
    assert len(notes) == 1
    assert names(tidy(bag(module__a=1.0, b=2.0))[0]) == ["module.a", "b"]
    assert names(tidy(bag(net___orig_mod__a=1.0, b=2.0))[0]) == ["net.a", "b"]
    assert tidy(bag(a=1.0))[1] == []
    assert names(tidy(bag(module=1.0))[0]) == ["module"]
    assert tidy([]) == ([], [])


WEIGHT_NORM = [torch.nn.utils.weight_norm, torch.nn.utils.parametrizations.weight_norm]


@pytest.mark.parametrize("norm", WEIGHT_NORM)
@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize(
    "layer",
    [lambda: torch.nn.Conv2d(3, 5, 3), lambda: torch.nn.ConvTranspose2d(4, 4, 3, groups=2),
     lambda: torch.nn.Conv2d(1, 1, 3)],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weight_norm_as_torch_computes_it(norm: Any, dim: int | None, layer: Any) -> None:
    if dim is None and norm is not torch.nn.utils.weight_norm:
        pytest.skip("torch's parametrization has no None")
    module = norm(layer(), dim=dim)
    for parameter in module.parameters():
        parameter.data += torch.linspace(0.1, 1, parameter.numel()).reshape(parameter.shape)
    module(torch.zeros(1, module.in_channels, 8, 8))
    found = {tensor.name: tensor for tensor in select(module.state_dict(), LiveObjects()).tensors}
    assert set(found) == {"weight", "bias"}
    np.testing.assert_allclose(
        found["weight"].load(), module.weight.detach().numpy(), rtol=1e-5, atol=1e-7
    )
    assert found["weight"].shape == tuple(module.weight.shape)


def test_weight_norm_of_nothing_is_nothing() -> None:
    v = np.ones((3, 2, 3, 3))
    v[0] = 0
    g = np.array([2.0, 0.0, 3.0]).reshape(3, 1, 1, 1)
    tensors, notes = tidy(bag(c__weight_g=g, c__weight_v=v, c__bias=np.ones(3)))
    assert names(tensors) == ["c.weight", "c.bias"]
    assert "Weight norm" in notes[0]
    weight = tensors[0].load()
    assert not weight[:2].any()
    np.testing.assert_allclose(weight[2], 3 / np.sqrt(18))


@given(
    hnp.arrays(np.float64, (3, 2, 2, 2), elements=st.floats(-10, 10)),
    hnp.arrays(np.float64, (3, 1, 1, 1), elements=st.floats(-10, 10)),
)
def test_the_norm_of_the_merged_weight_is_g(v: Any, g: Any) -> None:
    weight = tidy(bag(weight_g=g, weight_v=v))[0][0].load()
    assert np.isfinite(weight).all()
    norm = np.sqrt((weight.astype(float) ** 2).sum(axis=(1, 2, 3)))
    # Squares of the smallest numbers are zero: their norm is that of nothing.
    vanishes = np.sqrt((v**2).sum(axis=(1, 2, 3))) == 0
    np.testing.assert_allclose(
        norm, np.where(vanishes, 0, abs(g[:, 0, 0, 0])), rtol=1e-5, atol=1e-6
    )


def test_parts_that_do_not_fit_stay() -> None:
    for parts in (
        bag(weight_g=np.ones((4, 1, 1, 1)), weight_v=np.ones((3, 2, 3, 3))),
        bag(weight_g=np.ones(3), weight_v=np.ones((3, 2, 3, 3))),
        bag(weight_v=np.ones((3, 2, 3, 3))),
        bag(weight=1.0, weight_g=np.ones((3, 1, 1, 1)), weight_v=np.ones((3, 2, 3, 3))),
        bag(weight_orig=np.ones((3, 2)), weight_mask=np.ones((2, 3))),
        bag(weight_g=np.ones((0, 1)), weight_v=np.ones((0, 3))),
        bag(
            parametrizations__weight__original=np.ones((3, 2, 3, 3)),
            parametrizations__weight__0__base=np.ones((3, 2, 3, 3)),
        ),
        bag(
            parametrizations__weight__original0=np.ones((3, 1, 1, 1)),
            parametrizations__weight__original1=np.ones((3, 2, 3, 3)),
            parametrizations__weight__1__base=np.ones((3, 2, 3, 3)),
        ),
    ):
        assert tidy(parts) == (parts, [])


def test_pruning_masks() -> None:
    module = torch.nn.Conv2d(3, 4, 3)
    prune.random_unstructured(module, "weight", 0.5)
    found = chosen(module.state_dict())
    tensors, notes = found.tensors, found.notes
    weight = next(tensor for tensor in tensors if tensor.name == "weight")
    np.testing.assert_array_equal(weight.load(), module.weight.detach().numpy())
    assert {t.name for t in tensors} == {"weight", "bias"}
    assert "masks" in notes[0]


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(
    "layer", [lambda: torch.nn.Conv2d(3, 5, 3), lambda: torch.nn.ConvTranspose2d(4, 7, 3)]
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_spectral_norm(new: bool, layer: Any) -> None:
    norm = torch.nn.utils.parametrizations.spectral_norm if new else torch.nn.utils.spectral_norm
    module = norm(layer())
    for _ in range(3):
        module(torch.zeros(1, module.in_channels, 8, 8))
    module.eval()
    module(torch.zeros(1, module.in_channels, 8, 8))
    found = {tensor.name: tensor.load() for tensor in chosen(module.state_dict()).tensors}
    assert set(found) == {"weight", "bias"}
    np.testing.assert_allclose(found["weight"], module.weight.detach().numpy(), rtol=1e-4)


class Nested:
    """Objects whose modules are lists, as a pickle would hand them over."""

    array = LiveObjects().array
    children = LiveObjects().children

    def is_module(self, value: object, /) -> bool:
        return isinstance(value, list)


def test_modules_that_share_modules_are_not_walked_without_end() -> None:
    shared = [[] for _ in range(2000)]
    checkpoint = {str(i): [shared, np.ones((1, 1, 3, 3))] for i in range(2000)}
    with pytest.raises(LimitError, match="300,000 lists"):
        select(checkpoint, Nested())
