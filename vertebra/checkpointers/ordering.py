"""A checkpointer around any LangGraph saver that keeps the order of what becomes durable.

LangGraph hands the writes of a task and the checkpoint that follows them to its saver independently,
so that a checkpoint can be durable before the writes it follows (langgraph issue 8039). Here ``aput``
waits until the writes of every task that has returned under its parent are durable, and refuses when
one of them failed. It also works with savers that are only sync, on threads of its own, and refuses
to write for a run whose lease is lost.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)

from vertebra.checkpointers.database import in_thread
from vertebra.checkpointers.failures import closed
from vertebra.checkpointers.fencing import current_lease
from vertebra.checkpointers.ids import require_later
from vertebra.checkpointers.lease import Lease
from vertebra.errors import StoreUnavailable
from vertebra.ports import crash_point

T = TypeVar("T")
Guard = Callable[[], None]
"""Raises when this process may no longer write."""

Fence = Callable[[Lease], Awaitable[None]]
"""Raises ``LeaseLost`` when another has taken the thread over."""

Watcher = Callable[[str, Checkpoint, CheckpointMetadata], Awaitable[None]]
"""Told of each durable checkpoint: its namespace, itself, its metadata."""

Place = tuple[str, str]
"""Thread and checkpoint namespace: one LangGraph loop."""


class OrderedSaver(BaseCheckpointSaver[Any]):
    """What LangGraph sees as its checkpointer. Safe in any event loop and thread.

    ``errors``: a context in which what the inner saver's driver raises becomes an error of ours.
    ``fence``: asked before each write, where the inner saver does not look at ``current_lease`` itself.
    """

    def __init__(
        self,
        inner: BaseCheckpointSaver[Any],
        *,
        errors: Callable[[], AbstractContextManager[None]] = nullcontext,
        fence: Fence | None = None,
    ) -> None:
        super().__init__(serde=inner.serde)
        self._inner = inner
        self._errors = errors
        self._fence = fence
        self._executor = ThreadPoolExecutor(4, "vertebra-saver") if _is_sync_only(inner) else None
        self._closed = False
        self._lock = threading.Lock()
        self._expected: dict[Place, set[str]] = {}
        self._arrived: dict[Place, list[tuple[str, asyncio.Future[None]]]] = {}
        self._guards: dict[str, Guard] = {}
        self._watchers: dict[str, Watcher] = {}

    @property
    def inner(self) -> BaseCheckpointSaver[Any]:
        return self._inner

    @property
    def config_specs(self) -> list[Any]:
        return self._inner.config_specs

    def get_next_version(self, current: Any, channel: None) -> Any:
        return self._inner.get_next_version(current, channel)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> OrderedSaver:
        """Let more types (module, name) come back to life. Not a clone: guards and order belong to one saver."""
        self._inner = self._inner.with_allowlist(extra_allowlist)
        self.serde = self._inner.serde
        return self

    def guard(self, thread: str, guard: Guard | None, watcher: Watcher | None = None) -> None:
        """Ask ``guard`` before each write of ``thread`` and tell ``watcher`` after each checkpoint; None ends it.

        Forgets what was expected.
        """
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

    async def _check(self, thread: str) -> None:
        guard, lease = self._guards.get(thread), current_lease.get()
        if guard is not None:
            guard()
        if self._fence is not None and lease is not None:
            await self._fence(lease)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        found: CheckpointTuple | None = await self._call("get_tuple", config)
        return found

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        self._refuse_when_closed()
        inner = self._inner
        with self._errors():
            if self._executor is None:
                async for item in inner.alist(config, filter=filter, before=before, limit=limit):
                    yield item
                return
            found = await in_thread(
                self._executor,
                lambda: list(inner.list(config, filter=filter, before=before, limit=limit)),
                "checkpointer",
            )
        for item in found:
            yield item

    async def adelete_thread(self, thread_id: str) -> None:
        await self._call("delete_thread", thread_id)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        self._refuse_when_closed()
        with self._errors():
            return self._inner.get_tuple(config)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        self._refuse_when_closed()
        with self._errors():
            yield from self._inner.list(config, filter=filter, before=before, limit=limit)

    async def _call(self, method: str, *args: Any) -> Any:
        self._refuse_when_closed()
        with self._errors():
            if self._executor is None:
                return await getattr(self._inner, f"a{method}")(*args)
            return await in_thread(self._executor, lambda: getattr(self._inner, method)(*args), "checkpointer")

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise closed("checkpointer")

    def close(self) -> None:
        self._closed = True
        if self._executor is not None:
            self._executor.shutdown(wait=True)


def _place(config: RunnableConfig) -> Place:
    configurable = config["configurable"]
    return str(configurable["thread_id"]), str(configurable.get("checkpoint_ns", ""))


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else StoreUnavailable(f"A write was broken off: {error!r}.")


def _is_sync_only(saver: BaseCheckpointSaver[Any]) -> bool:
    """Whether the saver has no async methods of its own, or has them only to say so."""
    home = next(kind for kind in type(saver).__mro__ if "aput" in vars(kind))
    return home is BaseCheckpointSaver or home.__name__ in ("SqliteSaver", "PostgresSaver")
