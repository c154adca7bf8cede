"""One open store serves any event loop and any thread, survives impatient callers, and may be closed twice."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from vertebra import open_checkpointer
from vertebra.databases.database import Tx
from vertebra.databases.opening import open_database
from vertebra.databases.url import StoreUrl
from vertebra.errors import StoreUnavailable


def test_several_event_loops_and_threads_at_once(store_url: str) -> None:
    """Each thread has a loop of its own; sync callers come in between."""
    with open_checkpointer(store_url) as store:

        async def work(worker: int) -> list[str]:
            thread = f"t{worker}"
            config = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
            names = [f"{n}" for n in range(10)]
            kept = await asyncio.gather(*(store.journal.record_value(thread, "v", n, n * 2) for n in names))
            first = store.journal.record_value_sync("shared", "v", "first", thread)
            await store.saver.aput(config, empty_checkpoint(), {}, {})
            assert await store.saver.aget_tuple(config) is not None
            return [*kept, first]

        with ThreadPoolExecutor(6) as threads:
            found = list(threads.map(lambda n: asyncio.run(work(n)), range(6)))
        assert all(kept[:-1] == [f"{n}" * 2 for n in range(10)] for kept in found)
        assert len({kept[-1] for kept in found}) == 1


async def test_a_caller_who_gives_up_leaves_no_half(durable_url: str) -> None:
    database = open_database(StoreUrl.parse(durable_url))
    database.run_sync(lambda tx: tx.execute("CREATE TABLE kept (text TEXT)"))

    def slow(tx: Tx) -> None:
        tx.execute("INSERT INTO kept VALUES ('first')")
        time.sleep(0.2)
        tx.execute("INSERT INTO kept VALUES ('second')")

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(database.run(slow), 0.1)
    await asyncio.sleep(0.3)
    assert len(await database.run(lambda tx: tx.all("SELECT * FROM kept"))) == 2
    database.close()


async def test_a_closed_store_says_so(store_url: str) -> None:
    store = open_checkpointer(store_url)
    saver = store.saver
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="is closed") as caught:
        await store.runs.get("t")
    assert "open it again" in caught.value.remedy
    with pytest.raises(StoreUnavailable, match="is closed"):
        store.journal.record_value_sync("t", "v", "name", "value")
    with pytest.raises(StoreUnavailable, match="is closed"):
        await saver.aget_tuple({"configurable": {"thread_id": "t"}})


_OPEN = "import sys; from vertebra import open_checkpointer; s = open_checkpointer(sys.argv[1]); s.saver; s.close()"


def test_several_processes_open_an_empty_database_at_once(durable_url: str) -> None:
    command = [sys.executable, "-c", _OPEN, durable_url]
    with ThreadPoolExecutor(4) as threads:
        ended = list(
            threads.map(lambda _: subprocess.run(command, capture_output=True, text=True, timeout=60), range(4))
        )
    assert [child.stderr for child in ended if child.returncode] == []
    with open_checkpointer(durable_url) as store:
        assert asyncio.run(store.runs.threads()) == []


def test_nothing_but_the_database_is_left_beside_it(tmp_path: Path) -> None:
    with open_checkpointer(f"sqlite:///{tmp_path}/threads.db") as store:
        _ = store.saver
    assert [path.name for path in tmp_path.iterdir()] == ["threads.db"]
