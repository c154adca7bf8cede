"""How a run stands, read from state, journal and run record."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vertebra.errors import VertebraError
from vertebra.runtime.interrupts import read_interrupt
from vertebra.runtime.snapshots import snapshot_of, thread_config
from vertebra.runtime.steps import Reader
from vertebra.types import CallRecord, Interrupt, Run, ThreadRecord, Usage, VisitRecord

if TYPE_CHECKING:
    from vertebra.runtime.app import App


def pending_interrupts(snapshot: Any) -> list[tuple[str, Any, str]]:
    """Id, value and node of each question that waits in a LangGraph ``StateSnapshot``."""
    return [(interrupt.id, interrupt.value, task.name) for task in snapshot.tasks for interrupt in task.interrupts]


def usage_by_node(calls: Iterable[CallRecord], visits: Iterable[VisitRecord], run_id: str) -> dict[str, Usage]:
    """Calls made and replayed, tokens and seconds of each node in one run, in the order of first use."""
    usage: dict[str, Usage] = {}
    for call in calls:
        if call.run_id != run_id or call.kind == "effect":
            continue
        done = call.status == "done" and call.origin is None  # an inherited call was paid for by another thread
        answer = call.answer if call.origin is None else None
        usage[call.node] = usage.get(call.node, Usage()) + Usage(
            calls=int(done),
            replayed=call.replays,
            lost=call.lost,
            input_tokens=(answer.input_tokens or 0) if answer else 0,
            output_tokens=(answer.output_tokens or 0) if answer else 0,
        )
    for visit in visits:
        if visit.run_id == run_id:
            spent = Usage(seconds=visit.finished_at - visit.started_at)
            usage[visit.node] = usage.get(visit.node, Usage()) + spent
    return usage


async def run_of(app: App, record: ThreadRecord, error: VertebraError | None = None) -> Run:
    """The ``Run`` of a thread's present run."""
    store = app.services.store
    snapshot = await snapshot_of(app.graph, thread_config(record.thread))
    calls = await store.journal.calls(record.thread)
    visits = await store.journal.visits(record.thread)
    interrupts: tuple[Interrupt, ...] = ()
    if record.status in ("interrupted", "failed"):  # a question that has expired can be answered late
        waiting = pending_interrupts(snapshot)
        timers = await store.runs.timers(record.thread) if waiting else {}
        interrupts = tuple(read_interrupt(i, value, node, timers.get(f"deadline:{i}")) for i, value, node in waiting)
    return Run(
        thread_id=record.thread,
        run_id=record.run_id,
        status=record.status,
        output=app.output_of(snapshot.values),
        interrupts=interrupts,
        usage=usage_by_node(calls, visits, record.run_id),
        error=error or stored_error(record.error),
        next=tuple(snapshot.next),
        visits=tuple(visit for visit in visits if visit.run_id == record.run_id),
        sketch=app.sketch,
        reader=Reader(app),
    )


async def run_despite(app: App, thread: str, error: VertebraError) -> Run:
    """The ``Run`` of a thread that could not be driven on: without its state, or its record, where that is why."""
    record = None
    with contextlib.suppress(Exception):  # what keeps it from being read is at most one more consequence of ``error``
        record = await app.services.store.runs.require(thread)
        return await run_of(app, record, error)
    return Run(
        thread_id=thread,
        run_id="" if record is None else record.run_id,
        status="running" if record is None else record.status,
        error=error,
        sketch=app.sketch,
        reader=Reader(app),
    )


def stored_error(data: Mapping[str, Any] | None) -> VertebraError | None:
    """An error as it was recorded, with its class found again by its code."""
    if data is None:
        return None
    kind = next((k for k in _kinds(VertebraError) if k.code == data.get("code")), VertebraError)
    context = {str(k): v for k, v in dict(data.get("context", {})).items() if k not in ("message", "remedy")}
    return kind(str(data.get("message", "")), remedy=str(data.get("remedy", "")), **context)


def _kinds(root: type[VertebraError]) -> Sequence[type[VertebraError]]:
    found = [root]
    for kind in root.__subclasses__():
        found.extend(_kinds(kind))
    return found


__all__ = ["pending_interrupts", "run_despite", "run_of", "stored_error", "usage_by_node"]
