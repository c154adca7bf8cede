"""Who holds a thread: taking it, prolonging, letting go; each a function of a transaction over the run records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vertebra.checkpointers.content import seal
from vertebra.checkpointers.fencing import lost
from vertebra.checkpointers.lease import Holder, Lease, is_dead
from vertebra.checkpointers.thread_rows import get
from vertebra.databases.database import Tx
from vertebra.errors import CrashLoop, ThreadBusy, ThreadNotFinished, ThreadNotFound
from vertebra.types import RunStatus, ThreadRecord

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


def refuse_if_held(tx: Tx, thread: str) -> ThreadRecord | None:
    """The thread, locked, if there is one. Raises ``ThreadBusy`` while a living process holds it."""
    tx.lock(thread)
    record = get(tx, thread)
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


def begin(
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
    """What ``RunStore.begin`` does."""
    record = refuse_if_held(tx, thread)
    if record is None and known:
        raise ThreadNotFound(f"Thread {thread!r} was deleted meanwhile.", thread=thread)
    if record is not None and record.status in ("running", "interrupted", "failed"):
        if not record.cancel_requested and (record.input != start.input or record.status == "interrupted"):
            raise ThreadNotFinished(_unfinished(record), thread=thread, status=record.status)
        if (record.error or {}).get("code") == CrashLoop.code:
            raise _set_aside_before(record)
        by_hand = record.status != "running"
        taken = take(tx, thread, holder, ttl_s, max_recoveries=max_recoveries, by_hand=by_hand, progress=progress)
        if taken is not None:
            return taken
        record = get(tx, thread)  # cancelled, and so ended
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
    fresh = get(tx, thread)
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


def take(
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
    taken = get(tx, thread)
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


def renew(tx: Tx, lease: Lease) -> Renewal:
    """Prolong a lease, if it is still held."""
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


def finish(tx: Tx, lease: Lease, status: RunStatus, error: Mapping[str, Any] | None) -> None:
    """Record how a run stands, and let its lease go. Raises ``LeaseLost``."""
    tx.lock(lease.thread)
    record = get(tx, lease.thread)
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


def set_aside(tx: Tx, thread: str, error: Mapping[str, Any]) -> None:
    """Mark a run that nobody holds as failed."""
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


def cancel(tx: Tx, thread: str) -> bool:
    """Cancel a thread that nobody holds, or ask its holder to; whether that was at once. Raises ``ThreadNotFound``."""
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
