"""Run records: where each thread stands, who writes it, what was answered, what is due."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vertebra.checkpointers.content import seal, unseal
from vertebra.checkpointers.fencing import lost, require_held
from vertebra.checkpointers.lease import Holder, Lease, is_dead
from vertebra.checkpointers.migrations import THREAD_TABLES
from vertebra.databases.database import Database, Row, Tx
from vertebra.databases.sealing import Seals
from vertebra.errors import (
    AnswerMismatch,
    CrashLoop,
    ThreadBusy,
    ThreadCancelled,
    ThreadNotFinished,
    ThreadNotFound,
)
from vertebra.types import RunStatus, ThreadRecord

_COLUMNS = (
    "thread, graph, version, fingerprint, shape, run_id, status, branch, recoveries, created_at, updated_at, "
    "lease_holder, lease_epoch, lease_until, cancel_requested, principal, error, story, input, "
    "parent, parent_checkpoint, seed"
)
_STORY_LENGTH = 50


@dataclass(frozen=True, slots=True)
class Start:
    """What a new run of a thread needs to be known by."""

    run_id: str
    graph: str
    version: str
    fingerprint: str
    shape: Mapping[str, Any]
    input: bytes | None
    principal: str | None


@dataclass(frozen=True, slots=True)
class Renewal:
    """The answer to a heartbeat."""

    held: bool
    cancel_requested: bool


class RunStore:
    """Threads in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, thread: str) -> ThreadRecord | None:
        return await self._database.run(lambda tx: _get(tx, thread))

    async def require(self, thread: str) -> ThreadRecord:
        """``get``, raising ``ThreadNotFound``."""
        record = await self.get(thread)
        if record is None:
            raise ThreadNotFound(f"There is no thread {thread!r} here.", thread=thread)
        return record

    async def threads(self, *, status: str | None = None, graph: str | None = None) -> Sequence[ThreadRecord]:
        """All threads, latest first."""
        wanted = [(c, v) for c, v in (("status", status), ("graph", graph)) if v is not None]
        where = " AND ".join(f"{column} = ?" for column, _ in wanted) or "1 = 1"
        rows = await self._database.run(
            lambda tx: tx.all(
                f"SELECT {_COLUMNS} FROM vertebra_threads WHERE {where} ORDER BY updated_at DESC",
                *(value for _, value in wanted),
            )
        )
        return [_record(self._database.seals, row) for row in rows]

    async def begin(
        self,
        thread: str,
        start: Start,
        holder: Holder,
        ttl_s: float,
        *,
        max_recoveries: int | None = None,
        progress: str | None = None,
        known: bool = False,
    ) -> tuple[ThreadRecord, Lease]:
        """Start a run: on a new thread, or a further turn of one that has ended.

        Given the very input of a run that has not ended, it takes that run up again (a job that is
        delivered twice is one run); where its process has died that counts as in ``take``. Raises
        ``ThreadBusy``, ``ThreadNotFinished`` and ``CrashLoop``; with ``known`` ``ThreadNotFound``, if the thread
        that the input was read for has been deleted since.
        """
        return await self._database.run(
            lambda tx: _begin(
                tx, thread, start, holder, ttl_s, max_recoveries=max_recoveries, progress=progress, known=known
            )
        )

    async def take(
        self,
        thread: str,
        holder: Holder,
        ttl_s: float,
        *,
        max_recoveries: int | None = None,
        progress: str | None = None,
        by_hand: bool = False,
    ) -> tuple[ThreadRecord, Lease]:
        """Take the lease of a thread that is there.

        With ``max_recoveries``, taking over from a dead holder without progress since the last time
        is counted, and refused over the cap. ``progress`` is the newest checkpoint, which the dead
        holder may not have lived to note. ``by_hand`` starts the count anew, and takes a thread that
        is not running, too. Raises ``ThreadBusy``, ``ThreadNotFound``, ``ThreadCancelled``, ``CrashLoop``.
        """
        taken = await self._database.run(
            lambda tx: _take(
                tx, thread, holder, ttl_s, max_recoveries=max_recoveries, progress=progress, by_hand=by_hand
            )
        )
        if taken is None:
            raise ThreadCancelled(f"Thread {thread!r} was cancelled.", thread=thread)
        return taken

    def renew_sync(self, lease: Lease) -> Renewal:
        """Prolong the lease, from the heartbeat's own thread."""
        return self._database.run_sync(lambda tx: _renew(tx, lease))

    async def progressed(self, lease: Lease, progress: str | None) -> None:
        """Note that a checkpoint is durable: the count of recoveries without progress starts anew.

        ``progress``: the checkpoint; None for one of a subgraph, which leaves the thread before the same node.
        """
        await self._database.run(
            lambda tx: tx.execute(
                "UPDATE vertebra_threads SET recoveries = 0, progress = coalesce(?, progress), updated_at = ? "
                "WHERE thread = ? AND lease_epoch = ? AND lease_holder = ? AND recoveries > 0",
                *(progress, tx.now(), lease.thread, lease.epoch, lease.holder.to_text()),
            )
        )

    async def finish(self, lease: Lease, status: RunStatus, error: Mapping[str, Any] | None) -> None:
        """Record how the run stands and let the lease go. Raises ``LeaseLost``."""
        await self._database.run(lambda tx: _finish(tx, lease, status, error))

    async def set_aside(self, thread: str, error: Mapping[str, Any]) -> None:
        """Mark a run that kills its processes as failed, so that nothing touches it by itself.

        Does nothing when somebody has taken it in the meantime.
        """
        await self._database.run(lambda tx: _set_aside(tx, thread, error))

    async def request_cancel(self, thread: str) -> bool:
        """Ask the holder to stop, or cancel at once where nobody holds the thread. True if that was so."""
        return await self._database.run(lambda tx: _cancel(tx, thread))

    async def recoverable(self, graph: str | None = None) -> list[str]:
        """Threads that are ``running`` but whose holder is dead, oldest first."""

        def find(tx: Tx) -> list[str]:
            now = tx.now()
            rows = tx.all(
                "SELECT thread, graph, lease_holder, lease_until FROM vertebra_threads "
                "WHERE status = 'running' ORDER BY updated_at"
            )
            return [
                thread
                for thread, name, holder, until in rows
                if (graph is None or name == graph)
                and (holder is None or is_dead(Holder.from_text(holder), float(until), now))
            ]

        return await self._database.run(find)

    async def answer(self, thread: str, interrupt_id: str, answer: str, principal: str | None) -> bool:
        """Record the answer to an interrupt, once. True if it is new; raises ``AnswerMismatch``."""
        return await self._database.run(lambda tx: _answer(tx, thread, interrupt_id, answer, principal))

    async def answers(self, thread: str) -> dict[str, str]:
        """Recorded answers by interrupt id, as JSON."""
        rows = await self._database.run(
            lambda tx: tx.all("SELECT interrupt_id, answer FROM vertebra_answers WHERE thread = ?", thread)
        )
        seals = self._database.seals
        return {str(i): str(unseal(seals, "answers", "answer", (thread, i), a)) for i, a in rows}

    async def set_timer(self, thread: str, name: str, in_s: float, *, lease: Lease | None = None) -> float:
        """Set a timer that survives its process, once; returns when it is due (database clock).

        Under a lease that is lost it raises ``LeaseLost``.
        """

        def write(tx: Tx) -> float:
            require_held(tx, lease)
            due = tx.now() + in_s
            tx.execute(
                "INSERT INTO vertebra_timers (thread, name, due_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                *(thread, name, due),
            )
            row = tx.one("SELECT due_at FROM vertebra_timers WHERE thread = ? AND name = ?", thread, name)
            return float(row[0]) if row else due

        return await self._database.run(write)

    async def clear_timer(self, thread: str, name: str) -> None:
        await self._database.run(
            lambda tx: tx.execute("DELETE FROM vertebra_timers WHERE thread = ? AND name = ?", thread, name)
        )

    async def timers(self, thread: str) -> dict[str, float]:
        """The timers of a thread: by name, when each is due (database clock)."""
        rows = await self._database.run(
            lambda tx: tx.all("SELECT name, due_at FROM vertebra_timers WHERE thread = ?", thread)
        )
        return {str(name): float(due) for name, due in rows}

    async def due_timers(self) -> list[tuple[str, str]]:
        """Threads and names of the timers that are due by the database's clock, earliest first."""
        rows = await self._database.run(
            lambda tx: tx.all("SELECT thread, name FROM vertebra_timers WHERE due_at <= ? ORDER BY due_at", tx.now())
        )
        return [(str(t), str(n)) for t, n in rows]

    async def require_free(self, thread: str) -> None:
        """Raise ``ThreadBusy`` while the thread is held, ``ThreadNotFound`` where there is none."""

        def look(tx: Tx) -> None:
            if refuse_if_held(tx, thread) is None:
                raise ThreadNotFound(f"There is no thread {thread!r} here.", thread=thread)

        await self._database.run(look)

    async def delete(self, thread: str) -> None:
        """Remove all that is kept about a thread here. Raises ``ThreadBusy`` while it is held."""

        def remove(tx: Tx) -> None:
            refuse_if_held(tx, thread)
            for table in THREAD_TABLES:
                tx.execute(f"DELETE FROM vertebra_{table} WHERE thread = ?", thread)

        await self._database.run(remove)


def _get(tx: Tx, thread: str) -> ThreadRecord | None:
    row = tx.one(f"SELECT {_COLUMNS} FROM vertebra_threads WHERE thread = ?", thread)
    return None if row is None else _record(tx.seals, row)


def refuse_if_held(tx: Tx, thread: str) -> ThreadRecord | None:
    """The thread, locked, if there is one. Raises ``ThreadBusy`` while a living process holds it."""
    tx.lock(thread)
    record = _get(tx, thread)
    if record is not None and record.holder is not None:
        holder = Holder.from_text(record.holder)
        until = record.lease_until or 0.0
        if not is_dead(holder, until, tx.now()):
            raise ThreadBusy(
                f"Thread {thread!r} is being written by {holder}; its lease runs {until - tx.now():.0f} s more "
                "and is prolonged while that process lives.",
                thread=thread,
            )
    return record


def _begin(
    tx: Tx,
    thread: str,
    start: Start,
    holder: Holder,
    ttl_s: float,
    *,
    max_recoveries: int | None,
    progress: str | None,
    known: bool,
) -> tuple[ThreadRecord, Lease]:
    record = refuse_if_held(tx, thread)
    if record is None and known:
        raise ThreadNotFound(f"Thread {thread!r} was deleted meanwhile.", thread=thread)
    if record is not None and record.status in ("running", "interrupted", "failed"):
        if not record.cancel_requested and (record.input != start.input or record.status == "interrupted"):
            raise ThreadNotFinished(_unfinished(record), thread=thread, status=record.status)
        if (record.error or {}).get("code") == CrashLoop.code:
            raise _set_aside_before(record)
        by_hand = record.status != "running"
        taken = _take(tx, thread, holder, ttl_s, max_recoveries=max_recoveries, by_hand=by_hand, progress=progress)
        if taken is not None:
            return taken
        record = _get(tx, thread)  # cancelled, and so ended
    now, epoch = tx.now(), 1 if record is None else record.lease_epoch + 1
    values = (
        *(start.graph, start.version, start.fingerprint, json.dumps(start.shape), start.run_id, start.principal),
        *(seal(tx.seals, "threads", "input", (thread,), start.input), holder.to_text(), epoch, now + ttl_s, now),
    )
    if record is None:
        tx.execute(
            "INSERT INTO vertebra_threads (graph, version, fingerprint, shape, run_id, principal, input, lease_holder, "
            "lease_epoch, lease_until, updated_at, status, created_at, thread) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'running', ?, ?)",
            *values,
            *(now, thread),
        )
    else:
        tx.execute(
            "UPDATE vertebra_threads SET graph = ?, version = ?, fingerprint = ?, shape = ?, run_id = ?, "
            "principal = ?, input = ?, lease_holder = ?, lease_epoch = ?, lease_until = ?, updated_at = ?, "
            "status = 'running', error = NULL, story = '[]', recoveries = 0, cancel_requested = 0 WHERE thread = ?",
            *values,
            thread,
        )
    fresh = _get(tx, thread)
    assert fresh is not None
    return fresh, Lease(thread, holder, epoch, ttl_s, start.run_id)


def _set_aside_before(record: ThreadRecord) -> CrashLoop:
    return CrashLoop(
        f"Thread {record.thread!r} was set aside: it killed every process that drove it.",
        thread=record.thread,
        story=list(record.story),
    )


def _unfinished(record: ThreadRecord) -> str:
    state = {"running": "was left running", "interrupted": "waits for an answer", "failed": "has failed"}[record.status]
    return f"Thread {record.thread!r} {state} and would lose its place by a new start with another input."


def _take(
    tx: Tx,
    thread: str,
    holder: Holder,
    ttl_s: float,
    *,
    max_recoveries: int | None,
    by_hand: bool,
    progress: str | None = None,
) -> tuple[ThreadRecord, Lease] | None:
    """The thread and its lease; None if it is cancelled."""
    record = refuse_if_held(tx, thread)
    if record is None:
        raise ThreadNotFound(f"There is no thread {thread!r} here.", thread=thread)
    if record.status == "cancelled":
        return None
    if record.cancel_requested:  # its process died before it came to stop
        cancel_now(tx, thread)
        return None
    if not by_hand and record.status != "running":
        raise ThreadBusy(
            f"Thread {thread!r} was driven on by another process and is {record.status}.",
            remedy="nothing: there is no dead run to recover.",
            thread=thread,
        )
    has_progressed = _note_progress(tx, thread, progress)
    now, story, recoveries = tx.now(), list(record.story), 0 if by_hand or has_progressed else record.recoveries
    if record.status == "running" and record.holder is not None:
        recoveries += 1
        story.append({"at": now, "died": str(Holder.from_text(record.holder)), "recovery": recoveries})
        if max_recoveries is not None and recoveries > max_recoveries:
            raise CrashLoop(
                f"Thread {thread!r} has killed {recoveries} processes in a row without reaching another checkpoint.",
                thread=thread,
                story=story,
            )
    tx.execute(
        "UPDATE vertebra_threads SET status = 'running', lease_holder = ?, lease_epoch = lease_epoch + 1, "
        "lease_until = ?, updated_at = ?, recoveries = ?, story = ?, error = NULL WHERE thread = ?",
        *(holder.to_text(), now + ttl_s, now, recoveries, json.dumps(story[-_STORY_LENGTH:]), thread),
    )
    taken = _get(tx, thread)
    assert taken is not None
    return taken, Lease(thread, holder, taken.lease_epoch, ttl_s, taken.run_id)


def _note_progress(tx: Tx, thread: str, progress: str | None) -> bool:
    """Whether the thread has got further than was known."""
    if progress is None:
        return False
    changed = tx.execute(
        "UPDATE vertebra_threads SET progress = ? WHERE thread = ? AND (progress IS NULL OR progress <> ?)",
        *(progress, thread, progress),
    )
    return changed > 0


def _renew(tx: Tx, lease: Lease) -> Renewal:
    row = tx.one(
        "SELECT lease_epoch, lease_holder, cancel_requested FROM vertebra_threads WHERE thread = ?", lease.thread
    )
    if row is None or int(row[0]) != lease.epoch or row[1] != lease.holder.to_text():
        return Renewal(held=False, cancel_requested=False)
    tx.execute(
        "UPDATE vertebra_threads SET lease_until = ? WHERE thread = ? AND lease_epoch = ?",
        *(tx.now() + lease.ttl_s, lease.thread, lease.epoch),
    )
    return Renewal(held=True, cancel_requested=bool(row[2]))


def _finish(tx: Tx, lease: Lease, status: RunStatus, error: Mapping[str, Any] | None) -> None:
    tx.lock(lease.thread)
    record = _get(tx, lease.thread)
    if record is None or (record.lease_epoch, record.holder) != (lease.epoch, lease.holder.to_text()):
        raise lost(lease)
    tx.execute(
        "UPDATE vertebra_threads SET status = ?, error = ?, lease_holder = NULL, lease_until = NULL, "
        "cancel_requested = 0, updated_at = ? WHERE thread = ?",
        *(status, _error_text(tx, lease.thread, error), tx.now(), lease.thread),
    )
    # Who asked was told that it will stop: it has not ended, so it stops here.
    if status == "cancelled" or (record.cancel_requested and status != "done"):
        cancel_now(tx, lease.thread)


def _set_aside(tx: Tx, thread: str, error: Mapping[str, Any]) -> None:
    try:
        record = refuse_if_held(tx, thread)
    except ThreadBusy:
        return
    if record is not None and record.status == "running":
        # Under a higher epoch, so that a holder who was only slow cannot finish it behind our back.
        tx.execute(
            "UPDATE vertebra_threads SET status = 'failed', error = ?, lease_holder = NULL, lease_until = NULL, "
            "lease_epoch = lease_epoch + 1, updated_at = ? WHERE thread = ?",
            *(_error_text(tx, thread, error), tx.now(), thread),
        )


def _error_text(tx: Tx, thread: str, error: Mapping[str, Any] | None) -> Any:
    return seal(tx.seals, "threads", "error", (thread,), None if error is None else json.dumps(error))


def _cancel(tx: Tx, thread: str) -> bool:
    try:
        record = refuse_if_held(tx, thread)
    except ThreadBusy:
        tx.execute("UPDATE vertebra_threads SET cancel_requested = 1 WHERE thread = ?", thread)
        return False
    if record is None:
        raise ThreadNotFound(f"There is no thread {thread!r} here.", thread=thread)
    if record.status in ("running", "interrupted", "failed"):
        cancel_now(tx, thread)
    return True


def cancel_now(tx: Tx, thread: str) -> None:
    """Cancel a thread, whoever holds it: that one's lease is lost."""
    tx.execute(
        "UPDATE vertebra_threads SET status = 'cancelled', lease_holder = NULL, lease_until = NULL, "
        "lease_epoch = lease_epoch + 1, cancel_requested = 0, updated_at = ? WHERE thread = ?",
        *(tx.now(), thread),
    )
    tx.execute("DELETE FROM vertebra_timers WHERE thread = ?", thread)


def _answer(tx: Tx, thread: str, interrupt_id: str, answer: str, principal: str | None) -> bool:
    tx.lock(thread)
    row = tx.one("SELECT answer FROM vertebra_answers WHERE thread = ? AND interrupt_id = ?", thread, interrupt_id)
    if row is None:
        tx.execute(
            "INSERT INTO vertebra_answers (thread, interrupt_id, answer, principal, at) VALUES (?, ?, ?, ?, ?)",
            *(thread, interrupt_id, seal(tx.seals, "answers", "answer", (thread, interrupt_id), answer)),
            *(principal, tx.now()),
        )
        # From here on it can be recovered: whoever took the answer may die before driving the thread on.
        tx.execute(
            "UPDATE vertebra_threads SET status = 'running', updated_at = ? "
            "WHERE thread = ? AND status = 'interrupted'",
            *(tx.now(), thread),
        )
        return True
    if unseal(tx.seals, "answers", "answer", (thread, interrupt_id), row[0]) != answer:
        raise AnswerMismatch(
            f"Interrupt {interrupt_id!r} of thread {thread!r} already has another answer.",
            thread=thread,
            interrupt=interrupt_id,
        )
    return False


def _record(seals: Seals, row: Row) -> ThreadRecord:
    (thread, graph, version, fingerprint, shape, run_id, status, branch, recoveries, created, updated) = row[:11]
    (holder, epoch, until, cancel, principal, error, story, given, parent, parent_checkpoint, seed) = row[11:]
    error = unseal(seals, "threads", "error", (thread,), error)
    return ThreadRecord(
        thread=thread,
        graph=graph,
        version=version,
        fingerprint=fingerprint,
        shape=json.loads(shape),
        run_id=run_id,
        status=status,
        branch=branch,
        recoveries=int(recoveries),
        created_at=float(created),
        updated_at=float(updated),
        holder=holder,
        lease_epoch=int(epoch),
        lease_until=None if until is None else float(until),
        cancel_requested=bool(cancel),
        principal=principal,
        error=json.loads(error) if error else None,
        story=tuple(json.loads(story)),
        input=unseal(seals, "threads", "input", (thread,), given),
        parent=parent,
        parent_checkpoint=parent_checkpoint,
        seed=seed,
    )
