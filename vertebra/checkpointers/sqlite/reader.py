"""The connection that reads: it sees what is durable, and waits for no writer."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import TypeVar

from vertebra.checkpointers.sqlite.commits import Writer
from vertebra.databases.failures import closed, driver_errors
from vertebra.databases.sqlite import connect_sqlite

T = TypeVar("T")


class Reader:
    """Reads what the writer has been given before: what waits there is made durable first."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._lock = threading.Lock()
        # In memory there is one connection, for each would have a database of its own.
        # Not mapped into memory, though that reads faster: a file that was cut, or a disk that fails, would end the
        # process (SIGBUS) instead of raising an error.
        self._connection = None if writer.url.backend == "memory" else connect_sqlite(writer.url)
        self._closed = False

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``work`` with the connection; all its statements see one state of the file."""
        self._writer.flush()
        if self._connection is None:
            return self._writer.transact(work)
        with self._lock, driver_errors(self._writer.url):
            if self._closed:
                raise closed(f"store {self._writer.url}")
            self._connection.begin("BEGIN")
            try:
                return work(self._connection)
            finally:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
