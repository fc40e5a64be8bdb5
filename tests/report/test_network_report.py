"""What the page on a network says, against what was measured."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pages import HOSTILE, Element, parse, rows, section

import filterdb
from filterdb.checking import Check
from filterdb.errors import NoConvolutionError
from filterdb.reference import Percentile, reference_population
from filterdb.report import examples, layers, network_report, sparks
from filterdb.report import network as network_page
from filterdb.report.advice import PLAIN, SIGNS, TONES, caveats, findings, judgement
from filterdb.report.network import advice, all_layers, patterns_for
from filterdb.report.page import Section, filled
from filterdb.report.reading import STRENGTH_BINS, read_network
from filterdb.report.standing import MEASURES, places, typical
from filterdb.report.variance import varies
from filterdb.stats.basis import Basis
from filterdb.stats.moments import Moments
from networks import network, random_layer, save, trained_layer


@pytest.fixture(scope="module")
def page(network_html: str) -> Element:
    return parse(network_html)


@pytest.fixture(scope="module")
def check(faulty: Path) -> Check:
    return filterdb.check(faulty)


def test_no_part_failed(page: Element) -> None:
    assert "could not be made" not in page.text
    assert [part.attributes["id"] for part in page.find("section")] == [
        "verdict", "advice", "standing", "examples", "patterns", "layers", "reading", "words"
    ]  # fmt: skip


def test_the_verdict_comes_first(page: Element, check: Check) -> None:
    assert page.find("h1")[0].text == "a & <b>.safetensors"
    (banner,) = section(page, "verdict").find("h2")
    assert banner.text.endswith(judgement(check).headline)
    words = section(page, "verdict").text
    assert "2 of the 5 layers that can be judged are healthy." in words
    assert f"{100 * (check.degenerate_share or 0):.0f} % of the filters that can be judged" in words
    judged = sum(row.layer.n_filters for row in check.layers if row.verdict != "undefined")
    total = sum(row.layer.n_filters for row in check.layers)
    assert f"{judged:,} of {total:,} filters ({100 * judged / total:.0f} %)" in words
    assert f"of these {judged:,} sit in layers with a fault" in words
    assert "1 further layer is too small to tell." in words
    assert "1 further layer cannot be judged: its filters are single numbers" in words


def test_every_kind_of_fault_gets_an_advice(page: Element, check: Check) -> None:
    part = section(page, "advice")
    articles = part.find("article")
    assert len(articles) == 4
    for row in check.layers:
        if row.verdict in PLAIN:
            (article,) = [a for a in articles if PLAIN[row.verdict].advice in a.text]
            assert row.layer.name in article.text
            # Said once: the reason is the same in the words of who programs.
            assert row.reason not in article.text
    # A finding comes before what is too small to be one.
    assert PLAIN["undecided"].meaning in articles[-1].text


def test_the_table_has_every_layer_with_its_measures(page: Element, check: Check) -> None:
    (table,) = section(page, "layers").find("table")
    body = rows(table)
    assert len(body) == len(check.layers)
    for cells, row in zip(body, check.layers, strict=True):
        assert cells[1] == row.layer.name
        assert cells[2] == f"{SIGNS[TONES[row.verdict]]} {row.verdict}"
        assert cells[3].startswith("{}×{}".format(*row.layer.kernel))
        assert cells[4] == f"{row.layer.n_filters:,}"
        for cell, value in (
            (cells[5], row.quality.sparsity),
            (cells[7], row.quality.entropy_ratio),
        ):
            rounded = "–" if value is None else f"{100 * value:.0f} %"
            assert cell in (rounded, "<1 %") if value else cell == rounded
    drawn = [len(line.find("svg")) for line in table.find("tbody")[0].find("tr")]
    shaped = [row.quality.sparsity is not None for row in check.layers]
    assert [count >= 2 for count in drawn] == shaped


def test_the_dots_stand_where_the_reference_puts_them(
    page: Element, check: Check, faulty: Path
) -> None:
    charts = section(page, "standing").find("svg")
    assert len(charts) == len(MEASURES)
    found = places(read_network(faulty, progress=None))
    for chart, measure in zip(charts, MEASURES, strict=True):
        expected = [
            reference_population().percentile(
                measure, getattr(row.quality, measure), depth=row.layer.conv_depth_norm,
                kernel=row.layer.kernel, kind=row.layer.kind,
            )
            for row in check.layers
        ]  # fmt: skip
        known = [place.share for place in expected if place is not None]
        assert known == [place.share for (_, name), place in found.items() if name == measure]
        heights = [float(dot.attributes["cy"]) for dot in chart.find("circle")]
        assert_allclose((122 - np.array(heights)) / 112, known, atol=0.001)


def test_the_worst_and_typical_layers_are_shown(page: Element, check: Check) -> None:
    shown = [article.find("code")[0].text for article in section(page, "examples").find("article")]
    bad = [row for row in check.layers if row.verdict in ("sparse", "low diversity", "random")]
    assert set(shown[:3]) == {row.layer.name for row in bad}
    healthy = {row.layer.name for row in check.layers if row.verdict == "healthy"}
    assert set(shown[3:]) == healthy
    for image in section(page, "examples").find("img"):
        assert any(row.layer.name in image.attributes["alt"] for row in check.layers)


def test_what_was_left_out_is_said(page: Element, check: Check) -> None:
    part = section(page, "reading").text
    for item in check.file.skipped:
        assert item.name in part
        assert item.reason in part
    for note in check.file.notes:
        assert note in part
    assert "safetensors" in part
    assert "6 of 7 convolution layers" in part


def test_the_title_is_yours_and_progress_tells_each_layer() -> None:
    steps: list[tuple[int, int, str]] = []
    html = network_report(
        network("healthy", "random"),
        title=f"My {HOSTILE}",
        progress=lambda *step: steps.append(step),
    )
    page = parse(html)
    assert page.find("h1")[0].text == f"My {HOSTILE}"
    assert page.find("title")[0].text == f"My {HOSTILE} – Report on a network"
    assert steps == [(0, 2, "conv0"), (1, 2, "conv1"), (2, 2, "pictures")]


@pytest.mark.parametrize(
    ("arrays", "headline", "advice"),
    [
        ({"a.weight": np.ones((8, 8, 1, 1), np.float32)},
         "has no filters whose shape could be judged", "There is nothing to judge"),
        ({"a.weight": np.ones((2, 1, 3, 3), np.float32)},
         "too small to be judged", "Nothing needs to be done"),
        ({"a.weight": np.full((16, 16, 3, 3), np.nan, np.float32)},
         "is damaged", "Do not use this file"),
        ({"a.weight": np.zeros((16, 16, 3, 3), np.float32)},
         "Much of this network is switched off", "all 256 filters are exactly zero"),
        ({"a.weight": np.ones((1100, 1, 33, 33), np.float32)},
         "has no filters whose shape could be judged", "There is nothing to judge"),
        (network("healthy", "healthy"), "This network looks healthy.", "Nothing needs to be done"),
    ],
    ids=["1x1", "tiny", "nan", "zeros", "huge", "healthy"],
)  # fmt: skip
def test_networks_with_little_in_them(arrays: Any, headline: str, advice: str) -> None:
    page = parse(network_report(arrays))
    assert headline in section(page, "verdict").text
    assert advice in section(page, "advice").text
    assert "could not be made" not in page.text
    assert not re.search(r"\bnan\b|None\b(?! of)", page.text)


SHAPED = trained_layer(np.random.default_rng(0), 1, 1, 3, 3)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.zeros((16, 16, 3, 3), np.float32), "All 256 filters of 3×3 are the same."),
        (np.tile(SHAPED, (16, 16, 1, 1)), "All 256 filters of 3×3 are the same."),
        (SHAPED * np.arange(1, 257, dtype=np.float32).reshape(16, 16, 1, 1),
         "All 256 filters of 3×3 are the same but for their strength."),
    ],
    ids=["zero", "equal", "strength"],
)  # fmt: skip
def test_filters_that_are_all_the_same_have_no_patterns(weights: Any, words: str) -> None:
    part = section(parse(network_report({"a.weight": weights})), "patterns")
    assert words in part.text
    assert "Four fifths" not in part.text
    assert not part.find("img")


@given(st.integers(2, 50), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_filters_vary_unless_they_are_equal(n: int, size: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    equal = np.repeat(size * rng.standard_normal((9, 1)), n, axis=1)
    assert not varies(Moments.of(equal))
    assert varies(Moments.of(equal + 1e-3 * size * rng.standard_normal((9, n))))
    assert not varies(Moments.zero(9))


@pytest.mark.parametrize(
    ("shape", "near", "picture"),
    [
        ((1, 1, 3, 3), "1 of them", "have too few filters to tell"),
        ((8, 8, 1, 1), "no filters with a shape to compare", "no layer has filters larger than"),
        ((1, 1, 63, 63), "more than 121 taps", "have too few filters to tell"),
        ((1100, 1, 33, 33), "more than 121 taps", "filters that are too large to be judged"),
    ],
)
def test_what_cannot_be_told_is_not_told(shape: tuple[int, ...], near: str, picture: str) -> None:
    page = parse(network_report({"a.weight": np.ones(shape, np.float32)}))
    assert "0 %" not in section(page, "verdict").text
    assert "that can be judged sit" not in section(page, "standing").text
    assert "can be judged." not in section(page, "verdict").text
    assert near in section(page, "standing").text
    assert picture in section(page, "examples").text
    assert "of 1 convolution layer has filters" in section(page, "reading").text


def test_weights_that_are_no_numbers_are_not_compared() -> None:
    page = parse(network_report({"a.weight": np.full((16, 16, 3, 3), np.nan, np.float32)}))
    assert "not numbers, or are too large" in section(page, "standing").text
    assert "have values that are not numbers" in section(page, "examples").text


def test_one_pattern_is_no_patterns() -> None:
    check = filterdb.check({"a.weight": np.tile(SHAPED, (16, 16, 1, 1))})
    assert findings(check)[0].layers[0].words == (
        "its 256 filters are mixtures of about one pattern; 9 are possible."
    )


def test_what_has_no_convolution_is_refused() -> None:
    with pytest.raises(NoConvolutionError):
        network_report({"fc.weight": np.ones((4, 4), np.float32)})


def test_damage_comes_before_all_else() -> None:
    arrays = network("random", "random", "sparse")
    arrays["conv2.weight"][0, 0, 0, 0] = np.inf
    check = filterdb.check(arrays)
    assert [finding.verdict for finding in findings(check)] == ["invalid", "random"]
    assert findings(check)[0].layers[0].words == "1 weight is NaN or infinite."


def test_only_so_many_layers_are_named() -> None:
    check = filterdb.check(network(*["random"] * 9))
    (finding,) = findings(check)
    assert finding.headline == "9 layers look like noise"
    assert len(finding.layers) + finding.more == 9
    assert finding.more > 0


@pytest.mark.parametrize(
    ("bad", "place"),
    [((6, 7), ", towards the end"), ((0, 1), ", near the beginning"), ((0, 7), "")],
)
def test_where_the_faults_are(bad: tuple[int, ...], place: str) -> None:
    kinds = ["random" if index in bad else "healthy" for index in range(8)]
    check = filterdb.check(network(*kinds))
    assert findings(check)[0].headline == f"2 layers look like noise{place}"


def test_sparks_are_the_measures(faulty: Path) -> None:
    read = read_network(faulty, progress=None)
    for row in read.check.layers:
        spark = read.sparks.get(row.layer.index)
        if row.quality.sparsity is None:
            assert spark is None
            continue
        assert spark is not None
        spectrum = np.array(spark.spectrum)
        entropy = -sum(p * np.log10(p) for p in spectrum if p > 0)
        assert_allclose(entropy, row.quality.variance_entropy, atol=1e-4)
        # The bins end at 1 % in the middle: what lies below is the sparsity.
        below = sum(spark.strengths[: STRENGTH_BINS // 2])
        assert below == round(row.quality.sparsity * row.layer.n_filters)
        assert sum(spark.strengths) == row.layer.n_filters
    assert sum(summary.n for summary in read.sums.values()) == sum(
        row.layer.n_filters for row in read.check.layers if row.layer.kernel == (3, 3)
    )


def test_large_tables_lose_what_says_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MOST_ROWS", 3)
    arrays = network("random", "healthy", "healthy", "random")
    arrays["head.weight"] = np.ones((4, 24, 1, 1), np.float32)
    read = read_network(arrays, progress=None)
    shown, left_out = layers.table(read, {})
    assert [row.verdict for row in shown] == ["random", "healthy", "random"]
    assert left_out == {"undefined": 1, "healthy": 1}
    part = filled("layers", "Every layer", "layers", all_layers(read, {}))
    assert "3 of 5 layers are shown" in parse(part.body).text
    monkeypatch.setattr(layers, "MOST_ROWS", 1)
    shown, left_out = layers.table(read, {})
    # Of the two random layers conv0 is smaller; what is not there is not counted.
    assert [row.name for row in shown] == ["conv3"]
    assert left_out == {"undefined": 1, "healthy": 2, "random": 1}


def test_a_table_without_room_is_not_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    read = read_network(network(*["random"] * 7), progress=None)
    assert "has room" not in filled("advice", "", "advice", advice(read)).body
    for place in (layers, network_page):
        monkeypatch.setattr(place, "MOST_ROWS", 6)
    body = parse(filled("advice", "", "advice", advice(read)).body).text
    assert "and 2 further layers, in the table of layers as far as it has room." in body
    assert layers.table(read, {})[1] == {"random": 1}


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.booleans())
def test_cells_cover_the_strip_once(verdicts: list[str], joined: bool) -> None:
    covered = np.zeros(len(verdicts), int)
    for name in set(verdicts):
        path = sparks.cells([i for i, v in enumerate(verdicts) if v == name], joined=joined)
        for start, width in re.findall(r"M(\d+) 0h(\d+)v1H\1z", path):
            run = slice(int(start), int(start) + int(width))
            assert set(verdicts[run]) == {name}
            covered[run] += 1
    assert (covered == 1).all()


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_bars_are_in_proportion_and_in_the_box(values: list[float]) -> None:
    drawn = re.findall(r"M([\d.]+) 20v-([\d.]+)h([\d.]+)V20z", sparks.bars(values))
    there = [value for value in values if value > 0]
    assert len(drawn) == len(there)
    for (left, height, width), value in zip(drawn, there, strict=True):
        assert float(left) + float(width) <= sparks.WIDTH + 0.02
        expected = max(sparks.LEAST, sparks.HEIGHT * value / max(values))
        assert abs(float(height) - expected) < 0.01


def test_typical_layers_are_near_the_median() -> None:
    rng = np.random.default_rng(0)
    arrays = network(*["healthy"] * 3, seed=1)
    odd = trained_layer(rng, 24, 24, 3, 3)
    arrays["odd.weight"] = 0.75 * odd + 0.25 * random_layer(rng, 24, 24, 3, 3)  # near to noise
    check = filterdb.check(arrays)
    assert {row.verdict for row in check.layers} == {"healthy"}
    assert "odd" not in {row.layer.name for row in examples.typical(check)}


def test_the_middle_layer_in_words(check: Check) -> None:
    row = replace(check.layers[0], quality=replace(check.layers[0].quality, sparsity=0.0))
    low = Percentile(0.0, 0.41, 0.1, 0.3, 60, 50, 40, (0, 1), "3x3")
    high = Percentile(0.83, 0.0, 0.7, 0.9, 60, 50, 40, (0, 1), "3x3")
    assert (
        typical("sparsity", [(row, low)])
        == f"The layer has no filters next to nothing, {low.words}."
    )
    assert low.words.startswith("like 41 % of comparable layers (between ")
    other = replace(row, quality=replace(row.quality, sparsity=0.3))
    said = typical("sparsity", [(other, high), (row, low), (other, high)])
    assert said == (
        f"The middle one of its 3 layers has 30 % of its filters next to nothing, {high.words}."
    )


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a.weight": (64, 64, 1, 1), "b.weight": (8, 8, 3, 3)},
         ("What can be judged of this network looks", "64 of 4,160 filters (2 %) are larger")),
        ({"a.weight": (4, 4, 1, 1), "b.weight": (24, 24, 3, 3)},
         ("This network looks", "576 of 592 filters (97 %) are larger")),
        ({"b.weight": (24, 24, 3, 3)}, ("This network looks", "All 576 filters can be judged.")),
    ],
)  # fmt: skip
def test_the_verdict_says_what_it_is_about(
    arrays: dict[str, tuple[int, ...]], words: tuple[str, str]
) -> None:
    rng = np.random.default_rng(0)
    found = filterdb.check(
        {name: trained_layer(rng, *shape).astype(np.float32) if shape[-1] > 1
         else np.ones(shape, np.float32) for name, shape in arrays.items()}
    )  # fmt: skip
    said = judgement(found)
    assert said.headline.startswith(words[0])
    assert any(sentence.startswith(words[1]) for sentence in said.sentences)


def test_depthwise_and_tiny_layers_have_their_caveat() -> None:
    check = filterdb.check(network("random", "random", "healthy"))
    bad = [row for row in check.layers if row.verdict == "random"]
    assert caveats(bad) == []
    depthwise = replace(bad[0], layer=replace(bad[0].layer, kind="depthwise"))
    assert caveats([depthwise])[0].startswith("This layer is depthwise: ")
    assert caveats([depthwise, bad[1]])[0].startswith("1 of these layers is depthwise")
    (tiny,) = filterdb.check(network("low diversity", width=5)).layers
    assert tiny.verdict == "low diversity"
    assert any("fewer than 64 filters" in text for text in caveats([tiny]))


def test_a_reference_network_is_told_from_its_neighbours(zoo: Path) -> None:
    name = "ultraface--rfb-320.onnx"
    part = section(parse(network_report(zoo / "weights" / name)), "standing")
    assert f"This very network is one of them, as {name}" in part.text
    (table,) = part.find("table")
    near = rows(table)
    assert name not in {cells[0] for cells in near}
    assert len(near) == 5
    for cells in near:
        assert int(cells[3].replace(",", "")) >= 1_000
        assert float(cells[5]) > 0  # chance stands beside D
    assert [float(cells[4]) for cells in near] == sorted(float(cells[4]) for cells in near)


def test_few_filters_have_no_neighbours() -> None:
    part = section(parse(network_report(network("healthy"))), "standing")
    assert "D is mostly chance: nothing is compared" in part.text
    assert not part.find("table")
    assert "This very network" not in part.text


@pytest.mark.parametrize(("share", "needed"), [(0.5, 1), (0.51, 2), (0.8, 2), (1.0, 4)])
def test_patterns_needed(share: float, needed: int) -> None:
    ratios = np.array([0.5, 0.3, 0.15, 0.05])
    basis = Basis((2, 2), np.zeros(4), np.eye(4), ratios, 10, "by hand")
    assert patterns_for(basis, share) == needed


def test_a_reference_that_fails_takes_only_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> Callable[..., Section]:
        msg = "The file is damaged."
        raise OSError(msg)

    monkeypatch.setattr("filterdb.report.standing.reference_population", broken)
    page = parse(network_report(network("healthy")))
    assert "OSError: The file is damaged." in section(page, "standing").text
    assert len(rows(section(page, "layers").find("table")[0])) == 1


def test_real_networks(zoo: Path) -> None:
    """The largest of the collection: within bounds, and nothing fails."""
    html = network_report(zoo / "weights" / "titu1994--densenet-fast-40-12-cifar10.h5")
    assert len(html.encode()) < 5e6
    assert "could not be made" not in html


def test_a_file_of_the_same_network_twice_gives_the_same_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    file = save(tmp_path / "a.safetensors", network("healthy"))
    assert network_report(file) == network_report(file)


def test_a_sentence_on_nearly_all_filters_begins_like_one() -> None:
    rng = np.random.default_rng(0)
    arrays = {"few.weight": random_layer(rng, 4, 3, 3, 3)}
    arrays |= {f"c{i}.weight": random_layer(rng, 40, 40, 3, 3) for i in range(3)}
    words = section(parse(network_report(arrays)), "standing").text
    assert "More than 99 % of its 4,812 filters that can be judged sit in layers" in words
