"""``compile(store=)``: nodes of ours find the store by LangGraph's own name, in every kind of node and after a kill."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langgraph.config import get_store
from langgraph.store.memory import InMemoryStore
from pydantic import BaseModel

from vertebra import END, START, Append, Graph, effect, open_memory, transition
from vertebra.errors import UsageError

PEOPLE = ("people", "p")


class Visit(BaseModel):
    said: Append[str] = []


def likes() -> list[Any]:
    return sorted(item.value["n"] for item in get_store().search(PEOPLE))


def graph() -> Graph:
    """Written in a ``def``, in an ``async def``, within a subgraph; each tells what was there before it."""

    @effect
    def first(visit: Visit) -> dict[str, Any]:
        before = likes()
        get_store().put(PEOPLE, "first", {"n": 1})
        return {"said": [f"first {before}"]}

    @effect
    async def second(visit: Visit) -> dict[str, Any]:
        before = sorted(item.value["n"] for item in await get_store().asearch(PEOPLE))
        await get_store().aput(PEOPLE, "second", {"n": 2})
        if (mark := os.environ.get("KILLED")) and not Path(mark).exists():
            Path(mark).touch()
            os.kill(os.getpid(), 9)
        return {"said": [f"second {before}"]}

    @effect
    def inner(visit: Visit) -> dict[str, Any]:
        before = likes()
        get_store().put(PEOPLE, "inner", {"n": 3})
        return {"said": [f"inner {before}"]}

    within = Graph(Visit, name="within")
    within.add_edge(START, inner)
    within.add_edge(inner, END)
    g = Graph(Visit, name="stored")
    g.add_node("third", within)
    g.add_edge(START, first)
    g.add_edge(first, second)
    g.add_edge(second, "third")
    g.add_edge("third", END)
    return g


async def test_nodes_of_every_kind_share_it(store_url: str) -> None:
    with open_memory(store_url) as memory:
        async with graph().compile(store=memory.store(tenant="t")) as app:
            run = await app.run({})
            assert run.output.said == ["first []", "second [1]", "inner [1, 2]"], run.error
        assert {item.key for item in memory.store(tenant="t").search(PEOPLE)} == {"first", "second", "inner"}
        assert memory.store().search(PEOPLE) == []


_RUN = """
import sys
from tests.runtime.test_shared_store import graph
from vertebra import open_memory
state, kept = sys.argv[1:]
with open_memory(kept) as memory, graph().compile(checkpointer=state, store=memory.store()) as app:
    if not app.recover_sync():
        app.run_sync({}, thread_id="t")
    print(*app.status_sync("t").output.said, sep=", ")
"""


def test_what_was_put_outlives_a_kill(durable_url: str, tmp_path: Path) -> None:
    env = {**os.environ, "KILLED": str(tmp_path / "killed"), "PYTHONPATH": os.pathsep.join(sys.path)}
    state = f"sqlite:////{str(tmp_path).lstrip('/')}/state.db"
    killed, ended = (
        subprocess.run([sys.executable, "-c", _RUN, state, durable_url], env=env, capture_output=True, text=True)
        for _ in range(2)
    )
    assert killed.returncode == -9, killed.stderr
    # A put is a plain write: the node that was killed finds its own when it is executed again.
    assert ended.stdout.strip() == "first [], second [1, 2], inner [1, 2]", ended.stderr
    with open_memory(durable_url) as memory:
        assert [item.value["n"] for item in memory.store().search(PEOPLE)] == [1, 2, 3]


async def test_a_thread_that_is_verified_reads_it_and_writes_nothing() -> None:
    @transition
    def told(visit: Visit) -> dict[str, Any]:
        store = get_store()
        found = store.get(PEOPLE, "a")
        store.put(PEOPLE, "b", {"n": store.get(PEOPLE, "b") is not None})
        return {"said": [str(found and found.value["n"])]}

    g = Graph(Visit, name="told")
    g.add_edge(START, told)
    g.add_edge(told, END)
    store = InMemoryStore()
    store.put(PEOPLE, "a", {"n": 7})
    async with g.compile(store=store) as app:
        run = await app.run({}, thread_id="t")
        assert run.output.said == ["7"]
        store.delete(PEOPLE, "b")
        assert (await app.verify("t")).ok
        assert store.get(PEOPLE, "b") is None
        store.put(PEOPLE, "a", {"n": 8})
        assert not (await app.verify("t")).ok, "it is today's"


def test_what_is_no_store_is_refused() -> None:
    for wrong in ("sqlite:///memory.db", object()):
        with pytest.raises(UsageError, match="store="):
            graph().compile(store=wrong)
