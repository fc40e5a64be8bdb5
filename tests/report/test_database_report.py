"""What the page on a database says, against what the database answers."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from pages import HOSTILE, Element, parse, rows, section
from scipy.stats import binom

import filterdb
from filterdb.errors import DatabaseNotFoundError, QueryError
from filterdb.report import axes, collection, contents, database_report, populations
from filterdb.report.advice import SIGNS
from filterdb.report.axes import (
    AXES,
    Axis,
    answer,
    compare,
    grouping,
    in_short,
    pair_by_pair,
    sentences,
)
from filterdb.report.collection import glance_headline
from filterdb.report.page import filled
from filterdb.report.pairs import Pair, Pairs, by_accident, pairs
from filterdb.report.populations import to_the_last, worst_depth
from filterdb.report.selection import Selection, is_untrained
from filterdb.stats.verdict import DEGENERATE
from networks import network, save

BY_NAME = {axis.name: axis for axis in AXES}


@pytest.fixture(scope="module")
def page(database_html: str) -> Element:
    return parse(database_html)


@pytest.fixture(scope="module")
def selection(database: filterdb.Database) -> Selection:
    return Selection.read(database, None)


def test_no_part_failed(page: Element) -> None:
    assert "could not be made" not in page.text
    parts = [part.attributes["id"] for part in page.find("section")]
    assert parts == [
        "verdict", "contents", "degenerate", "depth", "axes", "by-task", "by-visual_category",
        "by-depth_decile", "by-epoch", "patterns", "training", "networks", "left-out", "words",
    ]  # fmt: skip


def test_at_a_glance(page: Element) -> None:
    words = section(page, "verdict").text
    assert "8 networks: 6 look healthy, 2 are degenerate." in words
    assert "1 network has the same weights as another one, and counts once." in words
    assert "each cell is a network" in words
    (link,) = section(page, "verdict").find("a")
    assert link.attributes["href"] == "#degenerate"
    (banner,) = [part for part in section(page, "verdict").find("div")
                 if "banner" in part.attributes.get("class", "")]  # fmt: skip
    assert banner.attributes["class"] == "banner open"  # not all are healthy: no green, no tick
    assert not banner.find("h2")[0].text.startswith(SIGNS["good"])


def test_the_answer_comes_first(page: Element, selection: Selection) -> None:
    shifts = {name: selection.database.shift(name) for name in
              ("task", "visual_category", "depth_decile", "epoch")}  # fmt: skip
    said = section(page, "verdict").text
    for sentence in in_short(shifts):
        for axis in shifts:
            found = Pairs.of(shifts[axis])
            count = f"{BY_NAME[axis].groups} ({found.fair_above} of {found.fair} pair"
            assert (count in said) == (found.fair > 0)
        assert sentence.split(" between ")[0] in said


@pytest.mark.parametrize(
    ("verdicts", "tone", "seen"),
    [(["healthy"] * 3, "good", True), (["healthy"] * 130, "good", False),
     (["healthy", "degenerate"], "open", True), (["undefined"], "open", True), ([], "open", True)],
)  # fmt: skip
def test_green_only_if_all_are_healthy(
    selection: Selection,
    verdicts: list[str],
    tone: str,
    seen: bool,
) -> None:
    models = {number: {"verdict": verdict, "weights_hash": str(number), "task": ""}
              for number, verdict in enumerate(verdicts)}  # fmt: skip
    found = collection.glance(Selection(selection.database, None, [], models), {})
    assert (found["tone"], found["cells_seen"]) == (tone, seen)
    body = filled("verdict", "", "glance", found).body
    assert ("each cell is a network" in body) == (seen and bool(verdicts))


def test_the_degenerate_networks_are_named(page: Element, database: filterdb.Database) -> None:
    (table,) = section(page, "degenerate").find("table")
    bad = [model for model in database.models() if model["verdict"] == "degenerate"]
    assert {cells[0].split()[0] for cells in rows(table)} == {model["name"] for model in bad}
    counts = Counter(layer["verdict"] for layer in database.layers())
    for cells, model in zip(rows(table), sorted(bad, key=lambda model: -model["degenerate_share"]),
                            strict=True):  # fmt: skip
        own = [row for row in database.layers() if row["model_id"] == model["id"]]
        largest = max((row for row in own if row["verdict"] in DEGENERATE),
                      key=lambda row: row["n_filters"])  # fmt: skip
        assert f"Worst: {largest['name']} ({largest['verdict']})" in cells[0]
        assert ("Not trained" in cells[0]) == (model["epoch"] == 0)
    words = section(page, "degenerate").text
    assert f"{counts['random']} random, {counts['sparse']} sparse" in words


def test_the_contents_add_up(page: Element, database: filterdb.Database) -> None:
    tables = {table.find("caption")[0].text: rows(table)
              for table in section(page, "contents").find("table")}  # fmt: skip
    tasks = Counter(model["task"] for model in database.models())
    found = {cells[0]: int(cells[1]) for cells in tables["Tasks (not given for 1)"]}
    assert found == {name: count for name, count in tasks.items() if name}
    sizes = Counter(f"{row['kh']}×{row['kw']}" for row in database.layers())
    assert {cells[0]: int(cells[1]) for cells in tables["Sizes of the filters"]} == sizes
    assert "architectures" in section(page, "contents").text  # which nobody gave


@pytest.mark.parametrize("name", ["task", "depth_decile", "epoch"])
def test_each_axis_stands_beside_its_null(
    page: Element, database: filterdb.Database, name: str
) -> None:
    part = section(page, f"by-{name}")
    shift = database.shift(name)
    place = {group.name: index for index, group in enumerate(shift.groups)}
    pair_table, group_table = part.find("table")
    body = rows(pair_table)
    for cells in body:
        i, j = (place[cell.removesuffix(" †")] for cell in cells[:2])
        assert cells[2].split()[0] == f"{shift.matrix[i, j]:.3f}"
        null = shift.null_p95[i, j]
        assert cells[3].split()[0] == ("–" if np.isnan(null) else f"{null:.3f}")
        assert cells[4].startswith("farther") == shift.distinguishable[i, j]
        few = min(shift.groups[i].filters, shift.groups[j].filters) < 1_000
        assert cells[4].startswith("too few filters") == few
    assert len(body) == min(len(place) * (len(place) - 1) // 2, axes.PAIRS_SHOWN)
    found = {cells[0].removesuffix(" †"): cells[1:] for cells in rows(group_table)}
    for group in shift.groups:
        numbers = (group.models, group.layers, group.filters)
        largest = f"{100 * group.largest_share:.0f} %"
        assert found[group.name] == [*(f"{n:,}" for n in numbers), largest]
    for sentence in sentences(BY_NAME[name], shift):
        assert sentence in part.text


def test_axes_without_groups_are_named_with_the_reason(page: Element) -> None:
    words = section(page, "axes").text
    assert "file format: the same for all" in words
    assert "architecture: not given for any network" in words
    assert "kind of layer: the same for all" in words
    listed = {cells[0] for cells in rows(section(page, "axes").find("table")[0])}
    assert listed == {"by task", "by kind of picture", "by depth in the network",
                      "by epoch of the training"}  # fmt: skip


def test_pairs_are_counted_as_they_are(database: filterdb.Database) -> None:
    shift = database.shift("epoch,task")
    fair = fair_above = lenient = lenient_above = 0
    for i, j in combinations(range(len(shift.groups)), 2):
        above = shift.matrix[i, j] > shift.null_p95[i, j]
        if min(shift.groups[i].filters, shift.groups[j].filters) < 1_000:
            continue  # of so few, nothing is claimed
        if not np.isnan(shift.null_models_p95[i, j]):
            fair, fair_above = fair + 1, fair_above + above
        elif not np.isnan(shift.null_layers_p95[i, j]):
            lenient, lenient_above = lenient + 1, lenient_above + above
    n = len(shift.groups)
    assert Pairs.of(shift) == Pairs(n * (n - 1) // 2, fair, fair_above, lenient, lenient_above)


TASKS = BY_NAME["task"]


@pytest.mark.parametrize("by", ["epoch,task", "task", "depth_decile", "epoch", "model"])
def test_the_counts_are_those_of_the_shift_itself(database: filterdb.Database, by: str) -> None:
    shift = database.shift(by)
    found = Pairs.of(shift)
    for above, total, what in ((found.fair_above, found.fair, "null of models"),
                               (found.lenient_above, found.lenient, "null of layers")):  # fmt: skip
        said = re.search(rf"([\d,]+) of ([\d,]+) pairs? lies? above [\w ]*{what}", shift.verdict)
        assert (int(said[1]), int(said[2])) == (above, total) if said else not total


def pair(a: str, b: str, shift: float, chance: float, *, test: str = "networks") -> Pair:
    return Pair(a, b, shift, None, None, chance, test, above=shift > chance)


FAR, NEAR, OTHER = pair("conv", "depthwise", 0.09, 0.058), pair("a", "b", 0.1, 0.2), pair(
    "c", "d", 0.3, 0.2)  # fmt: skip


@pytest.mark.parametrize(
    ("tested", "words"),
    [
        ([FAR, NEAR, NEAR], "Conv and depthwise differ by more than chance (D 0.090, chance 0.058);"
         " the other 2 pairs do not."),
        ([FAR, NEAR], "Conv and depthwise differ by more than chance (D 0.090, chance 0.058);"
         " the other pair does not."),
        ([FAR], "Conv and depthwise differ by more than chance (D 0.090, chance 0.058)."),
        ([FAR, OTHER], "These differ by more than chance: conv and depthwise (D 0.090, chance "
         "0.058); c and d (D 0.300, chance 0.200)."),
        ([NEAR, NEAR], "Tasks cannot be told apart by their filters: none of the 2 pairs lies "
         "farther apart than random groups of networks."),
        ([NEAR], "the one pair does not lie farther apart than random groups of networks (D 0.100, "
         "chance 0.200)."),
        ([pair("a", "b", 2, 1, test="layers")],
         "A and b differ by more than chance (D 2.000, chance 1.000), by a lenient test "
         "(random groups of layers, not of networks)."),
    ],
)  # fmt: skip
def test_few_pairs_are_told_one_by_one(tested: list[Pair], words: str) -> None:
    assert words in pair_by_pair(TASKS, tested)


def test_few_filters_never_head_a_sentence(database: filterdb.Database) -> None:
    shift = database.shift("task")
    small = replace(shift.groups[0], filters=999)
    few = replace(shift, groups=(small, *shift.groups[1:]), matrix=shift.matrix * 1e3)
    assert {found.test for found in pairs(few) if small.name in (found.a, found.b)} == {"few"}
    assert not any(found.above for found in pairs(few) if small.name in (found.a, found.b))
    assert not any(small.name in sentence for sentence in sentences(TASKS, few))


def test_unknown_is_no_group_and_is_counted(tmp_path: Path) -> None:
    lines = ["file,task,training_dataset,visual_category,epoch"]
    table = [("a", "mnist", "none", ""), ("b", "none", "none", ""), ("c", "Unknown", "x", ""),
             ("d", "", "x", ""), ("e", "none", "y", "0"), ("f", "mnist", "none", "")]  # fmt: skip
    for number, (name, data, category, epoch) in enumerate(table):
        save(tmp_path / f"{name}.safetensors", network("healthy", "healthy", seed=number))
        lines.append(
            f"{name}.safetensors,{'unknown' if number else 'cut'},{data},{category},{epoch}"
        )
    (tmp_path / "models.csv").write_text("\n".join(lines))
    database = filterdb.open(tmp_path / "db")
    database.ingest(tmp_path, metadata=tmp_path / "models.csv", jobs=1)
    selection = Selection.read(database, None)
    chosen = grouping(BY_NAME["training_dataset"], selection)
    assert set(chosen.chosen or ()) == {"mnist", "none"}
    assert chosen.left_out == "2 networks whose training data is not known are left out."
    names = [group.name for group in compare(chosen, selection).groups]
    assert names == ["mnist", "none (untrained)"]
    # Networks with data are trained, whatever their pictures are.
    by_picture = compare(grouping(BY_NAME["visual_category"], selection), selection)
    assert [group.name for group in by_picture.groups] == ["none", "x", "y"]
    assert grouping(TASKS, selection).reason == "5 of 6 networks have none"
    found = populations.main_axis(selection)
    assert found is not None
    assert found[0].name == "visual_category"


@pytest.mark.parametrize(
    ("model", "untrained"),
    [({"training_dataset": "none"}, True), ({"training_dataset": "None "}, True),
     ({"epoch": 0}, True),
     ({"epoch": 1}, False), ({"training_dataset": "mnist"}, False), ({}, False),
     ({"training_dataset": "none", "pretraining_dataset": "imagenet"}, False),
     ({"epoch": 0, "pretraining_dataset": "none"}, True)],
)  # fmt: skip
def test_untrained_by_the_metadata(model: dict[str, object], untrained: bool) -> None:
    assert is_untrained(model) is untrained


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Pairs(45, 45, 30, 0, 0),
         "Some tasks differ by more than chance: 30 of the 45 pairs that can be tested fairly lie "
         "farther apart than random groups of networks; about 2 would by chance."),
        (Pairs(45, 45, 2, 0, 0), "Hardly more than chance tells tasks apart: 2 of the 45 pairs"),
        (Pairs(15, 15, 0, 0, 0),
         "Tasks cannot be told apart by their filters: none of the 15 pairs that can be tested "
         "fairly lies farther apart than random groups of networks; less than one would by "
         "chance."),
        (Pairs(15, 0, 0, 15, 3), "3 of the 15 pairs that can be tested at all lie farther apart "
         "than random groups of layers, which is a lenient test"),
        (Pairs(3, 0, 0, 0, 0), "Whether tasks differ cannot be told: they have too few filters or "
         "layers."),
    ],
)  # fmt: skip
def test_the_answer_in_words(found: Pairs, words: str) -> None:
    assert words in answer(TASKS, found)


@pytest.mark.parametrize(("above", "total"), [(1, 1), (2, 45), (19, 45), (0, 7)])
def test_accident_is_the_binomial_tail(above: int, total: int) -> None:
    assert by_accident(above, total) == pytest.approx(binom.sf(above - 1, total, 0.05))


def test_of_many_groups_the_largest_are_compared(
    database: filterdb.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_architecture = Axis("model", "By network", "network", "networks")
    monkeypatch.setattr(axes, "MOST_GROUPS", 3)
    chosen = grouping(by_architecture, Selection.read(database, None))
    assert chosen.reason is None
    # All have one network each; three layers are more than two.
    assert chosen.chosen is not None
    assert len(chosen.chosen) == 3
    assert "cut0.safetensors" in chosen.chosen
    assert "3 of 8 networks are compared. Left out are 5" in chosen.left_out
    monkeypatch.setattr(axes, "MOST_GROUPS", 1)
    task = grouping(TASKS, Selection.read(database, None))
    assert task.chosen == ("segmentation",)
    assert HOSTILE in task.left_out


def test_the_largest_groups_of_a_page(
    database: filterdb.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(axes, "MOST_GROUPS", 2)
    monkeypatch.setattr(axes, "AXES", ())
    monkeypatch.setattr(collection, "AXES", (BY_NAME["epoch"],))
    page = parse(database_report(database))
    part = section(page, "by-epoch")
    assert "2 of 3 epochs are compared. Left out are 1" in part.text
    assert len(rows(part.find("table")[1])) == 2


def test_a_condition_narrows_everything(database: filterdb.Database) -> None:
    steps: list[tuple[int, int, str]] = []
    html = database_report(
        database,
        "task = 'segmentation'",
        title="Only some",
        progress=lambda *step: steps.append(step),
    )
    assert [(done, total) for done, total, _ in steps] == [
        (done, len(steps)) for done in range(len(steps))
    ]
    page = parse(html)
    assert page.find("h1")[0].text == "Only some"
    assert "4 networks" in section(page, "verdict").text
    assert "task = 'segmentation'" in section(page, "verdict").text
    assert "are of whole networks all the same" in section(page, "verdict").text
    assert HOSTILE not in page.text
    assert "task: the same for all" in section(page, "axes").text
    names = {cells[0].split()[0] for cells in rows(section(page, "networks").find("table")[0])}
    assert names == {f"cut{number}.safetensors" for number in range(4)}


def test_a_condition_that_nothing_meets_is_told(database: filterdb.Database) -> None:
    with pytest.raises(QueryError, match="No layer matches the condition"):
        database_report(database, "task = 'nothing'")
    with pytest.raises(QueryError, match="`name` is the layer's; the model's is `model`"):
        database_report(database, "name = 'cut1'")
    with pytest.raises(QueryError, match="not valid SQL"):
        database_report(database, "tusk = 1")


def test_no_database(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotFoundError):
        database_report(filterdb.open(tmp_path / "none"))


def test_a_database_without_networks(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><html><body>Not found</body></html>")
    database = filterdb.open(tmp_path / "db")
    database.ingest(tmp_path / "page.pth")
    page = parse(database_report(database))
    assert "holds no networks yet" in section(page, "verdict").text
    assert "1 file could not be read" in section(page, "left-out").text
    assert "page.pth" in section(page, "left-out").text


def test_a_database_without_shapes(tmp_path: Path) -> None:
    file = save(tmp_path / "a.safetensors", {"a.weight": np.ones((4, 4, 1, 1), np.float32)})
    database = filterdb.open(tmp_path / "db")
    database.ingest(file)
    page = parse(database_report(database))
    assert "One network, which cannot be judged." in section(page, "verdict").text
    assert "could not be made. The selection has no filters" in section(page, "axes").text
    assert "No layer has filters whose shape can be judged" in section(page, "depth").text
    assert "a.safetensors" in section(page, "networks").text


def test_one_filter_and_no_verdict(tmp_path: Path) -> None:
    file = save(tmp_path / "a.safetensors", {"a.weight": np.ones((1, 1, 3, 3), np.float32)})
    database = filterdb.open(tmp_path / "db")
    database.ingest(file)
    page = parse(database_report(database))
    assert "Compared is the 1 filter of 3×3." in section(page, "axes").text
    assert "There is only one filter of 3×3" in section(page, "patterns").text
    assert not section(page, "patterns").find("img")
    (cells,) = rows(section(page, "networks").find("table")[0])
    assert cells[2] == "–"  # undecided: that no filter has a fault is not known
    assert contents.degenerate_words(1, 1, {}) == "1 of 1 network."


@pytest.mark.parametrize(
    ("without", "networks", "reason"),
    [(0, 4, "the same for all"), (18, 20, "18 of 20 networks have none, the same for all others"),
     (1, 2, "1 of 2 networks has none")],
)  # fmt: skip
def test_networks_without_a_value_are_no_group(without: int, networks: int, reason: str) -> None:
    assert axes.same_for_all(without, networks) == reason


def test_the_captions_say_what_is_drawn(page: Element, selection: Selection) -> None:
    shift = selection.database.shift("task")
    assert "the line is the middle of these nulls" in section(page, "axes").text
    assert "D itself may lie above it" in section(page, "by-task").text
    assert collection.or_none([shift]) == ""
    none = np.full_like(shift.matrix, np.nan)
    untested = replace(shift, null_models_p95=none, null_layers_p95=none)
    assert collection.or_none([shift, untested]) == ", or have none"


def test_one_network(tmp_path: Path) -> None:
    database = filterdb.open(tmp_path / "db")
    database.ingest(save(tmp_path / "a.safetensors", network("healthy")))
    page = parse(database_report(database))
    assert "One network, which looks healthy." in section(page, "verdict").text
    assert "could not be made" not in page.text
    assert "Nothing: every file could be read" not in page.text  # a head was skipped


def test_long_lists_are_cut_and_counted(
    database: filterdb.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "NETWORKS_SHOWN", 3)
    monkeypatch.setattr(contents, "VALUES_SHOWN", 1)
    selection = Selection.read(database, None)
    assert len(contents.all_networks(selection)["rows"]) == 3
    tally = contents.what_is_in_it(selection)["tallies"][0]
    assert [(count.name, count.models) for count in tally.counts] == [("segmentation", 4)]
    assert tally.rest == "1 more, of 3 networks; not given for 1"


def test_training_ends_at_the_last_epoch(selection: Selection) -> None:
    curve = to_the_last(selection, "first")
    assert sorted(curve) == [0.0, 1.0, 2.0]
    assert curve[2.0] == 0.0
    assert curve[0.0] > curve[1.0] > 0  # noise is farther from trained filters than they are


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [({}, "This database holds no networks yet."),
     ({"healthy": 3}, "3 networks, and all look healthy."),
     ({"degenerate": 1}, "One network, which is degenerate."),
     ({"healthy": 1, "degenerate": 1_190, "invalid": 1, "undecided": 4, "undefined": 4},
      "1,200 networks: 1 looks healthy, 1,190 are degenerate, 1 is damaged, 8 cannot be judged.")],
)  # fmt: skip
def test_headlines(verdicts: dict[str, int], words: str) -> None:
    assert glance_headline(Counter(verdicts)) == words


def test_faults_by_depth() -> None:
    layers = [{"conv_depth_norm": depth, "verdict": verdict} for depth, verdict in
              [(0.0, "random"), (0.2, "healthy"), (0.5, "healthy"), (1.0, "sparse")]]  # fmt: skip
    assert "50 % in the first, 0 % in the middle, 100 % in the last" in worst_depth(layers)
