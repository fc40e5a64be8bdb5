from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from filterdb.remote import fetching
from remote.hub_server import Hub, serving


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the hub's library and filterdb take for the real one, with empty caches."""
    constants = pytest.importorskip("huggingface_hub.constants")
    with serving() as served:
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE",
            served.url + "/{repo_id}/resolve/{revision}/{filename}",
        )  # fmt: skip
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("no_proxy", "*")
        fetching._fetch.cache_clear()
        yield served
        fetching._fetch.cache_clear()


def network(*names: str, width: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(len(names))
    return {f"{name}.weight": rng.normal(size=(width, 3, 3, 3)).astype("f4") for name in names}


@pytest.fixture
def two_layers() -> bytes:
    return save(network("stem", "body"))


@pytest.fixture
def no_convolution() -> bytes:
    return save({"fc.weight": np.ones((300, 400), "f4"), "fc.bias": np.ones(300, "f4")})
