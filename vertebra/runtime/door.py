"""The door: the one place where a model call or an effect is made, recorded, and answered from the record.

In order: journal, policy, budget, intent, sending with retries, journal, budget, ledger, span.
Policy, budget, ledger and span are present or not; nothing else knows how a call is made.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

from vertebra.errors import AnswerInvalid, AnswerTooLarge, ProviderUnreachable, RequestDrift
from vertebra.nodes.retry import Retry
from vertebra.nodes.visit import Visit, effective_epoch
from vertebra.ports import (
    BudgetPort,
    Clock,
    JournalPort,
    LedgerPort,
    PolicyPort,
    Reply,
    Request,
    Sender,
    SpanPort,
    crash_point,
)
from vertebra.runtime.answers import KEPT_HEADERS, StreamWatch, is_event_stream, is_json, retry_after_s, usage_of
from vertebra.runtime.recording import RecordedStream
from vertebra.runtime.requests import Identity, identify
from vertebra.types import Attempt, CallKey, CallRecord, CallSource, RecordedAnswer


@dataclass(frozen=True)
class DoorParts:
    """What stands around a call. All but the first three may be missing."""

    journal: JournalPort
    sender: Sender
    clock: Clock
    policy: PolicyPort | None = None
    budget: BudgetPort | None = None
    ledger: LedgerPort | None = None
    span: SpanPort | None = None
    max_answer_bytes: int = 64_000_000
    drain_s: float = 5.0
    drain_bytes: int = 1_000_000


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
        async with Call(self, visit, identity) as call:
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


class Call:
    """One call on its way through the door: its key, its place in the visit, its notes."""

    def __init__(self, door: Door, visit: Visit, identity: Identity) -> None:
        self.visit = visit
        self.identity = identity
        self.parts = door.parts
        self.sends = 0
        self.reservation: Any = None
        self.handed_over = False
        self._answered = False
        self.record_before: CallRecord | None = None

    async def __aenter__(self) -> Call:
        await _load_history(self.visit, self.parts.journal)
        self.sequence = self.visit.next_sequence()
        self.ordinal = self.visit.take_ordinal(self.identity.hash)
        epoch = effective_epoch(self.visit.epochs, self.identity.hash, self.ordinal)
        self.key = CallKey(self.visit.thread, self.visit.key, self.identity.hash, epoch, self.ordinal)
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self.handed_over:
            self.close()
            await self._settle(None)

    def close(self) -> None:
        """Give the ordinal back if no answer was taken: a resend by the caller is the same call."""
        if not self._answered:
            self.visit.release_ordinal(self.identity.hash, self.ordinal)

    def require_open(self) -> None:
        if self.visit.closed:
            from vertebra.errors import VisitClosed

            raise VisitClosed(f"Node {self.visit.node!r} has ended; its late call was refused.", node=self.visit.node)

    async def begin(self, kind: Literal["llm", "effect", "http"]) -> RecordedAnswer | None:
        """Find the answer in the record; or ask policy and budget, and write the intent to send.

        Raises ``RequestDrift``, and what policy and budget refuse with: then nothing is written.
        """
        _refuse_drift(self.visit, self.sequence, self.identity, self.ordinal)
        if (self.identity.hash, self.ordinal) not in self.visit.recorded:
            await self._admitted()
        record = await self.parts.journal.begin(
            CallRecord(
                key=self.key,
                run_id=self.visit.run_id,
                node=self.visit.node,
                step=self.visit.step,
                kind=kind,
                endpoint=self.identity.endpoint,
                model=self.identity.model,
                status="intent",
                request=self.identity.text,
                answer=None,
                started_at=self.parts.clock.now().timestamp(),
                finished_at=None,
                sends=1,
                lost=0,
                replays=0,
                sequence=self.sequence,
            )
        )
        self.record_before = record
        if record.answer is None:
            self.visit.asked_anew += 1
            return None
        self._taken(record.answer, "journal")
        return record.answer

    async def note(self, outcome: str, status: int | None, wait_s: float | None) -> None:
        """Note a sending that brought no answer."""
        attempt = Attempt(outcome, self.parts.clock.now().timestamp(), status, wait_s or 0.0)
        await self.parts.journal.sent(self.key, attempt, again=wait_s is not None)
        if wait_s is None:
            await self._settle(None)

    async def _admitted(self) -> None:
        if self.parts.policy is not None:
            await self.parts.policy.decide({"endpoint": self.identity.endpoint, "model": self.identity.model})
        if self.parts.budget is not None:
            self.reservation = await self.parts.budget.reserve({"key": self.key, "model": self.identity.model})

    async def _settle(self, answer: RecordedAnswer | None) -> None:
        """Give the reservation back, once; with an answer, charge what it cost."""
        if self.parts.budget is not None and self.reservation is not None:
            reservation, self.reservation = self.reservation, None
            await self.parts.budget.settle(reservation, answer)

    async def record(self, answer: RecordedAnswer) -> None:
        """Make the answer durable; whoever asked may have it afterwards."""
        self.require_open()
        now = self.parts.clock.now().timestamp()
        answer = await self.parts.journal.complete(self.key, answer, now)
        crash_point("call.recorded")
        await self._settle(answer)
        if self.record_before is not None:
            if self.parts.ledger is not None:
                await self.parts.ledger.enter(self.record_before, answer)
            if self.parts.span is not None:
                await self.parts.span.emit(self.record_before, answer)
        self._taken(answer, "provider")

    def _taken(self, answer: RecordedAnswer, source: CallSource) -> None:
        self._answered = True
        self.visit.answered(self.identity.hash, self.ordinal)
        self.visit.notify(
            "call",
            {
                "endpoint": self.identity.endpoint,
                "model": self.identity.model,
                "source": source,
                "input_tokens": answer.input_tokens,
                "output_tokens": answer.output_tokens,
            },
        )


def kept_headers(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The headers that are recorded with an answer."""
    return tuple((k.lower(), v) for k, v in headers if k.lower() in KEPT_HEADERS)


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


async def _load_history(visit: Visit, journal: JournalPort) -> None:
    """Read, once an execution, what earlier executions of this visit have asked."""
    if visit.prior is not None:
        return
    epochs = await journal.epochs(visit.thread, visit.key)
    calls = await journal.calls(visit.thread, visit.key)
    if visit.prior is not None:
        return
    done = [c for c in calls if c.status == "done"]
    current = [c for c in done if c.key.epoch == effective_epoch(epochs, c.key.request_hash, c.key.ordinal)]
    visit.epochs = epochs
    visit.recorded = frozenset((c.key.request_hash, c.key.ordinal) for c in current)
    visit.prior = {c.sequence: (c.key.request_hash, c.endpoint, c.request) for c in current if c.sequence is not None}


def _refuse_drift(visit: Visit, sequence: int | None, identity: Identity, ordinal: int) -> None:
    """Stop a node that asks something else than before at the same place, before it pays.

    Only calls of the body's own task are compared: they come in program order. Calls of tasks that
    it started may come in any order, and are reported when the node ends.
    """
    if sequence is None or visit.drift_checked is None or visit.prior is None:
        return
    before = visit.prior.get(sequence)
    if before is None or visit.drift_checked != sequence:
        visit.drift_checked = None
        return
    digest, endpoint, text = before
    if digest == identity.hash:
        visit.drift_checked = sequence + 1
        return
    visit.drift_checked = None
    if (identity.hash, ordinal) in visit.recorded or endpoint != identity.endpoint:
        return
    raise RequestDrift(
        f"Executed again, node {visit.node!r} would send another request than the recorded one "
        f"(call {sequence + 1}, {endpoint}):\n{request_difference(text, identity.text)}\n",
        node=visit.node,
        thread=visit.thread,
        step=visit.step,
    )


def request_difference(before: str | None, after: str | None) -> str:
    """Two requests as a line-wise difference of their indented JSON."""

    def lines(text: str | None) -> list[str]:
        try:
            return json.dumps(json.loads(text or "null"), indent=1, sort_keys=True, ensure_ascii=False).splitlines()
        except ValueError:
            return [text or ""]

    rows = list(difflib.unified_diff(lines(before), lines(after), "recorded", "now", lineterm="", n=1))
    return "\n".join(rows[:60])


__all__ = ["Answer", "Call", "Door", "DoorParts", "kept_headers", "request_difference"]
