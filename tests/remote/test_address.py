from __future__ import annotations

from pathlib import Path

import pytest

from filterdb.errors import ReadError
from filterdb.remote.address import HubAddress, WebAddress, is_address, is_safe, parse

SHA = "ab" * 32


@pytest.mark.parametrize(
    ("text", "repository", "revision", "file"),
    [
        ("hf://org/net", "org/net", None, None),
        ("hf://gpt2", "gpt2", None, None),
        ("hf://org/net@v1.0", "org/net", "v1.0", None),
        ("hf://org/net/model.safetensors", "org/net", None, "model.safetensors"),
        ("hf://org/net@main/unet/model.bin", "org/net", "main", "unet/model.bin"),
        ("hf://org/net@refs/pr/7/model.bin", "org/net", "refs/pr/7", "model.bin"),
        ("hf://org/net@feature%2Fx", "org/net", "feature/x", None),
        ("hf://models/org/net", "org/net", None, None),
        ("hf:/org/net", "org/net", None, None),
        ("timm:resnet18.a1_in1k", "timm/resnet18.a1_in1k", None, None),
        ("timm:timm/resnet18.a1_in1k@main", "timm/resnet18.a1_in1k", "main", None),
    ],
)
def test_names_of_the_hub(
    text: str, repository: str, revision: str | None, file: str | None
) -> None:
    address = parse(text)
    assert isinstance(address, HubAddress)
    assert (address.repository, address.revision, address.file) == (repository, revision, file)
    assert address.text == text


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://org/../net", "hf://org/net@", "hf://org/net/../../etc/passwd", "hf:///etc/passwd",
     "hf://org/net/a\\b", "hf://a b/net", "hf://org/net@/x", "timm:", "timm:a/b", "timm:a@",
     "hf://datasets/org/net", "hf://org/net//x"],
)  # fmt: skip
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(ReadError, match=r"valid name|Only repositories of models") as caught:
        parse(text)
    assert str(caught.value).startswith(text)


def test_a_url_with_its_checksum() -> None:
    address = parse(f"https://host.org/a/net%20b.onnx?v=1#sha256={SHA.upper()}")
    assert address == WebAddress(
        "https://host.org/a/net%20b.onnx?v=1", "https://host.org/a/net%20b.onnx?v=1", SHA
    )
    assert address.file == "net_b.onnx"
    assert parse("https://host.org/") == WebAddress("https://host.org/", "https://host.org/")
    assert WebAddress("", "https://host.org/..%2F..%2Fetc").file == "etc"
    assert WebAddress("", "https://host.org/").file == "file"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://host.org/net.onnx", "Write https://"),
        ("https://", "no valid URL"),
        ("https://host:port/x", "no valid URL"),
        ("https://[::1/x", "no valid URL"),
        ("https://host.org/a b", "no valid URL"),
        ("https://host.org/a\nHost: b", "no valid URL"),
        ("https://me:secret@host.org/x", "name or a password"),
        ("https://host.org/x#md5=12", "#sha256="),
        (f"https://host.org/x#sha256={SHA[:-1]}", "#sha256="),
    ],
)
def test_urls_that_are_refused(text: str, told: str) -> None:
    with pytest.raises(ReadError, match=told) as caught:
        parse(text)
    assert "secret" not in str(caught.value)


def test_plain_http_on_this_machine_alone() -> None:
    assert parse("http://127.0.0.1:8000/x.onnx").text == "http://127.0.0.1:8000/x.onnx"
    with pytest.raises(ReadError):
        parse("http://127.0.0.1.host.org/x.onnx")


def test_what_looks_like_a_secret_is_not_shown() -> None:
    address = parse("https://host.org/net.onnx?X-Amz-Signature=abc&X-Amz-Date=1")
    assert isinstance(address, WebAddress)
    assert "abc" in address.url
    assert address.text == "https://host.org/net.onnx?…"


def test_paths_are_no_names() -> None:
    for source in ("net.pth", "./timm:x", "C:/net.pth", "/hf://x", "hf", Path("x"), 7, None):
        assert not is_address(source)
    for text in ("hf://a/b", "HTTPS://a/b", "timm:x"):
        assert is_address(text)


@pytest.mark.parametrize(
    "name",
    ["../x", "/x", "a/../b", "a//b", "a\\b", "C:x", "a\x00b", ".", "a/. /b", "x\ny", "n" * 501],
)  # fmt: skip
def test_unsafe_names_of_files(name: str) -> None:
    assert not is_safe(name)


def test_safe_names_of_files() -> None:
    for name in ("model.safetensors", "unet/model.bin", ".gitattributes", "a..b/c"):
        assert is_safe(name)
