"""Find the key sets that come with the package, on public networks.

    filterdb ingest zoodb ../shared/zoo/weights --metadata ../shared/zoo/manifest.csv
    filterdb ingest demodb src/filterdb/demo/zoo --metadata src/filterdb/demo/zoo/models.csv
    python scripts/make_found_keys.py zoodb demodb

Eight keys for each kernel size, from twenty starts, whatever they turn out to be: what they explain
of networks held out, and whether that is more than chance, is in the metadata of each set. 7x7
depthwise filters are those of the demonstration's only network that has some.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import filterdb
from filterdb.keys import Settings, find, save
from filterdb.keys.key_set import KeySet
from filterdb.keys.search.found import FoundKeys
from filterdb.keys.sentences import headline
from filterdb.keys.sets.set_file import FOLDER

SEEDS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("zoo", type=Path)
    parser.add_argument("demo", type=Path)
    options = parser.parse_args()
    wanted = [
        (options.zoo, (3, 3), "repo", "public networks of the shared zoo, held out by repository"),
        (options.zoo, (5, 5), "repo", "public networks of the shared zoo, held out by repository"),
        (options.demo, (7, 7), None, "the demonstration's ConvMixer, held out by layer"),
    ]
    for database, kernel, hold_out, networks in wanted:
        population = filterdb.open(database).select(kernel=kernel)
        found = find(population, Settings(k=8, seeds=SEEDS, hold_out=hold_out))
        keys = named(found, "found{}x{}".format(*kernel), networks)
        save(keys, FOLDER / f"{keys.name}.safetensors")
        print(keys.name, keys.id, keys.metadata["verdict"], *keys.texts, sep="\n  ")


def named(found: FoundKeys, name: str, networks: str) -> KeySet:
    """The keys with a name, a licence, and what can be claimed for them."""
    metadata = {
        **found.keys.metadata,
        "networks": networks,
        "licence": "Apache-2.0",
        "verdict": headline(found),
        "claims": [asdict(claim) for claim in found.claims],
    }
    return replace(found.keys, name=name, metadata=metadata)


if __name__ == "__main__":
    main()
