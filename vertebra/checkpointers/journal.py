"""The journal: each call recorded once, answered from the record ever after."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from vertebra.checkpointers import calls
from vertebra.checkpointers.allowance import Allowance
from vertebra.checkpointers.content import seal, unseal
from vertebra.checkpointers.fencing import require_held
from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.legible import legible
from vertebra.databases.database import Database, Tx
from vertebra.types import Attempt, CallKey, CallRecord, RecordedAnswer, VisitRecord

T = TypeVar("T")
Kept = frozenset[tuple[str, int]]


class Journal:
    """Calls, recorded values, sampling epochs and visits of threads, in one database."""

    def __init__(self, database: Database, lease: Lease | None = None, allowance: Allowance | None = None) -> None:
        self._database = database
        self._lease = lease
        self._allowance = allowance

    def under(self, lease: Lease, *, max_bytes: int | None = None) -> Journal:
        """The same journal, whose every write raises ``LeaseLost`` once the lease is.

        ``max_bytes``: a new call of the thread that would make its requests and answers more raises ``JournalFull``.
        """
        return Journal(self._database, lease, None if max_bytes is None else Allowance(max_bytes))

    async def _write(self, work: Callable[[Tx], T]) -> T:
        return await self._database.run(lambda tx: self._fenced(tx, work))

    def _fenced(self, tx: Tx, work: Callable[[Tx], T]) -> T:
        require_held(tx, self._lease)
        return work(tx)

    async def begin(self, call: CallRecord) -> CallRecord:
        allowance = self._allowance
        begun = await self._write(lambda tx: calls.begin(tx, call, allowance))
        if allowance is not None and begun.status == "intent" and begun.sends == 1:
            allowance.add(call.request)
        return begun

    async def sent(self, key: CallKey, attempt: Attempt, *, again: bool) -> None:
        await self._write(lambda tx: calls.sent(tx, key, attempt, again))

    async def complete(self, key: CallKey, answer: RecordedAnswer, finished_at: float) -> RecordedAnswer:
        recorded = await self._write(lambda tx: calls.complete(tx, key, answer, finished_at))
        if self._allowance is not None:
            self._allowance.add(recorded.body)
        return recorded

    async def calls(self, thread: str, visit: str | None = None) -> Sequence[CallRecord]:
        where, args = ("thread = ?", [thread]) if visit is None else ("thread = ? AND visit = ?", [thread, visit])
        rows = await self._database.run(
            lambda tx: tx.all(f"SELECT {calls.COLUMNS} FROM vertebra_calls WHERE {where} ORDER BY started_at", *args)
        )
        return [calls.record_of(self._database.seals, row) for row in rows]

    async def latest_calls(self, thread: str, limit: int) -> Sequence[CallRecord]:
        """The thread's latest calls of a model whose tokens are known."""
        rows = await self._database.run(
            lambda tx: tx.all(
                f"SELECT {calls.COLUMNS} FROM vertebra_calls WHERE thread = ? AND kind = 'llm' AND status = 'done' "
                "AND input_tokens IS NOT NULL ORDER BY started_at DESC LIMIT ?",
                *(thread, limit),
            )
        )
        return [calls.record_of(self._database.seals, row) for row in rows]

    async def epochs(self, thread: str, visit: str) -> Sequence[Kept | None]:
        rows = await self._database.run(
            lambda tx: tx.all(
                "SELECT kept, epoch FROM vertebra_epochs WHERE thread = ? AND visit = ? ORDER BY epoch", thread, visit
            )
        )
        seals = self._database.seals
        with legible(thread, "epochs of", visit):
            return [_kept(unseal(seals, "epochs", "kept", (thread, visit, int(epoch)), kept)) for kept, epoch in rows]

    async def advance_epoch(self, thread: str, visit: str, kept: Kept, reason: str) -> int:
        return await self._write(lambda tx: _advance(tx, thread, visit, kept, reason))

    async def record_value(self, thread: str, visit: str, name: str, value: str) -> str:
        return await self._write(lambda tx: _value(tx, thread, visit, name, value))

    async def windows(self, thread: str) -> list[tuple[str, str]]:
        """What nodes saw of conversations: visit and manifest of each window."""
        rows = await self._database.run(
            lambda tx: tx.all(
                "SELECT visit, name, value FROM vertebra_values WHERE thread = ? AND name LIKE ? ORDER BY visit, name",
                *(thread, "window:%"),
            )
        )
        seals = self._database.seals
        return [(str(v), str(unseal(seals, "values", "value", (thread, v, name), value))) for v, name, value in rows]

    async def values(self, thread: str, visit: str) -> dict[str, str]:
        """All that is recorded of a visit by name."""
        rows = await self._database.run(
            lambda tx: tx.all("SELECT name, value FROM vertebra_values WHERE thread = ? AND visit = ?", thread, visit)
        )
        seals = self._database.seals
        return {str(n): str(unseal(seals, "values", "value", (thread, visit, n), value)) for n, value in rows}

    def record_value_sync(self, thread: str, visit: str, name: str, value: str) -> str:
        return self._database.run_sync(lambda tx: self._fenced(tx, lambda tx: _value(tx, thread, visit, name, value)))

    async def visit_ended(self, thread: str, record: VisitRecord) -> None:
        await self._write(lambda tx: _visit_ended(tx, thread, record))

    async def visits(self, thread: str) -> Sequence[VisitRecord]:
        rows = await self._database.run(
            lambda tx: tx.all(
                "SELECT visit, node, step, run_id, outcome, executions, started_at, finished_at, error "
                "FROM vertebra_visits WHERE thread = ? ORDER BY finished_at",
                thread,
            )
        )
        seals = self._database.seals
        with legible(thread, "visits"):
            errors = [unseal(seals, "visits", "error", (thread, row[0]), row[8]) for row in rows]
            return [
                VisitRecord(v, n, int(s), r, o, int(e), float(a), float(b), json.loads(error) if error else None)
                for (v, n, s, r, o, e, a, b, _), error in zip(rows, errors, strict=True)
            ]

    async def intervened(self, thread: str, kind: str, node: str, by: str | None, detail: Mapping[str, Any]) -> None:
        await self._write(lambda tx: note_intervention(tx, thread, kind, node, by, detail))

    async def interventions(self, thread: str) -> list[dict[str, Any]]:
        """What was done to the thread by hand, oldest first."""
        rows = await self._database.run(
            lambda tx: tx.all(
                "SELECT kind, node, principal, detail, at, number FROM vertebra_interventions "
                "WHERE thread = ? ORDER BY number",
                thread,
            )
        )
        seals = self._database.seals
        with legible(thread, "interventions"):
            details = [unseal(seals, "interventions", "detail", (thread, int(row[5])), row[3]) for row in rows]
            return [
                {"kind": kind, "node": node, "principal": by, "detail": json.loads(detail), "at": float(at)}
                for (kind, node, by, _, at, _), detail in zip(rows, details, strict=True)
            ]


def note_intervention(tx: Tx, thread: str, kind: str, node: str, by: str | None, detail: Mapping[str, Any]) -> None:
    """Add to what was done to a thread by hand, within a transaction of somebody's."""
    tx.lock(calls.books_of(thread))
    row = tx.one("SELECT count(*) FROM vertebra_interventions WHERE thread = ?", thread)
    number = int(row[0]) if row else 0
    text = seal(tx.seals, "interventions", "detail", (thread, number), json.dumps(detail, sort_keys=True))
    tx.execute(
        "INSERT INTO vertebra_interventions (thread, number, kind, node, principal, detail, at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        *(thread, number, kind, node, by, text, tx.now()),
    )


def _advance(tx: Tx, thread: str, visit: str, kept: Kept, reason: str) -> int:
    tx.lock(calls.books_of(thread))
    row = tx.one("SELECT max(epoch) FROM vertebra_epochs WHERE thread = ? AND visit = ?", thread, visit)
    epoch = (int(row[0]) if row and row[0] is not None else 0) + 1
    key = (thread, visit, epoch)
    text = seal(tx.seals, "epochs", "kept", key, json.dumps(sorted(kept)) if kept else None)
    tx.execute(
        "INSERT INTO vertebra_epochs (thread, visit, epoch, kept, reason, at) VALUES (?, ?, ?, ?, ?, ?)",
        *(*key, text, reason, tx.now()),
    )
    return epoch


def _value(tx: Tx, thread: str, visit: str, name: str, value: str) -> str:
    key = (thread, visit, name)
    tx.execute(
        "INSERT INTO vertebra_values (thread, visit, name, value) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        *(*key, seal(tx.seals, "values", "value", key, value)),
    )
    row = tx.one("SELECT value FROM vertebra_values WHERE thread = ? AND visit = ? AND name = ?", *key)
    assert row is not None
    return str(unseal(tx.seals, "values", "value", key, row[0]))


def _visit_ended(tx: Tx, thread: str, record: VisitRecord) -> None:
    text = json.dumps(record.error) if record.error else None
    error = seal(tx.seals, "visits", "error", (thread, record.visit), text)
    tx.execute(
        "INSERT INTO vertebra_visits (thread, visit, node, step, run_id, outcome, executions, started_at, "
        "finished_at, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (thread, visit) DO UPDATE SET "
        "run_id = excluded.run_id, outcome = excluded.outcome, finished_at = excluded.finished_at, "
        "executions = vertebra_visits.executions + excluded.executions, error = excluded.error",
        *(thread, record.visit, record.node, record.step, record.run_id, record.outcome, record.executions),
        *(record.started_at, record.finished_at, error),
    )


def _kept(text: str | None) -> Kept | None:
    return None if text is None else frozenset((str(h), int(o)) for h, o in json.loads(text))
