"""What a repository's model card says of a network, in the catalogue's columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from filterdb.remote import hub
from filterdb.remote.address import HubAddress, is_address, parse
from filterdb.remote.fetched import Fetched
from filterdb.remote.library import constants, library

CARD = "README.md"
MOST_BYTES = 2_000_000
TASKS = {
    "image-classification", "image-segmentation", "object-detection", "depth-estimation",
    "image-to-image", "image-feature-extraction", "zero-shot-image-classification",
    "mask-generation", "keypoint-detection", "text-to-image", "unconditional-image-generation",
    "image-to-text", "video-classification", "audio-classification",
    "automatic-speech-recognition", "image-text-to-text", "reinforcement-learning",
}  # fmt: skip
"""The hub's words for tasks, where a card has them among its tags alone."""


def facts(fetched: Fetched) -> dict[str, str]:
    """What the model card of a fetched network says, to be marked as inferred.

    The card is fetched into the hub's cache; a card that is not to be had says nothing.

    Parameters
    ----------
    fetched
        From :func:`~filterdb.remote.fetching.fetch`.

    Returns
    -------
    dict
        Of ``license``, ``training_dataset``, ``task``, ``architecture`` those that are known;
        empty for a file of the web.
    """
    if not is_address(fetched.source):
        return {}
    address = parse(fetched.source)
    if not isinstance(address, HubAddress):
        return {}
    found = from_card(read_card(address, fetched.revision))
    if address.repository.startswith("timm/"):  # its repositories are called NETWORK.WEIGHTS
        found["architecture"] = address.repository.removeprefix("timm/").partition(".")[0]
    return found


def read_card(address: HubAddress, commit: str) -> dict[str, Any]:
    """The table at the head of a card; empty where there is none that can be read."""
    offline = "offline" if constants().HF_HUB_OFFLINE else None
    try:
        path = hub.get(hub.Repository(address, commit, (), offline), CARD)
        if path.stat().st_size > MOST_BYTES:
            return {}
        table = library().metadata_load(path)
    except Exception:  # not to be had, or no YAML: it is only a card
        return {}
    return table if isinstance(table, dict) else {}


def from_card(table: Mapping[str, Any]) -> dict[str, str]:
    """Columns of the catalogue from a card's table."""
    tags = words(table.get("tags"))
    licence = (words(table.get("license_name")) or words(table.get("license")))[:1]
    task = (words(table.get("pipeline_tag")) or [tag for tag in tags if tag in TASKS])[:1]
    found = {
        "license": licence,
        "training_dataset": words(table.get("datasets")),
        "task": task,
    }
    return {column: ", ".join(values) for column, values in found.items() if values}


def words(value: object) -> list[str]:
    """The texts in a cell of a card: one, or a list of some."""
    values = value if isinstance(value, list) else [value]
    texts = [text.strip() for text in values[:50] if isinstance(text, str)]
    return [text for text in texts if re.fullmatch(r"[^\n\r\0]{1,200}", text)]
