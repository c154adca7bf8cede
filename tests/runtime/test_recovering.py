"""Recovery, leases and answers at their edges: what is left out, refused, expired or lost."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from vertebra import (
    END,
    START,
    Append,
    Context,
    Graph,
    Question,
    VertebraError,
    human,
    llm,
    open_checkpointer,
    transition,
)
from vertebra.checkpointers.lease import Holder
from vertebra.checkpointers.leasing import Start
from vertebra.errors import (
    AppDraining,
    InterruptAmbiguous,
    InterruptUnknown,
    LeaseLost,
    StoreError,
    ThreadBusy,
    ThreadCancelled,
    UsageError,
)
from vertebra.runtime.app import App
from vertebra.runtime.outcome import stored_error

ELSEWHERE = Holder("elsewhere", "another boot", 1, "1", "token")


class State(BaseModel):
    n: int = 0
    log: Append[str] = []
    left: bool | None = None
    right: bool | None = None


@transition
def step(state: State) -> dict[str, object]:
    return {"n": state.n + 1}


@transition
def last(state: State) -> dict[str, object]:
    return {"n": state.n + 1}


def line(*nodes: Any, name: str = "line", version: str = "1") -> Graph:
    g = Graph(State, name=name, version=version)
    for before, after in zip((START, *nodes), (*nodes, END), strict=True):
        g.add_edge(before, after)
    return g


async def begun(app: App, thread: str, *, holder: Holder = ELSEWHERE, ttl_s: float = 0.0) -> None:
    """A run that another process has begun, and that died before its first checkpoint."""
    start = Start("run", app.name, app.version, app.fingerprint, app.shape, app.pack({"n": 4}), None)
    await app.services.store.runs.begin(thread, start, holder, ttl_s)


async def test_a_run_that_died_before_its_first_checkpoint_has_its_input(store_url: str) -> None:
    async with line(step).compile(checkpointer=store_url) as app:
        await begun(app, "t")
        (run,) = await app.recover()
        assert (run.status, run.output.n) == ("done", 5)


class Theirs(InMemorySaver):
    """A checkpointer of somebody's, which raises as it pleases for one thread."""

    failing = False

    async def aget_tuple(self, config: Any) -> Any:
        if self.failing and config["configurable"]["thread_id"] == "b":
            raise RuntimeError("out of order, token sk-1234567890")
        return await super().aget_tuple(config)


async def test_what_a_checkpointer_raises_for_one_thread_loses_no_other_run(sqlite_url: str) -> None:
    saver = Theirs()
    async with line(step).compile(checkpointer=saver, journal=sqlite_url) as app:
        for thread in ("a", "b", "c"):
            await begun(app, thread)
        saver.failing = True
        runs = {run.thread_id: run for run in await app.recover(at_once=1)}
        assert {thread: run.status for thread, run in runs.items()} == {"a": "done", "b": "running", "c": "done"}
        error = runs["b"].error
        assert type(error) is VertebraError
        assert isinstance(error.__cause__, RuntimeError)
        assert error.message == "Thread 'b' could not be driven on: RuntimeError: out of order, token [key]."
        assert error.context == {"thread": "b", "graph": "line", "raised": "RuntimeError"}
        saver.failing = False
        (run,) = await app.recover()
        assert (run.thread_id, run.status, run.output.n) == ("b", "done", 5)


async def test_recovery_leaves_out_what_is_being_driven(store_url: str) -> None:
    async with line(step).compile(checkpointer=store_url) as app:
        await begun(app, "t", ttl_s=60)
        assert await app.recover() == []
        assert await app.recover("t") == []
        with pytest.raises(ThreadBusy, match="elsewhere"):
            await app.resume("t", wait_s=0.1)


async def test_recovery_waits_for_a_lease_to_run_out(store_url: str) -> None:
    async with line(step).compile(checkpointer=store_url) as app:
        await begun(app, "t", ttl_s=0.5)
        run = await app.resume("t", wait_s=5)
        assert run.output.n == 5


async def test_recovery_tells_of_a_changed_graph_and_goes_on_with_the_others(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        await begun(line(step).compile(checkpointer=store), "old")
        app = line(step, last, version="2").compile(checkpointer=store)
        await begun(app, "new")
        old, new = sorted(await app.recover(), key=lambda run: run.thread_id, reverse=True)
        assert (new.status, new.output.n) == ("done", 6)
        assert old.error is not None
        assert old.error.code == "graph_changed"


async def test_a_lease_that_was_taken_over_stops_its_drive(durable_url: str) -> None:
    entered = asyncio.Event()
    paused = True

    @llm
    async def slow(state: State) -> dict[str, object]:
        entered.set()
        await asyncio.sleep(30 if paused else 0)
        return {"log": ["slow"]}

    async with line(slow).compile(checkpointer=durable_url, lease_ttl_s=1.0) as app:
        task = asyncio.create_task(app.run({}, thread_id="t"))
        await entered.wait()
        store = app.services.store
        await store.runs._database.run(lambda tx: tx.execute("UPDATE vertebra_threads SET lease_until = 0"))
        with contextlib.suppress(ThreadBusy):  # unless a heartbeat came first
            await store.runs.take("t", ELSEWHERE, 0.0)
            with pytest.raises(LeaseLost):
                await asyncio.wait_for(task, 10)
        task.cancel()
        paused = False
        assert (await app.resume("t")).output.log == ["slow"]


async def test_a_store_that_fails_leaves_the_thread_to_be_recovered(sqlite_url: str) -> None:
    path = "/" + sqlite_url.removeprefix("sqlite:////").partition("?")[0]
    async with line(step).compile(checkpointer=sqlite_url) as app:
        assert (await app.run({}, thread_id="first")).status == "done"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("ALTER TABLE vertebra_state_writes RENAME TO hidden")
            with pytest.raises(StoreError):
                await app.run({}, thread_id="t")
            assert (await app.services.store.runs.require("t")).status == "running"
            other.execute("ALTER TABLE hidden RENAME TO vertebra_state_writes")
        (run,) = await app.recover()
        assert (run.thread_id, run.status, run.output.n) == ("t", "done", 1)


def two_questions() -> Graph:
    @human(answer=bool, into="left")
    def ask_left(state: State) -> str:
        return "left?"

    @human(answer=bool, into="right")
    def ask_right(state: State) -> str:
        return "right?"

    g = Graph(State, name="two")
    for node in (ask_left, ask_right):
        g.add_edge(START, node)
        g.add_edge(node, step)
    g.add_edge(step, END)
    return g


async def test_each_of_two_questions_has_its_own_answer(store_url: str) -> None:
    async with two_questions().compile(checkpointer=store_url) as app:
        run = await app.run({}, thread_id="t")
        ids = {i.text: i.id for i in run.interrupts}
        with pytest.raises(InterruptAmbiguous):
            await app.resume("t", True)
        run = await app.resume("t", True, interrupt_id=ids["right?"])
        assert [i.text for i in run.interrupts] == ["left?"]
        assert (await app.resume("t")).status == "interrupted"  # nothing to do without an answer
        run = await app.resume("t", False, interrupt_id=ids["left?"])
        assert (run.status, run.output.left, run.output.right) == ("done", False, True)
        with pytest.raises(InterruptUnknown, match="does not wait"):
            await app.resume("t", True)


async def test_an_answer_whose_process_died_before_driving_on_is_used(store_url: str) -> None:
    async with two_questions().compile(checkpointer=store_url) as app:
        first, second = (await app.run({}, thread_id="t")).interrupts
        await app.services.store.runs.answer("t", first.id, "true", None)
        (run,) = await app.recover()
        assert (run.status, run.interrupts) == ("interrupted", (second,))
        await app.services.store.runs.answer("t", second.id, "true", None)
        (run,) = await app.recover()
        assert (run.status, run.output.left, run.output.right) == ("done", True, True)


async def test_a_cancelled_thread_takes_no_answer(store_url: str) -> None:
    async with two_questions().compile(checkpointer=store_url) as app:
        run = await app.run({}, thread_id="t")
        assert await app.cancel("t") is True
        with pytest.raises(ThreadCancelled):
            await app.resume("t", True, interrupt_id=run.interrupts[0].id)


async def test_a_run_cancelled_from_its_own_process(store_url: str) -> None:
    entered = asyncio.Event()

    @llm
    async def slow(state: State) -> dict[str, object]:
        entered.set()
        await asyncio.sleep(30)
        return {}

    async with line(slow).compile(checkpointer=store_url) as app:
        task = asyncio.create_task(app.run({}, thread_id="t"))
        await entered.wait()
        assert await app.cancel("t") is False
        run = await task
        assert (run.status, run.next) == ("cancelled", ("slow",))


def deadline(default: bool | None) -> Graph:
    @human(answer=bool, into="left")
    def ask(state: State, ctx: Context) -> Question:
        return Question("left?", deadline_s=0.05, default=default)

    return line(ask)


async def test_a_deadline_without_a_default_fails_the_run_and_can_be_answered_late(store_url: str) -> None:
    async with deadline(None).compile(checkpointer=store_url) as app:
        (asked,) = (await app.run({}, thread_id="t")).interrupts
        assert asked.deadline is not None
        assert abs(asked.deadline.timestamp() - time.time()) < 30
        await asyncio.sleep(0.1)
        (run,) = await app.recover()
        assert await app.recover() == []
        assert run.error is not None
        assert str(run.error) == str((await app.status("t")).error)
        assert (run.status, run.error.code, run.interrupts[0].id) == ("failed", "question_expired", asked.id)
        assert (await app.resume("t")).status == "interrupted"  # asked again, without a deadline
        assert (await app.resume("t", True)).status == "done"


async def test_a_deadline_is_nothing_once_the_thread_has_moved_on(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        app = deadline(False).compile(checkpointer=store)
        for thread in ("answered", "cancelled", "other"):
            await app.run({}, thread_id=thread)
        await app.resume("answered", True)
        await app.cancel("cancelled")
        await asyncio.sleep(0.1)
        stranger = line(step, name="stranger").compile(checkpointer=store)
        assert await stranger.recover() == []  # another graph's threads are not its own
        (run,) = await app.recover("other")
        assert (run.thread_id, run.output.left) == ("other", False)
        assert await app.recover() == []


def test_a_recorded_error_comes_back_as_its_class() -> None:
    error = LeaseLost("Gone.", thread="t")
    again = stored_error(error.to_json())
    assert isinstance(again, LeaseLost)
    assert (again.message, again.context, again.remedy) == (error.message, error.context, error.remedy)
    assert type(stored_error({"code": "of a later release", "message": "?"})) is VertebraError
    assert stored_error(None) is None


async def test_an_app_that_drains_takes_nothing_on(durable_url: str) -> None:
    with open_checkpointer(durable_url) as store:
        app = line(step).compile(checkpointer=store)
        await begun(app, "t")
        await app.drain()
        for refused in (app.run({}), app.resume("t"), app.recover(), app.ainvoke({})):
            with pytest.raises(AppDraining):
                await refused
        (run,) = await line(step).compile(checkpointer=store).recover()
        assert run.status == "done"


@pytest.mark.parametrize("thread", ["", 3])
async def test_what_is_no_thread_id_is_refused(thread: Any) -> None:
    with pytest.raises(UsageError, match="no thread id"):
        await line(step).compile().run({}, thread_id=thread)


async def test_a_run_that_lives_is_not_recovered_however_long_it_takes(store_url: str) -> None:
    executed: list[str] = []

    @llm
    async def slow(state: State) -> dict[str, object]:
        executed.append("slow")
        await asyncio.sleep(1.2)
        return {}

    async with line(slow).compile(checkpointer=store_url, lease_ttl_s=0.6) as app:
        task = asyncio.create_task(app.run({}, thread_id="t"))
        await asyncio.sleep(0.9)
        assert await app.recover() == []
        assert (await task).status == "done"
        assert executed == ["slow"]


async def test_a_job_delivered_again_and_again_is_set_aside_too(store_url: str) -> None:
    async with line(step).compile(checkpointer=store_url, max_recoveries=2) as app:
        await begun(app, "t")
        for _ in range(2):  # each delivery takes it up and dies
            await app.services.store.runs.begin(
                "t", Start("again", "line", "1", app.fingerprint, app.shape, app.pack({"n": 4}), None), ELSEWHERE, 0.0
            )
        for _ in range(2):
            run = await app.run({"n": 4}, thread_id="t")
            assert run.error is not None
            assert (run.status, run.error.code, run.output) == ("failed", "crash_loop", None)
        assert (await app.resume("t")).output.n == 5


async def test_a_cancel_outlives_the_process_that_was_asked(store_url: str) -> None:
    async with line(step).compile(checkpointer=store_url) as app:
        await begun(app, "t", ttl_s=0.3)
        assert await app.cancel("t") is False
        await asyncio.sleep(0.4)
        assert [run.status for run in await app.recover()] == ["cancelled"]


async def test_a_deleted_thread_begins_anew(store_url: str) -> None:
    async with line(step).compile(checkpointer=store_url) as app:
        assert (await app.run({"n": 4}, thread_id="t")).output.n == 5
        await app.delete("t")
        assert [s async for s in app.history("t")] == []
        assert (await app.run({}, thread_id="t")).output.n == 1
        await begun(app, "held", ttl_s=60)
        with pytest.raises(ThreadBusy):
            await app.delete("held")
