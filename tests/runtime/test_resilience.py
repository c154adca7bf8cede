"""What a run does when something in it goes wrong: routers, loops, timeouts, fallbacks, crash loops, deadlines."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from typing import Any

import pytest
from pydantic import BaseModel

from vertebra import (
    END,
    START,
    Append,
    Context,
    Graph,
    Question,
    Retry,
    effect,
    human,
    llm,
    open_checkpointer,
    transition,
)
from vertebra.errors import InvalidUpdate, ThreadCancelled, ThreadNotFound, UsageError
from vertebra.runtime.app import App
from vertebra.testing import ScriptedModel, crash_at

QUICK = Retry(attempts=3, wait_initial_s=0.01, jitter_s=0)


class State(BaseModel):
    n: int = 0
    log: Append[str] = []
    ok: bool | None = None


def line(*nodes: Any, name: str = "line") -> Graph:
    g = Graph(State, name=name)
    before: Any = START
    for node in nodes:
        g.add_edge(before, node)
        before = node
    g.add_edge(before, END)
    return g


@transition
def step(state: State) -> dict[str, object]:
    return {"n": state.n + 1}


async def test_a_router_that_raises_leaves_the_thread_before_its_node(store_url: str) -> None:
    broken = True

    def route(state: State) -> str:
        if broken:
            raise RuntimeError("no idea")
        return "end"

    g = Graph(State, name="routed")
    g.add_edge(START, step)
    g.add_conditional_edges(step, route, {"end": END})
    async with g.compile(checkpointer=store_url) as app:
        run = await app.run({}, thread_id="t")
        assert run.status == "failed"
        assert run.error is not None
        assert run.error.code == "router_failed"
        assert run.next == ("step",)
        broken = False
        run = await app.resume("t")
        assert (run.status, run.output.n) == ("done", 1)


async def test_a_router_on_start_that_raises_can_be_resumed(store_url: str) -> None:
    broken = True

    def route(state: State) -> str:
        if broken:
            raise RuntimeError("no idea")
        return "go"

    g = Graph(State, name="entry")
    g.add_conditional_edges(START, route, {"go": step, "stop": END})
    g.add_edge(step, END)
    async with g.compile(checkpointer=store_url) as app:
        assert (await app.run({}, thread_id="t")).error.code == "router_failed"  # type: ignore[union-attr]
        broken = False
        assert (await app.resume("t")).output.n == 1


def looping(bound: int, exhausted: Any = None) -> Graph:
    g = Graph(State, name="loop")
    g.add_edge(START, step)
    options = {} if exhausted is None else {"on_exhausted": exhausted}
    g.add_conditional_edges(step, lambda s: "again", {"again": step, "end": END}, max_visits=bound, **options)
    if exhausted is not None:
        g.add_edge(exhausted, END)
    return g


async def test_a_loop_bound_stops_the_run_and_raising_it_lets_it_go_on(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        run = await looping(3).compile(checkpointer=store).run({}, thread_id="t")
        assert run.error is not None
        assert (run.error.code, run.output.n) == ("loop_bound_reached", 3)
        run = await looping(5).compile(checkpointer=store).resume("t")
        assert (run.error.code, run.output.n) == ("loop_bound_reached", 5)  # type: ignore[union-attr]


async def test_an_exhausted_loop_goes_where_it_was_told(store_url: str) -> None:
    @transition
    def give_up(state: State) -> dict[str, object]:
        return {"log": ["gave up"]}

    async with looping(2, give_up).compile(checkpointer=store_url) as app:
        run = await app.run({})
        assert (run.status, run.output.n, run.output.log) == ("done", 3, ["gave up"])
        again = await app.run({"n": 0}, thread_id=run.thread_id)
        assert again.output.n == 3  # the count starts anew in each run


async def test_a_node_that_takes_too_long_fails_and_its_late_calls_are_refused(scripted_model: ScriptedModel) -> None:
    refused: list[str] = []

    @llm(timeout_s=0.2)
    def slow(state: State, ctx: Context) -> dict[str, object]:
        time.sleep(0.5)
        try:
            ctx.sync_client.chat.completions.create(model="m", messages=[{"role": "user", "content": "late"}])
        except Exception as error:
            refused.append(str(error.__cause__))
        return {}

    async with line(slow).compile() as app:
        run = await app.run({})
        assert run.error is not None
        assert run.error.code == "node_timeout"
        await asyncio.sleep(0.6)
    assert refused
    assert "has ended" in refused[0]
    assert not scripted_model.books.paid()


async def test_a_fallback_stands_in_with_the_same_input(store_url: str, scripted_model: ScriptedModel) -> None:
    scripted_model.on("hello").fail(400, times=None)

    @transition
    def plain(state: State, ctx: Context) -> dict[str, object]:
        return {"log": [f"instead: {type(ctx.error).__name__}"]}

    @llm(retry=QUICK, fallback=plain)
    async def ask(state: State, ctx: Context) -> dict[str, object]:
        await ctx.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
        return {}

    g = line(ask)
    g.add_node(plain)
    g.add_edge(plain, END)
    async with g.compile(checkpointer=store_url) as app:
        run = await app.run({})
        assert run.status == "done", run.error
        assert run.output.log == ["instead: BadRequestError"]


async def test_a_bad_update_names_node_and_field(store_url: str) -> None:
    mended = False

    @transition
    def wrong(state: State) -> dict[str, object]:
        return {"n": 1 if mended else "many"}

    async with line(step, wrong).compile(checkpointer=store_url) as app:
        run = await app.run({}, thread_id="t")
        assert run.error is not None
        assert run.error.context["node"] == "wrong"
        assert run.error.context["field"] == "n"
        assert run.next == ("wrong",)
        mended = True
        assert (await app.resume("t")).status == "done"


async def test_the_second_writer_of_a_plain_field_fails_and_can_be_mended(store_url: str) -> None:
    mended = False

    def first(state: State) -> dict[str, object]:
        update: dict[str, object] = {"n": 1}  # not a literal return: check() cannot see what it writes
        return update

    async def second(state: State) -> dict[str, object]:
        await asyncio.sleep(0.1)
        update: dict[str, object] = {"log": ["second"]} if mended else {"n": 2}
        return update

    g = Graph(State, name="parallel")
    for node in (first, second):
        g.add_edge(START, node)
        g.add_edge(node, END)
    async with g.compile(checkpointer=store_url) as app:
        run = await app.run({}, thread_id="t")
        assert run.error is not None
        assert (run.error.code, run.error.context["field"]) == ("parallel_writes", "n")
    if store_url.startswith("memory"):
        return
    async with g.compile(checkpointer=store_url) as app:  # another app knows the first writer from its stored writes
        run = await app.resume("t")
        assert run.error is not None
        assert "'first' and 'second'" in run.error.message
        mended = True
        run = await app.resume("t")
        assert (run.status, run.output.n, run.output.log) == ("done", 1, ["second"])


def killed(work: Any, graph: Graph, url: str) -> int:
    """The exit code of a process that does this with an app of its own, and in which deadly nodes kill."""
    pid = os.fork()
    if pid == 0:
        os.environ["VERTEBRA_TEST_DEADLY"] = "1"
        try:
            with graph.compile(checkpointer=url, max_recoveries=2) as app:
                asyncio.run(work(app))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_run_that_kills_its_processes_is_set_aside(durable_url: str) -> None:
    @transition
    def deadly(state: State) -> dict[str, object]:
        if os.environ.get("VERTEBRA_TEST_DEADLY") == "1":
            os._exit(9)
        return {"log": ["survived"]}

    def in_child(work: Any) -> int:
        return killed(work, line(deadly), durable_url)

    assert in_child(lambda app: app.run({}, thread_id="t")) == 9
    assert in_child(lambda app: app.recover()) == 9
    assert in_child(lambda app: app.recover()) == 9
    with line(deadly).compile(checkpointer=durable_url, max_recoveries=2) as app:
        (run,) = app.recover_sync()
        assert run.status == "failed"
        assert run.error is not None
        assert run.error.code == "crash_loop"
        assert len(run.error.context["story"]) == 3
        assert app.recover_sync() == []
        assert app.resume_sync("t").output.log == ["survived"]


def within(inner: Graph) -> Graph:
    """A graph whose one node is another graph."""
    outer = Graph(State, name="outer")
    outer.add_edge(START, inner)
    outer.add_edge(inner, END)
    return outer


def test_a_subgraph_that_gets_on_is_not_set_aside(durable_url: str, tmp_path: Any) -> None:
    def deadly_once(state: State) -> dict[str, object]:
        mark = tmp_path / str(state.n)
        if os.environ.get("VERTEBRA_TEST_DEADLY") == "1" and not mark.exists():
            mark.touch()
            os._exit(9)
        return {"n": state.n + 1}

    inner = Graph(State, name="inner")
    names = [f"step{number}" for number in range(5)]
    for name in names:
        inner.add_node(name, transition(deadly_once))
    for before, after in itertools.pairwise((START, *names, END)):
        inner.add_edge(before, after)
    graph = within(inner)
    assert killed(lambda app: app.run({}, thread_id="t"), graph, durable_url) == 9
    for _ in range(4):
        assert killed(lambda app: app.recover(), graph, durable_url) == 9
    with graph.compile(checkpointer=durable_url, max_recoveries=2) as app:
        (run,) = app.recover_sync()
        assert (run.status, run.output.n) == ("done", 5)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_subgraph_that_does_not_get_on_is_set_aside(durable_url: str, steps: int) -> None:
    @transition
    def deadly(state: State) -> dict[str, object]:
        if os.environ.get("VERTEBRA_TEST_DEADLY") == "1":
            os._exit(9)
        return {"n": state.n + 1}

    graph = within(line(*[step] * steps, deadly, name="inner"))
    assert killed(lambda app: app.run({}, thread_id="t"), graph, durable_url) == 9
    for _ in range(2):
        assert killed(lambda app: app.recover(), graph, durable_url) == 9
    with graph.compile(checkpointer=durable_url, max_recoveries=2) as app:
        (run,) = app.recover_sync()
        assert run.error is not None
        assert run.error.code == "crash_loop"


async def test_a_deadline_answers_with_the_default(durable_url: str) -> None:
    @human(answer=bool, into="ok")
    def ask(state: State) -> Question:
        return Question("ok?", deadline_s=0.1, default=False)

    async with line(ask).compile(checkpointer=durable_url) as app:
        run = await app.run({}, thread_id="t")
        assert run.status == "interrupted"
        assert await app.recover() == []
        await asyncio.sleep(0.15)
        (run,) = await app.recover()
        assert (run.status, run.output.ok) == ("done", False)
        assert await app.recover() == []


async def test_a_cancelled_thread_stops_and_stays_stopped(durable_url: str, scripted_model: ScriptedModel) -> None:
    scripted_model.on("hello").hang(times=None)

    @llm
    async def ask(state: State, ctx: Context) -> dict[str, object]:
        await ctx.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
        return {}

    async with line(ask).compile(checkpointer=durable_url, lease_ttl_s=1.0) as app:
        task = asyncio.create_task(app.run({}, thread_id="t"))
        while not len(scripted_model.books):  # noqa: ASYNC110 - the books are another process's
            await asyncio.sleep(0.02)
        async with line(ask).compile(checkpointer=durable_url) as other:
            assert await other.cancel("t") is False
        run = await asyncio.wait_for(task, 10)
        assert run.status == "cancelled"
        with pytest.raises(ThreadCancelled):
            await app.resume("t")


async def test_a_cancelled_caller_leaves_the_thread_to_be_recovered(durable_url: str) -> None:
    waits = True

    @llm
    async def wait(state: State) -> dict[str, object]:
        if waits:
            await asyncio.sleep(60)
        return {"n": 7}

    async with line(wait).compile(checkpointer=durable_url) as app:
        task = asyncio.create_task(app.run({}, thread_id="t"))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        waits = False
        (run,) = await app.recover()
        assert (run.status, run.output.n) == ("done", 7)


async def test_draining_stops_after_the_superstep(durable_url: str) -> None:
    started = asyncio.Event()

    @llm
    async def first(state: State) -> dict[str, object]:
        started.set()
        await asyncio.sleep(0.2)
        return {"log": ["first"]}

    async with line(first, step).compile(checkpointer=durable_url) as app:
        task = asyncio.create_task(app.run({}, thread_id="t"))
        await started.wait()
        await app.drain()
        run = await task
        assert run.status == "running"
        assert run.output.log == ["first"]
    async with line(first, step).compile(checkpointer=durable_url) as app:
        (run,) = await app.recover()
        assert (run.status, run.output.n) == ("done", 1)


async def test_a_stuck_node_is_skipped_or_asked_anew(store_url: str, scripted_model: ScriptedModel) -> None:
    @llm(retry=Retry(attempts=1))
    async def ask(state: State, ctx: Context) -> dict[str, object]:
        reply = await ctx.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
        if reply.choices[0].message.content == "bad":
            raise RuntimeError("stuck")
        return {"log": [reply.choices[0].message.content]}

    scripted_model.on("hello").reply("bad", "good")
    async with line(ask, step).compile(checkpointer=store_url) as app:
        assert (await app.run({}, thread_id="t")).status == "failed"
        assert (await app.resume("t")).status == "failed"  # the recorded answer is as bad as it was
        assert len(scripted_model.books.paid()) == 1
        run = await app.resume("t", fresh=ask, principal="op")
        assert (run.status, run.output.log) == ("done", ["good"])


async def test_a_skipped_node_leaves_a_trace(store_url: str) -> None:
    @effect
    def stuck(state: State) -> dict[str, object]:
        raise RuntimeError("the other system is gone")

    async with line(stuck, step).compile(checkpointer=store_url) as app:
        assert (await app.run({}, thread_id="t")).status == "failed"
        run = await app.resume("t", skip="stuck", update={"log": ["by hand"]}, principal="op")
        assert (run.status, run.output.log, run.output.n) == ("done", ["by hand"], 1)
        (item,) = await app.services.store.journal.interventions("t")
        assert (item["kind"], item["node"], item["principal"]) == ("skip", "stuck", "op")


async def test_a_skip_that_is_refused_leaves_the_thread_as_it_was(store_url: str) -> None:
    @effect
    def stuck(state: State) -> dict[str, object]:
        raise RuntimeError("the other system is gone")

    async with line(stuck, step).compile(checkpointer=store_url) as app:
        failed = await app.run({}, thread_id="t")
        for refused in ({"skip": "step"}, {"skip": "stuck", "update": {"unknown": 1}}, {"fresh": "step"}):
            with pytest.raises((UsageError, InvalidUpdate)):
                await app.resume("t", **refused)
            run = await app.status("t")
            assert (run.status, run.next) == ("failed", ("stuck",))
            assert str(run.error) == str(failed.error)


def test_a_skip_whose_process_is_killed_is_not_lost(durable_url: str) -> None:
    @effect
    def stuck(state: State) -> dict[str, object]:
        raise RuntimeError("the other system is gone")

    async def skip(app: App) -> None:
        with crash_at("thread.begun"):
            await app.resume("t", skip="stuck", update={"log": ["by hand"]}, principal="op")

    graph = line(stuck, step)
    with graph.compile(checkpointer=durable_url) as app:
        assert app.run_sync({}, thread_id="t").status == "failed"
    assert killed(skip, graph, durable_url) == -signal.SIGKILL
    with graph.compile(checkpointer=durable_url) as app:
        (run,) = app.recover_sync()
        assert (run.status, run.output.log, run.output.n) == ("done", ["by hand"], 1)


def test_a_thread_whose_deletion_was_killed_can_be_deleted_again(durable_url: str) -> None:
    async def delete(app: App) -> None:
        with crash_at("delete.dropped"):
            await app.delete("t")

    graph = line(step)
    with graph.compile(checkpointer=durable_url) as app:
        assert app.run_sync({"n": 4}, thread_id="t").status == "done"
    assert killed(delete, graph, durable_url) == -signal.SIGKILL
    with graph.compile(checkpointer=durable_url) as app:
        assert app.recover_sync() == []
        app.delete_sync("t")
        with pytest.raises(ThreadNotFound):
            app.status_sync("t")
        assert app.run_sync({}, thread_id="t").output.n == 1  # nothing of the old state


async def test_a_skipped_node_leaves_its_siblings_to_be_executed(store_url: str) -> None:
    broken = True

    @effect
    def left(state: State) -> dict[str, object]:
        raise RuntimeError("gone")

    @effect
    def right(state: State) -> dict[str, object]:
        if broken:
            raise RuntimeError("gone too")
        return {"log": ["right"]}

    g = Graph(State, name="siblings")
    for node in (left, right):
        g.add_edge(START, node)
        g.add_edge(node, step)
    g.add_edge(step, END)
    async with g.compile(checkpointer=store_url) as app:
        assert (await app.run({}, thread_id="t")).status == "failed"
        assert (await app.resume("t", skip=left, update={"log": ["by hand"]})).status == "failed"
        broken = False
        run = await app.resume("t")  # what was put in the node's place is kept
        assert (run.status, run.output.log, run.output.n) == ("done", ["by hand", "right"], 1)
        assert {v.node: v.outcome for v in await app.services.store.journal.visits("t")}["left"] == "skipped"


async def test_a_failing_node_lets_its_siblings_finish_their_calls(
    store_url: str, scripted_model: ScriptedModel
) -> None:
    scripted_model.on("hello").delay(0.5)
    asking = asyncio.Event()

    @llm
    async def ask(state: State, ctx: Context) -> dict[str, object]:
        client = ctx.client
        asking.set()
        await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
        return {"log": ["asked"]}

    @effect
    async def fail(state: State) -> dict[str, object]:
        await asking.wait()
        await asyncio.sleep(0.1)
        raise RuntimeError("gone")

    g = Graph(State, name="siblings")
    for node in (ask, fail):
        g.add_edge(START, node)
        g.add_edge(node, END)
    async with g.compile(checkpointer=store_url) as app:
        run = await app.run({}, thread_id="t")
        assert (run.status, run.error.code) == ("failed", "node_failed")  # type: ignore[union-attr]
        run = await app.resume("t", skip=fail)
        assert (run.status, run.output.log) == ("done", ["asked"])
        assert len(scripted_model.books) == 1


async def test_a_question_can_be_skipped(store_url: str) -> None:
    @human(answer=bool, into="ok")
    def ask(state: State) -> str:
        return "ok?"

    async with line(ask, step).compile(checkpointer=store_url) as app:
        assert (await app.run({}, thread_id="t")).status == "interrupted"
        with pytest.raises(InvalidUpdate):
            await app.resume("t", skip=ask, update={"ok": "perhaps"})
        assert (await app.status("t")).status == "interrupted"
        with pytest.raises(UsageError, match="not next"):
            await app.resume("t", skip=step, update={})
        run = await app.resume("t", skip=ask, update={"ok": True})
        assert (run.status, run.output.ok, run.output.n) == ("done", True, 1)


async def test_a_state_updated_by_hand_is_driven_on(store_url: str) -> None:
    @effect
    def stuck(state: State) -> dict[str, object]:
        if state.n < 5:
            raise RuntimeError("n is too small")
        return {"log": [f"n is {state.n}"]}

    config = {"configurable": {"thread_id": "t"}}
    async with line(step, stuck).compile(checkpointer=store_url) as app:
        assert (await app.run({}, thread_id="t")).status == "failed"
        with pytest.raises(InvalidUpdate):
            await app.aupdate_state(config, {"n": "five"}, as_node="step")
        await app.aupdate_state(config, {"n": 5}, as_node="step")
        run = await app.resume("t")
        assert (run.status, run.output.log) == ("done", ["n is 5"])


async def test_a_subgraph_is_driven_within_the_run(store_url: str, scripted_model: ScriptedModel) -> None:
    class Inner(BaseModel):
        n: int = 0
        log: Append[str] = []
        secret: str = ""

    @llm
    async def think(state: Inner, ctx: Context) -> dict[str, object]:
        reply = await ctx.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        return {"log": [str(reply.choices[0].message.content)[:9]], "secret": "kept inside"}

    @transition
    def count(state: Inner) -> dict[str, object]:
        return {"n": state.n + 10}

    inner = Graph(Inner, name="inner")
    inner.add_edge(START, think)
    inner.add_edge(think, count)
    inner.add_edge(count, END)

    @transition
    def before(state: State) -> dict[str, object]:
        return {"log": ["before"]}

    g = Graph(State, name="outer")
    g.add_edge(START, before)
    g.add_edge(before, inner)
    g.add_edge(inner, step)
    g.add_edge(step, END)
    async with g.compile(checkpointer=store_url) as app:
        run = await app.run({}, thread_id="t")
        assert run.status == "done", run.error
        assert run.output.log == ["before", "answer to"]
        assert run.output.n == 11
        visits = {c.key.visit for c in await app.services.store.journal.calls("t")}
        assert visits == {"inner@2/think@1"}


async def test_invalid_input_executes_nothing(store_url: str) -> None:
    from vertebra.errors import InvalidInput, ThreadNotFound

    async with line(step).compile(checkpointer=store_url) as app:
        for bad in ({"n": "x"}, {"unknown": 1}, 7):
            with pytest.raises(InvalidInput):
                await app.run(bad, thread_id="t")
        with pytest.raises(ThreadNotFound):
            await app.status("t")
