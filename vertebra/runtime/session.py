"""Holding a thread: the lease, its heartbeat, and what happens when it is lost or the run is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers.fencing import lost, writing_under
from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.opening import Store
from vertebra.errors import StoreError, ThreadBusy
from vertebra.ports import Clock
from vertebra.types import ThreadRecord

if TYPE_CHECKING:
    from vertebra.checkpointers.ordering import Watcher


MIN_PERIOD_S = 0.02


class Hold:
    """One held thread, and why its drive was stopped, if it was."""

    def __init__(self, record: ThreadRecord, lease: Lease) -> None:
        self.record = record
        self.lease = lease
        self.lost = False
        self.cancel_requested = False
        self.ended = False
        """The drive is letting the thread go: a lease that is not held any more is not a lost one."""
        self.next_beat_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()

    def guard(self) -> None:
        """Raise ``LeaseLost`` if this process may no longer write the thread."""
        if self.lost:
            raise lost(self.lease)

    def stop(self) -> None:
        """Cancel the drive, from any thread; nothing if it has come to its end by itself."""
        with contextlib.suppress(RuntimeError):  # its loop is closed
            self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        # On the drive's own loop: what it sees of `ended` cannot change before the task is cancelled.
        if not self.ended and self._task is not None:
            self._task.cancel()

    @property
    def is_abandoned(self) -> bool:
        """Whether the loop that drove the thread was closed in the middle of it."""
        return self._loop.is_closed()


class Heart:
    """Prolongs the leases of an app's threads, from a thread of its own: a blocked event loop keeps them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._holds: set[Hold] = set()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, hold: Hold) -> None:
        hold.next_beat_s = time.monotonic() + _period_s(hold.lease)
        with self._wake:
            self._holds.add(hold)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._beat, name="vertebra-heart", daemon=True)
                self._thread.start()
            self._wake.notify()

    def remove(self, hold: Hold) -> None:
        with self._wake:
            self._holds.discard(hold)
            self._wake.notify()

    def _beat(self) -> None:
        while True:
            with self._wake:
                if not self._holds:
                    self._thread = None
                    return
                now = time.monotonic()
                due = [hold for hold in self._holds if hold.next_beat_s <= now]
                if not due:
                    self._wake.wait(min(hold.next_beat_s for hold in self._holds) - now)
                    continue
            for hold in due:
                hold.next_beat_s = now + _period_s(hold.lease)
                self._renew(hold)

    def _renew(self, hold: Hold) -> None:
        if hold.is_abandoned:
            self.remove(hold)  # its lease must run out, for nobody will let it go
            return
        try:
            renewal = self._store.runs.renew_sync(hold.lease)
        except StoreError:
            return  # tried again at the next beat; if it goes on, the lease runs out and another takes over
        if hold.ended:
            return
        if not renewal.held and not hold.lost:
            hold.lost = True
            hold.stop()
        elif renewal.cancel_requested and not hold.cancel_requested:
            hold.cancel_requested = True
            hold.stop()


def _period_s(lease: Lease) -> float:
    """Seconds between heartbeats: often enough for the lease, and for a request to cancel to be seen soon."""
    return max(MIN_PERIOD_S, min(lease.ttl_s / 3, 1.0))


async def patiently(
    take: Callable[[], Awaitable[tuple[ThreadRecord, Lease]]], clock: Clock, wait_s: float
) -> tuple[ThreadRecord, Lease]:
    """Take a lease, waiting up to ``wait_s`` seconds for another writer to be done."""
    waited, pause = 0.0, 0.05
    while True:
        try:
            return await take()
        except ThreadBusy:
            if waited >= wait_s:
                raise
        pause = min(pause, wait_s - waited)
        await clock.sleep(pause)
        waited += pause
        pause = min(pause * 1.5, 1.0)


@asynccontextmanager
async def holding(
    store: Store, heart: Heart, record: ThreadRecord, lease: Lease, watcher: Watcher
) -> AsyncIterator[Hold]:
    """Keep the lease alive around a drive, with the saver refusing writes once it is lost."""
    hold = Hold(record, lease)
    saver: Any = store.saver
    saver.guard(lease.thread, hold.guard, watcher)
    heart.add(hold)
    try:
        with writing_under(lease):
            yield hold
    finally:
        hold.ended = True
        heart.remove(hold)
        saver.guard(lease.thread, None)
