"""Which columns of the journal and the run records hold content, and what they are sealed to.

Content is what users, models and people said, and what may quote it. Everything else stays readable, because queries
need it: ids of threads, visits and runs, names of graphs, nodes and models, statuses, times, counts, leases,
principals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vertebra.databases.database import Tx
from vertebra.databases.sealing import Seals
from vertebra.types import CallKey


@dataclass(frozen=True, slots=True)
class Content:
    """The key of a table's rows, and its columns with content."""

    key: tuple[str, ...]
    columns: tuple[str, ...]


CONTENT: Mapping[str, Content] = {
    "threads": Content(("thread",), ("input", "error")),
    "calls": Content(
        ("thread", "visit", "request_hash", "epoch", "ordinal"),
        ("request", "answer_headers", "answer_body", "attempts"),
    ),
    "epochs": Content(("thread", "visit", "epoch"), ("kept",)),
    "values": Content(("thread", "visit", "name"), ("value",)),
    "visits": Content(("thread", "visit"), ("error",)),
    "answers": Content(("thread", "interrupt_id"), ("answer",)),
    "interventions": Content(("thread", "number"), ("detail",)),
}

Key = tuple[str | int, ...]


def seal(seals: Seals, table: str, column: str, key: Key, value: Any) -> Any:
    """A text or bytes as they are stored; None stays None."""
    if isinstance(value, bytes):
        return seals.seal(value, f"vertebra_{table}", column, *key)
    return seals.seal_text(value, f"vertebra_{table}", column, *key)


def unseal(seals: Seals, table: str, column: str, key: Key, stored: Any) -> Any:
    """The inverse of ``seal``. Raises ``EncryptionError``."""
    if stored is None or isinstance(stored, str):
        return seals.unseal_text(stored, f"vertebra_{table}", column, *key)
    return seals.unseal(bytes(stored), f"vertebra_{table}", column, *key)


def stored_key(seals: Seals, key: CallKey) -> Key:
    """The key of a call's row. The hash of a short request tells what was asked: in an encrypted store it is a digest
    that nobody makes without the store's key, and of the same request another one in each thread and visit.
    """
    return key.thread, key.visit, seals.digest(key.request_hash, key.thread, key.visit), key.epoch, key.ordinal


def seal_request(seals: Seals, key: Key, request_hash: str, request: str | None) -> str | None:
    """A call's request; with it, in an encrypted store, its hash, which the row does not have."""
    given = json.dumps([request_hash, request]) if seals.on else request
    sealed: str | None = seal(seals, "calls", "request", key, given)
    return sealed


def unseal_request(seals: Seals, key: Key, stored: str | None) -> tuple[str, str | None]:
    """The inverse of ``seal_request``."""
    text = unseal(seals, "calls", "request", key, stored)
    if not seals.on:
        return str(key[2]), text
    request_hash, request = json.loads(text)
    return request_hash, request


def sealed_row(seals: Seals, table: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of plain values, its key among them, as it is stored."""
    found = dict(row)
    if table not in CONTENT or not seals.on:
        return found
    if table == "calls":
        found["request_hash"] = seals.digest(row["request_hash"], row["thread"], row["visit"])
    key = _key_of(table, found)
    for column in CONTENT[table].columns:
        if (table, column) == ("calls", "request"):
            found[column] = seal_request(seals, key, row["request_hash"], row[column])
        elif column in row:
            found[column] = seal(seals, table, column, key, row[column])
    return found


def plain_row(seals: Seals, table: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of ``sealed_row``. Raises ``EncryptionError``."""
    found = {name: bytes(value) if isinstance(value, memoryview) else value for name, value in row.items()}
    if table not in CONTENT:
        return found
    key = _key_of(table, found)
    for column in CONTENT[table].columns:
        if (table, column) == ("calls", "request"):
            found["request_hash"], found[column] = unseal_request(seals, key, row[column])
        elif column in row:
            found[column] = unseal(seals, table, column, key, row[column])
    return found


def read_rows(tx: Tx, table: str, columns: Sequence[str], where: str, *args: Any) -> list[dict[str, Any]]:
    """Rows with plain values; ``columns`` has the key."""
    rows = tx.all(f"SELECT {', '.join(columns)} FROM vertebra_{table} WHERE {where}", *args)
    return [plain_row(tx.seals, table, dict(zip(columns, row, strict=True))) for row in rows]


def insert_row(tx: Tx, table: str, row: Mapping[str, Any]) -> None:
    """Write a row of plain values."""
    stored = sealed_row(tx.seals, table, row)
    tx.execute(
        f"INSERT INTO vertebra_{table} ({', '.join(stored)}) VALUES ({', '.join('?' * len(stored))})", *stored.values()
    )


def _key_of(table: str, row: Mapping[str, Any]) -> Key:
    return tuple(row[column] for column in CONTENT[table].key)
