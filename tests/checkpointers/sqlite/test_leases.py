"""Each write proves its lease in the commit that writes it, and fails alone where it is lost."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.checkpointers.parts import START, alive
from tests.checkpointers.sqlite.parts import Line, at, rows, url_of, values_of
from tests.checkpointers.stopping import every_table
from vertebra import open_checkpointer
from vertebra.checkpointers import Store
from vertebra.checkpointers.fencing import writing_under
from vertebra.checkpointers.lease import Lease
from vertebra.checkpointers.sqlite import SqliteCheckpointer
from vertebra.errors import LeaseLost, UsageError

COUNT = "SELECT count(*) FROM vertebra_state_writes"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "threads.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with open_checkpointer(url_of(path)) as store:
        yield store


@pytest.fixture
def saver(store: Store) -> SqliteCheckpointer:
    inner = store.saver.inner
    assert isinstance(inner, SqliteCheckpointer)
    return inner


def begun(store: Store, thread: str = "t") -> Lease:
    return asyncio.run(store.runs.begin(thread, dataclasses.replace(START, run_id=f"of {thread}"), alive(), 0.0))[1]


def taken(store: Store, thread: str = "t") -> Lease:
    return asyncio.run(store.runs.take(thread, alive(), 60.0, by_hand=True))[1]


def held(saver: SqliteCheckpointer) -> threading.RLock:
    """Nothing is committed while this is held, as when another process writes for long."""
    return saver._file.writer._lock  # type: ignore[return-value]


def test_what_was_held_when_the_thread_was_taken_is_not_written(
    path: Path, store: Store, saver: SqliteCheckpointer
) -> None:
    lost, kept = begun(store), begun(store, "other")
    line, other = Line(saver), Line(saver, "other")
    with writing_under(lost):
        line.put({"v": 1})
    with writing_under(kept):
        other.put({"v": 1})
    with held(saver):
        with writing_under(lost):
            saver.put_writes(line.config, [("v", 2)], "task")
        with writing_under(kept):
            saver.put_writes(other.config, [("v", 2)], "task")
        taken(store)
        with writing_under(kept):
            other.put({"v": 2})  # takes along what is held, and is not held up by it
    assert rows(path, f"{COUNT} WHERE checkpoint = '{line.config['configurable']['checkpoint_id']}'") == [(0,)]
    assert rows(path, COUNT) == [(1,)]
    assert values_of(saver, at("other")) == {"v": 2}
    with writing_under(lost), pytest.raises(LeaseLost):
        line.put({"v": 3})


def test_the_next_holder_in_the_same_process_does_not_pay_for_the_last_one(
    path: Path, store: Store, saver: SqliteCheckpointer
) -> None:
    """Their writes may be in one commit, and the checkpoint of one may refer to pieces of the other's writes."""
    first, log = begun(store), ["x" * 100]
    line = Line(saver)
    with writing_under(first):
        config = line.put({"v": 1})
    with held(saver):
        with writing_under(first):
            saver.put_writes(config, [("log", log)], "late")
        with writing_under(taken(store)):
            saver.put_writes(config, [("log", log)], "task")
            line.put({"v": 1, "log": log})
    found = saver.get_tuple(config)
    assert found is not None
    assert found.pending_writes == [("task", "log", log)]
    assert line.values() == {"v": 1, "log": log}


async def test_a_lost_lease_changes_no_row_of_the_file(path: Path, store: Store, saver: SqliteCheckpointer) -> None:
    """Not even numbers are reserved for pieces, and nothing is deleted."""
    _, lost = await store.runs.begin("t", START, alive(), 0.0)
    line = Line(saver)
    line.put({"v": 1})
    config, checkpoint = line.config, saver.get_tuple(at())
    assert checkpoint is not None
    await store.runs.take("t", alive(), 60.0, by_hand=True)
    before = every_table(url_of(path))
    with writing_under(lost):
        for _ in range(2):  # the second without what was remembered of the thread
            with pytest.raises(LeaseLost):
                saver.put_writes(config, [("v", 2)], "task")
            with pytest.raises(LeaseLost):
                await saver.aput_writes(config, [("__error__", 2)], "task")
            with pytest.raises(LeaseLost):
                saver.put(config, {**checkpoint.checkpoint, "id": "f"}, {"step": 9}, {})
            saver._file.writer.forget_thread("t")
        for change in (saver.delete_thread, lambda t: saver.prune([t]), lambda t: saver.copy_thread(t, "copy")):
            with pytest.raises(LeaseLost):
                change("t")
    assert every_table(url_of(path)) == before


def test_a_checkpoint_that_is_put_again_under_its_id_replaces_it(path: Path, saver: SqliteCheckpointer) -> None:
    line, log = Line(saver), ["x" * 100, "y" * 100]
    first = line.put({"log": log[:1]})
    line.put({"log": log})
    found = saver.get_tuple(line.config)
    assert found is not None
    again: Any = {**found.checkpoint, "channel_values": {"log": log, "new": "z" * 100}}
    again["channel_versions"] = {**again["channel_versions"], "new": 1}
    for mine in (saver, SqliteCheckpointer(url_of(path))):
        mine.put(first, again, {**found.metadata, "step": 7}, again["channel_versions"])
        assert values_of(mine, at()) == {"log": log, "new": "z" * 100}
        assert [item.metadata["step"] for item in mine.list(at())] == [7, 0]
    mine.close()
    line.versions = again["channel_versions"]
    line.put({"log": [*log, "more" * 50], "new": "z" * 100}, "log")
    assert line.values() == {"log": [*log, "more" * 50], "new": "z" * 100}


def test_text_that_no_database_takes_is_refused_when_it_is_handed_in(path: Path, saver: SqliteCheckpointer) -> None:
    config = Line(saver).put({"v": 1})
    with pytest.raises(UsageError, match="refuses a value"):
        saver.put_writes(config, [("v", 1)], "half a pair: \ud800")
    time.sleep(0.01)
    assert rows(path, COUNT) == [(0,)]


def test_a_saver_beside_no_run_records_asks_nobody(path: Path) -> None:
    with SqliteCheckpointer(url_of(path)) as alone, writing_under(Lease("t", alive(), 1, 60.0, "r")):
        assert Line(alone).put({"v": 1})
