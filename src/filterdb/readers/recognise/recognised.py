"""The table of formats that are told apart but cannot be read, each with the way out.

Order matters: the surest signature first, what rests on a neighbouring file or on plain text
last. How each is told stands in ``signatures.py``, ``protobuf_outline.py`` and
``plain_text.py``.
"""

from __future__ import annotations

from filterdb.readers.format import Recognised
from filterdb.readers.recognise.plain_text import is_table, is_text, text_matches
from filterdb.readers.recognise.protobuf_outline import (
    is_caffe,
    is_graph_text,
    is_meta_graph,
)
from filterdb.readers.recognise.signatures import (
    any_of,
    begins,
    folder_with,
    is_checkpoint_data,
    is_checkpoint_folder,
    is_empty,
    is_folder,
    is_joblib,
    is_tar,
    is_tfjs_shard,
    is_unpacked_checkpoint,
    is_zeros,
)

UNPACK = "Unpack it first, then give the file of the network inside."
NO_NETWORK = "Give the file that holds the weights instead."
ORIGINAL = "Ask for the checkpoint that it was made from"
DOWNLOAD_AGAIN = "Download or copy the file again."

FOLDERS = (
    Recognised(
        "pytorch-folder",
        "an unpacked PyTorch checkpoint (data.pkl and a folder of storages)",
        "Pack it again, uncompressed, with its folder: `zip -0 -r model.pth FOLDER`.",
        is_unpacked_checkpoint,
    ),
)

CONTAINERS = (
    Recognised(
        "ort",
        "a model in ONNX Runtime's own ORT format",
        "Give the .onnx file that it was made from.",
        begins(b"ORTM", at=4),
    ),
    Recognised(
        "executorch",
        "an ExecuTorch program",
        f"{ORIGINAL}.",
        begins(b"ET12", at=4),
    ),
    Recognised(
        "tensorrt",
        "a TensorRT engine",
        f"{ORIGINAL}: an engine is compiled for one device and cannot be turned back.",
        begins(b"ptrt", b"ftrt"),
    ),
    Recognised(
        "rknn",
        "an RKNN model",
        f"{ORIGINAL}: it is compiled for one chip and cannot be turned back.",
        begins(b"RKNN"),
    ),
    Recognised(
        "gguf",
        "a GGUF file, as llama.cpp uses for language models",
        "It rarely holds convolutions; ask for the safetensors file that it was made from.",
        begins(b"GGUF"),
    ),
    Recognised(
        "ggml",
        "a ggml file, the forerunner of GGUF",
        f"{ORIGINAL}.",
        begins(b"lmgg", b"fmgg", b"tjgg", b"algg"),
    ),
    Recognised(
        "mxnet",
        "MXNet parameters (.params)",
        "Convert them to ONNX in MXNet with mxnet.onnx.export_model.",
        begins(b"\x12\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ),
    Recognised(
        "torch7",
        "a Torch7 (Lua) file",
        "Convert it to a PyTorch state dict, for instance with the torchfile package.",
        begins(b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1"),
    ),
    Recognised(
        "matlab",
        "a MATLAB file (.mat)",
        "Load it with scipy.io.loadmat (or h5py from version 7.3 on) and save the arrays with "
        "numpy.savez, in the order (out, in, height, width).",
        begins(b"MATLAB 5.0", b"MATLAB 7.3", b"MATLAB 4"),
    ),
    Recognised(
        "joblib",
        "a joblib file",
        "Load it in a program that you trust, and save the arrays with numpy.savez.",
        is_joblib,
    ),
)

TENSORFLOW = (
    Recognised(
        "tf-checkpoint-data",
        "the data of a TensorFlow checkpoint",
        "Give the .index file beside it, which says what it holds.",
        is_checkpoint_data,
        model=False,
    ),
    Recognised(
        "tf-checkpoints",
        "a folder of several TensorFlow checkpoints",
        "Give the .index file of one of them, or all of them to `filterdb ingest`.",
        is_checkpoint_folder,
        model=False,
    ),
    Recognised(
        "tensorflow-pbtxt",
        "a TensorFlow graph in text form (.pbtxt)",
        "Give the binary form: parse it with google.protobuf.text_format, and write what "
        "SerializeToString returns to a .pb file.",
        any_of(folder_with("saved_model.pbtxt"), is_graph_text),
    ),
    Recognised(
        "tfjs-shard",
        "a shard of a TensorFlow.js model",
        "Give the JSON file beside it that names it.",
        is_tfjs_shard,
        model=False,
    ),
    Recognised(
        "tensorflow-meta",
        "a TensorFlow graph description without weights (.meta)",
        "Give the .index file of the checkpoint beside it; the graph is then read along with it.",
        is_meta_graph,
        model=False,
    ),
)

OTHER_FRAMEWORKS = (
    Recognised(
        "caffe-prototxt",
        "the description of a Caffe network, without weights (.prototxt)",
        "Give the .caffemodel file, which holds the description as well.",
        is_caffe,
        model=False,
    ),
)

ARCHIVES = tuple(
    Recognised(name, title, UNPACK, matches, model=False)
    for name, title, matches in (
        ("zip", "a ZIP archive", begins(b"PK\x03\x04", b"PK\x05\x06")),
        ("tar", "a tar archive", is_tar),
        ("gzip", "a gzip file", begins(b"\x1f\x8b")),
        ("7z", "a 7z archive", begins(b"7z\xbc\xaf\x27\x1c")),
        ("xz", "an xz file", begins(b"\xfd7zXZ\0")),
        ("zstd", "a Zstandard file", begins(b"\x28\xb5\x2f\xfd")),
        ("bzip2", "a bzip2 file", begins(b"BZh")),
        ("lz4", "an LZ4 file", begins(b"\x04\x22\x4d\x18")),
        ("rar", "a RAR archive", begins(b"Rar!\x1a\x07")),
    )
)

NO_NETWORKS = tuple(
    Recognised(name, title, mend, matches, model=False)
    for name, title, mend, matches in (
        ("empty", "an empty file", DOWNLOAD_AGAIN, is_empty),
        ("zeros", "a file of zero bytes wherever it was looked at", DOWNLOAD_AGAIN, is_zeros),
        (
            "git-lfs",
            "a Git LFS pointer",
            "Run `git lfs pull` in its repository to fetch the real file.",
            begins(b"version https://git-lfs.github.com/spec/"),
        ),
        (
            "html",
            "an HTML page",
            "The link led to a web page: download again with the raw or direct link.",
            text_matches(
                r"(<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*+-->\s*+)*+"
                r"(<!doctype html|<html|<head|<body)"
            ),
        ),
        ("png", "a PNG image", NO_NETWORK, begins(b"\x89PNG\r\n")),
        ("jpeg", "a JPEG image", NO_NETWORK, begins(b"\xff\xd8\xff")),
        ("gif", "a GIF image", NO_NETWORK, begins(b"GIF87a", b"GIF89a")),
        ("tiff", "a TIFF image", NO_NETWORK, begins(b"II*\0", b"MM\0*")),
        ("riff", "a WebP image, a sound or a film", NO_NETWORK, begins(b"RIFF")),
        ("mp4", "a film", NO_NETWORK, begins(b"ftyp", at=4)),
        ("pdf", "a PDF document", NO_NETWORK, begins(b"%PDF-")),
        (
            "program",
            "a program or a library",
            NO_NETWORK,
            begins(
                b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe"
            ),
        ),
        (
            "sqlite",
            "an SQLite database",
            "If it is the catalogue of a filterdb database, give the folder that it lies in to "
            "`filterdb info`.",
            begins(b"SQLite format 3\0"),
        ),
        ("parquet", "a Parquet or Arrow table", NO_NETWORK, begins(b"PAR1", b"ARROW1", b"FEA1")),
        ("json", "JSON text", NO_NETWORK, text_matches(r"[\[{]\s*[\"\[\]{}\d]")),
        ("xml", "XML text", NO_NETWORK, text_matches(r"<\?xml|<[a-z]\w*[ >]")),
        ("yaml", "YAML text", NO_NETWORK, text_matches(r"---\s|(#[^\n]*\n)*[\w-]+:( [^\n]*)?\n")),
        ("csv", "a table in text (CSV)", NO_NETWORK, is_table),
        ("text", "plain text", NO_NETWORK, is_text),
        (
            "folder",
            "a folder",
            "Give its files one by one, or all of them to `filterdb ingest`.",
            is_folder,
        ),
    )
)

RECOGNISED: tuple[Recognised, ...] = (
    *FOLDERS,
    *CONTAINERS,
    *TENSORFLOW,
    *OTHER_FRAMEWORKS,
    *ARCHIVES,
    *NO_NETWORKS,
)
