"""The tables of memory: made once, by several processes at once, beside those of state, and never backwards."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.checkpointers.test_migrations import schema
from tests.memory.parts import texts, user
from vertebra import open_checkpointer, open_memory
from vertebra.databases import StoreUrl, open_database
from vertebra.errors import StoreTooNew
from vertebra.memory.migrations import MIGRATIONS, migrate


def test_made_once(store_url: str) -> None:
    database = open_database(StoreUrl.parse(store_url))
    for _ in range(2):
        assert migrate(database) == len(MIGRATIONS)
    found = database.run_sync(lambda tx: tx.all("SELECT version FROM vertebra_memory_schema"))
    assert [int(row[0]) for row in found] == list(range(1, len(MIGRATIONS) + 1))
    assert all(table.startswith("vertebra_memory_") for table, *_ in schema(database))
    database.close()


def test_both_databases_have_the_same_schema(sqlite_url: str, postgres_url: str) -> None:
    found = []
    for url in (sqlite_url, postgres_url):
        database = open_database(StoreUrl.parse(url))
        migrate(database)
        found.append({row for row in schema(database) if not row[0].startswith("vertebra_memory_term")})
        database.close()
    differing = {(table, column) for table, column, *_ in found[0] ^ found[1]}
    # What finds words and keeps vectors is each database's own.
    own = {("entries", "entry"), ("entries", "terms"), ("vectors", "vector"), ("vectors", "sealed")}
    assert differing == {(f"vertebra_memory_{table}", column) for table, column in own}
    assert len(found[0] & found[1]) > 45


def test_state_and_memory_share_a_database(durable_url: str) -> None:
    with open_memory(durable_url) as memory, open_checkpointer(durable_url) as store:
        memory.conversation("c").append_sync(user("a"))
        store.journal.record_value_sync("t", "v", "name", "value")
    with open_checkpointer(durable_url), open_memory(durable_url) as memory:
        assert texts(memory.conversation("c").messages_sync()) == ["a"]


def test_a_later_releases_memory_is_refused(durable_url: str) -> None:
    open_memory(durable_url).close()
    database = open_database(StoreUrl.parse(durable_url))
    database.run_sync(lambda tx: tx.execute("INSERT INTO vertebra_memory_schema (version) VALUES (999)"))
    with pytest.raises(StoreTooNew, match="999"):
        open_memory(durable_url)
    open_checkpointer(durable_url).close()
    database.close()


_OPEN = "import sys; from vertebra import open_memory; open_memory(sys.argv[1]).close()"


def test_several_processes_open_an_empty_database_at_once(durable_url: str) -> None:
    command = [sys.executable, "-c", _OPEN, durable_url]
    with ThreadPoolExecutor(3) as threads:
        ended = list(
            threads.map(lambda _: subprocess.run(command, capture_output=True, text=True, timeout=60), range(3))
        )
    assert [child.stderr for child in ended if child.returncode] == []


def test_memory_loads_neither_langgraph_nor_openai() -> None:
    code = (
        "import sys, vertebra.memory; vertebra.memory.open_memory('memory://').conversation('c').messages_sync(); "
        "print([m for m in ('langgraph', 'langchain_core', 'openai', 'networkx', 'psycopg') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
