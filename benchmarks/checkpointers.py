"""What a checkpointer costs: ours beside LangGraph's own, on the same graphs, interleaved in one run.

A loop of supersteps in plain LangGraph (``durability="sync"``) that adds 0, 1 or 20 KB a step, as strings or as
messages, which no database can compress. SQLite is synced at each commit on both sides, and so is Postgres, a server
from a wheel on this machine. Times are the best of ``--rounds``; ratios are ours / LangGraph's, the median of what each
round gives, whose two sides were measured one right after the other. Beside each row stands the limit that was measured
with it: the engine with no saver + one bare commit of the same bytes, and the two together in each superstep, the
commit on a thread of its own.

    python benchmarks/checkpointers.py [--quick | --full] [--sizes 0 1] [--steps 200 400] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import operator
import random
import statistics
import string
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

sys.path.insert(0, str(Path(__file__).parent.parent))

from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.graph import END, START, StateGraph, add_messages

from benchmarks._savers import SQLITE, Backend, BareCommits, postgres_server

HISTORY, THREADS, THREAD_STEPS = 20, 50, 20
OPENINGS = 4  # of the finished thread, in each round
WRITTEN_LIMIT = 2 * 2**30  # bytes that LangGraph's saver may be made to write without --full
NOISE = "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=1 << 22))

FULL = "0, 1 and 20 KB, 200, 400 and 1,000 steps, three rounds: hours, and 60 GB written"

Best = dict[str, float]
Round = dict[str, Best]
"""Of each side, and of the limit."""


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
    """The engine with no saver, a bare commit of what a step adds (1.5 KB of it are LangGraph's own), and both."""
    with timed(best, "engine", steps):
        await drive(None, "t", kind, size_kb, steps)
    data = NOISE[: 1536 + size_kb * 1024].encode()
    with backend.place() as place, backend.committing(place) as commit:
        with timed(best, "commit", 100):
            for _ in range(100):
                commit(data)
        with closing(BareCommits(lambda: commit(data))) as saver, timed(best, "together", steps):
            await drive(saver, "t", kind, size_kb, steps)


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
                rounds: list[Round] = []
                for number in range(options.rounds):
                    each: Round = {"ours": {}, "theirs": {}, "limit": {}}
                    whose = ("theirs", "ours") if theirs_too else ("ours",)
                    for one in whose if number % 2 else reversed(whose):
                        await measure(backend, one, each[one], kind, size_kb, steps)
                    await measure_limit(backend, each["limit"], kind, size_kb, steps)
                    rounds.append(each)
                row = {"backend": backend.name, "kind": kind, "size_kb": size_kb, "steps": steps}
                found.append({**row, **summary(rounds)})
                print(f"| {' | '.join(cells(found[-1]))} |", flush=True)
    return found


def summary(rounds: Sequence[Round]) -> dict[str, Any]:
    """The least of each figure, and the median, least and greatest of each ratio."""
    least = {of: {name: min(each[of][name] for each in rounds) for name in rounds[0][of]} for of in rounds[0]}
    ratios = {}
    for name in least["theirs"]:
        of_rounds = [each["ours"][name] / each["theirs"][name] for each in rounds]
        ratios[name] = [statistics.median(of_rounds), min(of_rounds), max(of_rounds)]
    return {**least, "ratios": ratios}


def cells(row: dict[str, Any]) -> list[str]:
    ours, theirs, limit, ratios = row["ours"], row["theirs"], row["limit"], row["ratios"]

    def ratio(name: str) -> str:
        if name not in ratios:
            return ""
        median, least, greatest = ratios[name]
        return f"1/{1 / median:.1f}" if name == "bytes" else f"{median:.2f} ({least:.2f} to {greatest:.2f})"

    return [
        *(f"{row['size_kb']} {row['kind'] if row['size_kb'] else ''}", str(row["steps"]), f"{ours['superstep']:.0f}"),
        *(f"{theirs['superstep']:.0f}" if theirs else "", ratio("superstep")),
        f"{limit['engine']:.0f} + {limit['commit']:.0f}; {limit['together']:.0f}",
        *(f"{ours['bytes']:,.0f}", ratio("bytes")),
        *(f"{ours['latest']:.0f}", ratio("latest"), f"{ours['history'] / 1000:.1f}", ratio("history")),
        *(f"{ours['resume'] / 1000:.1f}", ratio("resume")),
    ]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[200, 400])
    parser.add_argument("--sizes", type=int, nargs="+", default=[0, 1], help="KB a step")
    parser.add_argument("--rounds", type=int, default=3)
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
            crowds: list[Round] = []
            for _ in range(options.rounds):
                crowds.append({"theirs": {}, "ours": {}})
                for whose, into in crowds[-1].items():
                    await fifty(backend, whose, into)
            crowd = summary(crowds)
            print(
                f"\n{THREADS} threads at once, 1 KB a step: {crowd['ours']['threads']:.0f} us a superstep, "
                f"ratio {crowd['ratios']['threads'][0]:.2f}"
            )
            long: Best = {}
            await long_thread(backend, options.long, long)
            print(
                f"A thread of {options.long} steps beside one of 10 of the same state: read in {long['long']:.0f} us, "
                f"ratio {long['long'] / long['short']:.2f}; resumed in {long['long resumed']:.0f} us, "
                f"ratio {long['long resumed'] / long['short resumed']:.2f}",
                flush=True,
            )
            found.append({"backend": backend.name, "threads": crowd, "long": long})
    if not options.full:
        print(f"\nThe full figures, {FULL}: python benchmarks/checkpointers.py --full")
        print("Some of them: --rounds 7 --long 10000, and --steps 1000 --sizes 20 as far as there is time")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    asyncio.run(main())
