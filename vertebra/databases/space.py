"""The room that a database takes, and giving back what is free of it while others go on writing.

SQLite keeps freed pages in its file. Files that we made move the last pages into them a megabyte at a time, each a
short transaction. Files of before 0.2 are rewritten once, if what stays is small enough for writers to wait for it.
PostgreSQL is asked to vacuum our tables, which lets it use the room again and blocks nobody.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from vertebra.databases.database import Database, Tx
from vertebra.databases.failures import driver_errors
from vertebra.databases.sqlite import connect_sqlite
from vertebra.databases.url import StoreUrl

SLICE_PAGES = 250
REWRITE_BYTES = 256_000_000
"""What stays of a file that is rewritten at once: some 6 s on a slow disk, and writers wait for 30."""
READERS_S = 2.0
"""How long readers of pages that are gone are waited for before the file is cut off."""

_OURS = (
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY(current_schemas(false)) "
    "AND c.relkind = 'r' AND (left(c.relname, 9) = 'vertebra_' "
    "OR c.relname IN ('checkpoints', 'checkpoint_blobs', 'checkpoint_writes'))"
)


def size_bytes(database: Database, url: StoreUrl) -> int:
    """The bytes on disk: of the file and its log, or of our tables and indexes; in memory, those of the run records."""
    if url.backend == "sqlite":
        return file_bytes(url)
    return database.run_sync(_tables_bytes if url.backend == "postgresql" else _pages_bytes)


def file_bytes(url: StoreUrl) -> int:
    """The bytes of a SQLite file and its log."""
    files = (Path(f"{url.path}{suffix}") for suffix in ("", "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _tables_bytes(tx: Tx) -> int:
    row = tx.one(f"SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) {_OURS}")
    return int(row[0]) if row else 0


def _pages_bytes(tx: Tx) -> int:
    count, free, size = (tx.one(f"PRAGMA {name}") or (0,) for name in ("page_count", "freelist_count", "page_size"))
    return (int(count[0]) - int(free[0])) * int(size[0])


def reclaim(url: StoreUrl) -> Iterator[int]:
    """Give back what is free, a step at a time; yields the bytes that are still to go. Raises ``StoreError``."""
    if url.backend == "sqlite":
        yield from _shrink(url)
    elif url.backend == "postgresql":
        _vacuum(url)


def _shrink(url: StoreUrl) -> Iterator[int]:
    with closing(connect_sqlite(url)) as connection, driver_errors(url):
        page = _pragma(connection, "page_size")
        if not _pragma(connection, "auto_vacuum"):
            _rewrite(connection, page)
        elif _pragma(connection, "auto_vacuum") == 2:
            while free := _pragma(connection, "freelist_count"):
                yield free * page
                # As a script: a statement is left after its first row, which here is its first page.
                connection.executescript(f"PRAGMA incremental_vacuum({SLICE_PAGES})")
        connection.execute(f"PRAGMA busy_timeout={int(READERS_S * 1000)}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _rewrite(connection: sqlite3.Connection, page_bytes: int) -> None:
    free = _pragma(connection, "freelist_count")
    stays = (_pragma(connection, "page_count") - free) * page_bytes
    if free and stays <= REWRITE_BYTES:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("VACUUM")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _vacuum(url: StoreUrl) -> None:
    import psycopg

    with driver_errors(url), psycopg.connect(url.dsn, autocommit=True) as connection:
        names: list[Any] = connection.execute(f"SELECT c.oid::regclass::text {_OURS}").fetchall()
        for (name,) in names:
            connection.execute(f"VACUUM {name}")


def paced(began: float, longest_s: float = 0.25) -> float:
    """How long to leave a database to others after working in it since ``began`` (``time.monotonic``).

    SQLite gives its lock to whoever asks at the right moment: one who takes it again at once keeps it.
    """
    return min(time.monotonic() - began, longest_s)
