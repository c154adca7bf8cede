"""A graph run for real against the scripted model, on every store."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from vertebra import END, START, Append, Context, Graph, Question, Retry, effect, human, llm, transition
from vertebra.errors import (
    AnswerMismatch,
    AnswerRejected,
    GraphChanged,
    InterruptUnknown,
    ThreadNotFinished,
    UsageError,
)
from vertebra.testing import ScriptedModel


class Approval(BaseModel):
    ok: bool


class Visit(BaseModel):
    text: str
    pieces: list[str] = []
    notes: Append[str] = []
    rounds: int = 0
    approval: Approval | None = None
    sent: str | None = None


@transition
def cut(visit: Visit) -> dict[str, object]:
    return {"pieces": visit.text.split()}


@llm(task="summarise")
async def summarise(piece: str, ctx: Context) -> dict[str, object]:
    reply = await ctx.client.chat.completions.create(
        model=ctx.model, messages=[{"role": "user", "content": f"Summarise {piece}"}]
    )
    return {"notes": [reply.choices[0].message.content]}


@llm(retry=Retry(attempts=3, wait_initial_s=0.01, jitter_s=0))
def draft(visit: Visit, ctx: Context) -> dict[str, object]:
    with ctx.sync_client.chat.completions.create(
        model=ctx.model, stream=True, messages=[{"role": "user", "content": f"Draft {visit.rounds}"}]
    ) as stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    return {"notes": [text], "rounds": visit.rounds + 1}


@human(answer=Approval)
def approve(visit: Visit) -> Question:
    return Question("Send it?", data=visit.notes)


@effect
def send(visit: Visit, ctx: Context) -> dict[str, object]:
    return {"sent": ctx.idempotency_key}


def scribe(version: str = "1") -> Graph:
    g = Graph(Visit, name="scribe", version=version)
    g.add_edge(START, cut)
    g.fan_out(cut, summarise, over="pieces")
    g.add_edge(summarise, draft)
    g.add_conditional_edges(
        draft, lambda visit: "again" if visit.rounds < 2 else "ok", {"ok": approve, "again": draft}, max_visits=3
    )
    g.add_edge(approve, send)
    g.add_edge(send, END)
    return g


async def test_a_run_asks_waits_and_ends(store_url: str, model: ScriptedModel) -> None:
    async with scribe().compile(checkpointer=store_url, default_model="m") as app:
        run = await app.run({"text": "a b c"}, thread_id="t")
        assert run.status == "interrupted"
        assert run.interrupts[0].text == "Send it?"
        with pytest.raises(ThreadNotFinished):
            await app.run({"text": "other"}, thread_id="t")
        with pytest.raises(AnswerRejected):
            await app.resume("t", {"nonsense": 1})
        with pytest.raises(InterruptUnknown):
            await app.resume("t", Approval(ok=True), interrupt_id="no such")
        done = await app.resume("t", Approval(ok=True))
        assert done.status == "done"
        assert done.output.approval == Approval(ok=True)
        assert len(done.output.notes) == 5
        assert done.calls == 5 == len(model.books.paid())
        same = await app.resume("t", Approval(ok=True), interrupt_id=run.interrupts[0].id)
        assert same.status == "done"
        with pytest.raises(AnswerMismatch):
            await app.resume("t", Approval(ok=False), interrupt_id=run.interrupts[0].id)
        assert not model.books.repeats()


async def test_a_failure_is_resumed_without_paying_twice(store_url: str, model: ScriptedModel) -> None:
    model.on("Draft 0").fail(400)
    async with scribe().compile(checkpointer=store_url, default_model="m") as app:
        failed = await app.run({"text": "a b"}, thread_id="t")
        assert failed.status == "failed"
        assert failed.error is not None
        assert failed.error.code == "provider_refused"
        run = await app.resume("t")
        assert run.status == "interrupted"
        assert len(model.books.paid()) == 4
        assert not model.books.repeats()


async def test_transient_faults_are_sent_again(store_url: str, model: ScriptedModel) -> None:
    model.on("Summarise a").fail(429, retry_after_s=0.01).fail(500).reply("fine")
    model.on("Draft 0").cut(after_chunks=2).reply("drafted")
    async with scribe().compile(checkpointer=store_url, default_model="m") as app:
        run = await app.run({"text": "a"}, thread_id="t")
        assert run.status == "interrupted", run.error
        assert run.output.notes[:2] == ["fine", "drafted"]


async def test_a_changed_graph_is_refused_with_the_difference(store_url: str, model: ScriptedModel) -> None:
    from vertebra import open_checkpointer

    with open_checkpointer(store_url) as store:
        await scribe().compile(checkpointer=store, default_model="m").run({"text": "a"}, thread_id="t")
        changed = scribe("2").add_edge(approve, "cut")
        changed.add_conditional_edges(approve, lambda visit: "ok", {"ok": send}, max_visits=1)
        with pytest.raises(GraphChanged, match=r"stands before approve(.|\n)*\+ approve.edges: approve -> cut"):
            await changed.compile(checkpointer=store, default_model="m").resume("t", Approval(ok=True))
        assert (await store.runs.require("t")).version == "1"


def test_the_sync_face(store_url: str, model: ScriptedModel) -> None:
    with scribe().compile(checkpointer=store_url, default_model="m") as app:
        assert app.run_sync({"text": "a"}, thread_id="t").status == "interrupted"
        assert app.resume_sync("t", Approval(ok=True)).status == "done"
        assert app.get_state({"configurable": {"thread_id": "t"}}).values["rounds"] == 2
        values = app.invoke({"text": "b"}, {"configurable": {"thread_id": "u"}})
        assert "__interrupt__" in values


async def test_a_bad_answer_is_sampled_anew(store_url: str, model: ScriptedModel) -> None:
    class State(BaseModel):
        value: int = 0

    @llm(retry=Retry(attempts=3, wait_initial_s=0.01, jitter_s=0))
    async def ask(state: State, ctx: Context) -> dict[str, object]:
        reply = await ctx.client.chat.completions.create(
            model=ctx.model, messages=[{"role": "user", "content": "number"}]
        )
        return {"value": reply.choices[0].message.content}

    model.on("number").reply("not a number", "41")
    g = Graph(State, name="fresh")
    g.add_edge(START, ask)
    g.add_edge(ask, END)
    async with g.compile(checkpointer=store_url, default_model="m") as app:
        run = await app.run({})
        assert run.status == "done", run.error
        assert run.output.value == 41
        assert len(model.books.paid()) == 2


async def test_one_writer_a_thread(durable_url: str, model: ScriptedModel) -> None:
    from vertebra.errors import ThreadBusy

    model.on("Summarise").delay(0.3)
    async with scribe().compile(checkpointer=durable_url, default_model="m") as app:
        first = asyncio.create_task(app.run({"text": "a"}, thread_id="t"))
        await asyncio.sleep(0.15)
        with pytest.raises(ThreadBusy):
            await app.run({"text": "a"}, thread_id="t")
        assert (await first).status == "interrupted"


async def test_past_its_app_no_node_runs() -> None:
    async with scribe().compile(default_model="m") as app:
        with pytest.raises(UsageError, match="outside of its app"):
            await app.graph.ainvoke({"text": "a"}, {"configurable": {"thread_id": "t"}})


async def test_a_node_two_graphs_deep_is_known_by_its_name() -> None:
    @effect
    def deep(visit: Visit) -> dict[str, object]:
        raise RuntimeError("gone")

    inner = Graph(Visit, name="inner").add_edge(START, deep).add_edge(deep, END)
    middle = (
        Graph(Visit, name="middle").add_node("in", inner).add_edge(START, cut).add_edge(cut, "in").add_edge("in", END)
    )
    outer = Graph(Visit, name="outer").add_node("mid", middle).add_edge(START, "mid").add_edge("mid", END)
    async with outer.compile() as app:
        spec = app.spec_of("deep")
        assert (spec is not None and spec.kind, app.spec_of("no such node")) == ("effect", None)
        failed = await app.run({"text": "a"}, thread_id="t")
        assert (failed.status, "deep" in str(failed.error)) == ("failed", True)
