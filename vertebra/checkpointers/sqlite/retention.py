"""Deleting, pruning and copying threads, in one transaction each; pieces that nothing refers to are swept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from vertebra.checkpointers.pieces.codec import Codec
from vertebra.checkpointers.pieces.decoding import Decoder
from vertebra.checkpointers.sqlite.reading import decoder_of
from vertebra.checkpointers.sqlite.tables import PIECE_BITS, RESERVE, key_of

_DELTAS = "counters_since_delta_snapshot"


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
            kept |= _ancestors_needed(connection, decoder_of(connection, codec, number), number, namespace, id)
        dropped += [(namespace, id) for id in ids if id not in kept]
    if not dry_run:
        _drop(connection, codec, number, dropped)
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
    for number in {row[0] for row in rows}:
        _drop(connection, codec, number, [(row[2], row[3]) for row in rows if row[0] == number])
    return sorted({row[1] for row in rows})


def copy(connection: sqlite3.Connection, source_thread: str, target_thread: str) -> None:
    """The rows of one thread for another that has none: references are within a thread, so they stay as they are."""
    source = number_of(connection, source_thread)
    if source is None:
        return
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
        record = decoder.record(row[1])
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
    decoder = decoder_of(connection, codec, number, {})
    tables: dict[str, Any] = {"checkpoints": "namespace, id", "writes": "namespace, checkpoint"}
    for table in tables:
        for (data,) in connection.execute(
            f"SELECT data FROM vertebra_state_{table} WHERE thread_number = ?", (number,)
        ).fetchall():
            packed = codec.load(codec.unseal(data))
            if isinstance(packed, int):
                yield packed
            record = decoder.record(data)
            refs = record["refs"].values() if table == "checkpoints" else [ref for _, _, ref in record]
            yield from decoder.reachable(refs)


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
