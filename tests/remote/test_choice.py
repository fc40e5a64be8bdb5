from __future__ import annotations

import random

import pytest

from filterdb.remote.choice import RemoteFile, candidates, companions

ORDERS = [
    ["model.safetensors", "pytorch_model.bin", "tf_model.h5", "model.onnx", "flax_model.msgpack"],
    ["model.safetensors", "model.fp16.safetensors", "unet/model.safetensors", "model.bin"],
    ["model.safetensors.index.json", "pytorch_model.bin.index.json"],
    ["pytorch_model.bin", "other.pth", "checkpoints/pytorch_model.bin"],
    ["weights.h5", "model.onnx", "onnx/model.onnx", "onnx/model_quantized.onnx", "net.tflite"],
]


@pytest.mark.parametrize("names", ORDERS)
def test_the_best_comes_first(names: list[str]) -> None:
    shuffled = names.copy()
    random.Random(3).shuffle(shuffled)
    assert [item.name for item in candidates([RemoteFile(name, 9) for name in shuffled])] == names


def test_what_is_no_network() -> None:
    names = ["README.md", "config.json", "training_args.bin", "optimizer.pt", "scheduler.pt",
             "rng_state_0.pth", "tokenizer.json", "vocab.txt", "figure.png"]  # fmt: skip
    assert candidates([RemoteFile(name, 9) for name in names]) == []
    assert candidates([RemoteFile("model.safetensors", 0)]) == []


def test_shards_stand_behind_their_index() -> None:
    shards = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    found = candidates([RemoteFile(name) for name in (*shards, "model.safetensors.index.json")])
    assert [item.name for item in found] == ["model.safetensors.index.json"]
    assert len(candidates([RemoteFile(name) for name in shards])) == 2


def test_what_belongs_to_a_graph() -> None:
    names = ("a/net.xml", "a/net.bin", "a/other.bin", "net.bin", "m.onnx", "m.onnx_data")
    files = [RemoteFile(name) for name in names]
    assert [item.name for item in companions("a/net.xml", files)] == ["a/net.bin"]
    assert [item.name for item in companions("m.onnx", files)] == ["m.onnx_data"]
    assert companions("model.safetensors", files) == []
