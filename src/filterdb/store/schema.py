"""The tables of the catalogue, and the version that a program must know to open them."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from filterdb.errors import SchemaVersionError

APPLICATION_ID = 0x46444231  # "FDB1" in the SQLite header: tells a catalogue from other databases
SCHEMA_VERSION = 4
OLDEST_VERSION = 2  # that can be read, and is brought up to date by whoever writes

METADATA = (
    "task",
    "visual_category",
    "training_dataset",
    "pretraining_dataset",
    "architecture",
    "framework",
    "precision",
    "license",
    "source_url",
    "paper",
    "run",
    "epoch",
)
"""What users say of a model and the catalogue has a column for; any other is added by need."""

MODELS = {
    "id": "INTEGER PRIMARY KEY",
    "name": "TEXT NOT NULL UNIQUE",
    "sha256": "TEXT NOT NULL UNIQUE",  # of the file with its companions
    "file_sha256": "TEXT NOT NULL",  # of the file alone: known before it is read
    "companions": "TEXT NOT NULL",  # JSON: further files, relative to the file's folder
    "weights_hash": "TEXT NOT NULL REFERENCES payloads(weights_hash)",
    "duplicate_of": "INTEGER REFERENCES models(id)",  # first model with the same weights
    "path": "TEXT NOT NULL",
    "format": "TEXT NOT NULL",
    "producer": "TEXT",
    "size_bytes": "INTEGER NOT NULL",
    "n_layers": "INTEGER NOT NULL",
    "n_filters": "INTEGER NOT NULL",
    "n_skipped": "INTEGER NOT NULL",
    "verdict": "TEXT NOT NULL",
    "reasons": "TEXT NOT NULL",  # JSON: list of sentences
    "degenerate_share": "REAL",
    "notes": "TEXT NOT NULL",  # JSON: list of sentences
    **dict.fromkeys(METADATA, "TEXT"),
    "epoch": "NUMERIC",
    "added_at": "TEXT NOT NULL",  # UTC, ISO 8601
    "filterdb_version": "TEXT NOT NULL",
    "digest": "TEXT NOT NULL",
}

MEASURES = {
    "n_invalid": "INTEGER",
    "peak": "REAL",
    "sparsity": "REAL",
    "variance_entropy": "REAL",
    "randomness_threshold": "REAL",
    "entropy_ratio": "REAL",
    "n_clean": "INTEGER",
    "clean_variance_entropy": "REAL",
    "clean_randomness_threshold": "REAL",
    "clean_entropy_ratio": "REAL",
    "orthogonality": "REAL",
    "l1": "REAL",
    "l2": "REAL",
    "l1_standardised": "REAL",
    "l2_standardised": "REAL",
}

STATES = {
    "weight_state": "TEXT",  # raw | folded | no_norm | unknown
    "state_evidence": "TEXT",
    "scheme": "TEXT",  # how quantised values stand for real ones
    "n_zero": "INTEGER",  # weights that are exactly 0
    "n_zero_filters": "INTEGER",
    "n_zero_channels": "INTEGER",  # output channels
}
"""What version 4 says of layers; undefined for those that an older program took in."""

LAYERS = {
    "model_id": "INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE",
    "layer_index": "INTEGER NOT NULL",
    "name": "TEXT NOT NULL",
    "kind": "TEXT NOT NULL",
    "kind_reason": "TEXT NOT NULL",
    "out_channels": "INTEGER NOT NULL",
    "in_per_group": "INTEGER NOT NULL",
    "groups": "INTEGER",
    "kh": "INTEGER NOT NULL",
    "kw": "INTEGER NOT NULL",
    "stride": "TEXT",  # "2x2": height x width, as kernels are written
    "dilation": "TEXT",
    "dtype": "TEXT NOT NULL",
    "conv_depth": "INTEGER NOT NULL",
    "conv_depth_norm": "REAL NOT NULL",
    "depth_source": "TEXT NOT NULL",
    "n_filters": "INTEGER NOT NULL",
    "weights_hash": "TEXT NOT NULL",
    "tensor": "TEXT NOT NULL",  # its name in the payload
    **MEASURES,
    "verdict": "TEXT NOT NULL",
    "reason": "TEXT NOT NULL",
    **STATES,  # last, as a catalogue that is brought up to date has them
}

FOLDED = {
    "model_id": "INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE",
    "layer_index": "INTEGER NOT NULL",
    "scale": "BLOB NOT NULL",  # of each output channel: little-endian float64
    **MEASURES,  # of the scaled weights
    "verdict": "TEXT NOT NULL",
    "reason": "TEXT NOT NULL",
    "digest": "TEXT NOT NULL",
}

SKIPPED = {
    "model_id": "INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE",
    "position": "INTEGER NOT NULL",
    "name": "TEXT NOT NULL",
    "reason": "TEXT NOT NULL",
}

BASES = {
    "id": "TEXT PRIMARY KEY",
    "kh": "INTEGER NOT NULL",
    "kw": "INTEGER NOT NULL",
    "n": "INTEGER NOT NULL",  # filters it was fitted on
    "origin": "TEXT NOT NULL",
    "mean": "BLOB NOT NULL",  # arrays: little-endian float64
    "components": "BLOB NOT NULL",
    "ratios": "BLOB NOT NULL",
    "digest": "TEXT NOT NULL",
}

SUMMARIES = {
    "model_id": "INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE",
    "layer_index": "INTEGER NOT NULL",
    "part": "TEXT NOT NULL",  # clean | sparse | folded_clean | folded_sparse
    "n": "INTEGER NOT NULL",
    "basis_id": "TEXT NOT NULL REFERENCES bases(id)",
    "peak": "REAL NOT NULL",
    "scaled": "BLOB NOT NULL",  # moments: sums, then the upper triangle of the sums of products
    "raw": "BLOB NOT NULL",
    "coarse": "BLOB NOT NULL",  # histograms: the narrowest unsigned integers that hold them
    "fine": "BLOB NOT NULL",  # deflated
    "digest": "TEXT NOT NULL",
}

PAYLOADS = {
    "weights_hash": "TEXT PRIMARY KEY",
    "sha256": "TEXT NOT NULL",
    "bytes": "INTEGER NOT NULL",
}

FAILURES = {
    "path": "TEXT PRIMARY KEY",
    "reason": "TEXT NOT NULL",
    "failed_at": "TEXT NOT NULL",
    "filterdb_version": "TEXT NOT NULL",
    "digest": "TEXT NOT NULL",
}

KEY_SETS = {
    "id": "TEXT PRIMARY KEY",  # of its keys and of what does not matter: the version of the set
    "name": "TEXT NOT NULL",
    "kh": "INTEGER NOT NULL",
    "kw": "INTEGER NOT NULL",
    "n_keys": "INTEGER NOT NULL",
    "added_at": "TEXT NOT NULL",
    "digest": "TEXT NOT NULL",
    "content": "BLOB NOT NULL",  # the set as a file
}

LABEL_COUNTS = {
    "n": "INTEGER NOT NULL",
    "n_constant": "INTEGER NOT NULL",
    "n_zero": "INTEGER NOT NULL",
    "n_r2_70": "INTEGER NOT NULL",  # filters with R2 of at least 0.70
    "n_r2_80": "INTEGER NOT NULL",
    "n_r2_90": "INTEGER NOT NULL",
    "n_r2_95": "INTEGER NOT NULL",
    "mean_r2": "REAL",  # of the filters that have a shape
}

KEY_LABELS = {
    "model_id": "INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE",
    "layer_index": "INTEGER NOT NULL",
    "key_set": "TEXT NOT NULL REFERENCES key_sets(id)",
    **LABEL_COUNTS,
    "digest": "TEXT NOT NULL",
    "labels": "BLOB NOT NULL",  # of each filter; last, so that the rest is read without it
}

INFERRED = {
    "model_id": "INTEGER NOT NULL REFERENCES models(id) ON DELETE CASCADE",
    "column": "TEXT NOT NULL",  # of models
    "value": "TEXT NOT NULL",
    "source": "TEXT NOT NULL",
    "digest": "TEXT NOT NULL",
}
"""What the file itself says of a model; users' own words go before."""

CHECKS = {
    "subject": "TEXT PRIMARY KEY",  # "schema": the tables' definition; "labels ID": of a key set
    "digest": "TEXT NOT NULL",
}

TABLES = {
    "payloads": (PAYLOADS, " WITHOUT ROWID"),
    "models": (MODELS, ""),
    "layers": (LAYERS | {"PRIMARY KEY": "(model_id, layer_index)"}, " WITHOUT ROWID"),
    "skipped": (SKIPPED | {"PRIMARY KEY": "(model_id, position)"}, " WITHOUT ROWID"),
    "bases": (BASES, ""),
    "summaries": (SUMMARIES | {"PRIMARY KEY": "(model_id, layer_index, part)"}, ""),
    "key_sets": (KEY_SETS, ""),
    "key_labels": (KEY_LABELS | {"PRIMARY KEY": "(model_id, layer_index, key_set)"}, ""),
    "folded": (FOLDED | {"PRIMARY KEY": "(model_id, layer_index)"}, ""),
    "inferred": (INFERRED | {"PRIMARY KEY": "(model_id, column)"}, ""),
    "failures": (FAILURES, " WITHOUT ROWID"),
    "checks": (CHECKS, " WITHOUT ROWID"),
}
"""Table -> its columns, and what stands behind them."""

SINCE = {3: ("key_sets", "key_labels"), 4: ("folded", "inferred")}
"""Version -> the tables that it brought. Version 4 brought :data:`STATES`, too."""

INDEXES = {
    "models_by_weights": "models (weights_hash)",
    "models_by_file": "models (file_sha256)",
}


def quoted(name: str) -> str:
    """Quote a column or table name for SQL, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def create_tables(connection: sqlite3.Connection) -> None:
    """Create all tables in an open transaction of a new, empty database file."""
    for table in TABLES:
        _create(connection, table)
    for index, columns_indexed in INDEXES.items():
        connection.execute(f"CREATE INDEX {index} ON {columns_indexed}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def add_tables(connection: sqlite3.Connection, version: int) -> None:
    """Bring a catalogue of an older version up to date, in an open transaction."""
    for table in _lacking(version):
        _create(connection, table)
    for name, declaration in STATES.items():
        connection.execute(f"ALTER TABLE layers ADD COLUMN {name} {declaration}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def stand_in(connection: sqlite3.Connection, version: int) -> None:
    """Give a reader of an older version what it lacks, undefined and in its memory only."""
    for table in _lacking(version):
        _create(connection, table, where="TEMP ")
    more = ", ".join(f"NULL AS {name}" for name in STATES)
    connection.execute(f"CREATE TEMP VIEW layers AS SELECT *, {more} FROM main.layers")  # noqa: S608


def _lacking(version: int) -> list[str]:
    return [table for since, tables in SINCE.items() if since > version for table in tables]


def _create(connection: sqlite3.Connection, table: str, *, where: str = "") -> None:
    columns, options = TABLES[table]
    body = ", ".join(f"{name} {declaration}" for name, declaration in columns.items())
    connection.execute(f"CREATE {where}TABLE {table} ({body}){options}")


def check_version(connection: sqlite3.Connection) -> int:
    """Make sure that this program knows the catalogue's schema; returns its version.

    Raises
    ------
    SchemaVersionError
        It is newer than this program, too old, or no filterdb catalogue at all.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        msg = (
            "catalogue.sqlite is an SQLite file, but not a filterdb catalogue (its application id "
            f"is {application:#x}). Check the path of the database folder."
        )
        raise SchemaVersionError(msg)
    if version > SCHEMA_VERSION:
        msg = (
            f"The database has schema version {version}; this program knows versions up to "
            f"{SCHEMA_VERSION}. Please update filterdb: pip install --upgrade filterdb"
        )
        raise SchemaVersionError(msg)
    if version < 1:
        msg = f"The catalogue's schema version is {version}, which never existed: it is damaged."
        raise SchemaVersionError(msg)
    if version < OLDEST_VERSION:
        msg = (
            f"The database has schema version {version}, from before the first release; this "
            f"program knows versions from {OLDEST_VERSION}. Ingest the models into a new folder."
        )
        raise SchemaVersionError(msg)
    return int(version)


def now() -> str:
    """The time, as the catalogue has it: UTC, ISO 8601, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def columns_of(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    """Names of a table's columns, the user's own included, in order."""
    rows = connection.execute(f"PRAGMA table_info({quoted(table)})")
    return tuple(row[1] for row in rows)
