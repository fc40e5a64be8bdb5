from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import save_file

import filterdb
from filterdb.ingest.inferring import epoch_in, infer, settle
from filterdb.layer import Statement
from filterdb.readers.statements import statements_in

torch = pytest.importorskip("torch")
WEIGHTS = np.random.default_rng(3).normal(size=(4, 3, 3, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "epoch"),
    [
        ("epoch_12.pth", 12), ("net-e12.pt", 12), ("net_ep012.h5", 12), ("Epoch 3.pt", 3),
        ("checkpoint-00012.pth", 12), ("ckpt_3.pth.tar", 3), ("net-epoch=7-step=900.ckpt", 7),
        ("weights.04-0.55.hdf5", 4), ("epoch12-ep12.pt", 12),
        ("resnet18.pth", None), ("yolov7-e6.pt", None), ("deep12.pt", None), ("step3.pth", None),
        ("x_300e_coco.pth", None), ("best_epoch.pth", None), ("epoch12-ep13.pt", None),
        ("vgg-e2e.pt", None), ("checkpoint-12-best.pt", None), ("e12", None), ("net12.pth", None),
    ],
)  # fmt: skip
def test_the_epoch_in_a_name_and_no_other_number(name, epoch):
    found = epoch_in(name)
    assert found == (epoch and Statement("epoch", str(epoch), "the name of the file"))


def inferred(path: Path) -> dict[str, tuple[str, str]]:
    return {item.column: (item.value, item.source) for item in infer(filterdb.read(path), path)}


def test_a_pytorch_checkpoint_says_its_epoch_and_architecture(tmp_path):
    path = tmp_path / "net-e99.pth"
    state = {"conv.weight": torch.from_numpy(WEIGHTS)}
    torch.save({"epoch": 12, "arch": "resnet18", "state_dict": state, "license": "MIT",
                "train_args": {"task": "detect", "epoch": 300}}, path)  # fmt: skip
    assert inferred(path) == {
        "epoch": ("12", "the checkpoint: epoch"),
        "architecture": ("resnet18", "the checkpoint: arch"),
        "license": ("MIT", "the checkpoint: license"),
        "task": ("detection", "the checkpoint's arguments: task (detect)"),
        "framework": ("pytorch", "its producer"),
        "precision": ("float32", "the element type of its layers"),
    }


def test_a_state_dict_alone_says_no_more_than_its_format(tmp_path):
    torch.save({"conv.weight": torch.from_numpy(WEIGHTS)}, tmp_path / "a.pth")
    assert set(inferred(tmp_path / "a.pth")) == {"framework", "precision"}


def test_safetensors_metadata(tmp_path):
    metadata = {"format": "pt", "modelspec.license": "Apache-2.0", "task": "seg", "epoch": "007",
                "url": "not an address", "homepage": "https://example.org"}  # fmt: skip
    save_file({"conv.weight": WEIGHTS}, tmp_path / "a.safetensors", metadata)
    found = {name: value for name, (value, _) in inferred(tmp_path / "a.safetensors").items()}
    assert found == {"license": "Apache-2.0", "task": "segmentation", "epoch": "7",
                     "source_url": "https://example.org", "framework": "pytorch",
                     "precision": "float32"}  # fmt: skip


def test_onnx_properties_producer_and_doc_string(tmp_path):
    weight = onnx.numpy_helper.from_array(WEIGHTS, "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])], "g", [x], [y], [weight]
    )
    model = helper.make_model(graph, producer_name="tf2onnx", doc_string="A  net\nof mine")
    helper.set_model_props(model, {"license": "MIT", "author": "me", "Epoch": "3"})
    onnx.save(model, tmp_path / "a.onnx")
    found = {name: value for name, (value, _) in inferred(tmp_path / "a.onnx").items()}
    assert found == {"license": "MIT", "epoch": "3", "description": "A net of mine",
                     "framework": "tensorflow", "precision": "float32"}  # fmt: skip


def test_keras_training_configuration(shared: Path) -> None:
    path = shared / "zoo" / "weights" / "oarriaga--fer2013-mini-xception.04-0.55.hdf5"
    if not path.exists():
        pytest.skip("the zoo is not here")
    assert inferred(path) == {
        "loss": ("categorical_crossentropy", "the model's configuration: loss"),
        "optimizer": ("Adam", "the model's configuration: optimizer"),
        "epoch": ("4", "the name of the file"),
        "framework": ("keras", "its producer"),
        "precision": ("float32", "the element type of its layers"),
    }


def test_frameworks_of_the_zoo_are_the_manifests(zoo: Path) -> None:
    import csv

    with (zoo / "manifest.csv").open(encoding="utf-8") as file:
        manifest = {row["file"]: row["framework"] for row in csv.DictReader(file)}
    compared = 0
    for name in sorted(manifest)[::6]:
        path = zoo / "weights" / name
        if manifest[name] not in ("pytorch", "keras", "caffe", "tensorflow") or path.is_dir():
            continue
        said = inferred(path).get("framework", (manifest[name], ""))[0]
        assert said == manifest[name], name
        compared += 1
    assert compared > 10


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epoch", -1), ("epoch", True), ("epoch", 1.5), ("epoch", float("nan")), ("epoch", "x"),
        ("epoch", 10**9), ("epoch", "9" * 5000), ("license", ""), ("license", "x" * 1000),
        ("license", None), ("license", ["MIT"]), ("task", "None"), ("url", "file:///etc/passwd"),
        (("license",), "MIT"), ("x" * 200, "MIT"), ("unheard_of", "MIT"),
    ],
)  # fmt: skip
def test_what_says_nothing_is_passed_over(key, value):
    assert statements_in([(key, value)], "here") == ()


def test_control_characters_do_not_come_through_and_prose_is_cut():
    (said,) = statements_in([("description", "a\x1b[31m\tb" + "c" * 1000)], "here")
    assert said.value.startswith("a [31m bccc")
    assert len(said.value) == 300


def test_users_words_go_before_what_the_file_says():
    stated = [Statement("task", "ocr", "s"), Statement("epoch", "3", "s"),
              Statement("loss", "mse", "s")]  # fmt: skip
    values, sources = settle({"task": "seg", "epoch": None, "own": 1}, stated)
    assert values == {"task": "segmentation", "epoch": 3, "own": 1}
    assert sources == (Statement("task", "segmentation", "word: seg"), *stated[1:])
