"""Small ONNX models for the tests, and an independent runtime's word on their values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from filterdb.layer import Contents
from filterdb.readers.head import Head
from filterdb.readers.onnx import graph_file as reader

RNG_SEED = 7


def weights(*shape: int, seed: int = RNG_SEED) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def value(name: str, shape: list[int | None] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def stored(**arrays: np.ndarray) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(array, name) for name, array in arrays.items()]


def make(
    nodes: list[onnx.NodeProto],
    initializers: list[onnx.TensorProto] | None = None,
    *,
    inputs: tuple[str, ...] = ("x",),
    outputs: tuple[str, ...] = ("y",),
    opset: int = 21,
    **more: Any,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [value(name) for name in inputs],
        [value(name) for name in outputs],
        initializers or [],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    opsets += more.pop("opsets", [])
    return helper.make_model(
        graph, opset_imports=opsets, ir_version=10, producer_name="test", **more
    )


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def read(model: onnx.ModelProto | bytes, folder: Path) -> Contents:
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    head = Head.of(path)
    assert reader.matches(head)
    return reader.read(head)


def computed(model: onnx.ModelProto, name: str) -> np.ndarray:
    """What onnxruntime says a value of the graph is (one that no input reaches)."""
    import onnxruntime

    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    del graph.graph.input[:]
    del graph.graph.output[:]
    graph.graph.output.append(onnx.ValueInfoProto(name=name))
    kept = [node for node in graph.graph.node if "Conv" not in node.op_type]
    del graph.graph.node[:]
    graph.graph.node.extend(kept)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run([name], {})[0]
