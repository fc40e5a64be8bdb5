from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save

import filterdb
from filterdb.errors import LimitError, MissingExtraError, NoConvolutionError, ReadError
from filterdb.remote import fetching, transport
from remote.conftest import network
from remote.hub_server import Hub, Repository

CONSTANTS = pytest.importorskip("huggingface_hub.constants")


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CONSTANTS, "HF_HUB_OFFLINE", True)
    fetching._fetch.cache_clear()


def refusal(text: str, kind: type[Exception] = ReadError) -> str:
    with pytest.raises(kind) as caught:
        filterdb.read(text)
    told = str(caught.value)
    assert told.startswith(f"{text}: ")
    assert told.endswith((".", ")"))
    return told


def test_values_and_where_they_are_from(hub: Hub, two_layers: bytes) -> None:
    hub.repositories["org/net"] = repository = Repository(
        {"model.safetensors": two_layers, "pytorch_model.bin": b"?", "README.md": b"hello"}
    )
    file = filterdb.read("hf://org/net")
    assert file.source == "hf://org/net"
    expected = network("stem", "body")
    assert {layer.name for layer in file.layers} == {"stem", "body"}
    for layer in file.layers:
        np.testing.assert_array_equal(layer.weights, expected[f"{layer.name}.weight"])
    assert file.notes[0] == (
        f"model.safetensors was taken, at the commit {repository.commit[:12]}; "
        "not pytorch_model.bin."
    )
    fetched = fetching.fetch("hf://org/net")
    assert fetched.url == f"{hub.url}/org/net/resolve/{repository.commit}/model.safetensors"
    assert fetched.revision == repository.commit
    assert fetched.names[0] == "org/net"


def test_the_header_decides_before_anything_is_downloaded(hub: Hub) -> None:
    body = save({"fc.weight": np.ones((500, 500), "f4"), "fc.bias": np.ones(500, "f4")})
    hub.repositories["org/text"] = Repository({"model.safetensors": body})
    told = refusal("hf://org/text", NoConvolutionError)
    assert "model.safetensors lists 2 tensors" in told
    assert "Only headers were downloaded" in told
    assert sum(request.sent for request in hub.downloads) <= 2**16 < len(body)
    assert all(request.range for request in hub.downloads)
    assert refusal("hf://org/text/model.safetensors", NoConvolutionError)


def test_a_long_header_is_read_to_its_end(hub: Hub) -> None:
    bare = {f"layer{i:04}.bias": np.ones(3, "f4") for i in range(1500)}
    hub.repositories["org/many"] = Repository({"model.safetensors": save(bare)})
    assert "lists 1,500 tensors" in refusal("hf://org/many", NoConvolutionError)
    hub.repositories["org/net"] = Repository(
        {"model.safetensors": save({**bare, **network("stem")})}
    )
    assert len(filterdb.read("hf://org/net").layers) == 1


def test_the_first_part_with_convolutions(
    hub: Hub, two_layers: bytes, no_convolution: bytes
) -> None:
    hub.repositories["org/both"] = Repository(
        {"text_encoder/model.safetensors": no_convolution, "unet/model.safetensors": two_layers}
    )
    file = filterdb.read("hf://org/both")
    assert file.notes[0].startswith("unet/model.safetensors was taken")
    assert "text_encoder/model.safetensors" in file.notes[0]
    assert not any("text_encoder" in r.path and not r.range for r in hub.downloads)


def test_only_the_shards_that_hold_convolutions(hub: Hub) -> None:
    shards = {
        "model-00001-of-00003.safetensors": network("stem"),
        "model-00002-of-00003.safetensors": {"fc.weight": np.ones((400, 400), "f4")},
        "model-00003-of-00003.safetensors": network("body", "tail"),
    }
    table = {name: file for file, tensors in shards.items() for name in tensors}
    files = {file: save(tensors) for file, tensors in shards.items()}
    index = json.dumps({"metadata": {}, "weight_map": table}).encode()
    hub.repositories["org/big"] = Repository({**files, "model.safetensors.index.json": index})
    file = filterdb.read("hf://org/big")
    assert sorted(layer.name for layer in file.layers) == ["body", "stem", "tail"]
    assert "1 of its 3 files hold no convolution and were not downloaded." in file.notes
    assert [path.name[6:11] for path in file.companions] == ["00001", "00003"]
    assert any("in it: 1" in item.reason for item in file.skipped)
    whole = [r.path for r in hub.downloads if not r.range]
    assert not any("00002" in path for path in whole)


def test_a_revision_and_a_file(hub: Hub, two_layers: bytes) -> None:
    hub.repositories["org/net"] = Repository(
        {"a.safetensors": two_layers, "b.safetensors": save(network("other"))},
        branches=("main", "v1"),
    )
    file = filterdb.read("hf://org/net@v1/b.safetensors")
    assert [layer.name for layer in file.layers] == ["other"]
    assert fetching.fetch("hf://org/net@v1/b.safetensors").names[0] == "org/net@v1/b.safetensors"
    assert "no branch, tag or commit 'v2'" in refusal("hf://org/net@v2")
    assert "it has a.safetensors, b.safetensors" in refusal("hf://org/net/c.safetensors")


def test_a_second_time_without_a_network(
    hub: Hub, two_layers: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["org/net"] = Repository({"model.safetensors": two_layers})
    first = filterdb.read("hf://org/net")
    offline(monkeypatch)
    asked = len(hub.requests)
    second = filterdb.read("hf://org/net")
    assert [layer.name for layer in second.layers] == [layer.name for layer in first.layers]
    assert len(hub.requests) == asked
    assert "HF_HUB_OFFLINE is set" in second.notes[0]
    told = refusal("hf://org/other")
    assert "HF_HUB_OFFLINE" in told
    assert "fetch it once with a connection" in told


def test_no_server(hub: Hub, two_layers: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories["org/net"] = Repository({"model.safetensors": two_layers})
    filterdb.read("hf://org/net")
    fetching._fetch.cache_clear()
    monkeypatch.setattr(CONSTANTS, "ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in filterdb.read("hf://org/net").notes[0]
    assert "cannot be reached. Check the network connection" in refusal("hf://org/other")


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_in_trouble(hub: Hub, status: int) -> None:
    hub.statuses["/api/models/"] = status
    assert f"trouble of its own ({status})" in refusal("hf://org/net")


def test_what_is_not_there_or_not_to_be_had(hub: Hub, two_layers: bytes) -> None:
    hub.repositories["org/gated"] = Repository({"model.safetensors": two_layers}, gated=True)
    hub.repositories["org/docs"] = Repository({"README.md": b"hi", "figure.png": b"?"})
    hub.repositories["org/empty"] = Repository({})
    assert "no such repository, or it is private" in refusal("hf://org/missing")
    assert "refuses access (403)" in refusal("hf://org/gated")
    assert "it has README.md, figure.png" in refusal("hf://org/docs")
    assert "it is empty" in refusal("hf://org/empty")
    hub.statuses["/api/models/"] = 401
    assert "log in with" in refusal("hf://org/gated2")


def test_a_gated_repository_of_another_format(hub: Hub) -> None:
    hub.repositories["org/gated"] = Repository({"pytorch_model.bin": b"x" * 50}, gated=True)
    told = refusal("hf://org/gated")
    assert "Ask for it at" in told
    assert "hf auth login" in told


def test_a_login_is_for_the_hub_alone(
    hub: Hub, two_layers: bytes, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_topsecret")
    hub.repositories["org/net"] = Repository({"model.safetensors": two_layers})
    filterdb.read("hf://org/net")
    told = refusal("hf://org/missing")
    for request in hub.requests:
        if request.path.startswith("/lfs/"):
            assert request.authorization is None
        elif "/org/" in request.path:
            assert request.authorization == "Bearer hf_topsecret"
    assert "topsecret" not in told + "".join(capfd.readouterr())


def test_names_of_files_that_lead_out_are_not_followed(hub: Hub, two_layers: bytes) -> None:
    hub.repositories["org/evil"] = Repository(
        {}, commit="c" * 40, listed=("../../evil.safetensors", "/etc/model.safetensors", "a\\b.bin")
    )
    assert "no file with weights" in refusal("hf://org/evil")
    index = json.dumps({"weight_map": {"a": "../../../x.safetensors"}}).encode()
    hub.repositories["org/index"] = Repository({"model.safetensors.index.json": index})
    assert "names 1 files, of which 0 are there" in refusal("hf://org/index")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"weight_map": 3}', b"[" * 5000, b"\xff"])
def test_a_damaged_index(hub: Hub, body: bytes) -> None:
    hub.repositories["org/net"] = Repository({"model.safetensors.index.json": body})
    assert "weight" in refusal("hf://org/net")


def test_a_damaged_header(hub: Hub) -> None:
    for number, body in enumerate((b"<html>", b"\x08\0\0\0\0\0\0\0{nojson}", b"\xff" * 100)):
        hub.repositories[f"org/n{number}"] = Repository({"model.safetensors": body})
        assert refusal(f"hf://org/n{number}")


def test_a_damaged_file_is_told_by_its_name(hub: Hub, two_layers: bytes) -> None:
    hub.repositories["org/cut"] = Repository({"model.safetensors": two_layers[:-9]})
    assert "cut short" in refusal("hf://org/cut")
    assert "cut short" in refusal(str(Path("hf://org/cut")))
    with pytest.raises(ReadError, match="cut short"):
        filterdb.read(Path("hf://org/cut"))


def test_a_large_file_is_refused(
    hub: Hub, two_layers: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("filterdb.remote.announcing.MOST_BYTES", 1000)
    hub.repositories["org/net"] = Repository({"model.safetensors": two_layers})
    assert "no more than 1.0 kB are downloaded" in refusal("hf://org/net", LimitError)
    assert all(request.range for request in hub.downloads)


def test_pytorch_where_there_is_no_other(hub: Hub, tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.ones(8, 3, 3, 3)}, tmp_path / "w.bin")
    hub.repositories["org/old"] = Repository(
        {"pytorch_model.bin": (tmp_path / "w.bin").read_bytes(), "training_args.bin": b"?"}
    )
    file = filterdb.read("hf://org/old")
    assert (file.format, len(file.layers)) == ("pytorch", 1)
    assert not any("training_args" in request.path for request in hub.requests)


def test_a_name_of_timm(hub: Hub, two_layers: bytes) -> None:
    for name in ("resnet18.a1_in1k", "resnet18.tv_in1k", "resnet18d.ra2_in1k"):
        hub.repositories[f"timm/{name}"] = Repository({"model.safetensors": two_layers})
    assert len(filterdb.read("timm:resnet18.a1_in1k").layers) == 2
    told = refusal("timm:resnet18")
    assert "timm:resnet18.a1_in1k, timm:resnet18.tv_in1k." in told
    assert "resnet18d" not in told
    assert "no such repository" in refusal("timm:resnet19")


def test_a_redirect_to_another_scheme(
    hub: Hub, two_layers: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["org/net"] = repository = Repository({"model.safetensors": two_layers})
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x"):
        hub.redirects[f"/org/net/resolve/{repository.commit}/model.safetensors"] = target
        assert "sends on" in refusal("hf://org/net")
    hub.repositories["org/old"] = old = Repository({"pytorch_model.bin": b"x" * 50})
    hub.redirects[f"/org/old/resolve/{old.commit}/pytorch_model.bin"] = "ftp://127.0.0.1/x"
    assert "sends on from http to ftp, which is refused" in refusal("hf://org/old")


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b"<html>", b'{"sha": "../.."}', b"\xff"])
def test_an_answer_that_is_none(hub: Hub, answer: bytes) -> None:
    hub.answers["/api/models/org/net"] = answer
    assert "not understood" in refusal("hf://org/net")


def test_an_answer_that_does_not_come(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(CONSTANTS, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr("filterdb.remote.hub.TIMEOUT", 0.2)
        assert "no answer" in refusal("hf://org/net")
        monkeypatch.setattr(transport, "TIMEOUT", 0.2)
        with pytest.raises(ReadError, match="no answer"):
            transport.read_part(f"{CONSTANTS.ENDPOINT}/x", 0, 10)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    fetching._fetch.cache_clear()
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"needs huggingface_hub. .*filterdb\[hub\]"):
        filterdb.read("hf://org/net")


def test_the_command_line(hub: Hub, two_layers: bytes, tmp_path: Path) -> None:
    hub.repositories["org/net"] = Repository({"model.safetensors": two_layers})
    settings = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    run = [sys.executable, "-m", "filterdb", "check", "--json", "hf://org/net", "hf://org/none"]
    done = subprocess.run(run, capture_output=True, text=True, env=settings)
    assert done.returncode == 3
    good, bad = json.loads(done.stdout)
    assert (good["file"], good["coverage"]["conv_layers"]) == ("hf://org/net", 2)
    assert bad["file"] == "hf://org/none"
    assert done.stderr.count("hf://org/none: The hub has no such repository") == 1
    assert list((tmp_path / "home" / "hub").glob("models--org--net/snapshots/*/*.safetensors"))


def test_no_network_without_a_name(two_layers: bytes, tmp_path: Path) -> None:
    """Not one socket: neither for a file, nor for a name that is none, nor for the imports."""
    (tmp_path / "net.safetensors").write_bytes(two_layers)
    code = (
        "import sys, filterdb\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, args: seen.append(event) "
        "if event.startswith(('socket.', 'urllib.', 'http.')) else None)\n"
        "import filterdb.remote.fetching, filterdb.ingest, filterdb.cli\n"
        "filterdb.check('net.safetensors')\n"
        "filterdb.open('db').ingest(['net.safetensors'], jobs=1)\n"
        "for name in ('hf://', 'https://', 'http://host.org/x'):\n"
        "    try: filterdb.read(name)\n"
        "    except filterdb.ReadError: pass\n"
        "assert 'huggingface_hub' not in sys.modules\n"
        "print(seen)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
