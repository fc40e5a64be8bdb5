"""Raw and folded: what an exporter folds is what is folded here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import filterdb
from filterdb.cli import cli
from filterdb.errors import NoConvolutionError


def trained_net(torch: Any) -> Any:
    """A small network of all kinds of convolutions, with statistics as training leaves them."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, into: int, out: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(into, out, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(out)
            self.conv2 = nn.Conv2d(out, out, 3, padding=1, groups=out, bias=False)
            self.bn2 = nn.BatchNorm2d(out)
            self.shortcut = nn.Sequential(nn.Conv2d(into, out, 1, bias=False), nn.BatchNorm2d(out))

        def forward(self, x: Any) -> Any:
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(y + self.shortcut(x))

    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        Block(8, 16), nn.Conv2d(16, 12, 3, groups=4), nn.BatchNorm2d(12), nn.ReLU(),
        nn.ConvTranspose2d(12, 6, 2, stride=2), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 2, 3),
    )  # fmt: skip
    torch.manual_seed(0)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.0  # an export in training mode runs it
            nn.init.normal_(layer.weight)  # so that half of them are negative
            layer.weight.data[0] = 0
            nn.init.normal_(layer.bias)
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.01, 4)
    return net.eval()


def same_layers(torch: Any, folder: Path) -> tuple[Any, Any, Any]:
    """The network's checkpoint, its export with norms folded, and its export without."""
    net = trained_net(torch)
    torch.save(net.state_dict(), folder / "net.pt")
    image = (torch.zeros(1, 3, 16, 16),)
    torch.onnx.export(net, image, folder / "folded.onnx", dynamo=False)
    mode = torch.onnx.TrainingMode.PRESERVE
    names = {"training": mode, "do_constant_folding": False}
    torch.onnx.export(net.train(), image, folder / "raw.onnx", dynamo=False, **names)
    return folder / "net.pt", folder / "folded.onnx", folder / "raw.onnx"


@pytest.mark.filterwarnings("ignore")
def test_an_export_with_folding_agrees_with_the_checkpoint_folded(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    checkpoint, exported, kept = same_layers(torch, tmp_path)
    stored = filterdb.read(checkpoint)
    assert [layer.state for layer in stored.layers] == ["raw"] * 6 + ["no_norm"]
    folded = filterdb.read(checkpoint, weights="folded")
    graph = filterdb.read(exported)
    assert {layer.state for layer in graph.layers} == {"folded", "raw", "no_norm"}
    raw = [layer.kind for layer in graph.layers if layer.state == "raw"]
    assert raw == ["transposed"]  # which torch's exporter does not fold
    graph = filterdb.read(exported, weights="folded")
    agree(folded, graph)
    agree(stored, filterdb.read(kept, weights="raw"))
    agree(folded, filterdb.read(kept, weights="folded"))
    difference = np.abs(stored.layers[0].weights - folded.layers[0].weights).max()
    assert difference > 0.1


def agree(one: Any, other: Any) -> None:
    """The same layers, in whatever order the two files have them."""
    left = {layer.shape: layer for layer in one.layers}
    right = {layer.shape: layer for layer in other.layers}
    assert left.keys() == right.keys()
    assert len(left) == len(one.layers) == 7
    for shape, layer in left.items():
        np.testing.assert_allclose(layer.weights, right[shape].weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_live_module_folded_answers_as_it_does(groups: int, *, transposed: bool) -> None:
    torch = pytest.importorskip("torch")
    kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
    conv, norm = kind(4, 8, 3, groups=groups), torch.nn.BatchNorm2d(8, eps=0.1)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.uniform_(norm.running_var, 0.1, 2)
    net = torch.nn.Sequential(conv, norm).eval()
    (layer,) = filterdb.read(net, weights="folded").layers
    plain = kind(4, 8, 3, groups=groups, bias=False)
    weights = torch.from_numpy(layer.weights)
    if transposed:  # out of ours, (out, in / groups), torch's (in, out / groups)
        parts = weights.reshape(groups, 8 // groups, 4 // groups, 3, 3)
        weights = parts.transpose(1, 2).reshape(4, 8 // groups, 3, 3)
    plain.load_state_dict({"weight": weights})
    image = torch.randn(1, 4, 9, 9)
    with torch.no_grad():
        response = net(image) - net(torch.zeros_like(image))
        np.testing.assert_allclose(plain(image), response, rtol=1e-4, atol=1e-5)


def mixed(folder: Path) -> Path:
    """A layer with a norm, of whose channels two are switched off, and one without."""
    rng = np.random.default_rng(0)
    path = folder / "net.npz"
    arrays = {
        "conv1.weight": rng.normal(size=(16, 3, 3, 3)),
        "bn1.weight": rng.choice([-3, 0.5, 2], size=16),
        "bn1.running_mean": np.zeros(16), "bn1.running_var": rng.uniform(0.1, 2, 16),
        "conv2.weight": rng.normal(size=(8, 16, 3, 3)), "conv2.bias": np.zeros(8),
    }  # fmt: skip
    arrays["bn1.weight"][:2] = 0
    np.savez(path, **{name: array.astype(np.float32) for name, array in arrays.items()})
    return path


def test_channels_that_are_switched_off_have_zero_filters_and_it_is_said(tmp_path: Path) -> None:
    file = filterdb.read(mixed(tmp_path), weights="folded")
    assert not file.layers[0].weights[:2].any()
    assert file.layers[0].weights[2:].all()
    assert file.notes[-1] == (
        "2 output channels in 1 layer (conv1) have a batch normalisation whose scale is 0 or next "
        "to it: folded, their filters vanish."
    )
    check = filterdb.check(mixed(tmp_path), weights="folded")
    assert check.layers[0].quality.sparsity == pytest.approx(2 / 16)
    assert filterdb.check(mixed(tmp_path)).layers[0].quality.sparsity == 0


def test_an_impossible_variance_makes_folded_weights_invalid() -> None:
    arrays = {"c.weight": np.ones((8, 3, 3, 3)), "c_bn.running_var": np.full(8, np.nan)}
    assert filterdb.check(arrays, weights="folded").verdict == "invalid"
    assert filterdb.check(arrays).verdict != "invalid"


def test_the_counts_of_states_are_told(tmp_path: Path) -> None:
    run = CliRunner().invoke(cli, ["check", str(mixed(tmp_path)), "--weights", "folded"])
    assert run.exit_code == 0, run.output
    line = "Weights measured: folded. Layers: 1 raw (a batch normalisation follows), 1 without one."
    assert line in " ".join(run.output.split())
    run = CliRunner().invoke(cli, ["check", str(mixed(tmp_path)), "--json", "--weights", "raw"])
    (told,) = json.loads(run.stdout)
    assert told["weights"] == {"asked": "raw", "raw": 1, "folded": 0, "no_norm": 1, "unknown": 0}
    assert told["layers"][0]["weight_state"] == "raw"
    assert told["layers"][0]["state_evidence"].startswith("followed by batch normalisation bn1")


def test_folded_layers_are_skipped_where_raw_weights_are_asked_for(zoo: Path) -> None:
    file = filterdb.read(zoo / "weights" / "andes--resnet8-cifar10.onnx", weights="raw")
    assert len(file.layers) == 2
    assert sum("folded into its weights" in item.reason for item in file.skipped) == 7
    assert file.states == {"raw": 0, "folded": 7, "no_norm": 0, "unknown": 2}
    assert filterdb.check(zoo / "weights" / "andes--resnet8-cifar10.onnx").weights["folded"] == 7
    with pytest.raises(NoConvolutionError, match="None of its layers can be given as raw"):
        filterdb.read(zoo / "weights" / "hyperlpr--litemodel-cls-96x-r1.onnx", weights="raw")


def test_folding_changes_sparsity_and_entropy_but_no_shape(zoo: Path) -> None:
    """METHODS 1.1, on a network of the zoo."""
    path = zoo / "weights" / "ultraface--slim-320.pth"
    raw, folded = filterdb.check(path), filterdb.check(path, weights="folded")
    pairs = list(zip(raw.layers, folded.layers, strict=True))
    assert any(a.quality.sparsity != b.quality.sparsity for a, b in pairs)
    assert any(
        a.quality.variance_entropy != pytest.approx(b.quality.variance_entropy) for a, b in pairs
    )
    for a, b in pairs:
        one, other = (scaled(row.layer.weights) for row in (a, b))
        np.testing.assert_allclose(np.abs(one), np.abs(other), atol=1e-5)
        assert a.quality.orthogonality == pytest.approx(b.quality.orthogonality, abs=1e-4)


def test_a_network_whose_channels_were_pruned_shows_it_only_folded(zoo: Path) -> None:
    """Its norms are what was made small: as stored, the filters before them are not sparse."""
    name = "distiller--resnet20-cifar10-ssl-channel-regularized-finetuned-old.pth.tar"
    sparse = []
    for weights in ("stored", "folded"):
        check = filterdb.check(zoo / "weights" / name, weights=weights)  # type: ignore[arg-type]
        rows = [row for row in check.layers if row.layer.kernel != (1, 1)]
        shares = [(row.quality.sparsity or 0) * row.layer.n_filters for row in rows]
        sparse.append(round(sum(shares)))
    assert sparse == [286, 1148]


def scaled(weights: Any) -> Any:
    """Each filter by its largest magnitude."""
    return weights / np.abs(weights).max(axis=(2, 3), keepdims=True)


def test_there_are_no_other_weights() -> None:
    with pytest.raises(ValueError, match="stored, raw, folded"):
        filterdb.read({"a.weight": np.ones((8, 3, 3, 3))}, weights="boiled")  # type: ignore[arg-type]
