"""What was acknowledged is made durable: with the checkpoint that follows it, by itself, or when the server is back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from psycopg import DataError, OperationalError
from psycopg.errors import ProgramLimitExceeded, ReadOnlySqlTransaction

from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.postgres.access import Access
from vertebra.checkpointers.postgres.held import HeldWrites, Writes
from vertebra.checkpointers.postgres.writing import look
from vertebra.databases.failures import driver_errors
from vertebra.errors import LeaseLost


class Flushing:
    """The writes of tasks, of which those that may wait are held. Safe in any thread."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._held = HeldWrites(self.flush_thread)

    def close(self) -> None:
        """Make durable what is held, as far as that is possible."""
        self._held.close()
        self.flush()

    def prepare(self, config: Any, writes: Sequence[tuple[str, Any]], task: str, path: str) -> Writes:
        """The writes as they are now. What no database takes is refused: a flush has nobody to tell."""
        with driver_errors(self._access.url):
            for text in (task, path, *(channel for channel, _ in writes)):
                if b"\0" in text.encode():
                    raise DataError("a text with a NUL character (0x00)")
        place = {**config, "configurable": {"checkpoint_ns": "", **config["configurable"]}}
        thread, namespace = str(place["configurable"]["thread_id"]), str(place["configurable"]["checkpoint_ns"])
        serde = self._access.serde
        dumped = [(channel, serde.dump_now(value, thread, namespace, task, channel)) for channel, value in writes]
        return Writes(place, dumped, task, path, self._access.lease())

    def hold(self, writes: Writes) -> None:
        """Until the next checkpoint of the thread is put, or some milliseconds have passed."""
        self._access.require_open()
        self._held.add(writes)

    def look(self, lease: Lease) -> None:
        """Raise ``LeaseLost`` if it is lost by now, for what is held: its flush has nobody to tell."""
        with self._access.reading() as connection:
            look(connection, lease)

    def put_now(self, writes: Writes) -> None:
        """These, and before them what is held for the thread."""
        with self._access.writing(writes.thread):
            held = self.mine(writes.thread, writes.lease)
            try:
                self._write([*held, writes], writes.lease)
            except BaseException as error:
                self.keep(held, error)
                raise

    def flush(self) -> None:
        """Make durable whatever is held. What the server does not take now waits."""
        for thread in self._held.threads():
            self.flush_thread(thread)

    def flush_thread(self, thread: str) -> None:
        with self._access.lock_of(thread):
            self.write_out(self._held.take(thread))

    def mine(self, thread: str, lease: Lease | None) -> list[Writes]:
        """What is held for the thread under this lease; another's is written first, if it may be. Hold the thread."""
        waiting = self._held.take(thread)
        if all(one.lease == lease for one in waiting):
            return waiting
        self.write_out(waiting)
        return []

    def write_out(self, waiting: Sequence[Writes]) -> None:
        """By themselves. What the server does not take now waits."""
        for lease, group in groupby(waiting, key=lambda writes: writes.lease):
            batch = list(group)
            try:
                self._access.ask(batch[0].thread)
                self._write(batch, lease)
            except Exception as error:
                if _passes(error):
                    self._held.give_back(batch)
                # Else it is refused for good: the lease is lost, or the database does not take it

    def keep(self, held: Sequence[Writes], error: BaseException) -> None:
        """What was held is no part of what was refused: it was acknowledged, and is written by itself."""
        if _passes(error):
            self._held.give_back(held)
        elif not isinstance(error, LeaseLost):
            self.write_out(held)

    def _write(self, batch: Sequence[Writes], lease: Lease | None) -> None:
        with self._access.written(lease) as saver:
            for one in batch:
                saver.put_writes(one.config, one.writes, one.task, one.path)


def _passes(error: BaseException) -> bool:
    """Whether the server may take later what it does not take now."""
    return isinstance(error, OperationalError | ReadOnlySqlTransaction) and not isinstance(error, ProgramLimitExceeded)
