"""LangGraph's own savers, opened for a URL: their tables, and the types that come back to life."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import Enum

import psycopg
import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint

from vertebra import open_checkpointer
from vertebra.checkpointers.opening import Store


@dataclass
class Slice:
    text: str


class Mood(Enum):
    CALM = "calm"


async def kept(saver: BaseCheckpointSaver[str], thread: str, value: object) -> object:
    """What comes back of a value that is stored in a checkpoint."""
    config = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    version = saver.get_next_version(None, None)
    checkpoint = {**empty_checkpoint(), "channel_values": {"v": value}, "channel_versions": {"v": version}}
    await saver.aput(config, checkpoint, {}, {"v": version})  # type: ignore[arg-type]
    found = await saver.aget_tuple(config)
    assert found is not None
    return found.checkpoint["channel_values"]["v"]


async def test_plain_data_comes_back_and_objects_only_if_allowed(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        plain = {"text": "Größe 🙂", "bytes": b"\x00\xff", "none": None, "list": [1, 2.5, True], "set": {1}}
        assert await kept(store.saver, "plain", plain) == plain
        assert not isinstance(await kept(store.saver, "object", Slice("a")), Slice)
        store.allow([Slice])
        assert await kept(store.saver, "object", Slice("a")) == Slice("a")


async def test_two_graphs_share_a_store_with_types_of_their_own(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        store.allow([Slice])
        saver = store.saver
        store.allow([Mood])
        assert store.saver is saver
        assert await kept(saver, "one", Slice("a")) == Slice("a")
        assert await kept(saver, "two", [Mood.CALM]) == [Mood.CALM]


def test_one_saver_whoever_asks_first(store_url: str) -> None:
    with open_checkpointer(store_url) as store:
        found: list[object] = []
        threads = [threading.Thread(target=lambda: found.append(store.saver)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(saver) for saver in found}) == 1


def test_whoever_waits_for_the_saver_to_be_set_up_holds_nobody_up(postgres_url: str) -> None:
    """LangGraph makes indexes CONCURRENTLY, which waits for every open snapshot of the database: of who waits, too."""
    done: list[Store] = []

    def open_in_second_place() -> None:
        with open_checkpointer(postgres_url) as store:
            _ = store.saver
            done.append(store)

    with (
        psycopg.connect(postgres_url, autocommit=True) as first,
        psycopg.connect(postgres_url, autocommit=True, options="-c statement_timeout=5s") as indexing,
    ):
        first.execute("SELECT pg_advisory_lock(hashtextextended('vertebra saver setup', 8461))")
        second = threading.Thread(target=open_in_second_place)
        second.start()
        second.join(1.0)
        try:
            indexing.execute("CREATE TABLE theirs (a TEXT)")
            indexing.execute("CREATE INDEX CONCURRENTLY ON theirs (a)")
            assert not done
        finally:
            first.execute("SELECT pg_advisory_unlock_all()")
            second.join()
    assert done


@pytest.mark.parametrize("times", [1, 2])
def test_opening_again_keeps_the_tables(durable_url: str, times: int) -> None:
    for _ in range(times):
        with open_checkpointer(durable_url) as store:
            assert list(store.saver.list(None)) == []
