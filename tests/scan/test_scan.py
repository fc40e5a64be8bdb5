"""A scan here and in processes: the same answers in order, or an error that names the payload."""

from __future__ import annotations

import io
import os
import shutil
import stat
import tracemalloc
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import odd_jobs
import plain
import pytest

from filterdb.errors import DamagedStoreError, StoreError
from filterdb.scan import (
    DensityJob,
    MomentsJob,
    RangeJob,
    SummaryJob,
    executor_for,
    forget,
    scan,
    split,
)
from filterdb.stats.basis import reference_basis
from filterdb.stats.summary import BLOCK
from filterdb.store.connection import CATALOGUE, LOCK
from filterdb.store.lock import cleaning, ingesting
from filterdb.store.payload import payload_path, read_payload

BASIS = reference_basis((3, 3))
ONE_LAYER = 1  # bytes of a part: every layer is one


@pytest.fixture
def place(tmp_path):
    """Where jobs leave their traces."""
    place = tmp_path / "traces"
    place.mkdir()
    return place


@pytest.fixture
def parts(folder, networks):
    return split(folder, networks, part_bytes=ONE_LAYER)


def filters_of(folder, layer):
    weights = read_payload(payload_path(folder, layer.weights_hash))[layer.tensor]
    return weights.reshape(-1, 9)


def all_moments(found):
    return [(item.layers, item.value.n, item.value.second.tolist()) for item in found]


def asked(place):
    return sorted(path.name[0] for path in place.iterdir() if "-" in path.name)


class TestParts:
    def test_hold_every_layer_once_and_in_order(self, folder, networks):
        for size in (1, 10**6, 10**9):
            parts = split(folder, networks, part_bytes=size)
            assert [layer for part in parts for layer in part.layers] == networks
            assert len({part.key for part in parts}) == len(parts)
        assert len(parts) == 1
        assert len(parts[0].paths) == 3
        assert "2 more" in parts[0].label

    def test_are_about_equally_large(self, folder, networks):
        large = [replace(layer, n_filters=10 * BLOCK) for layer in networks] * 20
        parts = split(folder, large, part_bytes=36 * 100 * BLOCK)
        assert {len(part.layers) for part in parts[:-1]} == {10}

    def test_small_layers_do_not_pile_up(self, folder, networks):
        parts = split(folder, networks * 100)
        assert max(len(part.layers) for part in parts) <= 32 * 2**20 // (36 * BLOCK)

    def test_are_known_by_their_weights(self, folder, networks):
        (here,) = split(folder, networks)
        (there,) = split(folder / "elsewhere", [replace(layer, model_id=9) for layer in networks])
        (fewer,) = split(folder, networks[1:])
        assert here.key == there.key != fewer.key

    def test_of_nothing(self, folder):
        assert split(folder, []) == []
        assert list(scan([], MomentsJob())) == []


class TestAnswers:
    @pytest.mark.parametrize("size", [1, 10**6, 10**9])
    def test_are_those_of_each_layer(self, folder, networks, size):
        found = list(scan(split(folder, networks, part_bytes=size), MomentsJob()))
        assert [item.layers for item in found] == [(layer,) for layer in networks]
        for (layer,), moments in found:
            expected = plain.scaled(filters_of(folder, layer))
            np.testing.assert_allclose(moments.second, expected.T @ expected, rtol=1e-12)

    def test_of_a_density_are_added_up(self, folder, networks):
        job = DensityJob(BASIS, bins=16)
        ((layers, one),) = scan(split(folder, networks), job)
        many = list(scan(split(folder, networks, part_bytes=ONE_LAYER), job))
        assert list(layers) == networks
        assert len(many) == len(networks)
        np.testing.assert_array_equal(sum(item.value for item in many), one)
        assert one.sum() == sum(layer.n_filters for layer in networks)

    def test_come_with_progress(self, parts):
        told = []
        for _ in scan(parts, MomentsJob(), progress=lambda *item: told.append(item)):
            assert len(told) < len(parts)
        assert [item[:2] for item in told] == [(i + 1, len(parts)) for i in range(len(parts))]
        assert [item[2] for item in told] == [part.label for part in parts]

    @pytest.mark.parametrize(
        "executor",
        [
            lambda: executor_for(jobs=2),
            lambda: ThreadPoolExecutor(3),
            lambda: ProcessPoolExecutor(2, mp_context=get_context("spawn")),
        ],
        ids=["processes", "threads", "spawned"],
    )
    def test_do_not_depend_on_who_works(self, parts, executor):
        jobs = [MomentsJob(drop_sparse=True), RangeJob(BASIS), SummaryJob((BASIS,))]
        with executor() as workers:
            moments, ranges, summaries = [list(scan(parts, job, executor=workers)) for job in jobs]
        here = [list(scan(parts, job)) for job in jobs]
        for ours, theirs in zip(moments, here[0], strict=True):
            assert ours.layers == theirs.layers
            assert ours.value.n == theirs.value.n
            np.testing.assert_allclose(ours.value.second, theirs.value.second, rtol=1e-12)
        np.testing.assert_allclose(
            [item.value for item in ranges], [item.value for item in here[1]], rtol=1e-12
        )
        for ours, theirs in zip(summaries, here[2], strict=True):
            np.testing.assert_array_equal(ours.value.clean.counts, theirs.value.clean.counts)


class TestPayloads:
    """What the catalogue says and what is there must be the same."""

    def test_a_missing_one_is_named(self, folder, parts):
        path = parts[4].paths[0]
        path.unlink()
        with pytest.raises(DamagedStoreError, match=path.name):
            list(scan(parts, MomentsJob()))

    def test_a_missing_one_is_named_by_processes(self, folder, parts):
        path = parts[4].paths[0]
        path.unlink()
        with executor_for(jobs=2) as executor, pytest.raises(DamagedStoreError, match=path.name):
            list(scan(parts, MomentsJob(), executor=executor))

    def test_one_that_is_cut_off_is_named(self, folder, parts):
        path = parts[4].paths[0]
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(DamagedStoreError, match=path.name):
            list(scan(parts, MomentsJob()))

    @pytest.mark.parametrize(
        "change",
        [{"tensor": "nothing"}, {"shape": (2, 15, 3, 3)}, {"shape": (6, 5, 9, 1)}],
        ids=str,
    )
    def test_one_that_holds_something_else_is_named(self, folder, networks, change):
        layers = [replace(networks[0], **change), *networks[1:]]
        with pytest.raises(DamagedStoreError, match=networks[0].weights_hash):
            list(scan(split(folder, layers), MomentsJob()))

    def test_the_catalogue_counts_otherwise(self, folder, networks):
        layers = [replace(networks[0], n_filters=31), *networks[1:]]
        with pytest.raises(DamagedStoreError, match=r"catalogue says"):
            list(scan(split(folder, layers), MomentsJob()))
        with pytest.raises(DamagedStoreError, match=r"catalogue says"):
            list(scan(split(folder, layers), DensityJob(BASIS, bins=8)))

    @pytest.mark.parametrize("job", [odd_jobs.ShortJob(), odd_jobs.LostJob()], ids=repr)
    def test_filters_that_are_missed_are_missed(self, folder, networks, job):
        with pytest.raises(DamagedStoreError, match=networks[0].weights_hash):
            list(scan(split(folder, networks), job))

    def test_nan_is_named_and_not_counted(self, folder, publish):
        weights = np.ones((4, 4, 3, 3), np.float32)
        bad = weights.copy()
        bad[1, 1, 1, 1] = np.nan
        layers = publish({"good": weights, "bad": bad})
        with pytest.raises(StoreError, match=rf"'bad'.*{layers[0].weights_hash}.*NaN"):
            list(scan(split(folder, layers), MomentsJob()))

    def test_one_that_only_the_workers_cannot_see(self, parts):
        with (
            executor_for(jobs=2) as executor,
            pytest.raises(StoreError, match=rf"workers cannot see .*{parts[0].paths[0].name}"),
        ):
            list(scan(parts, odd_jobs.BlindJob(), executor=executor))


class TestKilledWorker:
    @pytest.mark.parametrize("spawned", [False, True], ids=["ours", "the standard library's"])
    def test_is_an_error_and_the_next_scan_goes_on(self, parts, place, tmp_path, spawned):
        job = odd_jobs.DeadlyJob(place=str(place), victim="f")
        checkpoint = tmp_path / "scans"
        odd_jobs.load(place, 1)
        pool = (
            ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            if spawned
            else executor_for(jobs=2)
        )
        with pool as executor, pytest.raises(StoreError, match=parts[5].paths[0].name):
            list(scan(parts, job, executor=executor, checkpoint=checkpoint))
        saved = {path.stem for path in (checkpoint / job.key).iterdir()}
        assert {part.key for part in parts[:5]} <= saved < {part.key for part in parts}
        assert parts[5].key not in saved

        with executor_for(jobs=2) as executor:
            found = list(scan(parts, job, executor=executor, checkpoint=checkpoint))
        assert all_moments(found) == all_moments(scan(parts, MomentsJob()))
        assert asked(place)[:6] == list("abcdef")  # none of them was asked a second time
        assert not checkpoint.exists()

    def test_does_not_take_the_others_with_it(self, parts, place):
        odd_jobs.load(place, 1)
        job = odd_jobs.DeadlyJob(place=str(place), victim="a")
        with executor_for(jobs=1 + 1) as executor:
            with pytest.raises(StoreError, match="SIGKILL"):
                list(scan(parts, job, executor=executor))
            found = list(scan(parts, job, executor=executor))
        assert all_moments(found) == all_moments(scan(parts, MomentsJob()))


class TestCheckpoint:
    @pytest.fixture
    def job(self, place):
        return odd_jobs.CountedJob(place=str(place))

    @pytest.fixture
    def checkpoint(self, tmp_path):
        return tmp_path / "scans"

    def scan_some(self, parts, job, checkpoint, count=4):
        """Stop in the middle, as one does who is interrupted."""
        found = scan(parts, job, checkpoint=checkpoint)
        for _ in range(count):
            next(found)
        found.close()
        return sorted((checkpoint / job.key).iterdir())

    def test_an_interrupted_scan_goes_on(self, parts, job, checkpoint, place):
        assert len(self.scan_some(parts, job, checkpoint)) >= 4
        found = list(scan(parts, job, checkpoint=checkpoint))
        assert all_moments(found) == all_moments(scan(parts, MomentsJob()))
        assert asked(place) == list("abcdefgh")
        assert not checkpoint.exists()

    def test_what_others_keep_there_stays(self, parts, job, checkpoint):
        self.scan_some(parts, job, checkpoint)
        (checkpoint / job.key / "notes.txt").touch()
        other = MomentsJob(drop_sparse=True)
        self.scan_some(parts, other, checkpoint)
        list(scan(parts, job, checkpoint=checkpoint))
        assert [path.name for path in (checkpoint / job.key).iterdir()] == ["notes.txt"]
        assert len(list((checkpoint / other.key).iterdir())) >= 4

    def test_it_can_be_kept_and_forgotten(self, parts, job, checkpoint, place):
        list(scan(parts, job, checkpoint=checkpoint, keep=True))
        list(scan(parts, job, checkpoint=checkpoint, keep=True))
        assert asked(place) == list("abcdefgh")
        forget(checkpoint, job)
        assert not checkpoint.exists()
        forget(checkpoint, job)
        forget(None, job)

    @pytest.mark.parametrize("job_", [DensityJob(BASIS, bins=8), SummaryJob((BASIS,))])
    def test_any_answer_survives_it(self, folder, networks, checkpoint, job_):
        parts = split(folder, networks)
        (first, *_) = scan(parts, job_, checkpoint=checkpoint, keep=True)
        (again, *_) = scan(parts, job_, checkpoint=checkpoint)
        if isinstance(job_, DensityJob):
            np.testing.assert_array_equal(first.value, again.value)
        else:
            np.testing.assert_array_equal(first.value.clean.counts, again.value.clean.counts)
            np.testing.assert_array_equal(
                first.value.sparse.raw.second, again.value.sparse.raw.second
            )

    @pytest.mark.parametrize(
        "damage",
        [
            lambda path, other: path.write_bytes(b""),
            lambda path, other: path.write_bytes(b"no archive"),
            lambda path, other: path.write_bytes(path.read_bytes()[:-40]),
            lambda path, other: path.write_bytes(other.read_bytes()),
            lambda path, other: np.savez(path, **{"0.seen": np.asarray(30)}),
            lambda path, other: path.write_bytes(one_array()),
            lambda path, other: (path.unlink(), path.mkdir()),
            lambda path, other: change(path, n=np.asarray(31)),
            lambda path, other: change(path, first=np.zeros(9)),
            lambda path, other: change(path, extra=np.zeros(9)),
        ],
    )
    def test_what_is_damaged_or_foreign_is_not_trusted(self, parts, job, checkpoint, place, damage):
        files = self.scan_some(parts, job, checkpoint)
        bad = checkpoint / job.key / f"{parts[1].key}.npz"
        damage(bad, next(path for path in files if path != bad))
        found = list(scan(parts, job, checkpoint=checkpoint))
        assert all_moments(found) == all_moments(scan(parts, MomentsJob()))
        assert asked(place) == list("abbcdefgh")

    def test_it_is_checked_against_the_catalogue_too(self, folder, networks, checkpoint):
        list(scan(split(folder, networks), MomentsJob(), checkpoint=checkpoint, keep=True))
        layers = [replace(networks[0], n_filters=31), *networks[1:]]
        with pytest.raises(DamagedStoreError, match=r"catalogue says"):
            list(scan(split(folder, layers), MomentsJob(), checkpoint=checkpoint))

    def test_any_flipped_byte_is_noticed(self, parts, job, checkpoint):
        expected = all_moments(scan(parts, MomentsJob()))[:1]
        (path, *_) = self.scan_some(parts[:1], job, checkpoint, count=1)
        whole = path.read_bytes()
        for position in range(0, len(whole), 37):
            path.write_bytes(
                whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :]
            )
            found = scan(parts[:1], job, checkpoint=checkpoint, keep=True)
            assert all_moments(found) == expected

    def test_a_place_that_cannot_be_written_to_is_none(self, parts, job, tmp_path):
        (tmp_path / "file").touch()
        found = list(scan(parts, job, checkpoint=tmp_path / "file" / "scans"))
        assert all_moments(found) == all_moments(scan(parts, MomentsJob()))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_nor_is_a_read_only_one(self, parts, job, tmp_path):
        closed = tmp_path / "closed"
        closed.mkdir()
        closed.chmod(stat.S_IRUSR | stat.S_IXUSR)
        found = list(scan(parts, job, checkpoint=closed / "scans"))
        assert len(found) == len(parts)
        assert not list(closed.iterdir())


class TestLock:
    """While a scan keeps something in a database, nobody removes it."""

    @pytest.fixture
    def checkpoint(self, folder, networks):
        (folder / CATALOGUE).touch()
        return folder / "scans"

    def alone(self, folder):
        with cleaning(folder) as alone:
            return alone

    def test_is_shared_while_the_scan_runs(self, folder, parts, checkpoint):
        found = scan(parts, MomentsJob(), checkpoint=checkpoint)
        assert self.alone(folder)  # not begun
        next(found)
        assert not self.alone(folder)
        with ingesting(folder):  # others share it
            assert len(list(scan(parts, RangeJob(BASIS), checkpoint=checkpoint))) == len(parts)
        assert not self.alone(folder)
        found.close()
        assert self.alone(folder)

    def test_is_given_back_after_an_error(self, folder, parts, checkpoint):
        parts[-1].paths[0].unlink()
        with pytest.raises(DamagedStoreError):
            list(scan(parts, MomentsJob(), checkpoint=checkpoint))
        assert self.alone(folder)

    def test_is_not_waited_for(self, folder, parts, checkpoint):
        with cleaning(folder) as alone:
            assert alone
            assert len(list(scan(parts, MomentsJob(), checkpoint=checkpoint))) == len(parts)

    def test_is_not_left_with_forked_workers(self, folder, parts, checkpoint):
        with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads
                list(scan(parts, MomentsJob(), executor=pool, checkpoint=checkpoint))
            assert self.alone(folder)

    def test_that_cannot_be_had_is_done_without(self, folder, parts, checkpoint):
        (folder / LOCK).mkdir()
        assert len(list(scan(parts, MomentsJob(), checkpoint=checkpoint))) == len(parts)

    def test_is_for_databases_only(self, parts, tmp_path):
        list(scan(parts, MomentsJob(), checkpoint=tmp_path / "scans"))
        assert not list(tmp_path.rglob(LOCK))

    def test_is_not_taken_by_a_scan_that_keeps_nothing(self, folder, parts, checkpoint):
        found = scan(parts, MomentsJob())
        next(found)
        assert self.alone(folder)


def one_array():
    """A file of one array, which is no archive."""
    file = io.BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


def change(path, **arrays):
    """Another answer under the same digest."""
    with np.load(path) as file:
        content = dict(file)
    content |= {f"0.{name}": array for name, array in arrays.items()}
    np.savez(path, **content)


class TestMemory:
    def peak(self, parts, job):
        tracemalloc.start()
        try:
            for _ in scan(parts, job):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_does_not_grow_with_the_number_of_filters(self, folder, publish):
        million = np.random.default_rng(0).random((1000, 1000, 3, 3), np.float32)
        small, large = publish({"small": million[:40]}), publish({"large": million})
        del million
        for job in (MomentsJob(drop_sparse=True), RangeJob(BASIS), SummaryJob((BASIS,))):
            few, many = (self.peak(split(folder, layers), job) for layers in (small, large))
            assert many < 1.1 * few + 2**16
            assert few < 8 * 2**20

    def test_does_not_grow_with_the_number_of_layers(self, folder, networks):
        few, many = (
            self.peak(split(folder, networks * times, part_bytes=2**20), SummaryJob((BASIS,)))
            for times in (5, 60)
        )
        assert many < 1.2 * few + 2**19


def test_a_copy_elsewhere_takes_up_the_scan(folder, networks, tmp_path):
    """What is kept is about weights, and not about where they lie."""
    list(scan(split(folder, networks), MomentsJob(), checkpoint=folder / "scans", keep=True))
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    shutil.rmtree(copy / "payload")
    found = list(scan(split(copy, networks), MomentsJob(), checkpoint=copy / "scans"))
    assert all_moments(found) == all_moments(scan(split(folder, networks), MomentsJob()))
