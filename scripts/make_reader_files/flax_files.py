"""Write the small Flax and Orbax files that the readers are tested with, and their arrays.

Flax, Orbax and TensorStore write the formats; none is a dependency of this project. To run it::

    python -m venv /tmp/v && /tmp/v/bin/pip install "flax==0.12.8"
    /tmp/v/bin/python scripts/make_reader_files/flax_files.py tests/readers/files/flax
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import flax.linen as nn
import flax.serialization as serialization
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore

RANDOM = np.random.default_rng(5)


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (3, 3), strides=2, use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=True)(x)
        x = nn.Conv(6, (3, 5), feature_group_count=6)(x)
        x = nn.Conv(8, (1, 1))(x)
        x = nn.ConvTranspose(4, (2, 3), transpose_kernel=False)(x)
        x = nn.ConvTranspose(5, (2, 3), transpose_kernel=True)(x)
        return nn.Dense(3)(x.mean((1, 2)))


def variables() -> dict:
    found = Network().init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    found["batch_stats"]["BatchNorm_0"]["var"] = jnp.linspace(0.5, 2, 6)
    found["params"]["BatchNorm_0"]["scale"] = jnp.linspace(1, 3, 6)
    return found


def expected(found: dict) -> dict[str, np.ndarray]:
    """Kernels with the output first."""
    arrays = {}
    for name, parts in found["params"].items():
        kernel = parts.get("kernel")
        if kernel is not None and kernel.ndim == 4:
            axes = (2, 3, 0, 1) if name == "ConvTranspose_1" else (3, 2, 0, 1)
            arrays[f"{name}/kernel"] = np.asarray(kernel, np.float32).transpose(axes)
    return arrays


def messages(folder: Path, found: dict) -> None:
    (folder / "variables.msgpack").write_bytes(serialization.to_bytes(found))
    (folder / "params.msgpack").write_bytes(serialization.to_bytes(found["params"]))
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), found)
    state = {
        "step": 3,
        "params": half["params"],
        "ema_params": jax.tree.map(lambda a: a + 1, half["params"]),
        "batch_stats": half["batch_stats"],
        "opt_state": {"0": {"mu": half["params"], "count": np.int32(3)}},
    }
    (folder / "state.msgpack").write_bytes(serialization.to_bytes(state))
    serialization.MAX_CHUNK_SIZE = 300
    (folder / "chunked.msgpack").write_bytes(serialization.to_bytes(found))
    arrays = expected(found)
    arrays |= {f"{k} bfloat16": v for k, v in expected(half).items()}
    scale = np.linspace(1, 3, 6) / np.sqrt(np.linspace(0.5, 2, 6) + 1e-5)
    np.savez_compressed(folder / "arrays.npz", scale=scale, **arrays)


def checkpoints(folder: Path, found: dict) -> None:
    for name, settings in {
        "zarr2": {"use_ocdbt": False},
        "zarr3": {"use_ocdbt": False, "use_zarr3": True},
        "ocdbt": {"use_ocdbt": True},
        "ocdbt3": {"use_ocdbt": True, "use_zarr3": True},
    }.items():
        path = (folder / name).absolute()
        shutil.rmtree(path, ignore_errors=True)
        small = {"params": {"Conv_0": found["params"]["Conv_0"],
                            "BatchNorm_0": found["params"]["BatchNorm_0"]},
                 "batch_stats": found["batch_stats"]}  # fmt: skip
        ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**settings)).save(path, small)
        for extra in ("_sharding", "array_metadatas", "commit_success.txt"):
            target = path / extra
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    path = (folder / "items").absolute()
    shutil.rmtree(path, ignore_errors=True)
    manager = ocp.Checkpointer(ocp.CompositeCheckpointHandler("state"))
    manager.save(path, ocp.args.Composite(state=ocp.args.PyTreeSave(small)))
    for note in [*path.rglob("commit_success.txt")]:
        note.unlink()


def arrays_in_chunks(folder: Path) -> None:
    """Chunks that do not fit, shards, an OCDBT tree of several levels, values out of line."""
    kernels = {f"Conv_{i}": RANDOM.normal(size=(3, 3, 5, 7)).astype("float32") for i in range(3)}
    np.savez_compressed(
        folder / "chunks.npz",
        **{f"{k}/kernel": kernels[k].transpose(3, 2, 0, 1) for k in kernels},
    )

    def file(name: str) -> dict:
        path = (folder / name).absolute()
        shutil.rmtree(path, ignore_errors=True)
        return {"driver": "file", "path": f"{path}/"}

    for name, settings in {
        "chunks_gzip": {"chunks": [2, 3, 2, 7], "compressor": {"id": "gzip", "level": 6}},
        "chunks_plain": {"chunks": [2, 3, 2, 7], "compressor": None, "order": "F"},
    }.items():
        base = file(name)
        for key, array in kernels.items():
            where = {"driver": "file", "path": f"{base['path']}params.{key}.kernel/"}
            spec = {"driver": "zarr", "kvstore": where, "create": True,
                    "metadata": {"shape": array.shape, "dtype": "<f4", **settings}}  # fmt: skip
            tensorstore.open(spec).result()[...] = array
    sharded = {
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 4, 4, 8]}},
        "codecs": [{"name": "sharding_indexed", "configuration": {
            "chunk_shape": [2, 4, 2, 8],
            "codecs": [{"name": "bytes", "configuration": {"endian": "big"}},
                       {"name": "gzip", "configuration": {"level": 5}}, {"name": "crc32c"}],
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}},
                             {"name": "crc32c"}],
        }}],
    }  # fmt: skip
    base = file("sharded")
    for key, array in kernels.items():
        where = {"driver": "file", "path": f"{base['path']}params.{key}.kernel/"}
        spec = {"driver": "zarr3", "kvstore": where, "create": True,
                "metadata": {"shape": array.shape, "data_type": "float32", **sharded}}  # fmt: skip
        tensorstore.open(spec).result()[...] = array
    for name, compression in (("tree", None), ("tree_zstd", {"id": "zstd"})):
        root = {"driver": "ocdbt", "base": file(name), "config": {
            "max_inline_value_bytes": 100 if compression is None else 200,
             "max_decoded_node_bytes": 400,
            "compression": compression}}  # fmt: skip
        for key, array in kernels.items():
            spec = {"driver": "zarr", "kvstore": {**root, "path": f"params.{key}.kernel/"},
                    "create": True, "metadata": {
                        "shape": array.shape, "dtype": "<f4", "chunks": [1, 1, 5, 7],
                        "compressor": None}}  # fmt: skip
            tensorstore.open(spec).result()[...] = array


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    found = variables()
    messages(folder, found)
    checkpoints(folder, found)
    arrays_in_chunks(folder)


if __name__ == "__main__":
    main()
