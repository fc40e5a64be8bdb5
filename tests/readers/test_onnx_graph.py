from __future__ import annotations

import onnx
import pytest
from onnx import helper
from onnx_models import make

from filterdb.errors import CorruptFileError, LimitError
from filterdb.readers.onnx.graph import flatten

node = helper.make_node
SIZE = 10_000


def test_a_value_of_two_nodes_is_refused() -> None:
    model = make([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])])
    with pytest.raises(CorruptFileError, match="'y' is defined twice"):
        flatten(model, SIZE)


def functions(calls: dict[str, list[str]]) -> onnx.ModelProto:
    """A model that calls F0, where each function calls the functions listed for it."""
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    protos = [
        helper.make_function(
            "local",
            name,
            ["a"],
            ["b"],
            [
                *(node(c, ["a"], [f"v{i}"], domain="local") for i, c in enumerate(called)),
                node("Relu", ["a"], ["b"]),
            ],
            opsets,
        )
        for name, called in calls.items()
    ]
    top = node("F0", ["x"], ["y"], domain="local")
    return make([top], opsets=opsets[1:], functions=protos)


def test_a_function_that_calls_itself_is_refused() -> None:
    with pytest.raises(CorruptFileError, match="calling itself"):
        flatten(functions({"F0": ["F1"], "F1": ["F0"]}), SIZE)


def test_functions_that_multiply_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filterdb.readers.onnx.graph.NODE_BYTES", 20_000)
    calls = {f"F{i}": [f"F{i + 1}"] * 10 for i in range(12)} | {"F12": []}
    with pytest.raises(LimitError, match="out of proportion"):
        flatten(functions(calls), SIZE)
