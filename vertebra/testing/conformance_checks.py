"""What our conformance suite asks of a checkpointer beside the public one: each check on a store of its own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

VALUES: tuple[Any, ...] = (
    *(
        None,
        b"",
        b"\x00\xff",
        "",
        ["a\0b"],
        "Größe 診察 🙂",
        2**63,
        -1,
        1.5,
        True,
        [],
        {},
        [None],
        {"ключ": [None, {"a": b"b"}]},
    ),
    *({"x" * 300: "y"}, ["x" * 40] * 40, [[1], [1, [2]]]),
)


def at(thread: str, namespace: str = "") -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace}}


async def put(
    saver: Any, thread: str, values: dict[str, Any], *, after: Any = None, unstored: str | None = None, **metadata: Any
) -> Any:
    """A checkpoint after another, with all its channels new, and one (a delta channel's) whose value is not stored."""
    from langgraph.checkpoint.base.id import uuid6

    found = None if after is None else await saver.aget_tuple(after)
    before = found.checkpoint["channel_versions"] if found else {}
    versions = {name: saver.get_next_version(before.get(name), None) for name in values}
    if unstored is not None:
        before = {**before, unstored: saver.get_next_version(before.get(unstored), None)}
    checkpoint = {
        "v": 4,
        "id": str(uuid6(clock_seq=-2)),
        "ts": datetime.now(UTC).isoformat(),
        "channel_values": dict(values),
        "channel_versions": {**before, **versions},
        "versions_seen": {},
        "updated_channels": sorted(values),
    }
    given = {"source": "loop", "step": 0, "parents": {}, **metadata}
    return await saver.aput(after or at(thread), checkpoint, given, versions)


async def values_of(saver: Any, config: Any) -> dict[str, Any]:
    found = await saver.aget_tuple(config)
    assert found is not None, config
    values: dict[str, Any] = found.checkpoint["channel_values"]
    return values


async def values_come_back_as_they_were(saver: Any) -> None:
    config = await put(saver, "Größe 診察", {f"c{n}": value for n, value in enumerate(VALUES)})
    await saver.aput_writes(config, [(f"c{n}", value) for n, value in enumerate(VALUES)], "task")
    found = await saver.aget_tuple(config)
    loaded = [found.checkpoint["channel_values"].get(f"c{n}") for n in range(len(VALUES))]
    assert [(type(v), v) for v in loaded] == [(type(v), v) for v in VALUES]
    assert {channel: value for _, channel, value in found.pending_writes} == {f"c{n}": v for n, v in enumerate(VALUES)}


async def ten_megabytes_come_back(saver: Any) -> None:
    big = {"text": "ä" * 5_000_000, "bytes": b"\0" * 10_000_000, "many": ["x" * 10_000] * 1000}
    config = await put(saver, "t", big)
    await saver.aput_writes(config, [("text", big["text"])], "task")
    found = await saver.aget_tuple(config)
    assert found.checkpoint["channel_values"] == big
    assert found.pending_writes[0][2] == big["text"]


async def writes_are_there_when_their_checkpoint_is_followed(saver: Any) -> None:
    config = await put(saver, "t", {"n": 0})
    for step in range(1, 6):
        writes = [saver.aput_writes(config, [("n", step)], f"task {k}", f"path {9 - k}") for k in range(5)]
        await asyncio.gather(*writes)
        following = await put(saver, "t", {"n": step}, after=config)
        found = await saver.aget_tuple(config)
        assert [task for task, _, _ in found.pending_writes] == [f"task {k}" for k in (4, 3, 2, 1, 0)]
        config = following


async def a_write_stays_as_it_was_and_an_interrupt_is_replaced(saver: Any) -> None:
    config = await put(saver, "t", {"n": 0})
    for turn in ("first", "second"):
        await saver.aput_writes(config, [("n", turn), ("m", turn)], "task")
        await saver.aput_writes(config, [("__interrupt__", turn)], "task")
    found = await saver.aget_tuple(config)
    assert {channel: value for _, channel, value in found.pending_writes} == {
        "n": "first",
        "m": "first",
        "__interrupt__": "second",
    }


async def fifty_threads_at_once_lose_nothing(saver: Any) -> None:
    async def drive(thread: str) -> None:
        log: list[str] = []
        config = None
        for n in range(5):
            log = [*log, f"{thread} {n}"]
            config = await put(saver, thread, {"log": log}, after=config)
            await saver.aput_writes(config, [("log", [n])], "task")

    await asyncio.gather(*(drive(f"t{n}") for n in range(50)))
    for n in range(50):
        assert (await values_of(saver, at(f"t{n}")))["log"] == [f"t{n} {k}" for k in range(5)]
        assert len([item async for item in saver.alist(at(f"t{n}"))]) == 5


async def each_past_state_and_fork_is_its_own(saver: Any) -> None:
    log: list[Any] = []
    states, config = [], None
    for n in range(70):
        log = [*log, {"n": n, "text": f"{n:0100}"}]
        config = await put(saver, "t", {"log": log, "facts": {str(k): k for k in range(n)}}, after=config)
        states.append((config, list(log)))
    for at_step in (0, 31, 32, 50):
        parent, before = states[at_step]
        fork = await put(saver, "t", {"log": [*before[1:], "fork"]}, after=parent)
        states.append((fork, [*before[1:], "fork"]))
    for config, state in states:
        assert (await values_of(saver, config))["log"] == state


async def what_is_listed_is_what_was_asked_for(saver: Any) -> None:
    config = None
    for n in range(6):
        config = await put(saver, "t", {"n": n}, after=config, step=n, run_id=f"run {n // 2}", note="ключ")
    await put(saver, "u", {"n": 9}, step=1)
    await put(saver, "t", {"n": 8}, after=at("t", "inner"), step=1)

    async def steps(config: Any, **options: Any) -> list[int]:
        return [item.metadata["step"] async for item in saver.alist(config, **options)]

    assert await steps(at("t")) == [5, 4, 3, 2, 1, 0]
    assert await steps(at("t"), limit=2) == [5, 4]
    assert await steps(at("t"), before=config, limit=1) == [4]
    assert await steps(at("t"), filter={"run_id": "run 1", "note": "ключ"}) == [3, 2]
    assert await steps(at("t"), filter={"run_id": "run 1"}, limit=1) == [3]
    assert len(await steps({"configurable": {"thread_id": "t"}}, filter={"step": 1})) == 2
    assert len(await steps(None, filter={"step": 1})) == 3


async def pruning_keeps_the_last_and_what_they_need(saver: Any) -> None:
    log: list[str] = []
    config = None
    for n in range(10):
        log = [*log, f"{n:0100}"]
        config = await put(saver, "t", {"log": log}, after=config, step=n)
    await saver.aput_writes(config, [("log", ["pending"])], "task")
    if "keep" in inspect.signature(saver.aprune).parameters:
        await saver.aprune(["t"], keep=3)
        assert [item.metadata["step"] async for item in saver.alist(at("t"))] == [9, 8, 7]
    await saver.aprune(["t"], strategy="keep_latest")
    found = [item async for item in saver.alist(at("t"))]
    assert [(item.metadata["step"], item.checkpoint["channel_values"]["log"]) for item in found] == [(9, log)]
    assert len(found[0].pending_writes or []) == 1
    await put(saver, "t", {"log": [*log, "more"]}, after=config)
    assert (await values_of(saver, at("t")))["log"] == [*log, "more"]
    await saver.aprune(["t"], strategy="delete")
    assert await saver.aget_tuple(at("t")) is None


async def a_copy_and_its_original_know_nothing_of_each_other(saver: Any) -> None:
    config = await put(saver, "t", {"log": ["x" * 100] * 40})
    await saver.aput_writes(config, [("log", ["y" * 100])], "task")
    await saver.acopy_thread("t", "copy")
    await put(saver, "copy", {"log": ["changed"]}, after=(await saver.aget_tuple(at("copy"))).config)
    assert (await values_of(saver, at("t")))["log"] == ["x" * 100] * 40
    await saver.adelete_thread("t")
    copies = [item async for item in saver.alist(at("copy"))]
    assert [item.checkpoint["channel_values"]["log"] for item in copies] == [["changed"], ["x" * 100] * 40]
    assert copies[1].pending_writes[0][2] == ["y" * 100]


async def delta_history_is_the_writes_since_the_stored_value(saver: Any) -> None:
    config = await put(saver, "t", {"delta": ["stored"], "n": 0})
    for n in range(5):
        await saver.aput_writes(config, [("delta", [n]), ("n", n)], f"task {n}")
        config = await put(saver, "t", {"n": n}, after=config, unstored="delta")
    await saver.aput_writes(config, [("delta", ["pending"])], "task")
    history = await saver.aget_delta_channel_history(config=config, channels=["delta", "none"])
    assert history["delta"]["seed"] == ["stored"]
    assert [value for _, _, value in history["delta"]["writes"]] == [[n] for n in range(5)]
    assert "seed" not in history["none"]


async def ten_thousand_checkpoints(saver: Any) -> None:
    log: list[str] = []
    config = None
    for n in range(10_000):
        log = [*log[-50:], f"{n:0100}"]
        config = await put(saver, "t", {"log": log, "n": n}, after=config, step=n)
    assert await values_of(saver, at("t")) == {"log": log, "n": 9999}
    last = [item.metadata["step"] async for item in saver.alist(at("t"), limit=20)]
    assert last == list(range(9999, 9979, -1))
    assert [item.metadata["step"] async for item in saver.alist(at("t"), filter={"step": 17})] == [17]
    await saver.aprune(["t"], strategy="keep_latest")
    assert await values_of(saver, at("t")) == {"log": log, "n": 9999}


Check = Callable[[Any], Awaitable[None]]

CHECKS: tuple[Check, ...] = (
    values_come_back_as_they_were,
    ten_megabytes_come_back,
    writes_are_there_when_their_checkpoint_is_followed,
    a_write_stays_as_it_was_and_an_interrupt_is_replaced,
    fifty_threads_at_once_lose_nothing,
    each_past_state_and_fork_is_its_own,
    what_is_listed_is_what_was_asked_for,
    pruning_keeps_the_last_and_what_they_need,
    a_copy_and_its_original_know_nothing_of_each_other,
    delta_history_is_the_writes_since_the_stored_value,
)
LONG_CHECKS: tuple[Check, ...] = (ten_thousand_checkpoints,)
