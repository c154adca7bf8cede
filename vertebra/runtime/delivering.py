"""From the state to memory: what the nodes of a superstep appended is delivered once that is durable.

The messages ride in a reserved channel that holds those of the last superstep alone; so it never grows, and what
a process left undelivered is found in the thread's latest checkpoint, before anything goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from vertebra.errors import UsageError
from vertebra.graphs.compilation import OUTBOX
from vertebra.memory.delivering import Posting, Source, deliver
from vertebra.memory.place import KEY_BYTES
from vertebra.nodes.visit import Visit, outer_step
from vertebra.ports import crash_point

if TYPE_CHECKING:
    from vertebra.runtime.remembering import ThreadMemory
    from vertebra.runtime.services import AppServices


def sealed(visit: Visit, about: ThreadMemory) -> list[dict[str, Any]]:
    """What a visit appended, as it is kept with the state: each message under the key of its place in the run."""
    return [
        _sealed(Posting.of_plain(item), visit, number, about).to_plain() for number, item in enumerate(visit.outbox)
    ]


def _sealed(posting: Posting, visit: Visit, number: int, about: ThreadMemory) -> Posting:
    key = f"{visit.run_id}/{visit.key}/{number}"
    if len(key.encode()) > KEY_BYTES:
        key = f"{visit.run_id}/{sha256(key.encode()).hexdigest()}"
    # Of this thread, whoever made it: a fork has the recorded effects of its parent, with what they appended.
    where = replace(posting.provenance, thread=visit.thread, run=visit.run_id, step=outer_step(visit.key))
    return replace(posting, line=about.line(posting.line.base), provenance=where, key=key)


async def deliver_checkpoint(
    services: AppServices,
    thread: str,
    namespace: str,
    checkpoint: Mapping[str, Any],
    metadata: Mapping[str, Any] | None,
) -> None:
    """Deliver what rides with a checkpoint; once, however often. Raises ``StoreError``, ``SubjectMismatch``."""
    postings = _postings(checkpoint, metadata)
    if not postings:
        return
    if services.memory is None:
        raise UsageError(
            f"Thread {thread!r} has messages for a memory, and this app has none.",
            remedy="compile the graph with memory=, the one that the thread was begun with.",
            thread=thread,
        )
    source = Source(thread, namespace, str(checkpoint["id"]))
    crash_point("memory.delivering")
    await services.memory.database.run(lambda tx: deliver(tx, source, postings))
    crash_point("memory.delivered")


def _postings(checkpoint: Mapping[str, Any], metadata: Mapping[str, Any] | None) -> Sequence[Posting]:
    # The checkpoints of an input and of an update still hold what the superstep before them delivered.
    if (metadata or {}).get("source") != "loop":
        return ()
    return [Posting.of_plain(item) for item in checkpoint["channel_values"].get(OUTBOX) or ()]


async def deliver_latest(services: AppServices, thread: str, namespace: str = "") -> None:
    """Deliver what a process that died may have left in the thread's latest checkpoint."""
    place = {"thread_id": thread, "checkpoint_ns": namespace}
    found = await services.store.saver.aget_tuple({"configurable": place})
    if found is not None:
        await deliver_checkpoint(services, thread, namespace, found.checkpoint, found.metadata)


__all__ = ["deliver_checkpoint", "deliver_latest", "sealed"]
