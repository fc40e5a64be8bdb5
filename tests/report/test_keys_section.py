"""What pages say of master keys: beside chance always, and never nothing without a word."""

from __future__ import annotations

import csv
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from pages import parse, rows, section

import filterdb
from filterdb import keys
from filterdb.keys import sentences
from filterdb.keys.key_set import THRESHOLD
from filterdb.keys.labels.chance import chance_of
from filterdb.report import database_keys, database_report, network_keys, network_report
from filterdb.report.database_keys import LEAST_FILTERS, SEARCH
from filterdb.report.keys import Depthwise, typeset
from filterdb.report.page import filled
from filterdb.report.reading import read_network
from filterdb.report.selection import Selection
from networks import save

CHANNELS = 24
Filters = NDArray[np.float64]
PLANTED = np.random.default_rng(3).normal(size=(8, 3, 3))


def network(*depthwise: Filters, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Depthwise and pointwise layers after a dense stem."""
    rng = np.random.default_rng(seed)
    arrays = {"stem.weight": rng.normal(size=(CHANNELS, 3, 3, 3))}
    for index, filters in enumerate(depthwise):
        arrays[f"dw{index}.weight"] = filters[:, None]
        arrays[f"pw{index}.weight"] = rng.normal(size=(CHANNELS, len(filters), 1, 1))
    return {name: weights.astype(np.float32) for name, weights in arrays.items()}


def copies(seed: int, count: int = 120) -> Filters:
    """Affine copies of the planted keys, with a little noise."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, count, 1, 1))
    planted = PLANTED[rng.integers(len(PLANTED), size=count)]
    return np.asarray(a * planted + b + 0.02 * a * rng.normal(size=planted.shape))


def noise(seed: int, size: int = 3, count: int = CHANNELS) -> Filters:
    return np.random.default_rng(seed).normal(size=(count, size, size))


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> filterdb.Database:
    """Six networks with planted keys, two of other sizes, and networks with nothing to find."""
    folder = tmp_path_factory.mktemp("keys")
    networks = {
        **{f"net{seed}": ("planted", [copies(seed)]) for seed in range(6)},
        "wide": ("wide", [noise(1, 5), noise(2, 5)]),
        "wider": ("wide", [noise(3, 9, count=12)]),
        "flat": ("flat", [np.full((CHANNELS, 3, 3), 0.5)]),
        "three": ("three", [np.tile(PLANTED[:3], (8, 1, 1))]),
        "dense": ("dense", []),
    }
    with (folder / "models.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "task"])
        for seed, (name, (task, depthwise)) in enumerate(networks.items()):
            save(folder / f"{name}.safetensors", network(*depthwise, seed=seed))
            writer.writerow([f"{name}.safetensors", task])
    database = filterdb.open(folder / "db")
    database.ingest([folder], metadata=folder / "models.csv", jobs=1)
    return database


def of(database: filterdb.Database, task: str) -> Selection:
    return Selection.read(database, f"task = '{task}'")


def contents_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def planted(database: filterdb.Database) -> str:
    before = contents_of(Path(database.path))
    html = database_report(database, "task = 'planted'")
    assert contents_of(Path(database.path)) == before  # no labels are kept
    return html


def test_planted_keys_are_above_chance(database: filterdb.Database, planted: str) -> None:
    text = section(parse(planted), "keys").text
    found = keys.find(database.select("task = 'planted'", kernel=(3, 3)), SEARCH)
    assert found.claims[0].above
    for sentence in (
        sentences.headline(found),
        sentences.shares(found, THRESHOLD),
        sentences.agreement(found) or "",
        sentences.coverage(found),
    ):
        assert typeset(sentence) in text
    assert text.count("above chance") == 2
    assert "12 layers of other kinds are not in it." in text  # a stem and a pointwise one each


def test_no_share_without_chance(planted: str) -> None:
    part = section(parse(planted), "keys")
    shares = [p.text for p in part.find("p") if "copies" in p.text and "%" in p.text]
    assert shares
    assert all("chance" in text for text in shares)
    (table,) = part.find("table")
    body = rows(table)
    assert len(body) == 7
    assert body[-1][0] == "chance"
    assert all(len(cell) > 1 for cell in body[-1][3:])


def test_networks_by_what_keys_of_others_explain(database: filterdb.Database, planted: str) -> None:
    found = keys.find(database.select("task = 'planted'", kernel=(3, 3)), SEARCH)
    body = rows(section(parse(planted), "keys").find("table")[0])[:-1]
    rank = sorted(found.networks, key=lambda row: -row.explained.mean_r2)
    assert [cells[0] for cells in body] == [row.model for row in rank]
    for cells, row in zip(body, rank, strict=True):
        assert [int(cell) for cell in cells[1:3]] == [row.layers, row.filters]
        assert cells[3] == typeset(sentences.percent(row.explained.mean_r2))
        assert row.filters >= LEAST_FILTERS


def test_the_pictures_are_small_and_say_what_they_show(planted: str) -> None:
    part = section(parse(planted), "keys")
    images = part.find("img")
    assert len(images) == 4
    assert all(image.attributes["alt"] for image in images)
    size = sum(len(image.attributes["src"]) for image in images)
    size += sum(len(source.attributes["srcset"]) for source in part.find("source"))
    assert size < 300_000


def test_few_layers_of_noise_claim_nothing_and_other_sizes_are_named(
    database: filterdb.Database,
) -> None:
    context = database_keys.master_keys(of(database, "wide"))
    assert context is not None
    wide, wider = context["parts"]
    assert (wide.size, wider.size) == ("5×5", "9×9")
    assert "no claim is possible" in wide.answer
    assert any("too few for an interval" in note for note in wide.notes)
    assert len(wide.pictures) == 2  # flat curves are not drawn, and that is said
    assert database_keys.NOT_DRAWN in wide.notes
    assert wide.table is None
    assert len(wider.pictures) <= 1


@pytest.mark.parametrize(
    ("task", "why"),
    [("flat", "None of the 24 3x3 filters has a shape"),
     ("three", "has 3 filters that are no copies of one another")],
)  # fmt: skip
def test_where_nothing_can_be_found_it_says_why(
    database: filterdb.Database, task: str, why: str
) -> None:
    context = database_keys.master_keys(of(database, task))
    assert context is not None
    page = parse(filled("keys", "Master keys", "keys", context).body)
    assert why in page.text
    assert not page.find("img", "table")


def test_sizes_without_room_are_counted(
    database: filterdb.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    selection = of(database, "planted")
    monkeypatch.setattr(database_keys, "SIZES_SHOWN", 0)
    context = database_keys.master_keys(selection)
    assert context is not None
    assert context["left_out"][-1] == "Left out for room: 3×3 (6 layers, 720 filters)."


def test_missing_weights_are_told(database: filterdb.Database, tmp_path: Path) -> None:
    shutil.copytree(database.path, tmp_path / "db")
    for payload in (tmp_path / "db").rglob("*.safetensors"):
        payload.unlink()
    context = database_keys.master_keys(of(filterdb.open(tmp_path / "db"), "planted"))
    assert context is not None
    (part,) = context["parts"]
    assert part.answer.startswith("Nothing was found. ")
    assert "missing" in part.answer
    assert not part.pictures


def test_without_depthwise_layers_a_line_says_so(database: filterdb.Database) -> None:
    page = parse(database_report(database, "task = 'dense'"))
    assert "keys" not in [part.attributes["id"] for part in page.find("section")]
    assert (
        "No layer is depthwise: there is no part on master keys" in section(page, "contents").text
    )
    page = parse(network_report(network()))
    assert "keys" not in [part.attributes["id"] for part in page.find("section")]
    assert "No layer is depthwise: there is no part on master keys" in section(page, "reading").text


def test_a_network_by_the_set_of_its_size() -> None:
    source = network(copies(1), noise(2))
    text = section(parse(network_report(source)), "keys").text
    labels = keys.label(source, "found3x3", threshold=THRESHOLD)
    assert typeset(sentences.labelled(labels)) in text
    chance = chance_of(labels, source)
    assert chance is not None
    assert typeset(sentences.labelled_by_chance(chance)) in text
    assert "no claim is possible" in text  # two layers
    assert "instead of 5.2 kB" in text  # (120 + 24) filters of nine taps of four bytes
    assert "3 layers of other kinds are not in it." in text


def test_the_counts_are_those_of_plain_correlations() -> None:
    filters = np.concatenate([copies(5), noise(6), np.zeros((2, 3, 3)), np.full((3, 3, 3), 2.0)])
    labels = keys.label(network(filters), "found3x3", threshold=THRESHOLD)
    shaped = filters[:-5].reshape(-1, 9)
    flat = labels.key_set.filters.reshape(-1, 9)
    r2 = np.corrcoef(shaped, flat)[: len(shaped), len(shaped) :] ** 2
    named = r2.max(axis=1) >= THRESHOLD
    expected = np.bincount(r2.argmax(axis=1)[named], minlength=len(flat))
    assert labels.total.columns == [*expected, (~named).sum(), 3, 2]
    assert network_keys.notes(labels)[-1].startswith("5 filters without a shape")


def test_the_extremes_are_those_of_plain_correlations() -> None:
    layers = [copies(7), noise(8), np.concatenate([noise(9), np.zeros((4, 3, 3))])]
    key_set = keys.load("found3x3")
    file = filterdb.read(network(*layers))
    own = [layer for layer in file.layers if layer.kind == "depthwise"]
    found = network_keys.extremes(own, key_set)
    shaped = np.concatenate(layers)[:-4].reshape(-1, 9)
    r2 = np.corrcoef(shaped, key_set.flat)[: len(shaped), len(shaped) :] ** 2
    order = np.sort(r2.max(axis=1))
    assert_allclose(found.best_r2, order[::-1][:10], atol=1e-5)
    assert_allclose(found.worst_r2, order[:10], atol=1e-5)
    for image, value in zip(found.worst, found.worst_r2, strict=True):
        again = np.corrcoef(image.ravel()[None], key_set.flat)[0, 1:] ** 2
        assert again.max() == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("count", [2, 3, 10, 12, 30])
def test_few_filters_are_shown_once(count: int) -> None:
    file = filterdb.read(network(copies(3, count)))
    own = [layer for layer in file.layers if layer.kind == "depthwise"]
    found = network_keys.extremes(own, keys.load("found3x3"))
    assert (len(found.best), len(found.worst)) == (min(count, 10), min(max(count - 10, 0), 10))


def test_the_published_keys_have_their_source() -> None:
    text = section(parse(network_report(network(noise(1, 7)))), "keys").text
    assert "a key of published8" in text
    assert "Babaiee et al." in text
    assert "CC BY 4.0" in text


def test_sizes_without_a_set_flat_layers_and_damaged_ones() -> None:
    damaged = noise(4, 5)
    damaged[0, 0, 0] = np.nan
    source = network(noise(1, 9), np.ones((CHANNELS, 3, 3)), damaged)
    context = network_keys.master_keys(source, read_network(source, progress=None))
    assert context is not None
    answers = {part.size: part.answer for part in context["parts"]}
    assert answers["9×9"] == (
        "No keys of 9×9 come with filterdb, so that 24 filters in 1 layer are compared with none."
    )
    assert answers["3×3"] == "None of 24 3×3 filters has a shape that a key could have."
    assert "NaN or infinite" in answers["5×5"]
    assert not any(part.pictures for part in context["parts"])


def test_what_is_depthwise_and_what_is_not() -> None:
    found = Depthwise.of(
        [("depthwise", (3, 3), 8), ("depthwise", (5, 5), 20), ("depthwise", (3, 3), 9),
         ("conv", (3, 3), 99), ("depthwise", (1, 1), 4), ("depthwise", (7, 7), 0)]
    )  # fmt: skip
    assert list(found.filters.items()) == [((5, 5), 20), ((3, 3), 17)]
    assert found.layers == {(5, 5): 1, (3, 3): 2}
    assert found.why_none == ""
    assert found.left_out([(5, 5)]) == [
        "1 layer of other kinds is not in it.",
        "One depthwise layer of single numbers (1×1) has no shape.",
        "Left out for room: 3×3 (2 layers, 17 filters).",
    ]
    assert Depthwise.of([("depthwise", (1, 1), 4)]).why_none.startswith(
        "No depthwise layer has filters larger than one number"
    )


@pytest.mark.parametrize(
    ("terminal", "page"),
    [("8 keys of found3x3 explain 59% of 3x3 filters (R² >= 0.8)",
      "8 keys of found3x3 explain 59 % of 3×3 filters (R² ≥ 0.8)"),
     ("held-out models, 1 model: a modelled one", "held-out networks, 1 network: a modelled one")],
)  # fmt: skip
def test_sentences_in_the_words_of_pages(terminal: str, page: str) -> None:
    assert typeset(terminal) == page
