"""Questions to people: how they are kept in LangGraph's interrupts, and how answers are checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vertebra.errors import AnswerRejected
from vertebra.graphs.state import summary
from vertebra.nodes.kinds import NodeSpec
from vertebra.nodes.question import Question
from vertebra.ports import crash_point
from vertebra.runtime.effects import jsonable
from vertebra.runtime.requests import json_text
from vertebra.runtime.scope import Scope
from vertebra.types import Interrupt

MARK = "vertebra.question"


async def ask(scope: Scope, spec: NodeSpec, question: Question) -> Any:
    """Stop the run until an answer comes; on the execution after that, return it."""
    from langgraph.types import interrupt

    payload = {
        MARK: 1,
        "node": spec.name,
        "text": question.text,
        "data": jsonable(question.data, f"The data of question {spec.name!r}"),
        "schema": TypeAdapter(spec.answer).json_schema(),
        "deadline_s": question.deadline_s,
        "default": None if question.default is None else json.loads(answer_text(spec, question.default)),
    }
    crash_point("interrupt.asked")
    return interrupt(payload)


def answer_of(spec: NodeSpec, value: Any) -> Any:
    """The recorded answer as the declared type."""
    return TypeAdapter(spec.answer).validate_python(value)


def answer_text(spec: NodeSpec | None, answer: Any) -> str:
    """The answer as canonical JSON, after validation. Raises ``AnswerRejected``.

    Without a spec (an interrupt of a LangGraph node) any JSON is taken.
    """
    plain = jsonable(answer, "The answer")
    if spec is not None and spec.answer is not None:
        adapter = TypeAdapter(spec.answer)
        try:
            plain = adapter.dump_python(adapter.validate_python(plain), mode="json")
        except ValidationError as error:
            raise AnswerRejected(
                f"The answer does not fit the question of {spec.name!r}: {summary(error)}.", node=spec.name
            ) from error
    return json_text(plain, sort_keys=True)


def read_interrupt(interrupt_id: str, value: Any, node: str, due_at: float | None = None) -> Interrupt:
    """An interrupt as users see it, from what LangGraph has stored."""
    if isinstance(value, Mapping) and MARK in value:
        return Interrupt(
            id=interrupt_id,
            node=str(value["node"]),
            text=str(value["text"]),
            data=value.get("data"),
            answer_schema=value.get("schema"),
            deadline=None if due_at is None else datetime.fromtimestamp(due_at, UTC),
        )
    return Interrupt(id=interrupt_id, node=node, text=str(value), data=value if not isinstance(value, str) else None)
