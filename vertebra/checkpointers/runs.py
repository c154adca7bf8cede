"""Run records: where each thread stands, who writes it, what was answered, what is due."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vertebra.checkpointers import leasing, thread_rows
from vertebra.checkpointers.content import seal, unseal
from vertebra.checkpointers.fencing import require_held
from vertebra.checkpointers.lease import Holder, Lease, is_dead
from vertebra.checkpointers.leasing import Renewal, Start
from vertebra.checkpointers.migrations import THREAD_TABLES
from vertebra.databases.database import Database, Tx
from vertebra.errors import (
    AnswerMismatch,
    ContentTampered,
    StoreCorrupt,
    ThreadCancelled,
    ThreadNotFound,
    VertebraError,
)
from vertebra.types import RunStatus, ThreadRecord

Damaged = Callable[[str, VertebraError], None]
"""Told of a thread, and what is wrong with its record."""


class RunStore:
    """Threads in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, thread: str) -> ThreadRecord | None:
        return await self._database.run(lambda tx: thread_rows.get(tx, thread))

    async def require(self, thread: str) -> ThreadRecord:
        """``get``, raising ``ThreadNotFound``."""
        record = await self.get(thread)
        if record is None:
            raise ThreadNotFound(f"There is no thread {thread!r} here.", thread=thread)
        return record

    async def threads(
        self, *, status: str | None = None, graph: str | None = None, damaged: Damaged | None = None
    ) -> Sequence[ThreadRecord]:
        """All threads, latest first. ``damaged`` is told of each whose record cannot be read; without it that raises.

        Raises ``StoreCorrupt``, ``EncryptionError``.
        """
        wanted = [(c, v) for c, v in (("status", status), ("graph", graph)) if v is not None]
        where = " AND ".join(f"{column} = ?" for column, _ in wanted) or "1 = 1"
        rows = await self._database.run(
            lambda tx: tx.all(
                f"SELECT {thread_rows.COLUMNS} FROM vertebra_threads WHERE {where} ORDER BY updated_at DESC",
                *(value for _, value in wanted),
            )
        )
        found = []
        for row in rows:
            try:
                found.append(thread_rows.record_of(self._database.seals, row))
            except (StoreCorrupt, ContentTampered) as error:
                if damaged is None:
                    raise
                damaged(str(row[0]), error)
        return found

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
            lambda tx: leasing.begin(
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
            lambda tx: leasing.take(
                tx, thread, holder, ttl_s, max_recoveries=max_recoveries, progress=progress, by_hand=by_hand
            )
        )
        if taken is None:
            raise ThreadCancelled(f"Thread {thread!r} was cancelled.", thread=thread)
        return taken

    def renew_sync(self, lease: Lease) -> Renewal:
        """Prolong the lease, from the heartbeat's own thread."""
        return self._database.run_sync(lambda tx: leasing.renew(tx, lease))

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
        await self._database.run(lambda tx: leasing.finish(tx, lease, status, error))

    async def set_aside(self, thread: str, error: Mapping[str, Any]) -> None:
        """Mark a run that kills its processes as failed, so that nothing touches it by itself.

        Does nothing when somebody has taken it in the meantime.
        """
        await self._database.run(lambda tx: leasing.set_aside(tx, thread, error))

    async def request_cancel(self, thread: str) -> bool:
        """Ask the holder to stop, or cancel at once where nobody holds the thread. True if that was so."""
        return await self._database.run(lambda tx: leasing.cancel(tx, thread))

    async def recoverable(self, graph: str | None = None) -> list[str]:
        """Threads that are ``running`` but whose holder is dead or cannot be made out, oldest first."""

        def find(tx: Tx) -> list[str]:
            now = tx.now()
            rows = tx.all(
                "SELECT thread, graph, lease_holder, lease_until FROM vertebra_threads "
                "WHERE status = 'running' ORDER BY updated_at"
            )
            return [
                thread
                for thread, name, holder, until in rows
                if (graph is None or name == graph) and (holder is None or _is_dead(holder, until, now))
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
            if leasing.refuse_if_held(tx, thread) is None:
                raise ThreadNotFound(f"There is no thread {thread!r} here.", thread=thread)

        await self._database.run(look)

    async def delete(self, thread: str) -> None:
        """Remove all that is kept about a thread here. Raises ``ThreadBusy`` while it is held."""

        def remove(tx: Tx) -> None:
            leasing.refuse_if_held(tx, thread)
            for table in THREAD_TABLES:
                tx.execute(f"DELETE FROM vertebra_{table} WHERE thread = ?", thread)

        await self._database.run(remove)


def _is_dead(holder: str, until: Any, now: float) -> bool:
    try:
        return is_dead(Holder.from_text(holder), float(until), now)
    except (TypeError, ValueError):
        return True  # whoever takes it up is told that its record is damaged


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
