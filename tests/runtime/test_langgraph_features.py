"""The table of docs/langgraph.md: which of LangGraph's features work, and how."""

from __future__ import annotations

from operator import add
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.graph import END as LG_END
from langgraph.graph import START as LG_START
from langgraph.graph import StateGraph
from langgraph.runtime import Runtime
from langgraph.store.memory import InMemoryStore
from langgraph.types import CachePolicy, Command, Overwrite

from vertebra import END, START, Append, Graph, transition
from vertebra.errors import InvalidUpdate


class State(TypedDict, total=False):
    words: Annotated[list[str], add]


def word(name: str) -> Any:
    def node(state: State) -> State:
        return {"words": [name]}

    node.__name__ = name
    return node


def adopted(*nodes: Any) -> Any:
    builder: Any = StateGraph(State)
    for before, after in zip(
        (LG_START, *(n.__name__ for n in nodes)), (*(n.__name__ for n in nodes), LG_END), strict=True
    ):
        builder.add_edge(before, after)
    for node in nodes:
        builder.add_node(node.__name__, node)
    return builder


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


async def test_overwrite_replaces_what_a_reducer_would_join(store_url: str) -> None:
    class Words(TypedDict, total=False):
        words: Append[str]

    @transition
    def forget(state: Words) -> dict[str, object]:
        return {"words": Overwrite(["anew"])}

    g = Graph(Words, name="overwrite")
    g.add_edge(START, forget)
    g.add_edge(forget, END)
    async with g.compile(checkpointer=store_url) as app:
        run = await app.run({"words": ["old"]})
        assert (run.status, run.output) == ("done", {"words": ["anew"]})


async def test_several_sources_are_joined(store_url: str) -> None:
    class Words(TypedDict, total=False):
        words: Append[str]

    nodes = {name: transition(word(name)) for name in ("a", "b", "c")}
    g = Graph(Words, name="join")
    g.add_edge(START, nodes["a"])
    g.add_edge(START, nodes["b"])
    g.add_edge([nodes["a"], nodes["b"]], nodes["c"])
    g.add_edge(nodes["c"], END)
    async with g.compile(checkpointer=store_url) as app:
        assert (await app.run({})).output == {"words": ["a", "b", "c"]}


async def test_a_command_from_our_own_node_is_refused(store_url: str) -> None:
    @transition
    def goes(state: State) -> Any:
        return Command(goto="nowhere")

    g = Graph(State, name="commands")
    g.add_edge(START, goes)
    g.add_edge(goes, END)
    async with g.compile(checkpointer=store_url) as app:
        run = await app.run({})
        assert isinstance(run.error, InvalidUpdate)
        assert "Command" in run.error.message


@pytest.mark.parametrize("where", ["interrupt_before", "interrupt_after"])
async def test_breakpoints_stop_and_are_resumed(store_url: str, where: str) -> None:
    builder = adopted(word("a"), word("b"))
    stops: Any = {where: ["b" if where == "interrupt_before" else "a"]}
    async with Graph.from_langgraph(builder).compile(checkpointer=store_url, **stops) as app:
        run = await app.run({}, thread_id="t")
        assert (run.status, run.interrupts, run.next) == ("interrupted", (), ("b",))
        assert await app.recover() == []  # it stands there because it was told to
        assert (await app.resume("t")).output == {"words": ["a", "b"]}
    async with Graph.from_langgraph(builder).compile(checkpointer="memory://") as app:
        assert await app.ainvoke({}, thread("u"), **stops) == {"words": ["a"]}
        assert await app.ainvoke(None, thread("u")) == {"words": ["a", "b"]}


async def test_deferred_nodes_come_last(store_url: str) -> None:
    builder: Any = StateGraph(State)
    for name in ("a", "b", "c"):
        builder.add_node(name, word(name))
    builder.add_node("last", word("last"), defer=True)
    for source, target in ((LG_START, "a"), ("a", "b"), ("b", "c"), ("c", "last"), ("a", "last"), ("last", LG_END)):
        builder.add_edge(source, target)
    async with Graph.from_langgraph(builder).compile(checkpointer=store_url) as app:
        assert (await app.run({})).output == {"words": ["a", "b", "c", "last"]}


async def test_a_cached_node_is_not_executed_again(store_url: str) -> None:
    executed: list[str] = []

    def slow(state: State) -> State:
        executed.append("slow")
        return {"words": ["slow"]}

    builder: Any = StateGraph(State)
    builder.add_node("slow", slow, cache_policy=CachePolicy())
    builder.add_edge(LG_START, "slow")
    builder.add_edge("slow", LG_END)
    async with Graph.from_langgraph(builder).compile(checkpointer=store_url, cache=InMemoryCache()) as app:
        for name in ("t", "u"):
            assert (await app.run({"words": []}, thread_id=name)).output == {"words": ["slow"]}
        assert executed == ["slow"]


async def test_a_store_is_handed_to_nodes(store_url: str) -> None:
    async def remember(state: State, runtime: Runtime[Any]) -> State:
        assert runtime.store is not None
        await runtime.store.aput(("people",), "ada", {"likes": "tea"})
        found = await runtime.store.aget(("people",), "ada")
        return {"words": [found.value["likes"]] if found else []}

    async with Graph.from_langgraph(adopted(remember)).compile(checkpointer=store_url, store=InMemoryStore()) as app:
        run = await app.run({})
        assert (run.status, run.output) == ("done", {"words": ["tea"]}), run.error


@pytest.mark.parametrize("mode", ["values", "updates", "debug", "tasks", "checkpoints", "custom", "messages"])
async def test_every_stream_mode_streams(store_url: str, mode: Any) -> None:
    from langchain_core.language_models.fake_chat_models import FakeListChatModel

    model = FakeListChatModel(responses=["hi"])

    async def say(state: State) -> State:
        from langgraph.config import get_stream_writer

        get_stream_writer()("note")
        return {"words": [str((await model.ainvoke("x")).content)]}

    async with Graph.from_langgraph(adopted(say)).compile(checkpointer=store_url) as app:
        assert [item async for item in app.astream({}, stream_mode=mode)]


async def test_streams_of_subgraphs(store_url: str) -> None:
    inner = adopted(word("within"))
    builder: Any = StateGraph(State)
    builder.add_node("inner", inner.compile())
    builder.add_edge(LG_START, "inner")
    builder.add_edge("inner", LG_END)
    async with Graph.from_langgraph(builder).compile(checkpointer=store_url) as app:
        items = [item async for item in app.astream({}, stream_mode="updates", subgraphs=True)]
        assert [(len(namespace), update) for namespace, update in items] == [
            (1, {"within": {"words": ["within"]}}),
            (0, {"inner": {"words": ["within"]}}),
        ]
