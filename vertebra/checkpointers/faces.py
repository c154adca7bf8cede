"""LangGraph's face of kept state, where one state answers it: all but the writing, sync and async."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple, DeltaChannelHistory

from vertebra.checkpointers.together import Together
from vertebra.errors import UsageError

T = TypeVar("T")
Page = Sequence[CheckpointTuple]


class KeptState(Protocol):
    """What is kept of threads, spoken to synchronously, in any thread."""

    def get(self, config: Mapping[str, Any]) -> CheckpointTuple | None: ...

    def history(self, config: Mapping[str, Any], channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]: ...

    def delete(self, threads: Sequence[str]) -> None: ...

    def delete_for_runs(self, run_ids: Sequence[str]) -> None: ...

    def copy(self, source: str, target: str) -> None: ...

    def prune(self, threads: Sequence[str], keep: int) -> None: ...

    def together(self, thread: str, work: Together[T]) -> T: ...


class StateFace(BaseCheckpointSaver[Any]):
    """The methods that only ask a ``KeptState``. Whoever derives from it has the state, its pages, and its threads."""

    @property
    @abstractmethod
    def _kept(self) -> KeptState: ...

    @abstractmethod
    def _pages(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Iterator[Page]:
        """Checkpoints, the newest first, some at a time."""

    @abstractmethod
    async def _read(self, work: Callable[[], T]) -> T:
        """Do it where reading may wait."""

    @abstractmethod
    async def _write(self, work: Callable[[], T]) -> T:
        """Do it where writing may wait."""

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self._kept.get(config)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._read(lambda: self._kept.get(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        for page in self._pages(config, filter, before, limit):
            yield from page

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        pages = self._pages(config, filter, before, limit)
        while (page := await self._read(lambda: next(pages, None))) is not None:
            for item in page:
                yield item

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return self._kept.history(config, channels)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return await self._read(lambda: self._kept.history(config, channels))

    def delete_thread(self, thread_id: str) -> None:
        self._kept.delete([str(thread_id)])

    async def adelete_thread(self, thread_id: str) -> None:
        await self._write(lambda: self.delete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs made."""
        self._kept.delete_for_runs(run_ids)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await self._write(lambda: self.delete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Raises ``UsageError`` when there is a thread of the target's name."""
        self._kept.copy(str(source_thread_id), str(target_thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await self._write(lambda: self.copy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest", keep: int = 1) -> None:
        """Delete what is older than the last ``keep`` checkpoints of each namespace, or ``strategy="delete"`` all.

        What delta channels of those that stay start from stays too. Raises ``UsageError``.
        """
        threads = [str(thread) for thread in thread_ids]
        if strategy == "delete":
            self._kept.delete(threads)
        elif strategy == "keep_latest" and keep > 0:
            self._kept.prune(threads, keep)
        else:
            raise UsageError(
                f"Prune with strategy={strategy!r}, keep={keep} is not known.",
                remedy='use strategy="keep_latest" with keep=1 or more, or strategy="delete".',
            )

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest", keep: int = 1) -> None:
        await self._write(lambda: self.prune(thread_ids, strategy=strategy, keep=keep))

    def together(self, thread_id: str, work: Together[T]) -> T:
        """``work`` in one transaction with the run records beside it: see ``vertebra.checkpointers.together``."""
        return self._kept.together(str(thread_id), work)

    async def atogether(self, thread_id: str, work: Together[T]) -> T:
        return await self._write(lambda: self.together(thread_id, work))
