"""Recorded threads against today's code: what is the same, what is not, and that nothing is sent, done or written."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import psycopg
import pytest
from langgraph.graph import StateGraph
from pydantic import BaseModel

from vertebra import (
    END,
    START,
    Append,
    Context,
    Difference,
    Graph,
    Question,
    Retry,
    Verification,
    effect,
    human,
    llm,
    open_checkpointer,
    transition,
)
from vertebra.errors import NotRecorded, ThreadNotFound, UsageError
from vertebra.ports import Request
from vertebra.runtime.app import App
from vertebra.runtime.replaying import NoSender, NoWait
from vertebra.testing import ScriptedModel

QUICK = Retry(attempts=2, wait_initial_s=0.01, jitter_s=0)


class Piece(BaseModel):
    text: str


twice: list[str] = []


def joined(old: list[str], new: list[str]) -> list[str]:
    """A reducer whose code changes, which is no part of the graph's shape."""
    return [*old, *new, *twice]


class Visit(BaseModel):
    text: str
    pieces: list[Piece] = []
    notes: Append[str] = []
    report: str = ""
    ok: bool | None = None
    sent: str | None = None
    rounds: int = 0
    odd: list[float] = []
    done: Annotated[list[str], joined] = []


class Code:
    """What a release of the code does; each test changes one thing of it."""

    cut: Callable[[str], list[str]] = staticmethod(str.split)
    prompt = "Note"
    body = "Body"
    route: Callable[[Visit], str] = staticmethod(lambda visit: "again" if visit.rounds < 2 else "ok")
    order = "a parcel"
    fails = False
    odd: tuple[float, ...] = (math.nan,)
    effects: list[str]
    plain: list[str]

    def __init__(self, **changed: Any) -> None:
        self.effects, self.plain = [], []
        self.__dict__.update(changed)

    def graph(self, version: str = "1") -> Graph:
        code = self

        @transition
        def cut(visit: Visit, ctx: Context) -> dict[str, object]:
            if code.fails:
                raise RuntimeError("worse than before")
            assert all((ctx.random.random(), ctx.uuid(), ctx.now()))
            return {"pieces": [Piece(text=part) for part in code.cut(visit.text)], "odd": list(code.odd)}

        @llm(task="note", retry=QUICK)
        async def note(piece: Piece, ctx: Context) -> dict[str, object]:
            return {"notes": [await ask(ctx, f"{code.prompt} {piece.text}")]}

        @llm(task="draft", retry=QUICK)
        def draft(visit: Visit, ctx: Context) -> dict[str, object]:
            prompt = f"{code.body} {visit.rounds} {ctx.random.random()} {ctx.now()} {ctx.uuid()}"
            with ctx.sync_client.chat.completions.create(
                model=ctx.model, stream=True, messages=[{"role": "user", "content": prompt}]
            ) as stream:
                text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
            return {"report": text, "rounds": visit.rounds + 1}

        @human(answer=bool)
        def approve(visit: Visit) -> Question:
            return Question("Send it?")

        @effect
        def order(what: str) -> str:
            code.effects.append(what)
            return f"ordered {what}"

        @effect
        async def send(visit: Visit, ctx: Context) -> dict[str, object]:
            code.effects.append("send")
            return {"sent": await ctx.effect(order, code.order)}

        def tell(visit: Visit) -> dict[str, object]:
            code.plain.append("told")
            return {"done": ["told"]}

        g = Graph(Visit, name="scribe", version=version)
        g.add_edge(START, cut)
        g.fan_out(cut, note, over="pieces")
        g.add_edge(note, draft)
        g.add_conditional_edges(draft, code.route, {"ok": approve, "again": draft}, max_visits=3)
        g.add_edge(approve, send)
        g.add_edge(send, tell)
        g.add_edge(tell, END)
        return g


async def ask(ctx: Context, prompt: str) -> str:
    reply = await ctx.client.chat.completions.create(model=ctx.model, messages=[{"role": "user", "content": prompt}])
    return str(reply.choices[0].message.content)


def opened(graph: Graph, store: Any, **options: Any) -> App:
    app: App = graph.compile(checkpointer=store, **options)
    return app


async def recorded(store: Any, thread: str = "t", graph: Graph | None = None) -> None:
    app = opened(graph or Code().graph(), store, default_model="m")
    await app.run({"text": "a b"}, thread_id=thread)
    done = await app.resume(thread, True)
    assert done.status == "done", done.error
    await app.aclose()


async def verified(store: Any, **changed: Any) -> Verification:
    """What today's code, so changed, makes of the thread."""
    code = Code(**changed)
    found = await opened(code.graph(), store).verify("t")
    assert (code.effects, code.plain) == ([], []), "nothing is done"
    return found


async def only(store: Any, **changed: Any) -> Difference:
    found = await verified(store, **changed)
    assert not found.ok
    assert len({(item.node, item.kind, item.field) for item in found.differences}) == 1, found.differences
    return found.differences[0]


def dump(url: str) -> Any:
    """Everything that is in a database."""
    if url.startswith("postgresql"):
        with psycopg.connect(url) as connection:
            names = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
            return {
                name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"').fetchall()))
                for (name,) in sorted(names.fetchall())
            }
    with sqlite3.connect(url.removeprefix("sqlite:///").partition("?")[0]) as connection:
        return list(connection.iterdump())


async def test_the_same_code_gives_the_same_and_writes_nothing(durable_url: str, model: ScriptedModel) -> None:
    with open_checkpointer(durable_url) as store:
        await recorded(store)
        before, asked = dump(durable_url), len(model.books)
        found = await verified(store)
        assert (found.differences, found.ok) == ((), True)
        assert (found.thread, found.graph, found.version) == ("t", "scribe", "1")
        assert (found.edges, found.nodes, found.unverified) == (7, 7, ("tell",))
        other = await verified(store, prompt="Other", cut=lambda text: [text], order="two", odd=(1.0,))
        assert not other.ok
        assert dump(durable_url) == before
        assert len(model.books) == asked, "nothing is sent"


async def test_a_transition_that_gives_otherwise(store_url: str, model: ScriptedModel) -> None:
    with open_checkpointer(store_url) as store:
        await recorded(store)
        found = await only(store, cut=lambda text: text.split()[::-1])
        assert (found.kind, found.node, found.step, found.field) == ("update", "cut", 1, "pieces")
        assert (found.recorded, found.now) == ([Piece(text="a"), Piece(text="b")], [Piece(text="b"), Piece(text="a")])
        assert found.text == f"recorded {found.recorded!r}, now {found.now!r}"
        assert (await only(store, odd=(1.0,))).field == "odd"
        failed = await only(store, fails=True)
        assert (failed.kind, failed.node, failed.now) == ("error", "cut", "node_failed")
        assert "worse than before" in failed.text
        long = await only(store, cut=lambda text: ["x" * 1000])
        assert long.text.endswith("…")


async def test_a_prompt_that_has_changed(store_url: str, model: ScriptedModel) -> None:
    with open_checkpointer(store_url) as store:
        await recorded(store)
        found = await verified(store, prompt="Short note on")
        assert [(item.kind, item.node, item.step) for item in found.differences] == [("request", "note", 2)] * 2
        assert '-   "content": "Note a"' in found.differences[0].text
        assert '+   "content": "Short note on a"' in found.differences[0].text
        streamed = await verified(store, body="Text")
        assert {(item.kind, item.node) for item in streamed.differences} == {("request", "draft")}
        app = opened(Code().graph(), store, models={"note": "m2"}, default_model="m")
        other = await app.verify("t")
        assert {item.node for item in other.differences} == {"note"}
        assert '+ "model": "m2"' in other.differences[0].text


async def test_an_effect_with_other_arguments(store_url: str, model: ScriptedModel) -> None:
    with open_checkpointer(store_url) as store:
        await recorded(store)
        # The effect node itself is answered from the record, with its own arguments: its inner ones are not looked at.
        assert (await verified(store, order="two")).ok

    def sending(title: str) -> Graph:
        @transition
        def begin(visit: Visit) -> dict[str, object]:
            return {}

        @llm(task="send")
        async def send(visit: Visit, ctx: Context) -> dict[str, object]:
            return {"sent": await ctx.effect(deliver, f"{title} {visit.text}")}

        g = Graph(Visit, name="sending")
        g.add_edge(START, begin)
        g.add_edge(begin, send)
        g.add_edge(send, END)
        return g

    with open_checkpointer(store_url) as store:
        await opened(sending("dear"), store).run({"text": "x"}, thread_id="s")
        assert delivered == ["dear x"]
        (found,) = (await opened(sending("hello"), store).verify("s")).differences
        assert (found.kind, found.node) == ("arguments", "send")
        assert '"dear x"' in found.text
        assert '"hello x"' in found.text
        assert delivered == ["dear x"]
        delivered.clear()


delivered: list[str] = []


@effect
def deliver(letter: str) -> str:
    delivered.append(letter)
    return letter


async def test_a_router_that_chooses_otherwise(store_url: str, model: ScriptedModel) -> None:
    with open_checkpointer(store_url) as store:
        await recorded(store)
        found = (await verified(store, route=lambda visit: "ok")).differences
        assert [(item.kind, item.node, item.step) for item in found] == [("route", "draft", 3)]
        assert found[0].text == "recorded ['draft'], now ['approve']"
        broken = await verified(store, route=lambda visit: 1 / 0)
        assert {(item.kind, item.now) for item in broken.differences} == {("error", "router_failed")}


async def test_a_reducer_that_has_changed(store_url: str, model: ScriptedModel) -> None:
    with open_checkpointer(store_url) as store:
        await recorded(store)
        twice.append("twice")
        try:
            found = await only(store)
        finally:
            twice.clear()
        assert (found.kind, found.node, found.field) == ("state", "", "done")


async def test_a_graph_that_has_changed_is_not_replayed(store_url: str, model: ScriptedModel) -> None:
    with open_checkpointer(store_url) as store:
        await recorded(store)
        found = await opened(Code().graph("2"), store).verify("t")
        (difference,) = found.differences
        assert (difference.kind, difference.text, found.edges) == ("graph", "~ version: 1 -> 2", 0)


async def test_a_call_where_none_was_and_a_failure_that_was_recorded(store_url: str, model: ScriptedModel) -> None:
    asks = False

    @llm(task="quiet")
    async def quiet(visit: Visit, ctx: Context) -> dict[str, object]:
        return {"notes": [await ask(ctx, "More")]} if asks else {}

    @llm(task="first", retry=QUICK)
    async def first(visit: Visit, ctx: Context) -> dict[str, object]:
        return {"report": await ask(ctx, "First")}

    @llm(task="second")
    async def second(visit: Visit, ctx: Context) -> dict[str, object]:
        return {"report": await ask(ctx, "Second")}

    g = Graph(Visit, name="standing-in")
    g.add_node(first, fallback=second)
    g.add_node(second)
    g.add_edge(START, quiet)
    g.add_edge(quiet, first)
    g.add_edge(first, END)
    g.add_edge(second, END)
    model.on("First").fail(400)
    with open_checkpointer(store_url) as store:
        app = opened(g, store, default_model="m")
        run = await app.run({"text": "x"}, thread_id="t")
        assert run.status == "done", run.error
        assert (await app.verify("t")).ok, "what had no answer fails again, and its fallback stands in"
        asks = True
        (more,) = (await app.verify("t")).differences
        assert more.text.startswith("nothing was asked in its place; now POST chat/completions:")
        (unknown,) = (await opened(g, store).verify("t")).differences
        assert (unknown.kind, unknown.node, unknown.now) == ("error", "quiet", "unknown_task"), "none was recorded"


async def test_threads_in_flight_and_skipped_nodes(store_url: str, model: ScriptedModel) -> None:
    model.on("Body").fail(400, times=2)
    with open_checkpointer(store_url) as store:
        app = opened(Code().graph(), store, default_model="m")
        failed = await app.run({"text": "a b"}, thread_id="t")
        assert failed.status == "failed"
        assert (await verified(store)).edges == 2, "what has not come to an edge was not recorded as one"
        run = await app.resume("t", skip="draft", update={"report": "by hand", "rounds": 2})
        assert run.status == "interrupted"
        found = await verified(store)
        assert (found.ok, found.edges) == (True, 3)
        routed = await verified(store, route=lambda visit: "again")
        assert {(item.kind, item.node) for item in routed.differences} == {("route", "draft")}, "its router is asked"
        await app.aupdate_state({"configurable": {"thread_id": "t"}}, {"report": "mended"}, as_node="draft")
        assert (await verified(store)).ok, "what was done by hand is no work of a node"
        fork = await app.fork("t", update={"report": "other"})
        assert (await app.verify(fork.thread_id)).edges == 0
        await app.resume(fork.thread_id)
        await app.resume(fork.thread_id, True)
        assert (await app.verify(fork.thread_id)).ok


async def test_a_fork_is_verified_with_its_parents_chance(store_url: str, model: ScriptedModel) -> None:
    with open_checkpointer(store_url) as store:
        await recorded(store)
        app = opened(Code().graph(), store, default_model="m")
        at = next(edge for edge in (await app.tree("t")).edges if edge.next == ("draft",)).checkpoint_id
        for fresh in (False, True):
            fork = await app.fork("t", at=at, fresh=fresh)
            await app.resume(fork.thread_id)
            found = await app.verify(fork.thread_id)
            assert (found.differences, found.edges) == ((), 2)


async def test_subgraphs_and_plain_workers(store_url: str, model: ScriptedModel) -> None:
    prompt, told = "Inner", []

    @transition
    def split(visit: Visit) -> dict[str, object]:
        return {"pieces": [Piece(text=part) for part in visit.text.split()]}

    @llm(task="inner")
    async def inside(visit: Visit, ctx: Context) -> dict[str, object]:
        return {"report": await ask(ctx, f"{prompt} {visit.text}")}

    @human(answer=bool, into="ok")
    def agree(visit: Visit) -> str:
        return "Agree?"

    def tell(piece: Piece) -> dict[str, object]:
        told.append(piece.text)
        return {"notes": [piece.text]}

    def say(visit: Visit) -> dict[str, object]:
        told.append("say")
        return {}

    def outer(*nodes: Any) -> Graph:
        inner = Graph(Visit, name="inner")
        for one, other in zip((START, *nodes), (*nodes, END), strict=True):
            inner.add_edge(one, other)
        g = Graph(Visit, name="outer")
        g.add_edge(START, split)
        g.fan_out(split, tell, over="pieces")
        g.add_node("inner", inner)
        g.add_edge(tell, "inner")
        g.add_edge("inner", END)
        return g

    with open_checkpointer(store_url) as store:
        for number, nodes in enumerate([(inside, agree), (inside, say)]):
            app = opened(outer(*nodes), store, default_model="m")
            run = await app.run({"text": "a b"}, thread_id=f"t{number}")
            if run.status == "interrupted":
                run = await app.resume(f"t{number}", True)
            assert run.status == "done", run.error
            told.clear()
            found = await app.verify(f"t{number}")
            assert (found.differences, told) == ((), [])
            assert found.unverified == (("tell",), ("inner", "tell"))[number]
        prompt = "Changed"
        app = opened(outer(inside, agree), store, default_model="m")
        (difference,) = (await app.verify("t0")).differences
        assert (difference.kind, difference.node) == ("request", "inside")


async def test_a_thread_is_exported_and_verified_from_its_export(
    store_url: str, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0a1b2c3d4e5f")
    with open_checkpointer(store_url) as store:
        await recorded(store)
        app = opened(Code().graph(), store)
        text = json.dumps(await app.export("t"), allow_nan=False)
        direct = await app.verify("t")
        with pytest.raises(ThreadNotFound):
            await app.export("nobody")
        with pytest.raises(ThreadNotFound):
            await app.verify("nobody")
    assert "sk-secret" not in text
    assert "holder" not in text
    data = json.loads(text)
    elsewhere = opened(Code().graph(), "memory://")
    assert await elsewhere.verify(data) == direct
    changed = await opened(Code(prompt="Other").graph(), "memory://").verify(data)
    assert {item.kind for item in changed.differences} == {"request"}
    for damage in ({}, {"vertebra": 99}, {**data, "checkpoints": [{}]}, {**data, "checkpoints": 7}):
        with pytest.raises(UsageError, match="recorded thread"):
            await elsewhere.verify(damage)
    pickled = json.loads(text)
    pickled["checkpoints"][0]["state"] = "pickle:" + "gASVAA=="
    with pytest.raises(UsageError, match="pickle"):
        await elsewhere.verify(pickled)


async def test_bytes_that_are_no_text_are_exported(store_url: str) -> None:
    from vertebra.runtime.recorded import _plain_row, _row

    row = {"answer_body": b"\xff\x00", "other": b"text", "n": 1}
    assert _row(json.loads(json.dumps(_plain_row(row))), "calls[0]", tuple(row)) == row


async def test_state_that_only_pickle_keeps_is_not_exported() -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    class Kept(TypedDict, total=False):
        what: Any

    @transition
    def keep(state: Kept) -> dict[str, object]:
        return {"what": memoryview}

    g = Graph(Kept, name="kept")
    g.add_edge(START, keep)
    g.add_edge(keep, END)
    saver = InMemorySaver(serde=JsonPlusSerializer(pickle_fallback=True))
    app = opened(g, saver)
    await app.run({}, thread_id="t")
    with pytest.raises(UsageError, match="pickle"):
        await app.export("t")


async def test_an_adopted_graph_is_not_verified() -> None:
    builder = StateGraph(Visit)
    builder.add_node("say", lambda state: {"report": "x"})
    builder.add_edge(START, "say")
    builder.add_edge("say", END)
    app = Graph.from_langgraph(builder).compile()
    await app.run({"text": "x"}, thread_id="t")
    with pytest.raises(UsageError, match="adopted"):
        await app.verify("t")


async def test_behind_the_door_of_a_replay_there_is_nobody() -> None:
    with pytest.raises(NotRecorded):
        await NoSender().send(Request("POST", "http://x", (), b""))
    assert await NoSender().aclose() is None  # type: ignore[func-returns-value]
    await NoWait().sleep(1e9)


def test_the_sync_face(store_url: str, model: ScriptedModel) -> None:
    with opened(Code().graph(), store_url, default_model="m") as app:
        app.run_sync({"text": "a"}, thread_id="t")
        assert app.verify_sync("t").ok
        assert app.verify_sync(app.export_sync("t")).ok
