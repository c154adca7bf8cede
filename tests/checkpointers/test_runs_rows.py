"""What a run keeps in rows: answers, timers, and that deleting a thread leaves nothing of it and all of the others."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint

from tests.checkpointers.parts import START, alive
from tests.checkpointers.test_journal import ANSWER, CALL
from vertebra import open_checkpointer
from vertebra.checkpointers.opening import Store
from vertebra.databases.url import StoreUrl
from vertebra.errors import AnswerMismatch, ThreadBusy
from vertebra.types import CallKey, VisitRecord

ODD = [
    "Größe/наблюдение/診察/🙂",
    'it\'s "quoted" `; DROP TABLE vertebra_threads; --',
    "two\nlines\tand\r\na tab",
    "%s ? :name $1 {} \\ %",
    " ",
    "x" * 500,
    "🙂" * 500,
]


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with open_checkpointer(store_url) as opened:
        yield opened


async def test_an_answer_is_recorded_once(store: Store) -> None:
    assert await store.runs.answer("t", "i1", '{"ok": true}', "alice") is True
    assert await store.runs.answer("t", "i1", '{"ok": true}', "bob") is False
    with pytest.raises(AnswerMismatch, match="'i1' of thread 't' already has another answer") as caught:
        await store.runs.answer("t", "i1", '{"ok": false}', "alice")
    assert "first answer stands" in caught.value.remedy
    assert await store.runs.answer("t", "i2", '"Größe"', None) is True
    assert await store.runs.answer("u", "i1", "1", None) is True
    assert await store.runs.answers("t") == {"i1": '{"ok": true}', "i2": '"Größe"'}


async def test_of_answers_that_come_at_once_one_stands(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(store.runs.answer("t", "i", f"{n}", None) for n in range(8)), return_exceptions=True
    )
    assert [o for o in outcomes if o is True] == [True]
    assert sum(isinstance(o, AnswerMismatch) for o in outcomes) == 7
    assert await store.runs.answers("t") == {"i": f"{outcomes.index(True)}"}


async def test_timers_are_due_by_the_databases_clock(store: Store) -> None:
    due = await store.runs.set_timer("t", "late", 500.0)
    assert await store.runs.set_timer("t", "late", 0.0) == due
    assert await store.runs.due_timers() == []
    second = await store.runs.set_timer("t", "second", 0.0)
    await store.runs.set_timer("u", "first", -10.0)
    assert due - second == pytest.approx(500, abs=3)
    assert await store.runs.due_timers() == [("u", "first"), ("t", "second")]
    await store.runs.clear_timer("u", "first")
    await store.runs.clear_timer("u", "no such timer")
    assert await store.runs.due_timers() == [("t", "second")]


async def test_the_timers_of_a_thread_are_listed(store: Store) -> None:
    dues = {name: await store.runs.set_timer("t", name, in_s) for name, in_s in (("soon", 1.0), ("late", 500.0))}
    await store.runs.set_timer("u", "other", 0.0)
    assert await store.runs.timers("t") == dues


async def test_an_answered_thread_can_be_recovered_by_anybody(store: Store) -> None:
    """Whoever took the answer may die before driving the thread on."""
    _, lease = await store.runs.begin("t", START, alive(), 30.0)
    await store.runs.finish(lease, "interrupted", None)
    assert await store.runs.recoverable() == []
    await store.runs.answer("t", "i", "true", None)
    assert await store.runs.recoverable() == ["t"]
    record, _ = await store.runs.take("t", alive(), 30.0, max_recoveries=0)
    assert (record.status, record.recoveries) == ("running", 0)


async def fill(store: Store, thread: str) -> None:
    """Something in every table."""
    _, lease = await store.runs.begin(thread, START, alive(), 30.0)
    key = CallKey(thread, "v", "9f", 0, 0)
    await store.journal.begin(CALL.__class__(**{n: getattr(CALL, n) for n in CALL.__slots__} | {"key": key}))
    await store.journal.complete(key, ANSWER, 1.0)
    await store.journal.advance_epoch(thread, "v", frozenset(), "reason")
    await store.journal.record_value(thread, "v", "name", thread)
    await store.journal.visit_ended(thread, VisitRecord("v", "n", 1, "r", "done", 1, 0.0, 1.0))
    await store.journal.intervened(thread, "skip", "n", thread, {"thread": thread})
    await store.runs.answer(thread, "i", thread, None)
    await store.runs.set_timer(thread, "timer", 0.0)
    await store.runs.finish(lease, "interrupted", None)
    saver, version = store.saver, store.saver.get_next_version(None, None)
    checkpoint: Any = {**empty_checkpoint(), "channel_values": {"v": [thread]}, "channel_versions": {"v": version}}
    config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    after = await saver.aput(config, checkpoint, {}, {"v": version})
    await saver.aput_writes(after, [("v", [thread])], "task")
    await saver.aget_tuple(after)  # whoever reads, waits until what is held is durable


def rows(url: str, thread: str | None = None) -> dict[str, int]:
    """Rows in each table of the database that knows threads, whatever tables there are: all, or those of a thread."""
    found: dict[str, int] = {}
    parsed = StoreUrl.parse(url)
    if parsed.backend == "sqlite":
        with closing(sqlite3.connect(parsed.path if parsed.path.startswith("/") else f"/{parsed.path}")) as connection:
            tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            columns = {t: [c[1] for c in connection.execute(f'PRAGMA table_info("{t}")')] for t in tables}
            return {t: _count(connection, t, columns[t], thread, "?") for t in tables if _column(columns[t])}
    with psycopg.connect(parsed.dsn) as postgres:
        query = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        by_table: dict[str, list[str]] = {}
        for table, column in postgres.execute(query):
            by_table.setdefault(table, []).append(column)
        found = {t: _count(postgres, t, names, thread, "%s") for t, names in by_table.items() if _column(names)}
    return found


def _column(columns: list[str]) -> str | None:
    return next((name for name in ("thread", "thread_id") if name in columns), None)


def _count(connection: Any, table: str, columns: list[str], thread: str | None, mark: str) -> int:
    where, args = ("", ()) if thread is None else (f"WHERE {_column(columns)} = {mark}", (thread,))
    (number,) = connection.execute(f'SELECT count(*) FROM "{table}" {where}', args).fetchone()
    return int(number)


async def test_deleting_a_thread_removes_it_from_every_table_and_no_other(durable_url: str) -> None:
    threads = ["t", "t2", "T", *ODD]
    with open_checkpointer(durable_url) as store:
        for thread in threads:
            await fill(store, thread)
        tables = rows(durable_url, "t")
        assert len(tables) >= 9
        assert all(tables.values()), f"fill() puts nothing into {[t for t, n in tables.items() if not n]}"
        for n, thread in enumerate(threads):
            await store.runs.delete(thread)
            await store.saver.adelete_thread(thread)
            assert not any(rows(durable_url, thread).values())
            for other in threads[n + 1 :]:
                assert rows(durable_url, other) == tables
        assert not any(rows(durable_url).values())


async def test_a_thread_that_is_driven_is_not_deleted(durable_url: str) -> None:
    with open_checkpointer(durable_url) as store:
        await fill(store, "t")
        before = rows(durable_url)
        await store.runs.take("t", alive(), 30.0, by_hand=True)
        with pytest.raises(ThreadBusy):
            await store.runs.delete("t")
        assert rows(durable_url) == before
        await store.runs.delete("no such thread")


async def test_odd_names_come_back_as_they_are(store: Store) -> None:
    for thread in ODD:
        await fill(store, thread)
    assert {record.thread for record in await store.runs.threads()} == set(ODD)
    for thread in ODD:
        assert (await store.runs.require(thread)).status == "interrupted"
        (call,) = await store.journal.calls(thread)
        assert (call.key.thread, call.answer) == (thread, ANSWER)
        assert await store.journal.record_value(thread, "v", "name", "later") == thread
        assert await store.runs.answers(thread) == {"i": thread}
        (intervention,) = await store.journal.interventions(thread)
        assert (intervention["principal"], intervention["detail"]) == (thread, {"thread": thread})
        found = await store.saver.aget_tuple({"configurable": {"thread_id": thread}})
        assert found is not None
        assert found.checkpoint["channel_values"] == {"v": [thread]}
        assert [(channel, value) for _, channel, value in found.pending_writes or []] == [("v", [thread])]
