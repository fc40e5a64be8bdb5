"""What would make a result worthless is refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filterdb.errors import TransferError
from filterdb.transfer.experiments import check_data, runs_of
from filterdb.transfer.plan import plan_of
from filterdb.transfer.run import Budget, Data, Run, Start

pytest.importorskip("sklearn")
TINY = {"width": 4, "depth": 1}
DIGITS = Data("digits", 8, 1)


def pair(source: Data, target: Data) -> list[Run]:
    """A run, and one that takes its filters."""
    first = Run("convmixer", source, Budget(1), TINY, arm="first")
    start = Start("depthwise", source=first.id)
    return [first, replace(first, data=target, starts=(start,), arm="second")]


def written(path: Path, **arrays: Any) -> Data:
    np.savez(path, **arrays)
    return Data(str(path), 8, 1)


@pytest.mark.parametrize(
    ("source", "data"),
    [({"spec": "digits"}, {"limit": 20}), ({"group": "A"}, {"split": "halves", "group": "B"})],
)
def test_no_source_of_a_size_sees_an_image_that_the_target_is_tested_on(
    source: dict[str, Any], data: dict[str, Any]
) -> None:
    plan = plan_of({
        "experiment": "size", "data": data, "size": {"source": source, "shares": [0.5, 1.0]},
    })  # fmt: skip
    runs = runs_of(plan)
    _, test = runs[0].data.load()
    tested = {image.tobytes() for image in test.images}
    sources = [run.data for run in runs if "source_share" in run.labels]
    half = [data for data in sources if data.share < 1]
    for each in sources:
        train, _ = each.load()
        assert not any(image.tobytes() in tested for image in train.images)
    drawn = {each.load()[0].images.tobytes() for each in half}
    assert len(drawn) == len(half) == 3  # other ones for each seed
    check_data(runs)


def test_sources_that_see_what_is_tested_are_refused(tmp_path: Path) -> None:
    check_data(pair(DIGITS, replace(DIGITS, limit=20)))
    with pytest.raises(TransferError, match=r"that second .* source, first .*same data.seed"):
        check_data(pair(replace(DIGITS, seed=1), DIGITS))
    plan = plan_of({"experiment": "size", "size": {"source": {"spec": "digits", "seed": 1}}})
    with pytest.raises(TransferError, match="source at 1/"):
        check_data(runs_of(plan))


def test_what_a_set_has_twice_of_its_own_is_no_leak(tmp_path: Path) -> None:
    """Equal images in both parts of the target are its own affair: sources may have them too."""
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 2
    train, test, other = rng.integers(0, 256, (3, 100, 8, 8), dtype=np.uint8)
    parts = {"y_train": labels, "y_test": labels}

    def found(name: str, shared: int, own: int) -> list[Run]:
        source = written(tmp_path / f"{name}-a.npz", x_test=other, **parts,
                         x_train=np.concatenate([test[:shared], train[shared:]]))  # fmt: skip
        target = written(tmp_path / f"{name}-b.npz", x_test=test, **parts,
                         x_train=np.concatenate([test[:own], other[own:]]))  # fmt: skip
        return pair(source, target)

    check_data(found("one", 1, 0))
    check_data(found("own", 5, 5))
    check_data(pair(*[found("itself", 0, 50)[1].data] * 2))
    with pytest.raises(TransferError, match=r"^6% of the different images that second"):
        check_data(found("more", 6, 5))


def test_sets_of_a_matrix_that_would_be_mixed_up() -> None:
    def runs(**sets: Any) -> list[Run]:
        return runs_of(plan_of({"experiment": "matrix", "matrix": {"sets": sets}}))

    with pytest.raises(TransferError, match=r"sets.b and matrix.sets.a are the same data, but per"):
        runs(a="digits", b={"spec": "digits", "seed": 1})
    for name in ("random", "in full", "own"):
        with pytest.raises(TransferError, match=f"matrix.sets.{name}.*Name it otherwise"):
            runs(**{name: "digits", "b": "shapes"})
    with pytest.raises(TransferError, match="would both be called 'a -> b -> c'"):
        runs(**{"a": "digits", "b -> c": "shapes", "a -> b": "textures", "c": "fractals"})


def test_shares_of_one_name_are_refused() -> None:
    def runs(*shares: float) -> list[Run]:
        return runs_of(plan_of({"experiment": "size", "size": {"shares": list(shares)}}))

    assert runs(0.0001, 1 / 3, 1.0)
    with pytest.raises(TransferError, match=r"0\.33333 and 0.333333 are both 1/3"):
        runs(0.33333, 1 / 3, 1.0)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"data": {"seed": -1}}, "0 or more, and not -1"),
        ({"data": {"share_seed": -1}}, "a seed is a whole number of 0 or more"),
        ({"data": {"share": 0}}, "a share of 0 is none"),
        ({"data": {"share": float("nan")}}, "a share of nan is none"),
        ({"budget": {"epochs": 1, "decay": float("nan")}}, "decay nan"),
        ({"budget": {"epochs": 1, "rate": float("inf")}}, "at the rate inf"),
        ({"budget": {"epochs": 1, "warmup": float("nan")}}, "warmup nan"),
    ],
)
def test_numbers_that_make_no_sense(table: dict[str, Any], message: str) -> None:
    with pytest.raises(TransferError, match=message):
        plan_of({"experiment": "layers", **table})


def test_classes_and_sizes_that_cannot_be_learnt(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 8, 8), dtype=np.uint8)
    run = Run("convmixer", DIGITS, Budget(1), TINY)
    with pytest.raises(TransferError, match=r"4x4 are too small.*at least 8x8"):
        check_data([replace(run, data=replace(DIGITS, size=4))])
    for name, labels, message in (
        ("one", [0] * 19 + [1], "no image to test on of 1"),
        ("each", [0, 1, 2], "no image to test on of 0, 1, 2"),
    ):
        data = written(tmp_path / f"{name}.npz", images=images[: len(labels)],
                       labels=np.array(labels))  # fmt: skip
        with pytest.raises(TransferError, match=message):
            check_data([replace(run, data=data)])
    data = written(
        tmp_path / "parts.npz", x_train=images, y_train=np.arange(20) % 2,
        x_test=images, y_test=np.arange(20) % 3,
    )  # fmt: skip
    with pytest.raises(TransferError, match="no image to train on of 2"):
        check_data([replace(run, data=data)])
