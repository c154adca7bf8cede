"""The one place where a database is spoken to: transactions over SQLite and Postgres.

Statements are written once, synchronously, as functions of a ``Tx``; ``run`` executes such a function
in a transaction on the database's own threads, ``run_sync`` on the caller's. Nothing here belongs to
an event loop, so one open store serves any loop and any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from vertebra.databases.failures import closed, driver_errors, require_postgres
from vertebra.databases.sealing import NO_SEALS, Seals
from vertebra.databases.url import StoreUrl
from vertebra.errors import StoreUnavailable, StoreUrlInvalid

T = TypeVar("T")
Row = Sequence[Any]

BUSY_TIMEOUT_S = 30.0
ALONE_S = 2.0
"""How long others are waited for by who must be alone: a connection that is open stays so."""
POOL_SIZE = 4
CONNECT_TIMEOUT_S = 10.0
IDLE_TRANSACTION_S = 10.0


class Tx(Protocol):
    """One open transaction. Statements take ``?`` for each argument on every backend.

    ``seals``: what content passes on its way into a row and out of it.
    """

    seals: Seals

    backend: str
    """``sqlite`` or ``postgresql``, for what only one of them has."""

    def execute(self, sql: str, *args: Any) -> int:
        """Run a statement; the number of rows it touched."""

    def one(self, sql: str, *args: Any) -> Row | None: ...

    def all(self, sql: str, *args: Any) -> list[Row]: ...

    def one_kept(self, sql: str, *args: Any) -> Row | None:
        """As ``one``; no other transaction changes the row that was found before this one ends."""

    def now(self) -> float:
        """The time by the database's clock, Unix seconds."""

    def lock(self, name: str) -> None:
        """Serialise with other transactions that lock the same name, until this one ends."""


class Database(Protocol):
    """Transactions, from async or sync code. ``seals`` is what they are given: none, until a store is encrypted."""

    backend: str
    seals: Seals

    async def run(self, work: Callable[[Tx], T]) -> T: ...

    def run_sync(self, work: Callable[[Tx], T]) -> T: ...

    async def read(self, work: Callable[[Tx], T]) -> T:
        """As ``run``, for work that only reads: on SQLite it waits for no writer, and no writer for it."""

    def read_sync(self, work: Callable[[Tx], T]) -> T: ...

    async def wipe(self) -> None:
        """Leave nothing in the files of what was deleted. Raises ``StoreUnavailable`` while a reader needs it.

        Postgres keeps old row versions until it vacuums, and its log: that is its operator's to say.
        """

    def wipe_sync(self) -> None: ...

    def close(self) -> None: ...


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
        self._connection = connect_sqlite(url, alone=alone)
        if forgetting:
            self._connection.execute("PRAGMA secure_delete=ON")

    async def run(self, work: Callable[[Tx], T]) -> T:
        return await self._run("BEGIN IMMEDIATE", work)

    def run_sync(self, work: Callable[[Tx], T]) -> T:
        return self._run_sync("BEGIN IMMEDIATE", work)

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self._run("BEGIN", work)

    def read_sync(self, work: Callable[[Tx], T]) -> T:
        return self._run_sync("BEGIN", work)

    async def _run(self, begin: str, work: Callable[[Tx], T]) -> T:
        if self._executor is None:
            return self._run_sync(begin, work)
        return await in_thread(self._executor, lambda: self._run_sync(begin, work), f"store {self._url}")

    def _run_sync(self, begin: str, work: Callable[[Tx], T]) -> T:
        with self._lock, driver_errors(self._url):
            if self._closed:
                raise closed(f"store {self._url}")
            self._connection.execute(begin)
            try:
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


async def in_thread(executor: Executor, work: Callable[[], T], owner: str) -> T:
    """Run sync work on the owner's own threads. Raises ``StoreUnavailable`` when it is closed."""
    try:
        future = asyncio.get_running_loop().run_in_executor(executor, contextvars.copy_context().run, work)
    except RuntimeError as error:
        raise closed(owner) from error
    # Shielded: a cancelled caller must not leave a transaction half way, nor its result unknown.
    return await asyncio.shield(future)


def connect_sqlite(url: StoreUrl, *, alone: bool = False) -> sqlite3.Connection:
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

    def one_kept(self, sql: str, *args: Any) -> Row | None:
        # BEGIN IMMEDIATE has already made this the only writer.
        return self.one(sql, *args)

    def now(self) -> float:
        # Milliseconds since the Julian epoch; SQLite before 3.42 has no subsecond unixepoch().
        row = self.connection.execute("SELECT (julianday('now') - 2440587.5) * 86400.0").fetchone()
        return float(row[0])

    def lock(self, name: str) -> None:
        """BEGIN IMMEDIATE has already made this the only writer."""


class PostgresDatabase:
    """A small pool of connections, each used by one thread of the database's own."""

    backend = "postgresql"

    def __init__(self, url: StoreUrl) -> None:
        self._url = url
        self._executor = ThreadPoolExecutor(POOL_SIZE, "vertebra-postgres")
        self.seals: Seals = NO_SEALS
        self._pool = open_pool(url)

    async def run(self, work: Callable[[Tx], T]) -> T:
        return await in_thread(self._executor, lambda: self.run_sync(work), f"store {self._url}")

    def run_sync(self, work: Callable[[Tx], T]) -> T:
        with driver_errors(self._url):
            if self._pool.closed:
                raise closed(f"store {self._url}")
            with self._pool.connection() as connection, connection.transaction():
                return work(PostgresTx(connection, self.seals))

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self.run(work)

    def read_sync(self, work: Callable[[Tx], T]) -> T:
        return self.run_sync(work)

    async def wipe(self) -> None:
        """Nothing: see ``Database.wipe``."""

    def wipe_sync(self) -> None:
        """Nothing: see ``Database.wipe``."""

    def close(self) -> None:
        self._executor.shutdown(wait=True)
        self._pool.close()


def open_pool(url: StoreUrl, *, quietly: bool = False, **kwargs: Any) -> Any:
    """A psycopg pool that has proved that it can connect. Raises ``MissingExtra`` without the driver.

    ``quietly``: whether a connection still lives is asked of its socket, not of the server, before each use.
    """
    require_postgres()
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    from vertebra.databases.pool import Pool

    try:
        given = conninfo_to_dict(url.dsn)
    except psycopg.ProgrammingError as error:
        # Neither its words nor the error itself: libpq quotes the whole URL, with the password.
        reason = str(error).partition(":")[0].strip()
        raise StoreUrlInvalid(f"PostgreSQL's driver cannot read {url}: {reason}.") from None

    def configure(connection: Any) -> None:
        connection.autocommit = True
        if url.durability == "process":
            connection.execute("SET synchronous_commit TO off")
        # A process that is stopped in a transaction must not keep others from taking its thread over.
        connection.execute(f"SET idle_in_transaction_session_timeout TO {int(IDLE_TRANSACTION_S * 1000)}")

    with driver_errors(url):
        # At first alone: a pool would try again in the background, and only say that it has waited too long.
        psycopg.connect(url.dsn, connect_timeout=int(given.get("connect_timeout") or CONNECT_TIMEOUT_S)).close()
        pool = Pool(
            url.dsn,
            min_size=1,
            max_size=POOL_SIZE,
            kwargs=kwargs,
            configure=configure,
            check=Pool.check_quietly if quietly else Pool.check_connection,
            timeout=CONNECT_TIMEOUT_S,
            open=False,
        )
        pool.open(wait=True, timeout=CONNECT_TIMEOUT_S)
        return pool


class PostgresTx:
    """The open transaction of a connection that gives rows as tuples, or of a cursor that does."""

    backend = "postgresql"

    def __init__(self, connection: Any, seals: Seals) -> None:
        self._connection = connection
        self.seals = seals

    def execute(self, sql: str, *args: Any) -> int:
        return int(self._connection.execute(sql.replace("?", "%s"), args).rowcount)

    def one(self, sql: str, *args: Any) -> Row | None:
        row: Row | None = self._connection.execute(sql.replace("?", "%s"), args).fetchone()
        return row

    def all(self, sql: str, *args: Any) -> list[Row]:
        rows: list[Row] = self._connection.execute(sql.replace("?", "%s"), args).fetchall()
        return rows

    def one_kept(self, sql: str, *args: Any) -> Row | None:
        return self.one(f"{sql} FOR SHARE", *args)

    def now(self) -> float:
        row = self.one("SELECT extract(epoch FROM clock_timestamp())")
        assert row is not None
        return float(row[0])

    def lock(self, name: str) -> None:
        self.one("SELECT pg_advisory_xact_lock(hashtextextended(?, 8461))", name)


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
