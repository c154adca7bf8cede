"""The tables of memory: made once, by several processes at once, beside those of state, and never backwards."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.checkpointers.test_migrations import schema
from tests.memory.parts import texts, user
from vertebra import open_checkpointer, open_memory
from vertebra.databases import StoreUrl, Tx, migrating, open_database
from vertebra.errors import StoreTooNew
from vertebra.memory.migrations import MIGRATIONS, VERSIONS, migrate


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


_OPEN_AND_DIE = """
import sys
from vertebra import open_memory
from vertebra.testing import crash_at
with crash_at("migrate.statement", nth=int(sys.argv[2])):
    open_memory(sys.argv[1]).close()
"""


def test_killed_in_the_newest_migrations_all_is_there_when_it_is_opened_again(durable_url: str) -> None:
    database = open_database(StoreUrl.parse(durable_url))
    older, newest = MIGRATIONS[:-3], MIGRATIONS[-3:]
    migrating.migrate(database, older, table=VERSIONS)

    def fill(tx: Tx) -> None:
        of = "INSERT INTO vertebra_memory_"
        tx.execute(f"{of}conversations (tenant, id, messages, created_at, updated_at) VALUES ('', 'c', 2, 1, 1)")
        tx.execute(f"{of}branches (tenant, conversation, name, shared, created_at) VALUES ('', 'c', 'main', 0, 1)")
        for id, text in enumerate(("He coughs.", "Since when?"), 1):
            columns = "messages (tenant, conversation, id, branch, role, message, at)"
            message = json.dumps({"role": "user", "content": text})
            tx.execute(f"{of}{columns} VALUES ('', 'c', ?, 'main', 'user', ?, 1)", id, message)
        columns = "summaries (tenant, conversation, branch, low, high, text, at)"
        tx.execute(f"{of}{columns} VALUES ('', 'c', 'main', 1, 2, 'Of the cough.', 1)")

    database.run_sync(fill)
    count = sum(isinstance(one, str) or database.backend in one for statements in newest for one in statements)
    for nth in (1, count // 2, count):
        command = [sys.executable, "-c", _OPEN_AND_DIE, durable_url, str(nth)]
        assert subprocess.run(command, timeout=60).returncode == -9, nth
        (version,) = database.run_sync(lambda tx: tx.all(f"SELECT max(version) FROM {VERSIONS}"))
        assert version[0] == len(older)
    database.close()
    with open_memory(durable_url) as memory:
        talk = memory.conversation("c")
        assert texts(talk.messages_sync()) == ["He coughs.", "Since when?"]
        assert [summary.text for summary in talk.summaries_sync()] == ["Of the cough."]
        assert {hit.kind for hit in memory.search_sync("cough")} == {"message", "summary"}
        assert talk.append_sync(user("Monday.")).id == 3


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
