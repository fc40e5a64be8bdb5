from __future__ import annotations

import pytest

from filterdb.remote import fetching
from filterdb.remote.card import facts, from_card
from remote.hub_server import Hub, Repository

CARD = """---
license: apache-2.0
datasets:
- imagenet-1k
- imagenet-22k
tags:
- timm
- image-classification
---
# A network
"""


def test_what_a_card_says(hub: Hub, two_layers: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["timm/resnet18.a1_in1k"] = Repository(
        {"model.safetensors": two_layers, "README.md": CARD.encode()}
    )
    fetched = fetching.fetch("timm:resnet18.a1_in1k")
    expected = {
        "license": "apache-2.0",
        "training_dataset": "imagenet-1k, imagenet-22k",
        "task": "image-classification",
        "architecture": "resnet18",
    }
    assert facts(fetched) == expected
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert facts(fetched) == expected


@pytest.mark.parametrize(
    "card",
    [None, b"", b"# no table", b"---\n[\n---\n", b"---\n- a\n---\n", b"\xff\xfe",
     b"---\na: " + b"[" * 3000 + b"\n---\n"],
)  # fmt: skip
def test_a_card_that_says_nothing(hub: Hub, two_layers: bytes, card: bytes | None) -> None:
    files = {"model.safetensors": two_layers} | ({} if card is None else {"README.md": card})
    hub.repositories["org/net"] = Repository(files)
    assert facts(fetching.fetch("hf://org/net")) == {}


def test_a_file_of_the_web_has_none(hub: Hub, two_layers: bytes) -> None:
    hub.web["/web/net.safetensors"] = two_layers
    assert facts(fetching.fetch(f"{hub.url}/web/net.safetensors")) == {}


def test_cells_of_other_kinds() -> None:
    table = {"license": ["other", "x"], "license_name": "my-licence", "datasets": {"a": 1},
             "pipeline_tag": 7, "tags": ["x\ny", None, "object-detection"]}  # fmt: skip
    assert from_card(table) == {"license": "my-licence", "task": "object-detection"}
