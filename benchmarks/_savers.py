"""What is compared: ours and LangGraph's own checkpointer on a fresh database, each opened in the same way."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, Checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from tests.servers import postgres
from vertebra.checkpointers.postgres import PostgresCheckpointer
from vertebra.checkpointers.sqlite import SqliteCheckpointer

Place = Any
"""A folder or the URL of a database, empty at first."""


@dataclass(frozen=True)
class Backend:
    """``place`` makes an empty database; what ``committing`` gives commits one row and nothing else."""

    name: str
    place: Callable[[], AbstractContextManager[Place]]
    theirs: Callable[[Place], AbstractAsyncContextManager[Any]]
    ours: Callable[[Place], AbstractAsyncContextManager[Any]]
    size_of: Callable[[Place], int]
    committing: Callable[[Place], AbstractContextManager[Callable[[bytes], None]]]


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        yield Path(name)


@asynccontextmanager
async def langgraph_sqlite(place: Path) -> AsyncIterator[Any]:
    async with AsyncSqliteSaver.from_conn_string(str(place / "state.db")) as saver:
        await saver.conn.execute("PRAGMA journal_mode=WAL")
        await saver.conn.execute("PRAGMA synchronous=FULL")
        yield saver


@asynccontextmanager
async def our_sqlite(place: Path) -> AsyncIterator[Any]:
    with SqliteCheckpointer(f"sqlite:////{str(place).lstrip('/')}/state.db") as saver:
        yield saver


def size_of_file(place: Path) -> int:
    """After the log has been folded into the file."""
    connection = sqlite3.connect(place / "state.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return (place / "state.db").stat().st_size


@contextmanager
def committing_to_a_file(place: Path) -> Iterator[Callable[[bytes], None]]:
    connection = sqlite3.connect(place / "bare.db", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, data BLOB)")
    yield lambda data: connection.execute("INSERT INTO t (data) VALUES (?)", (data,)) and None
    connection.close()


@asynccontextmanager
async def langgraph_postgres(url: str) -> AsyncIterator[Any]:
    options: Any = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(url, min_size=1, max_size=4, kwargs=options) as pool:
        saver = AsyncPostgresSaver(pool)  # type: ignore[arg-type]
        await saver.setup()
        yield saver


@asynccontextmanager
async def our_postgres(url: str) -> AsyncIterator[Any]:
    with PostgresCheckpointer(url) as saver:
        yield saver


def size_of_tables(url: str) -> int:
    """With their indexes and what is kept out of line."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' "
            "AND (relname LIKE 'checkpoint%' OR relname LIKE 'vertebra_state_%')"
        ).fetchone()
        assert found is not None
        return int(found[0])


@contextmanager
def committing_to_a_server(url: str) -> Iterator[Callable[[bytes], None]]:
    with psycopg.connect(url, autocommit=True, prepare_threshold=0) as connection:
        connection.execute("CREATE TABLE bare (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, data BYTEA)")
        yield lambda data: connection.execute("INSERT INTO bare (data) VALUES (%b)", (data,)) and None


class BareCommits(BaseCheckpointSaver[int]):
    """Keeps nothing, and commits once for each checkpoint, on a thread of its own: no saver can do with less."""

    def __init__(self, commit: Callable[[], None]) -> None:
        super().__init__()
        self._commit = commit
        self._thread = ThreadPoolExecutor(1)

    def close(self) -> None:
        self._thread.shutdown()

    def get_next_version(self, current: int | None, channel: None) -> int:
        return (current or 0) + 1

    async def aget_tuple(self, config: RunnableConfig) -> None:
        return None

    async def aput_writes(self, config: RunnableConfig, writes: Any, task_id: str, task_path: str = "") -> None:
        return None

    async def aput(self, config: RunnableConfig, checkpoint: Checkpoint, metadata: Any, new_versions: Any) -> Any:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._commit)
        return {"configurable": {"checkpoint_ns": "", **config["configurable"], "checkpoint_id": checkpoint["id"]}}


SQLITE = Backend("SQLite", folder, langgraph_sqlite, our_sqlite, size_of_file, committing_to_a_file)


@contextmanager
def postgres_server(*, synced: bool) -> Iterator[Backend]:
    """A server from the wheel that the tests use, on this machine, over its socket."""
    home = postgres.folder_for_session()
    switch = "on" if synced else "off"
    try:
        server = postgres.start(home, os.getpid(), fsync=switch, full_page_writes=switch, shared_buffers="256MB")
        yield Backend(
            "Postgres",
            lambda: postgres.fresh_database(server),
            *(langgraph_postgres, our_postgres, size_of_tables, committing_to_a_server),
        )
    finally:
        postgres.stop(home)
