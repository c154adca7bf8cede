"""The crash campaign: a process is killed at every named crash point, another recovers the thread."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.runtime.test_running import Approval, scribe
from vertebra import open_checkpointer
from vertebra.testing import CRASH_POINTS, Books, ScriptedModel, crash_at


async def _drive(url: str) -> object:
    async with scribe().compile(checkpointer=url, default_model="m") as app:
        record = await app.services.store.runs.get("t")
        if record is None:
            run = await app.run({"text": "a b c"}, thread_id="t")
        else:
            runs = await app.recover()
            run = runs[0] if runs else await app.status("t")
        if run.status == "interrupted":
            run = await app.resume("t", Approval(ok=True))
        return run


def _child(url: str, env: dict[str, str], point: str, nth: int, how: str) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.environ.update(env)
            with crash_at(point, nth=nth, how=how):  # type: ignore[arg-type]
                asyncio.run(_drive(url))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return status


@pytest.mark.parametrize("point", CRASH_POINTS)
@pytest.mark.parametrize(("nth", "how"), [(1, "kill"), (3, "exit")])
def test_a_kill_costs_nothing_that_was_recorded(
    durable_url: str, tmp_path: Path, point: str, nth: int, how: str
) -> None:
    books = tmp_path / "books.jsonl"
    with ScriptedModel(sampled=True, books_path=books) as model:
        status = _child(durable_url, model.env(), point, nth, how)
        died = status != 0
        os.environ.update(model.env())
        run = asyncio.run(_drive(durable_url))
    assert run.status == "done", (point, died, run.error)  # type: ignore[attr-defined]
    assert len(run.output.notes) == 5  # type: ignore[attr-defined]
    with open_checkpointer(durable_url) as store:
        calls = asyncio.run(store.journal.calls("t"))
    asked = [c for c in calls if c.kind != "effect"]
    assert len(asked) == 5
    assert all(c.status == "done" for c in calls)
    lost = sum(c.lost for c in asked)
    # What was paid beyond the recorded calls was lost in the one open window, and is counted.
    assert len(Books.read(books).paid()) - len(asked) <= lost <= 3
