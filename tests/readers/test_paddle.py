"""The readers of PaddlePaddle's files, against the arrays that it wrote."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from damaged_files import read_damaged

import filterdb
from filterdb.errors import CorruptFileError, LimitError, NoConvolutionError, ReadError
from filterdb.readers.head import Head
from filterdb.readers.paddle.description import read_pir
from filterdb.readers.paddle.inference import main_file
from filterdb.readers.paddle.streams import read_streams
from filterdb.readers.registry import identify, load_reader

FILES = Path(__file__).with_name("files") / "paddle"
STATES = ("state", "protocol2", "nested")
PAIRS = ("pir.json", "pir.pdiparams", "program.pdmodel", "program.pdiparams")


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FILES / f"{name}.npz") as archive:
        return dict(archive)


def out_first(array: np.ndarray, groups: int) -> np.ndarray:
    into, outs, *kernel = array.shape
    split = array.reshape(groups, into // groups, outs, *kernel)
    return split.swapaxes(1, 2).reshape(groups * outs, into // groups, *kernel)


@pytest.mark.parametrize("name", [*STATES, "bfloat16"])
def test_state_dicts_hold_what_paddle_wrote(name: str) -> None:
    model, wanted = filterdb.read(FILES / f"{name}.pdparams"), arrays("state")
    assert (model.format, model.producer) == ("paddle", "paddlepaddle")
    assert [layer.name for layer in model.layers] == ["conv1", "conv2", "conv3", "up"]
    for layer in model.layers:
        key = f"{layer.name}.weight" + (" bfloat16" if name == "bfloat16" else "")
        array = out_first(wanted[key], 2) if layer.name == "up" else wanted[key]
        assert np.array_equal(layer.weights, array)
        assert layer.dtype == ("bfloat16" if name == "bfloat16" else "float32")
    kinds = [layer.kind for layer in model.layers]
    assert kinds == ["conv", "depthwise", "conv", "transposed"]
    assert [item.name for item in model.skipped] == ["head.weight"]


def test_norms_of_state_dicts_are_found() -> None:
    layers = filterdb.read(FILES / "state.pdparams").layers
    norm = layers[0].norm
    assert layers[0].state == "raw"
    assert norm is not None
    assert norm.name == "bn1"
    wanted = arrays("state")
    scale = wanted["bn1.weight"] / np.sqrt(wanted["bn1._variance"] + 1e-5)
    assert np.allclose(norm.scale(), scale)


@pytest.mark.parametrize("name", PAIRS)
def test_networks_for_inference_hold_what_paddle_wrote(name: str) -> None:
    model, wanted = filterdb.read(FILES / name), arrays(name.partition(".")[0])
    assert model.format == "paddle-inference"
    names = ["conv2d_0.w_0", "conv2d_1.w_0", "conv2d_2.w_0", "conv2d_transpose_0.w_0"]
    assert [layer.name for layer in model.layers] == names
    for layer in model.layers:
        assert np.array_equal(layer.weights, wanted[layer.name])
    kinds = [layer.kind for layer in model.layers]
    assert kinds == ["conv", "depthwise", "conv", "transposed"]
    assert [layer.groups for layer in model.layers] == [1, 8, 1, 2]
    assert (model.layers[0].stride, model.layers[1].dilation) == ((2, 2), (1, 2))
    assert {layer.depth_source for layer in model.layers} == {"graph"}
    states = [layer.state for layer in model.layers]
    assert states == ["raw", "no_norm", "raw", "no_norm"]
    norm = model.layers[0].norm
    assert norm is not None
    scale = wanted["batch_norm2d_0.w_0"] / np.sqrt(wanted["batch_norm2d_0.w_2"] + 1e-4)
    assert np.allclose(norm.scale(), scale)
    assert len(model.companions) == 1


def test_detection(tmp_path: Path) -> None:
    for name in (*STATES, "bfloat16"):
        found = identify(Head.of(FILES / f"{name}.pdparams"))
        assert found is load_reader("paddle.parameters"), name
    for name in PAIRS:
        assert identify(Head.of(FILES / name)) is load_reader("paddle.inference")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"w": np.ones((4, 4, 3, 3))}))
    assert identify(Head.of(tmp_path / "a.pkl")) is load_reader("pickled_arrays")


@pytest.mark.parametrize(("name", "end"), [("pir", "json"), ("program", "pdmodel")])
def test_the_description_stands_for_the_pair(name: str, end: str) -> None:
    assert main_file(Head.of(FILES / f"{name}.pdiparams")) == FILES / f"{name}.{end}"
    assert main_file(Head.of(FILES / f"{name}.{end}")) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [("program.pdmodel", "ends in .pdiparams"), ("pir.pdiparams", "describes the network")],
)
def test_half_a_pair(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes((FILES / name).read_bytes())
    with pytest.raises(ReadError, match=words):
        filterdb.read(tmp_path / name)


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    (tmp_path / "a.pdmodel").write_bytes((FILES / "program.pdmodel").read_bytes())
    parameters = (FILES / "program.pdiparams").read_bytes()
    (tmp_path / "a.pdiparams").write_bytes(parameters + parameters)
    with pytest.raises(CorruptFileError, match="belongs to another network"):
        filterdb.read(tmp_path / "a.pdmodel")
    for shape in (b"\x10\x08\x10\x03", b"\x10\x18\x10\x01"):
        (tmp_path / "a.pdiparams").write_bytes(parameters)
        parameters = parameters.replace(b"\x10\x08\x10\x03", shape, 1)
    (tmp_path / "a.pdiparams").write_bytes(parameters)
    with pytest.raises(CorruptFileError, match="do not belong together"):
        filterdb.read(tmp_path / "a.pdmodel")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "a.pdmodel").write_bytes((FILES / "program.pdmodel").read_bytes())
    outside = tmp_path / "other" / "a.pdiparams"
    outside.write_bytes((FILES / "program.pdiparams").read_bytes())
    (tmp_path / "a.pdiparams").symlink_to(outside)
    with pytest.raises(ReadError, match="are missing"):
        filterdb.read(tmp_path / "a.pdmodel")


def test_nothing_in_a_file_runs(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return eval, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    state = {"conv.weight": Trap(), "StructuredToParameterName@@": {"conv.weight": "conv2d_0.w_0"}}
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps(state, 4))
    with pytest.raises(NoConvolutionError):
        filterdb.read(tmp_path / "a.pdparams")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "text",
    [
        '{"base_code":{"magic":"pir"},"program":{"regions":3}}',
        '{"base_code":{"magic":"pir"},"program":{"regions":[{"blocks":[{"ops":[{"#":"p"}]}]}]}}',
        '{"base_code":{"magic":"pir"}',
        '{"base_code":{"magic":"pir"},"program":' + "[" * 50_000,
    ],
)
def test_descriptions_that_are_damaged(text: str) -> None:
    with pytest.raises(CorruptFileError, match="no sound JSON"):
        read_pir(np.frombuffer(text.encode(), np.uint8))


def test_a_description_of_a_thousand_regions_within_each_other() -> None:
    inner = '{"#":"1.if","regions":[{"blocks":[{"ops":[' * 80 + "]}]}]}" * 80
    text = '{"program":{"regions":[{"blocks":[{"ops":[' + inner + "]}]}]}}"
    with pytest.raises(LimitError):
        read_pir(np.frombuffer(text.encode(), np.uint8))


@pytest.mark.parametrize(
    "data",
    [
        b"", bytes(11), b"\x01" + bytes(40), bytes(4) + b"\xff" * 8 + bytes(40),
        bytes(16) + b"\xff\xff\0\0", bytes(16) + b"\x02\0\0\0\x08\x63" + bytes(9),
        bytes(16) + b"\x04\0\0\0\x08\x05\x10\x40" + bytes(9),
    ],
)  # fmt: skip
def test_streams_that_are_damaged(data: bytes) -> None:
    with pytest.raises(CorruptFileError):
        read_streams(np.frombuffer(data, np.uint8), 1)


@pytest.mark.parametrize("name", ["state", "bfloat16", "protocol2"])
def test_damaged_state_dicts(tmp_path: Path, name: str) -> None:
    assert read_damaged(tmp_path, [FILES / f"{name}.pdparams"]) > 40


@pytest.mark.parametrize("name", ["pir.json", "program.pdmodel"])
def test_damaged_pairs(tmp_path: Path, name: str) -> None:
    parameters = (FILES / name).with_suffix(".pdiparams")
    assert read_damaged(tmp_path, [FILES / name, parameters], cuts=30, flips=80) > 60
