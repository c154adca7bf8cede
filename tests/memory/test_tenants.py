"""What a tenant lists, and that no tenant sees or touches what is another's."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.memory.parts import said, user
from vertebra.errors import ConversationNotFound
from vertebra.memory import Memory

TENANTS = (None, "a", "A", "b", "a b", "%", "a%", "_", "a' OR '1'='1")


async def ids(memory: Memory, **wanted: object) -> list[str]:
    return [record.id for record in await memory.conversations(**wanted)]  # type: ignore[arg-type]


async def test_listed_by_subject_and_tags_latest_first(memory: Memory) -> None:
    for name, subject, tags in (("1", "ann", "xy"), ("2", "bob", "x"), ("3", "ann", ""), ("4", None, "y")):
        conversation = memory.conversation(name, subject=subject)
        await conversation.append(user(name))
        await conversation.tag(*tags)
        await asyncio.sleep(0.005)  # the clock of SQLite counts milliseconds
    await memory.conversation("1").append(user("again"))
    assert await ids(memory) == ["1", "4", "3", "2"]
    assert await ids(memory, subject="ann") == ["1", "3"]
    assert await ids(memory, tags=["x"]) == ["1", "2"]
    assert await ids(memory, tags=["x", "y"]) == ["1"]
    assert await ids(memory, tags=["x"], subject="bob") == ["2"]
    assert await ids(memory, limit=2) == ["1", "4"]
    assert await ids(memory, limit=0) == []
    assert await ids(memory, subject="nobody") == []
    found = {record.id: (record.subject, record.tags) for record in await memory.conversations(limit=3)}
    assert found == {"1": ("ann", ("x", "y")), "4": (None, ("y",)), "3": ("ann", ())}


async def fill(memory: Memory, tenant: str | None) -> None:
    conversation = memory.conversation("c", subject="ann", tenant=tenant)
    await conversation.append(user(f"<secret of {tenant}>"), key="k")
    side = await conversation.branch("side")
    await side.append(user(f"side of {tenant}"))
    await conversation.tag("t", f"tag of {tenant}")
    await conversation.set_title(f"title of {tenant}")


async def everything(memory: Memory, tenant: str | None) -> str:
    """All that any method tells this tenant."""
    main = memory.conversation("c", tenant=tenant)
    side = memory.conversation("c", tenant=tenant, branch="side")
    told = [await main.messages(), await side.messages(), await main.record(), await main.branches()]
    told.append(await memory.conversations(tenant=tenant))
    told.append(await memory.conversations(tenant=tenant, tags=["t"], subject="ann"))
    told.append([line async for line in memory.export_lines(tenant=tenant)])
    return repr(told)


async def test_no_tenant_sees_anothers(memory: Memory) -> None:
    for tenant in TENANTS:
        await fill(memory, tenant)
    for tenant in TENANTS:
        told = await everything(memory, tenant)
        for other in TENANTS:
            assert (f"<secret of {other}>" in told.replace("\\'", "'")) == (tenant == other)
            assert await ids(memory, tenant=tenant, tags=[f"tag of {other}"]) == ["c"] * (tenant == other)


async def test_no_tenant_touches_anothers(memory: Memory) -> None:
    """One does all that can be done; of what the other is told nothing changes."""
    for mine, other in itertools.permutations(("a", None, "b"), 2):
        await fill(memory, other)
        before = await everything(memory, other)
        conversation = memory.conversation("c", tenant=mine)
        await conversation.delete()
        await conversation.append(user("mine"), key="k")
        await conversation.branch("other", at=1)
        await conversation.set_title("mine")
        await conversation.tag("mine")
        await conversation.untag("t")
        lines = [line async for line in memory.export_lines(tenant=mine)]
        await conversation.delete()
        await memory.import_lines(lines, tenant=mine)
        await conversation.delete()
        assert await everything(memory, other) == before
        await memory.conversation("c", tenant=other).delete()


async def test_what_only_another_has_is_not_there(memory: Memory) -> None:
    await fill(memory, "a")
    conversation = memory.conversation("c", tenant="b")
    assert await said(conversation) == []
    with pytest.raises(ConversationNotFound):
        await conversation.record()
    with pytest.raises(ConversationNotFound):
        _ = [line async for line in memory.export_lines(tenant="b", conversation="c")]
    assert await ids(memory, tenant="b") == await ids(memory) == []
