"""Questions to people: texts, data, typed answers, deadlines and defaults."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel

from vertebra import END, START, Graph, Question, Run, human
from vertebra.errors import AnswerRejected


class Approval(BaseModel):
    ok: bool
    remark: str = ""


class State(BaseModel):
    name: str | None = None
    approval: Approval | None = None
    choice: Literal["red", "blue"] | None = None
    other: Approval | int | None = None
    several: list[Approval] = []


def asked(node: Any) -> tuple[Any, Run]:
    g = Graph(State, name="g").add_edge(START, node).add_edge(node, END)
    app = g.compile()
    return app, app.run_sync({}, thread_id="t")


def test_a_bare_question_takes_a_text_into_the_only_field_for_one() -> None:
    @human
    def ask(state: State) -> str:
        return "Who are you?"

    app, run = asked(ask)
    assert [(q.node, q.text, q.data, q.deadline) for q in run.interrupts] == [("ask", "Who are you?", None, None)]
    assert app.resume_sync("t", "Ada").output.name == "Ada"


def test_an_answer_is_validated_and_becomes_its_type() -> None:
    @human(answer=Approval, into="approval")
    def ask(state: State) -> Question:
        return Question("Send it?", data={"to": Approval(ok=True)})

    app, run = asked(ask)
    (question,) = run.interrupts
    assert question.data == {"to": {"ok": True, "remark": ""}}
    assert question.answer_schema == Approval.model_json_schema()
    with pytest.raises(AnswerRejected, match="ok"):
        app.resume_sync("t", {"remark": "hm"})
    assert app.resume_sync("t", {"ok": "yes"}).output.approval == Approval(ok=True)


@pytest.mark.parametrize(
    ("answer", "bad", "good", "field"),
    [
        (Literal["red", "blue"], "green", "blue", "choice"),
        (Approval | int, "many", 3, "other"),
        (list[Approval], [{}], [Approval(ok=True)], "several"),
    ],
)
def test_an_answer_may_be_of_any_type_that_a_field_has(answer: Any, bad: Any, good: Any, field: str) -> None:
    @human(answer=answer)
    def ask(state: State) -> str:
        return "Which?"

    app, _ = asked(ask)
    with pytest.raises(AnswerRejected):
        app.resume_sync("t", bad)
    assert getattr(app.resume_sync("t", good).output, field) == good


async def test_a_default_answers_when_the_deadline_has_passed() -> None:
    @human(answer=Approval, into="approval")
    def ask(state: State) -> Question:
        return Question("Send it?", deadline_s=0.0, default=Approval(ok=False, remark="too late"))

    g = Graph(State, name="g").add_edge(START, ask).add_edge(ask, END)
    async with g.compile() as app:
        assert (await app.run({}, thread_id="t")).status == "interrupted"
        (run,) = await app.recover()
        assert run.output.approval == Approval(ok=False, remark="too late")


async def test_without_a_default_the_deadline_is_an_error_and_an_answer_is_still_taken() -> None:
    @human
    def ask(state: State) -> Question:
        return Question("Who?", deadline_s=0.0)

    g = Graph(State, name="g").add_edge(START, ask).add_edge(ask, END)
    async with g.compile() as app:
        await app.run({}, thread_id="t")
        (run,) = await app.recover()
        assert run.error is not None
        assert run.error.code == "question_expired"
        assert (await app.resume("t", "Ada")).output.name == "Ada"
