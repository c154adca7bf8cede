"""One call on its way through the door: what is written about it, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from vertebra.errors import RecordPruned, StoreUnavailable, VisitClosed
from vertebra.nodes.visit import Visit, effective_epoch
from vertebra.ports import BudgetPort, Clock, JournalPort, LedgerPort, PolicyPort, Sender, SpanPort, crash_point
from vertebra.runtime.drift import load_history, refuse_drift
from vertebra.runtime.requests import Identity
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
    record_patience_s: float = 20.0
    """How long a database that is away is waited for with an answer that has been paid for."""


class Call:
    """One call on its way through the door: its key, its place in the visit, its notes."""

    def __init__(self, parts: DoorParts, visit: Visit, identity: Identity) -> None:
        self.visit = visit
        self.identity = identity
        self.parts = parts
        self.journal = visit.journal or parts.journal
        self.sends = 0
        self.reservation: Any = None
        self.handed_over = False
        self._answered = False
        self.record_before: CallRecord | None = None

    async def __aenter__(self) -> Call:
        await load_history(self.visit, self.journal)
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
            raise VisitClosed(f"Node {self.visit.node!r} has ended; its late call was refused.", node=self.visit.node)

    async def begin(self, kind: Literal["llm", "effect", "http"]) -> RecordedAnswer | None:
        """Find the answer in the record; or ask policy and budget, and write the intent to send.

        Raises ``RequestDrift``, ``RecordPruned``, ``JournalFull``, and what policy and budget refuse with: then nothing
        is written.
        """
        refuse_drift(self.visit, self.sequence, self.identity, self.ordinal)
        if (self.identity.hash, self.ordinal) not in self.visit.recorded:
            await self._admitted()
        record = await self.journal.begin(
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
        if record.answer.pruned:
            raise RecordPruned(
                f"Node {self.visit.node!r} asks what was answered before, and the answer was pruned.",
                node=self.visit.node,
                thread=self.visit.thread,
                step=self.visit.step,
            )
        self._taken(record.answer, "journal")
        return record.answer

    async def note(self, outcome: str, status: int | None, wait_s: float | None) -> None:
        """Note a sending that brought no answer."""
        attempt = Attempt(outcome, self.parts.clock.now().timestamp(), status, wait_s or 0.0)
        await self.journal.sent(self.key, attempt, again=wait_s is not None)
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
        answer = await self._complete(answer, now)
        crash_point("call.recorded")
        await self._settle(answer)
        if self.record_before is not None:
            if self.parts.ledger is not None:
                await self.parts.ledger.enter(self.record_before, answer)
            if self.parts.span is not None:
                await self.parts.span.emit(self.record_before, answer)
        self._taken(answer, "provider")

    async def _complete(self, answer: RecordedAnswer, now: float) -> RecordedAnswer:
        """It is paid for: a server that restarts, a disk that is full for a moment, must not lose it."""
        pause_s = 0.05
        while True:
            try:
                return await self.journal.complete(self.key, answer, now)
            except StoreUnavailable as error:
                waited_s = self.parts.clock.now().timestamp() - now
                if error.context.get("closed") or waited_s > self.parts.record_patience_s:
                    raise
            await self.parts.clock.sleep(pause_s)
            pause_s = min(2 * pause_s, 1.0)

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
