"""How a graph is written down, and what is refused where it is written."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from pydantic import BaseModel

from vertebra import END, START, Graph, Retry, llm, transition
from vertebra.errors import UsageError


class State(BaseModel):
    n: int = 0


@transition
def one(state: State) -> None: ...


def plain(state: State) -> None: ...


async def waits(state: State) -> str: ...


class Callable:
    def __call__(self, state: State) -> None: ...


def graph() -> Graph:
    return Graph(State, name="g")


def test_nodes_are_given_decorated_plain_by_name_or_as_graphs() -> None:
    inner = Graph(State, name="inner")
    g = graph().add_node("partial", functools.partial(plain)).add_node(Callable()).add_node("again", inner)
    g.add_edge(START, one).add_edge(one, plain).add_edge(plain, "partial").add_edge("partial", inner)
    kinds = {name: spec.kind for name, spec in g.definition.nodes.items()}
    assert kinds == {
        "partial": "plain",
        "Callable": "plain",
        "again": "subgraph",
        "one": "transition",
        "plain": "plain",
        "inner": "subgraph",
    }
    assert g.definition.subgraphs == {"again": inner, "inner": inner}
    assert (g.name, g.version) == ("g", "1")
    assert repr(g) == "<Graph 'g' version '1': 6 nodes>"


def test_an_edge_written_twice_is_one() -> None:
    assert graph().add_edge(START, one).add_edge(START, one).definition.edges == [(START, "one")]


def test_a_node_or_graph_added_twice_is_one() -> None:
    inner = Graph(State, name="inner")
    g = graph().add_node(one).add_node(one).add_node(inner).add_edge(START, inner)
    assert g.definition.redefined == []


def test_a_list_of_targets_is_a_mapping_of_names() -> None:
    inner = Graph(State, name="inner")
    g = graph().add_conditional_edges(START, lambda state: "one", [one, inner, "far", END])
    (choice,) = g.definition.choices
    assert choice.mapping == {"one": "one", "inner": "inner", "far": "far", END: END}
    assert choice.targets == ("one", "inner", "far", END)


def test_options_of_add_node_stand_over_the_decorator() -> None:
    def other(state: State) -> None: ...

    decorated = llm(retry=Retry(attempts=2), timeout_s=1.0)(plain)
    g = graph().add_node("as_is", decorated)
    g.add_node("other", decorated, retry=Retry(attempts=5), timeout_s=2.0, fallback=other, metadata={"team": "a"})
    as_is, changed = g.definition.nodes["as_is"], g.definition.nodes["other"]
    assert (as_is.retry.attempts, as_is.timeout_s, as_is.fallback, as_is.metadata) == (2, 1.0, None, {})
    assert (changed.retry.attempts, changed.timeout_s, changed.fallback) == (5, 2.0, "other")
    assert changed.metadata == {"team": "a"}
    assert changed.task == "plain"


def holding_itself() -> Graph:
    inner, outer = Graph(State, name="inner"), graph()
    outer.add_node(inner)
    return inner.add_node(outer)


def two_states(state: Any, other: Any) -> None: ...
def by_name_only(*, state: Any) -> None: ...
def in_parts(state: Any) -> Any:
    yield {"n": 1}


def ctx_first(ctx: Any) -> None: ...


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda: graph().add_node("one"), "names a node but gives none"),
        (lambda: graph().add_node("one", "two"), "names a node but gives none"),
        (lambda: graph().add_node(5), "5 is not a function"),
        (lambda: graph().add_node(ctx_first), "takes ctx first"),
        (lambda: graph().add_node(two_states), "missing a required argument: 'other'"),
        (lambda: graph().add_node(by_name_only), "too many positional arguments"),
        (lambda: graph().add_edge(START, in_parts), "yields"),
        (lambda: graph().add_edge(START, functools.partial(plain)), "has no name to be known by"),
        (lambda: graph().add_edge([], one), "comes after nothing"),
        (lambda: graph().add_conditional_edges(one, waits, {}), "cannot be a router"),
        (lambda: graph().add_conditional_edges(one, "route", {}), "cannot be a router"),
        (lambda: graph().add_conditional_edges(one, plain, {}, max_visits=0), "max_visits is 0"),
        (holding_itself, "would contain itself"),
    ],
)
def test_misuse_is_refused_where_it_is_written(write: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        write()
    assert caught.value.remedy


@pytest.mark.parametrize(
    "fn",
    [
        lambda: None,
        lambda state, ctx: None,
        lambda state, context, config, more=1: None,
        lambda *args, **kwargs: None,
        lambda state, *, ctx: None,
        max,
    ],
)
def test_a_node_takes_the_state_and_by_name_what_it_wants_beside(fn: Any) -> None:
    assert "node" in graph().add_node("node", fn).definition.nodes


def test_options_that_do_not_exist_are_not_swallowed() -> None:
    with pytest.raises(TypeError, match="defer"):
        graph().add_node(one, defer=True)  # type: ignore[call-arg]
