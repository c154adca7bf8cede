"""Forks in our own tables: a thread with a parent, and what it inherits of the parent's journal.

The state of a fork is written by the saver, which may be another database. So its id is reserved first,
its state written next, and its thread made last, in one transaction with all that it inherits: a fork
whose process dies before that is no thread, and its id can be forked to again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vertebra.checkpointers.content import insert_row, read_rows, seal, unseal
from vertebra.checkpointers.lease import Holder, is_dead
from vertebra.databases.database import Database, Tx
from vertebra.errors import LeaseLost, RecordPruned, ThreadBusy, ThreadExists, ThreadNotFound
from vertebra.types import RunStatus, ThreadRecord

RESERVED_FOR_S = 60.0
_RESERVATION, _HOLDER = "vertebra.fork", "holder"
_AT_ONCE = 400
"""Visits named in one statement: SQLite takes 999 arguments where it is old."""

_CALLS = (
    "visit, request_hash, epoch, ordinal, run_id, node, step, kind, endpoint, model, status, request, sequence, "
    "answer_status, answer_headers, answer_body, input_tokens, output_tokens, started_at, finished_at"
)
_COPIED = {"epochs": "visit, epoch, kept, reason, at", "values": "visit, name, value"}


@dataclass(frozen=True, slots=True)
class Fork:
    """A fork about to be made: the thread, and where it comes from."""

    thread: str
    run_id: str
    status: RunStatus
    parent: ThreadRecord
    checkpoint: str
    fresh: bool
    inherits: tuple[str, ...]
    """The visits whose recorded answers it has from its parent."""
    node: str
    detail: Mapping[str, Any]


class Forks:
    """The forks of threads, in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, thread: str) -> list[str]:
        """The threads that were forked from this one, oldest first."""
        rows = await self._database.run(
            lambda tx: tx.all("SELECT thread FROM vertebra_threads WHERE parent = ? ORDER BY created_at", thread)
        )
        return [str(row[0]) for row in rows]

    async def visits(self, thread: str) -> list[str]:
        """The names of all visits of which something is recorded that an execution of them would take."""
        tables = ("calls", "epochs", "values")
        union = " UNION ".join(f"SELECT visit FROM vertebra_{table} WHERE thread = ?" for table in tables)
        rows = await self._database.run(lambda tx: tx.all(union, *([thread] * len(tables))))
        return [str(row[0]) for row in rows]

    async def reserve(self, thread: str, holder: Holder) -> None:
        """Keep the id for a fork that is being made. Raises ``ThreadExists``, and ``ThreadBusy`` if another is."""
        await self._database.run(lambda tx: _reserve(tx, thread, holder))

    async def release(self, thread: str, holder: Holder) -> None:
        """Give the id back, if this holder has it: nothing came of the fork."""

        def give_back(tx: Tx) -> None:
            found = _reservation(tx, thread)
            if found is not None and found[0] == holder:
                _release(tx, thread)

        await self._database.run(give_back)

    async def make(self, fork: Fork, holder: Holder) -> None:
        """Make the thread, with all that it inherits, at once.

        Raises ``ThreadNotFound`` if the parent is gone, ``RecordPruned`` if what it inherits is.
        """
        await self._database.run(lambda tx: _make(tx, fork, holder))


def _reserve(tx: Tx, thread: str, holder: Holder) -> None:
    tx.lock(thread)
    _refuse_known(tx, thread)
    found = _reservation(tx, thread)
    if found is not None:
        other, until = found
        if not is_dead(other, until, tx.now()):
            raise ThreadBusy(f"{other} is just forking to {thread!r}.".capitalize(), thread=thread)
        _release(tx, thread)
    value = json.dumps([holder.to_text(), tx.now() + RESERVED_FOR_S])
    insert_row(tx, "values", {"thread": thread, "visit": _RESERVATION, "name": _HOLDER, "value": value})


def _refuse_known(tx: Tx, thread: str) -> None:
    if tx.one("SELECT 1 FROM vertebra_threads WHERE thread = ?", thread) is not None:
        raise ThreadExists(f"There is a thread {thread!r} already.", thread=thread)


def _reservation(tx: Tx, thread: str) -> tuple[Holder, float] | None:
    row = tx.one("SELECT value FROM vertebra_values WHERE thread = ? AND visit = ?", thread, _RESERVATION)
    if row is None:
        return None
    holder, until = json.loads(unseal(tx.seals, "values", "value", (thread, _RESERVATION, _HOLDER), row[0]))
    return Holder.from_text(holder), float(until)


def _release(tx: Tx, thread: str) -> None:
    tx.execute("DELETE FROM vertebra_values WHERE thread = ? AND visit = ?", thread, _RESERVATION)


def _make(tx: Tx, fork: Fork, holder: Holder) -> None:
    tx.lock(fork.thread)
    found = _reservation(tx, fork.thread)
    if found is None or found[0] != holder:
        raise LeaseLost(f"Another process forks to {fork.thread!r} by now.", thread=fork.thread)
    _refuse_known(tx, fork.thread)
    parent = fork.parent
    # Kept until the fork is made, so that no prune of the parent overlooks it.
    if tx.one_kept("SELECT 1 FROM vertebra_threads WHERE thread = ?", parent.thread) is None:
        raise ThreadNotFound(f"Thread {parent.thread!r} was deleted meanwhile.", thread=parent.thread)
    now = tx.now()
    tx.execute(
        "INSERT INTO vertebra_threads (thread, graph, version, fingerprint, shape, run_id, status, branch, principal, "
        "input, parent, parent_checkpoint, seed, created_at, updated_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        *(fork.thread, parent.graph, parent.version, parent.fingerprint, json.dumps(parent.shape), fork.run_id),
        *(fork.status, parent.branch, parent.principal),
        *(seal(tx.seals, "threads", "input", (fork.thread,), parent.input), parent.thread, fork.checkpoint),
        *(None if fork.fresh else parent.seed or parent.thread, now, now),
    )
    _release(tx, fork.thread)
    for start in range(0, len(fork.inherits), _AT_ONCE):
        _inherit(tx, fork, fork.inherits[start : start + _AT_ONCE])
    pruned = tx.one(
        "SELECT count(*) FROM vertebra_calls WHERE thread = ? AND status = 'done' AND answer_body IS NULL", fork.thread
    )
    if pruned is not None and pruned[0]:
        raise RecordPruned(
            f"{pruned[0]} of the answers that lie ahead of the fork were pruned from thread {parent.thread!r}.",
            thread=parent.thread,
        )
    detail = seal(tx.seals, "interventions", "detail", (fork.thread, 0), json.dumps(fork.detail, sort_keys=True))
    tx.execute(
        "INSERT INTO vertebra_interventions (thread, number, kind, node, principal, detail, at) "
        "VALUES (?, 0, 'fork', ?, NULL, ?, ?)",
        *(fork.thread, fork.node, detail, now),
    )


def _inherit(tx: Tx, fork: Fork, visits: tuple[str, ...]) -> None:
    """Copy what is recorded of these visits: complete answers, sampling epochs, recorded values."""
    if tx.seals.on:
        _inherit_sealed(tx, fork, visits)
        return
    among = f"thread = ? AND visit IN ({', '.join('?' * len(visits))})"
    given = (fork.thread, fork.parent.thread, *visits)
    tx.execute(
        f"INSERT INTO vertebra_calls (thread, {_CALLS}, sends, lost, replays, attempts, origin) "
        f"SELECT ?, {_CALLS}, 0, 0, 0, '[]', COALESCE(origin, thread) FROM vertebra_calls "
        f"WHERE {among} AND status = 'done'",
        *given,
    )
    for table, columns in _COPIED.items():
        tx.execute(
            f"INSERT INTO vertebra_{table} (thread, {columns}) SELECT ?, {columns} FROM vertebra_{table} WHERE {among}",
            *given,
        )


def _inherit_sealed(tx: Tx, fork: Fork, visits: tuple[str, ...]) -> None:
    """The same row by row: what is sealed to the parent would not open in the fork."""
    among = f"thread = ? AND visit IN ({', '.join('?' * len(visits))})"
    new = {"thread": fork.thread}
    counts = {"sends": 0, "lost": 0, "replays": 0}
    columns = ("thread", *_CALLS.split(", "), "attempts", "origin")
    for row in read_rows(tx, "calls", columns, f"{among} AND status = 'done'", fork.parent.thread, *visits):
        origin = row["origin"] or row["thread"]
        insert_row(tx, "calls", {**row, **new, **counts, "attempts": "[]", "origin": origin})
    for table, copied in _COPIED.items():
        for row in read_rows(tx, table, ("thread", *copied.split(", ")), among, fork.parent.thread, *visits):
            insert_row(tx, table, {**row, **new})
