"""Looking at a database before it is opened: opening makes tables, and a file that is not ours is to stay as it is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from urllib.parse import quote

from vertebra.databases.failures import driver_errors, require_postgres
from vertebra.databases.sqlite import BUSY_TIMEOUT_S
from vertebra.databases.url import StoreUrl


def has_table(url: StoreUrl, table: str) -> bool:
    """Whether a database that is there has this table. Writes nothing. Raises ``StoreError``, ``MissingExtra``."""
    if url.backend == "postgresql":
        require_postgres()
        import psycopg

        with driver_errors(url), psycopg.connect(url.dsn) as server:
            found = server.execute("SELECT to_regclass(%s)", (table,)).fetchone()
            return found is not None and found[0] is not None
    target = f"file:{quote(url.path)}?mode=ro"
    with driver_errors(url), closing(sqlite3.connect(target, uri=True, timeout=BUSY_TIMEOUT_S)) as file:
        sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return file.execute(sql, (table,)).fetchone() is not None
