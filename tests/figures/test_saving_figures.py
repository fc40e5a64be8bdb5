"""Figures as files: whole or not at all, and the same bytes for the same figure."""

from __future__ import annotations

import os
from xml.etree import ElementTree as ET

import pytest
from drawn import ODD_NAMES, Group, shift_of
from PIL import Image

from filterdb.figures import render, save, shift_matrix
from filterdb.figures.saving import format_of


def small():
    names = tuple(Group(name, 1, 1, 5000) for name in ODD_NAMES[:3])
    return shift_matrix(shift_of(3, by="task <&>", groups=names))


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.png", b"\x89PNG"), ("a.b.SVG", b"<?xml"), ("with space.pdf", b"%PDF")],
)
def test_the_suffix_decides(tmp_path, name, start):
    path = save(small(), tmp_path / name)
    assert path == tmp_path / name
    assert path.read_bytes().startswith(start)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_figure_gives_the_same_bytes(kind):
    assert render(small(), kind) == render(small(), kind)


def test_saving_twice_changes_nothing():
    figure = small()
    assert render(figure) == render(figure)


def test_dots_per_inch(tmp_path):
    figure = small()
    width, height = figure.get_size_inches()
    with Image.open(save(figure, str(tmp_path / "a.png"), dpi=50)) as image:
        assert image.size == pytest.approx((50 * width, 50 * height), abs=1)
    assert tuple(figure.get_size_inches()) == (width, height)


def test_the_description_is_in_the_file(tmp_path):
    figure = small()
    with Image.open(save(figure, tmp_path / "a.png")) as image:
        assert image.info["Description"] == figure.get_label()
        assert "Shift D between 3 groups by task <&>" in image.info["Description"]
    root = ET.fromstring(save(figure, tmp_path / "a.svg").read_bytes())
    assert figure.get_label() in "".join(root.itertext())
    assert b"matplotlib.org" not in (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.png.txt", ".png"])
def test_another_suffix(tmp_path, name):
    with pytest.raises(ValueError, match=r"one of \.png, \.svg, \.pdf"):
        save(small(), tmp_path / name)
    with pytest.raises(ValueError, match=r"one of \.png, \.svg, \.pdf"):
        format_of(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    save(small(), path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    figure = small()
    figure.text(0, 0, r"$\nonsense{$")
    with pytest.raises(ValueError, match="nonsense"):
        save(figure, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        save(small(), tmp_path / "nowhere" / "a.png")


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OSError, match=r"a\.png"):
        save(small(), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    assert save(small(), tmp_path / "a.png") == tmp_path / "a.png"
    assert (tmp_path / "a.png").is_symlink()
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    with pytest.raises(OSError, match=r"loop\.png"):
        save(small(), tmp_path / "loop.png")


def test_only_a_file_is_replaced(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(OSError, match="no regular file"):
        save(small(), tmp_path / "a.png")
    assert (tmp_path / "a.png").is_fifo()


def test_a_long_name(tmp_path):
    path = save(small(), tmp_path / f"{'x' * 245}.png")
    assert list(tmp_path.iterdir()) == [path]
