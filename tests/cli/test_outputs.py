"""What commands write: never over a database, whole or not at all, with its exit status."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import Result

from networks import network, save

Run = Callable[..., Result]
Done = subprocess.CompletedProcess[bytes]
LIMITED = """
import resource, signal, sys
from filterdb.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), -1))
main()
"""
ENDED = """
import os, signal, sys
from filterdb.cli import main
place, number = sys.argv.pop(1), int(sys.argv.pop(1))
def hook(event, arguments):
    if event == "open" and place in str(arguments[0]):
        os.kill(os.getpid(), number)
sys.addaudithook(hook)
main()
"""


@pytest.fixture
def db(tmp_path: Path) -> Path:
    from filterdb import open as open_database

    file = save(tmp_path / "net.safetensors", network("healthy", "random"))
    open_database(tmp_path / "db").ingest(file, jobs=1)
    return tmp_path / "db"


def content(folder: Path) -> dict[str, str]:
    """Every file of a folder, by the hash of its bytes."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in files}


def program(script: str, *arguments: object, **environment: str) -> Done:
    """Run a script around the program, in a process of its own."""
    line = [sys.executable, "-c", script, *map(str, arguments)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(line, capture_output=True, check=False, env=env)


def filterdb(*arguments: object) -> Done:
    return program("from filterdb.cli import main; main()", *arguments)


OVER = [
    ("report {db} -o {db}/catalogue.sqlite", "--output"),
    ("report {db} -o {db}/payload/x.html", "--output"),
    ("report {net} -o {db}/ingest.lock", "--output"),
    ("basis {db} --plot {db}/payload/x.png", "--plot"),
    ("basis {db} --density {db}/scans/x.png", "--density"),
    ("basis {db} --density {db}/nofolder/x.png", "--density"),
    ("export {db} {db}/catalogue.sqlite --format hdf --force", ""),
    ("export {db} {db}/payload/0a --force", ""),
    ("export {db} {db}/out", ""),
]


@pytest.mark.parametrize(("line", "option"), OVER, ids=[line for line, _ in OVER])
def test_a_database_is_never_written_over(
    run: Run, db: Path, tmp_path: Path, line: str, option: str
) -> None:
    (db / "payload" / "0a").mkdir(exist_ok=True)
    before = content(db)
    result = run(*line.format(db=db, net=tmp_path / "net.safetensors").split())
    assert result.exit_code != 0
    assert option in result.output
    assert content(db) == before


def test_a_page_beside_the_catalogue(run: Run, db: Path) -> None:
    before = content(db)
    assert run("report", db, "-o", db / "report.html").exit_code == 0
    assert run("basis", db, "--plot", db / "basis.png").exit_code == 0
    after = content(db)
    assert {Path(path).name for path in set(after) - set(before)} == {"report.html", "basis.png"}
    assert before.items() <= after.items()


@pytest.mark.parametrize("option", ["-o", "--plot"])
def test_what_is_no_file_stays_and_links_are_written_through(
    run: Run, db: Path, tmp_path: Path, option: str
) -> None:
    command, suffix = ("report", ".html") if option == "-o" else ("basis", ".png")
    fifo, link, target = (tmp_path / f"{name}{suffix}" for name in ("fifo", "link", "target"))
    os.mkfifo(fifo)
    result = run(command, db, option, fifo)
    assert result.exit_code == 2
    assert "no regular file" in result.stderr
    assert fifo.is_fifo()
    link.symlink_to(target)
    assert run(command, db, option, link).exit_code == 0
    assert link.is_symlink()
    first = target.read_bytes()
    target.write_bytes(b"before")
    assert run(command, db, option, link).exit_code == 0
    assert target.read_bytes() == first


def test_long_names(run: Run, db: Path, tmp_path: Path) -> None:
    long = "x" * 245
    assert run("report", db, "-o", tmp_path / f"{long}.html").exit_code == 0
    assert run("basis", db, "--plot", tmp_path / f"{long}.png").exit_code == 0
    for _ in range(2):
        assert run("export", db, tmp_path / long, "--force").exit_code == 0
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_is_status_3_and_one_sentence(db: Path, tmp_path: Path) -> None:
    pytest.importorskip("tables")
    pytest.importorskip("pyarrow")
    before = content(tmp_path)
    for limit, arguments in (
        (1000, ("report", db, "-o", tmp_path / "page.html")),
        (1000, ("basis", db, "--plot", tmp_path / "a.png")),
        (1000, ("export", db, tmp_path / "out")),
        (1000, ("export", db, tmp_path / "out.parquet")),
        (0, ("export", db, tmp_path / "out.h5")),
        (1000, ("export", db, tmp_path / "out.h5")),
        (75_000, ("export", db, tmp_path / "out.h5")),
    ):
        done = program(LIMITED, limit, *arguments)
        assert done.returncode == 3, (arguments, done.stderr)
        assert done.stderr.startswith(b"Error: "), arguments
        assert done.stderr.count(b"\n") == 1, (arguments, done.stderr)
        assert b"File too large" in done.stderr or b"disk is probably full" in done.stderr
    assert content(tmp_path) == before
    assert not list(tmp_path.glob(".*"))


def test_a_place_below_a_file(db: Path, tmp_path: Path) -> None:
    net = tmp_path / "net.safetensors"
    for arguments in (
        ("ingest", net / "db", net),
        ("import", net / "db", net),
        ("demo", "/dev/null/x"),
        ("export", db, net / "out"),
    ):
        done = filterdb(*arguments)
        assert done.returncode == 3, (arguments, done.stderr)
        assert b"Traceback" not in done.stderr
        assert done.stderr.count(b"\n") == 1, done.stderr


def test_damaged_weights_are_status_3(db: Path, tmp_path: Path) -> None:
    shutil.rmtree(db / "payload")
    done = filterdb("export", db, tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert b"cannot be read" in done.stderr


def test_wrong_usage_of_export_stays_status_2(db: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert filterdb("export", db, tmp_path / "out").returncode == 2
    assert filterdb("export", db, db / "out").returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_stdout_that_takes_nothing(db: Path) -> None:
    for line in (["formats"], ["--help"], ["layers", db, "--csv"], ["models", db, "--json"]):
        command = [sys.executable, "-m", "filterdb", *map(str, line)]
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 3, (line, done.stderr)
        assert done.stderr.startswith(b"Error: ")
        assert done.stderr.count(b"\n") == 1, done.stderr


def test_stdout_that_is_closed() -> None:
    script = 'exec "$0" -m filterdb formats >&-'
    done = subprocess.run(["bash", "-c", script, sys.executable], capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0


def test_sigterm_leaves_no_temporary_files(db: Path, tmp_path: Path) -> None:
    before = content(tmp_path)
    for number, status, word in ((15, 143, b"Terminated"), (2, 130, b"Interrupted")):
        done = program(ENDED, ".tmp/net", number, "export", db, tmp_path / "out")
        assert (done.returncode, word in done.stderr) == (status, True), done.stderr
        assert content(tmp_path) == before
        assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_sigterm_removes_the_database_of_a_reproduction(tmp_path: Path, jobs: int) -> None:
    pytest.importorskip("tables")
    from published.dataset_files import synthetic, write

    file = write(tmp_path / "dataset.h5", synthetic())
    (tmp_path / "temporary").mkdir()
    done = program(
        ENDED, "payload/.tmp/", 15, "reproduce", file, "--jobs", jobs,
        TMPDIR=str(tmp_path / "temporary"),
    )  # fmt: skip
    assert done.returncode == 143, done.stderr
    assert b"Terminated. What was stored before is kept." in done.stderr
    assert list((tmp_path / "temporary").iterdir()) == []
