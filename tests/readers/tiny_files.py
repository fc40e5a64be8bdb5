"""One tiny real file of every format that can be read, each made by the format's own writer."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from keras_networks import import_keras

RANDOM = np.random.default_rng(11)


def arrays() -> dict[str, Any]:
    return {
        "conv1.weight": RANDOM.normal(size=(4, 3, 3, 3)).astype("float32"),
        "conv1.bias": RANDOM.normal(size=4).astype("float32"),
        "conv2.weight": RANDOM.normal(size=(6, 4, 3, 3)).astype("float32"),
    }


def state_dict() -> Any:
    import torch

    return {name: torch.tensor(array) for name, array in arrays().items()}


def torch_zip(path: Path) -> None:
    import torch

    torch.save({"state_dict": state_dict(), "epoch": 3}, path)


def torch_legacy(path: Path) -> None:
    import torch

    torch.save(state_dict(), path, _use_new_zipfile_serialization=False)


def torchscript(path: Path) -> None:
    import warnings

    import torch

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3, groups=4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network), path)


def safetensors(path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(arrays(), path)


def onnx(path: Path) -> None:
    import onnx as library
    from onnx import TensorProto, helper, numpy_helper

    weights = arrays()
    nodes = [
        helper.make_node("Conv", ["x", "conv1.weight", "conv1.bias"], ["y"]),
        helper.make_node("Conv", ["y", "conv2.weight"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 9, 9))],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 6, 5, 5))],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    library.save(helper.make_model(graph), str(path))


def keras(path: Path) -> None:
    import warnings

    library = import_keras()
    layers = library.layers
    network = library.Sequential(
        [library.Input((9, 9, 3)), layers.Conv2D(4, 3), layers.SeparableConv2D(5, 3)]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network.save(path)


def hdf5_chunks(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in arrays().items():
            file.create_dataset(name, data=array, chunks=True, compression="gzip")


def npz(path: Path) -> None:
    np.savez(path, **arrays())


def npz_compressed(path: Path) -> None:
    np.savez_compressed(path, **arrays())


def npy(path: Path) -> None:
    np.save(path, arrays()["conv1.weight"])


def torch_tar(path: Path) -> None:
    """The container of PyTorch before 0.1.10, which no PyTorch writes any more: by hand."""
    import pickle

    import torch

    weight = arrays()["conv1.weight"]
    strides = [stride // 4 for stride in weight.strides]
    numbers = np.int64([*weight.shape, *strides, 0]).tobytes()
    members = {
        "storages": pickle.dumps(1, 2)
        + pickle.dumps((0, "cpu", torch.FloatStorage), 2)
        + np.int64(weight.size).tobytes()
        + weight.tobytes()
        + pickle.dumps([], 2),
        "tensors": pickle.dumps(1, 2)
        + pickle.dumps((1, 0, torch.FloatStorage), 2)
        + np.int64(weight.ndim).tobytes()
        + numbers,
        # {"conv1.weight": persistent id "1"}
        "pickle": b"\x80\x02}X\x0c\0\0\0conv1.weightX\x01\0\0\x001Qs.",
    }
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def tflite(path: Path) -> None:
    path.write_bytes((Path(__file__).parent / "files/tflite/float32.tflite").read_bytes())


def stored(name: str) -> Callable[[Path], None]:
    """A file that its framework wrote, from the folder ``files``."""
    content = (Path(__file__).parent / "files" / name).read_bytes()
    return lambda path: path.write_bytes(content) and None


def zip_archive(path: Path) -> None:
    import zipfile

    from safetensors.numpy import save

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/README.md", "A network.")
        archive.writestr("net/model.safetensors", save(arrays()))


def caffe(path: Path) -> None:
    path.write_bytes((Path(__file__).parent / "files/caffe/layers.caffemodel").read_bytes())


def pickled(path: Path) -> None:
    import pickle

    path.write_bytes(pickle.dumps(arrays(), 4))


FILES: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    # what: module that reads it, file name, writer
    "pytorch-zip": ("pytorch.zip_checkpoint", "a.pth", torch_zip),
    "pytorch-legacy": ("pytorch.stream_checkpoint", "b.pth", torch_legacy),
    "pytorch-tar": ("pytorch.tar_checkpoint", "c.pth", torch_tar),
    "torchscript": ("pytorch.zip_checkpoint", "d.pt", torchscript),
    "safetensors": ("safetensors", "e.safetensors", safetensors),
    "onnx": ("onnx.graph_file", "f.onnx", onnx),
    "keras-hdf5": ("keras.hdf5", "g.h5", keras),
    "hdf5": ("keras.hdf5", "h.h5", hdf5_chunks),
    "keras": ("keras.archive", "i.keras", keras),
    "npz": ("npz", "j.npz", npz),
    "npz-compressed": ("npz", "k.npz", npz_compressed),
    "npy": ("npz", "l.npy", npy),
    "tflite": ("tflite.model_file", "m.tflite", tflite),
    "caffe": ("caffe.network", "n.caffemodel", caffe),
    "pickle": ("pickled_arrays", "o.pkl", pickled),
    "tensorflow-pb": ("tensorflow.frozen_graph", "n.pb", stored("tensorflow/frozen.pb")),
    "tensorflow-v1": ("tensorflow.checkpoint_v1", "o.ckpt", stored("tensorflow/old.ckpt")),
    "zip": ("archives.archive", "p.zip", zip_archive),
    "tar-gz": ("archives.archive", "q.tar.gz", stored("tensorflow/module_saved.tar.gz")),
    "coreml": ("coreml.model_file", "r.mlmodel", stored("coreml/linear3.mlmodel")),
    "flax": ("flax.serialised", "s.msgpack", stored("flax/variables.msgpack")),
    "paddle": ("paddle.parameters", "t.pdparams", stored("paddle/state.pdparams")),
}
