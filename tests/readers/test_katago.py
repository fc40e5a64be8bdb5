"""KataGo networks: made by an independent writer, in text and in binary, and one of the zoo."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from damaged_files import damages

import filterdb
from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.layer import Contents
from filterdb.readers.head import Head
from filterdb.readers.katago import read

RANDOM = np.random.default_rng(9)


class Writer:
    """Writes descriptions as KataGo's exporter does, line by line."""

    def __init__(self, *, binary: bool, version: int = 8) -> None:
        self.binary = binary
        self.out = b"a-net\n%d\n22\n19\n" % version
        self.weights: dict[str, np.ndarray] = {}
        self.scales: dict[str, np.ndarray] = {}

    def line(self, *words: object) -> None:
        self.out += b"".join(f"{word}\n".encode() for word in words)

    def numbers(self, values: np.ndarray, *, rows: int = 1) -> None:
        if self.binary:
            self.out += b"@BIN@" + values.astype("<f4").tobytes() + b"\n"
        else:
            for row in values.reshape(rows, -1):
                self.line(" ".join(repr(float(value)) for value in row))

    def conv(self, name: str, size: int, into: int, out: int, dilation: int = 1) -> None:
        weight = RANDOM.normal(size=(size, size, into, out)).astype("f4")
        self.line(name, size, size, into, out, dilation, dilation)
        self.numbers(weight, rows=size)
        self.weights[name] = weight.transpose(3, 2, 0, 1)

    def norm(self, name: str, channels: int, *, scale: bool = True) -> None:
        self.line(name, channels, 0.001, int(scale), 1)
        mean, gamma, beta = RANDOM.normal(size=(3, channels)).astype("f4")
        variance = np.abs(RANDOM.normal(size=channels)).astype("f4") + 1
        for values in (mean, variance, *([gamma] if scale else []), beta):
            self.numbers(values)
        factor = gamma.astype(float) if scale else 1.0
        self.scales[name] = factor / np.sqrt(variance.astype(float) + 0.001)
        self.line(f"{name}/act", "ACTIVATION_MISH")

    def matrix(self, name: str, into: int, out: int) -> None:
        self.line(name, into, out)
        self.numbers(RANDOM.normal(size=(into, out)), rows=into)


def network(*, binary: bool) -> Writer:
    """A trunk of an ordinary, a pooling and a nested block, and a head."""
    w = Writer(binary=binary)
    w.line("trunk", 3, 6, 6, 4, 4, 4)
    w.conv("first", 5, 3, 6)
    w.matrix("global", 7, 6)
    w.line("ordinary_block", "block0")
    w.norm("b0/norm1", 6)
    w.conv("b0/w1", 3, 6, 4)
    w.norm("b0/norm2", 4, scale=False)
    w.conv("b0/w2", 3, 4, 6, 2)
    w.line("gpool_block", "block1")
    w.norm("b1/norm1", 6)
    w.conv("b1/w1a", 3, 6, 4)
    w.conv("b1/w1b", 3, 6, 2)
    w.norm("b1/norm1b", 2)
    w.matrix("b1/w1r", 6, 4)
    w.norm("b1/norm2", 4)
    w.conv("b1/w2", 3, 4, 6)
    w.norm("tip", 6)
    w.line("policyhead")
    w.conv("p1", 1, 6, 4)
    w.conv("g1", 1, 6, 4)
    w.norm("g1/norm", 4)
    w.matrix("g2", 12, 4)
    w.norm("p1/norm", 4)
    w.conv("p2", 1, 4, 1)
    w.matrix("pass", 12, 1)
    w.line("bias", 3)
    w.numbers(RANDOM.normal(size=3))
    return w


def contents(folder: Path, content: bytes, name: str = "a.gz") -> Contents:
    (folder / name).write_bytes(gzip.compress(content))
    return read(Head.of(folder / name))


@pytest.mark.parametrize("binary", [False, True])
def test_weights_and_norms(tmp_path: Path, binary: bool) -> None:
    written = network(binary=binary)
    found = contents(tmp_path, written.out)
    assert [t.name for t in found.tensors] == list(written.weights)
    norms = {"b0/w1": "b0/norm2", "b1/w1a": "b1/norm2", "b1/w1b": "b1/norm1b", "p1": "p1/norm",
             "g1": "g1/norm"}  # fmt: skip
    for tensor in found.tensors:
        np.testing.assert_array_equal(tensor.load(), written.weights[tensor.name])
        conv = tensor.conv
        assert conv is not None
        assert (conv.norm.name if conv.norm else None) == norms.get(tensor.name)
        assert conv.state == ("raw" if tensor.name in norms else "no_norm")
        if conv.norm:
            np.testing.assert_allclose(conv.norm.scale(), written.scales[conv.norm.name])
    assert {item.name for item in found.skipped} == {"global", "b1/w1r", "g2", "pass"}
    model = filterdb.read(tmp_path / "a.gz")
    assert model.format == "katago"
    assert {layer.kind for layer in model.layers} == {"conv"}
    assert next(x for x in model.layers if x.name == "b0/w2").dilation == (2, 2)
    assert "version 8" in model.notes[0]


@pytest.mark.parametrize("binary", [False, True])
def test_cut_short(tmp_path: Path, binary: bool) -> None:
    whole = network(binary=binary).out
    packed = gzip.compress(whole)
    (tmp_path / "a.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(CorruptFileError, match="cannot be unpacked"):
        read(Head.of(tmp_path / "a.gz"))
    if binary:
        at = whole.index(b"@BIN@")
        with pytest.raises(CorruptFileError, match="cut short"):
            contents(tmp_path, whole[: at + 20])


def test_what_no_layer_is_called_is_named(tmp_path: Path) -> None:
    found = contents(tmp_path, b"n\n8\n22\n19\nodd\n" + b"1.5 2.5\n" * 99)
    assert found.skipped[0].name == "odd"
    with pytest.raises(CorruptFileError, match="none"):
        contents(tmp_path, b"n\n8\n22\n19\nodd\n1\n1 x y\n")
    with pytest.raises(CorruptFileError, match="not known"):
        contents(tmp_path, b"n\n8\n22\n19\nodd\n1\n2\n3\n@BIN@" + bytes(99))


def test_bombs(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="out of proportion"):
        contents(tmp_path, b"n\n8\n22\n19\nodd\n" + b"0 " * 30_000_000)
    with pytest.raises(LimitError, match="lines"):
        contents(tmp_path, b"n\n8\n22\n19\nodd\n" + b"0\n" * 500_010)
    with pytest.raises(LimitError, match="parts"):
        contents(tmp_path, b"n\n8\n22\n19\n" + b"x\n" * 100_001)


@pytest.mark.parametrize("binary", [False, True])
def test_damage_inside(tmp_path: Path, binary: bool) -> None:
    whole = network(binary=binary).out
    refused = 0
    for content in damages(whole, 40, 160):
        (tmp_path / "a.gz").write_bytes(gzip.compress(content, 1))
        try:
            for layer in filterdb.read(tmp_path / "a.gz").layers:
                assert layer.weights.shape == layer.shape
        except ReadError as error:
            if "unforeseen" in str(error):
                raise
            refused += 1
    assert refused < 200


def test_the_zoo(zoo: Path) -> None:
    model = filterdb.read(zoo / "weights" / "katago--v53-140-5x64.txt.gz")
    assert len(model.layers) == 16
    assert sum(x.n_filters for x in model.layers if x.kernel == (3, 3)) == 43_776
    with gzip.open(zoo / "weights" / "katago--v53-140-5x64.txt.gz", "rt") as file:
        lines = file.read().split("\n")
    at = lines.index("rconv4/w1b")
    sizes = [int(value) for value in lines[at + 1 : at + 5]]
    values = np.array(" ".join(lines[at + 7 : at + 10]).split(), np.float32).reshape(sizes)
    ours = next(layer for layer in model.layers if layer.name == "rconv4/w1b")
    np.testing.assert_array_equal(ours.weights, values.transpose(3, 2, 0, 1))
