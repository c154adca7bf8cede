"""A process that was stopped, replaced and woken writes nothing: each transaction looks at the lease."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from tests.checkpointers.parts import START, alive
from tests.checkpointers.stopping import Stopped, every_table
from vertebra import END, Append, Context, Graph, llm, open_checkpointer, transition
from vertebra import START as BEGIN
from vertebra.checkpointers import Store
from vertebra.checkpointers.fencing import writing_under
from vertebra.checkpointers.lease import Lease
from vertebra.errors import LeaseLost, UsageError
from vertebra.runtime.app import App
from vertebra.testing import ScriptedModel
from vertebra.types import Attempt, CallKey, CallRecord, RecordedAnswer, VisitRecord

KEY = CallKey("t", "v", "h", 0, 0)
CALL = CallRecord(KEY, "r1", "n", 1, "llm", "chat", "m", "intent", "{}", None, 1.0, None, 1, 0, 0)
ANSWER = RecordedAnswer(200, (), b"{}", 1, 2)


class State(BaseModel):
    topic: str = ""
    notes: Append[str] = []


@llm
async def left(state: State, ctx: Context) -> dict[str, object]:
    reply = await ctx.client.chat.completions.create(
        model=ctx.model, messages=[{"role": "user", "content": f"left {ctx.now():%Y}"}]
    )
    return {"notes": [str(reply.choices[0].message.content)]}


@llm
def right(state: State, ctx: Context) -> dict[str, object]:
    reply = ctx.sync_client.chat.completions.create(model=ctx.model, messages=[{"role": "user", "content": "right"}])
    return {"notes": [str(reply.choices[0].message.content)]}


@transition
def last(state: State) -> dict[str, object]:
    return {"notes": ["last"]}


def graph() -> Graph:
    g = Graph(State, name="fenced")
    for before, after in itertools.pairwise((BEGIN, left, right, last, END)):
        g.add_edge(before, after)
    return g


def opened(url: str) -> App:
    app: App = graph().compile(checkpointer=url, default_model="m", lease_ttl_s=0.4)
    return app


def drive(url: str) -> None:
    with opened(url) as app:
        app.run_sync({"topic": "fences"}, thread_id="t")


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        *(("writes.before", 1), ("writes.before", 2), ("checkpoint.before", 1), ("checkpoint.before", 2)),
        *(("call.intent", 1), ("call.received", 1), ("call.received", 2), ("node.started", 1), ("node.returned", 1)),
        *(("checkpoint.after", 1), ("thread.begun", 1), ("thread.finishing", 1)),
    ],
)
def test_a_stopped_process_that_was_replaced_writes_nothing(
    durable_url: str, scripted_model: ScriptedModel, point: str, nth: int
) -> None:
    with open_checkpointer(durable_url) as store:
        assert store.saver  # its tables are made
    with Stopped(lambda: drive(durable_url), point, nth=nth, url=durable_url) as stopped:
        with opened(durable_url) as app:
            deadline = time.monotonic() + 60
            while not (runs := app.recover_sync()):  # until the lease has run out
                assert time.monotonic() < deadline
                time.sleep(0.05)
            (run,) = runs
            assert run.status == "done"
            assert run.output.notes[-1] == "last"
            assert len(run.output.notes) == 3
        before = every_table(durable_url)
        assert stopped.wake() == "LeaseLost"
        assert every_table(durable_url) == before


@pytest.fixture(params=["sqlite", "postgres", "memory", "a saver that is given"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "a saver that is given":
        with open_checkpointer(InMemorySaver(), journal=request.getfixturevalue("sqlite_url")) as given:
            yield given
    else:
        url = "memory://" if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")
        with open_checkpointer(url) as opened:
            yield opened


async def checkpoint(store: Store, _: Lease) -> None:
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    await store.saver.aput(config, empty_checkpoint(), {"step": 0}, {})


async def writes(store: Store, _: Lease) -> None:
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c"}}
    await store.saver.aput_writes(config, [("v", 1), ("w", 2)], "task")


async def value_of_sync_code(store: Store, lease: Lease) -> None:
    await asyncio.to_thread(store.journal.under(lease).record_value_sync, "t", "v", "name", "value")


Write = Callable[[Store, Lease], Awaitable[Any]]
VISIT = VisitRecord("v", "n", 1, "r1", "done", 1, 1.0, 2.0)
WRITES: dict[str, Write] = {
    "checkpoint": checkpoint,
    "writes": writes,
    "value of sync code": value_of_sync_code,
    "value": lambda s, lease: s.journal.under(lease).record_value("t", "v", "name", "value"),
    "intent": lambda s, lease: s.journal.under(lease).begin(CALL),
    "attempt": lambda s, lease: s.journal.under(lease).sent(KEY, Attempt("lost", 1.0), again=True),
    "answer": lambda s, lease: s.journal.under(lease).complete(KEY, ANSWER, 2.0),
    "epoch": lambda s, lease: s.journal.under(lease).advance_epoch("t", "v", frozenset(), "r"),
    "visit": lambda s, lease: s.journal.under(lease).visit_ended("t", VISIT),
    "intervention": lambda s, lease: s.journal.under(lease).intervened("t", "skip", "n", None, {}),
    "timer": lambda s, lease: s.runs.set_timer("t", "deadline", 1.0, lease=lease),
    "end of the run": lambda s, lease: s.runs.finish(lease, "done", None),
}


async def contents(store: Store) -> list[Any]:
    config: Any = {"configurable": {"thread_id": "t"}}
    return [
        *(await store.journal.calls("t"), await store.journal.visits("t"), await store.journal.epochs("t", "v")),
        *(await store.journal.interventions("t"), await store.runs.get("t"), await store.runs.timers("t")),
        *([item async for item in store.saver.alist(config)],),
    ]


@pytest.mark.parametrize("write", WRITES)
async def test_each_write_proves_its_lease(store: Store, write: str) -> None:
    _, lease = await store.runs.begin("t", START, alive(), 0.0)
    with writing_under(lease):
        await WRITES[write](store, lease)  # it has run out, but nobody has taken the thread
    await store.runs.take("t", alive(), 60.0, by_hand=True)
    before = await contents(store)
    with writing_under(lease), pytest.raises(LeaseLost, match="taken over"):
        await WRITES[write](store, lease)
    assert await contents(store) == before


async def test_what_was_let_go_may_still_be_written_until_another_comes(store: Store) -> None:
    """A paid answer that arrives after its drive has ended is kept."""
    _, lease = await store.runs.begin("t", START, alive(), 60.0)
    journal = store.journal.under(lease)
    await journal.begin(CALL)
    await store.runs.finish(lease, "failed", None)
    assert await journal.complete(KEY, ANSWER, 2.0) == ANSWER
    await store.runs.take("t", alive(), 60.0, by_hand=True)
    with pytest.raises(LeaseLost):
        await journal.begin(CALL)


async def test_a_thread_that_was_deleted_is_not_written_nor_its_namesake(store: Store) -> None:
    _, lease = await store.runs.begin("t", START, alive(), 60.0)
    await store.runs.finish(lease, "done", None)
    await store.runs.delete("t")
    with pytest.raises(LeaseLost):
        await store.journal.under(lease).begin(CALL)
    _, other = await store.runs.begin("t", dataclasses.replace(START, run_id="r9"), alive(), 60.0)
    assert other.epoch == lease.epoch
    await store.runs.finish(other, "done", None)
    with pytest.raises(LeaseLost), writing_under(lease):
        await checkpoint(store, lease)


async def test_under_a_lost_lease_nothing_is_deleted_nor_copied(durable_url: str) -> None:
    with open_checkpointer(durable_url) as store:
        _, lease = await store.runs.begin("t", START, alive(), 0.0)
        await checkpoint(store, lease)
        with writing_under(lease):
            await store.saver.aprune(["t"])
        await store.runs.take("t", alive(), 60.0, by_hand=True)
        before = every_table(durable_url)
        with writing_under(lease):
            for deleting in (
                lambda: store.saver.adelete_thread("t"),
                lambda: store.saver.aprune(["t"], strategy="delete"),
                lambda: store.saver.acopy_thread("t", "copy"),
                lambda: store.saver.adelete_for_runs(["r"]),
            ):
                with pytest.raises(LeaseLost):
                    await deleting()
        assert every_table(durable_url) == before


async def test_without_a_lease_a_saver_writes_as_ever(store: Store) -> None:
    await checkpoint(store, Lease("t", alive(), 1, 1.0, "r"))
    config: Any = {"configurable": {"thread_id": "t"}}
    assert len([item async for item in store.saver.alist(config)]) == 1


async def test_a_write_that_breaks_off_leaves_nothing_of_it(durable_url: str) -> None:
    """LangGraph's SQLite saver would commit what it had written so far."""
    with open_checkpointer(durable_url) as store:
        config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c"}}
        with pytest.raises(UsageError, match="surrogate"):
            await store.saver.aput_writes(config, [("v", 1), ("half \ud800 of a pair", 2)], "task")
        with pytest.raises(UsageError, match="surrogate"):
            await store.saver.aput_writes(config, [("v", 1)], "half \ud800 of a pair")
        assert [item async for item in store.saver.alist(None)] == []  # whatever waits is durable now
        tables = every_table(durable_url)
        assert tables.get("vertebra_state_writes", tables.get("checkpoint_writes")) == []


async def test_writers_of_one_thread_do_not_wait_for_each_other_for_ever(durable_url: str) -> None:
    """Looking up, recording and heartbeats at once, beside somebody who tries to take the thread."""
    with open_checkpointer(durable_url) as store:
        _, lease = await store.runs.begin("t", START, alive(), 60.0)
        journal = store.journal.under(lease)

        async def one(n: int) -> None:
            call = dataclasses.replace(CALL, key=dataclasses.replace(KEY, ordinal=n % 3))
            await journal.begin(call)
            await journal.advance_epoch("t", "v", frozenset(), "r")
            store.runs.renew_sync(lease)
            with pytest.raises(Exception, match="being written"):
                await store.runs.take("t", alive(), 60.0)

        with writing_under(lease):
            await asyncio.gather(*(one(n) for n in range(24)), *(writes(store, lease) for _ in range(8)))
        assert sum(call.sends for call in await journal.calls("t")) == 24


def test_a_process_that_is_stopped_within_a_transaction_holds_nobody_up(postgres_url: str) -> None:
    """Postgres ends the session; SQLite's lock is the kernel's, and is gone only with the process."""
    open_checkpointer(postgres_url).close()
    with open_checkpointer(postgres_url) as store:
        _, lease = asyncio.run(store.runs.begin("t", START, alive(), 0.0))
    said, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with open_checkpointer(postgres_url) as own:

                def work(tx: Any) -> None:
                    from vertebra.checkpointers.fencing import require_held

                    require_held(tx, lease)
                    os.kill(os.getpid(), signal.SIGSTOP)
                    tx.execute("UPDATE vertebra_threads SET status = 'failed'")

                own.runs._database.run_sync(work)
        except BaseException as error:
            os.write(tell, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    with open_checkpointer(postgres_url) as store:
        started = time.monotonic()
        asyncio.run(store.runs.take("t", alive(), 60.0, by_hand=True))
        assert time.monotonic() - started < 20
        os.kill(child, signal.SIGCONT)
        os.waitpid(child, 0)
        assert os.read(said, 100) == b"StoreUnavailable"
        record = asyncio.run(store.runs.get("t"))
        assert record is not None
        assert record.status == "running"
