"""Half of a surrogate pair, as models cut emoji: what effects are given and give, and what people answer, with it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from vertebra import END, START, Context, Graph, Question, effect, human
from vertebra.errors import UsageError
from vertebra.runtime.requests import identify_effect

HALF = "cut \ud83d"


class State(BaseModel):
    said: str = ""
    answer: str = ""


@pytest.fixture
def sent() -> list[str]:
    return []


def graph(sent: list[str]) -> Graph:
    def send(text: str) -> str:
        sent.append(text)
        return text

    @effect
    async def tell(state: State, ctx: Context) -> dict[str, Any]:
        same = await ctx.effect(send, HALF) == HALF
        if len(sent) == 1:
            sent.append("failed")
            raise RuntimeError("after it was recorded")
        return {"said": "told" if same else "changed"}

    @human(answer=str, into="answer")
    def ask(state: State) -> Question:
        return Question("And?")

    g = Graph(State, name="halves")
    g.add_edge(START, tell).add_edge(tell, ask).add_edge(ask, END)
    return g


async def test_an_effect_is_done_once_and_its_answer_taken(durable_url: str, sent: list[str]) -> None:
    async with graph(sent).compile(checkpointer=durable_url) as app:
        assert (await app.run({}, thread_id="t")).status == "failed"
        run = await app.resume("t")
        assert (run.status, run.output.said, sent) == ("interrupted", "told", [HALF, "failed"])
        run = await app.resume("t", HALF)
        # LangGraph's serializer makes a question mark of it, in any state.
        assert (run.status, (await app.status("t")).output.answer) == ("done", HALF.replace("\ud83d", "?"))
        assert (await app.verify("t")).ok


async def test_a_key_of_an_answer_cannot_be_such_a_half(sqlite_url: str, sent: list[str]) -> None:
    async with graph(sent).compile(checkpointer=sqlite_url) as app:
        await app.run({}, thread_id="t")
        await app.resume("t")
        with pytest.raises(UsageError, match="The answer cannot be written as JSON"):
            await app.resume("t", {HALF: 1})
        assert (await app.status("t")).status == "interrupted"


def test_what_has_no_such_halves_is_identified_as_ever() -> None:
    assert identify_effect("e", {"text": "käse \U0001f600"}).text == '{"text":"käse \U0001f600"}'
    assert identify_effect("e", {"text": HALF}).text == r'{"text":"cut \ud83d"}'
