"""What the spine costs: microseconds a superstep and a call, beside the same graph in plain LangGraph.

Both run in one process, taken in turn, on files of their own with the same settings of SQLite; the best of
``--rounds`` counts, and only the ratio means anything on another machine. The model is scripted and answers
within the process, so that a call costs what the door and the journal cost.

    python benchmarks/spine.py [--supersteps 200] [--calls 100] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypedDict

import httpx2
import openai
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from vertebra import Context, Graph, llm, transition
from vertebra.testing import ScriptedTransport

Timed = Callable[[Path], Awaitable[float]]


class State(TypedDict, total=False):
    n: int
    until: int


def again(state: State) -> str:
    return "again" if state["n"] < state["until"] else "end"


def count(state: State) -> dict[str, int]:
    return {"n": state["n"] + 1}


def plain_loop() -> Any:
    builder: Any = StateGraph(State)
    builder.add_node("count", count)
    builder.add_edge(START, "count")
    builder.add_conditional_edges("count", again, {"again": "count", "end": END})
    return builder


def our_loop(supersteps: int) -> Graph:
    node = transition(count)
    graph = Graph(State, name="loop")
    graph.add_edge(START, node)
    graph.add_conditional_edges(node, again, {"again": node, "end": END}, max_visits=supersteps)
    return graph


def steps_plain(supersteps: int) -> Timed:
    async def timed(folder: Path) -> float:
        async with AsyncSqliteSaver.from_conn_string(str(folder / "plain.db")) as saver:
            await saver.conn.execute("PRAGMA journal_mode=WAL")
            await saver.conn.execute("PRAGMA synchronous=FULL")
            graph = plain_loop().compile(checkpointer=saver)
            config = {"configurable": {"thread_id": "t"}, "recursion_limit": supersteps + 10}
            began = time.perf_counter()
            await graph.ainvoke({"n": 0, "until": supersteps}, config, durability="sync")
            return (time.perf_counter() - began) / supersteps

    return timed


def steps_ours(supersteps: int, durability: str) -> Timed:
    async def timed(folder: Path) -> float:
        url = f"sqlite:////{str(folder).lstrip('/')}/ours.db?durability={durability}"
        async with our_loop(supersteps).compile(checkpointer=url) as app:
            began = time.perf_counter()
            run = await app.run({"n": 0, "until": supersteps}, thread_id="t")
            elapsed = time.perf_counter() - began
        assert run.output["n"] == supersteps, run.error
        return elapsed / supersteps

    return timed


class InProcess(httpx2.AsyncBaseTransport):
    """The scripted model under the plain official client."""

    def __init__(self) -> None:
        self._model = ScriptedTransport(latency_s=0)

    async def handle_async_request(self, request: Any) -> Any:
        body = await request.aread()
        reply = await self._model.send(request.method, request.url.path, dict(request.headers), body)
        return httpx2.Response(reply.status, headers=reply.headers, content=b"".join([c async for c in reply.chunks]))


def calls_plain(calls: int) -> Timed:
    async def timed(folder: Path) -> float:
        client = openai.AsyncOpenAI(api_key="none", http_client=httpx2.AsyncClient(transport=InProcess()))
        began = time.perf_counter()
        for n in range(calls):
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": f"number {n}"}])
        return (time.perf_counter() - began) / calls

    return timed


def calls_ours(calls: int, durability: str) -> Timed:
    @llm
    async def ask(state: State, ctx: Context) -> dict[str, int]:
        client = ctx.client
        for n in range(calls):
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": f"number {n}"}])
        return {"n": calls}

    graph = Graph(State, name="calls")
    graph.add_edge(START, ask)
    graph.add_edge(ask, END)

    async def timed(folder: Path) -> float:
        url = f"sqlite:////{str(folder).lstrip('/')}/calls.db?durability={durability}"
        async with graph.compile(checkpointer=url, sender=ScriptedTransport(latency_s=0)) as app:
            began = time.perf_counter()
            run = await app.run({}, thread_id="t")
            elapsed = time.perf_counter() - began
        assert run.calls == calls, run.error
        return elapsed / calls

    return timed


async def bare_commit(folder: Path) -> float:
    """One synced commit of 1.5 KB: the least that any record can cost here."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, data BLOB)")
    began = time.perf_counter()
    for _ in range(200):
        connection.execute("INSERT INTO t (data) VALUES (?)", (b"x" * 1500,))
    elapsed = time.perf_counter() - began
    connection.close()
    return elapsed / 200


async def best_of(rounds: int, jobs: dict[str, Timed]) -> dict[str, float]:
    best = dict.fromkeys(jobs, float("inf"))
    for number in range(rounds):
        for name, job in jobs.items():
            print(f"\rround {number + 1}/{rounds}: {name:<40}", end="", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as folder:
                best[name] = min(best[name], await job(Path(folder)))
    print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    return best


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--supersteps", type=int, default=200)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    jobs: dict[str, Timed] = {
        "superstep, LangGraph, SQLite synced": steps_plain(options.supersteps),
        "superstep, Vertebra, durability=power": steps_ours(options.supersteps, "power"),
        "superstep, Vertebra, durability=process": steps_ours(options.supersteps, "process"),
        "call, plain openai client": calls_plain(options.calls),
        "call, journaled, durability=power": calls_ours(options.calls, "power"),
        "call, journaled, durability=process": calls_ours(options.calls, "process"),
        "one bare synced commit": bare_commit,
    }
    best = await best_of(options.rounds, jobs)
    base = {"superstep": best["superstep, LangGraph, SQLite synced"], "call": best["call, plain openai client"]}
    for name, seconds in best.items():
        kind = name.split(",")[0]
        ratio = f"{seconds / base[kind]:6.2f}" if kind in base else ""
        print(f"{name:<42} {seconds * 1e6:8.0f} us {ratio}")


if __name__ == "__main__":
    asyncio.run(main())
