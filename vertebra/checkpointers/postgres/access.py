"""How threads of a database are come at: by a connection of its pool, and to write one at a time, who may."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol

from vertebra.checkpointers.fencing import current_lease
from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.pieces.memo import ThreadMemo
from vertebra.checkpointers.postgres.marking import MarkingSerializer
from vertebra.checkpointers.postgres.writing import changing, written
from vertebra.databases.failures import closed, driver_errors
from vertebra.databases.sealing import Seals
from vertebra.databases.url import StoreUrl

Fence = Callable[[str], None]
"""Raises when this process may no longer write to a thread."""

LOCKS = 256


class Access:
    """Over a pool of connections with rows as dicts. Safe in any thread.

    ``fenced``: the run records are in the same database, and nothing is written under a lease that is lost.
    """

    def __init__(self, url: StoreUrl, pool: Any, serde: SerializerProtocol, *, fenced: bool, seals: Seals) -> None:
        self.url = url
        self.pool = pool
        self.seals = seals
        self.fence: Fence | None = None
        self._fenced = fenced
        self._keyless = fenced and not seals.on
        self._closed = False
        self._locks = [threading.RLock() for _ in range(LOCKS)]
        self.use(serde)

    def use(self, serde: SerializerProtocol) -> None:
        """Dump and load with this serializer from now on."""
        self.serde = MarkingSerializer(serde, self.seals)

    @property
    def is_closed(self) -> bool:
        return self._closed

    def require_open(self) -> None:
        if self._closed:
            raise closed(f"store {self.url}")

    def close(self) -> None:
        self._closed = True
        self.pool.close()

    def lease(self) -> Lease | None:
        """Under which the caller writes."""
        return current_lease.get() if self._fenced else None

    def ask(self, thread: str) -> None:
        """Raises where the fence refuses the thread."""
        if self.fence is not None:
            self.fence(thread)

    def lock_of(self, thread: str) -> threading.RLock:
        return self._locks[hash(thread) % LOCKS]

    @contextmanager
    def writing(self, thread: str) -> Iterator[None]:
        """A thread is written by one caller of this process at a time."""
        with self.lock_of(thread), driver_errors(self.url):
            self.require_open()
            self.ask(thread)
            yield

    @contextmanager
    def written(
        self, lease: Lease | None, memo: ThreadMemo | None = None, pieces: Sequence[tuple[int, bytes]] = ()
    ) -> Iterator[PostgresSaver]:
        """As ``writing.written``, on a connection of its own."""
        with (
            self.pool.connection() as connection,
            written(connection, self.serde, lease, memo, pieces, keyless=self._keyless) as saver,
        ):
            yield saver

    @contextmanager
    def changing(self, threads: Sequence[str]) -> Iterator[Any]:
        """As ``writing.changing``, on a connection of its own. Hold the threads."""
        with self.pool.connection() as connection, changing(connection, threads, self.lease()):
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Any]:
        with driver_errors(self.url):
            self.require_open()
            with self.pool.connection() as connection:
                yield connection
