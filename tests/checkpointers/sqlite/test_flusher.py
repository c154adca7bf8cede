"""Who commits for whom: an event loop waits with no thread of its own, and what is held waits for no event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.checkpointers.sqlite.parts import Line, at, rows, url_of, values_of
from vertebra.checkpointers.sqlite import SqliteCheckpointer
from vertebra.checkpointers.sqlite.flusher import HELD_S, LIGHTLY, Flusher
from vertebra.errors import StoreUnavailable

COUNT = "SELECT count(*) FROM vertebra_state_writes"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "threads.db"


class Kept:
    """What waits to be flushed: since when the first that is held does, and when each flush was."""

    def __init__(self) -> None:
        self.held: float | None = None
        self.flushed = threading.Semaphore(0)
        self.flusher = Flusher(self.flush, lambda: self.held)

    def hold(self) -> None:
        self.held = time.monotonic()
        self.flusher.soon()

    def flush(self) -> None:
        self.held = None
        self.flushed.release()


@pytest.mark.parametrize("asleep_s", [0.0, HELD_S * LIGHTLY / 2, HELD_S * LIGHTLY * 4])
def test_what_is_held_is_flushed_when_it_is_due_however_deep_the_thread_sleeps(asleep_s: float) -> None:
    kept = Kept()
    kept.flusher.now()
    assert kept.flushed.acquire(timeout=10)
    for _ in range(20):
        time.sleep(asleep_s)
        began = time.monotonic()
        kept.hold()
        assert kept.flushed.acquire(timeout=10)
        assert time.monotonic() - began >= HELD_S
    kept.flusher.stop()


def test_it_stops_with_a_last_flush_and_flushes_no_more() -> None:
    kept = Kept()
    kept.flusher.stop()  # it has never run
    assert not kept.flushed.acquire(timeout=0)
    kept = Kept()
    kept.flusher.now()
    assert kept.flushed.acquire(timeout=10)
    kept.flusher.stop()
    assert kept.flushed.acquire(timeout=0)
    kept.hold()
    assert not kept.flushed.acquire(timeout=10 * HELD_S)


def test_what_is_held_is_durable_within_a_moment_though_the_event_loop_is_busy(path: Path) -> None:
    with SqliteCheckpointer(url_of(path)) as saver:
        config = Line(saver).put({"v": 1})

        async def hold_and_work() -> None:
            await saver.aput_writes(config, [("v", 2)], "task")
            deadline = time.monotonic() + 20
            while rows(path, COUNT) != [(1,)]:  # without a turn for anybody else in this loop
                assert time.monotonic() < deadline
                time.sleep(0.001)

        asyncio.run(hold_and_work())


class Blocked:
    """A line whose puts are async, and a file that takes nothing until it is let go."""

    def __init__(self, saver: SqliteCheckpointer) -> None:
        self.saver, self.line = saver, Line(saver)
        self.line.put({"v": 0})
        self.lock: Any = saver._file.writer._lock

    def put(self, value: int) -> Any:
        """A put that is not awaited yet."""
        found = self.saver.get_tuple(at())
        assert found is not None
        checkpoint: Any = {**found.checkpoint, "id": f"z{value}", "channel_values": {"v": value}}
        checkpoint["channel_versions"] = {"v": value + 1}
        return self.saver.aput(found.config, checkpoint, {"step": value}, {"v": value + 1})


async def test_a_put_that_is_cancelled_is_durable_all_the_same(path: Path) -> None:
    with SqliteCheckpointer(url_of(path)) as saver:
        blocked = Blocked(saver)
        coroutine = blocked.put(1)
        with blocked.lock:
            task = asyncio.create_task(coroutine)
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert values_of(saver, at()) == {"v": 1}
        await blocked.put(2)
        assert values_of(saver, at()) == {"v": 2}


def test_a_loop_that_ended_in_the_midst_leaves_the_saver_to_the_next(path: Path) -> None:
    with SqliteCheckpointer(url_of(path)) as saver:
        blocked = Blocked(saver)
        coroutine = blocked.put(1)
        loop = asyncio.new_event_loop()
        with blocked.lock:
            task = loop.create_task(coroutine)
            loop.run_until_complete(asyncio.sleep(0.01))
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            loop.close()
        asyncio.run(blocked.put(2))
        assert [item.checkpoint["id"] for item in saver.list(at(), limit=2)] == ["z2", "z1"]


async def test_closed_while_a_put_waits_it_is_durable_or_says_so(path: Path) -> None:
    saver = SqliteCheckpointer(url_of(path))
    blocked = Blocked(saver)
    coroutine = blocked.put(1)
    with blocked.lock:
        task = asyncio.create_task(coroutine)
        await asyncio.sleep(0.01)
        closing = threading.Thread(target=saver.close)
        closing.start()
        await asyncio.sleep(0.01)
    try:
        await asyncio.wait_for(task, 10)
        expected = 1
    except StoreUnavailable:
        expected = 0
    await asyncio.to_thread(closing.join)
    with SqliteCheckpointer(url_of(path)) as again:
        assert values_of(again, at()) == {"v": expected}


async def test_a_put_that_is_queued_when_the_thread_has_ended_is_not_left_waiting(path: Path) -> None:
    """As between the last flush of a ``close`` and its end."""
    with SqliteCheckpointer(url_of(path)) as saver:
        blocked = Blocked(saver)
        saver._file.writer._flusher.stop()
        await asyncio.wait_for(blocked.put(1), 10)
        assert values_of(saver, at()) == {"v": 1}


def test_loops_in_several_threads_share_commits(path: Path) -> None:
    with SqliteCheckpointer(url_of(path)) as saver:

        def drive(name: str) -> None:
            async def puts() -> None:
                config: Any = at(name)
                for n in range(20):
                    checkpoint: Any = {"v": 4, "ts": "", "id": f"{n:03}", "channel_values": {"v": n},
                                       "channel_versions": {"v": n + 1}, "versions_seen": {}}  # fmt: skip
                    config["configurable"].setdefault("checkpoint_ns", "")
                    config = await saver.aput(config, checkpoint, {"step": n}, {"v": n + 1})
                    await saver.aput_writes(config, [("v", n)], "task")

            asyncio.run(puts())

        threads = [threading.Thread(target=drive, args=(str(n),)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for n in range(8):
            assert [item.checkpoint["id"] for item in saver.list(at(str(n)))] == [
                f"{k:03}" for k in reversed(range(20))
            ]
    assert rows(path, COUNT) == [(160,)]
