from __future__ import annotations

import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import WEIGHT, read, root, tar_checkpoint, tar_tensor, text, values

from filterdb.errors import CorruptFileError, LimitError, UnknownFormatError
from filterdb.readers.head import Head
from filterdb.readers.pytorch import tar_checkpoint as torch_tar


def write(path: Path, **parts: Any) -> None:
    tar_checkpoint(path, root(weight=tar_tensor()), **parts)


def test_a_tensor_of_a_view_of_a_storage(tmp_path: Path) -> None:
    write(tmp_path / "a.pth")
    contents = read(tmp_path / "a.pth")
    assert "before version 0.1.10" in contents.notes[0]
    np.testing.assert_array_equal(values(contents)["conv.weight"], WEIGHT)


def test_the_hand_made_container_is_what_torch_reads(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    # torch asks for a file of one tensor's class, and for storages without elements left over.
    pickled = (
        b"\x80\x02}("
        + text("conv.weight")
        + tar_tensor().replace(b"X\1\0\0\0" + b"7", b"K\7")
        + b"u."
    )
    tar_checkpoint(tmp_path / "a.pth", pickled)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.load(tmp_path / "a.pth", weights_only=False)
    found = values(read(tmp_path / "a.pth"))
    np.testing.assert_array_equal(found["conv.weight"], loaded["conv.weight"].numpy())


def test_strides_and_dimensions(tmp_path: Path) -> None:
    write(tmp_path / "a.pth", shape=(3, 2, 3), strides=(9, 27, 1))
    want = WEIGHT.reshape(2, 3, 9).transpose(1, 0, 2)[:, :, :3]
    np.testing.assert_array_equal(values(read(tmp_path / "a.pth"))["conv.weight"], want)


def test_classes_of_modules_are_no_tensors(tmp_path: Path) -> None:
    """A whole module: its class is a persistent id too, with its source code."""
    cls = b"(c__main__\nNet\n" + text("net.py") + text("class Net: ...") + b"tQ"
    parameters = b"}" + text("weight") + b"ctorch.nn.parameter\nParameter\n" + tar_tensor()
    parameters += b"\x88\x86Rs"
    state = b"}(" + text("_parameters") + parameters + text("_buffers") + b"}"
    state += text("_modules") + b"}u"
    tar_checkpoint(tmp_path / "a.pth", b"\x80\x02" + cls + b")\x81" + state + b"b.")
    np.testing.assert_array_equal(values(read(tmp_path / "a.pth"))["weight"], WEIGHT)


def test_another_archive_is_none(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "notes.txt", "notes.txt")
    assert not torch_tar.matches(Head.of(tmp_path / "a.tar"))


def test_cut_anywhere_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    write(path)
    data = path.read_bytes()
    last = data.rfind(WEIGHT.tobytes()) + WEIGHT.nbytes
    for end in [*range(1600, last, 97), last - 1]:
        path.write_bytes(data[:end])
        with pytest.raises((CorruptFileError, UnknownFormatError)):
            read(path)


@pytest.mark.parametrize(
    "parts",
    [
        {"shape": (2, 3, 3, 4), "strides": (27, 9, 3, 1)},
        {"shape": (2, 3, 3, 3), "strides": (27, 9, 3, -1)},
        {"shape": (2**62, 3, 3, 3)},
        {"shape": (10**6, 10**6, 3, 3)},
        {"offset": 3},
        {"offset": -1},
        {"shape": (1,) * 65, "strides": (1,) * 65},
        {"view": (3, 2, 5, 56)},
        {"view": (3, 9, 4, 56)},
        {"view": (3, 2, -1, 56)},
        {"view": (3, 2)},
        {"view": ((), 2, 4, 56)},
    ],
)
def test_tensors_and_views_that_lie(tmp_path: Path, parts: dict[str, Any]) -> None:
    write(tmp_path / "a.pth", **parts)
    with pytest.raises(CorruptFileError):
        read(tmp_path / "a.pth")


def test_expansion_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.pth", shape=(10**5, 10**5, 1, 1), strides=(0, 0, 0, 0))
    with pytest.raises(LimitError):
        read(tmp_path / "a.pth")
