"""Pruning: what goes and what stays, whatever happens to it meanwhile; and the room that it gives back."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from tests.checkpointers.parts import ERROR, START, alive, dead
from vertebra import Pruned, open_checkpointer
from vertebra.checkpointers.migrations import THREAD_TABLES
from vertebra.checkpointers.opening import Store
from vertebra.databases.space import reclaim, size_bytes
from vertebra.databases.url import StoreUrl
from vertebra.errors import LeaseLost, RecordPruned, ThreadBusy, ThreadNotFound, UsageError
from vertebra.testing import crash_at
from vertebra.testing.conformance_checks import at, put, values_of
from vertebra.types import CallKey, CallRecord, RecordedAnswer, RunStatus

DAY = 86400.0
CALLS = 3


async def made(store: Store, thread: str, status: RunStatus = "done", *, days: float = 0, steps: int = 4) -> None:
    """A thread of some checkpoints, with three calls, that ended so many days ago."""
    _, lease = await store.runs.begin(thread, START, alive(), 30.0)
    config = None
    for number in range(steps):
        config = await put(store.saver, thread, {"log": [f"{thread} {n}" * 20 for n in range(number)]}, after=config)
        await store.saver.aput_writes(config, [("log", "x" * 100)], "task")
    for ordinal in range(CALLS):
        key = CallKey(thread, "draft@1", "hash", 0, ordinal)
        await store.journal.begin(call(key))
        await store.journal.complete(key, RecordedAnswer(200, (), b"answer", 5, 7), 2.0)
    await store.runs.answer(thread, "i1", "true", None)
    await store.runs.finish(lease, status, ERROR if status == "failed" else None)
    await aged(store, thread, days)


def call(key: CallKey) -> CallRecord:
    return CallRecord(
        key=key, run_id="r1", node="draft", step=1, kind="llm", endpoint="POST /chat/completions", model="m",
        status="intent", request="asked", answer=None, started_at=1.0, finished_at=None, sends=1, lost=0, replays=0,
    )  # fmt: skip


async def aged(store: Store, thread: str, days: float) -> None:
    await store.database.run(
        lambda tx: tx.execute(
            "UPDATE vertebra_threads SET updated_at = updated_at - ? WHERE thread = ?", days * DAY, thread
        )
    )


async def checkpoints(store: Store, thread: str) -> int:
    return len([item async for item in store.saver.alist({"configurable": {"thread_id": thread}})])


async def rows(store: Store, thread: str) -> dict[str, int]:
    def count(tx: Any) -> dict[str, int]:
        tables = {name: f"SELECT count(*) FROM vertebra_{name} WHERE thread = ?" for name in THREAD_TABLES}
        return {name: int(tx.one(sql, thread)[0]) for name, sql in tables.items()}

    return {name: number for name, number in (await store.database.run(count)).items() if number}


async def whole(store: Store, thread: str, steps: int = 4) -> bool:
    """Whether all of the thread is there, or nothing."""
    found = await rows(store, thread)
    if not found:
        assert await checkpoints(store, thread) == 0, thread
        return False
    assert found == {"threads": 1, "calls": CALLS, "answers": 1}
    assert await checkpoints(store, thread) == steps
    return True


async def listed(store: Store) -> set[str]:
    return {record.thread for record in await store.runs.threads()}


async def test_threads_go_by_status_and_age_with_all_that_is_kept_of_them(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        for status in ("done", "cancelled", "failed", "running", "interrupted"):
            await made(store, f"old {status}", status, days=40)  # type: ignore[arg-type]
        await made(store, "new", "done", days=20)
        planned = await store.prune(older_than_s=30 * DAY, dry_run=True)
        assert len(await listed(store)) == 6
        assert await whole(store, "old done")
        pruned = await store.prune(older_than_s=30 * DAY)
        assert (pruned.threads, pruned.checkpoints, pruned.calls, pruned.shortened) == (2, 8, 6, 0)
        assert replace(planned, bytes_before=0, bytes_after=0, dry_run=False) == replace(
            pruned, bytes_before=0, bytes_after=0
        )
        assert await listed(store) == {"old failed", "old running", "old interrupted", "new"}
        for thread in ("old done", "old cancelled"):
            assert not await whole(store, thread)
        for thread in ("old failed", "old running", "old interrupted", "new"):
            assert await whole(store, thread)
        assert (await store.prune(statuses=["failed"])).threads == 1
        assert (await store.prune(statuses="done", graph="another")).threads == 0
        assert (await store.prune(statuses="done", graph="scribe")).threads == 1
        assert await listed(store) == {"old running", "old interrupted"}


async def test_a_history_is_shortened_to_its_last_checkpoints(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        for status in ("done", "failed", "running", "interrupted"):
            await made(store, status, status)  # type: ignore[arg-type]
        before = await values_of(store.saver, at("done"))
        assert (await store.prune(keep=2, dry_run=True)).checkpoints == 4
        pruned = await store.prune(keep=2)
        assert (pruned.threads, pruned.shortened, pruned.checkpoints, pruned.calls) == (0, 2, 4, 0)
        counts = {thread: await checkpoints(store, thread) for thread in await listed(store)}
        assert counts == {"done": 2, "failed": 2, "running": 4, "interrupted": 4}
        assert await values_of(store.saver, at("done")) == before
        (note,) = await store.journal.interventions("done")
        assert (note["kind"], note["detail"]) == ("prune", {"checkpoints": 2, "answers": 0, "keep": 2})
        again = await store.prune(keep=2)
        assert (again.shortened, again.checkpoints) == (0, 0)
        assert len(await store.journal.interventions("done")) == 1, "what frees nothing leaves no note"
        await put(store.saver, "done", {"log": ["goes on"]}, after=at("done"))
        assert await values_of(store.saver, at("done")) == {"log": ["goes on"]}


async def test_answers_go_and_their_rows_stay(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        await made(store, "t")
        await made(store, "failed", "failed")
        recorded = await store.journal.calls("t")
        assert (await store.prune(answers=True, dry_run=True)).answers == CALLS
        pruned = await store.prune(answers=True)
        assert (pruned.threads, pruned.shortened, pruned.answers, pruned.checkpoints) == (0, 1, CALLS, 0)
        assert await store.journal.calls("failed") != [], "a thread that has failed goes on from its answers"
        assert all(c.answer and c.answer.body for c in await store.journal.calls("failed"))
        for before, after in zip(recorded, await store.journal.calls("t"), strict=True):
            gone = RecordedAnswer(200, (), b"", 5, 7, pruned=True)
            assert after == replace(before, request=None, answer=gone)
        assert (await store.prune(answers=True)).answers == 0
        again = await store.journal.begin(recorded[0])
        assert again.answer is not None
        assert again.answer.pruned
        assert (again.replays, again.sends) == (0, 1), "nothing was taken from it"


@pytest.mark.parametrize("holder", [alive, dead])
async def test_a_thread_that_is_held_stays(store_url: str, holder: Callable[[], Any]) -> None:
    with open_checkpointer(store_url) as store:
        await made(store, "t")
        _, lease = await store.versions.hold("t", holder(), 30.0)
        pruned = await store.prune(statuses=["done"])
        gone = holder is dead
        assert (pruned.threads, pruned.kept) == ((1, {}) if gone else (0, {"driven": 1}))
        assert await whole(store, "t") != gone
        if gone:
            with pytest.raises(LeaseLost):
                await store.journal.under(lease).begin(call(CallKey("t", "late@9", "hash", 0, 0)))


async def test_a_parent_goes_with_the_last_of_its_forks(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        for thread in ("parent", "fork", "fork of fork"):
            await made(store, thread)
        for thread, parent in (("fork", "parent"), ("fork of fork", "fork")):
            sql = "UPDATE vertebra_threads SET parent = ? WHERE thread = ?"
            await store.database.run(lambda tx, sql=sql, to=(parent, thread): tx.execute(sql, *to))
        await aged(store, "parent", 40)
        await aged(store, "fork of fork", 40)
        for keep in (None, 1):
            pruned = await store.prune(older_than_s=30 * DAY, keep=keep, dry_run=True)
            assert pruned.kept == {"forked": 1}
        assert (await store.prune(older_than_s=30 * DAY)).threads == 1
        assert await listed(store) == {"parent", "fork"}
        await aged(store, "fork", 40)
        assert (await store.prune(older_than_s=30 * DAY, dry_run=True)).threads == 2
        assert await store.prune(older_than_s=30 * DAY) != Pruned()
        assert await listed(store) == set()


async def test_a_thread_that_begins_to_be_driven_meanwhile_stays(durable_url: str) -> None:
    """Another process takes each after they were listed, right before its turn; or takes it and has ended it again."""
    with open_checkpointer(durable_url) as store, open_checkpointer(durable_url) as other:
        for number in range(4):
            await made(store, f"t{number}", days=40)
        leases = []

        def drive(what: str, number: int, _: int) -> None:
            if what != "threads":
                return
            thread = f"t{3 - number}"  # the youngest first
            if number == 0:
                leases.append(elsewhere(other.runs.begin(thread, START, alive(), 30.0))[1])
            if number == 1:
                lease = elsewhere(other.runs.begin(thread, START, alive(), 30.0))[1]
                elsewhere(other.runs.finish(lease, "done", None))
            if number == 2:
                elsewhere(other.runs.delete(thread))

        pruned = await store.prune(older_than_s=30 * DAY, on_progress=drive)
        assert (pruned.threads, pruned.kept) == (1, {"driven": 3})
        assert await whole(store, "t3")
        assert await whole(store, "t2")
        await other.runs.finish(leases[0], "done", None)


def elsewhere(work: Awaitable[Any]) -> Any:
    """What comes of it in another thread, on a loop of its own."""
    found: list[Any] = []

    async def run() -> None:
        found.append(await work)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("options", [{"statuses": ["done"]}, {"keep": 1}], ids=["whole", "history"])
def test_killed_anywhere_it_leaves_nothing_half_and_goes_on(durable_url: str, options: dict[str, Any]) -> None:
    names = [f"t{number}" for number in range(10)]
    shortened = "keep" in options

    async def make() -> None:
        with open_checkpointer(durable_url) as store:
            for name in names:
                await made(store, name)

    async def look() -> int:
        """How many are as they were; all others are pruned, and nothing is half."""
        left = 0
        with open_checkpointer(durable_url) as store:
            for name in names:
                if shortened:
                    steps = await checkpoints(store, name)
                    assert steps in (1, 4)
                    assert await whole_but_history(store, name) == (steps == 4)
                    left += steps == 4
                else:
                    left += await whole(store, name)
        return left

    asyncio.run(make())
    # Each with the second thread; of those whose history is shortened, the first is looked at again.
    expected = {"prune.dropped": 9, "prune.recorded": 9 if shortened else 8, "prune.done": 8 if shortened else 6}
    for point, left in expected.items():
        killed_in_pruning(durable_url, options, point)
        assert asyncio.run(look()) == left
    with open_checkpointer(durable_url) as store:
        pruned = store.prune_sync(**options)
        assert (pruned.shortened if shortened else pruned.threads) == left > 0
    assert asyncio.run(look()) == 0


async def whole_but_history(store: Store, thread: str) -> bool:
    """Whether there is no word of pruning; all else is there in any case, the latest state readable."""
    found = await rows(store, thread)
    noted = found.pop("interventions", 0)
    assert found == {"threads": 1, "calls": CALLS, "answers": 1}
    assert len((await values_of(store.saver, at(thread)))["log"]) == 3
    return not noted


def killed_in_pruning(url: str, options: dict[str, Any], point: str) -> None:
    """Prune in a process that dies there, when it comes to it for the second time."""
    pid = os.fork()
    if pid == 0:
        try:
            with crash_at(point, nth=2), open_checkpointer(url) as store:
                store.prune_sync(**options)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_killed_while_it_gives_room_back(tmp_path: Path) -> None:
    url = f"sqlite:////{str(tmp_path).lstrip('/')}/t.db"

    async def make() -> None:
        with open_checkpointer(url) as store:
            await made(store, "stays", "failed")
            await made(store, "t")
            await put(store.saver, "t", {"blob": os.urandom(4_000_000)}, after=at("t"))
            await made(store, "last")

    asyncio.run(make())
    killed_in_pruning(url, {"statuses": ["done"]}, "prune.reclaiming")
    with closing(sqlite3.connect(tmp_path / "t.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA freelist_count").fetchone()[0] > 100
    with open_checkpointer(url) as store:
        assert asyncio.run(whole(store, "stays"))
        assert asyncio.run(listed(store)) == {"stays"}
        assert store.prune_sync(statuses=["failed"]).bytes_after < 500_000


async def test_a_saver_of_the_users_own_is_pruned_too() -> None:
    saver = InMemorySaver()
    with open_checkpointer(saver, journal="memory://") as store:
        await made(store, "t")
        await made(store, "held")
        await store.versions.hold("held", alive(), 30.0)
        with pytest.raises(UsageError, match="InMemorySaver cannot keep the last 2"):
            await store.prune(keep=2)
        with pytest.raises(ThreadBusy):
            await store.versions.hold("held", alive(), 30.0)
        await store.versions.hold("t", alive(), 0.0)  # it was let go
        pruned = await store.prune(statuses=["done"])
        assert (pruned.threads, pruned.checkpoints, pruned.kept) == (1, 4, {"driven": 1})
        assert await listed(store) == {"held"}
        assert await checkpoints(store, "t") == 0
        assert await checkpoints(store, "held") == 4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "Nothing says which"),
        ({"statuses": ["running"]}, "'running' are not pruned"),
        ({"statuses": "interrupted"}, "'interrupted' are not pruned"),
        ({"answers": True, "statuses": ["failed"]}, "resumed from its recorded answers"),
        ({"keep": 0}, "keeps nothing"),
        ({"older_than_s": -1.0}, "keeps nothing"),
    ],
)
async def test_what_makes_no_sense_is_refused(options: dict[str, Any], says: str) -> None:
    with open_checkpointer("memory://") as store, pytest.raises(UsageError, match=says):
        await store.prune(**options)


async def test_the_file_gives_the_room_back(tmp_path: Path) -> None:
    url = f"sqlite:////{str(tmp_path).lstrip('/')}/t.db?durability=process"
    with open_checkpointer(url) as store:
        await made(store, "stays")
        for number in range(8):
            await made(store, f"big {number}")
            await put(store.saver, f"big {number}", {"blob": os.urandom(500_000)}, after=at(f"big {number}"))
        await aged(store, "stays", -1)
        told: list[tuple[str, int, int]] = []
        pruned = await store.prune(older_than_s=0, on_progress=lambda *given: told.append(given))
        assert pruned.threads == 8
        assert pruned.bytes_before > 4_000_000 > 1_000_000 > pruned.bytes_after
        assert pruned.bytes_after == sum(
            file.stat().st_size for file in tmp_path.glob("t.db*") if "shm" not in file.name
        )
        steps = [done for what, done, _ in told if what == "bytes"]
        assert len(steps) > 2, "a megabyte at a time"
        assert steps == sorted(steps)
        assert await whole(store, "stays")


async def test_a_file_of_an_older_release_is_rewritten_once(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "t.db")) as connection:
        connection.execute("CREATE TABLE before (data)")
    parsed = StoreUrl.parse(f"sqlite:////{str(tmp_path).lstrip('/')}/t.db?durability=process")
    with open_checkpointer(str(parsed)) as store:
        await made(store, "t")
        await put(store.saver, "t", {"blob": os.urandom(2_000_000)}, after=at("t"))
        pruned = await store.prune(statuses=["done"])
        assert pruned.bytes_before > 2_000_000 > 500_000 > pruned.bytes_after
    with closing(sqlite3.connect(tmp_path / "t.db")) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_others_write_while_room_is_given_back(tmp_path: Path) -> None:
    """One step after the other, with a write of another connection between each: none finds the file locked."""
    parsed = StoreUrl.parse(f"sqlite:////{str(tmp_path).lstrip('/')}/t.db?durability=process")
    with open_checkpointer(str(parsed)) as store:
        await made(store, "t")
        await put(store.saver, "t", {"blob": os.urandom(4_000_000)}, after=at("t"))
        await store.saver.adelete_thread("t")
        with closing(sqlite3.connect(tmp_path / "t.db", timeout=0)) as other:
            other.execute("CREATE TABLE other (data)")
            steps = 0
            for _ in reclaim(parsed):
                other.execute("INSERT INTO other VALUES (1)")
                other.commit()
                steps += 1
        assert steps > 3
        assert size_bytes(store.database, parsed) < 1_000_000


async def test_a_fork_of_pruned_answers_is_refused(store_url: str) -> None:
    from vertebra.checkpointers.forks import Fork

    with open_checkpointer(store_url) as store:
        await made(store, "t")
        await store.prune(answers=True)
        me, record = alive(), await store.runs.require("t")
        for fork, inherits in (("f", ("draft@1",)), ("fresh", ())):
            await store.forks.reserve(fork, me)
            made_of = Fork(fork, "r2", "done", record, "c", False, inherits, "", {})
            if inherits:
                with pytest.raises(RecordPruned, match=f"{CALLS} of the answers"):
                    await store.forks.make(made_of, me)
            else:
                await store.forks.make(made_of, me)
        with pytest.raises(ThreadNotFound):
            await store.runs.require("f")
        assert (await store.runs.require("fresh")).parent == "t"
