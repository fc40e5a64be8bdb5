"""Both pages as documents: sound, accessible, complete in themselves, and nothing runs in them."""

from __future__ import annotations

import os
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest
from pages import HOSTILE, Element, parse
from PIL import Image

from filterdb.errors import MissingExtraError, QueryError
from filterdb.figures.style import LOOKS
from filterdb.report.page import filled, section, style_sheet, today, visible, write_report

ADDRESSES = ("src", "srcset", "href", "action", "data", "poster", "background", "formaction")


def test_one_main_heading_and_no_level_is_skipped(page: Element) -> None:
    headings = page.find("h1", "h2", "h3", "h4", "h5", "h6")
    levels = [int(heading.name[1]) for heading in headings]
    assert levels.count(1) == 1 == levels[0]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(heading.text for heading in headings)


def test_ids_are_unique_and_references_arrive(page: Element) -> None:
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    named = [element.attributes[name] for element in page.all()
             for name in ("aria-labelledby", "aria-describedby", "for")
             if name in element.attributes]  # fmt: skip
    links = [link.attributes["href"] for link in page.find("a")]
    assert links[0] == "#main"  # the way past the navigation comes first
    assert {name.removeprefix("#") for name in [*named, *links]} <= set(ids)
    parts = {f"#{part.attributes['id']}" for part in page.find("section")}
    (navigation,) = page.find("nav")
    assert {link.attributes["href"] for link in navigation.find("a")} == parts


def test_pictures_and_tables_say_what_they_show(page: Element) -> None:
    images, tables = page.find("img"), page.find("table")
    assert images
    assert tables
    for image in images:
        assert len(image.attributes["alt"]) > 20
        assert int(image.attributes["width"]) > 0 < int(image.attributes["height"])
    for table in tables:
        assert table.find("caption")[0].text
        assert all(cell.attributes.get("scope") in ("col", "row") for cell in table.find("th"))
        assert {len(row.find("th", "td")) for row in table.find("tr")} == {
            len(table.find("thead")[0].find("th"))
        }
    for drawing in page.find("svg"):
        hidden = drawing.attributes.get("aria-hidden") == "true"
        assert hidden != (drawing.attributes.get("role") == "img")
        assert hidden or drawing.attributes["aria-label"]


def test_what_scrolls_can_be_reached_by_keyboard(page: Element) -> None:
    for element in page.all():
        if element.attributes.get("class") == "scroll" and element.find("table"):
            assert element.attributes["tabindex"] == "0"
            assert element.attributes["aria-labelledby"]


def test_nothing_is_fetched_and_nothing_runs(page: Element) -> None:
    for element in page.all():
        assert element.name not in {"script", "iframe", "object", "embed", "form", "base"}
        assert "style" not in element.attributes
        assert not any(name.startswith("on") for name in element.attributes)
        for name in ADDRESSES:
            assert element.attributes.get(name, "#").startswith(("#", "data:image/", "data:,"))
    (style,) = page.find("style")
    assert not re.search(r"url\(|@import|expression", "".join(style.pieces))


def test_the_policy_allows_this_style_sheet_and_pictures_in_the_page(page: Element) -> None:
    (policy,) = [meta.attributes["content"] for meta in page.find("meta")
                 if meta.attributes.get("http-equiv") == "Content-Security-Policy"]  # fmt: skip
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digest = sha256("".join(page.find("style")[0].pieces).encode()).digest()
    assert rules == {
        "default-src": "'none'",
        "style-src": f"'sha256-{b64encode(digest).decode()}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_names_stay_text(html: str, page: Element) -> None:
    assert HOSTILE in page.text
    assert HOSTILE not in html
    assert not page.find("b")


def test_pictures_come_in_both_styles_without_a_seam(page: Element) -> None:
    for picture in page.find("picture"):
        (dark,), (light,) = picture.find("source"), picture.find("img")
        assert "dark" in dark.attributes["media"]
        assert "screen" in dark.attributes["media"]  # paper is white
        sizes = set()
        for address, style in ((light.attributes["src"], "light"),
                               (dark.attributes["srcset"], "dark")):  # fmt: skip
            image = Image.open(BytesIO(b64decode(address.split(",", 1)[1]))).convert("RGB")
            assert "#{:02x}{:02x}{:02x}".format(*image.getpixel((0, 0))) == LOOKS[style].paper
            sizes.add(image.size)
        assert len(sizes) == 1


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("style", ["light", "dark"])
def test_text_has_contrast(style: str) -> None:
    light, dark = style_sheet().split("@media screen and (prefers-color-scheme: dark)")
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light if style == "light" else dark))
    grounds = [name for name in colours if name.endswith("-soft")] + ["paper", "soft"]
    tones = [name.removesuffix("-soft") for name in colours if name.endswith("-soft")]
    assert len(tones) == 7
    for ground in grounds:
        for text in ["ink", "muted", "link", *tones]:
            two = sorted((luminance(colours[text]), luminance(colours[ground])))
            assert (two[1] + 0.05) / (two[0] + 0.05) >= 4.5, (text, ground)


def test_it_prints_and_does_not_move_for_who_minds(html: str) -> None:
    style = parse(html).find("style")[0].text
    assert "@media print" in style
    assert re.search(r"prefers-reduced-motion: no-preference\) \{ html \{ scroll-behavior", style)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (QueryError("No filter is 7x7."), "No filter is 7x7."),
        (ValueError("There is no basis to draw."), "There is no basis to draw."),
        (KeyError("sparsity"), "KeyError: 'sparsity'. Please report this."),
    ],
)
def test_a_part_that_fails_says_why(error: Exception, words: str) -> None:
    def fail() -> None:
        raise error

    part = section("depth", "Quality by depth", "pictures", fail)
    assert part is not None
    assert part.title == "Quality by depth"
    assert words in parse(part.body).text


def test_a_part_whose_template_fails_says_why() -> None:
    part = section("depth", "Quality by depth", "pictures", lambda: {"words": ["no pictures"]})
    assert part is not None
    assert "could not be made" in part.body


def test_a_part_without_content_is_left_out() -> None:
    assert section("training", "While they learned", "pictures", lambda: None) is None


def test_what_must_be_installed_stops_the_page() -> None:
    def fail() -> None:
        raise MissingExtraError("This needs matplotlib.")

    with pytest.raises(MissingExtraError):
        section("depth", "Quality by depth", "pictures", fail)


def test_letters_that_cannot_be_seen_are_shown() -> None:
    odd = "a\x00b\u202ec\udcffd"
    assert visible(odd) == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c�d"
    part = filled("x", "X", "failed", {"reason": odd})
    assert part.body.encode()  # a surrogate would not encode
    assert visible(3) == 3


def test_the_day_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert today() == "1970-01-02"


def test_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.write_text("before")
    assert write_report("<p>é</p>", target) == target
    assert target.read_bytes() == "<p>é</p>".encode()
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(OSError, match="nowhere"):
        write_report("<p></p>", tmp_path / "nowhere" / "page.html")
    with pytest.raises(UnicodeEncodeError):
        write_report("\udcff", target)
    assert target.read_bytes() == "<p>é</p>".encode()
    assert list(tmp_path.iterdir()) == [target]


def test_written_through_a_link_and_over_files_only(tmp_path: Path) -> None:
    link, target, fifo = (tmp_path / name for name in ("link.html", "page.html", "fifo.html"))
    link.symlink_to(target)
    write_report("<p></p>", link)
    assert link.is_symlink()
    assert target.read_text() == "<p></p>"
    os.mkfifo(fifo)
    with pytest.raises(OSError, match="no regular file"):
        write_report("<p></p>", fifo)
    assert fifo.is_fifo()
    write_report("<p></p>", tmp_path / f"{'x' * 245}.html")
