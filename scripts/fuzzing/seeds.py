"""Where cases come from: folders of real files, and the tiny ones of the tests."""

from __future__ import annotations

import gzip
import json
import sys
import warnings
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from safetensors.numpy import save

from filterdb.errors import ReadError
from filterdb.readers.head import Head
from filterdb.readers.registry import READERS, load_reader
from fuzzing.case import Case

TESTS = Path(__file__).resolve().parents[2] / "tests" / "readers"
STORED = TESTS / "files"
REGRESSIONS = STORED / "regressions"
SLOW_TO_WRITE = ("keras-hdf5", "keras")
"""Tiny files whose writer takes seconds to be imported."""


def found(roots: list[Path], *, largest: int) -> Iterator[tuple[str, Case]]:
    """The networks below some folders, each with the module that reads it."""
    waiting = list(reversed(roots))
    while waiting:
        path = waiting.pop()
        # The arrays beside the files of the tests are what is expected, no input.
        if path == REGRESSIONS or (path.suffix == ".npz" and path.is_relative_to(STORED)):
            continue
        known = read_by(path)
        if known is not None:
            case = Case.of(path, known[1])
            if case.size <= largest:
                yield known[0], case
        elif path.is_dir():
            waiting += sorted(path.iterdir(), reverse=True)


def read_by(path: Path) -> tuple[str, tuple[Path, ...]] | None:
    """The module that reads a file, and its companions; None where none does."""
    try:
        head = Head.of(path)
        module = next((name for name in READERS if load_reader(name).matches(head)), None)
        return None if module is None else (module, load_reader(module).read(head).companions)
    except ReadError:
        return None


def tiny(*, slow: bool) -> Iterator[tuple[str, Case]]:
    """One small file of every format, by its own writer."""
    sys.path.insert(0, str(TESTS))
    from tiny_files import FILES

    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for what, (module, name, write) in FILES.items():
            if what in SLOW_TO_WRITE and not slow:
                continue
            path = Path(folder) / name
            write(path)
            yield module, Case(name, {name: path.read_bytes()})
    from test_katago import network

    for binary in (False, True):
        yield "katago", Case("k.bin.gz", {"k.bin.gz": gzip.compress(network(binary=binary).out, 1)})
    yield "sharded", sharded()


def sharded() -> Case:
    """A network in two parts, and their index."""
    table, files = {}, {}
    for part in ("one.safetensors", "two.safetensors"):
        arrays = {f"{part[:3]}.{i}.weight": np.full((4, 2, 3, 3), i, np.float32) for i in range(2)}
        files[part] = save(arrays)
        table |= dict.fromkeys(arrays, part)
    index = json.dumps({"metadata": {"total_size": 4 * 288}, "weight_map": table})
    return Case("model.safetensors.index.json", {"model.safetensors.index.json": index.encode(),
                                                 **files})  # fmt: skip


def keep(cases: Iterable[tuple[str, Case]], folder: Path, *, most: int) -> dict[str, int]:
    """Store the smallest cases of each format: a folder for each, a file for each case."""
    of: dict[str, dict[str, Case]] = {}
    for module, case in cases:
        packed = case.packed()
        of.setdefault(module, {})[f"{len(packed):09d}-{sha256(packed).hexdigest()[:8]}"] = case
    for module, named in of.items():
        home = folder / module
        home.mkdir(parents=True, exist_ok=True)
        for name in sorted(named)[:most]:
            (home / f"{name}.pack").write_bytes(named[name].packed())
    return {module: min(len(named), most) for module, named in sorted(of.items())}
