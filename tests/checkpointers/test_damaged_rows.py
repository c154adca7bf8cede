"""Rows of state that are not as they were written: ``StoreCorrupt`` that names thread and row, whoever reads them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from tests.checkpointers.encrypted import execute
from vertebra import open_checkpointer
from vertebra.checkpointers.opening import Store
from vertebra.errors import StoreCorrupt, VertebraError

NOISE: dict[str, Any] = {
    "empty": b"",
    "a kind alone": b"\x03",
    "nothing": b"\x00",
    "no MessagePack": b"\x03\xff\xff\xff",
    "an unknown kind": b"\x77secret",
    "an unknown name of a kind": b"\xf0\x06secret",
    "text": "secret",
    "a number": 1.5,
    "a whole number": b"\x03\x05",
    "a large whole number": b"\x03\xcf" + b"\xff" * 8,
    "a list": b"\x03\x93\x01\x02\x03",
    "a mapping": b"\x03\x81\xa6secret\x01",
    "an extension": b"\x03\xc7\x06\x05secret",
}


def place(thread: str) -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}


async def put(store: Store, thread: str = "t") -> None:
    at = place(thread)
    for number in range(40):
        log = [f"{item} {'x' * 100}" for item in range(number)]
        values, versions = {"log": log, "text": "y" * 500}, {"log": number + 1, "text": 1}
        checkpoint = {**empty_checkpoint(), "channel_values": values, "channel_versions": versions}
        at = await store.saver.aput(at, checkpoint, {"step": number}, versions)  # type: ignore[arg-type]
    await store.saver.aput_writes(at, [("log", ["z" * 100])], "task")


async def _list(store: Store, thread: str) -> None:
    [item async for item in store.saver.alist(place(thread))]


async def _put(store: Store, thread: str) -> None:
    latest: Any = await store.saver.aget_tuple(place(thread))
    checkpoint = {**empty_checkpoint(), "channel_values": {"log": ["q" * 50]}, "channel_versions": {"log": 99}}
    await store.saver.aput(latest.config, checkpoint, {"step": 99}, {"log": 99})  # type: ignore[arg-type]


WAYS: dict[str, Callable[[Store, str], Awaitable[Any]]] = {
    "get": lambda store, thread: store.saver.aget_tuple(place(thread)),
    "list": _list,
    "prune": lambda store, thread: store.saver.aprune([thread]),
    "put": _put,
}


async def told(url: str, way: str, thread: str = "t") -> VertebraError | None:
    """What reading comes to: nothing that is not ours."""
    with open_checkpointer(url) as store:
        try:
            await WAYS[way](store, thread)
        except VertebraError as error:
            return error
    return None


@pytest.mark.parametrize("table", ["checkpoints", "writes", "pieces"])
async def test_a_damaged_row_in_sqlite_is_named(sqlite_url: str, table: str) -> None:
    with open_checkpointer(sqlite_url) as store:
        await put(store)
    for name, noise in NOISE.items():
        execute(sqlite_url, f"UPDATE vertebra_state_{table} SET data = ?", noise)
        for way in ("get", "list", "prune"):
            error = await told(sqlite_url, way)
            if error is None and way == "prune":
                continue  # what it does not need to read is not read
            assert isinstance(error, StoreCorrupt), (name, way)
            assert error.context["thread"] == "t", (name, way)
            assert "secret" not in str(error)
            assert error.__suppress_context__ or error.__cause__ is None


async def test_it_says_which_row(sqlite_url: str) -> None:
    with open_checkpointer(sqlite_url) as store:
        await put(store)
        latest: Any = await store.saver.aget_tuple(place("t"))
    id = latest.checkpoint["id"]
    execute(sqlite_url, "UPDATE vertebra_state_checkpoints SET data = ? WHERE id = ?", b"", id)
    for way in ("get", "list", "prune", "put"):
        error = await told(sqlite_url, way)
        assert isinstance(error, StoreCorrupt), way
        assert error.context == {"thread": "t", "row": f"checkpoint {id}"}
        assert str(error) == (
            f"Damaged row: checkpoint {id} (IndexError). [thread 't'] To go on: {StoreCorrupt.default_remedy}"
        )


@pytest.mark.parametrize("name", ["writes", "checkpoints"])
async def test_a_damaged_row_of_langgraphs_own_saver_in_sqlite_is_named(sqlite_url: str, name: str) -> None:
    from langgraph.checkpoint.sqlite import SqliteSaver

    with open_checkpointer(sqlite_url) as store, SqliteSaver.from_conn_string(store.url.path) as saver:
        config = saver.put(place("t"), empty_checkpoint(), {"step": 0}, {})
        saver.put_writes(config, [("v", 1)], "task")
    column = {"writes": "value", "checkpoints": "checkpoint"}[name]
    for noise in (b"\xc1", b""):
        execute(sqlite_url, f"UPDATE {name} SET {column} = ?", noise)
        for way in ("get", "list", "prune"):
            error = await told(sqlite_url, way)
            assert isinstance(error, StoreCorrupt), way
            assert error.context["thread"] == "t"


async def test_a_damaged_row_in_postgres_is_named(postgres_url: str) -> None:
    numbered = "(SELECT number FROM vertebra_state_threads WHERE thread = 'pieces')"
    damages = {
        "pieces": f"UPDATE vertebra_state_pieces SET data = ? WHERE thread_number = {numbered}",
        "marks": "UPDATE checkpoint_blobs SET blob = ? WHERE type = 'vertebra.pieces' AND thread_id = 'marks'",
        "writes": "UPDATE checkpoint_writes SET blob = ? WHERE thread_id = 'writes'",
        "checkpoints": "UPDATE checkpoints SET checkpoint = '{}' WHERE thread_id = 'checkpoints' AND ?::bytea IS NULL",
    }
    with open_checkpointer(postgres_url) as store:
        for thread in damages:
            await put(store, thread)
    for thread, sql in damages.items():
        for noise in (
            [None] if thread == "checkpoints" else [b"", b"\xc1secret", b"\x77secret", b"\x03\x93\x01\x02\x03"]
        ):
            execute(postgres_url, sql, noise)
            for way in ("get", "list", "prune"):
                error = await told(postgres_url, way, thread)
                if error is None and (way == "prune" or thread == "writes"):
                    continue  # what is not read, and what happens to be a value
                assert isinstance(error, StoreCorrupt), (thread, noise, way, error)
                assert error.context["thread"] == thread
                assert "secret" not in str(error)
