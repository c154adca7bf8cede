"""Windows: what a model is to see of a conversation, and how little of it is read for that."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.memory.parts import texts, user
from vertebra import open_memory
from vertebra.databases import StoreUrl, open_database
from vertebra.errors import MessageNotFound, UsageError
from vertebra.memory import ChatMessage, Conversation, Estimator, Memory, encoded

CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def one(chat: ChatMessage) -> int:
    """A token for each message."""
    return 1


def talk(memory: Memory, count: int, first: int = 0) -> Conversation:
    conversation = memory.conversation("c", tenant="t")
    for number in range(first, first + count):
        role = "assistant" if number % 2 else "user"
        conversation.append_sync({"role": role, "content": f"m{number}"})
    return conversation


def test_all_of_it_where_it_fits(memory: Memory) -> None:
    window = talk(memory, 5).window_sync(max_tokens=5, counter=one)
    assert [m["content"] for m in window.to_openai()] == ["m0", "m1", "m2", "m3", "m4"]
    assert (window.tokens, window.manifest.messages, window.manifest.complete) == (5, (1, 2, 3, 4, 5), True)
    assert memory.conversation("none").window_sync(max_tokens=1).to_openai() == []


def test_system_and_pinned_messages_come_first(memory: Memory) -> None:
    conversation = talk(memory, 6)
    conversation.append_sync({"role": "system", "content": "Be brief."})
    conversation.pin_sync(2)
    conversation = talk(memory, 6, 6)
    window = conversation.window_sync(max_tokens=5, strategy="newest", counter=one)
    assert texts(list(window.messages)) == ["m1", "Be brief.", "m9", "m10", "m11"]
    assert not window.manifest.complete
    conversation.unpin_sync(2)
    assert (
        texts(list(conversation.window_sync(max_tokens=3, strategy="newest", counter=one).messages))[0] == "Be brief."
    )
    with pytest.raises(MessageNotFound):
        conversation.pin_sync(99)


@pytest.mark.parametrize("room", range(1, 6))
def test_a_tools_answer_is_never_parted_from_its_call(memory: Memory, room: int) -> None:
    conversation = talk(memory, 4)
    conversation.append_sync({"role": "assistant", "tool_calls": [CALL, {**CALL, "id": "c2"}]})
    for id in ("c1", "c2"):
        conversation.append_sync({"role": "tool", "tool_call_id": id, "content": "seen"})
    conversation.append_sync(user("thanks"))
    for strategy in ("newest", "stable"):
        rest: Any = conversation.window_sync(max_tokens=room, strategy=strategy, counter=one).rest  # type: ignore[arg-type]
        roles = [message.role for message in rest]
        assert roles.count("tool") in (0, 2)
        assert roles[0] != "tool"
        assert ("tool" in roles) == any(message.tool_calls for message in rest)


def test_what_must_be_there_and_does_not_fit_is_an_error(memory: Memory) -> None:
    conversation = memory.conversation("c")
    conversation.append_sync(user("long " * 100))
    with pytest.raises(UsageError, match="newest message"):
        conversation.window_sync(max_tokens=10)
    for bad in ({"max_tokens": 0}, {"max_tokens": 5, "strategy": "odd"}):
        with pytest.raises(UsageError):
            conversation.window_sync(**bad)


def test_the_beginning_stays_for_many_turns(memory: Memory) -> None:
    """Appended to one by one, the window is mostly the last one and what came after it."""
    conversation, windows = talk(memory, 40), []
    for number in range(40, 200):
        conversation = talk(memory, 1, number)
        windows.append(conversation.window_sync(max_tokens=40, counter=one).to_openai())
    kept = [later[: len(earlier)] == earlier for earlier, later in pairwise(windows)]
    assert kept.count(False) <= 20, "each time half of the room is free again, or less than that"
    assert all(len(window) >= 20 for window in windows)


def test_a_branch_has_the_window_of_its_own_line(memory: Memory) -> None:
    conversation = talk(memory, 6)
    line = conversation.branch_sync("other", at=3)
    line.append_sync(user("mine"))
    assert texts(list(line.window_sync(max_tokens=9, counter=one).messages)) == ["m0", "m1", "m2", "mine"]


def test_a_summary_stands_for_what_does_not_fit(memory: Memory) -> None:
    conversation = talk(memory, 20)
    assert not conversation.window_sync(max_tokens=8, counter=one).manifest.complete
    summary = conversation.add_summary_sync("They counted to nine.", upto=10)
    assert conversation.add_summary_sync("Again.", upto=10) == summary
    window = conversation.window_sync(max_tokens=11, counter=one)
    assert window.summary == summary
    assert window.to_openai()[0]["content"].endswith("They counted to nine.")
    assert texts(list(window.rest)) == [f"m{number}" for number in range(10, 20)]
    assert (window.manifest.complete, window.manifest.summary) == (True, ("main", 1, 10))
    assert not conversation.window_sync(max_tokens=6, counter=one).manifest.complete
    assert conversation.window_sync(max_tokens=20, counter=one).summary is None, "nothing is left out"
    early, late = conversation.branch_sync("early", at=9), conversation.branch_sync("late", at=12)
    assert (early.summaries_sync(), late.summaries_sync()) == ([], [summary])
    late.add_summary_sync("Of the branch.", upto=12)
    assert conversation.summaries_sync() == [summary]
    with pytest.raises(MessageNotFound):
        early.add_summary_sync("no", upto=10)


def test_pins_and_summaries_are_carried_out_and_in(store_url: str) -> None:
    with open_memory(store_url) as memory, open_memory("memory://") as other:
        conversation = talk(memory, 5)
        conversation.pin_sync(2)
        conversation.add_summary_sync("One and two.", upto=2)
        lines = list(memory.export_lines_sync(tenant="t"))
        for _ in range(2):
            other.import_lines_sync(lines, tenant="t")
        assert list(other.export_lines_sync(tenant="t")) == lines
        copied = other.conversation("c", tenant="t")
        assert copied.summaries_sync() == conversation.summaries_sync()
        assert [m.pinned for m in copied.messages_sync()] == [False, True, False, False, False]
        conversation.delete_sync()
        assert talk(memory, 3).summaries_sync() == []


def test_of_ten_thousand_messages_only_the_newest_are_read(durable_url: str) -> None:
    """Counted, not timed: the messages that are decoded, and the plan of the search for those that lead."""
    with open_memory(durable_url) as memory:
        conversation = talk(memory, 1)
        conversation.append_sync({"role": "system", "content": "Be brief."})
        memory.database.run_sync(
            lambda tx: tx.execute(
                "WITH RECURSIVE n (id) AS (SELECT 3 UNION ALL SELECT id + 1 FROM n WHERE id < 10000) "
                "INSERT INTO vertebra_memory_messages (tenant, conversation, id, branch, role, message, at) "
                "SELECT 't', 'c', id, 'main', 'user', message, 0.0 FROM n, "
                "(SELECT message FROM vertebra_memory_messages WHERE id = 1) AS one"
            )
        )
        counted: list[ChatMessage] = []

        def count(chat: ChatMessage) -> int:
            counted.append(chat)
            return 1

        window = conversation.window_sync(max_tokens=50, counter=count)
        assert len(window.rest) >= 25
        assert window.manifest.messages[0] == 2
        assert len({id(chat) for chat in counted}) < 300


def test_the_leading_messages_are_found_by_an_index(sqlite_url: str) -> None:
    open_memory(sqlite_url).close()
    database = open_database(StoreUrl.parse(sqlite_url))
    plan = database.run_sync(
        lambda tx: tx.all(
            "EXPLAIN QUERY PLAN SELECT id FROM vertebra_memory_messages m WHERE m.tenant = ? AND m.conversation = ? "
            "AND (m.role IN ('system', 'developer') OR m.pinned = 1)",
            *("t", "c"),
        )
    )
    database.close()
    assert "vertebra_memory_leading" in str(plan)


def test_tokens_are_estimated_calibrated_or_counted() -> None:
    chat = ChatMessage(role="user", content="x" * 400)
    assert Estimator()(chat) == 104
    request = '{"model":"m","messages":[{"role":"user","content":"' + "x" * 400 + '"}]}'
    assert Estimator.calibrated([(request, 208), ("no JSON", 9), ("{}", 9)])(chat) == 208
    assert Estimator.calibrated([]).factor == 1.0
    assert encoded(str.split)(ChatMessage(role="user", content="one two three")) == 7
    picture = ChatMessage.model_validate(
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}
    )
    assert Estimator()(picture) > 500
