"""Read many damaged copies of one file; run as a script, so that a crash is seen from outside.

Arguments: the file, a folder for the copies, how many truncations and how many flips. Prints
the case before it is read, and the traceback of every exception that is no ReadError.
"""

from __future__ import annotations

import random
import sys
import traceback
from pathlib import Path

import filterdb
from filterdb.errors import ReadError

MEMORY = 4 * 2**30


def cases(data: bytes, truncations: int, flips: int) -> list[tuple[str, bytes]]:
    """Named damaged copies; the same on every run."""
    source = random.Random(len(data))
    cuts = sorted(source.sample(range(len(data)), min(truncations, len(data))))
    damaged = [(f"cut at {cut}", data[:cut]) for cut in cuts]
    for _ in range(flips):
        position, mask = source.randrange(len(data)), source.randrange(1, 256)
        flipped = bytearray(data)
        flipped[position] ^= mask
        damaged.append((f"byte {position} xor {mask}", bytes(flipped)))
    return damaged


def main() -> int:
    file, folder = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
    except ImportError:
        pass
    read = refused = wrong = 0
    for i, (what, content) in enumerate(
        cases(file.read_bytes(), int(sys.argv[3]), int(sys.argv[4]))
    ):
        print(f"reading: {what}", flush=True)
        copy = folder / f"{i}{file.suffix}"
        copy.write_bytes(content)
        try:
            for layer in filterdb.read(copy).layers:
                assert layer.weights.shape == layer.shape
            read += 1
        except ReadError:
            refused += 1
        except Exception:
            wrong += 1
            print(f"FAILED: {what}\n{traceback.format_exc()}", flush=True)
        copy.unlink()
    print(f"done: {read} read, {refused} refused, {wrong} wrong", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
