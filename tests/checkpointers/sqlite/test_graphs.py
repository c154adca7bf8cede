"""Whole LangGraph graphs on the checkpointer: sync and async, DeltaChannel, subgraphs, forks, types that come back."""

from __future__ import annotations

import asyncio
import operator
import pickle
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.types import Command, interrupt

from tests.checkpointers.pieces.test_codec import Backwards
from tests.checkpointers.sqlite.parts import Line, at, rows, stored_bytes, url_of, values_of
from vertebra.checkpointers.savers import serializer
from vertebra.checkpointers.sqlite import SqliteCheckpointer
from vertebra.errors import StoreCorrupt, UsageError


def extend(state: list[str], batches: list[list[str]]) -> list[str]:
    return [*state, *(item for batch in batches for item in batch)]


class State(TypedDict, total=False):
    n: int
    log: Annotated[list[str], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]
    facts: Annotated[dict[str, int], operator.or_]
    delta: Annotated[list[str], DeltaChannel(extend, snapshot_frequency=7)]


def count(state: State) -> dict[str, Any]:
    n = state.get("n", 0)
    return {
        "n": n + 1,
        "log": [f"step {n}"],
        "messages": [HumanMessage(f"said {n}", id=str(n % 10))],  # from the tenth on, old ones are replaced
        "facts": {str(n): n},
        "delta": [f"delta {n}"],
    }


def graph(steps: int) -> Any:
    inner: Any = StateGraph(State)
    inner.add_node("ask", lambda state: {"log": [interrupt("?")]})
    inner.add_edge(START, "ask")
    builder: Any = StateGraph(State)
    builder.add_node("count", count)
    builder.add_node("inner", lambda state: None)
    builder.add_node("ask", inner.compile())
    builder.add_edge(START, "count")
    builder.add_conditional_edges("count", lambda state: "count" if state["n"] % steps else "inner", ["count", "inner"])
    builder.add_edge("inner", END)
    return builder


def told(saver: Any, steps: int) -> list[Any]:
    """The whole history of a thread of two turns."""
    compiled, config = graph(steps).compile(checkpointer=saver), at()
    for _ in range(2):
        compiled.invoke({"log": ["turn"]}, {**config, "recursion_limit": 100}, durability="sync")
    return [(s.values, s.next, s.metadata["step"], s.metadata["source"]) for s in compiled.get_state_history(config)]


def test_a_graph_sees_on_it_what_it_sees_in_memory(tmp_path: Path) -> None:
    expected = told(InMemorySaver(), 23)
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        assert told(saver, 23) == expected
        assert len(expected[0][0]["delta"]) == 46
    with SqliteCheckpointer("memory://") as saver:
        assert told(saver, 23) == expected
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:  # what is read is what was durable
        found = graph(23).compile(checkpointer=saver).get_state_history(at())
        assert [s.values for s in found] == [values for values, *_ in expected]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_every_durability_of_the_engine(tmp_path: Path, durability: Any) -> None:
    async def drive(saver: SqliteCheckpointer) -> None:
        compiled = graph(9).compile(checkpointer=saver)
        await compiled.ainvoke({"log": []}, {**at(), "recursion_limit": 50}, durability=durability)
        state = await compiled.aget_state(at())
        assert state.values["log"] == [f"step {n}" for n in range(9)]
        assert state.values["delta"] == [f"delta {n}" for n in range(9)]

    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        asyncio.run(drive(saver))


def test_pruned_a_thread_of_delta_channels_reads_and_goes_on_as_before(tmp_path: Path) -> None:
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        before = told(saver, 10)
        for keep in (5, 1):
            saver.prune(["t"], keep=keep)
            compiled = graph(10).compile(checkpointer=saver)
            kept = [s.values for s in compiled.get_state_history(at())]
            assert kept[:keep] == [values for values, *_ in before][:keep]
            assert keep <= len(kept) <= keep + 7
        compiled.invoke({"log": ["turn"]}, {**at(), "recursion_limit": 100})
        assert compiled.get_state(at()).values["delta"] == [f"delta {n}" for n in range(30)]


def test_a_copy_goes_its_own_way(tmp_path: Path) -> None:
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        told(saver, 10)
        saver.copy_thread("t", "copy")
        compiled = graph(10).compile(checkpointer=saver)
        original = compiled.get_state(at()).values
        assert compiled.get_state(at("copy")).values == original
        compiled.invoke({"log": ["more"]}, {**at("copy"), "recursion_limit": 100})
        assert compiled.get_state(at()).values == original
        saver.delete_thread("t")
        assert len(compiled.get_state(at("copy")).values["log"]) == 33
        assert len(list(saver.list(at("copy")))) == 39
        saver.delete_thread("copy")
    for table in ("checkpoints", "writes", "pieces", "threads"):
        assert rows(tmp_path / "a.db", f"SELECT count(*) FROM vertebra_state_{table}") == [(0,)]


def test_an_interrupt_in_a_subgraph_is_answered_after_a_restart(tmp_path: Path) -> None:
    def opened(use: Callable[[Any], None]) -> None:
        with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
            builder: Any = StateGraph(State)
            inner: Any = StateGraph(State)
            inner.add_node("ask", lambda state: {"log": [interrupt("?")]})
            inner.add_edge(START, "ask")
            builder.add_node("inner", inner.compile())
            builder.add_edge(START, "inner")
            use(builder.compile(checkpointer=saver))

    opened(lambda app: app.invoke({"log": ["begin"]}, at()))
    opened(lambda app: app.invoke(Command(resume="answer"), at()))
    opened(lambda app: _same(app.get_state(at()).values["log"][-1], "answer"))


def _same(found: Any, expected: Any) -> None:
    assert found == expected


@dataclass
class Slice:
    text: str


class Hostile:
    def __reduce__(self) -> Any:
        return (open, (Hostile.target, "w"))

    target = ""


def test_only_allowed_types_come_back_and_no_row_runs_code(tmp_path: Path) -> None:

    path, Hostile.target = tmp_path / "a.db", str(tmp_path / "owned")
    with SqliteCheckpointer(url_of(path)) as saver:
        line = Line(saver)
        line.put({"v": Slice("a" * 100), "log": [Slice("b" * 100)], "d": {"k": Slice("c" * 100)}})
        assert not isinstance(line.values()["v"], Slice)
        assert not isinstance(line.values()["log"][0], Slice)
        assert saver.with_allowlist([(Slice.__module__, "Slice")]) is saver
        assert line.values() == {"v": Slice("a" * 100), "log": [Slice("b" * 100)], "d": {"k": Slice("c" * 100)}}
    with closing(sqlite3.connect(path)) as connection, connection:
        evil = b"\xf0\x06pickle" + pickle.dumps(Hostile())
        connection.execute("UPDATE vertebra_state_pieces SET data = ?", (evil,))
    with SqliteCheckpointer(url_of(path)) as saver, pytest.raises(StoreCorrupt, match="NotImplementedError"):
        saver.get_tuple(at())
    assert not (tmp_path / "owned").exists()


def test_encrypted_nothing_is_readable_and_nothing_is_stored_twice(tmp_path: Path) -> None:

    path, serde = tmp_path / "a.db", EncryptedSerializer(Backwards(), serializer())
    with SqliteCheckpointer(url_of(path), serde=serde) as saver:
        line, log = Line(saver), []
        for n in range(100):
            log = [*log, {"secret": f"{n:0500}"}]
            line.put({"log": log, "note": "secret" * 50}, "log", principal="secret")
    assert stored_bytes(path) < 100 * 1300
    raw = path.read_bytes()
    assert b"secret" not in raw
    with SqliteCheckpointer(url_of(path), serde=serde) as saver:
        assert values_of(saver, at())["log"] == log


def test_a_missing_piece_is_said_and_not_left_out(tmp_path: Path) -> None:

    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        Line(saver).put({"log": ["x" * 100, "y" * 100]})
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection, connection:
        connection.execute("DELETE FROM vertebra_state_pieces")
    with (
        SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver,
        pytest.raises(StoreCorrupt, match="not in the database"),
    ):
        saver.get_tuple(at())


@pytest.mark.parametrize("strategy", ["keep_last_year", "keep_latest"])
def test_what_prune_does_not_know_it_refuses(tmp_path: Path, strategy: str) -> None:

    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        with pytest.raises(UsageError, match="not known"):
            saver.prune(["t"], strategy=strategy, keep=0)
        told(saver, 3)
        with pytest.raises(UsageError, match="There is a thread"):
            saver.copy_thread("t", "t")
        saver.prune(["t"], strategy="delete")
        assert list(saver.list(None)) == []


def test_a_copy_takes_the_place_of_nothing_that_is_there(tmp_path: Path) -> None:
    """Neither of a subgraph's state alone, nor of writes to a checkpoint that never came; those it clears away."""
    with SqliteCheckpointer(url_of(tmp_path / "a.db")) as saver:
        log = ["x" * 100] * 3
        Line(saver).put({"log": log})
        Line(saver, "inner alone", namespace="inner").put({"log": ["y" * 100] * 3})
        with pytest.raises(UsageError, match="There is a thread 'inner alone'"):
            saver.copy_thread("t", "inner alone")
        saver.put_writes(at("writes alone", checkpoint="never came"), [("log", ["z" * 100] * 3)], "task")
        saver.copy_thread("t", "writes alone")
        assert values_of(saver, at("writes alone")) == {"log": log}
        assert values_of(saver, at("inner alone", "inner")) == {"log": ["y" * 100] * 3}
