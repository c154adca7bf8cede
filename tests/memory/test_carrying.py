"""Exported and imported again without loss, whole or not at all, and refused with the line that is wrong."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from langgraph.store.base import PutOp

from tests.memory.parts import said, user
from tests.memory.test_messages import GOOD
from vertebra import open_memory
from vertebra.errors import ConversationExists, ConversationNotFound, ExportInvalid, FactMismatch, SubjectHeld
from vertebra.memory import Imported, Memory, Provenance, Source, item_copies
from vertebra.memory.carrying import PAGE, Export


async def fill(memory: Memory, tenant: str | None = None) -> None:
    conversation = memory.conversation("c \n \u2028 1", subject="ann", tenant=tenant)
    await conversation.set_title("Größe\nof \u2028 it")
    await conversation.tag("y", "x")
    for number, message in enumerate(GOOD.values()):
        await conversation.append(message, key=f"k{number}", tokens=number)
    side = await conversation.branch("side", at=3)
    await side.append(user("X"), provenance=Provenance("t", "r", "n", 7, "m"))
    await (await side.branch("a deeper one")).append(user("NUL \0 and \u2028"))
    await (await side.branch("of its own", at=0)).append(user("0"))
    await memory.conversation("empty", tenant=tenant).tag("z")
    await memory.conversation("other", subject="bob", tenant=tenant).append(user("b"))


async def lines_of(memory: Memory, **wanted: str | None) -> list[str]:
    return [line async for line in memory.export_lines(**wanted)]  # type: ignore[arg-type]


@pytest.fixture
def exported() -> list[str]:
    async def export() -> list[str]:
        with open_memory("memory://") as memory:
            await fill(memory)
            return await lines_of(memory)

    return asyncio.run(export())


async def test_back_without_loss(memory: Memory) -> None:
    await fill(memory, "from")
    lines = await lines_of(memory, tenant="from")
    assert not [line for line in lines if "\n" in line]
    imported = await memory.import_lines([*lines[:1], "\n", *lines[1:]], tenant="to")
    assert imported == Imported(conversations=3, messages=len(GOOD) + 4, unchanged=0)
    assert await lines_of(memory, tenant="to") == lines
    for branch in ("main", "side", "a deeper one", "of its own"):
        ours, theirs = (memory.conversation("c \n \u2028 1", tenant=t, branch=branch) for t in ("from", "to"))
        assert await ours.messages() == await theirs.messages()
    assert list(memory.export_lines_sync(tenant="to")) == lines
    assert memory.import_lines_sync(lines, tenant="third").conversations == 3
    again = memory.conversation("other", tenant="to")
    assert (await again.append(user("c"))).id == 2


async def test_from_each_backend_into_each(memory: Memory, exported: list[str]) -> None:
    await memory.import_lines(exported)
    assert await lines_of(memory) == exported


async def test_a_key_holds_after_an_import(memory: Memory, exported: list[str]) -> None:
    await memory.import_lines(exported)
    conversation = memory.conversation("c \n \u2028 1")
    assert (await conversation.append(next(iter(GOOD.values())), key="k0")).id == 1


async def test_an_import_may_be_repeated_and_what_grew_since_stays(memory: Memory, exported: list[str]) -> None:
    await memory.import_lines(exported)
    await memory.conversation("other").append(user("c"))
    await memory.conversation("other").branch("later")
    assert await memory.import_lines(exported) == Imported(0, 0, 3)
    assert await said(memory.conversation("other")) == ["b", "c"]


async def test_another_conversation_under_the_id_is_left_alone(memory: Memory, exported: list[str]) -> None:
    await memory.conversation("other").append(user("mine"))
    with pytest.raises(ConversationExists, match="'other'"):
        await memory.import_lines(exported)
    assert await said(memory.conversation("other")) == ["mine"]


async def test_a_part_of_it(memory: Memory) -> None:
    await fill(memory)
    (head, _, first) = map(json.loads, await lines_of(memory, subject="bob"))
    assert (head["id"], first["message"]) == ("other", user("b"))
    assert len(await lines_of(memory, conversation="empty")) == 2
    with pytest.raises(ConversationNotFound):
        await lines_of(memory, conversation="never")
    with pytest.raises(ConversationNotFound):
        await lines_of(memory, conversation="other", subject="ann")


async def test_a_long_one_is_exported_as_it_stood_though_it_grows(memory: Memory) -> None:
    conversation = memory.conversation("c")
    head = {"type": "conversation", "format": 1, "id": "c", "subject": None, "title": None, "tags": []}
    lines = [
        json.dumps({**head, "branches": 1, "messages": PAGE + 5, "created_at": 1.0, "updated_at": 2.0}),
        json.dumps({"type": "branch", "name": "main", "parent": None, "at": 0, "created_at": 1.0}),
    ]
    for number in range(1, PAGE + 6):
        rest = {"at": 1.5, "key": None, "tokens": None, "provenance": {}}
        lines.append(json.dumps({"type": "message", "id": number, "branch": "main", "message": user("a"), **rest}))
    await memory.import_lines(lines)
    exported = []
    async for line in memory.export_lines():
        exported.append(line)
        if len(exported) == 3:
            await conversation.append(user("late"))
            await conversation.branch("late")
    assert len(exported) == 2 + PAGE + 5
    assert "late" not in "".join(exported)
    assert await memory.import_lines(exported) == Imported(0, 0, 1)


def test_deleted_during_an_export_is_told(memory: Memory) -> None:
    conversation = memory.conversation("c")
    conversation.append_sync(user("a"))
    memory.conversation("d").append_sync(user("b"))
    lines = memory.export_lines_sync()
    next(lines)
    conversation.delete_sync()
    conversation.append_sync(user("another"))
    with pytest.raises(ConversationNotFound, match="deleted during"):
        list(lines)
    export = Export("", None, None)
    assert len(memory._database.run_sync(export.more) or ()) == 2
    memory._database.run_sync(export.more)
    memory.conversation("d").delete_sync()
    assert memory._database.run_sync(export.more) is None


def broken(lines: list[str]) -> Iterator[tuple[str, list[str], int]]:
    """What is wrong, the lines, and the number of the line that is named."""
    parsed = [json.loads(line) for line in lines]
    first = next(n for n, line in enumerate(parsed) if line["type"] == "message")
    side = next(n for n, line in enumerate(parsed) if line.get("name") == "side")

    def changed(number: int, **values: object) -> list[str]:
        return [*lines[:number], json.dumps({**parsed[number], **values}), *lines[number + 1 :]]

    yield "no JSON", ["{"], 1
    yield "no object", ["[]"], 1
    yield "another type", ['{"type": "rumour"}'], 1
    yield "no conversation", lines[1:], 1
    yield "a later format", changed(0, format=3), 1
    yield "a time to live of less than nothing", changed(0, ttl_s=-1), 1
    yield "an unknown field", changed(0, tenant="other"), 1
    yield "a bad id", changed(0, id=""), 1
    yield "a bad tag", changed(0, tags=["nul \0"]), 1
    yield "a bad title", changed(0, title="nul \0"), 1
    yield "a bad subject", changed(0, subject=""), 1
    yield "a bad branch", changed(side, name=""), side + 1
    yield "a bad key", changed(first, key=""), first + 1
    yield "negative tokens", changed(first, tokens=-1), first + 1
    yield "no message", changed(first, message={"role": "user"}), first + 1
    yield "half a pair", changed(first, message={"role": "user", "content": "\ud800"}), first + 1
    yield "a gap", [*lines[:first], *lines[first + 1 :]], first + 1
    yield "a branch twice", [*lines[: side + 1], *lines[side:]], side + 2
    yield "a branch of nothing", changed(side, parent="nowhere"), side + 1
    yield "a branch before it began", changed(side, at=-1), side + 1
    yield "a message on no branch", changed(first, branch="side"), first + 1
    yield "cut off", lines[: first + 2], first + 2
    yield "cut off before another", [*lines[: first + 2], lines[0]], first + 3
    end = next(n for n, line in enumerate(parsed) if n and line["type"] == "conversation")
    own = next(n for n, line in enumerate(parsed) if line.get("name") == "of its own")
    yield "a branch from another's message", changed(own, at=len(GOOD) + 1), end + 1
    yield "a key twice", changed(first + 1, key="k0"), end + 1


async def test_what_no_export_has_written_is_refused_with_its_line(exported: list[str]) -> None:
    for what, lines, number in broken(exported):
        with open_memory("memory://") as memory:
            with pytest.raises(ExportInvalid, match="To go on") as caught:
                await memory.import_lines(lines)
            assert caught.value.context["line"] == number, (what, caught.value)
            assert await memory.conversations() == [], what


async def test_facts_holds_receipts_and_what_was_forgotten_come_along(memory: Memory) -> None:
    for subject in ("ann", "bob", "eve"):
        conversation = memory.conversation(f"with {subject}", subject=subject, tenant="from")
        await conversation.append(user(f"of {subject}"), key="k")
        await conversation.set_ttl(60)
        facts = memory.facts(subject, tenant="from")
        await facts.learn("p \u2028", {"a": [1.5, None, "NUL \0"]}, source=Source("c", 1), confidence=0.5, key="k")
        await facts.learn("since ever", 1, valid_from=-math.inf, valid_until=5)
        await facts.retract("q")
    await memory.hold("ann", reason="case", by="law", tenant="from")
    ended = await memory.hold("bob", reason="case", by="law", tenant="from")
    await memory.release(ended.id, by="law", tenant="from")
    await memory.forget("eve", reason="asked", by="dpo", tenant="from")
    lines = await lines_of(memory, tenant="from")
    imported = await memory.import_lines(lines, tenant="to")
    assert imported == Imported(conversations=3, messages=3, unchanged=0, facts=9, holds=2, receipts=1)
    assert await lines_of(memory, tenant="to") == lines
    assert memory.import_lines_sync(lines, tenant="to") == Imported(0, 0, 3)
    for tenant in ("from", "to"):
        with pytest.raises(SubjectHeld):
            await memory.forget("ann", reason="r", by="b", tenant=tenant)
        assert (await memory.receipts(tenant=tenant, subject="eve"))[0].intact
        assert (await memory.facts("bob", tenant=tenant).learn("new", 1)).id == 4
        assert (await memory.facts("eve", tenant=tenant).learn("new", 1, key="k")).forgotten_at is not None
    of_bob = [json.loads(line) for line in await lines_of(memory, tenant="to", subject="bob")]
    assert [line["type"] for line in of_bob] == ["conversation", "branch", "message", *["fact"] * 4, "hold"]
    assert {line.get("subject", "bob") for line in of_bob} == {"bob"}


async def test_what_was_forgotten_here_does_not_come_back_by_an_import(memory: Memory) -> None:
    conversation = memory.conversation("c", subject="ann")
    await conversation.append(user("secret"), key="k")
    await memory.facts("ann").learn("p", "secret")
    lines = await lines_of(memory)
    await memory.forget("ann", reason="asked", by="dpo")
    assert await memory.import_lines(lines) == Imported(0, 0, 1)
    assert "secret" not in "".join(await lines_of(memory))


async def test_another_fact_under_an_id_or_a_key_is_left_alone(memory: Memory) -> None:
    await memory.facts("ann").learn("p", "mine", key="k")
    before = await lines_of(memory)
    fact = json.loads(before[0])
    for other in ({"value": "theirs"}, {"id": 2}):
        with pytest.raises(FactMismatch):
            await memory.import_lines([json.dumps(fact | other)])
    assert await lines_of(memory) == before


async def test_many_facts_are_carried_page_by_page(memory: Memory) -> None:
    await memory.import_lines(
        json.dumps({**_FACT, "subject": subject, "id": number}) for subject in "ab" for number in range(1, PAGE + 2)
    )
    lines = await lines_of(memory)
    assert len(lines) == 2 * PAGE + 2
    assert (await memory.import_lines(lines, tenant="t")).facts == len(lines)
    assert await lines_of(memory, tenant="t") == lines


_FACT = {
    "type": "fact",
    "id": 1,
    "subject": "ann",
    "predicate": "p",
    "value": 1,
    "valid_from": None,
    "valid_until": None,
    "learned_at": 1.0,
    "retracted": False,
    "key": None,
    "source": None,
    "confidence": None,
    "forgotten_at": None,
}


_WRONG: list[dict[str, object]] = [
    *({"id": 0}, {"subject": ""}, {"predicate": ""}, {"key": ""}, {"value": "\ud800"}, {"confidence": 2}, {"x": 1}),
    *({"source": {"conversation": "", "message": 1}}, {"type": "hold"}, {"type": "receipt"}, {"valid_from": "a"}),
]


@pytest.mark.parametrize("wrong", _WRONG)
async def test_what_is_no_fact_is_refused(wrong: dict[str, object]) -> None:
    with open_memory("memory://") as memory:
        with pytest.raises(ExportInvalid) as caught:
            await memory.import_lines(["", json.dumps({**_FACT, **wrong})])
        assert caught.value.context["line"] == 2


async def test_lines_of_the_first_format_are_still_read(memory: Memory) -> None:
    """As 1 wrote them: no time to live, no tombstones."""
    lines = [
        '{"branches":1,"created_at":1.0,"format":1,"id":"c","messages":1,"subject":"ann","tags":["x"],"title":null,'
        '"type":"conversation","updated_at":2.0}',
        '{"at":0,"created_at":1.0,"name":"main","parent":null,"type":"branch"}',
        '{"at":1.5,"branch":"main","id":1,"key":"k","message":{"content":"a","role":"user"},"provenance":{"model":null,'
        '"node":null,"run":null,"step":null,"thread":null},"tokens":null,"type":"message"}',
    ]
    assert await memory.import_lines(lines) == Imported(1, 1, 0)
    assert await said(memory.conversation("c")) == ["a"]


async def test_items_of_the_store_come_along_with_times_and_vectors(memory: Memory) -> None:
    index: Any = {"dims": 3, "embed": lambda texts: [[float(len(text)), 1, 0] for text in texts], "fields": ["a"]}
    store = memory.store(tenant="from", index=index)
    for number in range(3):
        store.put(("people", "ann"), f"k{number}", {"a": "x" * number + "NUL \0", "b": [1.5, None, {"c": "\u2028"}]})
    store.put(("people", "bob"), "b", {"a": "y"}, ttl=60)
    store.put(("people", "ann"), "k0", {"a": "again"}, index=False)
    store.put(("old",), "gone", {"a": "z"}, ttl=1e-9)
    lines = await lines_of(memory, tenant="from")
    assert (await memory.import_lines(lines, tenant="to")).items == 4
    assert await lines_of(memory, tenant="to") == lines
    assert (await memory.import_lines(lines, tenant="to")).items == 0
    kept = memory.store(tenant="to", index=index)
    for how in ({}, {"query": "xxxx"}, {"filter": {"b": [1.5, None, {"c": "\u2028"}]}}):
        assert [item.dict() for item in kept.search((), **how)] == [item.dict() for item in store.search((), **how)]
    assert [json.loads(line)["key"] for line in await lines_of(memory, tenant="to", subject="ann")] == [
        "k0",
        "k1",
        "k2",
    ]
    kept.put(("people", "ann"), "k1", {"a": "mine"})
    await memory.import_lines(lines, tenant="to")
    assert kept.get(("people", "ann"), "k1").value == {"a": "mine"}


async def test_an_import_brings_no_item_back_that_was_forgotten(memory: Memory) -> None:
    store = memory.store()
    store.put(("people", "ann"), "old", {"n": 1})
    lines = await lines_of(memory)
    await memory.forget("ann", reason="asked", by="dpo")
    assert (await memory.import_lines(lines)).items == 0
    store.put(("people", "ann"), "new", {"n": 2})
    lines = await lines_of(memory)
    store.delete(("people", "ann"), "new")
    assert (await memory.import_lines(lines)).items == 1, "what was put after a forget is new"
    assert [item.key for item in store.search(())] == ["new"]


async def test_many_items_are_carried_page_by_page(memory: Memory) -> None:
    count = 2 * item_copies.PAGE
    memory.store().batch([PutOp(("n", str(number % 7)), str(number), {"n": number}) for number in range(count)])
    lines = await lines_of(memory)
    assert (await memory.import_lines(lines, tenant="to")).items == count
    assert await lines_of(memory, tenant="to") == lines


@pytest.mark.parametrize(
    "change",
    [
        {"namespace": []},
        {"namespace": ["a.b"]},
        {"namespace": ["langgraph", "b"]},
        {"namespace": [""]},
        {"key": "\ud800"},
        {"value": [1]},
        {"vectors": {"a": "?"}},
        {"vectors": {"a": "AAA="}},
        {"expires_at": "never"},
        {"more": 1},
    ],
    ids=str,
)
def test_an_item_that_the_store_would_not_take_is_refused(change: dict[str, Any]) -> None:
    with open_memory("memory://") as memory:
        memory.store().put(("a",), "b", {"c": 1})
        (line,) = memory.export_lines_sync()
        with pytest.raises(ExportInvalid, match="Line 1 "):
            memory.import_lines_sync([json.dumps({**json.loads(line), **change})], tenant="to")
