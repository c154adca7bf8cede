"""Runs, threads and calls as a person reads them, and as plain data for ``--json``."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vertebra.cli import gist
from vertebra.cli.terminal import Terminal, ago, clean, clock, fit
from vertebra.errors import VertebraError
from vertebra.types import CallRecord, Finding, Interrupt, Run, ThreadRecord


def plain(value: Any) -> Any:
    """The value as data that JSON has: what it lacks becomes text, NaN becomes null."""
    from pydantic_core import PydanticSerializationError, to_json

    try:
        return json.loads(to_json(value, fallback=str, inf_nan_mode="null"))
    except PydanticSerializationError:
        # Bytes that are no text: a model takes their form from its own configuration, plain data from here.
        data = value.model_dump() if hasattr(value, "model_dump") else value
        return json.loads(to_json(data, fallback=str, inf_nan_mode="null", bytes_mode="base64"))


def readable(data: Any, indent: int | None = None) -> str:
    """JSON for a person."""
    return clean(json.dumps(plain(data), indent=indent, ensure_ascii=False))


def run_data(run: Run) -> dict[str, Any]:
    """A run, for ``--json``."""
    return {
        "thread": run.thread_id,
        "run": run.run_id,
        "status": run.status,
        "output": plain(run.output),
        "interrupts": plain(list(run.interrupts)),
        "usage": plain(dict(run.usage)),
        "calls": run.calls,
        "calls_from_journal": run.calls_from_journal,
        "error": run.error.to_json() if run.error else None,
        "next": list(run.next),
    }


def thread_data(record: ThreadRecord, recoverable: bool) -> dict[str, Any]:
    """A thread, for ``--json``; times are Unix seconds."""
    keys = ("thread", "graph", "version", "status", "run_id", "principal", "recoveries", "created_at", "updated_at")
    return {**{key: getattr(record, key) for key in keys}, "recoverable": recoverable, "error": record.error}


def damaged_data(thread: str, error: VertebraError) -> dict[str, Any]:
    """A thread whose record cannot be read, for ``--json``."""
    keys = ("graph", "version", "run_id", "principal", "recoveries", "created_at", "updated_at")
    unknown = dict.fromkeys(keys)
    return {"thread": thread, "status": "damaged", **unknown, "recoverable": False, "error": error.to_json()}


def call_data(call: CallRecord) -> dict[str, Any]:
    """A call, for ``--json``."""
    answer = call.answer
    return {
        "node": call.node,
        "step": call.step,
        "visit": call.key.visit,
        "kind": call.kind,
        "endpoint": call.endpoint,
        "model": call.model,
        "status": call.status,
        "request": call.request,
        "answer": answer.body.decode("utf-8", "replace") if answer and not answer.pruned else None,
        "pruned": answer is not None and answer.pruned,
        "input_tokens": answer.input_tokens if answer else None,
        "output_tokens": answer.output_tokens if answer else None,
        "started_at": call.started_at,
        "finished_at": call.finished_at,
        "sends": call.sends,
        "lost": call.lost,
        "attempts": plain(list(call.attempts)),
        "source": None if answer is None else "journal" if call.replays or call.origin else "provider",
        "answered_from_journal": call.replays,
        "origin": call.origin,
    }


def finding_data(finding: Finding) -> dict[str, str | None]:
    """A finding, for ``--json``; ``waived`` is the reason, or null."""
    return {key: getattr(finding, key) for key in ("code", "severity", "place", "message", "remedy", "waived")}


def run_text(run: Run, resume: Sequence[str], terminal: Terminal) -> Iterator[str]:
    """A run in words; ``resume`` is the command line that resumes it."""
    journal = f", {run.calls_from_journal} answered from the journal" if run.calls_from_journal else ""
    yield f"thread {clean(run.thread_id)}: {terminal.status(run.status)}; {counted(run.calls, 'call')}{journal}"
    for interrupt in run.interrupts:
        yield from question_text(interrupt, terminal)
        which = ["--interrupt", interrupt.id] if len(run.interrupts) > 1 else []
        yield f"  answer with: {shlex.join([*resume, *which])} --answer JSON"
    if run.status == "done":
        yield readable(run.output, indent=2)


def question_text(interrupt: Interrupt, terminal: Terminal) -> Iterator[str]:
    """A question that waits."""
    yield terminal.line(f"{interrupt.node} asks:", 2)
    yield from (terminal.paint(line, "yellow") for line in terminal.wrapped(interrupt.text, 4))
    if interrupt.data is not None:
        yield terminal.line(f"about: {readable(interrupt.data)}", 4)
    if interrupt.answer_schema:
        yield terminal.line(f"JSON: {gist.schema(interrupt.answer_schema)}", 4)
    if interrupt.deadline is not None:
        yield f"    until {clock(interrupt.deadline.timestamp())}"


def threads_text(
    records: Sequence[ThreadRecord], recoverable: set[str], damaged: Mapping[str, VertebraError], terminal: Terminal
) -> Iterator[str]:
    """Threads as a table; last those whose record cannot be read."""
    now = time.time()
    rows: list[tuple[str, ...]] = [
        (
            *(record.thread, record.status, f"{record.graph} {record.version}", ago(now - record.updated_at)),
            _note(record, record.thread in recoverable),
        )
        for record in records
    ]
    rows += [(thread, "damaged", "?", "?", error.message) for thread, error in damaged.items()]
    if rows:
        yield from terminal.table(("THREAD", "STATUS", "GRAPH", "UPDATED", "NOTE"), rows)
    yield f"{counted(len(rows), 'thread')}."


def _note(record: ThreadRecord, recoverable: bool) -> str:
    if recoverable:
        return "no process drives it: recover"
    if record.status == "running":
        return "asked to stop" if record.cancel_requested else "a process drives it"
    if record.status == "interrupted":
        return "waits for an answer: show"
    return str(record.error.get("code", "")) if record.error and record.status == "failed" else ""


def thread_text(
    record: ThreadRecord, interrupts: Sequence[Interrupt], by_hand: Sequence[Mapping[str, Any]], terminal: Terminal
) -> Iterator[str]:
    """Where a thread stands, and how it came to it."""
    room = None if terminal.width is None else max(1, terminal.width - len(f"thread : {record.status}"))
    yield f"thread {fit(clean(record.thread), room)}: {terminal.status(record.status)}"
    principal = f", for {record.principal}" if record.principal else ""
    yield terminal.line(f"graph {record.graph} {record.version}, run {record.run_id}{principal}", 2)
    yield terminal.line(f"begun {clock(record.created_at)}, updated {clock(record.updated_at)}", 2)
    for item in record.story:
        yield terminal.line(f"{clock(float(item['at']))}  {item['died']} died; recovery {item['recovery']}", 2)
    for item in by_hand:
        who = item["principal"] or "someone"
        yield terminal.line(f"{clock(item['at'])}  {_done_by_hand(item, who)}", 2)
    if record.error is not None and record.status == "failed":
        yield from (terminal.paint(line, "red") for line in terminal.wrapped(str(record.error.get("message", "")), 2))
        yield from terminal.wrapped(f"To go on: {record.error.get('remedy', '')}", 2)
    for interrupt in interrupts:
        yield from question_text(interrupt, terminal)


def _done_by_hand(item: Mapping[str, Any], who: str) -> str:
    if item["kind"] == "prune":
        number, answers = item["detail"]["checkpoints"], item["detail"]["answers"]
        gone = [counted(n, what) for n, what in ((number, "checkpoint"), (answers, "answer")) if n]
        return f"pruned: {' and '.join(gone)} let go"
    # A thread changes its version by itself, when it is driven by another.
    done = "changed its" if item["kind"] == "version" else f"{who} did by hand:"
    return f"{done} {item['kind']} {item['node']}"


def calls_text(calls: Sequence[CallRecord], full: bool, terminal: Terminal) -> Iterator[str]:
    """Calls as a table, under each what was asked and what was answered."""
    header = ("", "NODE", "STEP", "CALL", "MODEL", "IN", "OUT", "SECONDS", "FROM")
    rows = [
        (
            *(str(number), call.node, str(call.step), call.endpoint.removeprefix("POST "), call.model or ""),
            *_tokens(call),
            "" if call.finished_at is None else f"{call.finished_at - call.started_at:.1f}",
            _source(call),
        )
        for number, call in enumerate(calls, 1)
    ]
    lines = terminal.table(header, rows) if rows else []
    for number, line in enumerate(lines):
        yield line
        if number:
            yield from _exchange(calls[number - 1], full, terminal)
    yield from terminal.wrapped(_total(calls))


def _exchange(call: CallRecord, full: bool, terminal: Terminal) -> Iterator[str]:
    if call.answer is not None and call.answer.pruned:
        yield _labelled("pruned", "what was asked and answered was let go", terminal)
        return
    body = call.answer.body if call.answer else b""
    if full:
        yield f"   asked    {clean(call.request or '')}"
        yield f"   answered {clean(body.decode('utf-8', 'replace'))}"
        return
    # In a pipe a line may be long, but not as long as a book.
    limited = terminal if terminal.width is not None else Terminal(width=400)
    yield _labelled("asked", gist.asked(call.request), limited)
    if call.answer is not None:
        yield _labelled("answered", gist.answered(body), limited)


def _labelled(label: str, text: str, terminal: Terminal) -> str:
    head = f"   {label:<9}"
    return terminal.paint(head, "dim") + terminal.line(text, len(head))[len(head) :]


def _tokens(call: CallRecord) -> tuple[str, str]:
    counts = (call.answer.input_tokens, call.answer.output_tokens) if call.answer else (None, None)
    return "" if counts[0] is None else str(counts[0]), "" if counts[1] is None else str(counts[1])


def _source(call: CallRecord) -> str:
    if call.answer is None:
        made = f"no answer: {call.attempts[-1].outcome}" if call.attempts else "no answer yet"
    else:
        made = "the system" if call.kind == "effect" else "provider"
        made = made if call.origin is None else f"thread {call.origin}"
    parts = [made, f"{call.replays}x journal" if call.replays else "", f"sent {call.sends}x" if call.sends > 1 else ""]
    return ", ".join(part for part in (*parts, f"{call.lost} lost" if call.lost else "") if part)


def _total(calls: Sequence[CallRecord]) -> str:
    paid = [call for call in calls if call.answer is not None and call.kind != "effect" and call.origin is None]
    tokens_in = sum(call.answer.input_tokens or 0 for call in paid if call.answer)
    tokens_out = sum(call.answer.output_tokens or 0 for call in paid if call.answer)
    effects = sum(call.kind == "effect" for call in calls)
    also = f", {counted(effects, 'effect')}" if effects else ""
    lost = sum(call.lost for call in calls)
    return (
        f"{counted(len(paid), 'call')}{also}; {tokens_in} tokens in, {tokens_out} out; "
        f"{sum(call.replays for call in calls)} answered from the journal, {lost} lost."
    )


def counted(number: int, what: str, many: str | None = None) -> str:
    """``1 call``, ``2 calls``; ``many`` where it is not made by an s."""
    return f"{number} {what if number == 1 else many or f'{what}s'}"
