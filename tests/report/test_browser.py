"""The pages in headless Chromium: they are drawn, nothing complains, and nothing leaves.

Every page is opened with a proxy that only listens: what a browser wants to fetch, it asks there.
"""

from __future__ import annotations

import re
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

OUTSIDE = "http://elsewhere.example/pixel.png"
ITS_OWN = re.compile(r"\b(google|googleapis|gvt1)\.com")
"""The browser asks for its own updates, whatever page is open."""


@dataclass
class Visit:
    """What a browser did with a page."""

    console: list[str]
    asked: list[str]


class Listener(socketserver.ThreadingTCPServer):
    """A proxy that writes down who is asked for, and answers nothing."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), None)  # type: ignore[arg-type]
        self.lines: list[str] = []

    def finish_request(self, request: object, client_address: object) -> None:
        line = request.recv(4096).split(b"\r\n", 1)[0]  # type: ignore[attr-defined]
        self.lines.append(line.decode("latin-1"))


@pytest.fixture(scope="module")
def proxy() -> Iterator[Listener]:
    with Listener() as listener:
        thread = threading.Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        yield listener
        listener.shutdown()
        thread.join()


Open = Callable[..., Visit]


@pytest.fixture
def visit(tmp_path: Path, proxy: Listener) -> Open:
    """Open a page's text with further options."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")

    def open_page(html: str, *options: str) -> Visit:
        page = tmp_path / "page.html"
        page.write_text(html, "utf-8")
        proxy.lines.clear()
        done = subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--hide-scrollbars", "--virtual-time-budget=3000", "--enable-logging=stderr", "--v=0",
             f"--user-data-dir={tmp_path / 'profile'}",
             f"--proxy-server=127.0.0.1:{proxy.server_address[1]}",
             *options, page.as_uri()],
            capture_output=True, text=True, errors="replace", timeout=120, check=True,
        )  # fmt: skip
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        asked = [line for line in proxy.lines if not ITS_OWN.search(line)]
        return Visit(console, asked)

    return open_page


def pixels(path: Path) -> NDArray[np.float64]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.float64)


@pytest.mark.parametrize("name", ["network_html", "database_html"])
def test_it_is_drawn_in_light_and_dark(
    name: str, visit: Open, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    html = request.getfixturevalue(name)
    shots = {}
    for style, options in (("light", ()), ("dark", ("--blink-settings=preferredColorScheme=0",))):
        target = tmp_path / f"{style}.png"
        found = visit(html, "--window-size=1000,2400", f"--screenshot={target}", *options)
        assert found == Visit([], [])
        shots[style] = pixels(target)
        assert shots[style].shape == (2400, 1000, 3)
        assert shots[style].std() > 15  # there is something to see,
        assert shots[style][-400:].std() > 5  # down to the end of the window
    light, dark = shots["light"], shots["dark"]
    assert np.median(light) > 240 > 60 > np.median(dark)
    # The same layout: what is ink on one is ink on the other, but for the pictures' own colours.
    inked = [np.abs(shot - np.median(shot)).max(axis=2) > 60 for shot in (light, dark)]
    assert (inked[0] == inked[1]).mean() > 0.8


def test_a_narrow_window_does_not_scroll_sideways(
    network_html: str, visit: Open, tmp_path: Path
) -> None:
    target = tmp_path / "narrow.png"
    assert visit(network_html, "--window-size=500,2000", f"--screenshot={target}") == Visit([], [])
    edge = pixels(target)[:, -4:]
    assert (edge == 255).all()  # the margin is free: nothing runs out of the page


def test_it_prints(network_html: str, visit: Open, tmp_path: Path) -> None:
    target = tmp_path / "page.pdf"
    visit(network_html, f"--print-to-pdf={target}", "--blink-settings=preferredColorScheme=0")
    content = target.read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", content)) > 2
    assert len(content) > 50_000


def test_what_would_leave_is_stopped_and_seen(network_html: str, visit: Open) -> None:
    """The policy holds, and the two tests above would notice if it did not."""
    image = f'<img src="{OUTSIDE}" alt="from elsewhere"><script>console.error("ran")</script>'
    broken = network_html.replace("</main>", f"{image}</main>")
    stopped = visit(broken, "--dump-dom")
    assert stopped.asked == []
    assert sum("Content Security Policy" in line for line in stopped.console) == 2
    assert not any('"ran"' in line for line in stopped.console)
    free = visit(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", broken),
                 "--dump-dom")  # fmt: skip
    assert any(OUTSIDE in line for line in free.asked)
    assert any('"ran"' in line for line in free.console)
