"""Driving a thread: from its last durable edge to its end or next stop, and recording how it stands."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers.ids import wait_s
from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.legible import legible
from vertebra.errors import LeaseLost, ParallelWrites, StoreError, VertebraError
from vertebra.nodes.visit import current_visit
from vertebra.ports import crash_point
from vertebra.runtime import events
from vertebra.runtime.delivering import deliver_checkpoint, deliver_latest
from vertebra.runtime.execution import as_node_error
from vertebra.runtime.interrupts import MARK
from vertebra.runtime.live import shown
from vertebra.runtime.outcome import pending_interrupts, run_of, stored_error
from vertebra.runtime.position import RUN_KEY, has_begun
from vertebra.runtime.remembering import thread_memory
from vertebra.runtime.scope import Listener, Scope, current_scope
from vertebra.runtime.session import Hold, holding
from vertebra.runtime.snapshots import snapshot_of
from vertebra.runtime.steering import known_as, stand_ins
from vertebra.types import Run, RunStatus, ThreadRecord

if TYPE_CHECKING:
    from vertebra.runtime.app import App

FORK_KEY = "vertebra_fork"
"""In the metadata of a fork's first checkpoint: thread and checkpoint that it was forked from."""
RECURSION_LIMIT = 1_000_000
"""Cycles are bounded by max_visits, which check() demands; LangGraph's own limit must not come first."""


class Drive:
    """One stretch of one thread in this process."""

    def __init__(
        self, app: App, record: ThreadRecord, lease: Lease, *, principal: Any, listener: Listener | None, given: Any
    ) -> None:
        self.app = app
        self.record = record
        self.lease = lease
        self.given = given
        self.advance: Callable[[Any], Awaitable[None]] = self._invoke
        self.before: ThreadRecord = record
        """How the thread stood before it was taken."""
        self._hold: Hold | None = None
        self.scope = Scope(
            app.services,
            record.thread,
            record.run_id,
            record.branch,
            principal if principal is not None else record.principal,
            listener,
            journal=app.services.store.journal.under(lease, max_bytes=app.services.max_journal_bytes),
            seed=record.seed,
        )

    @property
    def config(self) -> Any:
        return {
            "configurable": {"thread_id": self.record.thread},
            "metadata": {RUN_KEY: self.record.run_id},
            "recursion_limit": RECURSION_LIMIT,
        }

    async def to_run(self) -> Run:
        """Drive on as ``to_next_stop``, and tell how the run stands then."""
        async with shown(self) as ended:
            _, error = await self.to_next_stop()
            run = await run_of(self.app, await self.app.services.store.runs.require(self.record.thread), error)
            ended(run)
        return run

    async def to_next_stop(self) -> tuple[RunStatus, VertebraError | None]:
        """Drive on until the run ends or waits, record how it stands, and let the thread go.

        Raises ``LeaseLost``, ``StoreError`` (the thread is let go ``running``, to be recovered), and
        ``CancelledError`` when the caller was cancelled (likewise).
        """
        crash_point("thread.begun")
        token = current_scope.set(self.scope)
        visit_token = current_visit.set(None)
        try:
            async with holding(
                self.app.services.store, self.app.heart, self.record, self.lease, self._edge_is_durable
            ) as hold:
                self._hold = hold
                self.app.active[self.record.thread] = self
                status, error = await self._guarded(hold)
        finally:
            self.app.active.pop(self.record.thread, None)
            current_visit.reset(visit_token)
            current_scope.reset(token)
        return status, error

    async def _guarded(self, hold: Hold) -> tuple[RunStatus, VertebraError | None]:
        status: RunStatus
        try:
            status, error = await self._steps()
        except asyncio.CancelledError:
            if hold.lost:
                _uncancel()
                raise LeaseLost(f"Thread {self.record.thread!r} was taken over.", thread=self.record.thread) from None
            hold.ended = True
            if not hold.cancel_requested:
                await asyncio.shield(self._finish("running", None))
                raise
            _uncancel()
            status, error = "cancelled", None
        except LeaseLost:
            raise
        except Exception:
            # The state below is not known to be read or written: leave the thread to be recovered. It killed nobody.
            hold.ended = True
            await self._let_go()
            raise
        hold.ended = True
        await asyncio.shield(self._finish(status, error))
        return status, error

    async def _steps(self) -> tuple[RunStatus, VertebraError | None]:
        try:
            await self._remember()
        except (StoreError, LeaseLost):
            raise
        except VertebraError as error:
            return "failed", self._typed(error)
        while True:
            payload = await self._payload()
            if payload is _WAITING:
                return "interrupted", None
            try:
                await self.advance(payload)
            except (StoreError, LeaseLost):
                raise
            except Exception as error:
                if type(error).__name__ == "GraphDrained":
                    return "running", None
                return "failed", self._typed(error)
            snapshot = await snapshot_of(self.app.graph, self.config)
            waiting = pending_interrupts(snapshot)
            if not waiting:
                # What is next without a question is a breakpoint of LangGraph's.
                return ("done" if not snapshot.next else "interrupted"), None
            await self._announce(waiting)
            answers = await self.app.services.store.runs.answers(self.record.thread)
            if not any(interrupt_id in answers for interrupt_id, _, _ in waiting):
                return "interrupted", None

    async def _remember(self) -> None:
        """Deliver what the last process left undelivered, and let the nodes have their memory."""
        services = self.app.services
        await deliver_latest(services, self.record.thread)
        journal, principal = self.scope.journal, self.scope.principal
        self.scope.memory_of = await thread_memory(self.app, self.record, journal, principal)

    async def _invoke(self, payload: Any) -> None:
        """One call of LangGraph's loop, every superstep durable before the next."""
        await self.app.graph.ainvoke(payload, self.config, durability="sync", control=self.app.control)

    async def prepared(self, steering: Awaitable[None]) -> None:
        """Do something to the held thread before it is driven on; if that fails, let it go as it was."""
        try:
            await steering
        except BaseException:
            await asyncio.shield(self._finish(self.before.status, stored_error(self.before.error)))
            raise

    def cancel(self) -> None:
        """Stop because a person cancelled the thread, from within this process."""
        if self._hold is not None:
            self._hold.cancel_requested = True
            self._hold.stop()

    async def _payload(self) -> Any:
        """What to hand to LangGraph: the input of a run that has no checkpoint yet, answers, or nothing."""
        latest = await self._latest()
        if latest is not None:
            await asyncio.sleep(wait_s(latest.checkpoint["id"], self.record.thread))
        if not has_begun(latest, self.record):
            given = self.given
            if given is None:
                with legible(self.record.thread, "run record", "input"):
                    given = self.app.unpack(self.record.input or b"")
            if latest is None and self.app.definition is not None:
                given = self.app.definition.schema.with_defaults(given)
            return given
        by_hand = await self.app.services.store.journal.interventions(self.record.thread)
        self.scope.known_as = known_as(by_hand)
        self.scope.stand_ins = stand_ins(self.app, by_hand)
        snapshot = await snapshot_of(self.app.graph, self.config)
        self._claim(latest, {task.id: task.name for task in snapshot.tasks})
        waiting = pending_interrupts(snapshot)
        if not waiting:
            return None
        answers = await self.app.services.store.runs.answers(self.record.thread)
        with legible(self.record.thread, "answers"):
            known = {i: json.loads(answers[i]) for i, _, _ in waiting if i in answers}
        if known:
            from langgraph.types import Command

            return Command(resume=known)
        others = [
            task
            for task in snapshot.tasks
            if (not task.interrupts and task.result is None) or (task.name, self._step(latest)) in self.scope.stand_ins
        ]
        return None if others else _WAITING

    async def _latest(self) -> Any:
        """The newest checkpoint, but for one of a fork whose process died before the fork was a thread."""
        saver = self.app.services.store.saver
        latest = await saver.aget_tuple(self.config)
        if self.record.parent is None and latest is not None and FORK_KEY in (latest.metadata or {}):
            await saver.adelete_thread(self.record.thread)
            return None
        return latest

    def _step(self, latest: Any) -> int:
        """The superstep that follows a checkpoint."""
        return int((latest.metadata or {}).get("step", -1)) + 1

    def _claim(self, latest: Any, names: Mapping[str, str]) -> None:
        """What tasks of the next superstep wrote before they were stopped is theirs."""
        if self.app.definition is None:
            return
        fields = self.app.definition.schema.fields
        for task_id, channel, _ in latest.pending_writes or ():
            if channel in fields and fields[channel].reducer is None:
                self.scope.claims.take(("", self._step(latest)), task_id, names.get(task_id, task_id), [channel])

    async def _edge_is_durable(self, namespace: str, checkpoint: Any, metadata: Any) -> None:
        """Called by the saver after each checkpoint: progress for the run record, an event for listeners."""
        if self.record.recoveries:
            await self.app.services.store.runs.progressed(self.lease, None if namespace else checkpoint["id"])
        await deliver_checkpoint(self.app.services, self.record.thread, namespace, checkpoint, metadata)
        if namespace:
            return
        finished, self.scope.returned = tuple(self.scope.returned), []
        step = int((metadata or {}).get("step", 0))
        self.scope.emit(events.EdgeCrossed(self.record.thread, step, checkpoint["id"], finished))

    async def _announce(self, waiting: list[tuple[str, Any, str]]) -> None:
        from vertebra.runtime.interrupts import read_interrupt

        for interrupt_id, value, node in waiting:
            due = None
            if isinstance(value, Mapping) and value.get(MARK) and value.get("deadline_s") is not None:
                due = await self.app.services.store.runs.set_timer(
                    self.record.thread, f"deadline:{interrupt_id}", float(value["deadline_s"]), lease=self.lease
                )
            self.scope.emit(events.Asked(self.record.thread, read_interrupt(interrupt_id, value, node, due)))

    def _typed(self, error: Exception) -> VertebraError:
        if type(error).__name__ == "InvalidUpdateError":
            typed: VertebraError = ParallelWrites(f"Two branches wrote one field at once: {error}")
        else:
            found = next(((node, step) for raised, node, step in self.scope.failures if raised is error), None)
            node, step = found or ("?", None)
            typed = as_node_error(error, str(node)) if not isinstance(error, VertebraError) else error
            typed.__cause__ = error if typed is not error else error.__cause__
            if found is not None:
                typed = typed.located(node=node, step=step)
        return typed.located(graph=self.app.name, thread=self.record.thread)

    async def _finish(self, status: RunStatus, error: VertebraError | None) -> None:
        crash_point("thread.finishing")
        await self.app.services.store.runs.finish(self.lease, status, error.to_json() if error else None)
        crash_point("thread.finished")

    async def _let_go(self) -> None:
        with contextlib.suppress(StoreError, LeaseLost):  # if that fails too, the lease runs out by itself
            await asyncio.shield(self._finish("running", None))


_WAITING: Any = object()


def _uncancel() -> None:
    """The heartbeat cancelled this task to stop the drive; the caller was not cancelled."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
