"""Which database a URL names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

from vertebra.databases.database import Database, Tx
from vertebra.databases.failures import driver_errors
from vertebra.databases.postgres import CONNECT_TIMEOUT_S, PostgresDatabase, PostgresTx
from vertebra.databases.sealing import NO_SEALS
from vertebra.databases.sqlite import SqliteDatabase, SqliteTx, connect_sqlite
from vertebra.databases.url import StoreUrl

T = TypeVar("T")


def open_database(url: StoreUrl, *, forgetting: bool = False) -> Database:
    """Open what the URL names; ``forgetting``: what is deleted is overwritten, where SQLite keeps it.

    Raises ``StoreUnavailable``, ``StoreCorrupt`` or ``MissingExtra``.
    """
    return PostgresDatabase(url) if url.backend == "postgresql" else SqliteDatabase(url, forgetting=forgetting)


def read_apart(url: StoreUrl, work: Callable[[Tx], T]) -> T:
    """Read on a connection of its own, outside of whatever transaction is open; of no use for ``memory://``."""
    with driver_errors(url):
        if url.backend == "sqlite":
            with contextlib.closing(connect_sqlite(url)) as connection:
                return work(SqliteTx(connection, NO_SEALS))
        import psycopg

        with psycopg.connect(url.dsn, autocommit=True, connect_timeout=int(CONNECT_TIMEOUT_S)) as connection:
            return work(PostgresTx(connection, NO_SEALS))
