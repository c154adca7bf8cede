"""What past runs came to beside the worst case: by node and path, of whole runs of this very graph alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from vertebra import END, START, Append, Context, Graph, Retry, llm, transition
from vertebra.graphs.typical import Spread
from vertebra.testing import ScriptedModel


class Draft(BaseModel):
    rounds: int = 1
    done: int = 0
    topics: Annotated[list[str], Field(max_length=4)] = []
    notes: Append[str] = []


async def said(ctx: Context, text: str) -> str:
    reply = await ctx.client.chat.completions.create(model=ctx.model, messages=[{"role": "user", "content": text}])
    return reply.choices[0].message.content or ""


@llm(retry=Retry(attempts=1))
async def write(draft: Draft, ctx: Context) -> dict[str, Any]:
    await said(ctx, f"round {draft.done}")
    return {"done": draft.done + 1}


@llm(retry=Retry(attempts=1))
async def look_up(topic: str, ctx: Context) -> dict[str, Any]:
    return {"notes": [await said(ctx, topic), await said(ctx, f"{topic} again")]}


@llm(retry=Retry(attempts=1))
async def guess(topic: str, ctx: Context) -> dict[str, Any]:
    return {"notes": [await said(ctx, f"guess {topic}")]}


@transition
def check(draft: Draft) -> dict[str, Any]:
    return {}


def enough(draft: Draft) -> bool:
    return draft.done >= draft.rounds


def graph(version: str = "1") -> Graph:
    inner = Graph(Draft, name="writing").add_edge(START, write)
    inner.add_conditional_edges(write, enough, {True: END, False: write}, max_visits=9)
    g = Graph(Draft, name="drafts", version=version).add_node(guess)
    g.add_node("look_up", look_up, fallback="guess")
    g.add_edge(START, inner).add_edge(inner, check)
    return g.fan_out(check, "look_up", over="topics").add_edge("look_up", END)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedModel]:
    with ScriptedModel() as scripted:
        for name, value in scripted.env().items():
            monkeypatch.setenv(name, value)
        scripted.on("broken").fail(400)
        scripted.on().reply("well")
        yield scripted


def test_the_figures_of_whole_runs_stand_beside_the_worst_case(model: ScriptedModel, store_url: str) -> None:
    with graph().compile(checkpointer=store_url, default_model="m") as app:
        assert app.past_sync() == []
        assert repr(graph().bounds(past=app)).endswith("no past run is on record.")
        for number in range(9):
            app.run_sync({"rounds": 1, "topics": ["a"]}, thread_id=f"t{number}")
        last = app.run_sync({"rounds": 3, "topics": ["a", "broken"]}, thread_id="t9")
        found = graph().bounds(past=app)
        (longest,) = [run for run in app.past_sync() if run.thread_id == "t9"]
    assert longest.run_id == last.run_id
    assert longest.visits == {"writing": 1, "writing/write": 3, "check": 1, "look_up": 2, "guess": 1}
    assert {node: usage.calls for node, usage in longest.usage.items()} == {
        "writing/write": 3,
        "look_up": 2,
        "guess": 1,
    }
    assert longest.total.calls == last.calls
    assert longest.total.input_tokens == last.total.input_tokens > 0
    typical = found.typical
    assert typical is not None
    assert typical.runs == 10
    assert (found.visits["writing/write"], typical.visits["writing/write"]) == (10, Spread(1, 3, 3))
    assert (found.calls["guess"], typical.calls["guess"]) == (4, Spread(0, 1, 1))
    assert typical.total_calls == Spread(3, 6, 6)
    assert typical.tokens["guess"].median == typical.tokens["check"].most == 0
    assert typical.tokens["look_up"].median > 0
    table = repr(found).splitlines()
    assert " ".join(table[0].split()) == "NODE VISITS median p95 CALLS median p95 TOKENS: median p95"
    (row,) = [line.split() for line in table if line.startswith("writing/write")]
    assert row[:7] == ["writing/write", "10", "1", "3", "10", "1", "3"]
    assert table[-1] == "median and p95 of 10 past runs."


def test_what_is_no_whole_run_of_this_graph_is_left_out(model: ScriptedModel, sqlite_url: str) -> None:
    with graph("2").compile(checkpointer=sqlite_url, default_model="m") as older:
        older.run_sync({}, thread_id="older")
    with graph().compile(checkpointer=sqlite_url, default_model="m") as app:
        first = app.run_sync({}, thread_id="t")
        second = app.run_sync({"rounds": 2}, thread_id="t")
        failed = app.run_sync({"rounds": 20}, thread_id="failed")
        assert failed.status == "failed"
        app.fork_sync("t", thread_id="fork")
        app.resume_sync("fork")
        assert {run.run_id for run in app.past_sync()} == {first.run_id, second.run_id}
        assert {run.run_id for run in app.past_sync(threads=1)} == set(), "the latest one has not ended"


def test_it_says_where_a_node_asks_more_often_than_is_counted(model: ScriptedModel, sqlite_url: str) -> None:
    g = Graph(Draft, name="g").add_edge(START, check).fan_out(check, look_up, over="topics").add_edge(look_up, END)
    with g.compile(checkpointer=sqlite_url, default_model="m") as app:
        app.run_sync({"topics": list("abcd")})
        table = repr(g.bounds(past=app.past_sync()))
    assert table.endswith("look_up made 8 calls in one run: more than one in each attempt, which is what is counted.")


@pytest.mark.parametrize(
    ("counts", "spread"),
    [
        ([], Spread()),
        ([7], Spread(7, 7, 7)),
        ([1, 2], Spread(1, 2, 2)),
        (range(1, 101), Spread(50, 95, 100)),
        (range(1, 21), Spread(10, 19, 20)),
    ],
)
def test_ranks_are_numbers_that_some_run_had(counts: Any, spread: Spread) -> None:
    assert Spread.of(counts) == spread
