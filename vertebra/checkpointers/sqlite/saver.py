"""A LangGraph checkpointer on one SQLite file: one durable commit a superstep, and nothing stored twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.serde.base import SerializerProtocol

from vertebra.checkpointers.faces import KeptState, Page, StateFace
from vertebra.checkpointers.pieces.memo import ThreadMemo
from vertebra.checkpointers.savers import serializer
from vertebra.checkpointers.sqlite.batch import Batch, Stale
from vertebra.checkpointers.sqlite.commits import Fence
from vertebra.checkpointers.sqlite.file import StateFile
from vertebra.checkpointers.sqlite.reading import Query
from vertebra.databases.database import in_thread
from vertebra.databases.sealing import NO_SEALS, Seals
from vertebra.databases.url import StoreUrl
from vertebra.errors import StoreUnavailable, UsageError

T = TypeVar("T")

ATTEMPTS = 5


class SqliteCheckpointer(StateFace):
    """State of threads in one SQLite file. Safe in any event loop and thread; several processes may share the file.

    ``url``: ``sqlite:///file`` or ``memory://``; ``?durability=power`` syncs each edge to disk (the default),
    ``process`` survives the death of the process only. ``serde``: by default MessagePack that revives plain data and
    LangChain's messages. ``trust_identity=False`` looks at every item again at each put, for tests. ``fenced``: the run
    records of a store are in the same file, so that each commit compares the lease of whatever is written under one.
    ``seals``: of the store, if it is encrypted; by itself it encrypts with a serializer that does.

    Raises ``StoreUrlInvalid``, ``StoreUnavailable``, ``StoreCorrupt``, ``StoreTooNew``.

    Example::

        with SqliteCheckpointer("sqlite:///visits.db") as saver:
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
        parsed = (StoreUrl.parse(url) if isinstance(url, str) else url).absolute()
        if parsed.backend == "postgresql":
            raise UsageError(f"{parsed} is no SQLite file.", remedy="use sqlite:///file.db, or open_checkpointer(url).")
        self._file = StateFile(parsed, self.serde, trust_identity=trust_identity, fenced=fenced, seals=seals)
        # In memory there is nothing to wait for, so callers do it at once, and schedules in tests stay as they are.
        on_disk = parsed.backend == "sqlite"
        self._write_thread = ThreadPoolExecutor(1, "vertebra-state-writer") if on_disk else None
        self._read_thread = ThreadPoolExecutor(1, "vertebra-state-reader") if on_disk else None

    def __enter__(self) -> SqliteCheckpointer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Make durable what is held, and close the file. May be called twice."""
        for threads in (self._write_thread, self._read_thread):
            if threads is not None:
                threads.shutdown(wait=True)
        self._file.close()

    def flush(self) -> None:
        """Make durable what is held."""
        self._file.writer.flush()

    def fence(self, fence: Fence | None) -> None:
        """Ask ``fence`` for each thread at the very commit; what it refuses is not written. None ends it."""
        self._file.writer.fence = fence

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> SqliteCheckpointer:
        """Revive more types (module, name). Not a clone: one file is written by one saver."""
        self.serde = super().with_allowlist(extra_allowlist).serde
        self._file.use(self.serde)
        return self

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Whole numbers; a thread that LangGraph's own saver began goes on in its strings."""
        if isinstance(current, str):
            return f"{int(current.split('.')[0]) + 1:032}.{0:016}"
        return 1 if current is None else current + 1

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        file = self._file
        for _ in range(ATTEMPTS):
            memo = file.ready(config, put=True) or file.prepare(config, put=True)
            if self._commit(file.queue_checkpoint(memo, config, checkpoint, metadata, new_versions)):
                return _config_of(config, checkpoint)
        raise _contended(config)

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        file = self._file
        for _ in range(ATTEMPTS):
            memo = file.ready(config, put=True) or await self._prepared(config, put=True)
            batch = file.queue_checkpoint(memo, config, checkpoint, metadata, new_versions)
            if await self._written(batch):
                return _config_of(config, checkpoint)
        raise _contended(config)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        file = self._file
        for _ in range(ATTEMPTS):
            memo = file.ready(config, put=False) or file.prepare(config, put=False)
            batch = file.queue_writes(memo, config, writes, task_id, task_path)
            if batch.held or self._commit(batch):
                return
        raise _contended(config)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        file = self._file
        for _ in range(ATTEMPTS):
            memo = file.ready(config, put=False) or await self._prepared(config, put=False)
            batch = file.queue_writes(memo, config, writes, task_id, task_path)
            if batch.held or await self._written(batch):
                return
        raise _contended(config)

    @property
    def _kept(self) -> KeptState:
        return self._file

    def _pages(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Iterator[Page]:
        return self._file.pages(Query.of(config, filter, before, limit))

    def _commit(self, batch: Batch) -> bool:
        """Whether the batch is durable; if not, what it was made from has changed, and it is to be made again."""
        try:
            self._file.writer.commit(batch)
        except Stale:
            return False
        return True

    async def _written(self, batch: Batch) -> bool:
        if self._write_thread is None:
            return self._commit(batch)
        try:
            await self._file.writer.committed(batch)
        except Stale:
            return False
        return True

    async def _prepared(self, config: RunnableConfig, *, put: bool) -> ThreadMemo:
        return await self._write(lambda: self._file.prepare(config, put=put))

    async def _write(self, work: Callable[[], T]) -> T:
        return await self._hop(self._write_thread, work)

    async def _read(self, work: Callable[[], T]) -> T:
        return await self._hop(self._read_thread, work)

    async def _hop(self, threads: ThreadPoolExecutor | None, work: Callable[[], T]) -> T:
        return work() if threads is None else await in_thread(threads, work, f"store {self._file.url}")


def _config_of(config: RunnableConfig, checkpoint: Checkpoint) -> RunnableConfig:
    place = config["configurable"]
    return {
        "configurable": {
            "thread_id": place["thread_id"],
            "checkpoint_ns": place.get("checkpoint_ns", ""),
            "checkpoint_id": checkpoint["id"],
        }
    }


def _contended(config: RunnableConfig) -> StoreUnavailable:
    thread = str(config["configurable"]["thread_id"])
    return StoreUnavailable(
        f"Thread {thread!r} is pruned or deleted again and again while it is written.", thread=thread
    )
