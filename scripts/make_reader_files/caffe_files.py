"""Write the small Caffe files that the reader is tested with, and their arrays.

OpenCV reads the format and is no dependency of this project. To run it::

    python -m venv /tmp/v && /tmp/v/bin/pip install "opencv-python-headless<5" protobuf
    /tmp/v/bin/python scripts/make_reader_files/caffe_files.py tests/readers/files/caffe

The files are written by the library of protocol buffers. Beside each lies an ``.npz``: the first
blob of each convolution, and all blobs of each normalisation, as OpenCV has read them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

OUT = Path(sys.argv[1])
RANDOM = np.random.default_rng(8)

KINDS = {"double": 1, "float": 2, "int64": 3, "int32": 5, "uint32": 13, "bool": 8, "string": 9,
         "bytes": 12}  # fmt: skip
SCHEMA = {
    "BlobShape": "dim:1*int64!",
    "BlobProto": "num:1 int32,channels:2 int32,height:3 int32,width:4 int32,data:5*float!,"
    "shape:7 BlobShape,double_data:8*double!,raw_data_type:10 int32,raw_data:12 bytes",
    "ConvolutionParameter": "num_output:1 uint32,bias_term:2 bool,pad:3*uint32,"
    "kernel_size:4*uint32,"
    "group:5 uint32,stride:6*uint32,stride_h:13 uint32,stride_w:14 uint32,dilation:18*uint32",
    "BatchNormParameter": "use_global_stats:1 bool,eps:3 float",
    "ScaleParameter": "bias_term:4 bool",
    "ParamSpec": "name:1 string",
    "InputParameter": "shape:1*BlobShape",
    "LayerParameter": "name:1 string,type:2 string,bottom:3*string,top:4*string,param:6*ParamSpec,"
    "blobs:7*BlobProto,convolution_param:106 ConvolutionParameter,"
    "batch_norm_param:139 BatchNormParameter,scale_param:142 ScaleParameter,"
    "input_param:143 InputParameter",
    "V1LayerParameter": "bottom:2*string,top:3*string,name:4 string,type:5 int32,blobs:6*BlobProto,"
    "convolution_param:10 ConvolutionParameter",
    "NetParameter": "name:1 string,layers:2*V1LayerParameter,input:3*string,input_dim:4*int32,"
    "layer:100*LayerParameter",
}  # fmt: skip


def schema() -> dict[str, Any]:
    """The messages that are needed, by the numbers of their fields."""
    file = descriptor_pb2.FileDescriptorProto(name="net.proto", package="n", syntax="proto2")
    for name, listed in SCHEMA.items():
        message = file.message_type.add(name=name)
        for entry in listed.split(","):
            label, rest = entry.split(":")
            number, kind = rest.replace("*", " ").rstrip("!").split()
            field = message.field.add(name=label, number=int(number), label=3 if "*" in rest else 1)
            if kind in KINDS:
                field.type = KINDS[kind]
            else:
                field.type, field.type_name = 11, f".n.{kind}"
            if rest.endswith("!"):
                field.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = (pool.FindMessageTypeByName(f"n.{name}") for name in SCHEMA)
    return {kind.name: message_factory.GetMessageClass(kind) for kind in found}


KIND = schema()


def fill(blob: Any, *shape: int, how: str = "new", positive: bool = False) -> None:
    values = RANDOM.normal(size=shape).astype("f4")
    values = np.abs(values) + 1 if positive else values
    if how == "old":
        blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - len(shape)) + shape
    else:
        blob.shape.dim.extend(shape)
    if how == "double":
        blob.double_data.extend(values.ravel())
    elif how == "half":
        blob.raw_data_type, blob.raw_data = 2, values.astype("<f2").tobytes()
    else:
        blob.data.extend(values.ravel())


class Net:
    """Builds a network of the newer layers."""

    def __init__(self, name: str) -> None:
        self.message = KIND["NetParameter"](name=name)
        layer = self.add("Input", "data", [], "data")
        layer.input_param.shape.add().dim.extend([1, 3, 9, 9])

    def add(self, kind: str, name: str, reads: list[str], writes: str) -> Any:
        return self.message.layer.add(name=name, type=kind, bottom=reads, top=[writes])

    def conv(self, name: str, reads: str, *shape: int, kind: str = "Convolution", group: int = 1,
             bias: bool = True, how: str = "new", stride: int = 1) -> None:  # fmt: skip
        layer = self.add(kind, name, [reads], name)
        out = shape[1] * group if kind == "Deconvolution" else shape[0]
        layer.convolution_param.num_output, layer.convolution_param.group = out, group
        layer.convolution_param.kernel_size.append(shape[2])
        layer.convolution_param.stride.append(stride)
        layer.convolution_param.bias_term = bias
        fill(layer.blobs.add(), *shape, how=how)
        if bias:
            fill(layer.blobs.add(), out, how=how)

    def norm(self, name: str, blob: str, channels: int) -> None:
        """A normalisation and a scale, both in place."""
        layer = self.add("BatchNorm", name, [blob], blob)
        layer.batch_norm_param.use_global_stats, layer.batch_norm_param.eps = True, 1e-3
        fill(layer.blobs.add(), channels)
        fill(layer.blobs.add(), channels, positive=True)
        layer.blobs.add().data.append(2.5)
        layer.blobs[2].shape.dim.append(1)
        layer = self.add("Scale", f"{name}_scale", [blob], blob)
        layer.scale_param.bias_term = True
        fill(layer.blobs.add(), channels)
        fill(layer.blobs.add(), channels)


def layers() -> Any:
    net = Net("layers")
    net.conv("first", "data", 4, 3, 3, 3, bias=False, stride=2)
    net.norm("norm", "first", 4)
    net.add("ReLU", "relu", ["first"], "first")
    net.conv("depth", "first", 4, 1, 3, 3, group=4)
    net.conv("side", "first", 6, 2, 3, 3, group=2)
    net.conv("up", "depth", 4, 3, 2, 2, kind="Deconvolution", stride=2)
    net.conv("up_grouped", "side", 6, 2, 2, 2, kind="Deconvolution", group=2, stride=2)
    net.add("Concat", "both", ["up", "up_grouped"], "both")
    net.conv("last", "both", 2, 7, 1, 1)
    return net.message


def numbers() -> Any:
    """Every way in which a blob can hold its numbers and its shape."""
    net = Net("numbers")
    net.conv("old", "data", 4, 3, 3, 3, how="old")
    net.conv("half", "old", 4, 4, 3, 3, how="half")
    return net.message


def older() -> Any:
    """Layers of the first version: their types are numbers."""
    net = KIND["NetParameter"](name="older", input=["data"], input_dim=[1, 3, 9, 9])
    sizes = [("conv1", 4, "data", (4, 3, 3, 3)), ("up", 39, "conv1", (4, 2, 2, 2))]
    for name, kind, reads, shape in sizes:
        layer = net.layers.add(name=name, type=kind, bottom=[reads], top=[name])
        out = shape[1] if kind == 39 else shape[0]
        layer.convolution_param.num_output = out
        layer.convolution_param.kernel_size.append(shape[2])
        fill(layer.blobs.add(), *shape, how="old")
        fill(layer.blobs.add(), out, how="old")
    return net


def without_blobs(message: Any) -> str:
    bare = type(message)()
    bare.CopyFrom(message)
    for layer in (*bare.layer, *bare.layers):
        layer.ClearField("blobs")
    text = text_format.MessageToString(bare)
    return text.replace("type: 39", "type: DECONVOLUTION").replace("type: 4", "type: CONVOLUTION")


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for make in (layers, numbers, older):
        message = make()
        path = OUT / f"{make.__name__}.caffemodel"
        path.write_bytes(message.SerializeToString())
        text = without_blobs(message)
        network = cv2.dnn.readNetFromCaffe(text.encode(), path.read_bytes())
        found = {}
        for name in network.getLayerNames():
            layer = network.getLayer(name)
            if "onv" in layer.type:
                found[name] = layer.blobs[0]
            elif layer.type in ("BatchNorm", "Scale"):
                for index, blob in enumerate(layer.blobs):
                    found[f"{name}/{index}"] = blob.ravel()
        np.savez_compressed(path.with_suffix(".npz"), **found)


if __name__ == "__main__":
    main()
