"""Looking up by meaning: the entries of a scope whose vectors are nearest to that of a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vertebra.databases.database import Tx
from vertebra.memory.recall.embedders import Embedder
from vertebra.memory.recall.scope import Scope


def has_pgvector(tx: Tx) -> bool:
    """Whether the database compares vectors by itself; not those that are sealed."""
    if tx.backend != "postgresql" or tx.seals.on:
        return False
    row = tx.one("SELECT to_regtype('vector') IS NOT NULL")
    return bool(row and row[0])


def in_database(tx: Tx, scope: Scope, embedder: Embedder, vector: Any, depth: int) -> list[tuple[int, float]]:
    """The nearest entries with their cosines, best first, by pgvector: exact, over the vectors of the scope alone."""
    where, values = scope.where()
    asked = "[" + ",".join(repr(float(x)) for x in vector) + "]"
    rows = tx.all(
        "SELECT v.entry, v.vector::vector <#> ?::vector AS distance FROM vertebra_memory_vectors v "
        f"JOIN vertebra_memory_entries e ON e.entry = v.entry WHERE v.tenant = ? AND v.embedder = ? AND {where} "
        "ORDER BY distance, v.number DESC LIMIT ?",
        *(asked, scope.tenant, embedder.name, *values, depth),
    )
    return [(int(entry), -float(distance)) for entry, distance in rows]


def entries_within(tx: Tx, scope: Scope, entries: Sequence[int] | None = None) -> set[int]:
    """The entries within the scope: all, or those of these."""
    where, values = scope.where()
    if entries is not None:
        where += f" AND e.entry IN ({', '.join('?' * len(entries))})"
        values += entries
    return {int(row[0]) for row in tx.all(f"SELECT e.entry FROM vertebra_memory_entries e WHERE {where}", *values)}
