"""Threads whose state cannot be read: a typed error for whoever asks, and no harm to any other thread."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from vertebra import END, START, Append, Graph, Question, human, llm, open_checkpointer, transition
from vertebra.checkpointers.opening import Store
from vertebra.checkpointers.sqlite.tables import key_of
from vertebra.errors import StoreCorrupt
from vertebra.runtime.app import App

THREADS = ("a", "b", "c")


class State(BaseModel):
    log: Append[str] = []
    ok: bool | None = None


@transition
def first(state: State) -> dict[str, object]:
    return {"log": [str(n) * 300 for n in range(40)]}


def line(*nodes: Any) -> Graph:
    g = Graph(State, name="line")
    for before, after in zip((START, *nodes), (*nodes, END), strict=True):
        g.add_edge(before, after)
    return g


def opened(checkpointer: Any, *nodes: Any) -> App:
    app: App = line(*nodes).compile(checkpointer=checkpointer, default_model="none")
    return app


class Slow:
    """A node that waits while it is told to, and takes its time to stop."""

    def __init__(self) -> None:
        self.entered = 0
        self.waits = True
        self._all = asyncio.Event()

    def node(self) -> Any:
        @llm
        async def last(state: State) -> dict[str, object]:
            self.entered += 1
            place = self.entered
            if self.entered == len(THREADS):
                self._all.set()
            if self.waits:
                try:
                    await asyncio.sleep(60)
                finally:
                    await asyncio.sleep(0.05 * place)
            return {"log": ["end"]}

        return last

    async def reached(self) -> None:
        """All threads are in the node."""
        await self._all.wait()
        self._all.clear()
        self.entered = 0


async def abandoned(app: App, slow: Slow) -> None:
    """Leave threads in the middle, as a caller does who is cancelled."""
    tasks = [asyncio.create_task(app.run({}, thread_id=thread)) for thread in THREADS]
    await slow.reached()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    slow.waits = False


async def damage(store: Store, thread: str) -> None:
    """Delete what the state of the thread is made of."""

    def work(tx: Any) -> int:
        (number,) = tx.one("SELECT number FROM vertebra_state_threads WHERE thread = ?", thread)
        if store.url.backend == "postgresql":
            return int(tx.execute("DELETE FROM vertebra_state_pieces WHERE thread_number = ?", number))
        return int(
            tx.execute(
                "DELETE FROM vertebra_state_pieces WHERE key BETWEEN ? AND ?",
                *(key_of(number, 0), key_of(number + 1, 0) - 1),
            )
        )

    assert await store.database.run(work) > 0


async def test_recovery_tells_of_a_damaged_thread_and_goes_on_with_the_others(durable_url: str) -> None:
    slow = Slow()
    async with opened(durable_url, first, slow.node()) as app:
        await abandoned(app, slow)
    async with opened(durable_url, first, slow.node()) as app:
        await damage(app.services.store, "b")
        runs = {run.thread_id: run for run in await app.recover()}
        assert {thread: run.status for thread, run in runs.items()} == {"a": "done", "b": "running", "c": "done"}
        assert isinstance(runs["b"].error, StoreCorrupt)
        assert runs["b"].output is None
        (again,) = await app.recover()
        assert again.thread_id == "b"


async def test_whoever_asks_for_a_damaged_thread_has_a_typed_error(durable_url: str) -> None:
    slow = Slow()
    async with opened(durable_url, first, slow.node()) as app:
        await abandoned(app, slow)
    async with opened(durable_url, first, slow.node()) as app:
        await damage(app.services.store, "b")
        for asked in (app.run({}, thread_id="b"), app.resume("b"), app.status("b"), app.steps("b"), app.resume("b")):
            with pytest.raises(StoreCorrupt):
                await asked
        record = await app.services.store.runs.require("b")
        assert (record.status, record.holder, record.recoveries) == ("running", None, 0)


async def test_a_damaged_question_keeps_no_other_from_its_default(durable_url: str) -> None:
    @human(answer=bool, into="ok")
    def ask(state: State) -> Question:
        return Question("go on?", deadline_s=0.05, default=True)

    async with opened(durable_url, first, ask) as app:
        for thread in THREADS:
            await app.run({}, thread_id=thread)
    await asyncio.sleep(0.1)
    async with opened(durable_url, first, ask) as app:
        await damage(app.services.store, "b")
        runs = {run.thread_id: run for run in await app.recover()}
        assert {thread: run.status for thread, run in runs.items()} == {"a": "done", "b": "interrupted", "c": "done"}
        assert isinstance(runs["b"].error, StoreCorrupt)


async def test_recovery_that_is_cancelled_lets_all_its_threads_go(durable_url: str) -> None:
    slow = Slow()
    with open_checkpointer(durable_url) as store:
        app = opened(store, first, slow.node())
        await abandoned(app, slow)
        slow.waits = True
        recovering = asyncio.create_task(app.recover())
        await slow.reached()
        recovering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await recovering
        records = [await store.runs.require(thread) for thread in THREADS]
        assert [(record.status, record.holder) for record in records] == [("running", None)] * 3


async def test_what_a_saver_raises_of_its_own_leaves_no_lease_behind() -> None:
    class Breaking(InMemorySaver):
        broken = False

        async def aget_tuple(self, config: Any) -> Any:
            if self.broken and config["configurable"]["thread_id"] == "b":
                raise KeyError("checkpoint")
            return await super().aget_tuple(config)

    slow, saver = Slow(), Breaking()
    app = opened(saver, first, slow.node())
    await abandoned(app, slow)
    saver.broken = True
    with pytest.raises(KeyError, match="checkpoint"):
        await app.resume("b")
    record = await app.services.store.runs.require("b")
    assert (record.status, record.holder) == ("running", None)
    told = {run.thread_id: run.error for run in await app.recover()}
    assert isinstance(told["b"].__cause__, KeyError)
    assert (told["a"], told["c"]) == (None, None)
    records = [await app.services.store.runs.require(thread) for thread in THREADS]
    assert [record.status for record in records] == ["done", "running", "done"]
    saver.broken = False
    assert [(run.thread_id, run.status) for run in await app.recover()] == [("b", "done")]
