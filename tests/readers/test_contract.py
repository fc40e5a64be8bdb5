"""Every reader of the registry keeps the contract that is shipped for those of others."""

from __future__ import annotations

import json
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_files import FILES as TINY
from tiny_files import arrays

from filterdb.errors import CorruptFileError
from filterdb.readers import contract
from filterdb.readers.contract import ReaderContract
from filterdb.readers.registry import READERS, load_reader

STORED = Path(__file__).with_name("files")
Maker = Callable[[Path], Path]


def tiny(name: str) -> Maker:
    """A file that the tests write."""

    def make(folder: Path) -> Path:
        _, file, write = TINY[name]
        write(folder / file)
        return folder / file

    return make


def stored(family: str, *names: str) -> Maker:
    """Files and folders that a framework wrote; the first is the one that is given."""

    def make(folder: Path) -> Path:
        for name in names:
            source = STORED / family / name
            copy = shutil.copytree if source.is_dir() else shutil.copyfile
            copy(source, folder / name)
        return folder / names[0]

    return make


def saved_model(folder: Path) -> Path:
    with tarfile.open(STORED / "tensorflow/module_saved.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return next(folder.rglob("saved_model.pb")).parent


def katago(folder: Path) -> Path:
    import gzip

    numbers = " ".join(map(str, np.linspace(-1, 1, 3 * 3 * 2 * 4)))
    text = f"net\n8\n2\n1\ntrunk\n1\n4\n4\n4\n2\n4\nconv1\n3\n3\n2\n4\n1\n1\n{numbers}\n"
    (folder / "a.txt.gz").write_bytes(gzip.compress(text.encode()))
    return folder / "a.txt.gz"


def sharded(folder: Path) -> Path:
    from safetensors.numpy import save_file

    parts = {}
    for number, (name, array) in enumerate(arrays().items()):
        file = f"part-{number}.safetensors"
        save_file({name: array}, folder / file)
        parts[name] = file
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": parts}))
    return path


SAMPLES: dict[str, Maker] = {
    "safetensors": tiny("safetensors"),
    "tflite.model_file": tiny("tflite"),
    "pytorch.zip_checkpoint": tiny("pytorch-zip"),
    "pytorch.stream_checkpoint": tiny("pytorch-legacy"),
    "pytorch.tar_checkpoint": tiny("pytorch-tar"),
    "keras.archive": tiny("keras"),
    "keras.hdf5": tiny("keras-hdf5"),
    "npz": tiny("npz"),
    "onnx.graph_file": tiny("onnx"),
    "coreml.model_file": stored("coreml", "linear_16.mlpackage"),
    "tensorflow.saved_model": saved_model,
    "tensorflow.frozen_graph": tiny("tensorflow-pb"),
    "tensorflow.checkpoint_v1": tiny("tensorflow-v1"),
    "tensorflow.checkpoint": stored(
        "tensorflow", *(f"graph.ckpt.{end}" for end in ("index", "data-00000-of-00001", "meta"))
    ),
    "caffe.network": tiny("caffe"),
    "ncnn.network": stored("ncnn", "layers.param", "layers.bin"),
    "openvino.network": stored("openvino", "plain.xml", "plain.bin"),
    "darknet.network": stored("darknet", "plain.cfg", "plain.weights"),
    "katago": katago,
    "flax.serialised": stored("flax", "variables.msgpack"),
    "flax.orbax": stored("flax", "tree"),
    "paddle.parameters": stored("paddle", "state.pdparams"),
    "paddle.inference": stored("paddle", "program.pdmodel", "program.pdiparams"),
    "pickled_arrays": tiny("pickle"),
    "tfjs.model_file": stored("tfjs", "graph"),
    "sharded": sharded,
    "archives.archive": tiny("zip"),
}


def flat_safetensors(folder: Path) -> Path:
    from safetensors.numpy import save_file

    save_file({"linear.weight": np.ones((3, 4), np.float32)}, folder / "a.safetensors")
    return folder / "a.safetensors"


def flat_npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", weight=np.ones((3, 4)))
    return folder / "a.npz"


def flat_pickle(folder: Path) -> Path:
    (folder / "a.pkl").write_bytes(pickle.dumps({"weight": np.ones((3, 4))}))
    return folder / "a.pkl"


def flat_checkpoint(folder: Path) -> Path:
    import torch

    torch.save({"weight": torch.ones(3, 4)}, folder / "a.pth")
    return folder / "a.pth"


def flat_paddle(folder: Path) -> Path:
    state = {"a.weight": np.ones((3, 4)), "StructuredToParameterName@@": {"a.weight": "a_0.w_0"}}
    (folder / "a.pdparams").write_bytes(pickle.dumps(state, 4))
    return folder / "a.pdparams"


def flat_coreml(folder: Path) -> Path:
    # Version, description, and a neural network of one activation.
    (folder / "a.mlmodel").write_bytes(b"\x08\x04\x12\0\xa2\x1f\x0b\x0a\x09\x0a\x04relu\x92\x08\0")
    return folder / "a.mlmodel"


FLAT: dict[str, Maker] = {
    "safetensors": flat_safetensors,
    "npz": flat_npz,
    "pickled_arrays": flat_pickle,
    "pytorch.zip_checkpoint": flat_checkpoint,
    "paddle.parameters": flat_paddle,
    "coreml.model_file": flat_coreml,
}


def contract_of(module: str) -> type[ReaderContract]:
    """The contract's tests for one of our readers."""

    def make(_: object, folder: Path) -> Path:
        return SAMPLES[module](folder)

    def make_without_convolutions(_: object, folder: Path) -> Path | None:
        return FLAT[module](folder) if module in FLAT else None

    return type(
        f"Test_{module.replace('.', '_')}",
        (ReaderContract,),
        {
            "reader": load_reader(module),
            "starts_processes": module.startswith("keras."),
            "make": make,
            "make_without_convolutions": make_without_convolutions,
        },
    )


for one in SAMPLES:
    globals()[f"Test_{one.replace('.', '_')}"] = pytest.mark.slow(contract_of(one))


def test_every_reader_has_a_sample() -> None:
    assert set(SAMPLES) == set(READERS)


class Broken:
    """A reader that keeps none of its promises."""

    FORMAT = load_reader("npz").FORMAT

    def matches(self, _: object) -> bool:
        return True

    def read(self, _: object) -> object:
        msg = "no sentence"
        raise CorruptFileError(msg)


def test_the_contract_finds_fault(tmp_path: Path) -> None:
    tests = contract_of("npz")()
    tests.reader = Broken()
    for name in ("other_files_are_left_alone", "an_empty_file_is_refused", "twice_the_same"):
        (tmp_path / name).mkdir()
        with pytest.raises((AssertionError, CorruptFileError)):
            getattr(tests, f"test_{name}")(tmp_path / name)


def test_what_a_reader_touches_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "curious.py").write_text(
        "import os, pathlib, socket, subprocess, sys\n"
        "def read(head):\n"
        "    class Contents: tensors = ()\n"
        "    subprocess.run([sys.executable, '-c', ''])\n"
        "    pathlib.Path(head.path.parent.parent / 'secret').read_bytes()\n"
        "    socket.getaddrinfo('localhost', 80)\n"
        "    bytearray(3_000_000)\n"
        "    return Contents\n"
    )
    (tmp_path / "secret").write_bytes(b"")
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "a").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path / "modules")
    import curious

    seen = contract.watched(curious, tmp_path / "sample" / "a", tmp_path / "sample")
    assert {kind for kind, _ in seen["events"]} == {"process", "file", "network"}
    assert seen["peak"] > 3_000_000
