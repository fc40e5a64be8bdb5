"""``filterdb check`` as users and scripts call it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]
RunJson = Callable[..., Any]


def test_one_network(run: Run, folder: Path) -> None:
    result = run("check", folder / "good.safetensors")
    assert result.exit_code == 0
    assert "healthy" in result.stdout
    assert "2 of 2 convolution layers" in result.stdout
    assert "fc.weight" in result.stdout


def test_reasons_stand_below_the_table(run: Run, folder: Path) -> None:
    result = run("check", folder / "bad.safetensors")
    for verdict in ("random", "sparse", "low diversity"):
        assert f": {verdict}." in result.stdout


def test_json_has_the_contract_keys(run_json: RunJson, folder: Path) -> None:
    (network,) = run_json("check", folder / "bad.safetensors")
    assert {"file", "format", "verdict", "reasons", "coverage", "skipped", "layers"} <= set(network)
    assert network["format"] == "safetensors"
    assert [layer["verdict"] for layer in network["layers"]] == [
        "random",
        "sparse",
        "low diversity",
    ]


def test_several_networks_in_one_table(run: Run, folder: Path) -> None:
    result = run("check", folder / "good.safetensors", folder / "bad.safetensors")
    assert result.exit_code == 0
    assert "2 files: 1 healthy, 1 degenerate" in result.stdout


def test_a_bad_file_does_not_stop_the_rest(run: Run, run_json: RunJson, folder: Path) -> None:
    arguments = ("check", folder / "page.pth", folder / "good.safetensors", folder / "nothing")
    result = run(*arguments)
    assert result.exit_code == 3
    assert "HTML" in result.stderr
    assert "does not exist" in result.stderr
    failed, good, missing = run_json(*arguments)
    assert (failed["verdict"], good["verdict"], missing["verdict"]) == (None, "healthy", None)
    assert "HTML" in failed["reasons"][0]


@pytest.mark.parametrize(
    ("gate", "file", "status"),
    [
        ("degenerate", "bad", 1),
        ("degenerate", "good", 0),
        ("sparse", "bad", 1),
        ("invalid", "bad", 0),
    ],
)
def test_gate(run: Run, folder: Path, gate: str, file: str, status: int) -> None:
    result = run("check", folder / f"{file}.safetensors", "--fail-on", gate)
    assert result.exit_code == status


def test_threshold(run_json: RunJson, run: Run, folder: Path) -> None:
    file = folder / "bad.safetensors"
    (network,) = run_json("check", file, "--threshold", "high_sparsity=0.99")
    assert network["layers"][1]["verdict"] != "sparse"
    wrong = run("check", file, "--threshold", "nonsense=1")
    assert wrong.exit_code == 2
    assert "high_sparsity" in wrong.stderr
    assert run("check", file, "--threshold", "high_sparsity=much").exit_code == 2


def test_wrong_usage(run: Run) -> None:
    assert run("check").exit_code == 2


def test_names_from_a_file_are_never_markup(run: Run, tmp_path: Path) -> None:
    from networks import network, save

    arrays = network("healthy")
    arrays["[red]\x1b[2Jlayer.weight"] = arrays.pop("conv0.weight")
    result = run("check", save(tmp_path / "net.safetensors", arrays))
    assert "[red]" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_healthy_network_does_not_hide_its_degenerate_layers(run: Run, tmp_path: Path) -> None:
    from networks import network, save

    path = save(tmp_path / "net.safetensors", network("healthy", "sparse", "healthy"))
    result = run("check", path)
    assert "healthy  (" in result.stdout
    assert "% degenerate)" in result.stdout
