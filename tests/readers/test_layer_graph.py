from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from filterdb.errors import LimitError
from filterdb.layer import Norm
from filterdb.readers import layer_graph
from filterdb.readers.companion import beside, read_text_file
from filterdb.readers.layer_graph import LayerGraph, unique, weight_states


def test_a_name_written_again_is_a_new_value() -> None:
    graph = LayerGraph(sources=["Data"], transparent=["Split"])
    graph.add("Data", "data", [], ["x"])
    graph.add("Conv", "a", ["x"], ["y"])
    graph.add("ReLU", "r", ["y"], ["y"])
    graph.add("Split", "s", ["y"], ["y1", "y2"])
    graph.add("Conv", "b", ["y1"], ["z"])
    graph.add("Conv", "c", ["y2"], ["z"])
    assert graph.depths() == [0, 1, 2, 2, 3, 3]
    assert [graph.followers().of(i) for i in range(6)] == [[1], [2], [4, 5], [4, 5], [], []]


def test_values_may_be_declared_before_they_are_written() -> None:
    graph = LayerGraph()
    graph.declare(["y", "constant"])
    graph.add("Conv", "b", ["y"], ["z"])
    graph.add("Conv", "a", ["x", "constant"], ["y"])
    assert graph.depths() == [2, 1]
    assert [graph.followers().of(i) for i in range(2)] == [[], [0]]


def test_transparent_layers_in_a_chain_are_looked_through() -> None:
    graph = LayerGraph(transparent=["Split"])
    graph.add("Conv", "a", ["x"], ["y0"])
    for i in range(20):
        graph.add("Split", f"s{i}", [f"y{i}"], [f"y{i + 1}"])
    graph.add("Norm", "n", ["y20"], ["z"])
    assert graph.followers().of(0) == [21]


def test_looking_through_has_an_end() -> None:
    graph = LayerGraph(transparent=["Split"])
    graph.add("Conv", "a", ["x"], ["y0"])
    for i in range(20_000):
        graph.add("Split", f"s{i}", [f"y{i}"], [f"y{i + 1}"])
    graph.add("Norm", "n", ["y20000"], ["z"])
    assert 20_001 not in graph.followers().of(0)


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_graph, "MAX_LAYERS", 3)
    monkeypatch.setattr(layer_graph, "MAX_VALUES", 9)
    graph = LayerGraph()
    with pytest.raises(LimitError, match="values"):
        graph.declare(map(str, range(10)))
    graph = LayerGraph()
    for _ in range(3):
        graph.add("Conv", "a", ["x"], ["x"])
    with pytest.raises(LimitError, match="layers"):
        graph.add("Conv", "a", ["x"], ["x"])


NORM = Norm("n", lambda: np.ones(1))


@pytest.mark.parametrize(
    ("followers", "norms", "biased", "why", "state"),
    [
        ({0: [1]}, {1: NORM}, [0], "", "raw"),
        ({0: [1]}, {1: "n"}, [0], "", "raw"),
        ({0: [1, 2]}, {1: NORM, 2: NORM}, [0], "", "raw"),
        ({0: [1, 2]}, {1: NORM}, [0], "", "unknown"),
        ({0: [1]}, {}, [], "", "no_norm"),
        ({0: [1]}, {}, [0], "", "unknown"),
        ({0: [1]}, {}, [0], "it is a snapshot", "no_norm"),
        ({0: [1], 2: [3]}, {3: NORM}, [0], "", "no_norm"),
    ],
)
def test_states(followers, norms, biased, why, state) -> None:
    found = weight_states(followers, norms, biased=biased, as_trained=why)[0]
    assert found[0] == state
    assert (found[2] is NORM) == (state == "raw" and norms == {1: NORM})
    assert found[1]


def test_names_are_made_unique() -> None:
    assert unique(["a", "b", "a", "a#2", "a"]) == ["a", "b", "a#2", "a#2#2", "a#3"]


def test_a_companion_lies_beside(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.bin").write_bytes(b"x")
    assert beside(tmp_path / "in" / "a.param", ".bin") == tmp_path / "in" / "a.bin"
    assert beside(tmp_path / "in" / "a.bin", ".bin") is None
    assert beside(tmp_path / "in" / "b.param", ".bin") is None
    assert beside(tmp_path / "in", ".bin") is None
    (tmp_path / "c.bin").write_bytes(b"x")
    (tmp_path / "in" / "c.bin").symlink_to(tmp_path / "c.bin")
    assert beside(tmp_path / "in" / "c.param", ".bin") is None
    (tmp_path / "in" / "d.bin").symlink_to("d.bin")
    assert beside(tmp_path / "in" / "d.param", ".bin") is None


def test_text_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfab\xff")
    assert read_text_file(tmp_path / "a", 99) == "ab\\xff"
    with pytest.raises(LimitError):
        read_text_file(tmp_path / "a", 3)
