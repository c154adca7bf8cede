"""One statement that writes: pieces, writes, a checkpoint, and the proof that they may be written.

A statement is a transaction and one round trip. The server begins when it has all of it, so that a process that is
stopped while it sends holds no lock. It proves first and writes then; what is proved is locked until the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from typing import Any

from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.errors import DivisionByZero, InvalidArgumentForLogarithm, InvalidArgumentForPowerFunction

from vertebra.checkpointers.fencing import HELD, held_arguments, lost
from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.migrations import KEYS
from vertebra.checkpointers.pieces.memo import ThreadMemo
from vertebra.checkpointers.postgres import tables
from vertebra.checkpointers.postgres.arrays import blobs, jsons, numbers, texts
from vertebra.checkpointers.postgres.gathering import BLOBS, CHECKPOINTS, LATER_WRITES, WRITES, Rows, gathering
from vertebra.databases.sealing import key_missing

_HELD = HELD.replace("?", "%s")
_REQUIRE_HELD = f"SELECT 1 / (SELECT count(*) FROM ({_HELD} FOR SHARE) AS held)"
"""Fails (22012) where the lease is lost."""

SINGLY = 40
"""Values of rows that are sent one by one: the server takes 50 us to open an array of rows. psycopg remembers how a
statement of 50 values is read, of which the others are pieces and proofs; of longer ones there would be many, too.
"""

_WRITES = "thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob"
_Columns = tuple[Callable[..., Any], ...]
_TASKS: _Columns = (*[texts] * 5, numbers, texts, texts, blobs)
_INTO: dict[str, tuple[str, str, _Columns]] = {
    # As LangGraph's statements of these names, for any number of rows: table, what if there is one, columns.
    BLOBS: (
        "checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)",
        "(thread_id, checkpoint_ns, channel, version) DO NOTHING",
        (*[texts] * 5, blobs),
    ),
    WRITES: (
        f"checkpoint_writes ({_WRITES})",
        "(thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO NOTHING",
        _TASKS,
    ),
    LATER_WRITES: (
        f"checkpoint_writes ({_WRITES})",
        "(thread_id, checkpoint_ns, checkpoint_id, task_id, idx) "
        "DO UPDATE SET channel = excluded.channel, type = excluded.type, blob = excluded.blob",
        _TASKS,
    ),
    CHECKPOINTS: (
        "checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)",
        "(thread_id, checkpoint_ns, checkpoint_id) "
        "DO UPDATE SET checkpoint = excluded.checkpoint, metadata = excluded.metadata",
        (*[texts] * 4, jsons, jsons),
    ),
}

_REQUIRE_NO_KEYS = f"SELECT ln((NOT EXISTS (SELECT 1 FROM {KEYS}))::int)"
"""Fails (2201E) where there are keys by now, for who writes plain content."""


class Stale(Exception):
    """Pieces of the thread may have been deleted since: begin anew with what is stored now."""


@contextmanager
def written(
    connection: Any,
    serde: Any,
    lease: Lease | None,
    memo: ThreadMemo | None = None,
    pieces: Sequence[tuple[int, bytes]] = (),
    *,
    keyless: bool = False,
) -> Iterator[PostgresSaver]:
    """LangGraph's saver: all that it is told within is durable afterwards, or nothing is.

    ``keyless``: of a store that was opened without a key; a lease, if there is one, proves that it has none still.
    Raises ``LeaseLost``, ``EncryptionKeyMissing``, and ``Stale`` if the memo's thread has another generation.
    """
    with gathering(connection, serde) as (saver, rows):
        yield saver
    proofs: list[str] = []
    arguments: list[Any] = []
    if memo is not None:
        proofs.append(tables.REQUIRE_GENERATION)
        arguments += [memo.number, memo.generation, max((number for number, _ in pieces), default=-1)]
    if lease is not None:
        proofs.append(_REQUIRE_HELD)
        arguments += held_arguments(lease)
    elif keyless:
        proofs.append(_REQUIRE_NO_KEYS)
    inserts, values = _inserts(rows, connection.info.encoding)
    if memo is not None and pieces:
        given, data = zip(*pieces, strict=True)
        inserts = (tables.PUT_PIECES, *inserts)
        values = [memo.number, numbers(given), blobs(data), *values]
    if not inserts:
        return
    try:
        connection.execute(_statement(inserts, tuple(proofs)), [*values, *arguments])
    except InvalidArgumentForPowerFunction as error:
        raise Stale from error
    except InvalidArgumentForLogarithm as error:
        raise key_missing() from error
    except DivisionByZero as error:
        if lease is None:
            raise
        raise lost(lease) from error


def reserve(connection: Any, thread: str, count: int, lease: Lease | None) -> dict[str, Any] | None:
    """Enter a thread, and numbers for its pieces; None if plain LangGraph has begun it. Raises ``LeaseLost``.

    The commit does not wait for the server's disk. A server that crashes before the next commit may lose it: pieces
    under these numbers are then refused as ``Stale``, and given others.
    """
    proofs, arguments = ((_REQUIRE_HELD,), held_arguments(lease)) if lease is not None else ((), ())
    selected = ", ".join(("*", "set_config('synchronous_commit', 'off', true)", *(f"({proof})" for proof in proofs)))
    sql = f"WITH entered AS ({tables.RESERVE}) SELECT {selected} FROM entered"
    try:
        found: dict[str, Any] | None = connection.execute(
            sql, [*tables.reserving(thread, count), *arguments]
        ).fetchone()
    except DivisionByZero as error:
        if lease is None:
            raise
        raise lost(lease) from error
    return found


def look(connection: Any, lease: Lease) -> None:
    """Raise ``LeaseLost`` if it is lost by now. Proves nothing of later."""
    if not connection.execute(_HELD, held_arguments(lease)).fetchall():
        raise lost(lease)


@contextmanager
def changing(connection: Any, threads: Sequence[str], lease: Lease | None) -> Iterator[None]:
    """A transaction that may delete what these threads have stored: no checkpoint of theirs is written meanwhile."""
    with connection.transaction():
        for thread in sorted(threads):
            connection.execute("SELECT 1 FROM vertebra_state_threads WHERE thread = %s FOR UPDATE", (thread,))
        if lease is not None and not connection.execute(f"{_HELD} FOR SHARE", held_arguments(lease)).fetchall():
            raise lost(lease)
        yield


def _inserts(rows: Rows, encoding: str) -> tuple[tuple[str, ...], list[Any]]:
    """A statement for each table that gets rows, and the columns of all."""
    statements: list[str] = []
    values: list[Any] = []
    for sql, given in rows.items():
        if not given:
            continue
        if sql == LATER_WRITES:  # one statement changes no row twice
            given = list({(*row[:4], row[5]): row for row in given}.values())
        kinds = _INTO[sql][2]
        if len(values) + len(given) * len(kinds) <= SINGLY:
            statements.append(_insert(sql, len(given)))
            values += chain.from_iterable(given)
        else:
            statements.append(_insert(sql))
            columns = zip(kinds, zip(*given, strict=True), strict=True)
            values += [kind(of_rows, encoding) for kind, of_rows in columns]
    return tuple(statements), values


@lru_cache
def _insert(sql: str, count: int | None = None) -> str:
    """Of so many rows, or of columns."""
    into, conflict, kinds = _INTO[sql]
    if count is None:
        given = f"SELECT given.* FROM unnest({', '.join(['%b'] * len(kinds))}) AS given"
    else:
        row = ", ".join("%b" if kind is blobs else "%s" for kind in kinds)
        given = f"VALUES {', '.join([f'({row})'] * count)}"
    return f"INSERT INTO {into} {given} ON CONFLICT {conflict}"


@lru_cache
def _statement(inserts: tuple[str, ...], proofs: tuple[str, ...]) -> str:
    named = ", ".join(f"s{number} AS ({insert})" for number, insert in enumerate(inserts))
    return f"WITH {named} {' UNION ALL '.join(proofs) or 'SELECT 1'}"
