"""What is recorded of a thread, as a value: read from its row, and whatever is wrong with that is told."""

from __future__ import annotations

import json
from typing import get_args

from vertebra.checkpointers.content import unseal
from vertebra.checkpointers.lease import Holder
from vertebra.checkpointers.legible import as_dict, legible
from vertebra.databases.database import Row, Tx
from vertebra.databases.sealing import Seals
from vertebra.types import RunStatus, ThreadRecord

COLUMNS = (
    "thread, graph, version, fingerprint, shape, run_id, status, branch, recoveries, created_at, updated_at, "
    "lease_holder, lease_epoch, lease_until, cancel_requested, principal, error, story, input, "
    "parent, parent_checkpoint, seed"
)
_STATUSES = get_args(RunStatus)


def get(tx: Tx, thread: str) -> ThreadRecord | None:
    """The record of a thread, if there is one."""
    row = tx.one(f"SELECT {COLUMNS} FROM vertebra_threads WHERE thread = ?", thread)
    return None if row is None else record_of(tx.seals, row)


def record_of(seals: Seals, row: Row) -> ThreadRecord:
    """From a row of ``COLUMNS``. Raises ``EncryptionError``, ``StoreCorrupt``."""
    thread = str(row[0])
    with legible(thread, "run record"):
        return _record_of(seals, thread, row)


def _record_of(seals: Seals, thread: str, row: Row) -> ThreadRecord:
    (_, graph, version, fingerprint, shape, run_id, status, branch, recoveries, created, updated) = row[:11]
    (holder, epoch, until, cancel, principal, error, story, given, parent, parent_checkpoint, seed) = row[11:]
    error = unseal(seals, "threads", "error", (thread,), error)
    if status not in _STATUSES:
        raise ValueError("no status")
    if holder is not None:
        Holder.from_text(holder)
    return ThreadRecord(
        thread=thread,
        graph=graph,
        version=version,
        fingerprint=fingerprint,
        shape=as_dict(json.loads(shape)),
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
        error=as_dict(json.loads(error)) if error else None,
        story=tuple(as_dict(item) for item in json.loads(story)),
        input=unseal(seals, "threads", "input", (thread,), given),
        parent=parent,
        parent_checkpoint=parent_checkpoint,
        seed=seed,
    )
