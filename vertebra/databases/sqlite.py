"""Transactions on a SQLite file, or in memory: one connection, synced as its URL says."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from vertebra.databases.database import Row, Statement, Tx, in_thread
from vertebra.databases.failures import closed, driver_errors
from vertebra.databases.in_place import FileConnection
from vertebra.databases.sealing import NO_SEALS, Seals, key_missing
from vertebra.databases.url import StoreUrl
from vertebra.errors import StoreUnavailable

T = TypeVar("T")

WRITING, READING = "BEGIN IMMEDIATE", "BEGIN"
BUSY_TIMEOUT_S = 30.0
ALONE_S = 2.0
"""How long others are waited for by who must be alone: a connection that is open stays so."""


class SqliteDatabase:
    """One connection to one file, used by one thread at a time.

    Async callers queue for a thread of the database's own; in memory there is nothing to wait for,
    so they run at once.
    """

    backend = "sqlite"

    def __init__(self, url: StoreUrl, *, forgetting: bool = False, alone: bool = False) -> None:
        self._url = url
        self._lock = threading.RLock()
        self._executor = None if url.backend == "memory" else ThreadPoolExecutor(1, "vertebra-sqlite")
        self._closed = False
        self.seals: Seals = NO_SEALS
        self.plain_while_empty: str | None = None
        self._connection = connect_sqlite(url, alone=alone)
        if forgetting:
            self._connection.execute("PRAGMA secure_delete=ON")

    async def run(self, work: Callable[[Tx], T]) -> T:
        return await self._run(WRITING, work)

    def run_sync(self, work: Callable[[Tx], T]) -> T:
        return self._run_sync(WRITING, work)

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self._run(READING, work)

    def read_sync(self, work: Callable[[Tx], T]) -> T:
        return self._run_sync(READING, work)

    async def _run(self, begin: str, work: Callable[[Tx], T]) -> T:
        if self._executor is None:
            return self._run_sync(begin, work)
        return await in_thread(self._executor, lambda: self._run_sync(begin, work), f"store {self._url}")

    def _run_sync(self, begin: str, work: Callable[[Tx], T]) -> T:
        with self._lock, driver_errors(self._url):
            if self._closed:
                raise closed(f"store {self._url}")
            self._connection.begin(begin)
            try:
                # In memory there is no other process to make keys.
                if self.plain_while_empty is not None and begin != READING and self._url.backend == "sqlite":
                    require_no_keys(self._connection, self.plain_while_empty)
                result = work(SqliteTx(self._connection, self.seals))
                self._connection.commit()
            except BaseException:
                self._connection.rollback()
                raise
            return result

    async def wipe(self) -> None:
        if self._executor is None:
            self.wipe_sync()
        else:
            await in_thread(self._executor, self.wipe_sync, f"store {self._url}")

    def wipe_sync(self) -> None:
        with self._lock, driver_errors(self._url):
            if self._closed:
                raise closed(f"store {self._url}")
            # What is deleted is overwritten (secure_delete), but in the log it stands until that is emptied.
            row = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if row is not None and row[0]:
                raise StoreUnavailable(
                    f"What was deleted is still in the log of {self._url}: another connection is reading it.",
                    remedy="end long reads of this database, then do the same again.",
                )

    def rewrite_sync(self) -> None:
        """Write the whole file anew, so that no page has what was there before; the log has it until ``wipe``."""
        with self._lock, driver_errors(self._url):
            self._connection.execute("VACUUM")

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True)
        with self._lock:
            self._closed = True
            self._connection.close()


def require_no_keys(connection: sqlite3.Connection, table: str) -> None:
    """Raise ``EncryptionKeyMissing`` if the table of keys has any; within a transaction nobody adds one meanwhile."""
    if connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall():
        raise key_missing()


def connect_sqlite(url: StoreUrl, *, alone: bool = False) -> FileConnection:
    """A connection in WAL mode, synced as the URL's durability asks.

    ``alone``: it is the only one, of all processes, or ``StoreUnavailable`` is raised.
    """
    target = ":memory:" if url.backend == "memory" else url.path
    with driver_errors(url):
        connection = sqlite3.connect(
            target,
            timeout=ALONE_S if alone else BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            factory=FileConnection,
        )
        try:
            if url.backend == "sqlite":
                if alone:  # before the file is first read, after which it would mean less
                    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
                # Of a file without tables alone: pages that are freed can be given back in small steps (``space``).
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
                _retry_while_locked(
                    lambda: connection.execute("PRAGMA journal_mode=WAL"), ALONE_S if alone else BUSY_TIMEOUT_S
                )
                connection.execute(f"PRAGMA synchronous={'FULL' if url.durability == 'power' else 'NORMAL'}")
                connection.keep_to(url.absolute().path)
        except BaseException:
            connection.close()
            raise
        return connection


def _retry_while_locked(action: Callable[[], Any], for_s: float) -> None:
    """Changing the journal mode ignores the busy timeout: several processes may open a new file at once."""
    deadline = time.monotonic() + for_s
    while True:
        try:
            action()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.005, 0.05))


class SqliteTx:
    """The open transaction of a connection."""

    backend = "sqlite"
    # Milliseconds since the Julian epoch; SQLite before 3.42 has no subsecond unixepoch().
    now_sql = "(julianday('now') - 2440587.5) * 86400.0"

    def __init__(self, connection: sqlite3.Connection, seals: Seals) -> None:
        self.connection = connection
        self.seals = seals

    def execute(self, sql: str, *args: Any) -> int:
        return self.connection.execute(sql, args).rowcount

    def one(self, sql: str, *args: Any) -> Row | None:
        row: Row | None = self.connection.execute(sql, args).fetchone()
        return row

    def all(self, sql: str, *args: Any) -> list[Row]:
        return self.connection.execute(sql, args).fetchall()

    def write(self, *statements: Statement) -> None:
        for sql, *args in statements:
            self.connection.execute(sql, args)

    def one_kept(self, sql: str, *args: Any) -> Row | None:
        # BEGIN IMMEDIATE has already made this the only writer.
        return self.one(sql, *args)

    def now(self) -> float:
        return float(self.connection.execute(f"SELECT {self.now_sql}").fetchone()[0])

    def lock(self, name: str) -> None:
        """BEGIN IMMEDIATE has already made this the only writer."""
