"""What is remembered of chunks that were read: never shared where it can be changed, never too much, never wrong."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from vertebra.checkpointers.pieces.chunk_cache import Chunk, ChunkCache, kept
from vertebra.checkpointers.sqlite import SqliteCheckpointer
from vertebra.testing.conformance_checks import at, put, values_of

KINDS: dict[str, list[Any]] = {
    "strings": [f"{n}" * 40 for n in range(100)],
    "messages": [HumanMessage(f"{n}" * 40, id=f"m{n}") for n in range(100)],
    "dicts": [{"n": [n], "text": "x" * 40} for n in range(100)],
    "mixed": [n if n % 2 else [f"{n}" * 40] for n in range(100)],
}


@pytest.mark.parametrize("url", ["memory://", "sqlite"])
@pytest.mark.parametrize("kind", KINDS)
async def test_whoever_changes_what_it_read_changes_nobody_elses(url: str, kind: str, tmp_path: Path) -> None:
    url = f"sqlite:////{str(tmp_path).lstrip('/')}/t.db" if url == "sqlite" else url
    whole = KINDS[kind]
    with SqliteCheckpointer(url) as saver:
        config = None
        for upto in range(10, 101, 10):
            config = await put(saver, "t", {"log": whole[:upto]}, after=config)
        for _ in range(3):
            (found,) = (await values_of(saver, at("t"))).values()
            assert found == whole
            changed(found)
        listed = [item.checkpoint["channel_values"]["log"] async for item in saver.alist(at("t"))]
        assert [len(log) for log in listed] == list(range(100, 0, -10))
        assert all(log == whole[: len(log)] for log in listed)


def changed(log: list[Any]) -> None:
    for item in log:
        if isinstance(item, HumanMessage):
            item.content = "changed"
        elif isinstance(item, dict):
            item["n"].append("changed")
        elif isinstance(item, list):
            item.clear()
    log.clear()


async def test_what_was_read_is_not_read_again(tmp_path: Path) -> None:
    """Of a list that has grown since, only its end and what is new is fetched."""
    url = f"sqlite:////{str(tmp_path).lstrip('/')}/t.db"
    log = [f"{n}" * 40 for n in range(200)]
    with SqliteCheckpointer(url) as saver:
        config = await put(saver, "t", {"log": log[:150]})
        await values_of(saver, at("t"))
        statements: list[str] = []
        reader: Any = saver._file._reader
        reader._connection.set_trace_callback(statements.append)
        await values_of(saver, at("t"))
        asked = [sql for sql in statements if "vertebra_state_pieces" in sql]
        assert len(asked) == 1, "the items that fill no chunk"
        numbers = {number for sql in asked for number in re.findall(r"\d{5,}", sql)}
        assert len(numbers) == 150 % 32
        await put(saver, "t", {"log": log}, after=config)
        assert (await values_of(saver, at("t")))["log"] == log


async def test_a_thread_that_was_deleted_is_not_remembered_for_the_next_of_its_name() -> None:
    with SqliteCheckpointer("memory://") as saver:
        for text in ("one", "another"):
            await put(saver, "t", {"log": [f"{text} {n}" * 10 for n in range(64)]})
            assert (await values_of(saver, at("t")))["log"][0].startswith(text)
            await saver.adelete_thread("t")


async def test_whoever_resumes_a_thread_that_was_read_fetches_its_end_alone(tmp_path: Path) -> None:
    """A put after a checkpoint of another process needs the digests of its items, which come with what was read."""
    url = f"sqlite:////{str(tmp_path).lstrip('/')}/t.db"
    log = [f"{n}" * 40 for n in range(200)]
    with SqliteCheckpointer(url) as saver:
        config = await put(saver, "t", {"log": log[:150]})
    with SqliteCheckpointer(url) as saver:
        await values_of(saver, at("t"))
        statements: list[str] = []
        reader: Any = saver._file._reader
        reader._connection.set_trace_callback(statements.append)
        await put(saver, "t", {"log": log}, after=config)
        asked = [sql for sql in statements if "vertebra_state_pieces" in sql]
        assert len({number for sql in asked for number in re.findall(r"\d{5,}", sql)}) == 150 % 32
    with SqliteCheckpointer(url) as saver:
        assert (await values_of(saver, at("t")))["log"] == log
    connection = sqlite3.connect(tmp_path / "t.db")
    assert connection.execute("SELECT count(*) FROM vertebra_state_pieces").fetchone()[0] < 200 + 200 // 32 + 4


def chunk(values: list[Any], joined: bytes) -> Chunk:
    return Chunk([], b"", kept(values, joined), len(joined))


def values(found: Chunk | None) -> Any:
    return None if found is None else found.values


def test_the_least_recently_used_go() -> None:
    cache = ChunkCache(limit_bytes=300)
    for number in range(3):
        cache.put(1, number, chunk(["a"], b"x" * 100))
    assert values(cache.get(1, 0)) == ("a",)
    cache.put(2, 0, chunk([["mutable"]], b"y" * 100))
    assert [values(cache.get(*place)) for place in ((1, 0), (1, 1), (2, 0))] == [("a",), None, b"y" * 100]
    cache.put(3, 0, chunk(["big"], b"z" * 301))
    assert cache.get(3, 0) is None
    assert cache.get(2, 0) is None
