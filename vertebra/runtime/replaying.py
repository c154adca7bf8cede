"""A world in which recorded nodes run again and nothing happens: no request leaves, no effect is done, nothing waits.

Calls are answered from a copy of the record. What the record has no answer for is noted, with what was
asked in its place when it was recorded, and fails with ``NotRecorded``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers.journal import Journal, Kept
from vertebra.checkpointers.opening import open_checkpointer
from vertebra.databases.database import Database
from vertebra.errors import NotRecorded, ProviderUnreachable, UnknownTask
from vertebra.graphs.definition import Definition
from vertebra.ports import Reply, Request
from vertebra.runtime.compiling import state_types
from vertebra.runtime.door import Door, DoorParts
from vertebra.runtime.scope import Scope
from vertebra.runtime.services import AppServices
from vertebra.types import CallKey, CallRecord

if TYPE_CHECKING:
    from vertebra.runtime.app import App


@dataclass(frozen=True)
class Unrecorded:
    """A call that the record has no answer for, and what was asked in its place."""

    call: CallRecord
    instead: CallRecord | None


class ReplayJournal(Journal):
    """The copy of a record: answers what it can, and notes the rest."""

    def __init__(self, database: Database, thread: str) -> None:
        super().__init__(database)
        self.unrecorded: list[Unrecorded] = []
        self.pruned: set[str] = set()
        """Nodes that asked what is known to have been answered, and not how."""
        self._thread = thread
        self._taken: set[CallKey] = set()

    async def begin(self, call: CallRecord) -> CallRecord:
        recorded = await super().calls(self._thread, call.key.visit)
        known = next((c for c in recorded if c.key == call.key), None)
        if known is not None and known.answer is not None and known.answer.pruned:
            self.pruned.add(call.node)
            return known
        if known is not None and known.answer is not None:
            self._taken.add(known.key)
            return known
        if known is not None:
            raise ProviderUnreachable(
                f"When it was recorded, this call of {call.node!r} had no answer either.", node=call.node
            )
        self.unrecorded.append(Unrecorded(call, self._in_its_place(call, recorded)))
        raise NotRecorded(f"Node {call.node!r} asks what the record has no answer for.", node=call.node, step=call.step)

    def _in_its_place(self, call: CallRecord, recorded: Sequence[CallRecord]) -> CallRecord | None:
        """The recorded call of this visit that this one most likely was: at its place, else the most like it."""
        free = [c for c in recorded if c.answer is not None and c.key not in self._taken and c.kind == call.kind]
        if not free:
            return None
        same_place = [c for c in free if c.sequence is not None and c.sequence == call.sequence]
        found = same_place[0] if same_place else max(free, key=lambda c: _likeness(c.request, call.request))
        self._taken.add(found.key)
        return found

    async def calls(self, thread: str, visit: str | None = None) -> Sequence[CallRecord]:
        # Without their places no drift is refused: every difference comes to begin(), and is noted there.
        return [replace(call, sequence=None) for call in await super().calls(thread, visit)]

    async def advance_epoch(self, thread: str, visit: str, kept: Kept, reason: str) -> int:
        return 0  # no answer is sampled anew: a node that fails on a recorded one goes on failing


def _likeness(one: str | None, other: str | None) -> float:
    return difflib.SequenceMatcher(None, (one or "")[:2000], (other or "")[:2000]).quick_ratio()


class NoSender:
    """Never asked, since the journal answers or refuses; and if it were, it would refuse too."""

    async def send(self, request: Request) -> Reply:
        raise NotRecorded("A request left the door while a thread was verified.")

    async def aclose(self) -> None: ...


class NoWait:
    """Time in which nobody waits."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None: ...


@dataclass
class ReplayScope(Scope):
    """The scope of a replayed superstep: tasks without a model today have the one that was recorded."""

    recorded_models: Mapping[str, str] = field(default_factory=dict)

    def model_for(self, node: str, task: str | None) -> str:
        try:
            return super().model_for(node, task)
        except UnknownTask:
            if node not in self.recorded_models:
                raise
            return self.recorded_models[node]


def replay_services(app: App, definition: Definition, thread: str) -> AppServices:
    """What a replay stands on: a store in memory, and a door behind which there is nobody."""
    store = open_checkpointer("memory://")
    store.allow(state_types(definition))
    store.journal = ReplayJournal(store.database, thread)
    given, clock = app.services, NoWait()
    door = Door(DoorParts(store.journal, NoSender(), clock, max_answer_bytes=given.door.parts.max_answer_bytes))
    return AppServices(store, door, clock, given.models, given.default_model)


def models_of(calls: Sequence[CallRecord]) -> dict[str, Any]:
    """The model that each node was recorded with."""
    return {call.node: call.model for call in reversed(calls) if call.model is not None}
