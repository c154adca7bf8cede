"""The threads in one Postgres database, spoken to synchronously: all that a checkpointer does, but LangGraph's faces.

LangGraph's saver reads and writes its tables; what it is given in place of a list or dict is a mark, and the pieces
are kept beside. A thread is written by one caller of this process at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from langgraph.checkpoint.base import CheckpointTuple
from psycopg.rows import tuple_row

from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.legible import legible
from vertebra.checkpointers.pieces.encoding import Encoder, in_pieces
from vertebra.checkpointers.pieces.memo import Latest
from vertebra.checkpointers.postgres import retention
from vertebra.checkpointers.postgres.access import Access
from vertebra.checkpointers.postgres.flushing import Flushing
from vertebra.checkpointers.postgres.held import Writes
from vertebra.checkpointers.postgres.marking import KIND, MarkingSerializer
from vertebra.checkpointers.postgres.memos import Memos
from vertebra.checkpointers.postgres.reading import history, revived
from vertebra.checkpointers.postgres.sealing import Stored, seal_checkpoint
from vertebra.checkpointers.postgres.selecting import Reader
from vertebra.checkpointers.postgres.writing import Stale, changing
from vertebra.checkpointers.together import Together
from vertebra.databases.postgres import PostgresTx
from vertebra.errors import StoreCorrupt, StoreUnavailable

T = TypeVar("T")

ATTEMPTS = 5
PAGE = 64  # states of which the pieces are fetched together


class PostgresState:
    """By ``access``, whose pool closes with it. Safe in any thread. ``writes`` are those of tasks."""

    def __init__(self, access: Access, *, trust_identity: bool) -> None:
        self.access = access
        self.writes = Flushing(access)
        self._trust = trust_identity
        self._memos = Memos(access.pool)

    @property
    def serde(self) -> MarkingSerializer:
        return self.access.serde

    def close(self) -> None:
        """Make durable what is held, as far as that is possible, and close."""
        if not self.access.is_closed:
            self.writes.close()
            self.access.close()

    # Writing.

    def put(self, config: Any, checkpoint: Any, metadata: Any, versions: Mapping[str, Any]) -> Any:
        thread, lease = str(config["configurable"]["thread_id"]), self.access.lease()
        with self.access.writing(thread):
            held = self.writes.mine(thread, lease)
            for _ in range(ATTEMPTS):
                try:
                    return self._put(thread, lease, held, config, checkpoint, metadata, versions)
                except Stale:
                    self._memos.forget(thread)
                except BaseException as error:
                    self._memos.forget(thread)  # it may remember pieces that were not stored
                    self.writes.keep(held, error)
                    raise
            self.writes.write_out(held)
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
        with self.access.written(lease, memo if pieces else None, pieces) as saver:
            for one in held:
                saver.put_writes(one.config, one.writes, one.task, one.path)
            return saver.put(place, marked, metadata, dict(versions))

    # Reading.

    def get(self, config: Any) -> CheckpointTuple | None:
        thread = str(config["configurable"]["thread_id"])
        self.writes.flush_thread(thread)

        def read(connection: Any) -> CheckpointTuple | None:
            with legible(thread, "checkpoint"):
                found = Reader(connection, serde=self.serde).get_tuple(config)
            return None if found is None else revived(connection, self.serde, [found])[0]

        return self._read(read)

    def pages(self, config: Any, **options: Any) -> Iterator[Sequence[CheckpointTuple]]:
        """What is listed, the newest first, some at a time."""
        self.writes.flush()
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
        self.writes.flush()
        return self._read(partial(history, serde=self.serde, config=config, channels=channels))

    def _read(self, work: Callable[[Any], T]) -> T:
        """Read without a transaction and, where pieces were deleted between statements, again within one."""
        try:
            with self.access.reading() as connection:
                return work(connection)
        except StoreCorrupt:
            with self.access.reading() as connection, connection.transaction():
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
                PostgresTx(connection.cursor(row_factory=tuple_row), self.access.seals),
                lambda keep, dry_run: retention.prune(connection, self.serde, thread, keep, dry_run=dry_run),
            )

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        self.writes.flush()
        with self.access.reading() as connection, changing(connection, (), self.access.lease()):
            threads = list(retention.of_runs(connection, run_ids))
        for thread in threads:
            with self._changing([thread]) as connection:
                places = retention.of_runs(connection, run_ids).get(thread, [])
                retention.drop(connection, self.serde, thread, places)

    def copy(self, source: str, target: str) -> None:
        """Raises ``UsageError`` when there is a thread ``target``."""
        self.writes.flush_thread(source)
        with self._changing([target]) as connection:
            retention.copy(connection, self.serde, source, target)

    @contextmanager
    def _changing(self, threads: Sequence[str]) -> Iterator[Any]:
        (thread,) = threads
        with self.access.writing(thread):
            self.writes.flush_thread(thread)
            try:
                with self.access.changing(threads) as connection:
                    yield connection
            finally:
                self._memos.forget(thread)


def _stored(encoder: Encoder, namespace: str, channel: str, value: Any) -> Any:
    """A mark, or the value itself where it is small or no list or dict: that LangGraph stores as ever."""
    if not in_pieces(value):
        return value
    ref = encoder.channel(namespace, channel, value)
    return Stored(ref) if isinstance(ref, list) else value
