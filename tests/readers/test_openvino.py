"""The OpenVINO reader, against weights that OpenVINO itself has computed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from damaged_files import read_damaged

import filterdb
from filterdb.errors import (
    CorruptFileError,
    LimitError,
    NoConvolutionError,
    ReadError,
    UnsupportedFormatError,
)
from filterdb.layer import Contents
from filterdb.readers.head import Head
from filterdb.readers.layout import transposed_to_out_first
from filterdb.readers.openvino.document import read_document
from filterdb.readers.openvino.network import main_file, read

FILES = Path(__file__).with_name("files") / "openvino"
TRANSPOSED = {"up", "up_grouped"}


def as_ours(name: str, weight: np.ndarray) -> np.ndarray:
    """OpenVINO's layout, groups first, as (C_out, C_in/groups, kh, kw)."""
    groups = weight.shape[0] if weight.ndim == 5 else 1
    joined = weight.reshape(-1, *weight.shape[-3:])
    return transposed_to_out_first(joined, groups) if name in TRANSPOSED else joined


@pytest.mark.parametrize("name", ["plain", "plain_half", "norms", "quantised", "loop"])
def test_weights_are_those_that_openvino_computes(name: str) -> None:
    theirs = np.load(FILES / f"{name}.npz")
    model = filterdb.read(FILES / f"{name}.xml")
    assert model.format == "openvino"
    assert {layer.name for layer in model.layers} == set(theirs.files) - {"twin2"}
    for ours in model.layers:
        np.testing.assert_allclose(
            ours.weights, as_ours(ours.name, theirs[ours.name]), rtol=1e-6, atol=1e-7
        )


def test_kinds_depth_and_ties() -> None:
    model = filterdb.read(FILES / "plain.xml")
    found = [(x.name, x.kind, x.groups, x.stride, x.dilation, x.conv_depth) for x in model.layers]
    assert found == [
        ("first", "conv", 1, (2, 2), (1, 1), 0),
        ("grouped", "grouped", 2, (1, 1), (2, 2), 1),
        ("depth", "depthwise", 4, (1, 1), (1, 1), 1),
        ("twin1", "conv", 1, (1, 1), (1, 1), 2),
        ("up", "transposed", 1, (1, 1), (1, 1), 3),
        ("up_grouped", "transposed", 2, (2, 2), (1, 1), 4),
    ]
    assert "shares the weights of layer 'twin1'" in model.skipped[0].reason


def test_bodies_lie_between_what_comes_before_and_after() -> None:
    layers = filterdb.read(FILES / "loop.xml").layers
    assert [(layer.name, layer.conv_depth) for layer in layers] == [
        ("outside", 0), ("then", 1), ("else", 1), ("after", 2),
    ]  # fmt: skip


def test_dtypes_and_schemes() -> None:
    tensors = read(Head.of(FILES / "quantised.xml")).tensors
    assert {t.name: (t.dtype, t.scheme) for t in tensors} == {
        "symmetric": ("int8", "per-channel, symmetric"),
        "affine": ("uint8", "per-channel, affine"),
        "rounded": ("float32", "per-channel, FakeQuantize of 255 levels"),
        "reshaped": ("int8", "per-tensor, symmetric"),
        "turned": ("float32", ""),
    }
    assert {layer.dtype for layer in filterdb.read(FILES / "plain_half.xml").layers} == {"float16"}


def test_norms() -> None:
    tensors = {t.name: t.conv for t in read(Head.of(FILES / "norms.xml")).tensors}
    normed, scaled, last = (tensors[name] for name in ("normed", "scaled", "last"))
    assert normed
    assert scaled
    assert last
    assert normed.norm
    assert scaled.norm
    assert [c.state for c in (normed, scaled, last)] == ["raw", "raw", "no_norm"]
    assert normed.norm.name == "norm"
    data = np.fromfile(FILES / "norms.bin", np.uint8)
    document = read_document((FILES / "norms.xml").read_bytes())
    layer = next(x for x in document.layers if x.name == "norm")
    constants = {x.id: x.data for x in document.layers if x.type == "Const"}

    def stored(port: str) -> np.ndarray:
        place = constants[document.edges[(layer.net, layer.id, port)][1]]
        begin, size = int(place["offset"]), int(place["size"])
        return data[begin : begin + size].view("<f4").astype(float)

    expected = stored(layer.inputs[1]) / np.sqrt(stored(layer.inputs[4]) + 1e-3)
    np.testing.assert_allclose(normed.norm.scale(), expected)
    assert scaled.norm.scale().shape == (5,)


def test_either_file_leads_to_the_pair(tmp_path: Path) -> None:
    for suffix in (".xml", ".bin"):
        shutil.copy(FILES / f"plain{suffix}", tmp_path / f"a{suffix}")
    xml, binary = tmp_path / "a.xml", tmp_path / "a.bin"
    assert main_file(Head.of(binary)) == xml
    assert main_file(Head.of(xml)) is None
    assert read(Head.of(xml)).companions == (binary,)
    assert read(Head.of(binary)).companions == (xml,)
    binary.unlink()
    with pytest.raises(ReadError, match=r"Put the \.bin file"):
        filterdb.read(xml)


XML = """<?xml version="1.0"?>
<net name="n" version="{version}"><layers>
<layer id="0" name="x" type="Parameter"><output><port id="0"><dim>1</dim></port></output></layer>
<layer id="1" name="w" type="Const"><data element_type="{kind}" shape="{shape}" offset="{offset}"
 size="{size}"/><output><port id="0"/></output></layer>
<layer id="2" name="c" type="{type}"><data strides="1,1" dilations="1,1"/>
<input><port id="0"/><port id="1"/></input><output><port id="2"/></output></layer>{more}
</layers><edges><edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>
<edge from-layer="{weight}" from-port="0" to-layer="2" to-port="1"/></edges></net>"""


def contents(folder: Path, **given: object) -> Contents:
    facts: dict[str, object] = {
        "version": 11, "kind": "f32", "shape": "2,1,3,3", "offset": 4, "size": 72,
        "type": "Convolution", "weight": 1, "more": "",
    }  # fmt: skip
    (folder / "a.xml").write_text(XML.format(**(facts | given)))
    (folder / "a.bin").write_bytes(np.arange(19, dtype="<f4").tobytes())
    return read(Head.of(folder / "a.xml"))


def test_a_constant_at_its_place(tmp_path: Path) -> None:
    (tensor,) = contents(tmp_path).tensors
    np.testing.assert_array_equal(tensor.load().ravel(), np.arange(1, 19))
    (tensor,) = contents(tmp_path, kind="f16", size=36, offset=3).tensors
    assert tensor.load().shape == (2, 1, 3, 3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"offset": 8}, "bytes 8 to 80 of a binary file of 76"),
        ({"size": 71}, "does not fit its 71 bytes"),
        ({"shape": "2,1,3,-3"}, "does not fit"),
        ({"offset": -4}, "does not fit"),
        ({"shape": "99999999999,99999999999,9999999999,9"}, "does not fit"),
    ],
)
def test_contradictions(tmp_path: Path, given: dict[str, object], words: str) -> None:
    with pytest.raises(CorruptFileError, match=words):
        contents(tmp_path, **given)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"type": "BinaryConvolution"}, "not known"),
        ({"kind": "nf4"}, "element type nf4"),
        ({"shape": "18"}, "1-D weight"),
        ({"weight": 0}, "type Parameter"),
        ({"weight": 7}, "nothing in the file"),
    ],
)
def test_what_cannot_be_analysed_says_why(
    tmp_path: Path, given: dict[str, object], words: str
) -> None:
    found = contents(tmp_path, **given)
    assert found.tensors == ()
    assert words in found.skipped[0].reason


def test_a_weight_that_is_computed_without_end(tmp_path: Path) -> None:
    layers, edges = "", ""
    for i in range(3, 40):
        layers += (
            f'<layer id="{i}" name="m{i}" type="Multiply">'
            '<input><port id="1"/><port id="2"/></input>'
            '<output><port id="0"><dim>2</dim><dim>1</dim><dim>3</dim><dim>3</dim></port></output>'
            "</layer>"
        )
        source = 1 if i == 3 else i - 1
        edges += "".join(
            f'<edge from-layer="{source}" from-port="0" to-layer="{i}" to-port="{port}"/>'
            for port in (1, 2)
        )
    text = XML.format(version=11, kind="f32", shape="2,1,3,3", offset=4, size=72,
                      type="Convolution", weight=39, more=layers)  # fmt: skip
    contents(tmp_path)
    (tmp_path / "a.xml").write_text(text.replace("<edges>", "<edges>" + edges))
    found = read(Head.of(tmp_path / "a.xml"))
    assert "more than 64 steps" in found.skipped[0].reason


def test_overlapping_constants_are_out_of_proportion(tmp_path: Path) -> None:
    count, extent = 400, 256
    layers, edges = [], []
    for i in range(count):
        layers.append(
            f'<layer id="{2 * i}" name="w{i}" type="Const"><data element_type="f32" '
            f'shape="{extent},{extent},3,3" offset="0" size="{extent**2 * 36}"/>'
            '<output><port id="0"/></output></layer>'
            f'<layer id="{2 * i + 1}" name="c{i}" type="Convolution"><input><port id="0"/>'
            '<port id="1"/></input><output><port id="2"/></output></layer>'
        )
        edges.append(
            f'<edge from-layer="{2 * i}" from-port="0" to-layer="{2 * i + 1}" to-port="1"/>'
        )
    (tmp_path / "a.xml").write_text(
        f'<net name="n" version="11"><layers>{"".join(layers)}</layers>'
        f"<edges>{''.join(edges)}</edges></net>"
    )
    (tmp_path / "a.bin").write_bytes(bytes(extent**2 * 36))
    with pytest.raises(LimitError, match="out of proportion"):
        read(Head.of(tmp_path / "a.xml"))


LAUGHS = """<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>
<net name="n" version="11"><layers></layers></net>"""
OUTSIDE = '<net name="n" version="11"><!DOCTYPE net SYSTEM "file:///etc/passwd"></net>'


@pytest.mark.parametrize("text", [LAUGHS, OUTSIDE, "<net", "<net><a></b></net>", "<net>&a;</net>"])
def test_no_entity_is_expanded_and_nothing_else_opened(text: str) -> None:
    with pytest.raises(CorruptFileError):
        read_document(text.encode())


def test_limits_of_the_document() -> None:
    with pytest.raises(LimitError, match="nested"):
        read_document(b"<a>" * 100)
    with pytest.raises(LimitError, match="tag"):
        read_document(b"<net " + b" " * 10**6 + b"></net>")
    with pytest.raises(LimitError, match="layers"):
        read_document(b"<net><layers>" + b"<layer/>" * 100_001 + b"</layers></net>")
    with pytest.raises(LimitError, match="ports and edges"):
        read_document(b"<net><edges>" + b"<edge/>" * 400_001 + b"</edges></net>")


def test_older_versions_and_networks_without_convolution(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormatError, match="version 7"):
        contents(tmp_path, version=7)
    contents(tmp_path, type="MatMul")
    with pytest.raises(NoConvolutionError):
        filterdb.read(tmp_path / "a.xml")


@pytest.mark.parametrize("name", ["plain", "quantised"])
def test_damage(tmp_path: Path, name: str) -> None:
    files = [FILES / f"{name}.xml", FILES / f"{name}.bin"]
    assert read_damaged(tmp_path, files) > 50
