"""The shape of a graph: what changes it, what does not, and how a difference reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from vertebra import END, START, Append, Graph, Retry, human, llm, transition
from vertebra.graphs.shape import difference, fingerprint, shape


class State(BaseModel):
    n: int = 0
    items: list[str] = []
    notes: Append[str] = []


class OtherState(State):
    notes: Annotated[list[str], max] = []


@transition
def one(state: Any) -> None: ...


@llm
def two(state: Any) -> None: ...


@llm(retry=Retry(attempts=9), timeout_s=3.0)
def patient(state: Any) -> None: ...


def asking(answer: Any, into: str | None = None) -> Any:
    def ask(state: Any) -> str: ...

    return human(answer=answer, into=into)(ask)


def inner(node: Any = one) -> Graph:
    return Graph(State, name="inner").add_edge(START, node).add_edge(node, END)


def graph(*, state: Any = State, version: str = "1", node: Any = one, **more: Any) -> Graph:
    g = Graph(state, name="g", version=version).add_edge(START, "node").add_node("node", node, **more)
    return g.add_edge("node", END).add_node("two", two)


def backwards() -> Graph:
    """``graph`` with two more edges, all in another order."""
    g = Graph(State, name="g").add_node("two", two).add_node("node", one)
    return g.add_edge("two", "node").add_edge("two", END).add_edge("node", END).add_edge(START, "node")


def routed(**more: Any) -> Graph:
    return graph().add_conditional_edges("node", lambda state: 1, {1: "two", 2: END}, **more)


CHANGES: list[tuple[Callable[[], Graph], Callable[[], Graph], list[str]]] = [
    (graph, lambda: graph(version="2"), ["~ version: 1 -> 2"]),
    (graph, lambda: graph(state=OtherState), ["~ state.notes: list[str] <- add -> list[str] <- max"]),
    (graph, lambda: graph(node=two), ["~ nodes.node.kind: transition -> llm"]),
    (graph, lambda: graph(fallback="two"), ["+ nodes.node.fallback: two"]),
    (graph, lambda: graph().add_node("new", one), ["+ nodes.new: transition"]),
    (lambda: graph().add_node("old", one), graph, ["- nodes.old: transition"]),
    (graph, lambda: graph().add_edge("node", "two"), ["+ edges: node -> two"]),
    (lambda: graph().add_edge("node", "two"), graph, ["- edges: node -> two"]),
    (graph, lambda: graph().add_edge(["two", "node"], END), ["+ joins: two + node -> __end__"]),
    (
        lambda: graph().add_edge(["two", "node"], END),
        lambda: graph().add_edge(["node", "two"], END),
        ["- joins: two + node -> __end__", "+ joins: node + two -> __end__"],
    ),
    (graph, lambda: graph().fan_out("node", "two", over="items"), ["+ fan_outs: node => two over items"]),
    (graph, routed, ["+ choices: node ? 1 -> two", "+ choices: node ? 2 -> __end__"]),
    (routed, lambda: routed(max_visits=1, on_exhausted=END), ["+ choices: node ? (exhausted) -> __end__"]),
    (
        lambda: graph(node=asking(list[int])),
        lambda: graph(node=asking(list[str])),
        ["~ nodes.node.answer: list[int] -> list[str]"],
    ),
    (
        lambda: graph(node=asking(Literal["a"])),
        lambda: graph(node=asking(Literal["b"], into="n")),
        ["~ nodes.node.answer: Literal['a'] -> Literal['b']", "~ nodes.node.into:  -> n"],
    ),
    (
        lambda: graph(node=inner()),
        lambda: graph(node=inner(two)),
        [
            "- nodes.node.graph.nodes.one: transition",
            "+ nodes.node.graph.nodes.two: llm",
            "- nodes.node.graph.edges: __start__ -> one",
            "- nodes.node.graph.edges: one -> __end__",
            "+ nodes.node.graph.edges: __start__ -> two",
            "+ nodes.node.graph.edges: two -> __end__",
        ],
    ),
]


@pytest.mark.parametrize(("before", "after", "lines"), CHANGES)
def test_what_a_thread_depends_on_changes_the_fingerprint(
    before: Callable[[], Graph], after: Callable[[], Graph], lines: list[str]
) -> None:
    old, new = before(), after()
    assert old.fingerprint() != new.fingerprint()
    assert sorted(difference(shape(old.definition), shape(new.definition))) == sorted(lines)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda: graph(node=two), lambda: graph(node=patient)),
        (lambda: routed(max_visits=1), lambda: routed(max_visits=9)),
        (lambda: graph().add_edge("two", END).add_edge("two", "node"), backwards),
    ],
)
def test_what_may_be_mended_under_a_thread_does_not(before: Callable[[], Graph], after: Callable[[], Graph]) -> None:
    assert before().fingerprint() == after().fingerprint()


def test_a_module_run_as_a_script_has_the_shape_of_the_module_imported() -> None:
    def visit(module: str) -> str:
        part = dataclasses.make_dataclass("Slice", ["text"], namespace={"__module__": module})
        state = dataclasses.make_dataclass("Visit", [("slices", list[part])])  # type: ignore[valid-type]
        return Graph(state, name="g").fingerprint()

    assert visit("__main__") == visit("scribe")


def test_the_fingerprint_is_the_same_in_every_release() -> None:
    assert fingerprint({"b": [1], "a": "x"}) == "6c17667416e4e6be"


LINES = st.lists(st.sampled_from("abc"), unique=True).map(sorted)
PLAIN = st.dictionaries(st.sampled_from("abc"), st.sampled_from("vw") | LINES)
SHAPES = st.dictionaries(st.sampled_from("xyz"), PLAIN | st.sampled_from("vw"))


@given(SHAPES, SHAPES)
def test_a_difference_is_empty_only_between_equals(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert (difference(old, new) == []) == (old == new) == (fingerprint(old) == fingerprint(new))


@given(SHAPES, SHAPES)
def test_a_difference_read_backwards_turns_signs_round(old: dict[str, Any], new: dict[str, Any]) -> None:
    def signs(lines: list[str]) -> list[str]:
        return sorted(line[0] for line in lines)

    turned = [{"+": "-", "-": "+", "~": "~"}[line[0]] for line in difference(old, new)]
    assert sorted(turned) == signs(difference(new, old))
