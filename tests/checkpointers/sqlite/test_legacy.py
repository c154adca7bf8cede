"""Threads of LangGraph's own SqliteSaver in the same file: read as they are, continued, and then ours."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite import SqliteSaver

from tests.checkpointers.sqlite.parts import Line, at, rows, url_of, values_of
from vertebra.checkpointers.sqlite import SqliteCheckpointer

THEIRS = "SELECT (SELECT count(*) FROM checkpoints), (SELECT count(*) FROM writes)"


def fill(saver: BaseCheckpointSaver[Any]) -> dict[str, Line]:
    lines = {}
    for thread, namespace in (("old", ""), ("old", "inner:1"), ("other", "")):
        line = lines[thread + namespace] = Line(saver, thread, namespace)
        for n in range(3):
            line.put({"log": [f"{k} {'x' * 100}" for k in range(n)], "n": n}, run_id=f"run {n}")
            saver.put_writes(line.config, [("log", n), ("n", None)], f"task {n}", "path b")
            saver.put_writes(line.config, [("__interrupt__", "?")], f"task {n}", "path b")
            saver.put_writes(line.config, [("log", b"a")], "another", "path a")
    return lines


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "threads.db"
    with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        fill(SqliteSaver(connection))
    return path


def everything(saver: BaseCheckpointSaver[Any], config: Any = None, **options: Any) -> list[Any]:
    return [
        (t.config, t.parent_config, t.checkpoint, dict(t.metadata), t.pending_writes)
        for t in saver.list(config, **options)
    ]


def theirs(path: Path, config: Any = None, **options: Any) -> list[Any]:
    with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        return everything(SqliteSaver(connection), config, **options)


def test_they_are_read_as_their_own_saver_reads_them_and_the_file_stays_as_it_is(path: Path) -> None:
    questions: list[tuple[Any, dict[str, Any]]] = [
        (None, {}),
        (at("old"), {}),
        ({"configurable": {"thread_id": "old"}}, {"limit": 2}),
        (at("old"), {"filter": {"step": 1}}),
        (None, {"limit": 0}),
        (None, {"limit": 1, "filter": {"run_id": "run 1"}}),
    ]
    with SqliteCheckpointer(url_of(path)) as saver:
        for config, options in questions:
            assert everything(saver, config, **options) == theirs(path, config, **options)
        newest = theirs(path, at("old"))[0]
        assert everything(saver, None, before=newest[0]) == theirs(path, None, before=newest[0])
        found = saver.get_tuple(at("old"))
        assert found is not None
        assert (found.config, found.checkpoint) == (newest[0], newest[2])
        assert saver.get_tuple(at("old", checkpoint="none such")) is None
    assert rows(path, THEIRS) == [(9, 36)]


def test_the_first_write_moves_the_thread_and_no_other(path: Path) -> None:
    before = theirs(path)
    with SqliteCheckpointer(url_of(path)) as saver:
        latest = saver.get_tuple(at("old"))
        assert latest is not None
        line = Line(saver, "old")
        line.config, line.versions = latest.config, latest.checkpoint["channel_versions"]
        line.put({"log": ["new"], "n": 3})
        assert line.versions["n"] > latest.checkpoint["channel_versions"]["n"]
        assert rows(path, THEIRS) == [(3, 12)]
        after = everything(saver)
        assert [item for item in after if item[0] != line.config] == before
        assert values_of(saver, at("old")) == {"log": ["new"], "n": 3}
    with SqliteCheckpointer(url_of(path)) as saver:
        assert everything(saver) == after


def test_deleting_pruning_copying_and_history_work_on_them(path: Path) -> None:
    with SqliteCheckpointer(url_of(path)) as saver:
        latest = theirs(path, at("old"))[0]
        history = saver.get_delta_channel_history(config=at("old"), channels=["log", "gone"])
        assert history["log"]["seed"] == ["0 " + "x" * 100]
        assert [write[1] for write in history["log"]["writes"]] == ["log", "log"]
        assert "seed" not in history["gone"]
        saver.copy_thread("other", "copy")
        assert len(everything(saver, at("copy"))) == len(everything(saver, at("other"))) == 3
        saver.prune(["old", "none such"])
        assert everything(saver, at("old"))[0][2] == latest[2]
        assert len(everything(saver, at("old"))) == 1
        saver.delete_for_runs(["run 2"])
        assert len(everything(saver, {"configurable": {"thread_id": "old"}})) == 0
        assert len(everything(saver, at("other"))) == 2
        saver.delete_thread("other")
        assert everything(saver, at("other")) == []
    assert rows(path, THEIRS) == [(0, 0)]


def test_a_thread_that_is_only_there_is_deleted(path: Path) -> None:
    with SqliteCheckpointer(url_of(path)) as saver:
        saver.delete_thread("old")
    assert rows(path, THEIRS) == [(3, 12)]


def test_what_plain_langgraph_adds_afterwards_is_the_newest(path: Path) -> None:
    with SqliteCheckpointer(url_of(path)) as saver:
        latest = saver.get_tuple(at("old"))
        assert latest is not None
        line = Line(saver, "old")
        line.config, line.versions = latest.config, latest.checkpoint["channel_versions"]
        line.put({"n": 3})
    with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
        Line(SqliteSaver(connection), "old").put({"n": 4})
    with SqliteCheckpointer(url_of(path)) as saver:
        assert values_of(saver, at("old")) == {"n": 4}
        assert len(everything(saver, at("old"))) == 5


def test_their_tables_from_before_the_column_of_paths(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ALTER TABLE writes DROP COLUMN task_path")
    with SqliteCheckpointer(url_of(path)) as saver:
        found = saver.get_tuple(at("other"))
        assert found is not None
        assert [write[0] for write in found.pending_writes or []] == ["another", "task 2", "task 2", "task 2"]
