"""Watching a run: typed events, and LangGraph's own names and streams."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.types import Command
from pydantic import BaseModel

from vertebra import END, START, Append, Context, Graph, Retry, human, llm, transition
from vertebra.errors import InterruptUnknown, NodeFailed, ThreadBusy, ThreadNotFinished, ThreadNotFound, UsageError
from vertebra.runtime import events
from vertebra.testing import ScriptedModel


class State(BaseModel):
    n: int = 0
    log: Append[str] = []
    ok: bool | None = None


@transition
def count(state: State, ctx: Context) -> dict[str, object]:
    ctx.emit({"counting": state.n})
    return {"n": state.n + 1}


@llm(retry=Retry(attempts=2, wait_initial_s=0.01, jitter_s=0, on=(ConnectionError,)))
async def say(state: State, ctx: Context) -> dict[str, object]:
    stream = await ctx.client.chat.completions.create(
        model="m", stream=True, messages=[{"role": "user", "content": "say it"}]
    )
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    if ctx.attempt == 1:
        raise ConnectionError("lost")
    return {"log": [text]}


@human(answer=bool, into="ok")
def approve(state: State) -> str:
    return f"{state.n}?"


def line(*nodes: Any) -> Graph:
    g = Graph(State, name="line")
    for before, after in zip((START, *nodes), (*nodes, END), strict=True):
        g.add_edge(before, after)
    return g


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


async def test_events_tell_the_whole_story_in_order(store_url: str, scripted_model: ScriptedModel) -> None:
    scripted_model.on("say it").reply("one two three")
    async with line(count, say, approve).compile(checkpointer=store_url) as app:
        seen = [event async for event in app.events({}, thread_id="t")]
        kinds = [type(event).__name__ for event in seen]
        assert [k for k in kinds if k not in ("Token", "EdgeCrossed")] == [
            *("NodeStarted", "Custom", "NodeFinished"),
            *("NodeStarted", "CallFinished", "NodeRetried", "NodeStarted", "CallFinished", "NodeFinished"),
            *("NodeStarted", "Asked", "RunEnded"),
        ]
        assert "".join(e.text for e in seen if isinstance(e, events.Token)) == "one two three"
        assert [e.source for e in seen if isinstance(e, events.CallFinished)] == ["provider", "journal"]
        assert [e.nodes for e in seen if isinstance(e, events.EdgeCrossed)] == [(), (), ("count",), ("say",)]
        last = seen[-1]
        assert isinstance(last, events.RunEnded)
        assert last.run.status == "interrupted"
        seen = [event async for event in app.events(thread_id="t", answer=True)]
        assert [type(e).__name__ for e in seen] == ["NodeStarted", "NodeFinished", "EdgeCrossed", "RunEnded"]


async def test_events_need_something_to_do(store_url: str) -> None:
    async with line(count).compile(checkpointer=store_url) as app:
        with pytest.raises(UsageError, match="input or a thread_id"):
            async for _ in app.events():
                pass


async def test_leaving_the_events_early_stops_at_a_durable_edge(durable_url: str) -> None:
    executed: list[str] = []

    @llm
    async def slow(state: State) -> dict[str, object]:
        executed.append("slow")
        await asyncio.sleep(30 if len(executed) == 1 else 0)
        return {"log": ["slow"]}

    async with line(count, slow).compile(checkpointer=durable_url) as app:
        stream = app.events({}, thread_id="t")
        async for event in stream:
            if isinstance(event, events.NodeStarted) and event.node == "slow":
                break
        await stream.aclose()  # type: ignore[attr-defined]
        assert (await app.status("t")).next == ("slow",)
        (run,) = await app.recover()
        assert (run.status, run.output.n, run.output.log) == ("done", 1, ["slow"])


async def test_langgraphs_streams(store_url: str, scripted_model: ScriptedModel) -> None:
    async with line(count, say).compile(checkpointer=store_url) as app:
        assert [v async for v in app.astream({"n": 4}, stream_mode="values")][-1]["n"] == 5
        assert [set(u) async for u in app.astream({}, stream_mode="updates")] == [{"count"}, {"say"}]
        both = [item async for item in app.astream({"n": 7}, thread("both"), stream_mode=["custom", "updates"])]
        assert both[0] == ("custom", {"counting": 7})
        assert [mode for mode, _ in both] == ["custom", "updates", "updates"]
        assert (await app.ainvoke({"n": 1}))["n"] == 2
        updates = await app.ainvoke({"n": 1}, stream_mode="updates")
        assert [set(u) for u in updates] == [{"count"}, {"say"}]
        assert [v["n"] for v in app.stream({"n": 1}, stream_mode="values")] == [1, 2, 2]


async def test_langgraphs_commands_answer_and_go_on(store_url: str) -> None:
    async with line(count, approve).compile(checkpointer=store_url) as app:
        values = await app.ainvoke({}, thread("t"))
        (interrupt,) = values["__interrupt__"]
        with pytest.raises(ThreadNotFinished):
            await app.ainvoke({"n": 9}, thread("t"))
        assert (await app.ainvoke(Command(resume=True), thread("t")))["ok"] is True
        await app.ainvoke({"n": 1}, thread("t"))  # a further turn
        (interrupt,) = (await app.aget_state(thread("t"))).interrupts
        assert (await app.ainvoke(Command(resume={interrupt.id: False}), thread("t")))["ok"] is False
        with pytest.raises(InterruptUnknown):
            await app.ainvoke(Command(resume=True), thread("t"))
        with pytest.raises(ThreadNotFound):
            await app.ainvoke(Command(resume=True), thread("unknown"))


async def test_an_error_is_raised_and_none_goes_on(store_url: str) -> None:
    broken = [True]

    @llm
    async def fails(state: State) -> dict[str, object]:
        if broken:
            raise RuntimeError("no")
        return {"log": ["mended"]}

    async with line(count, fails).compile(checkpointer=store_url) as app:
        with pytest.raises(NodeFailed, match="RuntimeError: no"):
            await app.ainvoke({}, thread("t"))
        broken.clear()
        assert (await app.ainvoke(None, thread("t")))["log"] == ["mended"]


async def test_a_stream_left_early_can_be_taken_up_again(durable_url: str) -> None:
    async with line(count, approve).compile(checkpointer=durable_url) as app:
        async for _ in app.astream({}, thread("t"), stream_mode="updates"):
            break
        for _ in range(100):
            if (await app.status("t")).status != "running":
                break
            if await app.recover():
                break
            await asyncio.sleep(0.02)
        assert (await app.status("t")).status == "interrupted"


async def test_history_and_pictures(store_url: str) -> None:
    async with line(count, approve).compile(checkpointer=store_url) as app:
        await app.run({}, thread_id="t")
        snapshots = [s async for s in app.history("t")]
        assert snapshots[0].values["n"] == 1
        assert [s.next async for s in app.aget_state_history(thread("t"), limit=1)] == [("approve",)]
        assert all("vertebra.route" not in s.values for s in app.history_sync("t"))
        assert next(app.get_state_history(thread("t"), limit=1)).next == ("approve",)
        assert set(app.get_graph().nodes) == {"__start__", "count", "approve", "__end__"}
        with pytest.raises(UsageError, match="fork"):
            await app.ainvoke(None, snapshots[-1].config)


async def test_state_is_updated_by_hand_only_while_nobody_writes_it(store_url: str) -> None:
    async with line(count, approve).compile(checkpointer=store_url) as app:
        await app.run({}, thread_id="t")
        await app.aupdate_state(thread("t"), {"log": ["by hand"]})
        assert app.get_state(thread("t")).values["log"] == ["by hand"]
        assert app.update_state(thread("t"), {"n": 8})["configurable"]["thread_id"] == "t"
        assert (await app.resume("t")).interrupts[0].text == "8?"  # asked anew, of the new state
        run = await app.resume("t", True)
        assert (run.status, run.output.n) == ("done", 8)
        fresh = await app.aupdate_state(thread("new"), {"n": 3}, as_node="count")
        assert fresh["configurable"]["thread_id"] == "new"


async def test_a_driven_thread_is_not_updated(durable_url: str) -> None:
    @llm
    async def slow(state: State) -> dict[str, object]:
        await asyncio.sleep(1)
        return {}

    async with line(slow).compile(checkpointer=durable_url) as app:
        task = asyncio.create_task(app.run({}, thread_id="t"))
        await asyncio.sleep(0.3)
        with pytest.raises(ThreadBusy):
            await app.aupdate_state(thread("t"), {"n": 3})
        assert (await task).status == "done"


def test_the_sync_face_of_the_rest(durable_url: str) -> None:
    with line(count, approve).compile(checkpointer=durable_url) as app:
        kinds = [type(e).__name__ for e in app.events_sync({}, thread_id="t")]
        assert (kinds[0], kinds[-1]) == ("EdgeCrossed", "RunEnded")
        assert app.status_sync("t").status == "interrupted"
        assert app.cancel_sync("t") is True
        assert app.status_sync("t").status == "cancelled"
        app.delete_sync("t")
        with pytest.raises(ThreadNotFound):
            app.status_sync("t")
        app.drain_sync()
        assert repr(app).startswith("<App 'line' version '1' on ")
