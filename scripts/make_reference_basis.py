"""Fit the reference bases of the package on a database of trained networks.

    filterdb ingest zoodb ../shared/zoo/weights
    python scripts/make_reference_basis.py zoodb --out src/filterdb/stats/reference_basis.npz

Every network counts once, however many filters it has, and sparse filters are left out. Kernel
sizes that few networks have keep the analytic basis. A better population may replace this one,
under a new ``REFERENCE_VERSION``: histograms in another basis are not comparable.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from filterdb.population.population import Population
from filterdb.stats.basis import fit_basis
from filterdb.stats.moments import Moments
from filterdb.stats.summary import has_summary
from filterdb.store.summaries import moments_of

ENOUGH_FILTERS, ENOUGH_NETWORKS = 1_000, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    arrays: dict[str, object] = {}
    for size in Population(options.database).kernels:
        if not has_summary(size.kernel):
            continue
        population = Population(options.database, kernel=size.kernel, drop_sparse=True)
        table = population.table(arrays=("scaled",))
        models = np.array([model for model, _ in table.keys])
        total, filters, networks = Moments.zero(size.kernel[0] * size.kernel[1]), 0, 0
        for model in np.unique(models):
            own = models == model
            n = int(table.n[own].sum())
            moments = moments_of(n, table.arrays["scaled"][own].sum(axis=0), size.kernel)
            total += Moments(1, moments.first / n, moments.second / n)
            filters, networks = filters + n, networks + 1
        if filters < ENOUGH_FILTERS * total.first.size / 9 or networks < ENOUGH_NETWORKS:
            continue
        basis = replace(fit_basis(total, size.kernel), n=filters)
        name = "{}x{}".format(*size.kernel)
        arrays |= {
            f"mean_{name}": basis.mean,
            f"components_{name}": basis.components,
            f"ratios_{name}": basis.explained_variance_ratio,
            f"n_{name}": filters,
            f"networks_{name}": networks,
        }
        deviation = np.sqrt(np.diag(total.covariance)).reshape(-1)
        correlation = total.covariance / np.outer(deviation, deviation)
        beside = [
            correlation[i, i + 1] for i in range(deviation.size - 1) if (i + 1) % size.kernel[1]
        ]
        print(f"{name}: {filters:,} filters of {networks} networks")
        print(f"  neighbours correlate by {np.mean(beside or [np.nan]):.2f}")
        print(f"  ratios {basis.explained_variance_ratio[:9].round(3)}")
    np.savez_compressed(options.out, **arrays)


if __name__ == "__main__":
    main()
