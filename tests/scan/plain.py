"""The formulae of METHODS 1.3 and 1.4, written down with NumPy and SciPy over all filters."""

from __future__ import annotations

import numpy as np
from scipy.stats import entropy


def scaled(filters):
    peaks = np.abs(filters.astype(np.float64)).max(axis=1, keepdims=True)
    return np.divide(filters, peaks, out=np.zeros(filters.shape), where=peaks > 0)


def sparse(filters):
    peak = np.abs(filters).max()
    return np.all(np.abs(filters) < np.float32(0.01 * peak), axis=1) | (peak == 0)


def principal_components(filters):
    """Mean, components (rows; the largest entry of each is positive) and variance ratios."""
    mean = filters.mean(axis=0)
    _, values, rows = np.linalg.svd(filters - mean, full_matrices=False)
    signs = [np.sign(row[np.abs(row).argmax()]) for row in rows]
    return mean, rows * np.array(signs)[:, None], values**2 / np.sum(values**2)


def shift(p_coefficients, q_coefficients, weights, limits):
    """``D`` of two sets of coefficients, of shape (n, k)."""
    total = 0.0
    for p, q, weight in zip(p_coefficients.T, q_coefficients.T, weights, strict=True):
        densities = []
        for values in (p, q):
            density, _ = np.histogram(values, 70, limits, density=True)
            density[density == 0] = np.finfo(np.float32).eps
            densities.append(density / density.sum())
        total += weight * (entropy(*densities) + entropy(*densities[::-1]))
    return total
