"""One execution of one node at one place of a run: the lineage under which its calls are recorded.

A visit is named by what survives any crash: for each level of nesting the node, the superstep and
the index within a fan-out, and the branch of the thread. It is never named by position in code, by
LangGraph's task id or by the attempt.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from vertebra.errors import VisitClosed

if TYPE_CHECKING:
    from vertebra.ports import JournalPort

Kept = frozenset[tuple[str, int]]


def visit_key(outer: str | None, node: str, step: int, index: int | None, branch: str) -> str:
    """The stable name of a visit, such as ``scribe@3/summarise@1#4~b7``."""
    own = f"{node}@{step}" + ("" if index is None else f"#{index}")
    if outer is not None:
        path, _, tail = outer.partition("~")
        return f"{path}/{own}" + (f"~{tail}" if tail else "")
    return own + (f"~{branch}" if branch else "")


def outer_step(key: str) -> int:
    """The superstep of the thread in which a visit takes place, however deep it is nested."""
    found = _OUTER_STEP.search(key)
    return int(found[1]) if found else -1


def path_of(key: str) -> tuple[str, ...]:
    """The nodes that a visit executes, from the outermost in; of a node that stands in for another its own name.

    Example::

        >>> path_of("scribe@3/summarise@1#4!shorten~b7")
        ('scribe', 'shorten')
    """
    levels = key.partition("~")[0].split("/")
    return tuple((level.rpartition("!")[2] if stands_in(level) else level.partition("@")[0]) for level in levels)


def stands_in(key: str) -> bool:
    """Whether the innermost node of a visit stands in for another, which has failed."""
    return "!" in key.partition("~")[0].rpartition("/")[2].partition("@")[2]


_OUTER_STEP = re.compile(r"@(\d+)(?=[#/~!]|$)")


def effective_epoch(epochs: Sequence[Kept | None], request_hash: str, ordinal: int) -> int:
    """The sampling epoch that a call belongs to: the latest that did not keep it."""
    for number in range(len(epochs), 0, -1):
        kept = epochs[number - 1]
        if kept is None or (request_hash, ordinal) not in kept:
            return number
    return 0


def kept_before(finished: Sequence[tuple[str, int]], fresh_attempts: int) -> Kept:
    """The calls whose answers stay when a node samples anew.

    The first time, all but the last answer: it is the one that the node most likely choked on. When
    that did not help, nothing is kept, since an earlier answer must be the cause.
    """
    return frozenset(finished[:-1]) if fresh_attempts == 0 else frozenset()


Observer = Callable[[str, "Visit", Mapping[str, Any]], None]


@dataclass(slots=True)
class Visit:
    """The books of one execution: which calls it has made, and whether it may still make any."""

    thread: str
    key: str
    node: str
    step: int
    run_id: str
    checkpoint_ns: str = ""
    epochs: Sequence[Kept | None] = ()
    finished: list[tuple[str, int]] = field(default_factory=list)
    closed: bool = False
    drift_checked: int | None = 0
    """Number of calls of the body's own task that were compared with the record; None: stopped comparing."""
    prior: dict[int, tuple[str, str, str | None]] | None = None
    """By place in the body's own task: hash, endpoint and request of each recorded call. None: not read yet."""
    recorded: frozenset[tuple[str, int]] = frozenset()
    observer: Observer | None = None
    """Told of answers and tokens: kind, visit, details."""
    journal: JournalPort | None = None
    """Where its calls are recorded, under the lease of the drive; None: where the door records by itself."""
    asked_anew: int = 0
    """Calls of this execution that the record had no answer for."""
    inherited: frozenset[tuple[str, int]] = frozenset()
    """Recorded calls that a fork has from its parent and has not taken yet: it may ask otherwise."""
    seed_thread: str | None = None
    """The thread whose chance this visit has, where it is not its own: a fork goes on with its parent's."""
    outbox: list[dict[str, Any]] = field(default_factory=list)
    """What it has appended to memory, in order: to be kept with its update."""
    seen: dict[str, int] = field(default_factory=dict)
    """How far it has seen each conversation that it has looked at."""
    _used: dict[str, set[int]] = field(default_factory=dict)
    _sequence: Iterator[int] = field(default_factory=itertools.count)
    _values: dict[str, Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _body: Any = None

    def enter_body(self) -> None:
        """Remember in which task or thread the body runs; its own calls come in program order."""
        self._body = _strand()

    @contextmanager
    def on_this_strand(self) -> Iterator[None]:
        """Let a call be made for this thread by another: it counts as the body's own if this one does."""
        token = _lent_by.set(self if self._body is not None and self._body == _strand() else None)
        try:
            yield
        finally:
            _lent_by.reset(token)

    def next_sequence(self) -> int | None:
        """The place of a call among those of the body's own task; None for calls of tasks it started."""
        if _lent_by.get() is not self and (self._body is None or self._body != _strand()):
            return None
        with self._lock:
            return next(self._sequence)

    def take_ordinal(self, request_hash: str) -> int:
        """The lowest ordinal of this request that is not taken in this execution."""
        with self._lock:
            if self.closed:
                raise VisitClosed(f"Node {self.node!r} has ended; its late call was refused.", node=self.node)
            used = self._used.setdefault(request_hash, set())
            ordinal = next(n for n in itertools.count() if n not in used)
            used.add(ordinal)
            return ordinal

    def release_ordinal(self, request_hash: str, ordinal: int) -> None:
        """Give an ordinal back after a call that got no answer, so that a resend is the same call."""
        with self._lock:
            self._used[request_hash].discard(ordinal)

    def answered(self, request_hash: str, ordinal: int) -> None:
        with self._lock:
            self.finished.append((request_hash, ordinal))

    def post(self, item: dict[str, Any]) -> None:
        """Append to the outbox; within an effect, to what is recorded with its result."""
        with self._lock:
            if self.closed:
                raise VisitClosed(f"Node {self.node!r} has ended; its late message was refused.", node=self.node)
            mine = _posting_to.get()
            (self.outbox if mine is None else mine).append(item)

    def posted(self) -> list[dict[str, Any]]:
        """The outbox as the code that asks sees it: with what its own effect has posted."""
        with self._lock:
            return [*self.outbox, *(_posting_to.get() or ())]

    def next_value_name(self, kind: str) -> str:
        """A name for the next recorded value of this kind, such as ``now:0``."""
        with self._lock:
            counter = self._values.setdefault(kind, itertools.count())
            return f"{kind}:{next(counter)}"

    def random(self) -> Random:
        """A generator seeded by the visit: the same numbers whenever it is executed again."""
        seed = hashlib.sha256(self.seed.encode()).digest()
        return Random(int.from_bytes(seed[:16], "big"))

    @property
    def seed(self) -> str:
        """What chance in this visit comes from."""
        return f"{self.seed_thread or self.thread}\x1f{self.key}"

    def notify(self, kind: str, details: Mapping[str, Any]) -> None:
        if self.observer is not None:
            self.observer(kind, self, details)

    def close(self) -> None:
        """Fence off whatever this execution still does."""
        with self._lock:
            self.closed = True


def _strand() -> tuple[int, int]:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident(), id(task) if task is not None else 0


@contextmanager
def collecting() -> Iterator[list[dict[str, Any]]]:
    """Keep apart what is posted within: an effect is recorded with it, since its body runs only once."""
    items: list[dict[str, Any]] = []
    token = _posting_to.set(items)
    try:
        yield items
    finally:
        _posting_to.reset(token)


_posting_to: ContextVar[list[dict[str, Any]] | None] = ContextVar("vertebra_posting_to", default=None)

_lent_by: ContextVar[Visit | None] = ContextVar("vertebra_lent_by", default=None)
"""The visit whose body waits for the call that is being made for it."""

current_visit: ContextVar[Visit | None] = ContextVar("vertebra_visit", default=None)
