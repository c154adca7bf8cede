"""Time to live: what was not written to for so long goes, what is held or has no time to live stays."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from tests.memory.parts import said, user
from tests.memory.test_forgetting import SECRET, bytes_of
from vertebra import open_memory
from vertebra.errors import HoldNotFound, UsageError
from vertebra.memory import Expired, Memory


def age(memory: Memory, seconds: float) -> None:
    """Let time pass, as the rows have it."""
    memory._database.run_sync(
        lambda tx: tx.execute("UPDATE vertebra_memory_conversations SET updated_at = updated_at - ?", seconds)
    )


async def test_each_by_its_own_time_or_the_default(memory: Memory) -> None:
    for name, ttl_s in (("short", 60.0), ("long", 6000.0), ("none", None)):
        conversation = memory.conversation(name, subject=name, tenant="t")
        await conversation.append(user(name))
        await conversation.set_ttl(ttl_s)
        assert (await conversation.record()).ttl_s == ttl_s
    await memory.facts("short", tenant="t").learn("stays", True)
    assert await memory.expire(tenant="t", default_ttl_s=600) == Expired(0, 0, 0)
    age(memory, 601)
    assert await memory.expire() == Expired(0, 0, 0), "of no other tenant"
    assert await memory.expire(tenant="t") == Expired(1, 1, 0)
    assert {record.id for record in await memory.conversations(tenant="t")} == {"long", "none"}
    assert memory.expire_sync(tenant="t", default_ttl_s=600) == Expired(1, 1, 0)
    memory.conversation("long", tenant="t").set_ttl_sync(None)
    assert memory.expire_sync(tenant="t", default_ttl_s=0) == Expired(1, 1, 0)
    assert await memory.facts("short", tenant="t").get("stays") is not None


async def test_a_message_begins_its_time_anew(memory: Memory) -> None:
    conversation = memory.conversation("c")
    await conversation.set_ttl(60)
    age(memory, 61)
    await conversation.append(user("a"))
    assert await memory.expire() == Expired(0, 0, 0)
    assert await said(conversation) == ["a"]


async def test_a_hold_passes_over_it(memory: Memory) -> None:
    for name in ("a", "b", "c"):
        conversation = memory.conversation(name, subject=name)
        await conversation.append(user(name))
        await conversation.set_ttl(0)
    hold = await memory.hold("b", reason="case", by="law")
    assert await memory.expire() == Expired(2, 2, 1)
    assert await said(memory.conversation("b")) == ["b"]
    with pytest.raises(HoldNotFound):
        await memory.release(hold.id, by="law", tenant="t")
    await memory.release(hold.id, by="law")
    assert await memory.expire() == Expired(1, 1, 0)


async def test_nothing_of_it_is_left_in_the_file(sqlite_url: str) -> None:
    with open_memory(sqlite_url) as memory:
        for number in range(50):
            await memory.conversation("c").append(user(f"{SECRET} {number} " * 40))
        await memory.conversation("c").set_ttl(0)
        assert SECRET.encode() in bytes_of(sqlite_url)
        assert (await memory.expire()).messages == 50
        assert SECRET.encode() not in bytes_of(sqlite_url)


_CUT_SHORT = """
import os, sys
from vertebra import open_memory
from vertebra.memory.expiring import Expiry
with open_memory(sys.argv[1]) as memory:
    expiry = Expiry("", None)
    assert memory._database.run_sync(expiry.more)
    os._exit(9)
"""


def test_killed_before_its_end_it_leaves_nothing_to_the_next_either(sqlite_url: str) -> None:
    with open_memory(sqlite_url) as memory:
        for number in range(50):
            memory.conversation("c").append_sync(user(f"{SECRET} {number}"))
        memory.conversation("c").set_ttl_sync(0)
    assert subprocess.run([sys.executable, "-c", _CUT_SHORT, sqlite_url], timeout=60).returncode == 9
    with open_memory(sqlite_url) as memory:
        assert memory.expire_sync() == Expired(0, 0, 0)
    assert SECRET.encode() not in bytes_of(sqlite_url)


@pytest.mark.parametrize("ttl_s", [-1, math.inf, math.nan, "1"])
async def test_what_is_no_time_is_refused(ttl_s: float) -> None:
    with open_memory("memory://") as memory:
        with pytest.raises(UsageError):
            await memory.conversation("c").set_ttl(ttl_s)
        with pytest.raises(UsageError):
            await memory.expire(default_ttl_s=ttl_s)
