"""What this process remembers of a thread, so that nothing is stored twice: a cache that may be lost at any time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vertebra.checkpointers.pieces.chunks import Level
from vertebra.checkpointers.pieces.sameness import Sameness

RECENT = 1024  # pieces of which the digest is remembered
NAMESPACES = 64  # loops of one thread of which the last checkpoint is remembered
LOW_WATER = 1024  # with fewer numbers left, the next commit reserves more


@dataclass(slots=True)
class Sequence:
    """A list or dict as it was stored last. ``items`` are its objects, if they have been seen, and are not copies.

    ``frozen``: all are of immutable types, where the same object is the same value; ``sameness`` tells it of messages.
    """

    items: list[Any] | None
    frozen: bool
    levels: list[Level]
    digests: list[bytes | None]
    sameness: list[Sameness | None] = field(default_factory=list)


@dataclass(slots=True)
class Latest:
    """The checkpoint put last in one namespace: which, and what its channels refer to."""

    checkpoint: str
    versions: dict[str, Any]
    refs: dict[str, Any]


@dataclass(slots=True, eq=False)
class ThreadMemo:
    """One thread as this process has it. Hold ``lock`` to read or change it.

    ``generation``: of the thread's rows; a prune or a deletion, by any process, ends it, and with it this memo.
    """

    thread: str
    number: int
    generation: int
    reserved: deque[tuple[int, int]]
    reserve: Callable[[ThreadMemo], None]
    lock: threading.RLock = field(default_factory=threading.RLock)
    stale: bool = False
    latest: dict[str, Latest] = field(default_factory=dict)
    sequences: dict[tuple[str, str], Sequence] = field(default_factory=dict)
    recent: dict[bytes, int] = field(default_factory=dict)

    def next_number(self) -> int:
        """A number that no other piece of the thread has, in any process."""
        if not self.reserved:
            self.reserve(self)
        first, last = self.reserved[0]
        if first + 1 == last:
            self.reserved.popleft()
        else:
            self.reserved[0] = (first + 1, last)
        return first

    @property
    def runs_low(self) -> bool:
        return sum(last - first for first, last in list(self.reserved)) < LOW_WATER

    def remember(self, digest: bytes, number: int) -> None:
        if len(self.recent) >= RECENT:
            del self.recent[next(iter(self.recent))]
        self.recent[digest] = number

    def has_put(self, namespace: str, latest: Latest) -> None:
        self.latest.pop(namespace, None)
        self.latest[namespace] = latest
        if len(self.latest) > NAMESPACES:
            oldest = next(iter(self.latest))
            del self.latest[oldest]
            for place in [place for place in self.sequences if place[0] == oldest]:
                del self.sequences[place]
