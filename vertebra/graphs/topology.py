"""Questions about directed graphs, answered without knowing what a node is.

A graph is a mapping from an id to its successors. Cycles and components are ``networkx``'s;
``frontiers`` explores which nodes can be active together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

N = TypeVar("N", bound=Hashable)
Successors = Mapping[N, Collection[N]]


def reachable(graph: Successors[N], start: N) -> set[N]:
    """All nodes on paths from ``start``, itself included."""
    seen, stack = {start}, [start]
    while stack:
        for successor in graph.get(stack.pop(), ()):
            if successor not in seen:
                seen.add(successor)
                stack.append(successor)
    return seen


def reversed_graph(graph: Successors[N]) -> dict[N, list[N]]:
    """The same nodes with each edge turned around."""
    result: dict[N, list[N]] = {node: [] for node in graph}
    for node, successors in graph.items():
        for successor in successors:
            result.setdefault(successor, []).append(node)
    return result


def cycles(graph: Successors[N]) -> list[list[N]]:
    """One representative cycle for each strongly connected component that has one."""
    import networkx as nx

    digraph = nx.DiGraph()
    digraph.add_nodes_from(graph)
    digraph.add_edges_from((a, b) for a, successors in graph.items() for b in successors)
    return [[edge[0] for edge in nx.find_cycle(digraph.subgraph(part))] for part in cyclic_parts(digraph)]


def cyclic_parts(digraph: Any) -> list[set[Any]]:
    """The strongly connected components of a ``networkx.DiGraph`` that one can go round in."""
    import networkx as nx

    parts: Iterable[set[Any]] = nx.strongly_connected_components(digraph)
    return [part for part in parts if len(part) > 1 or any(digraph.has_edge(node, node) for node in part)]


def components(graph: Successors[N]) -> dict[N, int]:
    """The number of the strongly connected component of each node."""
    import networkx as nx

    digraph = nx.DiGraph()
    digraph.add_nodes_from(graph)
    digraph.add_edges_from((a, b) for a, successors in graph.items() for b in successors)
    return {node: number for number, part in enumerate(nx.strongly_connected_components(digraph)) for node in part}


Arrived = frozenset[tuple[int, N]]
"""Of each join, by number, the sources that have run since its target last ran."""


@dataclass(frozen=True)
class Explored(Generic[N]):
    """What ``frontiers`` found."""

    active: set[frozenset[N]]
    """The sets of nodes that can be active in one superstep."""
    starved: set[N]
    """Nodes for which some but not all of what they wait for has run when nothing is left to run."""
    complete: bool
    """Whether everything was looked at."""


def frontiers(
    always: Successors[N],
    choices: Mapping[N, Sequence[Collection[N]]],
    joins: Sequence[tuple[frozenset[N], N]],
    start: N,
    limit: int = 20_000,
) -> Explored[N]:
    """Follow every run of the graph, superstep by superstep, as long as there are at most ``limit`` ways to go on.

    From an active node, all of ``always`` follow, and one member of each set in ``choices``. The target
    of a join becomes active when all of its sources have run since it last ran.
    """
    first: tuple[frozenset[N], Arrived[N]] = (frozenset([start]), frozenset())
    seen, queue = {first}, [first]
    active: set[frozenset[N]] = set()
    starved: set[N] = set()
    while queue:
        frontier, arrived = queue.pop()
        active.add(frontier)
        fixed = {s for node in frontier for s in always.get(node, ())}
        options = [tuple(option) for node in frontier for option in choices.get(node, ()) if option]
        limit -= math.prod(map(len, options))
        if limit < 0:
            return Explored(active, starved, False)
        for picked in itertools.product(*options):
            step = _next(fixed.union(picked), frontier, arrived, joins)
            following, waiting = step
            if not following:
                starved.update(joins[number][1] for number, _ in waiting)
            elif step not in seen:
                seen.add(step)
                queue.append(step)
    return Explored(active, starved, True)


def _next(
    following: set[N], frontier: frozenset[N], arrived: Arrived[N], joins: Sequence[tuple[frozenset[N], N]]
) -> tuple[frozenset[N], Arrived[N]]:
    """What follows with the targets of the joins that ``frontier`` completes, and what has arrived at the others."""
    arrivals = set(arrived)
    for number, (sources, target) in enumerate(joins):
        whole = {(number, source) for source in sources}
        arrivals |= {(number, source) for source in sources & frontier}
        if whole <= arrivals:
            following.add(target)
            arrivals -= whole
    return frozenset(following), frozenset(arrivals)


def pairs(sets: Iterable[frozenset[N]]) -> set[frozenset[N]]:
    """All pairs of different nodes that stand together in one of the sets."""
    return {frozenset(pair) for group in sets for pair in itertools.combinations(group, 2)}
