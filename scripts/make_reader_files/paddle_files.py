"""Write the small PaddlePaddle files that the reader is tested with, and their arrays.

PaddlePaddle writes the formats and is no dependency of this project. To run it::

    python -m venv /tmp/v && /tmp/v/bin/pip install "paddlepaddle==3.2.2"
    export PYTHONPATH=src
    /tmp/v/bin/python scripts/make_reader_files/paddle_files.py tests/readers/files/paddle
    FLAGS_enable_pir_api=0 /tmp/v/bin/python scripts/make_reader_files/paddle_files.py \
        tests/readers/files/paddle
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import paddle

nn = paddle.nn
OLD = os.environ.get("FLAGS_enable_pir_api") == "0"  # noqa: SIM112


class Network(nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(3, 8, 3, stride=2, bias_attr=False)
        self.bn1 = nn.BatchNorm2D(8, epsilon=1e-4)
        self.conv2 = nn.Conv2D(8, 8, 3, groups=8, dilation=[1, 2])
        self.conv3 = nn.Conv2D(8, 8, 1)
        self.bn3 = nn.BatchNorm2D(8)
        self.up = nn.Conv2DTranspose(8, 6, 2, groups=2)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = nn.functional.relu(self.bn1(self.conv1(x)))
        x = self.conv2(x)
        x = x + self.bn3(self.conv3(x))
        x = self.up(x)
        return self.head(x.mean([2, 3]))


def out_first(array: np.ndarray, groups: int) -> np.ndarray:
    into, outs, *kernel = array.shape
    split = array.reshape(groups, into // groups, outs, *kernel)
    return split.swapaxes(1, 2).reshape(groups * outs, into // groups, *kernel)


def without_callstacks(message: bytes, path: tuple[int, ...] = (1, 4, 4)) -> bytes:
    """A ProgramDesc without the places in the source that each operator came from."""
    from filterdb.readers.protobuf_wire import fields

    kept, position = b"", 0
    for number, kind, begin, end in fields(memoryview(message), 0, len(message)):
        content, whole = message[begin:end], message[position:end]
        position = end
        if kind != 2 or number != path[0]:
            kept += whole
        elif path[1:]:
            inner = without_callstacks(content, path[1:])
            kept += bytes([number << 3 | 2]) + varint(len(inner)) + inner
        elif b"op_callstack" not in content[:20]:
            kept += whole
    return kept


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    paddle.seed(3)
    network = Network()
    for number, norm in enumerate((network.bn1, network.bn3)):
        norm._variance.set_value(paddle.linspace(0.5, 2, 8) + number)
        norm.weight.set_value(paddle.linspace(1, 3, 8))
    network.eval()
    state = network.state_dict()
    name = "program" if OLD else "pir"
    described = paddle.jit.to_static(
        network, input_spec=[paddle.static.InputSpec([1, 3, 16, 16])], full_graph=True
    )
    paddle.jit.save(described, str(folder / name))
    (folder / f"{name}.pdiparams.info").unlink(missing_ok=True)
    if OLD:
        description = folder / "program.pdmodel"
        description.write_bytes(without_callstacks(description.read_bytes()))
    arrays = {
        tensor.name: out_first(tensor.numpy(), 2) if key.startswith("up.w") else tensor.numpy()
        for key, tensor in state.items()
    }
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    if OLD:
        return
    arrays = {key: tensor.numpy() for key, tensor in state.items()}
    paddle.save(state, str(folder / "state.pdparams"))
    paddle.save(state, str(folder / "protocol2.pdparams"), protocol=2)
    paddle.save({"model": state, "epoch": 3}, str(folder / "nested.pdparams"))
    network.to(dtype="bfloat16")
    paddle.save(network.state_dict(), str(folder / "bfloat16.pdparams"))
    halves = {
        f"{key} bfloat16": tensor.astype("float32").numpy()
        for key, tensor in network.state_dict().items()
    }
    np.savez_compressed(folder / "state.npz", **arrays, **halves)


if __name__ == "__main__":
    main()
