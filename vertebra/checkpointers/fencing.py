"""No write after a takeover: whoever writes under a lease proves it in the transaction that writes.

A process may be stopped between being asked whether it still holds the thread and its write, for as
long as it likes (M. Kleppmann, "How to do distributed locking", 2016). So the epoch of the lease is
compared where it cannot change any more: in SQLite the transaction is the only writer, in Postgres the
thread's row is locked against a takeover until the transaction ends.

A lease is held on a row of a store that is not empty, which gets no keys any more. So of a store that was opened
without a key only what is written without a lease asks whether it has got keys since.

Order of locks: a takeover locks the thread's name, then changes its row. A fenced transaction locks the
row first, so it must not lock the thread's name afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from vertebra.checkpointers.lease import Lease
from vertebra.databases.database import Database, Tx
from vertebra.errors import LeaseLost

current_lease: ContextVar[Lease | None] = ContextVar("vertebra_lease", default=None)
"""The lease under which a saver writes."""

HELD = (
    "SELECT 1 FROM vertebra_threads WHERE thread = ? AND lease_epoch = ? AND run_id = ? "
    "AND (lease_holder IS NULL OR lease_holder = ?)"
)
"""A row if nobody else has held the thread since. A lease that was let go still proves that."""


@contextmanager
def writing_under(lease: Lease) -> Iterator[None]:
    """Within, and in tasks that are started within, savers write under this lease."""
    token = current_lease.set(lease)
    try:
        yield
    finally:
        current_lease.reset(token)


def held_arguments(lease: Lease) -> tuple[str, int, str, str]:
    """The arguments of ``HELD``."""
    return lease.thread, lease.epoch, lease.run_id, lease.holder.to_text()


def require_held(tx: Tx, lease: Lease | None) -> None:
    """Raise ``LeaseLost`` if another has held the thread since; nobody can before this transaction ends."""
    if lease is not None and tx.one_kept(HELD, *held_arguments(lease)) is None:
        raise lost(lease)


class Proof:
    """For savers that write elsewhere: asked as late as can be, but not in their transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(self, lease: Lease) -> None:
        """Raise ``LeaseLost`` if another has held the thread since."""
        await self._database.run(lambda tx: require_held(tx, lease))

    def ask_sync(self, lease: Lease) -> None:
        """As ``ask``."""
        self._database.run_sync(lambda tx: require_held(tx, lease))


def lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"Thread {lease.thread!r} was taken over by another process.", thread=lease.thread)
