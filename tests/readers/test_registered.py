"""Readers that other packages register by entry point, and the table of formats."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import filterdb
from filterdb.cli import cli
from filterdb.cli.formats import markdown_table
from filterdb.errors import ReadError, UnknownFormatError
from filterdb.readers import registry
from filterdb.readers.head import Head

README = Path(__file__).parents[2] / "README.md"
READER = """
import numpy as np
from filterdb.layer import Contents, Tensor
from filterdb.readers.format import Format

FORMAT = Format("mine", "a format of one's own", (".mine",), reads="all there is")

def matches(head):
    return head.start.startswith(b"MINE")

def read(head):
    weights = np.frombuffer(head.path.read_bytes()[4:], "<f4").reshape(2, 3, 3, 3)
    return Contents("mine", (Tensor("conv.weight", (2, 3, 3, 3), "float32", lambda: weights),))
"""
WEIGHTS = np.arange(54, dtype="<f4")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install packages: modules, and a folder of metadata as pip leaves it."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(package: str, entries: dict[str, str], **modules: str) -> None:
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = (f"{name} = {target}\n" for name, target in entries.items())
        (info / "entry_points.txt").write_text("[filterdb.readers]\n" + "".join(lines))
        registry.registered.cache_clear()

    registry.registered.cache_clear()
    yield install
    registry.registered.cache_clear()


def sample(folder: Path) -> Path:
    (folder / "net.mine").write_bytes(b"MINE" + WEIGHTS.tobytes())
    return folder / "net.mine"


def test_a_registered_reader_is_used(tmp_path: Path, install: Callable[..., None]) -> None:
    with pytest.raises(UnknownFormatError):
        filterdb.read(sample(tmp_path))
    install("mine", {"mine": "mine_reader"}, mine_reader=READER)
    model = filterdb.read(sample(tmp_path))
    assert model.format == "mine"
    assert np.array_equal(model.layers[0].weights.reshape(-1), WEIGHTS)
    assert registry.readable()[-1].name == "mine"


def test_it_is_listed(install: Callable[..., None]) -> None:
    install("mine", {"mine": "listed_reader"}, listed_reader=READER)
    shown = CliRunner().invoke(cli, ["formats", "--markdown"]).stdout
    assert shown.splitlines()[-1] == "| `mine` | a format of one's own | `.mine` | all there is |"
    rows = json.loads(CliRunner().invoke(cli, ["formats", "--json"]).stdout)
    (row,) = (row for row in rows if row["name"] == "mine")
    assert row["reads"] == "all there is"


def test_ours_are_asked_first(tmp_path: Path, install: Callable[..., None]) -> None:
    greedy = READER.replace('startswith(b"MINE")', 'startswith(b"")')
    install("greedy", {"greedy": "greedy_reader"}, greedy_reader=greedy)
    np.savez(tmp_path / "a.npz", weight=np.ones((4, 4, 3, 3), np.float32))
    assert filterdb.read(tmp_path / "a.npz").format == "npz"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise RuntimeError('half installed')", "RuntimeError: half installed"),
        ("import a_framework_that_is_not_there", "ModuleNotFoundError"),
        ("FORMAT = 3", "no FORMAT or no matches"),
        (READER.replace('"mine"', '"npz"', 1), "has a reader already"),
        (READER.replace("def read", "def forgotten"), "AttributeError"),
    ],
)
def test_a_broken_one_is_left_out_with_a_warning(
    tmp_path: Path, install: Callable[..., None], source: str, words: str
) -> None:
    number = abs(hash(source))
    install(
        "broken",
        {"broken": f"broken_{number}", "sound": f"sound_{number}"},
        **{f"broken_{number}": source, f"sound_{number}": READER},
    )
    with pytest.warns(UserWarning, match=f"is left out: .*{words}") as caught:
        assert filterdb.read(sample(tmp_path)).format == "mine"
    assert "Update or remove that package." in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert filterdb.read(sample(tmp_path)).format == "mine"


def test_one_that_fails_while_looking(tmp_path: Path, install: Callable[..., None]) -> None:
    source = READER.replace(
        "    return head.start", "    head.no_such_thing\n    return head.start"
    )
    install("failing", {"failing": "failing_reader"}, failing_reader=source)
    with pytest.warns(UserWarning, match="AttributeError"), pytest.raises(UnknownFormatError):
        filterdb.read(sample(tmp_path))


def test_one_that_fails_while_reading(tmp_path: Path, install: Callable[..., None]) -> None:
    source = READER.replace("    weights =", "    raise KeyError('x')\n    weights =")
    install("failing", {"failing": "unreading_reader"}, unreading_reader=source)
    with pytest.raises(ReadError, match=r"net\.mine"):
        filterdb.read(sample(tmp_path))


def test_nothing_is_looked_up_for_our_own_formats(
    tmp_path: Path, install: Callable[..., None]
) -> None:
    install("broken", {"broken": "never_imported"}, never_imported="raise RuntimeError")
    np.savez(tmp_path / "a.npz", weight=np.ones((4, 4, 3, 3), np.float32))
    assert registry.identify(Head.of(tmp_path / "a.npz")) is registry.load_reader("npz")
    assert registry.registered.cache_info().currsize == 0


def test_the_readme_lists_what_the_registry_does() -> None:
    begin, end = "<!-- formats: begin -->\n", "<!-- formats: end -->"
    found = re.search(f"{begin}(.*?){end}", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    ours = [registry.load_reader(module).FORMAT for module in registry.READERS]
    assert found[1].strip() == markdown_table(ours), "paste `filterdb formats --markdown`"


def test_every_format_says_what_is_read() -> None:
    for known in registry.readable():
        assert known.reads, known.name
        assert not known.reads.endswith(".")
        assert "|" not in known.reads + known.title
