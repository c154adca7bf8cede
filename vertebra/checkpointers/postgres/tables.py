"""The tables beside LangGraph's: which threads are stored in pieces, and the pieces.

Every piece has a number within its thread, so that keys grow as pieces are added, and a copy of a thread is a
copy of rows. A thread without a row was begun by plain LangGraph, and goes on as that stores it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from psycopg.rows import tuple_row

from vertebra.errors import StoreTooNew

VERSION = 1

_TABLES = (
    "CREATE TABLE vertebra_state_version (version BIGINT NOT NULL)",
    # An identity: the number of a deleted thread is never given to another.
    """
    CREATE TABLE vertebra_state_threads (
        number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        thread TEXT NOT NULL UNIQUE,
        next_piece BIGINT NOT NULL,
        generation BIGINT NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE TABLE vertebra_state_pieces (
        thread_number BIGINT NOT NULL,
        number BIGINT NOT NULL,
        data BYTEA NOT NULL,
        PRIMARY KEY (thread_number, number)
    )
    """,
)

RESERVE = """
INSERT INTO vertebra_state_threads AS t (thread, next_piece)
SELECT %s, %s
WHERE EXISTS (SELECT 1 FROM vertebra_state_threads WHERE thread = %s)
    OR NOT EXISTS (SELECT 1 FROM checkpoints WHERE thread_id = %s)
ON CONFLICT (thread) DO UPDATE SET next_piece = t.next_piece + excluded.next_piece
RETURNING number, next_piece, generation
"""
"""Enters the thread, unless plain LangGraph has begun it: then there is no row."""

REQUIRE_GENERATION = """
SELECT sqrt((SELECT count(*) FROM (
    SELECT 1 FROM vertebra_state_threads WHERE number = %s AND generation = %s AND next_piece > %s FOR SHARE
) AS current) - 1)
"""
"""Fails (2201F) where pieces of the thread may have been deleted since, or a server that crashed has lost who reserved
the last of these numbers; none can be before the transaction ends.
"""

PUT_PIECES = """
INSERT INTO vertebra_state_pieces (thread_number, number, data)
SELECT %s, given.* FROM unnest(%b, %b) AS given
"""
_FETCH = """
SELECT p.number, p.data FROM vertebra_state_pieces p JOIN vertebra_state_threads t ON t.number = p.thread_number
WHERE t.thread = %s AND p.number = ANY(%b)
"""
_SOME = """
SELECT number, data FROM vertebra_state_pieces WHERE thread_number = %s AND number > %s ORDER BY number LIMIT 200
"""


def reserving(thread: str, count: int) -> tuple[Any, ...]:
    """The arguments of ``RESERVE``."""
    return thread, count, thread, thread


def create(connection: Any) -> None:
    """Make the tables, if they are not there. Raises ``StoreTooNew``. One process at a time."""
    if connection.execute("SELECT to_regclass('vertebra_state_version') AS there").fetchone()["there"] is None:
        with connection.transaction():
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute("INSERT INTO vertebra_state_version (version) VALUES (%s)", (VERSION,))
    version = connection.execute("SELECT max(version) AS version FROM vertebra_state_version").fetchone()["version"]
    if version > VERSION:
        raise StoreTooNew(f"State has schema version {version}; this release knows {VERSION}.")


def fetch(connection: Any, thread: str, numbers: Sequence[int]) -> Iterable[tuple[int, bytes]]:
    """Pieces of one thread by their numbers."""
    with connection.cursor(binary=True, row_factory=tuple_row) as cursor:
        found: list[tuple[int, bytes]] = cursor.execute(_FETCH, (thread, list(numbers))).fetchall()
        return found


def reseal(connection: Any, thread: str, resealed: Callable[[int, bytes], bytes]) -> None:
    """Store each piece of a thread as ``resealed`` gives it."""
    (number,) = (
        connection.execute("SELECT number FROM vertebra_state_threads WHERE thread = %s", (thread,)).fetchone().values()
    )
    last = -1
    while rows := connection.execute(_SOME, (number, last)).fetchall():
        for row in rows:
            connection.execute(
                "UPDATE vertebra_state_pieces SET data = %s WHERE thread_number = %s AND number = %s",
                (resealed(row["number"], bytes(row["data"])), number, row["number"]),
            )
        last = rows[-1]["number"]
