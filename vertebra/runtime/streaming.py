"""LangGraph's stream under a lease: the same items, with the run recorded around them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers.lease import new_holder
from vertebra.errors import ThreadNotFinished, ThreadNotFound
from vertebra.runtime.driving import RECURSION_LIMIT, Drive
from vertebra.runtime.position import RUN_KEY
from vertebra.runtime.starting import start_of
from vertebra.runtime.versions import brought_up

if TYPE_CHECKING:
    from vertebra.runtime.app import App

_END: Any = object()


async def stream(app: App, input: Any, config: dict[str, Any], options: dict[str, Any]) -> AsyncIterator[Any]:
    """Drive the thread of ``config`` and yield what LangGraph streams. Raises the run's error."""
    thread = str(config["configurable"]["thread_id"])
    drive = await _begin(app, thread, input)
    queue: asyncio.Queue[Any] = asyncio.Queue()

    async def advance(payload: Any) -> None:
        settings = {
            **config,
            "metadata": {**(config.get("metadata") or {}), RUN_KEY: drive.record.run_id},
            "recursion_limit": config.get("recursion_limit", RECURSION_LIMIT),
        }
        keys = {"output_keys": app.public_channels} if app.definition is not None else {}
        if input is not None and not isinstance(input, dict) and _is_command(input):
            payload = input
        async for item in app.graph.astream(
            payload, settings, **{**keys, **options, "durability": "sync", "control": app.control}
        ):
            queue.put_nowait(item)

    drive.advance = advance

    async def work() -> Any:
        try:
            return await drive.to_next_stop()
        finally:
            queue.put_nowait(_END)

    task = asyncio.create_task(work())
    try:
        while (item := await queue.get()) is not _END:
            yield item
        _, error = await task
        if error is not None:
            raise error from error.__cause__
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _begin(app: App, thread: str, input: Any) -> Drive:
    app.require_open()
    runs = app.services.store.runs
    known = await runs.get(thread)
    if input is None or _is_command(input):
        record = await brought_up(app, await runs.require(thread))
        if _is_command(input):
            await _record_answers(app, thread, input)
        record, lease = await runs.take(thread, new_holder(), app.services.lease_ttl_s, by_hand=True)
        return Drive(app, record, lease, principal=None, listener=None, given=None)
    if known is not None and known.status in ("running", "interrupted", "failed"):
        raise ThreadNotFinished(f"Thread {thread!r} is {known.status}; new input would lose its place.", thread=thread)
    values = app.read_input(input, fresh=known is None)
    start = start_of(app, values, None)
    try:
        record, lease = await runs.begin(thread, start, new_holder(), app.services.lease_ttl_s, known=known is not None)
    except ThreadNotFound:  # deleted or pruned since: it begins anew, with the defaults of its state
        return await _begin(app, thread, input)
    return Drive(app, record, lease, principal=None, listener=None, given=values)


def _is_command(value: Any) -> bool:
    return type(value).__name__ == "Command" and type(value).__module__.startswith("langgraph")


async def _record_answers(app: App, thread: str, command: Any) -> None:
    """Keep the answers of ``Command(resume=...)`` before they are used, so that a crash does not lose them."""
    from vertebra.runtime.answering import accept_answer, waiting_questions

    if command.resume is None:
        return
    record = await app.services.store.runs.require(thread)
    waiting = await waiting_questions(app, thread)
    by_id = command.resume if isinstance(command.resume, dict) and set(command.resume) <= set(waiting) else None
    for interrupt_id, answer in (by_id or {None: command.resume}).items():
        await accept_answer(app, record, _jsonable(answer), interrupt_id, None)


def _jsonable(value: Any) -> Any:
    from vertebra.runtime.effects import jsonable

    return json.loads(json.dumps(jsonable(value, "The answer")))
