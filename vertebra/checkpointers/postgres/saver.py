"""A LangGraph checkpointer on Postgres: its tables, one commit a superstep, and nothing stored twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.postgres import BasePostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol

from vertebra.checkpointers.postgres.opening import open_state
from vertebra.checkpointers.postgres.state import Fence
from vertebra.checkpointers.savers import serializer
from vertebra.checkpointers.together import Together
from vertebra.databases.database import POOL_SIZE, in_thread
from vertebra.databases.sealing import NO_SEALS, Seals
from vertebra.databases.url import StoreUrl
from vertebra.errors import UsageError

T = TypeVar("T")


class PostgresCheckpointer(BasePostgresSaver):
    """State of threads in one Postgres database. Safe in any event loop, thread and number of processes.

    The tables are those of langgraph-checkpoint-postgres, which are made or brought up to date, and three beside them.
    Lists and dicts of threads that begin here are stored in pieces; threads of plain LangGraph are read, and go on, as
    they are. ``url``: ``postgresql://...``; ``?durability=power`` waits for the server's log at each commit (the
    default), ``process`` does not. ``serde``: by default MessagePack that revives plain data and LangChain's messages.
    ``trust_identity=False`` looks at every item again at each put, for tests. ``fenced``: the run records of a store
    are in the same database, so that each commit compares the lease of whatever is written under one. ``seals``: of the
    store, if it is encrypted.

    Raises ``StoreUrlInvalid``, ``StoreUnavailable``, ``StoreTooNew``, ``MissingExtra``.

    Example::

        with PostgresCheckpointer("postgresql://localhost/visits") as saver:
            graph = builder.compile(checkpointer=saver)
    """

    def __init__(
        self,
        url: str | StoreUrl,
        *,
        serde: SerializerProtocol | None = None,
        trust_identity: bool = True,
        fenced: bool = False,
        seals: Seals = NO_SEALS,
    ) -> None:
        super().__init__(serde=serde or serializer())
        parsed = StoreUrl.parse(url) if isinstance(url, str) else url
        if parsed.backend != "postgresql":
            raise UsageError(f"{parsed} is no Postgres database.", remedy="use postgresql://..., or open_checkpointer.")
        self._state = open_state(parsed, self.serde, trust_identity=trust_identity, fenced=fenced, seals=seals)
        self._threads = ThreadPoolExecutor(POOL_SIZE, "vertebra-state")

    def __enter__(self) -> PostgresCheckpointer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Make durable what is held, and close all connections. May be called twice."""
        self._threads.shutdown(wait=True)
        self._state.close()

    def flush(self) -> None:
        """Make durable what is held."""
        self._state.flush()

    def fence(self, fence: Fence | None) -> None:
        """Ask ``fence`` for each thread before it is written; what it refuses is not written. None ends it."""
        self._state.fence = fence

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> PostgresCheckpointer:
        """Revive more types (module, name). Not a clone: what is held belongs to one saver."""
        self.serde = super().with_allowlist(extra_allowlist).serde
        self._state.use(self.serde)
        return self

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        result: RunnableConfig = self._state.put(config, checkpoint, metadata, new_versions)
        return result

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return await self._hop(lambda: self.put(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        prepared = self._state.prepare_writes(config, writes, task_id, task_path)
        if not prepared.may_wait:
            self._state.put_now(prepared)
            return
        if prepared.lease is not None:
            self._state.look(prepared.lease)
        self._state.hold(prepared)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        prepared = self._state.prepare_writes(config, writes, task_id, task_path)
        if not prepared.may_wait:
            await self._hop(lambda: self._state.put_now(prepared))
            return
        if (lease := prepared.lease) is not None:
            await self._hop(lambda: self._state.look(lease))
        self._state.hold(prepared)

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self._state.get(config)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await self._hop(lambda: self._state.get(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        for page in self._state.pages(config, filter=filter, before=before, limit=limit):
            yield from page

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        pages = self._state.pages(config, filter=filter, before=before, limit=limit)
        while (page := await self._hop(lambda: next(pages, None))) is not None:
            for item in page:
                yield item

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        found: Mapping[str, DeltaChannelHistory] = self._state.history(config, channels)
        return found

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        return await self._hop(lambda: self.get_delta_channel_history(config=config, channels=channels))

    def delete_thread(self, thread_id: str) -> None:
        self._state.delete([str(thread_id)])

    async def adelete_thread(self, thread_id: str) -> None:
        await self._hop(lambda: self.delete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs made."""
        self._state.delete_for_runs(run_ids)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        await self._hop(lambda: self.delete_for_runs(run_ids))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Raises ``UsageError`` when there is a thread of the target's name."""
        self._state.copy(str(source_thread_id), str(target_thread_id))

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        await self._hop(lambda: self.copy_thread(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest", keep: int = 1) -> None:
        """Delete what is older than the last ``keep`` checkpoints of each namespace, or ``strategy="delete"`` all.

        What delta channels of those that stay start from stays too. Raises ``UsageError``.
        """
        threads = [str(thread) for thread in thread_ids]
        if strategy == "delete":
            self._state.delete(threads)
        elif strategy == "keep_latest" and keep > 0:
            self._state.prune(threads, keep)
        else:
            raise UsageError(
                f"Prune with strategy={strategy!r}, keep={keep} is not known.",
                remedy='use strategy="keep_latest" with keep=1 or more, or strategy="delete".',
            )

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest", keep: int = 1) -> None:
        await self._hop(lambda: self.prune(thread_ids, strategy=strategy, keep=keep))

    def together(self, thread_id: str, work: Together[T]) -> T:
        """``work`` in one transaction with the run records beside it: see ``vertebra.checkpointers.together``."""
        return self._state.together(str(thread_id), work)

    async def atogether(self, thread_id: str, work: Together[T]) -> T:
        return await self._hop(lambda: self.together(thread_id, work))

    async def _hop(self, work: Callable[[], T]) -> T:
        return await in_thread(self._threads, work, f"store {self._state.url}")
