from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

import filterdb
from filterdb.errors import CorruptFileError, LimitError, NoConvolutionError, ReadError
from filterdb.remote import fetching, web
from remote.conftest import network
from remote.hub_server import Hub


def again() -> None:
    fetching._fetch.cache_clear()


@pytest.fixture
def url(hub: Hub, two_layers: bytes) -> str:
    hub.web["/web/net.safetensors"] = two_layers
    return f"{hub.url}/web/net.safetensors"


def left_over() -> list[Path]:
    return list(web.cache_folder().rglob("incomplete-*"))


def test_values_and_the_checksum(hub: Hub, url: str, two_layers: bytes) -> None:
    file = filterdb.read(url)
    for layer in file.layers:
        np.testing.assert_array_equal(
            layer.weights, network("stem", "body")[f"{layer.name}.weight"]
        )
    assert file.source == url
    sha256 = hashlib.sha256(two_layers).hexdigest()
    assert f"#sha256={sha256}" in file.notes[0]
    fetched = fetching.fetch(url)
    assert fetched.revision == f"sha256:{sha256}"
    assert fetched.names[0] == "net.safetensors"
    assert fetched.url == url


def test_with_a_checksum_the_network_is_asked_once(hub: Hub, url: str, two_layers: bytes) -> None:
    given = f"{url}#sha256={hashlib.sha256(two_layers).hexdigest()}"
    assert not any("checksum" in note for note in filterdb.read(given).notes)
    again()
    asked = len(hub.requests)
    hub.web.clear()
    assert len(filterdb.read(given).layers) == 2
    assert len(hub.requests) == asked


def test_without_a_checksum_it_is_asked_whether_it_changed(
    hub: Hub, url: str, two_layers: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    filterdb.read(url)
    again()
    sent = sum(request.sent for request in hub.requests)
    assert len(filterdb.read(url).layers) == 2
    assert sum(request.sent for request in hub.requests) == sent
    hub.web["/web/net.safetensors"] = save(network("new"))
    again()
    assert [layer.name for layer in filterdb.read(url).layers] == ["new"]
    hub.statuses["/web/"] = 503
    again()
    file = filterdb.read(url)
    assert [layer.name for layer in file.layers] == ["new"]
    assert "It was read from the cache." in file.notes[0]
    hub.statuses["/web/"] = 404
    again()
    with pytest.raises(ReadError, match="404"):
        filterdb.read(url)


def test_a_wrong_checksum_is_found_in_the_cache_too(hub: Hub, url: str, two_layers: bytes) -> None:
    kept = fetching.fetch(url).path
    wrong = "0" * 64
    with pytest.raises(CorruptFileError, match="not the one that was given"):
        fetching.fetch(f"{url}#sha256={wrong}")
    right = hashlib.sha256(two_layers).hexdigest()
    kept.write_bytes(two_layers[:-1] + b"?")  # damaged in the cache
    again()
    assert fetching.fetch(f"{url}#sha256={right}").path.read_bytes() == two_layers


def test_another_content_than_the_checksum_says(hub: Hub, url: str) -> None:
    with pytest.raises(CorruptFileError, match="not the one that was given"):
        filterdb.read(f"{url}#sha256={'0' * 64}")
    assert not list(web.cache_folder().rglob("*.safetensors"))
    assert not left_over()


def test_complete_or_not_there(hub: Hub, url: str) -> None:
    hub.cut.add("/web/net.onnx")
    hub.web["/web/net.onnx"] = bytes(100_000)
    with pytest.raises(ReadError, match="broke off"):
        filterdb.read(f"{hub.url}/web/net.onnx")
    assert not list(web.cache_folder().rglob("*.onnx"))
    assert not left_over()


def test_the_header_first(hub: Hub) -> None:
    body = save({"fc.weight": np.ones((500, 500), "f4")})
    hub.web["/web/text.safetensors"] = body
    with pytest.raises(NoConvolutionError, match="lists 1 tensor,"):
        filterdb.read(f"{hub.url}/web/text.safetensors")
    assert sum(request.sent for request in hub.requests) <= 2**16 < len(body)


def test_a_limit(hub: Hub, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filterdb.remote.announcing.MOST_BYTES", 1000)
    with pytest.raises(LimitError, match="Download it yourself"):
        filterdb.read(url)
    assert not left_over()


@pytest.mark.parametrize(
    ("status", "told"),
    [(401, "wants a login"), (403, "refuses access"), (404, "no such file"), (418, "refuses it"),
     (429, "too many"), (500, "trouble of its own")],
)  # fmt: skip
def test_a_server_that_says_no(hub: Hub, url: str, status: int, told: str) -> None:
    hub.statuses["/web/"] = status
    with pytest.raises(ReadError, match=told) as caught:
        filterdb.read(url)
    assert str(caught.value).startswith(f"{url}: ")


def test_a_page_is_no_file(hub: Hub) -> None:
    hub.web["/web/net.html"] = b"<html>Download here</html>"
    with pytest.raises(ReadError, match="web page"):
        filterdb.read(f"{hub.url}/web/net.html")


def test_redirects(hub: Hub, url: str) -> None:
    hub.redirects["/web/a"] = "/web/net.safetensors"
    assert len(filterdb.read(f"{hub.url}/web/a").layers) == 2
    hub.redirects["/web/b"] = "/web/b"
    hub.redirects["/web/c"] = "file:///etc/passwd"
    for name in ("b", "c"):
        with pytest.raises(ReadError, match="sends on"):
            filterdb.read(f"{hub.url}/web/{name}")


def test_from_https_to_http() -> None:
    from filterdb.remote.transport import check_redirect

    check_redirect("https://a/x", "https://b/y")
    check_redirect("http://127.0.0.1/x", "https://b/y")
    check_redirect("https://a/x", "/y")
    for after in ("http://a/x", "ftp://a/x", "file:///x"):
        with pytest.raises(ReadError, match="refused"):
            check_redirect("https://a/x", after)


def test_unreachable(hub: Hub) -> None:
    with pytest.raises(ReadError, match="cannot be reached"):
        filterdb.read("http://127.0.0.1:9/net.onnx")
    with pytest.raises(ReadError, match="not found"):
        filterdb.read("https://nowhere.invalid/net.onnx")


def test_a_cache_that_cannot_be_written(
    hub: Hub, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ReadError, match="cannot be written"):
        filterdb.read(url)
