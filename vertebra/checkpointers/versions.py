"""The version of its graph that a thread belongs to: held, put in doubt and settled under the lease."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from vertebra.checkpointers.content import seal
from vertebra.checkpointers.journal import note_intervention
from vertebra.checkpointers.lease import Holder, Lease
from vertebra.checkpointers.leasing import cancel_now, refuse_if_held
from vertebra.databases.database import Database, Tx
from vertebra.errors import LeaseLost, ThreadNotFound
from vertebra.types import ThreadRecord

IN_DOUBT = ""
"""The fingerprint of a thread whose checkpoint is being rewritten: that of no graph, so that every release asks."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a thread is from now on. ``detail`` goes into the intervention that tells of it."""

    version: str
    fingerprint: str
    shape: Mapping[str, Any]
    principal: str | None
    detail: Mapping[str, Any]
    input: bytes | None = None
    """What the run is given instead, where it has not begun."""
    asks_again: bool = False
    """A question was lost with its task: the thread is to be driven on, to ask it anew."""
    stale_timers: Collection[str] = ()


class VersionStore:
    """Changing the version of threads in one database. A lease of ``hold`` leaves the thread's status as it is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def hold(self, thread: str, holder: Holder, ttl_s: float) -> tuple[ThreadRecord, Lease]:
        """Take the lease. Raises ``ThreadBusy``, ``ThreadNotFound``."""
        return await self._database.run(lambda tx: hold(tx, thread, holder, ttl_s))

    async def doubt(self, lease: Lease) -> None:
        """Prolong the lease, and let no graph take the thread for its own by its fingerprint. Raises ``LeaseLost``."""

        def write(tx: Tx) -> None:
            require(tx, lease)
            tx.execute(
                "UPDATE vertebra_threads SET fingerprint = ?, lease_until = ? WHERE thread = ?",
                *(IN_DOUBT, tx.now() + lease.ttl_s, lease.thread),
            )

        await self._database.run(write)

    async def settle(self, lease: Lease, settled: Settled) -> None:
        """Record what the thread is now, and what it was, and let it go: all at once. Raises ``LeaseLost``."""
        await self._database.run(lambda tx: _settle(tx, lease, settled))

    async def release(self, lease: Lease) -> None:
        """Let the thread go as it is, in doubt if it is. Does nothing where the lease is lost."""

        def write(tx: Tx) -> None:
            with contextlib.suppress(LeaseLost):
                require(tx, lease)
                let_go(tx, lease)

        await self._database.run(write)


def hold(tx: Tx, thread: str, holder: Holder, ttl_s: float) -> tuple[ThreadRecord, Lease]:
    record = refuse_if_held(tx, thread)
    if record is None:
        raise ThreadNotFound(f"There is no thread {thread!r} here.", thread=thread)
    now, story, recoveries = tx.now(), list(record.story), record.recoveries
    if record.status == "running" and record.holder is not None:
        recoveries += 1  # whoever takes the thread next does not see this holder any more
        story.append({"at": now, "died": str(Holder.from_text(record.holder)), "recovery": recoveries})
    tx.execute(
        "UPDATE vertebra_threads SET lease_holder = ?, lease_epoch = lease_epoch + 1, lease_until = ?, "
        "recoveries = ?, story = ? WHERE thread = ?",
        *(holder.to_text(), now + ttl_s, recoveries, json.dumps(story), thread),
    )
    return record, Lease(thread, holder, record.lease_epoch + 1, ttl_s, record.run_id)


def require(tx: Tx, lease: Lease) -> None:
    tx.lock(lease.thread)
    row = tx.one("SELECT lease_epoch, lease_holder FROM vertebra_threads WHERE thread = ?", lease.thread)
    if row is None or (int(row[0]), row[1]) != (lease.epoch, lease.holder.to_text()):
        raise LeaseLost(f"Thread {lease.thread!r} was taken over by another process.", thread=lease.thread)


def _settle(tx: Tx, lease: Lease, settled: Settled) -> None:
    require(tx, lease)
    row = tx.one("SELECT version FROM vertebra_threads WHERE thread = ?", lease.thread)
    change = f"{row[0] if row else ''} -> {settled.version}"
    tx.execute(
        "UPDATE vertebra_threads SET version = ?, fingerprint = ?, shape = ?, updated_at = ? WHERE thread = ?",
        *(settled.version, settled.fingerprint, json.dumps(settled.shape), tx.now(), lease.thread),
    )
    if settled.input is not None:
        given = seal(tx.seals, "threads", "input", (lease.thread,), settled.input)
        tx.execute("UPDATE vertebra_threads SET input = ? WHERE thread = ?", given, lease.thread)
    if settled.asks_again:
        tx.execute(
            "UPDATE vertebra_threads SET status = 'running' WHERE thread = ? AND status = 'interrupted'", lease.thread
        )
    for name in settled.stale_timers:
        tx.execute("DELETE FROM vertebra_timers WHERE thread = ? AND name = ?", lease.thread, name)
    note_intervention(tx, lease.thread, "version", change, settled.principal, settled.detail)
    let_go(tx, lease)


def let_go(tx: Tx, lease: Lease) -> None:
    tx.execute("UPDATE vertebra_threads SET lease_holder = NULL, lease_until = NULL WHERE thread = ?", lease.thread)
    row = tx.one("SELECT cancel_requested FROM vertebra_threads WHERE thread = ?", lease.thread)
    if row is not None and row[0]:  # asked for in the meantime: who asked was told that it will stop
        cancel_now(tx, lease.thread)
