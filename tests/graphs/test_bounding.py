"""The worst case of a graph: by hand, and never less than any path that there is."""

from __future__ import annotations

import math
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from pydantic import BaseModel, Field

from tests.graphs.test_proofs import LONGEST, NODES, graph, graphs, nested, walks
from vertebra import END, START, Append, Graph, Retry, llm, transition
from vertebra.errors import GraphInvalid

INF = math.inf


class State(BaseModel):
    items: list[str] = []
    four: Annotated[list[str], Field(max_length=4)] = []
    seven: list[str] = Field(default=[], max_length=7)
    notes: Annotated[Append[str], Field(max_length=3)] = []


@llm
def asks(state: State) -> None: ...


@llm(retry=Retry(attempts=2), fallback="asks")
def asks_twice(state: State) -> None: ...


@transition
def counts(state: State) -> None: ...


def pick(state: State) -> str: ...


@pytest.mark.parametrize(
    ("text", "visits"),
    [
        ("START a; a b; b END", {"a": 1, "b": 1}),
        ("START a; a ? b c; b d; c d; d END", {"a": 1, "b": 1, "c": 1, "d": 1}),
        ("START a; START b; a c; b c; c END", {"c": 2}),
        ("START a; START b; a + b > c; c END", {"c": 1}),
        ("START a; a b; b ? a c /3 d; c END; d END", {"a": 4, "b": 4, "c": 1, "d": 1}),
        ("START a; a ! b c; b d; c d; d END", {"b": 1, "c": 1, "d": 2}),
        ("START a; a ! a b /2; b END", {"a": 3, "b": 3}),
        ("START a; a * w; w b; b END", {"w": INF, "b": 1}),
        ("START a; a ? a b; b END", {"a": INF, "b": INF}),
        ("START a; a ? c /1; b ? a b c; c ? b", {"a": INF, "b": INF, "c": INF}),
        ("START z; z a; a END", {"a": 1, "z": 1}),
    ],
)
def test_visits(text: str, visits: dict[str, float]) -> None:
    found = graph(text).bounds().visits
    assert {name: found[name] for name in visits} == visits


def test_what_is_infinite_says_for_want_of_which_bound() -> None:
    assert graph("START a; a ? a b; b END").bounds().unbounded == ("the cycle a -> a has no max_visits.",)
    (why,) = graph("START a; a * w; w END").bounds().unbounded
    assert why == "fan_out(a => w): the field 'items' has no max_length."
    (inner,) = nested("START x; x ? x END").bounds().unbounded
    assert inner == "sub: the cycle x -> x has no max_visits."


@pytest.mark.parametrize(("field", "width"), [("items", INF), ("four", 4), ("seven", 7), ("notes", INF)])
def test_a_fan_out_is_as_wide_as_its_field_may_be_long(field: str, width: float) -> None:
    g = Graph(State, name="g").add_edge(START, counts).fan_out(counts, asks, over=field).add_edge(asks, END)
    bounds = g.bounds()
    assert (bounds.visits["asks"], bounds.calls["asks"], bounds.total_calls) == (width, width * 3, width * 3)


def test_a_node_inside_a_subgraph_runs_for_each_visit_of_it() -> None:
    bounds = nested("START x; x ? x END /1 END", "START sub; sub ? sub END /2 END").bounds()
    assert bounds.visits == {"sub": 3, "sub/x": 6}
    assert bounds.total_calls == 0


def test_attempts_and_stand_ins_count_as_calls() -> None:
    g = Graph(State, name="g").add_node(asks).add_edge(START, asks_twice).add_edge(asks_twice, END)
    bounds = g.bounds()
    assert bounds.visits == {"asks": 1, "asks_twice": 1}
    assert bounds.calls == {"asks": 3, "asks_twice": 2}
    assert bounds.total_calls == 5


def test_routes_that_exclude_each_other_are_not_added_up() -> None:
    g = Graph(State, name="g").add_node("one", asks).add_node("two", asks)
    g.add_conditional_edges(START, pick, ["one", "two"]).add_edge("one", END).add_edge("two", END)
    assert g.bounds().total_calls == 3


def test_it_is_printed_as_a_table() -> None:
    g = Graph(State, name="g").add_edge(START, counts).fan_out(counts, asks, over="items").add_edge(asks, END)
    assert repr(g.bounds()).splitlines() == [
        "NODE          VISITS     CALLS",
        "counts             1         0",
        "asks        infinite  infinite",
        "in one run            infinite",
        "infinite: fan_out(counts => asks): the field 'items' has no max_length.",
    ]


def test_compile_refuses_a_graph_that_may_call_too_often() -> None:
    g = Graph(State, name="g").add_edge(START, asks).add_edge(asks, END)
    with pytest.raises(GraphInvalid, match="3 model calls, and max_calls is 2") as caught:
        g.compile(max_calls=2)
    assert [finding.code for finding in caught.value.findings] == ["too_many_calls"]
    with g.compile(max_calls=3) as app:
        assert app.name == "g"
    wide = Graph(State, name="w").add_edge(START, counts).fan_out(counts, asks, over="items").add_edge(asks, END)
    with pytest.raises(GraphInvalid, match=r"infinite model calls.* has no max_length"):
        wide.compile(max_calls=10**9)


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_no_path_has_more_visits_than_the_bound(g: Graph) -> None:
    bounds = g.bounds()
    paths: list[Any] = list(walks(g))
    whole = all(len(path) < LONGEST for path, _ in paths)
    for name in NODES:
        most = max(path.count(name) for path, _ in paths)
        assert most <= bounds.visits[name]
        assert not whole or (most == 0) <= (bounds.visits[name] < INF)
