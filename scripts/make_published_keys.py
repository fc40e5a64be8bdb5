"""Write the eight published master key filters as the key set that comes with the package.

    python scripts/make_published_keys.py ../shared/golden/master_key_8filters.txt \
        --out src/filterdb/keys/sets/published8.safetensors

The weights are those of the text file, eight blocks of seven rows. Names and scales are those of
Lindeberg et al., to the three digits in which they are quoted; R² is what the family's member
explains at these scales. The chance line is a simulation with a fixed seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from filterdb.keys.fit import fit_keys
from filterdb.keys.key_set import KeyName, KeySet
from filterdb.keys.naming.member_fit import normalised, weights_at
from filterdb.keys.naming.members import BY_NAME
from filterdb.keys.sets.set_file import save_keys

MODELS = (
    ("d/dy forward", 0.644, 0.583),
    ("d/dx backward", 0.586, 0.644),
    ("d/dy backward", 0.690, 0.674),
    ("d/dx forward", 0.756, 0.460),
    ("d/dx", 1.107, 0.945),
    ("d/dy", 0.900, 0.889),
    ("centre-surround", 0.675, 0.675),
    ("Gaussian", 0.609, 0.601),
)
SOURCE = (
    "Babaiee et al. 2025 (arXiv 2412.16751, 2509.11711); Lindeberg et al. 2026 (arXiv 2509.12746)"
)
RANDOM = 1_000_000


def weights(path: Path) -> np.ndarray:
    """The numbers of the text file, shape (8, 7, 7)."""
    lines = [line.split() for line in path.read_text().splitlines()]
    rows = [[float(word) for word in line] for line in lines if line and line[0] != "Filter"]
    return np.array(rows).reshape(8, 7, 7)


def published_name(key: np.ndarray, model: tuple[str, float, float]) -> KeyName:
    """A published model, and what it explains of its key."""
    member, sigma_x, sigma_y = BY_NAME[model[0]], *model[1:]
    found, r2 = weights_at(normalised(key), member, (sigma_x, sigma_y), (3, 3))
    return KeyName(member.text(found), member.name, sigma_x, sigma_y, round(r2, 4))


def chance(keys: np.ndarray) -> dict[str, object]:
    """What the keys explain of random kernels."""
    random = np.random.default_rng(0).standard_normal((RANDOM, 49), np.float32)
    r2 = fit_keys(random, keys.reshape(8, 49), (7, 7)).r2.astype(np.float64)
    cosine = np.sqrt(r2)
    return {
        "kernels": f"{RANDOM:,} random kernels, N(0, 1)",
        "mean_cosine": round(float(cosine.mean()), 3),
        "p95_cosine": round(float(np.quantile(cosine, 0.95)), 3),
        "mean_r2": round(float(r2.mean()), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    keys = weights(options.text)
    names = tuple(published_name(key, model) for key, model in zip(keys, MODELS, strict=True))
    metadata = {
        "source": SOURCE,
        "licence": "CC BY 4.0",
        "population": "depthwise layers of ConvNeXt networks",
        "method": "autoencoder with a code of one number, then greedy removal from 50 keys to 8",
        "sigmas": "as published, by spatial spread (Lindeberg et al.), in pixels",
        "chance": chance(keys),
    }
    save_keys(KeySet("published8", keys, names=names, metadata=metadata), options.out)
    for name in names:
        print(name)
    print(metadata["chance"])


if __name__ == "__main__":
    main()
