"""Beside LangGraph's own savers in one database: theirs stay theirs, and ours are read whole or refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from pydantic import BaseModel

from tests.checkpointers.postgres.parts import number, rows
from tests.checkpointers.sqlite.parts import Line, at, values_of
from tests.checkpointers.sqlite.test_graphs import graph, told
from tests.checkpointers.sqlite.test_pieces import text
from vertebra import END, START, Append, Graph, transition
from vertebra.checkpointers.postgres import PostgresCheckpointer

REFUSED = "Unknown serialization type: vertebra.pieces"
PIECES = "SELECT count(*) FROM vertebra_state_pieces"


@contextmanager
def theirs(url: str) -> Iterator[PostgresSaver]:
    with PostgresSaver.from_conn_string(url) as saver:
        saver.setup()
        yield saver


def everything(saver: Any, config: Any = None) -> list[Any]:
    return [(t.config, t.parent_config, t.checkpoint, t.metadata, t.pending_writes) for t in saver.list(config)]


def test_a_thread_of_langgraph_s_is_read_and_goes_on_as_it_is(postgres_url: str) -> None:
    log = [text(n) for n in range(40)]
    with theirs(postgres_url) as saver:
        told(saver, 5)
        before = everything(saver)
    with PostgresCheckpointer(postgres_url) as saver:
        assert everything(saver) == before
        compiled = graph(5).compile(checkpointer=saver)
        compiled.invoke({"log": log}, {**at(), "recursion_limit": 50})
        after = everything(saver)
        assert after[-len(before) :] == before
    assert number(postgres_url, PIECES) == 0
    with theirs(postgres_url) as saver:
        assert everything(saver) == after
        compiled = graph(5).compile(checkpointer=saver)
        found = compiled.invoke({"log": ["theirs"]}, {**at(), "recursion_limit": 50})
        assert set(log) < set(found["log"])
    with PostgresCheckpointer(postgres_url) as saver:
        assert values_of(saver, at())["log"] == found["log"]


def test_a_thread_of_ours_is_refused_by_each_way_in_and_stays_as_it_is(postgres_url: str) -> None:
    with PostgresCheckpointer(postgres_url) as saver:
        told(saver, 40)
        before = everything(saver)
    ways: list[Callable[[Any], Any]] = [
        lambda saver: saver.get_tuple(at()),
        lambda saver: list(saver.list(at())),
        lambda saver: graph(5).compile(checkpointer=saver).get_state(at()),
        lambda saver: graph(5).compile(checkpointer=saver).invoke({"log": ["theirs"]}, at()),
        lambda saver: graph(5).compile(checkpointer=saver).update_state(at(), {"log": ["theirs"]}),
    ]
    with theirs(postgres_url) as saver:
        for way in ways:
            with pytest.raises(NotImplementedError, match=REFUSED):
                way(saver)

    async def asynchronously() -> None:
        async with AsyncPostgresSaver.from_conn_string(postgres_url) as saver:
            with pytest.raises(NotImplementedError, match=REFUSED):
                await saver.aget_tuple(at())
            with pytest.raises(NotImplementedError, match=REFUSED):
                await graph(5).compile(checkpointer=saver).ainvoke({"log": ["theirs"]}, at())

    asyncio.run(asynchronously())
    with PostgresCheckpointer(postgres_url) as saver:
        assert everything(saver) == before


def test_a_small_state_of_ours_is_read_by_langgraph_and_may_go_on_there(postgres_url: str) -> None:
    with PostgresCheckpointer(postgres_url) as saver:
        line = Line(saver)
        line.put({"n": 1, "tags": ["a", "b"], "name": "Größe"})
        saver.put_writes(line.config, [("n", 2)], "task")
    with theirs(postgres_url) as saver:
        assert values_of(saver, at()) == {"n": 1, "tags": ["a", "b"], "name": "Größe"}
        line.saver = saver
        line.put({"n": 2, "tags": [text(n) for n in range(40)]})
    with PostgresCheckpointer(postgres_url) as saver:
        line.saver = saver
        assert line.values() == {"n": 2, "tags": [text(n) for n in range(40)]}
        line.put({"n": 3, "tags": [text(n) for n in range(41)]}, "n", "tags")
        assert line.values() == {"n": 3, "tags": [text(n) for n in range(41)]}


def test_a_thread_that_langgraph_deleted_may_begin_again_with_either(postgres_url: str) -> None:
    with PostgresCheckpointer(postgres_url) as saver:
        Line(saver).put({"log": [text(n) for n in range(40)]})
    with theirs(postgres_url) as saver:
        saver.delete_thread("t")
        line = Line(saver)
        line.put({"log": [text(n) for n in range(5)]})
    with PostgresCheckpointer(postgres_url) as saver:
        line.saver = saver
        line.put({"log": [text(n) for n in range(6)]})
        assert line.values() == {"log": [text(n) for n in range(6)]}
        saver.prune(["t"])
        assert number(postgres_url, PIECES) <= 6  # what LangGraph had left is gone
        assert [len(t.checkpoint["channel_values"]["log"]) for t in saver.list(at())] == [6]
        saver.delete_thread("t")
    assert rows(postgres_url, "SELECT * FROM vertebra_state_threads") == []
    assert number(postgres_url, PIECES) == 0


class State(BaseModel):
    notes: Append[str] = []


@transition
def note(state: State) -> dict[str, Any]:
    return {"notes": [text(len(state.notes))]}


def test_a_run_of_vertebra_s_on_a_thread_of_langgraph_s(postgres_url: str) -> None:
    """``open_checkpointer`` opens the same: a whole app stores in pieces what it begins."""
    g = Graph(State, name="notes")
    g.add_edge(START, note)
    g.add_edge(note, END)
    with g.compile(checkpointer=postgres_url) as app:
        for _ in range(3):
            run = app.run_sync({"notes": [text(99)]}, thread_id="ours")
    assert len(run.output.notes) == 6
    assert number(postgres_url, PIECES) > 0
    with theirs(postgres_url) as saver, pytest.raises(NotImplementedError, match=REFUSED):
        saver.get_tuple(at("ours"))
