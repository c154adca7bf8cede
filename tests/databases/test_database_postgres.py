"""Postgres beneath a store: each of its failures is a typed error, and the store works again when it is back."""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections.abc import Iterator

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint

from vertebra import open_checkpointer
from vertebra.databases.database import Database, Tx
from vertebra.databases.opening import open_database
from vertebra.databases.url import StoreUrl
from vertebra.errors import MissingExtra, StoreCorrupt, StoreUnavailable, StoreUrlInvalid, UsageError

CONFIG = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    opened = open_database(StoreUrl.parse(postgres_url))
    yield opened
    opened.close()


@pytest.fixture
def admin(postgres_server: str) -> Iterator[psycopg.Connection]:
    """A superuser in another database."""
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        yield connection


def name_of(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def one(tx: Tx) -> object:
    row = tx.one("SELECT 1")
    return None if row is None else row[0]


def cut_off(admin: psycopg.Connection, url: str) -> None:
    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name_of(url),))


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    url, began = "postgresql://alice:s3cret@127.0.0.1:1/d", time.monotonic()
    with pytest.raises(StoreUnavailable, match="refused") as caught:
        open_checkpointer(url)
    assert time.monotonic() - began < 5
    assert caught.value.remedy
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_database_that_is_not_there(postgres_url: str) -> None:
    with pytest.raises(StoreUnavailable, match='"nowhere" does not exist'):
        open_checkpointer(postgres_url.replace(name_of(postgres_url), "nowhere"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://alice:s3cret@h/d?no_such_option=1",
        "postgresql://alice:s3cret@[::1/d",
        "postgresql://alice:s3cret@[::1]x/d",
    ],
)
def test_a_url_that_the_driver_cannot_read_is_told_without_its_password(url: str) -> None:
    with pytest.raises(StoreUrlInvalid, match="cannot read") as caught:
        open_checkpointer(url)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_user_without_the_right_to_make_tables(admin: psycopg.Connection, postgres_url: str) -> None:
    role = f"r_{name_of(postgres_url)}"
    admin.execute(f'CREATE ROLE "{role}" LOGIN')
    try:
        with pytest.raises(StoreUnavailable, match="permission denied") as caught:
            open_checkpointer(postgres_url.replace("//postgres@", f"//{role}@"))
        assert "grant" in caught.value.remedy
    finally:
        admin.execute(f'DROP ROLE "{role}"')


def test_a_database_that_may_only_be_read(admin: psycopg.Connection, postgres_url: str) -> None:
    admin.execute(f'ALTER DATABASE "{name_of(postgres_url)}" SET default_transaction_read_only = on')
    with pytest.raises(StoreUnavailable, match="read-only"):
        open_checkpointer(postgres_url)


def test_a_saver_that_cannot_make_its_tables_is_tried_again(admin: psycopg.Connection, postgres_url: str) -> None:
    name = name_of(postgres_url)
    with open_checkpointer(postgres_url) as store:
        admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        with pytest.raises(StoreUnavailable, match="read-only"):
            _ = store.saver
        admin.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        assert list(store.saver.list(None)) == []


def test_tables_that_have_gone(postgres_url: str) -> None:
    with open_checkpointer(postgres_url) as store, psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("DROP TABLE vertebra_threads")
        with pytest.raises(StoreCorrupt, match="vertebra_threads"):
            asyncio.run(store.runs.get("t"))


def test_a_nul_is_the_callers_to_mend(database: Database) -> None:
    with pytest.raises(UsageError, match="NUL") as caught:
        database.run_sync(lambda tx: tx.one("SELECT ?::text", "a\0b"))
    assert "NUL" in caught.value.remedy
    assert database.run_sync(one) == 1


def test_a_connection_cut_off_within_a_transaction(
    admin: psycopg.Connection, database: Database, postgres_url: str
) -> None:
    def work(tx: Tx) -> None:
        cut_off(admin, postgres_url)
        tx.one("SELECT 1")

    with pytest.raises(StoreUnavailable, match="terminating connection"):
        database.run_sync(work)
    assert database.run_sync(one) == 1


async def test_connections_cut_off_between_transactions_are_made_anew(
    admin: psycopg.Connection, postgres_url: str
) -> None:
    with open_checkpointer(postgres_url) as store:
        await store.saver.aput(CONFIG, empty_checkpoint(), {}, {})
        cut_off(admin, postgres_url)
        assert await store.runs.get("t") is None
        assert await store.saver.aget_tuple(CONFIG) is not None


async def test_a_server_that_is_gone_for_long_and_comes_back(admin: psycopg.Connection, postgres_url: str) -> None:
    name = name_of(postgres_url)
    with open_checkpointer(postgres_url) as store:
        await store.saver.aput(CONFIG, empty_checkpoint(), {}, {})
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        cut_off(admin, postgres_url)
        outcomes = await asyncio.gather(store.runs.get("t"), store.saver.aget_tuple(CONFIG), return_exceptions=True)
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        for error in outcomes:
            assert isinstance(error, StoreUnavailable), error
            assert "reached" in error.remedy
        assert await store.runs.get("t") is None
        assert await store.saver.aget_tuple(CONFIG) is not None


@pytest.mark.parametrize(("durability", "commit"), [("power", "on"), ("process", "off")])
def test_durability_is_what_postgres_is_told(postgres_url: str, durability: str, commit: str) -> None:
    database = open_database(StoreUrl.parse(f"{postgres_url}&durability={durability}"))
    assert database.run_sync(lambda tx: tx.one("SHOW synchronous_commit")) == (commit,)
    database.close()


@pytest.mark.parametrize("module", ["psycopg", "psycopg_pool", "langgraph.checkpoint.postgres"])
def test_without_the_extra(postgres_url: str, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # what Python itself keeps for a module that is not there
    with pytest.raises(MissingExtra) as caught:
        with open_checkpointer(postgres_url) as store:
            _ = store.saver
    assert caught.value.remedy == "pip install 'vertebra[postgres]'"
