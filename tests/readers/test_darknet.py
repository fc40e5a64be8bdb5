"""The darknet reader, against what OpenCV read from the same files, and an independent writer."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from damaged_files import read_damaged

import filterdb
from filterdb.errors import CorruptFileError, NoConvolutionError, ReadError
from filterdb.layer import Contents
from filterdb.readers.darknet.config import read_config
from filterdb.readers.darknet.network import main_file, read
from filterdb.readers.head import Head
from filterdb.readers.registry import identify

FILES = Path(__file__).with_name("files") / "darknet"
NET = "[net]\nwidth=8\nheight=6\nchannels=2\n"
CONV = "[convolutional]\nfilters=3\nsize=3\nstride=1\npad=1\nactivation=linear\n"


def written(folder: Path, layers: str, count: int, *, header: bytes | None = None) -> Path:
    """A pair whose numbers are 0, 1, 2, ... in the order of the file."""
    head = struct.pack("<iiiq", 0, 2, 5, 9) if header is None else header
    (folder / "a.weights").write_bytes(head + np.arange(count, dtype="<f4").tobytes())
    (folder / "a.cfg").write_text(NET + layers)
    return folder / "a.weights"


def contents(folder: Path, layers: str, count: int, *, header: bytes | None = None) -> Contents:
    return read(Head.of(written(folder, layers, count, header=header)))


def test_weights_and_norms_are_those_that_opencv_reads() -> None:
    theirs = np.load(FILES / "plain.npz")
    found = read(Head.of(FILES / "plain.weights"))
    assert [t.name.split(".")[0] for t in found.tensors] == ["0", "2", "3", "4", "9"]
    for tensor in found.tensors:
        number = tensor.name.split(".")[0]
        np.testing.assert_array_equal(tensor.load(), theirs[f"conv_{number}"])
        assert tensor.conv is not None
        if f"bn_{number}" not in theirs.files:
            assert (tensor.conv.state, tensor.conv.norm) == ("no_norm", None)
            continue
        assert tensor.conv.state == "raw"
        assert tensor.conv.norm is not None
        _, variance, gamma, _ = theirs[f"bn_{number}"].astype(float)
        np.testing.assert_allclose(tensor.conv.norm.scale(), gamma / np.sqrt(variance + 1e-5))


def test_kinds_and_depth() -> None:
    layers = filterdb.read(FILES / "plain.cfg").layers
    assert [layer.kind for layer in layers] == ["conv", "depthwise", "conv", "conv", "conv"]
    assert [layer.stride for layer in layers][:2] == [(1, 1), (2, 2)]
    assert [layer.conv_depth for layer in layers] == [0, 1, 2, 3, 4]
    assert layers[0].depth_source == "graph"


@pytest.mark.parametrize(
    ("header", "size"),
    [((0, 1, 0), 4), ((0, 2, 0), 8), ((0, 2, 5), 8)],
)
def test_headers_of_every_version(tmp_path: Path, header: tuple[int, ...], size: int) -> None:
    head = struct.pack("<iii", *header) + bytes(size)
    (tensor,) = contents(tmp_path, CONV, 3 + 54, header=head).tensors
    np.testing.assert_array_equal(tensor.load().ravel(), np.arange(3, 57))


def test_every_layer_with_numbers_is_passed_over_right(tmp_path: Path) -> None:
    layers = (
        CONV + "batch_normalize=1\n"  # 6x8x3: 3 + 9 + 54
        "[deconvolutional]\nfilters=2\nsize=2\nstride=2\n"  # 12x16x2: 2 + 24
        "[batchnorm]\n"  # 6
        "[local]\nfilters=1\nsize=3\nstride=1\n"  # 10x14x1: 140 + 140 * 18
        "[reorg]\nstride=2\n"  # 5x7x4
        "[connected]\noutput=4\nbatch_normalize=1\n"  # 1x1x4: 4 + 4 * 140 + 12
        "[softmax]\n" + CONV  # 3 + 3 * 4 * 9
    )
    sizes = [3 + 9 + 54, 26, 6, 140 + 140 * 18, 4 + 560 + 12, 3 + 108]
    found = contents(tmp_path, layers, sum(sizes))
    tensors = {t.name: t for t in found.tensors}
    assert list(tensors) == ["0.convolutional", "1.deconvolutional", "7.convolutional"]
    last = tensors["7.convolutional"]
    np.testing.assert_array_equal(last.load().ravel(), np.arange(sum(sizes) - 108, sum(sizes)))
    up = tensors["1.deconvolutional"]
    begin = sizes[0] + 2
    expected = np.arange(begin, begin + 24).reshape(3, 2, 2, 2).transpose(1, 0, 2, 3)
    np.testing.assert_array_equal(up.load(), expected)
    assert up.conv is not None
    assert up.conv.transposed
    assert up.conv.norm is not None
    assert up.conv.norm.name == "2.batchnorm"
    reasons = {item.name: item.reason for item in found.skipped}
    assert "locally connected" in reasons["3.local"]
    assert "fully connected" in reasons["5.connected"]


def test_routes_groups_and_pooling(tmp_path: Path) -> None:
    layers = (
        CONV + "[maxpool]\nsize=2\nstride=2\n" + CONV + "[route]\nlayers=1,-1\n"
        "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n[upsample]\nstride=2\n"
        "[shortcut]\nfrom=0\n[avgpool]\n[scale_channels]\nfrom=0\n" + CONV
    )
    sections = read_config(NET + layers)
    assert [section.out for section in sections] == [
        (6, 8, 3), (3, 4, 3), (3, 4, 3), (3, 4, 6), (3, 4, 3), (6, 8, 3), (6, 8, 3), (1, 1, 3),
        (6, 8, 3), (6, 8, 3),
    ]  # fmt: skip
    found = contents(tmp_path, layers, 57 + 84 + 84)
    depths = [t.conv.depth for t in found.tensors if t.conv]
    assert depths == sorted(depths)


def test_the_beginning_of_a_network(tmp_path: Path) -> None:
    found = contents(tmp_path, CONV * 3, 57 + 84)
    assert [t.name for t in found.tensors] == ["0.convolutional", "1.convolutional"]
    (left,) = found.skipped
    assert "ends before this layer" in left.reason


def test_a_layer_of_unknown_size_ends_what_is_known(tmp_path: Path) -> None:
    found = contents(tmp_path, CONV + "[crnn]\noutput=3\n" + CONV, 999)
    assert len(found.tensors) == 1
    assert "[crnn] takes is not known" in found.skipped[0].reason


@pytest.mark.parametrize("count", [56, 58])
def test_files_that_do_not_belong_together(tmp_path: Path, count: int) -> None:
    with pytest.raises(ReadError, match="belong"):
        contents(tmp_path, CONV, count)


def test_the_pair_is_found_from_either_file(tmp_path: Path) -> None:
    weights = written(tmp_path, CONV, 57)
    config = weights.with_suffix(".cfg")
    assert main_file(Head.of(config)) == weights
    assert read(Head.of(config)).companions == (weights,)
    assert read(Head.of(weights)).companions == (config,)
    final = weights.rename(tmp_path / "a_final.weights")
    assert read(Head.of(final)).companions == (config,)
    with pytest.raises(ReadError, match=r"Put|put"):
        read(Head.of(config))
    config.unlink()
    with pytest.raises(ReadError, match=r"nothing but numbers.*Put the \.cfg"):
        filterdb.read(final)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[convolutional]\nfilters=3\n", r"does not begin with \[net\]"),
        (NET + "[route]\nlayers=-1\n", "which is none"),
        (NET + CONV + "[route]\n", "refers to no layer"),
        (NET + CONV + "[shortcut]\nfrom=5\n", "refers to the layer 5"),
        (NET + "[convolutional]\nfilters=-3\n", "no sound size"),
        (NET + "[upsample]\nstride=99999999999\n", "no sound size"),
    ],
)
def test_a_damaged_configuration(text: str, words: str) -> None:
    with pytest.raises(CorruptFileError, match=words):
        read_config(text)


def test_groups_that_do_not_fit(tmp_path: Path) -> None:
    found = contents(tmp_path, CONV + "groups=2\n", 3 + 27)
    assert "2 groups do not fit" in found.skipped[0].reason


def test_no_convolution_and_other_texts(tmp_path: Path) -> None:
    with pytest.raises(NoConvolutionError):
        filterdb.read(written(tmp_path, "[connected]\noutput=2\n", 2 + 2 * 96))
    (tmp_path / "b.cfg").write_text("# an ini file\n[network-settings]\nhost=a\n")
    found = identify(Head.of(tmp_path / "b.cfg"))
    assert getattr(found, "name", "") == "text"


def test_damage(tmp_path: Path) -> None:
    files = [FILES / "plain.weights", FILES / "plain.cfg"]
    assert read_damaged(tmp_path, files) > 50
