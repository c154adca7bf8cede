"""What a node is handed, seen from inside nodes that run."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from vertebra import END, START, Context, Graph, Retry, effect, llm, transition
from vertebra.errors import UnknownTask
from vertebra.nodes.visit import Visit
from vertebra.runtime.events import Custom
from vertebra.testing import ScriptedModel, ScriptedTransport


class State(BaseModel):
    n: int = 0


def run(node: Any, **options: Any) -> Any:
    g = Graph(State, name="g").add_edge(START, node).add_edge(node, END)
    with g.compile(**options) as app:
        return app.run_sync({}, thread_id="t", principal="alice")


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test")


def test_a_node_knows_where_it_is_and_for_whom() -> None:
    seen: list[Any] = []

    def node(state: State, ctx: Context) -> None:
        seen.extend([ctx.thread_id, ctx.node, ctx.step, ctx.attempt, ctx.principal, ctx.error, ctx.idempotency_key])
        seen.append(ctx.run_id)

    done = run(node)
    assert seen == ["t", "node", 1, 1, "alice", None, None, done.run_id]


def test_the_log_of_a_node_says_where_it_is(caplog: pytest.LogCaptureFixture) -> None:
    def node(state: State, ctx: Context) -> None:
        ctx.log.warning("here")

    assert run(node).error is None
    (record,) = [record for record in caplog.records if record.name == "vertebra.node"]
    assert [vars(record)[name] for name in ("message", "thread_id", "node", "step")] == ["here", "t", "node", 1]


def test_time_and_chance_are_the_same_when_a_node_is_executed_again() -> None:
    seen: list[Any] = []

    @effect(retry=Retry(attempts=2, wait_initial_s=0, jitter_s=0))
    def node(state: State, ctx: Context) -> None:
        ctx.random.random()
        seen.append([ctx.now(), ctx.now(), ctx.random.random(), ctx.uuid(), ctx.uuid()])
        if ctx.attempt == 1:
            raise ConnectionError

    assert run(node).status == "done"
    first, second = seen
    assert first == second
    early, late, chance, one, two = first
    assert datetime(2026, 1, 1, tzinfo=UTC) < early < late
    assert 0 <= chance < 1
    assert one != two
    assert {one.version, two.version} == {4}
    assert isinstance(one, uuid.UUID)


def test_another_visit_has_other_chances() -> None:
    def numbers(visit: Visit) -> tuple[float, uuid.UUID]:
        ctx = Context(None, visit, kind="plain", task=None, attempt=1, principal=None, log=None)  # type: ignore[arg-type]
        return ctx.random.random(), ctx.uuid()

    one, other = (numbers(Visit(thread, "n@1", "n", 1, "run")) for thread in ("t", "u"))
    assert one[0] != other[0]
    assert one[1] != other[1]


async def test_the_clients_are_the_official_ones(key: None) -> None:
    model = ScriptedTransport()
    model.on("async").reply("1")
    model.on("sync").reply("2")
    clients: list[Any] = []

    @llm(task="count")
    async def waits(state: State, ctx: Context) -> dict[str, Any]:
        clients.extend([ctx.client, ctx.client])
        messages: Any = [{"role": "user", "content": "async"}]
        reply = await ctx.client.chat.completions.create(model=ctx.model, messages=messages)
        return {"n": reply.choices[0].message.content}

    @llm
    def blocks(state: State, context: Context) -> dict[str, Any]:
        clients.append(context.sync_client)
        messages: Any = [{"role": "user", "content": "sync"}]
        reply = context.sync_client.chat.completions.create(model=context.model, messages=messages)
        return {"n": state.n + int(reply.choices[0].message.content or 0)}

    g = Graph(State, name="g").add_edge(START, waits).add_edge(waits, blocks).add_edge(blocks, END)
    async with g.compile(models={"count": "big"}, default_model="small", sender=model) as app:
        done = await app.run({})
    assert done.output.n == 3, done.error
    assert [type(client) for client in clients] == [openai.AsyncOpenAI, openai.AsyncOpenAI, openai.OpenAI]
    assert clients[0] is clients[1]
    assert [entry.model for entry in model.books] == ["big", "small"]


def test_a_task_without_a_model_is_an_error_with_its_name() -> None:
    @llm(task="summarise")
    def node(state: State, ctx: Context) -> None:
        ctx.model

    error = run(node).error
    assert isinstance(error, UnknownTask)
    assert "'summarise'" in str(error)


@pytest.mark.parametrize("client", ["client", "sync_client"])
def test_a_transition_has_no_client(client: str) -> None:
    @transition
    def node(state: State, ctx: Context) -> None:
        getattr(ctx, client)

    done = run(node, default_model="m")
    assert done.error.code == "usage"
    assert "make it an @llm node" in done.error.remedy


def test_what_a_node_emits_is_an_event() -> None:
    heard: list[Any] = []

    def node(state: State, ctx: Context) -> None:
        ctx.emit({"half": "way"})

    g = Graph(State, name="g").add_edge(START, node).add_edge(node, END)
    with g.compile() as app:
        app.run_sync({}, on_event=heard.append)
    assert [event.payload for event in heard if isinstance(event, Custom)] == [{"half": "way"}]


async def test_an_effect_within_a_node_happens_once_for_its_arguments() -> None:
    done: list[Any] = []

    def book(place: str, ctx: Context, *, seats: int = 1) -> str | None:
        done.append((place, seats, ctx.idempotency_key))
        return f"{place}-{seats}"

    @llm(retry=Retry(attempts=2, wait_initial_s=0, jitter_s=0))
    async def waits(state: State, ctx: Context) -> dict[str, Any]:
        assert await ctx.effect(book, "aisle", seats=2) == "aisle-2"
        if ctx.attempt == 1:
            raise ConnectionError
        return {"n": 1}

    @llm(retry=Retry(attempts=2, wait_initial_s=0, jitter_s=0))
    def blocks(state: State, ctx: Context) -> dict[str, Any]:
        assert ctx.effect_sync(book, "window") == "window-1"
        if ctx.attempt == 1:
            raise ConnectionError
        return {"n": state.n + 1}

    g = Graph(State, name="g").add_edge(START, waits).add_edge(waits, blocks).add_edge(blocks, END)
    async with g.compile() as app:
        ended = await app.run({})
    assert ended.output.n == 2, ended.error
    assert [(place, seats) for place, seats, _ in done] == [("aisle", 2), ("window", 1)]
    assert len({key for *_, key in done}) == 2


def test_a_fallback_learns_what_the_other_failed_with() -> None:
    seen: list[Any] = []

    def stand_in(state: State, ctx: Context) -> dict[str, Any]:
        seen.append(ctx.error)
        return {"n": 7}

    @llm(fallback=stand_in)
    def node(state: State) -> None:
        raise KeyError("lost")

    g = Graph(State, name="g").add_edge(START, node).add_edge(node, END).add_node(stand_in)
    with g.compile() as app:
        assert app.run_sync({}).output.n == 7
    assert repr(seen) == "[KeyError('lost')]"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedModel]:
    with ScriptedModel() as model:
        for name, value in model.env().items():
            monkeypatch.setenv(name, value)
        yield model


def test_the_clients_speak_to_a_real_server(server: ScriptedModel) -> None:
    server.on("count").reply("5")

    @llm
    def node(state: State, ctx: Context) -> dict[str, Any]:
        reply = ctx.sync_client.responses.create(model=ctx.model, input="count")
        return {"n": reply.output_text}

    assert run(node, default_model="m").output.n == 5
