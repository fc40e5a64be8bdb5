"""A database asked for raw or folded weights: as if the network had been stored so."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import filterdb
from filterdb.cli import cli
from filterdb.errors import QueryError
from filterdb.population.preset import Scanning
from filterdb.store.folded import MEASURED
from networks import save, trained_layer

HERE = Scanning(jobs=1)
CHANNELS = (8, 24, 16, 16, 24)


def with_norms(seed: int) -> dict[str, np.ndarray]:
    """A network whose last layer no norm follows, and whose second has dead channels."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for index, (into, out) in enumerate(pairwise(CHANNELS)):
        arrays[f"conv{index}.weight"] = trained_layer(rng, out, into, 3, 3)
        if index < 3:
            gamma = rng.normal(size=out) * np.exp(rng.normal(size=out))
            arrays[f"bn{index}.weight"] = np.where((index == 1) & (gamma > 0.5), 0, gamma)
            arrays[f"bn{index}.running_mean"] = rng.normal(size=out)
            arrays[f"bn{index}.running_var"] = rng.uniform(0.1, 2, out)
    arrays["conv3.bias"] = rng.normal(size=CHANNELS[-1])
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def multiplied(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same network as an exporter writes it that folds."""
    layers = filterdb.read(arrays, weights="folded").layers
    return {f"{layer.name}.weight": layer.weights for layer in layers}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks: in ``kept`` with their norms, in ``folded`` with these multiplied in."""
    place = tmp_path_factory.mktemp("variants")
    for name, form in (("kept", dict), ("folded", multiplied)):
        files = [
            save(place / name / f"net{seed}.safetensors", form(with_norms(seed)))
            for seed in range(2)
            if (place / name).mkdir(exist_ok=True) is None
        ]
        filterdb.open(place / f"{name}.db").ingest(files, jobs=1)
    return place


@pytest.fixture
def kept(place: Path) -> filterdb.Database:
    return filterdb.open(place / "kept.db")


@pytest.fixture
def folded(place: Path) -> filterdb.Database:
    return filterdb.open(place / "folded.db")


def test_the_state_of_each_layer_is_kept(kept: filterdb.Database) -> None:
    rows = kept.layers(model="net0.safetensors")
    assert [row["weight_state"] for row in rows] == ["raw", "raw", "raw", "no_norm"]
    assert rows[0]["state_evidence"].startswith("followed by batch normalisation bn0, by its name")
    assert all(row["scheme"] is None for row in rows)


def test_what_is_measured_is_what_the_folded_network_has(
    kept: filterdb.Database, folded: filterdb.Database
) -> None:
    rows, others = kept.select(weights="folded").layers(), folded.layers()
    for row, other in zip(rows, others, strict=True):
        for name in MEASURED:
            expected = other[name]
            if not isinstance(expected, str):
                expected = pytest.approx(expected, rel=1e-6, abs=1e-9)
            assert row[name] == expected, name
    assert [row["sparsity"] for row in rows] != [row["sparsity"] for row in kept.layers()]


def test_questions_to_summaries_have_the_answers_of_the_folded_network(
    kept: filterdb.Database, folded: filterdb.Database
) -> None:
    for choice in ({}, {"drop_sparse": True}):
        ours, theirs = kept.select(weights="folded", **choice), folded.select(**choice)
        assert ours.summary().n == theirs.summary().n
        assert ours.summary().peak == theirs.summary().peak
        np.testing.assert_array_equal(ours.summary().counts, theirs.summary().counts)
        np.testing.assert_allclose(ours.basis().components, theirs.basis().components)
        matrices = [each.shift("layer_index", permutations=0) for each in (ours, theirs)]
        np.testing.assert_allclose(matrices[0].matrix, matrices[1].matrix)


def test_passes_over_the_weights_have_them_too(
    kept: filterdb.Database, folded: filterdb.Database
) -> None:
    ours, theirs = kept.select(weights="folded"), folded.select()
    np.testing.assert_array_equal(ours.density(scanning=HERE), theirs.density(scanning=HERE))
    assert (kept.select().density(scanning=HERE) != theirs.density(scanning=HERE)).any()
    found = [each.shift("layer_index", preset="cvprw2022", permutations=0, scanning=HERE)
             for each in (ours, theirs, kept.select())]  # fmt: skip
    np.testing.assert_allclose(found[0].matrix, found[1].matrix)
    assert found[0].coverage["filters"] != found[2].coverage["filters"]
    names = [[row.phenotype.name for row in each.phenotypes(scanning=HERE)]
             for each in (ours, theirs)]  # fmt: skip
    assert names[0] == names[1]


def test_coverage_counts_the_states(kept: filterdb.Database) -> None:
    none = {"folded": 0, "unknown": 0, "no_norm": 2}
    found = kept.select().shift("layer_index", permutations=0)
    assert found.coverage["weights"] == {"asked": "stored", "raw": 6, **none}
    found = kept.select(weights="folded").shift("layer_index", permutations=0)
    assert found.coverage["weights"] == {"asked": "folded", "raw": 0, **none | {"folded": 6}}
    assert kept.select(weights="raw").measured["raw"] == 6
    with pytest.raises(QueryError, match="There are: stored, raw, folded"):
        kept.select(weights="fold")


def test_a_new_basis_takes_both_along(kept: filterdb.Database, tmp_path: Path) -> None:
    import shutil

    own = filterdb.open(shutil.copytree(kept.path, tmp_path / "db"))
    before = summaries(own)
    assert sum("folded" in row[2] for row in before) >= 6
    basis = own.select(weights="folded").basis()
    assert own.fit_basis(scanning=HERE)
    ours = own.select(weights="folded")
    assert {row[3] for row in summaries(own)} != {row[3] for row in before}
    np.testing.assert_allclose(ours.basis().components, basis.components)
    assert own.verify().findings == ()
    own.adopt_basis(scanning=HERE)
    assert summaries(own) == before


def summaries(database: filterdb.Database) -> list[tuple[object, ...]]:
    query = "SELECT model_id, layer_index, part, basis_id, n, coarse, fine FROM summaries"
    with closing(sqlite3.connect(database.path / "catalogue.sqlite")) as connection:
        return connection.execute(f"{query} ORDER BY 1, 2, 3").fetchall()


def test_verify_finds_what_was_changed_and_remove_takes_it_along(
    kept: filterdb.Database, tmp_path: Path
) -> None:
    import shutil

    own = filterdb.open(shutil.copytree(kept.path, tmp_path / "db"))
    with closing(sqlite3.connect(own.path / "catalogue.sqlite")) as connection:
        connection.execute("UPDATE folded SET sparsity = 1 WHERE model_id = 1 AND layer_index = 1")
        connection.commit()
    (found,) = own.verify().findings
    assert found.where == "net0.safetensors"
    assert found.message == "The measures of its layer 1 as folded are not what was stored."
    with closing(sqlite3.connect(own.path / "catalogue.sqlite")) as connection:
        connection.execute("DELETE FROM folded WHERE model_id = 2")
        connection.commit()
    assert {each.where for each in own.verify().findings} == {"net0.safetensors",
                                                             "net1.safetensors"}  # fmt: skip
    own.remove(["net0.safetensors", "net1.safetensors"])
    with closing(sqlite3.connect(own.path / "catalogue.sqlite")) as connection:
        for table in ("folded", "summaries"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    assert own.verify().findings == ()


def test_the_same_weights_count_once(kept: filterdb.Database, tmp_path: Path) -> None:
    import shutil

    own = filterdb.open(shutil.copytree(kept.path, tmp_path / "db"))
    copy = {f"net.{name}": array for name, array in with_norms(0).items()}
    own.ingest([save(tmp_path / "copy.safetensors", copy)], jobs=1)
    assert len(own.layers("weight_state = 'raw'")) == 9
    assert own.select(weights="folded").summary().n == kept.select().summary().n
    assert own.verify().findings == ()


def test_two_models_of_a_database_folded(kept: filterdb.Database) -> None:
    stored = kept.diff("net0.safetensors", "net1.safetensors")
    folded = kept.diff("net0.safetensors", "net1.safetensors", weights="folded")
    first = stored.layers[0].after.quality, folded.layers[0].after.quality
    assert first[0].sparsity != first[1].sparsity or first[0].l2 != first[1].l2


@pytest.fixture
def mixture(kept: filterdb.Database, zoo: Path, tmp_path: Path) -> filterdb.Database:
    """With a network beside them whose norms are folded."""
    import shutil

    own = filterdb.open(shutil.copytree(kept.path, tmp_path / "db"))
    own.ingest([zoo / "weights" / "andes--resnet8-cifar10.onnx"], jobs=1)
    return own


def test_a_mixture_is_named(mixture: filterdb.Database) -> None:
    found = mixture.select().shift("format", permutations=0)
    (note,) = [note for note in found.notes if "Weights as stored" in note]
    assert "6 layers are raw and 7 have a batch normalisation folded in." in note
    assert "sparsity, entropy and norms" in note
    assert "up to the sign" in note
    alike = mixture.select(weights="folded").shift("model", permutations=0)
    assert not any("Weights as stored" in note for note in alike.notes)
    raw = mixture.select(weights="raw").shift("model", permutations=0)
    assert raw.coverage["layers"] == 8
    assert [why for why in raw.coverage["left_out"] if "the raw ones are not known" in why]
    run = CliRunner().invoke(
        cli, ["shift", str(mixture.path), "--by", "format", "--json", "--permutations", "0"]
    )
    told = json.loads(run.stdout)
    assert told["coverage"]["weights"]["raw"] == 6
    assert note in told["notes"]
    run = CliRunner().invoke(cli, ["basis", str(mixture.path), "--json", "--weights", "raw"])
    assert json.loads(run.stdout)["weights"]["asked"] == "raw"


def test_a_comparison_of_a_raw_with_a_folded_layer_says_so(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3), torch.nn.BatchNorm2d(16), torch.nn.Flatten(),
        torch.nn.Linear(16 * 36, 2),
    ).eval()  # fmt: skip
    torch.nn.init.normal_(net[1].weight)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.zeros(1, 3, 8, 8),), tmp_path / "net.onnx", dynamo=False)
    found = filterdb.diff(net, tmp_path / "net.onnx")
    assert any("One layer is raw in one network" in sentence for sentence in found.summary)
    alike = filterdb.diff(net, tmp_path / "net.onnx", weights="folded")
    assert not any("raw in one network" in sentence for sentence in alike.summary)
    assert alike.layers[0].change is None or alike.layers[0].change.relative_l2 < 1e-5
