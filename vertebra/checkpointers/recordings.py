"""The rows that a thread's journal and answers consist of, to be read from one database and written to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vertebra.checkpointers.content import insert_row, read_rows
from vertebra.databases.database import Database, Tx

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Table to rows, each a mapping of column to value, without the thread's id."""

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "calls": (
        *("visit", "request_hash", "epoch", "ordinal", "run_id", "node", "step", "kind", "endpoint", "model", "status"),
        *("request", "sequence", "answer_status", "answer_headers", "answer_body", "input_tokens", "output_tokens"),
        *("started_at", "finished_at", "sends", "lost", "replays", "attempts", "origin"),
    ),
    "epochs": ("visit", "epoch", "kept", "reason", "at"),
    "values": ("visit", "name", "value"),
    "answers": ("interrupt_id", "answer", "principal", "at"),
    "interventions": ("number", "kind", "node", "principal", "detail", "at"),
}
"""What a replay needs. Leases and timers are no part of what happened."""


class Recordings:
    """What happened in threads, as rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, thread: str) -> dict[str, list[dict[str, Any]]]:
        """All rows of a thread, in one transaction. Writes nothing."""
        return await self._database.run(lambda tx: {table: _read(tx, table, thread) for table in COLUMNS})

    async def write(self, thread: str, rows: Rows) -> None:
        """Write rows that were read elsewhere, for a thread that has none."""

        def work(tx: Tx) -> None:
            for table, columns in COLUMNS.items():
                for row in rows.get(table, ()):
                    insert_row(tx, table, {"thread": thread, **{column: row[column] for column in columns}})

        await self._database.run(work)


def _read(tx: Tx, table: str, thread: str) -> list[dict[str, Any]]:
    columns = COLUMNS[table]
    where = f"thread = ? ORDER BY {', '.join(columns[:3])}"
    return [
        {column: row[column] for column in columns} for row in read_rows(tx, table, ("thread", *columns), where, thread)
    ]
