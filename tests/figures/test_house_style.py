"""The house style: the same look everywhere, read by everybody, and no trace of it afterwards."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from drawn import EVERY, ODD_NAMES, layer_rows, shift_of
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.cbook import is_math_text
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from filterdb.errors import MissingExtraError
from filterdb.figures import lettering, quality_by_depth, render, shift_matrix
from filterdb.figures.style import LOOKS, MARKERS, OTHER, PALETTE, house, is_light
from filterdb.words import counted

# Pictures whose units are as high as wide.
SQUARE = ("eigen", "shift m", "filter", "changed", "key m", "code", "best", "agree")

# What the tests set, as a user might have: none of it may show.
WILD = {
    "font.size": 25,
    "axes.facecolor": "red",
    "xtick.color": "lime",
    "ytick.major.size": 20,
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "figure.dpi": 37,
    "savefig.bbox": "tight",
    "svg.fonttype": "none",
}


@pytest.mark.parametrize("style", LOOKS)
@pytest.mark.parametrize("name", EVERY)
def test_every_picture(name, style):
    before = dict(mpl.rcParams)
    figure = EVERY[name](style)
    assert dict(mpl.rcParams) == before
    assert isinstance(figure, Figure)
    assert figure.get_facecolor()[:3] == to_rgb(LOOKS[style].paper)
    assert len(figure.get_label()) > 20, "a sentence for who cannot see it"
    check_that_nothing_is_cut_off(figure)
    assert max(figure.get_size_inches()) < 20


def check_that_nothing_is_cut_off(figure):
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0) > -0.02
    assert box.x1 < width + 0.02
    assert box.y1 < height + 0.02
    for axes in figure.axes:  # titles and what is below them, which no layout minds
        for text in (axes._left_title, axes.title, *axes.texts):
            if text.get_text().strip():
                extent = text.get_window_extent()
                assert 0 <= extent.x0 < extent.x1 <= figure.bbox.x1, text
                assert 0 <= extent.y0 < extent.y1 <= figure.bbox.y1, text


@pytest.mark.parametrize("name", [name for name in EVERY if name.startswith(SQUARE)])
def test_what_is_square_stays_square_at_any_size(name):
    figure = EVERY[name]("light")
    axes = figure.axes[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for dpi in (72, 100, 230):
        figure.set_dpi(dpi)
        figure.draw_without_rendering()
        box = axes.get_window_extent()
        across, down = box.width / abs(right - left), box.height / abs(top - bottom)
        assert across / down == pytest.approx(1, abs=0.03)
        check_that_nothing_is_cut_off(figure)


def test_the_user_s_settings_do_not_show():
    plain = render(shift_matrix(shift_of(4)), "png")
    with mpl.rc_context(WILD):
        figure = shift_matrix(shift_of(4))
        assert render(figure, "png") == plain
        assert mpl.rcParams["font.size"] == 25


def test_ticks_that_are_made_later_are_in_the_style_too():
    rows = layer_rows(12)
    with house("dark") as look:
        figure = quality_by_depth(rows, style="dark")
    with mpl.rc_context(WILD):
        figure.axes[1].set_ylim(-3, 30)  # other ticks than were there
        figure.draw_without_rendering()
    labels = figure.axes[1].get_yticklabels()
    assert len(labels) > 3
    assert {label.get_color() for label in labels} == {look.ink}
    assert {label.get_fontsize() for label in labels} == {8}


def test_no_window_and_no_pyplot():
    code = (
        "import sys, filterdb.figures as f, numpy as np; assert 'matplotlib' not in sys.modules; "
        "figure = f.filter_mosaic(np.ones((2, 2, 3, 3))); f.render(figure, 'png'); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_message_helps(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'filterdb\[plot\]'"):
        shift_matrix(shift_of(3))


def test_unknown_style():
    with pytest.raises(ValueError, match="'light', 'dark'"):
        shift_matrix(shift_of(3), style="blue")


# Colours ----------------------------------------------------------------------------------------

# Severity 1 of Machado, Oliveira and Fernandes (2009), on linear RGB.
VISION = {
    "all cones": np.eye(3),
    "no L cones": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "no M cones": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                   [-0.011820, 0.042940, 0.968881]],
    "no S cones": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


def linear(colour):
    channels = np.array(to_rgb(colour))
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def luminance(colour):
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def oklab(rgb):
    """Björn Ottosson's space, in which distances are about what eyes see."""
    cones = np.cbrt(
        np.clip(rgb, 0, 1)
        @ np.transpose(
            [[0.4122215, 0.5363325, 0.0514460], [0.2119035, 0.6806995, 0.1073970],
             [0.0883025, 0.2817188, 0.6299787]]
        )
    )  # fmt: skip
    return cones @ np.transpose(
        [[0.2104543, 0.7936178, -0.0040720], [1.9779985, -2.4285922, 0.4505937],
         [0.0259040, 0.7827718, -0.8086758]]
    )  # fmt: skip


@pytest.mark.parametrize("vision", VISION)
def test_families_are_told_apart(vision):
    colours = np.array([linear(colour) for colour in (*PALETTE, OTHER)])
    seen = oklab(colours @ np.transpose(VISION[vision]))
    distances = np.linalg.norm(seen[:, None] - seen, axis=2) + np.eye(len(seen))
    assert distances.min() > 0.06  # black to white is 1
    assert len(set(MARKERS)) == len(MARKERS) == len(PALETTE)


@pytest.mark.parametrize("name", LOOKS)
def test_contrast(name):
    look = LOOKS[name]
    assert contrast(look.ink, look.paper) > 7  # WCAG 2, level AAA
    assert contrast(look.muted, look.paper) > 4.5  # level AA
    assert min(contrast(colour, look.paper) for colour in (*PALETTE, OTHER)) > 1.5


@pytest.mark.parametrize("name", LOOKS)
def test_zero_is_paper_and_the_ends_are_far_from_it(name):
    look = LOOKS[name]
    diverging, sequential = look.colormap(look.diverging), look.colormap(look.sequential)
    for near in (diverging(0.5), sequential(0.0)):
        assert contrast(near, look.paper) < 1.6
    for far in (diverging(0.0), diverging(1.0), sequential(1.0)):
        assert contrast(far, look.paper) > 7
    assert diverging(0.0)[2] > diverging(0.0)[0]  # blue is negative in both styles
    assert diverging(1.0)[2] < diverging(1.0)[0]


@pytest.mark.parametrize("colour", [*PALETTE, "black", "white", "#777777", "#757575"])
def test_text_on_a_colour_has_the_better_contrast(colour):
    better = contrast(colour, "black") > contrast(colour, "white")
    assert is_light(to_rgb(colour)) == better


# Letters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("layer1.0_conv", "layer1.0_conv"),
        ("$x$", r"\$x\$"),
        ("größe → ≈", "größe → ≈"),
        ("two\nlines\t and  more", "two lines and more"),
        ("a\x00b", "a\\x00b"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udce4", "\\udce4"),
        ("\U0001f680", "\\U0001f680"),
        (None, "None"),
        (3, "3"),
        ("0123456789abc", "0123…9abc"),
        ("", ""),
    ],
)
def test_names_are_drawn_letter_by_letter(text, drawn):
    assert lettering.plain(text, most=9 if text == "0123456789abc" else 36) == drawn


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(), max_size=50), st.integers(5, 60))
def test_any_name_can_be_drawn(text, most):
    drawn = lettering.plain(text, most=most)
    assert not is_math_text(drawn)
    assert len(drawn.replace(r"\$", "$")) <= most
    assert set(map(ord, drawn)) <= lettering.glyphs()
    assert "\n" not in drawn


def test_odd_names_are_drawn_without_a_warning():
    with house("light") as look:
        figure = look.figure(5, 3)
        for place, name in enumerate(ODD_NAMES):
            figure.text(0, place / 10, lettering.plain(name))
        render(figure, "svg")


@pytest.mark.parametrize(
    ("count", "label"),
    [(0, "0"), (999, "999"), (9_876, "9,876"), (12_345, "12.3k"), (999_400, "999k"),
     (999_600, "1M"), (1_464_797_156, "1.46bn"), (999_999_999, "1bn")],
)  # fmt: skip
def test_counts(count, label):
    assert lettering.compact(count) == label


@pytest.mark.parametrize(
    ("divergence", "label"),
    [(0, "0"), (1e-9, "<.001"), (0.0005, "0.001"), (0.0164, "0.016"), (0.107, "0.11"),
     (1.362, "1.36"), (19.2, "19"), (float("nan"), "–")],
)  # fmt: skip
def test_divergences(divergence, label):
    assert lettering.shown(divergence) == label


def test_counted():
    assert counted(1, "pair") == "1 pair"
    assert counted(2500, "pair") == "2,500 pairs"
