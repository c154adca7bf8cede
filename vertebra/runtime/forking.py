"""Forking a thread: another thread that stands where this one stood, and may go another way.

In this order: the fork's id is reserved, its state written, and the thread made with all that it inherits,
in one transaction. Killed before that, there is no fork, and the same can be asked again.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers.forks import Fork
from vertebra.checkpointers.lease import new_holder
from vertebra.errors import CheckpointNotFound, ThreadExists
from vertebra.nodes.kinds import node_name
from vertebra.nodes.visit import outer_step
from vertebra.runtime.delivering import deliver_latest
from vertebra.runtime.driving import FORK_KEY
from vertebra.runtime.edges import next_of
from vertebra.runtime.outcome import run_of
from vertebra.runtime.remembering import fork_detail
from vertebra.runtime.roots import Root, root_of
from vertebra.runtime.snapshots import checkpoint_config
from vertebra.runtime.versions import require_same_shape
from vertebra.types import Run, ThreadRecord

if TYPE_CHECKING:
    from vertebra.runtime.app import App


async def fork_thread(
    app: App, thread: str, at: str | None, update: Any, as_node: Any, fresh: bool, fork_id: str
) -> Run:
    """What ``App.fork`` does."""
    store = app.services.store
    record = await store.runs.require(thread)
    require_same_shape(app, record, ended_too=True)
    record, source = await _checkpoint_of(app, record, at)
    if at is None and app.services.memory is not None:
        await deliver_latest(app.services, record.thread)
    before = await store.saver.aget_tuple(source.parent_config) if source.parent_config else None
    run_id = uuid.uuid4().hex
    node = node_name(as_node) if as_node is not None else None
    root = await root_of(app, fork_id, run_id, source, before, update, node)
    visits = () if fresh else await store.forks.visits(record.thread)
    fork = Fork(
        thread=fork_id,
        run_id=run_id,
        # Not `running`: nobody drives it until it is resumed, and recover() must not.
        status="interrupted" if next_of(root.checkpoint) else "done",
        parent=record,
        checkpoint=source.checkpoint["id"],
        fresh=fresh,
        inherits=tuple(visit for visit in visits if outer_step(visit) > root.step),
        node=node or "",
        detail={
            "thread": record.thread,
            "checkpoint": source.checkpoint["id"],
            "fields": sorted(update) if isinstance(update, Mapping) else [],
            "fresh": fresh,
            "memory": await fork_detail(app, record, int((source.metadata or {}).get("step", -1))),
        },
    )
    await _make(app, fork, root)
    return await run_of(app, await store.runs.require(fork_id))


async def _make(app: App, fork: Fork, root: Root) -> None:
    store, holder = app.services.store, new_holder()
    await store.forks.reserve(fork.thread, holder)
    try:
        await _clear_leftovers(app, fork.thread)
        await store.saver.aput(root.config, root.checkpoint, root.metadata, root.checkpoint["channel_versions"])
        await store.forks.make(fork, holder)
    except BaseException:
        await store.forks.release(fork.thread, holder)
        raise


async def _clear_leftovers(app: App, thread: str) -> None:
    """Remove the state of a fork that was never made. Raises ``ThreadExists`` for any other state."""
    saver = app.services.store.saver
    found = await saver.aget_tuple(checkpoint_config(thread))
    if found is None:
        return
    if FORK_KEY not in (found.metadata or {}):
        raise ThreadExists(f"There is a thread {thread!r} already, one of LangGraph's own.", thread=thread)
    await saver.adelete_thread(thread)


async def _checkpoint_of(app: App, record: ThreadRecord, at: str | None) -> tuple[ThreadRecord, Any]:
    """The checkpoint, and the thread that has it: this one, or one that it was forked from."""
    owner: ThreadRecord | None = record
    while owner is not None:
        found = await app.services.store.saver.aget_tuple(checkpoint_config(owner.thread, at))
        if found is not None:
            return owner, found
        owner = await app.services.store.runs.get(owner.parent) if owner.parent is not None and at else None
    what = f"no checkpoint {at!r}" if at is not None else "no checkpoint yet"
    by_hand = await app.services.store.journal.interventions(record.thread)
    dropped = sum(item["detail"]["checkpoints"] for item in by_hand if item["kind"] == "prune")
    pruned = f" ({dropped} were pruned)" if dropped else ""
    raise CheckpointNotFound(f"Thread {record.thread!r} has {what}{pruned}.", thread=record.thread, checkpoint=at)
