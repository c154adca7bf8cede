"""LangGraph's stores and our memory, each on a fresh database and synced alike: what is appended to and searched."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

from langgraph.store.base import IndexConfig, PutOp
from langgraph.store.memory import InMemoryStore
from langgraph.store.postgres import PostgresStore
from langgraph.store.sqlite import SqliteStore

from benchmarks._talk import Directions
from vertebra import open_memory
from vertebra.memory import Memory, appending
from vertebra.memory.appending import Draft
from vertebra.memory.messages import read_message
from vertebra.memory.place import Place
from vertebra.memory.records import Provenance

NAMESPACE = ("t", "c")
INDEX: IndexConfig = {"dims": Directions.dimensions, "embed": Directions().embed, "fields": ["content"]}  # type: ignore[typeddict-item]


def message(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@contextmanager
def in_memory_store(_: object, *, index: bool = False) -> Iterator[Any]:
    yield InMemoryStore(index=INDEX if index else None)


@contextmanager
def sqlite_store(folder: Path, *, wal: bool = True) -> Iterator[Any]:
    """As ``from_conn_string`` opens it (a rollback journal), or with a write-ahead log; synced as ours in both."""
    with closing(
        sqlite3.connect(folder / f"store-{wal}.db", check_same_thread=False, isolation_level=None)
    ) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        if wal:
            connection.execute("PRAGMA journal_mode=WAL")
        store = SqliteStore(connection)
        store.setup()
        yield store


@contextmanager
def postgres_store(url: str, *, index: bool = False) -> Iterator[Any]:
    with PostgresStore.from_conn_string(url, index=INDEX if index else None) as store:  # type: ignore[arg-type]
        store.setup()
        yield store


def file_url(folder: Path) -> str:
    return f"sqlite:////{str(folder).lstrip('/')}/memory.db"


def ours(url: str) -> AbstractContextManager[Memory]:
    return open_memory(url, embedder=Directions())


def fill(memory: Memory, texts: Sequence[str], *, a_conversation: int = 1_000) -> None:
    """Many messages, many in a transaction."""
    for start in range(0, len(texts), 1_000):

        def work(tx: Any, start: int = start) -> None:
            place = Place("t", f"c{start // a_conversation}")
            for text in texts[start : start + 1_000]:
                draft = Draft(read_message(message(text)), None, None, Provenance())
                appending.append(tx, place, f"s{start // a_conversation % 50}", draft)

        memory.database.run_sync(work)


def put_all(store: Any, texts: Sequence[str], *, batch: int = 500) -> None:
    for start in range(0, len(texts), batch):
        numbered = enumerate(texts[start : start + batch], start)
        store.batch([PutOp(NAMESPACE, str(number), message(text)) for number, text in numbered])


def appender(memory: Memory) -> Callable[[int, str], Any]:
    talk = memory.conversation("c", tenant="t")
    return lambda number, text: talk.append_sync(message(text), key=str(number))


def putter(store: Any) -> Callable[[int, str], Any]:
    return lambda number, text: store.put(NAMESPACE, str(number), message(text))
