"""Driving on what nobody drives: runs whose process has died, questions whose deadline has passed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from vertebra.checkpointers.lease import new_holder
from vertebra.errors import CrashLoop, QuestionExpired, ThreadBusy, ThreadError, ThreadNotFound, VertebraError
from vertebra.runtime.answering import default_answer, due_questions
from vertebra.runtime.driving import Drive
from vertebra.runtime.execution import redacted
from vertebra.runtime.outcome import run_despite, run_of
from vertebra.runtime.scope import Listener
from vertebra.runtime.snapshots import thread_config
from vertebra.runtime.versions import brought_up
from vertebra.types import Run

if TYPE_CHECKING:
    from vertebra.runtime.app import App


async def recover_runs(app: App, thread_id: str | None, at_once: int, on_event: Listener | None) -> list[Run]:
    """What ``App.recover`` does. Returns, or raises, when all that it has begun has come to its end."""
    store = app.services.store
    limit = asyncio.Semaphore(at_once)
    if thread_id is not None:
        with contextlib.suppress(ThreadBusy):
            await brought_up(app, await store.runs.require(thread_id))
    wanted = [t for t in await store.runs.recoverable(app.name) if thread_id in (None, t)]
    due = await due_questions(app, thread_id)

    async def one(thread: str, work: Callable[[], Awaitable[Run | None]]) -> Run | None:
        async with limit:
            return await _told(app, thread, work)

    jobs = [
        *(one(thread, partial(_recovered, app, thread, on_event)) for thread in wanted),
        *(one(thread, partial(_expired, app, thread, interrupt, on_event)) for thread, interrupt in due),
    ]
    # Whoever raises or is cancelled, the others let their threads go by themselves: a lease that is left behind would
    # be taken for that of a process that died.
    ended = await asyncio.gather(*jobs, return_exceptions=True)
    for error in (found for found in ended if isinstance(found, BaseException)):
        raise error
    return [run for run in ended if isinstance(run, Run)]


async def _told(app: App, thread: str, work: Callable[[], Awaitable[Run | None]]) -> Run | None:
    """What keeps one thread from being driven on comes back as its run, and stops no other."""
    try:
        return await work()
    except ThreadNotFound:
        return None  # deleted in the meantime
    except VertebraError as error:
        return await run_despite(app, thread, error)
    except Exception as error:  # of a checkpointer that somebody else wrote
        said = redacted(str(error))
        told = VertebraError(
            f"Thread {thread!r} could not be driven on: {type(error).__name__}: {said}.",
            remedy="mend the cause, then recover or resume the thread: it stands where it stood.",
            thread=thread,
            graph=app.name,
            raised=type(error).__name__,
        )
        told.__cause__ = error
        return await run_despite(app, thread, told)


async def progress_of(app: App, thread: str) -> str | None:
    """The newest checkpoint of a thread: what tells whether a run that kills its processes gets on."""
    newest = await app.services.store.saver.aget_tuple(thread_config(thread))
    return None if newest is None else str(newest.checkpoint["id"])


async def set_aside(app: App, thread: str, error: CrashLoop) -> Run:
    """Let nothing but a person touch a run that kills its processes."""
    await app.services.store.runs.set_aside(thread, error.to_json())
    return await run_despite(app, thread, error)


async def _recovered(app: App, thread: str, on_event: Listener | None) -> Run | None:
    store = app.services.store
    record = await store.runs.require(thread)
    try:
        record = await brought_up(app, record)
        record, lease = await store.runs.take(
            thread,
            new_holder(),
            app.services.lease_ttl_s,
            max_recoveries=app.services.max_recoveries,
            progress=await progress_of(app, thread),
        )
    except ThreadBusy:
        return None
    except CrashLoop as error:
        return await set_aside(app, thread, error)
    return await Drive(app, record, lease, principal=None, listener=on_event, given=None).to_run()


async def _expired(app: App, thread: str, interrupt: str, on_event: Listener | None) -> Run | None:
    store, timer = app.services.store, f"deadline:{interrupt}"
    record = await store.runs.require(thread)
    if record.graph != app.name:
        return None
    if record.status != "interrupted":
        await store.runs.clear_timer(thread, timer)
        return None
    try:
        record = await brought_up(app, record)
        if timer not in await store.runs.timers(thread):
            return await app.resume(thread, on_event=on_event)  # its question was lost to a migration: asked anew
        default = await default_answer(app, thread, interrupt)
        if default is not None:
            return await app.resume(thread, default, interrupt_id=interrupt, on_event=on_event)
        _, lease = await store.runs.take(thread, new_holder(), app.services.lease_ttl_s, by_hand=True)
    except ThreadError:
        return None  # answered in the meantime
    expired = QuestionExpired(f"The deadline of interrupt {interrupt!r} has passed.", thread=thread, graph=app.name)
    await store.runs.finish(lease, "failed", expired.to_json())
    await store.runs.clear_timer(thread, timer)
    return await run_of(app, await store.runs.require(thread), expired)
