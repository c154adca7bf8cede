"""What an app says of threads that have lost their history or answers, and how much a thread may record."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel

from vertebra import END, START, Append, Context, Graph, effect, human, llm, open_checkpointer, transition
from vertebra.errors import CheckpointNotFound, JournalFull, RecordPruned
from vertebra.runtime.app import App
from vertebra.testing import ScriptedModel

reading: list[Callable[[], None]] = []
"""What happens, once, when an input is read."""


def read(text: str) -> str:
    if reading:
        reading.pop()()
    return text


class Visit(BaseModel):
    text: Annotated[str, AfterValidator(read)]
    pieces: list[str] = []
    notes: Append[str] = []
    report: str = ""
    ok: bool | None = None
    sent: str | None = None


@transition
def cut(visit: Visit) -> dict[str, object]:
    return {"pieces": visit.text.split()}


@llm(task="note")
async def note(piece: str, ctx: Context) -> dict[str, object]:
    return {"notes": [await ask(ctx, f"Note {piece}")]}


@llm(task="draft")
async def draft(visit: Visit, ctx: Context) -> dict[str, object]:
    return {"report": await ask(ctx, "Draft")}


@human(answer=bool)
def approve(visit: Visit) -> str:
    return "Send it?"


@effect
def send(visit: Visit, ctx: Context) -> dict[str, object]:
    return {"sent": ctx.idempotency_key}


async def ask(ctx: Context, prompt: str) -> str:
    reply = await ctx.client.chat.completions.create(model=ctx.model, messages=[{"role": "user", "content": prompt}])
    return str(reply.choices[0].message.content)


def opened(url: Any, **options: Any) -> App:
    g = Graph(Visit, name="scribe")
    g.add_edge(START, cut)
    g.fan_out(cut, note, over="pieces")
    g.add_edge(note, draft)
    g.add_edge(draft, approve)
    g.add_edge(approve, send)
    g.add_edge(send, END)
    app: App = g.compile(checkpointer=url, default_model="m", **options)
    return app


async def finished(app: App, thread: str = "t") -> None:
    await app.run({"text": "a b"}, thread_id=thread)
    assert (await app.resume(thread, True)).status == "done"


async def test_a_thread_without_answers_says_so_to_verify_and_fork(store_url: str, model: ScriptedModel) -> None:
    async with opened(store_url) as app:
        await finished(app)
        whole = await app.verify("t")
        assert (whole.ok, whole.pruned, whole.nodes) == (True, (), 6)
        ran = (await app.status("t")).usage
        pruned = await app.prune(answers=True)
        assert (pruned.shortened, pruned.answers) == (1, 4)
        assert (await app.status("t")).usage == ran, "tokens are still there"
        left = await app.verify("t")
        assert (left.ok, left.nodes, left.unverified) == (True, 2, ())
        assert left.pruned == ("answers of note at step 2", "answers of draft at step 3", "answers of send at step 5")
        assert await app.verify(await app.export("t")) == left
        paid = len(model.books.paid())
        edges = (await app.tree("t")).edges
        at = next(edge for edge in edges if edge.next == ("draft",))
        with pytest.raises(RecordPruned, match="2 of the answers that lie ahead") as caught:
            await app.fork("t", at=at.checkpoint_id)
        assert "fresh=True" in caught.value.remedy
        assert [record.thread for record in await app.services.store.runs.threads()] == ["t"]
        fork = await app.fork("t", at=at.checkpoint_id, fresh=True)
        await app.resume(fork.thread_id)
        assert (await app.resume(fork.thread_id, True)).status == "done"
        assert len(model.books.paid()) == paid + 1
        last = await app.fork("t")
        assert last.status == "done", "nothing lies ahead"


async def test_today_asking_otherwise_is_seen_by_the_hash_alone(model: ScriptedModel) -> None:
    async with opened("memory://") as app:
        await finished(app)
        await app.prune(answers=True)
        exported = await app.export("t")
    for row in exported["calls"]:
        if row["node"] == "draft":
            row["request_hash"] = "another"
    async with opened("memory://") as app:
        found = await app.verify(exported)
    (difference,) = found.differences
    assert (difference.kind, difference.node, difference.recorded) == ("request", "draft", None)
    assert "what was asked was pruned, but was not this" in difference.text
    assert "answers of draft at step 3" not in found.pruned


async def test_a_thread_without_history_says_so(store_url: str, model: ScriptedModel) -> None:
    async with opened(store_url) as app:
        await finished(app)
        before = await app.status("t")
        edges = (await app.tree("t")).edges
        pruned = await app.prune(keep=2)
        assert (pruned.shortened, pruned.checkpoints) == (1, len(edges) - 2)
        assert await app.status("t") == before
        assert [edge.checkpoint_id for edge in (await app.tree("t")).edges] == [e.checkpoint_id for e in edges[-2:]]
        found = await app.verify("t")
        assert (found.ok, found.edges, found.pruned) == (True, 1, ("history before step 4",))
        with pytest.raises(CheckpointNotFound, match=f"{len(edges) - 2} were pruned"):
            await app.fork("t", at=edges[0].checkpoint_id)
        assert (await app.run({"text": "c"}, thread_id="t")).status == "interrupted", "it goes on"


async def test_only_threads_of_this_graph_go(store_url: str, model: ScriptedModel) -> None:
    async with opened(store_url) as app:
        await finished(app)
        store = app.services.store
        await store.database.run(lambda tx: tx.execute("UPDATE vertebra_threads SET graph = 'other'"))
        await finished(app, "mine")
        assert (await app.prune(statuses=["done"])).threads == 1
        assert [record.thread for record in await store.runs.threads()] == ["t"]


def test_the_sync_face(sqlite_url: str, model: ScriptedModel) -> None:
    with opened(sqlite_url) as app:
        asyncio.run(finished(app))
        assert app.prune_sync(statuses=["done"], dry_run=True).threads == 1
        assert app.prune_sync(statuses=["done"]).threads == 1
        assert app.services.store.prune_sync(statuses=["done"]).threads == 0


@pytest.mark.parametrize("face", ["run", "ainvoke"])
async def test_a_turn_of_a_thread_that_is_pruned_just_then_begins_anew(
    store_url: str, model: ScriptedModel, face: str
) -> None:
    """Pruned while its input is read as that of a further turn, before the turn begins."""
    async with opened(store_url) as app:
        await finished(app)
        reading.append(lambda: elsewhere(app.delete("t")))
        if face == "run":
            run = await app.run({"text": "c"}, thread_id="t")
            assert (run.status, len(run.output.notes), run.output.sent) == ("interrupted", 1, None)
        else:
            values = await app.ainvoke({"text": "c"}, {"configurable": {"thread_id": "t"}})
            assert (len(values["notes"]), values["sent"]) == (1, None)
        assert not reading


def elsewhere(work: Awaitable[Any]) -> None:
    """To its end, in another thread, on a loop of its own."""

    async def run() -> None:
        await work

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join()


async def test_a_thread_that_has_recorded_its_fill_is_stopped_before_it_pays(
    store_url: str, model: ScriptedModel
) -> None:
    async with open_checkpointer(store_url) as store:
        run = await driven(store, 30, "run", {"text": "a"}, thread_id="t")
        assert isinstance(run.error, JournalFull)
        assert run.error.context["thread"] == "t"
        assert (len(model.books.paid()), await store.journal.calls("t")) == (0, [])
        run = await driven(store, 100, "resume", "t")
        assert isinstance(run.error, JournalFull)
        (call,) = await store.journal.calls("t")
        assert (call.node, call.status, len(model.books.paid())) == ("note", "done", 1)
        assert call.answer is not None
        size = len((call.request or "").encode()) + len(call.answer.body)
        assert size > 100, "what is paid for is recorded, whatever its size"
        assert f"has recorded {size:,} bytes of calls, and may record 100" in run.error.message
        run = await driven(store, 10_000, "resume", "t")
        assert (run.status, run.calls) == ("interrupted", 2)
        assert len(model.books.paid()) == 2
        run = await driven(store, size, "resume", "t", True)
        assert isinstance(run.error, JournalFull), "an effect is a call, too"
        assert (await driven(store, None, "resume", "t")).status == "done"
        await store.prune(answers=True)
        run = await driven(store, 10 * size, "run", {"text": "b"}, thread_id="t")
        assert run.status == "interrupted", "what was pruned does not count"


async def driven(store: Any, max_journal_bytes: int | None, method: str, *given: Any, **options: Any) -> Any:
    """What comes of a method of an app that may record so much."""
    async with opened(store, max_journal_bytes=max_journal_bytes) as app:
        return await getattr(app, method)(*given, **options)


async def test_what_a_drive_records_is_counted(model: ScriptedModel) -> None:
    """Of many calls in one drive those are sent that there is room for, and the record is not read again for each."""
    async with open_checkpointer("memory://") as store:
        await driven(store, None, "run", {"text": "a"}, thread_id="measured")
        (one, _) = await store.journal.calls("measured")
        assert one.answer is not None
        size = len((one.request or "").encode()) + len(one.answer.body)
        run = await driven(store, 3 * size, "run", {"text": " ".join("abcdefgh")}, thread_id="t")
        assert isinstance(run.error, JournalFull)
        recorded = [call for call in await store.journal.calls("t") if call.answer]
        assert sum(len((c.request or "").encode()) + len(c.answer.body) for c in recorded if c.answer) >= 2 * size
        assert len(await store.journal.calls("t")) == len(recorded), "no intent is left of what was not sent"
        assert len(model.books.paid()) == 2 + len(recorded)
