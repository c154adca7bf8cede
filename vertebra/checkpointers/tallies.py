"""What runs that have ended came to, visit by visit: that it took place, its calls and its tokens.

Summed up by the database: no request and no answer is read, and whether they were pruned makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vertebra.databases.database import Database, Tx

_AT_ONCE = 400
"""Threads named in one statement: SQLite takes 999 arguments where it is old."""


@dataclass(frozen=True, slots=True)
class Tally:
    """One visit of one run, or what its calls came to. A fallback that stood in has calls, and no visit of its own."""

    thread: str
    run_id: str
    visit: str
    took_place: bool
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Tallies:
    """The sums over the journals of threads, in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, graph: str, fingerprint: str, *, threads: int) -> list[Tally]:
        """Of the runs of the latest threads of a graph of this shape; a visit may be told in several.

        Left out: the latest run of a thread, where it is not ``done`` (how earlier ones ended is not on record), and
        forks, since what they began with is another thread's.
        """
        return await self._database.read(lambda tx: list(_tallies(tx, graph, fingerprint, threads)))


def _tallies(tx: Tx, graph: str, fingerprint: str, limit: int) -> Iterator[Tally]:
    rows = tx.all(
        "SELECT thread, run_id, status FROM vertebra_threads WHERE graph = ? AND fingerprint = ? AND parent IS NULL "
        "ORDER BY updated_at DESC LIMIT ?",
        *(graph, fingerprint, limit),
    )
    unfinished = {(thread, run) for thread, run, status in rows if status != "done"}
    threads = [row[0] for row in rows]
    for start in range(0, len(threads), _AT_ONCE):
        for tally in _of(tx, threads[start : start + _AT_ONCE]):
            if (tally.thread, tally.run_id) not in unfinished:
                yield tally


def _of(tx: Tx, threads: list[str]) -> Iterator[Tally]:
    among = f"thread IN ({', '.join('?' * len(threads))})"
    for thread, run, visit in tx.all(f"SELECT thread, run_id, visit FROM vertebra_visits WHERE {among}", *threads):
        yield Tally(thread, run, visit, took_place=True)
    summed = (
        "SELECT thread, run_id, visit, count(*), sum(input_tokens), sum(output_tokens) FROM vertebra_calls "
        f"WHERE {among} AND kind <> 'effect' AND status = 'done' AND origin IS NULL GROUP BY thread, run_id, visit"
    )
    for thread, run, visit, calls, tokens_in, tokens_out in tx.all(summed, *threads):
        yield Tally(thread, run, visit, False, int(calls), int(tokens_in or 0), int(tokens_out or 0))
