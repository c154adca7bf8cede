"""The sync face: event loops on background threads that sync code calls into.

Two are used: ``runs`` drives graphs for ``*_sync`` methods, ``calls`` serves sync HTTP clients, so that
a sync client within an async node does not wait for the very loop that it blocks.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()
_inherited: list[Any] = []


class Portal:
    """One background loop, started when first called. A forked child starts one of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._portal: Any = None
        self._stop: Any = None
        self._pid = 0

    def _open(self) -> Any:
        with self._lock:
            if self._portal is None or self._pid != os.getpid():
                from anyio.from_thread import start_blocking_portal

                if self._stop is not None:
                    # Inherited by fork: closing it would wait for a thread that this process does not have.
                    _inherited.append(self._stop)
                self._stop = start_blocking_portal("asyncio", name=f"vertebra-{self._name}")
                self._portal = self._stop.__enter__()
                self._pid = os.getpid()
                # Closed while the interpreter is whole: its own end would come upon a half-torn-down module.
                atexit.register(self._close, self._pid)
            return self._portal

    def _close(self, pid: int) -> None:
        if self._stop is not None and pid == os.getpid() == self._pid:
            stop, self._stop, self._portal = self._stop, None, None
            stop.__exit__(None, None, None)

    def call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run a coroutine function to its end and return its result."""
        result: T = self._open().call(function, *args)
        return result

    def iterate(self, source: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        """Consume an async iterator from sync code, one item a call."""
        iterator = self.call(_started, source)
        try:
            while (item := self.call(_next, iterator)) is not _END:
                yield item
        finally:
            self.call(_closed, iterator)


async def _started(source: Callable[[], AsyncIterator[T]]) -> AsyncIterator[T]:
    return source()


async def _next(iterator: AsyncIterator[Any]) -> Any:
    return await anext(iterator, _END)


async def _closed(iterator: AsyncIterator[Any]) -> None:
    close = getattr(iterator, "aclose", None)
    if close is not None:
        await close()


runs = Portal("runs")
calls = Portal("calls")
