"""Opening a store: by URL, around a saver, or as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from vertebra import open_checkpointer
from vertebra.checkpointers import Store
from vertebra.errors import StoreUnavailable, UsageError


def test_every_store_opens_twice_and_knows_no_thread(store_url: str) -> None:
    for _ in range(2):
        with open_checkpointer(store_url) as store:
            assert store.saver is store.saver


async def test_in_async_code(store_url: str) -> None:
    async with open_checkpointer(store_url) as store:
        assert await store.runs.threads() == []
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.runs.threads()


def test_an_open_store_is_taken_as_it_is() -> None:
    with open_checkpointer("memory://") as store:
        assert open_checkpointer(store) is store


def test_a_saver_without_a_journal_keeps_one_in_memory() -> None:
    saver = InMemorySaver()
    with open_checkpointer(saver) as store:
        assert store.url.backend == "memory"
        assert store.saver.inner is saver
        store.allow([Store])  # what a given saver revives is its owner's to say
        assert store.saver.inner is saver


@pytest.mark.parametrize("thing", [None, 7, Path("visits.db"), object()])
def test_anything_else_is_refused(thing: object) -> None:
    with pytest.raises(UsageError, match="is no place to keep state") as caught:
        open_checkpointer(thing)
    assert "pass a URL" in caught.value.remedy


def test_a_closed_store_opens_no_saver(store_url: str) -> None:
    store = open_checkpointer(store_url)
    store.close()
    with pytest.raises(StoreUnavailable, match="is closed"):
        _ = store.saver
