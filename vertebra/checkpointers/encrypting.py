"""Encrypting a SQLite store where it is: plain rows are sealed in one transaction, then the whole file is written anew.

Killed before that transaction ends, the store is as it was. Killed after it, all rows are sealed, and plain content may
still lie in pages and log of the file: whoever does the same again has the file written anew, and nothing else done.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from vertebra.checkpointers.content import CONTENT, plain_row, sealed_row
from vertebra.checkpointers.migrations import KEYS, migrate
from vertebra.checkpointers.pieces.codec import Codec
from vertebra.checkpointers.savers import serializer
from vertebra.checkpointers.sqlite import legacy, retention
from vertebra.checkpointers.sqlite.tables import has_table
from vertebra.databases.database import Tx
from vertebra.databases.keys import Encryption, KeyProvider, provider_of
from vertebra.databases.sealing import NO_SEALS, Seals
from vertebra.databases.space import file_bytes
from vertebra.databases.sqlite import SqliteDatabase, SqliteTx
from vertebra.databases.url import StoreUrl
from vertebra.databases.vault import begin_seals
from vertebra.errors import StoreUnavailable, UsageError
from vertebra.ports import crash_point

ROWS = 200  # that are read at once

Progress = Callable[[str, int, int], None]
"""What is done, ``rows`` of the journal or ``threads`` of state: how many, and of how many."""


@dataclass(frozen=True, slots=True)
class Encrypted:
    """What was sealed: rows of the journal, threads of state; none of a store that was encrypted before."""

    rows: int
    threads: int
    bytes_before: int
    bytes_after: int


def encrypt(url: str, encryption: Encryption, on_progress: Progress = lambda *_: None) -> Encrypted:
    """Seal all content of a SQLite store that is plain, and overwrite where it lay. May be repeated at any time.

    Nobody else may have the store open. It needs room for the store three times.
    Raises ``UsageError``, ``EncryptionError``, ``StoreUnavailable``.
    """
    parsed = require_file(url)
    provider = provider_of(encryption)
    before = file_bytes(parsed)
    try:
        database = SqliteDatabase(parsed, forgetting=True, alone=True)
    except StoreUnavailable as error:
        raise StoreUnavailable(
            f"{parsed} is open elsewhere, and who has it open would go on writing plain content.",
            remedy="stop whatever uses it, then do the same again.",
        ) from error
    try:
        with _told("Nothing was sealed"):
            migrate(database)
            rows, threads = database.run_sync(lambda tx: _seal_all(tx, provider, on_progress))
        crash_point("encrypt.sealed")
        with _told("All is sealed under the key, but plain content may be left in free room of the file and its log"):
            database.rewrite_sync()
            crash_point("encrypt.rewritten")
            database.wipe_sync()
    finally:
        database.close()
    return Encrypted(rows, threads, before, file_bytes(parsed))


def require_file(url: str) -> StoreUrl:
    """The store, if it is one that can be encrypted in place. Raises ``UsageError``."""
    parsed = StoreUrl.parse(url).absolute()
    if parsed.backend != "sqlite":
        raise UsageError(
            f"{parsed} is not encrypted in place: only a SQLite file is.",
            remedy="let its threads end there, and begin a database with a key.",
        )
    return parsed


@contextmanager
def _told(how_it_stands: str) -> Iterator[None]:
    """A file that cannot be written, most often for want of room, is told with what that leaves behind."""
    try:
        yield
    except StoreUnavailable as error:
        raise StoreUnavailable(
            f"{how_it_stands}. {error.message}",
            remedy="see that the file can be written and has three times its size of room, then encrypt it again.",
        ) from error


def _seal_all(tx: Tx, provider: KeyProvider, tell: Progress) -> tuple[int, int]:
    assert isinstance(tx, SqliteTx)
    connection = tx.connection
    if legacy.is_there(connection) and (older := legacy.threads_with_rows(connection)):
        raise UsageError(
            f"{len(older)} threads are still as LangGraph's own saver stored them, among them {older[0]!r}.",
            remedy="resume them once with the graph that they are of, or delete them; then do the same again.",
        )
    seals = begin_seals(tx, KEYS, provider)
    if seals is None:
        return 0, 0
    rows = _seal_journal(connection, seals, tell)
    return rows, _seal_state(connection, seals, tell)


def _seal_journal(connection: sqlite3.Connection, seals: Seals, tell: Progress) -> int:
    counts = {name: _count(connection, f"vertebra_{name}") for name in CONTENT}
    done, of = 0, sum(counts.values())
    for table in CONTENT:
        for rowid, row in _rows(connection, f"vertebra_{table}"):
            stored = sealed_row(seals, table, plain_row(NO_SEALS, table, row))
            changed = {name: value for name, value in stored.items() if value != row[name]}
            sets = ", ".join(f"{name} = ?" for name in changed)
            if changed:
                connection.execute(f"UPDATE vertebra_{table} SET {sets} WHERE rowid = ?", (*changed.values(), rowid))
            done += 1
            tell("rows", done, of)
            crash_point("encrypt.row")
    return done


def _seal_state(connection: sqlite3.Connection, seals: Seals, tell: Progress) -> int:
    if not has_table(connection, "vertebra_state_threads"):
        return 0
    plain, sealed = (Codec(serializer(), which) for which in (NO_SEALS, seals))
    threads = connection.execute("SELECT number, thread FROM vertebra_state_threads ORDER BY number").fetchall()
    for done, (number, thread) in enumerate(threads, 1):
        retention.reseal(connection, number, plain.of(thread), sealed.of(thread))
        tell("threads", done, len(threads))
        crash_point("encrypt.thread")
    return len(threads)


def _count(connection: sqlite3.Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _rows(connection: sqlite3.Connection, table: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row by its number, some read at a time, since they are changed meanwhile."""
    last = -1
    while True:
        cursor = connection.execute(
            f"SELECT rowid, * FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT ?", (last, ROWS)
        )
        names = [column[0] for column in cursor.description][1:]
        found = cursor.fetchall()
        for rowid, *values in found:
            yield rowid, dict(zip(names, values, strict=True))
        if not found:
            return
        last = found[-1][0]
