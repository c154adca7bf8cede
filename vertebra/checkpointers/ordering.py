"""A checkpointer around any LangGraph saver that keeps the order of what becomes durable.

LangGraph hands the writes of a task and the checkpoint that follows them to its saver independently,
so that a checkpoint can be durable before the writes it follows (langgraph issue 8039). Here ``aput``
waits until the writes of every task that has returned under its parent are durable, and refuses when
one of them failed, and nothing is written for a run whose lease is lost.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
)

from vertebra.checkpointers.fencing import current_lease
from vertebra.checkpointers.ids import require_later
from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.passing import PassingSaver
from vertebra.errors import StoreUnavailable
from vertebra.ports import crash_point

Guard = Callable[[], None]
"""Raises when this process may no longer write."""

Fence = Callable[[Lease], Awaitable[None]]
"""Raises ``LeaseLost`` when another has taken the thread over."""

Watcher = Callable[[str, Checkpoint, CheckpointMetadata], Awaitable[None]]
"""Told of each durable checkpoint: its namespace, itself, its metadata."""

Place = tuple[str, str]
"""Thread and checkpoint namespace: one LangGraph loop."""


@runtime_checkable
class HoldsWrites(Protocol):
    """A saver that commits writes later than it is given them, but before the next checkpoint, or with it."""

    def fence(self, fence: Callable[[str], None] | None) -> None:
        """Ask at the very commit."""

    def flush(self) -> None:
        """Commit now."""


class OrderedSaver(PassingSaver):
    """What LangGraph sees as its checkpointer. Safe in any event loop and thread.

    ``fence``: asked before each write, where the inner saver does not look at ``current_lease`` itself.
    """

    def __init__(
        self,
        inner: BaseCheckpointSaver[Any],
        *,
        errors: Callable[[], AbstractContextManager[None]] = nullcontext,
        fence: Fence | None = None,
    ) -> None:
        super().__init__(inner, errors=errors)
        self._fence = fence
        self._lock = threading.Lock()
        self._expected: dict[Place, set[str]] = {}
        self._arrived: dict[Place, list[tuple[str, asyncio.Future[None]]]] = {}
        self._guards: dict[str, Guard] = {}
        self._watchers: dict[str, Watcher] = {}
        if isinstance(inner, HoldsWrites):
            inner.fence(self._ask)

    def guard(self, thread: str, guard: Guard | None, watcher: Watcher | None = None) -> None:
        """Ask ``guard`` before each write of ``thread`` and tell ``watcher`` after each checkpoint; None ends it.

        Forgets what was expected.
        """
        if isinstance(self._inner, HoldsWrites):
            self._inner.flush()  # what the last holder's tasks wrote, while it is known to hold the thread
        with self._lock:
            self._guards.pop(thread, None)
            self._watchers.pop(thread, None)
            if guard is not None:
                self._guards[thread] = guard
            if watcher is not None:
                self._watchers[thread] = watcher
            for place in [p for p in (*self._expected, *self._arrived) if p[0] == thread]:
                self._expected.pop(place, None)
                self._arrived.pop(place, None)

    def expect(self, thread: str, namespace: str, task_id: str) -> None:
        """A task has returned: its writes must be durable before the next checkpoint of its loop."""
        with self._lock:
            self._expected.setdefault((thread, namespace), set()).add(task_id)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        place = _place(config)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._arrived.setdefault(place, []).append((task_id, done))
        try:
            await self._check(place[0])
            crash_point("writes.before")
            await self._call("put_writes", config, writes, task_id, task_path)
            crash_point("writes.after")
        except BaseException as error:
            done.set_exception(_as_exception(error))
            done.exception()  # retrieved: aput may never come to look at it
            raise
        done.set_result(None)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        place = _place(config)
        await self._writes_are_durable(place)
        require_later(checkpoint["id"], config["configurable"].get("checkpoint_id"), place[0])
        await self._check(place[0])
        crash_point("checkpoint.before")
        result: RunnableConfig = await self._call("put", config, checkpoint, metadata, new_versions)
        crash_point("checkpoint.after")
        watcher = self._watchers.get(place[0])
        if watcher is not None:
            await watcher(place[1], checkpoint, metadata)
        return result

    async def _writes_are_durable(self, place: Place) -> None:
        waited = 0
        while True:
            with self._lock:
                arrived = list(self._arrived.get(place, ()))
                missing = self._expected.get(place, set()) - {task for task, _ in arrived}
            for _, written in arrived:
                await written
            if not missing:
                break
            # LangGraph has the writes but its saver task has not started yet: let it.
            waited += 1
            if waited > 100_000:
                raise StoreUnavailable("The writes of a finished task never reached the checkpointer.", thread=place[0])
            await asyncio.sleep(0)
        with self._lock:
            self._expected.pop(place, None)
            self._arrived.pop(place, None)

    def _ask(self, thread: str) -> None:
        guard = self._guards.get(thread)
        if guard is not None:
            guard()

    async def _check(self, thread: str) -> None:
        self._ask(thread)
        lease = current_lease.get()
        if self._fence is not None and lease is not None:
            await self._fence(lease)


def _place(config: RunnableConfig) -> Place:
    configurable = config["configurable"]
    return str(configurable["thread_id"]), str(configurable.get("checkpoint_ns", ""))


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else StoreUnavailable(f"A write was broken off: {error!r}.")
