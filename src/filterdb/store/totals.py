"""Totals over the catalogue: what it covers, and what was left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from filterdb.store.query import reading
from filterdb.store.schema import LABEL_COUNTS

COUNTS = {
    "models": "SELECT count(*) FROM models",
    "distinct_weights": "SELECT count(DISTINCT weights_hash) FROM models",
    "duplicates": "SELECT count(*) FROM models WHERE duplicate_of IS NOT NULL",
    "layers": "SELECT count(*) FROM layers",
    "filters": "SELECT coalesce(sum(n_filters), 0) FROM layers",
    "distinct_filters": "SELECT coalesce(sum(n_filters), 0) FROM models WHERE duplicate_of IS NULL",
    "summarised_layers": "SELECT count(DISTINCT model_id || ' ' || layer_index) FROM summaries",
    "labelled_layers": "SELECT count(DISTINCT model_id || ' ' || layer_index) FROM key_labels",
    "skipped": "SELECT count(*) FROM skipped",
    "failures": "SELECT count(*) FROM failures",
    "source_bytes": "SELECT coalesce(sum(size_bytes), 0) FROM models",
    "payload_bytes": "SELECT coalesce(sum(bytes), 0) FROM payloads",
}
GROUPS = {
    "filters_by_kernel": "SELECT kh || 'x' || kw, sum(n_filters) FROM layers GROUP BY 1",
    "layers_by_kind": "SELECT kind, count(*) FROM layers GROUP BY 1",
    "layers_by_weight_state": (
        "SELECT coalesce(weight_state, 'unknown'), count(*) FROM layers GROUP BY 1"
    ),
    "models_by_format": "SELECT format, count(*) FROM models GROUP BY 1",
    "models_by_verdict": "SELECT verdict, count(*) FROM models GROUP BY 1",
    "layers_by_verdict": "SELECT verdict, count(*) FROM layers GROUP BY 1",
    "skipped_by_reason": "SELECT reason, count(*) FROM skipped GROUP BY 1",
}
COUNTED = [name for name in LABEL_COUNTS if name != "mean_r2"]
LABEL_TOTALS = f"""
    WITH labelled AS (
        SELECT key_set, mean_r2, {", ".join(f"key_labels.{name}" for name in COUNTED)},
            model_id = min(model_id) OVER (
                PARTITION BY key_set, models.weights_hash, layers.tensor
            ) AS first
        FROM key_labels JOIN layers USING (model_id, layer_index)
        JOIN models ON models.id = model_id
    )
    SELECT id, name, kh || 'x' || kw, n_keys, count(key_set),
        {", ".join(f"coalesce(sum({name}) FILTER (WHERE first), 0)" for name in COUNTED)},
        sum(mean_r2 * (n - n_constant - n_zero)) FILTER (WHERE first)
            / sum(n - n_constant - n_zero) FILTER (WHERE first)
    FROM key_sets LEFT JOIN labelled ON key_set = id
    GROUP BY id ORDER BY kh * kw, kh, name, id
"""  # noqa: S608
"""Labels by set; filters of weights that several models have count once, as labels count them."""
LISTS = {
    "bases": (
        ("kernel", "basis", "origin", "n"),
        "SELECT kh || 'x' || kw, id, origin, n FROM bases ORDER BY kh * kw, kh",
    ),
    "key_sets": (("key_set", "name", "kernel", "keys", "layers", *LABEL_COUNTS), LABEL_TOTALS),
    "failed_files": (
        ("path", "reason", "failed_at"),
        "SELECT path, reason, failed_at FROM failures ORDER BY path",
    ),
}


def totals(folder: Path) -> dict[str, Any]:
    """Count everything in a database; no payload is touched.

    Returns
    -------
    dict
        Numbers; then counts by group, the largest first; then ``bases`` (``kernel``, ``basis``,
        ``origin``, ``n``), which the histograms of each size are in; ``key_sets`` (``key_set``,
        ``name``, ``kernel``, ``keys``, ``layers``), by which so many layers are labelled, with
        the number of their filters ``n``, of those without a shape (``n_constant``, ``n_zero``)
        and of those with an R2 of at least 0.70 (``n_r2_70``), 0.80, 0.90 and 0.95, and the
        ``mean_r2`` of those with a shape: weights that several models have count once; then
        ``failed_files`` (``path``, ``reason``, ``failed_at``): the files that were offered and
        are in no model.

    Raises
    ------
    DatabaseNotFoundError, SchemaVersionError, StoreError
        The database cannot be read.
    """
    result: dict[str, Any] = {}
    with reading(folder) as connection:
        for name, query in COUNTS.items():
            result[name] = connection.execute(query).fetchone()[0]
        for name, query in GROUPS.items():
            result[name] = dict(connection.execute(f"{query} ORDER BY 2 DESC, 1").fetchall())
        for name, (columns, query) in LISTS.items():
            found = connection.execute(query)
            result[name] = [dict(zip(columns, row, strict=True)) for row in found]
    return result
