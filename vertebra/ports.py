"""The protocols through which the rooms meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

from vertebra.types import Attempt, CallKey, CallRecord, PastRun, RecordedAnswer, ThreadRecord, VisitRecord


class Clock(Protocol):
    """Where time comes from; tests pass a virtual one."""

    def now(self) -> datetime:
        """The time, in UTC."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@runtime_checkable
class Principal(Protocol):
    """On whose behalf a run acts. A plain string is taken as an id."""

    @property
    def id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Request:
    """A request as its caller made it, with the whole body in memory."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    extensions: Mapping[str, Any] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def header_map(self) -> dict[str, str]:
        return {key.lower(): value for key, value in self.headers}


@dataclass(frozen=True, slots=True)
class Reply:
    """A response whose body is still to come. ``chunks`` raises ``ProviderUnreachable``."""

    status: int
    headers: tuple[tuple[str, str], ...]
    chunks: AsyncIterator[bytes]
    close: Callable[[], Awaitable[None]]

    @property
    def header_map(self) -> dict[str, str]:
        return {key.lower(): value for key, value in self.headers}


class Sender(Protocol):
    """Whatever can send a request. Raises ``ProviderUnreachable`` when no response comes."""

    async def send(self, request: Request) -> Reply: ...

    async def aclose(self) -> None: ...


class JournalPort(Protocol):
    """The record of calls. All of it is safe to call from any event loop or thread."""

    async def begin(self, call: CallRecord) -> CallRecord:
        """Look the call up; write an intent where it is new. Returns what is recorded."""

    async def sent(self, key: CallKey, attempt: Attempt, *, again: bool) -> None:
        """Note an attempt that did not end in an answer, and whether the call is about to be sent again."""

    async def complete(self, key: CallKey, answer: RecordedAnswer, finished_at: float) -> RecordedAnswer:
        """Record the answer, once; a later one for the same key is discarded for the first."""

    async def calls(self, thread: str, visit: str | None = None) -> Sequence[CallRecord]: ...

    async def epochs(self, thread: str, visit: str) -> Sequence[frozenset[tuple[str, int]] | None]:
        """For each sampling epoch from 1 on: the calls it kept (None: it kept nothing)."""

    async def advance_epoch(self, thread: str, visit: str, kept: frozenset[tuple[str, int]], reason: str) -> int: ...

    async def record_value(self, thread: str, visit: str, name: str, value: str) -> str:
        """Keep a value under a name, once; returns the first one kept."""

    def record_value_sync(self, thread: str, visit: str, name: str, value: str) -> str: ...

    async def visit_ended(self, thread: str, record: VisitRecord) -> None: ...

    async def visits(self, thread: str) -> Sequence[VisitRecord]: ...

    async def intervened(self, thread: str, kind: str, node: str, by: str | None, detail: Mapping[str, Any]) -> None:
        """Record what a person did to the thread by hand."""


class RunStorePort(Protocol):
    """Run records, leases, answers and timers: who writes a thread, and where it stands."""

    async def get(self, thread: str) -> ThreadRecord | None: ...

    async def threads(self, *, status: str | None = None, graph: str | None = None) -> Sequence[ThreadRecord]: ...


class StorePort(Protocol):
    """What ``compile(checkpointer=)`` and ``compile(journal=)`` open."""

    @property
    def journal(self) -> JournalPort: ...

    @property
    def runs(self) -> RunStorePort: ...


class PastPort(Protocol):
    """Who knows past runs: an ``App``, for ``Graph.bounds(past=)``."""

    def past_sync(self) -> Sequence[PastRun]: ...


class PolicyPort(Protocol):
    """May this principal use this model for this task? It may also choose another model."""

    async def decide(self, request: Mapping[str, Any]) -> Mapping[str, Any]: ...


class BudgetPort(Protocol):
    """Reserve before sending, settle after; refusing raises."""

    async def reserve(self, request: Mapping[str, Any]) -> Any: ...

    async def settle(self, reservation: Any, answer: RecordedAnswer | None) -> None: ...


class LedgerPort(Protocol):
    """Each paid call is entered once."""

    async def enter(self, call: CallRecord, answer: RecordedAnswer) -> None: ...


class SpanPort(Protocol):
    """Told of each call once it is recorded, to make a span of it."""

    async def emit(self, call: CallRecord, answer: RecordedAnswer) -> None: ...


class NodeConversation(Protocol):
    """A conversation as a node holds it. What it appends can be read by others once its superstep is durable.

    What was said by others while this visit of the node lasts is not seen by it, however often it is executed. In a
    fork of a thread it is a branch that shares what was said before the fork.
    """

    @property
    def id(self) -> str:
        """Its id, unique within its tenant."""

    async def append(self, message: Any, *, tokens: int | None = None) -> None:
        """Append a message, in the shape of OpenAI's API: once, however often the node is executed.

        Raises ``MessageInvalid``, ``SubjectMismatch``. A node that fails appends nothing.
        """

    def append_sync(self, message: Any, *, tokens: int | None = None) -> None: ...

    async def messages(
        self, *, last: int | None = None, before: int | None = None, after: int | None = None
    ) -> Sequence[Any]:
        """The messages in their order, with those that this visit has appended itself: they have the id 0 yet."""

    def messages_sync(
        self, *, last: int | None = None, before: int | None = None, after: int | None = None
    ) -> Sequence[Any]: ...

    async def window(self, *, max_tokens: int, strategy: Any = "stable", counter: Any = None) -> Any:
        """What of it fits into ``max_tokens``: a ``Window``. Recorded, and made of the same messages when repeated.

        Without ``counter`` tokens are estimated, calibrated by what the thread's latest calls really took.
        """

    def window_sync(self, *, max_tokens: int, strategy: Any = "stable", counter: Any = None) -> Any: ...

    async def summarise(self, *, max_tokens: int, task: str = "summarise", counter: Any = None) -> bool:
        """Have what no longer fits into ``max_tokens`` summarised, by calls of ``task``; whether there was any.

        The summary is kept as what is appended is, and this visit's windows have it already. Not in a transition.
        """

    def summarise_sync(self, *, max_tokens: int, task: str = "summarise", counter: Any = None) -> bool: ...


class NodeMemory(Protocol):
    """The memory as a node holds it: ``ctx.memory``."""

    def conversation(
        self, id: str, *, subject: str | None = None, tenant: str | None = None, branch: str = "main"
    ) -> NodeConversation:
        """A handle on a conversation, be it there yet or not. The tenant is the principal's, where that has one."""


CRASH_POINTS: tuple[str, ...] = (
    "thread.begun",
    "thread.finishing",
    "thread.finished",
    "answer.recorded",
    "checkpoint.before",
    "checkpoint.after",
    "writes.before",
    "writes.after",
    "node.started",
    "node.returned",
    "node.retry",
    "call.intent",
    "call.sent",
    "call.streaming",
    "call.received",
    "call.recorded",
    "effect.intent",
    "effect.done",
    "effect.recorded",
    "epoch.advanced",
    "interrupt.asked",
    "memory.delivering",
    "memory.delivered",
)
"""Names of the instants at which tests kill a process; see ``vertebra.testing.crash_at``."""

KEEPING_CRASH_POINTS: tuple[str, ...] = (
    "delete.dropped",
    "prune.dropped",
    "prune.recorded",
    "prune.done",
    "prune.reclaiming",
    "encrypt.row",
    "encrypt.thread",
    "encrypt.sealed",
    "encrypt.rewritten",
    "forget.batch",
    "forget.emptied",
    "forget.wiped",
    "migrate.statement",
    "rekey.key",
    "rekey.wrapped",
)
"""The same of what no run does: to delete and to prune threads, to encrypt a store that was plain, to forget, to bring
tables forward, to change keys."""

_hook: Callable[[str], None] | None = None


def crash_point(name: str) -> None:
    """Mark an instant between two durable facts. Does nothing outside of tests."""
    if _hook is not None:
        _hook(name)


def set_crash_hook(hook: Callable[[str], None] | None) -> None:
    """Call ``hook`` with the name of each crash point that is reached (tests only)."""
    global _hook
    _hook = hook
