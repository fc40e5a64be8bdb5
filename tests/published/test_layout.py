"""Which filters belong to which layer: tables that are whole, and tables that are not."""

from __future__ import annotations

from itertools import accumulate, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterdb.errors import CorruptFileError
from filterdb.published.frame import Frame
from filterdb.published.layout import MOST_FILTERS, read_layout, which_ends

sizes = st.lists(st.integers(1, 50), min_size=1, max_size=30)


def frame(ids: list[object], **columns: list[object]) -> Frame:
    rows = len(ids)
    table: dict[str, list[object]] = {
        "model_id": ["m"] * rows,
        "conv_depth": list(range(rows)),
        "conv_depth_norm": [0.5] * rows,
        "layer_id": [f"conv {i}" for i in range(rows)],
        "filter_ids": ids,
    }
    return Frame(rows, table | columns, {})  # type: ignore[arg-type]


def spans(counts: list[int]) -> list[tuple[int, int]]:
    stops = list(accumulate(counts))
    return list(zip([0, *stops], stops, strict=False))


@given(sizes, st.booleans(), st.randoms())
def test_ranges_that_lie_end_to_end_are_read_either_way(counts, inclusive, chance) -> None:
    tiles = spans(counts)
    ids = [f"{start}:{stop - inclusive}" for start, stop in tiles]
    chance.shuffle(order := list(range(len(ids))))
    layout = read_layout(frame([ids[i] for i in order]), sum(counts))
    assert (layout.ends, layout.certain) == ("inclusive" if inclusive else "exclusive", True)
    assert layout.uncovered == 0
    found = [(row.start, row.stop) for row in layout.models[0].layers]
    assert found == [tiles[i] for i in order]
    assert layout.models[0].fault is None


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=25))
def test_rows_that_are_believed_never_share_a_filter(pairs) -> None:
    layout = read_layout(frame([f"{a}:{b}" for a, b in pairs]), 50)
    sound = [row for row in layout.models[0].layers if row.fault is None]
    for one, other in combinations(sound, 2):
        assert one.stop <= other.start or other.stop <= one.start
    assert all(0 <= row.start < row.stop <= 50 for row in sound)
    assert layout.uncovered == 50 - sum(row.stop - row.start for row in sound)


@given(sizes.filter(lambda counts: len(counts) > 3), st.data())
def test_a_row_that_claims_everything_takes_no_other_down(counts, data) -> None:
    ids: list[object] = [f"{start}:{stop - 1}" for start, stop in spans(counts)]
    damaged = data.draw(st.integers(0, len(ids) - 1))
    ids[damaged] = f"0:{sum(counts) - 1}"
    layers = read_layout(frame(ids), sum(counts)).models[0].layers
    assert [i for i, row in enumerate(layers) if row.fault] == [damaged]


def test_a_draw_is_read_as_documented() -> None:
    assert which_ends([(0, 10)], 100) == ("inclusive", False)
    assert which_ends([], 100) == ("inclusive", False)
    layout = read_layout(frame(["0:9"]), 100)
    assert (layout.certain, layout.models[0].layers[0].stop) == (False, 10)


@pytest.mark.parametrize("text", ["", "1", "1:", ":2", "1:2:3", "-1:5", "1.0:2", "a:b", None, 7])
def test_what_is_no_range(text) -> None:
    layers = read_layout(frame(["0:4", text, "5:9"]), 10).models[0].layers
    assert [row.fault is None for row in layers] == [True, False, True]
    assert '"start:end"' in str(layers[1].fault)


def test_a_layer_is_not_larger_than_memory() -> None:
    layout = read_layout(frame([f"0:{MOST_FILTERS}"]), MOST_FILTERS + 1)
    assert "more than any layer has" in str(layout.models[0].fault)


@pytest.mark.parametrize(
    ("column", "value"),
    [("model_id", None), ("layer_id", None), ("conv_depth", None), ("conv_depth", -1),
     ("conv_depth", "deep"), ("conv_depth", 0.5), ("conv_depth_norm", 1.01),
     ("conv_depth_norm", "half")],
)  # fmt: skip
def test_an_index_that_makes_no_sense(column, value) -> None:
    whole = frame(["0:4", "5:9"])
    damaged = {column: [whole.columns[column][0], value]}
    models = read_layout(frame(["0:4", "5:9"], **damaged), 10).models
    assert [row.fault is None for model in models for row in model.layers] == [True, False]


def test_columns_that_are_missing_are_named() -> None:
    columns = dict(frame(["0:4"]).columns)
    del columns["filter_ids"]
    with pytest.raises(CorruptFileError, match=r"no filter_ids.*model_id, conv_depth"):
        read_layout(Frame(1, columns, {}), 5)
