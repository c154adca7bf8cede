"""What is durable when: one commit a superstep, held writes within 2 ms, urgent ones at once; and who may not write."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import WRITES_IDX_MAP

from tests.checkpointers.sqlite.parts import Line, at, rows, url_of, values_of
from vertebra import open_checkpointer
from vertebra.checkpointers.sqlite import SqliteCheckpointer
from vertebra.checkpointers.sqlite.flusher import HELD_S
from vertebra.errors import LeaseLost, StoreTooNew, StoreUnavailable, UsageError

COUNT = "SELECT count(*) FROM vertebra_state_writes"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "threads.db"


def until(found: Callable[[], Any], expected: Any) -> None:
    deadline = time.monotonic() + 20
    while (last := found()) != expected:
        assert time.monotonic() < deadline, last
        time.sleep(0.005)


def test_a_write_is_durable_within_a_moment_though_nothing_follows(path: Path) -> None:
    with SqliteCheckpointer(url_of(path)) as saver:
        config = Line(saver).put({"v": 1})
        for number in range(3):
            saver.put_writes(config, [("v", number)], f"task {number}")
            until(lambda: rows(path, COUNT), [(number + 1,)])
            time.sleep(2 * HELD_S)


@pytest.mark.parametrize("channel", WRITES_IDX_MAP)
def test_errors_interrupts_and_their_answers_are_durable_at_once(path: Path, channel: str) -> None:
    with SqliteCheckpointer(url_of(path)) as saver:
        config = Line(saver).put({"v": 1})
        saver.put_writes(config, [("v", "held")], "task 1")
        saver.put_writes(config, [(channel, "urgent")], "task 2")
        assert rows(path, COUNT) == [(2,)]
        asyncio.run(saver.aput_writes(config, [(channel, "replaced")], "task 2"))
        found = saver.get_tuple(config)
        assert found is not None
        assert found.pending_writes == [("task 1", "v", "held"), ("task 2", channel, "replaced")]


def test_a_checkpoint_and_the_writes_before_it_are_one_commit(path: Path) -> None:
    """Of a process that is killed either both are there or none; here at every distance of 0.1 ms."""
    SqliteCheckpointer(url_of(path)).close()
    seen = set()
    for tenth in range(24):
        child = os.fork()
        if child == 0:
            saver = SqliteCheckpointer(url_of(path))
            line = Line(saver, thread=str(tenth))
            line.put({"v": 0})
            threading.Timer(tenth / 10_000, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
            while True:
                saver.put_writes(line.config, [("v", line.step)], f"task {line.step}")
                line.put({"v": line.step})
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        with SqliteCheckpointer(url_of(path)) as saver:
            found = list(saver.list(at(str(tenth))))
            seen.add(len(found) > 1)
            for newer, older in itertools.pairwise(found):
                assert newer.parent_config == older.config
                assert len(older.pending_writes or []) == 1
    assert True in seen


def test_writers_of_many_threads_share_commits_and_lose_nothing(path: Path) -> None:
    with SqliteCheckpointer(url_of(path)) as saver:

        async def drive(name: str) -> None:
            line = Line(saver, name)
            for n in range(10):
                config = line.config
                line.saver = Recorder()
                checkpoint, metadata, new = line.put({"v": n, "log": list(range(n))})  # type: ignore[misc]
                line.config = await saver.aput(config, checkpoint, metadata, new)
                await saver.aput_writes(line.config, [("v", n)], "task")

        class Recorder:
            def get_next_version(self, current: Any, channel: None) -> int:
                return (current or 0) + 1

            def put(self, config: Any, *args: Any) -> Any:
                return args

        async def all_of_them() -> None:
            await asyncio.gather(*(drive(str(n)) for n in range(50)))

        asyncio.run(all_of_them())
        for n in range(50):
            assert len(list(saver.list(at(str(n))))) == 10
            assert values_of(saver, at(str(n))) == {"v": 9, "log": list(range(9))}
    assert rows(path, COUNT) == [(500,)]


def test_whoever_lost_the_thread_writes_nothing_not_even_what_was_held(path: Path) -> None:
    def fence(thread: str) -> None:
        if thread in lost:
            raise LeaseLost("taken over", thread=thread)

    lost: set[str] = set()
    with SqliteCheckpointer(url_of(path)) as saver:
        saver.fence(fence)
        line, other = Line(saver), Line(saver, "other")
        line.put({"v": 1})
        other.put({"v": 1})
        config = line.config
        lost.add("t")
        saver.put_writes(config, [("v", 2)], "task")
        other.put({"v": 2})  # takes along what is held, and is not held up by it
        with pytest.raises(LeaseLost):
            line.put({"v": 2})
        with pytest.raises(LeaseLost):
            saver.put_writes(config, [("__error__", "x")], "task")
        lost.clear()
        saver.flush()
        assert rows(path, COUNT) == [(0,)]
        line.config = config
        line.put({"v": 3, "log": ["x" * 500]})
        assert line.values() == {"v": 3, "log": ["x" * 500]}
        saver.fence(None)


def test_another_process_prunes_and_deletes_under_a_writer(path: Path) -> None:
    with SqliteCheckpointer(url_of(path)) as one, SqliteCheckpointer(url_of(path)) as two:
        line, log = Line(one), [f"{n:0500}" for n in range(80)]
        first = line.put({"log": log, "n": 0})
        line.put({"log": ["short"], "n": 1}, "log")
        two.prune(["t"])
        line.config = first  # whose pieces are gone
        line.put({"log": log, "n": 2})
        assert values_of(two, at()) == {"log": log, "n": 2}
        two.delete_thread("t")
        Line(two).put({"v": "another thread of the same name"})
        line.put({"log": log, "n": 3})
        assert values_of(two, at()) == {"log": log, "n": 3}
        two.delete_thread("t")
        one.put_writes(line.config, [("__interrupt__", "?")], "task")
        one.put_writes(line.config, [("v", "held")], "task")
        two.delete_thread("t")
        one.flush()
        assert rows(path, COUNT) == [(0,)]


def test_a_thread_that_is_pruned_all_the_time_is_a_typed_error(path: Path) -> None:
    with SqliteCheckpointer(url_of(path)) as saver:
        writer = saver._file.writer
        real = writer.transact

        def pruned_before(thread: str) -> None:
            real(lambda c: c.execute("UPDATE vertebra_state_threads SET generation = generation + 1"))

        saver.fence(pruned_before)
        with pytest.raises(StoreUnavailable, match="again and again"):
            Line(saver).put({"v": 1})


def test_a_value_that_cannot_be_stored_leaves_no_trace(path: Path) -> None:
    with SqliteCheckpointer(url_of(path)) as saver:
        line = Line(saver)
        config = line.put({"log": ["a" * 100]})
        with pytest.raises(TypeError):
            line.put({"log": ["a" * 100, "b" * 100], "w": object()})
        with pytest.raises(TypeError):
            saver.put_writes(config, [("log", ["c" * 100]), ("w", object())], "task")
        line.config = config
        line.put({"log": ["a" * 100, "b" * 100, "c" * 100]})
        assert line.values() == {"log": ["a" * 100, "b" * 100, "c" * 100]}
        with pytest.raises(UsageError, match="refuses a value"):
            saver.put_writes(line.config, [("__error__", 1)], "half a pair: \ud800")


def test_when_the_disk_is_full_the_held_write_waits_and_its_checkpoint_is_refused(path: Path) -> None:
    with SqliteCheckpointer(url_of(path)) as saver:
        line = Line(saver)
        config = line.put({"v": 1})
        connection = saver._file.writer._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        saver.put_writes(config, [("v", "x" * 50_000)], "task")
        saver.flush()
        with pytest.raises(StoreUnavailable, match="full"):
            line.put({"v": "y" * 50_000})
        connection.execute("PRAGMA max_page_count = 1000000")
        until(lambda: rows(path, COUNT), [(1,)])
        line.config = config
        line.put({"v": "y" * 50_000})
        assert line.values() == {"v": "y" * 50_000}


def test_numbers_for_pieces_never_run_out_and_never_come_twice(path: Path) -> None:
    with SqliteCheckpointer(url_of(path)) as one, SqliteCheckpointer(url_of(path)) as two:
        for turn in range(3):
            for saver in (one, two):
                Line(saver).put({"log": [f"{turn} {id(saver)} {n:050}" for n in range(3000)]})
        assert len(values_of(one, at())["log"]) == 3000
    assert rows(path, "SELECT count(*) > 18000 FROM vertebra_state_pieces") == [(1,)]


def test_closed_it_says_so_and_may_be_closed_again(path: Path) -> None:
    saver = SqliteCheckpointer(url_of(path))
    config = Line(saver).put({"v": 1})
    saver.put_writes(config, [("v", 1)], "task")
    saver.close()
    saver.close()
    assert rows(path, COUNT) == [(1,)]
    for use in (
        lambda: saver.get_tuple(config),
        lambda: saver.put_writes(config, [("v", 1)], "task"),
        lambda: saver.delete_thread("t"),
        lambda: asyncio.run(saver.aget_tuple(config)),
    ):
        with pytest.raises(StoreUnavailable, match="closed"):
            use()


def test_a_file_of_a_later_release_is_refused(path: Path) -> None:
    SqliteCheckpointer(url_of(path)).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO vertebra_state_version VALUES (99)")
    with pytest.raises(StoreTooNew, match="99"):
        SqliteCheckpointer(url_of(path))
    with open_checkpointer(url_of(path)) as store, pytest.raises(StoreTooNew):
        _ = store.saver


def test_a_url_of_another_database_is_refused() -> None:
    with pytest.raises(UsageError, match="no SQLite file"):
        SqliteCheckpointer("postgresql://localhost/x")


def test_what_is_remembered_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteCheckpointer(url_of(path)) as saver:
        for n in range(70):
            inner = Line(saver, namespace=f"inner:{n}")
            inner.put({"log": ["x" * 100]})
            inner.put({"log": ["x" * 100, "y"]})
        memo = saver._file.writer.known("t")
        assert memo is not None
        assert len(memo.latest) == 64
        assert len(memo.sequences) == 64
        first = Line(saver, namespace="inner:0")
        first.config, first.versions = saver.get_tuple(at(namespace="inner:0")).config, {"log": 2}  # type: ignore[union-attr]
        first.put({"log": ["x" * 100, "y", "z"]})
        assert first.values() == {"log": ["x" * 100, "y", "z"]}
        for n in range(520):
            saver.put_writes(at(str(n), checkpoint="c"), [("v", 1)], "task")
        assert saver._file.writer.known("t") is None
