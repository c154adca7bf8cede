"""A thread whose graph has changed under it: it goes on where nothing ahead of it differs, and is refused otherwise."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from pydantic import Field, field_validator

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
    scribe,
    send,
    versions_of,
)
from vertebra import END, START, Graph, Question, human, open_checkpointer, transition
from vertebra.checkpointers.lease import Holder
from vertebra.checkpointers.leasing import Start
from vertebra.errors import GraphChanged, ThreadBusy, ThreadNotFinished
from vertebra.runtime.app import App
from vertebra.testing import ScriptedModel

ELSEWHERE = Holder("elsewhere", "another boot", 1, "1", "token")


class Wider(State):
    marks: list[str] = Field(default_factory=lambda: [uuid.uuid4().hex])


def later() -> Graph:
    """Version 2: another first node, another choice before that of the loop, one field more."""
    return scribe("2", Wider, first=clean)


async def test_a_question_takes_its_answer_under_the_new_version(store_url: str, scripted_model: ScriptedModel) -> None:
    with open_checkpointer(store_url) as store:
        old = opened(scribe(), store)
        run = await old.run({"text": "a b"}, thread_id="t", principal="ann")
        assert run.status == "interrupted", run.error
        app = opened(later(), store)
        (question,) = run.interrupts
        done = await app.resume("t", True, interrupt_id=question.id, principal="bob")
        assert (done.status, done.output.ok) == ("done", True)
        assert len(scripted_model.books.paid()) == 6
        assert not scripted_model.books.repeats()
        record = await store.runs.require("t")
        assert (record.version, record.fingerprint, record.principal) == ("2", app.fingerprint, "ann")
        (detail,) = await versions_of(app, "t")
        assert (detail["how"], detail["from"]["version"], detail["asked_anew"]) == ("same ahead", "1", False)
        assert "+ nodes.clean: transition" in detail["changes"]
        assert [i["principal"] for i in await store.journal.interventions("t")] == ["bob"]


async def test_a_default_that_came_with_the_version_is_made_once(store_url: str, scripted_model: ScriptedModel) -> None:
    seen = []

    @transition
    def look(state: Any) -> dict[str, object]:
        seen.append(getattr(state, "marks", None))
        return {}

    with open_checkpointer(store_url) as store:
        await opened(line(approve, look, version="1"), store).run({}, thread_id="t")
        done = await opened(line(approve, look, version="2", state=Wider), store).resume("t", True)
        assert done.status == "done", done.error
        assert seen == [done.output.marks]


async def test_a_failed_run_goes_on_without_paying_twice(store_url: str, scripted_model: ScriptedModel) -> None:
    scripted_model.on("Draft 1").fail(400)
    with open_checkpointer(store_url) as store:
        failed = await opened(scribe(), store).run({"text": "a"}, thread_id="t")
        assert failed.status == "failed"
        asked = await opened(later(), store).resume("t")
        assert (asked.status, asked.next) == ("interrupted", ("approve",))
        assert not scripted_model.books.repeats()
        assert len(scripted_model.books.paid()) == 5


@pytest.mark.parametrize(("point", "nth"), [("call.recorded", 2), ("writes.after", 3), ("checkpoint.after", 4)])
def test_a_killed_run_is_recovered_under_the_new_version(
    durable_url: str, scripted_model: ScriptedModel, point: str, nth: int
) -> None:
    killed(scribe(), durable_url, lambda app: app.run({"text": "a b"}, thread_id="t"), point, nth)
    with opened(later(), durable_url) as app:
        (run,) = app.recover_sync()
        assert run.status == "interrupted", run.error
        assert len(run.output.notes) == 6
        done = app.resume_sync("t", True)
        assert done.status == "done"
        # The other note's call may have been under way: the one window there is, and it is counted.
        assert len(scripted_model.books.repeats()) <= done.total.lost <= 1
        (record,) = asyncio.run(app.services.store.runs.threads())
        assert record.version == "2"
        assert [item["recovery"] for item in record.story] == [1]


@pytest.mark.parametrize("point", ["checkpoint.before", "checkpoint.after"])
def test_a_kill_while_the_version_changes_leaves_it_before_or_after(
    durable_url: str, scripted_model: ScriptedModel, point: str
) -> None:
    with opened(scribe(), durable_url) as old:
        (question,) = old.run_sync({"text": "a"}, thread_id="t").interrupts
    killed(later(), durable_url, lambda app: app.resume("t", True), point)
    if point == "checkpoint.after":
        with opened(scribe(), durable_url) as old, pytest.raises(GraphChanged, match="is being carried over"):
            old.resume_sync("t", True)
    with opened(later(), durable_url) as app:
        assert app.status_sync("t").status == "interrupted"
        done = app.resume_sync("t", True, interrupt_id=question.id)
        assert (done.status, len(done.output.marks)) == ("done", 1)
        assert len(asyncio.run(versions_of(app, "t"))) == 1
        assert not scripted_model.books.repeats()


def test_killed_before_the_change_the_old_version_goes_on(durable_url: str, scripted_model: ScriptedModel) -> None:
    with opened(scribe(), durable_url) as old:
        old.run_sync({"text": "a"}, thread_id="t")
    killed(later(), durable_url, lambda app: app.resume("t", True), "checkpoint.before")
    with opened(scribe(), durable_url) as old:
        assert old.resume_sync("t", True).status == "done"
        assert asyncio.run(old.services.store.runs.require("t")).fingerprint == old.fingerprint


def forked(version: str, *sources: Any) -> Graph:
    """Two branches, one of which waits for a person, and a join after both."""
    g = Graph(State, name="forked", version=version)
    g.add_edge(START, cut).add_edge(cut, count).add_edge(cut, clean).add_edge(clean, approve)
    return g.add_edge(list(sources), send).add_edge(send, END)


@pytest.mark.parametrize("sources", [(count, approve), (approve, count)])
async def test_a_join_remembers_the_branch_that_has_passed(
    store_url: str, scripted_model: ScriptedModel, sources: Any
) -> None:
    with open_checkpointer(store_url) as store:
        asked = await opened(forked("1", count, approve), store).run({"text": "a"}, thread_id="t")
        done = await opened(forked("2", *sources), store).resume("t", True, interrupt_id=asked.interrupts[0].id)
        assert (done.status, done.output.sent is None) == ("done", False)


async def test_a_question_inside_a_subgraph_takes_its_answer(store_url: str, scripted_model: ScriptedModel) -> None:
    def outer(version: str, *before: Any) -> Graph:
        g = Graph(State, name="outer", version=version).add_node("in", line(draft, approve, version=version))
        for source, target in zip((START, *before), (*before, "in"), strict=True):
            g.add_edge(source, target)
        return g.add_edge("in", count).add_edge(count, END)

    with open_checkpointer(store_url) as store:
        asked = await opened(outer("1"), store).run({}, thread_id="t")
        assert asked.status == "interrupted", asked.error
        done = await opened(outer("2", clean), store).resume("t", True, interrupt_id=asked.interrupts[0].id)
        assert (done.status, done.output.rounds, len(done.output.notes)) == ("done", 1, 2)
        assert not scripted_model.books.repeats()
        assert len(scripted_model.books.paid()) == 2


async def test_a_loop_counts_on_though_edges_came_before_it(store_url: str, scripted_model: ScriptedModel) -> None:
    @human(answer=bool, into="ok")
    def again(state: State) -> Question:
        return Question(f"round {state.rounds}: again?")

    def loop(version: str) -> Graph:
        g = Graph(State, name="loop", version=version).add_edge(START, cut)
        if version == "2":
            g.add_conditional_edges(cut, lambda state: "on", {"on": count, "off": END})
        else:
            g.add_edge(cut, count)
        g.add_edge(count, again)
        return g.add_conditional_edges(again, lambda s: bool(s.ok), {True: count, False: END}, max_visits=2)

    with open_checkpointer(store_url) as store:
        await opened(loop("1"), store).run({}, thread_id="t")
        assert (await opened(loop("1"), store).resume("t", True)).status == "interrupted"
        app = opened(loop("2"), store)
        assert (await app.resume("t", True)).status == "interrupted"
        run = await app.resume("t", True)
        assert run.error is not None
        assert run.error.code == "loop_bound_reached"


def ahead_changed() -> Graph:
    g = scribe("2")
    g.add_edge(approve, clean)
    return g.add_edge(clean, END)


async def test_what_differs_ahead_is_named_and_the_thread_stays_as_it_was(
    store_url: str, scripted_model: ScriptedModel
) -> None:
    scripted_model.on("Draft 1").fail(400)
    with open_checkpointer(store_url) as store:
        old = opened(scribe(), store)
        await old.run({"text": "a"}, thread_id="t")
        before = await store.runs.require("t")
        app = opened(ahead_changed(), store)
        with pytest.raises(GraphChanged) as caught:
            await app.resume("t")
        assert "stands before draft" in caught.value.message
        assert "  + approve.edges: approve -> clean" in caught.value.message
        assert "from_version='1'" in caught.value.remedy
        assert caught.value.context["next"] == ["draft"]
        (run,) = [await app.status("t")]
        assert (run.status, run.error.code if run.error else None) == ("failed", "provider_refused")
        after = await store.runs.require("t")
        assert (after.version, after.fingerprint, after.error, after.holder) == (
            "1",
            before.fingerprint,
            before.error,
            None,
        )
        with pytest.raises(GraphChanged):
            await app.ainvoke(None, {"configurable": {"thread_id": "t"}})
        with pytest.raises(GraphChanged):
            await app.aupdate_state({"configurable": {"thread_id": "t"}}, {"rounds": 1})
        with pytest.raises(GraphChanged):
            await app.run({"text": "a"}, thread_id="t")
        assert (await old.resume("t")).status == "interrupted"


async def test_a_state_that_the_new_types_refuse_is_refused(store_url: str, scripted_model: ScriptedModel) -> None:
    class Stricter(State):
        @field_validator("rounds")
        @classmethod
        def none(cls, value: int) -> int:
            if value:
                raise ValueError("no rounds any more")
            return value

    with open_checkpointer(store_url) as store:
        await opened(scribe(), store).run({"text": "a"}, thread_id="t")
        with pytest.raises(GraphChanged, match="no rounds any more"):
            await opened(scribe("2", Stricter), store).resume("t", True)


async def test_a_thread_that_a_process_drives_is_busy(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        old, app = opened(line(count), store), opened(line(clean, count, version="2"), store)
        await begun(old, "t", ttl_s=60)
        with pytest.raises(ThreadBusy, match="elsewhere"):
            await app.resume("t", wait_s=0.1)
        assert await app.recover("t") == []
        assert (await store.runs.require("t")).version == "1"


async def begun(app: App, thread: str, ttl_s: float = 0.0) -> None:
    """A run that another process has begun, and that died before its first checkpoint."""
    start = Start("run", app.name, app.version, app.fingerprint, app.shape, app.pack({"rounds": 4}), None)
    await app.services.store.runs.begin(thread, start, ELSEWHERE, ttl_s)


async def test_a_run_without_a_checkpoint_needs_the_whole_graph_to_be_the_same(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        await begun(opened(line(count), store), "same")
        await begun(opened(line(count), store), "other")
        (run,) = await opened(line(count, version="2", state=Wider), store).recover("same")
        assert (run.status, run.output.rounds, len(run.output.marks)) == ("done", 5, 1)
        with pytest.raises(GraphChanged, match="stands before __start__"):
            await opened(line(count, clean, version="2"), store).recover("other")


def test_a_run_that_died_at_its_first_checkpoint_has_its_input(durable_url: str) -> None:
    killed(line(count), durable_url, lambda app: app.run({"rounds": 4}, thread_id="t"), "checkpoint.after")
    with opened(line(count, version="2", state=Wider), durable_url) as app:
        (run,) = app.recover_sync()
        assert (run.status, run.output.rounds, len(run.output.marks)) == ("done", 5, 1)


async def test_a_turn_that_has_not_begun_stands_at_the_start(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        old = opened(line(count), store)
        await old.run({}, thread_id="t")
        await begun(old, "t")
        (run,) = await opened(line(count, version="2", state=Wider), store).recover()
        assert (run.status, run.output.rounds) == ("done", 5)


async def test_a_thread_changes_its_version_twice(store_url: str, scripted_model: ScriptedModel) -> None:
    class Widest(Wider):
        more: int = 7

    with open_checkpointer(store_url) as store:
        asked = await opened(scribe(), store).run({"text": "a"}, thread_id="t")
        with pytest.raises(ThreadNotFinished):
            await opened(later(), store).run({"text": "a"}, thread_id="t")
        assert (await store.runs.require("t")).version == "2"
        app = opened(scribe("3", Widest, first=clean), store)
        done = await app.resume("t", True, interrupt_id=asked.interrupts[0].id)
        assert (done.status, done.output.more, len(done.output.marks)) == ("done", 7, 1)
        assert [d["from"]["version"] for d in await versions_of(app, "t")] == ["1", "2"]
        again = await opened(scribe("4", Widest), store).run({"text": "b"}, thread_id="t")
        assert again.status == "interrupted"


async def test_a_change_that_was_settled_long_ago_is_not_taken_for_one_in_the_middle(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        await opened(line(count, approve), store).run({}, thread_id="t")
        second = opened(line(count, approve, version="2", state=Wider), store)
        assert (await second.resume("t")).status == "interrupted"
        await second.cancel("t")
        third = opened(line(count, version="3", state=Wider), store)
        await begun(third, "t")
        _, lease = await store.versions.hold("t", ELSEWHERE, 0.0)
        await store.versions.doubt(lease)  # and died
        await store.versions.release(lease)
        (run,) = await opened(line(count, version="4", state=Wider), store).recover()
        assert (run.status, run.output.rounds) == ("done", 5)


async def test_a_due_question_of_a_changed_graph_does_not_stop_the_others(store_url: str) -> None:
    @human(answer=bool, into="ok")
    def hasty(state: State) -> Question:
        return Question("ok?", deadline_s=0.01, default=False)

    with open_checkpointer(store_url) as store:
        await opened(line(hasty, count), store).run({}, thread_id="t")
        await opened(line(hasty), store).run({}, thread_id="u")
        await asyncio.sleep(0.05)
        runs = {run.thread_id: run for run in await opened(line(hasty, version="2"), store).recover()}
        assert runs["u"].status == "done"
        assert runs["t"].error is not None
        assert runs["t"].error.code == "graph_changed"


async def test_names_that_read_in_two_ways_are_refused(store_url: str) -> None:
    def odd(version: str) -> Graph:
        g = Graph(State, name="odd", version=version).add_node("a", approve).add_node("b", count)
        g.add_node("a -> b", count).add_node("b -> a", clean)
        g.add_edge(START, "a").add_edge("a", "b").add_edge("b", "b -> a")
        return g.add_edge("b -> a", "a -> b").add_edge("a -> b", END).add_edge("a", "b -> a")

    with open_checkpointer(store_url) as store:
        await opened(odd("1"), store).run({}, thread_id="t")
        with pytest.raises(GraphChanged, match="cannot be told apart"):
            await opened(odd("2"), store).resume("t", True)


async def test_a_change_ahead_inside_a_fan_out_is_seen(store_url: str, scripted_model: ScriptedModel) -> None:
    scripted_model.on("Note b").fail(400)
    with open_checkpointer(store_url) as store:
        failed = await opened(scribe(), store).run({"text": "a b"}, thread_id="t")
        assert failed.status == "failed"
        other = scribe("2")
        other.add_edge(note, send)
        with pytest.raises(GraphChanged, match=r"note.edges: note -> send"):
            await opened(other, store).resume("t")
        assert (await opened(later(), store).resume("t")).status == "interrupted"
        assert not scripted_model.books.repeats()
        assert {draft.name, count.name} <= {c.node for c in await store.journal.calls("t")} | {"count"}
