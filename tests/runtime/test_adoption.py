"""Unchanged LangGraph graphs under journal, lease and run records."""

from __future__ import annotations

import json
from operator import add
from typing import Annotated, Any, TypedDict

import openai
import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt

import vertebra
from vertebra import Graph
from vertebra.errors import AnswerMismatch, GraphChanged, UsageError
from vertebra.runtime import events
from vertebra.testing import ScriptedModel


class Chat(TypedDict, total=False):
    words: Annotated[list[str], add]
    ok: Any


def client() -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(http_client=vertebra.http_client(), max_retries=0)


async def answer(text: str) -> str:
    reply = await client().chat.completions.create(model="m", messages=[{"role": "user", "content": text}])
    return str(reply.choices[0].message.content)


def builder(*nodes: Any, **options: Any) -> Any:
    made: Any = StateGraph(Chat)
    for before, after in zip((START, *(n.__name__ for n in nodes)), (*(n.__name__ for n in nodes), END), strict=True):
        made.add_edge(before, after)
    for node in nodes:
        made.add_node(node.__name__, node, **options)
    return made


def test_only_a_builder_is_adopted() -> None:
    async def node(state: Chat) -> Chat:
        return {}

    with pytest.raises(UsageError, match="not a LangGraph StateGraph builder"):
        Graph.from_langgraph(builder(node).compile().get_graph())
    adopted = Graph.from_langgraph(builder(node))
    assert (adopted.name, adopted.version) == ("Chat", "1")
    assert adopted.fingerprint() == Graph.from_langgraph(builder(node)).fingerprint()
    assert adopted.fingerprint() != Graph.from_langgraph(builder(node), version="2").fingerprint()


async def test_a_bad_answer_is_sampled_anew_by_langgraphs_own_retries(
    store_url: str, scripted_model: ScriptedModel
) -> None:
    scripted_model.on("json").reply("not json", '{"word": "yes"}')

    async def parse(state: Chat) -> Chat:
        return {"words": [json.loads(await answer("json please"))["word"]]}

    policy = RetryPolicy(initial_interval=0.01, jitter=False, max_attempts=3, retry_on=ValueError)
    graph = Graph.from_langgraph(builder(parse, retry_policy=policy))
    async with graph.compile(checkpointer=store_url) as app:
        run = await app.run({})
        assert (run.status, run.output["words"]) == ("done", ["yes"])
        assert len(scripted_model.books.paid()) == 2


async def test_a_subgraph_that_a_node_calls_keeps_its_calls_apart(
    store_url: str, scripted_model: ScriptedModel
) -> None:
    async def left(state: Chat) -> Chat:
        return {"words": [await answer("same question")]}

    async def right(state: Chat) -> Chat:
        return {"words": [await answer("same question")]}

    inner = StateGraph(Chat)
    for node in (left, right):
        inner.add_node(node.__name__, node)
        inner.add_edge(START, node.__name__)
        inner.add_edge(node.__name__, END)
    compiled = inner.compile()
    broken = [True]

    async def outer(state: Chat) -> Chat:
        words = (await compiled.ainvoke({"words": []}))["words"]
        if broken:
            broken.clear()
            raise RuntimeError("died")
        return {"words": words}

    async with Graph.from_langgraph(builder(outer)).compile(checkpointer=store_url) as app:
        assert (await app.run({}, thread_id="t")).status == "failed"
        run = await app.resume("t")
        assert (run.status, len(run.output["words"])) == ("done", 2)
        assert len(scripted_model.books.paid()) == 2
        visits = {c.key.visit for c in await app.services.store.journal.calls("t")}
        assert visits == {"outer@1/left@1", "outer@1/right@1"}


async def test_sends_and_commands_and_a_subgraph_as_a_node(store_url: str, scripted_model: ScriptedModel) -> None:
    async def ask(state: Chat) -> Chat:
        return {"words": [await answer(state["words"][-1])]}

    inner: Any = StateGraph(Chat)
    inner.add_node("ask", ask)
    inner.add_edge(START, "ask")
    inner.add_edge("ask", END)

    async def split(state: Chat) -> Command[Any]:
        return Command(goto=[Send("worker", {"words": [word]}) for word in ("a", "b")])

    async def worker(state: Chat) -> Chat:
        return {"words": [await answer(state["words"][0])]}

    made: Any = StateGraph(Chat)
    made.add_node("split", split, destinations=("worker",))
    made.add_node("worker", worker)
    made.add_node("inner", inner.compile())
    made.add_edge(START, "split")
    made.add_edge("worker", "inner")
    made.add_edge("inner", END)
    async with Graph.from_langgraph(made, name="sends").compile(checkpointer=store_url) as app:
        run = await app.run({}, thread_id="t")
        assert run.status == "done", run.error
        visits = sorted(c.key.visit for c in await app.services.store.journal.calls("t"))
        assert visits == ["inner@3/ask@1", "worker@2#0", "worker@2#1"]


async def test_a_plain_interrupt_takes_any_json(store_url: str) -> None:
    async def node(state: Chat) -> Chat:
        return {"ok": interrupt({"what": "go on?"})}

    async with Graph.from_langgraph(builder(node), name="asks").compile(checkpointer=store_url) as app:
        asked: list[events.Event] = []
        run = await app.run({}, thread_id="t", on_event=asked.append)
        assert run.status == "interrupted"
        assert run.interrupts[0].data == {"what": "go on?"}
        assert any(isinstance(e, events.Asked) for e in asked)
        run = await app.resume("t", {"yes": [1, 2]}, interrupt_id=run.interrupts[0].id)
        assert (run.status, run.output["ok"]) == ("done", {"yes": [1, 2]})


async def test_a_failed_node_is_skipped_by_hand(store_url: str) -> None:
    async def node(state: Chat) -> Chat:
        raise RuntimeError("gone")

    async with Graph.from_langgraph(builder(node)).compile(checkpointer=store_url) as app:
        seen: list[events.Event] = []
        run = await app.run({"words": ["before"]}, thread_id="t", on_event=seen.append)
        assert run.error is not None
        assert run.error.code == "node_failed"
        assert run.error.message == "Node 'node' raised RuntimeError: gone."
        assert (run.error.context["node"], run.error.context["step"]) == ("node", 1)
        assert [type(e).__name__ for e in seen if isinstance(e, events.NodeEvent)] == ["NodeStarted", "NodeFailed"]
        run = await app.resume("t", skip="node", update={"words": ["by hand"]}, on_event=seen.append)
        assert run.output["words"] == ["before", "by hand"]
        assert any(isinstance(e, events.NodeSkipped) for e in seen)


async def test_a_changed_builder_is_refused(store_url: str) -> None:
    async def node(state: Chat) -> Chat:
        return {"ok": interrupt("go on?")}

    async def further(state: Chat) -> Chat:
        return {}

    with vertebra.open_checkpointer(store_url) as store:
        app = Graph.from_langgraph(builder(node), name="asks").compile(checkpointer=store)
        assert (await app.run({}, thread_id="t")).status == "interrupted"
        changed = Graph.from_langgraph(builder(node, further), name="asks").compile(checkpointer=store)
        with pytest.raises(GraphChanged, match="further"):
            await changed.resume("t", True)
        assert (await app.resume("t", True)).status == "done"
        with pytest.raises(AnswerMismatch):
            await app.resume("t", False, interrupt_id=next(iter(await store.runs.answers("t"))))


async def test_two_writers_of_a_plain_field_are_told(store_url: str) -> None:
    async def left(state: Chat) -> Chat:
        return {"ok": "left"}

    async def right(state: Chat) -> Chat:
        return {"ok": "right"}

    made: Any = StateGraph(Chat)
    for node in (left, right):
        made.add_node(node.__name__, node)
        made.add_edge(START, node.__name__)
        made.add_edge(node.__name__, END)
    async with Graph.from_langgraph(made).compile(checkpointer=store_url) as app:
        run = await app.run({"words": ["before"]}, thread_id="t")
        assert run.error is not None
        assert (run.status, run.error.code, run.output) == ("failed", "parallel_writes", {"words": ["before"]})
        assert set(run.next) == {"left", "right"}
