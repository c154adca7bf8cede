"""A declared migration carries a thread over: its values, its place, its questions, once or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from tests.runtime.test_versions import begun
from tests.runtime.versions import (
    State,
    approve,
    clean,
    count,
    cut,
    draft,
    killed,
    line,
    note,
    opened,
    said,
    send,
    versions_of,
)
from vertebra import END, START, Append, Context, Graph, Question, Standing, human, llm, open_checkpointer, transition
from vertebra.errors import GraphChanged, InterruptUnknown, MigrationFailed, UsageError
from vertebra.testing import ScriptedModel


class Scored(BaseModel):
    """The state of version 2: ``text`` is called ``topic``, ``rounds`` is counted in hundreds."""

    topic: str
    pieces: list[str] = []
    notes: Append[str] = []
    rounds: float = 0
    ok: bool | None = None
    sent: str | None = None
    new: int = 3


@transition
def archive(state: Scored) -> dict[str, object]:
    return {"topic": f"{state.topic} ({state.rounds:g})"}


def scored(*nodes: Any, names: dict[str, str] | None = None, version: str = "2") -> Graph:
    g = line(*nodes, version=version, state=Scored)

    @g.migration(from_version="1")
    def from_1(values: dict[str, Any], standing: Standing) -> Any:
        values["topic"] = values.pop("text")
        values["rounds"] = values["rounds"] * 100
        return (values, names) if names else values

    return g


async def test_a_thread_is_carried_over_and_keeps_its_question(store_url: str, scripted_model: ScriptedModel) -> None:
    with open_checkpointer(store_url) as store:
        asked = await opened(line(count, approve), store).run({"text": "a"}, thread_id="t")
        app = opened(scored(count, approve, archive), store)
        done = await app.resume("t", True, interrupt_id=asked.interrupts[0].id, principal="bob")
        assert (done.status, done.output.topic) == ("done", "a (100)")
        assert (done.output.new, done.output.ok) == (3, True)
        (detail,) = await versions_of(app, "t")
        assert (detail["how"], detail["nodes"], detail["asked_anew"]) == ("migration", {}, False)
        assert (await store.runs.require("t")).version == "2"


async def test_a_migration_comes_before_the_proof_that_none_is_needed(store_url: str) -> None:
    """Nothing of the shape has changed, but what a number means."""
    with open_checkpointer(store_url) as store:
        await opened(line(count, approve), store).run({}, thread_id="t")
        g = line(count, approve, version="2")
        seen: list[Standing] = []

        @g.migration(from_version="1")
        def from_1(values: dict[str, Any], standing: Standing) -> dict[str, Any]:
            seen.append(standing)
            return {**values, "rounds": values["rounds"] + 41}

        assert (await opened(g, store).resume("t", True)).output.rounds == 42
        assert seen == [Standing("t", "1", ("approve",), 2)]


async def test_what_was_paid_under_an_old_name_is_not_paid_again(store_url: str, scripted_model: ScriptedModel) -> None:
    @llm
    async def write(state: Scored, ctx: Context) -> dict[str, object]:
        rounds = int(state.rounds / 100)
        return {"notes": [await said(ctx, f"Plan {rounds}"), await said(ctx, f"Draft {rounds}")]}

    scripted_model.on("Draft 1").fail(400)
    with open_checkpointer(store_url) as store:
        failed = await opened(line(count, draft, approve), store).run({"text": "a"}, thread_id="t")
        assert failed.status == "failed"
        app = opened(scored(count, write, approve, names={"draft": "write"}), store)
        asked = await app.resume("t")
        assert (asked.status, asked.calls_from_journal) == ("interrupted", 1)
        assert len(scripted_model.books.paid()) == 2
        assert not scripted_model.books.repeats()
        assert (await app.resume("t", True)).status == "done"


async def test_what_a_person_put_in_a_node_s_place_stays_under_its_new_name(
    store_url: str, scripted_model: ScriptedModel
) -> None:
    @transition
    def write(state: Scored) -> dict[str, object]:
        return {"notes": ["written"]}

    scripted_model.on("Plan 1").fail(400, times=9)
    with open_checkpointer(store_url) as store:
        old = opened(line(count, draft, note), store)
        await old.run({"text": "a"}, thread_id="t")
        # By a process that died with the node skipped, before the next edge.
        await store.journal.intervened("t", "skip", "draft", "ann", await _skipped(old, {"notes": ["by hand"]}))
        app = opened(scored(count, write, names={"draft": "write"}), store)
        done = await app.resume("t")
        assert (done.status, done.output.notes) == ("done", ["by hand"])


async def _skipped(app: Any, update: dict[str, Any]) -> dict[str, Any]:
    import base64

    return {"fields": sorted(update), "step": 2, "update": base64.b64encode(app.pack(update)).decode()}


async def test_a_question_under_a_new_name_is_asked_anew(store_url: str) -> None:
    @human(answer=bool, into="ok")
    def confirm(state: Scored) -> Question:
        return Question(f"Send {state.topic}?")

    with open_checkpointer(store_url) as store:
        asked = await opened(line(count, approve), store).run({"text": "a"}, thread_id="t")
        app = opened(scored(count, confirm, names={"approve": "confirm"}), store)
        with pytest.raises(InterruptUnknown):
            await app.resume("t", True, interrupt_id=asked.interrupts[0].id)
        assert (await store.runs.require("t")).status == "running"
        assert await store.runs.timers("t") == {}
        (run,) = await app.recover()
        assert (run.status, run.interrupts[0].text) == ("interrupted", "Send a?")
        assert (await app.resume("t", True)).status == "done"
        (detail,) = await versions_of(app, "t")
        assert (detail["asked_anew"], detail["nodes"]) == (True, {"approve": "confirm"})


async def test_a_due_question_that_was_lost_is_asked_anew_and_not_expired(store_url: str) -> None:
    @human(answer=bool, into="ok")
    def hasty(state: Any) -> Question:
        return Question("ok?", deadline_s=0.01)

    with open_checkpointer(store_url) as store:
        await opened(line(hasty), store).run({"text": "a"}, thread_id="t")
        await asyncio.sleep(0.05)
        (run,) = await opened(scored(approve, names={"hasty": "approve"}), store).recover()
        assert (run.status, run.interrupts[0].node) == ("interrupted", "approve")


async def test_migrations_are_chained(store_url: str) -> None:
    def third() -> Graph:
        g = scored(count, archive, approve, names={"approve": "ask"}, version="3")

        @g.migration(from_version="2")
        def from_2(values: dict[str, Any], standing: Standing) -> Any:
            assert (standing.version, standing.next) == ("2", ("ask",))
            return {**values, "new": 9}, {"ask": "archive"}

        return g

    with open_checkpointer(store_url) as store:
        await opened(line(count, approve), store).run({"text": "a"}, thread_id="t")
        app = opened(third(), store)
        asked = await app.resume("t")
        assert (asked.status, asked.output.topic, asked.output.new) == ("interrupted", "a (100)", 9)
        (detail,) = await versions_of(app, "t")
        assert detail["nodes"] == {"approve": "archive"}


BAD: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda values: 1 / 0, "raised ZeroDivisionError"),
    (lambda values: None, "returned NoneType"),
    (lambda values: ({"topic": "a"}, ["draft"]), "returned tuple"),
    (lambda values: {"topic": "a", "text": "b"}, "gave a field 'text'"),
    (lambda values: {"topic": "a", "rounds": "many"}, "gave a field 'rounds' that does not fit"),
    (lambda values: {"rounds": 1}, "gave a state that does not fit: topic"),
    (lambda values: ({"topic": "a"}, {"approve": "nowhere"}), "there is no node 'nowhere'"),
]


@pytest.mark.parametrize(("result", "why"), BAD)
async def test_a_migration_that_fails_leaves_the_thread_as_it_was(
    store_url: str, result: Callable[[dict[str, Any]], Any], why: str
) -> None:
    with open_checkpointer(store_url) as store:
        old = opened(line(count, approve), store)
        asked = await old.run({"text": "a"}, thread_id="t")
        before, state = await store.runs.require("t"), old.get_state({"configurable": {"thread_id": "t"}})
        g = line(count, approve, version="2", state=Scored)
        g.migration(from_version="1")(lambda values, standing: result(values))
        with pytest.raises(MigrationFailed, match=why) as caught:
            await opened(g, store).resume("t", True)
        assert caught.value.code == "migration_failed"
        after = await store.runs.require("t")
        assert (after.status, after.version, after.fingerprint) == ("interrupted", "1", before.fingerprint)
        assert (after.holder, await versions_of(old, "t")) == (None, [])
        assert old.get_state({"configurable": {"thread_id": "t"}}) == state
        mended = opened(scored(count, approve, archive), store)
        assert (await mended.resume("t", True, interrupt_id=asked.interrupts[0].id)).output.topic == "a (100)"


@pytest.mark.parametrize("point", ["checkpoint.before", "checkpoint.after"])
def test_killed_in_the_middle_it_is_applied_once(durable_url: str, point: str) -> None:
    @human(answer=bool, into="ok")
    def confirm(state: Scored) -> str:
        return "Confirm?"

    new = scored(count, confirm, archive, names={"approve": "confirm"})
    with opened(line(count, approve), durable_url) as old:
        old.run_sync({"text": "a"}, thread_id="t")
    killed(new, durable_url, lambda app: app.resume("t"), point)
    with opened(line(count, approve), durable_url) as old:
        if point == "checkpoint.after":
            with pytest.raises(GraphChanged, match="is being carried over"):
                old.resume_sync("t", True)
    with opened(new, durable_url) as app:
        assert app.resume_sync("t").status == "interrupted"
        assert app.resume_sync("t", True).output.topic == "a (100)"
        (detail,) = asyncio.run(versions_of(app, "t"))
        assert detail["nodes"] == {"approve": "confirm"}


async def test_a_fan_out_goes_on_under_a_new_name(store_url: str, scripted_model: ScriptedModel) -> None:
    @llm
    async def summarise(piece: str, ctx: Context) -> dict[str, object]:
        return {"notes": [(await said(ctx, f"Note {piece}")).upper()]}

    def graph(version: str, worker: Any) -> Graph:
        g = Graph(State, name="fan", version=version).add_edge(START, cut)
        return g.fan_out(cut, worker, over="pieces").add_edge(worker, count).add_edge(count, END)

    scripted_model.on("Note b").fail(400)
    with open_checkpointer(store_url) as store:
        assert (await opened(graph("1", note), store).run({"text": "a b"}, thread_id="t")).status == "failed"
        new = graph("2", summarise)
        new.migration(from_version="1")(lambda values, standing: (values, {"note": "summarise"}))
        done = await opened(new, store).resume("t")
        assert done.status == "done", done.error
        assert all(text.isupper() for text in done.output.notes)
        assert len(scripted_model.books.paid()) == 2
        assert not scripted_model.books.repeats()


def parallel(version: str, left: Any, *joined: Any) -> Graph:
    """Two branches, the right one longer and stopped by a person, and what comes after both."""
    g = Graph(State, name="two", version=version).add_edge(START, cut).add_edge(cut, left).add_edge(cut, clean)
    g.add_edge(clean, approve)
    if joined:
        return g.add_edge(list(joined), send).add_edge(send, END)
    return g.add_edge(approve, send).add_edge(send, END)


@transition
def tally(state: State) -> dict[str, object]:
    return {"rounds": 7}


async def test_a_join_knows_the_branch_that_has_passed_by_its_new_name(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        asked = await opened(parallel("1", count, count, approve), store).run({}, thread_id="t")
        lost = parallel("2", tally, tally, approve)
        lost.migration(from_version="1")(lambda values, standing: values)
        with pytest.raises(MigrationFailed, match=r"join approve \+ tally -> send would wait for tally"):
            await opened(lost, store).resume("t", True)
        named = parallel("2", tally, tally, approve)
        named.migration(from_version="1")(lambda values, standing: (values, {"count": "tally"}))
        done = await opened(named, store).resume("t", True, interrupt_id=asked.interrupts[0].id)
        assert (done.status, done.output.rounds, done.output.sent is None) == ("done", 1, False)


async def test_a_node_that_a_join_has_woken_runs_though_the_join_has_gone(
    store_url: str, scripted_model: ScriptedModel
) -> None:
    def graph(version: str, joined: bool) -> Graph:
        g = Graph(State, name="woken", version=version).add_edge(START, cut).add_edge(cut, count)
        g = g.add_edge([cut, count], draft) if joined else g.add_edge(count, draft)
        return g.add_edge(draft, END)

    scripted_model.on("Draft 1").fail(400)
    with open_checkpointer(store_url) as store:
        assert (await opened(graph("1", True), store).run({}, thread_id="t")).next == ("draft",)
        new = graph("2", False)
        new.migration(from_version="1")(lambda values, standing: values)
        done = await opened(new, store).resume("t")
        assert (done.status, len(done.output.notes)) == ("done", 2)
        assert not scripted_model.books.repeats()


async def test_a_sibling_that_had_finished_is_executed_anew_from_the_journal(
    store_url: str, scripted_model: ScriptedModel
) -> None:
    @llm
    async def left(state: Any, ctx: Context) -> dict[str, object]:
        return {"notes": [await said(ctx, "Left")]}

    @llm
    async def right(state: Any, ctx: Context) -> dict[str, object]:
        return {"notes": [await said(ctx, "Right")]}

    def graph(version: str, state: type[Any]) -> Graph:
        g = Graph(state, name="two", version=version).add_edge(START, left).add_edge(START, right)
        return g.add_edge(left, END).add_edge(right, END)

    scripted_model.on("Right").fail(400)
    with open_checkpointer(store_url) as store:
        assert (await opened(graph("1", State), store).run({"text": "a"}, thread_id="t")).status == "failed"
        new = graph("2", Scored)
        new.migration(from_version="1")(lambda v, s: {"topic": v["text"], "notes": v["notes"]})
        done = await opened(new, store).resume("t")
        assert (done.status, len(done.output.notes), done.calls_from_journal) == ("done", 2, 1)
        assert not scripted_model.books.repeats()


async def test_a_subgraph_that_has_changed_is_begun_anew(store_url: str, scripted_model: ScriptedModel) -> None:
    def graph(version: str, *nodes: Any) -> Graph:
        inner = line(*nodes)
        return (
            Graph(State, name="outer", version=version).add_edge(START, "in").add_node("in", inner).add_edge("in", END)
        )

    with open_checkpointer(store_url) as store:
        asked = await opened(graph("1", draft, approve), store).run({"text": "a"}, thread_id="t")
        assert asked.status == "interrupted", asked.error
        new = graph("2", draft, count, approve)
        with pytest.raises(GraphChanged, match=r"in.node.graph.nodes.count"):
            await opened(new, store).resume("t", True)
        new.migration(from_version="1")(lambda values, standing: values)
        app = opened(new, store)
        again = await app.resume("t")
        assert (again.status, again.calls_from_journal) == ("interrupted", 2)
        assert again.interrupts[0].id != asked.interrupts[0].id
        done = await app.resume("t", True)
        assert (done.status, done.output.rounds, len(done.output.notes)) == ("done", 1, 2)
        assert not scripted_model.books.repeats()


async def test_a_loop_counts_on_under_a_new_name(store_url: str) -> None:
    @human(answer=bool, into="ok")
    def again(state: Any) -> str:
        return "again?"

    @human(answer=bool, into="ok")
    def more(state: Any) -> str:
        return "more?"

    def loop(version: str, ask: Any) -> Graph:
        g = Graph(State, name="loop", version=version).add_edge(START, count).add_edge(count, ask)
        return g.add_conditional_edges(ask, lambda s: bool(s.ok), {True: count, False: END}, max_visits=2)

    with open_checkpointer(store_url) as store:
        old = opened(loop("1", again), store)
        await old.run({}, thread_id="t")
        await old.resume("t", True)
        new = loop("2", more)
        new.migration(from_version="1")(lambda values, standing: (values, {"again": "more"}))
        app = opened(new, store)
        assert (await app.resume("t")).status == "interrupted"
        assert (await app.resume("t", True)).status == "interrupted"
        run = await app.resume("t", True)
        assert run.error is not None
        assert run.error.code == "loop_bound_reached"


async def test_the_input_of_a_run_that_has_not_begun_is_migrated(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        await begun(opened(line(count), store), "t")
        g = line(count, version="2", state=Scored)
        g.migration(from_version="1")(lambda values, standing: {"topic": standing.next[0], **values})
        (run,) = await opened(g, store).recover()
        assert (run.status, run.output.topic, run.output.rounds) == ("done", "__start__", 5)


def test_the_input_of_a_run_that_died_at_its_first_checkpoint_is_migrated(durable_url: str) -> None:
    killed(line(count), durable_url, lambda app: app.run({"text": "a"}, thread_id="t"), "checkpoint.after")
    with opened(scored(count, archive), durable_url) as app:
        (run,) = app.recover_sync()
        assert (run.status, run.output.topic) == ("done", "a (1)")
    bad = line(count, version="2", state=Scored)
    bad.migration(from_version="1")(lambda values, standing: {})
    killed(line(count), durable_url, lambda app: app.run({"text": "a"}, thread_id="u"), "checkpoint.after")
    with opened(bad, durable_url) as app, pytest.raises(MigrationFailed, match="gave an input that does not fit"):
        app.resume_sync("u")


async def test_of_a_further_turn_the_state_is_migrated_and_the_input_must_fit(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        old = opened(line(count), store)
        for thread in ("t", "u"):
            await old.run({"text": "a"}, thread_id=thread)
        await begun(old, "t")
        (run,) = await opened(scored(count, archive), store).recover()
        assert (run.status, run.output.topic, run.output.rounds) == ("done", "a (5)", 5)

        class Named(State):
            rounds: str = ""  # type: ignore[assignment]

        await begun(old, "u")
        g = line(clean, version="2", state=Named)
        g.migration(from_version="1")(lambda values, standing: {**values, "rounds": "one"})
        with pytest.raises(MigrationFailed, match="the input of its present turn does not fit"):
            await opened(g, store).resume("u")


async def test_a_choice_at_the_start_where_a_thread_stands_may_not_go(durable_url: str) -> None:
    def graph(version: str, choice: bool) -> Graph:
        g = Graph(State, name="start", version=version)
        if choice:
            g.add_conditional_edges(START, lambda state: 1, {1: count})
        else:
            g.add_edge(START, count)
        return g.add_edge(count, END)

    killed(graph("1", True), durable_url, lambda app: app.run({}, thread_id="t"), "checkpoint.after", 2)
    new = graph("2", False)
    new.migration(from_version="1")(lambda values, standing: values)
    async with opened(new, durable_url) as app:
        with pytest.raises(MigrationFailed, match="the choice after START"):
            await app.resume("t")
    same = graph("2", True).add_edge(count, clean).add_edge(clean, END)
    same.migration(from_version="1")(lambda values, standing: values)
    async with opened(same, durable_url) as app:
        assert (await app.resume("t")).status == "done"


async def test_a_typed_dict_is_migrated_too(store_url: str) -> None:
    class Before(TypedDict, total=False):
        n: int

    class After(TypedDict, total=False):
        n: str

    @human(answer=int, into="n")
    def ask(state: Any) -> str:
        return "n?"

    @human(answer=str, into="n")
    def ask_text(state: Any) -> str:
        return "n?"

    with open_checkpointer(store_url) as store:
        await opened(line(ask, state=Before), store).run({"n": 1}, thread_id="t")
        g = line(ask_text, version="2", state=After)
        g.migration(from_version="1")(lambda values, standing: ({"n": str(values["n"])}, {"ask": "ask_text"}))
        app = opened(g, store)
        assert (await app.resume("t")).output == {"n": "1"}
        assert (await app.resume("t", "two")).output == {"n": "two"}


def test_a_migration_is_declared_once_and_from_an_older_version() -> None:
    g = line(count, version="2")
    g.migration(from_version="1")(lambda values, standing: values)
    with pytest.raises(UsageError, match="has a migration already"):
        g.migration(from_version="1")
    with pytest.raises(UsageError, match="is what this graph is"):
        g.migration(from_version="2")


async def test_fresh_finds_the_calls_made_under_the_old_name(store_url: str, scripted_model: ScriptedModel) -> None:
    @llm
    async def write(state: State, ctx: Context) -> dict[str, object]:
        return {"notes": [await said(ctx, f"Plan {state.rounds}"), await said(ctx, f"Draft {state.rounds}")]}

    scripted_model.on("Draft 0").fail(400)
    with open_checkpointer(store_url) as store:
        await opened(line(draft), store).run({}, thread_id="t")
        g = line(write, version="2")
        g.migration(from_version="1")(lambda values, standing: (values, {"draft": "write"}))
        done = await opened(g, store).resume("t", fresh=write)
        assert (done.status, done.calls_from_journal) == ("done", 0)
        assert len(scripted_model.books.paid()) == 3
