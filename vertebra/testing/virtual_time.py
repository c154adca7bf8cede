"""Virtual time and shuffled schedules: an event loop that skips waiting and reorders what is ready.

On a ``ShuffledLoop`` a sleep costs nothing: when no callback is ready, time jumps to the next timer.
With a seed, tasks that are ready together run in a seeded order, so that a race shows itself and can be
repeated. Callbacks of ``call_soon`` keep their order, which asyncio promises and transports rely on.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import random
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
JOB_S = 0.2
"""How long, in real seconds, a seeded loop lets a job go first that neither ends nor calls in."""
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Stopped(BaseException):
    """The loop was stopped where it stood, as a kill would."""


class _Job:
    """A function on a thread: which one, and whether it has ended or called into the loop."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.stirred = threading.Event()


class ShuffledLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time that shuffles ready tasks by a seed (None: keeps them in order).

    Jobs of ``run_in_executor`` are waited for in real time, and time stands still meanwhile, unless the job
    itself calls into the loop: then it may be waiting for a timer. Sockets are not waited for.
    With a seed, nothing else runs until such a job has ended or called in, or has waited a while for others.
    ``stop_after`` counts iterations; the one after it raises ``Stopped``. A run repeats exactly under its seed
    as long as its threads are such jobs and only compute.
    """

    def __init__(self, seed: int | None = None, *, stop_after: int | None = None) -> None:
        super().__init__()
        self._virtual_now = 0.0
        self._random = None if seed is None else random.Random(seed)
        self._stop_after = stop_after
        self._jobs: set[_Job] = set()
        self._own_executor: ThreadPoolExecutor | None = None
        self._jobs_lock = threading.Lock()
        self._forgotten = False
        self.iterations = 0

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_now

    def advance(self, seconds: float) -> None:
        """Move the time on by hand; timers that fall due run in the next iteration."""
        self._virtual_now += max(0.0, seconds)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        job = _Job()

        def work() -> T:
            job.thread = threading.get_ident()
            return func(*args)

        def came_back(_: Any) -> None:
            with self._jobs_lock:
                self._jobs.discard(job)

        if executor is None:
            executor = self._own_executor = self._own_executor or ThreadPoolExecutor(thread_name_prefix="asyncio")
            self.set_default_executor(executor)
        with self._jobs_lock:
            self._jobs.add(job)
        source = executor.submit(work)
        if self._random is not None:
            # Whether it ends before the next iteration or after it must not be left to chance.
            source.add_done_callback(lambda _: job.stirred.set())
            job.stirred.wait(JOB_S)
        future: asyncio.Future[T] = asyncio.wrap_future(source, loop=self)
        future.add_done_callback(came_back)
        return future

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if self._forgotten:
            # A thread reports back to a loop that was killed: nobody is there to hear it.
            return asyncio.Handle(callback, args, self)
        handle = super().call_soon_threadsafe(callback, *args, context=context)
        here = threading.get_ident()
        with self._jobs_lock:
            for job in [job for job in self._jobs if job.thread == here]:
                # While it runs, it calls in; when it is done, its result is on the way as this very callback.
                self._jobs.remove(job)
                job.stirred.set()
        return handle

    def _run_once(self) -> None:
        self.iterations += 1
        if self._stop_after is not None and self.iterations > self._stop_after:
            raise Stopped
        # asyncio has no public seam here; these names are held by a test under every Python we support.
        loop: Any = self
        if self._random is not None:
            self._gather(loop)
            self._shuffle(loop)
        elif not loop._ready:
            self._jump(loop)
        super()._run_once()  # type: ignore[misc]

    def _jump(self, loop: Any) -> None:
        with self._jobs_lock:
            # A job leaves only after its callback has come, so that none slips between these two looks.
            if self._jobs or loop._ready:
                return
        while loop._scheduled and loop._scheduled[0]._cancelled:
            loop._timer_cancelled_count -= 1
            heapq.heappop(loop._scheduled)._scheduled = False
        if loop._scheduled:
            self._virtual_now = max(self._virtual_now, loop._scheduled[0]._when)

    def _gather(self, loop: Any) -> None:
        """Bring to the ready queue whatever this iteration would add to it, so that it is shuffled too."""
        loop._process_events(loop._selector.select(0))
        if not loop._ready:
            self._jump(loop)
        due: list[Any] = []
        while loop._scheduled and loop._scheduled[0]._when <= self._virtual_now:
            timer = heapq.heappop(loop._scheduled)
            timer._scheduled = False
            if timer._cancelled:
                loop._timer_cancelled_count -= 1
            else:
                due.append(timer)
        if self._random is not None:
            tied = [(timer._when, self._random.random(), n) for n, timer in enumerate(due)]
            loop._ready.extend(due[n] for _, _, n in sorted(tied))

    def _shuffle(self, loop: Any) -> None:
        ready = list(loop._ready)
        places = [n for n, handle in enumerate(ready) if _is_task_step(handle)]
        if self._random is None or len(places) < 2:
            return
        steps = [ready[n] for n in places]
        self._random.shuffle(steps)
        for place, step in zip(places, steps, strict=True):
            ready[place] = step
        loop._ready.clear()
        loop._ready.extend(ready)

    def forget(self) -> None:
        """Drop everything that is pending, without running a line of it, now or ever."""
        loop: Any = self
        self._forgotten = True
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            # Collecting a suspended coroutine would run its ``finally``, which a killed process never does.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
        loop._ready.clear()
        loop._scheduled.clear()


def _is_task_step(handle: Any) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)


class VirtualClock:
    """The time of the running ``ShuffledLoop``, from 2026-01-01 UTC on; by hand on any other loop.

    It never goes back: on a second loop it goes on from where it stood. Threads see the time of the last loop.
    """

    def __init__(self) -> None:
        self._elapsed_s = 0.0
        self._loop: weakref.ref[ShuffledLoop] | None = None
        self._seen_s = 0.0
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The time, in UTC."""
        running = _running()
        with self._lock:
            if running is not None and (self._loop is None or self._loop() is not running):
                self._loop, self._seen_s = weakref.ref(running), 0.0
            loop = self._loop() if self._loop is not None else None
            if loop is not None:
                seen_s = loop.time()
                self._elapsed_s += seen_s - self._seen_s
                self._seen_s = seen_s
            return EPOCH + timedelta(seconds=self._elapsed_s)

    def advance(self, seconds: float) -> None:
        """Move the time on by hand: the loop's where one runs, so that its timers fall due."""
        running = _running()
        if running is not None:
            running.advance(seconds)
        else:
            with self._lock:
                self._elapsed_s += seconds

    async def sleep(self, seconds: float) -> None:
        """Return at once on an ordinary loop, having moved the time; as asyncio's on a virtual one."""
        if _running() is not None:
            await asyncio.sleep(seconds)
        else:
            self.advance(max(0.0, seconds))
            await asyncio.sleep(0)


def _running() -> ShuffledLoop | None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return loop if isinstance(loop, ShuffledLoop) else None


def run_shuffled(coro_fn: Callable[[], Awaitable[T]], seed: int | None = 0, stop_after: int | None = None) -> T:
    """Run ``coro_fn()`` on a fresh ``ShuffledLoop``, and return what it returns.

    Raises ``Stopped`` when it takes more than ``stop_after`` iterations. Then nothing more runs, neither
    ``finally`` nor ``except`` of what was going on, as after a kill; what was suspended is never collected.
    Otherwise it ends as ``asyncio.run`` does: tasks still pending are cancelled.

    Example::

        >>> async def wait() -> float:
        ...     await asyncio.sleep(3600)
        ...     return asyncio.get_running_loop().time()
        >>> run_shuffled(wait)
        3600.0
    """
    loop = ShuffledLoop(seed, stop_after=stop_after)

    async def main() -> T:
        return await coro_fn()

    try:
        asyncio.set_event_loop(loop)
        try:
            return loop.run_until_complete(loop.create_task(main()))
        finally:
            if stop_after is None or loop.iterations <= stop_after:
                loop.run_until_complete(_wind_up())
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.forget()
        asyncio.set_event_loop(None)
        loop.close()


async def _wind_up() -> None:
    pending = asyncio.all_tasks() - {asyncio.current_task()}
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
