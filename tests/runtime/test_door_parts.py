"""The parts around a call: their order, and that a refused or failed call costs nothing."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import BaseModel

from vertebra import END, START, Append, Context, Graph, Retry, llm
from vertebra.errors import CallError
from vertebra.ports import Reply, Request
from vertebra.runtime.app import App
from vertebra.runtime.door import Door
from vertebra.testing import ScriptedModel
from vertebra.types import CallRecord, RecordedAnswer


class State(BaseModel):
    log: Append[str] = []


class Parts:
    """Policy, budget, ledger, span and sender that note when they are asked."""

    def __init__(self, app: App, *, refuse: bool = False) -> None:
        self.asked: list[str] = []
        self._refuse = refuse
        parts = app.services.door.parts
        self._send = parts.sender.send
        self.aclose = parts.sender.aclose
        everything: Any = self
        app.services.door = Door(
            dataclasses.replace(
                parts, policy=everything, budget=everything, ledger=everything, span=everything, sender=everything
            )
        )

    async def decide(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append("policy")
        if self._refuse:
            raise CallError("This model is not for you.")
        return {}

    async def reserve(self, request: Mapping[str, Any]) -> Any:
        self.asked.append("reserve")
        return "reservation"

    async def settle(self, reservation: Any, answer: RecordedAnswer | None) -> None:
        self.asked.append("settle" if answer else "give back")

    async def enter(self, call: CallRecord, answer: RecordedAnswer) -> None:
        self.asked.append("ledger")

    async def emit(self, call: CallRecord, answer: RecordedAnswer) -> None:
        self.asked.append("span")

    async def send(self, request: Request) -> Reply:
        self.asked.append("send")
        return await self._send(request)


@llm(retry=Retry(attempts=1))
async def node(state: State, ctx: Context) -> dict[str, object]:
    await ctx.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
    return {"log": ["done"]}


def graph(body: Any = node) -> Graph:
    g = Graph(State, name="parts")
    g.add_edge(START, body)
    g.add_edge(body, END)
    return g


async def test_a_call_passes_the_parts_in_order(store_url: str, scripted_model: ScriptedModel) -> None:
    async with graph().compile(checkpointer=store_url) as app:
        parts = Parts(app)
        assert (await app.run({})).status == "done"
        assert parts.asked == ["policy", "reserve", "send", "settle", "ledger", "span"]


async def test_a_refused_call_leaves_no_intent(store_url: str, scripted_model: ScriptedModel) -> None:
    async with graph().compile(checkpointer=store_url) as app:
        parts = Parts(app, refuse=True)
        run = await app.run({}, thread_id="t")
        assert run.error is not None
        assert "not for you" in run.error.message
        assert parts.asked == ["policy"]
        assert await app.services.store.journal.calls("t") == []


async def test_a_call_without_an_answer_gives_its_reservation_back(
    store_url: str, scripted_model: ScriptedModel
) -> None:
    scripted_model.on("hello").fail(400)
    async with graph().compile(checkpointer=store_url) as app:
        parts = Parts(app)
        assert (await app.run({}, thread_id="t")).status == "failed"
        assert parts.asked == ["policy", "reserve", "send", "give back"]


async def test_an_answer_from_the_record_is_not_charged(store_url: str, scripted_model: ScriptedModel) -> None:
    failed: list[bool] = []

    @llm(retry=Retry(attempts=1))
    async def twice(state: State, ctx: Context) -> dict[str, object]:
        await ctx.client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
        if not failed:
            failed.append(True)
            raise RuntimeError("died")
        return {}

    async with graph(twice).compile(checkpointer=store_url) as app:
        assert (await app.run({}, thread_id="t")).status == "failed"
        parts = Parts(app)
        assert (await app.resume("t")).status == "done"
        assert parts.asked == []


async def test_threads_of_a_sync_node_do_not_take_the_bodys_place(scripted_model: ScriptedModel) -> None:
    """A body and threads that it started call at once: only the body's own calls come in program order."""
    scripted_model.on("own").delay(0.05)
    failed: list[bool] = []

    @llm(retry=Retry(attempts=1))
    def busy(state: State, ctx: Context) -> dict[str, object]:
        def ask(text: str) -> None:
            ctx.sync_client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])

        with ThreadPoolExecutor(4) as pool:
            # The order of the threads' calls differs between the two executions.
            names = [f"thread {n}" for n in range(4)]
            jobs = [pool.submit(ask, name) for name in (reversed(names) if failed else names)]
            for n in range(3):
                ask(f"own {n}")
            for job in jobs:
                job.result()
        if not failed:
            failed.append(True)
            raise RuntimeError("died")
        return {"log": [threading.current_thread().name]}

    async with graph(busy).compile() as app:
        assert (await app.run({}, thread_id="t")).error.code == "node_failed"  # type: ignore[union-attr]
        run = await app.resume("t")
        assert run.status == "done", run.error
        assert len(scripted_model.books.paid()) == 7
