"""A process that is really stopped (SIGSTOP) where it is about to write, and what every table holds."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg

from vertebra.checkpointers import StoreUrl
from vertebra.ports import set_crash_hook


class Stopped:
    """A forked child that runs ``work`` and is stopped, once, at the ``nth`` crash point of this name.

    A context manager: whatever the test does, no child outlives it. The child waits at the point while its parent stops
    it: a stop takes effect some instants after it is asked for, on each thread for itself. It is stopped anew where
    another of its threads turns out to be in a transaction on ``url``: its locks would be held for good.
    """

    def __init__(self, work: Callable[[], Any], point: str, *, nth: int = 1, url: str) -> None:
        self._told, tell = os.pipe()
        reached, reach = os.pipe()
        go, self._go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._go)
            said = "nothing"
            try:
                set_crash_hook(_wait_at(point, nth, reach, go))
                work()
            except BaseException as error:
                said = type(error).__name__
            finally:
                os.write(tell, said.encode())
                os._exit(0)
        for end in (tell, reach, go):
            os.close(end)
        try:
            waits = os.read(reached, 1)
            assert waits, f"it ended before {point}, with {os.read(self._told, 100)!r}"
            self._stop(StoreUrl.parse(url))
        except BaseException:
            self._end()
            raise
        finally:
            os.close(reached)

    def _stop(self, url: StoreUrl) -> None:
        for _ in range(1000):
            os.kill(self.pid, signal.SIGSTOP)
            os.waitpid(self.pid, os.WUNTRACED)
            if _may_be_written(url):
                return
            os.kill(self.pid, signal.SIGCONT)
        raise AssertionError("whenever it is stopped, it is in a transaction")

    def wake(self) -> str:
        """Let it go on; the name of the error with which it ends."""
        os.write(self._go, b"!")
        os.kill(self.pid, signal.SIGCONT)
        os.waitpid(self.pid, 0)
        self.pid = 0
        return os.read(self._told, 100).decode()

    def __enter__(self) -> Stopped:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
        os.close(self._told)
        os.close(self._go)


def _wait_at(point: str, nth: int, reach: int, go: int) -> Callable[[str], None]:
    lock, reached = threading.Lock(), 0

    def hook(name: str) -> None:
        nonlocal reached
        if name == point:
            with lock:
                reached += 1
                due = reached == nth
            if due:
                os.write(reach, b"!")
                os.read(go, 1)

    return hook


def _may_be_written(url: StoreUrl) -> bool:
    """Whether nobody is within a transaction, nor at opening or closing the file."""
    if url.backend == "postgresql":
        with psycopg.connect(url.dsn, autocommit=True) as server:
            others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            within = f"SELECT 1 {others} AND xact_start IS NOT NULL AND backend_type = 'client backend' LIMIT 1"
            return server.execute(within).fetchone() is None
    try:
        with closing(sqlite3.connect(url.path, isolation_level=None, timeout=0)) as lite:
            lite.execute("BEGIN IMMEDIATE")
            lite.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        return False
    return True


def every_table(url: str) -> dict[str, list[str]]:
    """All rows of all tables, as text, by a connection of its own."""
    store = StoreUrl.parse(url)
    if store.backend == "sqlite":
        with closing(sqlite3.connect(store.path)) as lite:
            names = [n for (n,) in lite.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {n: sorted(map(repr, lite.execute(f'SELECT * FROM "{n}"'))) for n in names}
    with psycopg.connect(store.dsn) as server:
        names = [n for (n,) in server.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        return {n: sorted(map(repr, server.execute(f'SELECT * FROM "{n}"'))) for n in names}
