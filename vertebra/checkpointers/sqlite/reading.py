"""LangGraph's tuples from the rows of one file: one by its place, or a page of them, the newest first."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple, DeltaChannelHistory

from vertebra.checkpointers.legible import as_dict, legible
from vertebra.checkpointers.pieces.chunk_cache import ChunkCache
from vertebra.checkpointers.pieces.codec import Codec
from vertebra.checkpointers.pieces.decoding import Decoder
from vertebra.checkpointers.pieces.memo import Latest
from vertebra.checkpointers.sqlite.tables import fetch

PAGE = 64

CHECKPOINT, WRITES = "checkpoint", "writes"
"""What rows are sealed to: with namespace, id and parent, or with namespace, checkpoint, task and path."""

_ROWS = """
SELECT c.thread_number, t.thread, c.namespace, c.id, c.parent, c.data
FROM vertebra_state_checkpoints c JOIN vertebra_state_threads t ON t.number = c.thread_number
"""
_WRITES = """
SELECT task, path, data FROM vertebra_state_writes
WHERE thread_number = ? AND namespace = ? AND checkpoint = ? ORDER BY number
"""
_LATEST = "SELECT parent, data FROM vertebra_state_checkpoints WHERE thread_number = ? AND namespace = ? AND id = ?"


@dataclass(frozen=True, slots=True)
class Query:
    """What to list. ``after`` is the last place of the page before."""

    thread: str | None = None
    namespace: str | None = None
    checkpoint: str | None = None
    before: str | None = None
    metadata: Mapping[str, Any] | None = None
    limit: int | None = None

    @classmethod
    def of(
        cls,
        config: Mapping[str, Any] | None,
        metadata: Mapping[str, Any] | None = None,
        before: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Query:
        place = config["configurable"] if config else {}
        thread = place.get("thread_id")
        return cls(
            None if thread is None else str(thread),
            place.get("checkpoint_ns"),
            place.get("checkpoint_id"),
            before["configurable"].get("checkpoint_id") if before else None,
            metadata or None,
            limit,
        )

    def admits(self, metadata: Mapping[str, Any]) -> bool:
        return all(metadata.get(key) == value for key, value in (self.metadata or {}).items())


@dataclass(frozen=True, slots=True)
class Row:
    """A checkpoint as it is stored."""

    number: int
    thread: str
    namespace: str
    id: str
    parent: str | None
    data: bytes

    @property
    def place(self) -> tuple[str, str, str, str | None]:
        """What the data is sealed to."""
        return CHECKPOINT, self.namespace, self.id, self.parent

    @property
    def reading(self) -> legible:
        """Within, it is read."""
        return legible(self.thread, CHECKPOINT, self.namespace, self.id)


def decoder_of(connection: sqlite3.Connection, codec: Codec, number: int, chunks: ChunkCache | None = None) -> Decoder:
    """Of the pieces of one thread, with its codec."""
    return Decoder(codec, partial(fetch, connection, number), chunks=chunks, thread=number)


def one(connection: sqlite3.Connection, codec: Codec, query: Query, chunks: ChunkCache) -> CheckpointTuple | None:
    """The checkpoint that the query names, or the latest of its namespace."""
    row = next(iter(_rows(connection, query, None, 1)), None)
    return (
        None
        if row is None
        else _tuple(connection, decoder_of(connection, codec.of(row.thread), row.number, chunks), row)
    )


def page(
    connection: sqlite3.Connection, codec: Codec, query: Query, after: Row | None, chunks: ChunkCache
) -> tuple[list[CheckpointTuple], Row | None]:
    """Some of what the query asks for, and the row after which to go on, unless that was all."""
    limit = PAGE if query.limit is None or query.metadata else min(query.limit, PAGE)
    found: list[CheckpointTuple] = []
    decoders: dict[int, Decoder] = {}
    rows = _rows(connection, query, after, limit)
    for row in rows:
        if query.limit is not None and len(found) >= query.limit:
            return found, None
        if (decoder := decoders.get(row.number)) is None:
            decoder = decoders[row.number] = decoder_of(connection, codec.of(row.thread), row.number, chunks)
        with row.reading:
            record = decoder.record(row.data, *row.place)
            if query.admits(record["metadata"]):
                found.append(_tuple(connection, decoder, row, record))
    return found, rows[-1] if len(rows) == limit else None


def refs_of(connection: sqlite3.Connection, decoder: Decoder, number: int, namespace: str, id: str) -> Latest | None:
    """What the channels of a checkpoint refer to."""
    row = connection.execute(_LATEST, (number, namespace, id)).fetchone()
    if row is None:
        return None
    with legible(decoder.owner, CHECKPOINT, namespace, id):
        record = decoder.record(row[1], CHECKPOINT, namespace, id, row[0])
        return Latest(id, dict(record["checkpoint"]["channel_versions"]), dict(record["refs"]))


def history(
    connection: sqlite3.Connection, codec: Codec, query: Query, channels: Sequence[str]
) -> dict[str, DeltaChannelHistory]:
    """For each channel its writes along the parents, the oldest first, back to the value they are added to."""
    found: dict[str, DeltaChannelHistory] = {channel: {"writes": []} for channel in channels}
    open_channels = set(channels)
    target = next(iter(_rows(connection, query, None, 1)), None)
    parent = target.parent if target else None
    while parent and open_channels and target:
        at = Query(target.thread, target.namespace, parent)
        row = next(iter(_rows(connection, at, None, 1)), None)
        if row is None:
            break
        decoder = decoder_of(connection, codec.of(row.thread), row.number)
        with row.reading:
            pending = pending_refs(connection, decoder, row.number, row.namespace, row.id)
            for _, task, _, channel, ref in reversed(pending):
                if channel in open_channels:
                    found[channel]["writes"].append((task, channel, decoder.value(ref)))
            refs = decoder.record(row.data, *row.place)["refs"]
            for channel in open_channels & refs.keys():
                found[channel]["seed"] = decoder.value(refs[channel])
            open_channels -= refs.keys()
        parent = row.parent
    for entry in found.values():
        entry["writes"].reverse()
    return found


def _rows(connection: sqlite3.Connection, query: Query, after: Row | None, limit: int) -> list[Row]:
    wheres: list[tuple[str, Any]] = [
        ("t.thread = ?", query.thread),
        ("c.namespace = ?", query.namespace),
        ("c.id = ?", query.checkpoint),
        ("c.id < ?", query.before),
    ]
    given = [(sql, value) for sql, value in wheres if value is not None]
    values = [value for _, value in given]
    if after is not None:
        given.append(("(c.id, c.thread_number, c.namespace) < (?, ?, ?)", None))
        values += [after.id, after.number, after.namespace]
    where = f"WHERE {' AND '.join(sql for sql, _ in given)}" if given else ""
    order = "ORDER BY c.id DESC, c.thread_number DESC, c.namespace DESC LIMIT ?"
    return [Row(*row) for row in connection.execute(f"{_ROWS} {where} {order}", (*values, limit)).fetchall()]


def _tuple(connection: sqlite3.Connection, decoder: Decoder, row: Row, record: Any = None) -> CheckpointTuple:
    place = {"thread_id": row.thread, "checkpoint_ns": row.namespace}
    with row.reading:
        record = record or decoder.record(row.data, *row.place)
        checkpoint = {**record["checkpoint"], "id": row.id, "channel_values": decoder.values(record["refs"])}
        return CheckpointTuple(
            {"configurable": {**place, "checkpoint_id": row.id}},
            checkpoint,  # type: ignore[arg-type]
            as_dict(record["metadata"]),  # type: ignore[arg-type]
            {"configurable": {**place, "checkpoint_id": row.parent}} if row.parent else None,
            _pending(connection, decoder, row),
        )


def _pending(connection: sqlite3.Connection, decoder: Decoder, row: Row) -> list[tuple[str, str, Any]]:
    return [
        (task, channel, decoder.value(ref))
        for _, task, _, channel, ref in pending_refs(connection, decoder, row.number, row.namespace, row.id)
    ]


def pending_refs(
    connection: sqlite3.Connection, decoder: Decoder, number: int, namespace: str, id: str
) -> list[tuple[str, str, int, str, Any]]:
    """Path, task, index, channel and reference of each write, in the order in which writes are applied.

    A task's write stays as it was first; what is special (negative indices: an error, an interrupt) is replaced.
    """
    found: dict[tuple[str, str, int], tuple[str, Any]] = {}
    for task, path, data in connection.execute(_WRITES, (number, namespace, id)).fetchall():
        with legible(decoder.owner, WRITES, namespace, id):
            writes = decoder.record(data, WRITES, namespace, id, task, path)
            replaces = all(index < 0 for index, _, _ in writes)
            for index, channel, ref in writes:
                if replaces or (path, task, index) not in found:
                    found[path, task, index] = (channel, ref)
    return [(path, task, index, *found[path, task, index]) for path, task, index in sorted(found)]
