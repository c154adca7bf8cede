"""Pruning, deleting and copying free the pieces that nothing refers to, and never one that something does."""

from __future__ import annotations

import threading
from typing import Any

from tests.checkpointers.postgres.parts import number, rows
from tests.checkpointers.sqlite.parts import Line, at, values_of
from tests.checkpointers.sqlite.test_pieces import text
from vertebra.checkpointers.postgres import PostgresCheckpointer

COUNT = "SELECT count(*) FROM vertebra_state_pieces p JOIN vertebra_state_threads t ON t.number = p.thread_number"


def grown(saver: PostgresCheckpointer, thread: str, steps: int, window: int = 10_000) -> Line:
    line = Line(saver, thread)
    for n in range(steps):
        line.put({"log": [text(k, 100) for k in range(max(0, n + 1 - window), n + 1)]}, run_id=f"run {n}")
    return line


def test_pruned_and_deleted_what_nothing_refers_to_is_gone(postgres_url: str) -> None:
    with PostgresCheckpointer(postgres_url) as saver:
        line, other = grown(saver, "t", 70, window=10), grown(saver, "other", 40)
        expected = line.values(), other.values()
        saver.prune(["t", "none such"], keep=3)
        assert number(postgres_url, f"{COUNT} WHERE t.thread = 't'") == 12  # the last ten items, and two before them
        assert (line.values(), other.values()) == expected
        line.put({"log": [*expected[0]["log"], "more"]})  # by a process that remembers what is gone
        assert line.values()["log"] == [*expected[0]["log"], "more"]
        saver.delete_for_runs(["run 69", "run 39"])
        assert len(list(saver.list(at("other")))) == 39
        assert values_of(saver, at("other"))["log"] == expected[1]["log"][:-1]
        saver.prune(["t"], strategy="delete")
        saver.delete_thread("other")
        assert number(postgres_url, COUNT) == 0
        assert rows(postgres_url, "SELECT thread FROM vertebra_state_threads") == []


def test_a_copy_outlives_its_original_and_each_goes_on_alone(postgres_url: str) -> None:
    with PostgresCheckpointer(postgres_url) as saver:
        line = grown(saver, "t", 70)
        states = [(item.config, item.checkpoint["channel_values"]) for item in saver.list(at("t"))]
        saver.copy_thread("t", "copy")
        saver.copy_thread("none such", "nothing")
        line.put({"log": [*line.values()["log"], "of the original"]})
        copied = saver.get_tuple(at("copy"))
        assert copied is not None
        follower = Line(saver, "copy")
        follower.config, follower.versions = copied.config, dict(copied.checkpoint["channel_versions"])
        follower.put({"log": [*copied.checkpoint["channel_values"]["log"], "of the copy"]})
        saver.delete_thread("t")
        for config, values in states:
            place: Any = {"configurable": {**config["configurable"], "thread_id": "copy"}}
            assert values_of(saver, place) == values
        assert follower.values()["log"] == [*states[0][1]["log"], "of the copy"]


def test_pruned_by_one_process_while_another_writes_and_a_third_reads(postgres_url: str) -> None:
    """Each has a saver, a pool and a memory of its own."""
    done = threading.Event()
    faults: list[BaseException] = []

    def repeat(work: Any) -> None:
        with PostgresCheckpointer(postgres_url) as saver:
            try:
                while not done.is_set():
                    work(saver)
            except BaseException as error:
                faults.append(error)

    def read(saver: PostgresCheckpointer) -> None:
        for item in [saver.get_tuple(at()), *saver.list(at(), limit=5)]:
            if item is not None:
                log = item.checkpoint["channel_values"]["log"]
                assert log == [text(k, 100) for k in range(int(log[0][:8]), int(log[0][:8]) + len(log))]

    others = [
        threading.Thread(target=repeat, args=[lambda saver: saver.prune(["t"], keep=2)]),
        threading.Thread(target=repeat, args=[read]),
    ]
    with PostgresCheckpointer(postgres_url) as saver:
        for thread in others:
            thread.start()
        try:
            line = grown(saver, "t", 60, window=40)
        finally:
            done.set()
            for thread in others:
                thread.join()
        assert faults == []
        assert line.values()["log"] == [text(k, 100) for k in range(20, 60)]
