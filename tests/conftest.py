"""What all tests share: where the test input lies, and the skip where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared test input beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared test input at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def zoo(shared: Path) -> Path:
    """The folder of real networks, with its manifest."""
    return shared / "zoo"
