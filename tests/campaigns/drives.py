"""What the processes of the crash campaign do: start the reference graph's run, recover it, take it one edge further.

Each is a job of ``preloaded``: it says ``ready()`` when it may be killed, and returns JSON.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langgraph.checkpoint.sqlite import SqliteSaver

from tests.campaigns.inspection import calls_of, checkpoints_of, said_in
from tests.campaigns.reference import ANSWER, TEXT, Approval, reference, script
from tests.campaigns.witness import Witness, current_witness
from vertebra import Run, open_checkpointer
from vertebra.checkpointers.opening import Store
from vertebra.ports import set_crash_hook
from vertebra.runtime.app import App
from vertebra.runtime.events import EdgeCrossed
from vertebra.testing import ScriptedModel

Ready = Callable[[], None]


@contextmanager
def _witness(url: str, folder: str) -> Iterator[Witness]:
    """A witness that looks at the store by connections of its own."""
    store: Store | None = None

    def look(thread: str, namespace: str) -> int | None:
        nonlocal store
        if store is None:
            store = open_checkpointer(url)
            store.allow({Approval})
        place = {"thread_id": thread, "checkpoint_ns": namespace}
        found = store.saver.get_tuple({"configurable": place})
        return None if found is None else int(found.metadata["step"])

    witness = Witness(Path(folder), look)
    current_witness.set(witness)
    try:
        yield witness
    finally:
        if store is not None:
            store.close()


def _app(store: str | Store, memory: str) -> App:
    return reference().compile(checkpointer=store, memory=memory)


class SlowWriter(SqliteSaver):
    """A saver that takes its time over the writes of a task, so that a checkpoint could overtake them."""

    def put_writes(self, *args: Any, **kwargs: Any) -> None:
        time.sleep(0.02)
        super().put_writes(*args, **kwargs)


def _slow_app(url: str, folder: str, memory: str) -> App:
    connection = sqlite3.connect(f"{folder}/threads.db", check_same_thread=False)
    return reference().compile(checkpointer=SlowWriter(connection), journal=url, memory=memory)


def start(ready: Ready, *, url: str, folder: str, thread: str, memory: str, slow_writes: bool = False) -> str:
    """One process for the whole run: start it, answer its question, end it."""

    async def drive() -> str:
        with _witness(url, folder):
            ready()
            async with _slow_app(url, folder, memory) if slow_writes else _app(url, memory) as app:
                run = await app.run({"text": TEXT}, thread_id=thread)
                if run.status == "interrupted":
                    run = await app.resume(thread, ANSWER)
                return run.status

    return asyncio.run(drive())


def counted(ready: Ready, *, url: str, folder: str, thread: str, memory: str) -> dict[str, int]:
    """``start``, returning how often each crash point was passed."""
    passed: Counter[str] = Counter()
    set_crash_hook(lambda name: passed.update([name]))
    start(ready, url=url, folder=folder, thread=thread, memory=memory)
    return dict(passed)


def recover(ready: Ready, *, url: str, folder: str, thread: str, memory: str) -> dict[str, Any]:
    """Another process: write down what the dead one left, drive the run to its end, say how it ended."""

    async def drive() -> dict[str, Any]:
        with _witness(url, folder) as witness, open_checkpointer(url) as store:
            store.allow({Approval})
            await _inspect(store, thread, witness, memory)
            ready()
            async with _app(store, memory) as app:
                run = await _on_to_the_end(app, thread)
                return {
                    "status": run.status,
                    "error": None if run.error is None else str(run.error),
                    "state": None if run.output is None else run.output.model_dump(mode="json"),
                    "calls": await calls_of(store, thread),
                    "said": said_in(memory, thread),
                }

    return asyncio.run(drive())


async def _on_to_the_end(app: App, thread: str) -> Run:
    record = await app.services.store.runs.get(thread)
    if record is None:  # it died before the run was begun: nobody knows of it but who asked for it
        run = await app.run({"text": TEXT}, thread_id=thread)
    else:
        runs = await app.recover()
        expected = 1 if record.status == "running" else 0
        assert len(runs) == expected, f"recover() returned {len(runs)} runs where the thread was {record.status}"
        run = await app.status(thread)
    return await app.resume(thread, ANSWER) if run.status == "interrupted" else run


def one_edge(ready: Ready, *, url: str, folder: str, thread: str, memory: str, drains: bool) -> str:
    """A process for one superstep: where nobody kills it at the first checkpoint it drains itself after it."""

    async def drive() -> str:
        with _witness(url, folder) as witness, open_checkpointer(url) as store:
            store.allow({Approval})
            await _inspect(store, thread, witness, memory)
            ready()
            async with _app(store, memory) as app:

                def listen(event: object) -> None:
                    if drains and isinstance(event, EdgeCrossed):
                        app.control.request_drain("one superstep")

                record = await store.runs.get(thread)
                if record is None:
                    run = await app.run({"text": TEXT}, thread_id=thread, on_event=listen)
                elif record.status == "interrupted":
                    run = await app.resume(thread, ANSWER, on_event=listen)
                else:
                    await app.recover(on_event=listen)
                    run = await app.status(thread)
                return run.status

    return asyncio.run(drive())


async def _inspect(store: Store, thread: str, witness: Witness, memory: str) -> None:
    """Keep what a dead process left, in a file, since this process may be killed in its turn."""
    record = await store.runs.get(thread)
    status = None if record is None else record.status
    said = said_in(memory, thread)  # first: what comes later may be there and not in the checkpoints
    found = await checkpoints_of(store, thread)
    witness.note("left", status=status, calls=await calls_of(store, thread), checkpoints=found, said=said)


def warm(ready: Ready) -> list[str]:
    """Run once, and return the names of all modules that were needed for it, and for the twin."""
    import psycopg_pool  # noqa: F401
    from langgraph.checkpoint.postgres import PostgresSaver  # noqa: F401

    from tests.campaigns import twin  # noqa: F401

    with ScriptedModel() as model, tempfile.TemporaryDirectory() as folder:
        script(model)
        os.environ.update(model.env())
        place = {"url": f"sqlite:///{folder}/warm.db?durability=process", "folder": folder, "thread": "warm"}
        place["memory"] = f"sqlite:///{folder}/warm-memory.db?durability=process"
        start(ready, **place)
        recover(lambda: None, **place)
    return sorted(sys.modules)
