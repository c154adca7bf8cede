"""Ids and records that all rooms share: plain, frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NewType

from vertebra.errors import UsageError, VertebraError

ThreadId = NewType("ThreadId", str)
RunId = NewType("RunId", str)
VisitKey = NewType("VisitKey", str)

RunStatus = Literal["running", "interrupted", "done", "failed", "cancelled"]
CallSource = Literal["provider", "journal"]
CallStatus = Literal["intent", "done"]

START = "__start__"
END = "__end__"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a static check: what, where, why, and what to do."""

    code: str
    severity: Literal["error", "warning"]
    place: str
    message: str
    remedy: str
    waived: str | None = None
    """Why it was waived; None for a finding that stands."""
    nodes: tuple[str, ...] = ()
    """The nodes that it is about, where the place is not one of them alone."""

    def __str__(self) -> str:
        if self.waived is not None:
            return f"waived {self.code} at {self.place}: {self.message} Reason: {self.waived}"
        return f"{self.severity} {self.code} at {self.place}: {self.message} Remedy: {self.remedy}"


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls and tokens of one node or run. ``lost`` counts calls whose answer died with a process."""

    calls: int = 0
    replayed: int = 0
    lost: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.replayed + other.replayed,
            self.lost + other.lost,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A question that waits for a human: answer it with ``resume(thread, answer, interrupt_id=id)``."""

    id: str
    node: str
    text: str
    data: Any = None
    answer_schema: Mapping[str, Any] | None = None
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a thread stands, for the migration that is to carry it over.

    ``next``: the nodes that it stands before, under the names of ``version``; ``__start__`` where it has not begun.
    """

    thread_id: str
    version: str
    next: tuple[str, ...]
    step: int


@dataclass(frozen=True, slots=True)
class CallKey:
    """What makes two calls one: the visit, the caller's request, its epoch and its ordinal."""

    thread: str
    visit: str
    request_hash: str
    epoch: int
    ordinal: int

    @property
    def idempotency_key(self) -> str:
        """Sent with every attempt of the call; the same after any crash."""
        import hashlib

        text = "\x1f".join((self.thread, self.visit, self.request_hash, str(self.epoch), str(self.ordinal)))
        return "vertebra-" + hashlib.sha256(text.encode()).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sending of a call that did not end in a recorded answer."""

    outcome: str
    at: float
    status: int | None = None
    waited_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """A complete answer as it is kept: status, the headers worth keeping, the body's bytes."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    input_tokens: int | None = None
    output_tokens: int | None = None
    pruned: bool = False
    """The body was let go by ``prune``; it is empty."""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One row of the journal, as ``vertebra show`` lists it. Times are Unix seconds."""

    key: CallKey
    run_id: str
    node: str
    step: int
    kind: Literal["llm", "effect", "http"]
    endpoint: str
    model: str | None
    status: CallStatus
    request: str | None
    answer: RecordedAnswer | None
    started_at: float
    finished_at: float | None
    sends: int
    lost: int
    replays: int
    attempts: tuple[Attempt, ...] = ()
    sequence: int | None = None
    origin: str | None = None
    """The thread that made the call, where this one has it from the thread it was forked from."""


@dataclass(frozen=True, slots=True)
class VisitRecord:
    """One node execution that ended: when, how, and on which attempt."""

    visit: str
    node: str
    step: int
    run_id: str
    outcome: str
    executions: int
    started_at: float
    finished_at: float
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PastRun:
    """What a run that has ended came to, by the path of each node: ``outer/inner`` within a subgraph."""

    thread_id: str
    run_id: str
    visits: Mapping[str, int] = field(default_factory=dict)
    usage: Mapping[str, Usage] = field(default_factory=dict)

    @property
    def total(self) -> Usage:
        return sum(self.usage.values(), Usage())


@dataclass(frozen=True, slots=True)
class ThreadRecord:
    """Where a thread stands, and who writes it."""

    thread: str
    graph: str
    version: str
    fingerprint: str
    shape: Mapping[str, Any]
    run_id: str
    status: RunStatus
    branch: str
    recoveries: int
    created_at: float
    updated_at: float
    holder: str | None
    lease_epoch: int
    lease_until: float | None
    cancel_requested: bool
    principal: str | None
    error: Mapping[str, Any] | None
    story: tuple[Mapping[str, Any], ...] = ()
    input: bytes | None = None
    parent: str | None = None
    """The thread that this one was forked from."""
    parent_checkpoint: str | None = None
    """Where it was forked: a checkpoint of the parent."""
    seed: str | None = None
    """The thread with whose chance (``ctx.random``, ``ctx.uuid()``) this one goes on; None: its own."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One durable edge of a thread: a checkpoint, and how the thread came to it."""

    checkpoint_id: str
    step: int
    source: str
    """``input``, ``loop`` (nodes ran), ``update`` (by hand) or ``fork``."""
    nodes: tuple[str, ...]
    """The nodes that ran before it."""
    next: tuple[str, ...]
    changed: tuple[str, ...]
    """The fields of the state that were written."""
    at: float
    """Unix seconds."""
    previous: str | None = None
    """The checkpoint before it in the same thread."""


@dataclass(frozen=True, slots=True)
class ThreadTree:
    """The history of a thread, with the threads that were forked from it."""

    thread: str
    graph: str
    version: str
    status: RunStatus
    parent: str | None
    forked_at: str | None
    """The checkpoint of the parent."""
    fresh: bool
    """Forked without the recorded answers that lay ahead."""
    edges: tuple[Edge, ...]
    """Oldest first."""
    forks: tuple[ThreadTree, ...]

    def find(self, thread: str) -> ThreadTree | None:
        """The part of this tree that is ``thread``."""
        if self.thread == thread:
            return self
        return next((found for fork in self.forks if (found := fork.find(thread)) is not None), None)


@dataclass(frozen=True, slots=True)
class Difference:
    """Where today's code does otherwise than what was recorded."""

    kind: Literal["graph", "update", "route", "request", "arguments", "error", "state"]
    node: str
    step: int
    field: str | None
    recorded: Any
    now: Any
    text: str
    """Both in words: for a request, the difference of the two prompts."""


@dataclass(frozen=True, slots=True)
class Verification:
    """A recorded thread, replayed against today's code with no network and no effect."""

    thread: str
    graph: str
    version: str
    edges: int
    """Supersteps that were replayed."""
    nodes: int
    """Executions in them."""
    unverified: tuple[str, ...]
    """Nodes that were not executed: nobody has declared what they do."""
    differences: tuple[Difference, ...]
    pruned: tuple[str, ...] = ()
    """What could not be replayed, since its record was let go: nodes and steps, or history."""

    @property
    def ok(self) -> bool:
        """Whether all that was replayed came out as it was recorded."""
        return not self.differences


@dataclass(frozen=True, slots=True)
class Pruned:
    """What ``prune`` let go, or in a dry run would let go. Add two for both."""

    threads: int = 0
    """Removed whole."""
    shortened: int = 0
    """Threads that stay, and have lost checkpoints or answers."""
    checkpoints: int = 0
    calls: int = 0
    """Of the threads that were removed."""
    answers: int = 0
    """Calls of threads that stay, of which request and answer went; tokens, times and hash are still there."""
    kept: Mapping[str, int] = field(default_factory=dict)
    """Threads that were to go, and stay: ``driven`` (held, or gone on by now), ``forked`` (a fork has its history),
    ``damaged`` (its rows cannot be read)."""
    damaged: Mapping[str, VertebraError] = field(default_factory=dict)
    """Those by their ids, each with what tells the row."""
    bytes_before: int = 0
    """Of the database: what it takes on disk."""
    bytes_after: int = 0
    """The same in a dry run."""
    dry_run: bool = False

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(
            self.threads + other.threads,
            self.shortened + other.shortened,
            self.checkpoints + other.checkpoints,
            self.calls + other.calls,
            self.answers + other.answers,
            {key: self.kept.get(key, 0) + other.kept.get(key, 0) for key in {**self.kept, **other.kept}},
            {**self.damaged, **other.damaged},
            self.bytes_before + other.bytes_before,
            self.bytes_after + other.bytes_after,
            self.dry_run or other.dry_run,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """The outcome of driving a thread to its end or next stop.

    ``output`` is the state (a model instance, or a dict for a TypedDict state); it is what is
    known so far unless ``status`` is ``done``. ``calls_from_journal`` counts answers that were
    taken from the record and not paid again, over the whole run.
    """

    thread_id: str
    run_id: str
    status: RunStatus
    output: Any = None
    interrupts: tuple[Interrupt, ...] = ()
    usage: Mapping[str, Usage] = field(default_factory=dict)
    error: VertebraError | None = None
    next: tuple[str, ...] = ()
    visits: tuple[VisitRecord, ...] = ()
    """The executions of nodes that have ended, in the order in which they did."""
    sketch: Any = field(default=None, repr=False, compare=False)
    """The graph, to be drawn: plain data."""
    reader: Any = field(default=None, repr=False, compare=False)
    """By which ``history`` is read; it neither keeps its app nor goes along when the run is pickled."""

    @property
    def history(self) -> Any:
        """The steps of the thread, as ``App.steps`` has them: each edge with what it changed. Read when asked for.

        From sync code or a notebook's cell; ``await app.steps(thread)`` elsewhere. Raises ``UsageError`` where the
        run is a copy, or its app has gone.
        """
        steps = None if self.reader is None else self.reader.steps(self.thread_id)
        if steps is None:
            raise UsageError(
                f"The run of thread {self.thread_id!r} does not know where its history is.",
                remedy="ask its app: await app.steps(run.thread_id).",
            )
        return steps

    def draw(self, *, depth: int = 1, theme: Any = "auto") -> Any:
        """What the run did, as a ``Picture`` of its graph; see ``Graph.draw``. Raises ``UsageError``."""
        if self.sketch is None:
            raise UsageError(
                f"The run of thread {self.thread_id!r} does not know its graph.", remedy="graph.draw(run=run)"
            )
        return self.sketch.picture(run=self, depth=depth, theme=theme)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return ({"text/plain": repr(self)}, {}) if self.sketch is None else self.sketch.run_bundle(self)

    @property
    def calls(self) -> int:
        return sum(usage.calls for usage in self.usage.values())

    @property
    def calls_from_journal(self) -> int:
        return sum(usage.replayed for usage in self.usage.values())

    @property
    def total(self) -> Usage:
        return sum(self.usage.values(), Usage())

    def raise_for_status(self) -> Run:
        """Raise the error of a failed run; otherwise return the run."""
        if self.error is not None:
            raise self.error
        return self
