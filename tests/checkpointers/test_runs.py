"""Run records: where a thread stands, who may start it, take it and finish it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator

import pytest

from tests.checkpointers.parts import ERROR, OTHER, START, alive, dead
from vertebra import open_checkpointer
from vertebra.checkpointers.runs import RunStore
from vertebra.errors import LeaseLost, ThreadBusy, ThreadNotFinished, ThreadNotFound
from vertebra.types import RunStatus


@pytest.fixture
def runs(store_url: str) -> Iterator[RunStore]:
    with open_checkpointer(store_url) as store:
        yield store.runs


async def test_a_new_thread_runs_under_a_lease(runs: RunStore) -> None:
    assert await runs.get("t") is None
    me = alive()
    record, lease = await runs.begin("t", START, me, 30.0)
    assert record == await runs.get("t") == await runs.require("t")
    assert (record.status, record.graph, record.version, record.fingerprint) == ("running", "scribe", "1", "f1")
    assert (record.shape, record.input, record.principal, record.run_id) == (
        {"nodes": ["draft"]},
        b"input",
        "alice",
        "r1",
    )
    assert (record.holder, record.lease_epoch, record.recoveries, record.story) == (me.to_text(), 1, 0, ())
    assert (lease.thread, lease.holder, lease.epoch, lease.ttl_s) == ("t", me, 1, 30.0)
    assert record.lease_until == pytest.approx(record.updated_at + 30.0)
    assert record.created_at == record.updated_at


async def test_a_held_thread_is_busy_for_everybody(runs: RunStore) -> None:
    _, lease = await runs.begin("t", START, alive(), 30.0)
    for attempt in (
        runs.begin("t", START, alive(), 30.0),
        runs.begin("t", OTHER, alive(), 30.0),
        runs.take("t", alive(), 30.0, by_hand=True),
        runs.take("t", lease.holder, 30.0),
        runs.delete("t"),
    ):
        with pytest.raises(ThreadBusy, match=r"'t' is being written by process \d+ on .* lease runs (29|30) s more"):
            await attempt
    assert runs.renew_sync(lease).held


@pytest.mark.parametrize("status", ["done", "cancelled"])
async def test_a_thread_that_has_ended_takes_a_further_turn(runs: RunStore, status: RunStatus) -> None:
    first, lease = await runs.begin("t", START, alive(), 30.0)
    await runs.finish(lease, status, ERROR)
    record, lease = await runs.begin("t", OTHER, alive(), 30.0)
    assert (record.run_id, record.version, record.fingerprint, record.input) == ("r2", "2", "f2", b"other")
    assert (record.status, record.error, record.principal) == ("running", None, None)
    assert record.lease_epoch == lease.epoch > first.lease_epoch
    assert record.created_at == first.created_at


@pytest.mark.parametrize("status", ["running", "failed"])
async def test_the_same_input_delivered_twice_is_one_run(runs: RunStore, status: RunStatus) -> None:
    _, lease = await runs.begin("t", START, alive(), 30.0)
    await runs.finish(lease, status, ERROR)
    with pytest.raises(ThreadNotFinished, match="would lose its place") as caught:
        await runs.begin("t", OTHER, alive(), 30.0)
    assert caught.value.context["status"] == status
    record, lease = await runs.begin("t", dataclasses.replace(START, run_id="another"), alive(), 30.0)
    assert (record.run_id, record.status, record.error, lease.epoch) == ("r1", "running", None, 2)


async def test_a_question_is_not_overrun_by_a_new_start(runs: RunStore) -> None:
    _, lease = await runs.begin("t", START, alive(), 30.0)
    await runs.finish(lease, "interrupted", None)
    for start in (START, OTHER):
        with pytest.raises(ThreadNotFinished, match="waits for an answer"):
            await runs.begin("t", start, alive(), 30.0)


async def test_finishing_lets_the_thread_go_with_its_error(runs: RunStore) -> None:
    _, lease = await runs.begin("t", START, alive(), 30.0)
    await runs.finish(lease, "failed", ERROR)
    record = await runs.require("t")
    assert (record.status, record.error, record.holder, record.lease_until) == ("failed", ERROR, None, None)
    assert not runs.renew_sync(lease).held


async def test_a_replaced_holder_can_write_nothing(runs: RunStore) -> None:
    _, old = await runs.begin("t", START, dead(), 30.0)
    record, new = await runs.take("t", alive(), 30.0)
    assert new.epoch == old.epoch + 1
    assert not runs.renew_sync(old).held
    with pytest.raises(LeaseLost):
        await runs.finish(old, "done", None)
    await runs.progressed(old, "checkpoint")
    assert await runs.require("t") == record
    assert runs.renew_sync(new).held
    await runs.delete("u")
    with pytest.raises(LeaseLost):
        await runs.finish(dataclasses.replace(old, thread="u"), "done", None)


async def test_a_renewal_prolongs_by_the_databases_clock(runs: RunStore) -> None:
    record, lease = await runs.begin("t", START, alive(), 5.0)
    longer = dataclasses.replace(lease, ttl_s=500.0)
    assert runs.renew_sync(longer).held
    assert ((await runs.require("t")).lease_until or 0) - (record.lease_until or 0) == pytest.approx(495, abs=3)


async def test_a_thread_that_is_not_there(runs: RunStore) -> None:
    for attempt in (runs.require("t"), runs.take("t", alive(), 30.0), runs.request_cancel("t")):
        with pytest.raises(ThreadNotFound, match="'t'") as caught:
            await attempt
        assert caught.value.remedy


@pytest.mark.parametrize("status", ["done", "failed", "interrupted"])
async def test_a_thread_that_another_process_drove_on_is_not_recovered_again(runs: RunStore, status: RunStatus) -> None:
    """Two processes list it as dead; the first one drives it until it fails: the second does not try anew."""
    _, lease = await runs.begin("t", START, alive(), 30.0)
    await runs.finish(lease, status, None)
    with pytest.raises(ThreadBusy, match=f"is {status}"):
        await runs.take("t", alive(), 30.0, max_recoveries=5)
    record, _ = await runs.take("t", alive(), 30.0, by_hand=True)
    assert record.status == "running"


async def test_threads_are_listed_latest_first(runs: RunStore) -> None:
    for name, start, status in (("a", START, "done"), ("b", OTHER, "failed"), ("c", START, "failed")):
        _, lease = await runs.begin(name, dataclasses.replace(start, graph=f"g{start.version}"), alive(), 30.0)
        await runs.finish(lease, status, None)  # type: ignore[arg-type]
        await asyncio.sleep(0.005)  # the clock of SQLite counts milliseconds
    assert [r.thread for r in await runs.threads()] == ["c", "b", "a"]
    assert [r.thread for r in await runs.threads(status="failed")] == ["c", "b"]
    assert [r.thread for r in await runs.threads(graph="g1")] == ["c", "a"]
    assert [r.thread for r in await runs.threads(status="failed", graph="g1")] == ["c"]
    assert await runs.threads(status="running") == []


async def test_a_lease_from_before_the_thread_was_deleted_writes_nothing_in_the_new_one(runs: RunStore) -> None:
    """Epochs count from one again, so the holder is asked for as well."""
    await runs.begin("t", START, dead(), 30.0)
    _, old = await runs.take("t", dead(), 30.0)
    await runs.delete("t")
    await runs.begin("t", OTHER, dead(), 30.0)
    record, new = await runs.take("t", alive(), 30.0)
    assert old.epoch == new.epoch
    await runs.progressed(old, "checkpoint")
    with pytest.raises(LeaseLost):
        await runs.finish(old, "done", None)
    assert await runs.require("t") == record
