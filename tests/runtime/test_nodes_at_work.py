"""What a node can ask of its context while it runs, on every kind of state."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, Field

from vertebra import END, START, Append, Context, Graph, Retry, effect, llm, transition
from vertebra.runtime import events
from vertebra.testing import ScriptedModel


class State(BaseModel):
    n: int = 0
    log: Append[str] = []


def line(*nodes: Any, state: Any = State) -> Graph:
    g = Graph(state, name="line")
    for before, after in zip((START, *nodes), (*nodes, END), strict=True):
        g.add_edge(before, after)
    return g


async def test_an_effect_within_a_node_is_done_once_for_its_arguments(store_url: str) -> None:
    done: list[Any] = []
    failed: list[bool] = []

    def pay(cents: int, *, to: str) -> dict[str, Any]:
        done.append((cents, to))
        return {"paid": cents}

    async def apay(cents: int, ctx: Context) -> str:
        done.append(cents)
        return str(ctx.idempotency_key)

    @llm(retry=Retry(attempts=1))
    async def node(state: State, ctx: Context) -> dict[str, object]:
        first = await ctx.effect(pay, 5, to="a")
        same = await ctx.effect(pay, cents=6, to="a")
        key = await ctx.effect(apay, 7)
        built_in = await ctx.effect(max, 1, 2)
        if not failed:
            failed.append(True)
            raise RuntimeError("died")
        return {"log": [str(first["paid"]), str(same["paid"]), key, str(built_in)]}

    @llm(retry=Retry(attempts=1))
    def plain(state: State, ctx: Context) -> dict[str, object]:
        return {"n": ctx.effect_sync(pay, 9, to="b")["paid"]}

    async with line(node, plain).compile(checkpointer=store_url) as app:
        assert (await app.run({}, thread_id="t")).status == "failed"
        run = await app.resume("t")
        assert run.status == "done", run.error
        assert done == [(5, "a"), (6, "a"), 7, (9, "b")]
        assert run.output.log[:2] == ["5", "6"]
        assert run.output.log[2].startswith("vertebra-")
        assert run.output.log[3] == "2"


async def test_what_is_not_json_is_refused_before_the_effect(store_url: str) -> None:
    @llm(retry=Retry(attempts=1))
    async def node(state: State, ctx: Context) -> dict[str, object]:
        await ctx.effect(print, threading.Lock())
        return {}

    async with line(node).compile(checkpointer=store_url) as app:
        run = await app.run({})
        assert run.error is not None
        assert run.error.code == "usage"
        assert "print" in run.error.message


async def test_an_effect_node_is_given_the_same_key_on_every_attempt(store_url: str) -> None:
    keys: list[str | None] = []
    asked: list[str | None] = []

    async def outcome(state: State, ctx: Context) -> dict[str, object] | None:
        asked.append(ctx.idempotency_key)
        return {"n": 5} if len(asked) == 2 else None

    @effect(check=outcome, retry=Retry(attempts=2, wait_initial_s=0.01, jitter_s=0, on=(OSError,)))
    async def send(state: State, ctx: Context) -> dict[str, object]:
        keys.append(ctx.idempotency_key)
        raise OSError("no answer")

    async with line(send).compile(checkpointer=store_url) as app:
        assert (await app.run({}, thread_id="t")).status == "failed"
        run = await app.resume("t")
        assert (run.status, run.output.n) == ("done", 5)
        assert len(set(keys) | set(asked)) == 1
        assert (len(keys), len(asked)) == (2, 2)


async def test_a_node_may_name_the_config_and_the_context(store_url: str, caplog: pytest.LogCaptureFixture) -> None:
    @transition
    def node(state: State, config: RunnableConfig, context: Context) -> dict[str, object]:
        with caplog.at_level(logging.INFO, "vertebra.node"):
            context.log.info("here")
        return {"log": [config["metadata"]["langgraph_node"], context.thread_id, context.node, str(context.step)]}

    @transition
    def nothing() -> dict[str, object]:
        return {"log": ["nothing"]}

    async with line(node, nothing).compile(checkpointer=store_url) as app:
        run = await app.run({}, thread_id="t", principal="alice")
        assert run.status == "done", run.error
        assert run.output.log == ["node", "t", "node", "1", "nothing"]
        (record,) = [r for r in caplog.records if r.name == "vertebra.node"]
        assert (record.getMessage(), vars(record)["thread_id"], vars(record)["node"]) == ("here", "t", "node")


async def test_a_sync_function_that_returns_a_coroutine_is_awaited() -> None:
    async def later(state: State) -> dict[str, object]:
        return {"n": 3}

    @llm
    def node(state: State) -> Any:
        return later(state)

    async with line(node).compile() as app:
        assert (await app.run({})).output.n == 3


async def test_a_timeout_of_the_nodes_own_is_not_the_nodes_timeout() -> None:
    @llm(timeout_s=5, retry=Retry(attempts=1))
    async def node(state: State) -> dict[str, object]:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(1)
        return {}

    async with line(node).compile() as app:
        run = await app.run({})
        assert run.error is not None
        assert (run.error.code, run.error.context["raised"]) == ("node_failed", "TimeoutError")


async def test_requests_that_differ_on_another_execution_are_told(
    store_url: str, scripted_model: ScriptedModel
) -> None:
    executions: list[int] = []

    @llm(retry=Retry(attempts=1))
    async def node(state: State, ctx: Context) -> dict[str, object]:
        executions.append(1)

        async def ask(text: str) -> None:
            await ctx.client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])

        # In tasks of their own: their order means nothing, so that a difference shows only at the end.
        await asyncio.gather(ask("always"), ask(f"execution {len(executions)}"))
        if len(executions) == 1:
            raise RuntimeError("died")
        return {}

    async with line(node).compile(checkpointer=store_url) as app:
        assert (await app.run({}, thread_id="t")).status == "failed"
        seen: list[events.Event] = []
        assert (await app.resume("t", on_event=seen.append)).status == "done"
        (told,) = [e for e in seen if isinstance(e, events.RequestsDiffer)]
        assert (told.unused, told.new) == (1, 1)


class Words(TypedDict, total=False):
    words: Append[str]
    count: int


def most(old: int, new: int) -> int:
    return max(old, new)


@dataclass
class Tally:
    words: Append[str] = field(default_factory=list)
    count: Annotated[int, most] = 0


@pytest.mark.parametrize("state", [Words, Tally])
async def test_states_of_other_kinds_and_subgraphs_within_them(store_url: str, state: Any) -> None:
    def read(given: Any, name: str) -> Any:
        return given.get(name, 0) if isinstance(given, dict) else getattr(given, name)

    @transition
    def add(given: Any) -> dict[str, object]:
        return {"words": ["outer"], "count": read(given, "count") + 1}

    @transition
    def within(given: Any) -> dict[str, object]:
        return {"words": [f"inner after {len(read(given, 'words'))}"], "count": 7}

    inner = Graph(state, name="inner")
    inner.add_edge(START, within)
    inner.add_edge(within, END)
    g = Graph(state, name="outer")
    g.add_edge(START, add)
    g.add_edge(add, inner)
    g.add_edge(inner, END)
    async with g.compile(checkpointer=store_url) as app:
        run = await app.run({"words": ["given"]})
        assert run.status == "done", run.error
        assert read(run.output, "words") == ["given", "outer", "inner after 2"]
        assert read(run.output, "count") == 7
        assert type(run.output) is (dict if state is Words else Tally)


async def test_a_fallback_has_retries_and_a_fallback_of_its_own(store_url: str) -> None:
    executed: list[str] = []

    @transition
    def last(state: State, ctx: Context) -> dict[str, object]:
        executed.append("last")
        return {"log": [f"after {type(ctx.error).__name__}"]}

    @effect(retry=Retry(attempts=2, wait_initial_s=0.01, jitter_s=0, on=(OSError,)), fallback=last)
    def second(state: State, ctx: Context) -> dict[str, object]:
        executed.append(f"second {ctx.attempt} after {type(ctx.error).__name__}")
        raise OSError("again")

    @effect(fallback=second)
    def first(state: State) -> dict[str, object]:
        executed.append("first")
        raise ValueError("no")

    g = line(first)
    for node in (second, last):
        g.add_node(node)
        g.add_edge(node, END)
    async with g.compile(checkpointer=store_url) as app:
        run = await app.run({})
        assert run.status == "done", run.error
        assert run.output.log == ["after OSError"]
        assert executed == ["first", "second 1 after ValueError", "second 2 after ValueError", "last"]


async def test_fallbacks_in_a_ring_end() -> None:
    @effect
    def one(state: State) -> dict[str, object]:
        raise ValueError("one")

    @effect(fallback=one)
    def two(state: State) -> dict[str, object]:
        raise ValueError("two")

    g = Graph(State, name="ring")
    g.add_node(one, fallback=two)
    g.add_node(two)
    g.add_edge(START, one)
    g.add_edge(one, END)
    g.add_edge(two, END)
    async with g.compile() as app:
        run = await app.run({})
        assert run.error is not None
        assert "two" in run.error.message


async def test_a_worker_that_changes_its_item_is_given_it_anew() -> None:
    class Item(BaseModel):
        parts: list[int] = []

    class Batch(BaseModel):
        items: list[Item] = []
        sizes: Append[int] = []

    @effect(retry=Retry(attempts=2, wait_initial_s=0, jitter_s=0))
    def work(item: Item, ctx: Context) -> dict[str, object]:
        item.parts.append(1)
        if ctx.attempt == 1:
            raise ConnectionError("again")
        return {"sizes": [len(item.parts)]}

    g = Graph(Batch, name="batch")
    g.fan_out(START, work, over="items")
    g.add_edge(work, END)
    async with g.compile() as app:
        assert (await app.run({"items": [Item(), Item()]})).output.sizes == [1, 1]


class Defaults(BaseModel):
    tag: uuid.UUID = Field(default_factory=uuid.uuid4)
    notes: Append[str] = ["default"]
    seen: Append[str] = []


async def test_a_default_is_made_once_and_is_what_a_reducer_begins_with(store_url: str) -> None:
    @transition
    def look(state: Defaults) -> dict[str, object]:
        return {"seen": [str(state.tag)], "notes": ["more"]}

    @transition
    def again(state: Defaults) -> dict[str, object]:
        return {"seen": [str(state.tag)]}

    async with line(look, again, state=Defaults).compile(checkpointer=store_url) as app:
        run = await app.run({}, thread_id="t")
        assert run.output.notes == ["default", "more"]
        assert run.output.seen == [str(run.output.tag)] * 2
        turn = await app.run({"notes": ["given"]}, thread_id="t")
        assert turn.output.notes == ["default", "more", "given", "more"]
        assert turn.output.tag == run.output.tag
        assert (await app.run({"notes": ["given"]}, thread_id="u")).output.notes == ["given", "more"]


async def test_the_same_input_delivered_twice_is_one_run(durable_url: str) -> None:
    broken = [True]

    @transition
    def look(state: Defaults) -> dict[str, object]:
        if broken:
            raise RuntimeError("died")
        return {"seen": [str(state.tag)]}

    async with line(look, state=Defaults).compile(checkpointer=durable_url) as app:
        assert (await app.run({}, thread_id="t")).status == "failed"
        broken.clear()
        assert (await app.run({}, thread_id="t")).status == "done"


async def test_a_subgraph_begins_with_its_own_defaults(store_url: str) -> None:
    class Inner(BaseModel):
        n: int = 0
        notes: Append[str] = ["inner default"]

    @transition
    def count(state: Inner) -> dict[str, object]:
        return {"n": len(state.notes)}

    inner = Graph(Inner, name="inner")
    inner.add_edge(START, count)
    inner.add_edge(count, END)
    async with line(inner).compile(checkpointer=store_url) as app:
        assert (await app.run({})).output.n == 1


@dataclass(slots=True)
class Slotted:
    n: int = 0


async def test_a_slotted_state_is_passed_into_a_subgraph() -> None:
    @transition
    def double(state: Slotted) -> dict[str, object]:
        return {"n": state.n * 2}

    inner = Graph(Slotted, name="inner")
    inner.add_edge(START, double)
    inner.add_edge(double, END)
    async with line(inner, state=Slotted).compile() as app:
        assert (await app.run({"n": 4})).output == Slotted(8)


async def test_what_a_provider_says_is_told_without_keys(
    scripted_model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "my-own-secret")
    scripted_model.on("hello").fail(404)

    @llm(retry=Retry(attempts=1))
    async def ask(state: State, ctx: Context) -> dict[str, object]:
        await ctx.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
        return {}

    @llm(retry=Retry(attempts=1))
    async def leak(state: State) -> dict[str, object]:
        raise ValueError("refused my-own-secret, sk-proj-abcdef123 and Bearer eyJhbGciOi.x")

    async with line(ask).compile() as app:
        run = await app.run({})
        assert run.error is not None
        assert "answered 404" in run.error.message
        assert "scripted failure 404" in run.error.message
    async with line(leak).compile() as app:
        run = await app.run({})
        assert run.error is not None
        assert "refused [key], [key] and Bearer [key]" in run.error.message
