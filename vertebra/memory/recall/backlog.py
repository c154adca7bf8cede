"""The backlog: conversations that were written before there was an index, taken in batch by batch."""

from __future__ import annotations

from vertebra.databases.database import Tx
from vertebra.memory import content
from vertebra.memory.place import Place
from vertebra.memory.recall.index import Entry, add
from vertebra.memory.recall.scope import MESSAGE, SUMMARY
from vertebra.memory.recall.steps import Reading, Steps, Transaction
from vertebra.memory.records import MESSAGE_COLUMNS, message_of

BATCH = 500


def take_in(tenant: str) -> Steps[None]:
    """Index what this tenant's conversations held before they were indexed. Safe to interrupt and to repeat."""
    after: tuple[str, int] | None = ("", 0) if (yield Reading(lambda tx: _next(tx, tenant, ""))) else None
    while after is not None:
        after = yield Transaction(lambda tx, start=after: _batch(tx, tenant, *start))  # type: ignore[misc]


def _batch(tx: Tx, tenant: str, conversation: str, upto: int) -> tuple[str, int] | None:
    found = _next(tx, tenant, conversation)
    if found is None:
        return None
    # Else what is being forgotten, or deleted, would be read as it was and indexed when it has gone.
    Place(tenant, found).lock(tx)
    start = upto if found == conversation else 0
    if not start:
        _summaries(tx, tenant, found)
    rows = tx.all(
        f"SELECT {MESSAGE_COLUMNS} FROM vertebra_memory_messages m "
        "WHERE m.tenant = ? AND m.conversation = ? AND m.id > ? ORDER BY m.id LIMIT ?",
        *(tenant, found, start, BATCH),
    )
    for message in (message_of(tx, (tenant, found), row) for row in rows):
        if message.forgotten_at is None:
            said = (message.id, message.branch, message.role, message.at, message.text)
            add(tx, Entry(tenant, MESSAGE, found, *said))
    if len(rows) < BATCH:
        tx.execute("DELETE FROM vertebra_memory_unindexed WHERE tenant = ? AND conversation = ?", tenant, found)
        return found, 0
    return found, int(rows[-1][0])


def _summaries(tx: Tx, tenant: str, conversation: str) -> None:
    rows = tx.all(
        "SELECT number, branch, high, at, text FROM vertebra_memory_summaries WHERE tenant = ? AND conversation = ?",
        *(tenant, conversation),
    )
    for number, branch, high, at, sealed in rows:
        text = content.SUMMARY.unseal(tx, sealed, tenant, conversation, branch, int(high))
        add(tx, Entry(tenant, SUMMARY, conversation, int(number), branch, "system", float(at), text))


def _next(tx: Tx, tenant: str, conversation: str) -> str | None:
    row = tx.one(
        "SELECT conversation FROM vertebra_memory_unindexed WHERE tenant = ? AND conversation >= ? "
        "ORDER BY conversation LIMIT 1",
        *(tenant, conversation),
    )
    return None if row is None else str(row[0])
