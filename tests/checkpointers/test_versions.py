"""The version of a thread: changed under a lease that leaves all else as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.checkpointers.parts import ERROR, START, alive, dead
from vertebra import open_checkpointer
from vertebra.checkpointers.opening import Store
from vertebra.checkpointers.versions import IN_DOUBT, Settled
from vertebra.errors import LeaseLost, ThreadBusy, ThreadNotFound

NEW = Settled("2", "new", {"name": "g"}, "ann", {"how": "by hand"}, asks_again=True, stale_timers=["deadline:a"])


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with open_checkpointer(store_url) as store:
        yield store


async def stopped(store: Store, status: str) -> None:
    _, lease = await store.runs.begin("t", START, alive(), 30.0)
    await store.runs.finish(lease, status, ERROR)  # type: ignore[arg-type]


async def test_a_failed_thread_is_failed_after_it_with_its_error(store: Store) -> None:
    await stopped(store, "failed")
    before, lease = await store.versions.hold("t", alive(), 30.0)
    with pytest.raises(ThreadBusy):
        await store.versions.hold("t", alive(), 30.0)
    await store.versions.doubt(lease)
    assert (await store.runs.require("t")).fingerprint == IN_DOUBT
    await store.versions.settle(lease, NEW)
    after = await store.runs.require("t")
    assert (after.status, after.error, after.holder) == ("failed", before.error, None)
    assert (after.version, after.fingerprint, after.shape) == ("2", "new", {"name": "g"})
    (told,) = await store.journal.interventions("t")
    assert (told["kind"], told["node"]) == ("version", f"{before.version} -> 2")
    assert (told["principal"], told["detail"]) == ("ann", {"how": "by hand"})


async def test_a_thread_whose_question_was_lost_is_to_be_driven_on(store: Store) -> None:
    await stopped(store, "interrupted")
    for name in ("deadline:a", "deadline:b"):
        await store.runs.set_timer("t", name, 60.0)
    _, lease = await store.versions.hold("t", alive(), 30.0)
    await store.versions.settle(lease, NEW)
    assert (await store.runs.require("t")).status == "running"
    assert await store.runs.recoverable() == ["t"]
    assert set(await store.runs.timers("t")) == {"deadline:b"}


async def test_a_holder_that_died_is_part_of_the_story(store: Store) -> None:
    await store.runs.begin("t", START, dead(), 30.0)
    _, lease = await store.versions.hold("t", alive(), 30.0)
    await store.versions.release(lease)
    record = await store.runs.require("t")
    assert ([item["recovery"] for item in record.story], record.recoveries, record.status) == ([1], 1, "running")
    record, _ = await store.runs.take("t", alive(), 30.0, max_recoveries=1)
    assert record.recoveries == 1


async def test_a_cancel_in_the_meantime_is_carried_out(store: Store) -> None:
    await stopped(store, "interrupted")
    _, lease = await store.versions.hold("t", alive(), 30.0)
    assert not await store.runs.request_cancel("t")
    await store.versions.release(lease)
    assert (await store.runs.require("t")).status == "cancelled"


async def test_a_lease_that_was_lost_changes_nothing(store: Store) -> None:
    await stopped(store, "failed")
    _, lost = await store.versions.hold("t", alive(), 0.0)
    _, lease = await store.versions.hold("t", alive(), 30.0)
    for change in (store.versions.doubt(lost), store.versions.settle(lost, NEW)):
        with pytest.raises(LeaseLost):
            await change
    await store.versions.release(lost)
    record = await store.runs.require("t")
    assert (record.lease_epoch, record.fingerprint) == (lease.epoch, START.fingerprint)
    with pytest.raises(ThreadNotFound):
        await store.versions.hold("none", alive(), 30.0)
