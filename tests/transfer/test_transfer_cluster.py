"""Runs on a real Dask cluster of processes, whose workers are killed."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from filterdb.errors import StoreError
from filterdb.scan.executors import ClusterExecutor
from filterdb.transfer.book import Book, Row
from filterdb.transfer.engine import execute
from filterdb.transfer.pool import ClusterPool
from filterdb.transfer.run import Budget, Data, Run

pytestmark = pytest.mark.slow

NETWORKS = """
import os, signal
from pathlib import Path
from filterdb.transfer.networks.building import build

def shot(*, classes, channels, place):
    for bullet in sorted(Path(place).glob("bullet*"))[:1]:
        bullet.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return build("convmixer", classes=classes, channels=channels, size=8, width=8, depth=1)

def wrong(*, classes, channels):
    raise RuntimeError("no network today")
"""
OWN = Run("convmixer", Data("digits", 8, 1, limit=20), Budget(1, batch=32),
          {"width": 8, "depth": 1}, arm="own")  # fmt: skip


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("modules")
    (place / "networks_of_cluster_test.py").write_text(NETWORKS)
    return place


@pytest.fixture(scope="module")
def scheduler(networks: Path):
    """Address of a cluster of two processes that gives up a task after two dead workers."""
    import dask
    from distributed import LocalCluster

    with (
        pytest.MonkeyPatch.context() as patch,
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
    ):
        patch.syspath_prepend(networks)
        patch.setenv("PYTHONPATH", str(networks))
        with LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster:
            yield cluster.scheduler_address


def runs(place: Path, bullets: int) -> tuple[Run, ...]:
    """One whose network kills its worker so often, one that raises, and one like any other."""
    place.mkdir()
    for number in range(bullets):
        (place / f"bullet{number}").touch()
    shot = replace(
        OWN, network="networks_of_cluster_test:shot", arguments={"place": str(place)}, arm="shot"
    )
    return shot, replace(OWN, network="networks_of_cluster_test:wrong", arguments={}), OWN


def test_a_killed_worker_changes_nothing(scheduler: str, tmp_path: Path) -> None:
    asked = runs(tmp_path / "a", 1)
    rows = execute(asked, tmp_path / "runs", device="cpu", scheduler=scheduler)
    assert [row.status for row in rows] == ["done", "failed", "done"]
    assert "no network today" in (rows[1].reason or "")
    assert not list((tmp_path / "a").iterdir())
    (here,) = execute([OWN], tmp_path / "here", jobs=1, device="cpu")
    assert (here.accuracy, here.fingerprints) == (rows[2].accuracy, rows[2].fingerprints)


def test_a_run_that_kills_its_workers_fails_alone(scheduler: str, tmp_path: Path) -> None:
    asked = runs(tmp_path / "a", 2)[::2]
    rows = execute(asked, tmp_path / "runs", device="cpu", scheduler=scheduler)
    assert rows[0].status == "failed"
    assert "died, one after the other" in (rows[0].reason or "")
    assert Book(tmp_path / "runs").get(asked[0].id) == rows[0]
    rows = execute(asked, tmp_path / "runs", device="cpu", scheduler=scheduler)
    assert [row.status for row in rows] == ["done", "done"]  # there are no more bullets


def test_a_cluster_that_loses_all_its_workers_ends_the_execution() -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=0, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        pool = ClusterPool(ClusterExecutor(client, patience=0.1))
        future: Future[Row] = pool.submit(replace)
        with pytest.raises(StoreError, match=r"no workers for 0\.1 seconds\. Start"):
            pool.wait({future})
        assert pool.wait(set()) == set()


def test_workers_that_cannot_do_runs_end_the_execution(scheduler: str) -> None:
    from distributed import Client

    with Client(scheduler) as client:
        pool = ClusterPool(ClusterExecutor(client))
        future: Future[Row] = pool.submit(replace)  # wants an argument
        (done,) = pool.wait({future})
        with pytest.raises(StoreError, match="cannot do runs"):
            pool.row(done)
        lost: Future[Row] = Future()
        lost.cancel()
        with pytest.raises(StoreError, match="scheduler was lost"):
            pool.row(lost)


def test_a_scheduler_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No Dask scheduler can be reached at nonsense"):
        execute([OWN], tmp_path, device="cpu", scheduler="nonsense")
    execute([OWN], tmp_path, jobs=1, device="cpu")
    execute([OWN], tmp_path, device="cpu", scheduler="nonsense")  # nothing is left to do
