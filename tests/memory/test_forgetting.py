"""Forgetting a subject: nothing of it is left anywhere, others stay, ids and keys stand, and a kill changes nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.memory.parts import said, texts, user
from vertebra import open_checkpointer, open_memory
from vertebra.databases import StoreUrl, Tx, open_database
from vertebra.errors import MessageMismatch, StoreUnavailable, SubjectHeld, SubjectMismatch, UsageError
from vertebra.memory import ChatMessage, Memory, Source
from vertebra.memory.forgetting import BATCH, Forgetting
from vertebra.memory.place import whom
from vertebra.memory.recall import index
from vertebra.memory.tombstones import TEXT, tombstone

SECRET = "xyzzy"
WHO = f"ann-{SECRET}@example.org"
WHY: dict[str, Any] = {"reason": "asked by letter", "by": "dpo"}
CALL = {"id": f"call-{SECRET}", "type": "function", "function": {"name": f"n{SECRET}", "arguments": f'"{SECRET}"'}}


async def fill(memory: Memory, tenant: str | None = "t", messages: int = 3) -> None:
    """All that can be kept on somebody, with a word in each place, beside somebody else."""
    one = memory.conversation("c1", subject=WHO, tenant=tenant)
    for number in range(messages):
        await one.append({**user(f"{SECRET} {number} {'long ' * 300}"), "name": SECRET}, key=f"{SECRET} {number}")
    await one.append({"role": "assistant", "content": SECRET, "tool_calls": [CALL]}, tokens=7)
    await one.append({"role": "tool", "content": SECRET, "tool_call_id": CALL["id"]})
    side = await one.branch("side", at=2)
    await side.append({**user([{"type": "text", "text": SECRET}]), "x": SECRET}, key=f"side {SECRET}")  # type: ignore[arg-type]
    await one.add_summary(f"{SECRET}, {SECRET}", upto=2)
    await one.set_title(f"About {SECRET}")
    await one.tag(SECRET, f"{SECRET} too")
    await memory.conversation("c2", subject=WHO, tenant=tenant).append(user(f"again {SECRET}"))
    facts = memory.facts(WHO, tenant=tenant)
    await facts.learn(f"takes {SECRET}", [SECRET], source=Source("c1", 1), key=f"fact {SECRET}")
    await facts.retract(f"was {SECRET}")
    hold = await memory.hold(WHO, reason="a case", by="law", tenant=tenant)
    await memory.release(hold.id, by="law", tenant=tenant)
    await memory.conversation("c3", subject="bob", tenant=tenant).append(user("of bob"), key="k")
    await memory.facts("bob", tenant=tenant).learn("takes", "nothing")


def rows(url: str) -> list[tuple[Any, ...]]:
    """Every row of every table of memory."""
    database = open_database(StoreUrl.parse(url))
    names = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'vertebra_memory%' "
        "AND name <> 'vertebra_memory_terms'"  # an index without content: what it holds are the rows of term_counts
        if database.backend == "sqlite"
        else "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'vertebra?_memory%%' ESCAPE '!'"
    )
    names = names.replace("?_", "!_")
    found = database.run_sync(
        lambda tx: [(name, *row) for (name,) in tx.all(names) for row in tx.all(f"SELECT * FROM {name}")]
    )
    database.close()
    return found


def bytes_of(url: str) -> bytes:
    """What is in the file of SQLite, and beside it."""
    file = Path(StoreUrl.parse(url).path)
    return b"".join(part.read_bytes() for part in file.parent.glob(f"{file.name}*"))


def words(found: list[tuple[Any, ...]]) -> str:
    return repr([[bytes(cell) if isinstance(cell, memoryview) else cell for cell in row] for row in found])


async def test_nothing_is_left_in_any_column_nor_in_the_file(durable_url: str) -> None:
    with open_memory(durable_url) as memory:
        await fill(memory, messages=BATCH + 30)
        assert SECRET in words(rows(durable_url))
        receipt = await memory.forget(WHO, tenant="t", **WHY)
        assert SECRET not in words(rows(durable_url))
        if durable_url.startswith("sqlite"):
            assert SECRET.encode() not in bytes_of(durable_url), "while it is open"
        assert "of bob" in words(rows(durable_url))
    if durable_url.startswith("sqlite"):
        assert SECRET.encode() not in bytes_of(durable_url)
    assert dict(receipt.removed) == {
        "messages": BATCH + 34,
        "entries": BATCH + 34 + 1,
        "titles": 1,
        "tags": 2,
        "facts": 2,
        "summaries": 1,
    }
    assert SECRET not in repr(receipt)


async def test_ids_counts_branches_and_calls_run_on(memory: Memory) -> None:
    await fill(memory)
    one, side = (memory.conversation("c1", tenant="t", branch=name) for name in ("main", "side"))
    before = [await one.messages(), await side.messages()]
    branches, record = await one.branches(), await one.record()
    await memory.forget(WHO, tenant="t", **WHY)
    after = [await one.messages(), await side.messages()]
    for was, left in zip(before, after, strict=True):
        assert [(m.id, m.branch, m.role, m.at, m.tokens) for m in was] == [
            (m.id, m.branch, m.role, m.at, m.tokens) for m in left
        ]
        assert all(m.forgotten_at is not None for m in left)
    assert await one.branches() == branches
    assert (await one.record()).messages == record.messages
    assert (await one.record()).updated_at == record.updated_at
    assert ((await one.record()).title, (await one.record()).tags) == (None, ())
    call, answer = after[0][-2:]
    assert [c.id for c in call.tool_calls] == [answer.chat.tool_call_id]
    assert texts(after[0][:3]) == [TEXT] * 3
    assert (await one.append(user("on"))).id == record.messages + 1


async def test_a_forgotten_message_is_one_that_the_api_takes() -> None:
    for chat in (
        *(
            user("a"),
            {"role": "system", "content": "a"},
            {"role": "developer", "content": [{"type": "text", "text": ""}]},
        ),
        *({"role": "assistant", "refusal": "no"}, {"role": "assistant", "content": "a", "audio": {"id": "x"}}),
        *({"role": "assistant", "tool_calls": [CALL, {"id": "b", "type": "custom"}]},),
        {"role": "tool", "tool_call_id": "b", "content": "a"},
    ):
        left = tombstone(ChatMessage.model_validate(chat))
        assert ChatMessage.model_validate(left.to_openai()) == left
        assert left.role == chat["role"]
        assert SECRET not in left.to_json()


async def test_of_one_tenant_and_one_subject_only(memory: Memory) -> None:
    for tenant in (None, "t", "u"):
        await fill(memory, tenant)
    kept = [[line async for line in memory.export_lines(tenant=tenant)] for tenant in (None, "u")]
    facts = [await memory.facts(WHO, tenant=tenant).history() for tenant in (None, "u")]
    await memory.forget(WHO, tenant="t", **WHY)
    assert [[line async for line in memory.export_lines(tenant=tenant)] for tenant in (None, "u")] == kept
    assert [await memory.facts(WHO, tenant=tenant).history() for tenant in (None, "u")] == facts
    assert await memory.receipts() == await memory.receipts(tenant="u") == []
    assert await said(memory.conversation("c3", tenant="t", subject="bob")) == ["of bob"]
    assert [fact.value for fact in await memory.facts("bob", tenant="t").list()] == ["nothing"]


async def test_a_receipt_tells_what_when_why_and_by_whom(memory: Memory) -> None:
    await fill(memory)
    receipt = await memory.forget(WHO, tenant="t", **WHY)
    assert (receipt.reason, receipt.forgotten_by) == ("asked by letter", "dpo")
    assert receipt.ended_at is not None
    assert receipt.begun_at <= receipt.ended_at
    assert receipt.intact
    assert await memory.receipts(tenant="t") == memory.receipts_sync(subject=WHO, tenant="t") == [receipt]
    assert await memory.receipts(subject="bob", tenant="t") == []
    memory._database.run_sync(lambda tx: tx.execute("UPDATE vertebra_memory_receipts SET forgotten_by = 'me'"))
    assert not (await memory.receipts(tenant="t"))[0].intact


async def test_again_nothing_happens(memory: Memory) -> None:
    await fill(memory)
    first = await memory.forget(WHO, tenant="t", **WHY)
    assert memory.forget_sync(WHO, tenant="t", reason="once more", by="dpo") == first
    nobody = await memory.forget("nobody", tenant="t", **WHY)
    assert dict(nobody.removed) == {}
    assert await memory.forget("nobody", tenant="t", **WHY) == nobody


async def test_what_is_retried_does_not_come_back(memory: Memory) -> None:
    await fill(memory)
    await memory.forget(WHO, tenant="t", **WHY)
    one = memory.conversation("c1", subject=WHO, tenant="t")
    again = await one.append(user("another text"), key=f"{SECRET} 0")
    assert (again.id, again.text) == (1, TEXT)
    fact = await memory.facts(WHO, tenant="t").learn("p", 1, key=f"fact {SECRET}")
    assert (fact.id, fact.value, fact.forgotten_at is None) == (1, None, False)
    assert await memory.facts(WHO, tenant="t").history() == []
    with pytest.raises(MessageMismatch):
        await memory.conversation("c3", tenant="t").append(user("other"), key="k")


async def test_who_returns_is_taken_in_and_forgotten_again(memory: Memory) -> None:
    await fill(memory)
    first = await memory.forget(WHO, tenant="t", **WHY)
    one = memory.conversation("c1", subject=WHO, tenant="t")
    with pytest.raises(SubjectMismatch):
        await memory.conversation("c1", subject="eve", tenant="t").messages()
    assert await memory.conversations(tenant="t", subject=WHO) == []
    assert len(await one.messages()) == 5
    await one.append(user(f"{SECRET} is back"), key="back")
    assert [record.id for record in await memory.conversations(tenant="t", subject=WHO)] == ["c1"]
    assert (await memory.facts(WHO, tenant="t").learn("city", SECRET)).id == 3
    second = await memory.forget(WHO, tenant="t", reason="again", by="dpo")
    assert second.id != first.id
    assert dict(second.removed) == {"messages": 1, "entries": 1, "facts": 1, "tags": 0, "titles": 0}
    # A handle that names no subject appends under the pseudonym; that is found, too.
    await memory.conversation("c1", tenant="t").append(user(SECRET))
    third = await memory.forget(WHO, tenant="t", **WHY)
    assert third.removed["messages"] == 1
    assert SECRET not in "".join(await said(one))
    assert [receipt.id for receipt in await memory.receipts(tenant="t")] == [first.id, second.id, third.id]


async def test_a_hold_on_who_was_forgotten_keeps_what_is_left(memory: Memory) -> None:
    await fill(memory)
    await memory.forget(WHO, tenant="t", **WHY)
    hold = await memory.hold(WHO, reason="case", by="law", tenant="t")
    with pytest.raises(SubjectHeld):
        await memory.conversation("c1", tenant="t").delete()
    assert (await memory.expire(default_ttl_s=0, tenant="t")).held
    await memory.release(hold.id, by="law", tenant="t")
    assert await memory.conversation("c1", tenant="t").delete()


async def test_a_hold_keeps_it(memory: Memory) -> None:
    await fill(memory)
    holds = [await memory.hold(WHO, reason=reason, by="law", tenant="t") for reason in ("case 1", "case 2")]
    assert await memory.hold(WHO, reason="case 1", by="law", tenant="t") == holds[0]
    one = memory.conversation("c1", tenant="t")
    for attempt in (lambda: memory.forget_sync(WHO, tenant="t", **WHY), one.delete_sync):
        with pytest.raises(SubjectHeld, match="To go on") as caught:
            attempt()
        assert sorted(caught.value.context["holds"]) == sorted(hold.id for hold in holds)
    assert sorted(await memory.holds(tenant="t"), key=repr) == sorted(holds, key=repr)
    assert await memory.holds(tenant="t", subject="bob") == await memory.holds() == []
    await memory.release(holds[0].id, by="law", tenant="t")
    with pytest.raises(SubjectHeld):
        await memory.forget(WHO, tenant="t", **WHY)
    assert memory.receipts_sync(tenant="t") == []
    released = await memory.release(holds[1].id, by="judge", tenant="t")
    assert await memory.release(holds[1].id, by="another", tenant="t") == released
    assert released.released_by == "judge"
    assert len(await memory.holds(tenant="t", released=True)) == 3
    await memory.forget(WHO, tenant="t", **WHY)
    assert await memory.holds(tenant="t", subject=WHO, released=True) == []
    assert {hold.reason for hold in await memory.holds(tenant="t", released=True)} == {"a case", "case 1", "case 2"}


def test_a_hold_placed_in_the_middle_stops_it_there(memory: Memory) -> None:
    """What is still there when the hold is placed stays; released, the forget goes on under its first receipt."""
    one = memory.conversation("c", subject=WHO)
    for number in range(BATCH + 5):
        one.append_sync(user(f"{number}"))
    forgetting = Forgetting(whom(WHO, None), "r", "b")
    memory._database.run_sync(forgetting.more)
    hold = memory.hold_sync(WHO, reason="case", by="law")
    with pytest.raises(SubjectHeld):
        memory._database.run_sync(forgetting.more)
    assert [m.forgotten_at is None for m in one.messages_sync()].count(True) == 5
    (begun,) = memory.receipts_sync()
    assert (begun.ended_at, begun.removed["messages"]) == (None, BATCH)
    memory.release_sync(hold.id, by="law")
    receipt = memory.forget_sync(WHO, reason="other", by="other")
    assert (receipt.id, receipt.reason, receipt.removed["messages"]) == (begun.id, "r", BATCH + 5)


_FORGET = """
import sys
from vertebra import open_memory
from vertebra.testing import crash_at
url, subject, point, nth = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
with open_memory(url) as memory, crash_at(point, nth=nth):
    memory.forget_sync(subject, tenant="t", reason="r", by="dpo")
"""


def test_killed_at_any_of_its_points_it_goes_on(durable_url: str) -> None:
    """One process after another is killed, each a step further, and the last is left alone."""
    with open_memory(durable_url) as memory:
        asyncio.run(fill(memory, messages=BATCH + 10))
    kills = [*[("forget.batch", nth) for nth in (1, 2, 3)], ("forget.emptied", 1), ("forget.wiped", 1)]
    for point, nth in kills:
        ended = subprocess.run([sys.executable, "-c", _FORGET, durable_url, WHO, point, str(nth)], timeout=60)
        assert ended.returncode == -9, (point, nth)
        with open_memory(durable_url) as memory:
            (receipt,) = memory.receipts_sync(tenant="t")
            assert receipt.ended_at is None
    with open_memory(durable_url) as memory:
        receipt = memory.forget_sync(WHO, tenant="t", **WHY)
        assert (receipt.reason, receipt.intact) == ("r", True)
        assert dict(receipt.removed) == {
            "messages": BATCH + 14,
            "entries": BATCH + 14 + 1,
            "titles": 1,
            "tags": 2,
            "facts": 2,
            "summaries": 1,
        }
        assert memory.receipts_sync(tenant="t") == [receipt]
    assert SECRET not in words(rows(durable_url))
    if durable_url.startswith("sqlite"):
        assert SECRET.encode() not in bytes_of(durable_url)


def test_a_reader_that_keeps_the_log_alive_is_told_of(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_memory(sqlite_url) as memory:
        memory.conversation("c", subject=WHO).append_sync(user(SECRET))
        memory._database._connection.execute("PRAGMA busy_timeout=50")  # type: ignore[attr-defined]
        reader = open_database(StoreUrl.parse(sqlite_url))
        connection = reader._connection  # type: ignore[attr-defined]
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM vertebra_memory_messages").fetchone()
        with pytest.raises(StoreUnavailable, match="reading it"):
            memory.forget_sync(WHO, **WHY)
        assert memory.receipts_sync()[0].ended_at is None
        connection.execute("ROLLBACK")
        assert memory.forget_sync(WHO, **WHY).ended_at is not None
        assert SECRET.encode() not in bytes_of(sqlite_url)
        reader.close()


async def test_deleting_a_thread_leaves_its_conversation(durable_url: str) -> None:
    with open_memory(durable_url) as memory, open_checkpointer(durable_url) as store:
        await memory.conversation("c").append(user("stays"))
        store.journal.record_value_sync("thread", "v", "name", "value")
        await store.saver.adelete_thread("thread")
        assert await said(memory.conversation("c")) == ["stays"]


@pytest.mark.parametrize("wrong", [{"reason": ""}, {"by": ""}, {"subject": ""}, {"reason": "a\0"}])
def test_who_and_why_must_be_said(wrong: dict[str, str]) -> None:
    with open_memory("memory://") as memory, pytest.raises(UsageError, match="To go on"):
        memory.forget_sync(**{"subject": "ann", "reason": "r", "by": "b", **wrong})


def test_what_is_taken_into_the_index_late_is_not_what_is_being_forgotten(durable_url: str) -> None:
    """Of a memory from before there was an index: a search takes it in, and waits for whoever is forgetting in it."""
    with open_memory(durable_url) as memory, open_memory(durable_url) as searched:
        conversation = memory.conversation("old", subject="p")
        conversation.append_sync(user(f"It is {SECRET}."))
        conversation.add_summary_sync(f"Of {SECRET}.", upto=1)
        unindexed = "INSERT INTO vertebra_memory_unindexed (tenant, conversation) VALUES ('', 'old')"
        memory.database.run_sync(lambda tx: (index.remove(tx, "", "old"), tx.execute(unindexed)))
        search = threading.Thread(target=lambda: searched.search_sync("anything"))

        def forget(tx: Tx) -> None:
            forgetting = Forgetting(whom("p", None), "asked", "op")
            while forgetting.more(tx):
                pass
            search.start()
            search.join(0.5)  # it has read what is not forgotten yet, or waits

        memory.database.run_sync(forget)
        search.join(30)
        tokens = memory.database.run_sync(lambda tx: tx.all("SELECT tokens FROM vertebra_memory_entries"))
        assert SECRET.lower() not in str(tokens)
        assert len(memory.search_sync(SECRET)) == 0
