"""Two pages, made once: of a network with every kind of fault, and of a small database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pages import HOSTILE, Element, parse
from safetensors.numpy import save_file

import filterdb
from filterdb.report import database_report, network_report
from networks import network, save


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with a layer of each verdict, a few that are not judged, and hostile names."""
    arrays = network("healthy", "random", "sparse", "low diversity", "healthy", seed=5)
    arrays[f'{HOSTILE}" onload="alert(1).weight'] = arrays.pop("conv4.weight")
    arrays["pointwise.weight"] = np.ones((8, 24, 1, 1), np.float32)
    arrays["tiny.weight"] = np.ones((1, 1, 3, 3), np.float32)
    return save(tmp_path_factory.mktemp("faulty") / "a & <b>.safetensors", arrays)


@pytest.fixture(scope="session")
def network_html(faulty: Path) -> str:
    return network_report(faulty)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> filterdb.Database:
    """Eight networks: two tasks, one run of three epochs, a copy, and a file that is none."""
    folder = tmp_path_factory.mktemp("networks")
    lines = ["file,task,visual_category,run,epoch"]
    for number in range(4):
        kinds = ["healthy", "healthy"] if number else ["random", "random", "sparse"]
        save(folder / f"cut{number}.safetensors", network(*kinds, seed=number))
        lines.append(f"cut{number}.safetensors,segmentation,{'faces' if number % 2 else 'x'},,")
    for epoch in range(3):
        kinds = ["healthy", "healthy"] if epoch else ["random", "random"]
        save(folder / f"run{epoch}.safetensors", network(*kinds, seed=20 + epoch))
        lines.append(f'run{epoch}.safetensors,"{HOSTILE}",,first,{epoch}')
    copied = network("healthy", "healthy", seed=1)
    save_file(copied, folder / "copy.safetensors", metadata={"saved": "again"})
    (folder / "page.pth").write_text("<!DOCTYPE html><html><body>Not found</body></html>")
    table = folder / "models.csv"
    table.write_text("\n".join(lines))
    database = filterdb.open(folder / "db")
    result = database.ingest(sorted(folder.glob("*.*t*")), metadata=table, jobs=1)
    assert (result.added, result.failed) == (8, 1)
    return database


@pytest.fixture(scope="session")
def database_html(database: filterdb.Database) -> str:
    return database_report(database)


@pytest.fixture(scope="session", params=["network", "database"])
def html(request: pytest.FixtureRequest) -> str:
    text: str = request.getfixturevalue(f"{request.param}_html")
    return text


@pytest.fixture
def page(html: str) -> Iterator[Element]:
    return parse(html)
