"""Transactions on a Postgres server, over a small pool of connections."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from vertebra.databases.database import Row, Tx, in_thread
from vertebra.databases.failures import closed, driver_errors, require_postgres
from vertebra.databases.sealing import NO_SEALS, Seals, key_missing
from vertebra.databases.url import StoreUrl
from vertebra.errors import StoreUrlInvalid

T = TypeVar("T")

POOL_SIZE = 4
CONNECT_TIMEOUT_S = 10.0
IDLE_TRANSACTION_S = 10.0


class PostgresDatabase:
    """A small pool of connections, each used by one thread of the database's own."""

    backend = "postgresql"

    def __init__(self, url: StoreUrl) -> None:
        self._url = url
        self._executor = ThreadPoolExecutor(POOL_SIZE, "vertebra-postgres")
        self.seals: Seals = NO_SEALS
        self.plain_while_empty: str | None = None
        self._pool = open_pool(url)

    async def run(self, work: Callable[[Tx], T]) -> T:
        return await in_thread(self._executor, lambda: self.run_sync(work), f"store {self._url}")

    def run_sync(self, work: Callable[[Tx], T]) -> T:
        with driver_errors(self._url):
            if self._pool.closed:
                raise closed(f"store {self._url}")
            with self._pool.connection() as connection:  # which rolls back what was begun on it and not committed
                self._begin(connection)
                result = work(PostgresTx(connection, self.seals))
                connection.commit()
                return result

    def _begin(self, connection: Any) -> None:
        """In one round trip. Who makes the first keys locks their table, and waits for all who have looked at it."""
        if self.plain_while_empty is None:
            connection.execute("BEGIN", prepare=False)
            return
        begun = connection.execute(f"BEGIN; SELECT 1 FROM {self.plain_while_empty} LIMIT 1", prepare=False)
        begun.nextset()
        if begun.fetchone() is not None:
            raise key_missing()

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
