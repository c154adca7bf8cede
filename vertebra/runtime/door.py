"""The door: the one place where a model call or an effect is made, recorded, and answered from the record.

In order: journal, policy, budget, intent, sending with retries, journal, budget, ledger, span.
Policy, budget, ledger and span are present or not; nothing else knows how a call is made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from vertebra.errors import AnswerInvalid, AnswerTooLarge, ProviderUnreachable
from vertebra.nodes.retry import Retry
from vertebra.nodes.visit import Visit
from vertebra.ports import Reply, Request, crash_point
from vertebra.runtime.answers import StreamWatch, is_event_stream, is_json, kept_headers, retry_after_s, usage_of
from vertebra.runtime.call import Call, DoorParts
from vertebra.runtime.recording import RecordedStream
from vertebra.runtime.requests import identify
from vertebra.types import RecordedAnswer


@dataclass(frozen=True)
class Answer:
    """What a caller gets: a whole body, or a stream that records itself as it is read."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    stream: RecordedStream | None = None


class Door:
    """Makes calls for visits. Holds no state of a run: any number of runs share it."""

    def __init__(self, parts: DoorParts) -> None:
        self.parts = parts
        self._random = Random()

    async def call(self, visit: Visit, request: Request, retry: Retry) -> Answer:
        """Answer a request, from the record or from the provider.

        A response that is not 2xx is returned as it is, and not recorded. Raises ``CallError``.
        """
        identity = identify(request.method, request.url, request.header_map, request.body)
        async with Call(self.parts, visit, identity) as call:
            recorded = await call.begin(identity.kind)
            if recorded is not None:
                return _from_record(recorded)
            request = self._prepared(request, call)
            reply = await self._send(request, call, retry)
            return await self._receive(request, reply, call, retry)

    def _prepared(self, request: Request, call: Call) -> Request:
        """The request as it leaves, under the call's idempotency key."""
        headers = tuple((k, v) for k, v in request.headers if k.lower() != "idempotency-key")
        return replace(request, headers=(*headers, ("Idempotency-Key", call.key.idempotency_key)))

    async def _send(self, request: Request, call: Call, retry: Retry) -> Reply:
        """Send until there is a response that is not worth another try."""
        while True:
            call.sends += 1
            wait_s: float | None
            try:
                crash_point("call.intent")
                reply = await self.parts.sender.send(request)
                crash_point("call.sent")
            except ProviderUnreachable as error:
                wait_s = retry.resend_after_s(None, None, call.sends, self._random)
                await call.note(str(error.context.get("kind", "unreachable")), None, wait_s)
                if wait_s is None:
                    raise
            else:
                if 200 <= reply.status < 300:
                    return reply
                after = retry_after_s(reply.header_map, self.parts.clock.now().timestamp())
                wait_s = retry.resend_after_s(reply.status, after, call.sends, self._random)
                await call.note(f"status {reply.status}", reply.status, wait_s)
                if wait_s is None:
                    return reply
                await reply.close()
            await self.parts.clock.sleep(wait_s)
            call.require_open()

    async def _receive(self, request: Request, reply: Reply, call: Call, retry: Retry) -> Answer:
        """Read the answer and record it before the caller has it whole."""
        content_type = reply.header_map.get("content-type", "")
        if 200 <= reply.status < 300 and is_event_stream(content_type):
            stream = RecordedStream(reply, call, StreamWatch(), self.parts.max_answer_bytes)
            call.handed_over = True
            return Answer(reply.status, reply.headers, None, stream)
        while True:
            try:
                body = await self._read(reply)
                if 200 <= reply.status < 300 and is_json(content_type):
                    data = _parsed(body)
                    break
                data = None
                break
            except (ProviderUnreachable, AnswerInvalid) as error:
                wait_s = retry.resend_after_s(None, None, call.sends, self._random)
                await call.note(str(error.context.get("kind", error.code)), reply.status, wait_s)
                if wait_s is None:
                    raise
            except AnswerTooLarge as error:
                await call.note(error.code, reply.status, None)
                raise
            finally:
                await reply.close()
            await self.parts.clock.sleep(wait_s)
            reply = await self._send(request, call, retry)
            content_type = reply.header_map.get("content-type", "")
        if not 200 <= reply.status < 300:
            return Answer(reply.status, reply.headers, body)
        crash_point("call.received")
        await call.record(RecordedAnswer(reply.status, kept_headers(reply.headers), body, *usage_of(data)))
        return Answer(reply.status, reply.headers, body)

    async def _read(self, reply: Reply) -> bytes:
        body = bytearray()
        async for chunk in reply.chunks:
            body += chunk
            if len(body) > self.parts.max_answer_bytes:
                raise AnswerTooLarge(f"The answer is over {self.parts.max_answer_bytes:,} bytes.")
        return bytes(body)


def _from_record(answer: RecordedAnswer) -> Answer:
    content_type = dict(answer.headers).get("content-type", "")
    if is_event_stream(content_type):
        return Answer(answer.status, answer.headers, None, RecordedStream.replay(answer.body))
    return Answer(answer.status, answer.headers, answer.body)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise AnswerInvalid(f"The answer says that it is JSON, but is not: {error}.") from error


__all__ = ["Answer", "Door", "DoorParts"]
