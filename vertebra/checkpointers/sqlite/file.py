"""One SQLite file of threads, spoken to synchronously: all that a checkpointer does, but for LangGraph's faces."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any, TypeVar

from langgraph.checkpoint.base import CheckpointTuple, DeltaChannelHistory
from langgraph.checkpoint.serde.base import SerializerProtocol

from vertebra.checkpointers.pieces.chunk_cache import ChunkCache
from vertebra.checkpointers.pieces.codec import Codec
from vertebra.checkpointers.pieces.memo import ThreadMemo
from vertebra.checkpointers.sqlite import legacy, reading, retention
from vertebra.checkpointers.sqlite.batch import Batch
from vertebra.checkpointers.sqlite.commits import Writer
from vertebra.checkpointers.sqlite.putting import checkpoint_batch, learn, moved_batches, writes_batch
from vertebra.checkpointers.sqlite.reader import Reader
from vertebra.checkpointers.sqlite.reading import Query, Row
from vertebra.checkpointers.together import Together
from vertebra.databases.failures import driver_errors
from vertebra.databases.sealing import Seals
from vertebra.databases.sqlite import SqliteTx
from vertebra.databases.url import StoreUrl
from vertebra.errors import UsageError

T = TypeVar("T")


class StateFile:
    """``writer`` and ``reader`` of one file, and what is done with them. Safe in any thread.

    Threads of LangGraph's own saver in the same file are read as they are, and moved over before they are changed.
    """

    def __init__(
        self, url: StoreUrl, serde: SerializerProtocol, *, trust_identity: bool, fenced: bool, seals: Seals
    ) -> None:
        self.url = url
        self._trust_identity = trust_identity
        self._seals = seals
        self.use(serde)
        self.writer = Writer(url, fenced=fenced, plain=not seals.on)
        self._reader = Reader(self.writer)
        # What LangGraph writes beside an encrypted store is not sealed, so that it may be anybody's.
        self._has_legacy = not seals.on and self._reader.read(legacy.is_there)

    def use(self, serde: SerializerProtocol) -> None:
        """Dump and load with this serializer from now on."""
        self._serde, self._codec = serde, Codec(serde, self._seals)
        self._chunks = ChunkCache()  # of this serializer; used by one reader at a time

    def close(self) -> None:
        self.writer.close()
        self._reader.close()

    # Writing: ``ready`` or else ``prepare``, then queue, then ``writer.commit``.

    def ready(self, config: Mapping[str, Any], *, put: bool) -> ThreadMemo | None:
        """The thread's memo, if all that is needed to write is remembered."""
        place = config["configurable"]
        memo = self.writer.known(str(place["thread_id"]))
        if memo is None or not put or not (parent := place.get("checkpoint_id")):
            return memo
        latest = memo.latest.get(str(place.get("checkpoint_ns", "")))
        return memo if latest is not None and latest.checkpoint == parent else None

    def prepare(self, config: Mapping[str, Any], *, put: bool) -> ThreadMemo:
        """Enter the thread into the file, and learn what the parent of a checkpoint has stored."""
        place = config["configurable"]
        memo = self._register(str(place["thread_id"]))
        if put and (parent := place.get("checkpoint_id")):
            namespace = str(place.get("checkpoint_ns", ""))
            with memo.lock:
                self._reader.read(
                    lambda connection: learn(connection, self._codec, memo, namespace, parent, self._chunks)
                )
        return memo

    def queue_checkpoint(
        self, memo: ThreadMemo, config: Mapping[str, Any], checkpoint: Mapping[str, Any], metadata: Any, changed: Any
    ) -> Batch:
        trust = self._trust_identity
        return self._queued(
            memo,
            lambda: checkpoint_batch(self._codec, memo, config, checkpoint, metadata, changed, trust_identity=trust),
        )

    def queue_writes(
        self, memo: ThreadMemo, config: Mapping[str, Any], writes: Sequence[tuple[str, Any]], task: str, path: str
    ) -> Batch:
        return self._queued(memo, lambda: writes_batch(self._codec, memo, config, writes, task, path))

    def _queued(self, memo: ThreadMemo, make: Callable[[], Batch]) -> Batch:
        """Pieces are queued in the order in which they were numbered, so that none refers to a later one."""
        with memo.lock:
            try:
                with driver_errors(self.url):
                    batch = make()
                # In memory nothing is gained by waiting.
                batch.held = batch.held and self.url.backend == "sqlite"
                if batch.held:
                    self.writer.look(batch.lease)
                self.writer.enqueue(batch)
            except BaseException:
                self.writer.forget(memo)  # it may remember pieces that will not be stored
                raise
            return batch

    def _register(self, thread: str) -> ThreadMemo:
        return self.writer.register(thread, self._adopt if self._has_legacy else None)

    def _adopt(self, connection: sqlite3.Connection, memo: ThreadMemo) -> None:
        """Move what LangGraph's own saver has of the thread, in the transaction that enters the thread."""
        for namespace, id in legacy.places(connection, memo.thread):
            for tuple_, writes in legacy.tuples(connection, self._serde, Query(memo.thread, namespace, id)):
                for batch in moved_batches(self._codec, memo, tuple_, writes):
                    self.writer.insert(connection, batch)
        legacy.delete(connection, memo.thread)

    # Reading.

    def get(self, config: Mapping[str, Any]) -> CheckpointTuple | None:
        query = Query.of({"configurable": {"checkpoint_ns": "", **config["configurable"]}}, limit=1)

        def read(connection: sqlite3.Connection) -> CheckpointTuple | None:
            found = reading.one(connection, self._codec, query, self._chunks)
            if not self._has_legacy:
                return found
            older = [tuple_ for tuple_, _ in legacy.tuples(connection, self._serde, query)]
            return max([*filter(None, [found]), *older], key=_id_of, default=None)

        return self._reader.read(read)

    def pages(self, query: Query) -> Iterator[Sequence[CheckpointTuple]]:
        """What the query asks for, the newest first, some at a time; each page is read at once."""
        if self._has_legacy:
            older = self._reader.read(lambda c: [tuple_ for tuple_, _ in legacy.tuples(c, self._serde, query)])
            ours = chain.from_iterable(self._pages(query))
            merged = heapq.merge(ours, older, key=_id_of, reverse=True)
            yield list(islice(merged, query.limit))
        else:
            yield from self._pages(query)

    def _pages(self, query: Query) -> Iterator[Sequence[CheckpointTuple]]:
        after: Row | None = None
        while query.limit is None or query.limit > 0:
            found, after = self._reader.read(
                lambda connection, query=query, after=after: reading.page(  # type: ignore[misc]
                    connection, self._codec, query, after, self._chunks
                )
            )
            yield found
            if after is None:
                return
            if query.limit is not None:
                query = replace(query, limit=query.limit - len(found))

    def history(self, config: Mapping[str, Any], channels: Sequence[str]) -> dict[str, DeltaChannelHistory]:
        """For each delta channel its writes since the value that was stored last."""
        thread = str(config["configurable"]["thread_id"])
        if self._reader.read(lambda connection: self._is_legacy(connection, thread)):
            self._register_anew(thread)
        query = Query.of({"configurable": {"checkpoint_ns": "", **config["configurable"]}})
        return self._reader.read(lambda connection: reading.history(connection, self._codec, query, channels))

    # Deleting and copying.

    def delete(self, threads: Sequence[str]) -> None:
        def work(connection: sqlite3.Connection) -> None:
            for thread in threads:
                retention.delete(connection, thread)
                if self._has_legacy:
                    legacy.delete(connection, thread)

        self.writer.change(work, threads)

    def prune(self, threads: Sequence[str], keep: int) -> None:
        """Keep the last checkpoints of each namespace, and whatever their delta channels start from."""
        self._adopt_all(threads)
        for thread in threads:
            self.writer.change(
                lambda connection, thread=thread: retention.prune(  # type: ignore[misc]
                    connection, self._codec, thread, keep
                ),
                [thread],
            )

    def together(self, thread: str, work: Together[T]) -> T:
        """Call ``work`` in a transaction over state and, in the same file, run records."""

        def within(connection: sqlite3.Connection) -> T:
            return work(
                SqliteTx(connection, self._seals), lambda keep, dry_run: self._drop(connection, thread, keep, dry_run)
            )

        return self.writer.change(within, [thread])

    def _drop(self, connection: sqlite3.Connection, thread: str, keep: int, dry_run: bool) -> int:
        if self._has_legacy and (older := len(legacy.places(connection, thread))):
            if dry_run:
                return older if keep == 0 else max(0, older - keep)
            self._register_anew(thread)  # moves it over, in this transaction
        if keep:
            return retention.prune(connection, self._codec, thread, keep, dry_run=dry_run)
        found = retention.count(connection, thread)
        if not dry_run:
            retention.delete(connection, thread)
        return found

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        if self._has_legacy:
            self._adopt_all(self._reader.read(legacy.threads))
        threads = self.writer.change(lambda c: retention.delete_for_runs(c, self._codec, run_ids), ())
        for thread in threads:
            self.writer.forget_thread(thread)

    def copy(self, source: str, target: str) -> None:
        """Raises ``UsageError`` when there is a thread ``target``."""

        def copied(connection: sqlite3.Connection) -> None:
            taken = source == target or retention.count(connection, target) > 0
            if taken or self._is_legacy(connection, target):
                raise UsageError(f"There is a thread {target!r}.", remedy="copy to a thread that does not exist yet.")
            retention.copy(connection, self._codec, source, target)

        self._adopt_all([source])
        self.writer.change(copied, [target])

    def _adopt_all(self, threads: Sequence[str]) -> None:
        for thread in threads:
            if self._reader.read(lambda connection, thread=thread: self._is_legacy(connection, thread)):  # type: ignore[misc]
                self._register_anew(thread)

    def _is_legacy(self, connection: sqlite3.Connection, thread: str) -> bool:
        return self._has_legacy and thread in legacy.threads(connection)

    def _register_anew(self, thread: str) -> None:
        self.writer.forget_thread(thread)
        self._register(thread)


def _id_of(found: CheckpointTuple) -> str:
    return found.checkpoint["id"]
