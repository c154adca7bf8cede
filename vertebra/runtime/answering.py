"""Accepting an answer to an interrupt: the right question, a valid answer, recorded once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vertebra.errors import InterruptAmbiguous, InterruptUnknown, ThreadCancelled
from vertebra.runtime.interrupts import MARK, answer_text
from vertebra.runtime.outcome import pending_interrupts
from vertebra.runtime.snapshots import snapshot_of, thread_config
from vertebra.types import ThreadRecord

if TYPE_CHECKING:
    from vertebra.runtime.app import App


async def accept_answer(
    app: App, record: ThreadRecord, answer: Any, interrupt_id: str | None, principal: str | None
) -> bool:
    """Record the answer; False if the very same one was there. Raises an ``AnswerError``."""
    if record.status == "cancelled":
        raise ThreadCancelled(f"Thread {record.thread!r} was cancelled.", thread=record.thread)
    waiting = await waiting_questions(app, record.thread)
    known = await app.services.store.runs.answers(record.thread)
    if interrupt_id is None:
        interrupt_id = _only(record, waiting, known, answer)
    if interrupt_id not in waiting and interrupt_id not in known:
        raise InterruptUnknown(
            f"Thread {record.thread!r} has no interrupt {interrupt_id!r}.", thread=record.thread, interrupt=interrupt_id
        )
    value = waiting.get(interrupt_id)
    ours = isinstance(value, Mapping) and MARK in value
    spec = app.spec_of(str(value["node"])) if ours and value is not None else None
    text = answer_text(spec, answer)
    is_new = await app.services.store.runs.answer(record.thread, interrupt_id, text, principal)
    await app.services.store.runs.clear_timer(record.thread, f"deadline:{interrupt_id}")
    return is_new


def _only(record: ThreadRecord, waiting: Mapping[str, Any], known: Mapping[str, str], answer: Any) -> str:
    if len(waiting) == 1:
        return next(iter(waiting))
    if len(waiting) > 1:
        raise InterruptAmbiguous(
            f"Thread {record.thread!r} waits for {len(waiting)} answers: {', '.join(waiting)}.", thread=record.thread
        )
    raise InterruptUnknown(f"Thread {record.thread!r} does not wait for an answer.", thread=record.thread)


async def waiting_questions(app: App, thread: str) -> dict[str, Any]:
    """The pending interrupts of a thread: id to what was asked."""
    snapshot = await snapshot_of(app.graph, thread_config(thread))
    return {interrupt_id: value for interrupt_id, value, _ in pending_interrupts(snapshot)}


async def default_answer(app: App, thread: str, interrupt_id: str) -> Any:
    """What a waiting question is answered with when its deadline has passed; None: nothing."""
    value = (await waiting_questions(app, thread)).get(interrupt_id)
    return value.get("default") if isinstance(value, Mapping) else None


async def due_questions(app: App, only: str | None) -> list[tuple[str, str]]:
    """Thread and interrupt of each question whose deadline has passed, of whatever graph."""
    due = await app.services.store.runs.due_timers()
    return [
        (thread, name.removeprefix("deadline:"))
        for thread, name in due
        if name.startswith("deadline:") and only in (None, thread)
    ]


def stored(text: str) -> Any:
    """An answer as it was recorded."""
    return json.loads(text)
