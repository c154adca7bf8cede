"""The rows that LangGraph's saver would write, taken from it one by one, so that they can be written together.

That saver knows what goes into its tables, and writes it with a statement a row. Here it is given a cursor that sends
nothing, and keeps the rows by the statement that was to write them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from langgraph.checkpoint.postgres import PostgresSaver

Rows = dict[str, list[Sequence[Any]]]
"""By the statement that would write them."""

BLOBS = PostgresSaver.UPSERT_CHECKPOINT_BLOBS_SQL
WRITES = PostgresSaver.INSERT_CHECKPOINT_WRITES_SQL
LATER_WRITES = PostgresSaver.UPSERT_CHECKPOINT_WRITES_SQL
"""Errors, interrupts and answers: the last one of a task counts, of other writes the first."""
CHECKPOINTS = PostgresSaver.UPSERT_CHECKPOINTS_SQL


class _Gatherer:
    """In place of a cursor."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def execute(self, sql: str, row: Sequence[Any]) -> None:
        self._rows[sql].append(row)

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        self._rows[sql].extend(rows)


class _NoSync:
    def sync(self) -> None: ...


@contextmanager
def gathering(connection: Any, serde: Any) -> Iterator[tuple[PostgresSaver, Rows]]:
    """LangGraph's saver, and the rows of what it is told to write, by statement. It can only write."""
    rows: Rows = {sql: [] for sql in (BLOBS, WRITES, LATER_WRITES, CHECKPOINTS)}
    gatherer: Any = _Gatherer(rows)
    no_sync: Any = _NoSync()
    cursors = connection.cursor_factory
    connection.cursor_factory = lambda *_, **__: gatherer
    try:
        yield PostgresSaver(connection, pipe=no_sync, serde=serde), rows
    finally:
        connection.cursor_factory = cursors
