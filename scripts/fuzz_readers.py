"""Fuzz the readers: damaged inputs from real files, each read in full under guard.

    python scripts/fuzz_readers.py OUT ../shared/zoo/weights --inputs 10000
    python scripts/fuzz_readers.py OUT --formats npz caffe.network --inputs 500 --seed 3
    python scripts/fuzz_readers.py OUT --guided --inputs 10000     (needs `pip install atheris`)
    python scripts/fuzz_readers.py --again tests/readers/files/regressions

An input may be read or refused with an error of ours. Anything else is a finding: another
exception, one that was not foreseen, a crash, more than 5 s of processor, more memory than 10 times
the file and 200 MB, a file opened outside the folder of the input, a process started (but the
helper that has libhdf5 to itself), a connexion, code run. Each is kept in OUT/findings as the files
that were read, with the reason beside them. Run it again to go on where it stopped; the same seed
gives the same inputs.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

from fuzzing import seeds
from fuzzing.case import Case
from fuzzing.watch import watched
from fuzzing.worker import corpus, input_of

MOST_OF_A_KIND = 3
"""Findings that are kept of the same reason."""


def main() -> int:
    options = arguments()
    if options.again is not None:
        return read_again(options.again, options.out)
    folders = [options.out / "corpus" / module for module in prepared(options)]
    totals: Counter[str] = Counter()
    for folder in folders:
        if options.formats and folder.name not in options.formats:
            continue
        if options.guided:
            from fuzzing.guided import guided

            reports = guided(folder, options.out / "guided" / folder.name, options.seed,
                             options.inputs)  # fmt: skip
            totals.update(run(folder, options, reports, state=None))
        else:
            totals.update(run_plain(folder, options))
    print(f"in all: {dict(totals)}")
    return 1 if totals["findings"] else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, nargs="?", default=Path("fuzzed"))
    parser.add_argument("files", type=Path, nargs="*", help="folders of real files")
    parser.add_argument("--inputs", type=int, default=10_000, help="inputs a format")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--formats", nargs="*", help="modules of readers, such as onnx.graph_file")
    parser.add_argument("--largest", type=int, default=300_000, help="bytes to start from")
    parser.add_argument("--most", type=int, default=12, help="files of a format to start from")
    parser.add_argument("--only-files", action="store_true", help="without the tests' tiny files")
    parser.add_argument("--guided", action="store_true", help="by coverage, with atheris")
    parser.add_argument("--again", type=Path, help="a folder of findings, to be read once more")
    return parser.parse_args()


def prepared(options: argparse.Namespace) -> list[str]:
    """Gather what to start from, once; the formats of which there is something."""
    home = options.out / "corpus"
    if not home.is_dir():
        cases = list(seeds.found(options.files, largest=options.largest))
        if not options.only_files:
            stored = seeds.found([seeds.STORED], largest=options.largest)
            cases += [*seeds.tiny(slow=True), *stored]
        counts = seeds.keep(cases, home, most=options.most)
        print(f"start from {counts}")
    return sorted(path.name for path in home.iterdir())


def run_plain(folder: Path, options: argparse.Namespace) -> Counter[str]:
    """Fuzz one format from where an earlier run stopped."""
    state = options.out / f"{folder.name}-{options.seed}.json"
    begin = json.loads(state.read_text())["done"] if state.exists() else 0
    reports = watched(folder, options.seed, begin, options.inputs)
    return run(folder, options, reports, state=state)


def run(
    folder: Path, options: argparse.Namespace, reports: Any, *, state: Path | None
) -> Counter[str]:
    """Go through the reports on one format, and keep the findings."""
    totals: Counter[str] = Counter()
    cases, began, longest, most = corpus(folder), monotonic(), 0.0, 0
    for report in reports:
        totals["inputs"] += 1
        totals[report["result"]] += 1
        longest, most = max(longest, report["seconds"]), max(most, report["memory"])
        if report["findings"]:
            totals["findings"] += 1
            given = report.get("case")
            case = given if given else input_of(cases, options.seed, report["done"])
            keep_finding(case, report, folder.name, options)
        if state is not None and report["done"] % 50 == 49:
            state.write_text(json.dumps({"done": report["done"] + 1}))
    if state is not None and totals:
        state.write_text(json.dumps({"done": report["done"] + 1}))
    print(f"{folder.name}: {dict(totals)}, at most {longest:.2f} s and {most / 1e6:.0f} MB, "
          f"{monotonic() - began:.0f} s", flush=True)  # fmt: skip
    return totals


def keep_finding(
    case: Case, report: dict[str, Any], module: str, options: argparse.Namespace
) -> None:
    """Store the files of a finding, unless there are enough of its kind."""
    reason = report["findings"][0]
    # The last line of the traceback says where; numbers differ from input to input.
    lines = re.findall(r'File "[^"]*/([\w.]+/[\w.]+)", line (\d+)', reason)
    kind = sha256(f"{reason.split()[0]} {lines[-1] if lines else reason[:60]}".encode())
    home = options.out / "findings"
    stem = f"{module}-{kind.hexdigest()[:6]}"
    for i in range(MOST_OF_A_KIND):
        place = home / f"{stem}-{i}"
        if not place.exists():
            case.write(place)
            told = {"entry": case.entry, "seed": options.seed, "input": report["done"],
                    "findings": report["findings"]}  # fmt: skip
            place.with_name(f"{place.name}.json").write_text(json.dumps(told, indent=1))
            print(f"  {place.name}: input {report['done']}: {reason[:300]!r}", flush=True)
            return


def stored(folder: Path) -> dict[str, Case]:
    """The findings in a folder, by name."""
    cases = {}
    for told in sorted(folder.glob("*.json")):
        home = told.with_suffix("")
        files = {one.relative_to(home).as_posix(): one.read_bytes()
                 for one in sorted(home.rglob("*")) if one.is_file()}  # fmt: skip
        cases[told.stem] = Case(json.loads(told.read_text())["entry"], files)
    return cases


def read_again(folder: Path, out: Path) -> int:
    """Read each finding once more: what is left of it."""
    cases, left = stored(folder), 0
    home = out / "again"
    home.mkdir(parents=True, exist_ok=True)
    for old in home.glob("*.pack"):
        old.unlink()
    for name, case in cases.items():
        (home / f"{name}.pack").write_bytes(case.packed())
    for name, report in zip(sorted(cases), watched(home, 0, 0, len(cases)), strict=True):
        left += bool(report["findings"])
        print(f"{name}: {report['result']} {report['findings'] or ''}")
    print(f"{left} of {len(cases)} are findings still")
    return 1 if left else 0


if __name__ == "__main__":
    raise SystemExit(main())
