"""What lies ahead of a thread, beside the enumeration of every run of small random graphs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vertebra import END, START
from vertebra.graphs.ahead import Parts, Position, Unreadable, changes_ahead

NAMES = ["a", "b", "c", "d", "e"]
KINDS = ["plain", "llm", "human"]
State = tuple[frozenset[str], frozenset[tuple[int, str]]]


@dataclass(frozen=True)
class Small:
    """A graph as tuples: what the enumeration reads, and what a shape is written from."""

    nodes: dict[str, str]
    edges: frozenset[tuple[str, str]] = frozenset()
    choices: frozenset[tuple[str, str]] = frozenset()
    fans: frozenset[tuple[str, str]] = frozenset()
    joins: tuple[tuple[frozenset[str], str], ...] = ()
    state: dict[str, str] = field(default_factory=lambda: {"x": "int"})

    def shape(self, version: str = "1") -> dict[str, Any]:
        return {
            "name": "g",
            "version": version,
            "state": self.state,
            "nodes": {name: {"kind": kind} for name, kind in sorted(self.nodes.items())},
            "edges": sorted(f"{a} -> {b}" for a, b in self.edges),
            "choices": sorted(f"{a} ? to {b} -> {b}" for a, b in self.choices),
            "fan_outs": sorted(f"{a} => {b} over x" for a, b in self.fans),
            "joins": sorted(f"{' + '.join(sorted(s))} -> {t}" for s, t in self.joins),
        }

    def without(self, name: str) -> Small:
        def kept(pairs: frozenset[tuple[str, str]]) -> frozenset[tuple[str, str]]:
            return frozenset(pair for pair in pairs if name not in pair)

        return replace(
            self,
            nodes={n: k for n, k in self.nodes.items() if n != name},
            edges=kept(self.edges),
            choices=kept(self.choices),
            fans=kept(self.fans),
            joins=tuple(j for j in self.joins if name not in j[0] and name != j[1]),
        )

    def moves(self, state: State) -> set[State]:
        """Every superstep that can follow: choices and fan-outs go each way that they may."""
        frontier, arrived = state
        ways = [list(self._ways(node)) for node in sorted(frontier)]
        found = set()
        for picked in itertools.product(*ways):
            following, arrivals = set().union(*picked), set(arrived)
            for number, (sources, target) in enumerate(self.joins):
                arrivals |= {(number, node) for node in sources & frontier}
                if {(number, node) for node in sources} <= arrivals:
                    arrivals -= {(number, node) for node in sources}
                    following.add(target)
            found.add((frozenset(following - {END}), frozenset(arrivals)))
        return found

    def _ways(self, node: str) -> Iterator[set[str]]:
        always = {b for a, b in self.edges if a == node}
        chosen = sorted(b for a, b in self.choices if a == node)
        fans = [[{w}, {b for a, b in self.edges if a == w}] for a, w in sorted(self.fans) if a == node]
        for size in range(len(chosen) + 1):
            for some in itertools.combinations(chosen, size):
                for spread in itertools.product(*fans):
                    yield always.union(some, *spread)

    def runs(self, start: frozenset[str], limit: int = 400) -> dict[State, tuple[Any, set[Any]]] | None:
        """From each state that a run can come to: the kinds of its nodes and what can follow; None if too many."""
        first: State = (start, frozenset())
        seen: dict[State, tuple[Any, set[Any]]] = {}
        queue = [first]
        while queue:
            state = queue.pop()
            if state in seen:
                continue
            if len(seen) > limit:
                return None
            following = self.moves(state)
            kinds = tuple((name, self.nodes.get(name)) for name in sorted(state[0]))
            named = {(names, self._arrivals(arrived)) for names, arrived in following}
            seen[state] = kinds, named
            queue.extend(following)
        return {(names, self._arrivals(arrived)): value for (names, arrived), value in seen.items()}  # type: ignore[misc]

    def _arrivals(self, arrived: frozenset[tuple[int, str]]) -> frozenset[Any]:
        return frozenset((self.joins[number], source) for number, source in arrived)


def pairs(low: int, high: int, targets: list[str]) -> st.SearchStrategy[frozenset[tuple[str, str]]]:
    return st.frozensets(st.tuples(st.sampled_from(NAMES), st.sampled_from(targets)), min_size=low, max_size=high)


JOIN = st.tuples(st.frozensets(st.sampled_from(NAMES), min_size=2, max_size=3), st.sampled_from(NAMES))
SMALL = st.builds(
    Small,
    nodes=st.fixed_dictionaries({name: st.sampled_from(KINDS) for name in NAMES}),
    edges=pairs(1, 5, [*NAMES, END]),
    choices=pairs(0, 3, [*NAMES, END]),
    fans=pairs(0, 1, NAMES),
    joins=st.lists(JOIN, max_size=2, unique=True).map(tuple),
)
STARTS = st.frozensets(st.sampled_from(NAMES), min_size=1, max_size=2)


@st.composite
def mended(draw: Any, graph: Small) -> Small:
    """The graph with one or two parts changed, anywhere."""
    other = draw(SMALL)
    changes: list[Any] = [
        lambda g: replace(g, nodes={**g.nodes, (n := draw(st.sampled_from(NAMES))): other.nodes[n]}),
        lambda g: replace(g, edges=g.edges ^ frozenset(list(other.edges)[:1])),
        lambda g: replace(g, choices=g.choices ^ frozenset(list(other.choices)[:1])),
        lambda g: replace(g, fans=g.fans ^ other.fans),
        lambda g: replace(g, joins=tuple(dict.fromkeys((*g.joins, *other.joins[:1])))),
        lambda g: replace(g, joins=g.joins[1:]),
        lambda g: g.without(draw(st.sampled_from(NAMES))),
    ]
    for change in draw(st.lists(st.sampled_from(changes), min_size=1, max_size=2)):
        graph = change(graph)
    return graph


def position(start: frozenset[str]) -> Position:
    return Position(start, fields=frozenset({"x"}))


@settings(max_examples=150, deadline=None)
@given(st.data(), SMALL, STARTS)
def test_what_is_said_to_be_the_same_makes_the_same_runs(
    data: st.DataObject, old: Small, start: frozenset[str]
) -> None:
    new = data.draw(mended(old))
    if changes_ahead(old.shape(), new.shape("2"), position(start)):
        return
    before, after = old.runs(start), new.runs(start)
    assume(before is not None)
    assert before == after


@settings(max_examples=150, deadline=None)
@given(st.data(), SMALL, STARTS)
def test_a_difference_that_a_run_can_come_to_is_told(data: st.DataObject, old: Small, start: frozenset[str]) -> None:
    new = data.draw(mended(old))
    before, after = old.runs(start), new.runs(start)
    assume(before is not None and after is not None)
    assume(before != after)
    assert changes_ahead(old.shape(), new.shape("2"), position(start))


def reached(graph: Small, start: frozenset[str]) -> set[str]:
    """The nodes that may run, by paths alone: one after the other, as long as any is new."""
    found = set(start)
    while True:
        more = {b for a, b in (*graph.edges, *graph.choices, *graph.fans) if a in found}
        more |= {b for a, w in graph.fans if a in found for c, b in graph.edges if c == w}
        more |= {t for sources, t in graph.joins if sources & found}
        if more <= found:
            return found
        found |= more


@settings(max_examples=150, deadline=None)
@given(st.data(), SMALL, STARTS)
def test_what_lies_behind_may_change_at_will(data: st.DataObject, old: Small, start: frozenset[str]) -> None:
    ahead = reached(old, start)
    behind = sorted(set(NAMES) - ahead)
    assume(behind)
    node = data.draw(st.sampled_from(behind))
    anywhere = frozenset({(node, data.draw(st.sampled_from(NAMES)))})
    new = data.draw(
        st.sampled_from(
            [
                replace(old, nodes={**old.nodes, node: "effect"}),
                replace(old, edges=old.edges ^ anywhere),
                replace(old, choices=old.choices ^ anywhere),
                replace(old, nodes={**old.nodes, "new": "llm"}, edges=old.edges | {("new", min(ahead - {END}))}),
                # To take it away changes a join that it shares with a node ahead, or by which a task is named.
                old if any(node in s and (s & ahead or t in start) for s, t in old.joins) else old.without(node),
            ]
        )
    )
    assert changes_ahead(old.shape(), new.shape("2"), position(start)) == []


def test_parts_ahead_are_those_of_the_naive_closure() -> None:
    graph = Small(
        dict.fromkeys(NAMES, "plain"),
        edges=frozenset({("a", "b"), ("c", END)}),
        fans=frozenset({("b", "c")}),
        joins=((frozenset({"a", "d"}), "e"),),
    )
    assert Parts(graph.shape()).ahead(["a"]) == {"a", "b", "c", "e", END}


LINE = Small({"a": "llm", "b": "human"}, edges=frozenset({(START, "a"), ("a", "b"), ("b", END)}))


def changed(new: dict[str, Any], at: str = "b", **more: Any) -> list[str]:
    return changes_ahead(LINE.shape(), {**LINE.shape("2"), **new}, Position(frozenset({at}), **more), {"given"})


def test_fields_count_where_the_thread_has_them() -> None:
    assert changed({"state": {"x": "str"}}, fields=frozenset({"x"})) == ["~ state.x: int -> str"]
    assert changed({"state": {}}, fields=frozenset({"x"})) == ["- state.x: int"]
    assert changed({"state": {"x": "str"}}) == []
    assert changed({"state": {"x": "int", "given": "int"}}, fields=frozenset({"x"})) == []
    assert changed({"state": {"x": "int", "new": "int"}}) == ["+ state.new: int, without a default"]


def test_a_node_that_has_gone_is_named() -> None:
    gone = LINE.without("b").shape("2")
    assert changes_ahead(LINE.shape(), gone, Position(frozenset({"b"}))) == ["- nodes.b: the thread stands before it"]
    assert "- nodes.b: the thread may come to it" in changes_ahead(LINE.shape(), gone, Position(frozenset({"a"})))
    assert changes_ahead(LINE.shape(), LINE.shape(), Position(frozenset({"z"}))) == [
        "~ nodes.z: the thread stands before it"
    ]


def test_another_graph_is_another_graph() -> None:
    assert changed({"name": "h"}) == ["~ name: g -> h"]


def test_a_fallback_is_ahead_and_an_inner_graph_is_compared_whole() -> None:
    def graph(kind: str, inner: str = "llm", version: str = "1") -> dict[str, Any]:
        part = {"kind": "subgraph", "graph": {"name": "i", "version": version, "nodes": {"n": {"kind": inner}}}}
        return {"name": "g", "nodes": {"a": {"kind": "llm", "fallback": "f"}, "f": {"kind": kind}, "s": part}}

    at_a, at_s = Position(frozenset({"a"})), Position(frozenset({"s"}))
    assert changes_ahead(graph("llm"), graph("effect"), at_a) == ["~ f.node.kind: llm -> effect"]
    assert changes_ahead(graph("llm"), graph("llm", "effect"), at_a) == []
    assert changes_ahead(graph("llm"), graph("llm", "effect"), at_s) == ["~ s.node.graph.nodes.n.kind: llm -> effect"]
    assert changes_ahead(graph("llm"), graph("llm", version="2"), at_s) == []


@pytest.mark.parametrize(
    "part",
    [
        {"edges": ["a -> b -> c"]},
        {"edges": ["a -> nowhere"]},
        {"choices": ["a ? b"]},
        {"joins": ["a + gone -> b"]},
    ],
)
def test_names_that_read_in_two_ways_are_refused(part: dict[str, Any]) -> None:
    nodes = {"nodes": {key: {"kind": "llm"} for key in ["a", "b", "c", "a -> b", "b -> c"]}}
    with pytest.raises(Unreadable):
        Parts({**nodes, **part})
    old, new = {**nodes, **part}, {**nodes, **part, "version": "2"}
    (line,) = changes_ahead(old, new, Position(frozenset({"a"})))
    assert line.startswith("~ cannot be told apart")
    assert changes_ahead(old, old, Position(frozenset({"a"}))) == []


def test_an_answer_may_read_as_anything() -> None:
    shape = {"nodes": {key: {"kind": "llm"} for key in "ab"}, "choices": ["a ? really ? yes -> no -> b"]}
    assert Parts(shape).ahead(["a"]) == {"a", "b"}
