"""Side by side: the same results in the same order, the first error raised, BLAS given back."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from threadpoolctl import threadpool_info

from filterdb import check
from filterdb.checking import SIDE_BY_SIDE, check_model
from filterdb.reading import read
from filterdb.threads import map_in_threads
from networks import network


def test_order_is_that_of_the_items() -> None:
    assert map_in_threads(lambda x: x * x, range(50), threads=4) == [x * x for x in range(50)]


def test_the_first_error_is_raised() -> None:
    def refuse(x: int) -> int:
        if x % 2:
            raise ValueError(str(x))
        return x

    with pytest.raises(ValueError, match=r"^1$"):
        map_in_threads(refuse, range(9), threads=3)


def test_blas_has_one_thread_meanwhile_and_its_own_after() -> None:
    def blas_threads(_: object = None) -> list[int]:
        return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]

    before = blas_threads()
    inside = map_in_threads(blas_threads, range(4), threads=2)
    assert inside == [[1] * len(before)] * 4
    assert blas_threads() == before


def test_a_large_network_is_measured_alike_in_threads_and_in_one() -> None:
    arrays = network("healthy", "sparse", "random", "low diversity", width=256)
    assert sum(a.size for name, a in arrays.items() if name.startswith("conv")) > SIDE_BY_SIDE
    alone = check_model(read(arrays), visit=lambda *_: None)
    together = check(arrays)
    assert [row.verdict for row in together.layers] == [row.verdict for row in alone.layers]
    for ours, theirs in zip(together.layers, alone.layers, strict=True):
        assert ours.layer.name == theirs.layer.name
        assert asdict(ours.quality) == pytest.approx(asdict(theirs.quality), rel=1e-6)
