"""The architecture, held: data flows one way, and heavy things are imported where they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import filterdb

PACKAGE = Path(filterdb.__file__).parent

# Room -> the rooms it may import from, from the ground up. A room that is not listed fails.
MAY_IMPORT: dict[str, set[str]] = {
    "__main__": {"cli"},
    "_version": set(),
    "errors": set(),
    "extras": {"errors"},
    "layer": set(),
    "words": set(),
    "stats": {"words"},
    "threads": set(),
    "processes": set(),
    "readers": {"errors", "layer"},
    "neighbours": {"layer"},
    "norms": {"layer", "readers"},
    "roles": {"layer", "neighbours", "norms", "readers"},
    "variant": {"errors", "layer", "stats", "words"},
    "remote": {"_version", "errors", "extras", "readers", "words"},
    "reading": {"errors", "layer", "readers", "remote", "roles", "variant"},
    "checking": {"errors", "extras", "layer", "reading", "stats", "threads", "variant"},
    "store": {"_version", "errors", "layer", "stats"},
    "scan": {"errors", "extras", "processes", "stats", "store", "threads"},
    "ingest": {"_version", "errors", "extras", "layer", "processes", "reading", "readers",
               "checking", "remote", "stats", "store", "threads", "variant"},
    "comparing": {"checking", "errors", "extras", "figures", "layer", "reading", "stats",
                  "threads", "variant"},
    "population": {"errors", "extras", "figures", "scan", "stats", "store", "threads"},
    "published": {"checking", "errors", "extras", "ingest", "layer", "population", "readers",
                  "scan", "stats", "store", "threads"},
    "reference": {"errors", "stats"},
    "keys": {"errors", "extras", "figures", "layer", "population", "readers", "reading", "remote",
             "scan", "stats", "store", "threads", "words"},
    "transfer": {"_version", "checking", "comparing", "errors", "extras", "figures", "ingest",
                 "keys", "layer", "processes", "readers", "reading", "roles", "scan", "stats",
                 "store", "threads", "words"},
    "torch": {"extras", "transfer"},
    "questions": {"comparing", "population", "stats", "store", "variant"},
    "database": {"errors", "ingest", "published", "questions", "store"},
    "figures": {"errors", "extras", "stats", "words"},
    "report": {"_version", "checking", "comparing", "database", "errors", "extras", "figures",
               "keys", "layer", "population", "reading", "reference", "stats", "words"},
    "demo": set(),
    "cli": {"_version", "errors", "extras", "reading", "readers", "checking", "comparing", "stats",
            "remote", "database", "figures", "ingest", "demo", "keys", "population", "published",
            "report", "store", "transfer", "variant", "words"},
}  # fmt: skip
NEEDS_TORCH = ("keys/torch/", "transfer/networks/", "transfer/parts.py", "transfer/training.py",
               "transfer/beginning.py", "transfer/monitoring/layers.py")  # fmt: skip
"""Folders whose modules are about torch's own modules; whoever imports them asks for it first."""
FRAMEWORKS = {"torch", "tensorflow", "jax", "keras", "paddle"}
HEAVY = {"onnx", "h5py", "rich", "pandas", "safetensors", "scipy", "matplotlib", "ml_dtypes",
         "huggingface_hub"}  # fmt: skip


def modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST, *, top_level: bool = False) -> set[str]:
    """Names of the modules that a tree imports; ``top_level`` leaves those in functions out."""
    nodes = tree.body if top_level and isinstance(tree, ast.Module) else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    assert here in MAY_IMPORT, f"{here}: give the new room its place in the house"
    used = {
        name.split(".")[1]
        for name in imports(ast.parse(path.read_text()))
        if name.startswith("filterdb.")
    }
    assert used - {here} <= MAY_IMPORT[here]


def test_the_house_has_no_circle() -> None:
    order: list[str] = []
    while len(order) < len(MAY_IMPORT):
        free = [name for name, below in MAY_IMPORT.items() if name not in order
                and below <= set(order)]  # fmt: skip
        assert free, f"a circle among {set(MAY_IMPORT) - set(order)}"
        order += free


def test_no_files_import_one_another_in_a_circle() -> None:
    names = {path: ".".join(("filterdb", *path.relative_to(PACKAGE).with_suffix("").parts))
             for path in modules() if path.name != "__init__.py"}  # fmt: skip
    below = {name: imports(ast.parse(path.read_text())) & set(names.values())
             for path, name in names.items()}  # fmt: skip
    done: set[str] = set()
    while len(done) < len(below):
        free = {name for name, used in below.items() if name not in done and used <= done}
        assert free, f"a circle among {sorted(set(below) - done)}"
        done |= free


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_framework_and_nothing_heavy_on_top(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if not path.relative_to(PACKAGE).as_posix().startswith(NEEDS_TORCH):
        assert not {name.split(".")[0] for name in imports(tree)} & FRAMEWORKS
    assert not {name.split(".")[0] for name in imports(tree, top_level=True)} & HEAVY


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_one_noun(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def loaded_after(code: str) -> set[str]:
    """Top-level modules loaded once ``code`` has run in a fresh interpreter."""
    script = f"import sys; {code}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=True)  # fmt: skip
    return set(done.stdout.splitlines()[-1].split())


def test_import_costs_nothing() -> None:
    assert not loaded_after("import filterdb") & {"numpy", "click", *HEAVY, *FRAMEWORKS}


def test_help_imports_no_command() -> None:
    code = "from filterdb.cli import cli; cli.main(['--help'], standalone_mode=False)"
    assert not loaded_after(code) & {"numpy", *HEAVY, *FRAMEWORKS}


def test_public_names() -> None:
    assert set(filterdb.__all__) == {*filterdb._HOME, "__version__"} == set(dir(filterdb))
    for name in filterdb.__all__:
        assert getattr(filterdb, name) is not None
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = filterdb.nothing_here


def test_a_submodule_does_not_hide_a_public_function() -> None:
    code = (
        "import filterdb.checking, filterdb.reading, filterdb.database, filterdb; "
        "assert all(map(callable, (filterdb.check, filterdb.read, filterdb.open)))"
    )
    loaded_after(code)
