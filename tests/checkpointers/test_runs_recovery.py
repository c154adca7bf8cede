"""Runs whose process died: who finds them, how often they are taken up, and cancelling them at any time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator

import pytest

from tests.checkpointers.parts import ERROR, OTHER, START, alive, dead
from vertebra import open_checkpointer
from vertebra.checkpointers.runs import RunStore
from vertebra.errors import CrashLoop, LeaseLost, ThreadBusy, ThreadCancelled
from vertebra.types import RunStatus


@pytest.fixture
def runs(store_url: str) -> Iterator[RunStore]:
    with open_checkpointer(store_url) as store:
        yield store.runs


async def test_recoverable_are_the_running_ones_that_nobody_drives(runs: RunStore) -> None:
    await runs.begin("died", START, dead(), 30.0)
    await runs.begin("alive", START, alive(), 30.0)
    await runs.begin("ran out", START, alive(), 0.0)
    _, lease = await runs.begin("let go", dataclasses.replace(START, graph="other"), alive(), 30.0)
    await runs.finish(lease, "running", None)
    for status in ("done", "failed", "interrupted", "cancelled"):
        _, lease = await runs.begin(status, START, alive(), 30.0)
        await runs.finish(lease, status, None)  # type: ignore[arg-type]
    assert await runs.recoverable() == ["died", "ran out", "let go"]
    assert await runs.recoverable("scribe") == ["died", "ran out"]
    assert await runs.recoverable("nothing") == []


async def test_a_run_that_kills_every_process_is_refused_with_its_story(runs: RunStore) -> None:
    await runs.begin("t", START, dead(), 30.0)
    for recovery in (1, 2):
        record, _ = await runs.take("t", dead(), 30.0, max_recoveries=2)
        assert (record.recoveries, len(record.story)) == (recovery, recovery)
    with pytest.raises(CrashLoop, match="killed 3 processes in a row") as caught:
        await runs.take("t", alive(), 30.0, max_recoveries=2)
    story = caught.value.context["story"]
    assert [part["recovery"] for part in story] == [1, 2, 3]
    assert all("process" in part["died"] and part["at"] > 0 for part in story)
    await runs.set_aside("t", caught.value.to_json())
    record = await runs.require("t")
    assert (record.status, (record.error or {})["code"], record.holder) == ("failed", "crash_loop", None)
    assert await runs.recoverable() == []
    record, _ = await runs.take("t", alive(), 30.0, by_hand=True)
    assert (record.recoveries, record.error) == (0, None)


async def test_a_run_that_was_let_go_has_killed_nobody(runs: RunStore) -> None:
    _, lease = await runs.begin("t", START, alive(), 30.0)
    for _ in range(5):
        await runs.finish(lease, "running", None)
        record, lease = await runs.take("t", alive(), 30.0, max_recoveries=1)
        assert (record.recoveries, record.story) == (0, ())


async def test_a_durable_checkpoint_starts_the_count_anew(runs: RunStore) -> None:
    await runs.begin("t", START, dead(), 30.0)
    _, lease = await runs.take("t", dead(), 30.0, max_recoveries=1)
    await runs.progressed(lease, "checkpoint-1")
    record, _ = await runs.take("t", dead(), 30.0, max_recoveries=1)
    assert (record.recoveries, len(record.story)) == (1, 2)


async def test_a_checkpoint_that_its_process_did_not_live_to_note_counts_too(runs: RunStore) -> None:
    await runs.begin("t", START, dead(), 30.0)
    for number in range(5):
        record, _ = await runs.take("t", dead(), 30.0, max_recoveries=1, progress=f"checkpoint-{number}")
        assert record.recoveries == 1
    with pytest.raises(CrashLoop):
        await runs.take("t", dead(), 30.0, max_recoveries=1, progress="checkpoint-4")


async def test_a_story_is_kept_to_a_length(runs: RunStore) -> None:
    await runs.begin("t", START, dead(), 30.0)
    for _ in range(60):
        record, _ = await runs.take("t", dead(), 30.0)
    assert len(record.story) == 50
    assert record.story[-1]["recovery"] == 60


async def test_who_is_set_aside_cannot_finish_behind_our_back(runs: RunStore) -> None:
    """Its lease ran out, but it was only slow."""
    _, slow = await runs.begin("t", START, alive(), 0.0)
    await runs.set_aside("t", ERROR)
    with pytest.raises(LeaseLost):
        await runs.finish(slow, "done", None)
    assert (await runs.require("t")).error == ERROR


async def test_nobody_is_set_aside_who_has_been_taken_up(runs: RunStore) -> None:
    _, lease = await runs.begin("t", START, alive(), 30.0)
    await runs.set_aside("t", ERROR)
    assert (await runs.require("t")).status == "running"
    await runs.finish(lease, "done", None)
    await runs.set_aside("t", ERROR)
    await runs.set_aside("no such thread", ERROR)
    assert (await runs.require("t")).status == "done"


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
async def test_cancelling_what_nobody_drives_is_done_at_once(runs: RunStore, status: RunStatus) -> None:
    _, lease = await runs.begin("t", START, alive(), 30.0)
    await runs.finish(lease, status, None)
    await runs.set_timer("t", "deadline", 0.0)
    for _ in range(2):
        assert await runs.request_cancel("t") is True
        assert (await runs.require("t")).status == "cancelled"
    assert await runs.due_timers() == []
    with pytest.raises(ThreadCancelled):
        await runs.take("t", alive(), 30.0, by_hand=True)
    with pytest.raises(LeaseLost):
        await runs.finish(lease, "done", None)


async def test_what_is_done_stays_done(runs: RunStore) -> None:
    _, lease = await runs.begin("t", START, alive(), 30.0)
    await runs.finish(lease, "done", None)
    assert await runs.request_cancel("t") is True
    assert (await runs.require("t")).status == "done"


@pytest.mark.parametrize("status", ["running", "interrupted", "failed", "cancelled", "done"])
async def test_a_driven_thread_is_asked_to_stop_and_ends_cancelled_unless_it_is_done(
    runs: RunStore, status: RunStatus
) -> None:
    _, lease = await runs.begin("t", START, alive(), 30.0)
    await runs.set_timer("t", "deadline", 0.0)
    assert await runs.request_cancel("t") is False
    assert (await runs.require("t")).cancel_requested
    assert runs.renew_sync(lease).cancel_requested
    await runs.finish(lease, status, None)
    record = await runs.require("t")
    assert (record.status, record.cancel_requested) == ("done" if status == "done" else "cancelled", False)
    assert (await runs.due_timers() == []) is (status != "done")
    if status == "done":
        assert (await runs.take("t", alive(), 30.0, by_hand=True))[0].status == "running"


@pytest.mark.parametrize("by_hand", [True, False])
async def test_a_cancel_outlives_the_process_that_was_asked(runs: RunStore, by_hand: bool) -> None:
    """Asked to stop, it died instead: nobody drives the thread on."""
    await runs.begin("t", START, alive(), 0.3)
    assert await runs.request_cancel("t") is False
    await asyncio.sleep(0.35)
    with pytest.raises(ThreadCancelled):
        await runs.take("t", alive(), 30.0, by_hand=by_hand)
    assert (await runs.require("t")).status == "cancelled"


async def test_a_cancel_that_outlived_its_process_lets_the_next_turn_begin(runs: RunStore) -> None:
    await runs.begin("t", START, alive(), 0.3)
    assert await runs.request_cancel("t") is False
    await asyncio.sleep(0.35)
    record, lease = await runs.begin("t", OTHER, alive(), 30.0)
    assert (record.run_id, record.cancel_requested, record.lease_epoch) == ("r2", False, lease.epoch)
    with pytest.raises(ThreadBusy):
        await runs.take("t", alive(), 30.0)
