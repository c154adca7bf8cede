"""Streams through the door, event by event, from a provider that says exactly what the test says."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from vertebra import END, START, Append, Context, Graph, Retry, llm
from vertebra.errors import ProviderUnreachable
from vertebra.ports import Reply, Request
from vertebra.runtime import events
from vertebra.runtime.door import Door
from vertebra.types import CallRecord


class State(BaseModel):
    log: Append[str] = []


def chunk(text: str) -> bytes:
    data = {"id": "c", "created": 1, "model": "m", "object": "chat.completion.chunk"}
    return b"data: " + json.dumps({**data, "choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


class Provider:
    """A sender that streams these chunks; None: silence."""

    def __init__(self, *chunks: bytes | Exception | None) -> None:
        self._chunks = chunks
        self.sent = 0
        self.closed = 0

    async def send(self, request: Request) -> Reply:
        self.sent += 1
        return Reply(200, (("content-type", "text/event-stream"),), self._stream(), self._close)

    async def _stream(self) -> AsyncIterator[bytes]:
        for item in self._chunks:
            if item is None:
                await asyncio.sleep(3600)
            elif isinstance(item, Exception):
                raise item
            else:
                yield item

    async def _close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        pass


async def streamed(
    store_url: str, provider: Provider, *, take: int | None = None, limits: Any = None, **options: Any
) -> tuple[Any, list[str], CallRecord]:
    texts: list[str] = []

    @llm(retry=Retry(attempts=1))
    async def node(state: State, ctx: Context) -> dict[str, object]:
        stream = await ctx.client.chat.completions.create(
            model="m", stream=True, messages=[{"role": "user", "content": "hello"}]
        )
        async for part in stream:
            texts.append(part.choices[0].delta.content or "")
            if take is not None and len(texts) >= take:
                break
        await stream.close()
        return {"log": ["".join(texts)]}

    g = Graph(State, name="streams")
    g.add_edge(START, node)
    g.add_edge(node, END)
    async with g.compile(checkpointer=store_url, sender=provider, **options) as app:
        app.services.door = Door(dataclasses.replace(app.services.door.parts, **(limits or {})))
        run = await app.run({}, thread_id="t")
        (call,) = await app.services.store.journal.calls("t")
        return run, texts, call


async def test_an_error_within_a_stream_is_the_clients_and_is_not_recorded(store_url: str) -> None:
    provider = Provider(chunk("one"), b'data: {"error": {"message": "overloaded", "code": "busy"}}\n\n')
    run, texts, call = await streamed(store_url, provider)
    assert (run.status, texts) == ("failed", ["one"])
    assert "overloaded" in run.error.message
    assert (call.status, call.lost, [a.outcome for a in call.attempts]) == ("intent", 0, ["error"])
    assert provider.closed == 1


async def test_a_stream_over_the_limit_is_given_up(store_url: str) -> None:
    run, texts, call = await streamed(store_url, Provider(chunk("one"), chunk("x" * 5000)), max_answer_bytes=1000)
    assert (run.error.code, texts) == ("answer_too_large", ["one"])
    assert (call.status, [a.outcome for a in call.attempts]) == ("intent", ["too large"])


async def test_a_stream_that_breaks_off_is_not_recorded(store_url: str) -> None:
    gone = ProviderUnreachable("gone", kind="ReadError")
    for provider in (Provider(chunk("one"), gone), Provider(chunk("one"))):
        run, texts, call = await streamed(store_url, provider)
        assert (run.error.code, texts) == ("stream_truncated", ["one"])
        assert (call.status, call.lost) == ("intent", 0)
        if store_url != "memory://":
            break  # one thread a database


async def test_what_was_read_is_recorded_when_a_stream_cannot_be_drained(store_url: str) -> None:
    run, texts, call = await streamed(
        store_url, Provider(chunk("one"), chunk("two"), None), take=1, limits={"drain_s": 0.05}
    )
    assert (run.status, texts) == ("done", ["one"])
    assert call.answer is not None
    assert call.answer.body == chunk("one") + chunk("two")


async def test_a_drain_that_breaks_off_records_what_was_read(store_url: str) -> None:
    provider = Provider(chunk("one"), ProviderUnreachable("gone", kind="ReadError"))
    run, _, call = await streamed(store_url, provider, take=1)
    assert run.status == "done"
    assert call.answer is not None
    assert call.answer.body == chunk("one")


async def test_a_drain_ends_at_its_limit(store_url: str) -> None:
    provider = Provider(chunk("one"), *[chunk("more")] * 1000)
    run, _, call = await streamed(store_url, provider, take=1, limits={"drain_bytes": 300})
    assert run.status == "done"
    assert call.answer is not None
    assert len(call.answer.body) < 1000


async def test_a_stream_of_a_node_that_has_ended_is_let_go(store_url: str) -> None:
    streams: list[Any] = []

    @llm(retry=Retry(attempts=1))
    async def node(state: State, ctx: Context) -> dict[str, object]:
        stream = await ctx.client.chat.completions.create(
            model="m", stream=True, messages=[{"role": "user", "content": "hello"}]
        )
        streams.append(stream)
        await anext(aiter(stream))
        return {}

    g = Graph(State, name="streams")
    g.add_edge(START, node)
    g.add_edge(node, END)
    provider = Provider(chunk("one"), chunk("two"), b"data: [DONE]\n\n")
    async with g.compile(checkpointer=store_url, sender=provider) as app:
        seen: list[events.Event] = []
        assert (await app.run({}, thread_id="t", on_event=seen.append)).status == "done"
        with pytest.raises(openai.APIConnectionError):
            async for _ in streams[0]:
                pass
        await streams[0].close()
        (call,) = await app.services.store.journal.calls("t")
        assert call.status == "intent"
        assert provider.closed == 1
