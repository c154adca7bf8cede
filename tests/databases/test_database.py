"""SQLite beneath a store: each of its failures is a typed error, and the store works again when the cause is gone."""

from __future__ import annotations

import os
import resource
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vertebra import open_checkpointer
from vertebra.databases.database import Database, Tx
from vertebra.databases.opening import open_database
from vertebra.databases.url import StoreUrl
from vertebra.errors import StoreCorrupt, StoreUnavailable, UsageError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "threads.db"


@pytest.fixture
def database(file: Path) -> Iterator[Database]:
    """An open database with one table."""
    opened = open_database(StoreUrl("sqlite", path=str(file)))
    opened.run_sync(lambda tx: tx.execute("CREATE TABLE kept (text TEXT)"))
    yield opened
    opened.close()


def keep(tx: Tx, text: str = "x") -> int:
    return tx.execute("INSERT INTO kept VALUES (?)", text)


def count(database: Database) -> int:
    (number,) = database.run_sync(lambda tx: tx.one("SELECT count(*) FROM kept")) or (None,)
    return int(number)


def pragma(database: Database, text: str) -> None:
    database.run_sync(lambda tx: tx.execute(f"PRAGMA {text}"))


def test_what_is_no_database_is_left_as_it_is(file: Path) -> None:
    file.write_text("Dear diary, " * 500)
    with pytest.raises(StoreCorrupt, match="file is not a database") as caught:
        open_checkpointer(f"sqlite:///{file}")
    assert caught.value.remedy
    assert caught.value.context["path"] == str(file)
    assert file.read_text() == "Dear diary, " * 500


@pytest.mark.parametrize("place", ["file/below.db", "no/such/folder.db", "folder"])
def test_a_place_that_cannot_be_opened(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("a file is no folder")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreUnavailable, match="unable to open database file") as caught:
        open_checkpointer(f"sqlite:///{tmp_path}/{place}")
    assert "folder exists" in caught.value.remedy
    assert str(tmp_path) in str(caught.value)


def test_a_locked_file(database: Database, file: Path) -> None:
    pragma(database, "busy_timeout=50")
    other = sqlite3.connect(file)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="database is locked") as caught:
        database.run_sync(keep)
    assert "another process" in caught.value.remedy
    other.rollback()
    other.close()
    assert database.run_sync(keep) == 1


def test_opening_waits_for_a_lock_that_goes(file: Path) -> None:
    """Changing to WAL mode ignores SQLite's own patience."""
    other = sqlite3.connect(file, check_same_thread=False)
    other.execute("CREATE TABLE theirs (a)")
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, other.rollback).start()
    began = time.monotonic()
    open_database(StoreUrl("sqlite", path=str(file))).close()
    assert time.monotonic() - began > 0.2
    other.close()


def test_a_file_that_may_not_be_written(database: Database) -> None:
    pragma(database, "query_only=ON")
    with pytest.raises(StoreUnavailable, match="readonly") as caught:
        database.run_sync(keep)
    assert "writable" in caught.value.remedy


def test_a_full_disk_loses_the_transaction_and_nothing_else(database: Database) -> None:
    database.run_sync(keep)
    pragma(database, "max_page_count=4")
    with pytest.raises(StoreUnavailable, match="full") as caught:
        database.run_sync(lambda tx: (keep(tx), keep(tx, "x" * 100_000)))
    assert "free disk space" in caught.value.remedy
    assert count(database) == 1
    pragma(database, "max_page_count=1000000")
    database.run_sync(lambda tx: keep(tx, "x" * 100_000))
    assert count(database) == 2


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_commit_that_fails_is_rolled_back(database: Database, file: Path) -> None:
    size = os.path.getsize(f"{file}-wal")
    with no_file_grows_beyond(size + 100), pytest.raises(StoreUnavailable, match=r"I/O|full"):
        database.run_sync(lambda tx: keep(tx, "x" * 100_000))
    assert database.run_sync(keep) == 1
    assert count(database) == 1


def test_a_damaged_file(file: Path) -> None:
    url = StoreUrl("sqlite", path=str(file))
    database = open_database(url)
    database.run_sync(lambda tx: tx.execute("CREATE TABLE kept (text TEXT)"))
    database.run_sync(lambda tx: [keep(tx, f"{n}" * 1000) for n in range(50)])
    database.close()
    data = bytearray(file.read_bytes())
    data[4096 : len(data) // 2] = b"\xff" * (len(data) // 2 - 4096)
    file.write_bytes(data)
    database = open_database(url)
    with pytest.raises(StoreCorrupt, match="malformed") as caught:
        database.run_sync(lambda tx: tx.all("SELECT * FROM kept"))
    assert "backup" in caught.value.remedy
    database.close()


def test_work_that_raises_leaves_nothing_behind(store_url: str) -> None:
    database = open_database(StoreUrl.parse(store_url))
    database.run_sync(lambda tx: tx.execute("CREATE TABLE kept (text TEXT)"))

    def half(tx: Tx) -> None:
        keep(tx)
        raise KeyError("in the middle")

    with pytest.raises(KeyError, match="in the middle"):
        database.run_sync(half)
    assert count(database) == 0
    database.close()


def test_what_no_database_takes_is_the_callers_to_mend(store_url: str) -> None:
    database = open_database(StoreUrl.parse(store_url))
    database.run_sync(lambda tx: tx.execute("CREATE TABLE kept (text TEXT)"))
    with pytest.raises(UsageError, match="refuses a value") as caught:
        database.run_sync(lambda tx: keep(tx, "half a pair: \ud83d"))
    assert "surrogate" in caught.value.remedy
    assert database.run_sync(keep) == 1
    database.close()


def test_two_rows_of_one_key(store_url: str) -> None:
    database = open_database(StoreUrl.parse(store_url))
    database.run_sync(lambda tx: tx.execute("CREATE TABLE kept (text TEXT PRIMARY KEY)"))
    database.run_sync(keep)
    with pytest.raises(StoreCorrupt, match=r"(?i)unique"):
        database.run_sync(keep)
    assert count(database) == 1
    database.close()


@pytest.mark.parametrize(("durability", "synchronous"), [("power", 2), ("process", 1)])
def test_durability_is_what_sqlite_is_told(file: Path, durability: str, synchronous: int) -> None:
    database = open_database(StoreUrl.parse(f"sqlite:///{file}?durability={durability}"))
    assert database.run_sync(lambda tx: tx.one("PRAGMA synchronous")) == (synchronous,)
    assert database.run_sync(lambda tx: tx.one("PRAGMA journal_mode")) == ("wal",)
    database.close()
