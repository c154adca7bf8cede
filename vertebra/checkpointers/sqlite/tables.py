"""The saver's own tables, their version, and the statements that write them.

Every piece has a number within its thread, and its key is the thread's number and that: keys grow as pieces are
added, so that a superstep dirties the last page of each table and no others, and a thread is one range of keys.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from vertebra.errors import StoreTooNew

VERSION = 1
PIECE_BITS = 36  # pieces of a thread: 6.9e10; threads of a file: 1.3e8
PIECE_MASK = (1 << PIECE_BITS) - 1

_TABLES = (
    "CREATE TABLE vertebra_state_version (version BIGINT NOT NULL)",
    # AUTOINCREMENT: the number of a deleted thread is never given to another.
    """
    CREATE TABLE vertebra_state_threads (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        thread TEXT NOT NULL UNIQUE,
        next_piece BIGINT NOT NULL,
        generation BIGINT NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE TABLE vertebra_state_checkpoints (
        thread_number BIGINT NOT NULL,
        namespace TEXT NOT NULL,
        id TEXT NOT NULL,
        parent TEXT,
        run_id TEXT,
        data BLOB NOT NULL,
        PRIMARY KEY (thread_number, namespace, id)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE vertebra_state_writes (
        thread_number BIGINT NOT NULL,
        namespace TEXT NOT NULL,
        checkpoint TEXT NOT NULL,
        number BIGINT NOT NULL,
        task TEXT NOT NULL,
        path TEXT NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (thread_number, namespace, checkpoint, number)
    ) WITHOUT ROWID
    """,
    "CREATE TABLE vertebra_state_pieces (key INTEGER PRIMARY KEY, data BLOB NOT NULL)",
)

RESERVE = """
INSERT INTO vertebra_state_threads (thread, next_piece) VALUES (?, ?)
ON CONFLICT (thread) DO UPDATE SET next_piece = next_piece + excluded.next_piece
RETURNING number, next_piece, generation
"""
GENERATION = "SELECT generation FROM vertebra_state_threads WHERE number = ?"
PUT_PIECE = "INSERT INTO vertebra_state_pieces (key, data) VALUES (?, ?)"
PUT_CHECKPOINT = """
INSERT OR REPLACE INTO vertebra_state_checkpoints (thread_number, namespace, id, parent, run_id, data)
VALUES (?, ?, ?, ?, ?, ?)
"""
# The number says which write came later, whichever process made it.
PUT_WRITES = """
INSERT INTO vertebra_state_writes (thread_number, namespace, checkpoint, task, path, data, number)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, (
    SELECT coalesce(max(number), 0) + 1 FROM vertebra_state_writes
    WHERE thread_number = ?1 AND namespace = ?2 AND checkpoint = ?3
))
"""


_FETCH = "SELECT key, data FROM vertebra_state_pieces WHERE key IN ({})"
_AT_ONCE = 512


def key_of(thread: int, piece: int) -> int:
    return thread << PIECE_BITS | piece


def fetch(connection: sqlite3.Connection, thread: int, numbers: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """Pieces of one thread by their numbers, one after the other: the room of one is used again by the next."""
    first = key_of(thread, 0)
    for at in range(0, len(numbers), _AT_ONCE):
        keys = [first + number for number in numbers[at : at + _AT_ONCE]]
        # As many as a power of two, so that few statements are prepared.
        keys += keys[-1:] * ((1 << (len(keys) - 1).bit_length()) - len(keys))
        for key, data in connection.execute(_FETCH.format(",".join("?" * len(keys))), keys):
            yield key - first, data


def create(connection: sqlite3.Connection) -> None:
    """Make the tables, if they are not there. Raises ``StoreTooNew``. Does not write to a file that has them."""
    if _version(connection) is None:
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            if _version(connection) is None:  # another process may have been faster
                for statement in _TABLES:
                    connection.execute(statement)
                connection.execute("INSERT INTO vertebra_state_version (version) VALUES (?)", (VERSION,))
    version = _version(connection)
    if version is not None and version > VERSION:
        raise StoreTooNew(f"State has schema version {version}; this release knows {VERSION}.")


def _version(connection: sqlite3.Connection) -> int | None:
    if not has_table(connection, "vertebra_state_version"):
        return None
    return int(connection.execute("SELECT max(version) FROM vertebra_state_version").fetchone()[0])


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone()
    return found is not None
