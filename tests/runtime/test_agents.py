"""The agent: turns of tool calls, approval by the graph's shape, answers of a type, and no call done twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from vertebra import Context, Graph
from vertebra.errors import LoopBoundReached, ToolError, UsageError
from vertebra.graphs import Approval, agent, tool
from vertebra.testing import ScriptedModel, assert_graph


def write_down(what: str, ctx: Context) -> None:
    with Path(os.environ["PAID"]).open("a") as paid:
        paid.write(f"{what} {ctx.idempotency_key}\n")


@tool
def search(query: str, limit: int = 3) -> list[str]:
    """Search the orders."""
    return [f"order {query}"] * limit


@tool(approval=True)
async def refund(order: str, amount_eur: Annotated[float, Field(gt=0, le=500)], ctx: Context) -> str:
    """Pay money back."""
    write_down(order, ctx)
    return f"paid {amount_eur}"


@tool
def look_up(order: str) -> str:
    """Look an order up."""
    raise ToolError(f"There is no order {order}.")


@tool
async def note(text: str, ctx: Context) -> None:
    """Write a note."""
    write_down(text, ctx)


class Answer(BaseModel):
    text: str
    refunded: bool


def helpdesk(**more: Any) -> Graph:
    return agent("helpdesk", tools=[search, refund, look_up, note], system="You help.", **more)


ASKED = {"messages": [{"role": "user", "content": "My parcel is broken."}]}
REFUND = {"order": "17", "amount_eur": 20}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PAID", str(tmp_path / "paid"))
    with ScriptedModel() as scripted:
        for name, value in scripted.env().items():
            monkeypatch.setenv(name, value)
        yield scripted


def said(run: Any) -> list[str]:
    return [message["content"] for message in run.output.messages if message["role"] == "tool"]


def paid() -> list[str]:
    path = Path(os.environ["PAID"])
    return path.read_text().splitlines() if path.exists() else []


def test_it_calls_tools_until_it_answers(model: ScriptedModel) -> None:
    model.on().call_tools(("search", {"query": "a", "limit": 1}), ("search", {"query": "b", "limit": 2})).reply("Done.")
    with helpdesk().compile(default_model="m") as app:
        run = app.run_sync(ASKED, thread_id="t")
        assert (run.status, run.output.answer) == ("done", "Done.")
        assert said(run) == ['["order a"]', '["order b", "order b"]']
        again = app.run_sync({"messages": [{"role": "user", "content": "And now?"}]}, thread_id="t")
        assert [message["role"] for message in again.output.messages][-2:] == ["user", "assistant"]


def test_what_cannot_be_called_is_told_to_the_model(model: ScriptedModel) -> None:
    calls = [("nope", {}), ("refund", {"order": "17", "amount_eur": 900}), ("look_up", {"order": "9"})]
    model.on().call_tools(*calls, ("search", {"query": "a", "limit": 1})).reply("Sorry.")
    with helpdesk(max_parallel=1).compile(default_model="m") as app:
        run = app.run_sync(ASKED)
    assert run.output.answer == "Sorry."
    assert said(run) == [
        "Error: There is no tool 'nope'; there are search, refund, look_up, note.",
        "Error: The arguments do not fit 'refund': amount_eur: Input should be less than or equal to 500.",
        "Error: No more than 1 calls are done at a time.",
        "Error: There is no order 9.",
    ]
    assert paid() == []


def test_each_call_that_needs_it_waits_for_its_own_approval(model: ScriptedModel) -> None:
    model.on().call_tools(("refund", REFUND), ("refund", {**REFUND, "order": "18"}), ("note", {"text": "n"})).reply(
        "Ok."
    )
    with helpdesk().compile(default_model="m") as app:
        run = app.run_sync(ASKED, thread_id="t")
        questions = {each.data["arguments"]["order"]: each for each in run.interrupts}
        assert sorted(questions) == ["17", "18"]
        assert questions["17"].text == "Call refund(order='17', amount_eur=20.0)?"
        denied = Approval(approved=False, reason="It was sent twice.")
        run = app.resume_sync("t", denied, interrupt_id=questions["18"].id)
        assert run.status == "interrupted"
        run = app.resume_sync("t", {"approved": True}, interrupt_id=questions["17"].id)
    assert (run.status, run.output.answer) == ("done", "Ok.")
    assert said(run) == ["paid 20.0", "Not done: a person refused this call. The reason: It was sent twice.", "null"]
    assert sorted(line.split()[0] for line in paid()) == ["17", "n"]


def test_no_path_leads_to_a_tool_that_needs_approval_but_past_a_person() -> None:
    g = helpdesk(answer=Answer)
    assert g.check() == []
    assert_graph(g).always("tools/approve_refund", before="tools/refund")
    assert_graph(g).always("read", before="tools/search").always(at_most=("model", 9)).always(eventually="answer")
    assert not g.prove("tools/approve_refund", before="tools/search")
    g.definition.subgraphs["tools"].add_edge("__start__", "refund")
    assert "claim_broken" in {finding.code for finding in g.check()}
    assert g.bounds().total_calls == 9 * 3 + 3 + 2 * 3


def test_turns_that_are_used_up_end_in_an_answer(model: ScriptedModel) -> None:
    model.on().call_tool("search", {"query": "a"}, times=3).reply("As far as I know.")
    with helpdesk(max_turns=2).compile(default_model="m") as app:
        run = app.run_sync(ASKED)
    assert (run.status, run.output.answer) == ("done", "As far as I know.")
    assert len(model.books.paid()) == 4


def test_an_answer_that_does_not_fit_is_asked_for_anew_within_a_bound(model: ScriptedModel) -> None:
    model.on().reply("well", times=1).reply_json({"text": "x"}, times=1).reply_json({"text": "x", "refunded": False})
    with helpdesk(answer=Answer).compile(default_model="m") as app:
        assert app.run_sync(ASKED).output.answer == Answer(text="x", refunded=False)


def test_an_answer_that_never_fits_stops_the_run_which_can_be_resumed(model: ScriptedModel) -> None:
    model.on().reply("no")
    with agent("plain", answer=Answer, max_corrections=1).compile(default_model="m") as app:
        run = app.run_sync(ASKED)
    assert isinstance(run.error, LoopBoundReached)
    assert len(model.books.paid()) == 2


def test_arguments_are_described_to_the_model() -> None:
    function = refund.schema["function"]
    assert (function["name"], function["description"]) == ("refund", "Pay money back.")
    assert set(function["parameters"]["properties"]) == {"order", "amount_eur"}
    assert function["parameters"]["properties"]["amount_eur"]["maximum"] == 500
    assert search("a", limit=1) == ["order a"]


def untyped(query): ...  # type: ignore[no-untyped-def]


def test_what_cannot_be_a_tool_or_an_answer_is_refused_where_it_is_written() -> None:
    with pytest.raises(UsageError, match="has no type"):
        tool(untyped)
    with pytest.raises(UsageError, match="Two nodes of the tools would be called 'search'"):
        agent("a", tools=[search, search])
    with pytest.raises(UsageError, match="no type of an answer"):
        agent("a", answer=int)


CHILD = """
import sys
from vertebra.testing import crash_at
from tests.runtime.test_agents import ASKED, helpdesk
url, point = sys.argv[1:]
with crash_at(point, nth=2), helpdesk().compile(checkpointer=url, default_model="m") as app:
    app.run_sync(ASKED, thread_id="t")
"""


@pytest.mark.parametrize(("point", "done"), [("effect.recorded", 3), ("effect.done", 4)])
def test_killed_between_its_calls_it_does_none_twice(
    model: ScriptedModel, tmp_path: Path, point: str, done: int
) -> None:
    """Only the window between doing and recording is left, and there the key is the same."""
    rule = model.on()
    for text in "abc":
        rule.call_tool("note", {"text": text})
    rule.reply("Noted.")
    url = f"sqlite:///{tmp_path / 'agent.db'}"
    child = subprocess.run([sys.executable, "-c", CHILD, url, point], capture_output=True, text=True)
    assert child.returncode == -9, child.stderr
    with helpdesk().compile(checkpointer=url, default_model="m") as app:
        (run,) = app.recover_sync()
    assert (run.status, run.output.answer) == ("done", "Noted.")
    assert (len(set(paid())), len(paid())) == (3, done)
    assert len(model.books.paid()) == 4


@pytest.mark.parametrize(("point", "most"), [("effect.recorded", 4), ("effect.done", 6)])
def test_killed_among_calls_side_by_side_it_does_none_under_two_keys(
    model: ScriptedModel, tmp_path: Path, point: str, most: int
) -> None:
    """Three calls of one message: those recorded at the death are done once, the others again under their own keys."""
    model.on().call_tools(*(("note", {"text": text}) for text in "abc")).reply("Noted.")
    url = f"sqlite:///{tmp_path / 'agent.db'}"
    child = subprocess.run([sys.executable, "-c", CHILD, url, point], capture_output=True, text=True)
    assert child.returncode == -9, child.stderr
    with helpdesk().compile(checkpointer=url, default_model="m") as app:
        (run,) = app.recover_sync()
    assert (run.status, run.output.answer) == ("done", "Noted.")
    assert {line.split()[0] for line in paid()} == set("abc")
    assert len(set(paid())) == 3, "each call has one key"
    assert len(paid()) <= most
    assert len(model.books.paid()) == 2
