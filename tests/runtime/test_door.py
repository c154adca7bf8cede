"""The door: what is recorded, what is sent again, what is refused."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any, TypedDict

import openai
import pytest
from pydantic import BaseModel

import vertebra
from vertebra import END, START, Append, Context, Graph, Retry, effect, llm, open_checkpointer
from vertebra.checkpointers.migrations import MIGRATIONS
from vertebra.errors import NoVisit
from vertebra.testing import ScriptedModel

QUICK = Retry(attempts=3, wait_initial_s=0.01, jitter_s=0)


class State(BaseModel):
    log: Append[str] = []
    when: str = ""


def single(node: Any) -> Graph:
    g = Graph(State, name="single")
    g.add_edge(START, node)
    g.add_edge(node, END)
    return g


def ask(text: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


class Crash(Exception):
    """Raised by a body after its calls, in the place of a crash."""


def failing_once(work: Any) -> tuple[Any, list[int]]:
    executions: list[int] = []

    @llm(retry=Retry(attempts=1))
    async def node(state: State, ctx: Context) -> dict[str, object]:
        executions.append(1)
        result = await work(ctx)
        if len(executions) == 1:
            raise Crash
        return {"log": [str(result)]}

    return node, executions


async def executed_twice(url: str, work: Any) -> Any:
    node, _ = failing_once(work)
    async with single(node).compile(checkpointer=url, default_model="m") as app:
        first = await app.run({}, thread_id="t")
        assert first.error is not None
        assert first.error.context.get("raised") == "Crash", first.error
        return await app.resume("t")


class Word(BaseModel):
    word: str


TOOL: Any = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"word": {"type": "string"}}}},
}


@pytest.mark.parametrize(
    "kind",
    ["chat", "stream", "parse", "tools", "responses", "responses_stream", "embeddings", "audio", "sync"],
)
async def test_every_kind_of_call_is_answered_from_the_record(
    store_url: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    async def work(ctx: Context) -> None:
        c = ctx.client
        result: Any
        if kind == "chat":
            result = (await c.chat.completions.create(**ask("hi"))).choices[0].message.content
        elif kind == "stream":
            stream = await c.chat.completions.create(**ask("hi"), stream=True, stream_options={"include_usage": True})
            result = [x.choices[0].delta.content async for x in stream if x.choices]
            result = "".join(part or "" for part in result)
        elif kind == "parse":
            parsed = (await c.chat.completions.parse(**ask("hi"), response_format=Word)).choices[0].message.parsed
            result = parsed.word if isinstance(parsed, Word) else None
        elif kind == "tools":
            called = (await c.chat.completions.create(**ask("use it"), tools=[TOOL])).choices[0].message.tool_calls
            result = called[0].function.arguments if called else None
        elif kind == "responses":
            result = (await c.responses.create(model="m", input="hi")).output_text
        elif kind == "responses_stream":
            async with c.responses.stream(model="m", input="hi") as events:
                result = (await events.get_final_response()).output_text
        elif kind == "embeddings":
            result = (await c.embeddings.create(model="m", input=["hi"])).data[0].embedding
        elif kind == "audio":
            result = (await c.audio.transcriptions.create(model="m", file=("a.wav", b"RIFFxxxx"))).text
        else:
            result = await asyncio.to_thread(
                lambda: ctx.sync_client.chat.completions.create(**ask("hi")).choices[0].message.content
            )
        seen.append(result)

    with ScriptedModel(sampled=True) as model:
        model.on("use it").call_tool("look_up", {"word": "cough"})
        for name, value in model.env().items():
            monkeypatch.setenv(name, value)
        run = await executed_twice(store_url, work)
        assert run.status == "done", run.error
        assert len(model.books.paid()) == 1
    assert seen[0] == seen[1]
    assert seen[0]
    assert run.calls_from_journal == 1


async def test_equal_calls_at_once_are_different_calls(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    async def work(ctx: Context) -> None:
        async def one(text: str) -> str:
            reply = await ctx.client.chat.completions.create(**ask(text))
            return str(reply.choices[0].message.content)

        seen.append(list(await asyncio.gather(*(one(t) for t in ("a", "a", "b", "a")))))

    with ScriptedModel(sampled=True) as model:
        for name, value in model.env().items():
            monkeypatch.setenv(name, value)
        run = await executed_twice(store_url, work)
        assert run.status == "done", run.error
        assert len(model.books.paid()) == 4
        assert not model.books.repeats()
    assert sorted(seen[0]) == sorted(seen[1])
    assert len(set(seen[0])) == 4
    assert seen[0][2] == seen[1][2]


async def test_another_request_in_the_same_place_is_shown_and_not_paid(
    store_url: str, scripted_model: ScriptedModel
) -> None:
    texts = iter(["at 10:00", "at 10:01", "at 10:02"])

    async def work(ctx: Context) -> None:
        await ctx.client.chat.completions.create(**ask(next(texts)))

    node, _ = failing_once(work)
    async with single(node).compile(checkpointer=store_url) as app:
        assert (await app.run({}, thread_id="t")).status == "failed"
        run = await app.resume("t")
        assert run.error is not None
        assert run.error.code == "request_drift"
        assert "10:00" in run.error.message
        assert "10:01" in run.error.message
        assert len(scripted_model.books.paid()) == 1
        assert (await app.resume("t", fresh="node")).status == "done"


async def test_a_library_that_tries_again_by_itself_makes_the_same_call(
    store_url: str, scripted_model: ScriptedModel
) -> None:
    scripted_model.on("hi").fail(500, times=2).reply("yes")

    @llm(retry=Retry(attempts=1))
    async def node(state: State, ctx: Context) -> dict[str, object]:
        client = ctx.client.with_options(max_retries=3)
        reply = await client.chat.completions.create(**ask("hi"))
        return {"log": [reply.choices[0].message.content]}

    async with single(node).compile(checkpointer=store_url) as app:
        run = await app.run({}, thread_id="t")
        assert run.output.log == ["yes"]
        (call,) = await app.services.store.journal.calls("t")
        assert (call.key.ordinal, call.sends, call.lost, len(call.attempts)) == (0, 3, 0, 2)
        assert len({entry.idempotency_key for entry in scripted_model.books}) == 1


@pytest.mark.parametrize(
    ("fault", "code", "attempts"),
    [
        ("hang", "provider_unreachable", 2),
        ("bad_json", "answer_invalid", 3),
        ("cut", "provider_unreachable", 3),
        ("too_large", "answer_too_large", 1),
        ("stream_cut", "stream_truncated", 3),
        ("refused", "provider_unreachable", 0),
    ],
)
async def test_faults_are_typed_and_leave_nothing_half_recorded(
    store_url: str, scripted_model: ScriptedModel, fault: str, code: str, attempts: int
) -> None:
    rule = scripted_model.on("hi")
    if fault == "hang":
        rule.hang(times=None)
    elif fault == "bad_json":
        rule.bad_json(times=None)
    elif fault in ("cut", "stream_cut"):
        rule.cut(times=None)
    elif fault == "too_large":
        rule.too_large(200_000, times=None)

    @llm(retry=Retry(attempts=2 if fault == "hang" else 3, wait_initial_s=0.01, jitter_s=0))
    async def node(state: State, ctx: Context) -> dict[str, object]:
        client = ctx.client.with_options(timeout=0.3)
        if fault == "refused":
            client = client.with_options(base_url="http://127.0.0.1:9/v1")
        if fault == "stream_cut":
            stream = await client.chat.completions.create(**ask("hi"), stream=True)
            return {"log": [c.choices[0].delta.content or "" async for c in stream]}
        await client.chat.completions.create(**ask("hi"))
        return {}

    async with single(node).compile(checkpointer=store_url, max_answer_bytes=100_000) as app:
        run = await app.run({}, thread_id="t")
        assert run.error is not None
        assert run.error.code == code
        assert run.error.remedy
        (call,) = await app.services.store.journal.calls("t")
        assert call.status == "intent"
        assert call.answer is None
        assert call.lost == 0
        assert len(scripted_model.books) == attempts


async def test_a_stream_left_early_is_recorded(store_url: str, scripted_model: ScriptedModel) -> None:
    scripted_model.on("hi").reply("a long answer that goes on and on")
    firsts: list[str] = []

    async def work(ctx: Context) -> None:
        stream = await ctx.client.chat.completions.create(**ask("hi"), stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                firsts.append(chunk.choices[0].delta.content)
                break
        await stream.close()

    run = await executed_twice(store_url, work)
    assert run.status == "done", run.error
    assert firsts[0] == firsts[1]
    assert len(scripted_model.books.paid()) == 1


async def test_no_secret_is_stored(
    tmp_path: Path, scripted_model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-key")

    @llm(retry=Retry(attempts=1))
    async def node(state: State, ctx: Context) -> dict[str, object]:
        await ctx.client.chat.completions.create(**ask("hi"), extra_headers={"X-Api-Key": "sk-very-secret-key"})
        return {}

    async with single(node).compile(checkpointer=f"sqlite:///{tmp_path}/t.db") as app:
        assert (await app.run({})).status == "done"
    assert scripted_model.books.paid()[0].authorized
    for file in tmp_path.iterdir():
        assert b"sk-very-secret-key" not in file.read_bytes()


async def test_time_and_chance_are_the_same_again(store_url: str) -> None:
    seen: list[Any] = []

    async def work(ctx: Context) -> None:
        seen.append((ctx.now(), ctx.now(), ctx.random.random(), ctx.uuid(), ctx.uuid()))
        await asyncio.sleep(0.01)

    await executed_twice(store_url, work)
    assert seen[0] == seen[1]
    assert len(set(seen[0][3:])) == 2


async def test_an_effect_is_done_once_and_its_outcome_is_found_out(store_url: str) -> None:
    charged: dict[str, int] = {}

    def look(amount: int, ctx: Context) -> int | None:
        assert ctx.idempotency_key is not None
        return charged.get(ctx.idempotency_key)

    @effect(check=look)
    def charge(amount: int, ctx: Context) -> int:
        assert ctx.idempotency_key is not None
        charged[ctx.idempotency_key] = charged.get(ctx.idempotency_key, 0) + amount
        if len(charged) == 1 and charged[ctx.idempotency_key] == amount and "raised" not in flags:
            flags.add("raised")
            raise ConnectionError("the answer was lost")
        return charged[ctx.idempotency_key]

    flags: set[str] = set()

    @llm(retry=QUICK)
    async def node(state: State, ctx: Context) -> dict[str, object]:
        total = await ctx.effect(charge, 5) + await ctx.effect(charge, amount=5)
        return {"log": [str(total)]}

    async with single(node).compile(checkpointer=store_url) as app:
        run = await app.run({})
        assert run.status == "done", run.error
        assert run.output.log == ["10"]
    assert sorted(charged.values()) == [5, 5]


async def test_http_client_outside_of_a_node_is_refused() -> None:
    client = openai.AsyncOpenAI(
        http_client=vertebra.http_client(), api_key="x", base_url="http://127.0.0.1:9", max_retries=0
    )
    with pytest.raises(openai.APIConnectionError) as caught:
        await client.models.list()
    causes, error = [], caught.value.__cause__
    while error is not None:
        causes.append(type(error))
        error = error.__cause__
    assert NoVisit in causes


async def test_langchain_in_an_adopted_graph(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_openai import ChatOpenAI
    from langgraph.graph import END as LG_END
    from langgraph.graph import START as LG_START
    from langgraph.graph import StateGraph

    class Chat(TypedDict, total=False):
        question: str
        answers: list[str]

    broken = [True]

    async def node(state: Chat) -> Chat:
        model = ChatOpenAI(
            model="m", http_async_client=vertebra.http_client(), http_client=vertebra.http_client(sync=True)
        )
        first = await model.ainvoke(state["question"])
        second = await model.ainvoke("and then?")
        if broken:
            broken.clear()
            raise RuntimeError("died")
        return {"answers": [str(first.content), str(second.content)]}

    builder = StateGraph(Chat)
    builder.add_node("node", node)
    builder.add_edge(LG_START, "node")
    builder.add_edge("node", LG_END)
    with ScriptedModel(sampled=True) as model:
        for name, value in model.env().items():
            monkeypatch.setenv(name, value)
        async with Graph.from_langgraph(builder, name="adopted").compile(checkpointer=store_url) as app:
            assert (await app.run({"question": "why?"}, thread_id="t")).status == "failed"
            run = await app.resume("t")
            assert run.status == "done", run.error
            assert len(run.output["answers"]) == 2
        assert len(model.books.paid()) == 2


async def test_a_recorded_journal_needs_no_network(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(ctx: Context) -> str:
        return str((await ctx.client.chat.completions.create(**ask("hi"))).choices[0].message.content)

    node, _ = failing_once(work)
    with open_checkpointer(store_url) as store:
        with ScriptedModel() as model:
            for name, value in model.env().items():
                monkeypatch.setenv(name, value)
            assert (await single(node).compile(checkpointer=store).run({}, thread_id="t")).status == "failed"
        # the model is gone now
        assert (await single(node).compile(checkpointer=store).resume("t")).status == "done"


def test_a_database_of_an_older_connection_is_closed_cleanly(sqlite_url: str) -> None:
    path = sqlite_url.removeprefix("sqlite:///").partition("?")[0]
    with open_checkpointer(sqlite_url):
        pass
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version FROM vertebra_schema").fetchall() == [
            (n + 1,) for n in range(len(MIGRATIONS))
        ]
    connection.close()
