"""Graphs in several versions, and threads of an older one: what the tests of versions stand on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from vertebra import END, START, Append, Context, Graph, Question, effect, human, llm, transition
from vertebra.runtime.app import App
from vertebra.testing import crash_at


class State(BaseModel):
    text: str = ""
    pieces: list[str] = []
    notes: Append[str] = []
    rounds: int = 0
    ok: bool | None = None
    sent: str | None = None


@transition
def cut(state: Any) -> dict[str, object]:
    return {"pieces": state.text.split()}


@transition
def clean(state: Any) -> dict[str, object]:
    return {"text": state.text.strip()}


async def said(ctx: Context, text: str) -> str:
    reply = await ctx.client.chat.completions.create(model=ctx.model, messages=[{"role": "user", "content": text}])
    return reply.choices[0].message.content or ""


@llm
async def note(piece: str, ctx: Context) -> dict[str, object]:
    return {"notes": [await said(ctx, f"Note {piece}")]}


@llm
async def draft(state: Any, ctx: Context) -> dict[str, object]:
    return {"notes": [await said(ctx, f"Plan {state.rounds}"), await said(ctx, f"Draft {state.rounds}")]}


@transition
def count(state: Any) -> dict[str, object]:
    return {"rounds": state.rounds + 1}


@human(answer=bool, into="ok")
def approve(state: Any) -> Question:
    return Question("Send it?", deadline_s=1000)


@effect
def send(state: Any, ctx: Context) -> dict[str, object]:
    return {"sent": ctx.idempotency_key}


def scribe(version: str = "1", state: type[Any] = State, *, first: Any = cut) -> Graph:
    """cut, a note for each piece, draft, count (twice round), approve, send."""
    g = Graph(state, name="scribe", version=version)
    if first is not cut:
        g.add_edge(START, first)
        g.add_conditional_edges(first, lambda state: "on", {"on": cut})
    else:
        g.add_edge(START, cut)
    g.fan_out(cut, note, over="pieces")
    g.add_edge(note, draft).add_edge(draft, count)
    g.add_conditional_edges(
        count, lambda state: "ok" if state.rounds > 1 else "again", {"ok": approve, "again": draft}, max_visits=2
    )
    return g.add_edge(approve, send).add_edge(send, END)


def line(*nodes: Any, version: str = "1", state: type[Any] = State) -> Graph:
    g = Graph(state, name="line", version=version)
    for before, after in zip((START, *nodes), (*nodes, END), strict=True):
        g.add_edge(before, after)
    return g


def opened(graph: Graph, store: Any) -> App:
    app: App = graph.compile(checkpointer=store, default_model="m")
    return app


def killed(graph: Graph, url: str, work: Callable[[App], Any], point: str, nth: int = 1) -> None:
    """Do something with the graph in a process that is killed at a crash point."""
    pid = os.fork()
    if pid == 0:
        try:
            with crash_at(point, nth=nth):
                asyncio.run(work(opened(graph, url)))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9, "it was not killed"


async def versions_of(app: App, thread: str) -> list[dict[str, Any]]:
    """What is recorded about the changes of a thread's version."""
    found = await app.services.store.journal.interventions(thread)
    return [item["detail"] for item in found if item["kind"] == "version"]
