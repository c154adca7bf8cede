"""Deleting, pruning and copying threads in LangGraph's tables and ours; pieces that nothing refers to are swept.

Each function runs in a transaction that is open, on rows as dicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.types import TASKS

from vertebra.checkpointers.legible import legible
from vertebra.checkpointers.pieces.decoding import Decoder
from vertebra.checkpointers.pieces.encoding import PIECE
from vertebra.checkpointers.postgres import tables
from vertebra.checkpointers.postgres.marking import KIND, MarkingSerializer
from vertebra.checkpointers.postgres.sealing import reseal
from vertebra.errors import UsageError

_COPIES = {
    "checkpoints": "checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata",
    "checkpoint_blobs": "checkpoint_ns, channel, version, type, blob",
    "checkpoint_writes": "checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob",
}
_SWEEP = """
DELETE FROM checkpoint_blobs b WHERE b.thread_id = %s AND NOT EXISTS (
    SELECT 1 FROM checkpoints c WHERE c.thread_id = b.thread_id AND c.checkpoint_ns = b.checkpoint_ns
    AND c.checkpoint -> 'channel_versions' ->> b.channel = b.version
)
"""
_DELETE_PIECES = """
DELETE FROM vertebra_state_pieces p USING vertebra_state_threads t
WHERE t.thread = %s AND p.thread_number = t.number
"""

Place = tuple[str, str]
"""Namespace and id of a checkpoint."""


def delete(connection: Any, thread: str) -> None:
    """Everything of the thread."""
    for table in _COPIES:
        connection.execute(f"DELETE FROM {table} WHERE thread_id = %s", (thread,))
    connection.execute(_DELETE_PIECES, (thread,))
    connection.execute("DELETE FROM vertebra_state_threads WHERE thread = %s", (thread,))


def prune(connection: Any, serde: MarkingSerializer, thread: str, keep: int, *, dry_run: bool = False) -> int:
    """All but the last ``keep`` checkpoints of each namespace, and those that their delta channels start from.

    0: everything of the thread. Returns how many go. ``dry_run``: they stay.
    """
    ids: dict[str, list[str]] = {}
    for row in connection.execute(
        "SELECT checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = %s ORDER BY checkpoint_id DESC",
        (thread,),
    ).fetchall():
        ids.setdefault(row["checkpoint_ns"], []).append(row["checkpoint_id"])
    saver = PostgresSaver(connection, serde=serde)
    kept = {(namespace, id) for namespace, all_ids in ids.items() for id in all_ids[:keep]}
    for namespace, id in tuple(kept):
        with legible(thread, "checkpoint", namespace, id):
            kept |= _needed(saver, thread, namespace, id)
    places = [(namespace, id) for namespace, all_ids in ids.items() for id in all_ids]
    dropped = [place for place in places if place not in kept]
    if not dry_run and keep:
        drop(connection, serde, thread, dropped)
    elif not dry_run:
        delete(connection, thread)
    return len(dropped)


def of_runs(connection: Any, run_ids: Sequence[str]) -> dict[str, list[Place]]:
    """The checkpoints that these runs made, by thread."""
    found: dict[str, list[Place]] = {}
    for row in connection.execute(
        "SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints WHERE metadata ->> 'run_id' = ANY(%s)",
        (list(run_ids),),
    ).fetchall():
        found.setdefault(row["thread_id"], []).append((row["checkpoint_ns"], row["checkpoint_id"]))
    return found


def drop(connection: Any, serde: MarkingSerializer, thread: str, places: Sequence[Place]) -> None:
    """These checkpoints, and what only they refer to."""
    if not places:
        return
    namespaces, ids = [namespace for namespace, _ in places], [id for _, id in places]
    for table in ("checkpoints", "checkpoint_writes"):
        connection.execute(
            f"DELETE FROM {table} WHERE thread_id = %s AND (checkpoint_ns, checkpoint_id) IN "
            "(SELECT * FROM unnest(%s::text[], %s::text[]))",
            (thread, namespaces, ids),
        )
    connection.execute(_SWEEP, (thread,))
    _sweep_pieces(connection, serde, thread)


def copy(connection: Any, serde: MarkingSerializer, source: str, target: str) -> None:
    """The rows of one thread for another that has none. Raises ``UsageError`` when there is one.

    References are within a thread, so they stay as they are.
    """
    if connection.execute("SELECT 1 FROM checkpoints WHERE thread_id = %s LIMIT 1", (target,)).fetchone():
        raise UsageError(f"There is a thread {target!r}.", remedy="copy to a thread that does not exist yet.")
    delete(connection, target)  # writes and pieces that somebody has left
    connection.execute("SELECT 1 FROM vertebra_state_threads WHERE thread = %s FOR SHARE", (source,))
    for table, columns in _COPIES.items():
        connection.execute(
            f"INSERT INTO {table} (thread_id, {columns}) SELECT %s, {columns} FROM {table} WHERE thread_id = %s",
            (target, source),
        )
    # After the references: what is put meanwhile has its pieces, too.
    connection.execute(
        """
        WITH source AS (SELECT number, next_piece FROM vertebra_state_threads WHERE thread = %s),
        target AS (
            INSERT INTO vertebra_state_threads (thread, next_piece) SELECT %s, next_piece FROM source RETURNING number
        )
        INSERT INTO vertebra_state_pieces (thread_number, number, data)
        SELECT target.number, p.number, p.data
        FROM target, source JOIN vertebra_state_pieces p ON p.thread_number = source.number
        """,
        (source, target),
    )
    if serde.codec.binds:
        before, after = serde.codec.of(source), serde.codec.of(target)
        reseal(connection, target, before, after)
        tables.reseal(
            connection, target, lambda number, data: after.seal(before.unseal(data, PIECE, number), PIECE, number)
        )


def _needed(saver: PostgresSaver, thread: str, namespace: str, id: str) -> set[Place]:
    """The ancestors that make the values of delta channels, and the parent of a checkpoint from before v4."""
    needed: set[Place] = set()
    missing: set[str] | None = None
    config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": id}}
    while config is not None and (found := saver.get_tuple(config)) is not None:
        if missing is None:
            missing = set(found.metadata.get("counters_since_delta_snapshot") or ())
            parent_sends = found.checkpoint["v"] < 4
        else:
            sends = parent_sends and any(channel == TASKS for _, channel, _ in found.pending_writes or ())
            if missing or sends:
                needed.add((namespace, found.checkpoint["id"]))
            parent_sends = False
        missing -= found.checkpoint["channel_values"].keys()
        if not missing and not parent_sends:
            break
        config = found.parent_config
    return needed


def _sweep_pieces(connection: Any, serde: MarkingSerializer, thread: str) -> None:
    rows = connection.execute(
        "SELECT p.number FROM vertebra_state_pieces p JOIN vertebra_state_threads t ON t.number = p.thread_number "
        "WHERE t.thread = %s",
        (thread,),
    ).fetchall()
    if not rows:
        return
    decoder = Decoder(serde.codec.of(thread), lambda numbers: tables.fetch(connection, thread, numbers))
    marks = connection.execute(
        "SELECT checkpoint_ns, channel, blob FROM checkpoint_blobs WHERE thread_id = %s AND type = %s", (thread, KIND)
    ).fetchall()
    refs = [serde.ref_of(thread, row["checkpoint_ns"], row["channel"], row["blob"]) for row in marks]
    with legible(thread, "marks of pieces"):
        dead = {row["number"] for row in rows} - set(decoder.reachable(refs))
    connection.execute(f"{_DELETE_PIECES} AND p.number = ANY(%s)", (thread, list(dead)))
    connection.execute("UPDATE vertebra_state_threads SET generation = generation + 1 WHERE thread = %s", (thread,))
