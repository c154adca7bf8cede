"""The thread that commits for those who do not: event loops, at once, and what is held, when it is due.

To wake a thread costs as much as to make a batch. So it sleeps lightly for a while after each commit, and what is held
within that while, as it is in every superstep, wakes nobody: mostly the checkpoint that takes it along comes first.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

HELD_S = 0.002
LIGHTLY = 5  # times HELD_S that it looks whether something is held before it sleeps until it is woken


class Flusher:
    """``flush`` makes durable whatever waits; ``due``: since when the first held batch does, monotonic seconds."""

    def __init__(self, flush: Callable[[], None], due: Callable[[], float | None]) -> None:
        self._flush = flush
        self._due = due
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._lock = threading.Lock()  # of the fields below
        self._thread: threading.Thread | None = None
        self._asleep = True
        self._asked = False
        self._stopped = False

    def now(self) -> None:
        """Have all that waits committed at once; here, where the thread has ended."""
        with self._lock:
            stopped = self._stopped
            if not stopped and not self._asked:
                self._asked = True
                self._wake()
        if stopped:
            self._flush()

    def soon(self) -> None:
        """Have what is held committed when it is due. Call it after the batch was queued."""
        with self._lock:
            if self._asleep and not self._stopped:
                self._wake()

    def stop(self) -> None:
        """Commit what waits, and return when that is done."""
        with self._lock:
            self._stopped = True
            thread = self._thread
            self._bell.put(None)
        if thread is not None:
            thread.join()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="vertebra-state-writer", daemon=True)
            self._thread.start()
        self._asleep = False
        self._bell.put(None)

    def _run(self) -> None:
        quiet = 0
        while True:
            with self._lock:
                # Within the lock: what is held from now on finds it asleep, and wakes it.
                since = self._due()
                self._asleep = since is None and quiet >= LIGHTLY
                asleep = self._asleep
            with suppress(Empty):
                self._bell.get(timeout=None if asleep else _left(since))
            with self._lock:
                self._asleep = False
                asked, self._asked = self._asked, False
                stopped = self._stopped
            since = self._due()
            if asked or stopped or (since is not None and _left(since) == 0):
                self._flush()
                quiet = 0
            elif since is None:
                quiet += 1
            if stopped:
                return


def _left(since: float | None) -> float:
    """Seconds until what is held since then is due, or until the next look."""
    return HELD_S if since is None else max(0.0, since + HELD_S - time.monotonic())
