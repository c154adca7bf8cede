"""The threads in one Postgres database, spoken to synchronously: all that a checkpointer does, but LangGraph's faces.

LangGraph's saver reads and writes its tables; what it is given in place of a list or dict is a mark, and the pieces
are kept beside. A thread is written by one caller of this process at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import DataError, OperationalError
from psycopg.errors import ProgramLimitExceeded, ReadOnlySqlTransaction
from psycopg.rows import tuple_row

from vertebra.checkpointers.fencing import current_lease
from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.legible import legible
from vertebra.checkpointers.pieces.encoding import Encoder, in_pieces
from vertebra.checkpointers.pieces.memo import Latest
from vertebra.checkpointers.postgres import retention
from vertebra.checkpointers.postgres.held import HeldWrites, Writes
from vertebra.checkpointers.postgres.marking import KIND, MarkingSerializer
from vertebra.checkpointers.postgres.memos import Memos
from vertebra.checkpointers.postgres.reading import history, revived
from vertebra.checkpointers.postgres.sealing import Stored, seal_checkpoint
from vertebra.checkpointers.postgres.selecting import Reader
from vertebra.checkpointers.postgres.writing import Stale, changing, look, written
from vertebra.checkpointers.together import Together
from vertebra.databases.failures import closed, driver_errors
from vertebra.databases.postgres import PostgresTx
from vertebra.databases.sealing import NO_SEALS, Seals
from vertebra.databases.url import StoreUrl
from vertebra.errors import LeaseLost, StoreCorrupt, StoreUnavailable

T = TypeVar("T")
Fence = Callable[[str], None]
"""Raises when this process may no longer write to a thread."""

ATTEMPTS = 5
LOCKS = 256
PAGE = 64  # states of which the pieces are fetched together


class PostgresState:
    """Over a pool of connections with rows as dicts. Safe in any thread.

    ``fenced``: the run records are in the same database, and nothing is written under a lease that is lost.
    """

    def __init__(
        self,
        url: StoreUrl,
        pool: Any,
        serde: SerializerProtocol,
        *,
        trust_identity: bool,
        fenced: bool,
        seals: Seals = NO_SEALS,
    ) -> None:
        self.url = url
        self.fence: Fence | None = None
        self._pool = pool
        self._trust = trust_identity
        self._fenced = fenced
        self._seals = seals
        self._keyless = fenced and not seals.on
        self._closed = False
        self._locks = [threading.RLock() for _ in range(LOCKS)]
        self._memos = Memos(pool)
        self.held = HeldWrites(self._flush_held)
        self.use(serde)

    def use(self, serde: SerializerProtocol) -> None:
        """Dump and load with this serializer from now on."""
        self.serde = MarkingSerializer(serde, self._seals)

    def close(self) -> None:
        """Make durable what is held, as far as that is possible, and close."""
        if not self._closed:
            self.held.close()
            self.flush()
            self._closed = True
            self._pool.close()

    # Writing.

    def put(self, config: Any, checkpoint: Any, metadata: Any, versions: Mapping[str, Any]) -> Any:
        thread, lease = str(config["configurable"]["thread_id"]), self._lease()
        with self._writing(thread):
            held = self._mine(thread, lease)
            for _ in range(ATTEMPTS):
                try:
                    return self._put(thread, lease, held, config, checkpoint, metadata, versions)
                except Stale:
                    self._memos.forget(thread)
                except BaseException as error:
                    self._memos.forget(thread)  # it may remember pieces that were not stored
                    self._keep(held, error)
                    raise
            self._flush(held)
        raise StoreUnavailable(
            f"Thread {thread!r} is pruned or deleted again and again while it is written.", thread=thread
        )

    def _put(
        self,
        thread: str,
        lease: Lease | None,
        held: Sequence[Writes],
        config: Any,
        checkpoint: Any,
        metadata: Any,
        versions: Mapping[str, Any],
    ) -> Any:
        namespace = str(config["configurable"].get("checkpoint_ns", ""))
        memo = self._memos.of(thread)
        pieces: Sequence[tuple[int, bytes]] = ()
        values = checkpoint["channel_values"]
        if memo is not None and any(in_pieces(value) for name, value in values.items() if name in versions):
            self._memos.learn(memo, namespace, config["configurable"].get("checkpoint_id"), self.serde)
            encoder = Encoder(self.serde.codec, memo, trust_identity=self._trust)
            values = {
                name: _stored(encoder, namespace, name, value) if name in versions else value
                for name, value in values.items()
            }
            pieces = encoder.pieces
            memo.has_put(namespace, Latest(checkpoint["id"], {}, {}))
        place: Any = {**config, "configurable": {"checkpoint_ns": "", **config["configurable"]}}
        marked: Any = {**checkpoint, "channel_values": values}
        codec = self.serde.codec
        if not codec.binds:
            marked["channel_values"] = {name: self.serde.fitting(value) for name, value in values.items()}
        else:
            place, marked, metadata = seal_checkpoint(codec.of(thread), KIND, place, marked, metadata, versions)
        with (
            self._pool.connection() as connection,
            written(connection, self.serde, lease, memo if pieces else None, pieces, keyless=self._keyless) as saver,
        ):
            for one in held:
                saver.put_writes(one.config, one.writes, one.task, one.path)
            return saver.put(place, marked, metadata, dict(versions))

    def prepare_writes(self, config: Any, writes: Sequence[tuple[str, Any]], task: str, path: str) -> Writes:
        """The writes as they are now. What no database takes is refused: a flush has nobody to tell."""
        with driver_errors(self.url):
            for text in (task, path, *(channel for channel, _ in writes)):
                if b"\0" in text.encode():
                    raise DataError("a text with a NUL character (0x00)")
        place = {**config, "configurable": {"checkpoint_ns": "", **config["configurable"]}}
        thread, namespace = str(place["configurable"]["thread_id"]), str(place["configurable"]["checkpoint_ns"])
        dumped = [(channel, self.serde.dump_now(value, thread, namespace, task, channel)) for channel, value in writes]
        return Writes(place, dumped, task, path, self._lease())

    def hold(self, writes: Writes) -> None:
        """Until the next checkpoint of the thread is put, or some milliseconds have passed."""
        if self._closed:
            raise closed(f"store {self.url}")
        self.held.add(writes)

    def put_now(self, writes: Writes) -> None:
        """These, and before them what is held for the thread."""
        with self._writing(writes.thread):
            held = self._mine(writes.thread, writes.lease)
            try:
                self._write([*held, writes], writes.lease)
            except BaseException as error:
                self._keep(held, error)
                raise

    def look(self, lease: Lease) -> None:
        """Raise ``LeaseLost`` if it is lost by now, for what is held: its flush has nobody to tell."""
        with self._reading() as connection:
            look(connection, lease)

    def flush(self) -> None:
        """Make durable whatever is held. What the server does not take now waits."""
        for thread in self.held.threads():
            self._flush_held(thread)

    def _flush_held(self, thread: str) -> None:
        with self._lock_of(thread):
            self._flush(self.held.take(thread))

    def _flush(self, waiting: Sequence[Writes]) -> None:
        for lease, group in groupby(waiting, key=lambda writes: writes.lease):
            batch = list(group)
            try:
                self._ask(batch[0].thread)
                self._write(batch, lease)
            except Exception as error:
                if _passes(error):
                    self.held.give_back(batch)
                # Else it is refused for good: the lease is lost, or the database does not take it

    def _keep(self, held: Sequence[Writes], error: BaseException) -> None:
        """What was held is no part of what was refused: it was acknowledged, and is written by itself."""
        if _passes(error):
            self.held.give_back(held)
        elif not isinstance(error, LeaseLost):
            self._flush(held)

    def _mine(self, thread: str, lease: Lease | None) -> list[Writes]:
        """What is held for the thread under this lease; another's is written first, if it may be."""
        waiting = self.held.take(thread)
        if all(one.lease == lease for one in waiting):
            return waiting
        self._flush(waiting)
        return []

    def _write(self, batch: Sequence[Writes], lease: Lease | None) -> None:
        with (
            self._pool.connection() as connection,
            written(connection, self.serde, lease, keyless=self._keyless) as saver,
        ):
            for one in batch:
                saver.put_writes(one.config, one.writes, one.task, one.path)

    # Reading.

    def get(self, config: Any) -> CheckpointTuple | None:
        thread = str(config["configurable"]["thread_id"])
        self._flush_held(thread)

        def read(connection: Any) -> CheckpointTuple | None:
            with legible(thread, "checkpoint"):
                found = Reader(connection, serde=self.serde).get_tuple(config)
            return None if found is None else revived(connection, self.serde, [found])[0]

        return self._read(read)

    def pages(self, config: Any, **options: Any) -> Iterator[Sequence[CheckpointTuple]]:
        """What is listed, the newest first, some at a time."""
        self.flush()
        if self.serde.codec.binds and options.get("filter"):
            yield from self._filtered(config, **options)
            return
        thread = str(config["configurable"]["thread_id"]) if config else ""

        def read(connection: Any) -> list[CheckpointTuple]:
            with legible(thread, "checkpoint"):
                return list(Reader(connection, serde=self.serde).list(config, **options))

        marked = self._read(read)
        for at in range(0, len(marked), PAGE):
            page = marked[at : at + PAGE]
            try:
                yield self._read(partial(revived, serde=self.serde, tuples=page))
            except StoreCorrupt:  # unless some were pruned meanwhile
                yield [found for one in page if (found := self.get(one.config)) is not None]

    def _filtered(self, config: Any, *, filter: Mapping[str, Any], limit: int | None = None, **options: Any) -> Any:
        """What the database cannot filter, since it cannot read it."""
        found = 0
        for page in self.pages(config, **options):
            fitting = [one for one in page if all(one.metadata.get(key) == value for key, value in filter.items())]
            yield fitting if limit is None else fitting[: limit - found]
            found += len(fitting)
            if limit is not None and found >= limit:
                return

    def history(self, config: Any, channels: Sequence[str]) -> Any:
        """For each delta channel its writes since the value that was stored last."""
        self.flush()
        return self._read(partial(history, serde=self.serde, config=config, channels=channels))

    def _read(self, work: Callable[[Any], T]) -> T:
        """Read without a transaction and, where pieces were deleted between statements, again within one."""
        try:
            with self._reading() as connection:
                return work(connection)
        except StoreCorrupt:
            with self._reading() as connection, connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                return work(connection)

    # Deleting and copying.

    def delete(self, threads: Sequence[str]) -> None:
        for thread in threads:
            with self._changing([thread]) as connection:
                retention.delete(connection, thread)

    def prune(self, threads: Sequence[str], keep: int) -> None:
        """Keep the last checkpoints of each namespace, and whatever their delta channels start from."""
        for thread in threads:
            with self._changing([thread]) as connection:
                retention.prune(connection, self.serde, thread, keep)

    def together(self, thread: str, work: Together[T]) -> T:
        """Call ``work`` in a transaction over state and, in the same database, run records."""
        with self._changing([thread]) as connection:
            return work(
                PostgresTx(connection.cursor(row_factory=tuple_row), self._seals),
                lambda keep, dry_run: retention.prune(connection, self.serde, thread, keep, dry_run=dry_run),
            )

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        self.flush()
        with self._reading() as connection, changing(connection, (), self._lease()):
            threads = list(retention.of_runs(connection, run_ids))
        for thread in threads:
            with self._changing([thread]) as connection:
                places = retention.of_runs(connection, run_ids).get(thread, [])
                retention.drop(connection, self.serde, thread, places)

    def copy(self, source: str, target: str) -> None:
        """Raises ``UsageError`` when there is a thread ``target``."""
        self._flush_held(source)
        with self._changing([target]) as connection:
            retention.copy(connection, self.serde, source, target)

    @contextmanager
    def _changing(self, threads: Sequence[str]) -> Iterator[Any]:
        (thread,) = threads
        with self._writing(thread):
            self._flush(self.held.take(thread))
            try:
                with self._pool.connection() as connection, changing(connection, threads, self._lease()):
                    yield connection
            finally:
                self._memos.forget(thread)

    # Who may write, and one at a time.

    def _lease(self) -> Lease | None:
        return current_lease.get() if self._fenced else None

    def _ask(self, thread: str) -> None:
        if self.fence is not None:
            self.fence(thread)

    def _lock_of(self, thread: str) -> threading.RLock:
        return self._locks[hash(thread) % LOCKS]

    @contextmanager
    def _writing(self, thread: str) -> Iterator[None]:
        with self._lock_of(thread), driver_errors(self.url):
            if self._closed:
                raise closed(f"store {self.url}")
            self._ask(thread)
            yield

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        with driver_errors(self.url):
            if self._closed:
                raise closed(f"store {self.url}")
            with self._pool.connection() as connection:
                yield connection


def _stored(encoder: Encoder, namespace: str, channel: str, value: Any) -> Any:
    """A mark, or the value itself where it is small or no list or dict: that LangGraph stores as ever."""
    if not in_pieces(value):
        return value
    ref = encoder.channel(namespace, channel, value)
    return Stored(ref) if isinstance(ref, list) else value


def _passes(error: BaseException) -> bool:
    """Whether the server may take later what it does not take now."""
    return isinstance(error, OperationalError | ReadOnlySqlTransaction) and not isinstance(error, ProgramLimitExceeded)
