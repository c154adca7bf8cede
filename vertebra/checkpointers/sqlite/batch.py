"""A batch of rows: what is durable whole or not at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from vertebra.checkpointers.fencing import current_lease
from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.pieces.memo import ThreadMemo


class Stale(Exception):
    """The thread's pieces may have been deleted since the batch was made: make it again."""


@dataclass(slots=True, eq=False)
class Batch:
    """Rows of one thread, of whoever makes them. ``checkpoint`` is None for a task's writes.

    ``held``: it may wait for the next commit. ``waiting``: whoever waits for it in an event loop.
    """

    memo: ThreadMemo
    pieces: list[tuple[int, bytes]]
    writes: tuple[Any, ...] | None = None
    checkpoint: tuple[Any, ...] | None = None
    lease: Lease | None = field(default_factory=current_lease.get)
    held: bool = False
    done: bool = False
    error: Exception | None = None
    at: float = field(default_factory=time.monotonic)
    waiting: asyncio.Future[None] | None = None


def tell(batches: Iterable[Batch]) -> None:
    """Wake whoever waits for these batches, each event loop once, from any thread."""
    loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for batch in batches:
        if batch.waiting is not None:
            loops.setdefault(batch.waiting.get_loop(), []).append(batch.waiting)
    for loop, waiting in loops.items():
        with suppress(RuntimeError):  # it is closed, and nobody waits
            loop.call_soon_threadsafe(_end, waiting)


def _end(waiting: list[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():  # not cancelled
            future.set_result(None)
