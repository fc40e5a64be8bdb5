"""Pickles that would run something, through every instruction that can name or call a function.

Run as a script it reads files with everything that Python reports (imports, compilation,
processes, other files) recorded, and prints what happened.
"""

from __future__ import annotations

import codecs
import os
import pickle
import sys
from pathlib import Path
from typing import Any

from checkpoints import text

WATCHED = ("import", "exec", "compile", "os.", "subprocess.", "ctypes.", "pickle.", "socket.",
           "shutil.", "marshal.", "code.", "builtins.")  # fmt: skip
HARMLESS = ("os.listdir", "os.scandir", "builtins.id")


class Evil:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def hostile(canary: Path) -> dict[str, bytes]:
    """Name -> instructions that leave one object on the stack."""
    command = f"touch {canary}"
    code = f"__import__('os').system({command!r})"
    found: dict[str, bytes] = {}
    for what, (module, name, arg) in {
        "system": ("os", "system", command),
        "eval": ("builtins", "eval", code),
        "exec": ("builtins", "exec", code),
    }.items():
        named = f"c{module}\n{name}\n".encode()
        stacked = text(module) + text(name) + b"\x93"
        one, args = text(arg), b"(" + text(arg) + b"t"
        found |= {
            f"{what} GLOBAL REDUCE": named + args + b"R",
            f"{what} STACK_GLOBAL REDUCE": stacked + args + b"R",
            f"{what} INST": b"(" + one + f"i{module}\n{name}\n".encode(),
            f"{what} OBJ": b"(" + named + one + b"o",
            f"{what} NEWOBJ": named + args + b"\x81",
            f"{what} NEWOBJ_EX": named + args + b"}\x92",
            f"{what} BUILD": named + b")R" + one + b"b",
            f"{what} BUILD on a class": named + b"}" + text("__setstate__") + named + b"sb",
            f"{what} BUILD with slots": named + b")\x81N}" + text("x") + one + b"s\x86b",
            f"{what} memo": named + b"q\xff0h\xff" + args + b"R",
            f"{what} far memo": named + b"r\xff\xff\xff\xff0j\xff\xff\xff\xff" + args + b"R",
            f"{what} text memo": named + b"p4000000000\n0g4000000000\n" + args + b"R",
            f"{what} MEMOIZE": stacked + b"\x94" + args + b"R",
            f"{what} getattr": b"cbuiltins\ngetattr\n(" + f"c{module}\n__dict__\n".encode()
            + text(name) + b"tR" + args + b"R",
            f"{what} persistent id": named + args + b"RQ",
            f"{what} as a key": b"}" + named + args + b"RNs",
            f"{what} append": b"cbuiltins\nlist\n)R" + named + args + b"Ra",
        }  # fmt: skip
    for protocol in range(3):
        for function, arg in ((os.system, command), (eval, code), (exec, code)):
            stream = pickle.dumps(Evil(function, arg), protocol)
            found[f"{function.__name__} protocol {protocol}"] = stream[2 * (protocol > 1) : -1]
    return found


def main() -> None:
    import filterdb

    paths = sys.argv[1:]
    # What Python itself imports at the first use is done before the watch begins.
    filterdb.read(paths[0]).layers[0].load()
    codecs.lookup("raw-unicode-escape")
    events: list[str] = []

    def watch(event: str, args: tuple[Any, ...]) -> None:
        foreign = event == "open" and str(args[0]) not in paths
        if foreign or (event.startswith(WATCHED) and event not in HARMLESS):
            events.append(f"{event} {args!r:.200}")

    sys.addaudithook(watch)
    for path in paths:
        layers = filterdb.read(path).layers
        assert [(layer.name, layer.weights.sum()) for layer in layers] == [("conv", 1431.0)]
    print(f"{len(paths)} read;", *events)


if __name__ == "__main__":
    main()
