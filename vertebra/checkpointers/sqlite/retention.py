"""Deleting, pruning and copying threads, in one transaction each; pieces that nothing refers to are swept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from vertebra.checkpointers.legible import legible
from vertebra.checkpointers.pieces.codec import Codec
from vertebra.checkpointers.pieces.decoding import Decoder
from vertebra.checkpointers.pieces.encoding import PIECE
from vertebra.checkpointers.sqlite.reading import CHECKPOINT, WRITES, decoder_of
from vertebra.checkpointers.sqlite.tables import PIECE_BITS, PIECE_MASK, RESERVE, key_of

_DELTAS = "counters_since_delta_snapshot"
_SOME_PIECES = "SELECT key, data FROM vertebra_state_pieces WHERE key > ? AND key < ? ORDER BY key LIMIT ?"
_AT_ONCE = 200


def number_of(connection: sqlite3.Connection, thread: str) -> int | None:
    row = connection.execute("SELECT number FROM vertebra_state_threads WHERE thread = ?", (thread,)).fetchone()
    return None if row is None else int(row[0])


def delete(connection: sqlite3.Connection, thread: str) -> None:
    """Everything of the thread."""
    number = number_of(connection, thread)
    if number is None:
        return
    for table in ("checkpoints", "writes"):
        connection.execute(f"DELETE FROM vertebra_state_{table} WHERE thread_number = ?", (number,))
    connection.execute(
        "DELETE FROM vertebra_state_pieces WHERE key BETWEEN ? AND ?", (key_of(number, 0), key_of(number + 1, 0) - 1)
    )
    connection.execute("DELETE FROM vertebra_state_threads WHERE number = ?", (number,))


def count(connection: sqlite3.Connection, thread: str) -> int:
    """The checkpoints of the thread."""
    sql = "SELECT count(*) FROM vertebra_state_checkpoints WHERE thread_number = ?"
    return int(connection.execute(sql, (number_of(connection, thread),)).fetchone()[0])


def prune(connection: sqlite3.Connection, codec: Codec, thread: str, keep: int, *, dry_run: bool = False) -> int:
    """All but the last ``keep`` checkpoints of each namespace, and those that their delta channels start from.

    Returns how many go. ``dry_run``: they stay.
    """
    number = number_of(connection, thread)
    if number is None:
        return 0
    dropped: list[tuple[str, str]] = []
    for (namespace,) in connection.execute(
        "SELECT DISTINCT namespace FROM vertebra_state_checkpoints WHERE thread_number = ?", (number,)
    ).fetchall():
        ids = _ids(connection, number, namespace)
        kept = set(ids[:keep])
        for id in ids[:keep]:
            kept |= _ancestors_needed(
                connection, decoder_of(connection, codec.of(thread), number), number, namespace, id
            )
        dropped += [(namespace, id) for id in ids if id not in kept]
    if not dry_run:
        _drop(connection, codec.of(thread), number, dropped)
    return len(dropped)


def delete_for_runs(connection: sqlite3.Connection, codec: Codec, run_ids: Sequence[str]) -> list[str]:
    """The checkpoints that these runs made; the threads that they were of."""
    rows = connection.execute(
        """
        SELECT c.thread_number, t.thread, c.namespace, c.id
        FROM vertebra_state_checkpoints c JOIN vertebra_state_threads t ON t.number = c.thread_number
        WHERE c.run_id IN (SELECT value FROM json_each(?))
        """,
        (json.dumps(list(run_ids)),),
    ).fetchall()
    for number, thread in {row[:2] for row in rows}:
        _drop(connection, codec.of(thread), number, [(row[2], row[3]) for row in rows if row[0] == number])
    return sorted({row[1] for row in rows})


def copy(connection: sqlite3.Connection, codec: Codec, source_thread: str, target_thread: str) -> None:
    """The rows of one thread for another without checkpoints: references are within a thread, and stay as they are."""
    source = number_of(connection, source_thread)
    if source is None:
        return
    delete(connection, target_thread)  # writes to a checkpoint that never came
    target = int(connection.execute(RESERVE, (target_thread, 0)).fetchone()[0])
    columns = {"checkpoints": "namespace, id, parent, run_id, data"}
    columns["writes"] = "namespace, checkpoint, number, task, path, data"
    for table, names in columns.items():
        connection.execute(
            f"INSERT INTO vertebra_state_{table} (thread_number, {names}) "
            f"SELECT ?, {names} FROM vertebra_state_{table} WHERE thread_number = ?",
            (target, source),
        )
    connection.execute(
        "INSERT INTO vertebra_state_pieces (key, data) "
        "SELECT key + ?, data FROM vertebra_state_pieces WHERE key BETWEEN ? AND ? ORDER BY key",
        ((target - source) << PIECE_BITS, key_of(source, 0), key_of(source + 1, 0) - 1),
    )
    connection.execute(
        """
        UPDATE vertebra_state_threads SET generation = generation + 1, next_piece = next_piece + (
            SELECT next_piece FROM vertebra_state_threads WHERE number = ?
        ) WHERE number = ?
        """,
        (source, target),
    )
    if codec.binds:
        reseal(connection, target, codec.of(source_thread), codec.of(target_thread))


def reseal(connection: sqlite3.Connection, number: int, before: Codec, after: Codec) -> None:
    """Store all of a thread, which ``before`` opens, as ``after`` seals it."""
    for table, kind, key, place in (
        ("checkpoints", CHECKPOINT, "namespace, id", "namespace, id, parent"),
        ("writes", WRITES, "namespace, checkpoint, number", "namespace, checkpoint, task, path"),
    ):
        width = key.count(",") + 1
        rows = connection.execute(
            f"SELECT data, {key}, {place} FROM vertebra_state_{table} WHERE thread_number = ?", (number,)
        ).fetchall()
        where = " AND ".join(f"{column} = ?" for column in key.split(", "))
        connection.executemany(
            f"UPDATE vertebra_state_{table} SET data = ? WHERE thread_number = ? AND {where}",
            [(_resealed(before, after, data, kind, *rest[width:]), number, *rest[:width]) for data, *rest in rows],
        )
    last, end = key_of(number, 0) - 1, key_of(number + 1, 0)
    while rows := connection.execute(_SOME_PIECES, (last, end, _AT_ONCE)).fetchall():
        connection.executemany(
            "UPDATE vertebra_state_pieces SET data = ? WHERE key = ?",
            [(_resealed(before, after, data, PIECE, key & PIECE_MASK), key) for key, data in rows],
        )
        last = rows[-1][0]


def _resealed(before: Codec, after: Codec, data: bytes, *place: str | int | None) -> bytes:
    with legible(before.thread, *place[:3]):
        return after.seal(before.unseal(data, *place), *place)


def _ids(connection: sqlite3.Connection, number: int, namespace: str) -> list[str]:
    sql = "SELECT id FROM vertebra_state_checkpoints WHERE thread_number = ? AND namespace = ? ORDER BY id DESC"
    return [row[0] for row in connection.execute(sql, (number, namespace)).fetchall()]


def _ancestors_needed(
    connection: sqlite3.Connection, decoder: Decoder, number: int, namespace: str, id: str
) -> set[str]:
    """The ancestors whose writes make the values of the checkpoint's delta channels, back to a stored value."""
    needed: set[str] = set()
    missing: set[str] | None = None
    at: str | None = id
    while at:
        row = connection.execute(
            "SELECT parent, data FROM vertebra_state_checkpoints WHERE thread_number = ? AND namespace = ? AND id = ?",
            (number, namespace, at),
        ).fetchone()
        if row is None:
            break
        with legible(decoder.owner, CHECKPOINT, namespace, at):
            record = decoder.record(row[1], CHECKPOINT, namespace, at, row[0])
            if missing is None:
                missing = set(record["metadata"].get(_DELTAS) or ())
            else:
                needed.add(at)
            missing -= record["refs"].keys()
        if not missing:
            break
        at = row[0]
    return needed


def _drop(connection: sqlite3.Connection, codec: Codec, number: int, places: Sequence[tuple[str, str]]) -> None:
    if not places:
        return
    rows = [(number, namespace, id) for namespace, id in places]
    for table, id in (("checkpoints", "id"), ("writes", "checkpoint")):
        connection.executemany(
            f"DELETE FROM vertebra_state_{table} WHERE thread_number = ? AND namespace = ? AND {id} = ?", rows
        )
    _sweep(connection, number, set(_needed(connection, codec, number)))
    connection.execute("UPDATE vertebra_state_threads SET generation = generation + 1 WHERE number = ?", (number,))


def _needed(connection: sqlite3.Connection, codec: Codec, number: int) -> Iterable[int]:
    """The numbers of all pieces that what is left of the thread refers to."""
    decoder = decoder_of(connection, codec, number)
    for place, data in _sealed(connection, number):
        with legible(decoder.owner, *place[:3]):
            packed = decoder.head(data, *place)
            if isinstance(packed, int):
                yield packed
            record = decoder.record(data, *place)
            refs = record["refs"].values() if place[0] == CHECKPOINT else [ref for _, _, ref in record]
            yield from decoder.reachable(refs)


def _sealed(connection: sqlite3.Connection, number: int) -> Iterator[tuple[tuple[Any, ...], bytes]]:
    """The rows of a thread: what each is sealed to, and its data."""
    for kind, table, key in (
        (CHECKPOINT, "checkpoints", "namespace, id, parent"),
        (WRITES, "writes", "namespace, checkpoint, task, path"),
    ):
        sql = f"SELECT {key}, data FROM vertebra_state_{table} WHERE thread_number = ?"
        for *place, data in connection.execute(sql, (number,)).fetchall():
            yield (kind, *place), data


def _sweep(connection: sqlite3.Connection, number: int, needed: set[int]) -> None:
    first, last = key_of(number, 0), key_of(number + 1, 0) - 1
    keys = {
        key
        for (key,) in connection.execute(
            "SELECT key FROM vertebra_state_pieces WHERE key BETWEEN ? AND ?", (first, last)
        )
    }
    dead = keys - {key_of(number, piece) for piece in needed}
    connection.executemany("DELETE FROM vertebra_state_pieces WHERE key = ?", [(key,) for key in dead])
