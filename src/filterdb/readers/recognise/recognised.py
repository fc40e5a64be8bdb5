"""The table of formats that are told apart but cannot be read, each with the way out.

Order matters: the surest signature first, what rests on a neighbouring file or on plain text
last. How each is told stands in ``signatures.py``, ``protobuf_outline.py`` and
``plain_text.py``.
"""

from __future__ import annotations

from filterdb.readers.format import Recognised
from filterdb.readers.recognise.plain_text import is_openvino, is_table, is_text, text_matches
from filterdb.readers.recognise.protobuf_outline import (
    is_caffe,
    is_coreml,
    is_graph_def,
    is_meta_graph,
    is_paddle_program,
    is_saved_model,
)
from filterdb.readers.recognise.signatures import (
    any_of,
    begins,
    beside,
    folder_with,
    is_checkpoint_v1,
    is_checkpoint_v2,
    is_darknet,
    is_empty,
    is_flax,
    is_folder,
    is_joblib,
    is_katago,
    is_paddle_parameters,
    is_pickle,
    is_tar,
    is_tfjs,
    is_zeros,
)

UNPACK = "Unpack it first, then give the file of the network inside."
NO_NETWORK = "Give the file that holds the weights instead."
ORIGINAL = "Ask for the checkpoint that it was made from"
DOWNLOAD_AGAIN = "Download or copy the file again."

FOLDERS = (
    Recognised(
        "saved-model",
        "a TensorFlow SavedModel",
        "Convert it to ONNX: `python -m tf2onnx.convert --saved-model FOLDER --output model.onnx`.",
        any_of(folder_with("saved_model.pb", "saved_model.pbtxt"), is_saved_model),
    ),
    Recognised(
        "coreml",
        "a Core ML model (.mlmodel or .mlpackage)",
        f"{ORIGINAL}, or convert an .mlmodel to ONNX with onnxmltools.convert_coreml.",
        any_of(folder_with("Data/com.apple.CoreML"), is_coreml),
    ),
    Recognised(
        "orbax",
        "an Orbax checkpoint folder (JAX)",
        "Restore it in JAX with orbax.checkpoint and save the arrays with numpy.savez.",
        folder_with("_METADATA", "_CHECKPOINT_METADATA", "manifest.ocdbt"),
    ),
    Recognised(
        "pytorch-folder",
        "an unpacked PyTorch checkpoint (data.pkl and a folder of storages)",
        "Pack it again, uncompressed, with its folder: `zip -0 -r model.pth FOLDER`.",
        folder_with("data.pkl"),
    ),
)

CONTAINERS = (
    Recognised(
        "tflite",
        "a TFLite model",
        f"{ORIGINAL}, or convert it to ONNX: "
        "`python -m tf2onnx.convert --tflite model.tflite --output model.onnx`.",
        begins(b"TFL3", at=4),
    ),
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
        "katago-txt-gz",
        "a KataGo network (gzipped text)",
        "Take the PyTorch checkpoint that KataGo publishes beside it.",
        is_katago(binary=False),
    ),
    Recognised(
        "katago-bin-gz",
        "a KataGo network (gzipped binary)",
        "Take the PyTorch checkpoint that KataGo publishes beside it.",
        is_katago(binary=True),
    ),
    Recognised(
        "paddle",
        "a PaddlePaddle model (.pdparams, .pdmodel or .pdiparams)",
        "Convert it to ONNX with paddle2onnx.",
        any_of(is_paddle_parameters, is_paddle_program),
    ),
    Recognised(
        "joblib",
        "a joblib file",
        "Load it in a program that you trust, and save the arrays with numpy.savez.",
        is_joblib,
    ),
    Recognised(
        "pickle",
        "a plain Python pickle",
        "A pickle can run any code when it is loaded: if you trust its source, load it in Python "
        "and save its arrays with numpy.savez, or with safetensors.",
        is_pickle,
    ),
)

TENSORFLOW = (
    Recognised(
        "tf-checkpoint-v1",
        "a TensorFlow checkpoint (V1)",
        "Load it in TensorFlow with tf.train.load_checkpoint and save the arrays with numpy.savez.",
        is_checkpoint_v1,
    ),
    Recognised(
        "tf-checkpoint",
        "a TensorFlow checkpoint (V2: .index and .data)",
        "Load it in TensorFlow with tf.train.load_checkpoint and save the arrays with numpy.savez.",
        is_checkpoint_v2,
    ),
    Recognised(
        "tfjs",
        "a TensorFlow.js model (JSON and binary shards)",
        f"{ORIGINAL}, or convert it to ONNX: "
        "`python -m tf2onnx.convert --tfjs model.json --output model.onnx`.",
        is_tfjs,
    ),
    Recognised(
        "tensorflow-meta",
        "a TensorFlow graph description (.meta)",
        "The weights lie in the checkpoint beside it; save its arrays with numpy.savez.",
        is_meta_graph,
    ),
    Recognised(
        "tensorflow-pb",
        "a TensorFlow GraphDef (.pb)",
        "Convert it to ONNX: `python -m tf2onnx.convert --graphdef model.pb --inputs NAME:0 "
        "--outputs NAME:0 --output model.onnx`.",
        is_graph_def,
    ),
)

OTHER_FRAMEWORKS = (
    Recognised(
        "ncnn",
        "an ncnn model (.param and .bin)",
        f"{ORIGINAL}: usually an ONNX or a PyTorch file in the same project.",
        any_of(
            begins(b"7767517", (7767517).to_bytes(4, "little")),
            beside(".param", begins(b"7767517", (7767517).to_bytes(4, "little"))),
        ),
    ),
    Recognised(
        "openvino",
        "an OpenVINO model (.xml and .bin)",
        f"{ORIGINAL}: usually an ONNX file.",
        any_of(is_openvino, beside(".xml", is_openvino)),
    ),
    Recognised(
        "caffe",
        "a Caffe network (.caffemodel, or its .prototxt without weights)",
        f"{ORIGINAL}, or convert the .caffemodel to ONNX with caffe2onnx.",
        is_caffe,
    ),
    Recognised(
        "darknet",
        "a Darknet network (.weights, or its .cfg without weights)",
        "Load it with a PyTorch implementation of Darknet, and save its state dict.",
        is_darknet,
    ),
    Recognised(
        "flax",
        "a Flax checkpoint (msgpack)",
        "Load it with flax.serialization.msgpack_restore and save it with safetensors.flax.",
        is_flax,
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
