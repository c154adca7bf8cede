"""What can be told of the fields that a node writes, without running it."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from vertebra import END, START, Append, Graph, human, llm, transition
from vertebra.graphs.writes import written_fields


class Approval(BaseModel):
    ok: bool


class State(BaseModel):
    n: int = 0
    text: str = ""
    notes: Append[str] = []
    approval: Approval | None = None


class Update(TypedDict, total=False):
    n: int
    text: str


def literal(state: State) -> dict[str, Any]:
    def inner() -> dict[str, Any]:
        return {"notes": []}

    if state.n:
        return {"n": 1, "text": "a"}
    return {}


async def waiting(state: State) -> dict[str, Any]:
    return {"n": 1, state.text: "unknown"}


def partly(state: State) -> Any:
    if state.n:
        return state
    return {**inner(), "text": ""}


def inner() -> dict[str, Any]: ...
def annotated(state: State) -> Update: ...
def unresolved(state: Missing) -> dict[str, Any]:  # type: ignore[name-defined]  # noqa: F821
    return {"n": 1}


def nothing(state: State) -> None: ...


@transition(writes=("text",))
def declared(state: State) -> dict[str, Any]:
    return inner()


@human(answer=Approval)
def approve(state: State) -> str: ...


@human(answer=str, into="text")
def name_it(state: State) -> str: ...


@llm(fallback=literal)
def falls_back(state: State) -> dict[str, Any]:
    return {"notes": []}


def subgraph() -> Graph:
    return Graph(TypedDict("Inner", {"n": int, "own": int}), name="inner")


@pytest.mark.parametrize(
    ("node", "fields"),
    [
        (literal, {"n", "text"}),
        (waiting, {"n"}),
        (partly, {"text"}),
        (annotated, {"n", "text"}),
        (unresolved, {"n"}),
        (nothing, set()),
        (functools.partial(literal), set()),
        (eval("lambda state: {'n': 1}"), set()),
        (declared, {"text"}),
        (approve, {"approval"}),
        (name_it, {"text"}),
        (falls_back, {"notes", "n", "text"}),
        (subgraph(), {"n"}),
    ],
)
def test_fields_are_declared_annotated_or_read_off_the_source(node: Any, fields: set[str]) -> None:
    g = Graph(State, name="g").add_node(literal).add_node("node", node).add_edge(START, "node").add_edge("node", END)
    assert written_fields(g.definition, "node") == fields
