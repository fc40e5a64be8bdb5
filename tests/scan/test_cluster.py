"""Scans on a real Dask cluster of processes, whose workers are killed."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

import numpy as np
import odd_jobs
import pytest

from filterdb.errors import StoreError
from filterdb.scan import MomentsJob, SummaryJob, executor_for, preset_histograms, scan, split
from filterdb.scan.executors import ClusterExecutor, result_of, workers_of
from filterdb.stats.basis import reference_basis

pytestmark = pytest.mark.slow

BASIS = reference_basis((3, 3))


@pytest.fixture(scope="module")
def scheduler():
    """Address of a cluster of two processes that gives up a task after two dead workers."""
    import dask
    from distributed import LocalCluster

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture
def parts(folder, networks):
    return split(folder, networks, part_bytes=1)


@pytest.fixture
def place(tmp_path):
    place = tmp_path / "traces"
    place.mkdir()
    return place


def assert_equal(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.layers == theirs.layers
        assert ours.value.n == theirs.value.n
        np.testing.assert_allclose(ours.value.second, theirs.value.second, rtol=1e-12)


def test_the_answers_are_those_of_a_scan_here(parts, scheduler):
    with executor_for(scheduler=scheduler) as executor:
        assert workers_of(executor) == 2
        found = list(scan(parts, SummaryJob((BASIS,)), executor=executor))
        preset = preset_histograms(parts, "cvprw2022", executor=executor)
    for ours, theirs in zip(found, scan(parts, SummaryJob((BASIS,))), strict=True):
        assert ours.layers == theirs.layers
        np.testing.assert_array_equal(ours.value.clean.counts, theirs.value.clean.counts)
        np.testing.assert_array_equal(ours.value.sparse.counts, theirs.value.sparse.counts)
    np.testing.assert_array_equal(preset.counts, preset_histograms(parts, "cvprw2022").counts)


def test_a_killed_worker_changes_nothing(parts, place, scheduler):
    odd_jobs.load(place, 1)
    job = odd_jobs.DeadlyJob(place=str(place), victim="d")
    with executor_for(scheduler=scheduler) as executor:
        found = list(scan(parts, job, executor=executor))
    assert not list(place.glob("bullet*"))
    assert_equal(found, scan(parts, MomentsJob()))


def test_a_part_that_kills_its_workers_is_an_error(parts, place, tmp_path, scheduler):
    odd_jobs.load(place, 2)
    job = odd_jobs.DeadlyJob(place=str(place), victim="d")
    checkpoint = tmp_path / "scans"
    with executor_for(scheduler=scheduler) as executor:
        # Dask gives up what else the killed workers had been given, too: any of these is named.
        with pytest.raises(StoreError, match=r"payload/.*\.safetensors failed \(KilledWorker"):
            list(scan(parts, job, executor=executor, checkpoint=checkpoint))
        saved = [path.stem for path in checkpoint.glob("*/*.npz")]
        assert parts[3].key not in saved
        found = list(scan(parts, job, executor=executor, checkpoint=checkpoint))
    assert_equal(found, scan(parts, MomentsJob()))
    assert not checkpoint.exists()


def test_workers_that_cannot_see_the_payloads(parts, scheduler):
    with (
        executor_for(scheduler=scheduler) as executor,
        pytest.raises(StoreError, match=rf"workers cannot see .*{parts[0].paths[0].name}"),
    ):
        list(scan(parts, odd_jobs.BlindJob(), executor=executor))


def test_a_scheduler_without_workers():
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=0, dashboard_address=":0") as cluster,
        pytest.raises(StoreError, match="no workers"),
        executor_for(scheduler=cluster.scheduler_address, connect_seconds=1),
    ):
        pass


def test_a_cluster_that_loses_all_its_workers():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=0, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        executor = ClusterExecutor(client, patience=0.1)
        with pytest.raises(BrokenExecutor, match="no workers"):
            result_of(executor.submit(odd_jobs.double, 1), executor)
