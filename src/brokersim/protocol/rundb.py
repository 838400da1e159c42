"""Knows the layout of a run database (docs/reports.md), which the statsd server and modules write; opens none."""

from __future__ import annotations

from typing import Final

#: "brkr": tells `file` and us that a file is a run database.
APPLICATION_ID: Final = 0x62726B72
SCHEMA_VERSION: Final = 1
#: Times are seconds since the Unix epoch.
SCHEMA: Final = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE series (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (kind, name));
CREATE TABLE sample (series INTEGER NOT NULL, t REAL NOT NULL, v, PRIMARY KEY (series, t)) WITHOUT ROWID;
CREATE TABLE held (id INTEGER PRIMARY KEY CHECK (id = 0), t REAL NOT NULL, data BLOB NOT NULL);
CREATE TABLE histogram (series INTEGER NOT NULL, t REAL NOT NULL, data BLOB NOT NULL, PRIMARY KEY (series, t))
    WITHOUT ROWID;
"""
#: SQLite's integers have 63 bits and a sign, counters have 64: what is as large as this is kept as a double.
LARGEST_INTEGER: Final = 2**63
