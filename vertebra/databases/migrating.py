"""Forward migrations of a room's own tables, the same statements for SQLite and Postgres.

Types: TEXT, BIGINT, DOUBLE PRECISION and BLOB (BYTEA on Postgres). What only one of them has stands under its name.
A migration is never edited once released; databases of every release are fixtures in tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vertebra.databases.database import Database, Tx
from vertebra.errors import StoreTooNew
from vertebra.ports import crash_point

Statement = str | Mapping[str, str]
"""SQL for every backend, or by the name of the backend; where there is none, nothing is done."""

Migrations = Sequence[Sequence[Statement]]
"""For each version from 1 on, the statements that lead to it."""


def migrate(database: Database, migrations: Migrations, *, table: str) -> int:
    """Bring a room's tables to this release's version; safe when several processes do it at once.

    ``table`` is where the room notes its versions: rooms that share a database do not share versions.
    Returns the version. Raises ``StoreTooNew`` for a database of a later release.
    """
    return database.run_sync(lambda tx: _migrate(tx, migrations, table, database.backend))


def _migrate(tx: Tx, migrations: Migrations, table: str, backend: str) -> int:
    tx.lock("vertebra migrations")
    tx.execute(f"CREATE TABLE IF NOT EXISTS {table} (version BIGINT NOT NULL)")
    row = tx.one(f"SELECT max(version) FROM {table}")
    current = int(row[0]) if row and row[0] is not None else 0
    if current > len(migrations):
        raise StoreTooNew(f"The database has schema version {current}; this release knows {len(migrations)}.")
    for number, statements in enumerate(migrations[current:], current + 1):
        for statement in statements:
            if sql := statement if isinstance(statement, str) else statement.get(backend):
                tx.execute(sql.replace("BLOB", "BYTEA") if backend == "postgresql" else sql)
                crash_point("migrate.statement")
        tx.execute(f"INSERT INTO {table} (version) VALUES (?)", number)
    return len(migrations)


def has_table(tx: Tx, name: str, backend: str) -> bool:
    """Whether there is such a table."""
    if backend == "postgresql":
        found = tx.one("SELECT to_regclass(?) IS NOT NULL", name)
        return found is not None and bool(found[0])
    return tx.one("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", name) is not None
