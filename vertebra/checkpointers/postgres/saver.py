"""A LangGraph checkpointer on Postgres: its tables, one commit a superstep, and nothing stored twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.postgres import BasePostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol

from vertebra.checkpointers.faces import KeptState, Page, StateFace
from vertebra.checkpointers.postgres.access import Fence
from vertebra.checkpointers.postgres.opening import open_state
from vertebra.checkpointers.savers import serializer
from vertebra.databases.database import in_thread
from vertebra.databases.postgres import POOL_SIZE
from vertebra.databases.sealing import NO_SEALS, Seals
from vertebra.databases.url import StoreUrl
from vertebra.errors import UsageError

T = TypeVar("T")


class PostgresCheckpointer(StateFace, BasePostgresSaver):
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
        self._state.writes.flush()

    def fence(self, fence: Fence | None) -> None:
        """Ask ``fence`` for each thread before it is written; what it refuses is not written. None ends it."""
        self._state.access.fence = fence

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> PostgresCheckpointer:
        """Revive more types (module, name). Not a clone: what is held belongs to one saver."""
        self.serde = super().with_allowlist(extra_allowlist).serde
        self._state.access.use(self.serde)
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
        return await self._write(lambda: self.put(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        prepared = self._state.writes.prepare(config, writes, task_id, task_path)
        if not prepared.may_wait:
            self._state.writes.put_now(prepared)
            return
        if prepared.lease is not None:
            self._state.writes.look(prepared.lease)
        self._state.writes.hold(prepared)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        prepared = self._state.writes.prepare(config, writes, task_id, task_path)
        if not prepared.may_wait:
            await self._write(lambda: self._state.writes.put_now(prepared))
            return
        if (lease := prepared.lease) is not None:
            await self._write(lambda: self._state.writes.look(lease))
        self._state.writes.hold(prepared)

    @property
    def _kept(self) -> KeptState:
        return self._state

    def _pages(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Iterator[Page]:
        return self._state.pages(config, filter=filter, before=before, limit=limit)

    async def _read(self, work: Callable[[], T]) -> T:
        return await in_thread(self._threads, work, f"store {self._state.access.url}")

    _write = _read
