"""One transaction a superstep: pieces, writes, checkpoint and the proof of the lease are committed together or not."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Iterator

import psycopg
import pytest

from tests.checkpointers.parts import START, alive
from tests.checkpointers.postgres.parts import number, rows
from tests.checkpointers.sqlite.parts import Line, at, values_of
from tests.checkpointers.sqlite.test_pieces import text
from tests.checkpointers.stopping import every_table
from vertebra import open_checkpointer
from vertebra.checkpointers import Store
from vertebra.checkpointers.fencing import writing_under
from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.postgres import PostgresCheckpointer
from vertebra.errors import LeaseLost, StoreUnavailable, UsageError

WRITES = "SELECT count(*) FROM checkpoint_writes"
LOG = [text(n) for n in range(40)]


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    with open_checkpointer(postgres_url) as store:
        yield store


@pytest.fixture
def saver(store: Store) -> PostgresCheckpointer:
    inner = store.saver.inner
    assert isinstance(inner, PostgresCheckpointer)
    return inner


def begun(store: Store, thread: str = "t") -> Lease:
    return asyncio.run(store.runs.begin(thread, dataclasses.replace(START, run_id=f"of {thread}"), alive(), 0.0))[1]


def taken(store: Store, thread: str = "t") -> Lease:
    return asyncio.run(store.runs.take(thread, alive(), 60.0, by_hand=True))[1]


def held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held stays held until somebody asks for it."""
    monkeypatch.setattr("vertebra.checkpointers.postgres.held.HELD_S", 3600.0)


def test_a_superstep_is_one_transaction_that_has_locked_the_lease(
    postgres_url: str, store: Store, saver: PostgresCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_back(monkeypatch)
    lease = begun(store)
    line = Line(saver)
    with writing_under(lease):
        line.put({"log": LOG[:1]})
        saver.put_writes(line.config, [("log", LOG[1:])], "task")
        assert number(postgres_url, WRITES) == 0
        line.put({"log": LOG})
    last = "(SELECT xmin FROM checkpoints ORDER BY checkpoint_id DESC LIMIT 1)"
    of = {
        "writes": "SELECT DISTINCT xmin::text FROM checkpoint_writes",
        "pieces": "SELECT xmin::text FROM vertebra_state_pieces ORDER BY number DESC LIMIT 1",
        "blob": f"SELECT xmin::text FROM checkpoint_blobs WHERE xmin = {last}",
        "lease": "SELECT xmax::text FROM vertebra_threads",  # who locked the row last
        "generation": "SELECT xmax::text FROM vertebra_state_threads",
    }
    assert {name: rows(postgres_url, sql) for name, sql in of.items()} == dict.fromkeys(
        of, rows(postgres_url, f"SELECT {last}::text")
    )


def test_an_error_within_leaves_nothing_of_it(postgres_url: str, saver: PostgresCheckpointer) -> None:
    line = Line(saver)
    line.put({"log": LOG[:1]})
    before = every_table(postgres_url)
    with pytest.raises(TypeError, match="serializable"):  # by LangGraph's saver, when the pieces have been sent
        line.put({"log": LOG}, note=object())
    with pytest.raises(UsageError, match="json"):  # by the server
        line.put({"log": LOG}, note=float("nan"))
    reserved = {"vertebra_state_threads": None}
    assert {**every_table(postgres_url), **reserved} == {**before, **reserved}
    line.config = saver.get_tuple(at()).config  # type: ignore[union-attr]
    line.put({"log": LOG})
    assert line.values() == {"log": LOG}


def test_what_was_held_when_the_thread_was_taken_is_not_written(
    postgres_url: str, store: Store, saver: PostgresCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_back(monkeypatch)
    lost, kept = begun(store), begun(store, "other")
    line, other = Line(saver), Line(saver, "other")
    with writing_under(lost):
        line.put({"v": 1})
        saver.put_writes(line.config, [("v", 2)], "task")
    with writing_under(kept):
        other.put({"v": 1})
        saver.put_writes(other.config, [("v", 2)], "task")
    mine = taken(store)
    with writing_under(mine):
        line.put({"v": 3})  # takes along what is held under its own lease only
    saver.flush()
    assert rows(postgres_url, "SELECT thread_id FROM checkpoint_writes") == [("other",)]
    with writing_under(lost):
        with pytest.raises(LeaseLost):
            line.put({"v": 4})
        with pytest.raises(LeaseLost):
            saver.put_writes(line.config, [("v", 5)], "task")
        with pytest.raises(LeaseLost):
            saver.put_writes(line.config, [("__interrupt__", 5)], "task")
    assert values_of(saver, at()) == {"v": 3}


def test_what_the_server_did_not_take_is_kept_for_later(
    postgres_url: str, saver: PostgresCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_back(monkeypatch)
    line = Line(saver)
    line.put({"v": 1})
    saver.put_writes(line.config, [("v", 2)], "task")
    with psycopg.connect(postgres_url) as other:
        other.execute("LOCK TABLE checkpoints IN ACCESS EXCLUSIVE MODE")
        failed: list[BaseException] = []

        def put() -> None:
            try:
                line.put({"v": 2})
            except StoreUnavailable as error:
                failed.append(error)

        thread = threading.Thread(target=put)
        thread.start()
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        while not (found := rows(postgres_url, waiting)):
            pass
        rows(postgres_url, "SELECT pg_terminate_backend(%s)", found[0][0])
        thread.join()
    assert len(failed) == 1
    saver.flush()
    assert number(postgres_url, WRITES) == 1


@pytest.mark.parametrize("which", ["closed", "left alone"])
def test_held_writes_become_durable_without_a_checkpoint(postgres_url: str, which: str) -> None:
    saver = PostgresCheckpointer(postgres_url)
    line = Line(saver)
    line.put({"v": 1})
    saver.put_writes(line.config, [("v", 2)], "task")
    if which == "closed":
        saver.close()
    while number(postgres_url, WRITES) != 1:
        assert which == "left alone"
    saver.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        saver.put_writes(line.config, [("v", 2)], "task")
    with pytest.raises(StoreUnavailable, match="closed"):
        saver.get_tuple(at())


@pytest.mark.parametrize("count", [1, 3, 30])  # rows that are sent one by one, and as columns
def test_any_number_of_writes_and_channels_is_read_as_it_was_written(
    saver: PostgresCheckpointer, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    held_back(monkeypatch)
    line = Line(saver)
    values = {f"v{n}": {"ü": n, "none": None, "bytes": b"\0", "text": text(n)} for n in range(count)}
    line.put(values)
    for task in ("first", "second"):
        for again in (False, True):  # executed twice, the first writes count
            saver.put_writes(line.config, [(name, [task, again, name]) for name in values], task, f"~{task}")
    before = line.config
    line.put(values)
    assert line.values() == values
    found = saver.get_tuple(before)
    assert found is not None
    assert sorted(found.pending_writes or ()) == sorted(
        (task, name, [task, False, name]) for task in ("first", "second") for name in values
    )


def test_the_last_interrupt_of_a_task_counts_however_many_come_at_once(saver: PostgresCheckpointer) -> None:
    line = Line(saver)
    line.put({"v": 1})
    saver.put_writes(line.config, [("__interrupt__", 1), ("__interrupt__", 2)], "task")
    saver.put_writes(line.config, [("__interrupt__", 2), ("__interrupt__", 3)], "task")
    found = saver.get_tuple(line.config)
    assert found is not None
    assert found.pending_writes == [("task", "__interrupt__", 3)]


def test_held_writes_are_flushed_in_time_after_the_flusher_has_slept(
    postgres_url: str, saver: PostgresCheckpointer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vertebra.checkpointers.postgres.held.IDLE_ROUNDS", 0)
    line = Line(saver)
    line.put({"v": 1})
    for n in range(3):
        saver.put_writes(line.config, [("v", n)], f"task {n}")
        while number(postgres_url, WRITES) != n + 1:  # and so on: asleep again
            pass


def test_numbers_whose_reservation_a_crashed_server_has_lost_are_given_to_no_two_pieces(postgres_url: str) -> None:
    """It is not waited for when they are reserved, and a process may outlive the server."""
    with PostgresCheckpointer(postgres_url) as one, PostgresCheckpointer(postgres_url) as two:
        line = Line(one)
        line.put({"log": LOG})
        last = number(postgres_url, "SELECT max(number) FROM vertebra_state_pieces")
        rows(postgres_url, "UPDATE vertebra_state_threads SET next_piece = %s RETURNING 1", last + 1)
        line.put({"log": [*LOG, text(1000), text(1001)]})
        other = Line(two)
        other.config, other.versions = line.config, dict(line.versions)
        other.put({"log": [*LOG, text(2000), text(2001)]})
        assert values_of(two, line.config) == {"log": [*LOG, text(1000), text(1001)]}
        assert values_of(one, other.config) == {"log": [*LOG, text(2000), text(2001)]}
