"""A checkpointer around any LangGraph saver that keeps the order of what becomes durable.

LangGraph hands the writes of a task and the checkpoint that follows them to its saver independently,
so that a checkpoint can be durable before the writes it follows (langgraph issue 8039). Here ``put`` and
``aput`` wait until the writes of every task that has returned under its parent are durable, and refuse when
one of them failed, and nothing is written for a run whose lease is lost.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, runtime_checkable

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from vertebra.checkpointers.arrivals import Arrival, Arrivals, Place
from vertebra.checkpointers.fencing import current_lease
from vertebra.checkpointers.ids import require_later
from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.passing import PassingSaver
from vertebra.checkpointers.unstorable import unstorable
from vertebra.errors import InvalidInput, InvalidUpdate
from vertebra.ports import crash_point

Guard = Callable[[], None]
"""Raises when this process may no longer write."""

Watcher = Callable[[str, Checkpoint, CheckpointMetadata], Awaitable[None]]
"""Told of each durable checkpoint: its namespace, itself, its metadata."""


class Fence(Protocol):
    """Raises ``LeaseLost`` when another has taken the thread over."""

    async def ask(self, lease: Lease) -> None: ...

    def ask_sync(self, lease: Lease) -> None: ...


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
        self._arrivals = Arrivals()
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
        self._guards.pop(thread, None)
        self._watchers.pop(thread, None)
        if guard is not None:
            self._guards[thread] = guard
        if watcher is not None:
            self._watchers[thread] = watcher
        self._arrivals.forget(thread)

    def expect(self, thread: str, namespace: str, task_id: str, **where: Any) -> None:
        """A task has returned: its writes must be durable before the next checkpoint of its loop.

        ``where``: node and step, for the error that tells of writes that cannot be stored.
        """
        self._arrivals.expect((thread, namespace), task_id, where)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        with self._arriving(config, writes, task_id) as thread:
            await self._check(thread)
            crash_point("writes.before")
            await self._call("put_writes", config, writes, task_id, task_path)
            crash_point("writes.after")

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        with self._arriving(config, writes, task_id) as thread:
            self._check_sync(thread)
            crash_point("writes.before")
            self._call_sync(lambda: self._inner.put_writes(config, writes, task_id, task_path))
            crash_point("writes.after")

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        place, parent = _place(config), _parent(config)
        for failed in await self._arrivals.settled(place, parent):
            _require(failed, await self.aget_tuple(failed.config))
        require_later(checkpoint["id"], parent, place[0])
        await self._check(place[0])
        crash_point("checkpoint.before")
        with self._storing(checkpoint, metadata):
            result: RunnableConfig = await self._call("put", config, checkpoint, metadata, new_versions)
        crash_point("checkpoint.after")
        watcher = self._watchers.get(place[0])
        if watcher is not None:
            await watcher(place[1], checkpoint, metadata)
        return result

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        place, parent = _place(config), _parent(config)
        for failed in self._arrivals.settled_sync(place, parent):
            _require(failed, self.get_tuple(failed.config))
        require_later(checkpoint["id"], parent, place[0])
        self._check_sync(place[0])
        crash_point("checkpoint.before")
        with self._storing(checkpoint, metadata):
            result = self._call_sync(lambda: self._inner.put(config, checkpoint, metadata, new_versions))
        crash_point("checkpoint.after")
        watcher = self._watchers.get(place[0])
        if watcher is not None:
            _in_a_loop(lambda: watcher(place[1], checkpoint, metadata))
        return result

    @contextmanager
    def _arriving(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str) -> Iterator[str]:
        """Around the writing of what a task wrote: its thread."""
        place, arrival = _place(config), Arrival(config, task_id, writes)
        self._arrivals.begin(place, arrival)
        try:
            yield place[0]
        except Exception as error:
            told = unstorable(error, self.serde, writes, **arrival.where)
            self._arrivals.end(place, arrival, told)
            if told is error:
                raise
            raise told from error
        except BaseException as error:
            self._arrivals.end(place, arrival, error)
            raise
        self._arrivals.end(place, arrival, None)

    @contextmanager
    def _storing(self, checkpoint: Checkpoint, metadata: CheckpointMetadata) -> Iterator[None]:
        """Around the writing of a checkpoint, which has what reducers made of the writes."""
        try:
            yield
        except Exception as error:
            told = unstorable(error, self.serde, checkpoint["channel_values"].items(), **_cause_of(metadata))
            if told is error:
                raise
            raise told from error

    def _ask(self, thread: str) -> None:
        guard = self._guards.get(thread)
        if guard is not None:
            guard()

    async def _check(self, thread: str) -> None:
        self._ask(thread)
        lease = current_lease.get()
        if self._fence is not None and lease is not None:
            await self._fence.ask(lease)

    def _check_sync(self, thread: str) -> None:
        self._ask(thread)
        lease = current_lease.get()
        if self._fence is not None and lease is not None:
            self._fence.ask_sync(lease)


def _place(config: RunnableConfig) -> Place:
    configurable = config["configurable"]
    return str(configurable["thread_id"]), str(configurable.get("checkpoint_ns", ""))


def _parent(config: RunnableConfig) -> str | None:
    parent: str | None = config["configurable"].get("checkpoint_id")
    return parent


def _require(failed: Arrival, under: CheckpointTuple | None) -> None:
    """Raise why writes have failed, unless they are there: a write goes on though its caller was cancelled."""
    if under is None or not failed.is_among(under.pending_writes or ()):
        assert failed.error is not None
        raise failed.error


def _cause_of(metadata: CheckpointMetadata) -> dict[str, Any]:
    """The kind of error of a checkpoint that cannot be stored, and where that is."""
    if metadata.get("source") == "input":
        return {"kind": InvalidInput}
    remedy = "mend the reducer of the field, or what a node changes in place, then resume the thread."
    return {"kind": InvalidUpdate, "remedy": remedy, "step": metadata.get("step")}


def _in_a_loop(work: Callable[[], Awaitable[None]]) -> None:
    """Do it from sync code: the caller's own thread may have a loop that runs."""

    async def do() -> None:
        await work()

    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, "vertebra-watcher") as thread:
        thread.submit(context.run, asyncio.run, do()).result()
