"""An agent with a memory: across threads it knows what was said, and keeps each turn once, whatever dies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runtime import test_agents
from tests.runtime.test_agents import REFUND, Answer, helpdesk, paid
from vertebra import END, Graph, open_memory
from vertebra.errors import UsageError
from vertebra.graphs import Approval, agent
from vertebra.testing import ScriptedModel, assert_graph

model = test_agents.model


def says(text: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "conversation": "ann", "subject": "ann", **more}


@pytest.fixture
def stores(tmp_path: Path) -> dict[str, Any]:
    return {
        "checkpointer": f"sqlite:///{tmp_path}/threads.db?durability=process",
        "memory": f"sqlite:///{tmp_path}/memory.db?durability=process",
        "default_model": "m",
    }


def kept(stores: dict[str, Any], conversation: str = "ann", subject: str | None = "ann") -> list[Any]:
    with open_memory(stores["memory"]) as memory:
        return memory.conversation(conversation, subject=subject).messages_sync()


def remembering(**more: Any) -> Graph:
    return helpdesk(memory=2000, **more)


def test_it_knows_in_another_thread_what_was_said(model: ScriptedModel, stores: dict[str, Any]) -> None:
    seen: list[Any] = []
    model.on(lambda request: seen.append(request.body["messages"]) is not None)
    model.on("lamp").call_tool("search", {"query": "17", "limit": 1}).reply("It is order 17.")
    model.on("which order").reply("Order 17.")
    with remembering().compile(**stores) as app:
        app.run_sync(says("My lamp is broken."), thread_id="monday")
        run = app.run_sync(says("So, which order is it?"), thread_id="tuesday")
        again = app.run_sync({"messages": [{"role": "user", "content": "Now which order?"}]}, thread_id="tuesday")
        assert app.verify_sync("tuesday").ok
    assert run.output.answer == "Order 17."
    first = ["user", "assistant", "tool", "assistant"]
    assert [m["role"] for m in seen[2]] == ["system", *first, "user"]
    assert [m["role"] for m in seen[3]] == ["system", *first, "user", "assistant", "user"]
    assert [m["content"] for m in seen[3] if m["role"] == "user"][-1] == "Now which order?"
    assert [m.role for m in kept(stores)] == [*first, "user", "assistant", "user", "assistant"]
    assert kept(stores)[1].tool_calls[0].function.name == "search"
    assert again.output.kept == 4


def test_answers_that_did_not_fit_were_not_said(model: ScriptedModel, stores: dict[str, Any]) -> None:
    model.on().reply("well", times=1).reply_json({"text": "x", "refunded": False})
    with remembering(answer=Answer).compile(**stores) as app:
        run = app.run_sync(says("Hello?"))
        assert len(run.output.messages) == 4
    assert [(m.role, m.text) for m in kept(stores)] == [
        ("user", "Hello?"),
        ("assistant", run.output.messages[-1]["content"]),
    ]


def test_without_a_name_the_conversation_is_the_threads(model: ScriptedModel, stores: dict[str, Any]) -> None:
    model.on().reply("Hello.")
    with agent("plain", memory=500).compile(**stores) as app:
        app.run_sync({"messages": [{"role": "user", "content": "Hi."}]}, thread_id="t")
        app.run_sync({"messages": [{"role": "user", "content": "Hi again."}]}, thread_id="t")
    assert [m.text for m in kept(stores, "t", None)] == ["Hi.", "Hello.", "Hi again.", "Hello."]


def test_what_no_longer_fits_is_summarised(model: ScriptedModel, stores: dict[str, Any]) -> None:
    seen: list[Any] = []
    model.on(lambda request: seen.append(request.body["messages"]) is not None)
    model.on("What was said then").reply("They spoke of lamps.")
    model.on().reply("A lamp is a lamp. " * 10)
    with agent("plain", memory=200).compile(**stores) as app:
        for number in range(5):
            assert app.run_sync(says(f"Lamp {number}? " * 5)).status == "done"
    assert any("They spoke of lamps." in str(messages[0]["content"]) for messages in seen)
    assert len(kept(stores)) == 10
    assert all(len(messages) <= 8 for messages in seen)


def test_it_is_still_proved(model: ScriptedModel) -> None:
    g = remembering(answer=Answer)
    assert g.check() == []
    assert_graph(g).always("tools/approve_refund", before="tools/refund").always("remember", before=END)
    assert_graph(g).always(at_most=("remember", 1)).always(never="model", after="remember")
    assert g.bounds().total_calls == helpdesk(answer=Answer).bounds().total_calls + 3


@pytest.mark.parametrize("memory", [0, "sqlite:///memory.db", True])
def test_a_memory_is_a_number_of_tokens(memory: Any) -> None:
    with pytest.raises(UsageError, match="no room for a conversation"):
        agent("plain", memory=memory)


CHILD = """
import json, sys
from vertebra.testing import crash_at
from tests.runtime.test_agent_memory import remembering, says
stores, point, nth = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with crash_at(point, nth=nth), remembering().compile(**stores) as app:
    app.run_sync(says("Write a note."), thread_id="t")
"""


@pytest.mark.parametrize(
    ("point", "nth"),
    [
        ("effect.recorded", 1),
        ("call.recorded", 2),
        ("memory.delivering", 1),
        ("memory.delivered", 1),
    ],
)
def test_killed_it_keeps_each_message_once_and_pays_once(
    model: ScriptedModel,
    stores: dict[str, Any],
    point: str,
    nth: int,
) -> None:
    model.on("note").call_tool("note", {"text": "n"}).reply("Noted.")
    child = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(stores), point, str(nth)], capture_output=True, text=True
    )
    assert child.returncode == -9, child.stderr
    with remembering().compile(**stores) as app:
        (run,) = app.recover_sync()
    assert (run.status, run.output.answer) == ("done", "Noted.")
    assert [m.role for m in kept(stores)] == ["user", "assistant", "tool", "assistant"]
    assert len(paid()) == 1
    assert len(model.books.paid()) == 2


def test_a_turn_that_is_cancelled_leaves_no_call_without_its_answer(
    model: ScriptedModel,
    stores: dict[str, Any],
) -> None:
    model.on("back").call_tool("refund", REFUND).reply("Paid.").call_tool("refund", REFUND).reply("Never.")
    model.on("Hello").reply("Hello.")
    with remembering().compile(**stores) as app:
        waiting = app.run_sync(says("I want my money back."), thread_id="waits")
        assert waiting.status == "interrupted"
        assert app.run_sync(says("Hello?"), thread_id="other").status == "done"
        assert [m.role for m in kept(stores)] == ["user", "assistant"]
        app.resume_sync("waits", Approval(approved=True))
        assert [m.role for m in kept(stores)][2:] == ["user", "assistant", "tool", "assistant"]
        app.run_sync(says("I want my money back."), thread_id="cancelled")
        app.cancel_sync("cancelled")
    assert len(kept(stores)) == 6


def test_after_a_turn_that_was_cancelled_nothing_of_it_is_said_to_anybody_else(
    model: ScriptedModel, stores: dict[str, Any]
) -> None:
    """The thread is used again, in another conversation and in the same one."""
    seen: list[Any] = []
    model.on(lambda request: seen.append(request.body["messages"]) is not None)
    model.on("back").call_tool("refund", REFUND, times=None)
    model.on().reply("Hello.")
    bob = {"conversation": "bob", "subject": "bob"}
    with remembering().compile(**stores) as app:
        for person in (bob, {"conversation": "bob", "subject": "bob"}, {}):
            assert app.run_sync(says("I want my money back."), thread_id="t").status == "interrupted"
            app.cancel_sync("t")
            assert app.run_sync(says("Hello?", **person), thread_id="t").status == "done"
            assert [m["content"] for m in seen[-1] if m["role"] == "user"][-1] == "Hello?"
            assert "money" not in str(seen[-1])
        assert app.verify_sync("t").ok
    assert [m.text for m in kept(stores, "bob", "bob")] == ["Hello?", "Hello."] * 2
    assert [m.text for m in kept(stores)] == ["Hello?", "Hello."]


def test_without_a_memory_a_call_that_was_cancelled_is_told_as_such(
    model: ScriptedModel, stores: dict[str, Any]
) -> None:
    seen: list[Any] = []
    model.on(lambda request: seen.append(request.body["messages"]) is not None)
    model.on("back").call_tool("refund", REFUND, times=None)
    model.on().reply("Hello.")
    with helpdesk().compile(checkpointer=stores["checkpointer"], default_model="m") as app:
        app.run_sync({"messages": [{"role": "user", "content": "I want my money back."}]}, thread_id="t")
        app.cancel_sync("t")
        app.run_sync({"messages": [{"role": "user", "content": "Hello?"}]}, thread_id="t")
    call, answer = seen[-1][-3:-1]
    assert (answer["role"], answer["tool_call_id"]) == ("tool", call["tool_calls"][0]["id"])
    assert answer["content"] == "Not done: the turn was cancelled."


def test_a_fork_goes_on_in_a_branch_of_its_parents_conversation(model: ScriptedModel, stores: dict[str, Any]) -> None:
    seen: list[Any] = []
    model.on(lambda request: seen.append(request.body["messages"]) is not None)
    model.on().reply("Hello.")
    with agent("plain", memory=500).compile(**stores) as app:
        app.run_sync({"messages": [{"role": "user", "content": "Hi."}]}, thread_id="t")
        app.fork_sync("t", thread_id="f")
        app.run_sync({"messages": [{"role": "user", "content": "Hi again."}]}, thread_id="f")
    assert [m["content"] for m in seen[-1]] == ["Hi.", "Hello.", "Hi again."]
    assert [m.text for m in kept(stores, "t", None)] == ["Hi.", "Hello."]
