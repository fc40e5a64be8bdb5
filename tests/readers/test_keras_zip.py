from __future__ import annotations

import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from keras_networks import EXPECTED_DEPTHS, check_values, save

from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.layer import Contents, ModelFile
from filterdb.readers.head import Head
from filterdb.readers.keras import archive as keras_zip
from filterdb.roles import assign_roles


def contents(path: Path) -> Contents:
    head = Head.of(path)
    assert keras_zip.matches(head)
    return keras_zip.read(head)


def model(path: Path) -> ModelFile:
    return assign_roles(contents(path), str(path))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save(tmp_path_factory.mktemp("keras") / "net.keras"))


def rewrite(source: Path, target: Path, compression: int = zipfile.ZIP_STORED, **members: bytes):
    """Copy an archive with some members replaced."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, members.get(name.replace(".", "_"), old.read(name)))
    return target


def test_every_layer_computes_what_keras_computes(archive: Path) -> None:
    check_values(model(archive))


def test_a_compressed_archive_reads_the_same(archive: Path, tmp_path: Path) -> None:
    file = model(rewrite(archive, tmp_path / "z.keras", zipfile.ZIP_DEFLATED))
    check_values(file)


def test_configuration_gives_depth_stride_dilation_and_groups(archive: Path) -> None:
    depths: dict[str, list[int | None]] = {}
    convs = {}
    for tensor in contents(archive).tensors:
        if tensor.conv is not None:
            owner = tensor.name.split("/")[-2]
            depths.setdefault(owner, []).append(tensor.conv.depth)
            convs[owner] = tensor.conv
    assert depths == EXPECTED_DEPTHS
    assert convs["stem"].stride == (2, 2)
    assert convs["split"].dilation == (2, 2)
    assert convs["split"].groups == 2
    assert convs["up"].transposed


def test_the_first_keras_archives(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as old:
        (tmp_path / "w.h5").write_bytes(old.read("model.weights.h5"))
    with h5py.File(tmp_path / "w.h5", "a") as file:
        for name in list(file["layers"]):
            file[f"_layer_checkpoint_dependencies\\{name}"] = file[f"layers/{name}"]
        del file["layers"]
    weights = (tmp_path / "w.h5").read_bytes()
    path = rewrite(archive, tmp_path / "first.keras", model_weights_h5=weights)
    assert {layer.depth_source for layer in model(path).layers} == {"graph"}
    check_values(model(path))


def test_version_is_the_producer(archive: Path) -> None:
    assert str(contents(archive).producer).startswith("keras 3")


def test_no_configuration_that_can_be_followed_is_said(archive: Path, tmp_path: Path) -> None:
    config = json.dumps({"class_name": "MyModel", "config": {}}).encode()
    found = contents(rewrite(archive, tmp_path / "c.keras", config_json=config))
    assert any("configuration cannot be followed" in note for note in found.notes)
    assert len(assign_roles(found, "").layers) == 7


@pytest.mark.parametrize(
    "config",
    [b"", b"null", b"[1, 2]", b"\xff\xfe", b"[" * 100_000, b'{"class_name": "Model", "config": 3}',
     b'{"class_name": "Functional", "config": {"layers": [{"class_name": "Conv2D"}]}}'],
)  # fmt: skip
def test_a_strange_configuration_never_hides_the_weights(
    archive: Path, tmp_path: Path, config: bytes
) -> None:
    path = rewrite(archive, tmp_path / "c.keras", config_json=config)
    assert len(model(path).layers) == 7


def test_a_lambda_in_the_configuration_is_never_run(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as old:
        config = json.loads(old.read("config.json"))
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w')"
    config["config"]["layers"].append(
        {"class_name": "Lambda", "config": {"name": code, "function": ["4wEAAA==", None, None]}}
    )
    path = rewrite(archive, tmp_path / "l.keras", config_json=json.dumps(config).encode())
    assert len(model(path).layers) == 7
    assert not marker.exists()


def test_a_flipped_byte_in_the_weights_is_found(archive: Path, tmp_path: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    path = tmp_path / "flipped.keras"
    path.write_bytes(data)
    with pytest.raises(CorruptFileError, match="checksum"):
        contents(path)


def test_a_bomb_is_refused(archive: Path, tmp_path: Path) -> None:
    path = rewrite(
        archive, tmp_path / "b.keras", zipfile.ZIP_DEFLATED, model_weights_h5=bytes(260 * 2**20)
    )
    with pytest.raises(LimitError):
        contents(path)


def test_weights_that_are_no_hdf5_are_refused(archive: Path, tmp_path: Path) -> None:
    path = rewrite(archive, tmp_path / "n.keras", model_weights_h5=b"not HDF5 at all" * 100)
    with pytest.raises(ReadError, match="HDF5 cannot read it"):
        contents(path)


def test_another_archive_does_not_match(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.ones(3))
    assert not keras_zip.matches(Head.of(tmp_path / "a.npz"))


@pytest.mark.parametrize("member", ["config.json", "metadata.json"])
def test_a_configuration_that_would_unfold_to_gigabytes_is_refused(
    tmp_path: Path, member: str
) -> None:
    parts = {"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": b"\x89HDF\r\n\x1a\n"}
    parts[member] = b'{"a":[' + b"{}," * 4_000_000 + b"{}]}"
    with zipfile.ZipFile(tmp_path / "a.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(LimitError, match="configuration"):
        keras_zip.read(Head.of(tmp_path / "a.keras"))
