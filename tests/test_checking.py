"""One network in, verdicts with reasons out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from filterdb import NoConvolutionError, ReadError, Thresholds, check
from filterdb.checking import check_model
from filterdb.layer import Contents, ConvLayer, Tensor
from filterdb.reading import read
from filterdb.roles import assign_roles
from networks import network, save

KEYS = ["name", "index", "kernel", "kind", "out_channels", "in_per_group", "groups", "n_filters",
        "sparsity", "variance_entropy", "randomness_threshold", "entropy_ratio", "orthogonality",
        "verdict", "reason", "zeros", "weight_state", "state_evidence"]  # fmt: skip


@pytest.mark.parametrize("kind", ["healthy", "random", "sparse", "low diversity"])
def test_each_kind_of_layer_gets_its_verdict(kind: str) -> None:
    result = check(network(kind, kind))
    assert [row.verdict for row in result.layers] == [kind, kind]
    assert all(row.reason for row in result.layers)
    assert result.verdict == ("healthy" if kind == "healthy" else "degenerate")
    assert result.degenerate_share == (0 if kind == "healthy" else 1)


def test_the_share_counts_filters_not_layers() -> None:
    result = check(network("random", "healthy", "healthy"))
    rows = result.layers
    expected = rows[0].layer.n_filters / sum(row.layer.n_filters for row in rows)
    assert result.degenerate_share == pytest.approx(expected)


def test_dict_has_the_contract_keys_and_is_json() -> None:
    result = check({**network("healthy"), "point.weight": np.ones((4, 24, 1, 1), np.float32)})
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert [list(row) for row in data["layers"]] == [KEYS, KEYS]
    assert data["coverage"] == {"conv_layers": 2, "analysed": 1, "filters": 24 * 12 + 4 * 24}
    assert data["skipped"] == [{"name": "fc.weight", "reason": data["skipped"][0]["reason"]}]
    point = data["layers"][1]
    assert point["kernel"] == [1, 1]
    assert (point["sparsity"], point["variance_entropy"]) == (None, None)
    assert point["verdict"] == "undefined"


def test_nan_makes_a_layer_invalid_with_the_count() -> None:
    arrays = network("healthy", "healthy")
    arrays["conv1.weight"][0, 0, 0, :2] = np.nan
    result = check(arrays)
    assert [row.verdict for row in result.layers] == ["healthy", "invalid"]
    assert "2" in result.layers[1].reason
    assert result.verdict == "invalid"
    assert result.coverage["analysed"] == 1


def test_thresholds_move_verdicts() -> None:
    arrays = network("sparse")
    assert check(arrays).layers[0].verdict == "sparse"
    lenient = Thresholds(high_sparsity=0.99)
    assert check(arrays, thresholds=lenient).layers[0].verdict != "sparse"


def test_visit_sees_every_layer_once_in_order() -> None:
    arrays = network("healthy", "random")
    seen: list[tuple[str, float]] = []

    def visit(layer: ConvLayer, weights: np.ndarray) -> None:
        seen.append((layer.name, float(weights.sum())))

    check_model(read(arrays), visit=visit)
    assert seen == [(f"conv{i}", float(arrays[f"conv{i}.weight"].sum())) for i in range(2)]


def test_to_pandas_has_a_row_a_layer_and_every_measure() -> None:
    table = check(network("healthy", "sparse")).to_pandas()
    assert list(table["verdict"]) == ["healthy", "sparse"]
    assert {"clean_variance_entropy", "l2"} <= set(table.columns)


def test_representations_are_short_and_escaped() -> None:
    arrays = network("healthy")
    arrays["<b>.weight"] = arrays.pop("conv0.weight")
    result = check(arrays)
    assert len(repr(result)) < 200
    assert "&lt;b&gt;" in result._repr_html_()


def test_a_layer_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "net.safetensors", network("healthy"))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ReadError, match=r"net\.safetensors"):
        check(path)


def test_no_convolution_says_what_there_is_instead() -> None:
    with pytest.raises(NoConvolutionError, match="fully connected"):
        check({"fc.weight": np.ones((4, 4), np.float32)})


def test_input_is_not_changed() -> None:
    arrays = network("healthy", "sparse")
    before = {name: array.copy() for name, array in arrays.items()}
    check(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("fault", "words"),
    [(OverflowError("too large"), "OverflowError"), (MemoryError(), "not enough memory")],
)
def test_a_fault_in_a_reader_is_an_error_that_names_the_layer(fault: Exception, words: str) -> None:
    def load() -> np.ndarray:
        raise fault

    contents = Contents("test", (Tensor("conv.weight", (4, 4, 3, 3), "float32", load),))
    with pytest.raises(ReadError, match=f"(?s)layer 'conv'.*{words}"):
        check_model(assign_roles(contents, "memory"))
