"""Writes of tasks that wait for the checkpoint that follows them, so that both are one commit, but not for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langgraph.checkpoint.base import WRITES_IDX_MAP

from vertebra.checkpointers.lease import Lease

HELD_S = 0.005
"""A network and a server lie between: longer than for a file. What is lost with the process is executed again."""
RETRY_S = 0.1
IDLE_ROUNDS = 20
"""Of ``HELD_S`` each with nothing handed in, after which the flusher sleeps until it is woken. To wake it for each
write, which its checkpoint most often takes along before it is due, would be two changes of thread a superstep.
"""


@dataclass(slots=True)
class Writes:
    """Of one task, as they were handed in: ``writes`` are channels with dumped values."""

    config: Any
    writes: Sequence[tuple[str, Any]]
    task: str
    path: str
    lease: Lease | None
    due: float = field(default_factory=lambda: time.monotonic() + HELD_S)

    @property
    def may_wait(self) -> bool:
        """Unless one of them is an error, an interrupt or its answer."""
        return not any(channel in WRITES_IDX_MAP for channel, _ in self.writes)

    @property
    def thread(self) -> str:
        return str(self.config["configurable"]["thread_id"])


class HeldWrites:
    """What waits, by thread. ``flush`` is called, on a thread of its own, for a thread of which something is due."""

    def __init__(self, flush: Callable[[str], None]) -> None:
        self._flush = flush
        self._mutex = threading.Lock()
        self._waiting: dict[str, list[Writes]] = {}
        self._wake = threading.Event()
        self._flusher: threading.Thread | None = None
        self._closed = False
        self._added = self._asleep = False

    def add(self, writes: Writes) -> None:
        with self._mutex:
            wake, self._added = self._asleep, True
            self._waiting.setdefault(writes.thread, []).append(writes)
            if self._flusher is None:
                self._flusher = threading.Thread(target=self._run, name="vertebra-held", daemon=True)
                self._flusher.start()
        if wake:
            self._wake.set()

    def take(self, thread: str) -> list[Writes]:
        """All that waits for the thread, in the order in which it was handed in. Hold the thread's lock."""
        if not self._waiting:
            return []
        with self._mutex:
            return self._waiting.pop(thread, [])

    def give_back(self, writes: Sequence[Writes]) -> None:
        """What the server does not take now waits for the next flush."""
        if not writes:
            return
        for one in writes:
            one.due = time.monotonic() + RETRY_S
        with self._mutex:
            self._waiting[writes[0].thread] = [*writes, *self._waiting.get(writes[0].thread, [])]
        self._wake.set()

    def threads(self) -> list[str]:
        with self._mutex:
            return list(self._waiting)

    def close(self) -> None:
        self._closed = True
        self._wake.set()
        if self._flusher is not None:
            self._flusher.join()

    def _run(self) -> None:
        idle = 0
        while not self._closed:
            self._wake.clear()
            first = self._first()
            if first is not None and first.due <= time.monotonic():
                self._flush(first.thread)
                continue
            with self._mutex:
                idle = 0 if self._added or self._waiting else idle + 1
                self._added, self._asleep = False, idle > IDLE_ROUNDS
            # What is handed in meanwhile is not due before.
            until_due_s = HELD_S if first is None else min(HELD_S, first.due - time.monotonic())
            self._wake.wait(None if self._asleep else max(until_due_s, 0.0))

    def _first(self) -> Writes | None:
        with self._mutex:
            return min((waiting[0] for waiting in self._waiting.values()), key=lambda w: w.due, default=None)
