"""A network that was fetched is in the database with where it is from."""

from __future__ import annotations

from pathlib import Path

import filterdb
from remote.hub_server import Hub, Repository

CARD = b"""---
license: mit
pipeline_tag: image-classification
datasets: [cifar10]
---
# A network
"""


def test_address_and_card_are_taken_in_as_inferred(
    hub: Hub, two_layers: bytes, tmp_path: Path
) -> None:
    hub.repositories["org/net"] = Repository(
        {"model.safetensors": two_layers, "README.md": CARD, "net.onnx": b"x"}
    )
    database = filterdb.open(tmp_path / "db")
    assert database.ingest(["hf://org/net"], jobs=1).added == 1
    (row,) = database.models()
    assert row["name"] == "org/net"
    assert (row["license"], row["training_dataset"]) == ("mit", "cifar10")
    assert row["task"] == "classification"
    assert row["source_url"].startswith(hub.url)
    assert row["inferred"]["license"] == {"value": "mit", "source": "the model card"}
    assert "model.safetensors was taken" in row["notes"][0]
    assert not database.verify().findings


def test_without_inferring_nothing_is_said(hub: Hub, two_layers: bytes, tmp_path: Path) -> None:
    hub.repositories["org/net"] = Repository({"model.safetensors": two_layers, "README.md": CARD})
    database = filterdb.open(tmp_path / "db")
    database.ingest(["hf://org/net"], jobs=1, infer=False)
    (row,) = database.models()
    assert row["license"] is None
    assert not row["inferred"]
