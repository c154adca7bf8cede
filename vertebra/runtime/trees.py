"""The history of a thread: its edges and those it was forked from, and all as a tree of threads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers import Store
from vertebra.runtime.edges import edge_of, parent_id
from vertebra.runtime.snapshots import checkpoint_config
from vertebra.types import Edge, ThreadRecord, ThreadTree

if TYPE_CHECKING:
    from vertebra.runtime.app import App


async def tree_of(store: Store, thread: str) -> ThreadTree:
    """The tree that a thread is part of, from the first thread that is still there. Raises ``ThreadNotFound``."""
    record = await store.runs.require(thread)
    while record.parent is not None:
        parent = await store.runs.get(record.parent)
        if parent is None:
            break  # deleted; its forks stand by themselves
        record = parent
    return await _branch(store, record)


async def _branch(store: Store, record: ThreadRecord) -> ThreadTree:
    forks = [await store.runs.get(name) for name in await store.forks.of(record.thread)]
    return ThreadTree(
        thread=record.thread,
        graph=record.graph,
        version=record.version,
        status=record.status,
        parent=record.parent,
        forked_at=record.parent_checkpoint,
        fresh=record.parent is not None and record.seed is None,
        edges=tuple(await edges_of(store, record)),
        forks=tuple([await _branch(store, fork) for fork in forks if fork is not None]),
    )


async def edges_of(store: Store, record: ThreadRecord) -> list[Edge]:
    """The edges of a thread, oldest first; of a fork, from where it was forked."""
    found = [item async for item in store.saver.alist(checkpoint_config(record.thread))]
    known = {item.checkpoint["id"]: item for item in found}
    edges = []
    for item in reversed(found):
        before = known.get(parent_id(item) or "")
        if before is None and record.parent is not None and record.parent_checkpoint is not None:
            before = await store.saver.aget_tuple(checkpoint_config(record.parent, record.parent_checkpoint))
        edges.append(edge_of(item, before))
    return edges


async def history_of(app: App, thread: str, limit: int | None) -> AsyncIterator[Any]:
    """LangGraph's snapshots of a thread and, where it was forked, of its parent from there back; latest first."""
    graph, runs = app.graph, app.services.store.runs
    left = limit
    record = await runs.get(thread)
    name: str | None = thread
    before: str | None = None
    while name is not None and (left is None or left > 0):
        options = {"limit": left} | ({"before": checkpoint_config(name, before)} if before else {})
        async for snapshot in graph.aget_state_history(checkpoint_config(name), **options):
            yield snapshot
            left = None if left is None else left - 1
        name, before = (record.parent, record.parent_checkpoint) if record is not None else (None, None)
        record = await runs.get(name) if name is not None else None
