"""Bringing a thread in flight up to the graph as it is now, under its lease: it goes on, is migrated, or is refused.

The checkpoint is rewritten first, with a mark that says for which graph, and the run record is settled after it. A
thread that is found between the two is settled by whoever comes next with that graph, and refused by every other:
its fingerprint is in doubt meanwhile. So it is migrated once, or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vertebra.checkpointers.fencing import writing_under
from vertebra.checkpointers.lease import Lease, new_holder
from vertebra.checkpointers.versions import Settled
from vertebra.errors import GraphChanged
from vertebra.graphs.shape import difference
from vertebra.runtime.carrying import Plan, plan
from vertebra.runtime.delivering import deliver_latest
from vertebra.runtime.outcome import pending_interrupts
from vertebra.runtime.session import patiently
from vertebra.runtime.snapshots import snapshot_of, thread_config
from vertebra.types import ThreadRecord

if TYPE_CHECKING:
    from vertebra.runtime.app import App


def require_same_shape(app: App, record: ThreadRecord, *, ended_too: bool = False) -> None:
    """Raise ``GraphChanged`` where a thread was started by another shape of the graph.

    One that has ended is let through unless ``ended_too``: nothing of it goes on.
    """
    if record.fingerprint == app.fingerprint:
        return
    if record.status in ("done", "cancelled") and not ended_too:
        return
    lines = difference(record.shape, app.shape)
    raise GraphChanged(
        f"Thread {record.thread!r} was started by graph {record.graph!r} version {record.version!r}, "
        "which has changed since:\n" + "\n".join(f"  {line}" for line in lines) + "\n",
        thread=record.thread,
        graph=app.name,
    )


async def brought_up(app: App, record: ThreadRecord, by: str | None = None, wait_s: float = 0.0) -> ThreadRecord:
    """The thread, now of this app's graph if it was of another. It stands as it did, but for what a migration says.

    Raises ``GraphChanged``, ``MigrationFailed`` (the thread is left as it was), ``ThreadBusy``.
    """
    if _is_fine(app, record):
        return record
    store = app.services.store
    record, lease = await patiently(
        lambda: store.versions.hold(record.thread, new_holder(), app.services.lease_ttl_s), app.services.clock, wait_s
    )
    try:
        if _is_fine(app, record):
            await store.versions.release(lease)
        else:
            await _carry(app, record, lease, by)
    except BaseException:
        await asyncio.shield(store.versions.release(lease))
        raise
    return await store.runs.require(record.thread)


def _is_fine(app: App, record: ThreadRecord) -> bool:
    return record.fingerprint == app.fingerprint or record.status in ("done", "cancelled")


async def _carry(app: App, record: ThreadRecord, lease: Lease, by: str | None) -> None:
    store, config = app.services.store, thread_config(record.thread)
    await deliver_latest(app.services, record.thread)  # what is rewritten is no superstep's any more
    planned = plan(app, record, await store.saver.aget_tuple(config))
    if planned.put is not None:
        await store.versions.doubt(lease)
        with writing_under(lease):
            await store.saver.aput(*planned.put)
    waiting = {i for i, _, _ in pending_interrupts(await snapshot_of(app.graph, config))}
    timers = await store.runs.timers(record.thread)
    await store.versions.settle(lease, _settled(app, record, planned, by, waiting, timers))


def _settled(
    app: App, record: ThreadRecord, planned: Plan, by: str | None, waiting: set[str], timers: Mapping[str, float]
) -> Settled:
    detail = {
        **planned.detail,
        "from": {"version": record.version, "shape": record.shape},
        "to": {"version": app.version, "fingerprint": app.fingerprint},
        "changes": difference(record.shape, app.shape),
    }
    names = (name for name in timers if name.startswith("deadline:"))
    return Settled(
        app.version,
        app.fingerprint,
        app.shape,
        by,
        detail,
        input=planned.input,
        asks_again=bool(planned.detail["asked_anew"]),
        stale_timers=[name for name in names if name.removeprefix("deadline:") not in waiting],
    )


__all__ = ["brought_up", "require_same_shape"]
