"""Writes on their way into the state: which a checkpoint has to wait for, and which of them have failed.

Waited for from any event loop and any thread. Whoever stops waiting takes nothing from those who go on, and a failure
is told once: what is tried after it, from the last durable edge, is judged by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vertebra.errors import StoreUnavailable

Place = tuple[str, str]
"""Thread and checkpoint namespace: one LangGraph loop."""

PATIENCE_S = 10.0
TURNS = 100_000
"""How long a checkpoint waits, in a thread or in turns of its loop, for writes that LangGraph has yet to hand over."""


class Arrival:
    """Writes of one task under one checkpoint, from when they are handed over until they are durable or have failed."""

    __slots__ = ("channels", "checkpoint", "config", "error", "task", "waiting", "where")

    def __init__(self, config: Any, task: str, writes: Sequence[tuple[str, Any]]) -> None:
        self.config = config
        self.checkpoint = config["configurable"].get("checkpoint_id")
        self.task = task
        self.channels = frozenset(channel for channel, _ in writes)
        self.error: Exception | None = None
        self.waiting: list[asyncio.Future[None]] = []
        self.where: Mapping[str, Any] = {}
        """Of the node that wrote it, if it was expected."""

    def is_among(self, writes: Iterable[tuple[str, str, Any]]) -> bool:
        """Whether it is there, among the pending writes of its checkpoint."""
        return self.channels <= {channel for task, channel, _ in writes if task == self.task}

    def bears_on(self, checkpoint: str | None) -> bool:
        """Whether a checkpoint that follows this one must not become durable before it."""
        return checkpoint is None or self.checkpoint == checkpoint


class Arrivals:
    """Of all places. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._expected: dict[Place, dict[str, Mapping[str, Any]]] = {}
        self._arrived: dict[Place, list[Arrival]] = {}

    def expect(self, place: Place, task: str, where: Mapping[str, Any]) -> None:
        """The task has returned: its writes are to come. ``where`` says of which node."""
        with self._changed:
            self._expected.setdefault(place, {})[task] = where

    def begin(self, place: Place, arrival: Arrival) -> None:
        """They are being written. An earlier attempt of the same task that failed does not matter any more."""
        with self._changed:
            expected = self._expected.get(place)
            if expected is not None:
                arrival.where = expected.pop(arrival.task, {})
            again = (arrival.checkpoint, arrival.task)
            kept = [
                other
                for other in self._arrived.get(place, ())
                if other.error is None or (other.checkpoint, other.task) != again
            ]
            self._arrived[place] = [*kept, arrival]

    def end(self, place: Place, arrival: Arrival, error: BaseException | None) -> None:
        """They are durable, or have failed."""
        with self._changed:
            if error is None:
                self._drop(place, [arrival])
            else:
                arrival.error = _as_exception(error, place[0])
            waiting, arrival.waiting = arrival.waiting, []
            self._changed.notify_all()
        for future in waiting:
            _wake(future)

    def forget(self, thread: str) -> None:
        """Nothing that was expected or has failed matters any more."""
        with self._changed:
            for place in [p for p in (*self._expected, *self._arrived) if p[0] == thread]:
                self._expected.pop(place, None)
                self._arrived.pop(place, None)

    async def settled(self, place: Place, checkpoint: str | None) -> list[Arrival]:
        """As ``settled_sync``, in an event loop."""
        turns = 0
        while True:
            with self._changed:
                pending = self._pending(place, checkpoint)
                if pending is None and not self._expected.get(place):
                    return self._conclude(place, checkpoint)
                if pending is not None:
                    future = asyncio.get_running_loop().create_future()
                    pending.waiting.append(future)
            if pending is not None:
                await future
                continue
            # LangGraph has the writes but its saver task has not started yet: let it.
            turns += 1
            if turns > TURNS:
                raise _never(place)
            await asyncio.sleep(0)

    def settled_sync(self, place: Place, checkpoint: str | None) -> list[Arrival]:
        """Wait for all that must be durable before what follows ``checkpoint``; returns what has failed, once.

        Raises ``StoreUnavailable`` for a task whose writes never come.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._pending(place, checkpoint) is None)
            if not self._changed.wait_for(
                lambda: not self._expected.get(place) and self._pending(place, checkpoint) is None, PATIENCE_S
            ):
                raise _never(place)
            return self._conclude(place, checkpoint)

    def _pending(self, place: Place, checkpoint: str | None) -> Arrival | None:
        arrived = self._arrived.get(place, ())
        return next((a for a in arrived if a.error is None and a.bears_on(checkpoint)), None)

    def _conclude(self, place: Place, checkpoint: str | None) -> list[Arrival]:
        self._expected.pop(place, None)
        failed = [arrival for arrival in self._arrived.get(place, ()) if arrival.error is not None]
        self._drop(place, failed)
        return [arrival for arrival in failed if arrival.bears_on(checkpoint)]

    def _drop(self, place: Place, gone: Sequence[Arrival]) -> None:
        if not gone or place not in self._arrived:
            return
        left = [arrival for arrival in self._arrived[place] if arrival not in gone]
        if left:
            self._arrived[place] = left
        else:
            del self._arrived[place]


def _wake(future: asyncio.Future[None]) -> None:
    """Of whatever loop; he may have stopped waiting, and his loop with him."""

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    loop = future.get_loop()
    try:
        here = asyncio.get_running_loop() is loop
    except RuntimeError:
        here = False
    if here:
        wake()
        return
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(wake)


def _as_exception(error: BaseException, thread: str) -> Exception:
    return (
        error
        if isinstance(error, Exception)
        else StoreUnavailable(f"A write was broken off: {error!r}.", thread=thread)
    )


def _never(place: Place) -> StoreUnavailable:
    return StoreUnavailable("The writes of a finished task never reached the checkpointer.", thread=place[0])
