"""Transactions on a Postgres server, over a small pool of connections."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from vertebra.databases.database import Row, Statement, Tx, in_thread
from vertebra.databases.failures import closed, driver_errors, require_postgres
from vertebra.databases.sealing import NO_SEALS, Seals, key_missing
from vertebra.databases.url import StoreUrl
from vertebra.errors import StoreUrlInvalid

T = TypeVar("T")

POOL_SIZE = 4
CONNECT_TIMEOUT_S = 10.0
IDLE_TRANSACTION_S = 10.0

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(?, 8461))"


class PostgresDatabase:
    """A small pool of connections, each used by one thread of the database's own."""

    backend = "postgresql"

    def __init__(self, url: StoreUrl) -> None:
        self._url = url
        self._executor = ThreadPoolExecutor(POOL_SIZE, "vertebra-postgres")
        self.seals: Seals = NO_SEALS
        self.plain_while_empty: str | None = None
        self._pool = open_pool(url, quietly=True)

    async def run(self, work: Callable[[Tx], T]) -> T:
        return await in_thread(self._executor, lambda: self.run_sync(work), f"store {self._url}")

    def run_sync(self, work: Callable[[Tx], T]) -> T:
        with driver_errors(self._url):
            if self._pool.closed:
                raise closed(f"store {self._url}")
            with self._pool.connection() as connection:  # which rolls back what was begun on it and not committed
                result = work(_WholeTx(connection, self.seals, self.plain_while_empty))
                connection.commit()
                return result

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
    now_sql = "extract(epoch FROM clock_timestamp())"

    def __init__(self, connection: Any, seals: Seals) -> None:
        self._connection = connection
        self.seals = seals

    def _run(self, sql: str, *args: Any) -> Any:
        return self._connection.execute(sql.replace("?", "%s"), args)

    def execute(self, sql: str, *args: Any) -> int:
        return int(self._run(sql, *args).rowcount)

    def one(self, sql: str, *args: Any) -> Row | None:
        row: Row | None = self._run(sql, *args).fetchone()
        return row

    def all(self, sql: str, *args: Any) -> list[Row]:
        rows: list[Row] = self._run(sql, *args).fetchall()
        return rows

    def write(self, *statements: Statement) -> None:
        *firsts, (last, *args) = statements
        named = ", ".join(f"written_{number} AS ({sql})" for number, (sql, *_) in enumerate(firsts))
        values = [value for _, *given in firsts for value in given]
        self._run(f"WITH {named} {last}" if firsts else last, *values, *args)

    def one_kept(self, sql: str, *args: Any) -> Row | None:
        return self.one(f"{sql} FOR SHARE", *args)

    def now(self) -> float:
        row = self.one(f"SELECT {self.now_sql}")
        assert row is not None
        return float(row[0])

    def lock(self, name: str) -> None:
        self.one(_LOCK, name)


class _WholeTx(PostgresTx):
    """A transaction that begins with its first statement: with a lock, which most begin with, in one round trip.

    ``plain_while_empty``: who makes the first keys locks their table, and so waits for all who have looked at it.
    """

    def __init__(self, connection: Any, seals: Seals, plain_while_empty: str | None) -> None:
        super().__init__(connection, seals)
        self._begun, self._keys = False, plain_while_empty

    def _run(self, sql: str, *args: Any) -> Any:
        if not self._begun:
            self._begin()
        return super()._run(sql, *args)

    def lock(self, name: str) -> None:
        if self._begun:
            super().lock(name)
        else:
            self._begin(_LOCK.replace("?", self._literal(name)))

    def _begin(self, *then: str) -> None:
        """Several statements without arguments are one message."""
        self._begun = True
        keys = [] if self._keys is None else [f"SELECT 1 FROM {self._keys} LIMIT 1"]
        begun = self._connection.execute("; ".join(["BEGIN", *keys, *then]), prepare=False)
        if keys and begun.nextset() and begun.fetchone() is not None:
            raise key_missing()

    def _literal(self, text: str) -> str:
        from psycopg.sql import Literal

        literal: str = Literal(text).as_string(self._connection)
        return literal
