"""A run as a stream of its events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from vertebra.errors import UsageError
from vertebra.runtime import events
from vertebra.types import Run

if TYPE_CHECKING:
    from vertebra.runtime.app import App

UNSET: Any = object()


async def events_of(
    app: App, input: Any, thread_id: str | None, options: dict[str, Any]
) -> AsyncGenerator[events.Event, None]:
    """What ``App.events`` does."""
    queue: asyncio.Queue[events.Event | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def listen(event: events.Event) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, event)

    async def work() -> Run:
        try:
            if input is UNSET:
                if thread_id is None:
                    raise UsageError("events() needs an input or a thread_id.", remedy="pass one of them.")
                return await app.resume(thread_id, on_event=listen, **options)
            return await app.run(input, thread_id=thread_id, on_event=listen, **options)
        finally:
            loop.call_soon_threadsafe(queue.put_nowait, None)

    task = asyncio.create_task(work())
    try:
        while (event := await queue.get()) is not None:
            yield event
        run = await task
        yield events.RunEnded(run.thread_id, run)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
