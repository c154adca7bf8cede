"""Forks: threads of their own that go on from any edge of another, which stays as it is."""

from __future__ import annotations

import asyncio
import json
import operator
import os
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.channels import DeltaChannel
from langgraph.graph import StateGraph
from pydantic import BaseModel

import vertebra
from vertebra import (
    END,
    START,
    Append,
    Context,
    Edge,
    Graph,
    Question,
    Run,
    ThreadTree,
    effect,
    human,
    llm,
    open_checkpointer,
    transition,
)
from vertebra.errors import (
    CheckpointNotFound,
    GraphChanged,
    InvalidInput,
    InvalidUpdate,
    ThreadBusy,
    ThreadExists,
    ThreadNotFound,
    UsageError,
)
from vertebra.ports import Reply, Request
from vertebra.runtime.app import App
from vertebra.runtime.events import CallFinished, RequestsDiffer
from vertebra.testing import ScriptedModel, crash_at


class Visit(BaseModel):
    text: str
    tone: str = "plain"
    pieces: list[str] = []
    notes: Append[str] = []
    report: str = ""
    ok: bool | None = None
    sent: str | None = None
    rounds: int = 0


@transition
def cut(visit: Visit) -> dict[str, object]:
    return {"pieces": visit.text.split()}


@llm(task="note")
async def note(piece: str, ctx: Context) -> dict[str, object]:
    return {"notes": [await ask(ctx, f"Note {piece}")]}


@llm(task="draft")
async def draft(visit: Visit, ctx: Context) -> dict[str, object]:
    head = await ask(ctx, f"Head {visit.tone} {ctx.random.random()} {ctx.uuid()}")
    body = await ask(ctx, f"Body of {len(visit.notes)} notes at {ctx.now()}")
    return {"report": f"{head}\n{body}", "rounds": visit.rounds + 1}


@human(answer=bool)
def approve(visit: Visit) -> Question:
    return Question("Send it?", deadline_s=1000)


@effect
def send(visit: Visit, ctx: Context) -> dict[str, object]:
    return {"sent": ctx.idempotency_key}


async def ask(ctx: Context, prompt: str) -> str:
    reply = await ctx.client.chat.completions.create(model=ctx.model, messages=[{"role": "user", "content": prompt}])
    return str(reply.choices[0].message.content)


def scribe(version: str = "1") -> Graph:
    g = Graph(Visit, name="scribe", version=version)
    g.add_edge(START, cut)
    g.fan_out(cut, note, over="pieces")
    g.add_edge(note, draft)
    g.add_conditional_edges(
        draft, lambda visit: "again" if visit.tone == "twice" else "ok", {"ok": approve, "again": draft}, max_visits=1
    )
    g.add_edge(approve, send)
    g.add_edge(send, END)
    return g


def opened(url: Any, graph: Graph | None = None) -> App:
    app: App = (graph or scribe()).compile(checkpointer=url, default_model="m")
    return app


async def finished(app: App, thread: str = "t") -> Run:
    await app.run({"text": "a b"}, thread_id=thread)
    done = await app.resume(thread, True)
    assert done.status == "done", done.error
    return done


async def edges(app: App, thread: str = "t") -> dict[tuple[str, ...], Edge]:
    """The edges of a thread by what comes next."""
    found = (await app.tree(thread)).find(thread)
    assert found is not None
    return {edge.next: edge for edge in found.edges}


async def until_asked(app: App, node: str) -> None:
    """Wait until a node has a call under way."""
    for _ in range(2000):
        if [call for call in await app.services.store.journal.calls("t") if call.node == node]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(node)


async def dump(app: App, thread: str) -> Any:
    """All that is kept of a thread."""
    store = app.services.store
    states = [item async for item in store.saver.alist({"configurable": {"thread_id": thread}})]
    calls = await store.journal.calls(thread)
    return states, calls, await store.journal.visits(thread), await store.runs.get(thread)


async def test_a_fork_goes_on_from_an_edge_and_is_answered_from_the_record(
    store_url: str, model: ScriptedModel
) -> None:
    async with opened(store_url) as app:
        done = await finished(app)
        paid, before = len(model.books.paid()), await dump(app, "t")
        at = (await edges(app))[("note",)]
        fork = await app.fork("t", at=at.checkpoint_id)
        assert (fork.status, fork.next, fork.interrupts) == ("interrupted", ("note", "note"), ())
        assert fork.output.pieces == ["a", "b"]
        assert fork.output.notes == []
        asked = await app.resume(fork.thread_id)
        assert [question.text for question in asked.interrupts] == ["Send it?"], "people are asked again"
        assert asked.output.report == done.output.report
        ended = await app.resume(fork.thread_id, True)
        assert ended.status == "done"
        assert ended.output == done.output, "the effect was not done again: its key is the parent's"
        assert len(model.books.paid()) == paid
        assert (ended.calls, ended.calls_from_journal, ended.total.input_tokens) == (0, 4, 0)
        assert await dump(app, "t") == before, "the parent is untouched"


async def test_only_what_differs_is_asked(store_url: str, model: ScriptedModel) -> None:
    async with opened(store_url) as app:
        done = await finished(app)
        paid = len(model.books.paid())
        seen: list[Any] = []
        at = (await edges(app))[("draft",)].checkpoint_id
        fork = await app.fork("t", at=at, update={"tone": "kind"}, thread_id="kind")
        assert (fork.thread_id, fork.output.tone, fork.next) == ("kind", "kind", ("draft",))
        run = await app.resume("kind", on_event=seen.append)
        assert run.status == "interrupted", run.error
        head, body = run.output.report.split("\n")
        assert head != done.output.report.split("\n")[0]
        assert body == done.output.report.split("\n")[1], "chance and time are the parent's too"
        assert len(model.books.paid()) == paid + 1
        assert (run.calls, run.calls_from_journal) == (1, 1)
        assert [event.source for event in seen if isinstance(event, CallFinished)] == ["provider", "journal"]
        assert not [event for event in seen if isinstance(event, RequestsDiffer)], "that is what forks are for"
        assert not model.books.repeats()


async def test_a_fresh_fork_is_answered_nothing_from_the_record(store_url: str, model: ScriptedModel) -> None:
    async with opened(store_url) as app:
        done = await finished(app)
        paid = len(model.books.paid())
        fork = await app.fork("t", at=(await edges(app))[("note",)].checkpoint_id, fresh=True)
        await app.resume(fork.thread_id)
        ended = await app.resume(fork.thread_id, True)
        assert len(model.books.paid()) == paid + 4
        assert ended.calls == 4
        assert ended.output.report != done.output.report
        assert ended.output.sent != done.output.sent, "effects are done again, under a key of their own"


async def test_a_fork_of_a_fork_has_the_whole_record(store_url: str, model: ScriptedModel) -> None:
    async with opened(store_url) as app:
        done = await finished(app)
        paid = len(model.books.paid())
        places = await edges(app)
        await app.fork("t", at=places[("cut",)].checkpoint_id, thread_id="one")
        await app.resume("one")
        two = await app.fork("one", at=(await edges(app, "one"))[("note",)].checkpoint_id, thread_id="two")
        run = await app.resume("two")
        assert run.output.report == done.output.report
        three = await app.fork("two", at=places[("cut",)].checkpoint_id, thread_id="three")
        assert (two.next, three.next) == (("note", "note"), ("cut",))
        tree = await app.tree("two")
        assert [fork.thread for fork in tree.forks] == ["one"], "and its own history reaches back into its parents'"
        assert {fork.thread for fork in tree.forks[0].forks} == {"two", "three"}
        assert (await app.resume("three")).output.report == done.output.report
        assert len(model.books.paid()) == paid


async def test_parent_and_forks_are_driven_at_once(store_url: str, model: ScriptedModel) -> None:
    async with opened(store_url) as app:
        await app.run({"text": "a b"}, thread_id="t")
        names = [f"f{number}" for number in range(4)]
        at = (await edges(app))[("draft",)].checkpoint_id
        forks = await asyncio.gather(*(app.fork("t", at=at, update={"tone": name}, thread_id=name) for name in names))
        await asyncio.gather(*(app.resume(fork.thread_id) for fork in forks))
        ended = await asyncio.gather(*(app.resume(name, True) for name in ["t", *names]))
        assert {run.status for run in ended} == {"done"}
        assert len({run.output.report for run in ended}) == 5
        assert len({run.output.sent for run in ended}) == 5


async def test_a_thread_that_is_being_driven_can_be_forked(store_url: str, model: ScriptedModel) -> None:
    model.on("Head").delay(1.0)
    async with opened(store_url) as app:
        driving = asyncio.ensure_future(app.run({"text": "a"}, thread_id="t"))
        await until_asked(app, "draft")
        fork = await app.fork("t", update={"tone": "kind"})
        assert fork.next == ("draft",)
        calls = await app.services.store.journal.calls(fork.thread_id)
        assert calls == [], "what lies behind is the parent's, what is under way is no answer yet"
        assert (await driving).status == "interrupted"
        assert (await app.resume(fork.thread_id)).output.tone == "kind"


async def test_an_update_is_validated_and_routed(store_url: str, model: ScriptedModel) -> None:
    async with opened(store_url) as app:
        await app.run({"text": "a"}, thread_id="t")
        at = (await edges(app))[("approve",)].checkpoint_id
        with pytest.raises(InvalidUpdate, match="rounds"):
            await app.fork("t", at=at, update={"rounds": "many"})
        with pytest.raises(InvalidUpdate):
            await app.fork("t", at=at, update={"nonsense": 1})
        again = await app.fork("t", update={"tone": "twice"})
        assert again.next == ("draft",), "the router of draft has chosen anew"
        run = await app.resume(again.thread_id)
        assert run.error is not None
        assert run.error.code == "loop_bound_reached", "what it counted is counted once, and goes on to count"
        same = await app.fork("t", update={"ok": False}, as_node="draft")
        assert same.next == ("approve",)


async def test_a_node_that_comes_next_can_be_stood_for(store_url: str, model: ScriptedModel) -> None:
    async with opened(store_url) as app:
        done = await finished(app)
        paid = len(model.books.paid())
        fork = await app.fork(
            "t", at=(await edges(app))[("draft",)].checkpoint_id, as_node=draft, update={"report": "x"}
        )
        assert (fork.next, fork.output.report, fork.output.rounds) == (("approve",), "x", 0)
        await app.resume(fork.thread_id)
        run = await app.resume(fork.thread_id, True)
        assert (run.status, run.output.report) == ("done", "x")
        assert run.output.sent != done.output.sent, "its arguments differ, so it is another effect"
        assert len(model.books.paid()) == paid
        jumped = await app.fork("t", as_node="cut", update={"pieces": ["z"]})
        assert jumped.next == ("note",)


async def test_a_fan_out_is_spread_anew(store_url: str, model: ScriptedModel) -> None:
    async with opened(store_url) as app:
        await finished(app)
        paid = len(model.books.paid())
        fork = await app.fork("t", at=(await edges(app))[("note",)].checkpoint_id, update={"pieces": ["b", "c", "a"]})
        assert fork.next == ("note",) * 3
        run = await app.resume(fork.thread_id)
        assert len(run.output.notes) == 3
        assert run.error is None
        # By place in the fan-out: "b" and "c" are new at 0 and 1, "a" is new at 2; and the body counts three notes.
        assert len(model.books.paid()) == paid + 3 + 1
        after = await app.fork("t", at=(await edges(app))[("draft",)].checkpoint_id, update={"tone": "late"})
        assert after.next == ("draft",), "the workers that ran last lead on, not the node that spread them"


async def test_another_input(store_url: str, model: ScriptedModel) -> None:
    async with opened(store_url) as app:
        await finished(app)
        first = next(edge for edge in (await app.tree("t")).edges if edge.source == "input")
        fork = await app.fork("t", at=first.checkpoint_id, update={"text": "a c"})
        run = await app.resume(fork.thread_id)
        assert run.output.pieces == ["a", "c"]
        assert run.calls == 1, "the note on c"
        with pytest.raises(InvalidInput):
            await app.fork("t", at=first.checkpoint_id, update={"nonsense": 1})
        with pytest.raises(UsageError, match="run no node yet"):
            await app.fork("t", at=first.checkpoint_id, update={}, as_node="cut")


async def test_a_failed_run_is_forked_with_another_state(store_url: str, model: ScriptedModel) -> None:
    model.on("Head plain").fail(400, times=2)
    async with opened(store_url) as app:
        failed = await app.run({"text": "a"}, thread_id="t")
        assert failed.status == "failed"
        fork = await app.fork("t", update={"tone": "other"})
        assert (await app.resume(fork.thread_id)).status == "interrupted"
        assert (await app.status("t")).status == "failed"


async def test_a_fork_of_the_end_takes_a_further_turn(store_url: str, model: ScriptedModel) -> None:
    async with opened(store_url) as app:
        done = await finished(app)
        fork = await app.fork("t")
        assert (fork.status, fork.output) == ("done", done.output)
        again = await app.run({"text": "c", "ok": None}, thread_id=fork.thread_id)
        assert again.status == "interrupted"
        assert again.output.text == "c"
        assert (await app.status("t")).output == done.output


async def test_what_cannot_be_forked(store_url: str, model: ScriptedModel) -> None:
    with open_checkpointer(store_url) as store:
        app = opened(store)
        await finished(app)
        with pytest.raises(ThreadNotFound):
            await app.fork("nobody")
        with pytest.raises(CheckpointNotFound, match="no checkpoint 'x'"):
            await app.fork("t", at="x")
        with pytest.raises(ThreadExists):
            await app.fork("t", thread_id="t")
        with pytest.raises(UsageError):
            await app.fork("t", thread_id="")
        with pytest.raises(GraphChanged, match="version: 1 -> 2"):
            await opened(store, scribe("2")).fork("t")
        await app.drain()
        with pytest.raises(Exception, match="draining"):
            await app.fork("t")


async def test_a_thread_without_a_checkpoint_cannot_be_forked(store_url: str) -> None:
    def refuse(state: Any) -> str:
        raise RuntimeError

    async with opened(store_url) as app:
        from vertebra.checkpointers.lease import new_holder
        from vertebra.checkpointers.leasing import Start

        start = Start("r", app.name, app.version, app.fingerprint, app.shape, None, None)
        await app.services.store.runs.begin("t", start, new_holder(), 30.0)
        with pytest.raises(CheckpointNotFound, match="no checkpoint yet"):
            await app.fork("t")


async def test_two_forks_to_one_id_are_one(store_url: str, model: ScriptedModel) -> None:
    async with opened(store_url) as app:
        await finished(app)
        tries = [app.fork("t", thread_id="f", update={"tone": str(n)}) for n in range(4)]
        made = await asyncio.gather(*tries, return_exceptions=True)
        runs = [item for item in made if isinstance(item, Run)]
        assert len(runs) == 1
        assert all(isinstance(item, ThreadExists | ThreadBusy) for item in made if not isinstance(item, Run)), made
        assert (await app.status("f")).output.tone == runs[0].output.tone
        assert len((await app.tree("f")).forks) == 1


async def test_the_tree_and_the_history(store_url: str, model: ScriptedModel) -> None:
    async with opened(store_url) as app:
        await finished(app)
        tree = await app.tree("t")
        snapshots = [item async for item in app.history("t")]
        assert [edge.checkpoint_id for edge in reversed(tree.edges)] == [
            item.config["configurable"]["checkpoint_id"] for item in snapshots
        ]
        assert [edge.next for edge in reversed(tree.edges)] == [tuple(sorted(set(s.next))) for s in snapshots]
        assert [edge.nodes for edge in tree.edges] == [
            *((), ("__start__",), ("cut",), ("note",), ("draft",), ("approve",), ("send",))
        ]
        assert [edge.changed for edge in tree.edges[2:]] == [
            ("pieces",),
            ("notes",),
            ("report", "rounds"),
            ("ok",),
            ("sent",),
        ]
        assert tree.edges[1].changed == tuple(sorted(Visit.model_fields))
        at = (await edges(app))[("draft",)]
        await app.fork("t", at=at.checkpoint_id, update={"tone": "kind"}, thread_id="f", fresh=True)
        await app.resume("f")
        grown = await app.tree("f")
        (fork,) = grown.forks
        assert (grown.thread, fork.thread, fork.parent, fork.forked_at) == ("t", "f", "t", at.checkpoint_id)
        assert (fork.fresh, grown.fresh, fork.status) == (True, False, "interrupted")
        assert [(edge.source, edge.nodes, edge.changed, edge.step) for edge in fork.edges] == [
            ("fork", (), ("tone",), 2),
            ("loop", ("draft",), ("report", "rounds"), 3),
        ]
        assert grown.edges == tree.edges
        assert grown.find("f") == fork
        assert grown.find("nobody") is None
        whole = [item.metadata["step"] async for item in app.history("f")]
        assert whole == [3, 2, 1, 0, -1]
        assert [item.metadata["step"] async for item in app.history("f", limit=3)] == [3, 2, 1]
        with pytest.raises(ThreadNotFound):
            await app.tree("nobody")
        await app.delete("t")
        alone = await app.tree("f")
        assert (alone.thread, alone.parent) == ("f", "t")
        assert alone.edges[0].changed == ("tone",) or alone.edges[0].changed
        assert [item.metadata["step"] async for item in app.history("f")] == [3, 2]
        assert (await app.resume("f", True)).status == "done", "a fork lives without its parent"


async def test_subgraphs_are_executed_again_from_the_record(store_url: str, model: ScriptedModel) -> None:
    class Outer(BaseModel):
        text: str
        tone: str = "plain"
        notes: Append[str] = []
        report: str = ""
        rounds: int = 0
        seen: bool = False

    @transition
    def begin(state: Outer) -> dict[str, object]:
        return {"seen": True}

    inner = Graph(Visit, name="inner")
    inner.add_edge(START, cut)
    inner.fan_out(cut, note, over="pieces")
    inner.add_edge(note, draft)
    inner.add_edge(draft, END)
    g = Graph(Outer, name="outer")
    g.add_edge(START, begin)
    g.add_node("inner", inner)
    g.add_edge(begin, "inner")
    g.add_edge("inner", END)
    async with opened(store_url, g) as app:
        done = await app.run({"text": "a b"}, thread_id="t")
        paid = len(model.books.paid())
        at = (await edges(app))[("inner",)].checkpoint_id
        same = await app.resume((await app.fork("t", at=at)).thread_id)
        assert (same.status, same.output) == ("done", done.output)
        other = await app.resume((await app.fork("t", at=at, update={"tone": "kind"})).thread_id)
        assert other.status == "done", other.error
        assert len(model.books.paid()) == paid + 1


async def test_parallel_nodes_keep_what_comes_next(store_url: str) -> None:
    class Wide(BaseModel):
        n: int = 0
        left: str = ""
        right: str = ""

    g = Graph(Wide, name="wide")
    for name in ("begin", "a", "b", "c", "d"):
        g.add_node(name, transition(_writer(name)))
    g.add_edge(START, "begin")
    for side in "ab":
        g.add_edge("begin", side)
    g.add_edge("a", "c")
    g.add_edge(["a", "b"], "d")
    g.add_edge("c", END)
    g.add_edge("d", END)
    async with opened(store_url, g) as app:
        done = await app.run({}, thread_id="t")
        assert done.status == "done", done.error
        places = await edges(app)
        assert ("c", "d") in places
        for as_node in (None, "b", "a"):
            fork = await app.fork("t", at=places["c", "d"].checkpoint_id, update={"n": 7}, as_node=as_node)
            assert (set(fork.next), fork.output.n) == ({"c", "d"}, 7)
        with pytest.raises(UsageError, match="left out"):
            await app.fork("t", at=places["a", "b"].checkpoint_id, update={}, as_node="a")
        with pytest.raises(InvalidUpdate, match="nowhere"):
            await app.fork("t", update={}, as_node="nowhere")


def _writer(name: str) -> Any:
    def write(state: Any) -> dict[str, object]:
        return {"left" if name in "ac" else "right": name} if len(name) == 1 else {}

    write.__name__ = name
    return write


class State(TypedDict, total=False):
    text: str
    log: Annotated[list[str], DeltaChannel(lambda old, writes: [*old, *(w for ws in writes for w in ws)], list)]
    count: Annotated[int, operator.add]


async def test_a_fork_within_a_graph_adopted_from_langgraph(store_url: str, model: ScriptedModel) -> None:
    done: list[str] = []

    async def say(state: State) -> State:
        client = vertebra.http_client()
        body = {"model": "m", "messages": [{"role": "user", "content": f"Say {state['text']}"}]}
        reply = await client.post(os.environ["OPENAI_BASE_URL"] + "/chat/completions", json=body)
        return {"log": [reply.json()["choices"][0]["message"]["content"]], "count": 1}

    def after(state: State) -> State:
        done.append(state["text"])
        return {"log": ["after"], "count": 1}

    builder = StateGraph(State)
    builder.add_node(say)
    builder.add_node(after, defer=True)
    builder.add_edge(START, "say")
    builder.add_edge("say", "after")
    builder.add_edge("after", END)
    app = Graph.from_langgraph(builder, name="old").compile(checkpointer=store_url)
    async with app:
        run = await app.run({"text": "x"}, thread_id="t")
        assert run.status == "done", run.error
        assert len(model.books) == 1
        places = await edges(app)
        snapshots = [item async for item in app.history("t")]
        assert {edge.next for edge in (await app.tree("t")).edges} == {s.next for s in snapshots}
        fork = await app.fork("t", at=places[("after",)].checkpoint_id, update={"text": "y", "log": ["forked"]})
        assert fork.output["log"] == [run.output["log"][0], "forked"]
        ended = await app.resume(fork.thread_id)
        assert ended.output["log"] == [run.output["log"][0], "forked", "after"]
        assert (done, ended.output["count"], len(model.books)) == (["x", "y"], 2, 1)
        plain = await app.resume((await app.fork("t", at=places[("say",)].checkpoint_id)).thread_id)
        assert (plain.output, len(model.books)) == (run.output, 1)


async def test_on_savers_that_are_given(model: ScriptedModel, sqlite_url: str, tmp_path: Path) -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    for saver in (InMemorySaver(), None):
        if saver is None:
            async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "state.db")) as other:
                await _on_given(other, f"{sqlite_url}&x=".split("&")[0])
        else:
            await _on_given(saver, "memory://")


async def _on_given(saver: Any, journal: str) -> None:
    app = scribe().compile(checkpointer=saver, journal=journal, default_model="m")
    async with app:
        done = await finished(app)
        fork = await app.fork("t", at=(await edges(app))[("note",)].checkpoint_id)
        assert (await app.resume(fork.thread_id)).output.report == done.output.report
        # State without a thread of ours, as plain LangGraph leaves it.
        latest = await saver.aget_tuple({"configurable": {"thread_id": "t"}})
        config = {"configurable": {"thread_id": "theirs", "checkpoint_ns": ""}}
        await saver.aput(
            config, latest.checkpoint, {"source": "loop", "step": 1}, latest.checkpoint["channel_versions"]
        )
        with pytest.raises(ThreadExists, match="LangGraph's own"):
            await app.fork("t", thread_id="theirs")
        assert await saver.aget_tuple(config) is not None


class Offline:
    """A sender for children: nothing must be asked."""

    async def send(self, request: Request) -> Reply:
        raise AssertionError(request.url)

    async def aclose(self) -> None: ...


@pytest.mark.parametrize("point", ["checkpoint.before", "checkpoint.after"])
def test_a_fork_whose_process_dies_is_no_thread(durable_url: str, model: ScriptedModel, point: str) -> None:
    with opened(durable_url) as app:
        asyncio.run(finished(app))
    pid = os.fork()
    if pid == 0:  # the child dies within the fork, really
        try:
            with crash_at(point):
                asyncio.run(opened(durable_url).fork("t", thread_id="f", update={"tone": "dead"}))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) < 0
    with opened(durable_url) as app:
        with pytest.raises(ThreadNotFound):
            app.status_sync("f")
        assert [record.thread for record in asyncio.run(app.services.store.runs.threads())] == ["t"]
        assert app.tree_sync("t").forks == ()
        fork = app.fork_sync("t", thread_id="f", update={"tone": "alive"})
        assert fork.output.tone == "alive"
        assert len(app.tree_sync("t").forks[0].edges) == 1, "nothing of the dead one is left"


def test_a_new_run_takes_nothing_from_a_fork_that_was_never_made(durable_url: str, model: ScriptedModel) -> None:
    with opened(durable_url) as app:
        asyncio.run(finished(app))
    pid = os.fork()
    if pid == 0:
        try:
            with crash_at("checkpoint.after"):
                asyncio.run(opened(durable_url).fork("t", thread_id="f"))
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
    with opened(durable_url) as app:
        run = app.run_sync({"text": "new"}, thread_id="f")
        assert (run.status, run.output.pieces, len(run.output.notes)) == ("interrupted", ["new"], 1)


async def test_a_deleted_parent_leaves_no_half_fork(store_url: str, model: ScriptedModel) -> None:
    """Deleted between reading its state and making the fork: by a saver that does it when the state is put."""
    from vertebra.runtime import forking

    async with opened(store_url) as app:
        await finished(app)
        store = app.services.store
        record = await store.runs.require("t")
        found = await store.saver.aget_tuple({"configurable": {"thread_id": "t"}})
        fork = forking.Fork("f", "r", "done", record, found.checkpoint["id"], False, (), "", {})
        root = await forking.root_of(app, "f", "r", found, None, None, None)
        await app.delete("t")
        with pytest.raises(ThreadNotFound, match="deleted meanwhile"):
            await forking._make(app, fork, root)
        assert await store.runs.get("f") is None
        run = await app.run({"text": "new"}, thread_id="f")
        assert run.output.pieces == ["new"]


def test_the_sync_face(store_url: str, model: ScriptedModel) -> None:
    with opened(store_url) as app:
        app.run_sync({"text": "a"}, thread_id="t")
        fork = app.fork_sync("t", update={"tone": "x"}, thread_id="f")
        tree = app.tree_sync("f")
        assert isinstance(tree, ThreadTree)
        assert [item.thread for item in tree.forks] == ["f"]
        with pytest.raises(UsageError, match=r"app\.fork"):
            app.invoke(None, {"configurable": {"thread_id": "t", "checkpoint_id": tree.edges[0].checkpoint_id}})
        by_hand = asyncio.run(app.services.store.journal.interventions("f"))
        assert [(item["kind"], json.dumps(item["detail"]["fields"])) for item in by_hand] == [("fork", '["tone"]')]
        assert fork.thread_id == "f"
