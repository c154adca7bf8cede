"""Our saver around each of LangGraph's: what is put in comes out, is listed, and is deleted for one thread alone."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from vertebra import open_checkpointer
from vertebra.checkpointers.ordering import OrderedSaver
from vertebra.errors import StoreUnavailable

VALUES: list[Any] = [None, b"", b"\x00\xff", "Größe 診察 🙂", "a\0b", "", {"ключ": [None, 1.5]}, "x" * 100_000]


class Mine(SqliteSaver):
    """A saver of a user: sync, as the one that it is made from."""


@asynccontextmanager
async def given(kind: str, tmp_path: Path) -> AsyncIterator[Any]:
    if kind == "async sqlite":
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "theirs.db")) as saver:
            yield saver
    elif kind == "memory":
        yield InMemorySaver()
    else:
        with closing(sqlite3.connect(tmp_path / "theirs.db", check_same_thread=False)) as connection:
            yield (SqliteSaver if kind == "sqlite" else Mine)(connection)


@pytest.fixture
def saver(store_url: str) -> Iterator[OrderedSaver]:
    with open_checkpointer(store_url) as store:
        yield store.saver


async def put(saver: OrderedSaver, thread: str, value: Any, after: Any = None, step: int = 0) -> Any:
    config = after or {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    version = saver.get_next_version(None, None)
    checkpoint: Any = {**empty_checkpoint(), "channel_values": {"v": value}, "channel_versions": {"v": version}}
    return await saver.aput(config, checkpoint, {"step": step, "source": "loop"}, {"v": version})


async def lives_through_everything(saver: OrderedSaver) -> None:
    first = await put(saver, "t", "first", step=1)
    await saver.aput_writes(first, [("v", "pending"), ("w", None)], "task")
    second = await put(saver, "t", "second", first, step=2)
    await put(saver, "u", "other")
    found = await saver.aget_tuple(first)
    assert found is not None
    assert [write[1:] for write in found.pending_writes or []] == [("v", "pending"), ("w", None)]
    whole = {"configurable": {"thread_id": "t"}}
    assert [i.config["configurable"]["checkpoint_id"] async for i in saver.alist(whole)] == [
        c["configurable"]["checkpoint_id"] for c in (second, first)
    ]
    assert [i.metadata["step"] async for i in saver.alist(whole, filter={"step": 1})] == [1]
    assert [i.metadata["step"] async for i in saver.alist(whole, limit=1)] == [2]
    assert [i.metadata["step"] async for i in saver.alist(whole, before=second)] == [1]
    await saver.adelete_thread("t")
    assert await saver.aget_tuple(whole) is None
    assert [i.checkpoint["channel_values"]["v"] async for i in saver.alist(None)] == ["other"]


async def test_every_store_of_ours(saver: OrderedSaver) -> None:
    await lives_through_everything(saver)


@pytest.mark.parametrize("kind", ["memory", "sqlite", "async sqlite", "a subclass of sqlite"])
async def test_savers_that_are_given(kind: str, tmp_path: Path) -> None:
    async with given(kind, tmp_path) as theirs:
        with open_checkpointer(theirs, journal=f"sqlite:///{tmp_path}/ours.db") as store:
            assert store.saver.inner is theirs
            assert store.saver.config_specs == theirs.config_specs
            await lives_through_everything(store.saver)
            assert await store.journal.record_value("t", "v", "name", "kept") == "kept"
    with open_checkpointer(f"sqlite:///{tmp_path}/ours.db") as store:
        assert store.journal.record_value_sync("t", "v", "name", "another") == "kept"


async def test_values_of_every_kind(saver: OrderedSaver) -> None:
    config = await put(saver, "t", VALUES)
    await saver.aput_writes(config, [(f"c{n}", value) for n, value in enumerate(VALUES)], "task")
    found = await saver.aget_tuple(config)
    assert found is not None
    assert found.checkpoint["channel_values"]["v"] == VALUES
    assert [value for _, _, value in found.pending_writes or []] == VALUES


async def test_its_sync_face_reads_the_same(saver: OrderedSaver) -> None:
    config = await put(saver, "t", "first")
    found = saver.get_tuple(config)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"v": "first"}
    assert [item.config for item in saver.list(config, limit=1)] == [found.config]


def test_versions_grow(saver: OrderedSaver) -> None:
    versions = [saver.get_next_version(None, None)]
    for _ in range(20):
        versions.append(saver.get_next_version(versions[-1], None))
    assert all(a < b for a, b in itertools.pairwise(versions))


async def test_what_the_driver_says_is_a_typed_error_and_passes(tmp_path: Path) -> None:
    with open_checkpointer(f"sqlite:///{tmp_path}/threads.db") as store:
        inner: Any = store.saver.inner
        await put(store.saver, "t", "first")
        connection = inner._file.writer._connection
        connection.execute("PRAGMA query_only=ON")
        with pytest.raises(StoreUnavailable, match="readonly"):
            await put(store.saver, "t", "second")
        connection.execute("PRAGMA query_only=OFF")
        await put(store.saver, "t", "second")
        connection.execute("ALTER TABLE vertebra_state_checkpoints RENAME TO gone")
        with pytest.raises(StoreUnavailable, match="no such table"):
            store.saver.get_tuple({"configurable": {"thread_id": "t"}})
        with pytest.raises(StoreUnavailable, match="no such table"):
            list(store.saver.list(None))
        with pytest.raises(StoreUnavailable, match="no such table"):
            [item async for item in store.saver.alist(None)]


async def test_closed_it_says_so(store_url: str) -> None:
    store = open_checkpointer(store_url)
    saver = store.saver
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        saver.get_tuple({"configurable": {"thread_id": "t"}})
    with pytest.raises(StoreUnavailable, match="closed"):
        list(saver.list(None))
    with pytest.raises(StoreUnavailable, match="closed"):
        [item async for item in saver.alist(None)]
    with pytest.raises(StoreUnavailable, match="closed"):
        await put(saver, "t", "late")
