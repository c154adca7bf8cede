"""A checkpointer that hands everything to another one, whatever that one can do, from any event loop or thread.

Savers that are only sync are called on threads of its own, and what drivers raise becomes an error of ours.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple, DeltaChannelHistory

from vertebra.checkpointers.together import Together
from vertebra.databases.database import in_thread
from vertebra.databases.failures import closed
from vertebra.errors import UsageError

T = TypeVar("T")


class PassingSaver(BaseCheckpointSaver[Any]):
    """Reads, lists, deletes, prunes and copies as ``inner`` does, and raises what it raises.

    ``errors``: a context in which what the inner saver's driver raises becomes an error of ours.
    """

    def __init__(
        self, inner: BaseCheckpointSaver[Any], *, errors: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        super().__init__(serde=inner.serde)
        self._inner = inner
        self._errors = errors
        self._executor = ThreadPoolExecutor(4, "vertebra-saver") if _is_sync_only(inner) else None
        self._closed = False

    @property
    def inner(self) -> BaseCheckpointSaver[Any]:
        return self._inner

    @property
    def config_specs(self) -> list[Any]:
        return self._inner.config_specs

    def get_next_version(self, current: Any, channel: None) -> Any:
        return self._inner.get_next_version(current, channel)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> Self:
        """Let more types (module, name) come back to life. Not a clone: guards and order belong to one saver."""
        self._inner = self._inner.with_allowlist(extra_allowlist)
        self.serde = self._inner.serde
        return self

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

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self._call_sync(lambda: self._inner.get_tuple(config))

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

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return self._call_sync(lambda: self._inner.get_delta_channel_history(config=config, channels=channels))

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        found: Mapping[str, DeltaChannelHistory] = await self._call(
            "get_delta_channel_history", config=config, channels=channels
        )
        return found

    def delete_thread(self, thread_id: str) -> None:
        self._call_sync(lambda: self._inner.delete_thread(thread_id))

    async def adelete_thread(self, thread_id: str) -> None:
        await self._call("delete_thread", thread_id)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        self._call_sync(lambda: self._inner.delete_for_runs(run_ids))

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await self._call("delete_for_runs", run_ids)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        self._call_sync(lambda: self._inner.copy_thread(source_thread_id, target_thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await self._call("copy_thread", source_thread_id, target_thread_id)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest", **options: Any) -> None:
        """``options`` are the inner saver's: ours take ``keep``, how many checkpoints of each namespace stay."""
        self._call_sync(lambda: self._inner.prune(thread_ids, strategy=strategy, **options))

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest", **options: Any) -> None:
        await self._call("prune", thread_ids, strategy=strategy, **options)

    async def atogether(self, thread_id: str, work: Together[T]) -> T:
        """Where the inner saver lives beside the run records: see ``vertebra.checkpointers.together``."""
        found: T = await self._call("together", thread_id, work)
        return found

    def _call_sync(self, work: Callable[[], T]) -> T:
        self._refuse_when_closed()
        try:
            with self._errors():
                return work()
        except NotImplementedError as error:
            raise UsageError(
                f"{type(self._inner).__name__} does this for async code alone.",
                remedy="use ainvoke, astream or aget_state, or keep state in a SqliteCheckpointer, which does both.",
            ) from error

    async def _call(self, method: str, *args: Any, **options: Any) -> Any:
        self._refuse_when_closed()
        with self._errors():
            if self._executor is None:
                return await getattr(self._inner, f"a{method}")(*args, **options)
            return await in_thread(
                self._executor, lambda: getattr(self._inner, method)(*args, **options), "checkpointer"
            )

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise closed("checkpointer")

    def close(self) -> None:
        self._closed = True
        if self._executor is not None:
            self._executor.shutdown(wait=True)


def _is_sync_only(saver: BaseCheckpointSaver[Any]) -> bool:
    """Whether the saver has no async methods of its own, or has them only to say so."""
    home = next(kind for kind in type(saver).__mro__ if "aput" in vars(kind))
    return home is BaseCheckpointSaver or home.__name__ in ("SqliteSaver", "PostgresSaver")
