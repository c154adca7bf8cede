"""The journal: each call recorded once, answered from the record ever after."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

from vertebra.checkpointers.allowance import Allowance
from vertebra.checkpointers.fencing import require_held
from vertebra.checkpointers.lease import Lease
from vertebra.databases.database import Database, Row, Tx
from vertebra.types import Attempt, CallKey, CallRecord, RecordedAnswer, VisitRecord

T = TypeVar("T")
Kept = frozenset[tuple[str, int]]

_COLUMNS = (
    "thread, visit, request_hash, epoch, ordinal, run_id, node, step, kind, endpoint, model, status, request, "
    "sequence, answer_status, answer_headers, answer_body, input_tokens, output_tokens, started_at, finished_at, "
    "sends, lost, replays, attempts, origin"
)
_BY_KEY = "thread = ? AND visit = ? AND request_hash = ? AND epoch = ? AND ordinal = ?"


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
        begun = await self._write(lambda tx: _begin(tx, call, allowance))
        if allowance is not None and begun.status == "intent" and begun.sends == 1:
            allowance.add(call.request)
        return begun

    async def sent(self, key: CallKey, attempt: Attempt, *, again: bool) -> None:
        await self._write(lambda tx: _sent(tx, key, attempt, again))

    async def complete(self, key: CallKey, answer: RecordedAnswer, finished_at: float) -> RecordedAnswer:
        recorded = await self._write(lambda tx: _complete(tx, key, answer, finished_at))
        if self._allowance is not None:
            self._allowance.add(recorded.body)
        return recorded

    async def calls(self, thread: str, visit: str | None = None) -> Sequence[CallRecord]:
        where, args = ("thread = ?", [thread]) if visit is None else ("thread = ? AND visit = ?", [thread, visit])
        rows = await self._database.run(
            lambda tx: tx.all(f"SELECT {_COLUMNS} FROM vertebra_calls WHERE {where} ORDER BY started_at", *args)
        )
        return [_record(row) for row in rows]

    async def latest_calls(self, thread: str, limit: int) -> Sequence[CallRecord]:
        """The thread's latest calls of a model whose tokens are known."""
        rows = await self._database.run(
            lambda tx: tx.all(
                f"SELECT {_COLUMNS} FROM vertebra_calls WHERE thread = ? AND kind = 'llm' AND status = 'done' "
                "AND input_tokens IS NOT NULL ORDER BY started_at DESC LIMIT ?",
                *(thread, limit),
            )
        )
        return [_record(row) for row in rows]

    async def epochs(self, thread: str, visit: str) -> Sequence[Kept | None]:
        rows = await self._database.run(
            lambda tx: tx.all(
                "SELECT kept FROM vertebra_epochs WHERE thread = ? AND visit = ? ORDER BY epoch", thread, visit
            )
        )
        return [_kept(row[0]) for row in rows]

    async def advance_epoch(self, thread: str, visit: str, kept: Kept, reason: str) -> int:
        return await self._write(lambda tx: _advance(tx, thread, visit, kept, reason))

    async def record_value(self, thread: str, visit: str, name: str, value: str) -> str:
        return await self._write(lambda tx: _value(tx, thread, visit, name, value))

    async def windows(self, thread: str) -> list[tuple[str, str]]:
        """What nodes saw of conversations: visit and manifest of each window."""
        rows = await self._database.run(
            lambda tx: tx.all(
                "SELECT visit, value FROM vertebra_values WHERE thread = ? AND name LIKE ? ORDER BY visit, name",
                *(thread, "window:%"),
            )
        )
        return [(str(visit), str(value)) for visit, value in rows]

    async def values(self, thread: str, visit: str) -> dict[str, str]:
        """All that is recorded of a visit by name."""
        rows = await self._database.run(
            lambda tx: tx.all("SELECT name, value FROM vertebra_values WHERE thread = ? AND visit = ?", thread, visit)
        )
        return {str(name): str(value) for name, value in rows}

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
        return [
            VisitRecord(v, n, int(s), r, o, int(e), float(a), float(b), json.loads(x) if x else None)
            for v, n, s, r, o, e, a, b, x in rows
        ]

    async def intervened(self, thread: str, kind: str, node: str, by: str | None, detail: Mapping[str, Any]) -> None:
        await self._write(lambda tx: note_intervention(tx, thread, kind, node, by, detail))

    async def interventions(self, thread: str) -> list[dict[str, Any]]:
        """What was done to the thread by hand, oldest first."""
        rows = await self._database.run(
            lambda tx: tx.all(
                "SELECT kind, node, principal, detail, at FROM vertebra_interventions WHERE thread = ? ORDER BY number",
                thread,
            )
        )
        return [
            {"kind": kind, "node": node, "principal": by, "detail": json.loads(detail), "at": float(at)}
            for kind, node, by, detail, at in rows
        ]


def _books_of(thread: str) -> str:
    """What is locked to change a thread's journal: not its name, which a takeover locks (see ``fencing``)."""
    return f"journal of {thread}"


def note_intervention(tx: Tx, thread: str, kind: str, node: str, by: str | None, detail: Mapping[str, Any]) -> None:
    """Add to what was done to a thread by hand, within a transaction of somebody's."""
    tx.lock(_books_of(thread))
    row = tx.one("SELECT count(*) FROM vertebra_interventions WHERE thread = ?", thread)
    number = int(row[0]) if row else 0
    tx.execute(
        "INSERT INTO vertebra_interventions (thread, number, kind, node, principal, detail, at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        *(thread, number, kind, node, by, json.dumps(detail, sort_keys=True), tx.now()),
    )


def forget_answers(tx: Tx, thread: str, *, dry_run: bool = False) -> int:
    """Let go what was asked and answered in a thread; rows, tokens and hashes stay. Returns of how many calls."""
    row = tx.one("SELECT count(*) FROM vertebra_calls WHERE thread = ? AND answer_body IS NOT NULL", thread)
    if not dry_run:
        tx.execute(
            "UPDATE vertebra_calls SET request = NULL, answer_body = NULL "
            "WHERE thread = ? AND (request IS NOT NULL OR answer_body IS NOT NULL)",
            thread,
        )
    return int(row[0]) if row else 0


def _key(key: CallKey) -> tuple[Any, ...]:
    return key.thread, key.visit, key.request_hash, key.epoch, key.ordinal


def _begin(tx: Tx, call: CallRecord, allowance: Allowance | None) -> CallRecord:
    is_new = tx.execute(
        f"INSERT INTO vertebra_calls ({_COLUMNS}) VALUES ({', '.join('?' * 26)}) ON CONFLICT DO NOTHING",
        *_key(call.key),
        *(call.run_id, call.node, call.step, call.kind, call.endpoint, call.model, "intent", call.request),
        *(call.sequence, None, None, None, None, None, call.started_at, None, 1, 0, 0, "[]", None),
    )
    if is_new:
        if allowance is not None:
            allowance.require(tx, call.key.thread, call.request)
        return replace(call, status="intent", sends=1)
    tx.lock(_books_of(call.key.thread))
    known = _get(tx, call.key)
    assert known is not None
    if known.answer is not None and known.answer.pruned:
        return known
    if known.status == "done":
        # An inherited call counts in the run that takes its answer: nobody ran it here before.
        tx.execute(
            "UPDATE vertebra_calls SET replays = replays + 1, "
            f"run_id = CASE WHEN origin IS NULL THEN run_id ELSE ? END WHERE {_BY_KEY}",
            *(call.run_id, *_key(call.key)),
        )
        return replace(known, replays=known.replays + 1, run_id=known.run_id if known.origin is None else call.run_id)
    # An intent whose last sending has no noted outcome: its process died with the answer, if there was one.
    lost = 1 if len(known.attempts) < known.sends else 0
    attempts = (*known.attempts, *([Attempt("unknown: the process died", call.started_at)] * lost))
    tx.execute(
        f"UPDATE vertebra_calls SET sends = sends + 1, lost = lost + ?, attempts = ? WHERE {_BY_KEY}",
        *(lost, _attempts_text(attempts)),
        *_key(call.key),
    )
    return replace(known, sends=known.sends + 1, lost=known.lost + lost, attempts=attempts)


def _get(tx: Tx, key: CallKey) -> CallRecord | None:
    row = tx.one(f"SELECT {_COLUMNS} FROM vertebra_calls WHERE {_BY_KEY}", *_key(key))
    return None if row is None else _record(row)


def _sent(tx: Tx, key: CallKey, attempt: Attempt, again: bool) -> None:
    tx.lock(_books_of(key.thread))
    known = _get(tx, key)
    if known is None:
        return  # the thread was deleted in the meantime
    # `sends` counts what left, `attempts` what is known to have failed: the difference may have been paid.
    tx.execute(
        f"UPDATE vertebra_calls SET attempts = ?, sends = sends + ? WHERE {_BY_KEY}",
        *(_attempts_text([*known.attempts, attempt]), int(again)),
        *_key(key),
    )


def _complete(tx: Tx, key: CallKey, answer: RecordedAnswer, finished_at: float) -> RecordedAnswer:
    changed = tx.execute(
        "UPDATE vertebra_calls SET status = 'done', answer_status = ?, answer_headers = ?, answer_body = ?, "
        f"input_tokens = ?, output_tokens = ?, finished_at = ? WHERE {_BY_KEY} AND status = 'intent'",
        *(answer.status, json.dumps(answer.headers), answer.body, answer.input_tokens, answer.output_tokens),
        finished_at,
        *_key(key),
    )
    if changed:
        return answer
    known = _get(tx, key)
    return (known.answer if known is not None else None) or answer


def _advance(tx: Tx, thread: str, visit: str, kept: Kept, reason: str) -> int:
    tx.lock(_books_of(thread))
    row = tx.one("SELECT max(epoch) FROM vertebra_epochs WHERE thread = ? AND visit = ?", thread, visit)
    epoch = (int(row[0]) if row and row[0] is not None else 0) + 1
    tx.execute(
        "INSERT INTO vertebra_epochs (thread, visit, epoch, kept, reason, at) VALUES (?, ?, ?, ?, ?, ?)",
        *(thread, visit, epoch, json.dumps(sorted(kept)) if kept else None, reason, tx.now()),
    )
    return epoch


def _value(tx: Tx, thread: str, visit: str, name: str, value: str) -> str:
    tx.execute(
        "INSERT INTO vertebra_values (thread, visit, name, value) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        *(thread, visit, name, value),
    )
    row = tx.one("SELECT value FROM vertebra_values WHERE thread = ? AND visit = ? AND name = ?", thread, visit, name)
    assert row is not None
    return str(row[0])


def _visit_ended(tx: Tx, thread: str, record: VisitRecord) -> None:
    tx.execute(
        "INSERT INTO vertebra_visits (thread, visit, node, step, run_id, outcome, executions, started_at, "
        "finished_at, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (thread, visit) DO UPDATE SET "
        "run_id = excluded.run_id, outcome = excluded.outcome, finished_at = excluded.finished_at, "
        "executions = vertebra_visits.executions + excluded.executions, error = excluded.error",
        *(thread, record.visit, record.node, record.step, record.run_id, record.outcome, record.executions),
        *(record.started_at, record.finished_at, json.dumps(record.error) if record.error else None),
    )


def _record(row: Row) -> CallRecord:
    (thread, visit, digest, epoch, ordinal, run_id, node, step, kind, endpoint, model, status, request, sequence) = row[
        :14
    ]
    (a_status, a_headers, a_body, tokens_in, tokens_out, started, finished, sends, lost, replays, attempts) = row[14:25]
    answer = None
    if status == "done":
        headers = tuple((str(k), str(v)) for k, v in json.loads(a_headers))
        body = b"" if a_body is None else bytes(a_body)
        answer = RecordedAnswer(int(a_status), headers, body, _int(tokens_in), _int(tokens_out), pruned=a_body is None)
    return CallRecord(
        key=CallKey(thread, visit, digest, int(epoch), int(ordinal)),
        run_id=run_id,
        node=node,
        step=int(step),
        kind=kind,
        endpoint=endpoint,
        model=model,
        status=status,
        request=request,
        answer=answer,
        started_at=float(started),
        finished_at=None if finished is None else float(finished),
        sends=int(sends),
        lost=int(lost),
        replays=int(replays),
        attempts=tuple(_attempts(attempts)),
        sequence=_int(sequence),
        origin=row[25],
    )


def _int(value: Any) -> int | None:
    return None if value is None else int(value)


def _kept(text: str | None) -> Kept | None:
    return None if text is None else frozenset((str(h), int(o)) for h, o in json.loads(text))


def _attempts(text: str) -> list[Attempt]:
    return [Attempt(**item) for item in json.loads(text)]


def _attempts_text(attempts: Sequence[Attempt]) -> str:
    return json.dumps([asdict(attempt) for attempt in attempts])
