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
    """A forked child that runs ``work`` and stops itself, once, at the ``nth`` crash point of this name.

    Not while another of its threads is in a transaction on ``url``: SQLite's lock would be held for good.
    """

    def __init__(self, work: Callable[[], Any], point: str, *, nth: int = 1, url: str) -> None:
        self._told, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            said = "nothing"
            try:
                set_crash_hook(_stop_at(point, nth, StoreUrl.parse(url)))
                work()
            except BaseException as error:
                said = type(error).__name__
            finally:
                os.write(tell, said.encode())
                os._exit(0)
        os.close(tell)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), f"it ended before {point}, with {os.read(self._told, 100)!r}"

    def wake(self) -> str:
        """Let it go on; the name of the error with which it ends."""
        os.kill(self.pid, signal.SIGCONT)
        os.waitpid(self.pid, 0)
        said = os.read(self._told, 100).decode()
        os.close(self._told)
        return said


def _stop_at(point: str, nth: int, url: StoreUrl) -> Callable[[str], None]:
    lock, reached = threading.Lock(), 0

    def hook(name: str) -> None:
        nonlocal reached
        if name == point:
            with lock:
                reached += 1
                due = reached == nth
            if due and url.backend == "sqlite":
                with closing(sqlite3.connect(url.path, isolation_level=None, timeout=10)) as lite:
                    lite.execute("BEGIN IMMEDIATE")
                    lite.execute("ROLLBACK")
                    os.kill(os.getpid(), signal.SIGSTOP)
            elif due:
                os.kill(os.getpid(), signal.SIGSTOP)

    return hook


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
