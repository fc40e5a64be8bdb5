"""Small files of each kind: what is read, what is left out and named, what is refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filterdb.errors import TransferError
from filterdb.transfer.data import load_images, load_splits


def pixels(n: int = 12, size: int = 8, channels: int = 1, seed: int = 0) -> np.ndarray:
    shape = (n, size, size) if channels == 1 else (n, size, size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def labels(n: int = 12, classes: int = 3) -> np.ndarray:
    return (np.arange(n) % classes).astype(np.uint8)


def idx_bytes(array: np.ndarray, code: int = 0x08) -> bytes:
    sizes = b"".join(struct.pack(">I", side) for side in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.tobytes()


def write_idx(folder: Path, stem: str, images: np.ndarray, marks: np.ndarray,
              *, zipped: bool = False) -> Path:  # fmt: skip
    pack, end = (gzip.compress, ".gz") if zipped else (bytes, "")
    path = folder / f"{stem}-images-idx3-ubyte{end}"
    path.write_bytes(pack(idx_bytes(images)))
    (folder / f"{stem}-labels-idx1-ubyte{end}").write_bytes(pack(idx_bytes(marks)))
    return path


def encoded(array: np.ndarray, kind: str = "PNG") -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def write_parquet(path: Path, cells: list[Any], marks: list[Any], *, names: list[str] | None = None,
                  paths: list[str] | None = None, label: Any = None) -> Path:  # fmt: skip
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"bytes": cell, "path": own}
            for cell, own in zip(cells, paths or [None] * len(cells), strict=True)]  # fmt: skip
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(rows, kind), "label": pa.array(marks, label)})
    if names:
        feature = {"label": {"names": names, "_type": "ClassLabel"}}
        meta = {"huggingface": json.dumps({"info": {"features": feature}})}
        table = table.replace_schema_metadata(meta)
    pq.write_table(table, path, row_group_size=5)
    return path


@pytest.mark.parametrize("zipped", [False, True])
def test_idx(tmp_path: Path, zipped: bool) -> None:
    path = write_idx(tmp_path, "toy", pixels(), labels(), zipped=zipped)
    found = load_images(path)
    np.testing.assert_array_equal(found.images[..., 0], pixels())
    np.testing.assert_array_equal(found.labels, labels())
    assert found.classes == ("0", "1", "2")
    assert load_images(path, names=["a", "b", "c"]).classes == ("a", "b", "c")


def test_idx_of_mnist_finds_its_test_part_by_name_in_a_folder_too(tmp_path: Path) -> None:
    path = write_idx(tmp_path, "train", pixels(), labels())
    write_idx(tmp_path, "t10k", pixels(6, seed=1), labels(6), zipped=True)
    for spec in (path, tmp_path):
        train, test = load_splits(spec)
        np.testing.assert_array_equal(train.images[..., 0], pixels())
        np.testing.assert_array_equal(test.images[..., 0], pixels(6, seed=1))
    assert len(load_images(path)) == 12
    assert len(load_images(tmp_path)) == 18


@pytest.mark.parametrize("code", [0x09, 0x0B, 0x0C, 0x0D, 0x0E])
def test_idx_of_another_type_is_refused(tmp_path: Path, code: int) -> None:
    path = tmp_path / "a-images-idx3-ubyte"
    path.write_bytes(idx_bytes(pixels(), code))
    with pytest.raises(TransferError, match=r"a-images.*only uint8"):
        load_images(path)


def test_idx_without_labels_and_labels_of_another_length(tmp_path: Path) -> None:
    path = write_idx(tmp_path, "a", pixels(), labels(11))
    with pytest.raises(TransferError, match="belong together"):
        load_images(path)
    beside = tmp_path / "a-labels-idx1-ubyte"
    with pytest.raises(TransferError, match="these are labels"):
        load_images(beside)
    beside.unlink()
    with pytest.raises(TransferError, match="no labels are beside it"):
        load_images(path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("change", ["short", "long", "header"])
def test_idx_whose_header_lies_is_refused(tmp_path: Path, zipped: bool, change: str) -> None:
    path = write_idx(tmp_path, "a", pixels(), labels())
    data = path.read_bytes()
    data = {"short": data[:-1], "long": data + b"\0", "header": data[:9]}[change]
    path.write_bytes(gzip.compress(data) if zipped else data)
    with pytest.raises(TransferError, match=r"a-images-idx3-ubyte: the header claims"):
        load_images(path)


@pytest.mark.parametrize("sides", [(2**31, 2**31, 2**31), (60000, 280, 280), (100, 1000, 1000)])
def test_a_gzipped_header_allocates_nothing_out_of_proportion(
    tmp_path: Path, sides: tuple[int, ...]
) -> None:
    path = tmp_path / "a-images-idx3-ubyte.gz"
    header = bytes([0, 0, 8, 3]) + b"".join(struct.pack(">I", side) for side in sides)
    path.write_bytes(gzip.compress(header + bytes(1000)))
    with pytest.raises(TransferError, match=r"GiB in memory|out of proportion"):
        load_images(path)


def test_npz_of_one_part_and_of_two(tmp_path: Path) -> None:
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    np.savez(
        one, images=pixels(channels=3), labels=labels().astype(np.int32), classes=["x", "y", "z"]
    )
    found = load_images(one)
    np.testing.assert_array_equal(found.images, pixels(channels=3))
    assert found.classes == ("x", "y", "z")
    np.savez_compressed(two, x_train=pixels(), y_train=labels()[:, None], x_test=pixels(6, seed=1),
                        y_test=labels(6)[:, None])  # fmt: skip
    train, test = load_splits(two)
    np.testing.assert_array_equal(train.images[..., 0], pixels())
    np.testing.assert_array_equal(test.images[..., 0], pixels(6, seed=1))


def test_npz_with_channels_first_and_names_as_labels(tmp_path: Path) -> None:
    first = pixels(channels=3).transpose(0, 3, 1, 2)
    np.savez(tmp_path / "a.npz", images=first, labels=["b10", "b9", "a"] * 4)
    found = load_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.images, pixels(channels=3))
    assert found.classes == ("a", "b9", "b10")
    assert [found.classes[at] for at in found.labels[:3]] == ["b10", "b9", "a"]


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"images": pixels()}, "no labels"),
        ({"images": pixels().astype(np.float32), "labels": labels()}, "only uint8"),
        ({"images": pixels(channels=2), "labels": labels()}, "1 or 3 channels"),
        ({"images": pixels(), "labels": labels().astype(np.float32)}, "integers or strings"),
        ({"images": pixels(), "labels": labels(11)}, "need 12 labels"),
        ({"weights": pixels()}, "holds weights"),
        ({"images": pixels(0), "labels": labels(0)}, "no image that can be used"),
        ({"images": pixels(), "labels": labels() * 0}, "all images are of one class"),
    ],
)
def test_npz_that_cannot_be_used(tmp_path: Path, arrays: dict[str, Any], told: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(TransferError, match=told) as caught:
        load_images(tmp_path / "a.npz")
    assert "a.npz" in str(caught.value)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.place,))


def test_nothing_in_an_npz_runs(tmp_path: Path) -> None:
    trap = np.array([Trap(tmp_path / "sprung")] * 12, dtype=object)
    np.savez(tmp_path / "a.npz", images=pixels(), labels=trap)
    with pytest.raises(TransferError, match="Refused"):
        load_images(tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


def test_an_npz_that_claims_more_than_it_has_allocates_nothing(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (50000, 32, 32, 3)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(1000))
        archive.writestr("labels.npy", b"")
    with pytest.raises(TransferError, match="out of proportion"):
        load_images(tmp_path / "a.npz")


def test_parquet_names_come_from_metadata_then_paths_then_numbers(tmp_path: Path) -> None:
    cells, marks = [encoded(image) for image in pixels()], labels().tolist()
    path = tmp_path / "a.parquet"
    folders = [f"{'cab'[mark]}/{row}.png" for row, mark in enumerate(marks)]
    write_parquet(path, cells, marks, names=["x", "y", "z"], paths=folders)
    assert load_images(path).classes == ("x", "y", "z")
    write_parquet(path, cells, marks, paths=folders)
    assert load_images(path).classes == ("c", "a", "b")
    assert load_images(path, names=["u", "v", "w"]).classes == ("u", "v", "w")
    folders[0] = "elsewhere/0.png"  # no longer one to one
    write_parquet(path, cells, marks, paths=folders)
    found = load_images(path)
    assert found.classes == ("0", "1", "2")
    np.testing.assert_array_equal(found.images[..., 0], pixels())
    with pytest.raises(TransferError, match="labels run from 0 to 2"):
        load_images(path, names=["u", "v"])


def test_parquet_shards_and_parts_are_found(tmp_path: Path) -> None:
    cells, marks = [encoded(image) for image in pixels()], labels().tolist()
    write_parquet(tmp_path / "train-00000-of-00002.parquet", cells[:6], marks[:6])
    write_parquet(tmp_path / "train-00001-of-00002.parquet", cells[6:9], marks[6:9])
    write_parquet(tmp_path / "validation-00000-of-00001.parquet", cells[9:], marks[9:])
    for spec in (tmp_path, tmp_path / "train-00000-of-00002.parquet"):
        train, test = load_splits(spec)
        np.testing.assert_array_equal(train.images[..., 0], pixels()[:9])
        np.testing.assert_array_equal(test.images[..., 0], pixels()[9:])
    write_parquet(tmp_path / "other.parquet", cells, marks)
    with pytest.raises(TransferError, match="2 data sets"):
        load_images(tmp_path)


def bomb() -> bytes:
    """A PNG of a few bytes that claims 50,000 x 50,000 pixels."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 50000, 50000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))


def test_bad_pictures_are_counted_and_named(tmp_path: Path) -> None:
    cells: list[Any] = [encoded(image) for image in pixels(12, size=16)]
    marks: list[Any] = [int(mark) for mark in labels()]
    cells[1] = cells[1][:-40]
    cells[2] = b"no picture at all"
    cells[3] = bomb()
    cells[4] = None
    cells[5] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nquit\n"
    marks[6], marks[7] = None, -1
    found = load_images(write_parquet(tmp_path / "a.parquet", cells, marks))
    assert {reason: [name.split()[2] for name in names] for reason, names in found.left_out.items()
            } == {"damaged or cut short": ["1"],
                  "not a picture in a format that is read": ["2", "5"],
                  "more pixels than can be trusted": ["3"], "no picture": ["4"],
                  "no label": ["6", "7"]}  # fmt: skip
    assert found.n_left_out == 7
    np.testing.assert_array_equal(found.images[..., 0], pixels(12, size=16)[[0, 8, 9, 10, 11]])
    np.testing.assert_array_equal(found.labels, labels()[[0, 8, 9, 10, 11]])
    assert any("damaged or cut short: 1 (a.parquet row 1)" in line for line in found.sentences())


@pytest.mark.parametrize(
    ("marks", "told"),
    [([0.5] * 6, "integers or strings"), ([True] * 6, "integers or strings"),
     ([0] * 6, "one class"), ([None] * 6, "integers or strings"), ([-1] * 6, "no label: 6")],
)  # fmt: skip
def test_parquet_labels_that_cannot_be_used(tmp_path: Path, marks: list[Any], told: str) -> None:
    path = write_parquet(tmp_path / "a.parquet", [encoded(p) for p in pixels(6)], marks)
    with pytest.raises(TransferError, match=told):
        load_images(path)


def test_parquet_without_the_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["a"], "label": [0]}), tmp_path / "a.parquet")
    with pytest.raises(TransferError, match=r"a\.parquet: there is no column 'image' among text"):
        load_images(tmp_path / "a.parquet")


def write_folder(root: Path, images: np.ndarray, names: list[str], kinds: list[str]) -> None:
    for at, image in enumerate(images):
        place = root / names[at % len(names)]
        place.mkdir(parents=True, exist_ok=True)
        kind = kinds[at % len(kinds)]
        (place / f"im{at}.{kind}").write_bytes(encoded(image, kind.upper()))


def test_folder_in_natural_order_with_what_is_no_picture_named(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_folder(root, pixels(24), ["c10", "c2"], ["png", "bmp"])
    (root / "c2/notes.txt").write_text("hello")
    (root / "README.md").write_text("hello")
    (root / "empty").mkdir()
    (root / "c2/im1.bmp").write_bytes(b"BM")
    found = load_images(root)
    assert found.classes == ("c2", "c10")
    order = [*range(3, 24, 2), *range(0, 24, 2)]  # im9 before im10, c2 before c10
    np.testing.assert_array_equal(found.images[..., 0], pixels(24)[order])
    assert found.left_out["no picture"] == ("set/README.md", "set/c2/notes.txt")
    assert found.n_left_out == 3


def test_folder_with_parts(tmp_path: Path) -> None:
    write_folder(tmp_path / "train", pixels(8), ["a", "b"], ["png"])
    write_folder(tmp_path / "test", pixels(4, seed=1), ["a", "b"], ["png"])
    train, test = load_splits(tmp_path)
    assert (len(train), len(test)) == (8, 4)
    np.testing.assert_array_equal(test.images[:2, ..., 0], pixels(4, seed=1)[[0, 2]])


def test_pictures_of_many_sizes_get_one(tmp_path: Path) -> None:
    for at, (high, wide) in enumerate([(8, 8), (10, 20), (30, 12), (16, 16)]):
        image = np.full((high, wide, 3), 50 * at, dtype=np.uint8)
        place = tmp_path / "ab"[at % 2]
        place.mkdir(exist_ok=True)
        (place / f"{at}.png").write_bytes(encoded(image))
    found = load_images(tmp_path)
    assert found.images.shape == (4, 11, 11, 3)  # the median of 8, 10, 12, 16
    assert [int(value) for value in found.images[:, 0, 0, 0]] == [0, 100, 50, 150]
    assert load_images(tmp_path, size=5, channels=1).images.shape == (4, 5, 5, 1)


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    from PIL import Image

    values = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(values).save(tmp_path / name / "x.png")
    found = load_images(tmp_path)
    np.testing.assert_array_equal(found.images[0, ..., 0], (values >> 8).astype(np.uint8))


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 16, axis=0).repeat(32, 1))
    exif = Image.Exif()
    exif[0x0112] = 3  # held upside down
    for name in "ab":
        (tmp_path / name).mkdir()
        picture.save(tmp_path / name / "x.jpg", exif=exif, quality=95)
    found = load_images(tmp_path)
    assert found.images[0, 0].mean() > 200
    assert found.images[0, -1].mean() < 50


@pytest.mark.parametrize("name", ["nothing.npz", "textture"])
def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    spec = name if name == "textture" else tmp_path / name
    with pytest.raises(TransferError, match=r"there is no such|'textures'"):
        load_images(spec)


def test_what_is_of_no_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for data in (b"", b"\x1f\x8b", b"hello world", gzip.compress(b"hello world")):
        path.write_bytes(data)
        with pytest.raises(TransferError, match=r"a\.bin"):
            load_images(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TransferError, match="no sub-folders"):
        load_images(tmp_path / "empty")


@pytest.mark.parametrize("kind", ["idx", "gz", "npz", "parquet"])
def test_a_damaged_file_is_read_or_refused_in_a_sentence(tmp_path: Path, kind: str) -> None:
    if kind in ("idx", "gz"):
        path = write_idx(tmp_path, "a", pixels(), labels(), zipped=kind == "gz")
    elif kind == "npz":
        path = tmp_path / "a.npz"
        np.savez_compressed(path, images=pixels(), labels=labels())
    else:
        cells = [encoded(image) for image in pixels()]
        path = write_parquet(tmp_path / "a.parquet", cells, labels().tolist())
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for trial in range(120):
        data = bytearray(whole)
        if trial % 3 == 0:
            data = data[: rng.integers(len(data))]
        else:
            for at in rng.integers(0, len(data) if trial % 3 == 1 else min(80, len(data)), 3):
                data[at] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        told = path.name
        try:
            found = load_images(path)
            usable = len(found) >= 2
        except TransferError as error:
            told = str(error)
            usable = True
        assert usable
        assert path.name in told or "a-labels" in told


def test_one_value_that_stands_for_many_rows_is_not_unfolded_at_once(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    blank = pa.array([bytes(30 * 2**20)], pa.binary())
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 50, pa.int32()), blank)
    image = pa.StructArray.from_arrays([column], names=["bytes"])
    path = tmp_path / "a.parquet"
    # 1.5 GB, if all rows were unfolded together.
    table = pa.table({"image": image, "label": [0, 1] * 25})
    pq.write_table(table, path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 10**6
    with pytest.raises(TransferError, match=r"no image that can be used \(not a picture.*: 50\)"):
        load_images(path)
    assert pa.default_memory_pool().max_memory() < 2**30
