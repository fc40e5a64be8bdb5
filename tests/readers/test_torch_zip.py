from __future__ import annotations

import argparse
import time
import tracemalloc
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import (
    CONTAINERS,
    WEIGHT,
    legacy_checkpoint,
    number,
    numbers,
    read,
    root,
    storage,
    tensor,
    text,
    values,
    zip_checkpoint,
)

from filterdb.errors import CorruptFileError, LimitError, ReadError
from filterdb.readers.pytorch import zip_checkpoint as zip_reader

torch = pytest.importorskip("torch")
SEED = torch.Generator().manual_seed(3)


def random(*shape: int) -> Any:
    return torch.randn(*shape, generator=SEED)


def quantised() -> dict[str, Any]:
    weight = random(4, 3, 3, 3)
    scales, zeros = torch.rand(4, generator=SEED) + 0.1, torch.tensor([0, 1, -2, 3])
    return {
        "tensor.weight": torch.quantize_per_tensor(weight, 0.07, 5, torch.quint8),
        "signed.weight": torch.quantize_per_tensor(weight, 0.3, -5, torch.qint8),
        "wide.weight": torch.quantize_per_tensor(weight, 0.3, 0, torch.qint32),
        "channel.weight": torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8),
        "axis.weight": torch.quantize_per_channel(weight, scales[:3], zeros[:3], 1, torch.qint8),
        "float.weight": torch.quantize_per_channel(weight, scales, zeros.float(), 0, torch.quint8),
    }


def strided() -> dict[str, Any]:
    base = random(6, 5, 7, 9)
    return {
        "view.weight": base[1:4, 2:, ::2, 3:6],
        "transposed.weight": base.permute(1, 0, 3, 2),
        "last.weight": base.to(memory_format=torch.channels_last),
        "expanded.weight": random(4, 1, 1, 3).expand(4, 5, 3, 3),
        "flat.bias": base.reshape(-1)[5:11],
        "scalar": torch.tensor(2.5),
        "empty.weight": torch.zeros(0, 3, 3, 3),
    }


def typed() -> dict[str, Any]:
    kinds = ["float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "int32",
             "int64", "bool", "uint16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
             "float8_e5m2fnuz"]  # fmt: skip
    return {f"{kind}.weight": (random(3, 2, 3, 3) * 4).to(getattr(torch, kind)) for kind in kinds}


def tied() -> dict[str, Any]:
    weight = random(4, 4, 3, 3)
    return {"a.weight": weight, "b.weight": weight, "c.weight": weight[:2]}


STATES = {"quantised": quantised, "strided": strided, "typed": typed, "tied": tied}


def oracle(want: Any) -> np.ndarray:
    if want.is_quantized:
        return want.dequantize().numpy()
    wide = want.float() if want.dtype.is_floating_point else want
    return wide.detach().numpy()


@pytest.mark.parametrize("what", STATES)
@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_values_as_torch_loads_them(tmp_path: Path, what: str, new: bool) -> None:
    path = tmp_path / "a.pth"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = STATES[what]()
        torch.save(state, path, _use_new_zipfile_serialization=new)
        # Of the newest types torch writes a legacy stream that it cannot read itself.
        loaded = torch.load(path, weights_only=True) if new or what != "typed" else state
    contents = read(path)
    assert contents.format == "pytorch"
    tied = {item.name: item.reason for item in contents.skipped}
    assert tied == ({"b.weight": "shares the weights of 'a.weight'"} if what == "tied" else {})
    assert [t.name for t in contents.tensors] == [name for name in loaded if name not in tied]
    for found in contents.tensors:
        want = loaded[found.name]
        assert found.shape == tuple(want.shape)
        assert found.dtype == str(want.dtype).removeprefix("torch.")
        np.testing.assert_allclose(found.load(), oracle(want), rtol=1e-6, atol=0)


def test_values_are_views_of_the_file_and_read_only(tmp_path: Path) -> None:
    torch.save({"conv.weight": random(4, 3, 3, 3)}, tmp_path / "a.pth")
    (only,) = read(tmp_path / "a.pth").tensors
    first, second = only.load(), only.load()
    assert np.shares_memory(first, second)
    assert not first.flags.writeable


def test_opening_takes_no_memory_for_the_weights(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(512, 512, 5, 5)}, tmp_path / "a.pth")
    tracemalloc.start()
    try:
        contents = read(tmp_path / "a.pth")
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()
    assert contents.tensors[0].shape == (512, 512, 5, 5)


def test_what_is_not_real_and_dense_is_skipped_with_its_reason(tmp_path: Path) -> None:
    state = {
        "conv.weight": random(4, 3, 3, 3),
        "complex": random(3, 3).to(torch.complex64),
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.zeros(3, 3, device="meta"),
        "lazy": torch.nn.LazyConv2d(3, 3).weight,
    }
    torch.save(state, tmp_path / "a.pth")
    contents = read(tmp_path / "a.pth")
    assert [t.name for t in contents.tensors] == ["conv.weight"]
    reasons = {item.name: item.reason for item in contents.skipped}
    assert set(reasons) == {"complex", "sparse", "meta", "lazy"}
    assert "complex64" in reasons["complex"]
    assert "sparse" in reasons["sparse"]


class Block(torch.nn.Module):
    """Stands for a class of somebody's own that is not there when the file is read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.norm = torch.nn.BatchNorm2d(4)
        self.tail = torch.nn.ModuleList([torch.nn.Conv2d(4, 4, 3, groups=4, bias=False)])
        self.note = {"anything": [1, 2]}

    def forward(self, x: Any) -> Any:
        return self.tail[0](self.norm(self.conv(x)))


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"model": m, "epoch": 1}])
def test_whole_modules(tmp_path: Path, new: bool, wrap: Any) -> None:
    module = Block()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(wrap(module), tmp_path / "a.pt", _use_new_zipfile_serialization=new)
    found, state = values(read(tmp_path / "a.pt")), module.state_dict()
    assert list(found) == list(state)
    for name, want in state.items():
        np.testing.assert_array_equal(found[name], want.numpy())


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_checkpoint_full_of_other_things(tmp_path: Path, new: bool, protocol: int) -> None:
    module = Block()
    optimizer = torch.optim.Adam(module.parameters())
    module(random(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": np.int64(3),
        "best": np.float32(0.5),
        "args": argparse.Namespace(lr=0.1, path=Path("x"), dtype=np.dtype("f4")),
        "optimizer": optimizer.state_dict(),
        "whole_optim": optimizer,
        "history": [{"loss": float(i)} for i in range(10)],
        "state_dict": module.state_dict(),
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1),
        "rng": np.random.RandomState(1).get_state(),
    }
    torch.save(checkpoint, tmp_path / "a.pth", pickle_protocol=protocol,
               _use_new_zipfile_serialization=new)  # fmt: skip
    contents = read(tmp_path / "a.pth")
    found, state = values(contents), module.state_dict()
    assert list(found) == list(state)
    assert contents.skipped == ()
    for name, want in state.items():
        np.testing.assert_array_equal(found[name], want.numpy())


def test_parameters_and_subclasses(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(random(4, 3, 3, 3))
    marked = torch.nn.Parameter(random(4, 3, 3, 3))
    marked.note = "kept as state"
    buffer = torch.nn.Buffer(random(4, 3, 3, 3))
    torch.save({"a": parameter, "b": marked, "c": buffer}, tmp_path / "a.pth")
    found = values(read(tmp_path / "a.pth"))
    for name, want in (("a", parameter), ("b", marked), ("c", buffer)):
        np.testing.assert_array_equal(found[name], want.detach().numpy())


def test_numpy_arrays_are_tensors(tmp_path: Path) -> None:
    state = {"w": np.asfortranarray(random(4, 3, 3, 3).numpy()), "o": np.array([None])}
    torch.save(state, tmp_path / "a.pth")
    contents = read(tmp_path / "a.pth")
    np.testing.assert_array_equal(values(contents)["w"], state["w"])
    assert [item.name for item in contents.skipped] == ["o"]


def scripted(module: Any, path: Path, *, freeze: bool = False) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.trace(module.eval(), torch.zeros(1, 3, 8, 8))
        torch.jit.save(torch.jit.freeze(script) if freeze else script, path)


def test_torchscript(tmp_path: Path) -> None:
    module = Block()
    scripted(module, tmp_path / "a.pt")
    contents = read(tmp_path / "a.pt")
    assert contents.format == "torchscript"
    found = values(contents)
    for name, want in module.state_dict().items():
        np.testing.assert_array_equal(found[name], want.numpy(), err_msg=name)


def test_frozen_torchscript(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    scripted(module, tmp_path / "a.pt", freeze=True)
    weights = [v for v in values(read(tmp_path / "a.pt")).values() if v.ndim == 4]
    assert len(weights) == 1
    np.testing.assert_array_equal(weights[0], module[0].weight.detach().numpy())


def test_quantised_torchscript(tmp_path: Path) -> None:
    module = torch.ao.nn.quantized.Conv2d(3, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), tmp_path / "a.pt")
    weights = [v for v in values(read(tmp_path / "a.pt")).values() if v.ndim == 4]
    np.testing.assert_allclose(weights[0], module.weight().dequantize().numpy())


def test_deflated_members_and_any_folder(tmp_path: Path) -> None:
    zip_checkpoint(tmp_path / "a.pth", root(), method=zipfile.ZIP_DEFLATED)
    np.testing.assert_array_equal(values(read(tmp_path / "a.pth"))["conv.weight"], WEIGHT)


def test_big_endian_files(tmp_path: Path) -> None:
    half = tensor(of=storage("BFloat16Storage", "1", 54))
    entries = text("h.weight") + half + text("conv.weight") + tensor()
    bits = (np.arange(54, dtype="f4").view("u4") >> 16).astype(">u2").tobytes()
    zip_checkpoint(
        tmp_path / "a.pth", b"\x80\x02}(" + entries + b"u.",
        {"0": WEIGHT.astype(">f4").tobytes(), "1": bits}, others={"byteorder": b"big"},
    )  # fmt: skip
    found = values(read(tmp_path / "a.pth"))
    np.testing.assert_array_equal(found["conv.weight"], WEIGHT)
    np.testing.assert_array_equal(found["h.weight"], WEIGHT)


def test_a_file_without_checksums(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"conv.weight": torch.ones(2, 3, 3, 3)}, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    assert values(read(tmp_path / "a.pth"))["conv.weight"].sum() == 54


def test_a_flipped_weight_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"conv.weight": torch.full((2, 3, 3, 3), 1.5)}, path)
    data = bytearray(path.read_bytes())
    data[data.find(np.float32(1.5).tobytes() * 4) + 6] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptFileError, match="wrong checksum"):
        values(read(path))


LIES = {
    "a shape beyond the storage": tensor((2, 3, 3, 4)),
    "strides beyond the storage": tensor(strides=(28, 9, 3, 1)),
    "an offset beyond the storage": tensor(offset=1),
    "a negative offset": tensor(offset=-1),
    "a negative stride": tensor(strides=(27, 9, 3, -1)),
    "a negative extent": tensor((2, -3, 3, 3)),
    "a shape of 10^12": tensor((10**6, 10**6, 3, 3)),
    "an extent beyond any machine": tensor((2**70, 3, 3, 3)),
    "a product beyond any machine": tensor((2**40, 0, 2**40, 3)),
    "strides that overflow": tensor(strides=(2**61, 9, 3, 1)),
    "more strides than extents": tensor(strides=(9, 9, 9, 3, 1)),
    "an endless shape": tensor((1,) * 5000, (1,) * 5000),
    "no storage": tensor(of=b"N"),
    "a storage that is missing": tensor(of=storage(key="9")),
    "a storage outside its folder": tensor(of=storage(key="../version")),
    "a storage of no known type": tensor(of=storage("EvilStorage")),
}


@pytest.mark.parametrize("what", LIES)
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_tensors_that_lie(tmp_path: Path, what: str, container: str) -> None:
    write = {"zip": zip_checkpoint, "legacy": legacy_checkpoint}[container]
    write(tmp_path / "a.pth", root(weight=LIES[what]))
    tracemalloc.start()
    try:
        with pytest.raises(CorruptFileError) as error:
            read(tmp_path / "a.pth")
        assert tracemalloc.get_traced_memory()[1] < 2**23  # modules imported meanwhile included
    finally:
        tracemalloc.stop()
    if container == "zip":
        assert "layer 'conv.weight'" in str(error.value)


@pytest.mark.parametrize("shape", [(10**6, 10**6, 1, 1), (10**4, 10**4, 3, 3), (2**60, 2, 1, 1)])
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_expanding_ten_bytes_is_refused(
    tmp_path: Path, container: str, shape: tuple[int, ...]
) -> None:
    write = {"zip": zip_checkpoint, "legacy": legacy_checkpoint}[container]
    write(tmp_path / "a.pth", root(weight=tensor(shape, (0, 0, 0, 0))))
    with pytest.raises(LimitError, match="out of proportion"):
        read(tmp_path / "a.pth")


def test_many_small_expansions_are_refused_too(tmp_path: Path) -> None:
    shapes = [(54 + i % 32, 54 + i // 32, 3, 3) for i in range(1000)]
    ones = (tensor(shape, (0, 0, 0, 0)) for shape in shapes)
    entries = b"".join(text(f"l{i}.weight") + one for i, one in enumerate(ones))
    zip_checkpoint(tmp_path / "a.pth", b"\x80\x02}(" + entries + b"u.")
    with pytest.raises(LimitError, match="sum of its tensors"):
        read(tmp_path / "a.pth")


def test_a_long_name_is_not_multiplied(tmp_path: Path) -> None:
    weight = tensor() + b"q\1"
    many = b"".join(text(f"w{i}") + b"h\1" for i in range(20_000))
    pickled = b"\x80\x02}" + text("n" * 200_000) + b"}(" + text("w") + weight + many + b"us."
    zip_checkpoint(tmp_path / "a.pth", pickled)
    tracemalloc.start()
    try:
        assert all(len(t.name) < 1000 for t in read(tmp_path / "a.pth").tensors)
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("what", ["data.pkl", "data/0"])
def test_zip_bombs(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(f"a/{what}", "w", force_zip64=True) as file:
            for _ in range(210):
                file.write(bytes(2**20))
        archive.writestr("a/version", "3")
        if what != "data.pkl":
            archive.writestr("a/data.pkl", root())
    begin = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(LimitError, match="out of proportion"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - begin < 2


def test_a_member_longer_than_it_claims(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    zip_checkpoint(path, root(), {"0": bytes(2**20)}, method=zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    path.write_bytes(data.replace((2**20).to_bytes(4, "little"), (216).to_bytes(4, "little")))
    with pytest.raises(CorruptFileError, match="not as long as it claims"):
        values(read(path))


def test_members_that_stand_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    zip_checkpoint(path, root())
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("model_best/data/0", bytes(216))
    with pytest.raises(CorruptFileError, match="stands twice"):
        read(path)


def test_members_that_overlap(tmp_path: Path) -> None:
    """A second entry of the directory that points into the bytes of the first member."""
    path = tmp_path / "a.pth"
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a/data/0", WEIGHT.tobytes())
    local = inner.read_bytes()[: 30 + 8 + 216]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/other", local)
        archive.writestr("a/data.pkl", root())
        archive.writestr("a/data/0", WEIGHT.tobytes())
    data = path.read_bytes()
    entry = data.rfind(b"PK\x01\x02")
    inside = (30 + 7).to_bytes(4, "little")
    path.write_bytes(data[: entry + 42] + inside + data[entry + 46 :])
    with pytest.raises(CorruptFileError, match=r"overlaps|[Oo]verlapped"):
        values(read(path))


def test_a_file_cut_anywhere_is_an_error(tmp_path: Path) -> None:
    whole = tmp_path / "a.pth"
    torch.save({"conv.weight": random(4, 3, 3, 3), "epoch": 1}, whole)
    data = whole.read_bytes()
    for end in range(4, len(data), 41):
        whole.write_bytes(data[:end])
        with pytest.raises(ReadError):
            values(read(whole))


def doubled(times: int = 60) -> bytes:
    """A tuple of tuples, shared: some bytes that would be exabytes as text."""
    return b"(t" + b"2\x86" * times


HUGE = b"\x8b" + (3000).to_bytes(4, "little") + b"\x7f" * 3000
"""An integer of more digits than Python turns into text, or into a float."""
NO_KEYS = {"doubled": doubled(), "deep": b")" + b"\x85" * 100_000, "huge": HUGE}


def test_quantisation_that_lies(tmp_path: Path) -> None:
    def with_scheme(scheme: bytes) -> bytes:
        return (
            b"\x80\x02}" + text("conv.weight") + b"ctorch._utils\n_rebuild_qtensor\n("
            + storage("QInt8Storage") + number(0) + numbers((2, 3, 3, 3))
            + numbers((27, 9, 3, 1)) + b"(" + scheme + b"t\x89NtRs."
        )  # fmt: skip

    lies = {
        b"ctorch\nper_tensor_affine\nNN": "scale and zero point",
        b"ctorch\nper_channel_affine\n]]K\x00": "2 channels",
        b"ctorch\nper_channel_affine\n]]K\x09": "axis 9",
        b"ctorch\nper_channel_affine\n]]" + doubled(): "quantisation axis is none",
        b"ctorch\nper_channel_affine\n]]" + HUGE: "quantisation axis is none",
        b"ctorch\nper_tensor_affine\n" + HUGE + b"K\x00": "scale and zero point",
    }
    for scheme, message in lies.items():
        zip_checkpoint(tmp_path / "a.pth", with_scheme(scheme))
        with pytest.raises(CorruptFileError, match=message):
            read(tmp_path / "a.pth")
    zip_checkpoint(tmp_path / "a.pth", with_scheme(b"cbuiltins\nexec\n"))
    assert "exec is not known" in read(tmp_path / "a.pth").skipped[0].reason


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_says_pytorch(tmp_path: Path, container: str) -> None:
    CONTAINERS[container](tmp_path / "noname", b"N")
    contents = read(tmp_path / "noname")
    assert (contents.format, contents.producer) == ("pytorch", "pytorch")
    assert len(contents.notes) == (container != "zip")
    np.testing.assert_array_equal(values(contents)["conv.weight"], WEIGHT)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("container", ["zip", "legacy"])
@pytest.mark.parametrize("key", NO_KEYS)
def test_a_storage_key_is_never_turned_into_text(tmp_path: Path, key: str, container: str) -> None:
    write = {"zip": zip_checkpoint, "legacy": legacy_checkpoint}[container]
    weight = tensor(of=storage().replace(text("0"), NO_KEYS[key], 1))
    write(tmp_path / "a.pth", root(weight=weight))
    with pytest.raises(CorruptFileError, match="no sound key"):
        read(tmp_path / "a.pth")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("key", NO_KEYS)
def test_other_keys_are_passed_over(tmp_path: Path, key: str) -> None:
    ordered = b"ccollections\nOrderedDict\n)R" + NO_KEYS[key] + tensor() + b"s"
    zip_checkpoint(tmp_path / "a.pth", root(ordered))
    assert list(values(read(tmp_path / "a.pth"))) == ["conv.weight"]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("size", NO_KEYS)
def test_a_computed_size_is_never_turned_into_text(tmp_path: Path, size: str) -> None:
    weight = tensor().replace(numbers((2, 3, 3, 3)), NO_KEYS[size] + b")R", 1)
    zip_checkpoint(tmp_path / "a.pth", root(weight=weight))
    with pytest.raises(CorruptFileError, match="contradicts itself"):
        read(tmp_path / "a.pth")


@pytest.mark.parametrize(("marks", "sign"), [(b"}", 1), (b"}" + text("neg") + b"\x88s", -1)])
def test_tensors_of_the_third_version(tmp_path: Path, marks: bytes, sign: int) -> None:
    begin = tensor().replace(b"_v2", b"_v3").removesuffix(b"tR")
    for kind in (b"ctorch\nfloat32\n", b"K\x05"):
        zip_checkpoint(tmp_path / "a.pth", root(weight=begin + kind + marks + b"tR"))
        found = values(read(tmp_path / "a.pth"))["conv.weight"]
        np.testing.assert_array_equal(found, sign * WEIGHT)


def test_an_infinite_scale_is_a_value(tmp_path: Path) -> None:
    begin = b"\x80\x02}" + text("conv.weight") + b"ctorch._utils\n_rebuild_qtensor\n("
    scheme = b"(ctorch\nper_tensor_affine\nG\x7f\xe0" + bytes(6) + b"K\x00t"
    weight = storage("QInt8Storage") + number(0) + numbers((2, 3, 3, 3)) + numbers((27, 9, 3, 1))
    zip_checkpoint(tmp_path / "a.pth", begin + weight + scheme + b"\x89NtRs.", {"0": b"\x7f" * 54})
    assert np.isinf(values(read(tmp_path / "a.pth"))["conv.weight"]).all()


def test_a_zip_archive_needs_more_than_a_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a/data.pkl", root())
        archive.writestr("b/version", "3")
    # It is read as any archive is, and its pickle as one that stands alone.
    with pytest.raises(CorruptFileError, match=r"Its member 'a/data\.pkl'"):
        read(tmp_path / "a.pth")


def test_a_stored_pickle_has_its_limit_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_reader, "MAX_PICKLE", 100)
    zip_checkpoint(tmp_path / "a.pth", root())
    with pytest.raises(LimitError, match="more than 100: not followed"):
        read(tmp_path / "a.pth")


def test_an_expanded_view_is_no_weight(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(1).expand(500_000, 1, 3, 3),
                "b.weight": torch.ones(1).expand(4, 4, 3, 3)}, tmp_path / "a.pth")  # fmt: skip
    contents = read(tmp_path / "a.pth")
    assert [tensor.name for tensor in contents.tensors] == ["b.weight"]
    assert "expanded view" in contents.skipped[0].reason


def test_a_lazy_negation_is_done(tmp_path: Path) -> None:
    weight = torch.arange(36.0).reshape(2, 2, 3, 3)
    torch.save({"a.weight": torch._neg_view(weight)}, tmp_path / "a.pth")
    (found,) = read(tmp_path / "a.pth").tensors
    np.testing.assert_array_equal(found.load(), -weight.numpy())


def test_a_pickle_that_unfolds_to_gigabytes_is_refused(tmp_path: Path) -> None:
    long = ("\U0001f600" + "a" * 40_000_000).encode()
    content = b"\x80\x04\x8d" + len(long).to_bytes(8, "little") + long + b"."
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", content)
        archive.writestr("a/version", "3")
    with pytest.raises(LimitError, match="unfolds"):
        read(tmp_path / "a.pth")


@pytest.mark.parametrize("names", [("g_state_dict", "d_state_dict"), ("gen", "disc")])
def test_the_generator_is_taken_not_the_larger_discriminator(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    networks = {names[0]: {"g.weight": torch.ones(2, 2, 3, 3)},
                names[1]: {"d.weight": torch.ones(9, 9, 3, 3)}}  # fmt: skip
    torch.save(networks, tmp_path / "a.pth")
    contents = read(tmp_path / "a.pth")
    assert [tensor.name for tensor in contents.tensors] == ["g.weight"]
