"""Threads that LangGraph's own SqliteSaver wrote in the same file: read as they are, moved over at the first write.

Its two tables have not changed their meaning since langgraph-checkpoint-sqlite 2; they are read here directly.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol

from vertebra.checkpointers.legible import as_dict, legible
from vertebra.checkpointers.sqlite.reading import Query
from vertebra.checkpointers.sqlite.tables import has_table

_CHECKPOINTS = """
SELECT thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata FROM checkpoints
"""
# A column of later versions, task_path, may be missing.
_WRITES = "SELECT * FROM writes WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"

Write = tuple[str, str, int, str, Any]
"""Path, task, index, channel, value."""


def is_there(connection: sqlite3.Connection) -> bool:
    """Whether the file has tables of LangGraph's saver."""
    return has_table(connection, "checkpoints") and has_table(connection, "writes")


def places(connection: sqlite3.Connection, thread: str) -> list[tuple[str, str]]:
    """Namespace and id of each checkpoint, parents first."""
    sql = "SELECT checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = ? ORDER BY checkpoint_id"
    return connection.execute(sql, (thread,)).fetchall()


def threads(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT DISTINCT thread_id FROM checkpoints").fetchall()]


def threads_with_rows(connection: sqlite3.Connection) -> list[str]:
    """Those of ``threads``, and those of which there are writes alone."""
    sql = "SELECT thread_id FROM checkpoints UNION SELECT thread_id FROM writes"
    return [row[0] for row in connection.execute(sql).fetchall()]


def tuples(
    connection: sqlite3.Connection, serde: SerializerProtocol, query: Query
) -> Iterator[tuple[CheckpointTuple, list[Write]]]:
    """What the query asks for, the newest first, with its writes also in their stored form."""
    wheres: list[tuple[str, Any]] = [
        ("thread_id = ?", query.thread),
        ("checkpoint_ns = ?", query.namespace),
        ("checkpoint_id = ?", query.checkpoint),
        ("checkpoint_id < ?", query.before),
    ]
    given = [(sql, value) for sql, value in wheres if value is not None]
    where = f"WHERE {' AND '.join(sql for sql, _ in given)}" if given else ""
    sql, found = f"{_CHECKPOINTS} {where} ORDER BY checkpoint_id DESC", 0
    for thread, namespace, id, parent, kind, data, metadata in connection.execute(sql, [v for _, v in given]):
        with legible(thread, "checkpoint", namespace, id):
            meta: Any = as_dict(json.loads(metadata)) if metadata else {}
            if not query.admits(meta):
                continue
        if query.limit is not None and found >= query.limit:
            return
        found += 1
        place = {"thread_id": thread, "checkpoint_ns": namespace}
        with legible(thread, "checkpoint", namespace, id):
            writes = _writes(connection, serde, (thread, namespace, id))
            tuple_ = CheckpointTuple(
                {"configurable": {**place, "checkpoint_id": id}},
                _checkpoint(serde.loads_typed((kind, data))),
                meta,
                {"configurable": {**place, "checkpoint_id": parent}} if parent else None,
                [(task, channel, value) for _, task, _, channel, value in writes],
            )
        yield tuple_, writes


def _checkpoint(value: Any) -> Any:
    if not isinstance(value["id"], str):
        raise TypeError("no checkpoint")
    return value


def delete(connection: sqlite3.Connection, thread: str) -> None:
    connection.execute("DELETE FROM checkpoints WHERE thread_id = ?", (thread,))
    connection.execute("DELETE FROM writes WHERE thread_id = ?", (thread,))


def _writes(connection: sqlite3.Connection, serde: SerializerProtocol, place: tuple[str, str, str]) -> list[Write]:
    cursor = connection.execute(_WRITES, place)
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    found = [
        (row.get("task_path") or "", row["task_id"], row["idx"], row["channel"], (row["type"], row["value"]))
        for row in rows
    ]
    found.sort(key=lambda write: write[:3])
    return [(*write[:4], serde.loads_typed(write[4])) for write in found]
