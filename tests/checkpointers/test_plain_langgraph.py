"""A graph of plain LangGraph on ``store.saver``: sync and async code, and what becomes of it after an error."""

from __future__ import annotations

import asyncio
import contextlib
import operator
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt

from vertebra import open_checkpointer
from vertebra.checkpointers.fencing import writing_under
from vertebra.checkpointers.lease import new_holder
from vertebra.checkpointers.leasing import Start
from vertebra.checkpointers.opening import Store
from vertebra.errors import LeaseLost, UsageError

AT: Any = {"configurable": {"thread_id": "t"}}


class State(TypedDict):
    log: Annotated[list[str], operator.add]


def graph(saver: Any) -> Any:
    """A fan-out, a subgraph with a loop, and a question."""
    inner = StateGraph(State)
    inner.add_node("turn", lambda state: {"log": ["turn" + "x" * 300]})
    inner.add_edge(START, "turn")
    inner.add_conditional_edges("turn", lambda state: END if len(state["log"]) > 6 else "turn")
    outer = StateGraph(State)
    outer.add_node("part", lambda state: {"log": [f"part {state['log'][0]}"]})
    outer.add_node("inner", inner.compile())
    outer.add_node("ask", lambda state: {"log": [str(interrupt("go on?"))]})
    outer.add_conditional_edges(START, lambda state: [Send("part", {"log": [str(n)]}) for n in range(3)])
    outer.add_edge("part", "inner")
    outer.add_edge("inner", "ask")
    return outer.compile(checkpointer=saver)


def history(graph: Any) -> list[tuple[Any, ...]]:
    return [(s.values, s.next, s.metadata["step"], len(s.tasks)) for s in graph.get_state_history(AT)]


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with open_checkpointer(store_url) as store:
        yield store


def test_invoke_does_what_ainvoke_does(store: Store, store_url: str) -> None:
    here, expected = graph(store.saver), graph(InMemorySaver())
    for of in (here, expected):
        assert "__interrupt__" in of.invoke({"log": ["in"]}, AT, durability="sync")
        of.invoke(Command(resume="yes"), AT, durability="sync")
        of.update_state(AT, {"log": ["by hand"]})
    assert here.get_state(AT).values["log"][-2:] == ["yes", "by hand"]
    assert history(here) == history(expected)
    if not store_url.startswith("memory"):
        with open_checkpointer(store_url) as again:
            assert history(graph(again.saver)) == history(expected)


def test_what_sync_code_began_async_code_ends(store: Store) -> None:
    begun = graph(store.saver)
    begun.invoke({"log": ["in"]}, AT)
    asyncio.run(begun.ainvoke(Command(resume="yes"), AT))
    assert begun.get_state(AT).values["log"][-1] == "yes"


def test_in_sync_code_too_nothing_is_written_under_a_lost_lease(store: Store) -> None:
    async def taken_over() -> Any:
        start = Start("run", "g", "1", "f", {}, None, None)
        _, lease = await store.runs.begin("t", start, new_holder(), 0.0)
        await store.runs.take("t", new_holder(), 60.0)
        return lease

    app = graph(store.saver)
    app.invoke({"log": ["in"]}, AT)
    before = history(app)
    with writing_under(asyncio.run(taken_over())), pytest.raises(LeaseLost):
        app.invoke(Command(resume="yes"), AT)
    assert history(app) == before


class Failing(InMemorySaver):
    """A saver whose next writes fail, or take long."""

    fails = 0
    delay_s = 0.0

    async def aput_writes(self, *given: Any) -> None:
        await asyncio.sleep(self.delay_s)
        self._fail()
        super().put_writes(*given)

    def put_writes(self, *given: Any) -> None:
        self._fail()
        super().put_writes(*given)

    def _fail(self) -> None:
        if self.fails:
            self.fails -= 1
            raise OSError("disk full, for a moment")


def steps(saver: Any) -> Any:
    built = StateGraph(State)
    built.add_node("a", lambda state: {"log": ["a"]})
    built.add_node("b", lambda state: {"log": ["b"]})
    built.add_edge(START, "a")
    built.add_edge("a", "b")
    return built.compile(checkpointer=saver)


@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize("sync", [False, True])
def test_one_write_that_fails_is_one_error(durability: str, sync: bool) -> None:
    inner = Failing()
    with open_checkpointer(inner) as store:
        app = steps(store.saver)

        def drive(given: Any) -> Any:
            if sync:
                return app.invoke(given, AT, durability=durability)
            return asyncio.run(app.ainvoke(given, AT, durability=durability))

        inner.fails = 1
        with pytest.raises(OSError, match="for a moment"):
            drive({"log": ["in"]})
        assert drive(None)["log"] == ["in", "a", "b"]


async def test_one_call_that_is_cancelled_is_one_error() -> None:
    inner = Failing()
    with open_checkpointer(inner) as store:
        app = steps(store.saver)
        inner.delay_s = 0.3
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(app.ainvoke({"log": ["in"]}, AT, durability="sync"), 0.1)
        inner.delay_s = 0
        assert (await app.ainvoke(None, AT, durability="sync"))["log"] == ["in", "a", "b"]


async def test_cancelled_at_any_moment_a_thread_goes_on(durable_url: str) -> None:
    with open_checkpointer(durable_url) as store:
        app = steps(store.saver)
        for n in range(12):
            at: Any = {"configurable": {"thread_id": f"t{n}"}}
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(app.ainvoke({"log": ["in"]}, at), 0.0015 * n)
            given = {"log": ["in"]} if await store.saver.aget_tuple(at) is None else None
            await app.ainvoke(given, at)
            assert (await app.aget_state(at)).values["log"] == ["in", "a", "b"]


def test_a_saver_for_async_code_alone_says_so() -> None:
    class Async(BaseCheckpointSaver[Any]):
        async def aget_tuple(self, config: Any) -> Any:
            return None

        def get_tuple(self, config: Any) -> Any:
            return None

    with open_checkpointer(Async()) as store, pytest.raises(UsageError, match="ainvoke"):
        steps(store.saver).invoke({"log": ["in"]}, AT)
