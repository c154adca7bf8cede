"""What a transaction is on every backend: whole or nothing, one holder of a name, and several writes in one go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from vertebra.databases.database import Database, Row, Tx
from vertebra.databases.opening import open_database
from vertebra.databases.url import StoreUrl
from vertebra.errors import StoreError

PUT = "INSERT INTO kept (number, text) VALUES (?, ?)"


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = open_database(StoreUrl.parse(store_url))
    opened.run_sync(lambda tx: tx.execute("CREATE TABLE kept (number BIGINT PRIMARY KEY, text TEXT)"))
    yield opened
    opened.close()


def kept(database: Database) -> list[tuple[object, ...]]:
    rows: list[Row] = database.run_sync(lambda tx: tx.all("SELECT number, text FROM kept ORDER BY number"))
    return [tuple(row) for row in rows]


def test_several_writes_are_one(database: Database) -> None:
    database.run_sync(lambda tx: tx.write((PUT, 1, "a?")))
    change = ("UPDATE kept SET text = ? WHERE number = ?", "c%s", 1)
    database.run_sync(lambda tx: tx.write((PUT, 2, "b"), (PUT, 3, None), change))
    assert kept(database) == [(1, "c%s"), (2, "b"), (3, None)]
    with pytest.raises(StoreError):
        database.run_sync(lambda tx: tx.write((PUT, 4, "d"), (PUT, 1, "e")))
    assert len(kept(database)) == 3


@pytest.mark.parametrize("locked_first", [True, False])
def test_what_was_begun_with_a_lock_or_without_is_undone_by_an_error(database: Database, locked_first: bool) -> None:
    def work(tx: Tx) -> None:
        if locked_first:
            tx.lock("n")
        tx.write((PUT, 1, "a"))
        tx.lock("m")
        raise ValueError

    with pytest.raises(ValueError):
        database.run_sync(work)
    assert kept(database) == []
    assert database.run_sync(lambda tx: None) is None


@pytest.mark.parametrize("name", ["n", "it's", "a\\'b; DROP TABLE kept; --", "%s ? {} $1", "咳🙂", '["a", "b"]'])
def test_a_name_is_held_by_one_however_it_is_asked_for(database: Database, name: str) -> None:
    """As the first statement it travels with BEGIN, as a literal; later as an argument: it is the same name."""
    holding, go_on = threading.Event(), threading.Event()
    order = []

    def first(tx: Tx) -> None:
        tx.lock(name)
        holding.set()
        assert go_on.wait(20)
        order.append("first")

    def second(tx: Tx) -> None:
        tx.one("SELECT 1")
        tx.lock(name)
        order.append("second")

    with ThreadPoolExecutor(2) as threads:
        holder = threads.submit(database.run_sync, first)
        assert holding.wait(20)
        waiter = threads.submit(database.run_sync, second)
        with pytest.raises(TimeoutError):
            waiter.result(0.1)
        go_on.set()
        holder.result(20)
        waiter.result(20)
    assert order == ["first", "second"]
    assert kept(database) == []


def test_time_goes_on_within_a_transaction(database: Database) -> None:
    one, other = database.run_sync(lambda tx: (tx.now(), float((tx.one(f"SELECT {tx.now_sql}") or [0])[0])))
    assert one <= other < one + 60
