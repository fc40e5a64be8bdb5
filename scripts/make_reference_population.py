"""Write the reference population of the package: statistics of the networks of a database.

    filterdb ingest zoodb ../shared/zoo/weights --metadata ../shared/zoo/manifest.csv
    python scripts/make_reference_population.py zoodb

Takes seconds. The same database gives the same bytes, and the order in which its files joined
does not matter. The CSV has to name each network's `repo`, `commit`, `path` and `license`.

A new reference basis (`scripts/make_reference_basis.py`) changes every histogram: ingest anew,
then run this again.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import filterdb
from filterdb.population.population import Population
from filterdb.reference.networks import BUILD, MEASURES, Stored, unpacked
from filterdb.reference.population import ReferencePopulation
from filterdb.stats.basis import reference_basis
from filterdb.store.summaries import moments_of

HERE = Path(__file__).resolve().parents[1] / "src/filterdb/reference"
VERSION = 1
LEAST_NETWORKS = 4
LEAST_FILTERS = 100
"""Of a network and a kernel size: D of fewer is bias, and sums over a few filters show them."""
COLUMNS = ("name", "license", "architecture", "task", "visual_category", "format", "n_layers",
           "n_filters", "verdict", "degenerate_share")  # fmt: skip
SOURCE = ("repo", "commit", "license")


def collect(folder: Path) -> dict[str, Any]:
    """The arrays of the file, from a database."""
    database = filterdb.open(folder)
    models, doubles = distinct(database.models())
    place = {model["id"]: number for number, model in enumerate(models)}
    arrays = layer_arrays(database.layers(), place)
    bases = {}
    for size in sorted(Population(folder).kernels, key=lambda size: size.kernel):
        if np.prod(size.kernel) == 1 or size.models < LEAST_NETWORKS:
            continue
        found = size_arrays(Population(folder, kernel=size.kernel), place)
        if len(found["n"]) >= LEAST_NETWORKS:
            name = "{}x{}".format(*size.kernel)
            bases[name] = reference_basis(size.kernel).id
            arrays |= {f"{part}_{name}": array for part, array in found.items()}
    about = {
        "version": VERSION,
        "filterdb": filterdb.__version__,
        "measures": MEASURES,
        "bases": bases,
        "networks": [network_row(model) for model in models],
        "left_out": sorted([*doubles, *unread(database.info()["failed_files"])]),
    }
    return {"about": np.array(json.dumps(about, ensure_ascii=False))} | arrays


def distinct(models: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """Models by name, of those with the same weights the first; and the others with the reason."""
    first: dict[str, dict[str, Any]] = {}
    doubles = []
    for model in sorted(models, key=lambda model: model["name"]):
        if first.setdefault(model["weights_hash"], model) is not model:
            doubles.append([model["name"], "with the weights of another network"])
    return list(first.values()), doubles


def unread(failures: Sequence[dict[str, str]]) -> list[list[str]]:
    """Files that are not in the database, with the reason in short."""
    short = {True: "in a format that cannot be read yet", False: "that cannot be read"}
    return [
        [Path(row["path"]).name, short["cannot be read yet" in row["reason"]]] for row in failures
    ]


def network_row(model: dict[str, Any]) -> dict[str, Any]:
    """What is stored of a network; where it comes from has to be known."""
    missing = [column for column in SOURCE if not model.get(column)]
    if missing:
        raise SystemExit(f"{model['name']}: the metadata lack {', '.join(missing)}.")
    row = {column: "unknown" if model[column] is None else model[column] for column in COLUMNS}
    return row | {
        "repository": model["repo"],
        "commit": model["commit"],
        "path": model["csv_path"],  # of the CSV: the catalogue has a path of its own
    }


def layer_arrays(rows: Sequence[dict[str, Any]], place: dict[int, int]) -> dict[str, Any]:
    """What is stored of the layers, network by network and in their order."""
    kept = sorted((row for row in rows if row["model_id"] in place),
                  key=lambda row: (place[row["model_id"]], row["layer_index"]))  # fmt: skip
    return {
        "layer_model": np.array([place[row["model_id"]] for row in kept], "<i2"),
        "layer_depth": np.array([row["conv_depth_norm"] for row in kept], "<f8"),
        "layer_kernel": np.array([(row["kh"], row["kw"]) for row in kept], "<i2"),
        "layer_kind": np.array([row["kind"] for row in kept]),
        "layer_verdict": np.array([row["verdict"] for row in kept]),
        "layer_filters": np.array([row["n_filters"] for row in kept], "<i4"),
        "layer_measures": np.array([[row[name] for name in MEASURES] for row in kept], "<f8"),
    }


def size_arrays(population: Population, place: dict[int, int]) -> dict[str, Any]:
    """What is stored of the filters of one kernel size, network by network."""
    kernel = population.kernel
    if population.reference.id != reference_basis(kernel).id:
        raise SystemExit(f"The database is in another basis. filterdb basis "
                         f"{population.folder} --adopt reference")  # fmt: skip
    table = population.table(arrays=("coarse", "scaled"), once=False)
    models = np.array([place.get(model, -1) for model, _ in table.keys])
    chosen, parts = [], []
    for model in range(len(place)):
        own = np.flatnonzero(models == model)
        n = int(table.n[own].sum())
        if n >= LEAST_FILTERS:
            chosen.append(model)
            moments = moments_of(n, table.arrays["scaled"][own].sum(axis=0), kernel)
            parts.append((moments, table.arrays["coarse"][own].sum(axis=0, dtype=np.float64)))
    return {
        "model": np.array(chosen, "<i2"),
        "n": np.array([moments.n for moments, _ in parts], "<i8"),
        "first": np.array([moments.first for moments, _ in parts], "<f8"),
        "second": np.array([moments.second for moments, _ in parts], "<f8"),
        "counts": np.array([counts for _, counts in parts]).astype("<u4"),
    }


def readme(stored: Stored) -> str:
    """The text file beside the population."""
    sizes = ", ".join(f"{h}x{w} ({len(size.model)})" for (h, w), size in stored.sizes.items())
    licences = Counter(network.license for network in stored.networks)
    rows = [
        f"| {network.name} | [{network.repository}]({network.source}) | "
        f"{network.license} | {network.architecture} | {network.task} | {network.n_layers:,} | "
        f"{network.n_filters:,} | {network.verdict} |"
        for network in stored.networks
    ]
    text = TEXT.format(
        version=stored.version,
        program=stored.filterdb_version,
        summary=ReferencePopulation(stored).summary,
        measures=", ".join(f"`{name}`" for name in MEASURES),
        sizes=sizes,
        least=LEAST_FILTERS,
        licences=", ".join(f"{name} ({number})" for name, number in licences.most_common()),
        left_out=", ".join(f"`{name}`" for name, _ in stored.left_out),
    )
    paragraphs = [textwrap.fill(part, 100, break_on_hyphens=False) for part in text.split("\n\n")]
    commands = textwrap.indent(BUILD.replace(" && ", "\n"), "    ")
    return "\n\n".join([*paragraphs[:2], commands, *paragraphs[2:], TABLE + "\n".join(rows)]) + "\n"


TEXT = """\
# The reference population

What `filterdb` measures a network against: `population.npz`, version {version}, made with filterdb
{program}. It was written by a script, as was this file:

{summary}

It holds statistics only, never weights: of each convolution layer its relative depth, kernel size,
kind, number of filters, verdict, and {measures}; of each network and kernel size the sums and sums
of products of its max-abs-scaled filters and 70-bin histograms of their coefficients in the
reference basis, where it has at least {least} filters of that size. Kernel sizes, with the number
of their networks: {sizes}.

These networks are no random sample of all networks: they are small ones, with permissive licences,
whose weights lie in their repositories. A percentile says where a layer stands among them; its
interval says how much of that is the choice of repositories.

Licences of the repositories, with the number of networks: {licences}. Files left out: {left_out}.
"""
TABLE = """\
| network | source | licence | architecture | task | layers | filters | verdict |
|--|--|--|--|--|--|--|--|
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("database", type=Path)
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    options = parser.parse_args()
    arrays = collect(options.database)
    target = options.out / "population.npz"
    np.savez_compressed(target, **arrays)
    stored = unpacked(arrays)
    (options.out / "README.md").write_text(readme(stored), encoding="utf-8")
    print(f"{target}: {target.stat().st_size:,} bytes. {ReferencePopulation(stored).summary}")


if __name__ == "__main__":
    main()
