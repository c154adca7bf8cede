"""``ctx.memory``: what a node appends is there once, and before the next one runs; what it reads stays so."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.memory.parts import texts, user
from vertebra import END, START, Append, Context, Graph, Question, Retry, effect, human, llm, open_memory, transition
from vertebra.errors import MessageInvalid, StoreUnavailable, SubjectMismatch, UsageError
from vertebra.memory import Memory
from vertebra.runtime.app import App
from vertebra.testing import ScriptedModel, crash_at

SOON = Retry(attempts=3, wait_initial_s=0.001, jitter_s=0)


class Turn(BaseModel):
    said: str = ""
    seen: Append[str] = []
    pieces: list[str] = []
    ok: bool | None = None


@dataclass(frozen=True)
class Alice:
    id: str = "alice"
    tenant: str = "clinic"


@pytest.fixture(autouse=True)
def model(scripted_model: ScriptedModel) -> ScriptedModel:
    """Every test here asks it; given again what it was given, it says the same."""
    return scripted_model


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    """In another database than the state."""
    with open_memory(f"sqlite:///{tmp_path}/memory.db?durability=process") as opened:
        yield opened


def graph(*nodes: Any, name: str = "talk") -> Graph:
    g = Graph(Turn, name=name)
    for source, target in zip((START, *nodes), (*nodes, END), strict=True):
        g.add_edge(source, target)
    return g


def talk(ctx: Context) -> Any:
    return ctx.memory.conversation("c", subject="ann")


@llm(retry=SOON)
async def answer(turn: Turn, ctx: Context) -> dict[str, Any]:
    await talk(ctx).append(user(turn.said))
    asked = [message.to_openai() for message in await talk(ctx).messages()]
    reply = await ctx.client.chat.completions.create(model="m", messages=asked)
    await talk(ctx).append(reply.choices[0].message, tokens=3)
    return {"seen": [str(len(asked))]}


@transition
def look(turn: Turn, ctx: Context) -> dict[str, Any]:
    return {"seen": texts(talk(ctx).messages_sync())}


@llm
async def hear(turn: Turn, ctx: Context) -> dict[str, Any]:
    return {"seen": texts(await talk(ctx).messages())}


def said(memory: Memory, branch: str = "main", **where: Any) -> list[str]:
    return texts(memory.conversation("c", branch=branch, **where).messages_sync())


def test_seen_by_the_node_itself_and_by_the_next_one(store_url: str, memory: Memory) -> None:
    with graph(answer, look).compile(checkpointer=store_url, memory=memory, default_model="m") as app:
        run = app.run_sync({"said": "hello"}, thread_id="t")
        assert run.status == "done", run.error
        again = app.run_sync({"said": "more"}, thread_id="t")
    first = said(memory)[1]
    assert run.output.seen == ["1", "hello", first]
    assert again.output.seen[3:] == ["3", *said(memory)]
    assert len(said(memory)) == 4
    question, reply = memory.conversation("c", subject="ann").messages_sync(last=2)
    assert (question.role, question.provenance.thread, question.provenance.step) == ("user", "t", 5)
    assert (reply.role, reply.tokens, reply.provenance.model, reply.provenance.run) == (
        "assistant",
        3,
        "m",
        again.run_id,
    )


def test_the_outbox_is_seen_nowhere_and_does_not_grow(store_url: str, memory: Memory) -> None:
    g = graph(answer, look)
    with g.compile(checkpointer=store_url, memory=memory) as app:
        for number in range(3):
            run = app.run_sync({"said": f"{number}"}, thread_id="t")
        state = app.get_state({"configurable": {"thread_id": "t"}})
        kept = asyncio.run(app.services.store.saver.aget_tuple({"configurable": {"thread_id": "t"}}))
        edges = app.tree_sync("t").edges
        streamed = list(app.stream({"said": "x"}, {"configurable": {"thread_id": "s"}}, stream_mode="values"))
    assert kept is not None
    assert set(state.values) == set(Turn.model_fields) == set(run.output.model_dump())
    assert not kept.checkpoint["channel_values"]["vertebra.outbox"], "look appended nothing"
    assert all("vertebra" not in name for edge in edges for name in edge.changed)
    assert all(set(values) <= set(Turn.model_fields) for values in streamed)
    assert "outbox" not in str(app.shape)


def test_an_attempt_that_fails_appends_nothing(memory: Memory) -> None:
    tries: list[int] = []

    @llm(retry=SOON)
    async def flaky(turn: Turn, ctx: Context) -> dict[str, Any]:
        tries.append(1)
        await talk(ctx).append(user(f"try {len(tries)}"))
        if len(tries) < 3:
            raise ConnectionError("no")
        return {}

    with graph(flaky).compile(memory=memory) as app:
        assert app.run_sync({}, thread_id="t").status == "done"
    assert said(memory) == ["try 3"]


def test_a_fallback_appends_and_the_node_it_stands_in_for_does_not(memory: Memory) -> None:
    @llm(retry=Retry(attempts=1))
    async def spare(turn: Turn, ctx: Context) -> dict[str, Any]:
        await talk(ctx).append(user("spare"))
        return {}

    @llm(retry=Retry(attempts=1), fallback=spare)
    async def first(turn: Turn, ctx: Context) -> dict[str, Any]:
        await talk(ctx).append(user("first"))
        raise ValueError("no")

    g = graph(first)
    g.add_node(spare)
    with g.compile(memory=memory) as app:
        assert app.run_sync({}, thread_id="t").status == "done"
    assert said(memory) == ["spare"]


def test_a_skipped_node_appends_nothing(memory: Memory) -> None:
    @llm(retry=Retry(attempts=1))
    async def stuck(turn: Turn, ctx: Context) -> dict[str, Any]:
        await talk(ctx).append(user("stuck"))
        raise ValueError("no")

    with graph(stuck, look).compile(memory=memory) as app:
        assert app.run_sync({}, thread_id="t").status == "failed"
        assert app.resume_sync("t", skip=stuck, update={"seen": ["by hand"]}).output.seen == ["by hand"]
    assert said(memory) == []


def test_branches_of_a_fan_out_append_in_their_order(store_url: str, memory: Memory) -> None:
    @llm
    async def work(piece: str, ctx: Context) -> dict[str, Any]:
        await asyncio.sleep(0.02 if piece == "a" else 0)
        await talk(ctx).append(user(piece))
        assert texts(await talk(ctx).messages()) == [piece], "its own, and no sibling's"
        return {}

    g = Graph(Turn, name="fan")
    g.fan_out(START, work, over="pieces")
    g.add_edge(work, look)
    g.add_edge(look, END)
    with g.compile(checkpointer=store_url, memory=memory) as app:
        assert app.run_sync({"pieces": ["a", "b", "c"]}, thread_id="t").output.seen == ["a", "b", "c"]


def test_a_subgraph_delivers_with_its_own_supersteps(store_url: str, memory: Memory) -> None:
    @transition
    def first(turn: Turn, ctx: Context) -> dict[str, Any]:
        talk(ctx).append_sync(user("inner"))
        return {}

    @human(answer=bool, into="ok")
    def ask(turn: Turn) -> Question:
        return Question("Go on?")

    @transition
    def last(turn: Turn, ctx: Context) -> dict[str, Any]:
        talk(ctx).append_sync(user("last"))
        return {"seen": texts(talk(ctx).messages_sync())}

    inner = graph(first, ask, last, name="inner")
    with graph(inner, look).compile(checkpointer=store_url, memory=memory) as app:
        assert app.run_sync({}, thread_id="t").status == "interrupted"
        assert said(memory) == ["inner"], "there while it waits"
        run = app.resume_sync("t", True)
        assert run.output.seen == ["inner", "last", "inner", "last"]
    assert said(memory) == ["inner", "last"]


def test_what_an_effect_appended_is_recorded_with_its_result(store_url: str, memory: Memory) -> None:
    done: list[str] = []

    @effect
    async def file(what: str, ctx: Context) -> str:
        done.append(what)
        await talk(ctx).append(user(f"filed {what}"))
        return "ok"

    @llm(retry=SOON)
    async def node(turn: Turn, ctx: Context) -> dict[str, Any]:
        await ctx.effect(file, "x")
        await talk(ctx).append(user("after"))
        if ctx.attempt < 3:
            raise ConnectionError("no")
        return {"seen": texts(await talk(ctx).messages())}

    with graph(node).compile(checkpointer=store_url, memory=memory) as app:
        assert app.run_sync({}, thread_id="t").output.seen == ["filed x", "after"]
        fork = app.fork_sync("t", at=app.tree_sync("t").edges[0].checkpoint_id, update={"said": "y"}, thread_id="f")
        app.resume_sync(fork.thread_id)
    assert done == ["x"]
    assert said(memory) == ["filed x", "after"]
    line = memory.conversation("c", branch="main~f").messages_sync()
    assert [(m.text, m.provenance.thread) for m in line] == [("filed x", "f"), ("after", "f")]


def test_a_question_appends_once_it_is_answered(memory: Memory) -> None:
    @human(answer=bool, into="ok")
    async def ask(turn: Turn, ctx: Context) -> Question:
        await talk(ctx).append(user("Go on?"))
        return Question("Go on?")

    with graph(ask).compile(memory=memory) as app:
        app.run_sync({}, thread_id="t")
        assert said(memory) == []
        app.resume_sync("t", True)
    assert said(memory) == ["Go on?"]


def test_a_fork_writes_to_a_branch(store_url: str, memory: Memory) -> None:
    """It shares what was said before it was forked, whoever said it, and changes nothing for its parent."""
    with graph(answer, look).compile(checkpointer=store_url, memory=memory) as app:
        memory.conversation("c").append_sync(user("before"))
        app.run_sync({"said": "one"}, thread_id="t")
        middle = app.tree_sync("t").edges[-1].checkpoint_id
        app.run_sync({"said": "two"}, thread_id="t")
        everything = said(memory)
        app.fork_sync("t", at=middle, thread_id="f")
        forked = app.run_sync({"said": "other"}, thread_id="f")
        assert forked.status == "done", forked.error
        app.fork_sync("f", thread_id="g")
        app.run_sync({"said": "again"}, thread_id="g")
        app.run_sync({"said": "three"}, thread_id="t")
    one, f, g = (said(memory, branch) for branch in ("main", "main~f", "main~g"))
    assert (one[:5], len(one)) == (everything, 7)
    assert (f[:3], f[3], len(f)) == (everything[:3], "other", 5)
    assert (g[:5], g[5], len(g)) == (f, "again", 7)
    assert forked.output.seen[-5:] == f


def test_a_fork_of_a_fork_that_never_spoke_leaves_its_grandparent(memory: Memory) -> None:
    with graph(answer).compile(memory=memory) as app:
        app.run_sync({"said": "one"}, thread_id="t")
        app.fork_sync("t", thread_id="f")
        app.run_sync({"said": "two"}, thread_id="t")
        app.fork_sync("f", thread_id="g")
        app.run_sync({"said": "three"}, thread_id="g")
    assert [text for text in said(memory, "main~g") if not text.startswith("answer")] == ["one", "three"]


def test_the_tenant_is_the_principals_also_where_another_process_goes_on(durable_url: str, memory: Memory) -> None:
    failing = [True]

    @llm(retry=Retry(attempts=1))
    async def once(turn: Turn, ctx: Context) -> dict[str, Any]:
        await talk(ctx).append(user("hello"))
        if failing:
            with pytest.raises(UsageError, match="another tenant"):
                ctx.memory.conversation("c", tenant="other")
            raise ValueError("no")
        return {}

    with graph(once).compile(checkpointer=durable_url, memory=memory) as app:
        assert app.run_sync({}, thread_id="t", principal=Alice()).status == "failed"
    failing.clear()
    with graph(once).compile(checkpointer=durable_url, memory=memory) as app:
        assert app.resume_sync("t").status == "done"
        assert app.run_sync({}, thread_id="t").status == "done"
    assert (said(memory, tenant="clinic"), said(memory)) == (["hello"], ["hello"])


def test_what_cannot_be_appended_is_refused_in_the_node(memory: Memory) -> None:
    memory.conversation("c", subject="bob").append_sync(user("mine"))

    @transition
    def bad(turn: Turn, ctx: Context) -> dict[str, Any]:
        with pytest.raises(MessageInvalid):
            ctx.memory.conversation("d").append_sync({"role": "user"})
        with pytest.raises(SubjectMismatch):
            talk(ctx).append_sync(user("hello"))
        with pytest.raises(SubjectMismatch):
            talk(ctx).messages_sync()
        return {}

    with graph(bad).compile(memory=memory) as app:
        assert app.run_sync({}).status == "done"
    with graph(look).compile() as app:
        run = app.run_sync({})
        assert isinstance(run.error, UsageError)
        assert "memory=" in run.error.remedy
    assert said(memory) == ["mine"]


def test_verify_reads_memory_as_it_was_and_delivers_nothing(store_url: str, memory: Memory) -> None:
    with graph(answer, look).compile(checkpointer=store_url, memory=memory) as app:
        app.run_sync({"said": "one"}, thread_id="t")
        memory.conversation("c").append_sync(user("later"))
        before = said(memory)
        assert app.verify_sync("t").differences == ()
        assert said(memory) == before

    @llm
    async def changed(turn: Turn, ctx: Context) -> dict[str, Any]:
        result = await answer(turn, ctx)
        await talk(ctx).append(user("P.S."))
        return dict(result)

    g = Graph(Turn, name="talk")
    g.add_node("answer", changed)
    g.add_edge(START, "answer")
    g.add_edge("answer", look)
    g.add_edge(look, END)
    with g.compile(checkpointer=store_url, memory=memory) as app:
        if store_url != "memory://":
            found = app.verify_sync("t").differences
            assert [(d.node, d.field) for d in found] == [("answer", "ctx.memory")]
            assert "P.S." in found[0].text


def test_a_memory_that_is_away_holds_the_thread_and_loses_nothing(durable_url: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/other.db?durability=process"
    memory = open_memory(url)

    @transition
    def close(turn: Turn, ctx: Context) -> dict[str, Any]:
        talk(ctx).append_sync(user("kept"))
        memory.close()
        return {}

    ran: list[str] = []

    @transition
    def after(turn: Turn) -> dict[str, Any]:
        ran.append("after")
        return {}

    with graph(close, after).compile(checkpointer=durable_url, memory=memory) as app:
        for _ in range(8):  # more often than a run may kill its process
            with pytest.raises(StoreUnavailable):
                app.run_sync({}, thread_id="t") if not ran else app.recover_sync()[0].raise_for_status()
            ran.append("tried")
        assert app.status_sync("t").status == "running"
    with pytest.raises(UsageError, match="memory"), graph(close, after).compile(checkpointer=durable_url) as app:
        app.recover_sync()[0].raise_for_status()
    with graph(close, after).compile(checkpointer=durable_url, memory=url) as app:
        assert app.resume_sync("t").status == "done"
    with open_memory(url) as opened:
        assert said(opened) == ["kept"]
    assert "after" in ran


def test_a_thread_that_goes_on_brings_nothing_back_that_was_deleted(store_url: str, memory: Memory) -> None:
    with graph(answer).compile(checkpointer=store_url, memory=memory) as app:
        app.run_sync({"said": "one"}, thread_id="t")
        memory.conversation("c").delete_sync()
        app.run_sync({"said": "two"}, thread_id="t")
        assert said(memory)[0] == "two"
        memory.conversation("c").delete_sync()
        app.update_state({"configurable": {"thread_id": "t"}}, {"said": "x"}, as_node="answer")
        assert said(memory) == []


def in_child(make: Callable[[], App], point: str, nth: int = 1) -> None:
    """Drive the thread in a process that really dies at a crash point."""
    pid = os.fork()
    if pid == 0:
        try:
            with crash_at(point, nth=nth):
                asyncio.run(make().run({"said": "hello"}, thread_id="t"))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9


def talking(durable_url: str, memory: Any) -> App:
    return graph(answer, hear).compile(checkpointer=durable_url, memory=memory)


@pytest.mark.parametrize("point", ["writes.after", "checkpoint.after", "memory.delivering", "memory.delivered"])
def test_killed_between_the_superstep_and_its_delivery(durable_url: str, tmp_path: Path, point: str) -> None:
    url = f"sqlite:///{tmp_path}/killed.db?durability=process"
    nth = 2 if point == "checkpoint.after" else 1
    in_child(lambda: talking(durable_url, url), point, nth)
    with open_memory(url) as memory, talking(durable_url, memory) as app:
        assert len(said(memory)) == (2 if point == "memory.delivered" else 0), "not before it is durable"
        (run,) = app.recover_sync()
        assert (run.status, run.output.seen) == ("done", ["1", *said(memory)])
        assert len(said(memory)) == 2


def test_a_subgraph_that_is_tried_again_after_it_delivered_appends_nothing_twice(
    store_url: str, memory: Memory
) -> None:
    broken = [True]

    @llm
    async def say(turn: Turn, ctx: Context) -> dict[str, Any]:
        await talk(ctx).append(user("inside"))
        return {"seen": ["said"]}

    @llm(retry=Retry(attempts=1))
    async def shaky(turn: Turn, ctx: Context) -> dict[str, Any]:
        if broken:
            broken.pop()
            raise RuntimeError("once")
        return {"seen": ["mended"]}

    inner = graph(say, shaky, name="inner")
    outer = Graph(Turn, name="outer")
    outer.add_node(inner, retry=Retry(attempts=2, wait_initial_s=0.001, jitter_s=0, on=(Exception,)))
    outer.add_edge(START, inner).add_edge(inner, END)
    with outer.compile(checkpointer=store_url, memory=memory, default_model="m") as app:
        run = app.run_sync({"said": "hello"}, thread_id="t")
    assert (run.status, broken) == ("done", [])
    assert texts(memory.conversation("c").messages_sync()) == ["inside"]


def test_killed_between_the_superstep_of_a_subgraph_and_its_delivery(durable_url: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/killed.db?durability=process"

    def app_on(memory: Any) -> App:
        return graph(graph(answer, hear, name="inner"), hear).compile(checkpointer=durable_url, memory=memory)

    in_child(lambda: app_on(url), "memory.delivering")
    with open_memory(url) as memory, app_on(memory) as app:
        assert said(memory) == []
        (run,) = app.recover_sync()
        assert (run.status, run.output.seen) == ("done", ["1", *said(memory), *said(memory)])
        assert len(said(memory)) == 2


def test_deleted_with_its_outbox_undelivered(durable_url: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/killed.db?durability=process"
    in_child(lambda: talking(durable_url, url), "memory.delivering")
    with open_memory(url) as memory, talking(durable_url, memory) as app:
        asyncio.run(app.delete("t"))
        assert len(said(memory)) == 2, "deleting a thread leaves what it said"


@pytest.mark.parametrize("point", ["call.recorded", "node.returned"])
def test_executed_again_a_node_sees_what_it_saw(
    durable_url: str, tmp_path: Path, model: ScriptedModel, point: str
) -> None:
    """Else its request would be another one, and be paid for once more."""
    url = f"sqlite:///{tmp_path}/killed.db?durability=process"
    with open_memory(url) as memory:
        memory.conversation("c").append_sync(user("before"))
    in_child(lambda: talking(durable_url, url), point)
    with open_memory(url) as memory, talking(durable_url, memory) as app:
        memory.conversation("c").append_sync(user("meanwhile"))
        (run,) = app.recover_sync()
        assert run.status == "done", run.error
        assert run.output.seen == ["2", *said(memory)]
        assert said(memory)[:3] == ["before", "meanwhile", "hello"]
    assert len(model.books) == 1
