"""Memory beside LangGraph's stores: appends, windows, recall by words and meaning; taken in turns in one run.

python benchmarks/memory.py [--full]

LangGraph's stores find by vectors alone; its SQLite store needs an extension for it that many Pythons cannot load.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import _needles, _stores
from benchmarks._savers import folder, postgres_server
from benchmarks._talk import Talk
from vertebra import open_memory
from vertebra.errors import MissingExtra
from vertebra.memory import HashingEmbedder, Memory, MiniLMEmbedder

ROUNDS, A_ROUND = 20, 20
QUESTIONS = 60


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def told(taken: Sequence[float]) -> str:
    ordered = sorted(taken)
    return f"{statistics.median(ordered):.1f} | {ordered[int(len(ordered) * 0.95)]:.1f}"


def appends(server: Any) -> None:
    """The medians of rounds in turns, each synced."""
    print(f"\n| {ROUNDS * A_ROUND} appends one by one, synced | a second | ours / theirs |\n|---|---|---|")
    texts = Talk().texts(ROUNDS * A_ROUND)
    with ExitStack() as stack:
        place, database = stack.enter_context(folder()), stack.enter_context(server.place())
        theirs_there = stack.enter_context(server.place())
        in_turns: dict[str, Callable[[int, str], Any]] = {
            "ours, SQLite": _stores.appender(stack.enter_context(_stores.ours(_stores.file_url(place)))),
            "SqliteStore, WAL": _stores.putter(stack.enter_context(_stores.sqlite_store(place))),
            "SqliteStore as it comes": _stores.putter(stack.enter_context(_stores.sqlite_store(place, wal=False))),
            "ours, Postgres": _stores.appender(stack.enter_context(_stores.ours(database))),
            "PostgresStore": _stores.putter(stack.enter_context(_stores.postgres_store(theirs_there))),
            "ours, memory://": _stores.appender(stack.enter_context(_stores.ours("memory://"))),
            "InMemoryStore": _stores.putter(stack.enter_context(_stores.in_memory_store(None))),
        }
        taken: dict[str, list[float]] = {name: [] for name in in_turns}
        for start in range(0, len(texts), A_ROUND):
            for name, append in in_turns.items():
                for number in range(start, start + A_ROUND):
                    taken[name].append(timed(lambda: append(number, texts[number])))  # noqa: B023
    rates = {name: 1e3 / statistics.median(each) for name, each in taken.items()}
    pairs = {"SqliteStore, WAL": "ours, SQLite", "SqliteStore as it comes": "ours, SQLite"}
    pairs |= {"PostgresStore": "ours, Postgres", "InMemoryStore": "ours, memory://"}
    for name, rate in rates.items():
        ratio = f"{rates[pairs[name]] / rate:.2f}" if name in pairs else ""
        print(f"| {name} | {rate:.0f} | {ratio} |", flush=True)


def windows() -> None:
    print("\n| window of 4,000 tokens, SQLite | p50, ms | p95, ms |\n|---|---|---|")
    for count in (1_000, 10_000):
        with folder() as place, _stores.ours(_stores.file_url(place)) as memory:
            _stores.fill(memory, Talk().texts(count), a_conversation=count)
            talk = memory.conversation("c0", tenant="t")
            taken = [timed(lambda t=talk: t.window_sync(max_tokens=4_000)) for _ in range(50)]  # type: ignore[misc]
            print(f"| of {count:,} messages | {told(taken)} |")
    with folder() as place, _stores.sqlite_store(place) as store:
        _stores.put_all(store, Talk().texts(10_000))
        taken = [timed(lambda: store.search(_stores.NAMESPACE, limit=10_000)) for _ in range(10)]
        print(f"| SqliteStore: all 10,000 items, to be cut | {told(taken)} |", flush=True)


def recall(count: int, server: Any, *, theirs: bool) -> None:
    texts = Talk().texts(count)
    questions = Talk().questions(texts, QUESTIONS)
    print(f"\n| recall over {count:,} entries | p50, ms | p95, ms |\n|---|---|---|")
    with ExitStack() as stack:
        place, database = stack.enter_context(folder()), stack.enter_context(server.place())
        searches: dict[str, Callable[[str], Any]] = {}
        for name, url in (("SQLite", f"{_stores.file_url(place)}?durability=process"), ("Postgres", database)):
            if name == "Postgres" and not theirs:
                continue
            memory: Memory = stack.enter_context(_stores.ours(url))
            _stores.fill(memory, texts)
            memory.embed_pending_sync(tenant="t", batch=1_000)
            for mode in ("text", "vectors", "both"):
                searches[f"ours, {name}, {mode}"] = lambda asked, m=memory, by=mode: m.search_sync(  # type: ignore[misc]
                    asked, tenant="t", mode=by
                )
        if theirs:
            with_vectors = stack.enter_context(server.place())
            for store, name in (
                (stack.enter_context(_stores.postgres_store(with_vectors, index=True)), "PostgresStore, vectors"),
                (stack.enter_context(_stores.in_memory_store(None, index=True)), "InMemoryStore, vectors"),
            ):
                _stores.put_all(store, texts)
                searches[name] = lambda asked, s=store: s.search(_stores.NAMESPACE, query=asked)  # type: ignore[misc]
        taken: dict[str, list[float]] = {name: [] for name in searches}
        for search in searches.values():
            search(questions[0])  # what a process does once: vectors are read, statements prepared
        for asked in questions:
            for name, search in searches.items():
                taken[name].append(timed(lambda: search(asked)))  # noqa: B023
        for name, each in taken.items():
            print(f"| {name} | {told(each)} |", flush=True)


def needles(count: int) -> None:
    """How often what was asked for is among the first five."""
    embedder: Any = HashingEmbedder(512)
    try:
        embedder = MiniLMEmbedder()
    except MissingExtra:
        print("\nMiniLM is not installed: vectors are hashes of words, which know no meanings.")
    print(f"\n| recall@5 of {len(_needles.NEEDLES)} needles in {count:,}, asked in other words | found |\n|---|---|")
    with open_memory("memory://", embedder=embedder) as memory:
        talk = memory.conversation("c")
        for text in [*(said for said, _ in _needles.NEEDLES), *_needles.haystack(count)]:
            talk.append_sync(_stores.message(text))
        memory.embed_pending_sync()
        for mode in ("text", "vectors", "both"):
            found = sum(
                number in [hit.id for hit in memory.search_sync(asked, mode=mode, limit=5)]  # type: ignore[arg-type]
                for number, (_, asked) in enumerate(_needles.NEEDLES, 1)
            )
            print(f"| {mode}, {embedder.name} | {found / len(_needles.NEEDLES):.2f} |", flush=True)


def main() -> None:
    full = "--full" in sys.argv[1:]
    with postgres_server(synced=True) as server:
        appends(server)
        windows()
        recall(10_000 if full else 2_000, server, theirs=True)
        recall(100_000, server, theirs=full)
    needles(5_000 if full else 1_000)


if __name__ == "__main__":
    main()
