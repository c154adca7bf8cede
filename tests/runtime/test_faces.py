"""Two faces of one app: every async method has a sync one, and LangGraph's names are LangGraph's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from langgraph.pregel import Pregel
from langgraph.types import Command
from pydantic import BaseModel

from vertebra import END, START, App, Graph, human, transition
from vertebra.runtime import events
from vertebra.types import Run

LANGGRAPH = (
    *("invoke", "ainvoke", "stream", "astream", "get_state", "aget_state"),
    *("get_state_history", "aget_state_history", "update_state", "aupdate_state", "get_graph"),
)
INTERNAL = {"edge_is_durable"}
"""What the saver calls on the app."""


def methods() -> dict[str, Any]:
    return {name: value for name, value in inspect.getmembers(App, inspect.isfunction) if not name.startswith("_")}


def is_async(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


ASYNC = sorted(name for name, function in methods().items() if is_async(function) and name not in INTERNAL)


def sync_name(name: str) -> str:
    """LangGraph's async names begin with ``a``; ours have a twin that ends in ``_sync``."""
    return name[1:] if name in LANGGRAPH or name == "aclose" else f"{name}_sync"


@pytest.mark.parametrize("name", ASYNC)
def test_every_async_method_has_a_sync_face_that_takes_the_same(name: str) -> None:
    twin = methods()[sync_name(name)]
    assert not is_async(twin)
    own = [p for p in inspect.signature(methods()[name]).parameters.values() if p.name != "self"]
    named = [p.name for p in own if p.kind is not p.VAR_KEYWORD]
    by_place = [p.name for p in own if p.kind is p.POSITIONAL_OR_KEYWORD]
    takes = inspect.signature(twin)
    assert takes.bind(None, **dict.fromkeys(named)), "each by name"
    assert takes.bind(None, *by_place), "each by its place"
    required = {p.name for p in own if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
    assert required <= {p.name for p in takes.parameters.values() if p.default is p.empty}


def test_every_sync_method_has_an_async_face() -> None:
    twins = {sync_name(name) for name in ASYNC}
    assert {name for name in methods() if name.endswith("_sync")} == {n for n in twins if n.endswith("_sync")}
    for name in LANGGRAPH:
        assert name in methods()
        if not name.startswith("a") and name != "get_graph":
            assert is_async(methods()[f"a{name}"])


@pytest.mark.parametrize("name", LANGGRAPH)
def test_langgraphs_names_have_langgraphs_parameters(name: str) -> None:
    theirs = [p for p in inspect.signature(getattr(Pregel, name)).parameters.values() if p.name != "self"]
    ours = inspect.signature(methods()[name])
    named = [p for p in theirs if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    assert ours.bind(None, **{p.name: None for p in named}), "each is taken by name"
    in_order = [p.name for p in ours.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    expected = [p.name for p in theirs if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert in_order == expected[: len(in_order)], "in the same order"
    for parameter in named:
        mine = ours.parameters.get(parameter.name)
        if mine is not None:
            assert (mine.kind, mine.default) == (parameter.kind, parameter.default), parameter.name
    own = {p.name for p in ours.parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    assert own - {"self"} <= {p.name for p in named}, "and nothing that LangGraph does not have"


@pytest.mark.parametrize("name", ["update_state", "aupdate_state"])
def test_what_langgraph_takes_by_place_is_taken_by_place(name: str) -> None:
    theirs = inspect.signature(getattr(Pregel, name)).parameters.values()
    count = len([p for p in theirs if p.kind is p.POSITIONAL_OR_KEYWORD])
    assert inspect.signature(methods()[name]).bind(*range(count))


# And they do the same


class State(BaseModel):
    n: int = 0
    ok: bool | None = None


@transition
def count(state: State) -> dict[str, int]:
    return {"n": state.n + 1}


@human(answer=bool)
def confirm(state: State) -> str:
    return "Go on?"


def asking() -> Graph:
    g = Graph(State, name="asking")
    g.add_edge(START, count)
    g.add_edge(count, confirm)
    g.add_edge(confirm, END)
    return g


def told(run: Run) -> tuple[Any, ...]:
    return run.status, run.output, run.next, [i.text for i in run.interrupts]


async def test_both_faces_tell_the_same(store_url: str) -> None:
    async with asking().compile(checkpointer=store_url) as app:
        asked = await app.run({}, thread_id="a")
        assert asked.status == "interrupted"
        assert told(app.run_sync({}, thread_id="s")) == told(asked)
        assert told(app.status_sync("s")) == told(await app.status("a"))
        assert told(app.resume_sync("s", True)) == told(await app.resume("a", True))
        assert app.recover_sync() == await app.recover() == []
        history = [s.values async for s in app.history("a")]
        assert [s.values for s in app.history_sync("s")] == history
        assert [s.values for s in app.history_sync("s", limit=2)] == history[:2]
        mine = [type(e) async for e in app.events({}, thread_id="b")]
        assert [type(e) for e in app.events_sync({}, thread_id="t")] == mine
        assert mine[-1] is events.RunEnded
        assert app.cancel_sync("t") == await app.cancel("b") is True
        app.delete_sync("t")
        await app.delete("b")
        app.drain_sync()
        await app.drain()
        left = {record.thread for record in await app.services.store.runs.threads()}
        assert left == {"a", "s"}


def thread(name: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": name}}


async def test_langgraphs_names_do_what_langgraphs_do(store_url: str) -> None:
    async with asking().compile(checkpointer=store_url) as app:
        first = app.invoke({"n": 4}, thread("s"))
        again = await app.ainvoke({"n": 4}, thread("a"))
        assert first["n"] == again["n"] == 5
        assert [i.value["text"] for i in first["__interrupt__"]] == ["Go on?"]
        assert app.get_state(thread("s")).next == (await app.aget_state(thread("a"))).next == ("confirm",)
        ended = [list(item) async for item in app.astream(Command(resume=True), thread("a"), stream_mode="updates")]
        assert [list(item) for item in app.stream(Command(resume=True), thread("s"), stream_mode="updates")] == ended
        assert ended[-1] == ["confirm"]
        app.update_state(thread("s"), {"n": 9}, as_node="confirm")
        await app.aupdate_state(thread("a"), {"n": 9}, as_node="confirm")
        ours = [s.values async for s in app.aget_state_history(thread("a"))]
        assert [s.values for s in app.get_state_history(thread("s"))] == ours
        assert ours[0]["n"] == 9
        assert "confirm" in app.get_graph().nodes


async def test_closing_is_there_for_both(tmp_path: Any) -> None:
    closers: list[Callable[[App], Any]] = [lambda app: app.aclose(), lambda app: app.close()]
    for close in closers:
        app = asking().compile(checkpointer="memory://")
        await app.run({}, thread_id="t")
        result = close(app)
        if result is not None:
            await result
