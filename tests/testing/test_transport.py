"""The script without sockets, on virtual time."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from vertebra.errors import ProviderUnreachable
from vertebra.ports import Request, Sender
from vertebra.testing import ScriptedModel, ScriptedTransport, run_shuffled

PATH = "/v1/chat/completions"


def body(text: str, **more) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **more}).encode()


async def said(model: ScriptedTransport, text: str = "hello", **more) -> tuple[int, bytes]:
    reply = await model.send("POST", PATH, {"Idempotency-Key": "k"}, body(text, **more))
    return reply.status, b"".join([chunk async for chunk in reply.chunks])


def request(text: str = "hello", timeout_s: float | None = 30.0, **more) -> Request:
    extensions = {"timeout": {"read": timeout_s}}
    return Request("POST", f"https://api.openai.com{PATH}", (("Authorization", "x"),), body(text, **more), extensions)


def test_it_answers_as_the_server_does(client, model):
    transport = ScriptedTransport()
    _, answer = run_shuffled(lambda: said(transport))
    messages = [{"role": "user", "content": "hello"}]
    over_http = client.chat.completions.with_raw_response.create(model="m", messages=messages)
    assert json.loads(answer) == json.loads(over_http.content)
    ours, theirs = next(iter(transport.books)), next(iter(model.books))
    assert (ours.digest, ours.paid, ours.idempotency_key) == (theirs.digest, True, "k")


def test_delays_and_hangs_take_no_time():
    transport = ScriptedTransport()
    transport.on("slow").delay(5000)
    transport.on("hang").hang()

    async def main() -> None:
        await said(transport, "slow")
        assert asyncio.get_running_loop().time() >= 5000
        with pytest.raises(TimeoutError):
            await said(transport, "hang")

    begun = time.perf_counter()
    run_shuffled(main)
    assert time.perf_counter() - begun < 5


def test_faults_in_bytes():
    transport = ScriptedTransport()
    transport.on("busy").fail(429, retry_after_s=0.5)
    transport.on("bad").bad_json()
    transport.on("cut").cut(after_chunks=2, times=2)

    async def main() -> None:
        reply = await transport.send("POST", PATH, {}, body("busy"))
        assert (reply.status, reply.headers["retry-after"]) == (429, "0.5")
        with pytest.raises(json.JSONDecodeError):
            json.loads((await said(transport, "bad"))[1])
        for stream, whole_chunks in ((True, 2), (False, 1)):
            reply = await transport.send("POST", PATH, {}, body("cut", stream=stream))
            seen = [await anext(reply.chunks) for _ in range(whole_chunks)]
            assert all(seen)
            with pytest.raises(ConnectionResetError):
                await anext(reply.chunks)

    run_shuffled(main)
    assert [entry.delivered for entry in transport.books] == [True, False, False, False]


def test_it_is_a_sender_for_the_door():
    transport = ScriptedTransport()
    sender: Sender = transport
    transport.on("hang").hang()
    transport.on("slow").delay(60)
    transport.on("cut").cut()

    async def main() -> None:
        reply = await sender.send(request())
        assert json.loads(b"".join([chunk async for chunk in reply.chunks]))["object"] == "chat.completion"
        await reply.close()
        for text in ("hang", "slow"):
            with pytest.raises(ProviderUnreachable):
                await sender.send(request(text))
        assert asyncio.get_running_loop().time() == pytest.approx(60, abs=1)
        broken = await sender.send(request("cut", stream=True))
        with pytest.raises(ProviderUnreachable):
            [chunk async for chunk in broken.chunks]
        await sender.aclose()

    run_shuffled(main)
    assert next(iter(transport.books)).authorized


def test_both_faces_share_one_script_language():
    with ScriptedModel() as model:
        assert type(model.on()) is type(ScriptedTransport().on())
