"""What a checkpointer costs: ours beside LangGraph's own, on the same graphs, interleaved in one run.

A loop of supersteps in plain LangGraph (``durability="sync"``) that adds 0, 1 or 20 KB a step, as strings or as
messages. SQLite is synced at each commit on both sides; Postgres (with ``--postgres``) is the wheel that the tests
use, on this machine, and is not synced on either side. The best of ``--rounds`` counts; ratios are to LangGraph's.

    python benchmarks/checkpointers.py [--quick | --full] [--steps 200 400] [--sizes 0 1] [--rounds 3] [--postgres]
"""

from __future__ import annotations

import argparse
import asyncio
import operator
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

sys.path.insert(0, str(Path(__file__).parent.parent))

from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph, add_messages

from vertebra import open_checkpointer
from vertebra.checkpointers.sqlite import SqliteCheckpointer

HISTORY, THREADS, THREAD_STEPS = 20, 50, 20
Opened = Callable[[Path], AbstractAsyncContextManager[Any]]


class State(TypedDict, total=False):
    n: int
    until: int
    strings: Annotated[list[str], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]


def loop(kind: str, size_kb: int, saver: Any) -> Any:
    def step(state: State) -> dict[str, Any]:
        n, text = state["n"], f"{state['n']:08}".ljust(size_kb * 1024, "x")
        if not size_kb:
            return {"n": n + 1}
        return {"n": n + 1, kind: [text if kind == "strings" else HumanMessage(text, id=f"m{n}")]}

    builder: Any = StateGraph(State)
    builder.add_node("step", step)
    builder.add_edge(START, "step")
    builder.add_conditional_edges("step", lambda s: "step" if s["n"] < s["until"] else END, ["step", END])
    return builder.compile(checkpointer=saver)


def place(thread: str, steps: int = 0) -> Any:
    return {"configurable": {"thread_id": thread}, "recursion_limit": steps + 10}


@asynccontextmanager
async def langgraph_sqlite(folder: Path) -> AsyncIterator[Any]:
    async with AsyncSqliteSaver.from_conn_string(str(folder / "theirs.db")) as saver:
        await saver.conn.execute("PRAGMA journal_mode=WAL")
        await saver.conn.execute("PRAGMA synchronous=FULL")
        yield saver


@asynccontextmanager
async def our_sqlite(folder: Path) -> AsyncIterator[Any]:
    with SqliteCheckpointer(f"sqlite:////{str(folder).lstrip('/')}/ours.db") as saver:
        yield saver


@asynccontextmanager
async def no_saver(folder: Path) -> AsyncIterator[Any]:
    yield None


def bytes_of(folder: Path) -> int:
    for file in folder.glob("*.db"):
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    return sum(file.stat().st_size for file in folder.glob("*.db"))


@contextmanager
def timed(into: dict[str, float], name: str, per: int = 1) -> Iterator[None]:
    began = time.perf_counter()
    yield
    into[name] = min(into.get(name, float("inf")), (time.perf_counter() - began) / per * 1e6)


async def drive(saver: Any, thread: str, kind: str, size_kb: int, steps: int) -> None:
    options = {"durability": "sync"} if saver is not None else {}
    found = await loop(kind, size_kb, saver).ainvoke({"n": 0, "until": steps}, place(thread, steps), **options)
    assert found["n"] == steps


async def measure(opened: Opened, best: dict[str, float], kind: str, size_kb: int, steps: int) -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        async with opened(folder) as saver:
            with timed(best, "superstep", steps):
                await drive(saver, "t", kind, size_kb, steps)
        if saver is None:
            return
        best["bytes"] = float(bytes_of(folder))
        async with opened(folder) as saver:
            await saver.aget_tuple(place("other"))  # connections and pages, not imports
            for _ in range(5):
                with timed(best, "latest"):
                    assert await saver.aget_tuple(place("t")) is not None
            with timed(best, "history"):
                assert len([item async for item in saver.alist(place("t"), limit=HISTORY)]) == HISTORY
            app = loop(kind, size_kb, saver)
            with timed(best, "resume"):  # one more turn of one step by a process that has not seen the thread
                await app.ainvoke({"until": steps + 1}, place("t"), durability="sync")


async def latest(kind: str, steps: int, best: dict[str, float]) -> None:
    """The latest state of a thread that grew by 1 KB a step, in turns: read first by a process, and again."""
    from vertebra.testing.conformance_checks import put

    text = [f"{n:08}".ljust(1024, "x") for n in range(steps)]
    items = text if kind == "strings" else [HumanMessage(item, id=f"m{n}") for n, item in enumerate(text)]
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        for opened, lengths in ((our_sqlite, range(1, steps + 1)), (langgraph_sqlite, (steps,))):
            async with opened(Path(name)) as saver:
                config = None
                for length in lengths:
                    config = await put(saver, "t", {kind: items[:length]}, after=config)
        for _ in range(20):
            for opened, whose in ((our_sqlite, "ours"), (langgraph_sqlite, "theirs")):
                async with opened(Path(name)) as saver:
                    await saver.aget_tuple(place("other"))  # connections and pages, not imports
                    for which in ("first", "again", "again", "again"):
                        with timed(best, f"{whose} {which}"):
                            assert await saver.aget_tuple(place("t")) is not None


async def latest_states(steps: list[int]) -> None:
    print(
        "The latest state on SQLite, items of 1 KB: ours beside LangGraph's AsyncSqliteSaver (ratio = ours / theirs)\n"
    )
    table = Table(("items", "first read of a process, us", "ratio", "again, us", "ratio"))
    for count in steps:
        for kind in ("strings", "messages"):
            best: dict[str, float] = {}
            await latest(kind, count, best)
            first, again = best["ours first"], best["ours again"]
            ratios = ratio(first, best["theirs first"]), ratio(again, best["theirs again"])
            table.row(f"{count} {kind}", f"{first:.0f}", ratios[0], f"{again:.0f}", ratios[1])


async def fifty(opened: Opened, best: dict[str, float]) -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        async with opened(Path(name)) as saver:
            with timed(best, f"{THREADS} threads", THREADS * THREAD_STEPS):
                await asyncio.gather(*(drive(saver, f"t{n}", "strings", 1, THREAD_STEPS) for n in range(THREADS)))


async def opening(steps: int, best: dict[str, float]) -> None:
    """The latest state of a thread of many checkpoints beside that of one of ten, both of ten items."""
    from vertebra.testing.conformance_checks import put

    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        url = f"sqlite:////{name.lstrip('/')}/ours.db?durability=process"
        with SqliteCheckpointer(url) as saver:
            for thread, count in (("short", 10), ("long", steps)):
                config = None
                for n in range(count):
                    log = [f"{k:0100}" for k in range(max(0, n - 9), n + 1)]
                    config = await put(saver, thread, {"log": log}, after=config)
        for _ in range(20):
            for thread in ("short", "long"):
                with SqliteCheckpointer(url) as saver:
                    await saver.aget_tuple(place("other"))
                    with timed(best, thread):
                        await saver.aget_tuple(place(thread))


async def bare_commit(best: dict[str, float]) -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        connection = sqlite3.connect(f"{name}/bare.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, data BLOB)")
        with timed(best, "commit", 200):
            for _ in range(200):
                connection.execute("INSERT INTO t (data) VALUES (?)", (b"x" * 1500,))
        connection.close()


@contextmanager
def postgres_pair() -> Iterator[tuple[Opened, Opened]]:
    """LangGraph's async saver, and what Vertebra opens, each on a fresh database for each run."""
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    from tests.servers import postgres

    folder = postgres.folder_for_session()
    server = postgres.start(folder, os.getpid())
    urls: dict[tuple[str, Path], str] = {}
    databases: list[Any] = []

    def url_for(which: str, place: Path) -> str:
        if (which, place) not in urls:
            databases.append(postgres.fresh_database(server))
            urls[which, place] = databases[-1].__enter__()
        return urls[which, place]

    @asynccontextmanager
    async def theirs(place: Path) -> AsyncIterator[Any]:
        options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        async with AsyncConnectionPool(url_for("theirs", place), min_size=1, max_size=4, kwargs=options) as pool:
            saver = AsyncPostgresSaver(pool)  # type: ignore[arg-type]
            await saver.setup()
            yield saver

    @asynccontextmanager
    async def ours(place: Path) -> AsyncIterator[Any]:
        with open_checkpointer(url_for("ours", place)) as store:
            yield store.saver

    try:
        yield theirs, ours
    finally:
        for database in databases:
            database.__exit__(None, None, None)
        postgres.stop(folder)


@dataclass
class Table:
    """Rows of Markdown, printed as they come."""

    names: tuple[str, ...]
    widths: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        print(f"| {' | '.join(self.names)} |\n|{'---|' * len(self.names)}", flush=True)

    def row(self, *cells: object) -> None:
        print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def ratio(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f}"


async def compare(savers: tuple[Opened, Opened], options: argparse.Namespace, on_disk: bool) -> None:
    table = Table(("KB a step", "steps", "superstep, us", "ratio", "bytes", "ratio", "latest, us", "ratio",
                   f"history({HISTORY}), ms", "ratio", "resume, ms", "ratio", "engine alone, us"))  # fmt: skip
    for size_kb in options.sizes:
        for kind in ("strings", "messages") if size_kb else ("strings",):
            for steps in options.steps:
                best: tuple[dict[str, float], ...] = ({}, {}, {})
                for _ in range(options.rounds):
                    for opened, into in zip((*savers, no_saver), best, strict=True):
                        await measure(opened, into, kind, size_kb, steps)
                b, a, alone = best
                size = (f"{a['bytes']:,.0f}", f"1/{b['bytes'] / a['bytes']:.0f}") if on_disk else ("", "")
                table.row(
                    *(f"{size_kb} {kind if size_kb else ''}", steps, f"{a['superstep']:.0f}"),
                    *(ratio(a["superstep"], b["superstep"]), *size),
                    *(f"{a['latest']:.0f}", ratio(a["latest"], b["latest"])),
                    *(f"{a['history'] / 1000:.1f}", ratio(a["history"], b["history"])),
                    *(f"{a['resume'] / 1000:.1f}", ratio(a["resume"], b["resume"]), f"{alone['superstep']:.0f}"),
                )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[200, 400])
    parser.add_argument("--sizes", type=int, nargs="+", default=[0, 1], help="KB a step")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=10_000, help="steps of the long thread")
    parser.add_argument("--quick", action="store_true", help="one round of 0 and 1 KB, 100 and 200 steps")
    parser.add_argument("--latest", action="store_true", help="only the latest state, read first and read again")
    parser.add_argument("--postgres", action="store_true", help="Postgres, too")
    parser.add_argument("--full", action="store_true", help="0, 1 and 20 KB, 200, 400 and 1,000 steps: 20 GB written")
    options = parser.parse_args()
    if options.full:
        options.steps, options.sizes = [200, 400, 1000], [0, 1, 20]
    if options.latest:
        await latest_states(options.steps)
        return
    if options.quick:
        options.steps, options.sizes, options.rounds, options.long = [100, 200], [0, 1], 1, 1000
    print("SQLite, synced: ours beside LangGraph's AsyncSqliteSaver (ratio = ours / theirs)\n")
    pair = (langgraph_sqlite, our_sqlite)
    await compare(pair, options, on_disk=True)
    crowd: tuple[dict[str, float], dict[str, float]] = ({}, {})
    single: dict[str, float] = {}
    for _ in range(options.rounds):
        for opened, into in zip(pair, crowd, strict=True):
            await fifty(opened, into)
        await bare_commit(single)
    name = f"{THREADS} threads"
    print(f"\n{name} at once: {crowd[1][name]:.0f} us a superstep, ratio {ratio(crowd[1][name], crowd[0][name])}")
    print(f"One bare synced commit of 1.5 KB: {single['commit']:.0f} us")
    await opening(options.long, single)
    print(
        f"Latest state of a thread of {options.long} checkpoints: {single['long']:.0f} us, of one of 10 with the same"
    )
    print(f"state: {single['short']:.0f} us, ratio {ratio(single['long'], single['short'])}")
    if options.postgres:
        print("\nPostgres: what open_checkpointer gives beside LangGraph's AsyncPostgresSaver\n")
        with postgres_pair() as both:
            await compare(both, options, on_disk=False)


if __name__ == "__main__":
    asyncio.run(main())
