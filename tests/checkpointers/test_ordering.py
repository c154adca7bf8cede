"""The order in which things become durable: writes, then their checkpoint, and nothing once the lease is lost."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver

from vertebra.checkpointers.ordering import OrderedSaver
from vertebra.errors import LeaseLost, StoreUnavailable


def place(thread: str = "t", namespace: str = "") -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": "before"}}


class Gated(InMemorySaver):
    """A saver whose writes become durable when the test says so. ``log`` has what is durable, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.log: list[str] = []
        self.failure: Exception | None = None

    async def aput_writes(self, config: Any, writes: Sequence[Any], task_id: str, task_path: str = "") -> None:
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        await super().aput_writes(config, writes, task_id, task_path)
        self.log.append(task_id)

    async def aput(self, config: Any, checkpoint: Checkpoint, metadata: Any, new_versions: Any) -> Any:
        self.log.append("checkpoint")
        return await super().aput(config, checkpoint, metadata, new_versions)


@dataclasses.dataclass
class Stage:
    """A gated saver within ours."""

    inner: Gated
    saver: OrderedSaver

    def checkpoint(self, config: Any = None) -> asyncio.Task[Any]:
        return asyncio.create_task(self.saver.aput(config or place(), empty_checkpoint(), {}, {}))

    def writes(self, task_id: str, config: Any = None) -> asyncio.Task[None]:
        return asyncio.create_task(self.saver.aput_writes(config or place(), [("v", 1)], task_id))


def stage() -> Stage:
    inner = Gated()
    return Stage(inner, OrderedSaver(inner))


async def a_while() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_checkpoint_waits_for_writes_under_way() -> None:
    on = stage()
    tasks = [on.writes("one"), on.writes("two")]
    await a_while()
    checkpoint = on.checkpoint()
    await a_while()
    assert on.inner.log == []
    on.inner.gate.set()
    await asyncio.gather(checkpoint, *tasks)
    assert on.inner.log == ["one", "two", "checkpoint"]


async def test_a_checkpoint_waits_for_writes_that_have_yet_to_come() -> None:
    on = stage()
    on.inner.gate.set()
    on.saver.expect("t", "", "one")
    checkpoint = on.checkpoint()
    await a_while()
    assert on.inner.log == []
    await on.writes("one")
    await checkpoint
    assert on.inner.log == ["one", "checkpoint"]


async def test_both_writes_of_one_task_come_first() -> None:
    on = stage()
    first = on.writes("one")
    await a_while()
    second = on.writes("one")
    await a_while()
    checkpoint = on.checkpoint()
    first.cancel()
    await a_while()
    on.inner.gate.set()
    await second
    with pytest.raises(StoreUnavailable, match="broken off"):
        await checkpoint
    assert on.inner.log == ["one"]


async def test_another_thread_or_subgraph_holds_nobody_up() -> None:
    on = stage()
    others = [on.writes("one", place("u")), on.writes("one", place("t", "inner:1"))]
    on.saver.expect("u", "", "two")
    await a_while()
    await on.checkpoint()
    assert on.inner.log == ["checkpoint"]
    on.inner.gate.set()
    await asyncio.gather(*others)


async def test_no_checkpoint_follows_writes_that_failed() -> None:
    on = stage()
    on.inner.failure = OSError("disk gone")
    on.inner.gate.set()
    with pytest.raises(OSError, match="disk gone"):
        await on.writes("one")
    with pytest.raises(OSError, match="disk gone"):
        await on.checkpoint()
    assert on.inner.log == []
    await on.checkpoint()  # of the next attempt, from the last durable edge
    assert on.inner.log == ["checkpoint"]


async def test_writes_that_failed_are_forgotten_once_their_task_has_written_again() -> None:
    on = stage()
    on.inner.gate.set()
    for failure in (OSError("disk gone"), None):
        on.inner.failure = failure
        (failed,) = await asyncio.gather(on.writes("one"), return_exceptions=True)
        assert failed is failure
    await on.checkpoint()
    assert on.inner.log == ["one", "checkpoint"]


async def test_writes_that_failed_elsewhere_hold_nobody_up() -> None:
    on = stage()
    on.inner.gate.set()
    on.inner.failure = OSError("disk gone")
    elsewhere = {"configurable": {**place()["configurable"], "checkpoint_id": "another"}}
    with pytest.raises(OSError, match="disk gone"):
        await on.writes("one", elsewhere)
    await on.checkpoint()
    assert on.inner.log == ["checkpoint"]


async def test_who_is_cancelled_while_a_checkpoint_waits_takes_nothing_from_its_writes() -> None:
    on = stage()
    writes = on.writes("one")
    await a_while()
    checkpoint = on.checkpoint()
    await a_while()
    checkpoint.cancel()
    await asyncio.gather(checkpoint, return_exceptions=True)
    on.inner.gate.set()
    await writes
    await on.checkpoint()
    assert on.inner.log == ["one", "checkpoint"]


async def test_writes_that_became_durable_though_their_caller_was_cancelled_are_no_failure() -> None:
    on = stage()
    on.inner.gate.set()
    parent = await on.saver.aput(place(), empty_checkpoint(), {}, {})
    real = on.inner.aput_writes

    async def broken_off(*given: Any) -> None:
        await real(*given)
        raise asyncio.CancelledError

    on.inner.aput_writes = broken_off  # type: ignore[method-assign]
    await asyncio.gather(on.writes("one", parent), return_exceptions=True)
    await on.checkpoint(parent)
    assert on.inner.log == ["checkpoint", "one", "checkpoint"]


async def test_what_a_task_wrote_before_it_returned_is_not_what_is_expected_of_it() -> None:
    on = stage()
    on.inner.gate.set()
    await on.writes("one")  # the answer to its question
    on.saver.expect("t", "", "one")
    checkpoint = on.checkpoint()
    await a_while()
    assert on.inner.log == ["one"]
    await on.writes("one")
    await checkpoint
    assert on.inner.log == ["one", "one", "checkpoint"]


async def test_writes_that_never_come_are_told() -> None:
    on = stage()
    on.saver.expect("t", "", "one")
    with pytest.raises(StoreUnavailable, match="never reached") as caught:
        await on.checkpoint()
    assert caught.value.context["thread"] == "t"
    assert on.inner.log == []


class Blocking(InMemorySaver):
    """As ``Gated``, for threads."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.log: list[str] = []
        self.failure: Exception | None = None

    def put_writes(self, config: Any, writes: Sequence[Any], task_id: str, task_path: str = "") -> None:
        self.entered.set()
        assert self.gate.wait(20)
        if self.failure is not None:
            raise self.failure
        super().put_writes(config, writes, task_id, task_path)
        self.log.append(task_id)

    def put(self, config: Any, checkpoint: Checkpoint, metadata: Any, new_versions: Any) -> Any:
        self.log.append("checkpoint")
        return super().put(config, checkpoint, metadata, new_versions)


@pytest.mark.parametrize("failure", [None, OSError("disk gone")])
def test_in_threads_a_checkpoint_waits_for_writes_and_follows_none_that_failed(failure: Exception | None) -> None:
    inner = Blocking()
    inner.failure = failure
    saver = OrderedSaver(inner)
    saver.expect("t", "", "one")

    def checkpoint() -> None:
        saver.put(place(), empty_checkpoint(), {}, {})

    with ThreadPoolExecutor(2) as threads:
        put = threads.submit(checkpoint)
        writes = threads.submit(saver.put_writes, place(), [("v", 1)], "one")
        assert inner.entered.wait(20)
        assert not put.done()
        inner.gate.set()
        assert (writes.exception(20), put.exception(20)) == (failure, failure)
    assert inner.log == ([] if failure else ["one", "checkpoint"])
    checkpoint()
    assert inner.log[-1] == "checkpoint"


async def test_nothing_is_written_once_the_lease_is_lost() -> None:
    on = stage()
    on.inner.gate.set()
    lost = False

    def guard() -> None:
        if lost:
            raise LeaseLost("taken over", thread="t")

    on.saver.guard("t", guard)
    await on.writes("one")
    await on.checkpoint()
    lost = True
    with pytest.raises(LeaseLost):
        await on.checkpoint()
    with pytest.raises(LeaseLost):
        await on.writes("two")
    with pytest.raises(LeaseLost):
        on.saver.put_writes(place(), [("v", 1)], "two")
    with pytest.raises(LeaseLost):
        on.saver.put(place(), empty_checkpoint(), {}, {})
    await on.checkpoint(place("u"))
    assert on.inner.log == ["one", "checkpoint", "checkpoint"]
    on.saver.guard("t", None)
    await on.checkpoint()


async def test_who_holds_the_thread_is_told_of_each_durable_checkpoint() -> None:
    on = stage()
    told: list[tuple[str, str, Any]] = []

    async def watch(namespace: str, checkpoint: Checkpoint, metadata: Any) -> None:
        assert on.inner.log[-1] == "checkpoint"
        told.append((namespace, checkpoint["id"], metadata))

    on.saver.guard("t", lambda: None, watch)
    checkpoint = empty_checkpoint()
    await on.saver.aput(place("t", "inner"), checkpoint, {"step": 3}, {})
    await on.checkpoint(place("u"))
    assert told == [("inner", checkpoint["id"], {"step": 3})]
    on.saver.guard("t", None)
    await on.checkpoint()
    assert len(told) == 1
