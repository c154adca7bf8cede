"""Questions about plain graphs of numbers."""

from __future__ import annotations

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from vertebra.graphs import topology

NODES = range(6)
GRAPHS = st.fixed_dictionaries({node: st.lists(st.sampled_from(NODES), unique=True, max_size=4) for node in NODES})


@given(GRAPHS)
def test_reachability_agrees_with_networkx(graph: dict[int, list[int]]) -> None:
    assert topology.reachable(graph, 0) == nx.descendants(nx.DiGraph(graph), 0) | {0}


@given(GRAPHS)
def test_turning_a_graph_round_turns_its_paths_round(graph: dict[int, list[int]]) -> None:
    back = topology.reversed_graph(graph)
    assert {n for n in NODES if 0 in topology.reachable(graph, n)} == topology.reachable(back, 0)


@given(GRAPHS)
def test_every_cycle_is_one_and_each_component_with_a_cycle_gives_one(graph: dict[int, list[int]]) -> None:
    found = topology.cycles(graph)
    part = topology.components(graph)
    for cycle in found:
        assert all(b in graph[a] for a, b in zip(cycle, [*cycle[1:], cycle[0]], strict=True))
    cyclic = {part[a] for a in graph for b in graph[a] if part[a] == part[b]}
    assert sorted(part[cycle[0]] for cycle in found) == sorted(cyclic)


def active(*groups: str) -> set[frozenset[str]]:
    return {frozenset(group) for group in groups}


def test_frontiers_follow_all_edges_and_one_of_each_choice() -> None:
    found = topology.frontiers({"s": "ab"}, {"a": ["cd"], "b": ["ef"]}, [], "s")
    assert found.active == active("s", "ab", "ce", "cf", "de", "df")
    assert (found.starved, found.complete) == (set(), True)


def test_a_join_waits_for_branches_of_different_length() -> None:
    found = topology.frontiers({"s": "ab", "a": "c"}, {}, [(frozenset("bc"), "j")], "s")
    assert found.active == active("s", "ab", "c", "j")


def test_two_joins_of_one_node_are_two() -> None:
    joins = [(frozenset("ab"), "j"), (frozenset("a"), "j")]
    assert topology.frontiers({"s": "a"}, {}, joins, "s").active == active("s", "a", "j")


def test_a_join_that_a_choice_may_leave_out_starves() -> None:
    found = topology.frontiers({"s": "ab"}, {"a": ["ce"]}, [(frozenset("bc"), "j")], "s")
    assert found.starved == {"j"}


def test_a_loop_is_explored_once() -> None:
    found = topology.frontiers({"s": "a", "a": "b"}, {"b": ["ae"]}, [], "s")
    assert found.active == active("s", "a", "b", "e")


def test_exploring_stops_at_the_limit_and_says_so() -> None:
    assert not topology.frontiers({"s": "abc"}, {n: ["xy"] for n in "abc"}, [], "s", limit=7).complete


def test_pairs_are_of_different_nodes() -> None:
    assert topology.pairs(active("abc", "a")) == active("ab", "ac", "bc")
