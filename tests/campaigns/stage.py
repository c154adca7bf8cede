"""A run of the reference graph in one event loop on virtual time, which may be stopped anywhere and driven on.

A seed decides which ready task goes first, and so everything. Stopping is either that of a kill (the loop ends between
two of its iterations and nothing more runs, not even a ``finally``) or that of a caller who cancels the drive at some
crash point.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.campaigns.inspection import calls_of, said_in
from tests.campaigns.reference import ANSWER, TEXT, Approval, script
from tests.campaigns.witness import Witness, current_witness
from vertebra import Graph, open_checkpointer, open_memory
from vertebra.ports import set_crash_hook
from vertebra.runtime.app import App
from vertebra.testing import ScriptedTransport, Stopped, VirtualClock, run_shuffled
from vertebra.testing.virtual_time import ShuffledLoop

THREAD = "t"
Manner = Literal["killed", "cancelled"]


@dataclass(frozen=True)
class Stop:
    """Where a run is stopped: after so many iterations of the loop, or at the passing of so many crash points."""

    manner: Manner
    after: int


@dataclass(frozen=True)
class Length:
    """How long a run is that nobody stops."""

    iterations: int
    passings: int


class Stage:
    """A ``memory://`` store that outlives its loops, with a model and a witness of its own."""

    def __init__(self, folder: Path, graph: Graph) -> None:
        self._graph = graph
        self.store = open_checkpointer("memory://")
        self.store.allow({Approval})
        self.memory = open_memory("memory://")
        self.model = ScriptedTransport(sampled=True)
        script(self.model)
        self.witness = Witness(folder, self._newest)
        self._clock = VirtualClock()

    def _newest(self, thread: str, namespace: str) -> int | None:
        found = self.store.saver.get_tuple({"configurable": {"thread_id": thread, "checkpoint_ns": namespace}})
        return None if found is None else int(found.metadata["step"])

    def drive(self, seed: int, stop: Stop | None = None) -> dict[str, Any] | None:
        """Drive the thread from wherever it stands, to its end or to where it is stopped (None)."""
        current_witness.set(self.witness)
        if stop is not None and stop.manner == "killed":
            try:
                return run_shuffled(self._to_the_end, seed, stop.after)
            except Stopped:
                return None
        try:
            return run_shuffled(lambda: self._cancelled(stop), seed)
        except asyncio.CancelledError:
            return None

    async def _cancelled(self, stop: Stop | None) -> dict[str, Any]:
        drive = asyncio.ensure_future(self._to_the_end())
        passed = 0

        def pass_by(_: str) -> None:
            nonlocal passed
            passed += 1
            if stop is not None and passed == stop.after:
                drive.cancel()

        set_crash_hook(pass_by)
        try:
            return {**await drive, "length": {"iterations": _iterations(), "passings": passed}}
        finally:
            set_crash_hook(None)

    async def _to_the_end(self) -> dict[str, Any]:
        # The dead holder of the lease is this very process; so the lease is over at once.
        options = {"checkpointer": self.store, "memory": self.memory, "sender": self.model, "clock": self._clock}
        app = App.create(self._graph, **options, lease_ttl_s=0.0)
        record = await self.store.runs.get(THREAD)
        if record is None:
            run = await app.run({"text": TEXT}, thread_id=THREAD)
        else:
            await app.recover()
            run = await app.status(THREAD)
        if run.status == "interrupted":
            run = await app.resume(THREAD, ANSWER)
        return {
            "status": run.status,
            "error": str(run.error),
            "state": run.output.model_dump(mode="json"),
            "calls": await calls_of(self.store, THREAD),
            "said": said_in(self.memory, THREAD),
        }

    def left(self) -> None:
        """Note what a stopped drive has left behind."""
        self.witness.note("left", calls=asyncio.run(calls_of(self.store, THREAD)), checkpoints=[])

    def trace(self) -> list[Any]:
        """In which order requests reached the model: what a schedule is, as seen from outside."""
        return [(entry.digest, entry.idempotency_key) for entry in self.model.books]


def _iterations() -> int:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ShuffledLoop)
    return loop.iterations
