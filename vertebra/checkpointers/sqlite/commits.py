"""The one writer of a file: batches of rows wait in a queue, and whoever commits takes all that wait with him.

A batch is durable whole or not at all. Batches that are held are committed with the next one, of whatever thread,
or after 2 ms (``flusher``). Should a commit of many fail, each is tried alone, so that none pays for another's fault.

A batch keeps the lease under which it was handed in; in the transaction that writes it the lease is compared.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from vertebra.checkpointers.fencing import HELD, current_lease, held_arguments, lost
from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.migrations import KEYS
from vertebra.checkpointers.pieces.memo import ThreadMemo
from vertebra.checkpointers.sqlite import tables
from vertebra.checkpointers.sqlite.batch import Batch, Stale, tell
from vertebra.checkpointers.sqlite.flusher import Flusher
from vertebra.databases.failures import closed, driver_errors
from vertebra.databases.sqlite import connect_sqlite, require_no_keys
from vertebra.databases.url import StoreUrl
from vertebra.errors import StoreUnavailable

T = TypeVar("T")

RETRY_S = 0.1
FIRST_RESERVE, NEXT_RESERVE = 256, 4096
THREADS = 512  # of which a process remembers what it has stored

Fence = Callable[[str], None]
"""Raises when this process may no longer write to a thread."""


class Writer:
    """A connection that writes, and the memos of the threads it wrote.

    ``fenced``: the run records are in the same file, and nothing is written under a lease that is lost.
    ``plain``: nothing is sealed, so that nothing is written either once the store has keys.
    """

    def __init__(self, url: StoreUrl, *, fenced: bool, plain: bool) -> None:
        self.url = url
        self._fenced, self._plain = fenced, plain
        self.fence: Fence | None = None
        self._connection = connect_sqlite(url)
        try:
            with driver_errors(url):
                tables.create(self._connection)
            # Of its own: whoever hands in a write waits for no commit.
            self._looking = connect_sqlite(url) if fenced else None
        except BaseException:
            self._connection.close()
            raise
        self._looking_lock = threading.Lock()
        self._lock = threading.RLock()  # of the connection
        self._mutex = threading.Lock()  # of the fields below
        self._queue: deque[Batch] = deque()
        self._memos: OrderedDict[str, ThreadMemo] = OrderedDict()
        self._closed = False
        self._flusher = Flusher(self.flush, self._held_since)

    def known(self, thread: str) -> ThreadMemo | None:
        with self._mutex:
            memo = self._memos.get(thread)
            if memo is not None:
                self._memos.move_to_end(thread)
            return memo

    def register(self, thread: str, adopt: Callable[[sqlite3.Connection, ThreadMemo], None] | None) -> ThreadMemo:
        """The memo of a thread, which is entered into the file if it is not there; then ``adopt`` is called."""

        def enter(connection: sqlite3.Connection) -> ThreadMemo:
            number, reserved, generation = _reserve(connection, thread, FIRST_RESERVE)
            memo = ThreadMemo(thread, number, generation, deque([reserved]), self._reserve_more)
            if adopt is not None:
                adopt(connection, memo)
            return memo

        with self._lock:
            if (memo := self.known(thread)) is None:
                memo = self.transact(enter, current_lease.get())
                with self._mutex:
                    self._memos[thread] = memo
                    if len(self._memos) > THREADS:
                        self._memos.popitem(last=False)
            return memo

    def forget(self, memo: ThreadMemo) -> None:
        """What is remembered of the thread may not be true any more."""
        memo.stale = True
        with self._mutex:
            if self._memos.get(memo.thread) is memo:
                del self._memos[memo.thread]

    def forget_thread(self, thread: str) -> None:
        if (memo := self.known(thread)) is not None:
            self.forget(memo)

    def enqueue(self, batch: Batch) -> None:
        """Queue a batch; one that is held is committed within 2 ms even if nobody commits."""
        with self._mutex:
            if self._closed:
                raise closed(f"store {self.url}")
            self._queue.append(batch)
        if batch.held:
            self._flusher.soon()

    def look(self, lease: Lease | None) -> None:
        """Raise ``LeaseLost`` if the lease is lost by now, for what is held: its commit has nobody to tell.

        Proves nothing of later; the commit asks again.
        """
        if self._looking is None or lease is None:
            return
        with self._looking_lock, driver_errors(self.url):
            if self._closed:
                raise closed(f"store {self.url}")
            _require_held(self._looking, lease)

    def commit(self, batch: Batch) -> None:
        """Return when the batch is durable. Raises why it is not."""
        with self._lock:
            if not batch.done:
                self.flush()
        if batch.error is not None:
            raise batch.error

    async def committed(self, batch: Batch) -> None:
        """As ``commit``, with no thread of the caller's waiting. A batch that is in the queue is written though he is
        cancelled.
        """
        with self._mutex:
            if not batch.done:
                batch.waiting = asyncio.get_running_loop().create_future()
        if batch.waiting is not None:
            self._flusher.now()
            await batch.waiting
        if batch.error is not None:
            raise batch.error

    def flush(self) -> None:
        """Make durable whatever waits. Held batches that the file does not take now wait for the next flush."""
        with self._lock:
            with self._mutex:
                batches = list(self._queue)
                self._queue.clear()
            if not batches:
                return
            failures = self._write_all(batches)
            again: list[Batch] = []
            ended: list[Batch] = []
            for batch in batches:
                error = failures.get(batch)
                if batch.held and isinstance(error, StoreUnavailable) and not self._closed:
                    batch.at = time.monotonic() + RETRY_S
                    again.append(batch)
                    continue
                batch.error = error
                ended.append(batch)
                if error is not None:
                    self.forget(batch.memo)
            with self._mutex:
                for batch in ended:
                    batch.done = True
                self._queue.extendleft(reversed(again))
            tell(ended)
            if again:
                self._flusher.soon()

    def transact(self, work: Callable[[sqlite3.Connection], T], lease: Lease | None = None) -> T:
        """Run ``work`` in a transaction, under ``lease``: one of its own, unless it is called within one."""

        def proven(connection: sqlite3.Connection) -> T:
            self._prove(lease)
            return work(connection)

        return self._transact(proven)

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock, driver_errors(self.url):
            if self._closed:
                raise closed(f"store {self.url}")
            if self._connection.in_transaction:  # of this very thread, which holds the lock
                return work(self._connection)
            self._connection.begin("BEGIN IMMEDIATE")
            try:
                result = work(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            return result

    def insert(self, connection: sqlite3.Connection, batch: Batch) -> None:
        """The rows of a batch, in a transaction that is open."""
        thread = batch.memo.number
        if batch.pieces:
            connection.executemany(tables.PUT_PIECE, [(tables.key_of(thread, n), data) for n, data in batch.pieces])
        if batch.writes is not None:
            connection.execute(tables.PUT_WRITES, batch.writes)
        if batch.checkpoint is not None:
            connection.execute(tables.PUT_CHECKPOINT, batch.checkpoint)

    def change(self, work: Callable[[sqlite3.Connection], T], threads: Iterable[str]) -> T:
        """Run ``work``, which deletes pieces of these threads, after all that waits; forget what was remembered."""
        with self._lock:
            self.flush()
            result = self.transact(work, current_lease.get())
            for thread in threads:
                self.forget_thread(thread)
            return result

    def close(self) -> None:
        """Make durable what is held, as far as that is possible, and close."""
        with self._lock:
            if self._closed:
                return
            self.flush()
            with self._mutex:
                self._closed = True
            self._connection.close()
        self._flusher.stop()
        with self._looking_lock:
            if self._looking is not None:
                self._looking.close()

    def _write_all(self, batches: list[Batch]) -> dict[Batch, Exception]:
        """Write them together or, where that fails, one after the other; why some could not be."""
        try:
            self._write_batches(batches)
            return {}
        except Exception as error:
            if len(batches) == 1:
                return {batches[0]: error}
        failures: dict[Batch, Exception] = {}
        failed: dict[ThreadMemo, dict[Lease | None, Exception]] = {}
        for batch in batches:
            before = failed.get(batch.memo, {})
            try:
                if batch.lease in before:  # it may refer to what was not written, or follow it
                    raise before[batch.lease]
                if before and batch.checkpoint is not None:  # of another writer: it may only refer to it
                    raise Stale
                self._write_batches([batch])
            except Exception as error:
                failures[batch] = error
                failed.setdefault(batch.memo, {})[batch.lease] = error
        return failures

    def _write_batches(self, batches: list[Batch]) -> None:
        for memo, reserved in self._transact(lambda connection: self._write(connection, batches)):
            memo.reserved.append(reserved)

    def _write(self, connection: sqlite3.Connection, batches: list[Batch]) -> list[tuple[ThreadMemo, tuple[int, int]]]:
        generations: dict[tuple[ThreadMemo, Lease | None], int | None] = {}
        for batch in batches:
            of = (batch.memo, batch.lease)
            if of not in generations:  # one transaction sees one answer
                generations[of] = self._generation(connection, *of)
            found = generations[of]
            # Writes have pieces of their own, so that they only need their thread.
            if found is None or (batch.checkpoint is not None and (batch.memo.stale or found != batch.memo.generation)):
                raise Stale
        for batch in batches:
            self.insert(connection, batch)
        low = {batch.memo for batch in batches if batch.memo.runs_low}
        return [(memo, _reserve(connection, memo.thread, NEXT_RESERVE)[1]) for memo in low]

    def _generation(self, connection: sqlite3.Connection, memo: ThreadMemo, lease: Lease | None) -> int | None:
        """Of the thread's rows now; None if there is no such thread. Raises when it may not be written to."""
        self._prove(lease)
        if self.fence is not None:
            self.fence(memo.thread)
        found = connection.execute(tables.GENERATION, (memo.number,)).fetchone()
        return None if found is None else int(found[0])

    def _reserve_more(self, memo: ThreadMemo) -> None:
        reserved = self.transact(lambda c: _reserve(c, memo.thread, NEXT_RESERVE), current_lease.get())
        memo.reserved.append(reserved[1])

    def _prove(self, lease: Lease | None) -> None:
        """In a transaction, within which nobody else can take the thread. Raises ``LeaseLost``, ``EncryptionError``."""
        if self._fenced and lease is not None:
            _require_held(self._connection, lease)
        elif self._fenced and self._plain:
            require_no_keys(self._connection, KEYS)

    def _held_since(self) -> float | None:
        with self._mutex:
            return next((batch.at for batch in self._queue if batch.held), None)


def _require_held(connection: sqlite3.Connection, lease: Lease) -> None:
    # All rows: a statement that is not at its end would keep the log from being folded into the file.
    if not connection.execute(HELD, held_arguments(lease)).fetchall():
        raise lost(lease)


def _reserve(connection: sqlite3.Connection, thread: str, count: int) -> tuple[int, tuple[int, int], int]:
    """The thread's number, numbers for its pieces from the first to before the last, and its generation."""
    number, last, generation = connection.execute(tables.RESERVE, (thread, count)).fetchone()
    return number, (last - count, last), generation
