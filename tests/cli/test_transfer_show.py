"""``transfer show``: results that are there already, of folders, files and of the package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from filterdb.cli.transfer.grid import alone, column_of, grids, leading
from filterdb.cli.transfer.showing import between
from filterdb.demo import results
from filterdb.errors import TransferError
from filterdb.transfer.comparing import comparison
from filterdb.transfer.results import points, read_result
from filterdb.words import counted

SHIPPED = ("keys", "layers", "matrix")
PLAN = """
experiment = "keys"
seeds = [0, 1, 2]
network = { name = "convmixer", width = 4, depth = 1, kernel = 7 }
data = { spec = "digits", size = 8, limit = 8, test_limit = 8 }
budget = { epochs = 1, batch = 16 }
keys = { sets = ["published8"], counts = [2, 4] }
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder of one's own, in which nothing is called as a result that ships."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def book(tmp_path):
    """A folder of which two seeds were done, without their training."""
    import tomllib

    from filterdb.transfer.book import PLAN as NAME
    from filterdb.transfer.book import Book, Row
    from filterdb.transfer.experiments import runs_of
    from filterdb.transfer.plan import plan_of

    plan = plan_of(tomllib.loads(PLAN))
    folder = tmp_path / "runs"
    kept = Book(folder)
    runs = runs_of(plan)
    for number, run in enumerate(runs):
        if run.labels["repeat"] < 2:
            kept.put(Row(run, "done", accuracy=0.3 + number / 100))
    (folder / NAME).write_text(plan.to_toml())
    return folder


def shipped(name):
    with results() as folder:
        return read_result(folder / f"{name}.json")


def words(text):
    return " ".join(text.split())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_result_by_its_name(name, run, run_json):
    result = shipped(name)
    said = words(run("transfer", "show", name).stdout)
    assert words(result.budget) in said
    assert f"{result.coverage.done:,} of {result.coverage.planned:,} runs done" in said
    for question in leading(result.comparisons):
        assert f"{question}: " in said
    assert run_json("transfer", "show", name) == json.loads(json.dumps(result.to_dict()))


@pytest.mark.parametrize("name", SHIPPED)
def test_all_shows_every_arm_comparison_and_sentence(name, run):
    result = shipped(name)
    done = run("transfer", "show", name, "--all")
    said = words(done.stdout)
    for sentence in result.sentences:
        assert words(sentence) in said
    for row in result.table:
        assert f"{row.arm} {100 * row.accuracy.mean:.1f}%" in said
    for one in result.comparisons:
        interval = between(one.low, one.high, "{:+.1f}")
        assert f"{one.control} {100 * one.difference:+.1f} {interval}" in said


@pytest.mark.parametrize("name", ["keys", "layers"])
def test_the_grids_hold_every_comparison_with_its_interval(name, run):
    result = shipped(name)
    said = run("transfer", "show", name).stdout
    told = [found for grid in grids(result.comparisons) for _, row in grid.rows for found in row]
    told += alone(result.comparisons)
    assert all(any(one is other for other in told) for one in result.comparisons)
    for one in result.comparisons:
        assert f"{100 * one.difference:+.1f}" in said
        assert between(one.low, one.high, "{:+.1f}") in said


def test_what_the_letters_of_layers_mean_is_told(run):
    said = words(run("transfer", "show", "layers").stdout)
    split = shipped("layers").settings["layers"]["split"]
    assert f"two groups of classes ({split})" in said
    assert "R2B random ones" in said
    assert "R2B random ones" not in words(run("transfer", "show", "keys").stdout)


def test_the_trend_over_sizes_is_told_first(run, tmp_path):
    from filterdb.transfer.book import Row
    from filterdb.transfer.experiments import result_of, runs_of
    from filterdb.transfer.plan import plan_of

    plan = plan_of({"experiment": "size"})
    rows = [Row(run, "done", accuracy=0.5 + i % 7 / 50) for i, run in enumerate(runs_of(plan))]
    (tmp_path / "size.json").write_text(json.dumps(result_of(plan, rows).to_dict()))
    said = words(run("transfer", "show", "size.json").stdout)
    assert "In words accuracy with each doubling of the source" in said
    grid = said.partition("Differences")[2]
    assert grid.index("each doubling") < grid.index("against those of the largest source")


def test_what_needs_torch_after_all_is_told(run, tmp_path, monkeypatch):
    from filterdb.errors import MissingExtraError
    from filterdb.transfer.book import PLAN as NAME
    from filterdb.transfer.book import Book

    assert "Needs no torch, unless runs are still to be done" in words(
        run("transfer", "show", "--help").stdout
    )
    Book(tmp_path)
    own = PLAN.replace('name = "convmixer", width = 4, depth = 1, kernel = 7', 'name = "mine:net"')
    assert "mine:net" in own
    (tmp_path / "mine.py").write_text("net = None\n")
    (tmp_path / NAME).write_text(own)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert isinstance(run("transfer", "show", tmp_path).exception, MissingExtraError)


def test_a_file_and_a_folder_that_holds_one(run_json, tmp_path):
    with results() as folder:
        shutil.copy(folder / "keys.json", tmp_path / "result.json")
    expected = json.loads((tmp_path / "result.json").read_text())
    assert run_json("transfer", "show", tmp_path / "result.json") == expected
    assert run_json("transfer", "show", tmp_path) == expected


def test_what_lies_here_goes_before_a_name(run_json, tmp_path):
    with results() as folder:
        shutil.copy(folder / "matrix.json", tmp_path / "keys")
    assert run_json("transfer", "show", "keys")["experiment"] == "matrix"


def test_what_there_is_so_far(book, run, run_json):
    told = run_json("transfer", "show", book)
    assert told["coverage"]["planned"] == 3 * len(told["table"])
    assert told["coverage"]["done"] == 2 * len(told["table"])
    assert {one["status"] for one in told["coverage"]["missing"]} == {"not run"}
    assert {row["accuracy"]["n"] for row in told["table"]} == {2}
    assert f"{len(told['table'])} not run" in words(run("transfer", "show", book).stdout)


def test_a_result_of_another_plan_than_the_folder_has_is_not_believed(book, run_json):
    with results() as folder:
        shutil.copy(folder / "matrix.json", book / "result.json")
    assert run_json("transfer", "show", book)["experiment"] == "keys"


def test_a_picture_of_it(run, tmp_path):
    pytest.importorskip("matplotlib")
    done = run("transfer", "show", "layers", "--plot", "layers.svg")
    assert done.exit_code == 0
    assert "Picture: layers.svg" in done.stderr
    assert b"<svg" in (tmp_path / "layers.svg").read_bytes()
    wrong = run("transfer", "show", "layers", "--plot", "layers.gif2")
    assert wrong.exit_code == 2
    assert not wrong.stdout, "told before anything is printed"
    trained = run("transfer", "keys", "--plan-only", "--plot", "nowhere/keys.png")
    assert trained.exit_code == 2
    assert "There is no folder" in trained.stderr


@pytest.mark.parametrize(
    ("what", "said"), [("layer", "Did you mean layers?"), ("nowhere", "keys, layers, matrix")]
)
def test_a_wrong_name(what, said, run):
    done = run("transfer", "show", what)
    assert done.exit_code == 2
    assert said in words(done.stderr)


def test_a_folder_without_an_experiment_and_a_damaged_file(run, tmp_path):
    done = run("transfer", "show", tmp_path)
    assert isinstance(done.exception, TransferError)
    assert "holds no experiment" in str(done.exception)
    (tmp_path / "half.json").write_text('{"experiment": "layers"')
    done = run("transfer", "show", "half.json")
    assert isinstance(done.exception, TransferError)
    assert "half.json" in str(done.exception)


def test_without_torch():
    script = (
        "import sys; sys.modules['torch'] = None\nfrom filterdb.cli import cli\n"
        "for name in ('layers', 'matrix', 'keys'):\n"
        "    cli.main(['transfer', 'show', name], standalone_mode=False)\n"
        "assert not {'matplotlib', 'sklearn', 'pandas'} & {*sys.modules}\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_an_accuracy_that_was_cut_is_marked(run, tmp_path):
    told = shipped("keys").to_dict()
    told["table"][0]["accuracy"] |= {"high": 1.0, "cut": True}
    (tmp_path / "cut.json").write_text(json.dumps(told))
    said = run("transfer", "show", "cut.json").stdout
    assert "to 100.0*" in said
    assert "cut at 0 or 100 %" in said


# What stands in a grid --------------------------------------------------------------------------


def compared(question, value=0.1, **labels):
    return comparison({0: value, 1: value + 0.01}, arm="a", control="c", question=question,
                      labels=labels)  # fmt: skip


def test_controls_of_a_subject_stand_below_one_another():
    made = [compared(f"x, frozen, against {c}", k=k) for c in ("own", "all") for k in (1, 8)]
    (grid,) = grids(made)
    assert (grid.subject, grid.columns) == ("x, frozen", ("k = 1", "k = 8"))
    assert grid.rows == (("against own", tuple(made[:2])), ("against all", tuple(made[2:])))


def test_a_place_that_one_control_lacks_is_empty():
    made = [compared("x against own", k=k) for k in (1, 8)]
    made += [compared("x against all", k=k) for k in (1, 2)]
    (grid,) = grids(made)
    assert grid.columns == ("k = 1", "k = 2", "k = 8")
    assert grid.rows[0][1] == (made[0], None, made[1])


@pytest.mark.parametrize(("sets", "controls"), [(2, 2), (7, 1)])
def test_sources_are_rows_and_of_many_only_the_first_control_is_shown(sets, controls):
    names = [f"s{i}" for i in range(sets)]
    made = [
        compared(f"others against {c}", source=s, target=t)
        for c in ("own", "random") for t in names for s in names if s != t
    ]  # fmt: skip
    (grid,) = grids(made)
    assert len(grid.rows) == sets * controls
    assert grid.columns == tuple(f"on {name}" for name in names)
    assert [name for name, _ in grid.rows[:sets]] == [
        f"from {name}" if controls == 1 else f"from {name}, against own" for name in names
    ]
    assert grid.subject == ("others, against own" if controls == 1 else "others")
    assert grid.left_out == (("against random",) if controls == 1 else ())
    for row, (_, cells) in enumerate(grid.rows):
        assert [place for place, found in enumerate(cells) if found is None] == [row % sets]


def test_comparisons_of_one_place_are_told_in_single_rows_and_none_is_lost():
    made = [compared("x against own", k=1), compared("x against own", k=1),
            compared("x against own", k=2)]  # fmt: skip
    others = [compared("x against all", k=k) for k in (1, 2)]
    (grid,) = grids([*made, *others])
    assert grid.rows == (("against all", tuple(others)),)
    assert alone([*made, *others]) == made
    # The same cell by two questions that differ in a comma.
    twins = [compared(f"y{comma} against own", k=k) for comma in ("", ",") for k in (1, 2)]
    assert (grids(twins), alone(twins)) == ([], twins)


def test_what_shares_a_question_is_told_apart_by_its_arms(run, tmp_path):
    told = json.loads(json.dumps(shipped("keys").to_dict()))
    first = told["comparisons"][0]
    told["comparisons"].insert(1, {**first, "arm": "another arm", "difference": 0.1234})
    (tmp_path / "twice.json").write_text(json.dumps(told))
    said = words(run("transfer", "show", "twice.json").stdout)
    for one in told["comparisons"][:2]:
        assert f"{one['question']}: {one['arm']} against {one['control']}" in said
    assert "+12.3" in said


def test_single_comparisons_are_called_by_their_question(run):
    singles = alone(shipped("matrix").comparisons)
    said = words(run("transfer", "show", "matrix").stdout)
    assert len(singles) == 4
    grid = said.partition("Differences")[2]
    for one in singles:
        assert words(one.question) in grid
    assert grid.index(words(singles[0].question)) < grid.index("from cifar10"), "the main matter"


def test_a_comparison_alone_in_its_question_is_in_no_grid():
    assert grids([compared("x against own"), compared("y against own")]) == []


def test_the_first_question_on_what_has_several_controls_leads():
    asked = ["x against own", "x against all", "y against all"]
    made = [compared(question) for question in asked]
    assert leading(made) == asked[:1]
    assert leading(made[2:]) == asked[2:]


def test_what_an_experiment_is_about_leads_though_it_has_one_control():
    made = [compared(question) for question in ("trend", "x against own", "x against all")]
    assert leading(made) == ["trend", "x against own"]


@pytest.mark.parametrize(
    ("labels", "name"),
    [({"cut": 3, "share": 0.5}, "n = 3"), ({"k": 1}, "k = 1"), ({"share": 1 / 16}, "1/16"),
     ({"share": 1.0}, "1"), ({"how": "depth"}, "by depth"), ({"odd": "x"}, "x"), ({}, ""),
     ({"source": "a", "target": "b"}, "on b")],
)  # fmt: skip
def test_places(labels, name):
    assert column_of(labels) == name


def test_points_are_in_words_what_they_are_in_the_grid():
    found = compared("q")
    interval = between(found.low, found.high, "{:+.1f}")
    assert points(found) == f"+10.5 points ({interval}, {counted(2, 'pair')})"
