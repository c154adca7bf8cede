"""Driving on what nobody drives: runs whose process has died, questions whose deadline has passed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from vertebra.checkpointers.lease import new_holder
from vertebra.errors import (
    CrashLoop,
    GraphChanged,
    QuestionExpired,
    StoreCorrupt,
    ThreadBusy,
    ThreadError,
    VertebraError,
)
from vertebra.runtime.answering import due_answers
from vertebra.runtime.driving import Drive
from vertebra.runtime.outcome import run_of
from vertebra.runtime.scope import Listener
from vertebra.runtime.snapshots import thread_config
from vertebra.runtime.versions import brought_up
from vertebra.types import Run

if TYPE_CHECKING:
    from vertebra.runtime.app import App


async def recover_runs(app: App, thread_id: str | None, at_once: int, on_event: Listener | None) -> list[Run]:
    """What ``App.recover`` does."""
    store = app.services.store
    limit = asyncio.Semaphore(at_once)
    if thread_id is not None:
        with contextlib.suppress(ThreadBusy):
            await brought_up(app, await store.runs.require(thread_id))
    wanted = [t for t in await store.runs.recoverable(app.name) if thread_id in (None, t)]
    damaged: dict[str, StoreCorrupt] = {}
    due = await due_answers(app, thread_id, damaged.__setitem__)

    async def one(thread: str) -> Run | None:
        async with limit:
            try:
                return await _recovered(app, thread, on_event)
            except StoreCorrupt as error:
                return _damaged(thread, error)

    async def asked(thread: str, interrupt: str, default: Any) -> Run | None:
        async with limit:
            try:
                return await _expired(app, thread, interrupt, default, on_event)
            except StoreCorrupt as error:
                return _damaged(thread, error)

    jobs = [one(thread) for thread in wanted] + [asked(*item) for item in due]
    runs = [run for run in await asyncio.gather(*jobs) if run is not None]
    return runs + [_damaged(*item) for item in damaged.items()]


def _damaged(thread: str, error: StoreCorrupt) -> Run:
    """A thread that cannot be read, so that it stays as it is: no reason to leave the others."""
    if "thread" not in error.context:
        raise error  # of the database as a whole
    return Run(thread, "", "running", error=error)


async def progress_of(app: App, thread: str) -> str | None:
    """The newest checkpoint of a thread: what tells whether a run that kills its processes gets on."""
    newest = await app.services.store.saver.aget_tuple(thread_config(thread))
    return None if newest is None else str(newest.checkpoint["id"])


async def set_aside(app: App, thread: str, error: CrashLoop) -> Run:
    """Let nothing but a person touch a run that kills its processes."""
    await app.services.store.runs.set_aside(thread, error.to_json())
    return await run_of(app, await app.services.store.runs.require(thread), error)


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
    except VertebraError as error:
        return await run_of(app, await store.runs.require(thread), error)
    return await Drive(app, record, lease, principal=None, listener=on_event, given=None).to_run()


async def _expired(app: App, thread: str, interrupt: str, default: Any, on_event: Listener | None) -> Run | None:
    store, timer = app.services.store, f"deadline:{interrupt}"
    record = await store.runs.require(thread)
    if record.status != "interrupted":
        await store.runs.clear_timer(thread, timer)
        return None
    try:
        record = await brought_up(app, record)
        if timer not in await store.runs.timers(thread):
            return await app.resume(thread, on_event=on_event)  # its question was lost to a migration: asked anew
        if default is not None:
            return await app.resume(thread, default, interrupt_id=interrupt, on_event=on_event)
        _, lease = await store.runs.take(thread, new_holder(), app.services.lease_ttl_s, by_hand=True)
    except ThreadError:
        return None  # answered in the meantime
    except GraphChanged as error:
        return await run_of(app, record, error)
    expired = QuestionExpired(f"The deadline of interrupt {interrupt!r} has passed.", thread=thread, graph=app.name)
    await store.runs.finish(lease, "failed", expired.to_json())
    await store.runs.clear_timer(thread, timer)
    return await run_of(app, await store.runs.require(thread), expired)
