from __future__ import annotations

import csv
from pathlib import Path

import pytest

from filterdb.ingest.vocabulary import (
    KNOWN,
    TASKS,
    VISUAL_CATEGORIES,
    in_vocabulary,
    is_outside,
    outside_vocabulary,
    respelt,
)

PUBLISHED_TASKS = (
    "GAN-Generator", "Depth Est.", "Object Det.", "Style Transfer", "Super Res.", "Segmentation",
    "Face Recog.", "Classification", "Auto-Encoder", "Face Det.", "GAN-Discr.",
)  # fmt: skip
PUBLISHED_CATEGORIES = (
    "faces", "depth", "natural", "map", "thermal", "astronomy", "art", "seismic", "cars",
    "medical ct", "fractals", "textures", "handwriting", "medical xray", "medical mri", "plants",
)  # fmt: skip


@pytest.mark.parametrize(
    ("column", "written", "word"),
    [
        ("task", "seg", "segmentation"),
        ("task", "semantic-segmentation", "segmentation"),
        ("task", " Semantic  Segmentation ", "segmentation"),
        ("task", "image_classification", "classification"),
        ("task", "Object Detection", "detection"),
        ("task", "face-detection", "face-detection"),
        ("visual_category", "Medical CT", "medical-ct"),
        ("visual_category", "driving-scenes", "driving"),
        ("task", "unknown", "unknown"),
    ],
)
def test_a_word_however_it_is_spelt_and_a_synonym_become_the_word(column, written, word):
    assert in_vocabulary(column, written) == word
    assert in_vocabulary(column, word) == word
    assert not is_outside(column, written)


@pytest.mark.parametrize("value", ["Weather Forecast", "", 12, None, 0.5])
def test_anything_else_is_kept_as_it_is(value):
    assert in_vocabulary("task", value) == value


def test_columns_without_a_vocabulary_have_no_words_outside_of_it():
    assert in_vocabulary("license", "seg") == "seg"
    assert not is_outside("license", "weather")


def test_words_outside_are_listed_once_with_their_number():
    rows = [{"task": "weather"}, {"task": "weather", "visual_category": "clouds"},
            {"task": "seg"}, {"task": None, "own": "x"}]  # fmt: skip
    assert outside_vocabulary(rows) == ("task: weather (2)", "visual_category: clouds (1)")


@pytest.mark.parametrize("vocabulary", [TASKS, VISUAL_CATEGORIES])
def test_no_word_stands_for_two(vocabulary):
    synonyms = [word for words in vocabulary.values() for word in words.split()]
    assert len({*synonyms, *vocabulary}) == len(synonyms) + len(vocabulary)


def test_every_word_of_the_published_data_set_is_known():
    assert all(not is_outside("task", word) for word in PUBLISHED_TASKS)
    assert len({in_vocabulary("task", word) for word in PUBLISHED_TASKS}) == 11
    assert all(not is_outside("visual_category", word) for word in PUBLISHED_CATEGORIES)
    assert len({in_vocabulary("visual_category", word) for word in PUBLISHED_CATEGORIES}) == 16


def test_every_word_of_the_zoo_is_known(zoo: Path) -> None:
    with (zoo / "manifest.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            assert not [row[name] for name in KNOWN if is_outside(name, row[name])]
            # Its tasks are spelt as the vocabulary spells them.
            assert in_vocabulary("task", row["task"]) == row["task"]


def test_respelt_words_are_told_with_what_they_became() -> None:
    rows = [{"task": "seg", "run": "seg"}, {"task": "segmentation"}, {"task": "seg"}]
    assert respelt(rows) == ("task: seg -> segmentation (2)",)
