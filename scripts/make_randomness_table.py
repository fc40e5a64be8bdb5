"""Simulate how random and how trained filters look; write the table of ``stats.randomness``.

    python scripts/make_randomness_table.py

Takes about seven minutes on one core and is seeded: the same NumPy gives the same file.

The centred scatter matrix of n standard normal filters of k taps is a Wishart matrix with
m = n - 1 degrees of freedom. It is drawn by its Bartlett factor, whose size is the smaller of
k and m (an m x k Gaussian matrix and its transpose have the same singular values), so that a
layer of a million filters costs as little as one of a hundred.

Trained filters are drawn in the same way, with the published explained-variance ratios of 1.46
billion 3x3 filters as the true ones; for other sizes the logarithm of the ratios is stretched
over the components.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

TABLE = Path(__file__).resolve().parents[1] / "src/filterdb/stats/randomness_table.npz"
SEED = 20220315
TAPS = (*range(2, 11), 12, 14, 15, 16, 18, 20, 21, 24, 25, 28, 30, 33, 35, 36, 42, 49, 56, 64,
        81, 100, 121, 169, 225)  # fmt: skip
# Every number where H rises steeply, then half octaves.
FREEDOM = (*range(1, 11), 12, 14, *(round(2 ** (i / 2)) for i in range(8, 33)))  # ... 65536
BATCH = 1000  # the published threshold is the least of about this many draws
QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)
STATISTICS = ("least", *(f"q{q}" for q in QUANTILES), "mean")
# Explained-variance ratios of all 3x3 filters of CNN Filter DB (1,464,797,156).
PUBLISHED = (0.39815034, 0.18326029, 0.11703953, 0.09852558, 0.06576389, 0.05521558, 0.03007510,
             0.02823360, 0.02373609)  # fmt: skip


def draws_for(taps: int) -> int:
    """Fluctuations shrink as 1/k and become normal: large kernels need fewer draws."""
    return 8000 if taps <= 25 else 2000 if taps <= 64 else 500


def trained_spectrum(taps: int) -> np.ndarray:
    """The published ratios, stretched to ``taps`` components; sum 1."""
    logs = np.log(PUBLISHED)
    ranks = (np.arange(len(logs)) + 0.5) / len(logs)
    ends = 1.5 * logs[[0, -1]] - 0.5 * logs[[1, -2]]
    ratios = np.exp(
        np.interp((np.arange(taps) + 0.5) / taps, [0, *ranks, 1], [ends[0], *logs, ends[1]])
    )
    return ratios / ratios.sum()


def bartlett(rng: np.random.Generator, draws: int, size: int, freedom: int) -> np.ndarray:
    """Lower factors L of Wishart matrices L L^T, shape (draws, size, size)."""
    factor = np.tril(rng.standard_normal((draws, size, size)), -1)
    diagonal = np.arange(size)
    factor[:, diagonal, diagonal] = np.sqrt(rng.chisquare(freedom - diagonal, (draws, size)))
    return factor


def entropies(rng: np.random.Generator, draws: int, freedom: int, spectrum: np.ndarray,
              *, white: bool) -> np.ndarray:  # fmt: skip
    """Variance entropy of ``draws`` layers of ``freedom + 1`` filters, shape (draws,)."""
    taps = len(spectrum)
    if freedom >= taps:
        factor = bartlett(rng, draws, taps, freedom) * np.sqrt(spectrum)[:, None]
    elif white:
        factor = bartlett(rng, draws, freedom, taps)
    else:
        factor = rng.standard_normal((draws, freedom, taps)) * np.sqrt(spectrum)
    variances = np.linalg.eigvalsh(factor @ factor.transpose(0, 2, 1)).clip(min=1e-300)
    shares = variances / variances.sum(axis=1, keepdims=True)
    return -(shares * np.log10(shares)).sum(axis=1)


def statistics(values: np.ndarray) -> np.ndarray:
    """Least of a batch (on average), quantiles, and mean."""
    mean, deviation = values.mean(), values.std()
    if len(values) >= BATCH:
        least = values.reshape(-1, BATCH).min(axis=1).mean()
        quantiles = np.quantile(values, QUANTILES)
    else:  # few draws of a statistic that is normal by now: expected extremes of the normal
        least = mean - 3.2414 * deviation
        quantiles = mean + np.array([-2.32635, -1.64485, 0, 1.64485, 2.32635]) * deviation
    return np.array([least, *quantiles, mean])


def main() -> None:
    shape = (len(TAPS), len(FREEDOM), len(STATISTICS))
    tables = {"random": np.empty(shape), "trained": np.empty(shape)}
    start = time.perf_counter()
    for i, taps in enumerate(TAPS):
        spectra = {"random": np.full(taps, 1 / taps), "trained": trained_spectrum(taps)}
        for j, freedom in enumerate(FREEDOM):
            for name, spectrum in spectra.items():
                rng = np.random.default_rng((SEED, taps, freedom, name == "trained"))
                values = entropies(rng, draws_for(taps), freedom, spectrum,
                                   white=name == "random")  # fmt: skip
                tables[name][i, j] = np.log10(taps) - statistics(values)
        print(f"k = {taps}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    np.savez_compressed(
        TABLE,
        taps=np.array(TAPS, np.int32),
        freedom=np.array(FREEDOM, np.int32),
        statistics=np.array(STATISTICS),
        **{name: table.astype(np.float32) for name, table in tables.items()},
    )
    print(f"{TABLE}: {TABLE.stat().st_size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
