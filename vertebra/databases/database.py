"""The one place where a database is spoken to: transactions over SQLite and Postgres.

Statements are written once, synchronously, as functions of a ``Tx``; ``run`` executes such a function
in a transaction on the database's own threads, ``run_sync`` on the caller's. Nothing here belongs to
an event loop, so one open store serves any loop and any thread.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol, TypeVar

from vertebra.databases.failures import closed
from vertebra.databases.sealing import Seals

T = TypeVar("T")
Row = Sequence[Any]
Statement = tuple[Any, ...]
"""SQL, and its arguments."""


class Tx(Protocol):
    """One open transaction. Statements take ``?`` for each argument on every backend.

    ``seals``: what content passes on its way into a row and out of it.
    """

    seals: Seals

    backend: str
    """``sqlite`` or ``postgresql``, for what only one of them has."""

    now_sql: str
    """The time by the database's clock, as an expression."""

    def execute(self, sql: str, *args: Any) -> int:
        """Run a statement; the number of rows it touched."""

    def write(self, *statements: Statement) -> None:
        """Run statements that write, none of which needs what another one wrote: in one round trip."""

    def one(self, sql: str, *args: Any) -> Row | None: ...

    def all(self, sql: str, *args: Any) -> list[Row]: ...

    def one_kept(self, sql: str, *args: Any) -> Row | None:
        """As ``one``; no other transaction changes the row that was found before this one ends."""

    def now(self) -> float:
        """The time by the database's clock, Unix seconds."""

    def lock(self, name: str) -> None:
        """Serialise with other transactions that lock the same name, until this one ends."""


class Database(Protocol):
    """Transactions, from async or sync code. ``seals`` is what they are given: none, until a store is encrypted.

    ``plain_while_empty``: a table of keys. Each transaction that may write asks whether it still is empty, and raises
    ``EncryptionKeyMissing``: else who opened an empty store without a key would go on writing plain rows when another
    process has opened it with one.
    """

    backend: str
    seals: Seals
    plain_while_empty: str | None

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


async def in_thread(executor: Executor, work: Callable[[], T], owner: str) -> T:
    """Run sync work on the owner's own threads. Raises ``StoreUnavailable`` when it is closed."""
    try:
        future = asyncio.get_running_loop().run_in_executor(executor, contextvars.copy_context().run, work)
    except RuntimeError as error:
        raise closed(owner) from error
    # Shielded: a cancelled caller must not leave a transaction half way, nor its result unknown.
    return await asyncio.shield(future)
