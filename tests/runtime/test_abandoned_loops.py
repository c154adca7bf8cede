"""An event loop that is closed in the middle of a drive: its lease runs out, though its process lives."""

from __future__ import annotations

import asyncio
import time

import pytest
from pydantic import BaseModel

from vertebra import END, START, Graph, open_checkpointer
from vertebra.testing import Stopped, run_shuffled

TTL_S = 0.3


class State(BaseModel):
    said: str = ""


def test_the_lease_of_an_abandoned_drive_runs_out(store_url: str) -> None:
    is_patient = True

    async def wait(state: State) -> dict[str, object]:
        while is_patient:  # noqa: ASYNC110 (the loop is to have something to do until it is stopped)
            await asyncio.sleep(0)
        return {"said": "enough"}

    g = Graph(State, name="waiter")
    g.add_edge(START, wait)
    g.add_edge(wait, END)
    with open_checkpointer(store_url) as store:
        app = g.compile(checkpointer=store, lease_ttl_s=TTL_S)
        with pytest.raises(Stopped):
            run_shuffled(lambda: app.run({}, thread_id="t"), stop_after=3000)
        is_patient = False
        time.sleep(2 * TTL_S)
        (run,) = g.compile(checkpointer=store, lease_ttl_s=TTL_S).recover_sync()
        assert (run.status, run.output.said) == ("done", "enough")
