"""Retention: which threads may go, or lose their history or answers; decided once more in the transaction that does it.

A thread that runs or waits is never touched, nor one whose lease is held, nor one that a fork has its history from.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from vertebra.checkpointers.calls import forget_answers
from vertebra.checkpointers.journal import note_intervention
from vertebra.checkpointers.lease import Lease, new_holder
from vertebra.checkpointers.leasing import refuse_if_held
from vertebra.checkpointers.migrations import THREAD_TABLES
from vertebra.checkpointers.together import Drop
from vertebra.checkpointers.versions import hold, let_go, require
from vertebra.databases.database import Tx
from vertebra.errors import LeaseLost, ThreadBusy, UsageError
from vertebra.ports import crash_point
from vertebra.types import Pruned

HOLD_S = 60.0
ENDED = ("done", "failed", "cancelled")
PAST_ANSWERS = ("done", "cancelled")
"""Threads that no recorded answer is needed for: one that has failed is resumed from them."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What is to go, and of which threads."""

    statuses: tuple[str, ...]
    older_than_s: float | None = None
    keep: int | None = None
    """Checkpoints of each namespace that stay."""
    answers: bool = False
    """Requests and answers of recorded calls go."""
    graph: str | None = None
    dry_run: bool = False

    @classmethod
    def of(
        cls,
        statuses: Collection[str] | None,
        older_than_s: float | None,
        keep: int | None,
        answers: bool,
        graph: str | None,
        dry_run: bool,
    ) -> Retention:
        """Without ``statuses``: all ended threads where only history goes, else those that nobody will resume.

        Raises ``UsageError``.
        """
        if isinstance(statuses, str):
            statuses = (statuses,)
        if statuses is None and older_than_s is None and keep is None and not answers:
            raise UsageError(
                "Nothing says which threads are to go.",
                remedy="give an age, statuses, a number of checkpoints to keep, or answers.",
            )
        only_history = keep is not None and not answers
        wanted = tuple(statuses) if statuses is not None else ENDED if only_history else PAST_ANSWERS
        if unknown := sorted({*wanted} - {*ENDED}):
            raise UsageError(
                f"Threads that are {', '.join(map(repr, unknown))} are not pruned.",
                remedy=f"known: {', '.join(ENDED)}.",
            )
        if answers and "failed" in wanted:
            raise UsageError(
                "A thread that has failed is resumed from its recorded answers.",
                remedy="drop the answers of done and cancelled threads, or cancel it first.",
            )
        if (keep is not None and keep < 1) or (older_than_s is not None and older_than_s < 0):
            raise UsageError(
                f"keep={keep}, older_than_s={older_than_s} keeps nothing.",
                remedy="keep 1 checkpoint or more, of threads that are 0 seconds old or more.",
            )
        return cls(wanted, older_than_s, keep, answers, graph, dry_run)

    @property
    def removes(self) -> bool:
        """Whether threads go whole."""
        return self.keep is None and not self.answers


def candidates(tx: Tx, retention: Retention) -> list[str]:
    """Threads that may be pruned as things stand; forks before what they were forked from."""
    wheres: list[tuple[str, tuple[Any, ...]]] = [
        (f"status IN ({', '.join('?' * len(retention.statuses))})", retention.statuses),
    ]
    if retention.graph is not None:
        wheres.append(("graph = ?", (retention.graph,)))
    if retention.older_than_s is not None:
        wheres.append(("updated_at <= ?", (tx.now() - retention.older_than_s,)))
    where = " AND ".join(sql for sql, _ in wheres)
    args = [value for _, values in wheres for value in values]
    rows = tx.all(f"SELECT thread FROM vertebra_threads WHERE {where} ORDER BY created_at DESC", *args)
    return [str(row[0]) for row in rows]


def _refusal(tx: Tx, retention: Retention, thread: str, gone: Collection[str]) -> Pruned | None:
    """What speaks against it, with the thread locked against being driven."""
    if not retention.dry_run:
        # The row itself, too: a fork that is being made from the thread locks it, and is seen once it is made.
        tx.lock(thread)
        tx.execute("UPDATE vertebra_threads SET thread = thread WHERE thread = ?", thread)
    try:
        record = refuse_if_held(tx, thread)
    except ThreadBusy:
        return Pruned(kept={"driven": 1})
    if record is None or record.status not in retention.statuses:
        return Pruned(kept={"driven": 1})  # by somebody since it was listed
    if retention.older_than_s is not None and record.updated_at > tx.now() - retention.older_than_s:
        return Pruned(kept={"driven": 1})
    if not retention.removes and retention.keep is None:
        return None
    forks = {str(row[0]) for row in tx.all("SELECT thread FROM vertebra_threads WHERE parent = ?", thread)}
    return Pruned(kept={"forked": 1}) if forks - {*gone} else None


def prune(tx: Tx, drop: Drop, retention: Retention, thread: str, gone: Collection[str]) -> Pruned:
    """Prune a thread, state and records at once; ``gone``: threads that went before, or would have in a dry run."""
    refused = _refusal(tx, retention, thread, gone)
    if refused is not None:
        return refused
    keep = 0 if retention.removes else retention.keep
    dropped = 0 if keep is None else drop(keep, retention.dry_run)
    crash_point("prune.dropped")
    if retention.removes:
        done = _remove(tx, thread, dropped, retention.dry_run)
    else:
        done = _shorten(tx, retention, thread, dropped)
    crash_point("prune.recorded")
    return done


def _remove(tx: Tx, thread: str, checkpoints: int, dry_run: bool) -> Pruned:
    row = tx.one("SELECT count(*) FROM vertebra_calls WHERE thread = ?", thread)
    if not dry_run:
        for table in THREAD_TABLES:
            tx.execute(f"DELETE FROM vertebra_{table} WHERE thread = ?", thread)
    return Pruned(threads=1, checkpoints=checkpoints, calls=int(row[0]) if row else 0)


def _shorten(tx: Tx, retention: Retention, thread: str, checkpoints: int) -> Pruned:
    answers = forget_answers(tx, thread, dry_run=retention.dry_run) if retention.answers else 0
    if (checkpoints or answers) and not retention.dry_run:
        detail = {"checkpoints": checkpoints, "answers": answers, "keep": retention.keep}
        note_intervention(tx, thread, "prune", "", None, detail)
    return Pruned(shortened=int(checkpoints + answers > 0), checkpoints=checkpoints, answers=answers)


def claim(tx: Tx, retention: Retention, thread: str, gone: Collection[str]) -> Pruned | Lease:
    """Hold a thread that is to be pruned, while its state goes elsewhere; or what speaks against it."""
    refused = _refusal(tx, retention, thread, gone)
    return refused if refused is not None else hold(tx, thread, new_holder(), HOLD_S)[1]


def finish(tx: Tx, dropped: int, retention: Retention, lease: Lease) -> Pruned:
    """The rest, once its state has gone. Raises ``LeaseLost``."""
    require(tx, lease)
    if retention.removes:
        return _remove(tx, lease.thread, dropped, dry_run=False)
    done = _shorten(tx, retention, lease.thread, dropped if retention.keep else 0)
    let_go(tx, lease)
    return done


def release(tx: Tx, lease: Lease) -> None:
    """Let it go again, as far as it came."""
    try:
        require(tx, lease)
    except LeaseLost:
        return
    let_go(tx, lease)
