"""Processes that are killed, or robbed of their thread, in the middle: nothing is paid twice, nothing left behind."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import openai  # noqa: F401  # before any process is forked: it takes a second
import pytest
from pydantic import BaseModel

from tests.checkpointers import faulty
from tests.checkpointers.stopping import Stopped, every_table
from tests.runtime.versions import said
from vertebra import END, START, Append, Context, Graph, Question, human, llm, open_checkpointer, transition
from vertebra.errors import ThreadBusy
from vertebra.ports import set_crash_hook
from vertebra.runtime.app import App
from vertebra.testing import ScriptedModel, crash_at
from vertebra.testing.crash import die

ITEMS = [{"item": "one"}, {"item": "two"}, {"item": "open"}]


class State(BaseModel):
    items: list[dict[str, str]] = []
    notes: Append[str] = []


class Beside(State):
    ok: bool | None = None


class Piece(BaseModel):
    item: str
    notes: Append[str] = []
    ok: bool | None = None


@transition
def begin(state: State) -> dict[str, Any]:
    return {"items": ITEMS}


@llm
async def left(state: State, ctx: Context) -> dict[str, Any]:
    return {"notes": [await said(ctx, "left")]}


@llm
async def right(state: State, ctx: Context) -> dict[str, Any]:
    return {"notes": [await said(ctx, "right")]}


@llm
async def note(piece: Piece, ctx: Context) -> dict[str, Any]:
    return {"notes": [await said(ctx, piece.item)]}


@transition
def agree(state: Any) -> dict[str, Any]:
    return {"notes": ["agreed" if state.ok else "refused"]}


@transition
def join(state: State) -> dict[str, Any]:
    return {"notes": ["joined"]}


class Writes:
    """How many tasks have handed in what they wrote; kills this process when so many have."""

    def __init__(self, before_question: int, kill_at: int) -> None:
        self._before, self._kill_at, self._seen = before_question, kill_at, 0

    def __call__(self, point: str) -> None:
        if point == "writes.after":
            self._seen += 1
            if self._seen == self._kill_at:
                die()

    async def of_siblings(self) -> None:
        deadline = time.monotonic() + 20
        while self._seen < self._before:
            assert time.monotonic() < deadline, self._seen
            await asyncio.sleep(0.001)


def beside(writes: Writes | None) -> Graph:
    """A question beside two nodes that ask the model."""
    g = Graph(Beside, name="beside")
    g.add_edge(START, begin)
    for node in (left, right, asking(writes)):
        g.add_edge(begin, node).add_edge(node, agree)
    return g.add_edge(agree, join).add_edge(join, END)


def spread(writes: Writes | None) -> Graph:
    """A fan-out over three items, of whose subgraphs one asks a person when it has asked the model."""
    ask = asking(writes)
    inner = Graph(Piece, name="piece")
    inner.add_edge(START, note)
    inner.add_conditional_edges(note, lambda piece: piece.item, {"one": END, "two": END, "open": ask})
    inner.add_edge(ask, agree).add_edge(agree, END)
    g = Graph(State, name="spread")
    g.add_node("piece", inner)
    g.add_edge(START, begin).fan_out(begin, "piece", over="items").add_edge("piece", join)
    return g.add_edge(join, END)


def asking(writes: Writes | None) -> Any:
    @human(answer=bool, into="ok")
    async def ask(state: Any) -> Question:
        if writes is not None:
            await writes.of_siblings()
        return Question("Go on?")

    return ask


def opened(graph: Graph, url: str, **options: Any) -> App:
    app: App = graph.compile(checkpointer=url, default_model="m", **options)
    return app


def killed(work: Callable[[], Any]) -> None:
    """Do it in a process that it kills."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9, "it was not killed"


def rows(url: str) -> dict[str, list[str]]:
    """All there are, but for how many numbers of threads SQLite has given."""
    return {name: found for name, found in every_table(url).items() if name != "sqlite_sequence"}


def paid_once(model: ScriptedModel, count: int) -> None:
    assert (len(model.books.paid()), model.books.repeats()) == (count, {})


@pytest.mark.parametrize(
    ("make", "before", "kill_at", "calls"),
    [(beside, 4, 5, 2), (spread, 10, 11, 3), (spread, 10, 12, 3)],
    ids=["beside two nodes", "in a fan-out", "in a fan-out, told to the outer graph"],
)
def test_killed_when_a_question_is_durable_and_its_finished_siblings_are_held(
    durable_url: str,
    scripted_model: ScriptedModel,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Writes | None], Graph],
    before: int,
    kill_at: int,
    calls: int,
) -> None:
    for saver in ("postgres.held", "sqlite.flusher"):
        monkeypatch.setattr(f"vertebra.checkpointers.{saver}.HELD_S", 3600.0)
    writes = Writes(before, kill_at)

    def dying() -> None:
        set_crash_hook(writes)
        opened(make(writes), durable_url).run_sync({}, thread_id="t")

    killed(dying)
    paid_once(scripted_model, calls)
    with opened(make(None), durable_url) as app:
        (run,) = app.recover_sync()
        assert run.status == "interrupted"
        assert [interrupt.text for interrupt in run.interrupts] == ["Go on?"]
        paid_once(scripted_model, calls)
        assert sum(usage.replayed + usage.lost for usage in run.usage.values()) == 0, "they came with the question"
        run = app.resume_sync("t", True)
        assert (run.status, len(run.output.notes)) == ("done", calls + 2)
        assert run.output.notes[-2:] == ["agreed", "joined"]
        paid_once(scripted_model, calls)


@pytest.mark.parametrize("durability", ["process", "power"])
def test_killed_again_and_again_on_one_file(scripted_model: ScriptedModel, tmp_path: Path, durability: str) -> None:
    """What was written is in the kernel's hands, with or without a sync: a process takes none of it with it."""
    url = f"sqlite:///{tmp_path}/threads.db?durability={durability}"

    def work(app: App) -> Any:
        return app.run_sync({}, thread_id="t")

    for point, nth in (("checkpoint.after", 2), ("call.recorded", 1), ("writes.after", 1), ("thread.finished", 1)):

        def dying(work: Callable[[App], Any] = work, point: str = point, nth: int = nth) -> None:
            with crash_at(point, nth=nth):
                work(faulty.opened(url))

        killed(dying)
        work = App.recover_sync
    with closing(sqlite3.connect(tmp_path / "threads.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with faulty.opened(url) as app:
        assert app.recover_sync() == []
        faulty.require_whole(app.status_sync("t"), scripted_model)


ROBBED = ["writes.before", "checkpoint.before", "checkpoint.after", "call.intent", "call.received", "thread.finishing"]


@pytest.mark.parametrize("point", ROBBED)
@pytest.mark.parametrize("how", ["deleted", "deleted and begun anew"])
def test_a_thread_that_is_deleted_while_it_is_driven_leaves_nothing(
    durable_url: str, scripted_model: ScriptedModel, point: str, how: str
) -> None:
    """Its process has been stopped for longer than its lease; woken, it is told, and writes no row of it."""

    def drive(thread: str = "t") -> None:
        with opened(beside(None), durable_url, lease_ttl_s=0.4) as app:
            app.run_sync({}, thread_id=thread)

    with open_checkpointer(durable_url) as store:
        assert store.saver  # its tables are made
    empty = rows(durable_url)
    with Stopped(drive, point, nth=2 if point != "thread.finishing" else 1, url=durable_url) as stopped:
        with opened(beside(None), durable_url) as app:
            deadline = time.monotonic() + 60
            while True:
                try:
                    app.delete_sync("t")
                    break
                except ThreadBusy:  # until the lease has run out
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            assert rows(durable_url) == empty
            if how != "deleted":
                assert app.run_sync({}, thread_id="t").status == "interrupted"
        before = rows(durable_url)
        assert stopped.wake() == "LeaseLost"
        assert rows(durable_url) == before
