"""Each verdict and its reason; false verdicts on noise; published and real networks."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from filterdb.stats.quality import LayerQuality, layer_quality
from filterdb.stats.randomness import quantile, threshold
from filterdb.stats.verdict import DEGENERATE, Thresholds, layer_verdict, model_verdict

# Raw H of torchvision's ResNet-18 (METHODS 1.5).
RESNET18 = dict(zip(
    [f"layer{i}.{j}.conv{k}" for i in range(1, 5) for j in range(2) for k in (1, 2)],
    (.7840, .8123, .8370, .8341, .8715, .7602, .8550, .8166,
     .5608, .7283, .8072, .7573, .6375, .7787, .6263, .2086), strict=True))  # fmt: skip


def measured(n: int, entropy: float, sparsity: float = 0.0, taps: int = 9) -> LayerQuality:
    t = threshold(n, taps)
    return LayerQuality(n, peak=1.0, sparsity=sparsity, variance_entropy=entropy,
                        randomness_threshold=t, entropy_ratio=entropy / t if t else None,
                        n_clean=round(n * (1 - sparsity)))  # fmt: skip


def name(quality: LayerQuality, kernel=(3, 3), **moved: float) -> str:
    return layer_verdict(quality, kernel, Thresholds(**moved)).name


@pytest.mark.parametrize(
    ("n", "entropy", "sparsity", "expected"),
    [
        (4096, 0.80, 0.0, "healthy"),
        (4096, 0.80, 0.49, "healthy"),
        (4096, 0.80, 0.50, "sparse"),
        (4096, 0.9312, 0.0, "random"),  # T_H - 0.02 = 0.9311
        (4096, 0.9310, 0.0, "healthy"),
        (4096, 0.9538, 0.0, "random"),
        (4096, 0.49, 0.14, "low diversity"),
        (4096, 0.49, 0.13, "healthy"),
        (4096, 0.51, 0.20, "healthy"),
        (4096, 0.29, 0.0, "low diversity"),
        (4096, 0.31, 0.0, "healthy"),
        (64, 0.25, 0.0, "low diversity"),
        (8, 0.65, 0.0, "undecided"),  # noise or training: too few to tell
        (27, 0.86, 0.0, "undecided"),
        (28, 0.86, 0.0, "random"),
        (8, 0.43, 0.2, "undecided"),  # low, but a trained layer of eight may be so
        (8, 0.20, 0.0, "low diversity"),
        (16, 0.60, 0.0, "healthy"),
        (4, 0.10, 0.75, "sparse"),
        (2, 0.0, 0.0, "undecided"),
        (1, 0.0, 0.0, "undecided"),
        (1, 0.0, 1.0, "sparse"),
    ],
)
def test_where_verdicts_change(n, entropy, sparsity, expected):
    assert name(measured(n, entropy, sparsity)) == expected


def test_undefined_and_invalid():
    assert layer_verdict(LayerQuality(64, peak=1.0), (1, 1)).name == "undefined"
    assert "1x1" in layer_verdict(LayerQuality(64, peak=1.0), (1, 1)).reason
    assert layer_verdict(LayerQuality(0), (3, 3)).name == "undefined"
    assert "no weights" in layer_verdict(LayerQuality(0), (3, 3)).reason
    verdict = layer_verdict(LayerQuality(64, n_invalid=1200), (1, 1))
    assert verdict.name == "invalid"
    assert verdict.reason == "1,200 weights are NaN or infinite."


def test_reasons_have_the_numbers():
    def reason(*args: float) -> str:
        return layer_verdict(measured(*args), (3, 3)).reason

    assert "H = 0.800" in reason(4096, 0.8)
    noise = reason(4096, 0.9537)
    assert "H = 0.9537" in noise
    assert "0.9534 to 0.9539" in noise
    assert "cannot be told from noise" in noise
    assert "little structure" in reason(4096, 0.94)
    assert "reaches 0.931" in reason(4096, 0.94)
    low = reason(4096, 0.2086, 0.0018)
    assert "H = 0.209" in low
    assert "1.6 effective patterns of 9" in low
    assert "2,048 of 4,096 filters (50%)" in reason(4096, 0.8, 0.5)
    assert "from 28 filters" in reason(8, 0.65)
    assert "from 11 filters" in reason(8, 0.45, 0.2)
    assert reason(1, 0.0).startswith("1 filter is too few")
    zeros = layer_quality(np.zeros((4, 4, 3, 3)))
    assert layer_verdict(zeros, (3, 3)).reason == "All weights of the 16 filters are zero."


def test_every_reason_is_a_sentence():
    for n in (1, 2, 5, 20, 300, 10**6):
        for entropy in np.linspace(0, math.log10(min(9, max(1, n - 1))), 12):
            for sparsity in (0, 0.2, 0.7, 1):
                text = layer_verdict(measured(n, float(entropy), sparsity), (3, 3)).reason
                assert text[0].isupper() or text[0].isdigit()
                assert text.endswith(".")
                assert not {"None", "nan"} & set(text.replace(";", " ").split())


@pytest.mark.parametrize("kernel", [(1, 2), (1, 3), (2, 2), (5, 5), (7, 7), (11, 11), (17, 17)])
def test_other_sizes_are_judged_on_the_stretched_scale(kernel):
    taps = math.prod(kernel)
    most = math.log10(taps)
    scale = most / math.log10(9)
    assert name(measured(10**5, most - 1e-6, taps=taps), kernel) == "random"
    assert name(measured(10**5, 0.8 * scale, taps=taps), kernel) == "healthy"
    assert name(measured(10**5, 0.29 * scale, taps=taps), kernel) == "low diversity"
    assert name(measured(10**5, 0.45 * scale, 0.2, taps), kernel) == "low diversity"


@pytest.mark.parametrize("shape", [(3, 1, 3, 3), (4, 1, 3, 3), (8, 1, 3, 3), (16, 1, 3, 3),
                                   (32, 1, 3, 3), (32, 3, 3, 3), (64, 16, 3, 3), (8, 1, 5, 5),
                                   (96, 1, 7, 7), (16, 1, 1, 3), (200, 1, 2, 2)],
                         ids=str)  # fmt: skip
def test_noise_is_never_called_anything_else(shape):
    rng = np.random.default_rng(0)
    draws = 200
    found = Counter(
        layer_verdict(layer_quality(rng.standard_normal(shape)), shape[2:]).name
        for _ in range(draws)
    )
    assert found["random"] + found["undecided"] >= 0.95 * draws
    assert found["low diversity"] + found["sparse"] <= 0.01 * draws


@pytest.mark.parametrize("n", [3, 4, 6, 8, 12, 20, 40, 100])
def test_ordinary_trained_layers_are_hardly_ever_degenerate(n):
    rng = np.random.default_rng(n)
    ratios = (0.398, 0.183, 0.117, 0.099, 0.066, 0.055, 0.030, 0.028, 0.024)
    shape = (n, 1, 3, 3)
    draws = 300
    found = Counter(
        layer_verdict(
            layer_quality((rng.standard_normal((n, 9)) * np.sqrt(ratios)).reshape(shape)), (3, 3)
        ).name
        for _ in range(draws)
    )
    assert sum(found[kind] for kind in DEGENERATE) <= 0.025 * draws


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_an_initialised_vgg_is_random(distribution):
    rng = np.random.default_rng(0)
    widths = [(64, 3), (64, 64), (128, 64), (128, 128), (256, 128)]
    layers = []
    for i, (out, per_group) in enumerate(widths):
        shape = (out, per_group, 3, 3)
        draw = rng.standard_normal(shape) if distribution == "normal" else rng.uniform(-1, 1, shape)
        weights = (draw * math.sqrt(2 / (9 * out))).astype(np.float32)
        layers.append((layer_verdict(layer_quality(weights), (3, 3)).name, out * per_group, str(i)))
    assert {verdict for verdict, _, _ in layers} == {"random"}
    assert model_verdict(layers).name == "degenerate"


def test_published_resnet18(shared: Path):
    text = (shared / "golden" / "resnet18_torchconvquality_readme.json").read_text()
    verdicts = {}
    for layer, (sparsity, ratio) in json.loads(text).items():
        width = 64 * 2 ** (int(layer[5]) - 1)
        n = width * (width // 2 if layer[7:] == "0.conv1" and width > 64 else width)
        assert RESNET18[layer] / threshold(n, 9) == pytest.approx(ratio, abs=1e-4)
        verdicts[layer] = (name(measured(n, RESNET18[layer], sparsity)), n)
    assert {layer for layer, (verdict, _) in verdicts.items() if verdict != "healthy"} == {
        "layer4.1.conv2"
    }
    assert verdicts["layer4.1.conv2"][0] == "low diversity"
    model = model_verdict([(verdict, n, layer) for layer, (verdict, n) in verdicts.items()])
    assert model.name == "healthy"
    assert model.degenerate_share == pytest.approx(512 * 512 / 1_220_608, abs=1e-3)
    assert "1 degenerate of 16 layers" in model.reasons[0]
    assert "layer4.1.conv2" in model.reasons[0]


@pytest.mark.parametrize("field", [f.name for f in fields(Thresholds)])
def test_thresholds_lie_between_0_and_1(field):
    for value in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=field):
            Thresholds(**{field: value})


def test_every_threshold_moves_a_verdict():
    assert name(measured(4096, 0.80), random_margin=0.2) == "random"
    assert name(measured(4096, 0.80, 0.1), high_sparsity=0.1) == "sparse"
    assert name(measured(4096, 0.60, 0.2), low_entropy=0.65) == "low diversity"
    assert name(measured(4096, 0.45, 0.2), low_entropy_sparsity=0.3) == "healthy"
    assert name(measured(4096, 0.40), very_low_entropy=0.45) == "low diversity"
    layers = [("random", 40, "a"), ("healthy", 60, "b")]
    assert model_verdict(layers, Thresholds(degenerate_share=0.4)).name == "degenerate"


def test_a_threshold_where_no_number_of_filters_would_decide_is_obeyed():
    assert quantile("trained", 0.99, 10**6, 9) > threshold(10**6, 9) - 0.2
    assert name(measured(8, 0.65), random_margin=0.6) == "random"
    assert quantile("trained", 0.01, 10**6, 9) < 0.9
    assert name(measured(50, 0.85), very_low_entropy=0.94, random_margin=0) == "low diversity"
    assert name(measured(2, 0.0), random_margin=0.6) == "undecided"


@pytest.mark.parametrize(
    ("layers", "expected", "share"),
    [
        ([], "undefined", None),
        ([("undefined", 64, "a")], "undefined", None),
        ([("healthy", 64, "a"), ("undefined", 1000, "b")], "healthy", 0),
        ([("healthy", 50, "a"), ("random", 50, "b")], "degenerate", 0.5),
        ([("healthy", 51, "a"), ("sparse", 49, "b")], "healthy", 0.49),
        ([("low diversity", 1, "a")], "degenerate", 1),
        ([("undecided", 20, "a"), ("healthy", 10, "b")], "undecided", 0),
        ([("undecided", 10, "a"), ("healthy", 20, "b")], "healthy", 0),
        ([("healthy", 99, "a"), ("invalid", 1, "b")], "invalid", 0),
        ([("invalid", 1, "b")], "invalid", None),
    ],
)
def test_model_verdict(layers, expected, share):
    model = model_verdict(layers)
    assert (model.name, model.degenerate_share) == (expected, share)
    assert model.reasons
    assert all(reason.endswith(".") for reason in model.reasons)


def test_model_reasons_say_how_much_and_where():
    layers = [("sparse", 300, "a"), ("sparse", 200, "b"), ("random", 700, "layer4"),
              ("healthy", 800, "c"), ("undecided", 8, "d"), ("undefined", 4, "e"),
              ("invalid", 9, "bad")]  # fmt: skip
    invalid, share, undecided = model_verdict(layers).reasons
    assert invalid == "1 of 7 layers holds NaN or infinite weights, first bad."
    assert share == (
        "60% of its 2,008 filters above 1x1 sit in 3 degenerate of 5 layers: "
        "2 sparse, 1 random (largest: layer4, random, 700 filters)."
    )
    assert undecided == "1 layer is too small to decide (8 filters, 0%)."


def test_a_verdict_does_not_depend_on_scale():
    weights = np.random.default_rng(0).standard_normal((8, 4, 3, 3))
    reference = layer_verdict(layer_quality(weights), (3, 3))
    scaled = replace(layer_quality(weights * 2.0**40))
    assert layer_verdict(scaled, (3, 3)) == reference


def test_kernels_too_large_for_statistics_say_so():
    verdict = layer_verdict(LayerQuality(5000, peak=1.0), (80, 80))
    assert verdict.name == "undefined"
    assert "80x80" in verdict.reason
