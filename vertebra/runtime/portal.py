"""The sync face: event loops on background threads that sync code calls into.

Two are used: ``runs`` drives graphs for ``*_sync`` methods, ``calls`` serves sync HTTP clients, so that
a sync client within an async node does not wait for the very loop that it blocks.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


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

                self._stop = start_blocking_portal("asyncio", name=f"vertebra-{self._name}")
                self._portal = self._stop.__enter__()
                self._pid = os.getpid()
            return self._portal

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
