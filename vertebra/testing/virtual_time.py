"""Virtual time and shuffled schedules: an event loop that skips waiting and reorders what is ready.

On a ``ShuffledLoop`` a sleep costs nothing: when no callback is ready, time jumps to the next timer.
With a seed, callbacks that are ready together run in a seeded order, so that a race shows itself and
can be repeated.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Stopped(BaseException):
    """The loop was stopped where it stood, as a kill would."""


class ShuffledLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time whose ready callbacks are shuffled by a seed (None: kept in order).

    Work on other threads is waited for in real time. ``stop_after`` counts iterations.
    """

    def __init__(self, seed: int | None = None, *, stop_after: int | None = None) -> None:
        super().__init__()
        self._virtual_now = 0.0
        self._random = None if seed is None else random.Random(seed)
        self._stop_after = stop_after
        self._outstanding = 0
        self._outstanding_lock = threading.Lock()
        self.iterations = 0

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_now

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        with self._outstanding_lock:
            self._outstanding += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._came_back)
        return future

    def _came_back(self, _: Any) -> None:
        with self._outstanding_lock:
            self._outstanding -= 1

    def _run_once(self) -> None:
        self.iterations += 1
        if self._stop_after is not None and self.iterations > self._stop_after:
            raise Stopped
        # asyncio has no public seam here; both names are checked by a test under every Python we support.
        loop: Any = self
        if not loop._ready and loop._scheduled and not self._outstanding:
            due = loop._scheduled[0]._when
            if due > self._virtual_now:
                self._virtual_now = due
        if self._random is not None and len(loop._ready) > 1:
            ready = list(loop._ready)
            self._random.shuffle(ready)
            loop._ready.clear()
            loop._ready.extend(ready)
        super()._run_once()  # type: ignore[misc]

    def forget(self) -> None:
        """Drop everything that is pending, without running a line of it."""
        loop: Any = self
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop._ready.clear()
        loop._scheduled.clear()
        heapq.heapify(loop._scheduled)


class VirtualClock:
    """The time of the running ``ShuffledLoop``, from 2026-01-01 UTC on; by hand on any other loop."""

    def __init__(self) -> None:
        self._offset = 0.0

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._seconds())

    def _seconds(self) -> float:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._offset
        return loop.time() if isinstance(loop, ShuffledLoop) else self._offset

    def advance(self, seconds: float) -> None:
        """Move the time by hand."""
        self._offset += seconds

    async def sleep(self, seconds: float) -> None:
        """Return at once on an ordinary loop, having moved the time; as asyncio's on a virtual one."""
        if isinstance(asyncio.get_running_loop(), ShuffledLoop):
            await asyncio.sleep(seconds)
        else:
            self._offset += seconds
            await asyncio.sleep(0)


def run_shuffled(main: Callable[[], Awaitable[T]], *, seed: int | None = 0, stop_after: int | None = None) -> T:
    """Run ``main()`` on a fresh ``ShuffledLoop``. Raises ``Stopped`` after ``stop_after`` iterations.

    Then nothing more runs, neither ``finally`` nor ``except`` of what was going on: as after a kill.
    """
    loop = ShuffledLoop(seed, stop_after=stop_after)
    try:
        asyncio.set_event_loop(loop)
        try:
            task: asyncio.Task[T] = loop.create_task(_awaited(main))
            return loop.run_until_complete(task)
        except Stopped:
            _graveyard.extend(asyncio.all_tasks(loop))
            raise
        finally:
            if stop_after is None:
                loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.forget()
        asyncio.set_event_loop(None)
        loop.close()


async def _awaited(main: Callable[[], Awaitable[T]]) -> T:
    return await main()


_graveyard: list[Any] = []
"""Tasks that were stopped: kept, since collecting a suspended coroutine would run its ``finally``."""
