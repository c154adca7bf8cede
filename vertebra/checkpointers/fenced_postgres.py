"""The Postgres saver on a pool, its writes fenced by the lease and whole: all of a write, or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.errors import DataError, DivisionByZero

from vertebra.checkpointers.fencing import HELD, current_lease, held_arguments, lost
from vertebra.checkpointers.retaining_postgres import RetainingPostgresSaver

_HELD = f"{HELD.replace('?', '%s')} FOR SHARE"
_REQUIRE_HELD = f"SELECT 1 / count(*) FROM ({_HELD}) AS held"
"""Fails where the lease is lost, so that what follows in its pipeline is not executed."""


class FencedPostgresSaver(RetainingPostgresSaver):
    """Beside the run records in one database. Raises ``LeaseLost`` for a write under a lease that is lost."""

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        with self._fenced() as saver:
            return saver.put(config, checkpoint, metadata, new_versions)

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        # What the driver would refuse after it has sent the rows before; values are bytes, which it takes.
        for text in (task_id, task_path, *(channel for channel, _ in writes)):
            if b"\0" in text.encode():
                raise DataError("a text with a NUL character (0x00)")
        with self._fenced() as saver:
            saver.put_writes(config, writes, task_id, task_path)

    def delete_thread(self, thread_id: str) -> None:
        with self._fenced() as saver:
            saver.delete_thread(thread_id)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        lease = current_lease.get()
        with super()._transaction() as connection:
            if lease is not None and not connection.execute(_HELD, held_arguments(lease)).fetchall():
                raise lost(lease)
            yield connection

    @contextmanager
    def _fenced(self) -> Iterator[PostgresSaver]:
        """A saver on one connection, in one pipeline.

        A pipeline is one transaction: the row of the lease is locked until all of it is committed, and the
        question about the lease travels with the write, in the same round trip.
        """
        pool: Any = self.conn
        lease = current_lease.get()
        with pool.connection() as connection:
            try:
                with connection.pipeline():
                    if lease is not None:
                        connection.execute(_REQUIRE_HELD, held_arguments(lease))
                    yield PostgresSaver(connection, serde=self.serde)
            except DivisionByZero as error:
                if lease is None:
                    raise
                raise lost(lease) from error
