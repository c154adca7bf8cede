"""Migrations: from nothing, again, by several processes at once, and never backwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from vertebra import open_checkpointer
from vertebra.checkpointers.migrations import MIGRATIONS, THREAD_TABLES, migrate
from vertebra.databases.database import Database
from vertebra.databases.opening import open_database
from vertebra.databases.url import StoreUrl
from vertebra.errors import StoreTooNew

SQLITE_COLUMNS = (
    'SELECT m.name, c.name, upper(c.type), c."notnull" OR c.pk > 0, c.pk > 0 '
    "FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name LIKE 'vertebra%'"
)
POSTGRES_COLUMNS = (
    "SELECT c.table_name, c.column_name, upper(c.data_type), c.is_nullable = 'NO', k.column_name IS NOT NULL "
    "FROM information_schema.columns c LEFT JOIN information_schema.key_column_usage k "
    "ON k.table_name = c.table_name AND k.column_name = c.column_name WHERE c.table_name LIKE 'vertebra%%'"
)


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = open_database(StoreUrl.parse(store_url))
    yield opened
    opened.close()


def schema(database: Database) -> set[tuple[str, str, str, bool, bool]]:
    """Table, column, type (as Postgres calls it), whether it must be given, whether it is of the key."""
    query = SQLITE_COLUMNS if database.backend == "sqlite" else POSTGRES_COLUMNS
    rows = database.run_sync(lambda tx: tx.all(query))
    return {(t, c, kind.replace("BLOB", "BYTEA"), bool(given), bool(key)) for t, c, kind, given, key in rows}


def versions(database: Database) -> list[int]:
    return [row[0] for row in database.run_sync(lambda tx: tx.all("SELECT version FROM vertebra_schema ORDER BY 1"))]


def test_an_empty_database_is_brought_to_this_release_once(database: Database) -> None:
    for _ in range(3):
        assert migrate(database) == len(MIGRATIONS)
        assert versions(database) == list(range(1, len(MIGRATIONS) + 1))


def test_every_table_of_threads_is_known_to_those_who_delete(database: Database) -> None:
    migrate(database)
    found = {table.removeprefix("vertebra_") for table, column, *_ in schema(database) if column == "thread"}
    assert found == set(THREAD_TABLES)


def test_both_databases_have_the_same_schema(sqlite_url: str, postgres_url: str) -> None:
    found = []
    for url in (sqlite_url, postgres_url):
        database = open_database(StoreUrl.parse(url))
        migrate(database)
        found.append(schema(database))
        database.close()
    assert found[0] == found[1]
    assert len(found[0]) > 70


def test_a_database_that_stands_before_any_migration_is_brought_forward(database: Database) -> None:
    """Whatever version it has, it ends with the schema of an empty one migrated."""
    migrate(database)
    whole = schema(database)
    for table in sorted({row[0] for row in whole} - {"vertebra_schema"}):
        database.run_sync(lambda tx, table=table: tx.execute(f"DROP TABLE {table}"))
    database.run_sync(lambda tx: tx.execute("DELETE FROM vertebra_schema"))
    assert migrate(database) == len(MIGRATIONS)
    assert schema(database) == whole


def test_a_later_releases_database_is_refused_and_left_alone(durable_url: str) -> None:
    open_checkpointer(durable_url).close()
    database = open_database(StoreUrl.parse(durable_url))
    later = len(MIGRATIONS) + 1
    database.run_sync(lambda tx: tx.execute("INSERT INTO vertebra_schema (version) VALUES (?)", later))
    with pytest.raises(StoreTooNew, match=f"version {later}; this release knows {len(MIGRATIONS)}") as caught:
        open_checkpointer(durable_url)
    assert "upgrade vertebra" in caught.value.remedy
    assert versions(database)[-1] == later
    database.close()


def test_a_migration_that_breaks_off_leaves_nothing_behind(database: Database) -> None:
    database.run_sync(lambda tx: tx.execute("CREATE TABLE vertebra_timers (theirs TEXT)"))
    with pytest.raises(Exception, match="already exists"):
        migrate(database)
    assert {table for table, *_ in schema(database)} == {"vertebra_timers"}
    database.run_sync(lambda tx: tx.execute("DROP TABLE vertebra_timers"))
    assert migrate(database) == len(MIGRATIONS)


_MIGRATE = """
import sys
from vertebra.databases.opening import open_database
from vertebra.checkpointers.migrations import migrate
from vertebra.databases.url import StoreUrl
print("ready", flush=True)
sys.stdin.readline()
database = open_database(StoreUrl.parse(sys.argv[1]))
print(migrate(database))
database.close()
"""


def test_two_processes_migrate_at_once(durable_url: str) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [subprocess.Popen([sys.executable, "-c", _MIGRATE, durable_url], **pipes) for _ in range(2)]  # type: ignore[call-overload]
    assert [child.stdout.readline() for child in children] == ["ready\n"] * 2
    with ThreadPoolExecutor(2) as threads:
        said = list(threads.map(lambda child: child.communicate("go\n", timeout=60)[0], children))
    assert said == [f"{len(MIGRATIONS)}\n"] * 2
    database = open_database(StoreUrl.parse(durable_url))
    assert versions(database) == list(range(1, len(MIGRATIONS) + 1))
    database.close()
