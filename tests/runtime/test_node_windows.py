"""Windows and summaries in nodes: recorded with the visit, the same when it is executed again, on branches too."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from tests.memory.parts import texts, user
from vertebra import END, START, Append, Context, Graph, Retry, llm, open_memory, transition
from vertebra.cli.main import main
from vertebra.memory import ChatMessage, Memory
from vertebra.runtime.app import App
from vertebra.testing import ScriptedModel, crash_at

ROOM = 12


class Turn(BaseModel):
    said: str = ""
    seen: Append[str] = []
    first: list[str] = []


@pytest.fixture(autouse=True)
def model(scripted_model: ScriptedModel) -> ScriptedModel:
    """Every test here asks it; given again what it was given, it says the same."""
    return scripted_model


def one(chat: ChatMessage) -> int:
    return 1


@llm(retry=Retry(attempts=1))
async def chat(turn: Turn, ctx: Context) -> dict[str, Any]:
    """Says something, makes room, asks with what fits."""
    talk = ctx.memory.conversation("c")
    await talk.append(user(turn.said))
    await talk.summarise(max_tokens=ROOM, counter=one)
    window = await talk.window(max_tokens=ROOM, counter=one)
    reply = await ctx.client.chat.completions.create(model=ctx.model, messages=window.to_openai())
    await talk.append(reply.choices[0].message)
    summary = [] if window.summary is None else [window.summary.text]
    return {"seen": [f"{len(window.messages)}"], "first": [*summary, *texts(list(window.messages))]}


def app_on(url: str, memory: Any, **options: Any) -> App:
    g = Graph(Turn, name="chat")
    g.add_edge(START, chat)
    g.add_edge(chat, END)
    return g.compile(checkpointer=url, memory=memory, default_model="m", **options)


def fill(memory: Memory, count: int) -> None:
    conversation = memory.conversation("c")
    for number in range(count):
        conversation.append_sync({"role": "user" if number % 2 == 0 else "assistant", "content": f"m{number}"})


def summed(app: App) -> list[str]:
    """What was asked to be summarised, of each call on record."""
    calls = asyncio.run(app.services.store.journal.calls("t"))
    asked = [json.loads(call.request or "")["messages"] for call in calls]
    return [messages[1]["content"] for messages in asked if messages[0]["content"].startswith("Summarise")]


def test_what_does_not_fit_is_summarised_and_stands_in_the_window(store_url: str, model: ScriptedModel) -> None:
    with open_memory("memory://") as memory, app_on(store_url, memory) as app:
        fill(memory, 30)
        run = app.run_sync({"said": "now"}, thread_id="t")
        assert run.status == "done", run.error
        (summary,) = memory.conversation("c").summaries_sync()
        assert (summary.first, summary.provenance.thread, summary.provenance.model) == (1, "t", "m")
        assert run.output.first[0] == summary.text
        assert run.output.first[1:] == [*(f"m{n}" for n in range(summary.upto, 30)), "now"]
        calls = len(summed(app))
        assert calls >= 2, "block by block"
        assert "m0" in summed(app)[0]
        assert "The summary so far" in summed(app)[1]
        app.run_sync({"said": "more"}, thread_id="t")
        assert len(summed(app)) == calls, "it fits for a while"
        assert app.verify_sync("t").differences == ()


def test_show_tells_what_the_model_saw(
    sqlite_url: str, model: ScriptedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_memory("memory://") as memory, app_on(sqlite_url, memory) as app:
        fill(memory, 6)
        app.run_sync({"said": "now"}, thread_id="t")
    assert main(["show", "t", "--store", sqlite_url]) == 0
    assert "chat@1 saw messages 1 to 6 of c; 1 of its own (7 tokens, for call 1)" in capsys.readouterr().out
    assert main(["show", "t", "--store", sqlite_url, "--json"]) == 0
    (seen,) = json.loads(capsys.readouterr().out)["windows"]
    assert (seen["messages"], seen["own"], seen["calls"]) == ([1, 2, 3, 4, 5, 6], [0], [1])


def test_in_an_encrypted_store_it_is_all_the_same(durable_url: str, model: ScriptedModel) -> None:
    key = base64.b64encode(os.urandom(32)).decode()
    with open_memory("memory://") as memory:
        fill(memory, 30)
        with app_on(durable_url, memory, encryption=key) as app:
            assert app.run_sync({"said": "now"}, thread_id="t").status == "done"
            fork = app.fork_sync("t", thread_id="f")
            run = app.run_sync({"said": "more"}, thread_id=fork.thread_id)
            assert run.status == "done", run.error
            assert app.verify_sync("t").differences == ()
            (window,) = asyncio.run(app.services.store.journal.windows("t"))
            assert json.loads(window[1])["conversation"] == "c"
        assert memory.conversation("c", branch="main~f").messages_sync()[-2].text == "more"


@pytest.mark.parametrize("nth", [1, 2, 4])
def test_killed_while_it_summarises_nothing_is_paid_twice(
    durable_url: str, tmp_path_factory: pytest.TempPathFactory, model: ScriptedModel, nth: int
) -> None:
    """The second process sees what the first one saw, though others have said and summed up more meanwhile."""
    url = f"sqlite:///{tmp_path_factory.mktemp('memory')}/memory.db?durability=process"
    with open_memory(url) as memory:
        fill(memory, 30)
    in_child(lambda: app_on(durable_url, url), "call.recorded", nth)
    with open_memory(url) as memory, app_on(durable_url, memory) as app:
        assert memory.conversation("c").summaries_sync() == []
        fill(memory, 9)
        memory.conversation("c").add_summary_sync("Of another.", upto=35)
        (run,) = app.recover_sync()
        assert run.status == "done", run.error
        assert run.output.first[-1] == "now"
        assert "Of another." not in run.output.first
        asked = [entry.digest for entry in model.books]
        assert len(asked) == len(set(asked)), "no request was paid for twice"
        assert len(memory.conversation("c").summaries_sync()) == 2


def test_a_fork_summarises_its_own_branch(model: ScriptedModel) -> None:
    with open_memory("memory://") as memory, app_on("memory://", memory) as app:
        fill(memory, 8)
        app.run_sync({"said": "one"}, thread_id="t")
        app.fork_sync("t", thread_id="f")
        for number in range(3):
            run = app.run_sync({"said": f"f{number}"}, thread_id="f")
            assert run.status == "done", run.error
        assert memory.conversation("c").summaries_sync() == []
        (summary,) = memory.conversation("c", branch="main~f").summaries_sync()
        assert summary.branch == "main~f"


def test_a_transition_makes_no_summary() -> None:
    @transition
    def node(turn: Turn, ctx: Context) -> dict[str, Any]:
        ctx.memory.conversation("c").summarise_sync(max_tokens=3)
        return {}

    g = Graph(Turn, name="g")
    g.add_edge(START, node)
    g.add_edge(node, END)
    with g.compile(memory="memory://") as app:
        assert "@transition" in str(app.run_sync({}).error)


def test_tokens_are_calibrated_by_the_threads_own_calls(model: ScriptedModel) -> None:
    counts: list[int] = []

    @llm
    async def node(turn: Turn, ctx: Context) -> dict[str, Any]:
        talk = ctx.memory.conversation("d")
        await talk.append(user("word " * 80))
        counts.append((await talk.window(max_tokens=100_000)).tokens)
        await ctx.client.chat.completions.create(model="m", messages=[user("x" * 400)])  # type: ignore[list-item]
        return {}

    g = Graph(Turn, name="g")
    g.add_edge(START, node)
    g.add_edge(node, END)
    with g.compile(memory="memory://") as app:
        app.run_sync({}, thread_id="t")
        (call,) = asyncio.run(app.services.store.journal.latest_calls("t", 9))
        app.run_sync({}, thread_id="t")
    assert call.answer is not None
    assert call.answer.input_tokens is not None
    assert counts[0] == 104
    factor = min(max(call.answer.input_tokens / 104, 0.25), 4)
    assert counts[1] == pytest.approx(208 * factor, abs=2)


def graph_of(node: Any) -> Graph:
    return Graph(Turn, name="g").add_edge(START, node).add_edge(node, END)


def test_tried_again_a_node_sees_what_it_saw(model: ScriptedModel) -> None:
    """Though others have said and summed up more between its attempts."""
    seen: list[list[str]] = []

    @llm(retry=Retry(attempts=2, wait_initial_s=0.01, jitter_s=0))
    async def node(turn: Turn, ctx: Context) -> dict[str, Any]:
        window = await ctx.memory.conversation("c").window(max_tokens=ROOM, counter=one)
        seen.append([*([window.summary.text] if window.summary else []), *texts(list(window.messages))])
        if ctx.attempt == 1:
            fill(memory, 9)
            memory.conversation("c").add_summary_sync("Of another.", upto=15)
            raise ConnectionError("try again")
        return {}

    with open_memory("memory://") as memory, graph_of(node).compile(memory=memory) as app:
        fill(memory, 20)
        memory.conversation("c").add_summary_sync("Of the first ten.", upto=10)
        run = app.run_sync({}, thread_id="t")
        assert run.status == "done", run.error
    assert seen[0] == seen[1] == ["Of the first ten.", *(f"m{n}" for n in range(10, 20))]


def test_a_model_that_answers_no_summary_is_an_error_and_what_was_said_stays(model: ScriptedModel) -> None:
    model.on("What was said then").reply("", times=1).reply("In short.")
    with open_memory("memory://") as memory, app_on("memory://", memory) as app:
        fill(memory, 30)
        run = app.run_sync({"said": "now"}, thread_id="t")
        assert run.status == "failed"
        assert run.error is not None
        assert (run.error.code, "no summary" in str(run.error)) == ("answer_invalid", True)
        assert memory.conversation("c").summaries_sync() == []
        assert app.resume_sync("t", fresh="chat").status == "done"
        assert [summary.text for summary in memory.conversation("c").summaries_sync()] == ["In short."]


def test_summaries_go_on_from_the_one_before_within_a_node_and_after_it(model: ScriptedModel) -> None:
    made: list[bool] = []

    @llm
    async def node(turn: Turn, ctx: Context) -> dict[str, Any]:
        made.append(await ctx.memory.conversation("new").summarise(max_tokens=ROOM, counter=one))
        talk = ctx.memory.conversation("c")
        for room in (ROOM, ROOM // 2):
            made.append(await talk.summarise(max_tokens=room, counter=one))
        return {}

    with open_memory("memory://") as memory, graph_of(node).compile(memory=memory, default_model="m") as app:
        fill(memory, 20)
        assert app.run_sync({}, thread_id="t").status == "done"
        first, second = memory.conversation("c").summaries_sync()
        assert (made, first.first, second.first) == ([False, True, True], 1, 1)
        fill(memory, 20)
        assert app.run_sync({}, thread_id="t").status == "done"
        asked = summed(app)
        third = memory.conversation("c").summaries_sync()[-1]
        assert third.upto > second.upto > first.upto
        for summary in (first, second):
            assert any(f"The summary so far:\n{summary.text}" in text for text in asked)
        assert app.verify_sync("t").differences == ()


def in_child(make: Callable[[], App], point: str, nth: int) -> None:
    """Drive the thread in a process that really dies."""
    pid = os.fork()
    if pid == 0:
        try:
            with crash_at(point, nth=nth):
                asyncio.run(make().run({"said": "now"}, thread_id="t"))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
