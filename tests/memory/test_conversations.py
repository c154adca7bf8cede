"""Conversations on every backend: appended once, in one order, branched without touching what they came from."""

from __future__ import annotations

import asyncio
import inspect
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.memory.parts import said, texts, user
from vertebra import open_memory
from vertebra.errors import (
    BranchExists,
    BranchNotFound,
    ConversationNotFound,
    MessageMismatch,
    MessageNotFound,
    StoreUnavailable,
    SubjectMismatch,
    UsageError,
)
from vertebra.memory import Conversation, Memory, Provenance


async def test_what_was_appended_is_read_back_whole_and_in_order(memory: Memory) -> None:
    conversation = memory.conversation("c", subject="ann")
    where = Provenance("t", "r", "draft", 3, "gpt")
    began = time.time()
    first = await conversation.append({"role": "user", "content": "NUL \0, Größe, 日本"}, key="k", tokens=5)
    second = await conversation.append({"role": "assistant", "content": "b"}, provenance=where)
    assert await conversation.messages() == [first, second]
    assert (first.id, first.key, first.tokens, first.provenance) == (1, "k", 5, Provenance())
    assert (second.id, second.key, second.tokens, second.provenance) == (2, None, None, where)
    assert abs(first.at - began) < 5
    assert [message.to_openai() for message in (first, second)] == [
        {"role": "user", "content": "NUL \0, Größe, 日本"},
        {"role": "assistant", "content": "b"},
    ]


async def test_a_handle_makes_nothing(memory: Memory) -> None:
    conversation = memory.conversation("c")
    assert (conversation.id, conversation.branch_name) == ("c", "main")
    assert await conversation.messages() == []
    assert await conversation.delete() is False
    for look in (conversation.record, conversation.branches):
        with pytest.raises(ConversationNotFound, match="no conversation 'c'"):
            await look()
    assert await memory.conversations() == []


async def test_a_key_appends_once(memory: Memory) -> None:
    conversation = memory.conversation("c")
    kept = await conversation.append({"role": "user", "content": "a", "name": "ann"}, key="k", tokens=1)
    again = await conversation.append({"name": "ann", "content": "a", "role": "user"}, key="k", tokens=2)
    assert again == kept
    with pytest.raises(MessageMismatch, match="'k'") as caught:
        await conversation.append(user("another"), key="k")
    assert caught.value.context["message_id"] == 1
    side = await conversation.branch("side")
    with pytest.raises(MessageMismatch):
        await side.append({"role": "user", "content": "a", "name": "ann"}, key="k")
    assert await memory.conversation("other").append(user("b"), key="k")
    assert await memory.conversation("c", tenant="x").append(user("b"), key="k")
    assert await said(conversation) == ["a"]


async def test_without_a_key_each_call_appends(memory: Memory) -> None:
    conversation = memory.conversation("c")
    for _ in range(2):
        await conversation.append(user("a"))
    assert await said(conversation) == ["a", "a"]


async def test_a_part_of_the_messages(memory: Memory) -> None:
    conversation = memory.conversation("c")
    for number in range(1, 8):
        await conversation.append(user(str(number)))
    assert await said(conversation, last=2) == ["6", "7"]
    assert await said(conversation, last=0) == []
    assert await said(conversation, after=5) == ["6", "7"]
    assert await said(conversation, before=3) == ["1", "2"]
    assert await said(conversation, after=2, before=7, last=3) == ["4", "5", "6"]
    assert await said(conversation, last=100) == [str(n) for n in range(1, 8)]


async def test_a_branch_shares_what_came_before_and_touches_nothing(memory: Memory) -> None:
    conversation = memory.conversation("c")
    for text in "abc":
        await conversation.append(user(text))
    side = await conversation.branch("side", at=2)
    await side.append(user("X"))
    await conversation.append(user("d"))
    deeper = await side.branch("deeper")
    early = await deeper.branch("early", at=1)
    await deeper.append(user("Y"))
    await early.append(user("Z"))
    empty = await deeper.branch("empty", at=0)
    await empty.append(user("0"))
    assert await said(conversation) == ["a", "b", "c", "d"]
    assert await said(side) == ["a", "b", "X"]
    assert await said(deeper) == ["a", "b", "X", "Y"]
    assert await said(early) == ["a", "Z"]
    assert await said(empty) == ["0"]
    assert await said(deeper, last=2) == ["X", "Y"]
    assert await said(deeper, before=4) == ["a", "b"]
    reopened = memory.conversation("c", branch="deeper")
    assert await said(reopened) == ["a", "b", "X", "Y"]
    lines = [(branch.name, branch.parent, branch.at) for branch in await reopened.branches()]
    assert lines == [
        ("main", None, 0),
        ("empty", "main", 0),
        ("early", "main", 1),
        ("side", "main", 2),
        ("deeper", "side", 4),
    ]


async def test_a_branch_begins_once(memory: Memory) -> None:
    conversation = memory.conversation("c")
    await conversation.branch("from nothing")
    for text in "ab":
        await conversation.append(user(text))
    first = await conversation.branch("side", at=1)
    await first.append(user("X"))
    assert await said(await conversation.branch("side", at=1)) == ["a", "X"]
    for name, at in (("side", 2), ("side", None), ("main", 1)):
        with pytest.raises(BranchExists):
            await conversation.branch(name, at=at)
    for at in (3, 99, -1):
        with pytest.raises(MessageNotFound):
            await conversation.branch("new", at=at)
    nowhere = memory.conversation("c", branch="nowhere")
    for work in (nowhere.messages(), nowhere.append(user("a")), nowhere.branch("x"), nowhere.record()):
        with pytest.raises(BranchNotFound, match="nowhere"):
            await work
    with pytest.raises(BranchNotFound):
        await memory.conversation("not there", branch="nowhere").append(user("a"))
    assert [record.id for record in await memory.conversations()] == ["c"]


async def test_a_very_long_line_of_branches(memory: Memory) -> None:
    line = memory.conversation("c")
    for number in range(150):
        await line.append(user(str(number)))
        line = await line.branch(f"b{number}")
    assert await said(line) == [str(number) for number in range(150)]
    assert await said(line, last=1) == ["149"]


async def test_titles_and_tags(memory: Memory) -> None:
    conversation = memory.conversation("c")
    await conversation.set_title("Cough")
    await conversation.tag("open", "lungs")
    await conversation.tag("open")
    await conversation.untag("lungs", "never there")
    record = await conversation.record()
    assert (record.id, record.title, record.tags, record.messages) == ("c", "Cough", ("open",), 0)
    await conversation.set_title(None)
    assert (await conversation.record()).title is None


async def test_the_first_to_name_the_subject_names_it(memory: Memory) -> None:
    await memory.conversation("c").append(user("a"))
    await memory.conversation("c", subject="ann").append(user("b"))
    assert (await memory.conversation("c").record()).subject == "ann"
    wrong = memory.conversation("c", subject="bob")
    works = (
        *(wrong.append(user("x")), wrong.messages(), wrong.record(), wrong.branches(), wrong.branch("x")),
        *(wrong.set_title("x"), wrong.tag("x"), wrong.untag("x"), wrong.delete()),
    )
    for work in works:
        with pytest.raises(SubjectMismatch) as caught:
            await work
        assert "ann" not in str(caught.value)
    assert await said(memory.conversation("c", subject="ann")) == ["a", "b"]


async def test_deleted_is_gone_with_its_keys_and_leaves_the_others(memory: Memory) -> None:
    for name in ("c", "d"):
        conversation = memory.conversation(name)
        await conversation.append(user(name), key="k")
        await (await conversation.branch("side")).append(user("side"))
        await conversation.tag("t")
    assert await memory.conversation("c").delete() is True
    assert await memory.conversation("c").messages() == []
    assert [record.id for record in await memory.conversations(tags=["t"])] == ["d"]
    await memory.conversation("c").append(user("anew"), key="k")
    assert [branch.name for branch in await memory.conversation("c").branches()] == ["main"]
    assert (await memory.conversation("c").record()).tags == ()
    assert await said(memory.conversation("d", branch="side")) == ["d", "side"]


def test_writers_at_once_keep_one_order_and_lose_nothing(memory: Memory) -> None:
    """Async and sync writers on one conversation and two of its branches; each key is sent by two of them."""
    conversation = memory.conversation("c")
    conversation.append_sync(user("first"))
    side = conversation.branch_sync("side")

    def write(writer: int) -> list[int]:
        line = side if writer % 2 else conversation
        kept = []
        for number in range(12):
            key = f"{writer // 2}:{writer % 2}:{number}"
            if writer % 3:
                kept.append(line.append_sync(user(key), key=key).id)
            else:
                kept.append(asyncio.run(line.append(user(key), key=key)).id)
        return kept

    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(write, [0, 1, 0, 1, 2, 3, 2, 3]))
    assert all(found == sorted(found) for found in ids)
    assert ids[0] == ids[2]
    for line, odd in ((conversation, 0), (side, 1)):
        own = texts(line.messages_sync(after=1))
        assert len(own) == 24
        for writer in (0, 1):
            mine = [text for text in own if text.startswith(f"{writer}:")]
            assert mine == [f"{writer}:{odd}:{number}" for number in range(12)]
    assert conversation.record_sync().messages == 49


def test_the_sync_face_does_what_the_async_one_does(memory: Memory) -> None:
    conversation = memory.conversation("c", subject="ann")
    conversation.append_sync(user("a"), key="k")
    conversation.append_sync(user("a"), key="k")
    conversation.set_title_sync("title")
    conversation.tag_sync("x", "y")
    conversation.untag_sync("y")
    conversation.branch_sync("side").append_sync(user("b"))
    assert texts(conversation.messages_sync(last=1)) == ["a"]
    assert [branch.name for branch in conversation.branches_sync()] == ["main", "side"]
    record = conversation.record_sync()
    assert memory.conversations_sync(subject="ann", tags=["x"], limit=1) == [record]
    assert (record.title, record.tags, record.messages) == ("title", ("x",), 2)
    assert conversation.delete_sync() is True
    assert memory.conversations_sync() == []


@pytest.mark.parametrize("kind", [Conversation, Memory])
def test_every_async_name_has_a_sync_face(kind: type) -> None:
    public = {name: value for name, value in vars(kind).items() if not name.startswith("_")}
    asyncs = {n for n, v in public.items() if inspect.iscoroutinefunction(v) or inspect.isasyncgenfunction(v)}
    assert asyncs
    assert {f"{name}_sync" for name in asyncs} == {name for name in public if name.endswith("_sync")}
    for name in asyncs:
        assert inspect.signature(public[name]).parameters == inspect.signature(public[f"{name}_sync"]).parameters


async def test_what_cannot_be_a_name_is_the_callers_error(memory: Memory) -> None:
    for bad in ("", "nul \0", "half \ud800", "x" * 401, 7, None):
        with pytest.raises(UsageError):
            memory.conversation(bad)  # type: ignore[arg-type]
        if bad is not None:
            for more in ({"tenant": bad}, {"subject": bad}, {"branch": bad}):
                with pytest.raises(UsageError):
                    memory.conversation("c", **more)  # type: ignore[arg-type]
    conversation = memory.conversation("x" * 400, tenant="y" * 400, subject="z" * 400)
    await conversation.append(user("a"), key="é" * 500)
    await conversation.tag("t" * 400)
    wrong = (
        lambda: conversation.append(user("a"), key="k" * 1001),
        lambda: conversation.append(user("a"), key=""),
        lambda: conversation.append(user("a"), tokens=-1),
        lambda: conversation.append(user("a"), tokens="5"),  # type: ignore[arg-type]
        lambda: conversation.append(user("a"), provenance=Provenance(thread="nul \0")),
        lambda: conversation.messages(last=-1),
        lambda: conversation.set_title("nul \0"),
        lambda: conversation.tag("ok", ""),
        lambda: conversation.branch(""),
        lambda: memory.conversations(limit=-1),
        lambda: memory.conversations(tags="open"),
        lambda: memory.conversations(tenant=""),
    )
    for call in wrong:
        with pytest.raises(UsageError):
            await call()
    record = (await memory.conversations(tenant="y" * 400))[0]
    assert (record.messages, record.tags, record.title) == (1, ("t" * 400,), None)


async def test_a_closed_memory_says_so(store_url: str) -> None:
    async with open_memory(store_url) as memory:
        conversation = memory.conversation("c")
        await conversation.append(user("a"))
    memory.close()
    with pytest.raises(StoreUnavailable, match="is closed"):
        await conversation.messages()
    with pytest.raises(StoreUnavailable, match="is closed"):
        conversation.append_sync(user("b"))
