"""What a checkpointer costs: ours beside LangGraph's own, on the same graphs, interleaved in one run.

A loop of supersteps in plain LangGraph (``durability="sync"``) that adds 0, 1 or 20 KB a step, as strings or as
messages, which no database can compress. SQLite is synced at each commit on both sides, and so is Postgres, a server
from a wheel on this machine. The best of ``--rounds`` counts; ratios are ours / LangGraph's. Beside each row stands the
limit that was measured with it: the engine with no saver, and one bare commit of the same bytes.

    python benchmarks/checkpointers.py [--quick | --full] [--sizes 0 1] [--steps 200 400] [--rounds 1] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import operator
import random
import string
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

sys.path.insert(0, str(Path(__file__).parent.parent))

from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.graph import END, START, StateGraph, add_messages

from benchmarks._savers import SQLITE, Backend, postgres_server

HISTORY, THREADS, THREAD_STEPS = 20, 50, 20
OPENINGS = 4  # of the finished thread, in each round
WRITTEN_LIMIT = 2 * 2**30  # bytes that LangGraph's saver may be made to write without --full
NOISE = "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=1 << 22))

FULL = "0, 1 and 20 KB, 200, 400 and 1,000 steps, three rounds: hours, and 60 GB written"

Best = dict[str, float]


class State(TypedDict, total=False):
    n: int
    until: int
    strings: Annotated[list[str], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]


def loop(kind: str, size_kb: int, saver: Any) -> Any:
    def step(state: State) -> dict[str, Any]:
        n, size = state["n"], size_kb * 1024
        if not size:
            return {"n": n + 1}
        start = n * size % (len(NOISE) - size)
        text = NOISE[start : start + size]
        return {"n": n + 1, kind: [text if kind == "strings" else HumanMessage(text, id=f"m{n}")]}

    builder: Any = StateGraph(State)
    builder.add_node("step", step)
    builder.add_edge(START, "step")
    builder.add_conditional_edges("step", lambda s: "step" if s["n"] < s["until"] else END, ["step", END])
    return builder.compile(checkpointer=saver)


def at(thread: str, steps: int = 0) -> Any:
    return {"configurable": {"thread_id": thread}, "recursion_limit": steps + 10}


@contextmanager
def timed(into: Best, name: str, per: int = 1) -> Iterator[None]:
    """Keeps the least, in microseconds."""
    began = time.perf_counter()
    yield
    into[name] = min(into.get(name, float("inf")), (time.perf_counter() - began) / per * 1e6)


async def drive(saver: Any, thread: str, kind: str, size_kb: int, steps: int) -> None:
    options = {"durability": "sync"} if saver is not None else {}
    found = await loop(kind, size_kb, saver).ainvoke({"n": 0, "until": steps}, at(thread, steps), **options)
    assert found["n"] == steps


async def measure(backend: Backend, whose: str, best: Best, kind: str, size_kb: int, steps: int) -> None:
    opened = getattr(backend, whose)
    with backend.place() as place:
        async with opened(place) as saver:
            with timed(best, "superstep", steps):
                await drive(saver, "t", kind, size_kb, steps)
        best["bytes"] = float(backend.size_of(place))
        for opening in range(OPENINGS):
            async with opened(place) as saver:
                await saver.aget_tuple(at("other"))  # connections and pages, not imports
                for _ in range(5):
                    with timed(best, "latest"):
                        assert await saver.aget_tuple(at("t")) is not None
                with timed(best, "history"):
                    assert len([item async for item in saver.alist(at("t"), limit=HISTORY)]) == HISTORY
                turn = {"until": steps + 1 + opening}
                with timed(best, "resume"):  # one more turn of one step by a saver that has read the thread alone
                    await loop(kind, size_kb, saver).ainvoke(turn, at("t"), durability="sync")


async def measure_limit(backend: Backend, best: Best, kind: str, size_kb: int, steps: int) -> None:
    """The engine with no saver, and a bare commit of what a step adds (1.5 KB of it are LangGraph's own)."""
    with timed(best, "engine", steps):
        await drive(None, "t", kind, size_kb, steps)
    data = NOISE[: 1536 + size_kb * 1024].encode()
    with backend.place() as place, backend.committing(place) as commit, timed(best, "commit", 100):
        for _ in range(100):
            commit(data)


async def fifty(backend: Backend, whose: str, best: Best) -> None:
    with backend.place() as place:
        async with getattr(backend, whose)(place) as saver:
            with timed(best, "threads", THREADS * THREAD_STEPS):
                await asyncio.gather(*(drive(saver, f"t{n}", "strings", 1, THREAD_STEPS) for n in range(THREADS)))


async def long_thread(backend: Backend, steps: int, best: Best) -> None:
    """Opening a thread of many checkpoints beside one of ten with the same state: ten items of 100 characters."""
    from vertebra.testing.conformance_checks import put

    with backend.place() as place:
        async with backend.ours(place) as saver:
            for thread, count in (("short", 10), ("long", steps)):
                config = None
                for n in range(steps - count, steps):
                    log = [f"{k:0100}" for k in range(max(steps - count, n - 9), n + 1)]
                    config = await put(saver, thread, {"strings": log, "n": n, "until": n}, after=config)
        for _ in range(15):
            for thread in ("short", "long"):
                async with backend.ours(place) as saver:
                    await saver.aget_tuple(at("other"))
                    app = loop("strings", 0, saver)
                    with timed(best, thread):
                        await app.aget_state(at(thread))
                    with timed(best, f"{thread} resumed"):
                        await app.ainvoke({"until": 0}, at(thread), durability="sync")


async def compare(backend: Backend, options: argparse.Namespace) -> list[dict[str, Any]]:
    names = ("KB a step", "steps", "superstep, us", "LangGraph's", "ratio", "limit", "bytes", "ratio", "latest, us",
             "ratio", f"history({HISTORY}), ms", "ratio", "resume, ms", "ratio")  # fmt: skip
    print(f"\n| {' | '.join(names)} |\n|{'---|' * len(names)}", flush=True)
    found = []
    for size_kb in options.sizes:
        for kind in ("strings", "messages") if size_kb else ("strings",):
            for steps in options.steps:
                theirs_too = options.full or size_kb * 1024 * steps * steps / 2 < WRITTEN_LIMIT
                ours, theirs, limit = {}, {}, {}  # type: Best, Best, Best
                for _ in range(options.rounds):
                    if theirs_too:
                        await measure(backend, "theirs", theirs, kind, size_kb, steps)
                    await measure(backend, "ours", ours, kind, size_kb, steps)
                    await measure_limit(backend, limit, kind, size_kb, steps)
                row = {"backend": backend.name, "kind": kind, "size_kb": size_kb, "steps": steps}
                found.append({**row, "ours": ours, "theirs": theirs, "limit": limit})
                print(f"| {' | '.join(cells(found[-1]))} |", flush=True)
    return found


def cells(row: dict[str, Any]) -> list[str]:
    ours, theirs, limit = row["ours"], row["theirs"], row["limit"]

    def ratio(name: str) -> str:
        if not theirs:
            return ""
        return f"{ours[name] / theirs[name]:.2f}" if name != "bytes" else f"1/{theirs[name] / ours[name]:.1f}"

    return [
        *(f"{row['size_kb']} {row['kind'] if row['size_kb'] else ''}", str(row["steps"]), f"{ours['superstep']:.0f}"),
        *(f"{theirs['superstep']:.0f}" if theirs else "", ratio("superstep")),
        *(f"{limit['engine']:.0f} + {limit['commit']:.0f}", f"{ours['bytes']:,.0f}", ratio("bytes")),
        *(f"{ours['latest']:.0f}", ratio("latest"), f"{ours['history'] / 1000:.1f}", ratio("history")),
        *(f"{ours['resume'] / 1000:.1f}", ratio("resume")),
    ]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[200, 400])
    parser.add_argument("--sizes", type=int, nargs="+", default=[0, 1], help="KB a step")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--long", type=int, default=2000, help="steps of the long thread")
    parser.add_argument("--quick", action="store_true", help="100 and 200 steps alone")
    parser.add_argument("--full", action="store_true", help=FULL)
    parser.add_argument("--backends", nargs="+", default=["sqlite", "postgres"])
    parser.add_argument("--json", type=Path, help="where to write all that was measured, for _plot.py")
    options = parser.parse_args()
    if options.full:
        options.steps, options.sizes = [200, 400, 1000], [0, 1, 20]
        options.rounds, options.long = max(3, options.rounds), 10_000
    if options.quick:
        options.steps, options.sizes, options.rounds, options.long = [100, 200], [0, 1], 1, 1000
    found: list[dict[str, Any]] = []
    with ExitStack() as stack:
        backends = [SQLITE] if "sqlite" in options.backends else []
        if "postgres" in options.backends:
            backends.append(stack.enter_context(postgres_server(synced=True)))
        for backend in backends:
            print(f"\n{backend.name}, synced: ours beside LangGraph's async saver", flush=True)
            found += await compare(backend, options)
            crowd: tuple[Best, Best] = ({}, {})
            for _ in range(options.rounds):
                for whose, into in zip(("theirs", "ours"), crowd, strict=True):
                    await fifty(backend, whose, into)
            theirs, ours = (best["threads"] for best in crowd)
            print(f"\n{THREADS} threads at once, 1 KB a step: {ours:.0f} us a superstep, ratio {ours / theirs:.2f}")
            long: Best = {}
            await long_thread(backend, options.long, long)
            print(
                f"A thread of {options.long} steps beside one of 10 of the same state: read in {long['long']:.0f} us, "
                f"ratio {long['long'] / long['short']:.2f}; resumed in {long['long resumed']:.0f} us, "
                f"ratio {long['long resumed'] / long['short resumed']:.2f}",
                flush=True,
            )
            found.append({"backend": backend.name, "threads": {"ours": ours, "theirs": theirs}, "long": long})
    if not options.full:
        print(f"\nThe full figures, {FULL}: python benchmarks/checkpointers.py --full")
        print("Some of them: --rounds 3 --long 10000, and --steps 1000 --sizes 20 as far as there is time")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    asyncio.run(main())
